//! Optimisers: trajectories worked out by hand, refusals that change nothing, clipping.

use ndarray::{Array1, array};
use recurrent::Arrays;
use recurrent::optim::{Adam, Sgd, clip_global_norm};

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
fn adam_and_adamw_follow_their_equations() {
    for decoupled in [false, true] {
        let (rate, decay) = (0.1, 0.02);
        let mut adam = if decoupled {
            Adam::decoupled(rate, decay).unwrap()
        } else {
            Adam::new(rate).unwrap().weight_decay(decay).unwrap()
        };
        adam = adam.betas(0.8, 0.95).unwrap().eps(1e-3).unwrap();
        let mut theta = array![1.0, -2.0];
        let (mut expected, mut m, mut v) = ([1.0, -2.0], [0.0; 2], [0.0; 2]);
        for t in 1..=5 {
            let grad = array![0.3 * f64::from(t), -1.0 / f64::from(t)];
            adam.step(&mut theta, &grad).unwrap();
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

        // The next good step is what it would have been.
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
    // Squares that overflow and squares that vanish.
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
fn hyper_parameters_out_of_range_are_refused_by_name() {
    let message = |result: recurrent::Result<Adam<Array1<f64>>>| result.unwrap_err().to_string();
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
    let mut adam = Adam::new(0.01).unwrap();
    assert!(descend(&mut |theta, grad| adam.step(theta, grad).unwrap()) < 1e-6);
    assert_eq!(minimum.count(), 3);
}
