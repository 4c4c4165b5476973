//! Tests of the models: gradients, streams, files, errors and learning.

use ndarray::{Array1, Array2, Axis, array, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{Cell, GruCell, GruOptions, LstmCell, Nonlinearity, Reset, RnnCell};
use recurrent::check::GradientCheck;
use recurrent::data::{Scaler, Texts, Unit, Vocabulary, WindowBatch, Windows};
use recurrent::decode::Sampling;
use recurrent::layer::Pooling;
use recurrent::loss::{BceWithLogits, CrossEntropy, Huber, Mae, Mse, Quantile, Sum};
use recurrent::model::{
    Forecaster, Scored, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
};
use recurrent::optim::Adam;
use recurrent::tensor::Init;
use recurrent::train::{Model, Trainer};
use recurrent::{Arrays, Error, Result, Sequences};

use crate::common::bits::bits;
use crate::common::random::random;
use crate::common::temporary::File;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(3)
}

fn values(features: usize) -> Sequences<f64> {
    Sequences::new(random((5, 3, features), 1), vec![5, 1, 3]).unwrap()
}

fn tokens(classes: usize) -> Sequences<f64> {
    let tokens = Array2::from_shape_fn((5, 3), |(t, b)| (3 * t + 2 * b) % classes);
    Sequences::one_hot(tokens.view(), classes, vec![5, 1, 3]).unwrap()
}

/// Returns windows with the given features as targets, `horizon` steps each.
fn windows(horizon: usize, targets: &[usize]) -> Windows {
    Windows::new(1, horizon).unwrap().targets(targets)
}

/// Compares the gradient of `learn` with finite differences of its loss. Dropout is included, with the
/// same random numbers each time.
fn agrees<M: Model<Elem = f64>>(model: &M, batch: &M::Batch) {
    let mut grad = model.zeros_like();
    model.loss_and_grad(batch, &mut grad, &mut rng()).unwrap();
    let loss = |model: &M| model.loss_and_grad(batch, &mut model.zeros_like(), &mut rng());
    let report = GradientCheck::default().run(model, &grad, loss).unwrap();
    assert!(report.relative_error <= 2e-6, "{report}");
}

fn classifier_gradients<C: Cell<Elem = f64>>() {
    let poolings = [Pooling::Last, Pooling::Mean, Pooling::Attention];
    for (pooling, layers) in poolings.into_iter().flat_map(|p| [(p, 1), (p, 2)]) {
        let of = |input| {
            SequenceClassifier::<C>::builder(input, 3)
                .hidden_size(7)
                .num_layers(layers)
                .bidirectional(layers == 2)
                .dropout(0.3)
                .pooling(pooling)
                .loss(CrossEntropy::default().label_smoothing(0.1).unwrap())
        };
        let classes = vec![2, 0, 1];
        agrees(&of(3).build(&mut rng()).unwrap(), &(values(3), classes.clone()));
        let embedded = of(4).embedding_dim(3).build(&mut rng()).unwrap();
        agrees(&embedded, &(tokens(4), classes.clone()));
        agrees(&of(4).build(&mut rng()).unwrap(), &(tokens(4), classes));
    }
}

#[test]
fn a_classifier_s_gradient_matches_finite_differences_for_every_cell_and_pooling() {
    classifier_gradients::<LstmCell<f64>>();
    classifier_gradients::<GruCell<f64>>();
    classifier_gradients::<RnnCell<f64>>();
}

#[test]
fn a_regressor_s_and_a_forecaster_s_gradients_match_finite_differences_for_every_loss() {
    fn check(loss: impl Scored<Array2<f64>, Target = Array2<f64>>) {
        let y = random((1, 3, 4), 9).index_axis_move(Axis(0), 0).mapv(f64::abs);
        let builder = SequenceRegressor::<GruCell<f64>>::builder(3, 4).hidden_size(5);
        let regressor = builder.loss(loss.clone()).pooling(Pooling::Mean);
        agrees(&regressor.build(&mut rng()).unwrap(), &(values(3), y.clone()));
        let builder = Forecaster::<LstmCell<f64>>::builder(3, &windows(2, &[2, 0])).hidden_size(5);
        let scaler = Scaler::min_max(&[array![[0.0, 1.0, -2.0], [1.0, 3.0, 2.0]].view()]).unwrap();
        let forecaster = builder.scaler(scaler).dropout(0.2).loss(loss);
        let batch = WindowBatch { x: values(3), y: y.clone(), targets: vec![2, 0] };
        agrees(&forecaster.build(&mut rng()).unwrap(), &batch);
    }
    check(Mse);
    check(Mae);
    check(Huber::new(0.1).unwrap());
    check(Quantile::new(vec![0.1, 0.5, 0.9]).unwrap());
    check(Sum(Mse));
    check(BceWithLogits::default());
}

