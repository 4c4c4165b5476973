//! Products and sums of outer products with one-hot rows, each told by the place of its one: a gather
//! of rows, and a scatter to columns, in place of multiply-adds of zeros.
//!
//! The bits are those of the products. A link of a chain that adds a zero changes nothing, but for the
//! sign of a zero in a chain that begins with −0, and unless the zero is a factor of an infinity or NaN.

use std::sync::OnceLock;

use fearless_simd::Simd;
use ndarray::{Array1, ArrayView2, ArrayViewMut2};

use crate::float::Float;
use crate::tensor::aligned::Aligned;
use crate::tensor::lanes::lanes;
use crate::tensor::matmul::{Start, product};
use crate::tensor::outer::add_outer_products;
use crate::tensor::pack::Packed;
use crate::tensor::rows::{Gather, Rows, RowsMut};

/// The left operand of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand<'a, T> {
    /// Rows as they stand.
    Rows(Rows<'a, T>),
    /// One-hot rows: for each, where its one stands.
    OneHot(&'a [usize]),
}

/// A matrix [k, n] that rows are multiplied by, and a bias.
///
/// The matrix is packed when rows as they stand first want it. For one-hot rows it is read where it
/// stands: even where those are many and the rows of the matrix are far from contiguous, a copy gains
/// less than it costs.
#[derive(Debug)]
pub(crate) struct Projection<'a, T: Float> {
    matrix: ArrayView2<'a, T>,
    gates: usize,
    bias: Option<Array1<T>>,
    packed: OnceLock<Packed<T>>,
}

impl<'a, T: Float> Projection<'a, T> {
    /// Of columns that are so many `gates`, as in [`Packed::gates`].
    pub(crate) fn new(matrix: ArrayView2<'a, T>, gates: usize, bias: Option<Array1<T>>) -> Self {
        Self { matrix, gates, bias, packed: OnceLock::new() }
    }

    /// The matrix, for rows as they stand.
    pub(crate) fn packed<S: Simd>(&self, simd: S) -> &Packed<T> {
        if let Some(packed) = self.packed.get() {
            return packed;
        }
        // Made outside the cell: a thread that waits for others to pack takes up work which may want
        // the same matrix.
        let packed = Packed::gates(simd, self.matrix, self.gates);
        self.packed.get_or_init(|| packed)
    }

    /// `out = bias + x · matrix`.
    pub(crate) fn product<S: Simd>(&self, simd: S, x: Operand<'_, T>, mut out: RowsMut<'_, T>) {
        let start = Start::bias(self.bias.as_ref());
        match x {
            Operand::Rows(x) => product(simd, x, self.packed(simd), start, out),
            Operand::OneHot(tokens) => {
                for (r, &token) in tokens.iter().enumerate() {
                    let to = out.row_mut(r);
                    match start {
                        Start::Bias(bias) => to.copy_from_slice(bias),
                        _ => to.fill(T::zero()),
                    }
                    to.iter_mut().zip(self.matrix.row(token)).for_each(|(to, &from)| *to += from);
                }
            }
        }
    }

    /// `bias + x · matrix`, for another product to start from.
    pub(crate) fn start<'s, S: Simd>(&'s self, simd: S, x: Rows<'s, T>) -> Start<'s, T> {
        let bias = self.bias.as_ref().and_then(|bias| bias.as_slice());
        Start::Product { rows: x, weights: self.packed(simd), bias }
    }
}

/// The right rows of a sum of outer products.
#[derive(Clone, Debug)]
pub enum Inputs<'a, T> {
    /// Rows as they stand.
    Rows(Gather<'a, T>),
    /// One-hot rows: for each, where its one stands.
    OneHot(Vec<usize>),
}

impl<T: Float> Inputs<'_, T> {
    /// `out += Σⱼ aⱼ ⊗ bⱼ` over the rows j of `a` [rows, m] and of these [rows, n], for `out` [m, n]:
    /// [`add_outer_products`], where a one-hot row adds to its own column alone.
    pub fn add_outer_products<S: Simd>(
        &self,
        simd: S,
        a: &Gather<'_, T>,
        mut out: ArrayViewMut2<'_, T>,
    ) {
        let tokens = match self {
            Self::Rows(rows) => return add_outer_products(simd, a, [(rows, out)]),
            Self::OneHot(tokens) => tokens,
        };
        debug_assert_eq!((a.width(), a.rows().len()), (out.nrows(), tokens.len()));
        // A column is far from contiguous: it is read and written once, for all rows that add to it.
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_unstable_by_key(|&j| (tokens[j], j));
        let mut sum = Aligned::stale(a.width());
        for alike in order.chunk_by(|&i, &j| tokens[i] == tokens[j]) {
            let mut column = out.column_mut(tokens[alike[0]]);
            sum.iter_mut().zip(&column).for_each(|(sum, &value)| *sum = value);
            simd.vectorize(
                #[inline(always)]
                || {
                    for &j in alike {
                        for l in lanes(simd, sum.len()) {
                            let value = l.load(&sum) + l.load(a.rows()[j]);
                            l.store(&mut sum, value);
                        }
                    }
                },
            );
            column.iter_mut().zip(&*sum).for_each(|(value, &sum)| *value = sum);
        }
    }
}
