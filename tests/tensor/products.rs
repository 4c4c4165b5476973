//! Tests of products on every instruction set of this machine, against loops.

use std::ops::Range;

use crate::common::levels::levels;
use crate::common::naive;
use ndarray::{Array2, ArrayView2, Axis, Slice, array};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::Float;
use recurrent::tensor::reduce::add_column_sums;
use recurrent::tensor::{
    Accumulate, Level, Operands, Packed, RowRefs, Rows, RowsMut, add_outer_products, product,
    product_then,
};

/// Returns whether a multiply-add of this level is rounded once. SSE2 multiplies, then adds.
fn fused(level: Level) -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return level.as_avx2().is_some();
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    return cfg!(target_arch = "aarch64") && !level.is_fallback();
}

fn random<T: Float>(rng: &mut ChaCha8Rng, shape: (usize, usize)) -> Array2<T> {
    Array2::from_shape_simple_fn(shape, || T::from_f64(rng.random_range(-1.0..1.0)))
}

fn bits<T: Float>(values: &Array2<T>) -> Vec<u64> {
    values.iter().map(|value| value.as_f64().to_bits()).collect()
}

fn rows_of<T: Float>(values: &Array2<T>, rows: Range<usize>) -> Array2<T> {
    values.slice_axis(Axis(0), Slice::from(rows)).to_owned()
}

/// Computes `start + a · b` by the library, with `pad` more columns on both sides of every row.
fn run_product<T: Float>(
    level: Level,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    start: Accumulate<'_, T>,
    out: &Array2<T>,
    pad: usize,
) -> Array2<T> {
    let filler = T::from_f64(7.0);
    let padded = |inner: ArrayView2<'_, T>| {
        let mut outer = Array2::from_elem((inner.nrows(), inner.ncols() + 2 * pad), filler);
        outer.slice_axis_mut(Axis(1), Slice::from(pad..pad + inner.ncols())).assign(&inner);
        outer
    };
    let (wide_a, mut wide_out) = (padded(a), padded(out.view()));
    let packed = Packed::new(level, b);
    assert_eq!((packed.k(), packed.n()), b.dim());
    let width = wide_out.ncols();
    let mut out_rows = RowsMut::new(wide_out.as_slice_mut().unwrap(), width);
    let a_rows = Rows::new(wide_a.as_slice().unwrap(), wide_a.ncols());
    product(
        a_rows.columns(pad..pad + a.ncols()),
        &packed,
        start,
        out_rows.columns_mut(pad..pad + b.ncols()),
    );
    let outside = |column: usize| column < pad || column >= pad + b.ncols();
    for (column, values) in wide_out.columns().into_iter().enumerate() {
        assert!(!outside(column) || values.iter().all(|&value| value == filler));
    }
    wide_out.slice_axis(Axis(1), Slice::from(pad..pad + b.ncols())).to_owned()
}

/// Computes out + Σⱼ aⱼ ⊗ bⱼ by the library, over the rows j of `a` and `b`.
fn run_outer<T: Float>(
    level: Level,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    out: &Array2<T>,
) -> Array2<T> {
    let rows = |array: ArrayView2<'_, T>| -> Vec<Vec<T>> {
        array.outer_iter().map(|row| row.to_vec()).collect()
    };
    let (a_rows, b_rows, mut out) = (rows(a), rows(b), out.clone());
    let a = RowRefs::new(a_rows.iter().map(Vec::as_slice).collect(), a.ncols());
    let b = RowRefs::new(b_rows.iter().map(Vec::as_slice).collect(), b.ncols());
    add_outer_products(level, &a, &mut [(&b, out.view_mut())]);
    out
}

#[test]
fn the_naive_product_agrees_with_numbers_worked_by_hand() {
    let (a, b) = (array![[1.0, 2.0, 3.0], [-1.0, 0.5, 4.0]], array![[2.0], [10.0], [100.0]]);
    let start = array![[1000.0], [0.25]];
    for fused in [false, true] {
        let result = naive::product(a.view(), b.view(), start.view(), fused);
        assert_eq!(result, array![[1322.0], [403.25]]);
    }
    let bound = naive::product_error_bound(a.view(), b.view(), start.view());
    assert_eq!(bound, array![[1322.0], [407.25]] * 4.0 * f64::EPSILON);
    // (1 + ε)(1 − ε) − 1 = −ε² if it is rounded once, and 0 if twice.
    let e = f64::EPSILON;
    let (a, b, start) = (array![[1.0 + e]], array![[1.0 - e]], array![[-1.0]]);
    assert_eq!(naive::product(a.view(), b.view(), start.view(), true), array![[-e * e]]);
    assert_eq!(naive::product(a.view(), b.view(), start.view(), false), array![[0.0]]);
}

