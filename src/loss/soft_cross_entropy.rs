//! Cross entropy with a distribution over classes as the target, from logits.
//!
//! With p = softmax(x) over C classes, the target y of a row, which sums to 1, label smoothing ε and class
//! weights w:
//!
//! ```text
//! t = w ∘ ((1 − ε)·y + ε/C)        L = mean over rows −Σ_c t_c·ln p_c        ∂L/∂x = (p·Σ_c t_c − t) / rows
//! ```
//!
//! This is `torch.nn.CrossEntropyLoss` with probabilities as targets and reduction "mean", which divides by
//! the number of rows whatever their weights. A term of weight zero is left out, even if its logit is
//! infinite.

use ndarray::ArrayViewMut1;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::loss::Batch;
use crate::loss::cross_entropy::{check_class_weights, checked_smoothing, checked_weights};
use crate::loss::kl_divergence::{distribution, log_sum_exp};
use crate::loss::reduce::{Place, Rows, Share, check_pair, row_loss};

/// The mean cross entropy of logits with probabilities as targets; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | [`label_smoothing`](Self::label_smoothing) | 0 | 0 ≤ ε ≤ 1 |
/// | [`class_weights`](Self::class_weights) | all 1 | finite, at least 0, not all 0 |
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{Loss, SoftCrossEntropy};
///
/// let (logits, target) = (array![[0.0, 3_f64.ln()]], array![[0.5, 0.5]]); // softmax: [1/4, 3/4]
/// let (loss, d_logits) = SoftCrossEntropy::default().loss(&logits, &target)?;
/// assert!((loss - (4_f64.ln() + (4_f64 / 3.0).ln()) / 2.0).abs() < 1e-12);
/// assert!((d_logits[[0, 0]] + 0.25).abs() < 1e-12); // 1/4 − 1/2
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Options")]
pub struct SoftCrossEntropy {
    label_smoothing: f64,
    class_weights: Option<Vec<f64>>,
}

/// The serialised form of [`SoftCrossEntropy`], whose options are not checked yet.
#[derive(Deserialize)]
struct Options {
    label_smoothing: f64,
    class_weights: Option<Vec<f64>>,
}

impl TryFrom<Options> for SoftCrossEntropy {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let loss = Self::default().label_smoothing(options.label_smoothing)?;
        match options.class_weights {
            Some(weights) => loss.class_weights(weights),
            None => Ok(loss),
        }
    }
}

impl SoftCrossEntropy {
    /// Sets the part ε of each row's target that is spread over all classes.
    ///
    /// # Errors
    /// Unless 0 ≤ ε ≤ 1.
    pub fn label_smoothing(mut self, epsilon: f64) -> Result<Self> {
        self.label_smoothing = checked_smoothing(epsilon)?;
        Ok(self)
    }

    /// Sets the weight w of each class.
    ///
    /// # Errors
    /// Unless each is finite and at least 0, and one is above 0. The loss fails unless there is one for
    /// each class.
    pub fn class_weights(mut self, weights: Vec<f64>) -> Result<Self> {
        self.class_weights = Some(checked_weights(weights)?);
        Ok(self)
    }

    /// Fails unless the class weights, if there are any, are of `classes`.
    pub(crate) fn check_classes(&self, classes: usize) -> Result<()> {
        check_class_weights(self.class_weights.as_deref(), classes)
    }
}

impl<P: Batch> Rows<P> for SoftCrossEntropy {
    fn terms(&self, _: &P) -> usize {
        1
    }

    fn check(&self, logits: &P, target: &P) -> Result<()> {
        self.check_classes(logits.values().dim().2)?;
        check_pair(logits, target)
    }

    fn row(
        &self,
        logits: &P,
        target: &P,
        place: Place,
        share: Share,
        mut d: ArrayViewMut1<'_, P::Elem>,
    ) -> Result<f64> {
        let (x, (y, _)) = (place.of(logits.values()), distribution(target, place)?);
        let (log_sum, spread) = (log_sum_exp(x), self.label_smoothing / x.len() as f64);
        let target = |c: usize| {
            let weight = self.class_weights.as_ref().map_or(1.0, |weights| weights[c]);
            weight * ((1.0 - self.label_smoothing) * y[c].as_f64() + spread)
        };
        let mass = (0..x.len()).map(target).sum::<f64>();
        let mut loss = 0.0;
        for (c, (d, x)) in d.iter_mut().zip(x).enumerate() {
            let (log_p, t) = (x.as_f64() - log_sum, target(c));
            loss -= if t > 0.0 { t * log_p } else { 0.0 };
            *d = P::Elem::from_f64(share.of(log_p.exp() * mass - t));
        }
        Ok(loss)
    }
}

row_loss! {
    /// `target` has the shape and the lengths of the logits. Each of its rows is a distribution.
    SoftCrossEntropy
}
