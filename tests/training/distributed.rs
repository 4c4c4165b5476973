//! Tests of distributed training: any number of ranks trains as one process does, and all end together.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;

use ndarray::Array2;
use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::GruCell;
use recurrent::data::{Dataset, Manifest, Scaler, Sharded, Source, Texts};
use recurrent::loss::{CrossEntropy, Mse, Sum};
use recurrent::model::{
    MeanLoss, PairScore, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
    WeightedScore,
};
use recurrent::optim::schedule::ReduceOnPlateau;
use recurrent::optim::{Adam, Sgd};
use recurrent::train::metrics::{ErrorRate, Perplexity, RegressionMetrics, TranscriptionMetrics};
use recurrent::train::{
    Communicator, Event, History, Model, Score, ThreadCommunicator, Trainer, agree,
};
use recurrent::{Arrays, Error, Float, Result, Sequences, arrays};

use crate::common::bits::bits;
use crate::common::temporary::Folder;
use crate::stopping::{Losses, Number, Numbers};

/// Runs `work` at each of `size` ranks and returns the results in order.
fn at_ranks<R: Send>(size: usize, work: impl Fn(&ThreadCommunicator) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let ranks = ThreadCommunicator::group(size).unwrap();
        let threads = ranks.into_iter().map(|rank| scope.spawn(move || work(&rank)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn inputs<T: Float>(count: usize) -> Vec<Array2<T>> {
    let mut rng = rng(2);
    let mut value = || T::from_f64(rng.random_range(-1.0..1.0));
    (0..count).map(|i| Array2::from_shape_simple_fn((1 + (3 * i) % 5, 2), &mut value)).collect()
}

/// Returns sequences of lengths from 1 to 5, each with one of three classes.
fn classes<T: Float>(count: usize) -> Dataset<T, usize> {
    let classes = (0..count).map(|i| (i * i + i / 3) % 3).collect();
    Dataset::new(inputs(count), classes).unwrap()
}

type Classifier<T> = SequenceClassifier<GruCell<T>>;

fn classifier<T: Float>(dropout: f64) -> Classifier<T> {
    let builder = Classifier::<T>::builder(2, 3).hidden_size(4);
    let weights = CrossEntropy::default().class_weights(vec![0.5, 2.0, 1.0]).unwrap();
    builder.dropout(dropout).loss(weights).build(&mut rng(3)).unwrap()
}

/// A training of four epochs in batches of four, in which most options take part.
fn trainer<'a, M: Model + 'a>(communicator: &'a dyn Communicator) -> Trainer<'a, M> {
    let schedule = ReduceOnPlateau::default().patience(1);
    let trainer = Trainer::new(Adam::new(0.05).unwrap()).epochs(4).batch_size(4).seed(9);
    let trainer = trainer.clip_norm(0.3).ema(0.5).schedule(schedule).early_stopping(3);
    trainer.distributed(communicator)
}

fn assert_near(got: f64, expected: f64) {
    let error = (got - expected).abs();
    assert!(error <= 1e-12 * expected.abs().max(1.0), "{got} is not {expected}");
}

/// Compares all values of two trainings.
fn assert_same<M: Arrays<Elem = f64>>(
    (got, got_history): &(M, History),
    (expected, expected_history): &(M, History),
) {
    let mut got = got.clone();
    got.zip_mut("expected", expected, &mut |_, got, expected| {
        got.iter().zip(expected).for_each(|(got, expected)| assert_near(*got, *expected));
    })
    .unwrap();
    assert_eq!(got_history.epochs.len(), expected_history.epochs.len());
    assert_eq!(got_history.best_epoch, expected_history.best_epoch);
    for (got, expected) in got_history.epochs.iter().zip(&expected_history.epochs) {
        assert_eq!((got.epoch, got.step), (expected.epoch, expected.step));
        assert_near(got.loss, expected.loss);
        assert_near(got.learning_rate, expected.learning_rate);
        assert_eq!(got.validation.len(), expected.validation.len());
        for ((name, got), (_, expected)) in got.validation.iter().zip(&expected.validation) {
            assert!(!name.is_empty());
            assert_near(*got, *expected);
        }
    }
}

/// Trains `model` at 1 to 4 ranks and compares each with the training of one process without ranks.
fn equals_one_process<M>(model: &M, data: &(dyn Source<M::Batch> + Sync), accumulate: usize)
where
    M: Model<Elem = f64> + Sync,
{
    let fit = |trainer: Trainer<'_, M>| {
        let mut trained = model.clone();
        let history = trainer.accumulate(accumulate).fit(&mut trained, data, Some(data)).unwrap();
        (trained, history)
    };
    let schedule = ReduceOnPlateau::default().patience(1);
    let alone = Trainer::new(Adam::new(0.05).unwrap()).epochs(4).batch_size(4).seed(9);
    let alone = fit(alone.clip_norm(0.3).ema(0.5).schedule(schedule).early_stopping(3));
    assert_ne!(bits(&alone.0), bits(model));
    for size in 1..=4 {
        let all = at_ranks(size, |communicator| fit(trainer(communicator)));
        for rank in &all {
            assert_eq!(bits(&rank.0), bits(&all[0].0), "{size} ranks");
            assert_eq!(rank.1, all[0].1);
            assert_same(rank, &alone);
        }
        if size == 1 {
            assert_eq!(bits(&all[0].0), bits(&alone.0));
            assert_eq!(all[0].1, alone.1);
        }
    }
}

#[test]
fn parts_of_batches_train_as_one_process_does() {
    // The last batch has one sample, so some ranks have none.
    equals_one_process(&classifier(0.0), &classes(13), 1);
    equals_one_process(&classifier(0.0), &classes(11), 2);

    let x = inputs::<f64>(10);
    let tags = x.iter().map(|x| (0..x.nrows()).map(|t| t % 3).collect()).collect();
    let tags: Dataset<f64, Vec<usize>> = Dataset::new(x, tags).unwrap();
    let tagger = SequenceTagger::<GruCell<f64>>::builder(2, 3).hidden_size(3);
    let ignoring = CrossEntropy::default().ignore_index(0);
    equals_one_process(&tagger.loss(ignoring).build(&mut rng(4)).unwrap(), &tags, 1);

    let texts = (0..9).map(|i| (0..2 + i % 4).map(|t| (i + t) % 4).collect()).collect();
    let texts = Texts::new(texts, 4).unwrap();
    let generator = SequenceGenerator::<GruCell<f64>>::builder(4).hidden_size(3);
    equals_one_process(&generator.build(&mut rng(5)).unwrap(), &texts, 1);
}

#[test]
fn whole_batches_train_bit_for_bit_as_one_process_does_with_dropout() {
    fn check<T: Float>() {
        let (model, data) = (classifier::<T>(0.4), classes::<T>(27));
        let fit = |communicator: &ThreadCommunicator| {
            let mut trained = model.clone();
            // Seven batches: the last step of an epoch has three.
            let trainer = trainer(communicator).accumulate(4);
            let history = trainer.fit(&mut trained, &data, Some(&data)).unwrap();
            (bits(&trained), history)
        };
        let alone = at_ranks(1, fit).remove(0);
        assert_eq!(alone.1.epochs[3].step, 8);
        for size in 2..=4 {
            for rank in at_ranks(size, fit) {
                assert_eq!(rank, alone, "{size} ranks");
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// A model whose gradient is the first random number of each part of a batch.
#[derive(Clone, Debug)]
struct Drawn(ndarray::Array1<f64>);
arrays!([] Drawn: f64 { 0: array });

impl Model for Drawn {
    type Batch = Vec<f64>;
    type Score = Losses;

    fn loss_and_grad(&self, y: &Vec<f64>, grad: &mut Self, rng: &mut dyn Rng) -> Result<f64> {
        let drawn: f64 = rng.random();
        grad.0[y[0] as usize] += drawn;
        Ok(drawn)
    }

    fn score_batch(&self, _: &Vec<f64>, _: &mut Losses) -> Result<()> {
        Ok(())
    }
}

#[test]
fn no_two_parts_of_a_batch_have_the_same_random_numbers() {
    let data = Numbers((0..4).map(f64::from).collect());
    let seen = at_ranks(4, |communicator| {
        let mut model = Drawn(ndarray::Array1::zeros(4));
        let trainer = Trainer::new(Sgd::new(4.0).unwrap()).epochs(1).batch_size(4);
        trainer.distributed(communicator).fit(&mut model, &data, None).unwrap();
        model.0.mapv(f64::to_bits).to_vec()
    });
    let mut drawn = seen[0].clone();
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn.len(), 4, "{drawn:?}");
}

#[test]
fn every_sample_of_a_batch_is_computed_by_one_rank() {
    let data = Numbers((0..11).map(|i| f64::from(1 << i)).collect());
    for (size, accumulate) in [(1, 1), (2, 1), (3, 1), (4, 1), (3, 2), (2, 3), (3, 4)] {
        let seen = at_ranks(size, |communicator| {
            // With the rate 1, no memory of a step and the loss (w − y)²/2, a step sets w to the mean.
            let (mut model, mut means) = (Number::new(0.0), Vec::new());
            let trainer = Trainer::new(Sgd::new(1.0).unwrap()).epochs(2).batch_size(4);
            let trainer = trainer.accumulate(accumulate).distributed(communicator);
            let trainer = trainer.callback(|event| {
                if let Event::Step { loss, .. } = event {
                    means.push(*loss);
                }
                ControlFlow::Continue(())
            });
            trainer.fit(&mut model, &data, None).unwrap();
            means
        });
        let mut model = Number::new(0.0);
        let mut expected = Vec::new();
        let trainer = Trainer::new(Sgd::new(1.0).unwrap()).epochs(2).batch_size(4);
        let trainer = trainer.accumulate(accumulate).callback(|event| {
            if let Event::Step { loss, .. } = event {
                expected.push(*loss);
            }
            ControlFlow::Continue(())
        });
        trainer.fit(&mut model, &data, None).unwrap();
        for means in seen {
            assert_eq!(means.len(), expected.len());
            means.iter().zip(&expected).for_each(|(&mean, &expected)| assert_near(mean, expected));
        }
    }
}

#[test]
fn a_user_score_without_numbers_is_that_of_all_samples() {
    let data = Numbers((0..7).map(f64::from).collect());
    let histories = at_ranks(3, |communicator| {
        let trainer = Trainer::new(Sgd::new(0.1).unwrap()).epochs(2).batch_size(3);
        let mut model = Number::new(0.0);
        trainer.distributed(communicator).fit(&mut model, &data, Some(&data)).unwrap()
    });
    let mut model = Number::new(0.0);
    let trainer = Trainer::new(Sgd::new(0.1).unwrap()).epochs(2).batch_size(3);
    let alone = trainer.fit(&mut model, &data, Some(&data)).unwrap();
    for history in histories {
        assert_near(history.epochs[1].validation[0].1, alone.epochs[1].validation[0].1);
    }
}

#[test]
fn scores_become_numbers_and_scores_again() {
    fn check<S: Score>(score: &S) {
        // NaN is a number of some.
        let bits = |score: &S| -> Vec<u64> {
            score.to_numbers().unwrap().iter().map(|number| number.to_bits()).collect()
        };
        let numbers = score.to_numbers().unwrap();
        let again = S::from_numbers(&numbers).unwrap();
        assert_eq!(bits(&again), bits(score));
        assert_eq!(format!("{:?}", again.metrics()), format!("{:?}", score.metrics()));
        assert!(S::from_numbers(&numbers[1..]).is_none());
        assert!(S::from_numbers(&[&numbers[..], &[0.0]].concat()).is_none());
        assert_eq!(
            bits(&S::from_numbers(&S::default().to_numbers().unwrap()).unwrap()),
            bits(&S::default())
        );
    }
    let classified = classifier::<f64>(0.0).evaluate(&classes(7), 3).unwrap();
    check(&classified);
    let mut numbers = RegressionMetrics::default();
    [(1.0, 2.0), (0.5, 0.0), (3.0, 3.0)].iter().for_each(|(p, y)| numbers.add(*p, *y));
    check(&numbers);
    check(&(classified.clone(), numbers));
    let mut texts = Perplexity::default();
    texts.add(2.5, 3);
    check(&texts);
    let mut transcribed = TranscriptionMetrics::default();
    transcribed.add(&[1, 2, 3], &[1, 3, 3, 4]);
    check(&transcribed);
    check(&ErrorRate::words("a b c", "a c d e"));
    let mut total = MeanLoss::default();
    total.add(0.25, 3);
    check(&total);
    check(&WeightedScore { total, metrics: classified.clone() });
    check(&PairScore { first: numbers, second: classified, ..PairScore::default() });
}

#[test]
fn all_ranks_stop_after_the_step_at_which_one_stops() {
    let (folder, data) = (Folder::new("stopped"), classes::<f64>(13));
    for stopping in 0..3 {
        let path = folder.path(format!("{stopping}"));
        let steps = at_ranks(3, |communicator| {
            let (mut model, mut steps) = (classifier(0.0), 0);
            let trainer = trainer(communicator).checkpoint(&path).callback(|event| {
                steps += usize::from(matches!(event, Event::Step { .. }));
                match communicator.rank() == stopping && steps == 6 {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            assert!(trainer.fit(&mut model, &data, None).unwrap().stopped);
            steps
        });
        assert_eq!(steps, [6; 3]);
        assert!(path.exists());
    }
}

#[test]
fn a_checkpoint_of_two_ranks_is_continued_by_any_number() {
    let (folder, data) = (Folder::new("continued"), classes::<f64>(13));
    let fit = |size: usize, path: Option<&Path>, steps: usize| {
        at_ranks(size, |communicator| {
            // The weights are those of rank 0.
            let mut model = classifier(0.0);
            if communicator.rank() > 0 {
                model.fill(0.25);
            }
            let mut left = steps;
            let mut trainer = trainer(communicator).callback(|event| {
                left -= usize::from(matches!(event, Event::Step { .. }));
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if let Some(path) = path {
                trainer = trainer.checkpoint_every(2, path);
            }
            let history = trainer.fit(&mut model, &data, Some(&data)).unwrap();
            (model, history)
        })
    };
    let whole = fit(1, None, usize::MAX).remove(0);
    for size in [1, 2, 3, 4] {
        let path = folder.path(format!("by {size}"));
        let stopped = fit(2, Some(&path), 7).remove(0);
        assert!(stopped.1.stopped);
        for resumed in fit(size, Some(&path), usize::MAX) {
            assert_eq!(resumed.1.resumed.unwrap().step, 7);
            assert_same(&resumed, &whole);
        }
    }
}

/// Returns the errors of three ranks.
fn errors<R>(results: Vec<Result<R>>) -> Vec<String> {
    results.into_iter().map(|result| result.err().unwrap().to_string()).collect()
}

#[test]
fn a_bad_sample_ends_all_ranks_and_changes_nothing() {
    let mut x = inputs::<f64>(12);
    x[7][[0, 1]] = f64::NAN;
    let data = Dataset::new(x, (0..12).map(|i| i % 3).collect::<Vec<usize>>()).unwrap();
    for accumulate in [1, 3] {
        let results = at_ranks(3, |communicator| {
            let trainer = Trainer::new(Sgd::new(1e-9).unwrap()).batch_size(4);
            let trainer = trainer.accumulate(accumulate).distributed(communicator);
            let mut model = classifier(0.0);
            trainer.fit(&mut model, &data, None).map(|_| model)
        });
        let errors = errors(results);
        let own = "sample 7, step 0, feature 1: expected a finite value, got NaN";
        assert!(errors.iter().all(|error| error.starts_with("epoch 0, step ")), "{errors:?}");
        assert!(errors.iter().all(|error| error.ends_with(own)), "{errors:?}");
        let named = errors.iter().filter(|error| error.contains(": rank ")).count();
        assert_eq!(named, 2, "{errors:?}");
    }
}

#[test]
fn a_checkpoint_that_cannot_be_written_ends_all_ranks() {
    let (folder, data) = (Folder::new("unwritable"), classes::<f64>(13));
    let missing = folder.path("no folder").join("checkpoint");
    let fit = |path: &PathBuf| {
        at_ranks(3, |communicator| {
            let trainer = trainer(communicator).checkpoint(path);
            trainer.fit(&mut classifier(0.0), &data, None)
        })
    };
    let results = errors(fit(&missing));
    assert!(!results[0].contains("rank"), "{results:?}");
    assert!(results[1..].iter().all(|error| error.starts_with("rank 0: ")), "{results:?}");
    // A full disk: the file can be opened, but not written.
    let full = PathBuf::from("/dev/full");
    if full.exists() {
        let results = errors(fit(&full));
        assert!(results.iter().all(|error| error.contains("/dev/full")), "{results:?}");
    }
}

#[test]
fn an_error_of_a_hook_or_of_the_validation_ends_all_ranks() {
    let data = classes::<f64>(13);
    let results = at_ranks(3, |communicator| {
        let trainer = trainer(communicator).on_gradient(|_| match communicator.rank() {
            1 => Err(Error::argument("hook", "rank 0", 1)),
            _ => Ok(()),
        });
        trainer.fit(&mut classifier(0.0), &data, None)
    });
    let found = errors(results);
    assert_eq!(found[1], "epoch 0, step 0: hook: expected rank 0, got 1");
    assert_eq!(found[2], "epoch 0, step 0: rank 1: hook: expected rank 0, got 1");

    let wrong = Dataset::new(inputs::<f64>(4), vec![0, 1, 7, 2]).unwrap();
    let results = at_ranks(3, |communicator| {
        trainer(communicator).fit(&mut classifier(0.0), &data, Some(&wrong))
    });
    for error in errors(results) {
        assert!(error.contains("less than 3 (classes)"), "{error}");
    }
}

#[test]
fn ranks_with_other_settings_are_refused_by_name() {
    let data = classes::<f64>(13);
    type Set = fn(Trainer<'_, Classifier<f64>>) -> Trainer<'_, Classifier<f64>>;
    let cases: [(&str, Set); 5] = [
        ("batch_size: expected 4 as at rank 0, got 5 at rank 2", |t| t.batch_size(5)),
        ("seed: expected 9 as at rank 0, got 1 at rank 2", |t| t.seed(1)),
        ("epochs: expected 4 as at rank 0, got 5 at rank 2", |t| t.epochs(5)),
        ("checkpoint: expected None as at rank 0, got Some(None) at rank 2", |t| t.checkpoint("c")),
        ("on_gradient: expected false as at rank 0, got true at rank 2", |t| {
            t.on_gradient(|_| Ok(()))
        }),
    ];
    for (expected, set) in cases {
        let results = at_ranks(3, |communicator| {
            let mut trainer = trainer(communicator);
            if communicator.rank() == 2 {
                trainer = set(trainer);
            }
            trainer.fit(&mut classifier(0.0), &data, None)
        });
        for error in errors(results) {
            assert_eq!(error, expected);
        }
    }
    let results = at_ranks(2, |communicator| {
        let data = classes::<f64>(13 - communicator.rank());
        trainer(communicator).fit(&mut classifier(0.0), &data, None)
    });
    for error in errors(results) {
        assert_eq!(error, "train: samples: expected 13 as at rank 0, got 12 at rank 1");
    }
    let results = at_ranks(2, |communicator| {
        let mut x = inputs::<f64>(6);
        x.rotate_left(communicator.rank());
        let data = Dataset::new(x, vec![0; 6]).unwrap();
        trainer(communicator).bucketed(2).fit(&mut classifier(0.0), &data, None)
    });
    for error in errors(results) {
        assert!(error.starts_with("train: lengths: expected "), "{error}");
    }
}

#[test]
fn an_option_out_of_range_at_one_rank_is_an_error_of_all() {
    let data = classes::<f64>(13);
    let results = at_ranks(2, |communicator| {
        let trainer = trainer(communicator).batch_size(4 * communicator.rank());
        trainer.fit(&mut classifier(0.0), &data, None)
    });
    let found = errors(results);
    assert_eq!(found[0], "batch_size: expected at least 1, got 0");
    assert_eq!(found[1], "rank 0: batch_size: expected at least 1, got 0");
}

#[test]
fn a_sum_needs_whole_batches() {
    let data = Dataset::new(inputs::<f64>(13), (0..13).map(f64::from).collect()).unwrap();
    let builder = SequenceRegressor::<GruCell<f64>>::builder(2, 1).hidden_size(3).loss(Sum(Mse));
    let model = builder.build(&mut rng(1)).unwrap();
    let fit = |size: usize, accumulate| {
        at_ranks(size, |communicator| {
            let mut trained = model.clone();
            let trainer = trainer(communicator).accumulate(accumulate);
            trainer.fit(&mut trained, &data, None).map(|_| bits(&trained))
        })
    };
    let expected = "distributed: expected a loss that is a mean, or accumulate of at least 3 (ranks), got a sum";
    assert_eq!(errors(fit(3, 2)), [expected; 3]);
    let alone = fit(1, 3).remove(0).unwrap();
    fit(3, 3).into_iter().for_each(|rank| assert_eq!(rank.unwrap(), alone));
}

#[test]
fn a_rank_that_leaves_ends_the_exchanges_of_the_others() {
    let data = classes::<f64>(13);
    let results = at_ranks(3, |communicator| match communicator.rank() {
        1 => Ok(()),
        _ => trainer(communicator).fit(&mut classifier(0.0), &data, None).map(drop),
    });
    // The communicator of rank 1 is dropped when its thread ends.
    for rank in [0, 2] {
        let error = results[rank].as_ref().unwrap_err();
        assert!(matches!(error, Error::Communication { .. }), "{error}");
        assert_eq!(error.to_string(), "communication between ranks: rank 1 has left");
    }
}

#[test]
fn a_panic_of_a_rank_ends_the_others() {
    let data = classes::<f64>(13);
    let ranks = ThreadCommunicator::group(3).unwrap();
    let results: Vec<_> = thread::scope(|scope| {
        let data = &data;
        let fit = |communicator: ThreadCommunicator| {
            let trainer = trainer(&communicator).callback(|event| {
                if communicator.rank() == 2 && matches!(event, Event::Step { step: 3, .. }) {
                    std::panic::resume_unwind(Box::new(()));
                }
                ControlFlow::Continue(())
            });
            trainer.fit(&mut classifier(0.0), data, None).map(drop)
        };
        let threads = ranks.into_iter().map(|rank| scope.spawn(move || fit(rank)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    assert!(results[2].is_err());
    for result in &results[..2] {
        let error = result.as_ref().unwrap().as_ref().unwrap_err().to_string();
        assert_eq!(error, "communication between ranks: rank 2 has left");
    }
}

#[test]
fn an_agreement_returns_the_own_value_or_the_first_error() {
    let values = at_ranks(3, |communicator| agree(communicator, Ok(communicator.rank())));
    assert_eq!(values.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2]);
    let values = at_ranks(4, |communicator| match communicator.rank() {
        rank @ 1..=2 => agree(communicator, Err(Error::argument("rank", "0", rank))),
        rank => agree(communicator, Ok(rank)),
    });
    let errors = errors(values);
    assert_eq!(errors[0], "rank 1: rank: expected 0, got 1");
    assert_eq!(errors[1], "rank: expected 0, got 1");
    assert_eq!(errors[2], "rank: expected 0, got 2");
    assert_eq!(errors[3], errors[0]);
}

#[test]
fn sums_of_other_sizes_and_unknown_ranks_are_errors() {
    let results = at_ranks(2, |communicator| {
        let mut values = vec![1.0_f32; 3 + communicator.rank()];
        communicator.sum_f32(&mut values)
    });
    assert!(results.iter().all(|result| matches!(result, Err(Error::Communication { .. }))));
    let results = at_ranks(2, |communicator| communicator.broadcast(2, &mut vec![1]));
    assert!(results.iter().all(|result| matches!(result, Err(Error::Communication { .. }))));
    assert_eq!(
        ThreadCommunicator::group(0).unwrap_err().to_string(),
        "size: expected at least 1, got 0"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_sum_is_that_in_the_order_of_the_ranks_at_every_rank(
        values in prop::collection::vec(prop::collection::vec(-1e3..1e3_f32, 5), 1..5),
        root in 0..4_usize,
    ) {
        let size = values.len();
        let found = at_ranks(size, |communicator| {
            let own = &values[communicator.rank()];
            let (mut sum, mut wide) = (own.clone(), own.iter().map(|&v| f64::from(v) / 3.0).collect::<Vec<_>>());
            communicator.sum_f32(&mut sum).unwrap();
            communicator.sum_f64(&mut wide).unwrap();
            communicator.barrier().unwrap();
            let mut bytes = vec![communicator.rank() as u8; 1 + communicator.rank()];
            communicator.broadcast(root % size, &mut bytes).unwrap();
            (sum, wide, bytes)
        });
        let expected: Vec<f32> = (0..5).map(|i| {
            values.iter().map(|rank| rank[i]).reduce(|sum, value| sum + value).unwrap()
        }).collect();
        let wide: Vec<f64> = (0..5).map(|i| {
            values.iter().map(|rank| f64::from(rank[i]) / 3.0).reduce(|sum, value| sum + value).unwrap()
        }).collect();
        for rank in found {
            prop_assert_eq!(&rank.0, &expected);
            prop_assert_eq!(&rank.1, &wide);
            prop_assert_eq!(rank.2, vec![(root % size) as u8; 1 + root % size]);
        }
    }
}

/// Writes 23 sequences into files of the given sizes, with a manifest of `announced` sizes.
fn write_shards(folder: &Folder, sizes: &[usize], announced: &[usize]) -> PathBuf {
    let mut next = 0;
    let mut entries = Vec::new();
    for (file, (&size, announced)) in sizes.iter().zip(announced).enumerate() {
        let name = format!("{file}.txt");
        let samples: Vec<String> = (next..next + size).map(|sample| sample.to_string()).collect();
        fs::write(folder.path(&name), samples.join("\n")).unwrap();
        entries.push(format!(r#"{{"path": "{name}", "samples": {announced}}}"#));
        next += size;
    }
    let path = folder.path("manifest.json");
    fs::write(&path, format!("[{}]", entries.join(", "))).unwrap();
    path
}

/// Reads the samples of one rank from its files.
fn read_shards(
    manifest: &Path,
    communicator: &dyn Communicator,
) -> Result<Sharded<Dataset<f64, usize>>> {
    let (all, manifest) = (inputs::<f64>(23), Manifest::read(manifest)?);
    manifest.shards(communicator.rank(), communicator.size(), |files| {
        let read = |file: &&Path| fs::read_to_string(file).unwrap();
        let samples: Vec<usize> = files
            .iter()
            .flat_map(|file| {
                read(file).lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>()
            })
            .collect();
        let x = samples.iter().map(|&sample| all[sample].clone()).collect();
        Dataset::new(x, samples.iter().map(|sample| sample % 3).collect())
    })
}

#[test]
fn files_of_any_sizes_train_as_all_files_of_one_process() {
    let folder = Folder::new("shards");
    for sizes in [&[9, 1, 6, 4, 3][..], &[20, 3], &[23]] {
        let manifest = write_shards(&folder, sizes, sizes);
        let fit = |communicator: &ThreadCommunicator| {
            let data = agree(communicator, read_shards(&manifest, communicator)).unwrap();
            let mut model = classifier(0.0);
            let trainer = trainer(communicator).bucketed(2).accumulate(2);
            let history = trainer.fit(&mut model, &data, Some(&data)).unwrap();
            (model, history)
        };
        let alone = at_ranks(1, fit).remove(0);
        assert_eq!(alone.1.epochs.len(), 4);
        for size in 2..=4 {
            at_ranks(size, fit).iter().for_each(|rank| assert_same(rank, &alone));
        }
    }
}

#[test]
fn files_with_a_scaler_are_scaled_at_every_rank() {
    let folder = Folder::new("scaled");
    let manifest = write_shards(&folder, &[14, 9], &[14, 9]);
    let x = inputs::<f64>(23);
    let views: Vec<_> = x.iter().map(|x| x.view()).collect();
    let scaler = Scaler::standard(&views).unwrap();
    let builder = SequenceClassifier::<GruCell<f64>>::builder(2, 3).hidden_size(3).scaler(scaler);
    let model = builder.build(&mut rng(1)).unwrap();
    let fit = |communicator: &ThreadCommunicator| {
        let data = read_shards(&manifest, communicator).unwrap();
        let mut model = model.clone();
        let history = trainer(communicator).fit(&mut model, &data, Some(&data)).unwrap();
        (model, history)
    };
    let alone = at_ranks(1, fit).remove(0);
    at_ranks(3, fit).iter().for_each(|rank| assert_same(rank, &alone));
}

#[test]
fn every_file_is_read_by_one_rank() {
    let folder = Folder::new("assigned");
    let sizes = [5, 0, 7, 7, 2, 1, 40];
    let manifest = Manifest::read(write_shards(&folder, &sizes, &sizes)).unwrap();
    for size in 1..10 {
        let own = |rank| manifest.of_rank(rank, size).unwrap();
        let mut files: Vec<usize> = (0..size).flat_map(own).collect();
        files.sort_unstable();
        assert_eq!(files, [0, 1, 2, 3, 4, 5, 6]);
        let samples = |rank| own(rank).iter().map(|&file| sizes[file]).sum::<usize>();
        assert!((0..size).all(|rank| samples(rank) <= 62 / size + 40), "{size} ranks");
    }
    assert_eq!(manifest.of_rank(0, 2).unwrap(), [6]);
    let error = manifest.of_rank(2, 2).unwrap_err().to_string();
    assert_eq!(error, "rank: expected less than 2 (size), got 2");
}

#[test]
fn damaged_manifests_and_other_numbers_of_samples_are_refused() {
    let folder = Folder::new("manifests");
    let refused = |text: &str, problem: &str| {
        let path = folder.path("bad.json");
        fs::write(&path, text).unwrap();
        let error = Manifest::read(&path).unwrap_err();
        assert!(matches!(error, Error::Format { format: "manifest", .. }), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    };
    refused("[", "EOF");
    refused("[]", "no files");
    refused(r#"[{"path": "a"}]"#, "missing field `samples`");
    refused(r#"[{"path": "a", "samples": -1}]"#, "invalid value");
    refused(r#"[{"path": "a", "samples": 1, "labels": 2}]"#, "unknown field `labels`");
    refused(r#"[{"path": "a", "samples": 1}, {"path": "a", "samples": 2}]"#, "a twice");
    let huge = format!(
        r#"[{{"path": "a", "samples": {0}}}, {{"path": "b", "samples": {0}}}]"#,
        usize::MAX
    );
    refused(&huge, "more samples than can be numbered");
    let missing = Manifest::read(folder.path("none.json")).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing}");

    let manifest = write_shards(&folder, &[14, 9], &[14, 8]);
    let results = at_ranks(2, |communicator| {
        agree(communicator, read_shards(&manifest, communicator)).map(drop)
    });
    for error in errors(results) {
        assert!(error.contains("1.txt: expected 8 as in "), "{error}");
        assert!(error.ends_with("manifest.json, got 9"), "{error}");
    }

    let manifest = write_shards(&folder, &[14, 9], &[14, 9]);
    at_ranks(2, |communicator| {
        let data = read_shards(&manifest, communicator).unwrap();
        assert_eq!(Source::<(Sequences<f64>, Vec<usize>)>::len(&data), 23);
        let other = 14 * (1 - communicator.rank());
        let error = data.batch(&[other]).unwrap_err().to_string();
        let expected = "expected a sample in a file of this rank, got one in another file";
        assert_eq!(error, format!("sample {other}: {expected}"));
    });
}

/// A source of which the ranks hold too few samples.
struct Lacking(usize);

impl Source<Vec<f64>> for Lacking {
    fn len(&self) -> usize {
        6
    }

    fn holds(&self, index: usize) -> bool {
        index % 3 == self.0
    }

    fn batch(&self, indices: &[usize]) -> Result<Vec<f64>> {
        Ok(vec![0.0; indices.len()])
    }
}

#[test]
fn samples_that_no_rank_holds_are_an_error() {
    let results = at_ranks(2, |communicator| {
        let trainer = Trainer::new(Sgd::new(0.1).unwrap()).distributed(communicator);
        trainer.fit(&mut Number::new(0.0), &Lacking(communicator.rank()), None)
    });
    for error in errors(results) {
        assert_eq!(error, "train: samples: expected 6 at every rank, or in all, got [2.0, 2.0]");
    }
    let results = at_ranks(3, |communicator| {
        let (data, trainer) = (Lacking(communicator.rank()), Trainer::new(Sgd::new(0.1).unwrap()));
        let trainer = trainer.distributed(communicator);
        trainer.fit(&mut Number::new(0.0), &data, Some(&data))
    });
    for error in errors(results) {
        assert!(error.contains("a score that implements Score::to_numbers"), "{error}");
    }
}

/// A source that must not be asked for the samples of this process.
struct Whole;

impl Source<Vec<f64>> for Whole {
    fn len(&self) -> usize {
        3
    }

    fn holds(&self, index: usize) -> bool {
        panic!("asked for sample {index}")
    }

    fn batch(&self, indices: &[usize]) -> Result<Vec<f64>> {
        Ok(vec![1.0; indices.len()])
    }
}

#[test]
fn a_process_alone_does_not_ask_which_samples_it_holds() {
    let ranks = ThreadCommunicator::group(1).unwrap();
    for ranks in [None, Some(&ranks[0])] {
        let mut trainer = Trainer::new(Sgd::new(0.1).unwrap()).epochs(2);
        if let Some(ranks) = ranks {
            trainer = trainer.distributed(ranks);
        }
        let history = trainer.fit(&mut Number::new(0.0), &Whole, Some(&Whole)).unwrap();
        assert_eq!(history.epochs.len(), 2);
    }
}

#[test]
fn a_process_alone_without_some_samples_is_told_by_its_source() {
    let folder = Folder::new("shards_alone");
    let manifest = write_shards(&folder, &[14, 9], &[14, 9]);
    let data = at_ranks(2, |communicator| read_shards(&manifest, communicator).unwrap());
    let mut model = classifier::<f64>(0.0);
    let before = bits(&model);
    let trainer = Trainer::new(Sgd::new(0.1).unwrap());
    let error = trainer.fit(&mut model, &data[0], None).unwrap_err().to_string();
    assert!(error.contains("expected a sample in a file of this rank"), "{error}");
    assert_eq!(bits(&model), before);
}

/// A communicator of two ranks of which the other never answers.
struct Broken {
    rank: usize,
    answers: usize,
}

impl Communicator for Broken {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        2
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec(); self.answers])
    }

    fn broadcast(&self, _: usize, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.clear();
        Ok(())
    }
}

#[test]
fn a_communicator_that_breaks_its_contract_is_an_error() {
    let fit = |rank, answers| {
        let (communicator, data) = (Broken { rank, answers }, Numbers(vec![1.0, 2.0]));
        let trainer = Trainer::new(Sgd::new(0.1).unwrap()).distributed(&communicator);
        trainer.fit(&mut Number::new(0.0), &data, None).unwrap_err().to_string()
    };
    assert_eq!(fit(2, 2), "communicator.rank: expected less than 2 (ranks), got 2");
    let lost = "communication between ranks: expected the bytes of 2 ranks, got those of";
    assert_eq!(fit(0, 0), format!("{lost} 0"));
    assert_eq!(fit(0, 3), format!("{lost} 3"));
    assert_eq!(fit(0, 2), "communication between ranks: expected 8 bytes, got 0");
}

#[test]
fn a_trainer_with_ranks_can_be_sent_to_a_thread() {
    let ranks = ThreadCommunicator::group(1).unwrap();
    let trainer: Trainer<'_, Number> = Trainer::new(Sgd::new(0.1).unwrap()).distributed(&ranks[0]);
    let history = thread::scope(|scope| {
        let data = Numbers(vec![1.0]);
        scope
            .spawn(move || trainer.fit(&mut Number::new(0.0), &data, None).unwrap())
            .join()
            .unwrap()
    });
    assert_eq!(history.epochs.len(), 10);
}
