//! Operators that combine the elements along axes.
#![expect(
    clippy::indexing_slicing,
    reason = "axes are checked by `axes_of`, and rows are not empty"
)]

use ndarray::{ArrayD, Axis, IxDyn, Zip};

use super::elementwise::{Arithmetic, Number};
use super::{Inputs, Kernel, List, axes_of, axis_of, broadcast, broadcast_view};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::interop::onnx::attributes::Attributes;
use crate::interop::onnx::value::{Element, Value, each};
use crate::tensor::Level;
use crate::tensor::reduce::softmax;

#[derive(Clone, Copy, PartialEq)]
enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
    Product,
}

/// Returns the operator `op`, if it is one of this file.
pub(super) fn kernel(op: &str, attributes: &mut Attributes) -> Result<Option<Kernel>> {
    Ok(Some(match op {
        "ReduceSum" => reduce(attributes, Reduction::Sum, 13)?,
        "ReduceMean" => reduce(attributes, Reduction::Mean, 18)?,
        "ReduceMax" => reduce(attributes, Reduction::Max, 18)?,
        "ReduceMin" => reduce(attributes, Reduction::Min, 18)?,
        "ReduceProd" => reduce(attributes, Reduction::Product, 18)?,
        "ArgMax" => arg_max(attributes)?,
        "CumSum" => cumulative_sum(attributes)?,
        "Softmax" => normalised(attributes, false)?,
        "LogSoftmax" => normalised(attributes, true)?,
        "LayerNormalization" => layer_normalization(attributes)?,
        _ => return Ok(None),
    }))
}

/// The elements of an array in rows: those that are combined are one row.
struct InRows<T> {
    elements: Vec<T>,
    width: usize,
    /// The axes that remain, and those that were combined, in the order of the elements.
    order: Vec<usize>,
    /// The shape in that order.
    shape: Vec<usize>,
}

impl<T: Element> InRows<T> {
    fn new(array: &ArrayD<T>, axes: &[usize]) -> Self {
        let kept = (0..array.ndim()).filter(|axis| !axes.contains(axis));
        let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
        let moved = array.view().permuted_axes(order.clone());
        let width = axes.iter().map(|&axis| array.shape()[axis]).product();
        let shape = moved.shape().to_vec();
        // Axes of one element do not change the order of the elements.
        let longer = || order.iter().filter(|&&axis| array.len_of(Axis(axis)) > 1);
        let elements = match array.as_slice() {
            Some(elements) if longer().is_sorted() => elements.to_vec(),
            _ => moved.iter().copied().collect(),
        };
        Self { elements, width, order, shape }
    }

    /// Returns the elements in the order of the array's axes.
    fn into_array(self) -> Result<ArrayD<T>> {
        let mut back = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(place, &axis)| back[axis] = place);
        let array = shaped(&self.shape, self.elements)?;
        Ok(array.permuted_axes(back).as_standard_layout().into_owned())
    }
}

fn shaped<T>(shape: &[usize], elements: Vec<T>) -> Result<ArrayD<T>> {
    let array = ArrayD::from_shape_vec(IxDyn(shape), elements);
    array.map_err(|error| Error::argument("shape", "a shape of the elements", error))
}

/// Returns `shape` with axes of size 1, or without axes, in place of `axes`.
fn reduced_shape(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let kept = shape.iter().enumerate().filter(|(axis, _)| keep || !axes.contains(axis));
    kept.map(|(axis, &size)| if axes.contains(&axis) { 1 } else { size }).collect()
}

