//! Tests of files of other programs.
//!
//! They are one program, so that shared code is compiled once.

mod keras;
mod numpy;
mod onnx;
mod pytorch;
mod readers;
mod round_trips;

use common::memory;

#[path = "../common"]
mod common {
    pub(crate) mod fixture;
    pub(crate) mod memory;
    pub(crate) mod onnx_value;
    #[allow(dead_code, reason = "not every program uses folders")]
    pub(crate) mod temporary;
}
