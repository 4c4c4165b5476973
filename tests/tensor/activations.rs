//! Tests of activations on every instruction set of this machine: their error bounds, and their results
//! at the ends of the range.

use crate::common::double_double::DoubleDouble;
use crate::common::levels::levels;
use rand::{RngExt, SeedableRng};
use recurrent::Float;
use recurrent::compiled;
use recurrent::tensor::activation::{
    EXP_MAX_ULP, SIGMOID_MAX_ULP, TANH_MAX_ULP, exp_nonpositive, relu_slice, sigmoid_slice,
    tanh_slice,
};
use recurrent::tensor::reduce::softmax;
use recurrent::tensor::{Level, Simd, lanes};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Exp,
    Sigmoid,
    Tanh,
    Relu,
}

const ALL: [Function; 4] = [Function::Exp, Function::Sigmoid, Function::Tanh, Function::Relu];
const INEXACT: [Function; 3] = [Function::Exp, Function::Sigmoid, Function::Tanh];

compiled! {
    fn exp_slice<'a, T>(values: &'a mut [T]) = exp_slice_on;
}

#[inline(always)]
fn exp_slice_on<S: Simd, T: Float>(simd: S, values: &mut [T]) {
    for l in lanes(simd, values.len()) {
        l.store(values, exp_nonpositive(l.load(values)));
    }
}

impl Function {
    fn max_ulp(self) -> f64 {
        match self {
            Self::Exp => EXP_MAX_ULP,
            Self::Sigmoid => SIGMOID_MAX_ULP,
            Self::Tanh => TANH_MAX_ULP,
            Self::Relu => 0.0,
        }
    }

    fn apply<T: Float>(self, level: Level, x: &[T]) -> Vec<T> {
        let mut values = x.to_vec();
        self.replace(level, &mut values);
        values
    }

    #[inline(always)]
    fn replace<T: Float>(self, level: Level, values: &mut [T]) {
        match self {
            Self::Exp => exp_slice(level, values),
            Self::Sigmoid => sigmoid_slice(level, values),
            Self::Tanh => tanh_slice(level, values),
            Self::Relu => relu_slice(level, values),
        }
    }

    /// Returns whether the result is defined as zero although the exact value is not zero.
    fn flushed<T: Float>(self, x: T) -> bool {
        matches!(self, Self::Exp | Self::Sigmoid) && x < T::from_f64(T::MIN_EXP)
    }

    fn exact(self, x: f64) -> DoubleDouble {
        let value = DoubleDouble::new(x);
        match self {
            Self::Exp if x > 0.0 => DoubleDouble::ONE,
            Self::Exp => value.exp(),
            Self::Sigmoid => value.sigmoid(),
            Self::Tanh => value.tanh(),
            Self::Relu => DoubleDouble::new(x.max(0.0)),
        }
    }

    /// Returns [`exact`](Function::exact) to the precision of f64, which is faster and suffices for f32.
    fn nearly_exact(self, x: f64) -> f64 {
        match self {
            Self::Exp => x.min(0.0).exp(),
            Self::Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Relu => x.max(0.0),
        }
    }
}

/// Returns 2ⁿ for any exponent of f64, including subnormal results.
fn power_of_2(n: i64) -> f64 {
    f64::from_bits(if n < -1022 { 1 << (n + 1074) } else { ((n + 1023) as u64) << 52 })
}

/// Returns the unit in the last place of the `T` nearest to `value`.
fn ulp<T: Float>(value: f64) -> f64 {
    let exponent = (value.abs().to_bits() >> 52) as i64 - 1023;
    power_of_2(exponent.max(1 - T::EXPONENT_BIAS as i64) - i64::from(T::SIGNIFICAND_BITS))
}

/// Returns the error of `got` as `function` at `x`, in units of the last place of `exact`.
fn error_in_ulp<T: Float>(function: Function, x: T, got: T, exact: DoubleDouble) -> f64 {
    let (mut got, mut exact, unit) = (got.as_f64(), exact, ulp::<T>(exact.high));
    let mut lift = 1.0;
    if function != Function::Tanh && x.as_f64() < -300.0 {
        // For so small a value a pair of f64 has fewer bits. There σ(x) is eˣ.
        (lift, exact) = (power_of_2(512), DoubleDouble::new(x.as_f64()).exp_scaled(512));
        got *= lift;
    }
    ((DoubleDouble::new(got) - exact).high / (unit * lift)).abs()
}

