//! [`ClassificationMetrics`]: accuracy, F1 and the confusion matrix.
#![expect(clippy::indexing_slicing, reason = "`check` compares the class with the logits")]

use std::fmt::{self, Display};
use std::ops::Range;

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::error::{Error, Result, check_shape};
use crate::float::{Float, per_float};
use crate::train::metrics::Mean;
use crate::train::{Score, join, split};

/// Precision, recall and F1 of one class or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PrecisionRecallF1 {
    /// The share of predictions of the class that are correct.
    pub precision: f64,
    /// The share of samples of the class that are predicted as such.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
}

impl PrecisionRecallF1 {
    /// Returns the figures of the numbers of correct, predicted and actual samples.
    pub(super) fn new(correct: usize, predicted: usize, actual: usize) -> Self {
        Self {
            precision: ratio(correct as f64, predicted as f64),
            recall: ratio(correct as f64, actual as f64),
            f1: ratio(2.0 * correct as f64, (predicted + actual) as f64),
        }
    }

    /// Returns the means of figures with weights, 0 without weight.
    pub(super) fn mean(of: impl Iterator<Item = (Self, f64)> + Clone) -> Self {
        let total = of.clone().map(|(_, weight)| weight).sum();
        let mean = |figure: fn(&Self) -> f64| {
            ratio(of.clone().map(|(all, weight)| weight * figure(&all)).sum(), total)
        };
        Self { precision: mean(|c| c.precision), recall: mean(|c| c.recall), f1: mean(|c| c.f1) }
    }
}

/// Returns a ratio of counts, 0 if both are 0.
pub(super) fn ratio(part: f64, of: f64) -> f64 {
    if of == 0.0 { 0.0 } else { part / of }
}

/// Accuracy, top-k accuracy, F1 and the confusion matrix of a classifier.
///
/// ```
/// use ndarray::array;
/// use recurrent::train::metrics::ClassificationMetrics;
///
/// let mut score = ClassificationMetrics::default();
/// let logits = array![[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 2.0, 0.0]]; // [rows, classes]
/// for (row, class) in logits.rows().into_iter().zip([0, 1, 2]) {
///     score.add(row, class)?;
/// }
/// assert_eq!((score.accuracy(), score.top_k(2)), (2.0 / 3.0, 2.0 / 3.0));
/// assert_eq!(score.confusion(), array![[1, 0, 0], [0, 1, 0], [0, 1, 0]]); // [actual, predicted]
/// assert_eq!(score.class(1).precision, 0.5);
/// assert_eq!(score.macro_average(score.classes()).recall, 2.0 / 3.0);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassificationMetrics {
    loss: Mean,
    confusion: Array2<usize>,
    /// `ranks[k]`: the number of samples whose true class has rank k by logit, from 0.
    ranks: Vec<usize>,
}

per_float! {
    /// Returns the rank of the logit of `class`, and the class of the greatest.
    fn places_of<'a, T>(logits: ArrayView1<'a, T>, class: usize) -> (usize, usize) = places;
}

fn places<T: Float>(logits: ArrayView1<'_, T>, class: usize) -> (usize, usize) {
    let own = logits[class];
    // Ties are broken as in the prediction, the argmax: the first of equal logits is the greatest.
    let before = |&(other, &x): &(usize, &T)| x > own || (x == own && other < class);
    let rank = logits.iter().enumerate().filter(before).count();
    let greatest = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (rank, (1..logits.len()).fold(0, greatest))
}

impl ClassificationMetrics {
    /// Adds one sample: the `logits` of all classes, and the true `class`. The prediction is the class with
    /// the largest logit, the first of several. Infinite logits are compared as such.
    ///
    /// # Errors
    /// If the number of classes differs from that of the first sample, `class` is not less than it, or a
    /// logit is NaN.
    pub fn add<T: Float>(&mut self, logits: ArrayView1<'_, T>, class: usize) -> Result<()> {
        self.check(logits, class)?;
        let (rank, greatest) = places_of(logits, class);
        self.count_sample(logits.len(), class, rank, greatest);
        Ok(())
    }

    /// Counts a sample of `class`, which has the given rank and whose greatest logit is that of `greatest`.
    fn count_sample(&mut self, classes: usize, class: usize, rank: usize, greatest: usize) {
        if self.ranks.is_empty() {
            self.confusion = Array2::zeros((classes, classes));
            self.ranks = vec![0; classes];
        }
        self.ranks[rank] += 1;
        self.confusion[[class, greatest]] += 1;
    }

    /// Fails if [`add`](Self::add) would refuse the sample.
    pub(crate) fn check<T: Float>(&self, logits: ArrayView1<'_, T>, class: usize) -> Result<()> {
        let classes = logits.len();
        let expected = if self.ranks.is_empty() { classes } else { self.ranks.len() };
        check_shape("logits", "classes", &[expected], &[classes])?;
        if class >= classes {
            return Err(Error::argument("class", format!("less than {classes} (classes)"), class));
        }
        match logits.iter().position(|x| x.is_nan()) {
            None => Ok(()),
            Some(index) => {
                let value = logits[index].as_f64();
                Err(Error::NonFinite { name: "logits".to_owned(), index, value })
            }
        }
    }

    /// Adds the mean `loss` of `count` samples.
    pub fn add_loss(&mut self, loss: f64, count: usize) {
        self.add_weighted_loss(loss, count as f64);
    }

