//! Tests of scalers over the whole range of numbers: constant features, tiny and huge values, files.

use ndarray::{Array1, Array2, Axis, array};
use proptest::prelude::*;
use recurrent::data::Scaler;
use recurrent::{Float, Result};

fn column<T: Float>(values: &[T]) -> Array2<T> {
    Array1::from_vec(values.to_vec()).insert_axis(Axis(1))
}

fn standard<T: Float>(values: &[T]) -> Scaler {
    Scaler::standard(&[column(values).view()]).unwrap()
}

fn scaled<T: Float>(scaler: &Scaler, value: T) -> T {
    scaler.transform(&array![value]).unwrap()[0]
}

#[test]
fn a_constant_feature_is_only_shifted() {
    for (value, times) in
        [(0.1, 3), (14.62, 1000), (-1e300, 7), (5e-324, 9), (0.0, 2), (f64::MAX, 5)]
    {
        for fit in [Scaler::standard::<f64>, Scaler::min_max::<f64>] {
            let scaler = fit(&[column(&vec![value; times]).view()]).unwrap();
            assert_eq!(scaled(&scaler, value), 0.0);
            assert_eq!(scaler.inverse_transform(&array![0.0]).unwrap()[0], value);
        }
    }
    assert!((scaled(&standard(&[0.1; 3]), 0.2_f64) - 0.1).abs() < 1e-15);
    assert!((scaled(&standard(&[0.1_f32; 3]), 0.2_f32) - 0.1).abs() < 1e-7);
    // Constant but for the rounding of the last digits.
    let noisy = standard(&[0.3, 0.1 + 0.2, 0.3, 0.6 - 0.3]);
    assert!((scaled(&noisy, 1.3_f64) - 1.0).abs() < 1e-15);
    let zeros = standard(&[0.0, -0.0]);
    assert_eq!(scaled(&zeros, 2.0), 2.0);
    assert_eq!(scaled(&standard(&[7.0]), 9.0), 2.0);
}

#[test]
fn values_of_any_magnitude_get_mean_zero_and_deviation_one() {
    // −1, 0 and 1 have the deviation √(2/3).
    let root = (2.0_f64 / 3.0).sqrt();
    for unit in [1e-322, 1e-310, 1e-300, 1e-160, 1e-20, 1.0, 1e20, 1e160, 1e300, 8e307, f64::MAX] {
        let scaler = standard(&[-unit, 0.0, unit]);
        let precision = if unit < 1e-308 { 0.05 } else { 1e-15 };
        for sign in [-1.0, 1.0] {
            let got = scaled(&scaler, sign * unit);
            assert!((got - sign / root).abs() < precision * 2.0, "{unit:e}: {got}");
        }
        assert_eq!(scaled(&scaler, 0.0), 0.0);
    }
    for unit in [1e-44_f32, 1e-38, 1e-20, 1.0, 1e20, f32::MAX] {
        let scaler = standard(&[-unit, 0.0, unit]);
        assert!((scaled(&scaler, unit) - (1.0 / root) as f32).abs() < 1e-6, "{unit:e}");
    }
    // All of one sign near the largest number: their sum is infinite.
    let high = standard(&[f64::MAX, 0.5 * f64::MAX]);
    assert!((scaled(&high, f64::MAX) - 1.0).abs() < 1e-15);
    assert!((scaled(&high, -f64::MAX) + 7.0).abs() < 1e-14);
    // Small differences between large numbers.
    let close = standard(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0]);
    assert!((scaled(&close, 1e9 + 3.0) - 1.0 / root).abs() < 1e-12);
    // The smallest numbers that differ.
    let least = standard(&[0.0, 5e-324]);
    assert!(scaled(&least, 5e-324_f64).is_finite());
    // Features do not touch each other.
    let mixed = array![[1e300_f64, 1e-300, 0.1], [-1e300, 3e-300, 0.1]];
    let scaler = Scaler::standard(&[mixed.view()]).unwrap();
    let both = scaler.transform(&mixed).unwrap();
    assert!((&both - &array![[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]).iter().all(|d| d.abs() < 1e-15));
}

