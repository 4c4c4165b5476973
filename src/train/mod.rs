//! Training: a loop over epochs and batches that validates, stops early, writes checkpoints and goes
//! on from them.
//!
//! A model is any composition of layers; what it learns from a batch, and how it is judged, are two
//! methods of [`Model`]. The samples are a
//! [`Source`](crate::data::Source).
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
//! /// Says at each step what the last one was.
//! #[derive(Clone)]
//! struct Echo<T: Float> { gru: Gru<T>, head: Linear<T> }
//! arrays!(Echo { gru, head });
//!
//! #[derive(Clone, Default)]
//! struct Squares { sum: f64, batches: f64 }
//! impl Score for Squares {
//!     fn loss(&self) -> f64 { self.sum / self.batches }
//!     fn metrics(&self) -> Vec<(&'static str, f64)> { vec![("mse", self.loss())] }
//! }
//! impl std::fmt::Display for Squares {
//!     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "MSE {}", self.loss()) }
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
//!         self.gru.backward(tape, d_h.values(), None, &mut grad.gru)?;
//!         Ok(loss)
//!     }
//!     fn score_batch(&self, (x, y): &Self::Batch, score: &mut Squares) -> Result<()> {
//!         let (h, _) = self.gru.forward(x, None)?;
//!         let (loss, _) = Mse.loss(&self.head.forward(&h)?, y)?;
//!         (score.sum, score.batches) = (score.sum + loss, score.batches + 1.0);
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
//! What is random in a batch is drawn from a stream of its own, by the seed and the batch's number, so
//! nothing but these has to be kept. A [`checkpoint`](Trainer::checkpoint) is written whole or not at
//! all; a training killed at any moment goes on from the last one and ends with the same bits.
//!
//! | file | duty |
//! |---|---|
//! | `model` | [`Model`]: what trains |
//! | `trainer` | [`Trainer`]: the loop; [`Event`] and [`Flow`]: its callbacks |
//! | `run` | where a training stands |
//! | `checkpoint` | that, and all arrays, in a file |
//! | `history` | [`History`]: what each epoch came to |
//! | `curves` | that as SVG (feature `plot`) |
//! | `progress` | `progress`: a callback that shows how far it is (feature `progress`) |
//! | `metrics` | [`Score`] and what models are judged by |

mod checkpoint;
#[cfg(feature = "plot")]
mod curves;
mod history;
pub mod metrics;
mod model;
#[cfg(feature = "progress")]
mod progress;
mod run;
mod trainer;

pub use history::{Epoch, History};
pub use metrics::Score;
pub use model::Model;
#[cfg(feature = "progress")]
pub use progress::progress;
pub use trainer::{Event, Flow, Trainer};
