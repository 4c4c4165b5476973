//! The micro-kernel: a tile of `R` rows by `P` panels of `V` vectors of the result stays in vector
//! registers while the inner dimension goes by.
//!
//! Every element of a result is one chain of fused multiply-adds over k in order, begun from what
//! stood there. So its bits depend neither on the tile that it fell into, nor on the rows beside
//! it, nor on where the sum was cut into calls.

use fearless_simd::{Simd, SimdBase, SimdFloat};

use crate::compiled;
use crate::float::Float;
use crate::tensor::lanes::Vector;

/// Whether the instruction set has thirty-two registers of 64 bytes, not sixteen.
#[inline(always)]
pub(crate) const fn is_wide<S: Simd, T: Float>() -> bool {
    Vector::<S, T>::LEN * size_of::<T>() == 64
}

/// Whether the instruction set is the lowest of x86, for machines that are older than AVX2: it gets few
/// shapes of tiles, as each is compiled.
#[inline(always)]
pub(crate) const fn is_lean<S: Simd, T: Float>() -> bool {
    cfg!(target_arch = "x86_64") && Vector::<S, T>::LEN * size_of::<T>() == 16
}

/// Vectors side by side in a panel, but for the last one.
#[inline(always)]
pub(crate) const fn panel_vectors<S: Simd, T: Float>() -> usize {
    if is_wide::<S, T>() { 4 } else { 2 }
}

compiled! {
    /// Values of a vector, and vectors side by side in a panel.
    pub(crate) fn panel_shape<'a, T>() -> (usize, usize) = panel_shape_on::<_, T>;
}

#[inline(always)]
fn panel_shape_on<S: Simd, T: Float>(_simd: S) -> (usize, usize) {
    (Vector::<S, T>::LEN, panel_vectors::<S, T>())
}

/// Rows of the tallest tile of `vectors` side by side whose sums fit the registers.
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
    // A local copy that nothing points to stays in registers.
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