/// Returns finite inputs of both signs: some significands of each exponent, dense points where the
/// functions have a large curvature, and the boundaries of the range reduction of eˣ with their neighbours.
fn grid<T: Float>() -> Vec<T> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let last_place = power_of_2(-i64::from(T::SIGNIFICAND_BITS));
    let mut grid = vec![T::zero(), T::from_f64(T::MIN_EXP), T::from_f64(T::MIN_EXP * 0.5)];
    let bias = T::EXPONENT_BIAS as i64;
    for exponent in -bias - i64::from(T::SIGNIFICAND_BITS) + 1..=bias {
        for i in 0..24 {
            let significand = match i {
                0 => 1.0,
                1 => 1.0 + last_place,
                2 => 2.0 - last_place,
                _ => rng.random_range(1.0..2.0),
            };
            grid.push(T::from_f64(significand * power_of_2(exponent)));
        }
    }
    grid.extend((0..100_000).map(|_| T::from_f64(rng.random_range(0.0..20.0))));
    let neighbours = |x: f64| (-3..=3).map(move |n| T::from_f64(x + f64::from(n) * ulp::<T>(x)));
    let borders = (0..1030).map(|n| (f64::from(n) + 0.5) * std::f64::consts::LN_2);
    for border in borders.chain([-T::MIN_EXP]).filter(|&x| x < 1.1 * -T::MIN_EXP) {
        grid.extend(neighbours(border).chain(neighbours(0.5 * border)));
    }
    let negative: Vec<T> = grid.iter().map(|&x| -x).collect();
    grid.extend(negative);
    grid.retain(|x| x.is_finite());
    grid
}

fn check_error_bounds<T: Float>() {
    let x = grid::<T>();
    for function in INEXACT {
        let exact: Vec<DoubleDouble> = x.iter().map(|x| function.exact(x.as_f64())).collect();
        for level in levels() {
            let (mut worst, mut worst_x) = (0.0, 0.0);
            for ((&x, &exact), got) in x.iter().zip(&exact).zip(function.apply(level, &x)) {
                if function.flushed(x) {
                    assert_eq!(got, T::zero(), "{function:?}({x})");
                    continue;
                }
                let error = error_in_ulp(function, x, got, exact);
                assert!(!error.is_nan(), "{function:?}({x}) = {got}");
                if error > worst {
                    (worst, worst_x) = (error, x.as_f64());
                }
            }
            println!("{function:?} {} {:?}: {worst:.3} at {worst_x}", T::NAME, level);
            let bound = function.max_ulp();
            assert!(worst <= bound, "{function:?}({worst_x:e}): {worst} ULP on {level:?}");
        }
    }
}

#[test]
fn the_reference_agrees_with_known_digits() {
    use Function::{Exp, Sigmoid, Tanh};
    // Values with 60 digits, as the nearest f64 and the f64 nearest to the rest.
    let known = [
        (Exp, -1.0, 0.36787944117144233, -1.2428753672788363e-17),
        (Exp, -700.0, 9.85967654375977e-305, 8.5e-322),
        (Sigmoid, 1.0, 0.7310585786300049, -1.679727399649845e-17),
        (Sigmoid, -20.0, 2.0611536181902037e-9, -1.573719952885692e-25),
        (Tanh, 0.25, 0.24491866240370913, -1.6036228849882693e-18),
        (Tanh, 0.5, 0.46211715726000974, 2.1916603238260928e-17),
        (Tanh, -3.0, -0.9950547536867305, 1.2991892863562624e-17),
        (Tanh, power_of_2(-30), 9.313225746154785e-10, -2.692645223154387e-28),
    ];
    for (function, x, high, low) in known {
        let exact = function.exact(x);
        assert_eq!(exact.high, high, "{function:?}({x})");
        let error = (exact.low - low).abs();
        assert!(error <= 2e-10 * ulp::<f64>(high), "{function:?}({x}): {exact:?}");
    }
}

