//! Products with weights of 16 or 8 bits. Reading the weights bounds the time of a step of few sequences, so
//! shorter weights make it faster.
//!
//! The panels of [`Packed`](super::Packed) are stored in words of 32 bits. The word of a lane has the weights
//! of two vectors of a row of the panel in bfloat16, or of four in int8; see [`Precision`]. The scale of int8
//! is that of a column, which is one row of W.
//!
//! Both are widened in registers, and sums and states are f32. A byte b = q + 128 becomes the number
//! 1 + b/256, whose bits take one shift and one mask from it. So
//!
//! ```text
//! Σ x q = 256 Σ x (1 + b/256) − 384 Σ x
//! ```
//!
//! In bf16, a product has the bits of that with the rounded weights in f32.

use std::ops::Range;

use fearless_simd::{Bytes, Level, Simd, SimdBase, SimdFloat};

use crate::float::{Float, PerFloat, Table, bf16_to_f64};
use crate::tensor::aligned::Aligned;
use crate::tensor::dispatch::{OnLevel, on_level};
use crate::tensor::lanes::lanes;
use crate::tensor::matmul::{Accumulate, Epilogue, ProductTiles, Term};
use crate::tensor::panels::Panels;
use crate::tensor::precision::{Precision, byte_of, half_of, scale_of};
use crate::tensor::rows::RowsMut;

/// The words of all panels, and the scale of each column in their order.
#[derive(Debug)]
pub(super) struct Reduced {
    int8: bool,
    /// The number of values of a vector.
    lanes: usize,
    /// The number of vectors of a row of every panel but the last.
    vectors: usize,
    /// The bits of words, as `f32`.
    words: Aligned<f32>,
    /// The scales of int8, else nothing.
    scales: Aligned<f32>,
}

/// The number of rows of a tile, whose weights are widened once.
const TILE_ROWS: usize = 4;
/// The place of a byte in the bits of an f32: the highest of the significand.
const BYTE: u32 = 0x007f_8000;
/// The bits of 1.
const ONE: u32 = 0x3f80_0000;
/// The bits of an f32 that are a bfloat16.
const UPPER: u32 = 0xffff_0000;

impl Reduced {
    /// Converts panels, whose vectors have `lanes` values.
    pub(super) fn new<T: Float>(
        panels: &Panels<'_, T>,
        lanes: usize,
        precision: Precision,
    ) -> Self {
        let int8 = precision == Precision::Int8;
        let (mut words, mut scales) = (Vec::new(), Vec::new());
        let vectors = if panels.count() == 0 { 0 } else { panels.width_of(0) / lanes };
        for index in 0..panels.count() {
            let (panel, width) = (panels.panel(index), panels.width_of(index));
            let rows = || panel.chunks_exact(width);
            let steps: Vec<f32> = match int8 {
                true => (0..width).map(|column| scale_of(rows().map(|row| row[column]))).collect(),
                false => Vec::new(),
            };
            let group = lanes * if int8 { 4 } else { 2 };
            for row in rows() {
                for first in (0..width).step_by(group) {
                    for lane in first..first + lanes {
                        let columns = (lane..width.min(first + group)).step_by(lanes);
                        let bits = columns.map(|column| match steps.get(column) {
                            Some(&step) => {
                                (i32::from(byte_of(row[column].as_f64(), step)) + 128) as u32
                            }
                            None => u32::from(half_of(row[column].as_f64())),
                        });
                        let size = if int8 { 8 } else { 16 };
                        let word =
                            bits.zip(0..).fold(0, |word, (bits, i)| word | bits << (i * size));
                        words.push(f32::from_bits(word));
                    }
                }
            }
            scales.extend(steps);
        }
        Self { int8, lanes, vectors, words: aligned(&words), scales: aligned(&scales) }
    }

    /// Returns the number of words of a row with so many vectors.
    fn row_words(&self, vectors: usize) -> usize {
        self.lanes * vectors.div_ceil(if self.int8 { 4 } else { 2 })
    }

    /// Returns the words of panel `index` of `vectors` vectors.
    #[inline(always)]
    fn panel(&self, k: usize, index: usize, vectors: usize) -> &[f32] {
        &self.words[index * k * self.row_words(self.vectors)..][..k * self.row_words(vectors)]
    }

