//! Cross entropy: one class of several, from logits.
//!
//! With p = softmax(x) over C classes, the class y, label smoothing ε and class weights w:
//!
//! ```text
//! l = −(1 − ε)·w_y·ln p_y − ε/C · Σ_c w_c·ln p_c          L = Σ l / Σ w_y
//! ∂l/∂x = ((1 − ε)·w_y + ε/C·Σ_c w_c)·p − (1 − ε)·w_y·[y] − ε/C·w
//! ```
//!
//! Both sums run over the rows whose class is not `ignore_index`, as in `torch.nn.CrossEntropyLoss`
//! with reduction "mean". Where Σ w_y is zero, loss and gradient are zero. Label smoothing: Szegedy et al.,
//! 2016.
//!
//! Softmax, loss and gradient of a row are computed together while the row is in the cache. A term of
//! weight zero is left out, even if its logit is infinite. Only the gradient is written to memory.

use ndarray::{Array2, Array3, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_shape, shaped};
use crate::float::Float;
use crate::loss::reduce::{self, Place, finite, weight_at};
use crate::loss::{Batch, Logits, Loss, RowLoss};
use crate::tensor::aligned::padded;
use crate::tensor::cross_entropy::cross_entropy;
use crate::tensor::{Aligned, Level, threads};

/// The mean cross entropy of logits; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | [`ignore_index`](Self::ignore_index) | none | any index |
/// | [`label_smoothing`](Self::label_smoothing) | 0 | 0 ≤ ε ≤ 1 |
/// | [`class_weights`](Self::class_weights) | all 1 | finite, at least 0, not all 0 |
///
/// [`SoftCrossEntropy`](crate::loss::SoftCrossEntropy) takes probabilities in place of classes.
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{CrossEntropy, Loss};
///
/// let logits = array![[0.0, 3_f64.ln()], [1.0, 1.0]]; // softmax: [1/4, 3/4], [1/2, 1/2]
/// let (loss, d_logits) = CrossEntropy::default().loss(&logits, &vec![0, 1])?;
/// assert!((loss - (4_f64.ln() + 2_f64.ln()) / 2.0).abs() < 1e-12);
/// assert!((d_logits[[0, 0]] + 0.375).abs() < 1e-12); // (1/4 − 1) / 2
///
/// let smooth = CrossEntropy::default().label_smoothing(0.1)?.ignore_index(1);
/// assert_eq!(smooth.loss(&logits, &vec![0, 1])?.1.row(1), array![0.0, 0.0]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Options")]
pub struct CrossEntropy {
    ignore_index: Option<usize>,
    label_smoothing: f64,
    class_weights: Option<Vec<f64>>,
}

/// The serialised form of [`CrossEntropy`], whose options are not checked yet.
#[derive(Deserialize)]
struct Options {
    ignore_index: Option<usize>,
    label_smoothing: f64,
    class_weights: Option<Vec<f64>>,
}

impl TryFrom<Options> for CrossEntropy {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let loss = Self { ignore_index: options.ignore_index, ..Self::default() };
        let loss = loss.label_smoothing(options.label_smoothing)?;
        match options.class_weights {
            Some(weights) => loss.class_weights(weights),
            None => Ok(loss),
        }
    }
}

impl CrossEntropy {
    /// Sets the class whose rows are left out of the mean. It may lie outside the logits' classes.
    pub fn ignore_index(mut self, class: usize) -> Self {
        self.ignore_index = Some(class);
        self
    }

    /// Returns the class whose rows are left out.
    pub fn ignored(&self) -> Option<usize> {
        self.ignore_index
    }

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

    /// Returns all rows, in the order of time, each with its class.
    fn counted<P: Logits>(&self, logits: &P, classes: &P::Classes) -> Result<Vec<Row>> {
        self.counted_of(logits, logits.values().dim().2, classes)
    }

    /// Returns the same for logits of `width` classes, whose rows are those of `logits`.
    pub(super) fn counted_of<P: Logits>(
        &self,
        logits: &P,
        width: usize,
        classes: &P::Classes,
    ) -> Result<Vec<Row>> {
        let (axes, shape) = (P::AXES.trim_end_matches(", features"), logits.shape());
        check_shape("classes", axes, &shape[..shape.len() - 1], &P::shape_of(classes))?;
        let (time, batch, _) = logits.values().dim();
        self.check_classes(width)?;
        let places = (0..time).flat_map(|t| (0..batch).map(move |b| (t, b)));
        let counted = |(t, b)| {
            let class = logits.has_step(t, b).then(|| P::class(classes, t, b));
            match class.filter(|&class| self.ignore_index != Some(class)) {
                Some(class) if class >= width => {
                    let argument = Place::new(t, b).row_name("classes", logits);
                    Err(Error::argument(argument, format!("less than {width} (classes)"), class))
                }
                class => Ok(Row { t, b, class }),
            }
        };
        places.map(counted).collect()
    }

