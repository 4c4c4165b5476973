//! Conversion between the tensors of the protocol's files and arrays.

use ndarray::{Array, ArrayView, Dimension, IxDyn};
use peer_protocol::{Array as Tensor, Result, Tensors};
use recurrent::{Arrays, Float};

/// Returns tensor `name` of the file.
pub fn array<T: Float, D: Dimension>(tensors: &Tensors, name: &str) -> Result<Array<T, D>> {
    let tensor = tensors.get(name).ok_or_else(|| format!("the file has no {name}"))?;
    let values = tensor.values.iter().map(|&value| T::from_f64(value)).collect();
    Ok(Array::from_shape_vec(tensor.shape.clone(), values)?.into_dimensionality()?)
}

/// Returns `array` with its `name`, for the answer.
pub fn named<T: Float, D: Dimension>(name: &str, array: ArrayView<'_, T, D>) -> (String, Tensor) {
    let values = array.iter().map(|value| value.as_f64()).collect();
    (name.to_owned(), Tensor::new(array.shape(), values))
}

/// Sets each array of `model` to the tensor of the same name under `prefix`.
pub fn set<T: Float>(
    model: &mut impl Arrays<Elem = T>,
    tensors: &Tensors,
    prefix: &str,
) -> Result<()> {
    let mut outcome = Ok(());
    model.for_each_mut(&mut |name, mut values| match array::<T, IxDyn>(
        tensors,
        &format!("{prefix}{name}"),
    ) {
        Ok(given) if given.shape() == values.shape() => values.assign(&given),
        Ok(given) => {
            let (expected, got) = (values.shape(), given.shape());
            outcome = Err(format!("{name}: expected {expected:?}, got {got:?}").into());
        }
        Err(error) => outcome = Err(error),
    });
    outcome
}
