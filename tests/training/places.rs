//! Tests of errors about values that are not finite: they name the sample, the step and the feature.

use ndarray::{Array1, Array2, array};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::GruCell;
use recurrent::data::{Dataset, Scaler, Source, Texts, Windows};
use recurrent::layer::Linear;
use recurrent::loss::Mse;
use recurrent::model::{
    Composed, Forecaster, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
};
use recurrent::optim::Sgd;
use recurrent::train::{Model, Trainer};
use recurrent::{Arrays, Error, Result, Sequences, arrays};

use crate::stopping::{Number, Numbers};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

/// Forty sequences of at least four steps of two features, with `value` in sample 17, step 2, feature 1.
fn sequences(value: f64) -> Vec<Array2<f64>> {
    let mut x: Vec<Array2<f64>> =
        (0..40).map(|i| Array2::from_elem((4 + i % 3, 2), i as f64 / 40.0)).collect();
    x[17][[2, 1]] = value;
    x
}

fn trained<M: Model<Elem = f64>>(model: &M, train: &dyn Source<M::Batch>) -> String {
    let mut trained = model.clone();
    let trainer = Trainer::new(Sgd::new(0.1).unwrap()).batch_size(7);
    let error = trainer.fit(&mut trained, train, None).unwrap_err();
    let Error::Training { epoch: 0, source, .. } = error else { panic!("{error}") };
    source.to_string()
}

fn evaluated<M: Model<Elem = f64>>(model: &M, source: &dyn Source<M::Batch>) -> String {
    let Err(error) = model.evaluate(source, 7) else { panic!("no error") };
    error.to_string()
}

const PLACE: &str = "sample 17, step 2, feature 1: expected a finite value, got NaN";

#[test]
fn a_value_that_is_no_number_is_named_by_sample_step_and_feature() {
    let targets = || vec![0.5; 40];
    let data = Dataset::new(sequences(f64::NAN), targets()).unwrap();
    let builder = SequenceRegressor::<GruCell<f64>>::builder(2, 1).hidden_size(3);
    let model = builder.clone().build(&mut rng()).unwrap();
    assert_eq!(trained(&model, &data), PLACE);
    assert_eq!(evaluated(&model, &data), PLACE);
    let good = Dataset::new(sequences(0.0), targets()).unwrap();
    let trainer = Trainer::new(Sgd::new(0.1).unwrap());
    let error = trainer.fit(&mut model.clone(), &good, Some(&data)).unwrap_err();
    assert_eq!(error.to_string(), format!("valid: {PLACE}"));

    let named = data.with_columns(&["rain", "wind"]).unwrap();
    let expected = PLACE.replace("feature 1", "feature 1 (wind)");
    assert_eq!(trained(&model, &named), expected);
    // A scaler changes neither the place nor the value.
    let scaler = Scaler::standard(&good.views()).unwrap();
    let scaled = builder.scaler(scaler).build(&mut rng()).unwrap();
    assert_eq!(trained(&scaled, &named), expected);

    let data = Dataset::new(sequences(f64::NAN), vec![1; 40]).unwrap();
    let model = SequenceClassifier::<GruCell<f64>>::builder(2, 2).hidden_size(3);
    assert_eq!(trained(&model.build(&mut rng()).unwrap(), &data), PLACE);

    let tags = |x: &Array2<f64>| vec![0; x.nrows()];
    let tags = sequences(0.0).iter().map(tags).collect();
    let data = Dataset::new(sequences(f64::NAN), tags).unwrap();
    let model = SequenceTagger::<GruCell<f64>>::builder(2, 2).hidden_size(3);
    assert_eq!(trained(&model.build(&mut rng()).unwrap(), &data), PLACE);
}

