//! Tests of means over batches: a gradient or a loss does not depend on how samples are divided into
//! batches, and a batch in which nothing counts counts nothing.

use std::ops::ControlFlow;

use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::GruCell;
use recurrent::data::{Dataset, Source, Texts, Windows};
use recurrent::layer::Linear;
use recurrent::loss::{CrossEntropy, Mse};
use recurrent::model::{
    Composed, Forecaster, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
};
use recurrent::optim::{Adam, Sgd};
use recurrent::train::{Event, History, Model, Trainer};
use recurrent::{Arrays, Sequences};

use crate::common::random::random;
use crate::stopping::{Number, Numbers};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

/// Returns the values of the array `name`.
fn array<A: Arrays<Elem = f64>>(model: &A, name: &str) -> Vec<f64> {
    let mut found = Vec::new();
    model.for_each(&mut |given, values| {
        if given == name {
            found.extend(values.iter().copied());
        }
    });
    assert!(!found.is_empty(), "{name} is not one of {:?}", model.names());
    found
}

fn values<A: Arrays<Elem = f64>>(model: &A) -> Vec<f64> {
    let mut all = Vec::new();
    model.for_each(&mut |_, values| all.extend(values.iter().copied()));
    all
}

fn assert_near(got: &[f64], expected: &[f64], error: f64) {
    assert_eq!(got.len(), expected.len());
    let near = got.iter().zip(expected).all(|(a, b)| (a - b).abs() <= error);
    assert!(near, "{got:?} is not {expected:?}");
}

/// Trains for an epoch by one step of SGD on `samples`, as one batch and as accumulated batches of
/// several sizes, and compares weights and losses.
fn every_division_is_the_union<M: Model<Elem = f64>>(
    model: &M,
    source: &dyn Source<M::Batch>,
    samples: usize,
) {
    let fit = |batch_size: usize, seed| {
        let mut trained = model.clone();
        let trainer = Trainer::new(Sgd::new(0.5).unwrap()).epochs(1).seed(seed);
        let trainer = trainer.batch_size(batch_size).accumulate(samples);
        let history = trainer.fit(&mut trained, source, None).unwrap();
        assert_eq!(history.epochs[0].step, 1);
        (values(&trained), history.epochs[0].loss)
    };
    let (union, loss) = fit(samples, 0);
    assert_ne!(union, values(model));
    for batch_size in 1..samples {
        for seed in 0..3 {
            let (divided, mean) = fit(batch_size, seed);
            assert_near(&divided, &union, 1e-12);
            assert_near(&[mean], &[loss], 1e-12);
        }
    }
}

#[test]
fn steps_of_texts_of_other_lengths_have_the_same_weight() {
    let texts = vec![vec![0], vec![1; 9]];
    let data = Dataset::<f64, _>::from_tokens(texts.clone(), 2, texts).unwrap();
    let builder = SequenceTagger::<GruCell<f64>>::builder(2, 2).hidden_size(3);
    let mut zeros = builder.build(&mut rng()).unwrap();
    zeros.fill(0.0);
    for (batch_size, accumulate) in [(2, 1), (1, 2), (1, 7), (usize::MAX, 1)] {
        let mut model = zeros.clone();
        let trainer = Trainer::new(Sgd::new(1.0).unwrap()).epochs(1);
        let trainer = trainer.batch_size(batch_size).accumulate(accumulate);
        trainer.fit(&mut model, &data, None).unwrap();
        assert_near(&array(&model, "head.bias"), &[-0.4, 0.4], 1e-15);
    }
}

#[test]
fn a_smaller_last_batch_has_a_smaller_weight() {
    let x = vec![Array2::zeros((2, 1)); 3];
    let data = Dataset::new(x, vec![0.0, 0.0, 3.0]).unwrap();
    let mut zeros =
        SequenceRegressor::<GruCell<f64>>::builder(1, 1).hidden_size(2).build(&mut rng()).unwrap();
    zeros.fill(0.0);
    for (batch_size, accumulate) in [(3, 1), (2, 2), (1, 3), (2, usize::MAX)] {
        for seed in 0..6 {
            let mut model = zeros.clone();
            let trainer = Trainer::new(Sgd::new(0.5).unwrap()).epochs(1).seed(seed);
            let trainer = trainer.batch_size(batch_size).accumulate(accumulate);
            let history = trainer.fit(&mut model, &data, None).unwrap();
            assert_near(&array(&model, "head.bias"), &[1.0], 1e-15);
            assert_near(&[history.epochs[0].loss], &[3.0], 1e-15);
        }
    }
}

