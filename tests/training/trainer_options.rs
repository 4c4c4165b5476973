//! Tests of the options of a trainer: those that exclude each other, norms of other orders, and checks of
//! the validation data before the first step.

use std::ops::ControlFlow;

use ndarray::{Array2, ArrayViewD, ArrayViewMutD, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::data::{Dataset, Source};
use recurrent::loss::CrossEntropy;
use recurrent::model::SequenceTagger;
use recurrent::optim::schedule::{MultiStep, OneCycle};
use recurrent::optim::{Ema, Sgd, clip_global_norm_of_type};
use recurrent::train::{Event, Model, Trainer};
use recurrent::{Arrays, GruCell};

use crate::common::bits::bits;
use crate::common::temporary::Folder;
use crate::stopping::{Number, Numbers};

fn trainer<'a, M: Model<Elem = f64> + 'a>() -> Trainer<'a, M> {
    Trainer::new(Sgd::new(0.25).unwrap()).epochs(2)
}

fn refused(trainer: Trainer<'_, Number>) -> String {
    let mut model = Number::new(9.0);
    let error = trainer.fit(&mut model, &Numbers(vec![1.0, 2.0]), None).unwrap_err();
    assert_eq!(model.w[0], 9.0);
    error.to_string()
}

#[test]
fn options_that_exclude_each_other_are_refused_in_any_order() {
    let epochs = || MultiStep::new([1], 0.5).unwrap();
    let steps = || OneCycle::new(10).unwrap();
    let expected = "schedule: expected none beside schedule_by_step, got both";
    assert_eq!(refused(trainer().schedule(epochs()).schedule_by_step(steps())), expected);
    assert_eq!(refused(trainer().schedule_by_step(steps()).schedule(epochs())), expected);
    let folder = Folder::new("both");
    let (a, b) = (folder.path("a"), folder.path("b"));
    let expected = "checkpoint: expected none beside checkpoint_every, got both";
    assert_eq!(refused(trainer().checkpoint(&a).checkpoint_every(3, &b)), expected);
    assert_eq!(refused(trainer().checkpoint_every(3, &a).checkpoint(&a)), expected);
    assert!(folder.names().is_empty());
    // The same option again replaces it.
    let again = trainer().checkpoint(&a).checkpoint(&b).schedule(epochs()).schedule(epochs());
    again.fit(&mut Number::new(9.0), &Numbers(vec![1.0]), None).unwrap();
    assert_eq!(folder.names(), ["b"]);
}

#[test]
fn early_stopping_without_validation_data_watches_the_training_loss() {
    // The weight goes from 1 to −2, 4, −8: every epoch is worse.
    let trainer = Trainer::new(Sgd::new(3.0).unwrap()).epochs(9).early_stopping(2);
    let mut model = Number::new(1.0);
    let history = trainer.fit(&mut model, &Numbers(vec![0.0]), None).unwrap();
    assert_eq!((history.epochs.len(), history.best_epoch, model.w[0]), (3, Some(0), -2.0));
}

fn tagger() -> SequenceTagger<GruCell<f64>> {
    let builder = SequenceTagger::<GruCell<f64>>::builder(2, 3).hidden_size(4);
    builder.build(&mut ChaCha8Rng::seed_from_u64(1)).unwrap()
}

fn tagged(bad: f64) -> Dataset<f64, Vec<usize>> {
    let sequence = |i: usize| {
        Array2::from_shape_fn((4, 2), |(t, j)| {
            if (i, t, j) == (2, 3, 1) { bad } else { (i + 2 * t + j) as f64 / 9.0 }
        })
    };
    Dataset::new((0..4).map(sequence).collect(), (0..4).map(|i| vec![i % 3; 4]).collect()).unwrap()
}

#[test]
fn the_gradient_is_clipped_by_the_norm_of_the_given_type() {
    for norm_type in [1.0, 2.0, 3.5, f64::INFINITY] {
        let start = tagger();
        let data = tagged(0.0);
        let mut grad = start.zeros_like();
        let batch = data.batch(&[0, 1, 2, 3]).unwrap();
        start.loss_and_grad(&batch, &mut grad, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
        clip_global_norm_of_type(&mut grad, 0.01, norm_type).unwrap();
        let mut expected = start.clone();
        let mut step = |_: &str, mut w: ArrayViewMutD<'_, f64>, g: ArrayViewD<'_, f64>| {
            w.zip_mut_with(&g, |w, g| *w -= 0.25 * g);
        };
        expected.zip_mut("grad", &grad, &mut step).unwrap();
        let mut model = start.clone();
        let trainer = trainer().epochs(1).clip_norm_of_type(0.01, norm_type);
        trainer.fit(&mut model, &data, None).unwrap();
        let mut largest = 0.0_f64;
        let mut compare = |_: &str, w: ArrayViewMutD<'_, f64>, expected: ArrayViewD<'_, f64>| {
            largest = (&w - &expected).iter().fold(largest, |most, d| most.max(d.abs()));
        };
        model.zip_mut("expected", &expected, &mut compare).unwrap();
        assert!(largest < 1e-14, "{norm_type}: {largest}");
        if norm_type == 2.0 {
            let mut euclidean = start.clone();
            let trainer = self::trainer().epochs(1).clip_norm(0.01);
            trainer.fit(&mut euclidean, &data, None).unwrap();
            assert_eq!(bits(&euclidean), bits(&model));
        }
    }
    let error = refused(trainer().clip_norm_of_type(1.0, 0.5));
    assert!(error.contains("norm_type"), "{error}");
}

#[test]
fn a_value_of_the_validation_that_is_not_finite_is_found_before_the_first_step() {
    for bad in [f64::NAN, f64::INFINITY] {
        let (mut model, mut steps) = (tagger(), 0);
        let before = bits(&model);
        let trainer = trainer().callback(|event| {
            steps += usize::from(matches!(event, Event::Step { .. }));
            ControlFlow::Continue(())
        });
        let error = trainer.fit(&mut model, &tagged(0.0), Some(&tagged(bad))).unwrap_err();
        let expected =
            format!("valid: sample 2, step 3, feature 1: expected a finite value, got {bad}");
        assert_eq!(error.to_string(), expected);
        assert_eq!((bits(&model), steps), (before, 0));
    }
    // A step that does not count may hold anything.
    let builder = SequenceTagger::<GruCell<f64>>::builder(2, 3).hidden_size(4);
    let builder = builder.loss(CrossEntropy::default().ignore_index(2));
    let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    let valid = tagged(f64::NAN);
    trainer().fit(&mut model, &tagged(0.0), Some(&valid)).unwrap();
}

#[test]
fn an_average_is_restored_if_it_fits_and_is_finite() {
    let mut ema = Ema::new(0.5).unwrap();
    ema.update(&array![1.0, 2.0]).unwrap();
    let error = ema.restore(Some(array![1.0])).unwrap_err().to_string();
    assert_eq!(error, "average: expected an array `value [2]`, got `value [1]`");
    let error = ema.restore(Some(array![1.0, f64::NAN])).unwrap_err().to_string();
    assert_eq!(error, "value: expected finite values, got NaN at flat index 1");
    assert_eq!(ema.average(), Some(&array![1.0, 2.0]));
    ema.restore(Some(array![3.0, 4.0])).unwrap();
    assert_eq!(ema.average(), Some(&array![3.0, 4.0]));
    ema.restore(None).unwrap();
    assert_eq!(ema.average(), None);
}
