//! Features are scaled once, before the first epoch, and the bits are those of scaling each batch.

use ndarray::{Array1, Array2};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{GruCell, LstmCell};
use recurrent::data::{Dataset, Scaler, Source, Windows};
use recurrent::layer::Pooling;
use recurrent::model::{Forecaster, SequenceClassifier, SequenceRegressor, SequenceTagger};
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};
use recurrent::{Error, Result};

use crate::common::bits::bits;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(4)
}

/// A source that cannot scale its features once: the model scales each batch.
struct EachBatch<'a, S>(&'a S);

impl<B, S: Source<B>> Source<B> for EachBatch<'_, S> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn length(&self, index: usize) -> usize {
        self.0.length(index)
    }

    fn batch(&self, indices: &[usize]) -> Result<B> {
        self.0.batch(indices)
    }
}

/// A source that can be scaled but makes no batch itself.
struct ScaledAlone<'a, S>(&'a S);

impl<B, S: Source<B>> Source<B> for ScaledAlone<'_, S> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn length(&self, index: usize) -> usize {
        self.0.length(index)
    }

    fn scaled_once(&self, scaler: &Scaler) -> Result<Option<Box<dyn Source<B> + '_>>> {
        self.0.scaled_once(scaler)
    }

    fn batch(&self, _: &[usize]) -> Result<B> {
        Err(Error::argument("source", "to be scaled first", "unscaled features"))
    }
}

/// Trains on sources that are scaled once, then on those scaled in each batch, and compares all bits.
fn same_bits<M: Model<Elem = f64>>(
    model: &M,
    train: &impl Source<M::Batch>,
    valid: &impl Source<M::Batch>,
) {
    let fit = |train: &dyn Source<M::Batch>, valid: &dyn Source<M::Batch>| {
        let mut model = model.clone();
        let trainer = Trainer::new(Adam::new(0.05).unwrap()).epochs(4).batch_size(3);
        let trainer = trainer.early_stopping(2).clip_norm(1.0).bucketed(2);
        let history = trainer.fit(&mut model, train, Some(valid)).unwrap();
        let score = model.evaluate(train, 5).map(|score| score_bits(&score));
        (bits(&model), history, score)
    };
    let (weights, epochs, score) = fit(&EachBatch(train), &EachBatch(valid));
    let once = fit(train, valid);
    assert_eq!((&once.0, &once.1), (&weights, &epochs));
    assert_eq!(once.2.unwrap(), score.unwrap());
    let alone = fit(&ScaledAlone(train), &ScaledAlone(valid));
    assert_eq!((alone.0, alone.1), (weights.clone(), epochs.clone()));
    assert!(alone.2.is_err());
    // One that cannot be scaled leaves all to the model.
    let mixed = fit(train, &EachBatch(valid));
    assert_eq!((mixed.0, mixed.1), (weights, epochs));
}

fn score_bits(score: &impl recurrent::train::Score) -> Vec<u64> {
    score.metrics().into_iter().map(|(_, value)| value.to_bits()).collect()
}

fn sequences() -> Vec<Array2<f64>> {
    let value = |i: usize, t: usize, j: usize| 40.0 + ((7 * i + 3 * t + 5 * j) % 11) as f64 / 3.0;
    let sequence = |i| Array2::from_shape_fn((2 + i % 5, 3), |(t, j)| value(i, t, j));
    (0..11).map(sequence).collect()
}

fn scaler() -> Scaler {
    let all = sequences();
    Scaler::standard(&all.iter().map(|x| x.view()).collect::<Vec<_>>()).unwrap()
}

#[test]
fn scaling_once_and_scaling_each_batch_give_the_same_bits() {
    let classes = Dataset::new(sequences(), (0..11).map(|i| i % 2).collect()).unwrap();
    let builder = SequenceClassifier::<LstmCell<f64>>::builder(3, 2).hidden_size(5).dropout(0.2);
    let model = builder.pooling(Pooling::Mean).scaler(scaler()).build(&mut rng()).unwrap();
    same_bits(&model, &classes, &classes.select(&[0, 4, 9]).unwrap());

    let numbers = (0..11).map(|i| Array1::from_elem(2, i as f64 / 7.0)).collect();
    let numbers = Dataset::new(sequences(), numbers).unwrap();
    let builder = SequenceRegressor::<GruCell<f64>>::builder(3, 2).hidden_size(5);
    let model = builder.scaler(scaler()).build(&mut rng()).unwrap();
    same_bits(&model, &numbers, &numbers.select(&[1, 2]).unwrap());

    let tags = (0..11).map(|i| (0..2 + i % 5).map(|t| (t + i) % 3).collect()).collect();
    let tags = Dataset::<f64, Vec<usize>>::new(sequences(), tags).unwrap();
    let builder = SequenceTagger::<GruCell<f64>>::builder(3, 3).hidden_size(5);
    let model = builder.bidirectional(true).scaler(scaler()).build(&mut rng()).unwrap();
    same_bits(&model, &tags, &tags.select(&[3, 10]).unwrap());

    let series = Array2::from_shape_fn((30, 3), |(t, j)| 20.0 + ((t * (j + 2)) % 7) as f64);
    let windows = Windows::new(4, 2).unwrap().stride(2).unwrap().targets(&[2, 0]);
    let (train, valid) = windows.split(&series, 20).unwrap();
    let scaler = Scaler::min_max(&[train.series().view()]).unwrap();
    let builder = Forecaster::<LstmCell<f64>>::builder(3, &windows).hidden_size(5);
    same_bits(&builder.scaler(scaler).build(&mut rng()).unwrap(), &train, &valid);
}

#[test]
fn a_model_with_a_scaler_still_scales_after_its_training() {
    let data = Dataset::new(sequences(), (0..11).map(|i| i % 2).collect::<Vec<_>>()).unwrap();
    let builder = SequenceClassifier::<LstmCell<f64>>::builder(3, 2).hidden_size(5);
    let mut model = builder.scaler(scaler()).build(&mut rng()).unwrap();
    Trainer::new(Adam::new(0.05).unwrap()).epochs(2).fit(&mut model, &data, None).unwrap();
    assert_eq!(model.scaler(), Some(&scaler()));
    let (x, _) = data.all().unwrap();
    let (same, plain) = model.without_scaler().unwrap();
    assert_eq!(same, &scaler());
    let (scaled, _) = data.scaled(&scaler()).unwrap().all().unwrap();
    assert_eq!(model.probabilities(&x).unwrap(), plain.probabilities(&scaled).unwrap());
    assert_ne!(model.probabilities(&x).unwrap(), plain.probabilities(&x).unwrap());
}

#[test]
fn a_training_that_fails_leaves_the_weights_of_its_last_step() {
    let mut broken = sequences();
    broken[7][[0, 0]] = f64::NAN;
    let data = Dataset::new(broken, (0..11).map(|i| i % 2).collect::<Vec<_>>()).unwrap();
    let builder = SequenceClassifier::<LstmCell<f64>>::builder(3, 2).hidden_size(5);
    let model = builder.scaler(scaler()).build(&mut rng()).unwrap();
    let fit = |data: &dyn Source<_>| {
        let mut model = model.clone();
        let trainer = Trainer::new(Adam::new(0.05).unwrap()).epochs(1).batch_size(1);
        let error = trainer.fit(&mut model, data, None).unwrap_err();
        assert!(matches!(error, Error::Training { step: 1.., .. }), "{error}");
        bits(&model)
    };
    assert_eq!(fit(&data), fit(&EachBatch(&data)));
    assert_ne!(fit(&data), bits(&model));
}