#[test]
fn a_tagger_s_and_a_generator_s_gradients_match_finite_differences() {
    let classes = Array2::from_shape_fn((5, 3), |(t, b)| (t + b) % 3);
    for (layers, input) in [(1, values(3)), (2, tokens(3))] {
        let builder = SequenceTagger::<GruCell<f64>>::builder(3, 3).hidden_size(7);
        let builder = builder.num_layers(layers).bidirectional(layers == 2).dropout(0.25);
        let loss = CrossEntropy::default().ignore_index(1);
        agrees(&builder.loss(loss).build(&mut rng()).unwrap(), &(input, classes.clone()));
    }
    // Tokens 0 to 3 of 6. The last two are reserved for start and end.
    let texts = || Sequences::one_hot(tokens(4).tokens().unwrap(), 6, vec![5, 1, 3]).unwrap();
    let condition = Some(random((1, 3, 7), 2).index_axis_move(Axis(0), 0));
    for layers in [1, 2] {
        let builder =
            SequenceGenerator::<LstmCell<f64>>::builder(6).hidden_size(5).num_layers(layers);
        let builder = builder.embedding_dim(3).dropout(0.2).start(4).end(5).condition_size(7);
        agrees(&builder.build(&mut rng()).unwrap(), &(condition.clone(), texts()));
    }
    let plain = SequenceGenerator::<RnnCell<f64>>::builder(6).hidden_size(5).end(4);
    agrees(&plain.build(&mut rng()).unwrap(), &(None, texts()));
}

/// Returns sequence `b` of `x` as an array [time, features].
fn sequence(x: &Sequences<f64>, b: usize) -> Array2<f64> {
    x.values().slice(s![..x.lengths()[b], b, ..]).to_owned()
}

#[test]
fn a_stream_says_what_the_whole_sequence_does() {
    let x = values(3);
    let scaler = Scaler::standard(&[sequence(&x, 0).view()]).unwrap();
    for pooling in [Pooling::Last, Pooling::Mean, Pooling::Max, Pooling::Attention] {
        let builder =
            SequenceClassifier::<LstmCell<f64>>::builder(3, 2).hidden_size(5).num_layers(2);
        let model = builder.pooling(pooling).scaler(scaler.clone()).build(&mut rng()).unwrap();
        let mut stream = model.stream(1).unwrap();
        let all = sequence(&x, 0);
        for t in 0..5 {
            let p = stream.fork().step(all.slice(s![t..=t, ..])).unwrap();
            assert_eq!(p, stream.step(all.slice(s![t..=t, ..])).unwrap());
            let so_far = Sequences::from_list(&[all.slice(s![..=t, ..]).to_owned()]).unwrap();
            assert_eq!(p, model.probabilities(&so_far).unwrap(), "{pooling:?} at {t}");
            assert!((p.sum() - 1.0).abs() < 1e-15);
        }
    }
    let builder = SequenceTagger::<GruCell<f64>>::builder(4, 3).embedding_dim(2);
    let model = builder.hidden_size(5).build(&mut rng()).unwrap();
    let (x, mut stream) = (tokens(4), model.stream(3).unwrap());
    let whole = model.probabilities(&x).unwrap();
    let first = stream.step_tokens(&x.tokens().unwrap().row(0).to_vec()).unwrap();
    assert_eq!(first, whole.values().index_axis(Axis(0), 0));
    assert_eq!(model.predict(&x).unwrap()[1].len(), 1);
    assert_eq!(whole.values()[[1, 1, 0]], 0.0);
}

