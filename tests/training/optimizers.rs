//! Tests of optimisers: trajectories worked out by hand, errors that change nothing, clipping.

use ndarray::{Array1, Array2, array};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::optim::{Adam, AdamW, Sgd, clip_global_norm};
use recurrent::{Arrays, Result};

/// A function that runs a step of an optimiser.
type Step<'a> = dyn FnMut(&mut Array1<f32>, &Array1<f32>) -> Result<()> + 'a;

fn near(a: &Array1<f64>, b: &[f64]) {
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-14 * b.abs().max(1.0), "{a} is not {b}");
    }
}

#[test]
fn gradient_descent_with_momentum_and_decay_follows_its_equations() {
    let (mut theta, grads) = (array![1.0, -2.0], [array![0.5, 1.0], array![-1.0, 0.25]]);
    let mut sgd = Sgd::new(0.1).unwrap().momentum(0.9).unwrap().weight_decay(0.01).unwrap();
    sgd.step(&mut theta, &grads[0]).unwrap();
    // v = g + 0.01·θ = [0.51, 0.98]
    near(&theta, &[1.0 - 0.051, -2.0 - 0.098]);
    sgd.step(&mut theta, &grads[1]).unwrap();
    let v = [0.9 * 0.51 - 1.0 + 0.01 * 0.949, 0.9 * 0.98 + 0.25 + 0.01 * -2.098];
    near(&theta, &[0.949 - 0.1 * v[0], -2.098 - 0.1 * v[1]]);
}

#[test]
fn both_forms_of_momentum_follow_four_steps_worked_by_hand() {
    // μ = 1/2, η = 1/4, g = 1: v = 1, 3/2, 7/4, 15/8, and 1 + v/2 = 3/2, 7/4, 15/8, 31/16.
    let steps = [
        (false, [-0.25, -0.625, -1.0625, -1.53125]),
        (true, [-0.375, -0.8125, -1.28125, -1.765625]),
    ];
    for (nesterov, by_hand) in steps {
        let mut sgd = Sgd::new(0.25).unwrap().momentum(0.5).unwrap().nesterov(nesterov);
        let mut theta = array![0.0];
        for expected in by_hand {
            sgd.step(&mut theta, &array![1.0]).unwrap();
            assert_eq!(theta, array![expected]);
        }
    }
}

