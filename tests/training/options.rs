//! Every option of every builder of models and recurrent layers acts, or is refused where it cannot.

use ndarray::{Array2, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{GruCell, GruOptions, LstmCell, LstmOptions, Reset};
use recurrent::data::{Scaler, Unit, Vocabulary, WindowBatch, Windows};
use recurrent::decode::Sampling;
use recurrent::layer::crf::Constraints;
use recurrent::layer::{CharacterEncoding, Pooling};
use recurrent::loss::{BceWithLogits, CrossEntropy, Huber, Mae, Quantile, SoftCrossEntropy, Sum};
use recurrent::model::{
    Forecaster, Head, ModelBuilder, SequenceClassifier, SequenceGenerator, SequenceRegressor,
    SequenceTagger,
};
use recurrent::tensor::Init;
use recurrent::train::Model;
use recurrent::{Arrays, Lstm, Recurrent, RecurrentBuilder, Result, Sequences};

use crate::common::bits::bits;
use crate::common::random::random;

type Layers = RecurrentBuilder<LstmCell<f64>>;
type Classifier = SequenceClassifier<LstmCell<f64>>;
type Regressor = SequenceRegressor<LstmCell<f64>>;
type Tagger = SequenceTagger<LstmCell<f64>>;
type Generator = SequenceGenerator<LstmCell<f64>>;
type Series = Forecaster<LstmCell<f64>>;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(3)
}

fn values() -> Sequences<f64> {
    Sequences::new(random((5, 3, 3), 1), vec![5, 1, 3]).unwrap()
}

fn tokens() -> Sequences<f64> {
    let tokens = Array2::from_shape_fn((5, 3), |(t, b)| (3 * t + 2 * b) % 3);
    Sequences::one_hot(tokens.view(), 3, vec![5, 1, 3]).unwrap()
}

fn words(size: usize) -> Vocabulary {
    let words = ["a", "b", "c", "d", "e", "f"];
    Vocabulary::builder(Unit::Word).special(&words[..1]).fixed(&words[1..size]).unwrap()
}

fn scaler() -> Scaler {
    Scaler::standard(&[array![[1.0, 0.0, 5.0], [2.0, 3.0, 1.0]].view()]).unwrap()
}

fn says<V: std::fmt::Debug>(result: Result<V>) -> String {
    result.unwrap_err().to_string()
}

/// Returns what a training step does: the loss, and the bits of the gradients by name.
fn step<M: Model<Elem = f64>>(model: &M, batch: &M::Batch) -> Result<String> {
    let mut grad = model.zeros_like();
    let loss = model.loss_and_grad(batch, &mut grad, &mut rng())?;
    Ok(format!("{:x} {:?} {:x?}", loss.to_bits(), grad.names(), bits(&grad)))
}