#[test]
fn forecasts_are_in_the_units_of_the_data_and_recursion_hears_itself() {
    let series = Array2::from_shape_fn((40, 2), |(t, j)| 100.0 * (1 + j) as f64 + (t % 7) as f64);
    let scaler = Scaler::standard(&[series.view()]).unwrap();
    let quantiles = Quantile::new(vec![0.1, 0.5, 0.9]).unwrap();
    let cut = windows(3, &[0, 1]);
    let builder = Forecaster::<GruCell<f64>>::builder(2, &cut).hidden_size(5).scaler(scaler);
    let model = builder.loss(quantiles).build(&mut rng()).unwrap();
    let recent = series.slice(s![..9, ..]);
    let said = model.forecast(recent).unwrap();
    assert_eq!(said.dim(), (3, 6));
    // Untrained, it predicts values near the mean of each feature, for every quantile.
    assert!(said.slice(s![.., ..3]).iter().all(|y| (95.0..110.0).contains(y)), "{said}");
    assert!(said.slice(s![.., 3..]).iter().all(|y| (195.0..210.0).contains(y)), "{said}");
    let long = model.forecast_recursively(recent, 5).unwrap();
    let medians = said.slice(s![.., 1..;3]);
    assert_eq!(long.slice(s![..3, ..]), medians);
    let mut heard = recent.to_owned();
    heard.append(Axis(0), medians).unwrap();
    let later = model.forecast(heard.view()).unwrap();
    assert_eq!(long.slice(s![3.., ..]), later.slice(s![..2, 1..;3]));
    let mut stream = model.stream(1).unwrap();
    let mut last = Array2::zeros((0, 0));
    for row in recent.rows() {
        last = stream.step(row.insert_axis(Axis(0))).unwrap();
    }
    assert_eq!(last.into_iter().collect::<Vec<_>>(), said.into_iter().collect::<Vec<_>>());
    let one = Forecaster::<LstmCell<f64>>::builder(2, &windows(3, &[1])).build(&mut rng()).unwrap();
    let error = one.forecast_recursively(recent, 5).unwrap_err().to_string();
    assert_eq!(error, "targets: expected all 2 features: each is fed back as input, got [1]");
}

#[test]
fn a_saved_model_comes_back_whole_with_what_was_kept_with_it() {
    let file = File::new("models");
    let words = Vocabulary::builder(Unit::Word).fixed(&["a", "b", "c", "d"]).unwrap();
    let model = SequenceClassifier::<RnnCell<f64>>::builder(4, 2)
        .embedding_dim(3)
        .hidden_size(5)
        .num_layers(2)
        .bidirectional(true)
        .cell_options(Nonlinearity::Relu)
        .recurrent(|layers| layers.weight_hh(Init::Orthogonal).learned_initial_state(true))
        .pooling(Pooling::Attention)
        .vocabulary(words.clone())
        .labels(&["no", "yes"])
        .build(&mut rng())
        .unwrap();
    model.save(&file.0).unwrap();
    let again = SequenceClassifier::<RnnCell<f64>>::load(&file.0).unwrap();
    assert_eq!(again.names(), model.names());
    assert_eq!(bits(&again), bits(&model));
    assert_eq!((again.vocabulary(), again.labels()), (Some(&words), model.labels()));
    let x = tokens(4);
    assert_eq!(again.probabilities(&x).unwrap(), model.probabilities(&x).unwrap());
    let names = model.predict(&x).unwrap().into_iter().map(|class| &model.labels()[class][..]);
    assert_eq!(again.predict_labels(&x).unwrap(), names.collect::<Vec<_>>());

    let says = |error: Error| error.to_string();
    let other = SequenceClassifier::<GruCell<f64>>::load(&file.0).unwrap_err();
    let expected =
        ": expected a SequenceClassifier of gru cells, got a SequenceClassifier of rnn cells";
    assert!(says(other).ends_with(expected));
    let other = SequenceTagger::<RnnCell<f64>>::load(&file.0).unwrap_err();
    assert!(says(other).contains("got a SequenceClassifier of rnn cells"));
    let narrow = SequenceClassifier::<RnnCell<f32>>::load(&file.0).unwrap_err();
    assert!(matches!(narrow, Error::Dtype { .. }), "{narrow}");
    recurrent::io::save(&file.0, &model).unwrap();
    let weights = SequenceClassifier::<RnnCell<f64>>::load(&file.0).unwrap_err();
    assert!(says(weights).ends_with("not a model file: weights alone"));
}

