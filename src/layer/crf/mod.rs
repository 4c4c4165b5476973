//! A linear-chain conditional random field (CRF): a distribution over whole sequences of tags.
//!
//! With emissions e [time, tags], the output of a network, and K tags, the score of a path y of L steps is
//!
//! ```text
//! s(y) = start_{y_0} + Σ_t e_{t, y_t} + Σ_{t≥1} transitions_{y_{t−1}, y_t} + end_{y_{L−1}}
//! p(y) = e^{s(y)} / Z          Z = Σ e^{s(y)} over all allowed paths
//! L = −ln p(y) = ln Z − s(y)
//! ∂L/∂e_{t,k} = p(y_t = k) − [y_t = k]
//! ∂L/∂transitions_ij = Σ_t p(y_{t−1} = i, y_t = j) − the number of times that j follows i in y
//! ```
//!
//! Sources: Lafferty, McCallum and Pereira, *Conditional Random Fields*, 2001; Lample et al., *Neural
//! Architectures for Named Entity Recognition*, 2016. The names of the parameters are those of `pytorch-crf`.
//!
//! A sequence without a step has one path, the empty one: its loss is 0, and it is not counted in a mean.
//!
//! Sums over paths are computed by forward–backward in linear space, rescaled at each step, and in logarithms
//! and double precision where a value could underflow.
//!
//! | file | contents |
//! |---|---|
//! | `constraints` | [`Constraints`]: which tags may follow each other; [`Scheme`] |
//! | `scores` | the scores of paths, and forward–backward in logarithms |
//! | `likelihood` | forward–backward over a batch |
//! | `paths` | the Viterbi algorithm and the k best paths: [`Path`] |

mod constraints;
mod likelihood;
mod paths;
mod scores;

use std::sync::Arc;

use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, Axis};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::arrays::check_same_structure;
use crate::error::{Error, Result, check_count, check_length, check_shape, check_size, shaped};
use crate::float::{Float, per_float};
use crate::layer::crf::likelihood::{Outcome, check_tags, checked, no_path, outcomes, steps_of};
use crate::layer::crf::scores::Scores;
use crate::sequences::Sequences;
use crate::tensor::Init;

pub use constraints::{Constraints, Scheme};
pub(crate) use constraints::{OUTSIDE, parse_tag};
pub use paths::Path;

/// The bound of the initial scores.
const INITIAL: f64 = 0.1;

/// The reduction of the losses of the sequences of a batch to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reduction {
    /// The mean over the sequences that have a step.
    #[default]
    Mean,
    /// The sum divided by the number of steps of all sequences.
    TokenMean,
    /// The sum.
    Sum,
}

/// A linear-chain CRF; see the [module](self).
///
/// It is the last part of a model, whose outputs are the emissions [time, batch, tags]. Its loss has
/// parameters, so it is no [`Loss`](crate::loss::Loss): [`loss_and_grad`](Self::loss_and_grad) returns the
/// gradient with respect to the emissions, for the backward pass of the model, and adds that of the
/// parameters to `grad`.
///
/// ```
/// use ndarray::{Array3, array};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::crf::{Constraints, Crf};
/// use recurrent::{Arrays, Sequences};
///
/// let names = ["O", "B-PER", "I-PER"];
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let crf = Crf::<f64>::new(3, &mut rng)?.constraints(Constraints::iob2(&names)?)?;
/// let emissions = Sequences::new(Array3::zeros((3, 2, 3)), vec![3, 1])?; // [time, batch, tags]
/// let tags = array![[1, 0], [2, 0], [0, 0]]; // [time, batch]; the second sequence has one step
///
/// let mut grad = crf.zeros_like();
/// let (loss, d_emissions) = crf.loss_and_grad(&emissions, &tags, &mut grad)?;
/// assert!(loss > 0.0);
/// assert_eq!(d_emissions.values().dim(), (3, 2, 3));
/// assert_eq!(grad.transitions()[[0, 2]], 0.0); // O, I-PER is forbidden
///
/// let best = crf.viterbi(&emissions)?;
/// assert_eq!((best[0].tags.len(), best[1].tags.len()), (3, 1));
/// assert_ne!(best[0].tags[0], 2); // a sequence does not start with I-PER
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Crf<T> {
    start_transitions: Array1<T>,
    end_transitions: Array1<T>,
    transitions: Array2<T>,
    constraints: Option<Arc<Constraints>>,
    reduction: Reduction,
}

