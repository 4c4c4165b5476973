//! Tests of the options of optimisers against PyTorch, of the weight decay of groups, and of saved states.

use ndarray::{Array1, Array2, Array3, IxDyn, array, s};
use recurrent::optim::{
    Adadelta, Adagrad, Adam, AdamW, Groups, NAdam, Optimizer, OptimizerState, RAdam, RmsProp, Sgd,
};
use recurrent::{Arrays, Result};

use crate::common::bits::bits;
use crate::common::fixture::Fixture;

type Rule<A> = Box<dyn Optimizer<A>>;
type Rules<A> = Vec<(&'static str, Rule<A>)>;

/// Returns a tensor of the fixture, with a matrix for each step.
fn fixture(name: &str) -> Array3<f64> {
    let values: Vec<f64> = Fixture::open("rules_options").get::<IxDyn>(name).into_iter().collect();
    Array3::from_shape_vec((values.len() / 35, 5, 7), values).unwrap()
}

fn start() -> Array2<f64> {
    fixture("start").index_axis_move(ndarray::Axis(0), 0)
}

fn rules() -> Result<Rules<Array2<f64>>> {
    let sgd = Sgd::new(0.1)?.momentum(0.9)?.dampening(0.4)?.weight_decay(0.05)?;
    let amsgrad = AdamW::new(0.01, 0.05)?.betas(0.9, 0.8)?.amsgrad(true);
    let nadam = NAdam::new(0.02)?.weight_decay(0.05)?.decoupled_weight_decay(true);
    let radam = RAdam::new(0.02)?.betas(0.8, 0.9)?.weight_decay(0.05)?;
    let centered = RmsProp::new(0.02)?.decay(0.9)?.momentum(0.8)?.weight_decay(0.05)?;
    let adagrad = Adagrad::new(0.2)?.rate_decay(0.1)?.initial_accumulator_value(0.5)?;
    Ok(vec![
        ("sgd.dampening", Box::new(sgd)),
        ("adamw.amsgrad", Box::new(amsgrad)),
        ("nadam.decoupled", Box::new(nadam)),
        ("radam.decoupled", Box::new(radam.decoupled_weight_decay(true))),
        ("rmsprop.centered", Box::new(centered.centered(true))),
        ("adagrad.initial", Box::new(adagrad)),
    ])
}

#[test]
fn twenty_steps_with_further_options_agree_with_pytorch() {
    let grads = fixture("grads");
    for (name, mut rule) in rules().unwrap() {
        let mut theta = start();
        for (step, expected) in fixture(name).outer_iter().enumerate() {
            rule.step(&mut theta, &grads.index_axis(ndarray::Axis(0), step).to_owned()).unwrap();
            let worst = (&theta - &expected).fold(0.0_f64, |worst, d| worst.max(d.abs()));
            assert!(worst < 1e-12, "{name}, step {step}: {worst:e}");
        }
    }
}

#[test]
fn a_rule_with_further_options_goes_on_from_its_state_bit_for_bit() {
    let grads = fixture("grads");
    for ((name, mut whole), (_, mut rest)) in rules().unwrap().into_iter().zip(rules().unwrap()) {
        // From the state before the first step too.
        for cut in [0, 1, 7] {
            let mut theta = start();
            let fresh = rules().unwrap().into_iter().find(|(other, _)| *other == name);
            whole.restore(fresh.unwrap().1.state()).unwrap();
            let mut theta_rest = theta.clone();
            for (step, grad) in grads.outer_iter().enumerate() {
                if step == cut {
                    rest.restore(whole.state()).unwrap();
                    theta_rest.assign(&theta);
                }
                whole.step(&mut theta, &grad.to_owned()).unwrap();
                if step >= cut {
                    rest.step(&mut theta_rest, &grad.to_owned()).unwrap();
                    assert_eq!(bits(&theta), bits(&theta_rest), "{name}, cut {cut}, step {step}");
                }
            }
        }
    }
}

/// Three matrices, as a bundle.
type Three = (Array2<f64>, Array2<f64>, Array2<f64>);

/// Returns the rows 0–1, 2–3 and 4.
fn parts(rows: &Array2<f64>) -> Three {
    let part = |from: usize, to: usize| rows.slice(s![from..to, ..]).to_owned();
    (part(0, 2), part(2, 4), part(4, 5))
}

#[test]
fn weight_decay_of_groups_agrees_with_pytorch_over_twenty_steps() {
    fn grouped(rule: impl Optimizer<Three> + 'static) -> Rule<Three> {
        let groups = Groups::new(rule).weight_decay("1.*", 0.3).unwrap();
        Box::new(groups.weight_decay("2.value", 0.0).unwrap())
    }
    fn all() -> Result<Rules<Three>> {
        let sgd = Sgd::new(0.1)?.momentum(0.9)?.weight_decay(0.05)?;
        Ok(vec![
            ("groups.sgd", grouped(sgd)),
            ("groups.adam", grouped(Adam::new(0.01)?.weight_decay(0.05)?)),
            ("groups.adamw", grouped(AdamW::new(0.01, 0.05)?)),
            ("groups.nadam", grouped(NAdam::new(0.01)?.weight_decay(0.05)?)),
            ("groups.rmsprop", grouped(RmsProp::new(0.01)?.weight_decay(0.05)?)),
        ])
    }
    let grads = fixture("grads");
    for (name, mut rule) in all().unwrap() {
        let mut theta = parts(&start());
        for (step, expected) in fixture(name).outer_iter().enumerate() {
            let grad = parts(&grads.index_axis(ndarray::Axis(0), step).to_owned());
            rule.step(&mut theta, &grad).unwrap();
            let mut worst = 0.0_f64;
            let expected = parts(&expected.to_owned());
            let compare = theta.zip_mut("expected", &expected, &mut |_, ours, theirs| {
                ours.iter().zip(theirs).for_each(|(a, b)| worst = worst.max((a - b).abs()));
            });
            compare.unwrap();
            assert!(worst < 1e-12, "{name}, step {step}: {worst:e}");
        }
    }
}

/// A matrix, a vector and a tensor of three axes.
type Mixed = (Array2<f64>, Array1<f64>, Array3<f64>);

fn mixed(value: f64) -> Mixed {
    (
        Array2::from_elem((2, 3), value),
        Array1::from_elem(3, value),
        Array3::from_elem((1, 2, 2), value),
    )
}

/// Returns the first value of each array after a step with a zero gradient.
fn after(mut rule: impl Optimizer<Mixed>) -> [f64; 3] {
    let mut theta = mixed(4.0);
    rule.step(&mut theta, &mixed(0.0)).unwrap();
    [theta.0[[0, 0]], theta.1[0], theta.2[[0, 0, 0]]]
}

#[test]
fn vectors_are_free_of_weight_decay_unless_a_pattern_names_them() {
    let groups = || Groups::new(Sgd::new(0.5).unwrap().weight_decay(0.5).unwrap());
    assert_eq!(after(groups()), [3.0; 3]);
    assert_eq!(after(groups().no_decay_for_biases_and_norms()), [3.0, 4.0, 3.0]);
    let named = groups().weight_decay("1.*", 0.25).unwrap().no_decay_for_biases_and_norms();
    assert_eq!(after(named), [3.0, 3.5, 3.0]);
    // The rate of a group scales its weight decay.
    let slow = groups().rate("0.*", 0.5).unwrap().no_decay_for_biases_and_norms();
    assert_eq!(after(slow), [3.5, 4.0, 3.0]);
    // An outer group decides before an inner one, and what it leaves open is left to the inner one.
    let inner = groups().weight_decay("*", 0.25).unwrap();
    let outer = Groups::new(inner).weight_decay("2.*", 1.0).unwrap();
    assert_eq!(after(outer), [3.5, 3.5, 2.0]);
    // Decoupled weight decay, of a rule whose own is zero.
    let adam_w = Groups::new(AdamW::new(0.5, 0.0).unwrap()).weight_decay("0.*", 0.5).unwrap();
    assert_eq!(after(adam_w), [3.0, 4.0, 4.0]);
}

#[test]
fn the_first_of_several_patterns_is_used_and_one_without_an_effect_is_refused() {
    let groups = || Groups::new(Sgd::new(0.5).unwrap().weight_decay(0.5).unwrap());
    let twice = groups().weight_decay("0.*", 1.0).unwrap().weight_decay("*", 0.0).unwrap();
    assert_eq!(after(twice), [2.0, 4.0, 4.0]);
    let twice = groups().frozen("1.*").rate("*", 2.0).unwrap();
    assert_eq!(after(twice), [2.0, 4.0, 2.0]);
    // Rates and weight decays are apart.
    let both = groups().rate("*", 2.0).unwrap().weight_decay("0.*", 0.0).unwrap();
    assert_eq!(after(both), [4.0, 2.0, 2.0]);
    for mut shadowed in [
        groups().weight_decay("*", 0.0).unwrap().weight_decay("0.*", 1.0).unwrap(),
        groups().frozen("1.*").rate("*", 2.0).unwrap().frozen("0.*"),
        groups().rate("0.*", 2.0).unwrap().frozen("1.*").frozen("2.*").rate("*", 3.0).unwrap(),
        groups().frozen("0.*").frozen("0.*"),
    ] {
        let mut theta = mixed(4.0);
        let error = shadowed.step(&mut theta, &mixed(0.0)).unwrap_err().to_string();
        assert!(
            error.starts_with("pattern: expected one that matches an array that no"),
            "{error}"
        );
        assert!(error.ends_with("got 0.*") || error.ends_with("got *"), "{error}");
        assert_eq!(theta, mixed(4.0));
    }
    for pattern in ["", "value", "3.*", "0.value ", "weight"] {
        let mut theta = mixed(4.0);
        for mut lost in [groups().weight_decay(pattern, 0.1).unwrap(), groups().frozen(pattern)] {
            let error = lost.step(&mut theta, &mixed(0.0)).unwrap_err().to_string();
            assert!(
                error.starts_with("pattern: expected a pattern that matches one of"),
                "{error}"
            );
            assert_eq!(theta, mixed(4.0));
        }
    }
}

#[test]
fn decays_and_factors_out_of_range_are_refused_by_name_and_nothing_changes() {
    let groups = || Groups::new(Sgd::<Array1<f32>>::new(0.5).unwrap());
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let error = groups().weight_decay("*", bad).unwrap_err().to_string();
        assert!(error.starts_with("weight_decay") && error.ends_with(&format!("{bad}")), "{error}");
        let error = groups().rate("*", bad).unwrap_err().to_string();
        assert!(error.starts_with("factor") && error.ends_with(&format!("{bad}")), "{error}");
    }
    // Beyond the range of f32 alone: the steps of that group would be NaN.
    let (mut theta, grad) = (array![1.0_f32], array![0.0_f32]);
    let error = groups().rate("*", 1e39).unwrap().step(&mut theta, &grad).unwrap_err().to_string();
    assert!(error.starts_with("factor: expected a value within the range of f32"), "{error}");
    let mut decayed = groups().weight_decay("*", 1e39).unwrap();
    let error = decayed.step(&mut theta, &grad).unwrap_err().to_string();
    assert!(error.starts_with("weight_decay: expected a value within the range"), "{error}");
    assert_eq!(theta, array![1.0]);

    let (mut theta, grad) = (mixed(1.0), mixed(0.0));
    let mut rules: Vec<Rule<Mixed>> = vec![
        Box::new(Sgd::new(0.1).unwrap()),
        Box::new(Adam::new(0.1).unwrap()),
        Box::new(Adagrad::new(0.1).unwrap()),
        Box::new(Groups::new(Adadelta::new(0.1).unwrap())),
    ];
    for rule in &mut rules {
        for wrong in [vec![], vec![None; 2], vec![Some(0.1); 4]] {
            let error = rule.step_with_decay(&mut theta, &grad, &wrong).unwrap_err().to_string();
            let expected = "weight_decay: expected 3 entries, one for each array, got";
            assert_eq!(error, format!("{expected} {}", wrong.len()));
        }
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            let decays = [None, Some(bad), None];
            let error = rule.step_with_decay(&mut theta, &grad, &decays).unwrap_err().to_string();
            assert!(error.starts_with("weight_decay: expected a finite value"), "{error}");
        }
        assert!(rule.state().moments.is_empty());
    }
    assert_eq!(theta, mixed(1.0));
}