#[test]
fn every_kind_of_model_comes_back_from_its_file() {
    let file = File::new("kinds");
    let scaler =
        Scaler::standard(&[array![[0.1, 0.2, 0.3], [0.7, 1.1, 1.0 / 3.0]].view()]).unwrap();
    let reset = GruOptions { reset: Reset::Before };
    let regressor = SequenceRegressor::<GruCell<f64>>::builder(3, 2)
        .cell_options(reset)
        .scaler(scaler.clone())
        .loss(Huber::new(0.3).unwrap())
        .build(&mut rng())
        .unwrap();
    regressor.save(&file.0).unwrap();
    let again = SequenceRegressor::<GruCell<f64>, Huber>::load(&file.0).unwrap();
    assert_eq!(again.predict(&values(3)).unwrap(), regressor.predict(&values(3)).unwrap());
    assert_eq!((again.loss(), again.scaler()), (regressor.loss(), Some(&scaler)));

    let tagger = SequenceTagger::<LstmCell<f64>>::builder(3, 2).build(&mut rng()).unwrap();
    tagger.save(&file.0).unwrap();
    let again = SequenceTagger::<LstmCell<f64>>::load(&file.0).unwrap();
    assert_eq!(again.probabilities(&values(3)).unwrap(), tagger.probabilities(&values(3)).unwrap());

    let generator =
        SequenceGenerator::<LstmCell<f64>>::builder(6).start(0).end(1).condition_size(2);
    let generator = generator.embedding_dim(2).build(&mut rng()).unwrap();
    generator.save(&file.0).unwrap();
    let again = SequenceGenerator::<LstmCell<f64>>::load(&file.0).unwrap();
    let vectors = array![[0.5, -0.5], [1.0, 2.0]];
    let lively = Sampling::temperature(1.0).unwrap();
    let say = |model: &SequenceGenerator<LstmCell<f64>>| {
        model.generate(Some(vectors.view()), &[3], 20, &lively, &mut rng()).unwrap()
    };
    assert_eq!(say(&again), say(&generator));

    let levels = Quantile::new(vec![0.25, 0.75]).unwrap();
    let cut = windows(4, &[1]);
    let forecaster = Forecaster::<LstmCell<f64>>::builder(3, &cut).scaler(scaler).loss(levels);
    let forecaster = forecaster.build(&mut rng()).unwrap();
    forecaster.save(&file.0).unwrap();
    let again = Forecaster::<LstmCell<f64>, Quantile>::load(&file.0).unwrap();
    assert_eq!(again.predict(&values(3)).unwrap(), forecaster.predict(&values(3)).unwrap());
    assert_eq!((again.horizon(), again.targets()), (4, &[1][..]));
    assert_eq!(again.loss(), forecaster.loss());
}

