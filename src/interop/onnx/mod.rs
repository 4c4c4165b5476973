//! ONNX files: networks of other programs are run here, and models of this crate elsewhere.
//!
//! [`Graph::load`] reads a file, [`Graph::run`] computes it and [`Graph::stream`] hands its states from step to
//! step. [`Weights`] takes weights out of a file. [`Export::to_onnx`] writes a ready model,
//! [`Export::to_onnx_stream`] a stream of it.
//! [`Seq2Seq::to_onnx_encoder`](crate::model::Seq2Seq::to_onnx_encoder) and
//! [`Seq2Seq::to_onnx_decoder`](crate::model::Seq2Seq::to_onnx_decoder) write an encoder-decoder.
//!
//! # Operators
//!
//! Versions 7 to 28, with the element types `float`, `double`, `int32`, `int64` and `bool`. Anything else is
//! refused by name when the file is read.
//!
//! | operators | |
//! |---|---|
//! | LSTM, GRU, RNN | in full: directions, `sequence_lens`, initial states, peepholes, `clip`, `activations`, `input_forget`, `linear_before_reset`, `layout` |
//! | MatMul, Gemm | by the kernels of [`tensor`](crate::tensor) |
//! | Add, Sub, Mul, Div, Pow, Min, Max, Abs, Neg, Exp, Log, Sqrt, Reciprocal, Floor, Ceil, Clip | integers wrap |
//! | Relu, Tanh, Sigmoid, LeakyRelu, ThresholdedRelu, HardSigmoid, Elu, Softsign, Softplus | |
//! | Equal, Less, LessOrEqual, Greater, GreaterOrEqual, And, Or, Xor, Not, Where, Cast | |
//! | Identity, Dropout | dropout outside training |
//! | Constant, ConstantOfShape, Range, Shape, Size | |
//! | Reshape, Flatten, Transpose, Squeeze, Unsqueeze, Expand, Concat, Split | |
//! | Gather, GatherElements, Slice, ReverseSequence, OneHot | |
//! | ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ArgMax, CumSum | |
//! | Softmax, LogSoftmax, LayerNormalization | |
//!
//! An activation function of a recurrent operator has the default numbers of the operator of that name. The
//! clip bounds the sums of the gates, and not the cell state that the output of an LSTM is computed from, as
//! in onnxruntime.
//!
//! # Files
//!
//! | file | contents |
//! |---|---|
//! | `proto` | the messages of a file |
//! | `value` | [`Value`]: an array of any type |
//! | `attributes` | the attributes of a node, each of which must be read |
//! | `reader` | from the messages of a file to a graph |
//! | `graph`, `stream` | [`Graph`], [`Stream`] |
//! | `arrays` | [`Weights`]: the weights of a file, for layers and models |
//! | `recurrent` | LSTM, GRU and RNN on the engine, or as a loop of any settings |
//! | `operator` | all other operators |
//! | `export` | [`Export`]: models as files |

mod arrays;
mod attributes;
mod export;
mod graph;
mod operator;
mod proto;
mod reader;
mod recurrent;
mod stream;
mod value;

pub use arrays::Weights;
pub use export::Export;
pub use graph::Graph;
pub use stream::Stream;
pub use value::{Element, Value};
