//! Encoder-decoders as pairs of ONNX files: run by `Graph`, and by onnxruntime (the fixture `onnx_unaligned`).

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array1, Array2, ArrayD, Axis};
use recurrent::cell::{Cell, CoupledLstmCell, LayerNormLstmCell, PeepholeLstmCell};
use recurrent::data::{Scaler, Unit, Vocabulary};
use recurrent::decode::{Decoder, Sampling};
use recurrent::interop::onnx::{Graph, Value};
use recurrent::layer::AttentionScore;
use recurrent::model::{AttentionPlace, Bridge, ModelBuilder, Seq2Seq};
use recurrent::{GruCell, LstmCell, Result, RnnCell, Sequences};

use super::export::{noise, rng};
use super::fixtures::{cases, difference, load, run, temporary, write_inputs, written};

const LENGTHS: [usize; 3] = [6, 1, 4];
/// The number of steps of a decoding. Those after an end token are computed too.
const STEPS: usize = 6;
const START: usize = 0;
const END: usize = 1;

/// The two graphs of a model.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Encoder,
    Decoder,
}

/// Writes one of the graphs.
type Writer = Box<dyn Fn(Side, &Path) -> Result<()>>;
/// Returns the logits of each step that reads the given tokens.
type Logits = Box<dyn Fn(&[Vec<usize>]) -> Vec<Value>>;

/// A model with a source, and its own results.
struct Sample {
    name: &'static str,
    write: Writer,
    inputs: BTreeMap<String, Value>,
    logits: Logits,
    /// The greedy decoding.
    generated: Vec<Vec<usize>>,
    /// The weights of the attention during the decoding, [batch, time, source time].
    weights: Option<ArrayD<f32>>,
}

fn sample<C: Cell<Elem = f32> + 'static>(
    name: &'static str,
    builder: ModelBuilder<Seq2Seq<C>>,
    tokens: bool,
) -> Sample {
    let model = builder.suppress_tokens(&[5]).build(&mut rng()).unwrap();
    let numbers = |(t, b)| (3 * t + 2 * b) % 7;
    let (source, x): (_, Value) = match tokens {
        true => {
            let tokens = Array2::from_shape_fn((6, 3), numbers);
            let source = Sequences::one_hot(tokens.view(), 7, LENGTHS.to_vec()).unwrap();
            (source, tokens.mapv(|token| token as i64).into())
        }
        false => {
            let values = noise((6, 3, 4)) * 2.0;
            (Sequences::new(values.clone(), LENGTHS.to_vec()).unwrap(), values.into())
        }
    };
    let lengths = Array1::from(LENGTHS.map(|length| length as i32).to_vec());
    let greedy = Sampling::greedy();
    let generated = model.generate(&source, STEPS, &greedy, &mut rng()).unwrap();
    let weights = model.align(&source, &generated).ok().map(|weights| weights.into_dyn());
    let own = model.clone();
    Sample {
        name,
        inputs: BTreeMap::from([("source".to_owned(), x), ("lengths".to_owned(), lengths.into())]),
        generated,
        weights,
        logits: Box::new(move |tokens| {
            let mut decoder = own.decoder(&source).unwrap();
            tokens.iter().map(|tokens| decoder.step(tokens).unwrap().into()).collect()
        }),
        write: Box::new(move |side, path| match side {
            Side::Encoder => model.to_onnx_encoder(path),
            Side::Decoder => model.to_onnx_decoder(path),
        }),
    }
}

/// Returns the builder of a model from 7 tokens to 8.
fn words<C: Cell<Elem = f32>>() -> ModelBuilder<Seq2Seq<C>> {
    Seq2Seq::builder(7, 8, START, END).embedding_dim(3).hidden_size(5)
}

/// Returns the builder of a model from 4 features to 8 tokens.
fn values<C: Cell<Elem = f32>>() -> ModelBuilder<Seq2Seq<C>> {
    Seq2Seq::builder(4, 8, START, END).hidden_size(4)
}

fn samples() -> Vec<Sample> {
    let additive = AttentionScore::Additive { size: 4 };
    let location = |kernel_size| AttentionScore::Location { size: 4, filters: 2, kernel_size };
    let scaler = Scaler::standard(&[noise((6, 3, 4)).index_axis(Axis(1), 0)]).unwrap();
    let vocabulary = Vocabulary::builder(Unit::Character).fit(["abcdefg"]).unwrap();
    let one_hot = Seq2Seq::<CoupledLstmCell<f32>>::builder(7, 8, START, END).hidden_size(4);
    let bahdanau = words::<LstmCell<f32>>().attention(additive).bidirectional(true).num_layers(2);
    let luong = words::<GruCell<f32>>().attention(AttentionScore::General).input_feeding(true);
    let luong = luong.bridge(Bridge::Same).bidirectional(true).decoder_hidden_size(10);
    let speech = values::<LstmCell<f32>>().attention(location(3)).scaler(scaler);
    let deep = values::<GruCell<f32>>().attention(AttentionScore::Dot).num_layers(3);
    let deep = deep.attention_place(AttentionPlace::Before).input_feeding(true);
    let zeros = words::<PeepholeLstmCell<f32>>().without_encoder().bridge(Bridge::Zeros);
    let zeros = zeros.attention(location(1)).attention_place(AttentionPlace::Before);
    let tied = Seq2Seq::<RnnCell<f32>>::builder(7, 7, START, END).embedding_dim(5).hidden_size(5);
    vec![
        sample("bahdanau", bahdanau.attention_place(AttentionPlace::Before), true),
        sample("luong", luong.num_layers(2), true),
        sample("speech", speech, false),
        sample(
            "residual",
            deep.recurrent(|layers| layers.residual(true).learned_initial_state(true)),
            false,
        ),
        sample("pictures", values::<LstmCell<f32>>().without_encoder().attention(additive), false),
        sample("zeros", zeros, true),
        sample("tied", tied.shared_embedding(true).tied_output(true), true),
        sample("scaled", one_hot.vocabulary(vocabulary).attention(AttentionScore::ScaledDot), true),
    ]
}

