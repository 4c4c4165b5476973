//! The ready models: their builders, predictions, streams and decoders.

use ndarray::Array2;
use recurrent::GruCell;
use recurrent::Result;
use recurrent::data::{Dataset, Scaler, Unit, Vocabulary, Windows};
use recurrent::decode::{BeamSearch, Decoder, Sampling};
use recurrent::layer::{AttentionScore, CharacterEncoding, Linear, Pooling, crf::Constraints};
use recurrent::loss::{Mse, Quantile};
use recurrent::model::{
    AttentionPlace, Bridge, BuiltInCell, BuiltInOptions, Composed, Forecaster, Head, MeanLoss,
    ModelBuilder, ScheduledSampling, Scored, Seq2Seq, SequenceClassifier, SequenceGenerator,
    SequenceRegressor, SequenceTagger, SequenceTranscriber,
};
use recurrent::train::Model;
use recurrent::train::metrics::SpanMode;

use super::calls;
use super::given::{Given, precision, unchanged};

const WIDTH: usize = 3;
const CLASSES: usize = 4;

type Cell = GruCell<f32>;
type Classifier = SequenceClassifier<Cell>;
type Regressor = SequenceRegressor<Cell>;
type Tagger = SequenceTagger<Cell>;
type Transcriber = SequenceTranscriber<Cell>;
type Generator = SequenceGenerator<Cell>;
type Forecast = Forecaster<Cell>;
type Translator = Seq2Seq<Cell>;

fn classifier_builder(given: &mut Given) -> ModelBuilder<Classifier> {
    Classifier::builder(given.like(WIDTH), given.like(CLASSES)).hidden_size(given.like(2))
}

fn classifier(given: &mut Given) -> Result<Classifier> {
    let labels = given.texts(&["a", "b", "c", "d"]);
    let mut builder = classifier_builder(given);
    if given.flag() {
        builder = builder.labels(&labels);
    }
    builder.pooling(given.one(&[Pooling::Last, Pooling::Attention])).build(given.rng())
}

/// Builds a classifier, and trains and predicts with it.
fn classified(given: &mut Given, builder: ModelBuilder<Classifier>) -> Result<()> {
    let model = builder.build(given.rng())?;
    let x = given.sequences(WIDTH);
    let target = given.some(x.batch(), CLASSES);
    learned(given, model.clone(), &(x.clone(), target))?;
    model.predict(&x)?;
    Ok(())
}

/// Computes a gradient, which must be as before if this fails.
fn learned<M: Model<Elem = f32>>(given: &mut Given, model: M, batch: &M::Batch) -> Result<()> {
    let mut grad = model.zeros_like();
    unchanged(&mut grad, |grad| model.loss_and_grad(batch, grad, given.rng()))?;
    let mut score = M::Score::default();
    model.score_batch(batch, &mut score)?;
    Ok(())
}

fn words() -> Vocabulary {
    Vocabulary::builder(Unit::Word).special(&["<s>", "</s>"]).fit(["a b c"]).unwrap()
}

/// Returns a classifier of texts.
fn reader(given: &mut Given) -> Result<Classifier> {
    let builder = Classifier::builder(5, CLASSES).hidden_size(2).vocabulary(words());
    builder.labels(&given.texts(&["a", "b", "c", "d"])).build(given.rng())
}

fn texts(given: &mut Given) -> Vec<&'static str> {
    given.texts(&["a", "b c"])
}

fn regressor(given: &mut Given) -> Result<Regressor> {
    let builder = Regressor::builder(given.like(WIDTH), given.like(2)).hidden_size(2);
    builder.pooling(given.one(&[Pooling::Last, Pooling::Attention])).build(given.rng())
}

fn forecaster(given: &mut Given) -> Result<Forecast> {
    let windows = Windows::new(4, 2)?;
    Forecast::builder(given.like(WIDTH), &windows).hidden_size(2).build(given.rng())
}

