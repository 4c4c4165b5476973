//! Tests of compositions of layers, losses of a user, and a model of two branches: finite differences,
//! padding, training, files.

use std::fs;

use ndarray::{Array2, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::data::Source;
use recurrent::layer::{
    Activation, Add, Branches, Concat, Conv1d, Dropout, Embedding, Heads, Layer, LayerNorm, Linear,
    Pooling, Residual, TimePooling,
};
use recurrent::loss::{CrossEntropy, Loss, Mae, Mse, Sum, Weighted};
use recurrent::model::{Composed, MeanLoss, Scored};
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};
use recurrent::{Arrays, Gru, Lstm, Result, Sequences, arrays};

use crate::common::bits::bits;
use crate::common::padding::padded;
use crate::common::random::random;

const LENGTHS: [[usize; 3]; 2] = [[5, 5, 5], [2, 1, 4]];

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

fn linear(input: usize, output: usize) -> Linear<f64> {
    Linear::new(input, output, &mut rng()).unwrap()
}

fn rows(features: usize, seed: u64) -> Array2<f64> {
    random((1, 3, features), seed).index_axis_move(Axis(0), 0)
}

fn sequences(features: usize, lengths: [usize; 3], seed: u64) -> Sequences<f64> {
    Sequences::new(random((5, 3, features), seed), lengths.to_vec()).unwrap()
}

/// Returns Σ w ∘ y, a loss whose gradient with respect to y is `w`.
fn product<Y: Arrays<Elem = f64>>(y: &Y, w: &Y) -> f64 {
    let (mut w, mut sum) = (w.clone(), 0.0);
    w.zip_mut("y", y, &mut |_, w, y| sum += (&w * &y).sum()).unwrap();
    sum
}

/// Compares the gradients of a layer and of its input with finite differences, with fixed random numbers.
fn agrees<X, L>(layer: &L, x: &X, w: &L::Output)
where
    X: Arrays<Elem = f64>,
    L: Layer<X, Output: Arrays<Elem = f64>, Elem = f64>,
{
    let (_, tape) = layer.forward_train(x, &mut rng()).unwrap();
    let mut grad = layer.zeros_like();
    let d_x = layer.backward(tape, w, &mut grad).unwrap();
    let point = (layer.clone(), x.clone());
    let report = GradientCheck::default().run(&point, &(grad, d_x), |(layer, x)| {
        Ok(product(&layer.forward_train(x, &mut rng())?.0, w))
    });
    let report = report.unwrap();
    assert!(report.relative_error <= 2e-6, "{report}");
}

#[test]
fn chains_of_every_length_match_finite_differences() {
    for (input, width) in [(1, 3), (3, 7), (7, 1)] {
        let (x, w) = (rows(input, 1), rows(width, 2));
        let (first, then) = (linear(input, width), linear(width, width));
        let (tanh, sigmoid) = (Activation::tanh(), Activation::sigmoid());
        agrees(&(first.clone(), tanh), &x, &w);
        agrees(&(first.clone(), tanh, then.clone()), &x, &w);
        agrees(&(first.clone(), tanh, then.clone(), sigmoid), &x, &w);
        let dropout = Dropout::new(0.3).unwrap();
        agrees(&(first.clone(), tanh, dropout, then.clone(), sigmoid), &x, &w);
        let norm = LayerNorm::new(width).unwrap();
        if width > 1 {
            agrees(&(first, tanh, norm, then.clone(), sigmoid, then), &x, &w);
        }
    }
}

#[test]
fn layers_of_sequences_compose_over_any_lengths() {
    for lengths in LENGTHS {
        for width in [1, 3, 7] {
            let lstm = Lstm::<f64>::builder(3, width).build(&mut rng()).unwrap();
            let conv = Conv1d::new(3, 3, 3, &mut rng()).unwrap();
            let dropout = Dropout::new(0.3).unwrap();
            let steps = (conv, Activation::sigmoid(), lstm, dropout, linear(width, 3));
            let (x, w) = (sequences(3, lengths, 1), sequences(3, lengths, 2));
            agrees(&steps, &x, &w);
            agrees(&Residual(steps.clone()), &x, &w);
            for kind in [Pooling::Last, Pooling::Mean, Pooling::Attention] {
                let pooling = TimePooling::new(kind, 3, 1, &mut rng()).unwrap();
                agrees(&(steps.clone(), pooling), &x, &rows(3, 4));
            }
            let run = |x: &Sequences<f64>, w: &Sequences<f64>| {
                let layer = Residual(steps.clone());
                let (y, tape) = layer.forward_train(x, &mut rng()).unwrap();
                let mut grad = layer.zeros_like();
                let d_x = layer.backward(tape, w, &mut grad).unwrap();
                bits(&(grad, d_x, y))
            };
            assert_eq!(run(&x, &w), run(&padded(&x, f64::NAN), &padded(&w, f64::NAN)));
        }
    }
}