#[test]
fn adam_and_adamw_follow_their_equations() {
    for decoupled in [false, true] {
        let (rate, decay) = (0.1, 0.02);
        let adam = Adam::new(rate).unwrap().weight_decay(decay).unwrap();
        let mut adam = adam.betas(0.8, 0.95).unwrap().eps(1e-3).unwrap();
        let adam_w = AdamW::new(rate, decay).unwrap();
        let mut adam_w = adam_w.betas(0.8, 0.95).unwrap().eps(1e-3).unwrap();
        let mut theta = array![1.0, -2.0];
        let (mut expected, mut m, mut v) = ([1.0, -2.0], [0.0; 2], [0.0; 2]);
        for t in 1..=5 {
            let grad = array![0.3 * f64::from(t), -1.0 / f64::from(t)];
            if decoupled {
                adam_w.step(&mut theta, &grad).unwrap();
            } else {
                adam.step(&mut theta, &grad).unwrap();
            }
            for k in 0..2 {
                let mut d = grad[k];
                if decoupled {
                    expected[k] *= 1.0 - rate * decay;
                } else {
                    d += decay * expected[k];
                }
                m[k] = 0.8 * m[k] + 0.2 * d;
                v[k] = 0.95 * v[k] + 0.05 * d * d;
                let m_hat = m[k] / (1.0 - 0.8_f64.powi(t));
                let v_hat: f64 = v[k] / (1.0 - 0.95_f64.powi(t));
                expected[k] -= rate * m_hat / (v_hat.sqrt() + 1e-3);
            }
            near(&theta, &expected);
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_is_named_and_changes_nothing() {
    let start = (array![1.0, 2.0], array![3.0]);
    let good = (array![0.1, 0.2], array![0.3]);
    for bad in [f64::NAN, f64::INFINITY] {
        let (mut adam, mut sgd) =
            (Adam::new(0.1).unwrap(), Sgd::new(0.1).unwrap().momentum(0.5).unwrap());
        let (mut a, mut b) = (start.clone(), start.clone());
        adam.step(&mut a, &good).unwrap();
        sgd.step(&mut b, &good).unwrap();
        let poison = (array![0.1, 0.2], array![bad]);
        let (before_a, before_b) = (a.clone(), b.clone());
        let message = adam.step(&mut a, &poison).unwrap_err().to_string();
        assert!(message.starts_with("1.value: expected finite values"), "{message}");
        assert!(sgd.step(&mut b, &poison).is_err());
        assert_eq!((&a, &b), (&before_a, &before_b));

        // The next valid step is as if the failed one had not been.
        let (mut adam_2, mut sgd_2) =
            (Adam::new(0.1).unwrap(), Sgd::new(0.1).unwrap().momentum(0.5).unwrap());
        let (mut a_2, mut b_2) = (start.clone(), start.clone());
        for _ in 0..2 {
            adam_2.step(&mut a_2, &good).unwrap();
            sgd_2.step(&mut b_2, &good).unwrap();
        }
        adam.step(&mut a, &good).unwrap();
        sgd.step(&mut b, &good).unwrap();
        assert_eq!((a, b), (a_2, b_2));
    }
}

#[test]
fn a_bad_first_step_leaves_an_optimiser_as_new() {
    let (good, start) = (array![0.1, -0.2], array![1.0, 2.0]);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let optimiser = || AdamW::new(0.1, 0.01).unwrap();
        let (mut spoiled, mut clean) = (optimiser(), optimiser());
        let (mut a, mut b) = (start.clone(), start.clone());
        let message = spoiled.step(&mut a, &array![0.1, bad]).unwrap_err().to_string();
        assert_eq!(message, format!("value: expected finite values, got {bad} at flat index 1"));
        assert_eq!(a, start);
        for _ in 0..3 {
            spoiled.step(&mut a, &good).unwrap();
            clean.step(&mut b, &good).unwrap();
            assert_eq!(a, b);
        }
    }
}

#[test]
fn adam_refuses_a_gradient_whose_square_overflows_and_stays_as_it_was() {
    let (start, good) =
        ((array![1.0_f32], array![1e3_f32, 1.0]), (array![0.1_f32], array![0.1, 0.2]));
    let adam = || Adam::new(0.1).unwrap();
    let (mut tried, mut spared) = (adam(), adam());
    let (mut a, mut b) = (start.clone(), start.clone());
    tried.step(&mut a, &good).unwrap();
    spared.step(&mut b, &good).unwrap();
    let message = tried.step(&mut a, &(array![0.1], array![0.1, -1e20])).unwrap_err().to_string();
    let expected = "second moment of 1.value: expected finite values, got inf at flat index 1";
    assert_eq!(message, expected);
    assert_eq!(a, b);
    tried.step(&mut a, &good).unwrap();
    spared.step(&mut b, &good).unwrap();
    assert_eq!(a, b);

    // The weight decay counts: λ·θ = 1e20.
    let message = adam().weight_decay(1e17).unwrap().step(&mut a, &good).unwrap_err().to_string();
    assert_eq!(
        message,
        "second moment of 1.value: expected finite values, got inf at flat index 0"
    );
    // The gradient itself is reported first.
    let poison = (array![1e20], array![f32::NAN, 0.0]);
    let message = tried.step(&mut a, &poison).unwrap_err().to_string();
    assert_eq!(message, "1.value: expected finite values, got NaN at flat index 0");
    assert_eq!(a, b);
}

#[test]
fn the_largest_gradient_that_adam_takes_leaves_it_able_to_move() {
    let most = f32::MAX.sqrt() * (1.0 - f32::EPSILON);
    let (mut adam, mut theta) = (Adam::new(0.1).unwrap().betas(0.5, 0.5).unwrap(), array![0.0_f32]);
    for step in 1..=100 {
        let before = theta[0];
        adam.step(&mut theta, &array![most]).unwrap();
        assert!(theta[0] < before, "step {step}: {theta}");
    }
    assert!((theta[0] + 10.0).abs() < 1e-3, "{theta}");
}

#[test]
fn hyper_parameters_that_the_parameters_type_cannot_hold_are_refused_at_the_step() {
    let (start, grad) = (array![1.0_f32], array![0.0_f32]);
    let refused = |step: &mut Step<'_>, expected: &str| {
        let mut theta = start.clone();
        let message = step(&mut theta, &grad).unwrap_err().to_string();
        assert_eq!(theta, start);
        assert!(message.starts_with(expected), "{message}");
    };
    let message = "expected a value within the range of f32, got 1";
    let mut sgd = Sgd::new(1e39).unwrap();
    refused(&mut |theta, grad| sgd.step(theta, grad), &format!("learning_rate: {message}"));
    sgd.set_learning_rate(0.1).unwrap();
    sgd.step(&mut start.clone(), &grad).unwrap();
    let mut sgd = Sgd::new(0.1).unwrap().weight_decay(1e39).unwrap().momentum(0.9).unwrap();
    refused(&mut |theta, grad| sgd.step(theta, grad), &format!("weight_decay: {message}"));
    let mut adam = Adam::new(1e39).unwrap();
    refused(&mut |theta, grad| adam.step(theta, grad), &format!("learning_rate: {message}"));
    let mut adam = Adam::new(0.1).unwrap().eps(1e39).unwrap();
    refused(&mut |theta, grad| adam.step(theta, grad), &format!("eps: {message}"));
    let mut adam = AdamW::new(1e20, 1e20).unwrap();
    let expected = format!("learning_rate × weight_decay: {message}");
    refused(&mut |theta, grad| adam.step(theta, grad), &expected);
    // In f64 the same numbers are valid.
    Sgd::new(1e39).unwrap().step(&mut array![1.0_f64], &array![0.0]).unwrap();
}

#[test]
fn a_rate_can_be_changed_between_steps_and_a_bad_one_is_refused() {
    let (mut sgd, mut adam) = (Sgd::new(0.5).unwrap(), Adam::new(0.5).unwrap());
    let (mut a, mut b) = (array![0.0_f64], array![0.0_f64]);
    for (rate, expected) in [(0.5, -0.5), (0.25, -0.75)] {
        sgd.set_learning_rate(rate).unwrap();
        adam.set_learning_rate(rate).unwrap();
        sgd.step(&mut a, &array![1.0]).unwrap();
        adam.step(&mut b, &array![1.0]).unwrap();
        assert!((a[0] - expected).abs() < 1e-15, "{a}");
        assert!((b[0] - expected).abs() < 1e-7, "{b}");
    }
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let message = sgd.set_learning_rate(bad).unwrap_err().to_string();
        let expected = "learning_rate: expected a finite value, 0 ≤ learning_rate, got";
        assert_eq!(message, format!("{expected} {bad}"));
        assert!(adam.set_learning_rate(bad).is_err());
        assert_eq!((sgd.learning_rate(), adam.learning_rate()), (0.25, 0.25));
    }
}