fn recursive(given: &mut Given) -> Result<Forecast> {
    let windows = Windows::new(4, 1)?;
    Forecast::builder(WIDTH, &windows).hidden_size(2).build(given.rng())
}

fn tagger_builder(given: &mut Given) -> ModelBuilder<Tagger> {
    Tagger::builder(given.like(WIDTH), 3).hidden_size(2)
}

fn tagger(given: &mut Given) -> Result<Tagger> {
    let head = given.one(&[Head::Softmax, Head::Crf]);
    tagger_builder(given).labels(&["O", "B-x", "I-x"]).head(head).build(given.rng())
}

fn tagged(given: &mut Given, builder: ModelBuilder<Tagger>) -> Result<()> {
    let model = builder.build(given.rng())?;
    let x = given.sequences(WIDTH);
    let target = given.classes(&x, 3);
    learned(given, model.clone(), &(x.clone(), target))?;
    model.predict(&x)?;
    Ok(())
}

fn spans(given: &mut Given) -> Result<()> {
    let model = tagger(given)?;
    let sequences = vec![given.array2(2, WIDTH)];
    let targets = vec![given.some(2, 3)];
    let data = Dataset::new(sequences, targets)?;
    model.evaluate_spans(&data, given.size(), SpanMode::Lenient)?;
    Ok(())
}

fn transcriber_builder(given: &mut Given) -> ModelBuilder<Transcriber> {
    Transcriber::builder(given.like(WIDTH), given.like(CLASSES)).hidden_size(2)
}

fn transcriber(given: &mut Given) -> Result<Transcriber> {
    let builder = transcriber_builder(given).labels(&["", "a", "b", "c"]);
    builder.frames(given.like(2), given.like(1)).build(given.rng())
}

fn generator(given: &mut Given) -> Result<Generator> {
    let builder = Generator::builder(5).embedding_dim(2).hidden_size(2).end(given.index(5));
    builder.vocabulary(words()).build(given.rng())
}

fn conditioned(given: &mut Given, condition: usize) -> Result<Generator> {
    let builder = Generator::builder(5).hidden_size(2).condition_size(condition);
    builder.end(1).build(given.rng())
}

fn generated(given: &mut Given, builder: ModelBuilder<Generator>) -> Result<()> {
    let model = builder.build(given.rng())?;
    let batch = (None, given.tokens(5));
    learned(given, model, &batch)
}

fn sampling(given: &mut Given) -> Result<Sampling> {
    Sampling::temperature(given.number(0.8))?.top_k(given.size())
}

fn search(given: &mut Given) -> Result<BeamSearch<'static>> {
    // A search of a huge width keeps every hypothesis.
    BeamSearch::new(given.size())?.end(1).n_best(given.size())?.max_length(given.like(4).min(6))
}

fn translator_builder(given: &mut Given) -> ModelBuilder<Translator> {
    let builder = Translator::builder(given.like(WIDTH), given.like(5), given.index(5), 1);
    builder.embedding_dim(2).hidden_size(2)
}

fn translator(given: &mut Given) -> Result<Translator> {
    let builder = Translator::builder(WIDTH, 5, 0, 1).target_embedding_dim(2).hidden_size(2);
    let builder = if given.flag() { builder.attention(AttentionScore::Dot) } else { builder };
    builder.build(given.rng())
}

fn translated(given: &mut Given, builder: ModelBuilder<Translator>) -> Result<()> {
    let model = builder.build(given.rng())?;
    let source = given.tokens(WIDTH);
    let targets = given.lists(source.batch(), 5);
    learned(given, model.clone(), &(source.clone(), targets))?;
    model.generate(&source, 4, &Sampling::greedy(), given.rng())?;
    Ok(())
}

/// Returns a translator of tokens.
fn of_tokens() -> ModelBuilder<Translator> {
    Translator::builder(WIDTH, 5, 0, 1).embedding_dim(2).hidden_size(2)
}

