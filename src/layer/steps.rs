//! Conversion between the steps of sequences, without the padding, and rows.

use ndarray::{Array2, Array3, ArrayView3, CowArray, Ix2, Zip};

use crate::error::Result;
use crate::float::{Float, per_float};
use crate::sequences::Sequences;

/// Implements [`Layer`](crate::layer::Layer) for a layer whose tape is a copy of its input, from an
/// expression for y and one for the gradient of the input.
macro_rules! layer_at {
    (
        $(#[$doc:meta])*
        $layer:ident: $x:ty => $y:ty,
        forward: |$this:ident, $at:ident| $forward:expr,
        backward: |$of:ident, $kept:ident, $d_y:ident, $grad:ident| $backward:expr $(,)?
    ) => {
        $(#[$doc])*
        impl<T: $crate::Float> $crate::layer::Layer<$x> for $layer<T> {
            type Output = $y;
            type Tape = $x;

            fn forward(&self, $at: &$x) -> $crate::Result<$y> {
                let $this = self;
                $forward
            }

            fn forward_train(
                &self,
                x: &$x,
                _: &mut dyn rand::Rng,
            ) -> $crate::Result<($y, $x)> {
                Ok(($crate::layer::Layer::forward(self, x)?, x.clone()))
            }

            fn backward(
                &self,
                $kept: $x,
                $d_y: &$y,
                $grad: &mut Self,
            ) -> $crate::Result<$x> {
                let $of = self;
                $backward
            }
        }
    };
}
pub(super) use layer_at;

/// Implements [`Layer`](crate::layer::Layer) on rows and on every step of sequences, for a layer with
/// the methods `forward_rows(x)` and `backward_rows(x, d_y, grad)`. `$input` and `$output` are methods
/// that return the widths; the names of the axes in errors follow each.
macro_rules! row_layer {
    ($layer:ident, $input:ident $of_x:literal, $output:ident $of_y:literal) => {
        $crate::layer::steps::layer_at! {
            $layer: ndarray::Array2<T> => ndarray::Array2<T>,
            forward: |layer, x| layer.forward_rows(x.view()),
            backward: |layer, x, d_y, grad| layer.backward_rows(x.view(), d_y.view(), grad),
        }

        $crate::layer::steps::layer_at! {
            $layer: $crate::Sequences<T> => $crate::Sequences<T>,
            forward: |layer, x| layer.forward_sequences(x),
            backward: |layer, x, d_y, grad| layer.backward_sequences(&x, d_y, grad),
        }

        impl<T: $crate::Float> $layer<T> {
            /// Returns y of every step of `x`.
            fn forward_sequences(
                &self,
                x: &$crate::Sequences<T>,
            ) -> $crate::Result<$crate::Sequences<T>> {
                use $crate::layer::steps::{alive, check, spread};
                check("x", x, (self.$input(), concat!("time, batch, ", $of_x)), x)?;
                let rows = alive(x, x.values().view());
                x.with_values(spread(x, self.forward_rows(rows.view())?))
            }

            /// Returns d_x of every step from `d_y` and the input `x` of the forward pass. Adds the
            /// gradients of the parameters to `grad`.
            pub(crate) fn backward_sequences(
                &self,
                x: &$crate::Sequences<T>,
                d_y: &$crate::Sequences<T>,
                grad: &mut Self,
            ) -> $crate::Result<$crate::Sequences<T>> {
                use $crate::layer::steps::{alive, check, spread};
                check("x", x, (self.$input(), concat!("time, batch, ", $of_x)), x)?;
                check("d_y", x, (self.$output(), concat!("time, batch, ", $of_y)), d_y)?;
                let (rows, d_rows) = (alive(x, x.values().view()), alive(x, d_y.values().view()));
                x.with_values(spread(x, self.backward_rows(rows.view(), d_rows.view(), grad)?))
            }
        }
    };
}
pub(super) use row_layer;

/// Fails unless `values` has the lengths of `x` and the given width.
pub(super) fn check<T: Float>(
    argument: &'static str,
    x: &Sequences<T>,
    (width, axes): (usize, &'static str),
    values: &Sequences<T>,
) -> Result<()> {
    values.check(argument, (axes, [x.time(), x.batch(), width]), x.lengths())
}

/// Returns the rows of `values` [time, batch, width] that are steps of `x`, in the order of time. They
/// are borrowed if `x` has no padding and `values` is contiguous.
#[expect(clippy::expect_used, reason = "`Sequences` has compared its lengths with its time")]
pub(super) fn alive<'a, T: Float>(
    x: &Sequences<T>,
    values: ArrayView3<'a, T>,
) -> CowArray<'a, T, Ix2> {
    let width = values.dim().2;
    if is_full(x)
        && let Ok(rows) = values.into_shape_with_order((x.steps(), width))
    {
        return rows.into();
    }
    let mut rows = Vec::with_capacity(x.steps() * width);
    let values = values.as_standard_layout();
    for (t, step) in values.outer_iter().enumerate() {
        let step = step.to_slice().expect("a step in standard layout");
        let steps = step.chunks_exact(width);
        for (row, _) in steps.zip(x.lengths()).filter(|(_, length)| t < **length) {
            rows.extend_from_slice(row);
        }
    }
    let rows = Array2::from_shape_vec((x.steps(), width), rows);
    rows.expect("a row for each step").into()
}

/// Returns `rows` as steps of the lengths of `x`, the inverse of [`alive`], with zeros in the padding.
#[expect(clippy::expect_used, reason = "the rows are those of `alive`")]
pub(super) fn spread<T: Float>(x: &Sequences<T>, rows: Array2<T>) -> Array3<T> {
    let shape = (x.time(), x.batch(), rows.ncols());
    if is_full(x) {
        return rows.into_shape_with_order(shape).expect("a row for each step");
    }
    let mut values = Array3::zeros(shape);
    let mut rows = rows.rows().into_iter();
    for (t, mut step) in values.outer_iter_mut().enumerate() {
        for (mut to, &length) in step.rows_mut().into_iter().zip(x.lengths()) {
            if t < length {
                to.assign(&rows.next().expect("a row for each step"));
            }
        }
    }
    values
}

/// Returns `f(x, d)` of each value of `x` and `d`, zero in the padding.
pub(super) fn zip_map<T: Float>(
    x: &Sequences<T>,
    d: &Array3<T>,
    f: impl Fn(T, T) -> T,
) -> Result<Sequences<T>> {
    let mut values = Zip::from(x.values()).and(d).map_collect(|&x, &d| f(x, d));
    zero_padding(&mut values, x.lengths());
    x.with_values(values)
}

per_float! {
    /// Sets the values past the end of each sequence to zero.
    pub(super) fn zero_padding<'a, T>(values: &'a mut Array3<T>, lengths: &'a [usize]) = zero_ends;
}

fn zero_ends<T: Float>(values: &mut Array3<T>, lengths: &[usize]) {
    for (t, mut step) in values.outer_iter_mut().enumerate() {
        for (mut row, _) in step.rows_mut().into_iter().zip(lengths).filter(|x| t >= *x.1) {
            row.fill(T::zero());
        }
    }
}

/// Returns whether no sequence has padding.
fn is_full<T: Float>(x: &Sequences<T>) -> bool {
    x.lengths().iter().all(|&length| length == x.time())
}