/// A subnormal number would slow every later step. The large learning rate makes it visible.
#[test]
fn a_moment_that_fades_ends_in_zero_and_not_in_subnormal_numbers() {
    let (small, zero) = (array![3e-38_f32], array![0.0_f32]);
    let check = |step: &mut Step<'_>| {
        let mut theta = array![0.0_f32];
        step(&mut theta, &small).unwrap();
        assert!(theta[0] < -1e-3, "{theta}");
        step(&mut theta, &zero).unwrap();
        let after = theta.clone();
        (0..5).for_each(|_| step(&mut theta, &zero).unwrap());
        assert_eq!(theta, after);
    };
    let mut sgd = Sgd::new(1e37).unwrap().momentum(0.5).unwrap();
    check(&mut |theta, grad| sgd.step(theta, grad));
    let least = f64::from(f32::MIN_POSITIVE);
    let mut adam = Adam::new(0.1).unwrap().betas(0.5, 0.5).unwrap().eps(least).unwrap();
    check(&mut |theta, grad| adam.step(theta, grad));
}

fn random(len: usize, seed: u64) -> Array1<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array1::from_shape_simple_fn(len, || rng.random_range(-1.0..1.0))
}

/// Returns `theta` after three steps of `step` with the gradient `grad`.
fn stepped(
    theta: &Array1<f32>,
    grad: &Array1<f32>,
    mut step: impl FnMut(&mut Array1<f32>, &Array1<f32>) -> Result<()>,
) -> Array1<f32> {
    let mut theta = theta.clone();
    (0..3).for_each(|_| step(&mut theta, grad).unwrap());
    theta
}

