//! Cross entropy: one class of several, from logits.
//!
//! With p = softmax(x) over C classes, the class y, label smoothing ε and class weights w:
//!
//! ```text
//! l = −(1 − ε)·w_y·ln p_y − ε/C · Σ_c w_c·ln p_c          L = Σ l / Σ w_y
//! ∂l/∂x = ((1 − ε)·w_y + ε/C·Σ_c w_c)·p − (1 − ε)·w_y·[y] − ε/C·w
//! ```
//!
//! Both sums run over the rows whose class is not `ignore_index`; as `torch.nn.CrossEntropyLoss`
//! with reduction "mean". Label smoothing: Szegedy et al., 2016.

use ndarray::{Array2, Array3, ArrayView2, ArrayViewMut2};

use super::finite;
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequences::Sequences;
use crate::tensor::reduce::{softmax_of_nonpositive, subtract_largest};
use crate::tensor::{Level, dispatch};

/// The mean cross entropy of logits; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | [`ignore_index`](Self::ignore_index) | none | a class that counts nothing |
/// | [`label_smoothing`](Self::label_smoothing) | 0 | 0 ≤ ε ≤ 1 |
/// | [`class_weights`](Self::class_weights) | all 1 | finite, at least 0 |
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    ignore_index: Option<usize>,
    label_smoothing: f64,
    class_weights: Option<Vec<f64>>,
}

impl CrossEntropy {
    /// Rows of this class count nothing. It need not be one of the logits' classes.
    pub fn ignore_index(mut self, class: usize) -> Self {
        self.ignore_index = Some(class);
        self
    }

    /// The part ε of each row's target that is spread over all classes.
    pub fn label_smoothing(mut self, epsilon: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&epsilon) {
            return Err(Error::argument("label_smoothing", "0 ≤ ε ≤ 1", epsilon));
        }
        self.label_smoothing = epsilon;
        Ok(self)
    }

    /// The weight of each class.
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

    /// The loss and ∂L/∂logits, of `logits` [rows, classes] and the class of each row.
    ///
    /// # Errors
    /// Where a class is out of range, every row is ignored, or the loss is not finite.
    pub fn rows<T: Float>(
        &self,
        logits: ArrayView2<'_, T>,
        classes: &[usize],
    ) -> Result<(T, Array2<T>)> {
        check_shape("classes", "rows", &[logits.nrows()], &[classes.len()])?;
        let mut gradient = logits.as_standard_layout().into_owned();
        let classes: Vec<_> = classes.iter().copied().map(Some).collect();
        let place = |r: usize| format!("classes[{r}]");
        let loss = self.reduce(&mut gradient.view_mut(), &classes, place)?;
        finite(loss, gradient)
    }

    /// The loss and ∂L/∂logits, of `logits` [time, batch, classes] and `classes` [time, batch],
    /// with the lengths of `logits`.
    ///
    /// # Errors
    /// Where a class is out of range, every step is ignored, or the loss is not finite.
    pub fn sequences<T: Float>(
        &self,
        logits: &Sequences<T>,
        classes: ArrayView2<'_, usize>,
    ) -> Result<(T, Array3<T>)> {
        let (time, batch, width) = logits.values().dim();
        check_shape("classes", "time, batch", &[time, batch], classes.shape())?;
        let lengths = logits.lengths();
        let real = |((t, b), &class): ((usize, usize), &usize)| (t < lengths[b]).then_some(class);
        let classes: Vec<_> = classes.indexed_iter().map(real).collect();
        let mut gradient = logits.values().clone();
        let rows = gradient.view_mut().into_shape_with_order((time * batch, width));
        let mut rows = rows.map_err(|error| Error::argument("logits", "rows", error))?;
        let place = |r: usize| format!("classes[{}, {}]", r / batch, r % batch);
        let loss = self.reduce(&mut rows, &classes, place)?;
        finite(loss, gradient)
    }

    /// The loss of rows of logits, which become its gradient; a row without a class counts nothing.
    /// `place` names a row's class in an error.
    fn reduce<T: Float>(
        &self,
        rows: &mut ArrayViewMut2<'_, T>,
        classes: &[Option<usize>],
        place: impl Fn(usize) -> String,
    ) -> Result<f64> {
        let width = rows.ncols();
        if let Some(weights) = &self.class_weights {
            check_shape("class_weights", "classes", &[width], &[weights.len()])?;
        }
        let counts = |class: &Option<usize>| class.filter(|_| *class != self.ignore_index);
        let wrong = classes.iter().position(|class| counts(class).is_some_and(|y| y >= width));
        if let Some((r, class)) = wrong.and_then(|r| Some((r, classes[r]?))) {
            return Err(Error::argument(place(r), format!("less than {width} (classes)"), class));
        }
        let total: f64 = classes.iter().filter_map(counts).map(|y| self.weight(y)).sum();
        if total == 0.0 {
            let expected = "at least one that is not ignored and has a weight";
            return Err(Error::argument("classes", expected, "none"));
        }
        let mut loss = 0.0;
        for (mut row, class) in rows.rows_mut().into_iter().zip(classes) {
            match (row.as_slice_mut(), counts(class)) {
                (Some(row), Some(class)) => loss += self.row(row, class, total),
                _ => row.fill(T::zero()),
            }
        }
        Ok(loss)
    }

    /// One row's part of the loss; the row becomes its part of the gradient.
    fn row<T: Float>(&self, x: &mut [T], y: usize, total: f64) -> f64 {
        // From the largest logit on, a common offset costs no digits.
        subtract_largest(x);
        let weight = |class: usize| self.weight(class);
        let hard = (1.0 - self.label_smoothing) * weight(y) / total;
        let soft = self.label_smoothing / x.len() as f64 / total;
        let mut loss = -hard * x[y].f64();
        let mut scale = hard;
        if soft > 0.0 {
            loss -= x.iter().enumerate().map(|(c, x)| soft * weight(c) * x.f64()).sum::<f64>();
            scale += (0..x.len()).map(|c| soft * weight(c)).sum::<f64>();
        }
        loss += scale * dispatch!(Level::new(), simd => softmax_of_nonpositive(simd, x)).f64();
        for (c, p) in x.iter_mut().enumerate() {
            let target = soft * weight(c) + if c == y { hard } else { 0.0 };
            *p = T::of(scale * p.f64() - target);
        }
        loss
    }

    fn weight(&self, class: usize) -> f64 {
        self.class_weights.as_ref().map_or(1.0, |weights| weights[class])
    }
}