/// A changed option by name, and whether the model can have it.
type Change<B> = (&'static str, bool, fn(B) -> B);

/// Checks that each change of `base` has another result than `base`, or is an error where it must be one.
fn enumerate<B>(
    model: &str,
    base: impl Fn() -> B,
    changes: Vec<Change<B>>,
    result: impl Fn(B) -> Result<String>,
) {
    let plain = result(base()).unwrap();
    assert_eq!(result(base()).unwrap(), plain, "{model}: a result is repeatable");
    for (name, acts, change) in changes {
        match result(change(base())) {
            Ok(changed) => assert!(acts && changed != plain, "{model}: {name} does nothing"),
            Err(error) => assert!(!acts, "{model}: {name} is refused: {error}"),
        }
    }
}

/// The options of recurrent layers, from a base of two layers of width 5.
fn layers() -> Vec<Change<Layers>> {
    vec![
        ("num_layers", true, |b| b.num_layers(3)),
        ("hidden_sizes", true, |b| b.hidden_sizes(&[5, 4])),
        ("one of hidden_sizes", true, |b| b.hidden_sizes(&[4])),
        ("more hidden_sizes than layers", false, |b| b.hidden_sizes(&[5, 5, 5])),
        ("bidirectional", true, |b| b.bidirectional(true)),
        ("bias", true, |b| b.bias(false)),
        ("dropout", true, |b| b.dropout(0.5)),
        ("dropout 1", false, |b| b.dropout(1.0)),
        ("dropout 7", false, |b| b.dropout(7.0)),
        ("dropout −1", false, |b| b.dropout(-1.0)),
        ("dropout NaN", false, |b| b.dropout(f64::NAN)),
        ("recurrent_dropout", true, |b| b.recurrent_dropout(0.5)),
        ("recurrent_dropout 1", false, |b| b.recurrent_dropout(1.0)),
        ("recurrent_dropout NaN", false, |b| b.recurrent_dropout(f64::NAN)),
        ("zoneout", true, |b| b.zoneout(&[0.0, 0.3])),
        ("zoneout of no state", false, |b| b.zoneout(&[])),
        ("zoneout of one state", false, |b| b.zoneout(&[0.3])),
        ("zoneout of three states", false, |b| b.zoneout(&[0.3, 0.3, 0.3])),
        ("zoneout of many states", false, |b| b.zoneout(&[0.0; 9])),
        ("zoneout NaN", false, |b| b.zoneout(&[f64::NAN, 0.0])),
        ("residual", true, |b| b.residual(true)),
        ("learned_initial_state", true, |b| b.learned_initial_state(true)),
        ("weight_ih", true, |b| b.weight_ih(Init::XavierNormal)),
        ("weight_hh", true, |b| b.weight_hh(Init::Orthogonal)),
        ("bias_init", true, |b| b.bias_init(Init::Constant(0.25))),
        ("bias_init without bias", false, |b| b.bias(false).bias_init(Init::Constant(0.0))),
        ("options", true, |b| b.options(LstmOptions { forget_bias: Some(1.0) })),
        ("options without bias", false, |b| {
            b.bias(false).options(LstmOptions { forget_bias: Some(1.0) })
        }),
    ]
}

#[test]
fn every_option_of_recurrent_layers_acts_or_is_refused() {
    let base = || Lstm::<f64>::builder(3, 5).num_layers(2);
    enumerate("Lstm", base, layers(), |builder| {
        let net = builder.build(&mut rng())?;
        let (y, _, tape) = net.forward_train(&values(), None, &mut rng())?;
        let mut grad = net.zeros_like();
        net.backward(tape, &y, None, &mut grad)?;
        Ok(format!("{:?} {:x?} {:x?}", grad.names(), bits(&y), bits(&grad)))
    });
    let one = || Lstm::<f64>::builder(3, 5);
    assert_eq!(
        says(one().residual(true).build(&mut rng())),
        "residual: expected false with one layer: it acts after the first, got true"
    );
    assert_eq!(
        says(one().bias(false).bias_init(Init::Constant(0.5)).build(&mut rng())),
        "bias_init: expected none without bias, got Constant(0.5)"
    );
    assert_eq!(
        says(one().hidden_sizes(&[4, 8]).num_layers(3).build(&mut rng())),
        "num_layers: expected 2, as many as hidden_sizes, got 3"
    );
    assert_eq!(
        says(one().dropout(0.5).build(&mut rng())),
        "dropout: expected 0 with one layer: it acts between layers, got 0.5"
    );
    let widths = |builder: Layers| {
        let net = builder.build(&mut rng()).unwrap();
        net.cells().iter().map(recurrent::cell::Cell::hidden_size).collect::<Vec<_>>()
    };
    assert_eq!(widths(one().num_layers(3)), [5, 5, 5]);
    assert_eq!(widths(one().hidden_sizes(&[4, 8])), [4, 8]);
    assert_eq!(widths(one().num_layers(2).hidden_sizes(&[4, 8])), [4, 8]);
    assert_eq!(widths(one().hidden_sizes(&[4, 8]).num_layers(2)), [4, 8]);
    assert_eq!(widths(one().hidden_sizes(&[4]).num_layers(2)), [4, 4]);
    assert_eq!(widths(one().num_layers(2).hidden_sizes(&[4])), [4, 4]);
}

/// Returns the changes of the layers of a model, set by [`ModelBuilder::recurrent`].
macro_rules! through_model {
    ($result:expr, $model:ty, $base:expr) => {
        for (name, acts, change) in layers() {
            let base = || -> ModelBuilder<$model> { $base };
            let plain = $result(base()).unwrap();
            match $result(base().recurrent(change)) {
                Ok(changed) => assert!(acts && changed != plain, "{name} does nothing"),
                Err(error) => assert!(!acts || name == "bidirectional", "{name}: {error}"),
            }
        }
    };
}

fn classify(builder: ModelBuilder<Classifier>, x: Sequences<f64>) -> Result<String> {
    let model = builder.build(&mut rng())?;
    let names = (model.labels(), model.columns(), model.vocabulary().map(Vocabulary::len));
    Ok(format!("{} {names:?}", step(&model, &(x, vec![0, 1, 1]))?))
}

#[test]
fn every_option_of_a_classifier_acts_or_is_refused() {
    let base = || Classifier::builder(3, 2).hidden_size(5).num_layers(2);
    through_model!(|b| classify(b, values()), Classifier, base());
    let changes: Vec<Change<ModelBuilder<Classifier>>> = vec![
        ("hidden_size", true, |b| b.hidden_size(4)),
        ("num_layers", true, |b| b.num_layers(1)),
        ("bidirectional", true, |b| b.bidirectional(true)),
        ("cell_options", true, |b| b.cell_options(LstmOptions { forget_bias: Some(1.0) })),
        ("dropout", true, |b| b.dropout(0.5)),
        ("dropout of one layer", true, |b| b.num_layers(1).dropout(0.5)),
        ("dropout between one layer", false, |b| b.num_layers(1).recurrent(|l| l.dropout(0.5))),
        ("layers of other inputs", false, |b| b.recurrent(|_| Recurrent::builder(9, 5))),
        ("pooling", true, |b| b.pooling(Pooling::Mean)),
        ("scaler", true, |b| b.scaler(scaler())),
        ("labels", true, |b| b.labels(&["x", "y"])),
        ("three labels", false, |b| b.labels(&["x", "y", "z"])),
        ("columns", true, |b| b.columns(&["x", "y", "z"])),
        ("two columns", false, |b| b.columns(&["x", "y"])),
        ("vocabulary", true, |b| b.vocabulary(words(3))),
        ("vocabulary of four", false, |b| b.vocabulary(words(4))),
        ("vocabulary with scaler", false, |b| b.vocabulary(words(3)).scaler(scaler())),
        ("vocabulary with columns", false, |b| b.vocabulary(words(3)).columns(&["x", "y", "z"])),
        ("an embedding of values", false, |b| b.embedding_dim(4)),
    ];
    enumerate("classifier", base, changes, |b| classify(b, values()));
    let changes: Vec<Change<ModelBuilder<Classifier>>> = vec![
        ("embedding_dim", true, |b| b.embedding_dim(4)),
        ("embedding_dim 0", false, |b| b.embedding_dim(0)),
        ("scaler", false, |b| b.scaler(scaler())),
        ("embedding with scaler", false, |b| b.embedding_dim(4).scaler(scaler())),
        ("embedding with columns", false, |b| b.embedding_dim(4).columns(&["x", "y", "z"])),
    ];
    enumerate("classifier of tokens", base, changes, |b| classify(b, tokens()));
    let with = |loss| base().loss(loss).build(&mut rng());
    let batch = (values(), vec![0, 1, 1]);
    let plain = step(&base().build(&mut rng()).unwrap(), &batch).unwrap();
    let smooth = CrossEntropy::default().label_smoothing(0.1).unwrap();
    for loss in [smooth, CrossEntropy::default().ignore_index(1)] {
        assert_ne!(step(&with(loss).unwrap(), &batch).unwrap(), plain);
    }
    let three = CrossEntropy::default().class_weights(vec![1.0, 2.0, 3.0]).unwrap();
    let expected = "class_weights: expected [2] (classes), got [3]";
    assert_eq!(says(with(three.clone())), expected);
    assert_eq!(says(base().loss(Sum(three.clone())).build(&mut rng())), expected);
    let tagger = Tagger::builder(3, 2).loss(three);
    assert_eq!(says(tagger.build(&mut rng())), expected);
    let soft = SoftCrossEntropy::default().class_weights(vec![1.0]).unwrap();
    let error = says(Regressor::builder(3, 2).loss(soft).build(&mut rng()));
    assert_eq!(error, expected.replace('3', "1"));
    let rare = BceWithLogits::default().positive_weight(vec![1.0; 3]).unwrap();
    let error = says(Regressor::builder(3, 2).loss(rare.clone()).build(&mut rng()));
    assert_eq!(error, "positive_weight: expected [2] (features), got [3]");
}

#[test]
fn quantiles_that_do_not_cross_are_an_option_of_models_of_quantiles_alone() {
    let quantiles = |levels: &[f64]| Quantile::new(levels.to_vec()).unwrap();
    let base = || Regressor::builder(3, 2).hidden_size(5);
    let y = Array2::from_shape_fn((3, 2), |(b, j)| (b + 2 * j) as f64);
    let result = |loss, cross: bool| {
        let model = base().loss(loss).non_crossing(!cross).build(&mut rng())?;
        step(&model, &(values(), y.clone()))
    };
    let levels = [0.1, 0.5, 0.9];
    assert_ne!(
        result(quantiles(&levels), true).unwrap(),
        result(quantiles(&levels), false).unwrap()
    );
    for levels in [[0.5, 0.1, 0.9], [0.1, 0.5, 0.5]] {
        assert!(result(quantiles(&levels), true).is_ok());
        let error = says(result(quantiles(&levels), false));
        assert!(error.starts_with("levels: expected ascending levels"), "{error}");
    }
    let expected = "non_crossing: expected false: only quantiles can cross, got true";
    assert_eq!(says(base().non_crossing(true).build(&mut rng())), expected);
    let builder = base().loss(quantiles(&levels)).non_crossing(true).loss(Mae);
    assert_eq!(says(builder.build(&mut rng())), expected);
    assert!(base().non_crossing(true).loss(Sum(quantiles(&levels))).build(&mut rng()).is_ok());
    let windows = Windows::new(5, 2).unwrap();
    let error = says(Series::builder(3, &windows).non_crossing(true).build(&mut rng()));
    assert_eq!(error, expected);
    // A checkpoint tells them apart.
    let described = |cross: bool| {
        let builder = base().loss(quantiles(&levels)).non_crossing(!cross);
        builder.build(&mut rng()).unwrap().options()
    };
    assert_ne!(described(true), described(false));
}

#[test]
fn dropout_of_the_layers_replaces_that_of_the_model_between_them() {
    let base = || Classifier::builder(3, 2).hidden_size(5).num_layers(2);
    let run = |b| classify(b, values()).unwrap();
    let own = |p: f64| move |layers: Layers| layers.dropout(p);
    assert_eq!(
        run(base().dropout(0.2).recurrent(own(0.5))),
        run(base().recurrent(own(0.5)).dropout(0.2)),
        "in any order"
    );
    assert_eq!(run(base().dropout(0.5).recurrent(own(0.5))), run(base().dropout(0.5)));
    let all = [
        run(base()),
        run(base().dropout(0.2)),
        run(base().dropout(0.2).recurrent(own(0.5))),
        run(base().dropout(0.2).recurrent(own(0.0))),
        run(base().recurrent(own(0.5))),
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|other| other != one), "number {i}");
    }
    // A checkpoint tells them apart.
    let described = |b: ModelBuilder<Classifier>| b.build(&mut rng()).unwrap().options();
    let inner = described(base().dropout(0.2).recurrent(own(0.0)));
    assert_ne!(described(base().dropout(0.2)), inner);
}

