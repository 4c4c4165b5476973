//! Connectionist temporal classification: labels without times, from logits of steps.
//!
//! An alignment π gives each step of a sequence a class: a label or the blank. It spells the labels that
//! are left when repeated classes are merged and blanks are removed. With p_t = softmax(x_t):
//!
//! ```text
//! P = Σ_{π that spell the labels} Π_t p_t(π_t)         l = −ln P
//! ∂l/∂x_t(k) = p_t(k) − P(π_t = k | the labels)
//! ```
//!
//! Source: Graves et al., *Connectionist Temporal Classification*, 2006. Values and gradients are those of
//! `torch.nn.CTCLoss` on the logarithm of the softmax, which is included here. The sums over the
//! alignments keep their precision whatever the logits; a class whose logit is more than 10¹² below the
//! largest of its step has probability 0.

use ndarray::{Array1, Array3, Axis};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_indices, check_shape};
use crate::float::Float;
use crate::loss::Loss;
use crate::loss::reduce::finite;
use crate::sequences::{Sequences, batch_axis};
use crate::tensor::ctc::{Alignments, Outcome, align_all};

/// The CTC loss of logits [time, batch, classes]; see the [module](self). The target is a list of labels
/// for each sequence: classes other than the blank, in order, repeated or none.
///
/// | option | default | effect |
/// |---|---|---|
/// | [`divide_by_length`](Self::divide_by_length) | true | the loss of a sequence is divided by the number of its labels |
/// | [`zero_infinity`](Self::zero_infinity) | off | a sequence without any alignment has loss and gradient 0 |
///
/// The value is the mean over all sequences of the batch. The names of the reductions of PyTorch:
///
/// | PyTorch | here |
/// |---|---|
/// | `"mean"` | `Ctc::new(blank)` |
/// | `"sum"` | `Sum(Ctc::new(blank).divide_by_length(false))` |
/// | `"none"` | [`losses`](Self::losses) |
///
/// A label needs a step, and a blank between two equal labels needs one more. A target that needs more steps
/// than its sequence has is an error, or has loss 0 with [`zero_infinity`](Self::zero_infinity).
///
/// ```
/// use ndarray::array;
/// use recurrent::Sequences;
/// use recurrent::loss::{Ctc, Loss};
///
/// // One sequence of 2 steps, 3 classes, of which 0 is the blank. Each has probability ⅓.
/// let logits = Sequences::full(array![[[0.0_f64, 0.0, 0.0]], [[0.0, 0.0, 0.0]]])?;
/// // Three alignments spell the label 2: (2, 2), (blank, 2) and (2, blank).
/// let (loss, d_logits) = Ctc::new(0).loss(&logits, &vec![vec![2]])?;
/// assert!((loss - 3_f64.ln()).abs() < 1e-12);
/// // Class 2 has two thirds of their steps, the blank one third.
/// assert!((d_logits.values()[[0, 0, 2]] - (1.0 / 3.0 - 2.0 / 3.0)).abs() < 1e-12);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ctc {
    blank: usize,
    divide_by_length: bool,
    zero_infinity: bool,
}

impl Ctc {
    /// Creates the loss with the class `blank` as the blank.
    pub fn new(blank: usize) -> Self {
        Self { blank, divide_by_length: true, zero_infinity: false }
    }

    /// Sets whether the loss of each sequence is divided by the number of its labels, or by 1 if it has
    /// none, before the mean over the sequences.
    pub fn divide_by_length(mut self, divide: bool) -> Self {
        self.divide_by_length = divide;
        self
    }

    /// Sets the loss and the gradient of sequences to 0 whose labels have no alignment: they need more steps
    /// than there are, or every alignment has a logit −∞. Such sequences count in the mean, as in
    /// PyTorch. Without this option they are errors.
    pub fn zero_infinity(mut self) -> Self {
        self.zero_infinity = true;
        self
    }

    /// Returns the class of the blank.
    pub fn blank(&self) -> usize {
        self.blank
    }

    /// Returns −ln P of each sequence, `[batch]`, not divided by the number of labels: PyTorch's reduction
    /// "none".
    ///
    /// ```
    /// use ndarray::Array3;
    /// use recurrent::Sequences;
    /// use recurrent::loss::Ctc;
    ///
    /// let logits = Sequences::new(Array3::<f64>::zeros((4, 2, 5)), vec![4, 1])?;
    /// let losses = Ctc::new(4).losses(&logits, &[vec![0, 1, 1], vec![]])?; // 0 1 blank 1; blank
    /// assert!((losses[0] - 4.0 * 5_f64.ln()).abs() < 1e-12);
    /// assert!((losses[1] - 5_f64.ln()).abs() < 1e-12);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`loss`](Loss::loss).
    pub fn losses<T: Float>(
        &self,
        logits: &Sequences<T>,
        labels: &[Vec<usize>],
    ) -> Result<Array1<f64>> {
        let factors = self.factors(logits, labels)?;
        let mut outcomes = vec![Ok(0.0); labels.len()];
        align_all(self.alignments(logits, labels, &factors), &mut outcomes, None);
        let losses = outcomes.iter().enumerate().map(|(b, o)| self.outcome(logits, b, o));
        losses.collect()
    }

