//! Tests of optimisers, clipping and averages at the limits of their inputs: NaN and infinities, the ends
//! of ranges, saved states that no rule has.

use ndarray::{Array1, Array2, ShapeBuilder, array};
use recurrent::optim::{
    Adagrad, Adam, AdamW, Ema, Groups, NAdam, Optimizer, OptimizerState, RAdam, RmsProp, Sgd,
    clip_global_norm, clip_global_norm_of_type, clip_value, global_norm,
};
use recurrent::{Arrays, Result};

use crate::common::bits::bits;

type One = Array1<f64>;

fn rules() -> Vec<Box<dyn Optimizer<One>>> {
    vec![
        Box::new(Sgd::new(0.1).unwrap().momentum(0.9).unwrap()),
        Box::new(Adam::new(0.1).unwrap().amsgrad(true)),
        Box::new(AdamW::new(0.1, 0.1).unwrap()),
        Box::new(NAdam::new(0.1).unwrap()),
        Box::new(RAdam::new(0.1).unwrap()),
        Box::new(RmsProp::new(0.1).unwrap().centered(true)),
        Box::new(Adagrad::new(0.1).unwrap().rate_decay(0.1).unwrap()),
        Box::new(Groups::new(Adam::new(0.1).unwrap())),
    ]
}

#[test]
fn a_state_that_a_rule_cannot_have_is_refused_and_changes_nothing() {
    for mut rule in rules() {
        let mut theta = array![1.0, 2.0];
        rule.step(&mut theta, &array![0.1, -0.1]).unwrap();
        let (state, options) = (rule.state(), rule.options());
        let mut refused = |broken: OptimizerState<One>, start: &str| {
            let error = rule.restore(broken).unwrap_err().to_string();
            assert!(error.starts_with(start), "{options}: {error}");
            assert_eq!(rule.state(), state, "{options}");
        };
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for place in 0..state.scalars.len() {
                let mut broken = state.clone();
                broken.scalars[place] = bad;
                refused(broken, "state: expected finite scalars, got");
            }
            for place in 0..state.moments.len() {
                let mut broken = state.clone();
                broken.moments[place][1] = bad;
                refused(broken, &format!("moment of value: expected finite values, got {bad}"));
            }
        }
        let mut broken = state.clone();
        broken.scalars[0] = -1.0;
        refused(broken, "learning_rate: expected a finite value");
        for bad in [-1.0, 0.5, 1e300] {
            let mut broken = state.clone();
            let Some(steps) = broken.scalars.get_mut(1) else { continue };
            *steps = bad;
            refused(broken, "state: expected a number of steps, got");
        }
        let mut broken = state.clone();
        if let Some(product) = broken.scalars.get_mut(2) {
            *product = 1.5;
            refused(broken, "state: product of momenta: expected a value, 0 ≤");
        }
        let mut broken = state.clone();
        broken.moments.pop();
        broken.moments.push(array![0.0, 0.0]);
        broken.moments.push(array![0.0, 0.0]);
        refused(broken, "state: expected");
    }
}

#[test]
fn every_rule_stays_finite_at_the_last_step_that_it_counts() {
    for mut rule in rules() {
        let mut theta = array![1.0, 2.0];
        rule.step(&mut theta, &array![0.1, -0.1]).unwrap();
        let mut state = rule.state();
        if let Some(steps) = state.scalars.get_mut(1) {
            *steps = (1_u64 << 53) as f64;
        }
        rule.restore(state).unwrap();
        rule.step(&mut theta, &array![0.1, -0.1]).unwrap();
        rule.step(&mut theta, &array![0.1, -0.1]).unwrap();
        theta.check_finite().unwrap();
    }
}

