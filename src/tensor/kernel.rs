//! The micro-kernel: a tile of `R` rows by `P` panels of the result stays in vector registers
//! while the inner dimension goes by.
//!
//! Every element of a result is one chain of fused multiply-adds over k in order, begun from what
//! stood there. So its bits depend neither on the tile that it fell into, nor on the rows beside
//! it, nor on where k was cut into blocks.

use fearless_simd::{Simd, SimdBase, SimdFloat};

use crate::float::Float;
use crate::tensor::lanes::{Lanes, Vector};

/// Native vectors side by side in a panel.
pub(crate) const PANEL_VECTORS: usize = 2;

/// The accumulators of a tile: `R` rows × `P` panels × two vectors.
pub(crate) type Tile<S, T, const R: usize, const P: usize> =
    [[[Vector<S, T>; PANEL_VECTORS]; P]; R];

/// The left operand of a tile: for each k, one value for each of the tile's `R` rows.
pub(crate) trait Left<T, const R: usize> {
    fn depth(&self) -> usize;
    fn values(&self, k: usize) -> [T; R];
}

/// Rows as they stand in memory.
impl<T: Float, const R: usize> Left<T, R> for [&[T]; R] {
    #[inline(always)]
    fn depth(&self) -> usize {
        self[0].len()
    }

    #[inline(always)]
    fn values(&self, k: usize) -> [T; R] {
        let mut values = [T::zero(); R];
        for r in 0..R {
            values[r] = self[r][k];
        }
        values
    }
}

/// Values that were laid out k by k.
impl<T: Float, const R: usize> Left<T, R> for &[[T; R]] {
    #[inline(always)]
    fn depth(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn values(&self, k: usize) -> [T; R] {
        self[k]
    }
}

/// A tile of zeros.
#[inline(always)]
pub(crate) fn zero_tile<S: Simd, T: Float, const R: usize, const P: usize>(
    simd: S,
) -> Tile<S, T, R, P> {
    [[[Vector::<S, T>::splat(simd, T::zero()); PANEL_VECTORS]; P]; R]
}

/// `tile += left · panels`.
#[inline(always)]
pub(crate) fn multiply_add<S: Simd, T: Float, const R: usize, const P: usize>(
    simd: S,
    left: impl Left<T, R>,
    panels: [&[T]; P],
    tile: &mut Tile<S, T, R, P>,
) {
    let lanes = Vector::<S, T>::LEN;
    // A local copy that nothing points to stays in registers.
    let mut sums = *tile;
    for k in 0..left.depth() {
        let values = left.values(k);
        for p in 0..P {
            let right = &panels[p][k * PANEL_VECTORS * lanes..][..PANEL_VECTORS * lanes];
            let low = Vector::<S, T>::from_slice(simd, &right[..lanes]);
            let high = Vector::<S, T>::from_slice(simd, &right[lanes..]);
            for r in 0..R {
                let value = Vector::<S, T>::splat(simd, values[r]);
                sums[r][p][0] = value.mul_add(low, sums[r][p][0]);
                sums[r][p][1] = value.mul_add(high, sums[r][p][1]);
            }
        }
    }
    *tile = sums;
}

/// The places of a panel's vectors in a row of the result.
pub(crate) type Places<S, T> = [Lanes<S, T>; PANEL_VECTORS];

/// The places of the panel that begins at `column` in a row of `width` values.
#[inline(always)]
pub(crate) fn places<S: Simd, T: Float>(simd: S, column: usize, width: usize) -> Places<S, T> {
    let lanes = Vector::<S, T>::LEN;
    let place = |at: usize| Lanes::new(simd, at.min(width), lanes.min(width - at.min(width)));
    [place(column), place(column + lanes)]
}

/// Reads one row of a tile from a row of the result.
#[inline(always)]
pub(crate) fn load<S: Simd, T: Float, const P: usize>(
    places: &[Places<S, T>; P],
    row: &[T],
    tile: &mut [[Vector<S, T>; PANEL_VECTORS]; P],
) {
    for p in 0..P {
        for v in 0..PANEL_VECTORS {
            tile[p][v] = places[p][v].load(row);
        }
    }
}

/// Writes one row of a tile to a row of the result.
#[inline(always)]
pub(crate) fn store<S: Simd, T: Float, const P: usize>(
    places: &[Places<S, T>; P],
    tile: &[[Vector<S, T>; PANEL_VECTORS]; P],
    row: &mut [T],
) {
    for p in 0..P {
        for v in 0..PANEL_VECTORS {
            places[p][v].store(row, tile[p][v]);
        }
    }
}