    /// Returns Σ w_y over the rows of `classes`, each multiplied by the weight of its row.
    pub(super) fn total<P: Batch>(
        &self,
        logits: &P,
        classes: &[Row],
        weights: Option<ArrayView2<'_, f64>>,
    ) -> Result<f64> {
        reduce::total(logits, weights)?;
        let counted = classes.iter().filter_map(|row| Some((row.t, row.b, row.class?)));
        let weight = |(t, b, y)| weight_at(logits, weights, t, b) * self.weight(y);
        let total = counted.map(weight).sum::<f64>();
        if total.is_finite() {
            return Ok(total);
        }
        Err(Error::argument("class_weights", "a finite sum over the rows", total))
    }

    /// Fails unless the class weights, if there are any, are of `classes`.
    pub(crate) fn check_classes(&self, classes: usize) -> Result<()> {
        check_class_weights(self.class_weights.as_deref(), classes)
    }

    fn weight(&self, class: usize) -> f64 {
        self.class_weights.as_ref().map_or(1.0, |weights| weights[class])
    }
}

/// A row or step, and its class, or `None` if it is left out.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) t: usize,
    pub(super) b: usize,
    class: Option<usize>,
}

/// Returns ε, or an error unless 0 ≤ ε ≤ 1.
pub(super) fn checked_smoothing(epsilon: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&epsilon) {
        return Ok(epsilon);
    }
    Err(Error::argument("label_smoothing", "0 ≤ ε ≤ 1", epsilon))
}

/// Returns the weights, or an error unless each is finite and at least 0, and one is above 0.
pub(super) fn checked_weights(weights: Vec<f64>) -> Result<Vec<f64>> {
    if let Some(class) = weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
        let argument = format!("class_weights[{class}]");
        return Err(Error::argument(argument, "a finite weight of at least 0", weights[class]));
    }
    if weights.iter().any(|&weight| weight > 0.0) {
        return Ok(weights);
    }
    Err(Error::argument("class_weights", "at least one above 0", format!("{weights:?}")))
}

/// Fails unless there is a weight for each class.
pub(super) fn check_class_weights(weights: Option<&[f64]>, classes: usize) -> Result<()> {
    weights.map_or(Ok(()), |weights| {
        check_shape("class_weights", "classes", &[classes], &[weights.len()])
    })
}

/// The target is the class of each row, or of each step.
impl<P: Logits> Loss<P> for CrossEntropy {
    type Target = P::Classes;

    fn loss(&self, logits: &P, classes: &P::Classes) -> Result<(f64, P)> {
        self.weighted(logits, classes, None)
    }

    fn count(&self, logits: &P, classes: &P::Classes) -> Result<f64> {
        self.weighted_count(logits, classes, None)
    }
}

/// The loss of a row is l, which contains the weight of its class.
impl<P: Logits> RowLoss<P> for CrossEntropy {
    fn losses(&self, logits: &P, classes: &P::Classes) -> Result<P::Losses> {
        let (time, batch, width) = logits.values().dim();
        let rows = weighted_rows(self.counted(logits, classes)?, logits, None);
        let mut values = values_of(logits);
        let losses = Sweep::new(self, width, 1.0).rows(&mut values, &rows)?;
        let losses = Array2::from_shape_vec((time, batch), losses);
        Ok(P::losses(shaped("losses", losses)?))
    }

    fn weighted(
        &self,
        logits: &P,
        classes: &P::Classes,
        weights: Option<ArrayView2<'_, f64>>,
    ) -> Result<(f64, P)> {
        let (classes, dim) = (self.counted(logits, classes)?, logits.values().dim());
        let total = self.total(logits, &classes, weights)?;
        if total == 0.0 {
            return Ok((0.0, logits.with_gradient(Array3::zeros(dim))?));
        }
        let (mut gradient, rows) = (values_of(logits), weighted_rows(classes, logits, weights));
        let losses = Sweep::new(self, dim.2, total).rows(&mut gradient, &rows)?;
        let gradient = shaped("gradient", Array3::from_shape_vec(dim, gradient))?;
        finite::<P::Elem, _>(losses.iter().sum(), logits.with_gradient(gradient)?)
    }