#[test]
fn the_ends_of_the_betas_leave_every_rule_finite() {
    let ends = [0.0, 1e-300, 0.5, 0.6, 1.0 - 1e-7, 1.0 - f64::EPSILON / 2.0];
    let grads = [0.0, 1e-30, 1.0, -1e15, 0.0, 1.0];
    for beta_1 in ends {
        for beta_2 in ends {
            fn all<A>(one: f64, two: f64) -> Result<(Adam<A>, NAdam<A>, RAdam<A>)> {
                Ok((
                    Adam::new(0.1)?.betas(one, two)?,
                    NAdam::new(0.1)?.betas(one, two)?,
                    RAdam::new(0.1)?.betas(one, two)?,
                ))
            }
            let (mut adam, mut nadam, mut radam) = all(beta_1, beta_2).unwrap();
            let mut theta = [array![1.0_f64], array![1.0], array![1.0]];
            let (mut adam_32, mut nadam_32, mut radam_32) = all(beta_1, beta_2).unwrap();
            let mut theta_32 = [array![1.0_f32], array![1.0], array![1.0]];
            for grad in grads {
                adam.step(&mut theta[0], &array![grad]).unwrap();
                nadam.step(&mut theta[1], &array![grad]).unwrap();
                radam.step(&mut theta[2], &array![grad]).unwrap();
                adam_32.step(&mut theta_32[0], &array![grad as f32]).unwrap();
                nadam_32.step(&mut theta_32[1], &array![grad as f32]).unwrap();
                radam_32.step(&mut theta_32[2], &array![grad as f32]).unwrap();
            }
            let context = format!("{beta_1}, {beta_2}: {theta:?}, {theta_32:?}");
            assert!(theta.iter().all(|theta| theta[0].is_finite()), "{context}");
            assert!(theta_32.iter().all(|theta| theta[0].is_finite()), "{context}");
        }
    }
}

#[test]
fn weight_decay_that_makes_a_gradient_infinite_is_named_and_changes_nothing() {
    let start = (array![1.0_f32], array![0.0_f32, 1e30]);
    let grad = (array![0.1_f32], array![0.0_f32, 0.0]);
    for momentum in [0.0, 0.9] {
        let mut sgd = Sgd::new(0.1).unwrap().momentum(momentum).unwrap();
        sgd = sgd.weight_decay(1e10).unwrap();
        let mut theta = start.clone();
        let error = sgd.step(&mut theta, &grad).unwrap_err().to_string();
        let name = "gradient with weight decay of 1.value";
        assert_eq!(error, format!("{name}: expected finite values, got inf at flat index 1"));
        assert_eq!(theta, start);
        // A gradient that is not finite itself is named first.
        let poison = (array![f32::NAN], grad.1.clone());
        let error = sgd.step(&mut theta, &poison).unwrap_err().to_string();
        assert_eq!(error, "0.value: expected finite values, got NaN at flat index 0");
    }
}

#[test]
fn an_average_that_keeps_nothing_is_the_weights_and_one_of_equal_weights_does_not_move() {
    let weights = [1e20, 1.0, -1e-20, 0.1, f64::MAX, -f64::MAX, 0.0];
    for decay in [0.0, 1e-300, 0.3, 0.5, 0.9, 0.999, 1.0 - f64::EPSILON / 2.0] {
        let (mut ema, mut still) = (Ema::new(decay).unwrap(), Ema::new(decay).unwrap());
        for value in weights {
            ema.update(&array![value, -value]).unwrap();
            let average = ema.average().unwrap();
            average.check_finite().unwrap();
            if decay == 0.0 {
                assert_eq!(average, array![value, -value]);
            }
            still.update(&array![0.1, -1.0 / 3.0]).unwrap();
            assert_eq!(bits(still.average().unwrap()), bits(&array![0.1, -1.0 / 3.0]));
        }
    }
    for bad in [f64::NAN, f64::INFINITY, -0.1, 1.0, 1.5] {
        let error = Ema::<One>::new(bad).unwrap_err().to_string();
        assert_eq!(error, format!("decay: expected a finite value, 0 ≤ decay < 1, got {bad}"));
    }
}

