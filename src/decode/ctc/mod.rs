//! Labels from logits that were trained by [`Ctc`](crate::loss::Ctc), [time, batch, classes].
//!
//! | file | contents |
//! |---|---|
//! | `greedy` | [`greedy`]: the labels of the likeliest class of each step; [`Greedy`]: step by step |
//! | `prefix` | [`PrefixBeam`]: the likeliest labels, summed over their alignments; [`PrefixSearch`]: step by step; [`PrefixScorer`]: a lexicon or language model |
//! | `alignment` | [`align`]: which steps say which of given labels |
//!
//! ```
//! use ndarray::array;
//! use recurrent::Sequences;
//! use recurrent::decode::ctc::{PrefixBeam, align, greedy};
//!
//! // One sequence of 2 steps: blank 0.6 and label 1 0.4, twice.
//! let (blank, one) = (0.6_f64.ln(), 0.4_f64.ln());
//! let logits = Sequences::full(array![[[blank, one]], [[blank, one]]])?;
//! assert_eq!(greedy(&logits, 0)?, [[0_usize; 0]]); // blank blank has 0.36, the most of one alignment
//!
//! // Three alignments spell the label 1, 0.64 together.
//! let best = &PrefixBeam::new(0, 8)?.decode(&logits)?[0][0];
//! assert_eq!(best.labels, [1]);
//! assert!((best.log_probability.exp() - 0.64).abs() < 1e-12);
//!
//! let alignment = &align(&logits, &[vec![1]], 0)?[0];
//! assert_eq!(alignment.steps, [0..1]); // the likeliest of the three, the earliest of equals
//! # Ok::<(), recurrent::Error>(())
//! ```

mod alignment;
mod greedy;
mod prefix;

use ndarray::{ArrayView1, Axis};

pub use alignment::{Alignment, align};
pub use greedy::{Greedy, greedy};
pub use prefix::{PrefixBeam, PrefixScorer, PrefixSearch, Transcript};

use crate::float::Float;
use crate::sequences::Sequences;

/// Returns the logits of step `t` of sequence `b`.
fn row<T: Float>(logits: &Sequences<T>, t: usize, b: usize) -> ArrayView1<'_, T> {
    logits.values().view().index_axis_move(Axis(0), t).index_axis_move(Axis(0), b)
}

/// Returns the logarithm of the softmax, or the class of the first logit that is NaN or ∞, 0 if all are −∞.
fn log_softmax<T: Float>(logits: ArrayView1<'_, T>) -> Result<Vec<f64>, usize> {
    let below = |x: &&T| **x < T::infinity();
    if let Some(class) = logits.iter().position(|x| !below(&x)) {
        return Err(class);
    }
    let largest = logits.iter().fold(f64::NEG_INFINITY, |most, x| most.max(x.as_f64()));
    if largest == f64::NEG_INFINITY {
        return Err(0);
    }
    let sum = logits.iter().map(|x| (x.as_f64() - largest).exp()).sum::<f64>();
    Ok(logits.iter().map(|x| x.as_f64() - largest - sum.ln()).collect())
}

/// Returns ln(eᵃ + eᵇ).
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}