    fn weighted_count(
        &self,
        logits: &P,
        classes: &P::Classes,
        weights: Option<ArrayView2<'_, f64>>,
    ) -> Result<f64> {
        self.total(logits, &self.counted(logits, classes)?, weights)
    }
}

/// The smallest number of rows that a thread computes.
const MIN_ROWS: usize = 16;

/// Returns the rows with their weights.
fn weighted_rows<P: Batch>(
    rows: Vec<Row>,
    logits: &P,
    weights: Option<ArrayView2<'_, f64>>,
) -> Vec<(Row, f64)> {
    rows.into_iter().map(|row| (row, weight_at(logits, weights, row.t, row.b))).collect()
}

/// Returns a copy of the logits, row by row.
#[expect(clippy::expect_used, reason = "`as_standard_layout` makes it so")]
fn values_of<P: Batch>(logits: &P) -> Vec<P::Elem> {
    let values = logits.values();
    let values = values.as_standard_layout();
    values.as_slice().expect("an array in standard layout").to_vec()
}

/// The values that all rows of one call share.
pub(super) struct Sweep<'a, T: Float> {
    loss: &'a CrossEntropy,
    width: usize,
    total: f64,
    /// ε/C·w / Σ w_y of each class, padded with zeros to whole vectors; none without smoothing.
    soft: Option<Aligned<T>>,
    /// The sum of `soft`.
    soft_sum: f64,
}

impl<'a, T: Float> Sweep<'a, T> {
    pub(super) fn new(loss: &'a CrossEntropy, width: usize, total: f64) -> Self {
        let part = loss.label_smoothing / width as f64 / total;
        let weights = (0..width).map(|class| part * loss.weight(class));
        let soft = (part > 0.0).then(|| {
            let mut soft = Aligned::zeros(padded::<T>(width));
            soft.iter_mut().zip(weights.clone()).for_each(|(to, weight)| *to = T::from_f64(weight));
            soft
        });
        let soft_sum = if soft.is_some() { weights.sum() } else { 0.0 };
        Self { loss, width, total, soft, soft_sum }
    }

    /// Returns the loss of each row, and replaces the logits `values` by the gradient of their sum. A row
    /// without a class or with weight zero is left out. Threads split the rows.
    pub(super) fn rows(&self, values: &mut [T], rows: &[(Row, f64)]) -> Result<Vec<f64>> {
        let mut losses = vec![0.0; rows.len()];
        let parts = threads::parts(rows.len(), MIN_ROWS, values.len() * threads::COPY_WORK);
        self.part(values, &mut losses, rows, parts);
        match losses.iter().position(|loss| !loss.is_finite()) {
            None => Ok(losses),
            Some(r) => {
                let (name, index) = ("loss".to_owned(), r * self.width);
                Err(Error::NonFinite { name, index, value: losses[r] })
            }
        }
    }

    /// Computes the given rows on `parts` threads.
    fn part(&self, values: &mut [T], losses: &mut [f64], rows: &[(Row, f64)], parts: usize) {
        if parts > 1 {
            let middle = rows.len() * (parts / 2) / parts;
            let (head, tail) = values.split_at_mut(middle * self.width);
            let (first, last) = losses.split_at_mut(middle);
            return threads::join(
                || self.part(head, first, &rows[..middle], parts / 2),
                || self.part(tail, last, &rows[middle..], parts - parts / 2),
            );
        }
        let (level, width) = (Level::new(), self.width);
        let mut row = Aligned::stale(padded::<T>(width));
        // Logits of no class have no value.
        let all = rows.iter().zip(losses).zip(values.chunks_exact_mut(width.max(1)));
        for ((&(Row { class, .. }, weight), loss), values) in all {
            let hard = class.map_or(0.0, |y| self.hard(y));
            match class {
                Some(y) if weight > 0.0 && hard + self.soft_sum > 0.0 => {
                    // The logit −∞ has probability zero.
                    row[..width].copy_from_slice(values);
                    row[width..].fill(T::neg_infinity());
                    let soft = self.soft.as_deref().map(|soft| (soft, self.soft_sum));
                    *loss = weight * cross_entropy(level, &mut row, (y, hard), soft);
                    let weight = T::from_f64(weight);
                    values.iter_mut().zip(row.iter()).for_each(|(to, &d)| *to = d * weight);
                }
                _ => values.fill(T::zero()),
            }
        }
    }

    /// Returns (1 − ε)·w_y / Σ w_y.
    fn hard(&self, y: usize) -> f64 {
        (1.0 - self.loss.label_smoothing) * self.loss.weight(y) / self.total
    }
}
