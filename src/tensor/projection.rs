//! Products and sums of outer products with inputs that are dense rows or one-hot tokens.
//!
//! A one-hot row is given by its token, the index of its 1. Its product reads one row of the matrix, and
//! its outer product adds to one column.
//!
//! The results are those of the dense products, bit for bit, with two exceptions. In a dense product, a
//! sum that begins with −0 may become +0, and an infinity or NaN in the matrix spreads, as 0·∞ is NaN.

use std::sync::OnceLock;

use fearless_simd::{Level, Simd};
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2};

use crate::compiled;
use crate::float::{Float, per_float};
use crate::sequences::Input;
use crate::tensor::aligned::Aligned;
use crate::tensor::lanes::lanes;
use crate::tensor::matmul::{Accumulate, Operands, product};
use crate::tensor::outer::add_outer_products;
use crate::tensor::pack::Packed;
use crate::tensor::precision::Precision;
use crate::tensor::rows::{RowRefs, Rows, RowsMut};

/// The matrix [k, n] and the bias of a product of inputs.
///
/// The matrix is packed at its first product by dense rows. Tokens read the matrix itself, unless its
/// precision is reduced: a packed copy costs more than it gains, even for many tokens and a matrix whose
/// rows are not contiguous.
#[derive(Debug)]
pub(crate) struct Projection<'a, T: Float> {
    level: Level,
    matrix: ArrayView2<'a, T>,
    gates: usize,
    bias: Option<Array1<T>>,
    precision: Precision,
    packed: OnceLock<Packed<T>>,
}

impl<'a, T: Float> Projection<'a, T> {
    /// Creates a projection whose columns are `gates` gates of equal width, as in [`Packed::gates`].
    pub(crate) fn new(
        level: Level,
        matrix: ArrayView2<'a, T>,
        gates: usize,
        bias: Option<Array1<T>>,
    ) -> Self {
        let (precision, packed) = (Precision::Full, OnceLock::new());
        Self { level, matrix, gates, bias, precision, packed }
    }

    /// Returns the projection with weights of the given precision.
    pub(crate) fn reduced(self, precision: Precision) -> Self {
        Self { precision, packed: OnceLock::new(), ..self }
    }

    /// Returns the packed matrix.
    pub(crate) fn packed(&self) -> &Packed<T> {
        if let Some(packed) = self.packed.get() {
            return packed;
        }
        // Packed before `get_or_init`: while a thread waits for others to pack, rayon may give it other
        // work that needs the same matrix, and it would deadlock.
        let mut packed = Packed::gates(self.level, self.matrix, self.gates);
        packed.reduce(self.precision);
        self.packed.get_or_init(|| packed)
    }

    /// Returns the value that a product is added to: the bias, or zero.
    pub(crate) fn start(&self) -> Accumulate<'_, T> {
        Accumulate::bias(self.bias.as_ref())
    }

    /// Returns the operands of x · matrix.
    pub(crate) fn operands<'s>(&'s self, x: Rows<'s, T>) -> Operands<'s, T> {
        Operands { rows: x, weights: self.packed() }
    }

    /// Computes `out = bias + x · matrix`.
    pub(crate) fn product(&self, x: Input<Rows<'_, T>, &[usize]>, mut out: RowsMut<'_, T>) {
        let tokens = match x {
            Input::Dense(x) => return product(x, self.packed(), self.start(), out),
            Input::Tokens(tokens) => tokens,
        };
        let packed = (self.precision != Precision::Full).then(|| self.packed());
        let reduced = packed.and_then(Packed::reduced);
        for (r, &token) in tokens.iter().enumerate() {
            let to = out.row_mut(r);
            match self.start() {
                Accumulate::Bias(bias) => to.copy_from_slice(bias),
                _ => to.fill(T::zero()),
            }
            match &reduced {
                Some((reduced, panels)) => reduced.add_row(panels, token, to),
                None => {
                    to.iter_mut().zip(self.matrix.row(token)).for_each(|(to, &from)| *to += from)
                }
            }
        }
    }
}

impl<T: Float> Input<Array2<T>, Vec<usize>> {
    /// Returns the rows, or the tokens.
    pub(crate) fn rows(&self) -> Input<Rows<'_, T>, &[usize]> {
        match self {
            Self::Dense(x) => Input::Dense(Rows::of(x)),
            Self::Tokens(tokens) => Input::Tokens(tokens),
        }
    }
}

impl<T: Float> Input<RowRefs<'_, T>, Vec<usize>> {
    /// Adds Σⱼ aⱼ ⊗ xⱼ to `out` [m, n], over the rows j of `a` [rows, m] and of these inputs x [rows, n],
    /// as [`add_outer_products`] does. A one-hot row adds to one column alone.
    pub fn add_outer_products(&self, level: Level, a: &RowRefs<'_, T>, out: ArrayViewMut2<'_, T>) {
        match self {
            Self::Dense(rows) => add_outer_products(level, a, &mut [(rows, out)]),
            Self::Tokens(tokens) => add_to_columns(level, a, tokens, out),
        }
    }
}

per_float! {
    /// Adds each row of `a` to the column of `out` of its token.
    fn add_to_columns<'a, T>(
        level: Level,
        a: &'a RowRefs<'a, T>,
        tokens: &'a [usize],
        out: ArrayViewMut2<'a, T>,
    ) = add_by_token;
}

fn add_by_token<T: Float>(
    level: Level,
    a: &RowRefs<'_, T>,
    tokens: &[usize],
    mut out: ArrayViewMut2<'_, T>,
) {
    debug_assert_eq!((a.width(), a.rows().len()), (out.nrows(), tokens.len()));
    // A column is not contiguous, so it is read and written once for all rows that add to it.
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_unstable_by_key(|&j| (tokens[j], j));
    let mut sum = Aligned::stale(a.width());
    for alike in order.chunk_by(|&i, &j| tokens[i] == tokens[j]) {
        let mut column = out.column_mut(tokens[alike[0]]);
        sum.iter_mut().zip(&column).for_each(|(sum, &value)| *sum = value);
        add_rows(level, a.rows(), alike, &mut sum);
        column.iter_mut().zip(&*sum).for_each(|(value, &sum)| *value = sum);
    }
}

compiled! {
    /// Adds the rows with the indices `places` to `sum`, in this order.
    fn add_rows<'a, T>(rows: &'a [&'a [T]], places: &'a [usize], sum: &'a mut [T]) = add_rows_on;
}

#[inline(always)]
fn add_rows_on<S: Simd, T: Float>(simd: S, rows: &[&[T]], places: &[usize], sum: &mut [T]) {
    for &j in places {
        for l in lanes(simd, sum.len()) {
            l.store(sum, l.load(sum) + l.load(rows[j]));
        }
    }
}
