//! Operators that choose elements by indices.
#![expect(clippy::indexing_slicing, reason = "axes and indices are checked before")]

use ndarray::{ArrayD, Axis, IxDyn, Slice};

use super::{Inputs, Kernel, List, axes_of, axis_of};
use crate::error::{Error, Result};
use crate::interop::onnx::attributes::Attributes;
use crate::interop::onnx::value::{Element, Value, each};

/// Returns the operator `op`, if it is one of this file.
pub(super) fn kernel(op: &str, attributes: &mut Attributes) -> Result<Option<Kernel>> {
    Ok(Some(match op {
        "Gather" => gather(attributes)?,
        "GatherElements" => gather_elements(attributes)?,
        "Slice" => slice(attributes)?,
        "ReverseSequence" => reverse_sequence(attributes)?,
        "OneHot" => one_hot(attributes)?,
        _ => return Ok(None),
    }))
}

/// Returns indices below `size`, of which the negative ones count from the end.
fn indices(value: &Value, size: usize) -> Result<Vec<usize>> {
    let index = |index: i64| {
        axis_of(index, size).map_err(|_| {
            Error::argument("indices", format!("at least -{size} and less than {size}"), index)
        })
    };
    value.integers()?.into_iter().map(index).collect()
}

fn gather(attributes: &mut Attributes) -> Result<Kernel> {
    let axis = attributes.int("axis")?.unwrap_or(0);
    Ok(Kernel::new(2..=2, move |inputs| {
        let (value, index) = (inputs.need(0)?, inputs.need(1)?);
        let axis = axis_of(axis, value.shape().len())?;
        let chosen = indices(index, value.shape()[axis])?;
        let (before, after) = value.shape().split_at(axis);
        let shape = [before, index.shape(), &after[1..]].concat();
        inputs.check(&shape)?;
        Ok(each!(value, array => {
            let rows = array.select(Axis(axis), &chosen).as_standard_layout().into_owned();
            let refuse = |error| Error::argument("indices", "a shape that fits", error);
            rows.into_shape_with_order(IxDyn(&shape)).map_err(refuse)?.into()
        }))
    }))
}

fn gather_elements(attributes: &mut Attributes) -> Result<Kernel> {
    let axis = attributes.int("axis")?.unwrap_or(0);
    fn chosen<T: Element>(
        array: &ArrayD<T>,
        axis: usize,
        indices: Vec<usize>,
        shape: &[usize],
    ) -> ArrayD<T> {
        let mut indices = indices.into_iter();
        ArrayD::from_shape_fn(IxDyn(shape), |place| {
            let mut place = place;
            place[axis] = indices.next().unwrap_or(0);
            array[place]
        })
    }
    Ok(Kernel::new(2..=2, move |inputs| {
        let (value, index) = (inputs.need(0)?, inputs.need(1)?);
        let axis = axis_of(axis, value.shape().len())?;
        let (from, shape) = (value.shape(), index.shape());
        let inside = |k: usize| k == axis || shape[k] <= from[k];
        if shape.len() != from.len() || !(0..from.len()).all(inside) {
            let expected = format!("an array within {from:?}");
            return Err(Error::argument("indices", expected, format!("{shape:?}")));
        }
        let indices = indices(index, from[axis])?;
        Ok(each!(value, array => chosen(array, axis, indices, shape).into()))
    }))
}

/// Returns the operator of ranges of axes. They are attributes before version 10.
fn slice(attributes: &mut Attributes) -> Result<Kernel> {
    let starts = List::new(attributes, "starts", 10, 1)?;
    let ends = List::new(attributes, "ends", 10, 2)?;
    let axes = List::new(attributes, "axes", 10, 3)?;
    let new = attributes.opset >= 10;
    Ok(Kernel::new(1..=5, move |inputs| {
        let value = inputs.need(0)?;
        let (starts, ends) = (starts.need(inputs, "starts")?, ends.need(inputs, "ends")?);
        let axes = axes.get(inputs)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = inputs.get(4).filter(|_| new).map(Value::integers).transpose()?;
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        let counts = [starts.len(), ends.len(), axes.len(), steps.len()];
        if counts.iter().any(|&count| count != starts.len()) {
            return Err(Error::argument("starts", "lists of equal length", format!("{counts:?}")));
        }
        let shape = value.shape();
        axes_of(&axes, shape.len())?;
        let mut slices = Vec::new();
        for (k, &axis) in axes.iter().enumerate() {
            let axis = axis_of(axis, shape.len())?;
            slices.push((axis, range(shape[axis] as i64, starts[k], ends[k], steps[k])?));
        }
        Ok(each!(value, array => {
            let mut view = array.view();
            for &(axis, slice) in &slices {
                view.slice_axis_inplace(Axis(axis), slice);
            }
            view.as_standard_layout().into_owned().into()
        }))
    }))
}