    /// Adds the mean `loss` of samples with weights, whose sum is the
    /// [`count`](crate::loss::Loss::count) of the loss.
    pub fn add_weighted_loss(&mut self, loss: f64, weight: f64) {
        self.loss.add(loss, weight);
    }

    /// Returns the number of samples.
    pub fn count(&self) -> usize {
        self.confusion.sum()
    }

    /// Returns the indices of the classes.
    pub fn classes(&self) -> Range<usize> {
        0..self.ranks.len()
    }

    /// Returns the confusion matrix, the number of samples by [actual class, predicted class].
    pub fn confusion(&self) -> ArrayView2<'_, usize> {
        self.confusion.view()
    }

    /// Returns the share of correct predictions, NaN without samples.
    pub fn accuracy(&self) -> f64 {
        self.top_k(1)
    }

    /// Returns the share of samples whose true class is among the `k` classes with the largest logits,
    /// NaN without samples.
    pub fn top_k(&self, k: usize) -> f64 {
        let right: usize = self.ranks.iter().take(k).sum();
        right as f64 / self.count() as f64
    }

    /// Returns precision, recall and F1 of a class. They are zero for a class that does not exist or occur.
    pub fn class(&self, class: usize) -> PrecisionRecallF1 {
        let (correct, predicted, actual) = self.counts(class);
        PrecisionRecallF1::new(correct, predicted, actual)
    }

    /// Returns the means of precision, recall and F1 over those of `classes` that occur. Each has the same
    /// weight. As in scikit-learn and torchmetrics, a class without samples and predictions is left out.
    /// They are zero if no class is left.
    pub fn macro_average(&self, classes: impl IntoIterator<Item = usize>) -> PrecisionRecallF1 {
        let occurs = |&(_, predicted, actual): &(usize, usize, usize)| predicted + actual > 0;
        let counts = classes.into_iter().map(|class| self.counts(class)).filter(occurs);
        let of: Vec<PrecisionRecallF1> =
            counts.map(|(c, p, a)| PrecisionRecallF1::new(c, p, a)).collect();
        PrecisionRecallF1::mean(of.iter().map(|of_class| (*of_class, 1.0)))
    }

    /// Returns precision, recall and F1 of the pooled counts of `classes`. Each sample has the same
    /// weight. Over all classes the three equal the accuracy, so leave out a class that means "none".
    pub fn micro_average(&self, classes: impl IntoIterator<Item = usize>) -> PrecisionRecallF1 {
        let sum = classes.into_iter().fold((0, 0, 0), |sum, class| {
            let counts = self.counts(class);
            (sum.0 + counts.0, sum.1 + counts.1, sum.2 + counts.2)
        });
        PrecisionRecallF1::new(sum.0, sum.1, sum.2)
    }

    /// Returns the numbers of samples for which a class was correctly predicted, predicted, and actual.
    fn counts(&self, class: usize) -> (usize, usize, usize) {
        if !self.classes().contains(&class) {
            return (0, 0, 0);
        }
        let predicted = self.confusion.column(class).sum();
        (self.confusion[[class, class]], predicted, self.confusion.row(class).sum())
    }
}

impl Score for ClassificationMetrics {
    /// Returns the mean of the added losses, or the error rate if none was added. It is NaN without samples.
    fn loss(&self) -> f64 {
        self.loss.get().unwrap_or(1.0 - self.accuracy())
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let f1 = self.macro_average(self.classes()).f1;
        let loss = self.loss.get().map(|loss| ("loss", loss));
        loss.into_iter().chain([("accuracy", self.accuracy()), ("macro_f1", f1)]).collect()
    }

    /// Adds the samples of `other`. The result has the classes of both.
    fn merge(&mut self, other: Self) {
        self.loss.merge(other.loss);
        let classes = self.ranks.len().max(other.ranks.len());
        self.ranks.resize(classes, 0);
        self.ranks.iter_mut().zip(&other.ranks).for_each(|(to, from)| *to += from);
        let mut confusion = Array2::<usize>::zeros((classes, classes));
        for part in [&self.confusion, &other.confusion] {
            for (classes, count) in part.indexed_iter() {
                confusion[classes] += count;
            }
        }
        self.confusion = confusion;
    }

    fn to_numbers(&self) -> Option<Vec<f64>> {
        let counts = |counts: &mut dyn Iterator<Item = &usize>| counts.map(|&c| c as f64).collect();
        let loss = self.loss.to_numbers();
        let (ranks, confusion) =
            (counts(&mut self.ranks.iter()), counts(&mut self.confusion.iter()));
        join([Some(loss), Some(ranks), Some(confusion)])
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let [loss, ranks, confusion] = split(numbers)?;
        let counts = |numbers: &[f64]| numbers.iter().map(|&count| count as usize).collect();
        let (loss, ranks): (_, Vec<usize>) = (Mean::from_numbers(loss)?, counts(ranks));
        let square = (ranks.len(), ranks.len());
        let confusion = Array2::from_shape_vec(square, counts(confusion)).ok()?;
        Some(Self { loss, confusion, ranks })
    }
}

impl Display for ClassificationMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let f1 = self.macro_average(self.classes()).f1;
        self.loss.show(f)?;
        write!(f, "accuracy {:.4}, macro F1 {f1:.4}", self.accuracy())
    }
}