/// Returns the file that a sample writes.
fn file(sample: &Sample, side: Side) -> Vec<u8> {
    written(sample.name, |path| (sample.write)(side, path))
}

/// Returns the likeliest token of each row.
fn likeliest(scores: &Value) -> Vec<usize> {
    let rows = scores.array::<f32>().unwrap();
    let rows = rows.outer_iter().map(|row| {
        (0..row.len()).reduce(|best, k| if row[k] > row[best] { k } else { best }).unwrap()
    });
    rows.collect()
}

/// Decodes by two graphs. Returns the outputs of each step, states included, by the names of a fixture.
fn decoded(
    sample: &Sample,
    encoder: &Graph,
    decoder: &Graph,
) -> Result<Vec<BTreeMap<String, Value>>> {
    let mut encoded = run(encoder, &sample.inputs)?;
    encoded.insert("lengths".to_owned(), sample.inputs["lengths"].clone());
    let pairs: Vec<(String, &str)> = decoder
        .outputs()
        .filter_map(|name| Some((name.strip_prefix("next_")?.to_owned(), name)))
        .collect();
    let states: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (&a[..], *b)).collect();
    let initial: Vec<(&str, Value)> =
        states.iter().map(|&(name, _)| (name, encoded[name].clone())).collect();
    let mut stream = decoder.stream(&states, &initial)?;
    let is_state = |name: &str| states.iter().any(|&(state, _)| state == name);
    let fixed: Vec<&str> =
        decoder.inputs().filter(|&name| name != "tokens" && !is_state(name)).collect();
    let mut tokens = vec![START; LENGTHS.len()];
    let mut steps = Vec::new();
    for _ in 0..STEPS {
        let read = tokens.iter().map(|&token| token as i64).collect::<Array1<_>>();
        let mut inputs: Vec<(&str, Value)> =
            fixed.iter().map(|&name| (name, encoded[name].clone())).collect();
        inputs.push(("tokens", read.into()));
        let mut outputs = stream.step(&inputs)?;
        tokens = likeliest(&outputs["log_probabilities"]);
        let states = stream.snapshot().into_iter();
        outputs.extend(states.map(|(name, value)| (format!("next_{name}"), value)));
        steps.push(outputs);
    }
    Ok(steps)
}

/// Checks the outputs of each step against the model.
fn check(sample: &Sample, steps: &[BTreeMap<String, Value>], most: f64) {
    let name = sample.name;
    let mut tokens = vec![vec![START; LENGTHS.len()]];
    tokens.extend(steps.iter().map(|step| likeliest(&step["log_probabilities"])));
    for (b, expected) in sample.generated.iter().enumerate() {
        let of_row = tokens[1..].iter().map(|step| step[b]);
        let of_row: Vec<usize> = of_row.take_while(|&token| token != END).collect();
        assert_eq!(&of_row, expected, "{name}");
    }
    let own = (sample.logits)(&tokens[..STEPS]);
    for (t, (step, own)) in steps.iter().zip(&own).enumerate() {
        let difference = difference(&step["logits"], own);
        println!("{name} {t} {difference:.1e}");
        assert!(difference < most, "{name}, step {t}: {difference}");
        check_log_probabilities(name, step, most);
    }
    let Some(weights) = &sample.weights else { return };
    for (b, generated) in sample.generated.iter().enumerate() {
        for (t, step) in steps.iter().enumerate().take(generated.len()) {
            let got = step.get("weights").unwrap_or_else(|| &step["next_weights"]);
            let got = got.array::<f32>().unwrap().index_axis(Axis(0), b).to_owned();
            let expected = weights.index_axis(Axis(0), b).index_axis(Axis(0), t).to_owned();
            assert!(difference(&got.into(), &expected.into()) < most, "{name}, weights {t}");
        }
    }
}