    /// Adds row `r` of the matrix in `panels` to `out`.
    pub(super) fn add_row<T: Float>(&self, panels: &Panels<'_, T>, r: usize, out: &mut [T]) {
        for index in 0..panels.count() {
            let units = panels.layout.units_of(index);
            let row = self.row((panels.k(), r), index, panels.width_of(index));
            for (column, value) in row.enumerate() {
                let (gate, unit) = (column / units.len(), units.start + column % units.len());
                if unit < panels.units() {
                    out[gate * panels.units() + unit] += T::from_f64(value.into());
                }
            }
        }
    }

    /// Returns row `r` of panel `index` of a matrix with `k` rows, whose panel has `width` columns.
    fn row(&self, (k, r): (usize, usize), index: usize, width: usize) -> impl Iterator<Item = f32> {
        let vectors = width / self.lanes;
        let words = self.row_words(vectors);
        let words = &self.panel(k, index, vectors)[r * words..][..words];
        (0..width).map(move |column| {
            let (vector, lane) = (column / self.lanes, column % self.lanes);
            if self.int8 {
                let bits = words[vector / 4 * self.lanes + lane].to_bits() >> (8 * (vector % 4));
                let scale = self.scales[index * self.vectors * self.lanes + column];
                scale * ((bits & 0xff) as f32 - 128.0)
            } else {
                let bits = words[vector / 2 * self.lanes + lane].to_bits() >> (16 * (vector % 2));
                bf16_to_f64(bits as u16) as f32
            }
        })
    }
}

fn aligned(values: &[f32]) -> Aligned<f32> {
    let mut aligned = Aligned::stale(values.len());
    aligned.copy_from_slice(values);
    aligned
}

/// Computes a product with reduced weights.
pub(super) fn multiply<T: Float>(
    level: Level,
    sum: &ProductTiles<'_, T>,
    mut out: RowsMut<'_, T>,
    epilogue: Option<&mut Epilogue<'_, T>>,
) {
    T::pick(&MULTIPLY)(level, sum, out.reborrow());
    let Some(epilogue) = epilogue else { return };
    let (count, units) = (out.count(), sum.last.panels.layout.all_units());
    for start in (0..count).step_by(TILE_ROWS) {
        epilogue(start..count.min(start + TILE_ROWS), units.clone(), &mut out);
    }
}

type Multiply<T> = fn(Level, &ProductTiles<'_, T>, RowsMut<'_, T>);

struct MultiplyOf;

impl PerFloat for MultiplyOf {
    type Of<T: Float> = Multiply<T>;
}

#[expect(clippy::unreachable, reason = "weights of f64 are not reduced")]
static MULTIPLY: Table<MultiplyOf> = Table {
    f32: |level, sum, out| on_level(level, Product { sum, out }),
    f64: |_, _, _| unreachable!("the weights of f64 are not reduced"),
};

/// A product of f32.
struct Product<'a, 'o> {
    sum: &'a ProductTiles<'a, f32>,
    out: RowsMut<'o, f32>,
}

impl OnLevel for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { sum, mut out } = self;
        let (count, panels) = (out.count(), &sum.last.panels);
        let (mut rows, mut walk) = (0..0, 0);
        while rows.end < count {
            rows = rows.end..count.min(rows.end + sum.block);
            for panel in panels.walk(walk, false).map(|panels| panels.start) {
                match panels.vectors_of::<S>(panel) {
                    4 => compute_rows::<S, 4>(simd, sum, rows.clone(), panel, &mut out),
                    3 => compute_rows::<S, 3>(simd, sum, rows.clone(), panel, &mut out),
                    2 => compute_rows::<S, 2>(simd, sum, rows.clone(), panel, &mut out),
                    _ => compute_rows::<S, 1>(simd, sum, rows.clone(), panel, &mut out),
                }
            }
            walk += 1;
        }
    }
}

/// Computes some rows in one panel. Each width is compiled as a separate function, because one function for
/// all widths would take long to compile.
#[inline(never)]
fn compute_rows<S: Simd, const V: usize>(
    simd: S,
    sum: &ProductTiles<'_, f32>,
    rows: Range<usize>,
    panel: usize,
    out: &mut RowsMut<'_, f32>,
) {
    simd.vectorize(
        #[inline(always)]
        || {
            let mut r = rows.start;
            while r + TILE_ROWS <= rows.end {
                compute_tile::<S, TILE_ROWS, V>(simd, sum, r, panel, out);
                r += TILE_ROWS;
            }
            (r..rows.end).for_each(|r| compute_tile::<S, 1, V>(simd, sum, r, panel, out));
        },
    );
}