/// Returns an operator whose axes are an attribute before version `since`.
fn reduce(attributes: &mut Attributes, reduction: Reduction, since: i64) -> Result<Kernel> {
    let axes = List::new(attributes, "axes", since, 1)?;
    let keep = attributes.int("keepdims")?.unwrap_or(1) != 0;
    let none = attributes.opset >= since && attributes.flag("noop_with_empty_axes")?;
    fn combined<T: Number>(
        array: &ArrayD<T>,
        (axes, keep): (&[usize], bool),
        reduction: Reduction,
    ) -> Result<ArrayD<T>> {
        let InRows { elements, width, .. } = InRows::new(array, axes);
        let shape = reduced_shape(array.shape(), axes, keep);
        let (operation, empty) = match reduction {
            Reduction::Sum | Reduction::Mean => (Arithmetic::Add, T::of_count(0)),
            Reduction::Product => (Arithmetic::Mul, T::of_count(1)),
            Reduction::Max => (Arithmetic::Max, T::of_count(0)),
            Reduction::Min => (Arithmetic::Min, T::of_count(0)),
        };
        if width == 0 {
            if [Reduction::Sum, Reduction::Product].contains(&reduction) {
                return Ok(ArrayD::from_elem(IxDyn(&shape), empty));
            }
            return Err(Error::argument("axes", "axes with elements", "none"));
        }
        let row = |row: &[T]| {
            let all = row[1..].iter().fold(row[0], |all, &next| all.apply(operation, next));
            match reduction {
                Reduction::Mean => all.apply(Arithmetic::Div, T::of_count(width)),
                _ => all,
            }
        };
        shaped(&shape, elements.chunks_exact(width).map(row).collect())
    }
    Ok(Kernel::new(1..=2, move |inputs| {
        let value = inputs.need(0)?;
        let rank = value.shape().len();
        let axes = match axes.get(inputs)?.filter(|axes| !axes.is_empty()) {
            Some(axes) => axes_of(&axes, rank)?,
            None if none => return Ok(value.clone()),
            None => (0..rank).collect(),
        };
        Ok(match value {
            Value::F32(array) => combined(array, (&axes, keep), reduction)?.into(),
            Value::F64(array) => combined(array, (&axes, keep), reduction)?.into(),
            Value::I32(array) => combined(array, (&axes, keep), reduction)?.into(),
            Value::I64(array) => combined(array, (&axes, keep), reduction)?.into(),
            value => return Err(Error::argument("element type", "a number", value.kind())),
        })
    }))
}

fn arg_max(attributes: &mut Attributes) -> Result<Kernel> {
    let axis = attributes.int("axis")?.unwrap_or(0);
    let keep = attributes.int("keepdims")?.unwrap_or(1) != 0;
    let last = attributes.opset >= 12 && attributes.flag("select_last_index")?;
    fn places<T: Element + PartialOrd>(
        array: &ArrayD<T>,
        axis: usize,
        (keep, last): (bool, bool),
    ) -> Result<ArrayD<i64>> {
        let InRows { elements, width, .. } = InRows::new(array, &[axis]);
        let greatest = |row: &[T]| {
            let place = (1..row.len()).fold(0, |best, k| {
                let better = row[k] > row[best] || (last && row[k] == row[best]);
                if better { k } else { best }
            });
            place as i64
        };
        let shape = reduced_shape(array.shape(), &[axis], keep);
        shaped(&shape, elements.chunks(width.max(1)).map(greatest).collect())
    }
    Ok(Kernel::new(1..=1, move |inputs| {
        let value = inputs.need(0)?;
        let axis = axis_of(axis, value.shape().len())?;
        Ok(each!(value, array => places(array, axis, (keep, last))?.into()))
    }))
}

/// Returns the operator of the sums of the elements up to each one, or before it.
fn cumulative_sum(attributes: &mut Attributes) -> Result<Kernel> {
    let (exclusive, reverse) = (attributes.flag("exclusive")?, attributes.flag("reverse")?);
    fn sums<T: Number>(
        array: &ArrayD<T>,
        axis: usize,
        (exclusive, reverse): (bool, bool),
    ) -> Result<ArrayD<T>> {
        let mut rows = InRows::new(array, &[axis]);
        for row in rows.elements.chunks_mut(rows.width.max(1)) {
            let mut sum = T::of_count(0);
            for k in 0..row.len() {
                let k = if reverse { row.len() - 1 - k } else { k };
                let with = sum.apply(Arithmetic::Add, row[k]);
                row[k] = if exclusive { sum } else { with };
                sum = with;
            }
        }
        rows.into_array()
    }
    Ok(Kernel::new(2..=2, move |inputs| {
        let value = inputs.need(0)?;
        let &[axis] = &inputs.need(1)?.integers()?[..] else {
            return Err(Error::argument("axis", "one axis", "another number of axes"));
        };
        let (axis, options) = (axis_of(axis, value.shape().len())?, (exclusive, reverse));
        Ok(match value {
            Value::F32(array) => sums(array, axis, options)?.into(),
            Value::F64(array) => sums(array, axis, options)?.into(),
            Value::I32(array) => sums(array, axis, options)?.into(),
            Value::I64(array) => sums(array, axis, options)?.into(),
            value => return Err(Error::argument("element type", "a number", value.kind())),
        })
    }))
}

