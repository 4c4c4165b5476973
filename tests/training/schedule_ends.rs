//! Tests of schedules at their ends, with one step, with options at the limits, and of the options of
//! further schedules, against PyTorch.

use ndarray::IxDyn;
use recurrent::Result;
use recurrent::optim::schedule::{
    Anneal, Constant, Cosine, CosineRestarts, Exponential, LinearRamp, Mode, MultiStep, OneCycle,
    Polynomial, ReduceOnPlateau, Schedule, StepDecay, ThresholdMode, Warmup,
};

use crate::common::fixture::Fixture;

fn near(got: f64, expected: f64) {
    assert!((got - expected).abs() <= 1e-12, "{got}, not {expected}");
}

#[test]
fn a_cycle_whose_increase_is_one_step_begins_at_the_top_and_only_falls() {
    for (steps, rise) in [(10, 0.1), (5, 0.2), (2, 0.5), (100, 0.01), (3, 1.0 / 3.0), (50, 0.02)] {
        for anneal in [Anneal::Cosine, Anneal::Linear] {
            let cycle = OneCycle::new(steps).unwrap().rise(rise).unwrap().anneal_strategy(anneal);
            assert_eq!(cycle.factor(0), 1.0, "{steps} steps, rise {rise}");
            let factors: Vec<f64> = (0..steps).map(|step| cycle.factor(step)).collect();
            assert!(factors.windows(2).all(|pair| pair[1] < pair[0]), "{factors:?}");
            near(factors[steps - 1], 4e-6);
        }
    }
    // At step 1 of 10, a ninth of the half cosine from 1 to 4·10⁻⁶.
    let falling = (1.0 + (std::f64::consts::PI / 9.0).cos()) / 2.0;
    near(OneCycle::new(10).unwrap().rise(0.1).unwrap().factor(1), 4e-6 + (1.0 - 4e-6) * falling);
    // 7 · 0.14285714285714288 is greater than 1 by a rounding error.
    let seventh = f64::from_bits((1.0_f64 / 7.0).to_bits() + 1);
    assert!(7.0 * seventh > 1.0);
    assert_eq!(OneCycle::new(7).unwrap().rise(seventh).unwrap().factor(0), 1.0);
}

#[test]
fn every_cycle_is_finite_and_between_its_ends_at_every_step() {
    fn check(steps: usize, rise: f64, three_phase: bool, anneal: Anneal) -> Result<()> {
        let cycle = OneCycle::new(steps)?.rise(rise)?.three_phase(three_phase)?;
        let (cycle, last) = (cycle.anneal_strategy(anneal), steps - 1);
        for step in (0..=steps.min(100)).chain([last, steps, usize::MAX]) {
            let factor = cycle.factor(step);
            assert!((4e-6 - 1e-18..=1.0).contains(&factor), "{cycle:?}, step {step}: {factor}");
        }
        if rise * steps as f64 > 1.0 {
            near(cycle.factor(0), 0.04);
        }
        near(cycle.factor(if rise < 0.99 { last } else { steps }), 4e-6);
        Ok(())
    }
    for steps in [1, 2, 3, 5, 7, 10, 100, 1 << 50] {
        for rise in [0.0, 1e-300, 0.01, 0.1, 1.0 / 3.0, 0.5] {
            check(steps, rise, false, Anneal::Cosine).unwrap();
            check(steps, rise, true, Anneal::Cosine).unwrap();
            check(steps, rise, true, Anneal::Linear).unwrap();
        }
        for rise in [0.51, 0.9, 1.0 - f64::EPSILON / 2.0] {
            check(steps, rise, false, Anneal::Linear).unwrap();
        }
    }
}

#[test]
fn every_schedule_is_finite_and_not_negative_at_every_end_of_its_range() {
    fn check() -> Result<()> {
        let (most, huge) = (f64::MAX, usize::MAX);
        let schedules: Vec<Box<dyn Schedule>> = vec![
            Box::new(Constant),
            Box::new(StepDecay::new(1, 0.0)?),
            Box::new(StepDecay::new(1, most)?),
            Box::new(StepDecay::new(huge, 0.5)?),
            Box::new(MultiStep::new([], 0.5)?),
            Box::new(MultiStep::new([0, huge, 0], most)?),
            Box::new(Exponential::new(0.0)?),
            Box::new(Exponential::new(1.1)?),
            Box::new(Exponential::new(most)?),
            Box::new(Cosine::new(1)?),
            Box::new(Cosine::new(huge)?.min_factor(1e308)?),
            Box::new(CosineRestarts::new(Cosine::new(1)?, 1)?),
            Box::new(CosineRestarts::new(Cosine::new(1)?, 2)?),
            Box::new(CosineRestarts::new(Cosine::new(huge)?, huge)?),
            Box::new(LinearRamp::new(0.0, 0.0, 1)?),
            Box::new(LinearRamp::new(1e308, 0.0, huge)?),
            Box::new(Polynomial::new(1, 0.0)?),
            Box::new(Polynomial::new(1, most)?),
            Box::new(Polynomial::new(huge, 1.0)?.min_factor(1e308)?),
            Box::new(Warmup::new(1, Constant)?),
            Box::new(Warmup::new(huge, Cosine::new(1)?)?),
            Box::new(OneCycle::new(1)?.divisors(most, most)?),
            Box::new(OneCycle::new(huge)?.divisors(1.0, 1.0)?),
            Box::new(ReduceOnPlateau::default()),
        ];
        for schedule in &schedules {
            for step in [0, 1, 2, 3, 1000, huge / 2, huge - 1, huge] {
                let factor = schedule.factor(step);
                assert!(factor.is_finite() && factor >= 0.0, "{}: {factor}", schedule.options());
            }
        }
        Ok(())
    }
    check().unwrap();
}