/// Checks that the logarithms of the probabilities are those of the logits, and −∞ for suppressed tokens.
fn check_log_probabilities(name: &str, step: &BTreeMap<String, Value>, most: f64) {
    let logits = step["logits"].array::<f32>().unwrap();
    let p = step["log_probabilities"].array::<f32>().unwrap();
    for (logits, p) in logits.outer_iter().zip(p.outer_iter()) {
        let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        for (token, (&logit, &p)) in logits.iter().zip(&p).enumerate() {
            if [START, 5].contains(&token) {
                assert_eq!(p, f32::NEG_INFINITY, "{name}");
            } else {
                let difference = (f64::from(logit) - sum.ln() - f64::from(p)).abs();
                assert!(difference < most * 10.0, "{name}: {difference}");
            }
        }
    }
}

#[test]
fn a_decoding_by_two_graphs_gives_the_tokens_and_the_logits_of_the_model() {
    let mut found = std::collections::BTreeSet::new();
    for sample in samples() {
        let [encoder, decoder] =
            [Side::Encoder, Side::Decoder].map(|side| load(&file(&sample, side)).unwrap());
        check(&sample, &decoded(&sample, &encoder, &decoder).unwrap(), 1e-6);
        found.extend(sample.generated);
    }
    assert!(found.len() >= 8, "{found:?}");
}

#[test]
fn an_encoder_decoder_in_double_precision_gives_its_own_logits() {
    let builder = Seq2Seq::<LstmCell<f64>>::builder(7, 8, START, END).embedding_dim(3);
    let builder = builder.attention(AttentionScore::General).input_feeding(true);
    let model = builder.hidden_size(5).build(&mut rng()).unwrap();
    let path = temporary();
    model.to_onnx_encoder(&path).unwrap();
    let encoder = Graph::load(&path).unwrap();
    model.to_onnx_decoder(&path).unwrap();
    let decoder = Graph::load(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lengths = || ("lengths".to_owned(), ndarray::array![3_i32].into());
    let source = ("source".to_owned(), ndarray::array![[4_i64], [2], [6]].into());
    let mut inputs = run(&encoder, &BTreeMap::from([source, lengths()])).unwrap();
    inputs.extend([lengths(), ("tokens".to_owned(), ndarray::array![START as i64].into())]);
    let outputs = run(&decoder, &inputs).unwrap();
    let source = Sequences::one_hot_from_list(&[vec![4, 2, 6]], 7).unwrap();
    let expected = model.decoder(&source).unwrap().step(&[START]).unwrap();
    assert!(difference(&outputs["logits"], &expected.into()) < 1e-14);
}

#[test]
fn encoder_decoders_without_an_operator_are_refused_by_name() {
    let path = temporary();
    let normalised = words::<LayerNormLstmCell<f32>>().build(&mut rng()).unwrap();
    let error = normalised.to_onnx_encoder(&path).unwrap_err().to_string();
    assert!(error.starts_with("encoder, cell: ") && error.ends_with("got layer_norm_lstm"));
    let zoneout = words::<GruCell<f32>>().recurrent(|layers| layers.zoneout(&[0.1]));
    let zoneout = zoneout.build(&mut rng()).unwrap();
    assert!(zoneout.to_onnx_decoder(&path).unwrap_err().to_string().contains("zoneout: "));
    assert!(!path.exists());
}

/// The fixture has the files that this crate writes today, with the outputs of onnxruntime.
#[test]
fn onnxruntime_decodes_the_tokens_and_the_logits_of_the_models() {
    let cases = cases("onnx_unaligned");
    for sample in samples() {
        let [encoder, decoder] =
            [("encoder", Side::Encoder), ("decoder", Side::Decoder)].map(|(kind, side)| {
                let case = &cases[&format!("{}_{kind}", sample.name)];
                let stale = format!("{}: run tests/fixtures/generate_onnx.py", sample.name);
                assert!(case.model == file(&sample, side), "{stale}");
                case
            });
        let own = run(&load(&encoder.model).unwrap(), &sample.inputs).unwrap();
        for (name, expected) in &own {
            let difference = difference(&encoder.outputs[name], expected);
            assert!(difference < 1e-5, "{}, {name}: {difference}", sample.name);
        }
        let step = |t: usize| -> BTreeMap<String, Value> {
            let of_step = |(name, value): (&String, &Value)| {
                let step = value.array::<f32>().unwrap().index_axis(Axis(0), t).to_owned();
                (name.clone(), step.into())
            };
            decoder.outputs.iter().map(of_step).collect()
        };
        check(&sample, &(0..STEPS).map(step).collect::<Vec<_>>(), 1e-5);
    }
}

/// Writes the files and inputs for tests/fixtures/generate_onnx.py, which sets the folder.
#[test]
fn unaligned_encoder_decoders_are_written_for_the_generator_of_the_fixture() {
    let Some(folder) = std::env::var_os("RECURRENT_ONNX_SAMPLES") else { return };
    for sample in samples() {
        for (kind, side) in [("encoder", Side::Encoder), ("decoder", Side::Decoder)] {
            let path = Path::new(&folder).join(format!("{}_{kind}.onnx", sample.name));
            std::fs::write(path, file(&sample, side)).unwrap();
        }
        let path = Path::new(&folder).join(format!("{}_encoder", sample.name));
        write_inputs(&path, &sample.inputs);
    }
}