/// Numbers of rows, inner widths and columns around the sizes of vectors, tiles, panels and blocks of k.
const SHAPES: &[(usize, usize, usize)] = &[
    (1, 1, 1),
    (1, 3, 7),
    (1, 33, 129),
    (1, 129, 128),
    (2, 7, 31),
    (2, 64, 257),
    (3, 17, 33),
    (4, 1, 16),
    (5, 31, 17),
    (6, 8, 32),
    (7, 3, 3),
    (8, 33, 31),
    (9, 129, 7),
    (13, 7, 65),
    (14, 17, 1),
    (17, 31, 129),
    (31, 5, 48),
    (33, 129, 33),
    (3, 1601, 19),
    (9, 801, 35),
    (129, 7, 17),
];

fn check_product<T: Float>((m, k, n): (usize, usize, usize)) {
    let mut rng = ChaCha8Rng::seed_from_u64((m + 1000 * k + 1_000_000 * n) as u64);
    let (a, b) = (random::<T>(&mut rng, (m, k)), random::<T>(&mut rng, (k, n)));
    let (output, bias) = (random::<T>(&mut rng, (m, n)), random::<T>(&mut rng, (1, n)));
    let zeros = Array2::zeros((m, n));
    let biases = bias.broadcast((m, n)).unwrap();
    let starts = [
        (Accumulate::Zero, zeros.view()),
        (Accumulate::Output, output.view()),
        (Accumulate::Bias(bias.as_slice().unwrap()), biases),
    ];
    for (start, first) in starts {
        let bound = naive::product_error_bound(a.view(), b.view(), first);
        let chains = [false, true].map(|fused| naive::product(a.view(), b.view(), first, fused));
        for level in levels() {
            let got = run_product(level, a.view(), b.view(), start, &output, 0);
            let padded = run_product(level, a.view(), b.view(), start, &output, 5);
            let chain = &chains[usize::from(fused(level))];
            let at = format!("[{m}, {k}] · [{k}, {n}] {} {start:?} on {level:?}", T::NAME);
            for ((got, chain), &bound) in got.iter().zip(chain).zip(&bound) {
                assert!((*got - *chain).abs() <= bound, "{at}: {got} is not near {chain}");
            }
            assert!(bits(&got) == bits(chain), "{at}: not one chain over k in order");
            assert!(bits(&got) == bits(&padded), "{at}: strided rows differ");
        }
    }
}

/// Computes `start` + x · v + h · w of `G` gates by the library. Returns the output of an epilogue that
/// replaces each gate's sums by those of the gate before it, the sums of the last gate that the epilogue
/// read, and the output of an epilogue that does nothing.
fn run_gates<T: Float, const G: usize>(
    level: Level,
    [x, h]: [&Array2<T>; 2],
    [v, w]: [&Array2<T>; 2],
    bias: Option<&[T]>,
    out: &Array2<T>,
) -> [Array2<T>; 3] {
    let [v, w] = [v, w].map(|weights| Packed::gates(level, weights.view(), G));
    fn rows<T>(values: &Array2<T>) -> Rows<'_, T> {
        Rows::new(values.as_slice().unwrap(), values.ncols())
    }
    let first = (!x.is_empty()).then(|| Operands { rows: rows(x), weights: &v });
    let start = match (bias, first) {
        (Some(bias), _) => Accumulate::Bias(bias),
        (None, None) => Accumulate::Output,
        (None, Some(_)) => Accumulate::Zero,
    };
    let operands = Operands { rows: rows(h), weights: &w };
    let (mut out, mut plain, width) = (out.clone(), out.clone(), out.ncols());
    let to = RowsMut::new(plain.as_slice_mut().unwrap(), width);
    product_then(first, operands, start, to, &mut |_, _, _| {});
    let mut last = Array2::zeros((out.nrows(), width / G));
    let to = RowsMut::new(out.as_slice_mut().unwrap(), width);
    let mut epilogue = |rows: Range<usize>, units: Range<usize>, out: &mut RowsMut<'_, T>| {
        for r in rows {
            let gates: [&mut [T]; G] = out.parts_mut(r, &units);
            for (i, u) in units.clone().enumerate() {
                last[[r, u]] = gates[G - 1][i];
                for g in (1..G).rev() {
                    (gates[g][i], gates[g - 1][i]) = (gates[g - 1][i], gates[g][i]);
                }
            }
        }
    };
    product_then(first, operands, start, to, &mut epilogue);
    [out, last, plain]
}