#[test]
fn every_option_of_a_regressor_acts_or_is_refused() {
    let result = |builder: ModelBuilder<Regressor>| {
        let model = builder.build(&mut rng())?;
        let names = (model.labels(), model.columns(), model.vocabulary().map(Vocabulary::len));
        let y = Array2::from_shape_fn((3, 2), |(b, j)| (b + 2 * j) as f64);
        Ok(format!("{} {names:?}", step(&model, &(values(), y))?))
    };
    let base = || Regressor::builder(3, 2).hidden_size(5).num_layers(2);
    through_model!(result, Regressor, base());
    let changes: Vec<Change<ModelBuilder<Regressor>>> = vec![
        ("dropout", true, |b| b.dropout(0.5)),
        ("pooling", true, |b| b.pooling(Pooling::Attention)),
        ("scaler", true, |b| b.scaler(scaler())),
        ("labels", true, |b| b.labels(&["x", "y"])),
        ("columns", true, |b| b.columns(&["x", "y", "z"])),
        ("vocabulary", true, |b| b.vocabulary(words(3))),
        ("embedding of values", false, |b| b.embedding_dim(4)),
    ];
    enumerate("regressor", base, changes, result);
    let mae = base().loss(Mae).build(&mut rng()).unwrap();
    let y = Array2::zeros((3, 2));
    let huber = base().loss(Huber::new(0.1).unwrap()).build(&mut rng()).unwrap();
    let batch = (values(), y);
    assert_ne!(step(&mae, &batch).unwrap(), step(&huber, &batch).unwrap());
}

