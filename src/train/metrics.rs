//! What models are judged by: [`Score`], and the figures of the three kinds of answers, a class, a
//! number and a probability of text.
//!
//! ```text
//! precision = right / said        recall = right / true        F1 = 2·precision·recall / (precision + recall)
//! RMSE = √mean e²      MAE = mean |e|      MAPE = 100·mean |e / y|      MASE = MAE / MAE of the last season again
//! perplexity = e^L     bits = L / ln 2     for the mean L of −ln p
//! ```
//!
//! A ratio of 0 to 0 counts as 0. MASE: Hyndman and Koehler, *Another look at measures of forecast
//! accuracy*, 2006.

use std::fmt::{self, Display};
use std::ops::Range;

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::error::{Error, Result, check_shape, check_size};
use crate::float::Float;

/// What a model is judged by, summed over batches; the default has seen none.
///
/// ```
/// use recurrent::train::Score;
///
/// #[derive(Clone, Debug, Default)]
/// struct Squares { sum: f64, count: f64 }
///
/// impl Score for Squares {
///     fn loss(&self) -> f64 { self.sum / self.count }
///     fn metrics(&self) -> Vec<(&'static str, f64)> { vec![("rmse", self.loss().sqrt())] }
/// }
///
/// impl std::fmt::Display for Squares {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         write!(f, "RMSE {:.3}", self.loss().sqrt())
///     }
/// }
///
/// assert_eq!(Squares { sum: 8.0, count: 2.0 }.to_string(), "RMSE 2.000");
/// ```
pub trait Score: Clone + Default + Display {
    /// The mean loss: what early stopping watches. The lower the better.
    fn loss(&self) -> f64;

    /// Figures with their names, as histories show them.
    fn metrics(&self) -> Vec<(&'static str, f64)>;
}

/// Precision, recall and F1, of a class or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Prf {
    /// Which share of what was said to be of the class is.
    pub precision: f64,
    /// Which share of what is of the class was said to be.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

impl Prf {
    fn new(right: usize, said: usize, is: usize) -> Self {
        Self {
            precision: ratio(right as f64, said as f64),
            recall: ratio(right as f64, is as f64),
            f1: ratio(2.0 * right as f64, (said + is) as f64),
        }
    }
}

fn ratio(part: f64, of: f64) -> f64 {
    if of == 0.0 { 0.0 } else { part / of }
}

/// How classes were told from each other.
///
/// ```
/// use ndarray::array;
/// use recurrent::train::metrics::Classification;
///
/// let mut score = Classification::default();
/// let logits = array![[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 2.0, 0.0]]; // [rows, classes]
/// for (row, class) in logits.rows().into_iter().zip([0, 1, 2]) {
///     score.add(row, class)?;
/// }
/// assert_eq!((score.accuracy(), score.top_k(2)), (2.0 / 3.0, 2.0 / 3.0));
/// assert_eq!(score.confusion(), array![[1, 0, 0], [0, 1, 0], [0, 1, 0]]); // [true, said]
/// assert_eq!(score.class(1).precision, 0.5);
/// assert_eq!(score.macro_average(score.classes()).recall, 2.0 / 3.0);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Classification {
    loss: Mean,
    confusion: Array2<usize>,
    /// How often the true class had the so-and-so-many-th logit, from the greatest.
    ranks: Vec<usize>,
}

impl Classification {
    /// Adds one answer: the `logits` of all classes, and which it is.
    ///
    /// # Errors
    /// Where the number of classes is not that of before, or `class` is none of them.
    pub fn add<T: Float>(&mut self, logits: ArrayView1<'_, T>, class: usize) -> Result<()> {
        let classes = logits.len();
        if self.ranks.is_empty() {
            self.confusion = Array2::zeros((classes, classes));
            self.ranks = vec![0; classes];
        }
        check_shape("logits", "classes", &[self.ranks.len()], &[classes])?;
        if class >= classes {
            return Err(Error::argument("class", format!("less than {classes} (classes)"), class));
        }
        let own = logits[class];
        // Of equal logits the first counts as the greater: so does the prediction, the argmax.
        let before = |&(other, &x): &(usize, &T)| x > own || (x == own && other < class);
        let rank = logits.iter().enumerate().filter(before).count();
        self.ranks[rank] += 1;
        let greatest = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
        self.confusion[[class, (1..classes).fold(0, greatest)]] += 1;
        Ok(())
    }

    /// Adds the mean `loss` of `count` answers.
    pub fn add_loss(&mut self, loss: f64, count: usize) {
        self.loss.add(loss, count);
    }

    /// How many answers there were.
    pub fn count(&self) -> usize {
        self.confusion.sum()
    }

    /// The numbers of the classes.
    pub fn classes(&self) -> Range<usize> {
        0..self.ranks.len()
    }