fn check_gates<T: Float, const G: usize>((m, k, units): (usize, usize, usize)) {
    let mut rng = ChaCha8Rng::seed_from_u64((m + 1000 * k + 1_000_000 * units) as u64);
    let [x, h] = [k / 2 + 1, k].map(|k| random::<T>(&mut rng, (m, k)));
    let [v, w] = [&x, &h].map(|rows| random::<T>(&mut rng, (rows.ncols(), G * units)));
    let (output, bias) =
        (random::<T>(&mut rng, (m, G * units)), random::<T>(&mut rng, (1, G * units)));
    let nothing = Array2::zeros((m, 0));
    let zeros = Array2::zeros(output.dim());
    let cases = [
        (&x, bias.as_slice(), bias.broadcast(output.dim()).unwrap()),
        (&x, None, zeros.view()),
        (&nothing, None, output.view()),
    ];
    for (x, bias, first) in cases {
        for level in levels() {
            let fused = fused(level);
            let v = rows_of(&v, 0..x.ncols());
            let sums = naive::product(x.view(), v.view(), first, fused);
            let sums = naive::product(h.view(), w.view(), sums.view(), fused);
            let expected = Array2::from_shape_fn(sums.dim(), |(r, j)| {
                sums[[r, (j + (G - 1) * units) % (G * units)]]
            });
            let last = sums.slice_axis(Axis(1), Slice::from((G - 1) * units..)).to_owned();
            let got = run_gates::<T, G>(level, [x, &h], [&v, &w], bias, &output);
            let at = format!("{m} rows, k {k}, {G} gates of {units} {} on {level:?}", T::NAME);
            assert!(bits(&got[0]) == bits(&expected), "{at}: other values written");
            assert!(bits(&got[1]) == bits(&last), "{at}: other sums seen");
            assert!(bits(&got[2]) == bits(&sums), "{at}: other sums without a function");
        }
    }
}

#[test]
fn gates_of_two_products_pass_through_a_function_at_their_places() {
    for &shape in SHAPES {
        check_gates::<f32, 2>(shape);
        check_gates::<f32, 4>(shape);
        check_gates::<f64, 3>(shape);
    }
}

/// The weights are so large that consecutive walks over the panels alternate in direction.
#[test]
fn products_by_large_weights_are_the_same_in_every_call() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (a, b) = (random::<f64>(&mut rng, (7, 300)), random::<f64>(&mut rng, (300, 333)));
    let level = Level::new();
    let packed = Packed::new(level, b.view());
    for rows in [1, 2, 7, 1, 1, 7] {
        let a = rows_of(&a, 0..rows);
        let expected =
            naive::product(a.view(), b.view(), Array2::zeros((rows, 333)).view(), fused(level));
        let mut out = Array2::zeros((rows, 333));
        let a = Rows::new(a.as_slice().unwrap(), 300);
        let to = RowsMut::new(out.as_slice_mut().unwrap(), 333);
        product(a, &packed, Accumulate::Zero, to);
        assert_eq!(bits(&out), bits(&expected));
    }
}

#[test]
fn a_product_is_one_chain_of_multiply_adds_per_element() {
    for &shape in SHAPES {
        check_product::<f32>(shape);
        check_product::<f64>(shape);
    }
}

fn check_outer<T: Float>((m, rows, n): (usize, usize, usize)) {
    let mut rng = ChaCha8Rng::seed_from_u64((m + 1000 * rows + 1_000_000 * n) as u64);
    let (a, b) = (random::<T>(&mut rng, (rows, m)), random::<T>(&mut rng, (rows, n)));
    let out = random::<T>(&mut rng, (m, n));
    let bound = naive::product_error_bound(a.t(), b.view(), out.view());
    let chains = [false, true].map(|fused| naive::product(a.t(), b.view(), out.view(), fused));
    for level in levels() {
        let got = run_outer(level, a.view(), b.view(), &out);
        let chain = &chains[usize::from(fused(level))];
        let at = format!("{rows} × [{m}] ⊗ [{n}] {} on {level:?}", T::NAME);
        for ((got, chain), &bound) in got.iter().zip(chain).zip(&bound) {
            assert!((*got - *chain).abs() <= bound, "{at}: {got} is not near {chain}");
        }
        assert!(bits(&got) == bits(chain), "{at}: not one chain over the rows in order");
    }
}