#[test]
fn a_users_model_is_weighed_by_its_samples() {
    let data = Numbers(vec![0.0, 0.0, 3.0, 5.0]);
    every_division_is_the_union(&Number::new(1.0), &data, 4);
}

#[test]
fn accumulated_batches_are_the_batch_of_their_union_for_every_model() {
    let mut rng = rng();
    let x: Vec<Array2<f64>> = (0..5)
        .map(|i| Array2::from_shape_simple_fn((1 + (3 * i) % 5, 2), || rng.random_range(-1.0..1.0)))
        .collect();
    let weights = vec![0.5, 2.0, 0.0];
    let weighted = CrossEntropy::default().class_weights(weights).unwrap();

    let classes = Dataset::new(x.clone(), vec![0, 1, 2, 1, 0]).unwrap();
    let builder = SequenceClassifier::<GruCell<f64>>::builder(2, 3).hidden_size(3);
    let model = builder.clone().build(&mut rng).unwrap();
    every_division_is_the_union(&model, &classes, 5);
    let model = builder.loss(weighted.clone()).build(&mut rng).unwrap();
    every_division_is_the_union(&model, &classes, 5);

    let numbers = vec![0.5, -1.0, 2.0, 0.0, 3.0];
    let model = SequenceRegressor::<GruCell<f64>>::builder(2, 1).hidden_size(3);
    let numbers = Dataset::new(x.clone(), numbers).unwrap();
    every_division_is_the_union(&model.build(&mut rng).unwrap(), &numbers, 5);

    let tag = |x: &Array2<f64>| (0..x.nrows()).map(|t| t % 3).collect::<Vec<usize>>();
    let tags = Dataset::new(x.clone(), x.iter().map(tag).collect()).unwrap();
    let builder = SequenceTagger::<GruCell<f64>>::builder(2, 3).hidden_size(3);
    let model = builder.clone().build(&mut rng).unwrap();
    every_division_is_the_union(&model, &tags, 5);
    let loss = weighted.ignore_index(1).label_smoothing(0.1).unwrap();
    every_division_is_the_union(&builder.loss(loss).build(&mut rng).unwrap(), &tags, 5);

    let texts = vec![vec![0, 1, 2], vec![1, 2], vec![2, 0, 1, 2, 2, 0], vec![1, 1, 1, 0]];
    let texts = Texts::new(texts, 3).unwrap();
    let model = SequenceGenerator::<GruCell<f64>>::builder(3).hidden_size(3);
    every_division_is_the_union(&model.build(&mut rng).unwrap(), &texts, 4);

    let series = Array2::from_shape_fn((9, 2), |(t, j)| ((t * 3 + j) % 5) as f64);
    let windows = Windows::new(3, 2).unwrap();
    let model = Forecaster::<GruCell<f64>>::builder(2, &windows).hidden_size(3);
    let model = model.build(&mut rng).unwrap();
    every_division_is_the_union(&model, &windows.cut(&series).unwrap(), 5);

    let steps = |x: &Array2<f64>| x.mapv(|x| 2.0 * x);
    let steps = Dataset::new(x.clone(), x.iter().map(steps).collect()).unwrap();
    let layer = Linear::new(2, 2, &mut rng).unwrap();
    every_division_is_the_union(&Composed::<Sequences<f64>, _, _>::new(layer, Mse), &steps, 5);
}

/// Three sequences of tags, of which 0 is ignored.
fn tagged(tags: &[&[usize]]) -> Dataset<f64, Vec<usize>> {
    let x = tags.iter().enumerate().map(|(i, tags)| {
        random((tags.len(), 1, 2), i as u64).into_shape_with_order((tags.len(), 2)).unwrap()
    });
    Dataset::new(x.collect(), tags.iter().map(|tags| tags.to_vec()).collect()).unwrap()
}

fn ignoring() -> SequenceTagger<GruCell<f64>> {
    let builder = SequenceTagger::<GruCell<f64>>::builder(2, 3).hidden_size(3);
    let builder = builder.loss(CrossEntropy::default().ignore_index(0));
    builder.build(&mut rng()).unwrap()
}