/// A rule without weight decay by group.
struct Plain;

impl<A: Arrays> Optimizer<A> for Plain {
    fn step(&mut self, _: &mut A, _: &A) -> Result<()> {
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        1.0
    }

    fn set_learning_rate(&mut self, _: f64) -> Result<()> {
        Ok(())
    }

    fn state(&self) -> OptimizerState<A> {
        OptimizerState { scalars: Vec::new(), moments: Vec::new() }
    }

    fn restore(&mut self, _: OptimizerState<A>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_rule_of_a_user_has_rates_of_groups_and_refuses_their_weight_decay() {
    let (mut theta, grad) = (array![1.0], array![0.0]);
    Groups::new(Plain).rate("*", 0.5).unwrap().step(&mut theta, &grad).unwrap();
    let mut decayed = Groups::new(Plain).weight_decay("*", 0.5).unwrap();
    let error = decayed.step(&mut theta, &grad).unwrap_err().to_string();
    assert_eq!(error, "weight_decay: expected an optimiser with `step_with_decay`, got 0.5");
}

#[test]
fn rules_and_groups_of_other_options_say_so() {
    fn of(rule: impl Optimizer<Mixed>) -> String {
        rule.options()
    }
    fn all() -> Result<Vec<String>> {
        let (sgd, groups) = (|| Sgd::new(0.1), || Ok(Groups::new(Sgd::new(0.1)?)));
        let groups = || -> Result<Groups<Sgd<Mixed>>> { groups() };
        Ok(vec![
            of(sgd()?),
            of(sgd()?.dampening(0.5)?),
            of(AdamW::new(0.1, 0.1)?),
            of(AdamW::new(0.1, 0.1)?.amsgrad(true)),
            of(NAdam::new(0.1)?),
            of(NAdam::new(0.1)?.decoupled_weight_decay(true)),
            of(RAdam::new(0.1)?),
            of(RAdam::new(0.1)?.decoupled_weight_decay(true)),
            of(RmsProp::new(0.1)?),
            of(RmsProp::new(0.1)?.centered(true)),
            of(Adagrad::new(0.1)?),
            of(Adagrad::new(0.1)?.initial_accumulator_value(0.1)?),
            of(groups()?),
            of(groups()?.weight_decay("*", 0.1)?),
            of(groups()?.weight_decay("*", 0.2)?),
            of(groups()?.rate("*", 0.1)?),
            of(groups()?.no_decay_for_biases_and_norms()),
        ])
    }
    let options = all().unwrap();
    for (i, option) in options.iter().enumerate() {
        assert!(!options[..i].contains(option), "{option}");
    }
}

#[test]
fn further_options_out_of_range_are_refused_by_name() {
    fn refused<R>(result: Result<R>, name: &str) {
        let error = result.err().unwrap_or_else(|| panic!("{name} was taken")).to_string();
        assert!(error.starts_with(name), "{error}");
    }
    type One = Array1<f32>;
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.5] {
        refused(Sgd::<One>::new(0.1).unwrap().dampening(bad), "dampening");
        let adagrad = Adagrad::<One>::new(0.1).unwrap();
        refused(adagrad.initial_accumulator_value(bad), "initial_accumulator_value");
    }
    let (mut theta, grad) = (array![1.0_f32], array![0.5_f32]);
    let mut large = Adagrad::new(0.1).unwrap().initial_accumulator_value(1e39).unwrap();
    refused(large.step(&mut theta, &grad), "initial_accumulator_value: expected a value within");
    let both = Sgd::new(0.1).unwrap().momentum(0.9).unwrap().nesterov(true).dampening(0.1);
    refused(
        both.unwrap().step(&mut theta, &grad),
        "dampening: expected 0 with Nesterov's momentum",
    );
    assert_eq!(theta, array![1.0]);
}

#[test]
fn equal_gradients_leave_centred_rmsprop_finite() {
    // v − m² is zero up to rounding, which may be negative.
    for value in [0.1_f32, 1.0 / 3.0, 1e-3, 7.7, 1e10] {
        let mut rule = RmsProp::new(1e-9).unwrap().decay(0.5).unwrap().centered(true);
        let mut theta = array![0.0_f32];
        for _ in 0..200 {
            let before = theta[0];
            rule.step(&mut theta, &array![value]).unwrap();
            assert!(theta[0].is_finite() && theta[0] <= before, "{value}: {theta}");
        }
    }
}