#[test]
fn a_sum_of_outer_products_is_one_chain_over_the_rows_from_the_output_on() {
    for &shape in SHAPES {
        check_outer::<f32>(shape);
        check_outer::<f64>(shape);
    }
    for shape in [(33, 0, 17), (0, 3, 5), (3, 5, 0), (1030, 300, 17), (1000, 5, 300)] {
        check_outer::<f32>(shape);
    }
}

#[test]
fn a_sum_of_outer_products_has_the_same_bits_for_any_number_of_threads() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (a, b) = (random::<f32>(&mut rng, (2600, 259)), random::<f32>(&mut rng, (2600, 65)));
    let out = random::<f32>(&mut rng, (259, 65));
    for level in levels() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run_outer(level, a.view(), b.view(), &out))
        };
        let one = run(1);
        for threads in 2..=5 {
            assert!(bits(&one) == bits(&run(threads)), "{threads} threads on {level:?}");
        }
    }
}

#[test]
fn column_sums_run_in_the_order_of_the_rows_in_any_memory_layout() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for (rows, width) in [(0, 5), (1, 1), (7, 33), (300, 17)] {
        let (values, start) =
            (random::<f32>(&mut rng, (rows, width)), random::<f32>(&mut rng, (width, 2)));
        let expected = naive::product(
            Array2::ones((1, rows)).view(),
            values.view(),
            rows_of(&start.t().to_owned(), 0..1).view(),
            false,
        );
        let all = values.as_slice().unwrap();
        let gathered = RowRefs::new(all.chunks_exact(width).collect(), width);
        for level in levels() {
            // A column of an array with two is not contiguous.
            let (mut strided, mut contiguous) = (start.clone(), start.column(0).to_owned());
            {
                add_column_sums(level, &gathered, vec![strided.column_mut(0)]);
                add_column_sums(level, &gathered, vec![contiguous.view_mut()]);
            };
            assert_eq!(contiguous, expected.row(0), "{rows} rows of {width} on {level:?}");
            assert_eq!(strided.column(0), expected.row(0), "{rows} rows of {width} on {level:?}");
            assert_eq!(strided.column(1), start.column(1));
        }
    }
}

fn check_rows_alone<T: Float>((m, k, n): (usize, usize, usize), seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (a, b) = (random::<T>(&mut rng, (m, k)), random::<T>(&mut rng, (k, n)));
    let output = random::<T>(&mut rng, (m, n));
    for level in levels() {
        let run = |rows: Range<usize>| {
            let (a, output) = (rows_of(&a, rows.clone()), rows_of(&output, rows));
            run_product(level, a.view(), b.view(), Accumulate::Output, &output, 0)
        };
        let together = run(0..m);
        for rows in (0..m).map(|r| r..r + 1).chain([0..m / 2, m / 3..m]) {
            if rows.is_empty() {
                continue;
            }
            let beside = rows_of(&together, rows.clone());
            assert!(bits(&beside) == bits(&run(rows.clone())), "rows {rows:?} of {m} on {level:?}");
        }
    }
}

/// Checks that NaN in one row or column does not reach another, in any tile.
fn check_isolation((m, k, n): (usize, usize, usize), seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut a, mut b) = (random::<f32>(&mut rng, (m, k)), random::<f32>(&mut rng, (k, n)));
    let (row, column) = (rng.random_range(0..m), rng.random_range(0..n));
    a.index_axis_mut(Axis(0), row).fill(f32::NAN);
    b.index_axis_mut(Axis(1), column).fill(f32::NAN);
    let zeros = Array2::zeros((m, n));
    for level in levels() {
        let got = run_product(level, a.view(), b.view(), Accumulate::Zero, &zeros, 0);
        for ((i, j), value) in got.indexed_iter() {
            assert_eq!(value.is_nan(), i == row || j == column, "[{i}, {j}] on {level:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_row_of_a_product_does_not_depend_on_the_rows_beside_it(
        shape in (1_usize..40, 1_usize..70, 1_usize..140),
        seed: u64,
    ) {
        check_rows_alone::<f32>(shape, seed);
        check_rows_alone::<f64>(shape, seed);
    }

    #[test]
    fn nan_spreads_along_its_own_row_and_column_alone(
        shape in (1_usize..20, 1_usize..40, 1_usize..80),
        seed: u64,
    ) {
        check_isolation(shape, seed);
    }

    #[test]
    fn products_of_any_shape_agree_with_loops(
        shape in (1_usize..40, 1_usize..70, 1_usize..80),
    ) {
        check_product::<f32>(shape);
        check_outer::<f64>(shape);
    }
}
