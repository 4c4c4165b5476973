//! ONNX files in and out.

mod arrays;
mod export;
mod fixtures;
mod hostile;
mod memory;
mod nodes;
mod seq2seq;
mod transcriber;
