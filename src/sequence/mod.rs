//! Over time: lengths, directions, layers, streaming and truncation. Knows no equation.
//!
//! | file | duty |
//! |---|---|
//! | `recurrent` | [`Recurrent`], the network of a cell |
//! | `config` | [`RecurrentBuilder`] |
//! | `network` | layers × directions, forward and backward; the table of the engine's entry points |
//! | `direction` | one layer in one direction, forward and backward: the heart |
//! | `sums` | the gradients of a layer's weights |
//! | `io` | the arrays that a walk reads and writes, and their split over threads |
//! | `tape` | [`Tape`]: the rows of a walk; [`Recompute`] |
//! | `inspect` | what a tape shows of each step |
//! | `lengths` | ragged rows: which sequences are alive at a step |
//! | `state` | [`State`]: zeros, given or learned |
//! | `zoneout` | a cell whose states stay as they were, at random |
//! | `recurrent_dropout` | units of h' that W_hh does not see, at random |
//! | `workspace` | [`Workspace`]: memory for the next call |
//! | `stream` | [`Stream`]: step by step |
//! | `truncated` | truncated backpropagation through time |
//! | `step_gradients` | [`StepGradients`]: gradients by the states at each step |

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