/// Returns softmax, or its logarithm.
fn normalised(attributes: &mut Attributes, logarithm: bool) -> Result<Kernel> {
    let old = attributes.opset < 13;
    let axis = attributes.int("axis")?.unwrap_or(if old { 1 } else { -1 });
    fn rows<T: Float + Element>(
        array: &ArrayD<T>,
        axes: &[usize],
        logarithm: bool,
    ) -> Result<ArrayD<T>> {
        let mut rows = InRows::new(array, axes);
        let level = Level::new();
        for row in rows.elements.chunks_mut(rows.width.max(1)) {
            let before = logarithm.then(|| row.to_vec());
            let log_sum = softmax(level, row);
            for (p, x) in row.iter_mut().zip(before.into_iter().flatten()) {
                *p = x - log_sum;
            }
        }
        rows.into_array()
    }
    Ok(Kernel::new(1..=1, move |inputs| {
        let value = inputs.need(0)?;
        let rank = value.shape().len();
        let axis = axis_of(axis, rank)?;
        // Before version 13, all axes from `axis` are one.
        let axes: Vec<usize> = (axis..if old { rank } else { axis + 1 }).collect();
        Ok(match value {
            Value::F32(array) => rows(array, &axes, logarithm)?.into(),
            Value::F64(array) => rows(array, &axes, logarithm)?.into(),
            value => return Err(Error::argument("element type", "f32 or f64", value.kind())),
        })
    }))
}

fn layer_normalization(attributes: &mut Attributes) -> Result<Kernel> {
    let axis = attributes.int("axis")?.unwrap_or(-1);
    let epsilon = attributes.float("epsilon")?.unwrap_or(1e-5);
    attributes.int("stash_type")?;
    fn normalised<T: Float + Element>(
        inputs: &Inputs<'_>,
        array: &ArrayD<T>,
        (axis, epsilon): (i64, f64),
    ) -> Result<Value> {
        let axis = axis_of(axis, array.ndim())?;
        let axes: Vec<usize> = (axis..array.ndim()).collect();
        let mut rows = InRows::new(array, &axes);
        for row in rows.elements.chunks_mut(rows.width.max(1)) {
            let count = row.len() as f64;
            let mean = row.iter().map(|value| value.as_f64()).sum::<f64>() / count;
            let squares = row.iter().map(|value| (value.as_f64() - mean).powi(2));
            let scale = 1.0 / (squares.sum::<f64>() / count + epsilon).sqrt();
            row.iter_mut().for_each(|value| *value = T::from_f64((value.as_f64() - mean) * scale));
        }
        let mut result = rows.into_array()?;
        let of = |index: usize| inputs.get(index).map(Value::array::<T>).transpose();
        if let Some(scale) = of(1)? {
            fits(scale, &result)?;
            Zip::from(&mut result).and_broadcast(scale).for_each(|to, &scale| *to *= scale);
        }
        if let Some(bias) = of(2)? {
            fits(bias, &result)?;
            Zip::from(&mut result).and_broadcast(bias).for_each(|to, &bias| *to += bias);
        }
        Ok(T::value(result))
    }
    fn fits<T: Element>(array: &ArrayD<T>, result: &ArrayD<T>) -> Result<()> {
        broadcast(array.shape(), result.shape())?;
        broadcast_view(array, result.shape()).map(|_| ())
    }
    Ok(Kernel::new(2..=3, move |inputs| match inputs.need(0)? {
        Value::F32(array) => normalised(inputs, array, (axis, epsilon)),
        Value::F64(array) => normalised(inputs, array, (axis, epsilon)),
        value => Err(Error::argument("element type", "f32 or f64", value.kind())),
    }))
}
