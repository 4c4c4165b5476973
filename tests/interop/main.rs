//! Tests of files of other programs.

mod onnx;
