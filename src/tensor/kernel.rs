//! The micro-kernel: a tile of the result, `R` rows by `P` panels of `V` vectors, stays in vector
//! registers during the loop over the inner dimension.
//!
//! Each element of a result is one chain of multiply-adds in the order of k, from an initial value. So
//! its bits depend neither on the tile that computes it, nor on the other rows, nor on how the sum is
//! split into calls.

use fearless_simd::{Simd, SimdBase, SimdFloat};

use crate::compiled;
use crate::float::Float;
use crate::tensor::lanes::Vector;

/// Returns whether vectors have 64 bytes, as in AVX-512, which has 32 registers rather than 16.
#[inline(always)]
pub(crate) const fn is_wide<S: Simd, T: Float>() -> bool {
    Vector::<S, T>::LEN * size_of::<T>() == 64
}

/// Returns whether the instruction set is SSE2, for x86 machines without AVX2. Fewer tile shapes are
/// compiled for it, which saves build time.
#[inline(always)]
pub(crate) const fn is_lean<S: Simd, T: Float>() -> bool {
    cfg!(target_arch = "x86_64") && Vector::<S, T>::LEN * size_of::<T>() == 16
}

/// Returns the number of vectors in a row of a panel. The last panel may be narrower.
#[inline(always)]
pub(crate) const fn panel_vectors<S: Simd, T: Float>() -> usize {
    if is_wide::<S, T>() { 4 } else { 2 }
}

compiled! {
    /// Returns the number of values of a vector, and [`panel_vectors`].
    pub(crate) fn panel_shape<'a, T>() -> (usize, usize) = panel_shape_on::<_, T>;
}

#[inline(always)]
fn panel_shape_on<S: Simd, T: Float>(_simd: S) -> (usize, usize) {
    (Vector::<S, T>::LEN, panel_vectors::<S, T>())
}

/// Returns the largest number of rows of a tile, `vectors` wide, whose sums fit the registers.
#[inline(always)]
pub(crate) const fn tile_rows<S: Simd, T: Float>(vectors: usize) -> usize {
    match (is_wide::<S, T>(), vectors) {
        _ if is_lean::<S, T>() => 3,
        (false, 3) => 4,
        (false, 4) => 3,
        _ => 6,
    }
}

/// The accumulators of a tile: `R` rows × `P` panels × `V` vectors.
pub(crate) type Tile<S, T, const R: usize, const P: usize, const V: usize> =
    [[[Vector<S, T>; V]; P]; R];

/// Returns a tile of zeros.
#[inline(always)]
pub(crate) fn zeros<S: Simd, T: Float, const R: usize, const P: usize, const V: usize>(
    simd: S,
) -> Tile<S, T, R, P, V> {
    [[[Vector::<S, T>::splat(simd, T::zero()); V]; P]; R]
}

/// Computes `tile += left · panels` over `depth` values of k, for one or two panels.
///
/// The loop has no branch between the load of a left value and its use. So the value can be broadcast
/// from memory, which takes no vector port.
#[inline(always)]
pub(crate) fn multiply_add<S: Simd, T: Float, const R: usize, const P: usize, const V: usize>(
    simd: S,
    depth: usize,
    mut left: [&[T]; R],
    panels: [&[T]; P],
    tile: &mut Tile<S, T, R, P, V>,
) {
    const { assert!(P == 1 || P == 2) };
    let lanes = Vector::<S, T>::LEN;
    let width = V * lanes;
    for r in 0..R {
        left[r] = &left[r][..depth];
    }
    // A local copy without references stays in registers.
    let mut sums = *tile;
    let (first, last) = (panels[0].chunks_exact(width), panels[P - 1].chunks_exact(width));
    for (k, (first, last)) in (0..depth).zip(first.zip(last)) {
        let mut values = [T::zero(); R];
        for r in 0..R {
            values[r] = left[r][k];
        }
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