crate::arrays!(Crf { start_transitions: array, end_transitions: array, transitions: array });

impl<T: Float> Crf<T> {
    /// Creates a CRF of `tags` tags. Its scores are uniform on ±0.1.
    ///
    /// # Errors
    /// If `tags` is zero.
    pub fn new(tags: usize, rng: &mut dyn Rng) -> Result<Self> {
        check_length("tags", tags)?;
        check_size("transitions [tags, tags]", &[tags, tags])?;
        let mut scores = [1, 1, tags].map(|rows| Array2::zeros((rows, tags)));
        scores.iter_mut().for_each(|scores| Init::Uniform(INITIAL).fill(scores.view_mut(), rng));
        let [start, end, transitions] = scores;
        Ok(Self {
            start_transitions: start.index_axis_move(Axis(0), 0),
            end_transitions: end.index_axis_move(Axis(0), 0),
            transitions,
            constraints: None,
            reduction: Reduction::Mean,
        })
    }

    /// Sets which tags may start, end and follow each other. What is forbidden has probability zero, and its
    /// score has no effect and no gradient.
    ///
    /// # Errors
    /// If the constraints are those of another number of tags.
    pub fn constraints(mut self, constraints: Constraints) -> Result<Self> {
        check_shape("constraints", "tags", &[self.tags()], &[constraints.tags()])?;
        self.constraints = Some(Arc::new(constraints));
        Ok(self)
    }

    /// Sets what the losses of a batch become. Default: [`Reduction::Mean`].
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Returns the number of tags.
    pub fn tags(&self) -> usize {
        self.start_transitions.len()
    }

    /// Returns the constraints, if there are any.
    pub fn rules(&self) -> Option<&Constraints> {
        self.constraints.as_deref()
    }

