//! The engine: networks of any cell over time, with lengths, directions, layers, streaming and truncation.
//!
//! # The division of time and batch
//!
//! A call orders its sequences from long to short, so that those alive at a step are the first rows. The
//! batch is divided into blocks, one for each thread. The blocks are independent within a span, or
//! backward within a part. If there are fewer blocks than threads, several threads share the products of
//! a step of a block.
//!
//! A walk forward computes span after span. If every step is stored, there is one span. Otherwise the
//! backward pass computes each span again from the states before it. A span is divided into chunks, whose
//! inputs are multiplied by W_ih in one product, and a chunk into steps.
//!
//! A walk backward computes the parts of each span, and the chunks and steps of a part, in reverse. At the
//! end of a part it sums the gradients of the weights over the part.
//!
//! ```text
//! boundary         0   1   2   3   4   5   6   7   8      time →
//! step             │ 0 │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ 7 │
//!                  ├───┴───┴───┴───┼───┴───┴───┴───┤
//! block 0  longest │ ■   ■   ■   ■ │ ■   ■   ■   ■ │
//!                  │ ■   ■   ■   ■ │ ■   ■   ■     │
//!                  ├───────────────┼───────────────┤
//! block 1          │ ■   ■   ■   ■ │ ■             │
//!         shortest │ ■   ■         │               │
//!                  └───────────────┴───────────────┘
//! span             │←      0      →│←      1      →│      Recompute::Every(4)
//! chunk            │←  0  →│←  1  →│←  2  →│←  3  →│      forward: one W_ih x each
//! part             │←  0  →│←  1  →│←  2  →│←  3  →│      backward: one sum of gradients each
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | step | one point in time, of all sequences of a block that are alive there |
//! | boundary | the position between two steps, where states are stored; boundary t is before step t |
//! | block | consecutive sequences of the order, which walk through time together |
//! | span | steps between two kept states, or all steps; in the backward pass, the tape has all their rows |
//! | chunk | steps whose inputs are multiplied by W_ih in one product; its gates stay in the second-level cache |
//! | part | steps of a span whose weight gradients are one sum; its rows stay in the second-level cache |
//! | reverse | backward in time, as the second direction; "backward" alone means the backward pass |
//! | alive | of a sequence: having the step; the rows of sequences alive come first |
//! | place | the position of a sequence in the order |
//!
//! # Files
//!
//! | file | contents |
//! |---|---|
//! | `recurrent` | [`Recurrent`], the network of a cell |
//! | `config` | [`RecurrentBuilder`] |
//! | `engine` | the table of the entry points, compiled once for each element type |
//! | `network` | layers and directions without the type of the cell, and the forward pass |
//! | `backward` | the backward pass |
//! | `direction` | one layer in one direction, forward and backward: the core |
//! | `sums` | the gradients of a layer's weights |
//! | `io` | the arrays that a walk reads and writes, and their split over threads |
//! | `tape` | [`Tape`]: the rows of a walk; [`Recompute`] |
//! | `inspect` | gates, states and memory of a tape |
//! | `lengths` | the order of the sequences, and its blocks |
//! | `state` | [`State`]: the states of all layers and directions |
//! | `zoneout` | a cell whose states keep some old values |
//! | `recurrent_dropout` | dropout of the units of h' in the product with W_hh |
//! | `workspace` | [`Workspace`]: packed weights and memory for repeated inference |
//! | `stream` | [`Stream`]: inference step by step |
//! | `training_stream` | [`TrainingStream`], [`BackwardStream`]: training step by step |
//! | `step_tape` | the tape of a training stream |
//! | `truncated` | truncated backpropagation through time |
//! | `step_gradients` | [`StepGradients`]: the gradients of the states after each step |

mod backward;
mod config;
mod direction;
mod engine;
mod inspect;
mod io;
mod lengths;
mod network;
mod recurrent;
mod recurrent_dropout;
mod state;
mod step_gradients;
mod step_tape;
mod stream;
mod sums;
mod tape;
mod training_stream;
pub mod truncated;
mod workspace;
mod zoneout;

pub use config::RecurrentBuilder;
pub use recurrent::{
    CoupledLstm, Gru, LayerNormLstm, Lstm, PeepholeLstm, ProjectedLstm, Recurrent, Rnn,
};
pub use state::State;
pub use step_gradients::StepGradients;
pub use stream::Stream;
pub use tape::{Recompute, Tape};
pub use training_stream::{BackwardStream, TrainingStream};
pub use truncated::{Truncated, TruncatedWindow};
pub use workspace::Workspace;
