//! The cross entropy of a linear layer's outputs, without an array of all logits.
//!
//! The logits of a large vocabulary are the largest array of a training step. Here they exist for a few
//! rows at a time, which stay in the cache from the product to the gradient.

use ndarray::{Array2, Array3};

use crate::arrays::{Arrays, check_same_structure};
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::layer::Linear;
use crate::loss::cross_entropy::{CrossEntropy, Row, Sweep};
use crate::loss::reduce::finite;
use crate::sequences::Sequences;
use crate::tensor::{Aligned, RowRefs, Rows};

/// The number of logits that exist at a time.
const LOGITS: usize = 1 << 20;

impl CrossEntropy {
    /// Returns the loss of the logits `head(h)`, its count, and the gradient with respect to `h`. Adds the
    /// gradients of `head` to `grad`. All of them equal, bit for bit, those of [`Loss`](crate::loss::Loss) and
    /// [`Layer`](crate::layer::Layer). After an error, `grad` is of no use.
    ///
    /// # Errors
    /// If `h`, `classes` or `grad` does not fit `head`, a class is not less than the outputs of `head`, the class
    /// weights do not fit, or a loss is not finite.
    #[expect(clippy::expect_used, reason = "sequences and new arrays are in standard layout")]
    pub(crate) fn of_linear<T: Float>(
        &self,
        head: &Linear<T>,
        h: &Sequences<T>,
        classes: &Array2<usize>,
        grad: &mut Linear<T>,
    ) -> Result<(f64, f64, Sequences<T>)> {
        let (input, width) = (head.input_size(), head.output_size());
        check_shape("h", "time, batch, input", &[h.time(), h.batch(), input], h.values().shape())?;
        check_same_structure("grad", head, grad)?;
        let rows = self.counted_of(h, width, classes)?;
        let total = self.total(h, &rows, None)?;
        if total == 0.0 {
            return Ok((0.0, 0.0, h.zeros_like()));
        }
        let live: Vec<(Row, f64)> =
            rows.iter().filter(|row| row.t < h.lengths()[row.b]).map(|&row| (row, 1.0)).collect();
        let (forward, backward) = (head.packed(), head.packed_backward());
        let sweep = Sweep::new(self, width, total);
        let count = (LOGITS / width).clamp(1, live.len());
        let mut x = Aligned::stale(count * input);
        let mut d_x = Aligned::stale(count * input);
        let mut logits = Aligned::stale(count * width);
        let mut d_h = Array3::zeros(h.dim());
        let values = h.values().as_slice().expect("sequences in standard layout");
        let to = d_h.as_slice_mut().expect("a new array in standard layout");
        let place = |row: Row| (row.t * h.batch() + row.b) * input;
        let mut sum = 0.0;
        for rows in live.chunks(count) {
            let (x, d_x) = (&mut x[..rows.len() * input], &mut d_x[..rows.len() * input]);
            let logits = &mut logits[..rows.len() * width];
            for (x, &(row, _)) in x.chunks_exact_mut(input).zip(rows) {
                x.copy_from_slice(&values[place(row)..][..input]);
            }
            forward.forward_into(x, logits);
            let losses = sweep.rows(logits, rows).map_err(|error| at(error, rows, h, width))?;
            sum = losses.iter().fold(sum, |sum, loss| sum + loss);
            backward.forward_into(logits, d_x);
            let refs = |rows, width| RowRefs::new(Rows::new(rows, width).iter().collect(), width);
            head.add_gradients(&refs(x, input), &refs(logits, width), grad)?;
            for (d_x, &(row, _)) in d_x.chunks_exact(input).zip(rows) {
                to[place(row)..][..input].copy_from_slice(d_x);
            }
        }
        let (loss, d_h) = finite::<T, _>(sum, h.with_values(d_h)?)?;
        Ok((loss, total, d_h))
    }
}

/// Returns the error about a logit of the given rows with its index in all logits [time, batch, classes].
fn at<T: Float>(error: Error, rows: &[(Row, f64)], h: &Sequences<T>, width: usize) -> Error {
    match error {
        Error::NonFinite { name, index, value } => {
            let Row { t, b, .. } = rows[index / width].0;
            let index = (t * h.batch() + b) * width + index % width;
            Error::NonFinite { name, index, value }
        }
        other => other,
    }
}