#[test]
fn nonsense_is_refused_by_name() {
    let says = |result: Result<()>| result.unwrap_err().to_string();
    let classifier = || SequenceClassifier::<LstmCell<f64>>::builder(3, 2);
    let build = |builder: recurrent::model::ModelBuilder<SequenceClassifier<LstmCell<f64>>>| {
        says(builder.build(&mut rng()).map(|_| ()))
    };
    assert!(build(SequenceClassifier::builder(0, 2)).starts_with("input_size: expected"));
    assert!(build(SequenceClassifier::builder(3, 0)).starts_with("output_size: expected"));
    assert!(build(classifier().hidden_size(0)).starts_with("hidden_size: expected"));
    assert!(build(classifier().num_layers(0)).starts_with("num_layers: expected"));
    assert!(build(classifier().embedding_dim(0)).starts_with("embedding_dim: expected"));
    assert_eq!(build(classifier().dropout(1.0)), "dropout: expected 0 ≤ p < 1, got 1");
    assert_eq!(build(classifier().labels(&["a"])), "labels: expected [2] (output), got [1]");
    let scaler = Scaler::standard(&[array![[1.0], [2.0]].view()]).unwrap();
    assert_eq!(build(classifier().scaler(scaler)), "scaler: expected [3] (input), got [1]");
    let words = Vocabulary::builder(Unit::Word).fixed(&["a"]).unwrap();
    assert_eq!(build(classifier().vocabulary(words)), "vocabulary: expected [3] (input), got [1]");

    let two_ways = classifier().bidirectional(true).build(&mut rng()).unwrap();
    assert!(two_ways.stream(1).is_err());
    let embedded = classifier().embedding_dim(2).build(&mut rng()).unwrap();
    let mut stream = embedded.stream(1).unwrap();
    assert_eq!(
        says(stream.step(array![[1.0, 2.0, 3.0]].view()).map(|_| ())),
        "x_t: expected tokens (step_tokens), got values"
    );
    assert!(embedded.predict(&values(3)).is_err());
    let plain = classifier().build(&mut rng()).unwrap();
    let (x, mut grad) = (values(3), plain.zeros_like());
    let wrong = plain.loss_and_grad(&(x.clone(), vec![0, 1, 2]), &mut grad, &mut rng());
    assert_eq!(says(wrong.map(|_| ())), "classes[2]: expected less than 2 (classes), got 2");
    let empty = Sequences::new(x.values().clone(), vec![5, 0, 3]).unwrap();
    assert!(says(plain.predict(&empty).map(|_| ())).starts_with("lengths[1]: expected at least 1"));

    let generator = || SequenceGenerator::<LstmCell<f64>>::builder(4);
    let build = |result: Result<SequenceGenerator<LstmCell<f64>>>| says(result.map(|_| ()));
    assert_eq!(
        build(generator().start(4).build(&mut rng())),
        "start: expected less than 4 (vocabulary_size), got 4"
    );
    assert!(build(generator().bidirectional(true).build(&mut rng())).starts_with("bidirectional"));
    let mute = generator().build(&mut rng()).unwrap();
    let greedy = Sampling::greedy();
    let say = |condition| says(mute.generate(condition, &[], 3, &greedy, &mut rng()).map(|_| ()));
    assert!(say(None).starts_with("prompt: expected at least one token"));
    let vector = array![[1.0]];
    let told = mute.generate(Some(vector.view()), &[1], 3, &greedy, &mut rng());
    assert_eq!(says(told.map(|_| ())), "condition: expected none, got a vector for each text");
    let target = Forecaster::<LstmCell<f64>>::builder(2, &windows(1, &[2])).build(&mut rng());
    assert_eq!(says(target.map(|_| ())), "targets[0]: expected less than 2 (features), got 2");
}

#[test]
fn a_generator_learns_to_describe_the_vector_that_it_is_told() {
    let texts = vec![vec![2, 3], vec![3, 3, 2], vec![2], vec![3, 2, 3, 2]];
    let vectors: Vec<Array1<f32>> =
        (0..4).map(|i| Array1::from_shape_fn(4, |j| f32::from(u8::from(i == j)))).collect();
    let data = Texts::new(texts.clone(), 4).unwrap().conditions(vectors.clone()).unwrap();
    let builder = SequenceGenerator::<LstmCell<f32>>::builder(4).start(0).end(1).condition_size(4);
    let mut model = builder.hidden_size(16).build(&mut rng()).unwrap();
    let trainer = Trainer::new(Adam::new(0.02).unwrap()).epochs(150).batch_size(4);
    trainer.fit(&mut model, &data, None).unwrap();
    assert!(model.evaluate(&data, 2).unwrap().perplexity() < 1.1);
    let rows: Vec<_> = vectors.iter().map(|vector| vector.view()).collect();
    let vectors = ndarray::stack(Axis(0), &rows).unwrap();
    let greedy = Sampling::greedy();
    let said = model.generate(Some(vectors.view()), &[], 9, &greedy, &mut rng()).unwrap();
    assert_eq!(said, texts);
}

#[test]
fn a_forecaster_learns_and_the_same_seed_gives_the_same_bits() {
    let series = Array2::from_shape_fn((120, 1), |(t, _)| 5.0 + (t as f64 / 3.0).sin());
    let windows = Windows::new(8, 2).unwrap();
    let (train, test) = windows.split(&series, 90).unwrap();
    let run = || {
        let scaler = Scaler::standard(&[train.series().view()]).unwrap();
        let builder = Forecaster::<GruCell<f64>>::builder(1, &windows).hidden_size(8);
        let mut model = builder.dropout(0.1).scaler(scaler).build(&mut rng()).unwrap();
        let trainer = Trainer::new(Adam::new(0.02).unwrap()).epochs(20).seed(7);
        trainer.fit(&mut model, &train, Some(&test)).unwrap();
        model
    };
    let (one, two) = (run(), run());
    assert_eq!(bits(&one), bits(&two));
    assert!(one.evaluate(&test, 8).unwrap().rmse() < 0.2);
}