#[test]
fn a_value_s_step_does_not_depend_on_where_it_stands() {
    let rules = |theta: &Array1<f32>, grad: &Array1<f32>| {
        let (sgd, adam) = (|| Sgd::new(0.1).unwrap(), || Adam::new(0.1).unwrap());
        let mut momentum = sgd().momentum(0.9).unwrap().weight_decay(0.1).unwrap();
        let mut nesterov = sgd().momentum(0.9).unwrap().nesterov(true);
        let (mut plain, mut decayed) = (sgd(), adam().weight_decay(0.1).unwrap());
        let (mut adam, mut decoupled) = (adam(), AdamW::new(0.1, 0.1).unwrap());
        [
            stepped(theta, grad, |theta, grad| plain.step(theta, grad)),
            stepped(theta, grad, |theta, grad| momentum.step(theta, grad)),
            stepped(theta, grad, |theta, grad| nesterov.step(theta, grad)),
            stepped(theta, grad, |theta, grad| adam.step(theta, grad)),
            stepped(theta, grad, |theta, grad| decayed.step(theta, grad)),
            stepped(theta, grad, |theta, grad| decoupled.step(theta, grad)),
        ]
    };
    for len in [1, 3, 7, 8, 16, 17, 31, 67] {
        let (theta, grad) = (random(len, 1), random(len, 2));
        let whole = rules(&theta, &grad);
        for i in 0..len {
            let single = rules(&array![theta[i]], &array![grad[i]]);
            for (rule, (whole, single)) in whole.iter().zip(&single).enumerate() {
                assert_eq!(whole[i].to_bits(), single[0].to_bits(), "rule {rule}, {i} of {len}");
            }
        }
    }
}

#[test]
fn a_gradient_in_column_order_steps_and_clips_as_one_in_row_order() {
    let rows = random(15, 1).into_shape_with_order((3, 5)).unwrap();
    let columns = rows.t().as_standard_layout().into_owned().reversed_axes();
    let run = |mut grad: Array2<f32>| {
        let mut theta = Array2::zeros((3, 5));
        let norm = clip_global_norm(&mut grad, 0.5).unwrap();
        Sgd::new(0.1).unwrap().step(&mut theta, &grad).unwrap();
        (norm, theta)
    };
    assert_eq!(run(rows), run(columns));
}

#[test]
fn a_gradient_of_another_shape_is_refused() {
    let (mut theta, grad) = (array![1.0, 2.0], array![1.0]);
    let message = Adam::new(0.1).unwrap().step(&mut theta, &grad).unwrap_err().to_string();
    assert_eq!(message, "grad: expected an array `value [2]`, got `value [1]`");
    assert_eq!(theta, array![1.0, 2.0]);
}

#[test]
fn clipping_scales_all_arrays_by_one_factor_and_only_above_the_bound() {
    let start = (array![3.0], array![0.0, 4.0]);
    let mut grad = start.clone();
    assert_eq!(clip_global_norm(&mut grad, 10.0).unwrap(), 5.0);
    assert_eq!(grad, start);
    assert_eq!(clip_global_norm(&mut grad, 1.0).unwrap(), 5.0);
    let factor = 1.0 / (5.0 + 1e-6);
    assert_eq!(grad, (array![3.0 * factor], array![0.0, 4.0 * factor]));
    // Squares that overflow, and squares that underflow.
    let mut large: Array1<f64> = array![1e200, 0.0];
    assert_eq!(clip_global_norm(&mut large, 1.0).unwrap(), 1e200);
    assert!((large[0] - 1.0).abs() < 1e-12);
    assert_eq!(clip_global_norm(&mut array![0.0, 0.0], 1.0).unwrap(), 0.0);
    let mut bad = (array![1.0], array![f64::NAN, 1.0]);
    let message = clip_global_norm(&mut bad, 0.1).unwrap_err().to_string();
    assert!(message.starts_with("1.value: expected finite values, got NaN"), "{message}");
    assert_eq!(bad.0, array![1.0]);
    assert!(clip_global_norm(&mut grad, -1.0).is_err());
}

#[test]
fn clipping_to_zero_gives_zero_and_bad_bounds_are_refused() {
    let mut grad = array![3.0, 4.0];
    clip_global_norm(&mut grad, 0.0).unwrap();
    assert_eq!(grad, array![0.0, 0.0]);
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let message = clip_global_norm(&mut array![1.0], bad).unwrap_err().to_string();
        assert_eq!(message, format!("max_norm: expected a finite value, 0 ≤ max_norm, got {bad}"));
    }
}

