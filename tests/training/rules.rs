//! The optimisers' rules over twenty steps, against PyTorch in f64.

use ndarray::{Array2, Array3, IxDyn, array};
use recurrent::Result;
use recurrent::optim::{Adam, Adaptive, Optimizer, Sgd};

use crate::common::fixture::Fixture;

type Rule = Box<dyn Optimizer<Array2<f64>>>;

/// A tensor of the fixture, as a matrix per step.
fn fixture(name: &str) -> Array3<f64> {
    let values: Vec<f64> = Fixture::open("rules").get::<IxDyn>(name).into_iter().collect();
    Array3::from_shape_vec((values.len() / 35, 5, 7), values).unwrap()
}

fn rules() -> Result<Vec<(&'static str, Rule)>> {
    let adadelta = Adaptive::adadelta(0.5)?.decay(0.8)?.eps(1e-4)?.weight_decay(0.05)?;
    let adagrad = Adaptive::adagrad(0.2)?.rate_decay(0.1)?.weight_decay(0.05)?.eps(1e-6)?;
    let rmsprop = Adaptive::rmsprop(0.02)?.decay(0.9)?.eps(1e-6)?.momentum(0.8)?;
    let nadam = Adam::nadam(0.02)?.betas(0.8, 0.95)?.eps(1e-6)?.weight_decay(0.05)?;
    let radam = Adam::radam(0.02)?.betas(0.8, 0.9)?.eps(1e-6)?.weight_decay(0.05)?;
    let nesterov = Sgd::new(0.1)?.momentum(0.9)?.nesterov(true).weight_decay(0.05)?;
    Ok(vec![
        ("rmsprop", Box::new(Adaptive::rmsprop(0.01)?)),
        ("rmsprop.options", Box::new(rmsprop.weight_decay(0.05)?)),
        ("adagrad", Box::new(Adaptive::adagrad(0.1)?)),
        ("adagrad.options", Box::new(adagrad)),
        ("adadelta", Box::new(Adaptive::adadelta(1.0)?)),
        ("adadelta.options", Box::new(adadelta)),
        ("sgd.nesterov", Box::new(nesterov)),
        ("adam", Box::new(Adam::new(0.01)?.weight_decay(0.05)?)),
        ("adamw", Box::new(Adam::decoupled(0.01, 0.05)?)),
        ("amsgrad", Box::new(Adam::amsgrad(0.01)?.betas(0.9, 0.8)?)),
        ("nadam", Box::new(Adam::nadam(0.01)?)),
        ("nadam.options", Box::new(nadam)),
        ("radam", Box::new(Adam::radam(0.01)?)),
        ("radam.options", Box::new(radam)),
    ])
}

#[test]
fn twenty_steps_agree_with_pytorch() {
    let (start, grads) = (fixture("start"), fixture("grads"));
    for (name, mut rule) in rules().unwrap() {
        let mut theta = start.index_axis(ndarray::Axis(0), 0).to_owned();
        for (step, (grad, expected)) in
            grads.outer_iter().zip(fixture(name).outer_iter()).enumerate()
        {
            rule.step(&mut theta, &grad.to_owned()).unwrap();
            let worst = (&theta - &expected).fold(0.0_f64, |worst, d| worst.max(d.abs()));
            assert!(worst < 1e-12, "{name}, step {step}: {worst:e}");
        }
    }
}

#[test]
fn each_rule_goes_on_from_its_state_bit_for_bit() {
    let (start, grads) = (fixture("start"), fixture("grads"));
    for ((name, mut whole), (_, mut rest)) in rules().unwrap().into_iter().zip(rules().unwrap()) {
        let mut theta = start.index_axis(ndarray::Axis(0), 0).to_owned();
        let mut theta_rest = theta.clone();
        for (step, grad) in grads.outer_iter().enumerate() {
            if step == 7 {
                rest.restore(whole.state()).unwrap();
                theta_rest.assign(&theta);
            }
            whole.step(&mut theta, &grad.to_owned()).unwrap();
            if step >= 7 {
                rest.step(&mut theta_rest, &grad.to_owned()).unwrap();
                assert_eq!(theta, theta_rest, "{name}, step {step}");
            }
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_or_whose_square_is_not_is_named_and_changes_nothing() {
    for (name, mut rule) in rules().unwrap() {
        let mut theta = array![[1.0, 2.0]];
        rule.step(&mut theta, &array![[0.1, -0.1]]).unwrap();
        let (before, state) = (theta.clone(), rule.state());
        for bad in [f64::NAN, f64::INFINITY, -1e200] {
            if name.starts_with("sgd") && bad.is_finite() {
                continue;
            }
            let error = rule.step(&mut theta, &array![[0.1, bad]]).unwrap_err().to_string();
            assert!(error.contains("value") && error.contains("index 1"), "{name}: {error}");
            assert_eq!((&theta, &rule.state()), (&before, &state), "{name}");
        }
    }
}

#[test]
fn a_sum_of_squares_stays_finite_and_its_value_can_still_move() {
    let (mut theta, most) = (array![[0.0_f32]], f32::MAX.sqrt() * 0.99);
    let mut rule = Adaptive::adagrad(1.0).unwrap();
    for _ in 0..20 {
        let before = theta[[0, 0]];
        rule.step(&mut theta, &array![[most]]).unwrap();
        assert!(theta[[0, 0]] < before - 0.5);
    }
    let state = Optimizer::<Array2<f32>>::state(&rule);
    assert!(state.moments[0][[0, 0]].is_finite());
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    fn refused(result: Result<Adaptive<Array2<f64>>>, name: &str) {
        let error = result.err().unwrap_or_else(|| panic!("{name} was taken")).to_string();
        assert!(error.starts_with(name), "{error}");
    }
    let rule = || Adaptive::rmsprop(0.1).unwrap();
    refused(Adaptive::rmsprop(-1.0), "learning_rate");
    refused(Adaptive::adagrad(f64::NAN), "learning_rate");
    refused(Adaptive::adadelta(f64::INFINITY), "learning_rate");
    refused(rule().decay(1.0), "decay");
    refused(rule().momentum(1.0), "momentum");
    refused(rule().eps(0.0), "eps");
    refused(rule().weight_decay(-0.1), "weight_decay");
    refused(rule().rate_decay(-0.1), "rate_decay");
}
