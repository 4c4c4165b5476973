//! Files of other programs.
//!
//! | module | files | feature |
//! |---|---|---|
//! | [`numpy`] | `.npy`, `.npz` | `npz` for `.npz` |
//! | `pytorch` | `.pt`, `.pth` and safetensors files of a `state_dict` | `pytorch` |
//!
//! `docs/interop.md` lists the calls.

#[cfg(feature = "npz")]
mod archive;
pub mod numpy;
#[cfg(feature = "pytorch")]
pub mod pytorch;
