//! Training: a loop over epochs and batches with validation, early stopping and checkpoints.
//!
//! A model implements two methods of [`Model`]: the gradient of a batch and the evaluation of a batch.
//! The samples are a [`Source`](crate::data::Source).
//!
//! ```
//! use ndarray::{Array2, Array3};
//! use rand::{Rng, SeedableRng};
//! use rand_chacha::ChaCha8Rng;
//! use recurrent::{Float, Gru, Result, Sequences, arrays};
//! use recurrent::layer::{Layer, Linear};
//! use recurrent::loss::{Loss, Mse};
//! use recurrent::optim::Adam;
//! use recurrent::data::Source;
//! use recurrent::train::{Model, Score, Trainer};
//!
//! /// Returns at each step the input of the step before.
//! #[derive(Clone)]
//! struct Echo<T: Float> { gru: Gru<T>, head: Linear<T> }
//! arrays!(Echo { gru, head });
//!
//! #[derive(Clone, Default)]
//! struct Squares { sum: f64, steps: f64 }
//! impl Score for Squares {
//!     fn loss(&self) -> f64 { self.sum / self.steps }
//!     fn metrics(&self) -> Vec<(&'static str, f64)> { vec![("mse", self.loss())] }
//!     fn merge(&mut self, other: Self) {
//!         (self.sum, self.steps) = (self.sum + other.sum, self.steps + other.steps);
//!     }
//! }
//!
//! impl Model for Echo<f32> {
//!     type Batch = (Sequences<f32>, Sequences<f32>);
//!     type Score = Squares;
//!     fn loss_and_grad(&self, (x, y): &Self::Batch, grad: &mut Self, rng: &mut dyn Rng) -> Result<f64> {
//!         let (h, _, tape) = self.gru.forward_train(x, None, rng)?;
//!         let (y_h, head_tape) = self.head.forward_train(&h, rng)?;
//!         let (loss, d_y) = Mse.loss(&y_h, y)?;
//!         let d_h: Sequences<f32> = self.head.backward(head_tape, &d_y, &mut grad.head)?;
//!         self.gru.backward(tape, &d_h, None, &mut grad.gru)?;
//!         Ok(loss)
//!     }
//!     fn score_batch(&self, (x, y): &Self::Batch, score: &mut Squares) -> Result<()> {
//!         let (h, _) = self.gru.forward(x, None)?;
//!         let (loss, _) = Mse.loss(&self.head.forward(&h)?, y)?;
//!         score.merge(Squares { sum: loss * x.steps() as f64, steps: x.steps() as f64 });
//!         Ok(())
//!     }
//! }
//!
//! struct Noise;
//! impl Source<(Sequences<f32>, Sequences<f32>)> for Noise {
//!     fn len(&self) -> usize { 32 }
//!     fn batch(&self, samples: &[usize]) -> Result<(Sequences<f32>, Sequences<f32>)> {
//!         let value = |t: usize, b: usize| ((t * 7 + samples[b] * 3) % 5) as f32 / 5.0;
//!         let x = Array3::from_shape_fn((6, samples.len(), 1), |(t, b, _)| value(t, b));
//!         let y = Array3::from_shape_fn((6, samples.len(), 1), |(t, b, _)| if t > 0 { value(t - 1, b) } else { 0.0 });
//!         Ok((Sequences::full(x)?, Sequences::full(y)?))
//!     }
//! }
//!
//! let mut rng = ChaCha8Rng::seed_from_u64(1);
//! let mut model = Echo { gru: Gru::builder(1, 8).build(&mut rng)?, head: Linear::new(8, 1, &mut rng)? };
//! let history = Trainer::new(Adam::new(0.02)?).epochs(20).early_stopping(5).fit(&mut model, &Noise, Some(&Noise))?;
//! assert!(history.epochs.last().is_some_and(|epoch| epoch.loss < history.epochs[0].loss / 2.0));
//! # Ok::<(), recurrent::Error>(())
//! ```
//!
//! Each batch has its own random-number stream, which the seed and the number of the batch determine,
//! so a checkpoint holds no state of a generator. A [`checkpoint`](Trainer::checkpoint) is written
//! atomically. A training that is killed at any moment resumes from the last one and ends with the same
//! bits.
//!
//! | file | duty |
//! |---|---|
//! | `model` | [`Model`]: the interface of a trainable model; [`predict`]: predictions over a source |
//! | `communicator` | [`Communicator`]: the exchange between the ranks of a [distributed](Trainer::distributed) training |
//! | `ranks` | the samples that each rank computes, and the agreement of all |
//! | `score` | [`Score`]: an evaluation summed over batches |
//! | `metrics` | the scores of classification, regression and language models |
//! | `options` | [`Trainer`] and its options |
//! | `fit` | the training loop |
//! | `course` | the part of the loop that does not depend on the model; [`Event`] |
//! | `weighting` | means over batches of different weights |
//! | `locate` | the sample, step and feature of a value that is not finite |
//! | `resume` | checkpoints |
//! | `run` | the part of a checkpoint beside arrays |
//! | `history` | [`History`]: the result of each epoch |
//! | `curves` | the history as SVG (feature `plot`) |
//! | `progress` | `progress`: a callback that shows a progress bar (feature `progress`) |

mod communicator;
mod course;
#[cfg(feature = "plot")]
mod curves;
mod fit;
mod history;
mod locate;
pub mod metrics;
mod model;
mod options;
#[cfg(feature = "progress")]
mod progress;
mod ranks;
mod resume;
mod run;
mod score;
mod weighting;

pub use communicator::{Communicator, ThreadCommunicator, agree};
pub use course::Event;
pub use history::{Epoch, History, Resumed};
pub use model::{Model, predict};
pub use options::Trainer;
#[cfg(feature = "progress")]
pub use progress::progress;
pub use score::Score;
pub(crate) use score::{join, split};
