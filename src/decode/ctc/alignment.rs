//! [`align`]: the likeliest alignment of given labels (Viterbi).
#![expect(
    clippy::indexing_slicing,
    reason = "the cells are twice the labels and one, which `align` has checked"
)]

use std::ops::Range;

use ndarray::Array2;

use crate::decode::ctc::{log_softmax, row};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::loss::ctc::{check_labels, needed_steps, not_finite, too_long};
use crate::sequences::Sequences;

/// The likeliest alignment of labels with the steps of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// The steps of each label, in order. Steps between them are blank.
    pub steps: Vec<Range<usize>>,
    /// The class of each step.
    pub path: Vec<usize>,
    /// The logarithm of the probability of this alignment.
    pub log_probability: f64,
}

/// Returns the likeliest alignment of the `labels` of each sequence: which steps say which label. Of two
/// that are equally likely, the one with the earlier labels is returned.
///
/// ```
/// use ndarray::array;
/// use recurrent::Sequences;
/// use recurrent::decode::ctc::align;
///
/// // One sequence of 5 steps and 3 classes, of which 0 is the blank.
/// let logits = array![[[0.0, 5.0, 0.0]], [[0.0, 5.0, 0.0]], [[5.0, 0.0, 0.0]], [[0.0, 5.0, 0.0]], [[0.0, 0.0, 5.0]]];
/// let alignments = align(&Sequences::full(logits)?, &[vec![1, 1, 2]], 0)?;
/// assert_eq!(alignments[0].steps, [0..2, 3..4, 4..5]);
/// assert_eq!(alignments[0].path, [1, 1, 0, 1, 2]);
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// As those of [`Ctc`](crate::loss::Ctc): labels that do not fit the logits or the length, logits that are
/// NaN or ∞, and labels of which every alignment has probability zero.
pub fn align<T: Float>(
    logits: &Sequences<T>,
    labels: &[Vec<usize>],
    blank: usize,
) -> Result<Vec<Alignment>> {
    check_labels(logits, labels, blank)?;
    let of_sequence = |(b, labels): (usize, &Vec<usize>)| {
        let length = logits.lengths()[b];
        if needed_steps(labels) > length {
            return Err(too_long(b, labels, length));
        }
        let step = |t| log_softmax(row(logits, t, b)).map_err(|k| not_finite(logits, (t, b, k)));
        let y = (0..length).map(step).collect::<Result<Vec<_>>>()?;
        let alignment = likeliest(&y, labels, blank);
        if alignment.log_probability == f64::NEG_INFINITY {
            let expected = "an alignment of probability above zero";
            return Err(Error::argument(format!("labels[{b}]"), expected, "none"));
        }
        Ok(alignment)
    };
    labels.iter().enumerate().map(of_sequence).collect()
}

/// Returns the likeliest alignment by the log probabilities `y` of the classes at each step.
fn likeliest(y: &[Vec<f64>], labels: &[usize], blank: usize) -> Alignment {
    // The cells of the lattice: a blank before and after each label.
    let cells: Vec<usize> =
        labels.iter().flat_map(|&label| [blank, label]).chain([blank]).collect();
    let skips = |s: usize| s >= 2 && cells[s] != blank && cells[s] != cells[s - 2];
    let mut best = vec![f64::NEG_INFINITY; cells.len()];
    best[0] = 0.0;
    // How many cells before its own each cell was reached from.
    let mut back = Array2::<u8>::zeros((y.len(), cells.len()));
    for (t, y) in y.iter().enumerate() {
        // The sequence begins at b_0, from which the first step may go on to l_0.
        for s in (0..cells.len()).rev() {
            let from = |by: usize| (best[s - by], by);
            let mut chosen = from(0);
            for by in 1..=(if skips(s) { 2 } else { s.min(1) }) {
                if from(by).0 > chosen.0 {
                    chosen = from(by);
                }
            }
            best[s] = chosen.0 + y[cells[s]];
            back[[t, s]] = chosen.1 as u8;
        }
    }
    let last = cells.len() - 1;
    let mut s = if last > 0 && best[last - 1] > best[last] { last - 1 } else { last };
    let (log_probability, mut path) = (best[s], vec![blank; y.len()]);
    let mut steps = vec![0..0; labels.len()];
    for t in (0..y.len()).rev() {
        path[t] = cells[s];
        if s % 2 == 1 {
            let steps = &mut steps[s / 2];
            *steps = t..(if steps.end == 0 { t + 1 } else { steps.end });
        }
        s -= usize::from(back[[t, s]]);
    }
    Alignment { steps, path, log_probability }
}
