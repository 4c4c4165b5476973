//! Tensors of safetensors files as values of ONNX.

use ndarray::{ArrayD, IxDyn};
use recurrent::interop::onnx::Value;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Returns the value of a tensor.
pub(crate) fn value(tensor: &TensorView<'_>) -> Value {
    fn array<T, const N: usize>(tensor: &TensorView<'_>, of: fn([u8; N]) -> T) -> ArrayD<T> {
        let values = tensor.data().chunks_exact(N).map(|bytes| of(bytes.try_into().unwrap()));
        ArrayD::from_shape_vec(IxDyn(tensor.shape()), values.collect()).unwrap()
    }
    match tensor.dtype() {
        Dtype::F32 => array(tensor, f32::from_le_bytes).into(),
        Dtype::F64 => array(tensor, f64::from_le_bytes).into(),
        Dtype::I32 => array(tensor, i32::from_le_bytes).into(),
        Dtype::I64 => array(tensor, i64::from_le_bytes).into(),
        dtype => panic!("{dtype:?}"),
    }
}
