//! [`Packed`]: a matrix laid out once for the micro-kernel, then used at every time step.

use std::ops::Range;

use fearless_simd::{Simd, SimdBase};
use ndarray::{ArrayView2, Axis, Slice};

use crate::float::Float;
use crate::tensor::aligned::Aligned;
use crate::tensor::kernel::panel_vectors;
use crate::tensor::lanes::Vector;

/// Rows of a panel that are filled together.
const BLOCK: usize = 64;

/// The right operand [k, n] of a product, cut into panels of a few native vectors' columns. A panel
/// holds its columns row by row (k-major), so the kernel reads it once, in order. The last panel
/// has as many vectors as are left, and is filled up with zeros.
#[derive(Debug)]
pub struct Packed<T: Float> {
    panels: Aligned<T>,
    k: usize,
    n: usize,
    /// n, filled up to whole vectors.
    padded: usize,
    /// Columns of every panel but the last.
    width: usize,
}

impl<T: Float> Packed<T> {
    /// Packs `matrix` [k, n] for the instruction set `S`. For y = x·Wᵀ pack `weight.t()`.
    pub fn new<S: Simd>(_simd: S, matrix: ArrayView2<'_, T>) -> Self {
        let (k, n) = matrix.dim();
        let lanes = Vector::<S, T>::LEN;
        let width = panel_vectors::<S, T>() * lanes;
        let padded = n.next_multiple_of(lanes);
        let mut packed = Self { panels: Aligned::zeros(padded * k), k, n, padded, width };
        for p in 0..packed.panel_count() {
            let columns = packed.columns(p);
            let panel = &mut packed.panels[columns.start * k..columns.end * k];
            let used = columns.start..columns.end.min(n);
            if matrix.strides()[1] == 1 {
                for (to, from) in panel.chunks_exact_mut(columns.len()).zip(matrix.rows()) {
                    let from = from.to_slice().unwrap_or_default();
                    to[..used.len()].copy_from_slice(&from[used.clone()]);
                }
            } else {
                // A block of the panel at a time, so that it stays in the first-level cache.
                for (block, rows) in panel.chunks_mut(BLOCK * columns.len()).enumerate() {
                    let source = Slice::from(block * BLOCK..k.min((block + 1) * BLOCK));
                    let source = matrix.slice_axis(Axis(0), source);
                    for (column, j) in used.clone().enumerate() {
                        let to = rows[column..].iter_mut().step_by(columns.len());
                        to.zip(source.column(j)).for_each(|(to, &from)| *to = from);
                    }
                }
            }
        }
        packed
    }

    /// Rows of the matrix: the width of the left operand.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix: the width of the result.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How many panels there are.
    #[inline(always)]
    pub(crate) fn panel_count(&self) -> usize {
        self.padded.div_ceil(self.width)
    }

    /// The columns of panel `index`, filled up to whole vectors.
    #[inline(always)]
    pub(crate) fn columns(&self, index: usize) -> Range<usize> {
        index * self.width..self.padded.min((index + 1) * self.width)
    }

    /// Rows `k` of panel `index`.
    #[inline(always)]
    pub(crate) fn panel(&self, index: usize, k: &Range<usize>) -> &[T] {
        let columns = self.columns(index);
        let (start, width) = (columns.start * self.k, columns.len());
        &self.panels[start + k.start * width..start + k.end * width]
    }
}