    /// How often each true class (row) was said to be each class (column).
    pub fn confusion(&self) -> ArrayView2<'_, usize> {
        self.confusion.view()
    }

    /// The share of right answers.
    pub fn accuracy(&self) -> f64 {
        self.top_k(1)
    }

    /// The share of answers whose true class is among the `k` with the greatest logits.
    pub fn top_k(&self, k: usize) -> f64 {
        let right: usize = self.ranks.iter().take(k).sum();
        ratio(right as f64, self.count() as f64)
    }

    /// Precision, recall and F1 of a class; zeros of one that does not exist.
    pub fn class(&self, class: usize) -> Prf {
        let (right, said, is) = self.counts(class);
        Prf::new(right, said, is)
    }

    /// The mean over `classes` of precision, recall and F1: each class counts alike.
    pub fn macro_average(&self, classes: impl IntoIterator<Item = usize>) -> Prf {
        let of: Vec<Prf> = classes.into_iter().map(|class| self.class(class)).collect();
        let mean =
            |of_class: fn(&Prf) -> f64| ratio(of.iter().map(of_class).sum(), of.len() as f64);
        Prf { precision: mean(|c| c.precision), recall: mean(|c| c.recall), f1: mean(|c| c.f1) }
    }

    /// Precision, recall and F1 of all answers of `classes` together: each answer counts alike. Over
    /// all classes the three are the accuracy; leave out the class that says nothing is there.
    pub fn micro_average(&self, classes: impl IntoIterator<Item = usize>) -> Prf {
        let sum = classes.into_iter().fold((0, 0, 0), |sum, class| {
            let counts = self.counts(class);
            (sum.0 + counts.0, sum.1 + counts.1, sum.2 + counts.2)
        });
        Prf::new(sum.0, sum.1, sum.2)
    }

    /// Of a class: how often it was rightly said, said, and true.
    fn counts(&self, class: usize) -> (usize, usize, usize) {
        if !self.classes().contains(&class) {
            return (0, 0, 0);
        }
        let (said, is) = (self.confusion.column(class).sum(), self.confusion.row(class).sum());
        (self.confusion[[class, class]], said, is)
    }
}

impl Score for Classification {
    fn loss(&self) -> f64 {
        self.loss.value()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let f1 = self.macro_average(self.classes()).f1;
        vec![("loss", self.loss()), ("accuracy", self.accuracy()), ("macro_f1", f1)]
    }
}

impl Display for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let f1 = self.macro_average(self.classes()).f1;
        let (loss, accuracy) = (self.loss(), self.accuracy());
        write!(f, "loss {loss:.4}, accuracy {accuracy:.4}, macro F1 {f1:.4}")
    }
}

/// A mean of parts of different counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, mean: f64, count: usize) {
        self.sum += mean * count as f64;
        self.count += count;
    }

    fn value(&self) -> f64 {
        ratio(self.sum, self.count as f64)
    }
}

/// How far numbers were from what they should be.
///
/// ```
/// use recurrent::train::metrics::{Regression, seasonal_error};
///
/// let mut score = Regression::default();
/// score.add(3.0, 2.0);
/// score.add(5.0, 8.0);
/// assert_eq!((score.rmse(), score.mae(), score.mape()), (5_f64.sqrt(), 2.0, 43.75));
/// assert_eq!(score.mase(seasonal_error(&[1.0, 3.0, 2.0], 1)?), 2.0 / 1.5);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regression {
    loss: Mean,
    squared: Mean,
    absolute: Mean,
    relative: Mean,
}

impl Regression {
    /// Adds one number that was foretold, and what it should be.
    pub fn add(&mut self, predicted: f64, target: f64) {
        let error = predicted - target;
        self.squared.add(error * error, 1);
        self.absolute.add(error.abs(), 1);
        if target != 0.0 {
            self.relative.add((error / target).abs(), 1);
        }
    }

    /// Adds the mean `loss` of `count` answers.
    pub fn add_loss(&mut self, loss: f64, count: usize) {
        self.loss.add(loss, count);
    }

    /// The root of the mean squared error.
    pub fn rmse(&self) -> f64 {
        self.squared.value().sqrt()
    }

    /// The mean absolute error.
    pub fn mae(&self) -> f64 {
        self.absolute.value()
    }

    /// The mean absolute error in per cent of what it should be, over all that should not be 0.
    pub fn mape(&self) -> f64 {
        100.0 * self.relative.value()
    }

    /// The mean absolute error over that of saying the last season again, `seasonal` ([`seasonal_error`]
    /// of the training part): below 1 is better than that.
    pub fn mase(&self, seasonal: f64) -> f64 {
        ratio(self.mae(), seasonal)
    }
}

/// The mean absolute error of saying what was `season` steps before, over `series`.
///
/// # Errors
/// Unless the series is longer than a season of at least 1.
pub fn seasonal_error<T: Float>(series: &[T], season: usize) -> Result<f64> {
    check_size("season", &[season])?;
    if series.len() <= season {
        let expected = format!("more than {season} values (a season)");
        return Err(Error::argument("series", expected, series.len()));
    }
    let errors = series.iter().zip(&series[season..]).map(|(&a, &b)| (b - a).as_f64().abs());
    Ok(errors.sum::<f64>() / (series.len() - season) as f64)
}

impl Score for Regression {
    fn loss(&self) -> f64 {
        self.loss.value()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("loss", self.loss()), ("rmse", self.rmse()), ("mae", self.mae())]
    }
}

impl Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.4}, RMSE {:.4}, MAE {:.4}", self.loss(), self.rmse(), self.mae())
    }
}

/// How likely a model held a text to be.
///
/// ```
/// use recurrent::train::metrics::Likelihood;
///
/// let mut score = Likelihood::default();
/// score.add(2_f64.ln(), 3); // three tokens of probability ½
/// assert!((score.perplexity() - 2.0).abs() < 1e-12 && (score.bits() - 1.0).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Likelihood {
    nats: Mean,
}

impl Likelihood {
    /// Adds the mean of −ln p over `count` tokens.
    pub fn add(&mut self, nats: f64, count: usize) {
        self.nats.add(nats, count);
    }

    /// Among how many equally likely tokens it wavers.
    pub fn perplexity(&self) -> f64 {
        self.nats.value().exp()
    }

    /// Bits per token: per character, if tokens are characters.
    pub fn bits(&self) -> f64 {
        self.nats.value() / std::f64::consts::LN_2
    }
}

impl Score for Likelihood {
    fn loss(&self) -> f64 {
        self.nats.value()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("loss", self.loss()), ("perplexity", self.perplexity()), ("bits", self.bits())]
    }
}

impl Display for Likelihood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} bits a token, perplexity {:.3}", self.bits(), self.perplexity())
    }
}