    /// Returns the score of each tag at the start of a sequence, `[tags]`.
    pub fn start_transitions(&self) -> ArrayView1<'_, T> {
        self.start_transitions.view()
    }

    /// Returns the score of each tag at the end of a sequence, `[tags]`.
    pub fn end_transitions(&self) -> ArrayView1<'_, T> {
        self.end_transitions.view()
    }

    /// Returns the score of each tag of a column after that of a row, [tags, tags].
    pub fn transitions(&self) -> ArrayView2<'_, T> {
        self.transitions.view()
    }

    /// Returns the negative log-likelihood of `tags` [time, batch], and its gradient with respect to the
    /// `emissions` [time, batch, tags], zero in the padding. Adds the gradients of the scores to `grad`.
    /// Without a step, both are zero.
    ///
    /// # Errors
    /// If an argument does not fit, an emission or a score is not finite, a tag is too large, the tags of a
    /// sequence are forbidden, or the loss is not finite. The error names sequence and step.
    pub fn loss_and_grad(
        &self,
        emissions: &Sequences<T>,
        tags: &Array2<usize>,
        grad: &mut Self,
    ) -> Result<(f64, Sequences<T>)> {
        loss_and_grad(self, emissions, tags, grad)
    }

    /// Returns the negative log-likelihood of `tags` [time, batch] without its gradient.
    ///
    /// # Errors
    /// As [`loss_and_grad`](Self::loss_and_grad).
    pub fn loss(&self, emissions: &Sequences<T>, tags: &Array2<usize>) -> Result<f64> {
        self.reduced(&losses(self, emissions, tags)?.1, emissions)
    }

    /// Returns the negative log-likelihood of each sequence, `[batch]`, 0 for one without a step.
    ///
    /// # Errors
    /// As [`loss_and_grad`](Self::loss_and_grad).
    pub fn losses(&self, emissions: &Sequences<T>, tags: &Array2<usize>) -> Result<Vec<f64>> {
        Ok(losses(self, emissions, tags)?.1)
    }

    /// Returns what the sum of the losses is divided by: the number of sequences that have a step, the
    /// number of steps, or 1. It is zero if nothing counts.
    pub fn count(&self, emissions: &Sequences<T>) -> f64 {
        let lengths = emissions.lengths();
        let count = match self.reduction {
            Reduction::Mean => lengths.iter().filter(|&&length| length > 0).count(),
            Reduction::TokenMean => emissions.steps(),
            Reduction::Sum => usize::from(emissions.steps() > 0),
        };
        count as f64
    }

    /// Returns ln Z of each sequence, `[batch]`, 0 for one without a step.
    ///
    /// # Errors
    /// If `emissions` does not fit, an emission or a score is not finite, or all paths of a sequence are
    /// forbidden.
    pub fn log_partitions(&self, emissions: &Sequences<T>) -> Result<Vec<f64>> {
        let scores = checked(self, emissions)?;
        let all = outcomes(self, &scores, emissions)?;
        Ok(all.iter().map(|outcome| outcome.log_partition).collect())
    }

    /// Returns the probability of each tag at each step, [time, batch, tags], zero in the padding.
    ///
    /// # Errors
    /// As [`log_partitions`](Self::log_partitions).
    pub fn marginals(&self, emissions: &Sequences<T>) -> Result<Sequences<T>> {
        let scores = checked(self, emissions)?;
        let all = outcomes(self, &scores, emissions)?;
        emissions.with_values(values_of(emissions, &all))
    }

    /// Returns the path with the greatest score of each sequence. Of equal paths, it is the one with the lower
    /// tag at the last step where they differ.
    ///
    /// # Errors
    /// As [`log_partitions`](Self::log_partitions).
    pub fn viterbi(&self, emissions: &Sequences<T>) -> Result<Vec<Path>> {
        let best = self.k_best(emissions, 1)?;
        Ok(best.into_iter().flatten().collect())
    }

    /// Returns the `k` paths with the greatest scores of each sequence, the best first, or all paths if
    /// fewer are allowed. A sequence without a step has one path, without tags.
    ///
    /// # Errors
    /// As [`log_partitions`](Self::log_partitions); also if `k` is zero.
    pub fn k_best(&self, emissions: &Sequences<T>, k: usize) -> Result<Vec<Vec<Path>>> {
        check_count("k", k)?;
        let scores = checked(self, emissions)?;
        let best = |(b, &length): (usize, &usize)| {
            let paths = paths::best_paths(&scores, &steps_of(emissions, b), k);
            if paths.is_empty() { Err(no_path(b, length)) } else { Ok(paths) }
        };
        emissions.lengths().iter().enumerate().map(best).collect()
    }

    /// Returns the scores in f64, −∞ for what is forbidden.
    fn scores(&self) -> Scores {
        let wide = |scores: ArrayView1<'_, T>| scores.iter().map(|x| x.as_f64()).collect();
        let transitions = self.transitions.iter().map(|score| score.as_f64()).collect();
        let (start, end) = (wide(self.start_transitions()), wide(self.end_transitions()));
        let mut scores = Scores { tags: self.tags(), start, end, transitions };
        if let Some(constraints) = &self.constraints {
            scores.forbid(constraints);
        }
        scores
    }

    /// Returns the reduction of the `losses` of sequences. Fails if it is not finite.
    fn reduced(&self, losses: &[f64], emissions: &Sequences<T>) -> Result<f64> {
        let (sum, count) = (losses.iter().sum::<f64>(), self.count(emissions));
        let value = if count > 0.0 { sum / count } else { 0.0 };
        let rounded = T::from_f64(value);
        if rounded.is_finite() {
            return Ok(rounded.as_f64());
        }
        let index = losses.iter().position(|loss| !loss.is_finite()).unwrap_or(0);
        Err(Error::NonFinite { name: "loss".to_owned(), index, value })
    }
}

