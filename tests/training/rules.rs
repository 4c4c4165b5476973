//! Tests of the rules of optimisers over twenty steps, against PyTorch in f64.

use ndarray::{Array2, Array3, IxDyn, ShapeBuilder, array};
use recurrent::Result;
use recurrent::optim::{
    Adadelta, Adagrad, Adam, AdamW, NAdam, Optimizer, OptimizerState, RAdam, RmsProp, Sgd,
};

use crate::common::fixture::Fixture;

type Rule = Box<dyn Optimizer<Array2<f64>>>;

/// Returns a tensor of the fixture, with a matrix for each step.
fn fixture(name: &str) -> Array3<f64> {
    let values: Vec<f64> = Fixture::open("rules").get::<IxDyn>(name).into_iter().collect();
    Array3::from_shape_vec((values.len() / 35, 5, 7), values).unwrap()
}

fn rules() -> Result<Vec<(&'static str, Rule)>> {
    let adadelta = Adadelta::new(0.5)?.decay(0.8)?.eps(1e-4)?.weight_decay(0.05)?;
    let adagrad = Adagrad::new(0.2)?.rate_decay(0.1)?.weight_decay(0.05)?.eps(1e-6)?;
    let rmsprop = RmsProp::new(0.02)?.decay(0.9)?.eps(1e-6)?.momentum(0.8)?;
    let nadam = NAdam::new(0.02)?.betas(0.8, 0.95)?.eps(1e-6)?.weight_decay(0.05)?;
    let radam = RAdam::new(0.02)?.betas(0.8, 0.9)?.eps(1e-6)?.weight_decay(0.05)?;
    let nesterov = Sgd::new(0.1)?.momentum(0.9)?.nesterov(true).weight_decay(0.05)?;
    Ok(vec![
        ("rmsprop", Box::new(RmsProp::new(0.01)?)),
        ("rmsprop.options", Box::new(rmsprop.weight_decay(0.05)?)),
        ("adagrad", Box::new(Adagrad::new(0.1)?)),
        ("adagrad.options", Box::new(adagrad)),
        ("adadelta", Box::new(Adadelta::new(1.0)?)),
        ("adadelta.options", Box::new(adadelta)),
        ("sgd.nesterov", Box::new(nesterov)),
        ("adam", Box::new(Adam::new(0.01)?.weight_decay(0.05)?)),
        ("adamw", Box::new(AdamW::new(0.01, 0.05)?)),
        ("amsgrad", Box::new(Adam::new(0.01)?.amsgrad(true).betas(0.9, 0.8)?)),
        ("nadam", Box::new(NAdam::new(0.01)?)),
        ("nadam.options", Box::new(nadam)),
        ("radam", Box::new(RAdam::new(0.01)?)),
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
    let mut rule = Adagrad::new(1.0).unwrap();
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
    fn refused<R>(result: Result<R>, name: &str) {
        let error = result.err().unwrap_or_else(|| panic!("{name} was taken")).to_string();
        assert!(error.starts_with(name), "{error}");
    }
    let rule = || RmsProp::<Array2<f64>>::new(0.1).unwrap();
    refused(RmsProp::<Array2<f64>>::new(-1.0), "learning_rate");
    refused(Adagrad::<Array2<f64>>::new(f64::NAN), "learning_rate");
    refused(Adadelta::<Array2<f64>>::new(f64::INFINITY), "learning_rate");
    refused(rule().decay(1.0), "decay");
    refused(rule().momentum(1.0), "momentum");
    refused(rule().eps(0.0), "eps");
    refused(rule().weight_decay(-0.1), "weight_decay");
    refused(Adagrad::<Array2<f64>>::new(0.1).unwrap().rate_decay(-0.1), "rate_decay");
}

#[test]
fn amsgrad_can_be_switched_on_and_off_between_steps() {
    let (mut theta, grad) = (array![[1.0_f64, -2.0]], array![[0.5, 0.25]]);
    let mut rule = Adam::new(0.01).unwrap();
    for (amsgrad, moments) in [(false, 2), (true, 3), (false, 2)] {
        rule = rule.amsgrad(amsgrad);
        rule.step(&mut theta, &grad).unwrap();
        assert_eq!(Optimizer::<Array2<f64>>::state(&rule).moments.len(), moments);
    }
}

#[test]
fn moments_in_another_layout_are_refused_and_nothing_changes() {
    let (mut theta, grad) = (array![[1.0, 2.0], [3.0, 4.0]], array![[0.1, 0.2], [0.3, 0.4]]);
    let mut rule = Adam::new(0.1).unwrap();
    rule.step(&mut theta, &grad).unwrap();
    let before = theta.clone();
    let OptimizerState { scalars, mut moments } = rule.state();
    moments[1] = Array2::from_shape_vec((2, 2).f(), vec![0.1; 4]).unwrap(); // column-major
    rule.restore(OptimizerState { scalars, moments }).unwrap();
    let error = rule.step(&mut theta, &grad).unwrap_err().to_string();
    assert!(error.starts_with("moment of value: expected an array in standard layout"), "{error}");
    assert_eq!(theta, before);
}
