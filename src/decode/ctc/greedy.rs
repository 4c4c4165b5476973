//! [`greedy`]: the labels of the likeliest class of each step.
#![expect(clippy::indexing_slicing, reason = "the class is one of the logits")]

use ndarray::ArrayView1;

use crate::decode::argmax;
use crate::decode::ctc::row;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::loss::ctc::{check_blank, not_finite};
use crate::sequences::Sequences;

/// Returns the labels of each sequence that the likeliest class of each step spells: repeats are merged,
/// blanks removed. This is the likeliest alignment, not always that of the likeliest labels, which
/// [`PrefixBeam`](super::PrefixBeam) finds. Of equal logits, the lower class is taken.
///
/// # Errors
/// If a logit is NaN, all logits of a step are −∞, or `blank` is no class.
pub fn greedy<T: Float>(logits: &Sequences<T>, blank: usize) -> Result<Vec<Vec<usize>>> {
    check_blank(blank, logits.features())?;
    let of_sequence = |(b, &length): (usize, &usize)| {
        let (mut decoder, mut labels) = (Greedy::new(blank), Vec::new());
        for t in 0..length {
            let step =
                decoder.read(row(logits, t, b)).map_err(|k| not_finite(logits, (t, b, k)))?;
            labels.extend(step);
        }
        Ok(labels)
    };
    logits.lengths().iter().enumerate().map(of_sequence).collect()
}

/// Greedy decoding of one sequence, step by step.
///
/// ```
/// use ndarray::array;
/// use recurrent::decode::ctc::Greedy;
///
/// let mut decoder = Greedy::new(0);
/// assert_eq!(decoder.step(array![0.0, 2.0, 1.0].view())?, Some(1));
/// assert_eq!(decoder.step(array![0.0, 2.0, 1.0].view())?, None); // the same label goes on
/// assert_eq!(decoder.step(array![3.0, 2.0, 1.0].view())?, None); // blank
/// assert_eq!(decoder.step(array![0.0, 2.0, 1.0].view())?, Some(1)); // a second one
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greedy {
    blank: usize,
    last: usize,
}

impl Greedy {
    /// Creates a decoder at the beginning of a sequence.
    pub fn new(blank: usize) -> Self {
        Self { blank, last: blank }
    }

    /// Reads the logits of the next step, and returns the label that begins there, if one does.
    ///
    /// # Errors
    /// If the blank is no class, a logit is NaN or all are −∞; the decoder is then as before.
    pub fn step<T: Float>(&mut self, logits: ArrayView1<'_, T>) -> Result<Option<usize>> {
        if !logits.is_empty() {
            check_blank(self.blank, logits.len())?;
        }
        self.read(logits).map_err(|k| match logits.get(k) {
            Some(x) => Error::NonFinite { name: "logits".to_owned(), index: k, value: x.as_f64() },
            None => Error::argument("logits", "at least one class", 0),
        })
    }

    /// Does the same; fails with the class of the first NaN, or of the first −∞ if there is nothing else.
    fn read<T: Float>(&mut self, logits: ArrayView1<'_, T>) -> Result<Option<usize>, usize> {
        let nan = || logits.iter().position(|x| x.is_nan()).unwrap_or(0);
        let class = argmax(logits).ok_or_else(nan)?;
        if logits[class] == T::neg_infinity() {
            return Err(class);
        }
        let begins = class != self.blank && class != self.last;
        self.last = class;
        Ok(begins.then_some(class))
    }
}