const CONV: CharacterEncoding = CharacterEncoding::Conv { out_channels: 2, kernel_size: 2 };

fn letters() -> Vocabulary {
    Vocabulary::builder(Unit::Character).fixed(&["a", "b", "c"]).unwrap()
}

/// Forbids that a class follows itself.
fn apart(classes: usize) -> Constraints {
    let all = || vec![true; classes].into();
    let pairs = Array2::from_shape_fn((classes, classes), |(i, j)| i != j);
    Constraints::new(all(), all(), pairs).unwrap()
}

#[test]
fn every_option_of_a_tagger_acts_or_is_refused() {
    let result = |builder: ModelBuilder<Tagger>| {
        let model = builder.build(&mut rng())?;
        let names = (model.labels(), model.columns(), model.vocabulary().map(Vocabulary::len));
        let classes = Array2::from_shape_fn((5, 3), |(t, b)| (t + b) % 2);
        Ok(format!("{} {names:?}", step(&model, &(values(), classes))?))
    };
    let base = || Tagger::builder(3, 2).hidden_size(5).num_layers(2);
    through_model!(result, Tagger, base());
    let changes: Vec<Change<ModelBuilder<Tagger>>> = vec![
        ("dropout", true, |b| b.dropout(0.5)),
        ("scaler", true, |b| b.scaler(scaler())),
        ("labels", true, |b| b.labels(&["x", "y"])),
        ("columns", true, |b| b.columns(&["x", "y", "z"])),
        ("vocabulary", true, |b| b.vocabulary(words(3))),
        ("embedding of values", false, |b| b.embedding_dim(4)),
        ("head", true, |b| b.head(Head::Crf)),
        ("constraints of a softmax", false, |b| b.constraints(apart(2))),
        ("characters of values", false, |b| b.characters(letters(), 2, CONV)),
    ];
    enumerate("tagger", base, changes, result);
    let smooth = || CrossEntropy::default().label_smoothing(0.1).unwrap();
    let with_loss = |loss| base().head(Head::Crf).loss(loss).build(&mut rng());
    assert!(with_loss(CrossEntropy::default()).is_ok());
    for loss in [smooth(), CrossEntropy::default().ignore_index(1)] {
        assert!(with_loss(loss).is_err());
    }
    let changes: Vec<Change<ModelBuilder<Tagger>>> = vec![
        ("constraints", true, |b| b.constraints(apart(2))),
        ("constraints of three classes", false, |b| b.constraints(apart(3))),
        ("head", true, |b| b.head(Head::Softmax)),
        ("dropout", true, |b| b.dropout(0.5)),
    ];
    enumerate("tagger with a CRF", || base().head(Head::Crf), changes, result);
    let spelled = |builder: ModelBuilder<Tagger>| {
        let model = builder.build(&mut rng())?;
        let x = tokens();
        let words: Vec<Vec<Vec<usize>>> =
            x.lengths().iter().map(|&length| vec![vec![1, 2]; length]).collect();
        let x = x.with_characters(&words, 3)?;
        let classes = Array2::from_shape_fn((5, 3), |(t, b)| (t + b) % 2);
        step(&model, &(x, classes))
    };
    let changes: Vec<Change<ModelBuilder<Tagger>>> = vec![
        ("characters", true, |b| b.characters(letters(), 2, CONV)),
        ("characters of no width", false, |b| b.characters(letters(), 0, CONV)),
        ("characters of words", false, |b| b.characters(words(3), 2, CONV)),
    ];
    enumerate("tagger of words", || base().embedding_dim(4), changes, spelled);
}

