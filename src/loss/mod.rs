//! Losses: each returns its value and its gradient together.
//!
//! All of them implement [`Loss`]. A loss takes rows `[batch, features]` or sequences. Every step of
//! every sequence has the same weight; the padding is left out. The value is a mean; [`Sum`] returns
//! the sum instead. Where nothing counts (no row or step, or all are ignored), value, gradient and
//! [`count`](Loss::count) are zero.
//!
//! | file | loss |
//! |---|---|
//! | `traits` | [`Loss`], the trait; [`RowLoss`]: the loss of each row or step; [`Batch`]: rows or sequences |
//! | `reduce` | the mean over rows or steps, with its gradient |
//! | `mse` | [`Mse`]: squared error |
//! | `mae` | [`Mae`]: absolute error |
//! | `huber` | [`Huber`]: squared near zero, absolute far from it |
//! | `quantile` | [`Quantile`]: pinball loss, for several quantiles at once |
//! | `cross_entropy` | [`CrossEntropy`]: one class of several |
//! | `linear_cross_entropy` | the cross entropy of a linear layer's outputs, without an array of all logits |
//! | `soft_cross_entropy` | [`SoftCrossEntropy`]: probabilities of classes as targets |
//! | `kl_divergence` | [`KlDivergence`]: a whole distribution over classes |
//! | `ctc` | [`Ctc`]: labels of unknown times, fewer than steps |
//! | `bce` | [`BceWithLogits`]: labels 0 or 1, from logits |
//! | `sum` | [`Sum`]: any of them with the sum in place of the mean |
//! | `sample_weighted` | [`SampleWeighted`]: any of them with weights of samples or steps |
//! | `weighted` | [`Weighted`]: a weighted sum of two losses, for outputs in pairs |

pub mod bce;
pub mod cross_entropy;
pub mod ctc;
pub mod huber;
pub mod kl_divergence;
mod linear_cross_entropy;
pub mod mae;
pub mod mse;
pub mod quantile;
mod reduce;
pub mod sample_weighted;
pub mod soft_cross_entropy;
mod sum;
mod traits;
mod weighted;

pub use bce::BceWithLogits;
pub use cross_entropy::CrossEntropy;
pub use ctc::Ctc;
pub use huber::Huber;
pub use kl_divergence::KlDivergence;
pub use mae::Mae;
pub use mse::Mse;
pub use quantile::Quantile;
pub use sample_weighted::{SampleWeighted, SampleWeights};
pub use soft_cross_entropy::SoftCrossEntropy;
pub use sum::Sum;
pub use traits::{Batch, Logits, Loss, RowLoss};
pub use weighted::Weighted;