#[test]
fn branches_heads_and_their_merging_match_finite_differences() {
    for lengths in LENGTHS {
        let gru = Gru::<f64>::builder(3, 7).build(&mut rng()).unwrap();
        let pooling = TimePooling::new(Pooling::Mean, 7, 1, &mut rng()).unwrap();
        let branches = Branches::new((gru.clone(), pooling), (linear(3, 1), Activation::tanh()));
        let heads = Heads::new(linear(8, 3), linear(8, 1));
        let x = (sequences(3, lengths, 1), rows(3, 2));
        agrees(&(branches, Concat::new(), heads), &x, &(rows(3, 3), rows(1, 4)));

        let x = (sequences(3, lengths, 1), sequences(1, lengths, 2));
        let steps = Branches::new(gru.clone(), linear(1, 3));
        agrees(&(steps, Concat::new()), &x, &sequences(10, lengths, 3));
        let steps = Branches::new(gru, linear(1, 7));
        agrees(&(steps, Add::new()), &x, &sequences(7, lengths, 3));
    }
    let error = Concat::<f64>::new().forward(&(rows(2, 1), Array2::zeros((2, 2)))).unwrap_err();
    assert_eq!(error.to_string(), "second: expected [3, 2] (rows, features), got [2, 2]");
}

#[test]
fn tokens_go_through_a_chain_and_have_no_gradient() {
    let tokens = Array2::from_shape_fn((5, 3), |(t, b)| (3 * t + b) % 4);
    let x = Sequences::<f64>::one_hot(tokens.view(), 4, vec![2, 1, 4]).unwrap();
    let words = Embedding::new(4, 3, &mut rng()).unwrap();
    let chain = (words, Gru::builder(3, 7).build(&mut rng()).unwrap());
    let (w, mut grad) = (sequences(7, LENGTHS[1], 1), chain.zeros_like());
    let (_, tape) = chain.forward_train(&x, &mut rng()).unwrap();
    assert_eq!(chain.backward(tape, &w, &mut grad).unwrap(), x.zeros_like());
    let report = GradientCheck::default();
    let report = report.run(&chain, &grad, |chain| Ok(product(&chain.forward(&x)?, &w))).unwrap();
    assert!(report.relative_error <= 1e-6, "{report}");
}

/// A user's layer that multiplies by one learned number.
#[derive(Clone)]
struct Gain {
    factor: ndarray::Array1<f64>,
}
arrays!([] Gain: f64 { factor: array });

impl Layer<Array2<f64>> for Gain {
    type Output = Array2<f64>;
    type Tape = Array2<f64>;

    fn forward(&self, x: &Array2<f64>) -> Result<Array2<f64>> {
        Ok(x * self.factor[0])
    }

    fn forward_train(&self, x: &Array2<f64>, _: &mut dyn Rng) -> Result<(Array2<f64>, Self::Tape)> {
        Ok((self.forward(x)?, x.clone()))
    }

    fn backward(&self, x: Array2<f64>, d_y: &Array2<f64>, grad: &mut Self) -> Result<Array2<f64>> {
        grad.factor[0] += (&x * d_y).sum();
        Ok(d_y * self.factor[0])
    }
}

/// A user's loss: the mean of e⁴.
#[derive(Clone, Debug)]
struct Quartic;

impl Loss<Array2<f64>> for Quartic {
    type Target = Array2<f64>;

    fn loss(&self, p: &Array2<f64>, y: &Array2<f64>) -> Result<(f64, Array2<f64>)> {
        let (e, count) = (p - y, p.len() as f64);
        Ok((e.mapv(|e| e.powi(4)).sum() / count, e.mapv(|e| 4.0 * e.powi(3)) / count))
    }

    fn count(&self, p: &Array2<f64>, _: &Array2<f64>) -> Result<f64> {
        Ok(p.len() as f64)
    }
}

impl Scored<Array2<f64>> for Quartic {
    type Score = MeanLoss;

    fn name(&self) -> String {
        "quartic".to_owned()
    }

    fn score(
        &self,
        loss: f64,
        p: &Array2<f64>,
        _: &Array2<f64>,
        score: &mut MeanLoss,
    ) -> Result<()> {
        score.add(loss, p.nrows());
        Ok(())
    }
}

#[test]
fn a_layer_and_a_loss_of_one_s_own_make_a_model() {
    let gain = Gain { factor: ndarray::arr1(&[0.7]) };
    agrees(&(linear(3, 7), gain.clone()), &rows(3, 1), &rows(7, 2));
    let model: Composed<Array2<f64>, _, _> = Composed::new((linear(3, 7), gain), Quartic);
    assert_eq!(model.names(), ["0.weight", "0.bias", "1.factor"]);
    let (batch, mut grad) = ((rows(3, 1), rows(7, 2)), model.zeros_like());
    let loss = model.loss_and_grad(&batch, &mut grad, &mut rng()).unwrap();
    let report = GradientCheck::default().run(&model, &grad, |model| {
        model.loss_and_grad(&batch, &mut model.zeros_like(), &mut rng())
    });
    assert!(report.unwrap().relative_error <= 1e-6);
    let mut score = MeanLoss::default();
    model.score_batch(&batch, &mut score).unwrap();
    assert_eq!(score.mean(), loss);
    let sum = Sum(Quartic).loss(&model.predict(&batch.0).unwrap(), &batch.1).unwrap();
    assert!((sum.0 - 21.0 * loss).abs() < 1e-12 * sum.0);
}

