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
//! with reduction "mean". Label smoothing: Szegedy et al., 2016.
//!
//! Softmax, loss and gradient of a row are computed together while the row is in the cache. A term of
//! weight zero is left out, even if its logit is infinite. Only the gradient is written to memory.

use ndarray::{Array2, Array3};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::loss::{Loss, finite};
use crate::sequences::Sequences;
use crate::tensor::cross_entropy::cross_entropy;
use crate::tensor::{Aligned, Level, Rows};

/// The size of the widest vector, in bytes.
const WIDEST: usize = 64;

/// The mean cross entropy of logits; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | [`ignore_index`](Self::ignore_index) | none | any index |
/// | [`label_smoothing`](Self::label_smoothing) | 0 | 0 ≤ ε ≤ 1 |
/// | [`class_weights`](Self::class_weights) | all 1 | finite, at least 0 |
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
pub struct CrossEntropy {
    ignore_index: Option<usize>,
    label_smoothing: f64,
    class_weights: Option<Vec<f64>>,
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
        if !(0.0..=1.0).contains(&epsilon) {
            return Err(Error::argument("label_smoothing", "0 ≤ ε ≤ 1", epsilon));
        }
        self.label_smoothing = epsilon;
        Ok(self)
    }

    /// Sets the weight w of each class.
    ///
    /// # Errors
    /// Unless each is finite and at least 0. The loss fails unless there is one for each class.
    pub fn class_weights(mut self, weights: Vec<f64>) -> Result<Self> {
        match weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            Some(class) => {
                let argument = format!("class_weights[{class}]");
                Err(Error::argument(argument, "a finite weight of at least 0", weights[class]))
            }
            None => {
                self.class_weights = Some(weights);
                Ok(self)
            }
        }
    }

    /// Returns the loss of rows of logits, and its gradient. A row without a class is left out. `place`
    /// names a row's class in an error.
    fn reduce<T: Float>(
        &self,
        rows: Rows<'_, T>,
        width: usize,
        classes: &[Option<usize>],
        place: impl Fn(usize) -> String,
    ) -> Result<(f64, Vec<T>)> {
        if let Some(weights) = &self.class_weights {
            check_shape("class_weights", "classes", &[width], &[weights.len()])?;
        }
        let counts = |class: Option<usize>| class.filter(|&class| self.counts(class));
        let wrong = classes.iter().position(|&class| counts(class).is_some_and(|y| y >= width));
        if let Some((r, class)) = wrong.and_then(|r| Some((r, classes[r]?))) {
            return Err(Error::argument(place(r), format!("less than {width} (classes)"), class));
        }
        let classes = classes.iter().copied().map(counts);
        let total = self.total(classes.clone().flatten());
        if total == 0.0 {
            return Ok((0.0, vec![T::zero(); rows.count() * width]));
        }
        if !total.is_finite() {
            return Err(Error::argument("class_weights", "a finite sum over the rows", total));
        }
        let sweep = Sweep::new(self, width, total);
        Ok(sweep.rows(rows, classes))
    }

    /// Fails unless each class that counts is less than `width`, and has a weight.
    fn check(&self, width: usize, mut classes: impl Iterator<Item = usize>) -> Result<()> {
        if let Some(weights) = &self.class_weights {
            check_shape("class_weights", "classes", &[width], &[weights.len()])?;
        }
        match classes.find(|&class| self.counts(class) && class >= width) {
            None => Ok(()),
            Some(class) => {
                Err(Error::argument("classes", format!("less than {width} (classes)"), class))
            }
        }
    }

    /// Returns whether rows of this class are part of the mean.
    fn counts(&self, class: usize) -> bool {
        self.ignore_index != Some(class)
    }

    /// Returns Σ w_y over the rows of these classes.
    fn total(&self, classes: impl Iterator<Item = usize>) -> f64 {
        classes.filter(|&class| self.counts(class)).map(|class| self.weight(class)).sum()
    }

    fn weight(&self, class: usize) -> f64 {
        self.class_weights.as_ref().map_or(1.0, |weights| weights[class])
    }
}

/// The target is the class of each row of `logits` [rows, classes].
impl<T: Float> Loss<Array2<T>> for CrossEntropy {
    type Target = Vec<usize>;