#[test]
fn a_decay_begins_at_one_and_ends_at_its_smallest_value_without_rounding() {
    for min in [0.0, 0.1, 1.0 / 3.0, 1e-300, 0.7, 1.0, 1e300] {
        let cosine = Cosine::new(3).unwrap().min_factor(min).unwrap();
        let polynomial = Polynomial::new(3, 1.3).unwrap().min_factor(min).unwrap();
        assert_eq!(
            [cosine.factor(0), cosine.factor(3), cosine.factor(usize::MAX)],
            [1.0, min, min]
        );
        assert_eq!(
            [polynomial.factor(0), polynomial.factor(3), polynomial.factor(9)],
            [1.0, min, min]
        );
        let line = LinearRamp::new(min, 0.9, 7).unwrap();
        assert_eq!([line.factor(0), line.factor(7), line.factor(usize::MAX)], [min, 0.9, 0.9]);
    }
}

fn fixture(name: &str) -> Vec<f64> {
    Fixture::open("schedules_options").get::<IxDyn>(name).into_iter().collect()
}

#[test]
fn further_schedules_agree_with_pytorch() {
    fn check() -> Result<()> {
        let cycle = || OneCycle::new(40);
        let schedules: Vec<(&str, Box<dyn Schedule>)> = vec![
            ("multi_step", Box::new(MultiStep::new([30, 0, 7, 7], 0.3)?)),
            ("polynomial", Box::new(Polynomial::new(30, 1.7)?)),
            ("linear", Box::new(LinearRamp::new(0.2, 0.9, 30)?)),
            (
                "one_cycle.three_phase",
                Box::new(cycle()?.rise(0.33)?.divisors(10.0, 1e4)?.three_phase(true)?),
            ),
            (
                "one_cycle.linear",
                Box::new(cycle()?.rise(0.4)?.divisors(25.0, 50.0)?.anneal_strategy(Anneal::Linear)),
            ),
            (
                "one_cycle.three_phase_linear",
                Box::new(cycle()?.rise(0.5)?.three_phase(true)?.anneal_strategy(Anneal::Linear)),
            ),
        ];
        for (name, schedule) in schedules {
            for (step, expected) in fixture(name).into_iter().enumerate() {
                let got = schedule.factor(step);
                assert!((got - expected).abs() < 1e-12, "{name} at {step}: {got}, not {expected}");
            }
        }
        Ok(())
    }
    check().unwrap();
}

fn plateau() -> ReduceOnPlateau {
    let plateau = ReduceOnPlateau::default().gamma(0.5).unwrap().patience(3);
    plateau.cooldown(2).min_factor(0.1).unwrap()
}

#[test]
fn plateaus_of_scores_and_of_differences_agree_with_pytorch() {
    let (scores, abs) = (fixture("scores"), ThresholdMode::Abs);
    let losses: Vec<f64> = Fixture::open("schedules").get::<IxDyn>("losses").into_iter().collect();
    let with = |threshold| plateau().threshold(threshold).unwrap();
    for (name, values, mut schedule) in [
        ("plateau.max", &scores, with(1e-3).mode(Mode::Max)),
        ("plateau.max_abs", &scores, with(0.5).mode(Mode::Max).threshold_mode(abs)),
        ("plateau.min_abs", &losses, with(0.02).threshold_mode(abs)),
    ] {
        for (step, expected) in fixture(name).into_iter().enumerate() {
            assert_eq!(schedule.factor(step), expected, "{name} at {step}");
            schedule.observe(values[step]);
        }
        assert_eq!(schedule.factor(0), 0.1, "{name}: the fixture has no plateau");
    }
}

#[test]
fn a_negative_loss_that_rises_is_no_improvement_and_one_that_falls_enough_is() {
    for (next, improves) in [(-0.95, false), (-1.0, false), (-1.05, false), (-1.2, true)] {
        for (mode, sign) in [(Mode::Min, 1.0), (Mode::Max, -1.0)] {
            let mut schedule = ReduceOnPlateau::default().patience(0).mode(mode);
            schedule = schedule.threshold(0.1).unwrap();
            schedule.observe(-sign);
            schedule.observe(sign * next);
            assert_eq!(schedule.factor(2) == 1.0, improves, "{next} {mode:?}");
        }
    }
}