/// Returns a translator of texts.
fn of_words() -> ModelBuilder<Translator> {
    let builder = Translator::builder(5, 5, 0, 1).embedding_dim(2).hidden_size(2);
    builder.vocabulary(words()).target_vocabulary(words())
}

fn composed(given: &mut Given) -> Composed<recurrent::Sequences<f32>, Linear<f32>, Mse> {
    Composed::new(Linear::new(WIDTH, 2, given.rng()).unwrap(), Mse)
}

fn scaler() -> Scaler {
    Scaler::standard(&[Array2::from_shape_fn((4, WIDTH), |(t, j)| (t * j) as f64).view()]).unwrap()
}

fn decoded(given: &mut Given, workspace: bool) -> Result<()> {
    let model = translator(given)?;
    let source = given.sequences_of(3, 2, WIDTH);
    let mut decoder = match workspace {
        true => model.workspace_with(precision(given))?.decoder(&source)?,
        false => model.decoder(&source)?,
    };
    decoder.step(&given.some(2, 5))?;
    decoder.select(&given.indices(2))?;
    Ok(())
}

fn scheduled(given: &mut Given) -> ScheduledSampling {
    let [a, b, steps] = [given.number(0.9), given.number(0.1), given.size() as f64];
    given.one(&[
        ScheduledSampling::Exponential { factor: a },
        ScheduledSampling::InverseSigmoid { k: 1.0 + a },
        ScheduledSampling::Linear { from: a, to: b, steps: steps as usize },
    ])
}

fn encoding(given: &mut Given) -> CharacterEncoding {
    let [a, b] = [given.size(), given.size()];
    given.one(&[
        CharacterEncoding::Lstm { hidden_size: a },
        CharacterEncoding::Conv { out_channels: a, kernel_size: b },
    ])
}