#[test]
fn an_average_refuses_weights_that_are_not_finite_by_name_and_stays_as_it_was() {
    let good = (array![1.0], array![2.0, 3.0]);
    let mut ema = Ema::new(0.5).unwrap();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let poison = (array![1.0], array![2.0, bad]);
        let expected = format!("1.value: expected finite values, got {bad} at flat index 1");
        let mut fresh = Ema::new(0.5).unwrap();
        assert_eq!(fresh.update(&poison).unwrap_err().to_string(), expected);
        assert_eq!(fresh.average(), None);
        ema.update(&good).unwrap();
        assert_eq!(ema.update(&poison).unwrap_err().to_string(), expected);
        assert_eq!(ema.average(), Some(&good));
    }
}

/// Returns the p-norm of `values` from its definition, for values near 1.
fn by_definition(values: &[f64], p: f64) -> f64 {
    if p == f64::INFINITY {
        return values.iter().fold(0.0, |most, value| value.abs().max(most));
    }
    values.iter().map(|value| value.abs().powf(p)).sum::<f64>().powf(1.0 / p)
}

const ORDERS: [f64; 6] = [1.0, 1.5, 2.0, 3.0, 10.0, f64::INFINITY];

#[test]
fn norms_of_every_order_follow_their_definition_and_clipping_brings_them_to_the_bound() {
    let values: Vec<f64> = (0..3000).map(|i| (f64::from(i) * 0.7).sin() * 3.0).collect();
    for p in ORDERS {
        let grad = (Array1::from(values[..7].to_vec()), Array1::from(values[7..].to_vec()));
        let (norm, exact) = (global_norm(&grad, p).unwrap(), by_definition(&values, p));
        assert!((norm - exact).abs() < 1e-12 * exact, "{p}: {norm}, not {exact}");
        let mut clipped = grad.clone();
        assert_eq!(clip_global_norm_of_type(&mut clipped, norm * 2.0, p).unwrap(), norm);
        assert_eq!(clipped, grad);
        assert_eq!(clip_global_norm_of_type(&mut clipped, 0.5, p).unwrap(), norm);
        let after = global_norm(&clipped, p).unwrap();
        assert!(after <= 0.5 && after > 0.499, "{p}: {after}");
        let factor = 0.5 / (norm + 1e-6);
        assert_eq!(clipped.0, grad.0 * factor);
        // In f32, and in column order.
        let single = Array1::from_iter(values.iter().map(|&value| value as f32));
        assert!((global_norm(&single, p).unwrap() - exact).abs() < 1e-5 * exact);
        let rows = Array2::from_shape_vec((60, 50), values.clone()).unwrap();
        let mut columns = Array2::zeros((60, 50).f());
        columns.assign(&rows);
        assert_eq!(global_norm(&rows, p).unwrap(), global_norm(&columns, p).unwrap());
    }
    assert_eq!(global_norm(&array![1.0, -2.0, 4.0], 1.0).unwrap(), 7.0);
    let mut theirs = (array![3.0], array![4.0]);
    let mut ours = theirs.clone();
    assert_eq!(
        clip_global_norm(&mut theirs, 1.0).unwrap(),
        clip_global_norm_of_type(&mut ours, 1.0, 2.0).unwrap()
    );
    assert_eq!(ours, theirs);
}

#[test]
fn norms_are_exact_where_powers_overflow_or_underflow() {
    for p in ORDERS {
        for scale in [5e-324, 1e-300, 1e-160, 1e160, 1e300] {
            let norm = global_norm(&array![scale, 0.0], p).unwrap();
            assert!((norm - scale).abs() <= 1e-14 * scale, "{p}: {norm}, not {scale}");
        }
        let norm = global_norm(&array![3e-40_f32, 0.0], p).unwrap();
        assert!((norm - f64::from(3e-40_f32)).abs() < 1e-45, "{p}: {norm}");
    }
    assert_eq!(global_norm(&array![2.0, 2.0, 1.0], 1e300).unwrap(), 2.0);
}

