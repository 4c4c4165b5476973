//! The micro-kernel: a tile of `R` rows by `P` panels of `V` vectors of the result stays in vector
//! registers while the inner dimension goes by.
//!
//! Every element of a result is one chain of fused multiply-adds over k in order, begun from what
//! stood there. So its bits depend neither on the tile that it fell into, nor on the rows beside
//! it, nor on where k was cut into blocks.

use fearless_simd::{Simd, SimdBase, SimdFloat};

use crate::float::Float;
use crate::tensor::lanes::{Lanes, Vector};

/// Whether the instruction set has thirty-two registers of 64 bytes, not sixteen.
#[inline(always)]
pub(crate) const fn is_wide<S: Simd, T: Float>() -> bool {
    Vector::<S, T>::LEN * size_of::<T>() == 64
}

/// Vectors side by side in a panel, but for the last one.
#[inline(always)]
pub(crate) const fn panel_vectors<S: Simd, T: Float>() -> usize {
    if is_wide::<S, T>() { 4 } else { 2 }
}

/// Rows of the tallest tile of `vectors` side by side whose sums fit the registers.
#[inline(always)]
pub(crate) const fn tile_rows<S: Simd, T: Float>(vectors: usize) -> usize {
    match (is_wide::<S, T>(), vectors) {
        (_, 1) | (false, 3) => 4,
        (false, 4) => 3,
        _ => 6,
    }
}

/// The accumulators of a tile: `R` rows × `P` panels × `V` vectors.
pub(crate) type Tile<S, T, const R: usize, const P: usize, const V: usize> =
    [[[Vector<S, T>; V]; P]; R];

/// The left operand of a tile: for each k, one value for each of the tile's `R` rows.
pub(crate) trait Left<T, const R: usize>: Copy {
    /// The first `depth` k.
    fn first(self, depth: usize) -> Self;
    fn values(self, k: usize) -> [T; R];
}

/// Rows as they stand in memory.
impl<T: Float, const R: usize> Left<T, R> for [&[T]; R] {
    #[inline(always)]
    fn first(mut self, depth: usize) -> Self {
        for r in 0..R {
            self[r] = &self[r][..depth];
        }
        self
    }

    #[inline(always)]
    fn values(self, k: usize) -> [T; R] {
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
    fn first(self, depth: usize) -> Self {
        &self[..depth]
    }

    #[inline(always)]
    fn values(self, k: usize) -> [T; R] {
        self[k]
    }
}

/// A tile of zeros.
#[inline(always)]
pub(crate) fn zeros<S: Simd, T: Float, const R: usize, const P: usize, const V: usize>(
    simd: S,
) -> Tile<S, T, R, P, V> {
    [[[Vector::<S, T>::splat(simd, T::zero()); V]; P]; R]
}

/// `tile += left · panels`, over `depth` values of k; one panel, or two.
///
/// No branch stands in the loop: a value that is read and used without one between comes as a
/// broadcast from memory, which costs no vector port.
#[inline(always)]
pub(crate) fn multiply_add<S: Simd, T: Float, const R: usize, const P: usize, const V: usize>(
    simd: S,
    depth: usize,
    left: impl Left<T, R>,
    panels: [&[T]; P],
    tile: &mut Tile<S, T, R, P, V>,
) {
    const { assert!(P == 1 || P == 2) };
    let lanes = Vector::<S, T>::LEN;
    let width = V * lanes;
    let left = left.first(depth);
    // A local copy that nothing points to stays in registers.
    let mut sums = *tile;
    let (first, last) = (panels[0].chunks_exact(width), panels[P - 1].chunks_exact(width));
    for (k, (first, last)) in (0..depth).zip(first.zip(last)) {
        let values = left.values(k);
        for p in 0..P {
            let right = if p == 0 { first } else { last };
            for v in 0..V {
                let vector = Vector::<S, T>::from_slice(simd, &right[v * lanes..][..lanes]);
                for r in 0..R {
                    let value = Vector::<S, T>::splat(simd, values[r]);
                    sums[r][p][v] = value.mul_add(vector, sums[r][p][v]);
                }
            }
        }
    }
    *tile = sums;
}

/// Reads one row of a panel of a tile from the values of `row` from `column` on. Past the end of
/// the row are zeros; a `WHOLE` panel does not reach that far.
#[inline(always)]
pub(crate) fn load<S: Simd, T: Float, const V: usize, const WHOLE: bool>(
    simd: S,
    row: &[T],
    column: usize,
    vectors: &mut [Vector<S, T>; V],
) {
    let lanes = Vector::<S, T>::LEN;
    if WHOLE {
        let values = &row[column..column + V * lanes];
        for v in 0..V {
            vectors[v] = Vector::<S, T>::from_slice(simd, &values[v * lanes..][..lanes]);
        }
    } else {
        for v in 0..V {
            vectors[v] = place(simd, column + v * lanes, row.len()).load(row);
        }
    }
}

/// Writes one row of a panel of a tile to `row` from `column` on, as far as the row goes.
#[inline(always)]
pub(crate) fn store<S: Simd, T: Float, const V: usize, const WHOLE: bool>(
    simd: S,
    row: &mut [T],
    column: usize,
    vectors: &[Vector<S, T>; V],
) {
    let lanes = Vector::<S, T>::LEN;
    if WHOLE {
        let values = &mut row[column..column + V * lanes];
        for v in 0..V {
            vectors[v].store_slice(&mut values[v * lanes..][..lanes]);
        }
    } else {
        for v in 0..V {
            place(simd, column + v * lanes, row.len()).store(row, vectors[v]);
        }
    }
}

/// The place of the vector at `at` in a row of `width` values, as far as the row goes.
#[inline(always)]
fn place<S: Simd, T: Float>(simd: S, at: usize, width: usize) -> Lanes<S, T> {
    let at = width.min(at);
    Lanes::new(simd, at, Vector::<S, T>::LEN.min(width - at))
}
