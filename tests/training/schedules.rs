//! Tests of learning-rate schedules and averages of weights against PyTorch, and of their saved states.

use ndarray::{Array2, Array3, IxDyn};
use recurrent::Result;
use recurrent::optim::schedule::{
    Constant, Cosine, CosineRestarts, Exponential, OneCycle, ReduceOnPlateau, Schedule, StepDecay,
    Warmup,
};
use recurrent::optim::{Adam, AdamW, Ema, Optimizer, OptimizerState, Sgd};

use crate::common::fixture::Fixture;

fn fixture(name: &str) -> Vec<f64> {
    Fixture::open("schedules").get::<IxDyn>(name).into_iter().collect()
}

fn agrees(name: &str, schedule: &mut dyn Schedule, losses: Option<&[f64]>) {
    for (step, &expected) in fixture(name).iter().enumerate() {
        let got = schedule.factor(step);
        assert!((got - expected).abs() < 1e-12, "{name} at {step}: {got}, not {expected}");
        losses.iter().for_each(|losses| schedule.observe(losses[step]));
    }
}

#[test]
fn schedules_agree_with_pytorch() {
    fn check() -> Result<()> {
        agrees("step", &mut StepDecay::new(7, 0.3)?, None);
        agrees("exponential", &mut Exponential::new(0.9)?, None);
        agrees("cosine", &mut Cosine::new(39)?.min_factor(0.05)?, None);
        agrees("restarts", &mut CosineRestarts::new(Cosine::new(6)?.min_factor(0.1)?, 2)?, None);
        agrees("restarts_alike", &mut CosineRestarts::new(Cosine::new(9)?, 1)?, None);
        agrees("one_cycle", &mut OneCycle::new(41)?, None);
        agrees("warmup", &mut Warmup::new(5, Cosine::new(35)?)?, None);
        let mut plateau = ReduceOnPlateau::default().gamma(0.5)?.patience(3).threshold(0.01)?;
        plateau = plateau.cooldown(2).min_factor(0.1)?;
        agrees("plateau", &mut plateau, Some(&fixture("losses")));
        assert!(plateau.factor(0) < 0.5, "the fixture has no plateau");
        Ok(())
    }
    check().unwrap();
}

#[test]
fn schedules_stay_finite_and_low_after_their_end() {
    let schedules: [Box<dyn Schedule>; 4] = [
        Box::new(Constant),
        Box::new(Cosine::new(1).unwrap()),
        Box::new(OneCycle::new(1).unwrap()),
        Box::new(CosineRestarts::new(Cosine::new(3).unwrap(), 3).unwrap()),
    ];
    for schedule in &schedules {
        for step in [0, 1, 2, 1000, usize::MAX / 2] {
            assert!((0.0..=1.0).contains(&schedule.factor(step)), "{step}");
        }
    }
    assert_eq!(Cosine::new(5).unwrap().min_factor(0.25).unwrap().factor(900), 0.25);
}

#[test]
fn a_plateau_goes_on_from_its_state() {
    let losses = fixture("losses");
    let mut whole = ReduceOnPlateau::default().patience(2).cooldown(1);
    for cut in 0..losses.len() {
        let mut rest = ReduceOnPlateau::default().patience(2).cooldown(1);
        rest.restore(&whole.state()).unwrap();
        let mut whole_on = whole;
        for &loss in &losses[cut..] {
            whole_on.observe(loss);
            rest.observe(loss);
            assert_eq!(whole_on.factor(0), rest.factor(0));
        }
        whole.observe(losses[cut]);
    }
    let before = whole.state();
    assert!(whole.restore(&[1.0]).is_err());
    assert_eq!(whole.state(), before);
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    fn refused<S>(result: Result<S>, name: &str) {
        let error = result.err().unwrap_or_else(|| panic!("{name} was taken")).to_string();
        assert!(error.starts_with(name), "{error}");
    }
    refused(StepDecay::new(0, 0.5), "step_size");
    refused(StepDecay::new(1, f64::NAN), "gamma");
    refused(Exponential::new(-1.0), "gamma");
    refused(Cosine::new(0), "steps");
    refused(CosineRestarts::new(Cosine::new(1).unwrap(), 0), "growth");
    refused(OneCycle::new(0), "steps");
    refused(OneCycle::new(9).unwrap().rise(1.0), "rise");
    refused(Warmup::new(0, Constant), "steps");
    refused(ReduceOnPlateau::default().gamma(1.0), "gamma");
    refused(Ema::<Array2<f64>>::new(1.0), "decay");
}

#[test]
fn a_moving_average_agrees_with_pytorch_and_refuses_other_shapes() {
    let bundles = |name| {
        let values = fixture(name);
        Array3::from_shape_vec((values.len() / 6, 2, 3), values).unwrap()
    };
    let (weights, averages) = (bundles("weights"), bundles("averages"));
    let mut ema = Ema::new(0.9).unwrap();
    for (weights, expected) in weights.outer_iter().zip(averages.outer_iter()) {
        ema.update(&weights.to_owned()).unwrap();
        let difference = ema.average().unwrap() - &expected;
        assert!(difference.iter().all(|d| d.abs() < 1e-15), "{difference}");
    }
    let before = ema.average().unwrap().clone();
    assert!(ema.update(&Array2::zeros((3, 2))).is_err());
    assert_eq!(ema.average(), Some(&before));
}

/// Compares five steps and five more from the saved state with ten steps without a break.
fn goes_on(make: &dyn Fn() -> Box<dyn Optimizer<Array2<f64>>>) {
    let grad = |theta: &Array2<f64>| theta.mapv(|value| value.powi(3) + 0.1);
    let steps = |optimizer: &mut dyn Optimizer<Array2<f64>>, theta: &mut Array2<f64>| {
        for _ in 0..5 {
            let grad = grad(theta);
            optimizer.step(theta, &grad).unwrap();
        }
    };
    let mut theta = Array2::from_shape_fn((3, 5), |(i, j)| (i * 5 + j) as f64 / 7.0 - 1.0);
    let mut whole = make();
    steps(&mut *whole, &mut theta);
    let (state, mut theta_again, mut again) = (whole.state(), theta.clone(), make());
    again.restore(state.clone()).unwrap();
    assert_eq!(again.state(), state);
    steps(&mut *whole, &mut theta);
    steps(&mut *again, &mut theta_again);
    assert_eq!(theta, theta_again);

    let broken = OptimizerState { scalars: Vec::new(), ..state };
    let before = again.state();
    assert!(again.restore(broken).is_err());
    assert_eq!(again.state(), before);
}

#[test]
fn an_optimiser_goes_on_from_its_state_bit_for_bit() {
    goes_on(&|| Box::new(Sgd::new(0.1).unwrap()));
    goes_on(&|| Box::new(Sgd::new(0.1).unwrap().momentum(0.9).unwrap().nesterov(true)));
    goes_on(&|| Box::new(Adam::new(0.1).unwrap().weight_decay(0.01).unwrap()));
    goes_on(&|| Box::new(AdamW::new(0.1, 0.01).unwrap()));
}
