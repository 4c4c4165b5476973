//! Files of other programs.

#[cfg(feature = "onnx")]
pub mod onnx;
