//! Products of rows by a packed matrix: [`product`], at every time step.
//!
//! Each element is one chain of multiply-adds in a fixed order (see `kernel`), so a
//! result depends neither on how rows are grouped into calls nor on the number of threads.

use std::ops::Range;

use fearless_simd::{Simd, SimdBase};
use ndarray::Array1;

use crate::float::Float;
use crate::tensor::kernel;
use crate::tensor::lanes::Vector;
use crate::tensor::pack::Packed;
use crate::tensor::rows::{Rows, RowsMut};

/// Bytes of a panel that stay in the first-level cache while row tiles go by.
const PANEL_BYTES: usize = 32 << 10;

/// What a product starts from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a, T> {
    /// Zero: `out = a · b`.
    Zero,
    /// What stands in the output: `out += a · b`.
    Output,
    /// The same row for all: `out = bias + a · b`.
    Bias(&'a [T]),
}

impl<'a, T: Float> Start<'a, T> {
    /// The bias where there is one, else zero.
    pub fn bias(bias: Option<&'a Array1<T>>) -> Self {
        bias.and_then(|bias| bias.as_slice()).map_or(Self::Zero, Self::Bias)
    }
}

/// `out = start + a · b`, for `a` [rows, k], `b` [k, n] and `out` [rows, n].
///
/// Row counts and widths must agree; they are checked in debug builds only, as this runs at every
/// time step.
#[inline(always)]
pub fn product<S: Simd, T: Float>(
    simd: S,
    a: Rows<'_, T>,
    b: &Packed<T>,
    start: Start<'_, T>,
    out: RowsMut<'_, T>,
) {
    debug_assert_eq!((a.count(), a.width(), b.n()), (out.count(), b.k(), out.width()));
    simd.vectorize(
        #[inline(always)]
        || blocked_product(simd, a, b, start, out),
    );
}

#[inline(always)]
fn blocked_product<S: Simd, T: Float>(
    simd: S,
    a: Rows<'_, T>,
    b: &Packed<T>,
    mut start: Start<'_, T>,
    mut out: RowsMut<'_, T>,
) {
    let most = PANEL_BYTES / (b.columns(0).len() * size_of::<T>());
    let depth = b.k().div_ceil(b.k().div_ceil(most));
    for k in (0..b.k()).step_by(depth) {
        let k = k..b.k().min(k + depth);
        Call { simd, a: a.columns(k.clone()), b, k, start }.panels(&mut out);
        start = Start::Output;
    }
}

/// One block of k of a product.
struct Call<'a, S, T: Float> {
    simd: S,
    a: Rows<'a, T>,
    b: &'a Packed<T>,
    k: Range<usize>,
    start: Start<'a, T>,
}

impl<S: Simd, T: Float> Call<'_, S, T> {
    #[inline(always)]
    fn panels(&self, out: &mut RowsMut<'_, T>) {
        let (count, full) = (self.b.panel_count(), kernel::panel_vectors::<S, T>());
        let mut p = 0;
        while p < count {
            let vectors = self.b.columns(p).len() / Vector::<S, T>::LEN;
            let pair = p + 1 < count && self.b.columns(p + 1).len() == self.b.columns(p).len();
            // One row fills the pipelines only with two panels at once.
            match (vectors, self.a.count()) {
                (4, 1) if pair && full == 4 => self.tile::<1, 2, 4>(0, p, out),
                (2, 1) if pair && full == 2 => self.tile::<1, 2, 2>(0, p, out),
                (4, _) => self.rows::<4>(p, out),
                (3, _) => self.rows::<3>(p, out),
                (2, _) => self.rows::<2>(p, out),
                _ => self.rows::<1>(p, out),
            }
            p += if pair && self.a.count() == 1 && vectors == full { 2 } else { 1 };
        }
    }

    /// All rows of the result in panel `p`.
    #[inline(always)]
    fn rows<const V: usize>(&self, p: usize, out: &mut RowsMut<'_, T>) {
        let count = self.a.count();
        let mut r = 0;
        // Eight left are two tiles of four: a tile of two keeps the pipelines half empty.
        while V >= 2 && r + 6 <= count && count - r != 8 {
            self.tile::<6, 1, V>(r, p, out);
            r += 6;
        }
        while r + 4 <= count {
            self.tile::<4, 1, V>(r, p, out);
            r += 4;
        }
        while r + 2 <= count {
            self.tile::<2, 1, V>(r, p, out);
            r += 2;
        }
        if r < count {
            self.tile::<1, 1, V>(r, p, out);
        }
    }

    #[inline(always)]
    fn tile<const R: usize, const P: usize, const V: usize>(
        &self,
        r: usize,
        p: usize,
        out: &mut RowsMut<'_, T>,
    ) {
        if self.b.columns(p + P - 1).end <= out.width() {
            self.sum::<R, P, V, true>(r, p, out);
        } else {
            self.last_tile::<R, P, V>(r, p, out);
        }
    }

    /// A tile that ends with the matrix, in the middle of a vector. It stands apart, because what
    /// it takes to cut a vector would push the sums of other tiles out of their registers.
    #[inline(never)]
    fn last_tile<const R: usize, const P: usize, const V: usize>(
        &self,
        r: usize,
        p: usize,
        out: &mut RowsMut<'_, T>,
    ) {
        self.simd.vectorize(
            #[inline(always)]
            || self.sum::<R, P, V, false>(r, p, out),
        );
    }

    #[inline(always)]
    fn sum<const R: usize, const P: usize, const V: usize, const WHOLE: bool>(
        &self,
        r: usize,
        p: usize,
        out: &mut RowsMut<'_, T>,
    ) {
        let Self { simd, a, b, .. } = *self;
        let (mut panels, mut left) = ([[].as_slice(); P], [[].as_slice(); R]);
        let mut tile = kernel::zeros::<S, T, R, P, V>(simd);
        let mut columns = [0; P];
        for j in 0..P {
            panels[j] = b.panel(p + j, &self.k);
            columns[j] = b.columns(p + j).start;
        }
        for i in 0..R {
            // Were their distance known, the rows would be reached by a chain of additions from the
            // first, at every k.
            left[i] = std::hint::black_box(a.row(r + i));
            let start = match self.start {
                Start::Zero => continue,
                Start::Output => out.row(r + i),
                Start::Bias(bias) => bias,
            };
            for j in 0..P {
                kernel::load::<S, T, V, WHOLE>(simd, start, columns[j], &mut tile[i][j]);
            }
        }
        kernel::multiply_add(simd, self.k.len(), left, panels, &mut tile);
        for i in 0..R {
            for j in 0..P {
                let row = out.row_mut(r + i);
                kernel::store::<S, T, V, WHOLE>(simd, row, columns[j], &tile[i][j]);
            }
        }
    }
}
