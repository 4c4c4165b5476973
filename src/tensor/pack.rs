//! [`Packed`]: a matrix laid out once for the micro-kernel, then used at every time step.

use fearless_simd::{Simd, SimdBase};
use ndarray::ArrayView2;

use crate::float::Float;
use crate::tensor::kernel::PANEL_VECTORS;
use crate::tensor::lanes::Vector;

/// The right operand [k, n] of a product, cut into panels of two native vectors' columns. A panel
/// holds its columns row by row (k-major), so the kernel reads it once, in order; the last panel
/// is filled up with zeros.
#[derive(Clone, Debug)]
pub struct Packed<T> {
    panels: Vec<T>,
    k: usize,
    n: usize,
    width: usize,
}

impl<T: Float> Packed<T> {
    /// Packs `matrix` [k, n] for the instruction set `S`. For y = x·Wᵀ pack `weight.t()`.
    pub fn new<S: Simd>(_simd: S, matrix: ArrayView2<'_, T>) -> Self {
        let (k, n) = matrix.dim();
        let width = PANEL_VECTORS * Vector::<S, T>::LEN;
        let mut panels = vec![T::zero(); n.div_ceil(width) * width * k];
        for (panel, j) in panels.chunks_exact_mut((k * width).max(1)).zip((0..n).step_by(width)) {
            for (column, j) in (j..n.min(j + width)).enumerate() {
                let source = matrix.column(j);
                for (row, &value) in panel.chunks_exact_mut(width).zip(source) {
                    row[column] = value;
                }
            }
        }
        Self { panels, k, n, width }
    }

    /// Rows of the matrix: the width of the left operand.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix: the width of the result.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Columns of a panel.
    pub(crate) fn panel_width(&self) -> usize {
        self.width
    }

    /// How many panels there are.
    pub(crate) fn panel_count(&self) -> usize {
        self.n.div_ceil(self.width)
    }

    /// Rows `k` of panel `index`.
    #[inline(always)]
    pub(crate) fn panel(&self, index: usize, k: std::ops::Range<usize>) -> &[T] {
        let start = index * self.k * self.width;
        &self.panels[start + k.start * self.width..start + k.end * self.width]
    }
}