#[inline(always)]
#[expect(clippy::expect_used, reason = "both products have reduced weights")]
fn compute_tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    sum: &ProductTiles<'_, f32>,
    r: usize,
    panel: usize,
    out: &mut RowsMut<'_, f32>,
) {
    let places = sum.last.panels.places::<S, V, false>(simd, panel);
    let mut tile = [[S::f32s::splat(simd, 0.0); V]; R];
    for i in 0..R {
        for v in 0..V {
            match sum.start {
                Accumulate::Zero => {}
                Accumulate::Output => tile[i][v] = places[v].load(out.row(r + i)),
                Accumulate::Bias(bias) => tile[i][v] = places[v].load(bias),
            }
        }
    }
    for term in sum.terms() {
        let reduced = term.panels.reduced.expect("both products have reduced weights");
        if reduced.int8 {
            add_bytes(simd, term, reduced, r, panel, &mut tile);
        } else {
            add_halves(simd, term, reduced, r, panel, &mut tile);
        }
    }
    for i in 0..R {
        for v in 0..V {
            places[v].store(out.row_mut(r + i), tile[i][v]);
        }
    }
}

#[inline(always)]
fn add_halves<S: Simd, const R: usize, const V: usize>(
    simd: S,
    term: &Term<'_, f32>,
    reduced: &Reduced,
    r: usize,
    panel: usize,
    tile: &mut [[S::f32s; V]; R],
) {
    let lanes = S::f32s::LEN;
    let (left, mut sums) = (rows_of::<R>(term, r), *tile);
    let words = reduced.panel(term.panels.k(), panel, V);
    for (k, words) in words.chunks_exact(V.div_ceil(2) * lanes).enumerate() {
        let mut weights = [S::f32s::splat(simd, 0.0); V];
        for v in 0..V {
            let word = word_of::<S>(simd, &words[v / 2 * lanes..][..lanes]);
            weights[v] = if v % 2 == 0 { word << 16u32 } else { word & UPPER }.bitcast();
        }
        for i in 0..R {
            let x = S::f32s::splat(simd, left[i][k]);
            for v in 0..V {
                sums[i][v] = x.mul_add(weights[v], sums[i][v]);
            }
        }
    }
    *tile = sums;
}

#[inline(always)]
fn add_bytes<S: Simd, const R: usize, const V: usize>(
    simd: S,
    term: &Term<'_, f32>,
    reduced: &Reduced,
    r: usize,
    panel: usize,
    tile: &mut [[S::f32s; V]; R],
) {
    let lanes = S::f32s::LEN;
    let left = rows_of::<R>(term, r);
    let mut sums = [[S::f32s::splat(simd, 0.0); V]; R];
    let words = reduced.panel(term.panels.k(), panel, V);
    for (k, word) in words.chunks_exact(lanes).enumerate() {
        let word = word_of::<S>(simd, word);
        let shifted = [word << 15u32, word << 7u32, word >> 1u32, word >> 9u32];
        let mut weights = [S::f32s::splat(simd, 0.0); V];
        for v in 0..V {
            weights[v] = ((shifted[v] & BYTE) | ONE).bitcast();
        }
        for i in 0..R {
            let x = S::f32s::splat(simd, left[i][k]);
            for v in 0..V {
                sums[i][v] = x.mul_add(weights[v], sums[i][v]);
            }
        }
    }
    let range = S::f32s::splat(simd, 256.0);
    for i in 0..R {
        let offset = S::f32s::splat(simd, -384.0 * sum_of(simd, left[i]));
        for v in 0..V {
            let scale = &reduced.scales[(panel * reduced.vectors + v) * lanes..][..lanes];
            let sum = sums[i][v].mul_add(range, offset);
            tile[i][v] = S::f32s::from_slice(simd, scale).mul_add(sum, tile[i][v]);
        }
    }
}

/// Returns `R` rows of the left operand from `r` on.
#[inline(always)]
fn rows_of<'a, const R: usize>(term: &Term<'a, f32>, r: usize) -> [&'a [f32]; R] {
    let mut rows = [[].as_slice(); R];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &term.rows.row(r + i)[..term.panels.k()];
    }
    rows
}

/// Loads words from their bits.
#[inline(always)]
fn word_of<S: Simd>(simd: S, bits: &[f32]) -> S::u32s {
    S::f32s::from_slice(simd, bits).bitcast()
}

/// Returns the sum of a row.
#[inline(always)]
fn sum_of<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let mut sum = S::f32s::splat(simd, 0.0);
    for l in lanes(simd, row.len()) {
        sum += l.load(row);
    }
    sum.reduce_sum()
}
