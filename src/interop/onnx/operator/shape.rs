//! Operators that rearrange or repeat elements, and operators on shapes.
#![expect(clippy::indexing_slicing, reason = "axes are checked before")]

use ndarray::{ArrayD, Axis, IxDyn, Slice};

use super::{
    Function, Inputs, Kernel, List, axes_of, axis_of, broadcast, broadcast_view, size_of_axis,
};
use crate::error::{Error, Result};
use crate::interop::onnx::attributes::Attributes;
use crate::interop::onnx::value::{Element, Value, each};

/// Returns the operator `op`, if it is one of this file.
pub(super) fn kernel(op: &str, attributes: &mut Attributes) -> Result<Option<Kernel>> {
    Ok(Some(match op {
        "Constant" => constant(attributes)?,
        "ConstantOfShape" => constant_of_shape(attributes)?,
        "Shape" => shape(attributes)?,
        "Size" => Kernel::new(1..=1, |inputs| {
            let size: usize = inputs.need(0)?.shape().iter().product();
            Ok(ndarray::arr0(size as i64).into())
        }),
        "Reshape" => reshape(attributes)?,
        "Flatten" => flatten(attributes)?,
        "Transpose" => transpose(attributes)?,
        "Squeeze" => squeeze(attributes)?,
        "Unsqueeze" => unsqueeze(attributes)?,
        "Expand" => Kernel::new(2..=2, expand),
        "Concat" => concat(attributes)?,
        "Split" => split(attributes)?,
        "Range" => Kernel::new(3..=3, range),
        _ => return Ok(None),
    }))
}

fn constant(attributes: &mut Attributes) -> Result<Kernel> {
    let value = if let Some(tensor) = attributes.tensor("value")? {
        Value::read(tensor)?
    } else if let Some(value) = attributes.int("value_int")? {
        ndarray::arr0(value).into()
    } else if let Some(values) = attributes.ints("value_ints")? {
        ndarray::Array1::from(values).into()
    } else if let Some(value) = attributes.float("value_float")? {
        ndarray::arr0(value as f32).into()
    } else if let Some(values) = attributes.floats("value_floats")? {
        ndarray::Array1::from(values).into()
    } else {
        return Err(Error::argument("value", "a tensor or numbers", "none"));
    };
    Ok(Kernel::new(0..=0, move |_| Ok(value.clone())))
}

fn constant_of_shape(attributes: &mut Attributes) -> Result<Kernel> {
    let value = attributes.tensor("value")?.map(Value::read).transpose()?;
    let value = value.unwrap_or_else(|| ndarray::arr0(0.0_f32).into());
    if value.shape().iter().product::<usize>() != 1 {
        return Err(Error::argument("value", "one element", format!("{:?}", value.shape())));
    }
    Ok(Kernel::new(1..=1, move |inputs| {
        let sizes = inputs.need(0)?.integers()?;
        let shape = sizes.into_iter().map(size_of_axis).collect::<Result<Vec<_>>>()?;
        inputs.check(&shape)?;
        Ok(each!(&value, array => {
            let element = array.first().copied().unwrap_or_default();
            ArrayD::from_elem(IxDyn(&shape), element).into()
        }))
    }))
}

fn shape(attributes: &mut Attributes) -> Result<Kernel> {
    let (mut start, mut end) = (0, None);
    if attributes.opset >= 15 {
        start = attributes.int("start")?.unwrap_or(0);
        end = attributes.int("end")?;
    }
    Ok(Kernel::new(1..=1, move |inputs| {
        let sizes = inputs.need(0)?.shape();
        let rank = sizes.len() as i64;
        let bound = |bound: i64| {
            let bound = if bound < 0 { bound.saturating_add(rank) } else { bound };
            bound.clamp(0, rank) as usize
        };
        let (start, end) = (bound(start), bound(end.unwrap_or(rank)));
        let sizes = sizes.get(start..end).unwrap_or_default();
        Ok(sizes.iter().map(|&size| size as i64).collect::<ndarray::Array1<_>>().into())
    }))
}