#[test]
fn the_norm_of_nothing_is_zero_and_clipping_it_changes_nothing() {
    let nothing: [(Array1<f64>, Option<One>); 3] =
        [(array![], None), (array![0.0, -0.0], None), (array![], Some(array![0.0]))];
    for p in ORDERS {
        for start in &nothing {
            let mut grad = start.clone();
            assert_eq!(global_norm(&grad, p).unwrap(), 0.0);
            for max_norm in [0.0, 1.0, f64::MAX] {
                assert_eq!(clip_global_norm_of_type(&mut grad, max_norm, p).unwrap(), 0.0);
                assert_eq!(&grad, start);
            }
            clip_value(&mut grad, 0.0).unwrap();
            assert_eq!(&grad, start);
        }
        let mut grad = array![3.0, -4.0];
        clip_global_norm_of_type(&mut grad, 0.0, p).unwrap();
        assert_eq!(grad, array![0.0, 0.0]);
    }
}

#[test]
fn norms_and_clipping_name_the_gradient_that_is_not_finite() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for place in [0, 1, 1500, 2999] {
            // A NaN behind an infinity and in front of larger values.
            let mut second = Array1::from_elem(3000, 1.0);
            second[place] = bad;
            let start = (array![1e300], second);
            let expected =
                format!("1.value: expected finite values, got {bad} at flat index {place}");
            let mut grad = start.clone();
            for p in ORDERS {
                let errors = [
                    global_norm(&grad, p).unwrap_err(),
                    clip_global_norm_of_type(&mut grad, 1.0, p).unwrap_err(),
                    clip_global_norm(&mut grad, 0.0).unwrap_err(),
                    clip_value(&mut grad, 1.0).unwrap_err(),
                ];
                errors.iter().for_each(|error| assert_eq!(error.to_string(), expected));
                assert_eq!(bits(&grad), bits(&start));
            }
        }
    }
    // Both, in either order: the first is named.
    for values in [array![f64::NAN, f64::INFINITY], array![f64::INFINITY, f64::NAN]] {
        for p in ORDERS {
            let error = global_norm(&values, p).unwrap_err().to_string();
            assert!(error.ends_with("at flat index 0"), "{error}");
        }
    }
    let error = global_norm(&array![f64::MAX, f64::MAX], 1.0).unwrap_err().to_string();
    assert_eq!(error, "norm: expected finite values, got inf at flat index 0");
}

#[test]
fn orders_of_a_norm_that_are_none_are_refused_by_name() {
    for bad in [f64::NAN, 0.0, 0.5, -1.0, f64::NEG_INFINITY] {
        let mut grad = array![3.0, 4.0];
        let message = format!("norm_type: expected a value, 1 ≤ norm_type ≤ inf, got {bad}");
        assert_eq!(global_norm(&grad, bad).unwrap_err().to_string(), message);
        let error = clip_global_norm_of_type(&mut grad, 1.0, bad).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(grad, array![3.0, 4.0]);
    }
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let error = clip_global_norm_of_type(&mut array![1.0], bad, 1.0).unwrap_err().to_string();
        assert!(error.starts_with("max_norm"), "{error}");
        assert!(clip_value(&mut array![1.0], bad).unwrap_err().to_string().starts_with("limit"));
    }
}

#[test]
fn a_large_gradient_is_clipped_to_a_small_norm_and_not_to_zero() {
    // The factor 1e-46 lies below the range of f32, 1e-310 below the normal numbers of f64.
    let mut grad = array![3e37_f32, -4e37];
    clip_global_norm(&mut grad, 1e-8).unwrap();
    assert!((grad[0] / 6e-9 - 1.0).abs() < 1e-5 && (grad[1] / -8e-9 - 1.0).abs() < 1e-5, "{grad}");
    let mut grad = array![3e305_f64, -4e305];
    clip_global_norm(&mut grad, 1e-20).unwrap(); // by 2e-326, which is zero
    assert!((grad[0] / 6e-21 - 1.0).abs() < 1e-12 && (grad[1] / -8e-21 - 1.0).abs() < 1e-12);
    let mut grad = array![3e307_f64, -4e307];
    clip_global_norm(&mut grad, 1e-5).unwrap();
    assert!(
        (grad[0] / 6e-6 - 1.0).abs() < 1e-12 && (grad[1] / -8e-6 - 1.0).abs() < 1e-12,
        "{grad}"
    );
}