#[test]
fn a_norm_beyond_f64_is_an_error_and_leaves_the_gradient_as_it_was() {
    let start = (array![f64::MAX], array![1.0, -f64::MAX]);
    let mut grad = start.clone();
    let message = clip_global_norm(&mut grad, 1.0).unwrap_err().to_string();
    assert_eq!(message, "norm: expected finite values, got inf at flat index 0");
    assert_eq!(grad, start);
    // Just within the range.
    let mut grad = array![f64::MAX / 2.0, f64::MAX / 2.0];
    assert_eq!(clip_global_norm(&mut grad, 1.0).unwrap(), f64::MAX / 2.0 * 2_f64.sqrt());
    assert!((grad[0] - 0.5_f64.sqrt()).abs() < 1e-12, "{grad}");
}

#[test]
fn the_norm_of_any_length_and_magnitude_is_that_of_the_definition() {
    for len in [1, 2, 17, 1023, 1024, 1025, 5000] {
        for exponent in [-44, -38, -25, -20, -12, 0, 12, 18, 20, 37] {
            let mut grad = (random(len, 1), random(len / 2, 2));
            let mut squares = 0.0;
            grad.for_each_mut(&mut |_, mut array| {
                array.mapv_inplace(|g| (f64::from(g) * 10_f64.powi(exponent)) as f32);
                squares += array.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
            });
            let (norm, exact) = (clip_global_norm(&mut grad, 1e300).unwrap(), squares.sqrt());
            let error = (norm - exact).abs() / exact;
            assert!(error < 1e-6, "{len} values of 1e{exponent}: {norm}, not {exact}");
        }
    }
    // Small values beside a large one, and many equal values whose rounding errors have the same sign.
    let mut grad = Array1::from_elem(1 << 20, 1e-3_f32);
    grad[5] = 1e30;
    assert_eq!(clip_global_norm(&mut grad.clone(), 1e38).unwrap(), f64::from(1e30_f32));
    grad[5] = 1e-3;
    assert!((clip_global_norm(&mut grad, 1e38).unwrap() - 1.024).abs() < 1e-6);
}

#[test]
fn hyper_parameters_out_of_range_are_refused_by_name() {
    let message = |result: Result<Adam<Array1<f64>>>| result.unwrap_err().to_string();
    let adam = || Adam::<Array1<f64>>::new(0.1).unwrap();
    assert!(message(Adam::new(-1.0)).starts_with("learning_rate: expected a finite value"));
    assert!(message(Adam::new(f64::NAN)).starts_with("learning_rate"));
    assert!(message(adam().betas(1.0, 0.9)).starts_with("beta_1"));
    assert!(message(adam().betas(0.9, -0.1)).starts_with("beta_2"));
    assert!(message(adam().eps(f64::INFINITY)).starts_with("eps"));
    assert!(message(adam().eps(0.0)).starts_with("eps"));
    assert!(message(adam().weight_decay(-0.1)).starts_with("weight_decay"));
    assert!(Sgd::<Array1<f64>>::new(0.1).unwrap().momentum(1.0).is_err());
}

#[test]
fn each_rule_finds_the_minimum_of_a_quadratic() {
    let minimum = array![1.0, -3.0, 0.5];
    let descend = |step: &mut dyn FnMut(&mut Array1<f64>, &Array1<f64>)| {
        let mut theta = Array1::zeros(3);
        for _ in 0..2000 {
            let grad = &theta - &minimum;
            step(&mut theta, &grad);
        }
        (&theta - &minimum).mapv(f64::abs).sum()
    };
    let mut sgd = Sgd::new(0.05).unwrap().momentum(0.9).unwrap();
    assert!(descend(&mut |theta, grad| sgd.step(theta, grad).unwrap()) < 1e-9);
    let mut plain = Sgd::new(0.1).unwrap();
    assert!(descend(&mut |theta, grad| plain.step(theta, grad).unwrap()) < 1e-9);
    let mut adam = Adam::new(0.01).unwrap();
    assert!(descend(&mut |theta, grad| adam.step(theta, grad).unwrap()) < 1e-6);
    let mut adam_w = AdamW::new(0.01, 0.0).unwrap();
    assert!(descend(&mut |theta, grad| adam_w.step(theta, grad).unwrap()) < 1e-6);
}