per_float! {
    fn loss_and_grad<'a, T>(
        crf: &Crf<T>,
        emissions: &Sequences<T>,
        tags: &Array2<usize>,
        grad: &mut Crf<T>,
    ) -> Result<(f64, Sequences<T>)> = loss_with_gradient;

    /// Returns the outcome and the loss of each sequence.
    fn losses<'a, T>(
        crf: &Crf<T>,
        emissions: &Sequences<T>,
        tags: &Array2<usize>,
    ) -> Result<(Vec<Outcome<T>>, Vec<f64>)> = losses_of_all;
}

fn losses_of_all<T: Float>(
    crf: &Crf<T>,
    emissions: &Sequences<T>,
    tags: &Array2<usize>,
) -> Result<(Vec<Outcome<T>>, Vec<f64>)> {
    let scores = checked(crf, emissions)?;
    check_tags(crf, emissions, tags.view())?;
    let all = outcomes(crf, &scores, emissions)?;
    let loss = |(b, outcome): (usize, &Outcome<T>)| {
        let path = tags.column(b);
        let score = scores.of_path(&steps_of(emissions, b), path.iter().copied());
        // Rounding must not make a probability greater than 1.
        let loss = outcome.log_partition - score;
        if loss < 0.0 { 0.0 } else { loss }
    };
    let losses = all.iter().enumerate().map(loss).collect();
    Ok((all, losses))
}

fn loss_with_gradient<T: Float>(
    crf: &Crf<T>,
    emissions: &Sequences<T>,
    tags: &Array2<usize>,
    grad: &mut Crf<T>,
) -> Result<(f64, Sequences<T>)> {
    check_same_structure("grad", crf, grad)?;
    let (all, losses) = losses(crf, emissions, tags)?;
    let loss = crf.reduced(&losses, emissions)?;
    let share = T::from_f64(1.0 / crf.count(emissions).max(1.0));
    let mut d_emissions = values_of(emissions, &all);
    for (b, &length) in emissions.lengths().iter().enumerate().filter(|x| *x.1 > 0) {
        for t in 0..length {
            let d = &mut d_emissions[[t, b, tags[[t, b]]]];
            *d -= T::one();
        }
    }
    d_emissions.mapv_inplace(|d| d * share);
    for (b, (outcome, &length)) in all.iter().zip(emissions.lengths()).enumerate() {
        let Some(last) = length.checked_sub(1) else { continue };
        grad.start_transitions += &d_emissions.index_axis(Axis(0), 0).row(b);
        grad.end_transitions += &d_emissions.index_axis(Axis(0), last).row(b);
        let counts = ArrayView2::from_shape((crf.tags(), outcome.width), &outcome.counts);
        let mut counts =
            shaped("counts of transitions", counts)?.split_at(Axis(1), crf.tags()).0.to_owned();
        for t in 1..length {
            counts[[tags[[t - 1, b]], tags[[t, b]]]] -= T::one();
        }
        grad.transitions.scaled_add(share, &counts);
    }
    Ok((loss, emissions.with_values(d_emissions)?))
}

/// Returns the marginals of all sequences, [time, batch, tags], zero in the padding.
fn values_of<T: Float>(emissions: &Sequences<T>, all: &[Outcome<T>]) -> Array3<T> {
    let mut values = Array3::zeros(emissions.values().dim());
    for (b, outcome) in all.iter().enumerate() {
        let mut rows = values.index_axis_mut(Axis(1), b);
        for (mut to, from) in
            rows.rows_mut().into_iter().zip(outcome.marginals.chunks_exact(outcome.width))
        {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
        }
    }
    values
}