#[test]
fn every_option_of_a_forecaster_acts_or_is_refused() {
    let windows = Windows::new(5, 2).unwrap().targets(&[0, 2]);
    let result = |builder: ModelBuilder<Series>| {
        let model = builder.build(&mut rng())?;
        let x = Sequences::full(random((5, 3, 3), 1)).unwrap();
        let y = Array2::from_shape_fn((3, 4), |(b, j)| (b + 2 * j) as f64);
        let names = (model.labels(), model.columns());
        Ok(format!("{} {names:?}", step(&model, &WindowBatch { x, y, targets: vec![0, 2] })?))
    };
    let base = || Series::builder(3, &windows).hidden_size(5).num_layers(2);
    through_model!(result, Series, base());
    let changes: Vec<Change<ModelBuilder<Series>>> = vec![
        ("dropout", true, |b| b.dropout(0.5)),
        ("scaler", true, |b| b.scaler(scaler())),
        ("labels", true, |b| b.labels(&["x", "y"])),
        ("columns", true, |b| b.columns(&["x", "y", "z"])),
        ("vocabulary", false, |b| b.vocabulary(words(3))),
        ("embedding_dim", false, |b| b.embedding_dim(4)),
    ];
    enumerate("forecaster", base, changes, result);
    assert_eq!(
        says(base().embedding_dim(4).build(&mut rng())),
        "embedding_dim: expected none: a series has values, got 4"
    );
    let all = Windows::new(5, 2).unwrap();
    let both = Series::builder(3, &all).bidirectional(true).build(&mut rng()).unwrap();
    let recent = Array2::ones((5, 3));
    assert!(both.forecast(recent.view()).is_ok());
    assert!(says(both.forecast_recursively(recent.view(), 3)).starts_with("bidirectional"));
}

