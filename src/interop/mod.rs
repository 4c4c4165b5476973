//! Files of other programs.
//!
//! | module | files | feature |
//! |---|---|---|
//! | [`numpy`] | `.npy`, `.npz` | `npz` for `.npz` |
//! | `pytorch` | `.pt`, `.pth` and safetensors files of a `state_dict` | `pytorch` |
//! | `keras` | `.keras`, `.weights.h5` of Keras 3, read and written | `keras` |
//! | `onnx` | `.onnx`, read and written | `onnx` |
//!
//! `docs/interop.md` lists the calls.

#[cfg(feature = "npz")]
mod archive;
#[cfg(feature = "keras")]
pub mod keras;
pub mod numpy;
#[cfg(feature = "onnx")]
pub mod onnx;
#[cfg(feature = "pytorch")]
pub mod pytorch;