#[test]
fn a_minimum_and_a_maximum_of_any_magnitude_become_0_and_1() {
    for (min, max) in
        [(1e-310, 2e-310), (-1e-300, 1e-300), (1.0, 1.0 + f64::EPSILON), (-8e307, 8e307)]
    {
        let scaler = Scaler::min_max(&[column(&[max, min]).view()]).unwrap();
        assert_eq!((scaled(&scaler, min), scaled(&scaler, max)), (0.0, 1.0));
    }
    let wide = Scaler::min_max(&[array![[0.0, -1e308], [1.0, 1e308]].view()]).unwrap_err();
    let expected = "parts[..][.., 1]: expected a difference that f64 holds, got -1e308 to 1e308";
    assert_eq!(wide.to_string(), expected);
    let single = Scaler::min_max(&[column(&[-f32::MAX, f32::MAX]).view()]).unwrap();
    assert_eq!((scaled(&single, -f32::MAX), scaled(&single, f32::MAX)), (0.0, 1.0));
}

#[test]
fn a_finite_value_that_would_become_infinite_is_refused() {
    let says = |result: Result<Array2<f32>>| result.unwrap_err().to_string();
    let tiny = standard(&[-1e-30_f32, 1e-30]);
    let expected = "values that f32 holds in the other units";
    assert_eq!(
        says(tiny.transform(&array![[0.0_f32], [1e30]])),
        format!("x: expected {expected}, got 1e30")
    );
    let huge = standard(&[-1e30_f32, 1e30]);
    assert_eq!(
        says(huge.inverse_transform(&array![[1e10_f32]])),
        format!("y: expected {expected}, got 1e10")
    );
    // Values that are not finite stay as they are.
    assert!(scaled(&tiny, f32::NAN).is_nan());
    assert_eq!(scaled(&tiny, f32::INFINITY), f32::INFINITY);
    // The difference to the mean overflows, the result does not.
    let far = standard(&[1.6e308, 1.7e308]);
    let low = scaled(&far, -1.7e308_f64);
    assert!((low + 67.0).abs() < 1e-10, "{low}");
    let back = far.inverse_transform(&array![low]).unwrap()[0];
    assert!((back / -1.7e308 - 1.0).abs() < 1e-13, "{back:e}");
}

#[test]
fn a_scaler_comes_back_from_a_file_and_no_other_numbers_do() {
    for values in [[0.1, 0.7], [1e-310, 3e-310], [-1.7e308, 1.7e308], [1e300, 1e300]] {
        let scaler = standard(&values);
        let text = serde_json::to_string(&scaler).unwrap();
        assert_eq!(serde_json::from_str::<Scaler>(&text).unwrap(), scaler);
    }
    let refused = [
        (r#"{"offset":[0.0],"scale":[0.0]}"#, "scale[0]: expected a finite value greater than 0"),
        (r#"{"offset":[0.0,0.0],"scale":[1.0,-0.0]}"#, "scale[1]"),
        (r#"{"offset":[0.0],"scale":[-1.0]}"#, "scale[0]"),
        (r#"{"offset":[0.0],"scale":[1e999]}"#, ""),
        (r#"{"offset":[null],"scale":[1.0]}"#, ""),
        (r#"{"offset":[NaN],"scale":[1.0]}"#, ""),
        (r#"{"offset":[0.0],"scale":[1.0,2.0]}"#, "offset: expected [2] (features), got [1]"),
        (r#"{"offset":[],"scale":[]}"#, "scale: expected at least 1"),
        (r#"{"offset":[0.0],"scale":[1.0],"clip":true}"#, "clip"),
        (r#"{"offset":[0.0]}"#, "scale"),
    ];
    for (text, problem) in refused {
        let error = serde_json::from_str::<Scaler>(text).unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

proptest! {
    /// The mean and the deviation of integers times a power of two are those of the integers times the power.
    #[test]
    fn scaling_does_not_depend_on_the_unit(
        values in prop::collection::vec(-1000..1000_i32, 2..20), exponent in -1000..1000_i32,
    ) {
        let (of, n) = (|value: i32| f64::from(value), values.len() as f64);
        let sum: i64 = values.iter().map(|&value| i64::from(value)).sum();
        let squares: i64 = values.iter().map(|&value| i64::from(value).pow(2)).sum();
        let mean = sum as f64 / n;
        // n·Σx² − (Σx)² is exact.
        let spread = values.len() as i64 * squares - sum * sum;
        let deviation = if spread == 0 { 1.0 } else { (spread as f64).sqrt() / n };
        let unit = 2_f64.powi(exponent);
        let all: Vec<f64> = values.iter().map(|&value| of(value) * unit).collect();
        let scaler = standard(&all);
        for &value in &values {
            let scale = if spread == 0 { unit } else { 1.0 };
            let expected = (of(value) - mean) / deviation * scale;
            let got = scaled(&scaler, of(value) * unit);
            prop_assert!((got - expected).abs() <= 1e-12 * expected.abs().max(scale), "{got} {expected}");
        }
    }
}