#[test]
fn every_option_of_a_generator_acts_or_is_refused() {
    let result = |builder: ModelBuilder<Generator>| {
        let model = builder.build(&mut rng())?;
        let texts = [vec![2, 3, 4], vec![3, 5, 2, 2]];
        let texts = Sequences::one_hot_from_list(&texts, 6)?;
        let vectors = array![[0.5, 1.0], [0.25, -1.0]];
        let given = model.names().iter().any(|name| name.starts_with("condition"));
        let batch = (given.then(|| vectors.clone()), texts);
        let given = given.then(|| vectors.view());
        let warm = Sampling::temperature(2.0)?;
        let said = model.generate(given, &[2], 30, &warm, &mut rng())?;
        let names = (model.labels(), model.vocabulary().map(Vocabulary::len));
        Ok(format!("{} {said:?} {names:?}", step(&model, &batch)?))
    };
    let base = || Generator::builder(6).hidden_size(5).num_layers(2);
    through_model!(result, Generator, base());
    let changes: Vec<Change<ModelBuilder<Generator>>> = vec![
        ("start", true, |b| b.start(0)),
        ("start 6", false, |b| b.start(6)),
        ("end", true, |b| b.end(1)),
        ("end 6", false, |b| b.end(usize::MAX)),
        ("condition_size", true, |b| b.condition_size(2)),
        ("condition_size 0", false, |b| b.condition_size(0)),
        ("a learned state with a condition", false, |b| {
            b.condition_size(2).recurrent(|l| l.learned_initial_state(true))
        }),
        ("suppress_tokens", true, |b| b.suppress_tokens(&[4])),
        ("suppress_tokens 6", false, |b| b.suppress_tokens(&[6])),
        ("dropout", true, |b| b.dropout(0.5)),
        ("embedding_dim", true, |b| b.embedding_dim(3)),
        ("vocabulary", true, |b| b.vocabulary(words(6))),
        ("labels", true, |b| b.labels(&["a", "b", "c", "d", "e", "f"])),
        ("bidirectional", false, |b| b.bidirectional(true)),
        ("columns", false, |b| b.columns(&["a", "b", "c", "d", "e", "f"])),
        ("scaler", false, |b| b.scaler(Scaler::standard(&[Array2::<f64>::eye(6).view()]).unwrap())),
    ];
    enumerate("generator", base, changes, result);
}

#[test]
fn tokens_are_refused_by_a_model_that_scales_its_values_in_every_way_of_reading() {
    let model = Classifier::builder(3, 2).scaler(scaler()).build(&mut rng()).unwrap();
    let message = says(model.probabilities(&tokens()));
    assert_eq!(message, "x: expected values: tokens are not scaled, got tokens");
    let message = says(model.stream(2).unwrap().step_tokens(&[0, 1]));
    assert_eq!(message, "x_t: expected values (step): tokens are not scaled, got tokens");
}

#[test]
fn options_of_a_gru_act() {
    let build = |options| {
        let builder = SequenceClassifier::<GruCell<f64>>::builder(3, 2).cell_options(options);
        step(&builder.build(&mut rng()).unwrap(), &(values(), vec![0, 1, 1])).unwrap()
    };
    let before = GruOptions::new(Reset::Before);
    assert_ne!(build(before), build(GruOptions::default()));
}