#[test]
fn a_batch_of_ignored_targets_makes_no_step() {
    let data = tagged(&[&[1, 2], &[2, 1], &[0, 0]]);
    let fit = |batch_size: usize, data: &Dataset<f64, Vec<usize>>| {
        let (mut model, mut events, mut hooks) = (ignoring(), Vec::new(), 0);
        // Weight decay and moments would move the weights even without a gradient.
        let trainer = Trainer::new(Adam::new(0.1).unwrap().weight_decay(0.1).unwrap());
        let history = trainer
            .epochs(3)
            .ema(0.5)
            .batch_size(batch_size)
            .on_gradient(|_| {
                hooks += 1;
                Ok(())
            })
            .callback(|event| {
                if let Event::Step { step, loss, .. } = event {
                    assert!(loss.is_finite());
                    events.push(*step);
                }
                ControlFlow::Continue(())
            })
            .fit(&mut model, data, None)
            .unwrap();
        assert_eq!(hooks, events.len());
        assert_eq!(events, (1..=hooks).collect::<Vec<_>>());
        (history, model)
    };
    let steps = |history: &History| history.epochs.iter().map(|e| e.step).collect::<Vec<_>>();
    assert_eq!(steps(&fit(1, &data).0), [2, 4, 6]);
    assert_eq!(steps(&fit(3, &data).0), [1, 2, 3]);
    // The ignored sequence changes nothing in a batch either.
    let (with, without) = (fit(3, &data).1, fit(2, &tagged(&[&[1, 2], &[2, 1]])).1);
    assert_near(&values(&with), &values(&without), 1e-12);
}

#[test]
fn a_training_in_which_no_target_counts_is_an_error_and_changes_nothing() {
    let data = tagged(&[&[0, 0], &[0], &[0, 0, 0]]);
    for (batch_size, accumulate) in [(1, 1), (3, 1), (1, 2)] {
        let mut model = ignoring();
        let trainer = Trainer::new(Adam::new(0.1).unwrap()).batch_size(batch_size);
        let error = trainer.accumulate(accumulate).fit(&mut model, &data, None).unwrap_err();
        let expected = "epoch 0, step 0: train: samples: expected a target that counts: all are \
                        ignored or have the weight 0, got none";
        assert_eq!(error.to_string(), expected);
        assert_eq!(values(&model), values(&ignoring()));
    }
}

#[test]
fn accumulated_groups_without_a_target_leave_the_others_as_they_are() {
    let (all, some) = (tagged(&[&[0, 0], &[1, 2], &[0, 0]]), tagged(&[&[0, 0], &[1, 2]]));
    let fit = |data: &Dataset<f64, Vec<usize>>, accumulate| {
        let mut model = ignoring();
        let trainer = Trainer::new(Sgd::new(0.5).unwrap()).epochs(2).batch_size(1);
        trainer.accumulate(accumulate).fit(&mut model, data, None).unwrap();
        values(&model)
    };
    let alone = fit(&some, 1);
    for accumulate in [1, 2, 3] {
        assert_near(&fit(&all, accumulate), &alone, 1e-12);
    }
}

#[test]
fn a_weight_that_is_no_weight_is_an_error() {
    for weight in [f64::NAN, f64::INFINITY, -1.0] {
        let mut model = Number { weight: Some(weight), ..Number::new(1.0) };
        let trainer = Trainer::new(Sgd::new(0.5).unwrap());
        let error = trainer.fit(&mut model, &Numbers(vec![1.0]), None).unwrap_err();
        let expected = format!(
            "epoch 0, step 0: weight: expected a finite number of at least 0, got {weight}"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn the_training_loss_without_steps_is_the_validation_loss() {
    let tags: Vec<Vec<usize>> = (1..8).map(|n| (0..n).map(|t| (t * n) % 3).collect()).collect();
    let values =
        |n: usize| Array3::from_elem((n, 1, 2), 0.5).into_shape_with_order((n, 2)).unwrap();
    let data = Dataset::new((1..8).map(values).collect(), tags).unwrap();
    let builder = SequenceTagger::<GruCell<f64>>::builder(2, 3).hidden_size(3);
    let loss = CrossEntropy::default().ignore_index(1);
    let model = builder.loss(loss).build(&mut rng()).unwrap();
    let mut all = Vec::new();
    for batch_size in [1, 2, 3, 7] {
        let trainer = Trainer::new(Sgd::new(0.0).unwrap()).epochs(1).batch_size(batch_size);
        let history = trainer.fit(&mut model.clone(), &data, Some(&data)).unwrap();
        all.extend([history.epochs[0].loss, history.epochs[0].validation[0].1]);
    }
    assert_near(&all, &vec![all[0]; all.len()], 1e-12);
}