/// Returns `value` with the same elements in another shape.
pub(in crate::interop::onnx) fn reshaped(value: Value, shape: &[usize]) -> Result<Value> {
    let fits = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    if fits != Some(value.shape().iter().product()) {
        let expected = format!("as many elements as {:?}", value.shape());
        return Err(Error::argument("shape", expected, format!("{shape:?}")));
    }
    fn rows<T: Element>(array: ArrayD<T>) -> ArrayD<T> {
        if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() }
    }
    let refuse = |error| Error::argument("shape", "one of the elements", error);
    Ok(each!(value, array => {
        rows(array).into_shape_with_order(IxDyn(shape)).map_err(refuse)?.into()
    }))
}

fn reshape(attributes: &mut Attributes) -> Result<Kernel> {
    let allow_zero = attributes.opset >= 14 && attributes.flag("allowzero")?;
    Ok(Kernel::reshaping(2..=2, move |inputs| {
        let (value, sizes) = (inputs.need(0)?, inputs.need(1)?.integers()?);
        let old = value.shape();
        let mut shape = Vec::new();
        for (axis, &size) in sizes.iter().enumerate() {
            shape.push(match size {
                0 if !allow_zero => *old.get(axis).unwrap_or(&0),
                -1 => 1,
                size => size_of_axis(size)?,
            });
        }
        let free: Vec<usize> = (0..sizes.len()).filter(|&axis| sizes[axis] == -1).collect();
        if let [axis] = free[..] {
            let known = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
            let known = known.filter(|&known| known > 0);
            shape[axis] = known.map_or(0, |known| old.iter().product::<usize>() / known);
        }
        Ok(shape)
    }))
}

fn flatten(attributes: &mut Attributes) -> Result<Kernel> {
    let axis = attributes.int("axis")?.unwrap_or(1);
    Ok(Kernel::reshaping(1..=1, move |inputs| {
        let value = inputs.need(0)?;
        let rank = value.shape().len();
        let axis = if axis == rank as i64 { rank } else { axis_of(axis, rank)? };
        let (rows, columns) = value.shape().split_at(axis);
        Ok(vec![rows.iter().product(), columns.iter().product()])
    }))
}

fn transpose(attributes: &mut Attributes) -> Result<Kernel> {
    let order = attributes.ints("perm")?;
    Ok(Kernel::new(1..=1, move |inputs| {
        let value = inputs.need(0)?;
        let rank = value.shape().len();
        let order: Vec<usize> = match &order {
            Some(order) => {
                let sorted = axes_of(order, rank)?;
                if sorted.len() != rank {
                    return Err(Error::argument("perm", format!("{rank} axes"), order.len()));
                }
                order.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<_>>()?
            }
            None => (0..rank).rev().collect(),
        };
        Ok(each!(value, array => {
            array.view().permuted_axes(order).as_standard_layout().into_owned().into()
        }))
    }))
}

fn squeeze(attributes: &mut Attributes) -> Result<Kernel> {
    let axes = List::new(attributes, "axes", 13, 1)?;
    Ok(Kernel::reshaping(1..=2, move |inputs| {
        let value = inputs.need(0)?;
        let old = value.shape();
        let removed = match axes.get(inputs)? {
            Some(axes) => axes_of(&axes, old.len())?,
            None => (0..old.len()).filter(|&axis| old[axis] == 1).collect(),
        };
        if let Some(&axis) = removed.iter().find(|&&axis| old[axis] != 1) {
            return Err(Error::argument(
                "axes",
                "axes of size 1",
                format!("axis {axis} of {old:?}"),
            ));
        }
        let kept = (0..old.len()).filter(|axis| !removed.contains(axis));
        Ok(kept.map(|axis| old[axis]).collect())
    }))
}

fn unsqueeze(attributes: &mut Attributes) -> Result<Kernel> {
    let axes = List::new(attributes, "axes", 13, 1)?;
    Ok(Kernel::reshaping(1..=2, move |inputs| {
        let value = inputs.need(0)?;
        let axes = axes.need(inputs, "axes")?;
        let mut shape = value.shape().to_vec();
        for axis in axes_of(&axes, shape.len() + axes.len())? {
            shape.insert(axis, 1);
        }
        Ok(shape)
    }))
}

fn expand(inputs: &Inputs<'_>) -> Result<Value> {
    let (value, sizes) = (inputs.need(0)?, inputs.need(1)?.integers()?);
    let shape = sizes.into_iter().map(size_of_axis).collect::<Result<Vec<_>>>()?;
    let shape = broadcast(value.shape(), &shape)?;
    inputs.check(&shape)?;
    Ok(each!(value, array => broadcast_view(array, &shape)?.to_owned().into()))
}