#[test]
fn a_composed_model_names_an_infinite_value() {
    for (value, shown) in [(f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
        let data = Dataset::new(sequences(value), sequences(0.0)).unwrap();
        let layer = Linear::new(2, 2, &mut rng()).unwrap();
        let model = Composed::<Sequences<f64>, _, _>::new(layer, Mse);
        assert_eq!(trained(&model, &data), PLACE.replace("NaN", shown));
        // The same value in a target for each step.
        let data = Dataset::new(sequences(0.0), sequences(value)).unwrap();
        let expected = PLACE.replace("17, ", "17, target, ").replace("NaN", shown);
        assert_eq!(trained(&model, &data), expected);
        assert_eq!(evaluated(&model, &data), expected);
    }
}

#[test]
fn a_target_of_a_whole_sequence_is_named() {
    let model = SequenceRegressor::<GruCell<f64>>::builder(2, 2).hidden_size(3);
    let model = model.build(&mut rng()).unwrap();
    let mut targets = vec![array![0.0, 1.0]; 40];
    targets[33][1] = f64::NAN;
    let data = Dataset::new(sequences(0.0), targets).unwrap();
    let expected = "sample 33, target, feature 1: expected a finite value, got NaN";
    assert_eq!(trained(&model, &data), expected);
    let model = SequenceRegressor::<GruCell<f64>>::builder(2, 1).hidden_size(3);
    let model = model.build(&mut rng()).unwrap();
    let mut targets = vec![0.5; 40];
    targets[0] = f64::NAN;
    let data = Dataset::new(sequences(0.0), targets).unwrap();
    let expected = "sample 0, target, feature 0: expected a finite value, got NaN";
    assert_eq!(trained(&model, &data), expected);
}

#[test]
fn the_first_of_several_samples_is_named() {
    let mut x = sequences(f64::NAN);
    x[3][[0, 0]] = f64::NAN;
    x[3][[3, 1]] = f64::NAN;
    let data = Dataset::new(x, vec![0.5; 40]).unwrap();
    let model = SequenceRegressor::<GruCell<f64>>::builder(2, 1).hidden_size(3);
    let model = model.build(&mut rng()).unwrap();
    let expected = "sample 3, step 0, feature 0: expected a finite value, got NaN";
    assert_eq!(evaluated(&model, &data), expected);
}

#[test]
fn windows_and_condition_vectors_are_named() {
    let mut series = Array2::from_shape_fn((12, 2), |(t, j)| (t + j) as f64);
    series[[7, 1]] = f64::NAN;
    let windows = Windows::new(3, 2).unwrap().targets(&[1]);
    let model = Forecaster::<GruCell<f64>>::builder(2, &windows).hidden_size(3);
    let model = model.build(&mut rng()).unwrap();
    let data = windows.cut(&series).unwrap();
    let expected = "sample 3, target, step 1, feature 1: expected a finite value, got NaN";
    assert_eq!(evaluated(&model, &data), expected);
    let data = windows.cut(&series.slice(ndarray::s![5.., ..]).to_owned()).unwrap();
    let expected = "sample 0, step 2, feature 1: expected a finite value, got NaN";
    assert_eq!(trained(&model, &data), expected);

    let mut conditions = vec![Array1::zeros(3); 4];
    conditions[2][1] = f64::NAN;
    let texts = Texts::new(vec![vec![0, 1, 2]; 4], 3).unwrap().conditions(conditions).unwrap();
    let model = SequenceGenerator::<GruCell<f64>>::builder(3).hidden_size(3).condition_size(3);
    let model = model.build(&mut rng()).unwrap();
    let expected = "sample 2, condition, feature 1: expected a finite value, got NaN";
    assert_eq!(trained(&model, &texts), expected);
}

#[test]
fn a_source_of_a_user_names_the_sample() {
    let mut values = vec![1.0; 20];
    values[13] = f64::NAN;
    let expected = "loss of sample 13: expected finite values, got NaN at flat index 0";
    assert_eq!(trained(&Number::new(1.0), &Numbers(values)), expected);
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let data = Dataset::new(sequences(0.0), vec![0.5; 40]).unwrap();
    let model = SequenceRegressor::<GruCell<f64>>::builder(2, 1).hidden_size(3);
    let mut model = model.build(&mut rng()).unwrap();
    model.for_each_mut(&mut |name, mut values| {
        if name == "head.bias" {
            values.fill(f64::NAN);
        }
    });
    let expected = "head.bias: expected finite values, got NaN at flat index 0";
    assert_eq!(trained(&model, &data), expected);
    assert_eq!(evaluated(&model, &data), expected);
}

/// A model whose error has another cause than a value.
#[derive(Clone, Debug)]
struct Broken(Number);
arrays!([] Broken: f64 { 0 });

impl Model for Broken {
    type Batch = Vec<f64>;
    type Score = <Number as Model>::Score;

    fn loss_and_grad(&self, _: &Vec<f64>, _: &mut Self, _: &mut dyn Rng) -> Result<f64> {
        Err(Error::argument("disk", "an answer", "none"))
    }

    fn score_batch(&self, _: &Vec<f64>, _: &mut Self::Score) -> Result<()> {
        Err(Error::argument("disk", "an answer", "none"))
    }
}

#[test]
fn other_errors_stay_as_they_are() {
    let (model, data) = (Broken(Number::new(1.0)), Numbers(vec![f64::NAN; 3]));
    assert_eq!(trained(&model, &data), "disk: expected an answer, got none");
    assert_eq!(evaluated(&model, &data), "disk: expected an answer, got none");
}