/// Returns the part of an axis of `size` elements from `start` to before `end`.
fn range(size: i64, start: i64, end: i64, step: i64) -> Result<Slice> {
    if step == 0 {
        return Err(Error::argument("steps", "numbers other than 0", 0));
    }
    let from_start = |place: i64| if place < 0 { place.saturating_add(size) } else { place };
    // A larger step chooses one element too.
    let step = step.clamp(-size.max(1), size.max(1)) as isize;
    let (first, last) = if step > 0 {
        (from_start(start).clamp(0, size), from_start(end).clamp(0, size))
    } else {
        let end = if end < 0 { end.saturating_add(size).max(-1) } else { end };
        (end.clamp(-1, size - 1) + 1, from_start(start).clamp(-1, size - 1) + 1)
    };
    let last = last.max(first) as isize;
    Ok(Slice { start: first as isize, end: Some(last), step })
}

fn reverse_sequence(attributes: &mut Attributes) -> Result<Kernel> {
    let batch_axis = attributes.int("batch_axis")?.unwrap_or(1);
    let time_axis = attributes.int("time_axis")?.unwrap_or(0);
    if ![(1, 0), (0, 1)].contains(&(batch_axis, time_axis)) {
        let got = format!("{batch_axis} and {time_axis}");
        return Err(Error::argument("batch_axis and time_axis", "0 and 1, in any order", got));
    }
    let (batch, time) = (batch_axis as usize, time_axis as usize);
    Ok(Kernel::new(2..=2, move |inputs| {
        let (value, lengths) = (inputs.need(0)?, inputs.need(1)?.integers()?);
        let shape = value.shape();
        let whole = |&length: &i64| length >= 0 && length <= shape[time] as i64;
        if shape.len() < 2 || lengths.len() != shape[batch] || !lengths.iter().all(whole) {
            let expected = format!("a length for each sequence of {shape:?}");
            return Err(Error::argument("sequence_lens", expected, format!("{lengths:?}")));
        }
        let from = |mut place: IxDyn| {
            let length = lengths[place[batch]] as usize;
            if place[time] < length {
                place[time] = length - 1 - place[time];
            }
            place
        };
        Ok(each!(value, array => {
            ArrayD::from_shape_fn(IxDyn(shape), |place| array[from(place)]).into()
        }))
    }))
}

fn one_hot(attributes: &mut Attributes) -> Result<Kernel> {
    let axis = attributes.int("axis")?.unwrap_or(-1);
    fn made<T: Element>(inputs: &Inputs<'_>, axis: i64, values: &ArrayD<T>) -> Result<ArrayD<T>> {
        let (index, depth) = (inputs.need(0)?, inputs.need(1)?.integers()?);
        let (&[depth], [off, on]) = (&depth[..], &values.iter().copied().collect::<Vec<_>>()[..])
        else {
            return Err(Error::argument("depth and values", "one number and two", "others"));
        };
        let axis = axis_of(axis, index.shape().len() + 1)?;
        let mut shape = index.shape().to_vec();
        shape.insert(axis, super::size_of_axis(depth)?);
        inputs.check(&shape)?;
        let array = index.integers()?;
        let array = ArrayD::from_shape_vec(index.shape(), array);
        let refuse = |error| Error::argument("indices", "an array", error);
        let array = array.map_err(refuse)?.insert_axis(Axis(axis));
        Ok(ArrayD::from_shape_fn(IxDyn(&shape), |mut place| {
            let class = std::mem::take(&mut place[axis]) as i64;
            let index = array[place];
            if index == class || index.saturating_add(depth) == class { *on } else { *off }
        }))
    }
    Ok(Kernel::new(3..=3, move |inputs| {
        Ok(each!(inputs.need(2)?, values => made(inputs, axis, values)?.into()))
    }))
}