fn concat(attributes: &mut Attributes) -> Result<Kernel> {
    let Some(axis) = attributes.int("axis")? else {
        return Err(Error::argument("axis", "an axis", "none"));
    };
    fn joined<T: Element>(inputs: &Inputs<'_>, axis: i64, first: &ArrayD<T>) -> Result<Value> {
        let axis = axis_of(axis, first.ndim())?;
        let count = inputs.values.len();
        let arrays = (0..count).map(|index| inputs.need(index)?.array::<T>());
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        if let Some(other) = arrays.iter().find(|array| array.ndim() != first.ndim()) {
            let expected = format!("arrays of {} axes", first.ndim());
            return Err(Error::argument("inputs", expected, format!("{:?}", other.shape())));
        }
        let mut shape = first.shape().to_vec();
        let sizes = arrays.iter().map(|array| array.shape().get(axis).copied().unwrap_or(0));
        shape[axis] = sizes.fold(0, usize::saturating_add);
        inputs.check(&shape)?;
        let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
        let joined = ndarray::concatenate(Axis(axis), &views);
        let refuse = |_| Error::argument("inputs", "arrays that agree in the other axes", "others");
        Ok(T::value(joined.map_err(refuse)?))
    }
    Ok(Kernel::new(
        1..=usize::MAX,
        move |inputs| each!(inputs.need(0)?, array => joined(inputs, axis, array)),
    ))
}

fn split(attributes: &mut Attributes) -> Result<Kernel> {
    let axis = attributes.int("axis")?.unwrap_or(0);
    let lengths = List::new(attributes, "split", 13, 1)?;
    if attributes.opset >= 18 {
        attributes.int("num_outputs")?;
    }
    let count = attributes.outputs;
    let function = move |inputs: &Inputs<'_>| {
        let value = inputs.need(0)?;
        let axis = axis_of(axis, value.shape().len())?;
        let size = value.shape()[axis];
        let lengths = match lengths.get(inputs)? {
            Some(lengths) => lengths.into_iter().map(size_of_axis).collect::<Result<Vec<_>>>()?,
            None => {
                let part = size.div_ceil(count.max(1));
                (0..count).map(|k| part.min(size.saturating_sub(k * part))).collect()
            }
        };
        let sum = lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
        if (lengths.len(), sum) != (count, Some(size)) {
            let expected = format!("{count} sizes with the sum {size}");
            return Err(Error::argument("split", expected, format!("{lengths:?}")));
        }
        let mut start = 0;
        let part = |length: usize| {
            start += length;
            let slice = Slice::from(start - length..start);
            each!(value, array => array.slice_axis(Axis(axis), slice).to_owned().into())
        };
        Ok(lengths.into_iter().map(part).collect())
    };
    let function = Function::Values(Box::new(function));
    Ok(Kernel { function, inputs: 1..=2, outputs: usize::MAX })
}

fn range(inputs: &Inputs<'_>) -> Result<Value> {
    let one = |index: usize| -> Result<Value> { reshaped(inputs.need(index)?.clone(), &[]) };
    let count = |count: f64| -> Result<usize> {
        let count = if count > 0.0 { count.ceil() as usize } else { 0 };
        inputs.check(&[count])
    };
    let zero = || Error::argument("delta", "a number other than 0", 0);
    Ok(match (one(0)?, one(1)?, one(2)?) {
        (Value::F32(start), Value::F32(end), Value::F32(step)) => {
            let (start, end, step) = (start[[]], end[[]], step[[]]);
            let count = count(((f64::from(end) - f64::from(start)) / f64::from(step)).max(0.0))?;
            (0..count).map(|k| start + k as f32 * step).collect::<ndarray::Array1<_>>().into()
        }
        (start, end, step) => {
            let number = start.number();
            let (start, end, step) =
                (start.integers()?[0], end.integers()?[0], step.integers()?[0]);
            if step == 0 {
                return Err(zero());
            }
            let count = count((end as f64 - start as f64) / step as f64)?;
            let values = (0..count as i64).map(|k| start.wrapping_add(k.wrapping_mul(step)));
            match number == <i32 as crate::interop::onnx::value::Sealed>::NUMBER {
                true => values.map(|value| value as i32).collect::<ndarray::Array1<_>>().into(),
                false => values.collect::<ndarray::Array1<_>>().into(),
            }
        }
    })
}