    fn loss(&self, logits: &Array2<T>, classes: &Vec<usize>) -> Result<(f64, Array2<T>)> {
        check_shape("classes", "rows", &[logits.nrows()], &[classes.len()])?;
        let classes: Vec<_> = classes.iter().copied().map(Some).collect();
        let place = |r: usize| format!("classes[{r}]");
        let rows = logits.as_standard_layout();
        let values = rows.as_slice().expect("rows in standard layout");
        let rows = Rows::new(values, logits.ncols());
        let (loss, gradient) = self.reduce(rows, logits.ncols(), &classes, place)?;
        let gradient = Array2::from_shape_vec(logits.dim(), gradient);
        finite::<T, _>(loss, gradient.expect("a value for each logit"))
    }

    fn count(&self, logits: &Array2<T>, classes: &Vec<usize>) -> Result<f64> {
        check_shape("classes", "rows", &[logits.nrows()], &[classes.len()])?;
        self.check(logits.ncols(), classes.iter().copied())?;
        Ok(self.total(classes.iter().copied()))
    }
}

/// The target is the class [time, batch] of each step of `logits` [time, batch, classes]. Classes in
/// the padding are not read.
impl<T: Float> Loss<Sequences<T>> for CrossEntropy {
    type Target = Array2<usize>;

    fn loss(&self, logits: &Sequences<T>, classes: &Array2<usize>) -> Result<(f64, Sequences<T>)> {
        let (time, batch, width) = logits.values().dim();
        check_shape("classes", "time, batch", &[time, batch], classes.shape())?;
        let lengths = logits.lengths();
        let real = |((t, b), &class): ((usize, usize), &usize)| (t < lengths[b]).then_some(class);
        let classes: Vec<_> = classes.indexed_iter().map(real).collect();
        let place = |r: usize| format!("classes[{}, {}]", r / batch, r % batch);
        let values = logits.values().as_slice().expect("sequences in standard layout");
        let (loss, gradient) = self.reduce(Rows::new(values, width), width, &classes, place)?;
        let gradient = Array3::from_shape_vec((time, batch, width), gradient);
        finite::<T, _>(loss, logits.with_values(gradient.expect("a value for each logit"))?)
    }

    fn count(&self, logits: &Sequences<T>, classes: &Array2<usize>) -> Result<f64> {
        let (time, batch, width) = logits.values().dim();
        check_shape("classes", "time, batch", &[time, batch], classes.shape())?;
        let real = classes.indexed_iter().filter(|((t, b), _)| *t < logits.lengths()[*b]);
        let real = real.map(|(_, &class)| class);
        self.check(width, real.clone())?;
        Ok(self.total(real))
    }
}

/// The values that all rows of one call share.
struct Sweep<'a, T: Float> {
    loss: &'a CrossEntropy,
    width: usize,
    total: f64,
    /// ε/C·w / Σ w_y of each class, padded with zeros to whole vectors; none without smoothing.
    soft: Option<Aligned<T>>,
    /// The sum of `soft`.
    soft_sum: f64,
}

impl<'a, T: Float> Sweep<'a, T> {
    fn new(loss: &'a CrossEntropy, width: usize, total: f64) -> Self {
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

    /// Returns the loss of all rows, and its gradient.
    fn rows(
        &self,
        rows: Rows<'_, T>,
        classes: impl Iterator<Item = Option<usize>>,
    ) -> (f64, Vec<T>) {
        let level = Level::new();
        let mut gradient = Vec::with_capacity(rows.count() * self.width);
        let mut row = Aligned::stale(padded::<T>(self.width));
        let mut loss = 0.0;
        for (logits, class) in rows.iter().zip(classes) {
            let hard = class.map_or(0.0, |y| self.hard(y));
            match class {
                Some(y) if hard + self.soft_sum > 0.0 => {
                    // The logit −∞ has probability zero.
                    row[..self.width].copy_from_slice(logits);
                    row[self.width..].fill(T::neg_infinity());
                    let soft = self.soft.as_deref().map(|soft| (soft, self.soft_sum));
                    loss += cross_entropy(level, &mut row, (y, hard), soft);
                    gradient.extend_from_slice(&row[..self.width]);
                }
                _ => gradient.resize(gradient.len() + self.width, T::zero()),
            }
        }
        (loss, gradient)
    }

    /// Returns (1 − ε)·w_y / Σ w_y.
    fn hard(&self, y: usize) -> f64 {
        (1.0 - self.loss.label_smoothing) * self.loss.weight(y) / self.total
    }
}

/// Returns `width` rounded up to whole vectors of any instruction set.
fn padded<T: Float>(width: usize) -> usize {
    width.next_multiple_of(WIDEST / size_of::<T>())
}