type Input = (Sequences<f64>, Array2<f64>);
type Target = (Array2<f64>, Vec<usize>);
type Branch = (Lstm<f64>, TimePooling<f64>);
type Network = (Branches<Branch, Linear<f64>>, Concat<f64>, Heads<Linear<f64>, Linear<f64>>);
type TwoBranches = Composed<Input, Network, Weighted<Mse, CrossEntropy>>;

fn two_branches(hidden: &usize) -> Result<TwoBranches> {
    let lstm = Lstm::builder(1, *hidden).build(&mut rng())?;
    let day = (lstm, TimePooling::new(Pooling::Last, *hidden, 1, &mut rng())?);
    let heads = Heads::new(linear(hidden + 3, 1), linear(hidden + 3, 2));
    let loss = Weighted::new((1.0, Mse), (0.5, CrossEntropy::default()))?;
    Ok(Composed::new((Branches::new(day, linear(2, 3)), Concat::new(), heads), loss))
}

/// A source whose samples are computed from their index.
struct Made;

impl Source<(Input, Target)> for Made {
    fn len(&self) -> usize {
        32
    }

    fn batch(&self, samples: &[usize]) -> Result<(Input, Target)> {
        let value = |i: usize, t: usize| ((i * 7 + t * 3) % 5) as f64 / 5.0;
        let day = |&i: &usize| Array2::from_shape_fn((3 + i % 4, 1), |(t, _)| value(i, t));
        let days: Vec<Array2<f64>> = samples.iter().map(day).collect();
        let place = Array2::from_shape_fn((samples.len(), 2), |(b, j)| value(samples[b], 9 + j));
        let last = |b: usize| value(samples[b], 2 + samples[b] % 4);
        let y = Array2::from_shape_fn((samples.len(), 1), |(b, _)| last(b) + place[[b, 0]]);
        let classes = (0..samples.len()).map(|b| usize::from(last(b) > 0.5)).collect();
        Ok(((Sequences::from_list(&days)?, place), (y, classes)))
    }
}

#[test]
fn a_model_of_two_branches_trains_and_comes_back_from_its_file() {
    let path = std::env::temp_dir().join(format!("recurrent-branches-{}", std::process::id()));
    let mut model = two_branches(&7).unwrap();
    let before = model.evaluate(&Made, 5).unwrap();
    let trainer = Trainer::new(Adam::new(0.02).unwrap()).epochs(30).batch_size(8);
    trainer.fit(&mut model, &Made, None).unwrap();
    let after = model.evaluate(&Made, 5).unwrap();
    assert!(after.total.mean() < 0.3 * before.total.mean(), "{before}, then {after}");
    assert!(after.first.rmse() < 0.2 && after.second.accuracy() > 0.9, "{after}");

    model.save(&7_usize, &path).unwrap();
    let again = TwoBranches::load(&path, two_branches).unwrap();
    assert_eq!(bits(&again), bits(&model));
    let ((day, place), _) = Made.batch(&[3]).unwrap();
    let whole = again.predict(&(day.clone(), place.clone())).unwrap();
    let (branches, concat, heads) = &again.layer;
    let (mut stream, place) =
        (branches.first.0.stream(1).unwrap(), branches.second.forward(&place).unwrap());
    let mut h = Array2::zeros((0, 0));
    for step in day.values().outer_iter() {
        h = stream.step(step).unwrap().to_owned();
    }
    assert_eq!(heads.forward(&concat.forward(&(h, place)).unwrap()).unwrap(), whole);

    let other =
        Composed::<Input, Network, Weighted<Mae, CrossEntropy>>::load(&path, |hidden: &usize| {
            let loss = Weighted::new((1.0, Mae), (0.5, CrossEntropy::default()))?;
            Ok(Composed::new(two_branches(hidden)?.layer, loss))
        });
    let expected = "loss: expected mae and cross_entropy, got mse and cross_entropy";
    assert_eq!(other.map(|_| ()).unwrap_err().to_string(), expected);
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_weighted_pair_of_losses_has_the_gradient_of_its_value() {
    let loss = Weighted::new((0.3, Mse), (2.0, CrossEntropy::default())).unwrap();
    let (x, y) = ((rows(3, 1), rows(7, 2)), (rows(3, 3), vec![0, 6, 2]));
    let (_, gradient) = loss.loss(&x, &y).unwrap();
    let report = GradientCheck::default().run(&x, &gradient, |x| Ok(loss.loss(x, &y)?.0)).unwrap();
    assert!(report.relative_error <= 1e-6, "{report}");
    let error = Weighted::new((f64::NAN, Mse), (1.0, Mse)).unwrap_err().to_string();
    assert_eq!(error, "first: expected a finite weight of at least 0, got NaN");
}