calls! {
"model::ModelBuilder::", g:
    attention = { let b = of_tokens().attention(g.one(&[AttentionScore::General, AttentionScore::Additive { size: 2 }])); translated(g, b)? };
    attention = { let size = g.size(); let b = of_tokens().attention(AttentionScore::Location { size, filters: g.size(), kernel_size: g.like(3) }); translated(g, b)? };
    attention_place = { let b = of_tokens().attention(AttentionScore::Dot).attention_place(g.one(&[AttentionPlace::Before, AttentionPlace::After])); translated(g, b)? };
    bidirectional = { let b = classifier_builder(g).bidirectional(g.flag()); classified(g, b)? };
    bridge = { let b = of_tokens().bridge(g.one(&[Bridge::Zeros, Bridge::Linear, Bridge::Same])); translated(g, b)? };
    build = { let b = classifier_builder(g); classified(g, b)? };
    cell_options = SequenceClassifier::<BuiltInCell<f32>>::builder(WIDTH, 2).hidden_size(g.size()).cell_options(BuiltInOptions::default()).build(g.rng())?;
    characters = { let b = tagger_builder(g).vocabulary(words()).characters(words(), g.size(), encoding(g)); tagged(g, b).or_else(|error| if g.flag() { Ok(()) } else { Err(error) })? };
    columns = { let b = classifier_builder(g).columns(&g.texts(&["x", "y", "z"])); classified(g, b)? };
    condition_size = { let size = g.like(2); let (m, c) = (conditioned(g, size)?, g.array2(2, 2)); m.generate(Some(c.view()), &[2], 3, &Sampling::greedy(), g.rng())? };
    constraints = { let b = tagger_builder(g).head(Head::Crf).constraints(Constraints::iob2(&["O", "B-x", "I-x"])?); tagged(g, b)? };
    decoder_hidden_size = { let b = of_tokens().decoder_hidden_size(g.size()).bridge(Bridge::Linear); translated(g, b)? };
    decoder_num_layers = { let b = of_tokens().decoder_num_layers(g.size()).attention(AttentionScore::Dot).bridge(Bridge::Zeros); translated(g, b)? };
    dropout = { let b = classifier_builder(g).num_layers(2).dropout(g.number(0.2)); classified(g, b)? };
    embedding_dim = { let b = classifier_builder(g).embedding_dim(g.size()); let m = b.build(g.rng())?; m.predict(&g.tokens(WIDTH))? };
    end = { let b = Generator::builder(5).hidden_size(2).end(g.index(5)); generated(g, b)? };
    frames = { let b = transcriber_builder(g).frames(g.size(), g.size()); let m = b.build(g.rng())?; m.logits(&g.sequences(WIDTH))? };
    head = { let b = tagger_builder(g).head(g.one(&[Head::Softmax, Head::Crf])); tagged(g, b)? };
    hidden_size = { let b = classifier_builder(g).hidden_size(g.size()); classified(g, b)? };
    input_dropout = { let b = classifier_builder(g).input_dropout(g.number(0.1)); classified(g, b)? };
    input_feeding = { let b = of_tokens().attention(AttentionScore::Dot).input_feeding(g.flag()); translated(g, b)? };
    label_smoothing = { let b = of_tokens().label_smoothing(g.number(0.1)); translated(g, b)? };
    labels = { let b = classifier_builder(g).labels(&g.texts(&["a", "b", "c", "d"])); classified(g, b)? };
    loss = { let n = g.number(0.5); Regressor::builder(WIDTH, 2).hidden_size(2).loss(Quantile::new(vec![n])?).build(g.rng())?.predict(&g.sequences(WIDTH))? };
    non_crossing = { let levels = g.numbers(2, 0.5); Regressor::builder(WIDTH, 1).hidden_size(2).loss(Quantile::new(if g.flag() { vec![0.1, 0.9] } else { levels })?).non_crossing(g.flag()).build(g.rng())?.predict(&g.sequences(WIDTH))? };
    num_layers = { let b = classifier_builder(g).num_layers(g.size()); classified(g, b)? };
    pooling = { let b = classifier_builder(g).pooling(g.one(&[Pooling::Max, Pooling::Mean])); classified(g, b)? };
    recurrent = { let size = g.size(); let b = classifier_builder(g).recurrent(|r| r.num_layers(size).residual(true)); classified(g, b)? };
    scaler = { let b = classifier_builder(g).scaler(scaler()); classified(g, b)? };
    scheduled_sampling = { let b = of_tokens().scheduled_sampling(scheduled(g)); translated(g, b)? };
    shared_embedding = { let n = g.like(5); let b = Translator::builder(n, 5, 0, 1).embedding_dim(2).hidden_size(2).shared_embedding(g.flag()); let m = b.build(g.rng())?; m.generate(&g.tokens(5), 3, &Sampling::greedy(), g.rng())? };
    start = { let b = Generator::builder(5).hidden_size(2).start(g.index(5)); generated(g, b)? };
    suppress_tokens = { let b = of_tokens().suppress_tokens(&g.indices(5)); translated(g, b)? };
    target_embedding_dim = { let b = of_tokens().target_embedding_dim(g.size()); translated(g, b)? };
    target_vocabulary = { let b = Translator::builder(WIDTH, g.like(5), 0, 1).embedding_dim(2).hidden_size(2).target_vocabulary(words()); translated(g, b)? };
    tied_output = { let b = of_tokens().tied_output(g.flag()); translated(g, b)? };
    vocabulary = { let b = Classifier::builder(g.like(5), CLASSES).hidden_size(2).vocabulary(words()); b.build(g.rng())?.encode_texts(&texts(g))? };
    word_dropout = { let words = Vocabulary::builder(Unit::Word).special(&["<unk>"]).unknown("<unk>").fit(["a b c d"])?; let b = Generator::builder(5).hidden_size(2).vocabulary(words).word_dropout(g.number(0.1)); generated(g, b)? };
"model::SequenceClassifier::", g:
    builder = { let b = Classifier::builder(g.size(), g.size()); b.build(g.rng())? };
    attention_weights = classifier(g)?.attention_weights(&g.sequences(WIDTH))?;
    encode_texts = reader(g)?.encode_texts(&texts(g))?;
    predict = classifier(g)?.predict(&g.sequences(WIDTH))?;
    predict_labels = classifier(g)?.predict_labels(&g.sequences(WIDTH))?.len();
    predict_texts = reader(g)?.predict_texts(&texts(g))?.len();
    probabilities = classifier(g)?.probabilities(&g.sequences(WIDTH))?;
    stream = { let m = Classifier::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; m.stream(g.size())?; };
    stream_with = { let m = Classifier::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; m.stream_with(g.size(), precision(g))?; };
    top_k = classifier(g)?.top_k(&g.sequences(WIDTH), g.size())?.len();
"model::ClassifierStream::", g:
    step = { let m = Classifier::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; m.stream(2)?.step(g.array2(2, WIDTH).view())? };
    step_tokens = { let m = Classifier::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; m.stream(2)?.step_tokens(&g.some(2, WIDTH))? };
"model::SequenceRegressor::", g:
    builder = Regressor::builder(g.size(), g.size()).build(g.rng())?;
    attention_weights = regressor(g)?.attention_weights(&g.sequences(WIDTH))?;
    encode_texts = Regressor::builder(5, 1).hidden_size(2).vocabulary(words()).build(g.rng())?.encode_texts(&texts(g))?;
    predict = { let (m, x) = (regressor(g)?, g.sequences(WIDTH)); let y = g.array2(x.batch(), 2); learned(g, m.clone(), &(x.clone(), y))?; m.predict(&x)? };
    stream = { let m = Regressor::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; m.stream(g.size())?; };
    stream_with = { let m = Regressor::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; m.stream_with(g.size(), precision(g))?; };
"model::RegressorStream::", g:
    step = { let m = Regressor::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; m.stream(2)?.step(g.array2(2, WIDTH).view())? };
    step_tokens = { let m = Regressor::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; m.stream(2)?.step_tokens(&g.some(2, WIDTH))? };
"model::Forecaster::", g:
    builder = Forecast::builder(g.size(), &Windows::new(g.size(), g.size())?).build(g.rng())?;
    encode_texts = forecaster(g)?.encode_texts(&texts(g)).or_else(|error| if g.flag() { Ok(g.sequences(1)) } else { Err(error) })?;
    forecast = forecaster(g)?.forecast(g.array2(4, WIDTH).view())?;
    forecast_recursively = recursive(g)?.forecast_recursively(g.array2(4, WIDTH).view(), g.like(3).min(100))?;
    predict = forecaster(g)?.predict(&g.sequences_of(4, 2, WIDTH))?;
    stream = { let m = recursive(g)?; m.stream(g.size())?; };
    stream_with = { let m = recursive(g)?; m.stream_with(g.size(), precision(g))?; };
"model::ForecasterStream::", g:
    step = { let m = recursive(g)?; m.stream(2)?.step(g.array2(2, WIDTH).view())? };
"model::SequenceTagger::", g:
    builder = Tagger::builder(g.size(), g.size()).build(g.rng())?;
    emissions = tagger(g)?.emissions(&g.sequences(WIDTH))?;
    encode_texts = Tagger::builder(5, 3).hidden_size(2).vocabulary(words()).build(g.rng())?.encode_texts(&texts(g))?;
    encode_words = { let m = Tagger::builder(5, 3).hidden_size(2).vocabulary(words()).build(g.rng())?; let all: Vec<Vec<&str>> = (0..g.length(2)).map(|_| g.texts(&["a", "b"])).collect(); m.encode_words(&all)? };
    evaluate_spans = spans(g)?;
    predict = { let b = tagger_builder(g); tagged(g, b)? };
    predict_labels = tagger(g)?.predict_labels(&g.sequences(WIDTH))?.len();
    predict_texts = { let m = Tagger::builder(5, 3).hidden_size(2).vocabulary(words()).labels(&["O", "B-x", "I-x"]).build(g.rng())?; m.predict_texts(&texts(g))?.len() };
    probabilities = tagger(g)?.probabilities(&g.sequences(WIDTH))?;
    stream = { let m = Tagger::builder(WIDTH, 3).hidden_size(2).build(g.rng())?; m.stream(g.size())?; };
    stream_with = { let m = Tagger::builder(WIDTH, 3).hidden_size(2).build(g.rng())?; m.stream_with(g.size(), precision(g))?; };
"model::TaggerStream::", g:
    step = { let m = Tagger::builder(WIDTH, 3).hidden_size(2).build(g.rng())?; m.stream(2)?.step(g.array2(2, WIDTH).view())? };
    step_tokens = { let m = Tagger::builder(WIDTH, 3).hidden_size(2).build(g.rng())?; m.stream(2)?.step_tokens(&g.some(2, WIDTH))? };
"model::SequenceTranscriber::", g:
    builder = Transcriber::builder(g.size(), g.size()).build(g.rng())?;
    align = { let (m, x) = (transcriber(g)?, g.sequences_of(6, 2, WIDTH)); m.align(&x, &g.lists(2, CLASSES))? };
    beam = transcriber(g)?.beam(g.size())?;
    encode_texts = Transcriber::builder(5, 3).hidden_size(2).vocabulary(words()).build(g.rng())?.encode_texts(&texts(g))?;
    logits = transcriber(g)?.logits(&g.sequences_of(4, 2, WIDTH))?;
    stream = { let m = transcriber(g)?; m.stream(g.size())?; };
    stream_with = { let m = transcriber(g)?; m.stream_with(g.size(), precision(g))?; };
    transcribe = { let (m, x) = (transcriber(g)?, g.sequences_of(6, 2, WIDTH)); let labels = g.lists(2, CLASSES); learned(g, m.clone(), &(x.clone(), labels)).or_else(|error| if g.flag() { Ok(()) } else { Err(error) })?; m.transcribe(&x)? };
    transcribe_beam = transcriber(g)?.transcribe_beam(&g.sequences_of(4, 2, WIDTH), g.size())?;
    transcribe_labels = transcriber(g)?.transcribe_labels(&g.sequences_of(4, 2, WIDTH))?.len();
"model::TranscriberStream::", g:
    step = { let m = transcriber(g)?; let mut s = m.stream(2)?; s.step(g.array2(2, WIDTH).view())?; s.step(g.array2(2, WIDTH).view())? };
    step_logits = { let m = transcriber(g)?; m.stream(2)?.step_logits(g.array2(2, WIDTH).view())? };
    step_tokens = { let m = transcriber(g)?; m.stream(2)?.step_tokens(&g.some(2, WIDTH))? };
"model::SequenceGenerator::", g:
    builder = Generator::builder(g.size()).build(g.rng())?;
    beam = { let m = generator(g)?; let s = search(g)?; m.beam(None, &g.indices(5), &s)? };
    encode_texts = generator(g)?.encode_texts(&texts(g))?;
    generate = { let (m, s, c) = (conditioned(g, 2)?, sampling(g)?, g.array2(2, 2)); m.generate(g.flag().then_some(c.view()), &g.indices(5), g.like(4).min(40), &s, g.rng())? };
    generate_text = { let (m, s) = (generator(g)?, sampling(g)?); m.generate_text(g.text("a b"), g.like(4).min(40), &s, g.rng())? };
    log_likelihoods = generator(g)?.log_likelihoods(&(None, g.tokens(5)))?;
    stream = { let m = generator(g)?; let c = g.array2(2, 2); m.stream((g.below(4) == 0).then_some(c.view()), g.size())?; };
    stream_with = { let m = generator(g)?; let c = g.array2(2, 2); m.stream_with((g.below(4) == 0).then_some(c.view()), g.size(), precision(g))?; };
"model::GeneratorStream::", g:
    step_tokens = { let m = generator(g)?; m.stream(None, 2)?.step_tokens(&g.some(2, 5))? };
"model::Seq2Seq::", g:
    builder = { let b = translator_builder(g); translated(g, b)? };
    align = { let m = Translator::builder(WIDTH, 5, 0, 1).hidden_size(2).target_embedding_dim(2).attention(AttentionScore::Dot).build(g.rng())?; m.align(&g.sequences_of(3, 2, WIDTH), &g.lists(2, 5))? };
    beam = { let (m, s) = (translator(g)?, search(g)?); m.beam(&g.sequences_of(3, 2, WIDTH), &s)? };
    decoder = decoded(g, false)?;
    encode_texts = Translator::builder(5, 5, 0, 1).embedding_dim(2).hidden_size(2).vocabulary(words()).build(g.rng())?.encode_texts(&texts(g))?;
    generate = { let (m, s) = (translator(g)?, sampling(g)?); m.generate(&g.sequences_of(3, 2, WIDTH), g.like(4).min(40), &s, g.rng())? };
    translate = { let s = search(g)?; of_words().build(g.rng())?.translate(&texts(g), &s)? };
    workspace_with = { let m = translator(g)?; m.workspace_with(precision(g))?; };
"model::Seq2SeqWorkspace::", g:
    beam = { let (m, s) = (translator(g)?, search(g)?); m.workspace_with(precision(g))?.beam(&g.sequences_of(3, 2, WIDTH), &s)? };
    decoder = decoded(g, true)?;
    generate = { let (m, s) = (translator(g)?, sampling(g)?); m.workspace_with(precision(g))?.generate(&g.sequences_of(3, 2, WIDTH), g.like(4).min(40), &s, g.rng())? };
    translate = { let (m, s) = (of_words().build(g.rng())?, search(g)?); m.workspace_with(precision(g))?.translate(&texts(g), &s)? };
"model::Composed::", g:
    new = { let (m, x) = (composed(g), g.sequences(WIDTH)); let y = g.sequences_of(x.time(), x.batch(), 2); learned(g, m, &(x, y))? };
    predict = composed(g).predict(&g.sequences(WIDTH))?;
"model::MeanLoss::", g:
    add = MeanLoss::default().add(g.number(1.0), g.size());
    add_weighted = MeanLoss::default().add_weighted(g.number(1.0), g.number(1.0));
"model::ScheduledSampling::", g:
    probability = scheduled(g).probability(g.size());
"model::Scored::", g:
    check_outputs = Scored::<Array2<f32>>::check_outputs(&Mse, g.size())?;
    score = { let (a, b) = (g.array2(2, 2), g.array2(2, 2)); Mse.score(g.number(1.0), &a, &b, &mut Default::default())? };
"train::Model::", g:
    loss_and_grad = { let (m, x) = (classifier(g)?, g.sequences(WIDTH)); let y = g.some(x.batch(), CLASSES); learned(g, m, &(x, y))? };
    weighted_loss_and_grad = { let (m, x) = (classifier(g)?, g.sequences(WIDTH)); let y = g.some(x.batch(), CLASSES); let mut grad = m.clone(); unchanged(&mut grad, |grad| m.weighted_loss_and_grad(&(x, y), grad, g.rng()))? };
    score_batch = { let (m, x) = (classifier(g)?, g.sequences(WIDTH)); let y = g.some(x.batch(), CLASSES); m.score_batch(&(x, y), &mut Default::default())? };
    evaluate = { let m = classifier(g)?; let d = Dataset::<f32, usize>::new(vec![g.array2(2, WIDTH), g.array2(3, WIDTH)], g.some(2, CLASSES))?; m.evaluate(&d, g.size())? };
    begin_step = { let mut m = of_tokens().scheduled_sampling(scheduled(g)).build(g.rng())?; m.begin_step(g.size()) };
}