#[test]
fn f32_activations_keep_their_error_bounds_over_the_whole_range() {
    check_error_bounds::<f32>();
}

#[test]
fn f64_activations_keep_their_error_bounds_over_the_whole_range() {
    check_error_bounds::<f64>();
}

/// Takes some minutes: `cargo test --release --test tensor activations -- --ignored --nocapture`.
#[test]
#[ignore = "all 2³² inputs take minutes"]
fn f32_activations_keep_their_error_bounds_at_every_input() {
    const BLOCK: u64 = 1 << 16;
    let levels = levels();
    for function in INEXACT {
        let mut worst = vec![(0.0, 0.0_f32); levels.len()];
        for start in (0..1_u64 << 32).step_by(BLOCK as usize) {
            let x: Vec<f32> =
                (start..start + BLOCK).map(|bits| f32::from_bits(bits as u32)).collect();
            let exact: Vec<f64> = x.iter().map(|&x| function.nearly_exact(f64::from(x))).collect();
            for (&level, worst) in levels.iter().zip(&mut worst) {
                let got = function.apply(level, &x);
                for ((&x, &exact), got) in x.iter().zip(&exact).zip(got) {
                    if x.is_nan() || function.flushed(x) {
                        let right = if x.is_nan() { got.is_nan() } else { got == 0.0 };
                        assert!(right, "{function:?}({x}) = {got}");
                        continue;
                    }
                    let error = ((f64::from(got) - exact) / ulp::<f32>(exact)).abs();
                    assert!(!error.is_nan(), "{function:?}({x}) = {got}");
                    if error > worst.0 {
                        *worst = (error, x);
                    }
                }
            }
        }
        for (level, (error, x)) in levels.iter().zip(worst) {
            println!("{function:?} {:?}: {error:.4} ULP at {x:e}", level);
            assert!(error <= function.max_ulp(), "{function:?}({x:e}): {error} ULP on {level:?}");
        }
    }
}

fn check_special_values<T: Float>() {
    let (zero, one, half, inf) = (T::zero(), T::one(), T::from_f64(0.5), T::infinity());
    let (tiny, big) = (T::min_positive_value() * T::from_f64(0.25), T::max_value());
    let x = [zero, -zero, inf, -inf, tiny, -tiny, big, -big];
    for function in ALL {
        let expected = match function {
            Function::Exp => [one, one, one, zero, one, one, one, zero],
            Function::Sigmoid => [half, half, one, zero, half, half, one, zero],
            Function::Tanh => [zero, -zero, one, -one, tiny, -tiny, one, -one],
            Function::Relu => [zero, -zero, inf, zero, tiny, zero, big, zero],
        };
        // In whole vectors, and in a partial vector.
        let x: Vec<T> = x.iter().copied().cycle().take(x.len() * 8 + 7).collect();
        for level in levels() {
            let got = function.apply(level, &x);
            for ((&x, got), &expected) in x.iter().zip(got).zip(expected.iter().cycle()) {
                assert_eq!(got, expected, "{function:?}({x:e}) on {level:?}");
                let same_sign = got.is_sign_negative() == expected.is_sign_negative();
                let odd = function == Function::Tanh;
                assert!(same_sign || !odd, "sign of {function:?}({x:e}) on {level:?}");
            }
        }
    }
}

#[test]
fn zeros_infinities_and_subnormals_give_the_limits() {
    check_special_values::<f32>();
    check_special_values::<f64>();
}

fn check_nan<T: Float>() {
    for (function, level) in ALL.iter().flat_map(|f| levels().into_iter().map(move |l| (f, l))) {
        for nan in [T::nan(), -T::nan()] {
            for at in 0..37 {
                let mut x = vec![T::from_f64(-0.5); 37];
                let without = function.apply(level, &x);
                x[at] = nan;
                for (i, got) in function.apply(level, &x).into_iter().enumerate() {
                    let right = if i == at { got.is_nan() } else { got == without[i] };
                    assert!(right, "{function:?}, NaN at {at}: {got} at {i} on {level:?}");
                }
            }
        }
    }
}

