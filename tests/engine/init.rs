//! Tests of initial values of weights: their moments, bounds and orthogonality.

use ndarray::{Array2, ArrayView2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::CellConfig;
use recurrent::tensor::Init;
use recurrent::{Arrays, Float, Lstm};

const RANDOM: [Init; 7] = [
    Init::Uniform(0.3),
    Init::Normal(0.3),
    Init::XavierUniform,
    Init::XavierNormal,
    Init::HeUniform,
    Init::HeNormal,
    Init::Orthogonal,
];

fn filled<T: Float>(init: Init, shape: (usize, usize), seed: u64) -> Array2<T> {
    let mut weight = Array2::zeros(shape);
    init.fill(weight.view_mut(), &mut ChaCha8Rng::seed_from_u64(seed));
    weight
}

/// Compares mean, variance and kurtosis E(x⁴)/E(x²)² with those of the distribution, within five standard
/// errors of their estimates.
fn check_moments(init: Init, shape: (usize, usize), variance: f64, kurtosis: f64) {
    let values = filled::<f64>(init, shape, 11);
    let count = values.len() as f64;
    let moment = |power: i32| values.iter().map(|value| value.powi(power)).sum::<f64>() / count;
    let within = 5.0 / count.sqrt();
    assert!(moment(1).abs() < within * variance.sqrt(), "mean of {init:?}: {}", moment(1));
    let ratio = moment(2) / variance;
    assert!(
        (ratio - 1.0).abs() < within * (kurtosis - 1.0).sqrt(),
        "variance of {init:?}: {ratio}"
    );
    let measured = moment(4) / moment(2).powi(2);
    assert!((measured - kurtosis).abs() < 10.0 * within, "kurtosis of {init:?}: {measured}");
}

fn check_bound(init: Init, shape: (usize, usize), bound: f64) {
    let largest =
        filled::<f64>(init, shape, 12).iter().fold(0.0_f64, |m, value| m.max(value.abs()));
    assert!(largest <= bound, "{init:?}: {largest} > {bound}");
    assert!(largest > 0.999 * bound, "{init:?} stays away from its bound {bound}: {largest}");
}

#[test]
fn uniform_values_have_the_stated_bound_and_variance() {
    let (shape, fan_in, fans) = ((120, 300), 300.0, 420.0);
    let cases = [
        (Init::Uniform(0.25), 0.25),
        (Init::XavierUniform, (6.0_f64 / fans).sqrt()),
        (Init::HeUniform, (6.0_f64 / fan_in).sqrt()),
    ];
    for (init, bound) in cases {
        check_bound(init, shape, bound);
        check_moments(init, shape, bound * bound / 3.0, 9.0 / 5.0);
    }
}

#[test]
fn normal_values_have_the_stated_variance() {
    let (shape, fan_in, fans) = ((120, 300), 300.0, 420.0);
    check_moments(Init::Normal(0.25), shape, 0.0625, 3.0);
    check_moments(Init::XavierNormal, shape, 2.0 / fans, 3.0);
    check_moments(Init::HeNormal, shape, 2.0 / fan_in, 3.0);
}

#[test]
fn constants_and_empty_distributions_fill_with_one_value() {
    let all = |init, value: f32| filled::<f32>(init, (3, 5), 1).iter().all(|&v| v == value);
    assert!(all(Init::Constant(-1.5), -1.5));
    assert!(all(Init::Uniform(0.0), 0.0));
    assert!(all(Init::Normal(0.0), 0.0));
}

/// Returns the largest deviation of the Gram matrix of the rows or columns, whichever are fewer, from I.
fn orthogonality_error<T: Float>(weight: ArrayView2<'_, T>) -> f64 {
    let weight = weight.mapv(Float::as_f64);
    let (rows, columns) = weight.dim();
    let gram = if rows <= columns { weight.dot(&weight.t()) } else { weight.t().dot(&weight) };
    (gram - Array2::<f64>::eye(rows.min(columns)))
        .iter()
        .fold(0.0, |worst, error| error.abs().max(worst))
}

#[test]
fn orthogonal_weights_are_orthonormal_whether_tall_wide_or_square() {
    for shape in [(1, 1), (1, 9), (9, 1), (64, 64), (200, 30), (30, 200), (129, 127)] {
        let error = orthogonality_error(filled::<f64>(Init::Orthogonal, shape, 5).view());
        assert!(error < 1e-14, "f64 {shape:?}: {error:e}");
        let error = orthogonality_error(filled::<f32>(Init::Orthogonal, shape, 5).view());
        assert!(error < 1e-6, "f32 {shape:?}: {error:e}");
    }
}

/// If Q is uniform over the orthogonal matrices, each entry of a square Q has mean 0 and variance 1/n.
#[test]
fn orthogonal_weights_favour_no_direction() {
    let n = 6;
    let runs = 4000;
    let (mut sum, mut squares) = (Array2::<f64>::zeros((n, n)), Array2::<f64>::zeros((n, n)));
    for seed in 0..runs {
        let weight = filled::<f64>(Init::Orthogonal, (n, n), seed);
        squares += &(&weight * &weight);
        sum += &weight;
    }
    let (runs, n) = (runs as f64, n as f64);
    let within = 5.0 / runs.sqrt();
    for (sum, square) in sum.iter().zip(&squares) {
        assert!((sum / runs).abs() < within / n.sqrt(), "mean {}", sum / runs);
        assert!((square / runs - 1.0 / n).abs() < within * 2.0_f64.sqrt() / n, "{}", square / runs);
    }
}

#[test]
fn each_gate_of_a_weight_is_orthogonal_by_itself_and_differs_from_the_others() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let builder = Lstm::<f64>::builder(5, 16).bidirectional(true).num_layers(2);
    let net = builder.weight_hh(Init::Orthogonal).weight_ih(Init::Orthogonal).build(&mut rng);
    net.unwrap().for_each(&mut |name, weight| {
        let Ok(weight) = weight.into_dimensionality::<ndarray::Ix2>() else { return };
        let gates: Vec<_> = weight.axis_chunks_iter(Axis(0), 16).collect();
        assert_eq!(gates.len(), 4, "{name}");
        for (i, gate) in gates.iter().enumerate() {
            assert!(orthogonality_error(gate.view()) < 1e-14, "{name}, gate {i}");
            assert!(gates[..i].iter().all(|other| other != gate), "{name}, gate {i} is a copy");
        }
    });
}

