//! Targets of other lengths than the inputs: a target and a loss of a user's own, from data set to file.

use ndarray::{Array2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::data::{Dataset, Source, Target};
use recurrent::layer::Linear;
use recurrent::loss::{CrossEntropy, Loss};
use recurrent::model::{Composed, MeanLoss, Scored};
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};
use recurrent::{Arrays, Error, Gru, Result, Sequences};

/// The classes of some segments of a sequence, in order: fewer than it has steps.
#[derive(Clone, Debug)]
struct Labels(Vec<usize>);

impl Target for Labels {
    type Batch = Vec<Vec<usize>>;

    fn steps(&self) -> Option<usize> {
        None
    }

    fn stack(targets: &[&Self], _: usize) -> Result<Self::Batch> {
        Ok(targets.iter().map(|labels| labels.0.clone()).collect())
    }
}

/// Divides each sequence into as many equal segments as it has labels, and compares the mean logits of
/// each segment with its label.
#[derive(Clone, Debug)]
struct Segments;

/// The steps of segment `k` of `count` of a sequence.
fn steps(length: usize, count: usize, k: usize) -> std::ops::Range<usize> {
    k * length / count..(k + 1) * length / count
}

/// The mean logits [segments, classes] of all sequences, one after another.
fn means(logits: &Sequences<f64>, labels: &[Vec<usize>]) -> Result<Array2<f64>> {
    if labels.len() != logits.batch() {
        return Err(Error::argument("labels", logits.batch(), labels.len()));
    }
    let mut means = Array2::zeros((0, logits.features()));
    for (b, (&length, labels)) in logits.lengths().iter().zip(labels).enumerate() {
        if !(1..=length).contains(&labels.len()) {
            let expected = format!("1 to {length} (the steps of the sequence)");
            return Err(Error::argument(format!("labels[{b}]"), expected, labels.len()));
        }
        for k in 0..labels.len() {
            let mut mean = ndarray::Array1::zeros(logits.features());
            let steps = steps(length, labels.len(), k);
            for t in steps.clone() {
                mean += &logits.values().slice(ndarray::s![t, b, ..]);
            }
            mean /= steps.len() as f64;
            means.push(Axis(0), mean.view()).expect("rows of one width");
        }
    }
    Ok(means)
}

impl Loss<Sequences<f64>> for Segments {
    type Target = Vec<Vec<usize>>;

    fn loss(
        &self,
        logits: &Sequences<f64>,
        labels: &Self::Target,
    ) -> Result<(f64, Sequences<f64>)> {
        let means = means(logits, labels)?;
        let (loss, d_means) = CrossEntropy::default().loss(&means, &labels.concat())?;
        let mut d_logits = ndarray::Array3::zeros(logits.values().dim());
        let mut rows = d_means.rows().into_iter();
        for (b, (&length, labels)) in logits.lengths().iter().zip(labels).enumerate() {
            for k in 0..labels.len() {
                let (steps, row) = (steps(length, labels.len(), k), rows.next().unwrap());
                for t in steps.clone() {
                    let mut d_step = d_logits.slice_mut(ndarray::s![t, b, ..]);
                    d_step += &(&row / steps.len() as f64);
                }
            }
        }
        Ok((loss, logits.with_values(d_logits)?))
    }

    fn count(&self, _: &Sequences<f64>, labels: &Self::Target) -> Result<f64> {
        Ok(labels.iter().map(Vec::len).sum::<usize>() as f64)
    }
}

impl Scored<Sequences<f64>> for Segments {
    type Score = MeanLoss;

    fn name(&self) -> String {
        "segments".to_owned()
    }

    fn score(
        &self,
        loss: f64,
        _: &Sequences<f64>,
        labels: &Self::Target,
        score: &mut MeanLoss,
    ) -> Result<()> {
        score.add(loss, labels.iter().map(Vec::len).sum());
        Ok(())
    }
}

type Segmenter = Composed<Sequences<f64>, (Gru<f64>, Linear<f64>), Segments>;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(6)
}

fn build(hidden: &usize) -> Result<Segmenter> {
    let gru = Gru::builder(1, *hidden).build(&mut rng())?;
    Ok(Composed::new((gru, Linear::new(*hidden, 3, &mut rng())?), Segments))
}

/// Sequences of 8 to 12 steps with 2 to 4 labels; the value of a step shows the label of its segment.
fn data() -> Dataset<f64, Labels> {
    let labels = |i: usize| (0..2 + i % 3).map(|k| (i + 2 * k * k) % 3).collect::<Vec<_>>();
    let sequence = |i: usize| {
        let (length, labels) = (8 + i % 5, labels(i));
        let mut x = Array2::zeros((length, 1));
        for (k, &label) in labels.iter().enumerate() {
            x.slice_mut(ndarray::s![steps(length, labels.len(), k), 0]).fill(label as f64 - 1.0);
        }
        x
    };
    let targets = (0..24).map(|i| Labels(labels(i))).collect();
    Dataset::new((0..24).map(sequence).collect(), targets).unwrap()
}

#[test]
fn a_batch_keeps_targets_of_their_own_lengths() {
    let (x, labels) = data().batch(&[0, 4, 2]).unwrap();
    assert_eq!(x.lengths(), [8, 12, 10]);
    assert_eq!(labels.iter().map(Vec::len).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn the_gradient_of_a_loss_of_other_lengths_matches_finite_differences() {
    let (model, batch) = (build(&5).unwrap(), data().batch(&[0, 4, 2]).unwrap());
    let mut grad = model.zeros_like();
    model.loss_and_grad(&batch, &mut grad, &mut rng()).unwrap();
    let report = GradientCheck::default().run(&model, &grad, |model| {
        model.loss_and_grad(&batch, &mut model.zeros_like(), &mut rng())
    });
    let report = report.unwrap();
    assert!(report.relative_error <= 1e-6, "{report}");
}

#[test]
fn a_model_trains_on_targets_of_other_lengths_and_comes_back_from_its_file() {
    let (mut model, data) = (build(&8).unwrap(), data());
    let (train, valid) = data.split(&((0..18).collect(), (18..24).collect())).unwrap();
    let before = model.evaluate(&valid, 4).unwrap().mean();
    let trainer = Trainer::new(Adam::new(0.03).unwrap()).epochs(40).batch_size(5).bucketed(2);
    trainer.fit(&mut model, &train, Some(&valid)).unwrap();
    let after = model.evaluate(&valid, 4).unwrap().mean();
    assert!(after < 0.2 * before, "{before}, then {after}");

    let name = format!("recurrent-unaligned-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    model.save(&8_usize, &path).unwrap();
    let again = Segmenter::load(&path, build).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (x, labels) = valid.all().unwrap();
    let means = means(&again.predict(&x).unwrap(), &labels).unwrap();
    let likeliest = |row| recurrent::decode::argmax(row).unwrap();
    let predicted: Vec<usize> = means.rows().into_iter().map(likeliest).collect();
    assert_eq!(predicted, labels.concat());
}

#[test]
fn more_labels_than_steps_are_refused_and_named() {
    let sequences = vec![Array2::zeros((2, 1)), Array2::zeros((1, 1))];
    let targets = vec![Labels(vec![0]), Labels(vec![0, 1])];
    let data = Dataset::<f64, Labels>::new(sequences, targets).unwrap();
    let error = build(&3).unwrap().evaluate(&data, 2).unwrap_err().to_string();
    assert_eq!(error, "labels[1]: expected 1 to 1 (the steps of the sequence), got 2");
}
