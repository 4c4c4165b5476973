//! Twenty training steps of whole models against PyTorch in f64: the loss of each step, and all weights
//! at the end.

use ndarray::{Array2, Axis, Ix1, Ix2, Ix3, IxDyn};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::Sequences;
use recurrent::cell::LstmCell;
use recurrent::cell::{GruCell, RnnCell};
use recurrent::data::{WindowBatch, Windows};
use recurrent::layer::Pooling;
use recurrent::loss::{CrossEntropy, Huber};
use recurrent::model::{
    Forecaster, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
};
use recurrent::optim::{Adam, AdamW, NAdam, Optimizer, RmsProp, Sgd, clip_global_norm};
use recurrent::train::Model;

use crate::common::distance::distance;
use crate::common::fixture::Fixture;

/// The fixture of the training of one model.
struct Training {
    file: Fixture,
    name: &'static str,
}

impl Training {
    fn new(name: &'static str) -> Self {
        Self { file: Fixture::open("learning"), name }
    }

    /// Returns the data `key` of step `k`.
    fn data<D: ndarray::Dimension>(&self, key: &str, k: usize) -> ndarray::Array<f64, D> {
        let all = self.file.get::<IxDyn>(&format!("{}.data.{key}", self.name));
        all.index_axis(Axis(0), k).to_owned().into_dimensionality().unwrap()
    }

    fn lengths(&self, k: usize) -> Vec<usize> {
        self.data::<Ix1>("lengths", k).mapv(|length| length as usize).to_vec()
    }

    fn values(&self, k: usize) -> Sequences<f64> {
        Sequences::new(self.data::<Ix3>("x", k), self.lengths(k)).unwrap()
    }

    fn tokens(&self, k: usize) -> Sequences<f64> {
        let tokens = self.data::<Ix2>("x", k).mapv(|token| token as usize);
        Sequences::one_hot(tokens.view(), 6, self.lengths(k)).unwrap()
    }

    /// Trains `model`, initialised with the weights of the fixture, by `optimizer` on the batches.
    fn check<M: Model<Elem = f64>>(
        &self,
        mut model: M,
        mut optimizer: impl Optimizer<M>,
        batch: impl Fn(&Self, usize) -> M::Batch,
    ) {
        let weight =
            |when: &str, key: &str| self.file.get::<IxDyn>(&format!("{}.{when}.{key}", self.name));
        model.for_each_mut(&mut |key, mut array| array.assign(&weight("start", key)));
        let losses = self.file.get::<Ix1>(&format!("{}.losses", self.name));
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for (k, &expected) in losses.iter().enumerate() {
            let mut grad = model.zeros_like();
            let loss = model.loss_and_grad(&batch(self, k), &mut grad, &mut rng).unwrap();
            assert!((loss - expected).abs() < 1e-12, "step {k}: {loss}, not {expected}");
            clip_global_norm(&mut grad, 0.5).unwrap();
            optimizer.step(&mut model, &grad).unwrap();
        }
        model.for_each(&mut |key, array| {
            let far = distance(&array.to_owned(), &weight("end", key));
            assert!(far < 1e-12, "{key}: {far:e}");
            assert!(distance(&array.to_owned(), &weight("start", key)) > 1e-3, "{key} learned");
        });
    }
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

#[test]
fn a_classifier_of_two_bidirectional_layers_learns_as_in_pytorch() {
    let builder = SequenceClassifier::<LstmCell<f64>>::builder(3, 4).hidden_size(5).num_layers(2);
    let builder = builder.bidirectional(true).pooling(Pooling::Attention);
    let loss = CrossEntropy::default().label_smoothing(0.1).unwrap();
    let model = builder.loss(loss).build(&mut rng()).unwrap();
    Training::new("classifier").check(model, Adam::new(0.02).unwrap(), |of, k| {
        (of.values(k), of.data::<Ix1>("y", k).mapv(|class| class as usize).to_vec())
    });
}

#[test]
fn a_tagger_of_embedded_tokens_learns_as_in_pytorch() {
    let builder = SequenceTagger::<GruCell<f64>>::builder(6, 3).embedding_dim(4);
    let model = builder.hidden_size(5).build(&mut rng()).unwrap();
    Training::new("tagger").check(model, AdamW::new(0.02, 0.1).unwrap(), |of, k| {
        (of.tokens(k), of.data::<Ix2>("y", k).mapv(|class| class as usize))
    });
}

#[test]
fn a_regressor_of_mean_outputs_learns_as_in_pytorch() {
    let builder = SequenceRegressor::<RnnCell<f64>>::builder(3, 2).hidden_size(5);
    let builder = builder.pooling(Pooling::Mean).loss(Huber::new(0.5).unwrap());
    let model = builder.build(&mut rng()).unwrap();
    let sgd = Sgd::new(0.1).unwrap().momentum(0.9).unwrap().nesterov(true);
    Training::new("regressor").check(model, sgd, |of, k| (of.values(k), of.data("y", k)));
}

#[test]
fn a_generator_that_is_told_a_vector_learns_as_in_pytorch() {
    let builder = SequenceGenerator::<LstmCell<f64>>::builder(6).start(0).end(1).condition_size(3);
    let builder = builder.embedding_dim(4).hidden_size(5).num_layers(2);
    let model = builder.build(&mut rng()).unwrap();
    Training::new("generator").check(model, RmsProp::new(0.01).unwrap(), |of, k| {
        (Some(of.data::<Ix2>("condition", k)), of.tokens(k))
    });
}

#[test]
fn a_forecaster_learns_as_in_pytorch() {
    let windows = Windows::new(1, 2).unwrap().targets(&[0, 1]);
    let builder = Forecaster::<GruCell<f64>>::builder(3, &windows);
    let model = builder.hidden_size(5).num_layers(2).build(&mut rng()).unwrap();
    Training::new("forecaster").check(model, NAdam::new(0.02).unwrap(), |of, k| {
        let y: Array2<f64> = of.data("y", k);
        let x = Sequences::full(of.data::<Ix3>("x", k)).unwrap();
        WindowBatch { x, y, targets: vec![0, 1] }
    });
}