#[test]
fn fans_are_those_of_one_gate() {
    let mut config = CellConfig::new(10, 20);
    config.bias = false;
    let weight = |gates| {
        config
            .weight::<f64>(Init::XavierUniform, gates, (20, 10), &mut ChaCha8Rng::seed_from_u64(1))
            .unwrap()
    };
    let (one, four) = (weight(1), weight(4));
    assert_eq!(four.dim(), (80, 10));
    assert_eq!(four.axis_chunks_iter(Axis(0), 20).next().unwrap(), one);
    let bound = (6.0_f64 / 30.0).sqrt();
    let largest = four.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    assert!(largest <= bound && largest > 0.98 * bound, "{largest}, bound {bound}");
}

#[test]
fn the_same_seed_gives_the_same_values_and_another_seed_others() {
    for init in RANDOM {
        let values = |seed| filled::<f32>(init, (17, 9), seed);
        assert_eq!(values(1), values(1), "{init:?}");
        assert_ne!(values(1), values(2), "{init:?}");
        let narrowed = filled::<f64>(init, (17, 9), 1).mapv(|value| value as f32);
        assert_eq!(values(1), narrowed, "{init:?}: f32 is f64 rounded");
    }
}

#[test]
fn values_do_not_depend_on_the_memory_layout_of_the_weight() {
    for init in RANDOM {
        let mut transposed = Array2::<f64>::zeros((9, 17));
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        init.fill(transposed.view_mut().reversed_axes(), rng);
        assert!(transposed.t() == filled::<f64>(init, (17, 9), 1), "{init:?}");
    }
}

#[test]
fn numbers_that_make_no_distribution_are_refused_by_name() {
    let message = |init: Init| init.check("weight_hh").map_err(|error| error.to_string());
    let at_least_0 = "weight_hh: expected a finite value of at least 0, got";
    for (value, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (-0.1, "-0.1")] {
        for init in [Init::Uniform(value), Init::Normal(value)] {
            assert_eq!(message(init), Err(format!("{at_least_0} {shown}")));
        }
    }
    assert_eq!(
        message(Init::Constant(f64::NEG_INFINITY)),
        Err("weight_hh: expected a finite value, got -inf".to_owned())
    );
    for init in RANDOM.into_iter().chain([Init::Constant(-1.0), Init::Uniform(0.0)]) {
        assert_eq!(message(init), Ok(()));
    }
}