#[test]
fn the_first_value_improves_whatever_the_threshold_and_nan_never_does() {
    for mode in [Mode::Min, Mode::Max] {
        for threshold_mode in [ThresholdMode::Rel, ThresholdMode::Abs] {
            for threshold in [0.0, 1.0, 3.0, f64::MAX] {
                let schedule = ReduceOnPlateau::default().patience(0).mode(mode);
                let schedule = schedule.threshold(threshold).unwrap();
                let fresh = schedule.threshold_mode(threshold_mode);
                for first in [0.0, -5.0, 5.0, f64::MAX, -f64::MAX] {
                    let mut schedule = fresh;
                    schedule.observe(first);
                    assert_eq!(schedule.factor(1), 1.0, "{first} {mode:?} {threshold}");
                    schedule.observe(first);
                    assert_eq!(schedule.factor(2), 0.1, "{first} {mode:?} {threshold}");
                }
                let mut schedule = fresh;
                schedule.observe(f64::NAN);
                assert_eq!(schedule.factor(1), 0.1);
            }
        }
    }
}

#[test]
fn a_plateau_refuses_a_state_that_it_cannot_have() {
    let mut schedule = ReduceOnPlateau::default().cooldown(usize::MAX).patience(0);
    (0..3).for_each(|_| schedule.observe(1.0));
    let state = schedule.state();
    let mut again = ReduceOnPlateau::default();
    again.restore(&state).unwrap();
    assert_eq!(again.state(), state);
    for (place, bad) in [
        (0, f64::NAN),
        (0, 1.5),
        (0, -0.1),
        (1, f64::NAN),
        (2, -1.0),
        (2, 0.5),
        (2, f64::NAN),
        (3, f64::INFINITY),
    ] {
        let mut broken = state.clone();
        broken[place] = bad;
        let error = again.restore(&broken).unwrap_err().to_string();
        assert!(error.starts_with("state") && error.ends_with(&format!("got {bad}")), "{error}");
        assert_eq!(again.state(), state);
    }
}

#[test]
fn options_of_further_schedules_out_of_range_are_refused_by_name() {
    fn refused<S>(result: Result<S>, name: &str) {
        let error = result.err().unwrap_or_else(|| panic!("{name} was taken")).to_string();
        assert!(error.starts_with(name), "{error}");
    }
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.5] {
        let (cycle, plateau) = (|| OneCycle::new(9).unwrap(), ReduceOnPlateau::default);
        refused(StepDecay::new(1, bad), "gamma");
        refused(MultiStep::new([3], bad), "gamma");
        refused(Exponential::new(bad), "gamma");
        refused(Cosine::new(3).unwrap().min_factor(bad), "min_factor");
        refused(Polynomial::new(3, bad), "power");
        refused(Polynomial::new(3, 1.0).unwrap().min_factor(bad), "min_factor");
        refused(LinearRamp::new(bad, 1.0, 3), "start_factor");
        refused(LinearRamp::new(1.0, bad, 3), "end_factor");
        refused(cycle().rise(bad), "rise");
        refused(cycle().divisors(bad, 1.0), "first");
        refused(cycle().divisors(1.0, bad), "last");
        refused(plateau().gamma(bad), "gamma");
        refused(plateau().threshold(bad), "threshold");
        refused(plateau().min_factor(bad), "min_factor");
    }
    refused(Polynomial::new(0, 1.0), "steps");
    refused(LinearRamp::new(0.0, 1.0, 0), "steps");
    // A larger smallest factor would raise the rate on a plateau.
    refused(ReduceOnPlateau::default().min_factor(1.5), "min_factor");
    let three = || OneCycle::new(9).unwrap().three_phase(true).unwrap();
    refused(three().rise(0.6), "rise");
    refused(OneCycle::new(9).unwrap().rise(0.6).unwrap().three_phase(true), "rise");
    three().rise(0.5).unwrap();
}

#[test]
fn schedules_of_other_options_say_so() {
    fn check() -> Result<()> {
        let cycle = || OneCycle::new(9);
        let options = [
            MultiStep::new([3], 0.5)?.options(),
            MultiStep::new([3, 3], 0.5)?.options(),
            MultiStep::new([3], 0.6)?.options(),
            Polynomial::new(3, 1.0)?.options(),
            Polynomial::new(3, 2.0)?.options(),
            Polynomial::new(3, 2.0)?.min_factor(0.5)?.options(),
            LinearRamp::new(0.0, 1.0, 3)?.options(),
            LinearRamp::new(0.5, 1.0, 3)?.options(),
            LinearRamp::new(0.5, 0.6, 3)?.options(),
            cycle()?.options(),
            cycle()?.three_phase(true)?.options(),
            cycle()?.anneal_strategy(Anneal::Linear).options(),
            plateau().options(),
            plateau().mode(Mode::Max).options(),
            plateau().threshold_mode(ThresholdMode::Abs).options(),
        ];
        for (i, option) in options.iter().enumerate() {
            assert!(!options[..i].contains(option), "{option}");
        }
        Ok(())
    }
    check().unwrap();
}