    fn alignments<'a, T: Float>(
        &self,
        logits: &'a Sequences<T>,
        labels: &'a [Vec<usize>],
        factors: &'a [f64],
    ) -> Alignments<'a, T> {
        let (lengths, blank) = (logits.lengths(), self.blank);
        Alignments { logits: logits.values().view(), lengths, labels, blank, factors }
    }

    /// Returns the factor of the loss of each sequence in the mean, 0 if its labels have no alignment.
    ///
    /// # Errors
    /// If `labels` does not fit.
    fn factors<T: Float>(&self, logits: &Sequences<T>, labels: &[Vec<usize>]) -> Result<Vec<f64>> {
        check_labels(logits, labels, self.blank)?;
        let batch = labels.len() as f64;
        let of_sequence = |(b, labels): (usize, &Vec<usize>)| {
            let length = logits.lengths()[b];
            match (needed_steps(labels) <= length, self.zero_infinity) {
                (false, false) => Err(too_long(b, labels, length)),
                (false, true) => Ok(0.0),
                (true, _) if self.divide_by_length => {
                    Ok(1.0 / (batch * labels.len().max(1) as f64))
                }
                (true, _) => Ok(1.0 / batch),
            }
        };
        labels.iter().enumerate().map(of_sequence).collect()
    }

    /// Returns the loss of sequence `b`.
    fn outcome<T: Float>(&self, logits: &Sequences<T>, b: usize, outcome: &Outcome) -> Result<f64> {
        match *outcome {
            Ok(loss) if loss.is_finite() => Ok(loss),
            Ok(_) if self.zero_infinity => Ok(0.0),
            Ok(value) => Err(Error::NonFinite {
                name: format!("loss of labels[{b}]"),
                index: b * logits.features(),
                value,
            }),
            Err((t, k)) => Err(not_finite(logits, (t, b, k))),
        }
    }
}

/// Returns the number of steps that an alignment of `labels` needs at least.
pub(crate) fn needed_steps(labels: &[usize]) -> usize {
    labels.len() + labels.windows(2).filter(|pair| pair[0] == pair[1]).count()
}

/// Returns the error about logit `k` of step `t` of sequence `b`.
pub(crate) fn not_finite<T: Float>(
    logits: &Sequences<T>,
    (t, b, k): (usize, usize, usize),
) -> Error {
    let index = (t * logits.batch() + b) * logits.features() + k;
    let value = logits.values()[[t, b, k]].as_f64();
    Error::NonFinite { name: format!("logits[{t}, {b}, {k}]"), index, value }
}

/// Returns the error about labels of sequence `b` that need more steps than it has.
pub(crate) fn too_long(b: usize, labels: &[usize], length: usize) -> Error {
    let (count, needed) = (labels.len(), needed_steps(labels));
    let expected = format!("labels that need at most {length} steps (the length of the sequence)");
    let got = format!("{count} labels that need {needed}");
    Error::argument(format!("labels[{b}]"), expected, got)
}

/// Fails unless there are labels for each sequence, and each is a class other than `blank`, which is a
/// class too.
pub(crate) fn check_labels<T: Float>(
    logits: &Sequences<T>,
    labels: &[Vec<usize>],
    blank: usize,
) -> Result<()> {
    let (time, batch, classes) = logits.dim();
    check_blank(blank, classes)?;
    check_shape("labels", batch_axis(time, batch, labels.len()), &[batch], &[labels.len()])?;
    for (b, labels) in labels.iter().enumerate() {
        check_indices(&format!("labels[{b}]"), labels, classes, "classes")?;
        if let Some(i) = labels.iter().position(|&label| label == blank) {
            let expected = "a class other than the blank";
            return Err(Error::argument(format!("labels[{b}][{i}]"), expected, blank));
        }
    }
    Ok(())
}

/// Fails unless `blank` is one of the classes.
pub(crate) fn check_blank(blank: usize, classes: usize) -> Result<()> {
    if blank < classes {
        return Ok(());
    }
    Err(Error::argument("blank", format!("less than {classes} (classes)"), blank))
}

/// The target is the list of labels of each sequence.
impl<T: Float> Loss<Sequences<T>> for Ctc {
    type Target = Vec<Vec<usize>>;

    /// Returns the mean over the sequences, and its gradient, which is zero in the padding.
    ///
    /// # Errors
    /// If there is no list of labels for each sequence; a label is the blank or no class; the labels of a
    /// sequence have no alignment, without [`zero_infinity`](Self::zero_infinity); or a logit is NaN or
    /// ∞, or all of a step are −∞.
    fn loss(&self, logits: &Sequences<T>, labels: &Vec<Vec<usize>>) -> Result<(f64, Sequences<T>)> {
        let factors = self.factors(logits, labels)?;
        let mut outcomes = vec![Ok(0.0); labels.len()];
        let mut gradient = Array3::zeros(logits.dim());
        let all = self.alignments(logits, labels, &factors);
        align_all(all, &mut outcomes, Some(gradient.view_mut()));
        let mut mean = 0.0;
        for (b, outcome) in outcomes.iter().enumerate() {
            mean += factors[b] * self.outcome(logits, b, outcome)?;
            if outcome.is_ok_and(|loss| !loss.is_finite()) {
                gradient.index_axis_mut(Axis(1), b).fill(T::zero());
            }
        }
        finite::<T, _>(mean, logits.with_values(gradient)?)
    }

    /// Returns the number of sequences, those without an alignment included.
    fn count(&self, logits: &Sequences<T>, labels: &Vec<Vec<usize>>) -> Result<f64> {
        self.factors(logits, labels)?;
        Ok(labels.len() as f64)
    }
}