#[test]
fn nan_stays_nan_and_stays_in_its_lane() {
    check_nan::<f32>();
    check_nan::<f64>();
}

fn check_symmetry<T: Float>() {
    let x = grid::<T>();
    let negative: Vec<T> = x.iter().map(|&x| -x).collect();
    for level in levels() {
        let positive = Function::Tanh.apply(level, &x);
        let mirrored = Function::Tanh.apply(level, &negative);
        for ((x, y), z) in x.iter().zip(positive).zip(mirrored) {
            assert_eq!(y, -z, "tanh(±{x:e}) on {level:?}");
            assert!(y.abs() <= T::one(), "tanh({x:e}) = {y} on {level:?}");
        }
        for (x, y) in x.iter().zip(Function::Sigmoid.apply(level, &x)) {
            assert!(T::zero() <= y && y <= T::one(), "σ({x:e}) = {y} on {level:?}");
        }
    }
}

#[test]
fn tanh_is_odd_and_both_stay_within_their_limits() {
    check_symmetry::<f32>();
    check_symmetry::<f64>();
}

fn run_softmax<T: Float>(level: Level, row: &[T]) -> (Vec<T>, T) {
    let mut row = row.to_vec();
    let log_sum = softmax(level, &mut row);
    (row, log_sum)
}

fn check_softmax<T: Float>(len: usize, spread: f64) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(len as u64);
    let row: Vec<T> = (0..len).map(|_| T::from_f64(rng.random_range(-spread..=spread))).collect();
    let largest = row.iter().copied().fold(T::neg_infinity(), T::max).as_f64();
    let shifted = |x: &T| DoubleDouble::new(x.as_f64()) - DoubleDouble::new(largest);
    let exact: Vec<DoubleDouble> = row.iter().map(|x| shifted(x).exp()).collect();
    let sum = exact.iter().fold(DoubleDouble::new(0.0), |sum, &e| sum + e);
    for level in levels() {
        let (got, log_sum) = run_softmax(level, &row);
        for ((x, &exact), got) in row.iter().zip(&exact).zip(got) {
            let exact = exact / sum;
            if x.as_f64() - largest < T::MIN_EXP + 1e-3 {
                assert!(got.as_f64() <= 2.0 * exact.high, "flushed: {got}");
                continue;
            }
            // The rounding errors of x − largest, of eˣ above and below, of the sum and of the division.
            let difference = 0.5 * (x.as_f64() - largest).abs();
            let bound = difference + 2.0 * (EXP_MAX_ULP + 0.5) + 0.5 * len as f64;
            let bound = bound * T::epsilon().as_f64();
            let error = ((DoubleDouble::new(got.as_f64()) - exact) / exact).high.abs();
            assert!(error <= bound, "{len}, {spread}: {got}, {error:e} > {bound:e} on {level:?}");
        }
        let exact = largest + sum.high.ln();
        let error = (log_sum.as_f64() - exact).abs();
        let bound = (exact.abs() + len as f64 + 4.0) * T::epsilon().as_f64();
        assert!(error <= bound, "ln Σ eˣ = {log_sum}, not {exact}, on {level:?}");
    }
}

#[test]
fn softmax_is_as_exact_as_its_steps_allow() {
    for len in [1, 2, 3, 7, 8, 17, 33, 129] {
        for spread in [0.0, 1e-3, 1.0, 30.0, 400.0] {
            check_softmax::<f32>(len, spread);
            check_softmax::<f64>(len, spread);
        }
    }
}

#[test]
fn softmax_of_huge_values_does_not_overflow_and_of_nan_is_nan() {
    for level in levels() {
        let (row, log_sum) = run_softmax(level, &[3e38_f32, -3e38, 3e38]);
        assert_eq!((row, log_sum), (vec![0.5, 0.0, 0.5], 3e38));
        let (row, _) = run_softmax(level, &[0.0, f32::NEG_INFINITY, 0.0]);
        assert_eq!(row, [0.5, 0.0, 0.5]);
        let (row, log_sum) = run_softmax(level, &[0.0, f32::NAN, 1.0]);
        assert!(row.iter().all(|value| value.is_nan()) && log_sum.is_nan());
    }
}
