//! ONNX files in and out.

mod arrays;
mod export;
mod fixtures;
mod hostile;
mod memory;
mod nodes;
