//! Models of this crate as ONNX files: run by `Graph`, and by onnxruntime (the fixture `onnx_models`).

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array2, Array3, ArrayView2, Axis, array};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use recurrent::cell::{
    CoupledLstmCell, GruOptions, Nonlinearity, PeepholeLstmCell, ProjectedLstmOptions, Reset,
};
use recurrent::data::{Scaler, Unit, Vocabulary, Windows};
use recurrent::interop::onnx::{Export, Graph, Value};
use recurrent::layer::Pooling;
use recurrent::loss::Quantile;
use recurrent::model::{
    BuiltInCell, BuiltInOptions, Forecaster, Head, SequenceClassifier, SequenceGenerator,
    SequenceRegressor, SequenceTagger,
};
use recurrent::{
    GruCell, LayerNormLstmCell, LstmCell, ProjectedLstmCell, Result, RnnCell, Sequences,
};

use super::fixtures::{cases, difference, load, run, temporary, write_inputs, written};

const LENGTHS: [usize; 3] = [6, 2, 4];

/// Writes a model, as a stream or not.
type Writer = Box<dyn Fn(bool, &Path) -> Result<()>>;

/// A model with inputs and its own outputs.
struct Sample {
    name: &'static str,
    write: Writer,
    inputs: BTreeMap<String, Value>,
    outputs: Vec<(&'static str, Value)>,
    /// The first states of a stream, and the outputs after each step of it.
    stream: Option<(BTreeMap<String, Value>, &'static str, Vec<Value>)>,
}

pub(super) fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// Returns values in ±1.
pub(super) fn noise(shape: (usize, usize, usize)) -> Array3<f32> {
    let mut state = 1_u32;
    Array3::from_shape_simple_fn(shape, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    })
}

fn values() -> Sequences<f32> {
    Sequences::new(noise((6, 3, 4)) * 2.0, LENGTHS.to_vec()).unwrap()
}

fn tokens() -> Sequences<f32> {
    let tokens = Array2::from_shape_fn((6, 3), |(t, b)| (3 * t + 2 * b) % 7);
    Sequences::one_hot(tokens.view(), 7, LENGTHS.to_vec()).unwrap()
}

fn writer(model: impl Export + 'static) -> Writer {
    Box::new(move |stream, path| match stream {
        true => model.to_onnx_stream(path),
        false => model.to_onnx(path),
    })
}

fn named<const N: usize>(values: [(&str, Value); N]) -> BTreeMap<String, Value> {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns the inputs of a graph for `x`.
fn inputs(x: &Sequences<f32>) -> BTreeMap<String, Value> {
    let lengths = LENGTHS.map(|length| length as i32);
    let lengths = ("lengths", ndarray::arr1(&lengths).into());
    match x.tokens() {
        Some(_) => {
            // The padding is not read.
            let tokens = Array2::from_shape_fn((6, 3), |(t, b)| ((3 * t + 2 * b) % 7) as i64);
            named([("tokens", tokens.into()), lengths])
        }
        None => named([("x", x.values().clone().into()), lengths]),
    }
}

/// Returns the first states of a stream of 3 sequences: zeros, or −∞ where the name begins with `-`.
fn states(widths: &[(&str, usize)]) -> BTreeMap<String, Value> {
    let state = |&(name, width): &(&str, usize)| {
        let first = if name.starts_with('-') { f32::NEG_INFINITY } else { 0.0 };
        (name.trim_start_matches('-').to_owned(), Array2::from_elem((3, width), first).into())
    };
    widths.iter().map(state).collect()
}

/// Returns what `step` returns for each step of `x`.
fn stepped(
    x: &Sequences<f32>,
    mut step: impl FnMut(ArrayView2<'_, f32>) -> Array2<f32>,
) -> Vec<Value> {
    x.values().outer_iter().map(|x_t| step(x_t).into()).collect()
}

macro_rules! classifier {
    ($name:literal, $cell:ty, $x:expr, $states:expr, |$builder:ident| $build:expr) => {{
        let x: Sequences<f32> = $x;
        let $builder = SequenceClassifier::<$cell>::builder(x.features(), 3).hidden_size(5);
        let model = $build.build(&mut rng()).unwrap();
        let states: &[(&str, usize)] = $states;
        let stream = (!states.is_empty()).then(|| {
            let mut stream = model.stream(3).unwrap();
            let outputs = match x.tokens() {
                None => stepped(&x, |x_t| stream.step(x_t).unwrap()),
                Some(_) => (0..6)
                    .map(|t| {
                        let tokens: Vec<usize> = (0..3).map(|b| (3 * t + 2 * b) % 7).collect();
                        stream.step_tokens(&tokens).unwrap().into()
                    })
                    .collect(),
            };
            (self::states(states), "probabilities", outputs)
        });
        let outputs = vec![("probabilities", model.probabilities(&x).unwrap().into())];
        Sample { name: $name, inputs: inputs(&x), outputs, stream, write: writer(model) }
    }};
}

fn classifiers() -> Vec<Sample> {
    let words = Vocabulary::builder(Unit::Character).fit(["abcdefg"]).unwrap();
    assert_eq!(words.len(), 7);
    let of_lstm: &[(&str, usize)] = &[("h_l0", 5), ("c_l0", 5)];
    let scaler = || {
        let x = values();
        Scaler::standard(&[x.values().index_axis(Axis(1), 0)]).unwrap()
    };
    vec![
        classifier!("lstm_last", LstmCell<f32>, values(), of_lstm, |b| b.scaler(scaler())),
        classifier!("lstm_both_last", LstmCell<f32>, values(), &[], |b| b.bidirectional(true)),
        classifier!("gru_both_mean", GruCell<f32>, values(), &[], |b| b
            .bidirectional(true)
            .pooling(Pooling::Mean)),
        classifier!(
            "gru_mean",
            GruCell<f32>,
            values(),
            &[("h_l0", 5), ("sum", 5), ("count", 1)],
            |b| b.pooling(Pooling::Mean)
        ),
        classifier!("rnn_max", RnnCell<f32>, values(), &[("h_l0", 5), ("-most", 5)], |b| b
            .cell_options(Nonlinearity::Relu)
            .pooling(Pooling::Max)),
        classifier!(
            "peephole_attention",
            PeepholeLstmCell<f32>,
            values(),
            &[("h_l0", 5), ("c_l0", 5), ("sum", 5), ("weight", 1), ("-score", 1)],
            |b| b.pooling(Pooling::Attention)
        ),
        classifier!(
            "coupled_residual",
            CoupledLstmCell<f32>,
            values(),
            &[("h_l0", 5), ("c_l0", 5), ("h_l1", 5), ("c_l1", 5)],
            |b| b.recurrent(|layers| layers.num_layers(2).residual(true))
        ),
        classifier!("both_residual_learned", GruCell<f32>, values(), &[], |b| b
            .bidirectional(true)
            .recurrent(|layers| layers.num_layers(2).residual(true).learned_initial_state(true))),
        classifier!("built_in_before", BuiltInCell<f32>, tokens(), &[("h_l0", 5)], |b| b
            .embedding_dim(2)
            .cell_options(BuiltInOptions::Gru(GruOptions::new(Reset::Before)))),
        classifier!("one_hot", LstmCell<f32>, tokens(), of_lstm, |b| b.vocabulary(words)),
    ]
}

fn others() -> Vec<Sample> {
    let x = values();
    let builder = SequenceTagger::<LstmCell<f32>>::builder(4, 3).hidden_size(5).num_layers(2);
    let tagger = builder.bidirectional(true).build(&mut rng()).unwrap();
    let tags = Sample {
        name: "tagger",
        inputs: inputs(&x),
        outputs: vec![
            ("probabilities", tagger.probabilities(&x).unwrap().values().clone().into()),
            ("logits", tagger.emissions(&x).unwrap().values().clone().into()),
        ],
        stream: None,
        write: writer(tagger),
    };
    let builder = SequenceRegressor::<GruCell<f32>>::builder(4, 2).hidden_size(5);
    let builder = builder.loss(Quantile::new(vec![0.1, 0.5, 0.9]).unwrap()).non_crossing(true);
    let regressor = builder.build(&mut rng()).unwrap();
    let mut stream = regressor.stream(3).unwrap();
    let steps = stepped(&x, |x_t| stream.step(x_t).unwrap());
    let quantiles = Sample {
        name: "quantiles",
        inputs: inputs(&x),
        outputs: vec![("outputs", regressor.predict(&x).unwrap().into())],
        stream: Some((states(&[("h_l0", 5)]), "outputs", steps)),
        write: writer(regressor.clone()),
    };
    let windows = Windows::new(6, 2).unwrap().targets(&[2, 0]);
    let series = Array2::from_shape_fn((20, 4), |(t, j)| 50.0 * j as f32 + (t as f32).sin() * 9.0);
    let builder = Forecaster::<LstmCell<f32>>::builder(4, &windows).hidden_size(5);
    let builder = builder.scaler(Scaler::standard(&[series.view()]).unwrap());
    let forecaster = builder.build(&mut rng()).unwrap();
    let scaled = Sequences::new(x.values() * 20.0 + 40.0, LENGTHS.to_vec()).unwrap();
    let mut stream = forecaster.stream(3).unwrap();
    let steps = stepped(&scaled, |x_t| stream.step(x_t).unwrap());
    let forecast = Sample {
        name: "forecaster",
        inputs: inputs(&scaled),
        outputs: vec![("outputs", forecaster.predict(&scaled).unwrap().into())],
        stream: Some((states(&[("h_l0", 5), ("c_l0", 5)]), "outputs", steps)),
        write: writer(forecaster.clone()),
    };
    vec![tags, quantiles, forecast, generator(true), generator(false)]
}

/// Returns a generator, whose outputs are those of its own stream.
fn generator(conditioned: bool) -> Sample {
    let mut builder = SequenceGenerator::<LstmCell<f32>>::builder(7).hidden_size(5).num_layers(2);
    if conditioned {
        builder = builder.condition_size(2).embedding_dim(3);
    }
    let model = builder.build(&mut rng()).unwrap();
    let condition = conditioned.then(|| array![[0.5, -1.0], [0.0, 2.0], [1.0, 1.0_f32]]);
    let mut stream = model.stream(condition.as_ref().map(|c| c.view()), 3).unwrap();
    let steps: Vec<Array2<f32>> = (0..6)
        .map(|t| {
            let tokens: Vec<usize> = (0..3).map(|b| (3 * t + 2 * b) % 7).collect();
            stream.step_tokens(&tokens).unwrap()
        })
        .collect();
    let views: Vec<_> = steps.iter().map(|step| step.view()).collect();
    let mut whole = ndarray::stack(Axis(0), &views).unwrap();
    for (b, &length) in LENGTHS.iter().enumerate() {
        for t in length..6 {
            whole.index_axis_mut(Axis(0), t).row_mut(b).fill(0.0);
        }
    }
    let mut inputs = inputs(&tokens());
    inputs.extend(condition.map(|condition| ("condition".to_owned(), condition.into())));
    let states = states(&[("h_l0", 5), ("c_l0", 5), ("h_l1", 5), ("c_l1", 5)]);
    let of_steps = steps.into_iter().map(|step| step.insert_axis(Axis(0)).into()).collect();
    Sample {
        name: if conditioned { "conditioned" } else { "generator" },
        inputs,
        outputs: vec![("probabilities", whole.into())],
        stream: (!conditioned).then_some((states, "probabilities", of_steps)),
        write: writer(model.clone()),
    }
}

fn samples() -> Vec<Sample> {
    classifiers().into_iter().chain(others()).collect()
}

/// Returns the file that a sample writes.
fn file(sample: &Sample, stream: bool) -> Vec<u8> {
    written(sample.name, |path| (sample.write)(stream, path))
}

#[test]
fn an_exported_model_gives_its_own_results_as_a_graph() {
    for sample in samples() {
        let graph = load(&file(&sample, false)).unwrap();
        let outputs = run(&graph, &sample.inputs).unwrap();
        for (name, expected) in &sample.outputs {
            let difference = difference(&outputs[*name], expected);
            println!("{} {name} {difference:.1e}", sample.name);
            assert!(difference < 1e-6, "{}: {difference}", sample.name);
        }
    }
}

#[test]
fn an_exported_stream_gives_the_steps_of_the_models_own_stream() {
    let mut seen = 0;
    for sample in samples() {
        let Some((states, output, steps)) = &sample.stream else { continue };
        let graph = load(&file(&sample, true)).unwrap();
        let pairs: Vec<(String, String)> =
            states.keys().map(|name| (name.clone(), format!("next_{name}"))).collect();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        let first: Vec<(&str, Value)> =
            states.iter().map(|(name, value)| (&name[..], value.clone())).collect();
        let mut stream = graph.stream(&pairs, &first).unwrap();
        for (t, expected) in steps.iter().enumerate() {
            let (name, input) = step_input(&sample.inputs, t);
            let outputs = stream.step(&[(name, input)]).unwrap();
            let difference = difference(&outputs[*output], expected);
            assert!(difference < 1e-6, "{}, step {t}: {difference}", sample.name);
            seen += 1;
        }
    }
    assert!(seen >= 60, "{seen}");
}

/// Returns the input of step `t`, with one step of time.
fn step_input(inputs: &BTreeMap<String, Value>, t: usize) -> (&'static str, Value) {
    let step = |axis: usize| ndarray::Slice::from(axis..axis + 1);
    match inputs.get("x") {
        Some(x) => {
            let x = x.array::<f32>().unwrap();
            ("x", x.slice_axis(Axis(0), step(t)).to_owned().into())
        }
        None => {
            let tokens = inputs["tokens"].array::<i64>().unwrap();
            ("tokens", tokens.slice_axis(Axis(0), step(t)).to_owned().into())
        }
    }
}

#[test]
fn a_stream_is_snapshot_restored_and_forked() {
    let sample = generator(false);
    let (states, _, _) = sample.stream.as_ref().unwrap();
    let graph = load(&file(&sample, true)).unwrap();
    let pairs = [
        ("h_l0", "next_h_l0"),
        ("c_l0", "next_c_l0"),
        ("h_l1", "next_h_l1"),
        ("c_l1", "next_c_l1"),
    ];
    let first: Vec<(&str, Value)> =
        states.iter().map(|(name, value)| (&name[..], value.clone())).collect();
    let mut stream = graph.stream(&pairs, &first).unwrap();
    let input = || [step_input(&sample.inputs, 1)];
    stream.step(&input()).unwrap();
    let (before, mut fork) = (stream.snapshot(), stream.fork());
    let expected = stream.step(&input()).unwrap();
    assert_eq!(fork.step(&input()).unwrap(), expected);
    assert!(stream.step(&[("tokens", array![[0_i64, 0]].into())]).is_err());
    stream.restore(&before).unwrap();
    assert_eq!(stream.step(&input()).unwrap(), expected);

    assert!(graph.stream(&[("h", "next_h_l0")], &[]).is_err());
    assert!(graph.stream(&[("h_l0", "h")], &[]).is_err());
    assert!(graph.stream(&pairs, &[]).is_err());
}

#[test]
fn a_stream_without_states_gives_the_results_of_a_run() {
    let sample = others().swap_remove(0);
    let graph = load(&file(&sample, false)).unwrap();
    let expected = run(&graph, &sample.inputs).unwrap();
    let inputs: Vec<(&str, Value)> =
        sample.inputs.iter().map(|(name, value)| (&name[..], value.clone())).collect();
    let mut stream = graph.stream(&[], &[]).unwrap();
    for _ in 0..2 {
        assert_eq!(stream.step(&inputs).unwrap(), expected);
    }
}

#[test]
fn an_output_may_be_the_next_value_of_two_states() {
    let sample = generator(false);
    let (states, _, _) = sample.stream.as_ref().unwrap();
    let graph = load(&file(&sample, true)).unwrap();
    let first: Vec<(&str, Value)> =
        states.iter().map(|(name, value)| (&name[..], value.clone())).collect();
    let pairs = ["h_l0", "h_l1", "c_l0", "c_l1"].map(|state| (state, "next_h_l0"));
    let mut stream = graph.stream(&pairs, &first).unwrap();
    let outputs = stream.step(&[step_input(&sample.inputs, 1)]).unwrap();
    let after = stream.snapshot();
    assert_ne!(after["h_l0"], states["h_l0"]);
    assert!(after.values().all(|value| *value == after["h_l0"]));
    assert!(outputs.contains_key("next_c_l1") && !outputs.contains_key("next_h_l0"));
}

#[test]
fn a_model_in_double_precision_gives_its_own_results() {
    let builder = SequenceClassifier::<GruCell<f64>>::builder(4, 3).hidden_size(5);
    let model = builder.pooling(Pooling::Attention).build(&mut rng()).unwrap();
    let x = Sequences::new(values().values().mapv(f64::from), LENGTHS.to_vec()).unwrap();
    let path = temporary();
    model.to_onnx(&path).unwrap();
    let mut inputs = inputs(&values());
    inputs.insert("x".to_owned(), x.values().clone().into());
    let outputs = run(&Graph::load(&path).unwrap(), &inputs).unwrap();
    std::fs::remove_file(path).unwrap();
    let expected = model.probabilities(&x).unwrap().into();
    assert!(difference(&outputs["probabilities"], &expected) < 1e-14);
}

#[test]
fn models_without_an_operator_are_refused_by_name() {
    fn says<M: Export>(model: Result<M>) -> String {
        let path = temporary();
        let error = model.unwrap().to_onnx(&path).unwrap_err().to_string();
        assert!(!path.exists());
        error
    }
    let tagger = SequenceTagger::<LstmCell<f32>>::builder(4, 3);
    assert!(says(tagger.head(Head::Crf).build(&mut rng())).starts_with("head, CRF: "));
    let projected = SequenceTagger::<ProjectedLstmCell<f32>>::builder(4, 3)
        .cell_options(ProjectedLstmOptions::new(2));
    let expected = "cell: expected a cell that ONNX has: rnn, lstm, gru, peephole_lstm or \
                    coupled_lstm, got projected_lstm";
    assert_eq!(says(projected.build(&mut rng())), expected);
    let normalised = SequenceTagger::<LayerNormLstmCell<f32>>::builder(4, 3);
    assert!(says(normalised.build(&mut rng())).ends_with("got layer_norm_lstm"));
    let zoneout = SequenceTagger::<GruCell<f32>>::builder(4, 3);
    let zoneout = zoneout.recurrent(|layers| layers.zoneout(&[0.1]));
    assert!(says(zoneout.build(&mut rng())).starts_with("zoneout: "));

    let path = temporary();
    let both = SequenceTagger::<GruCell<f32>>::builder(4, 3).bidirectional(true);
    let both = both.build(&mut rng()).unwrap();
    assert!(both.to_onnx_stream(&path).unwrap_err().to_string().starts_with("bidirectional: "));
    let conditioned = SequenceGenerator::<GruCell<f32>>::builder(4).condition_size(2);
    let conditioned = conditioned.build(&mut rng()).unwrap();
    assert!(conditioned.to_onnx_stream(&path).unwrap_err().to_string().starts_with("condition: "));
}

/// The fixture has the files that this crate writes today, with the outputs of onnxruntime.
#[test]
fn onnxruntime_gives_the_results_of_the_models() {
    let cases = cases("onnx_models");
    let mut seen = 0;
    for sample in samples() {
        let name = sample.name;
        let case = &cases[&format!("{name}_whole")];
        assert!(case.model == file(&sample, false), "{name}: run tests/fixtures/generate_onnx.py");
        for (output, expected) in &sample.outputs {
            let difference = difference(&case.outputs[*output], expected);
            println!("{name} {output} {difference:.1e}");
            assert!(difference < 1e-5, "{name}, {output}: {difference}");
            seen += 1;
        }
        let Some((_, output, steps)) = &sample.stream else { continue };
        let case = &cases[&format!("{name}_stream")];
        assert!(case.model == file(&sample, true), "{name}: run tests/fixtures/generate_onnx.py");
        // onnxruntime reads all steps in one call. A model with an output for each step returns them all.
        let last = &case.outputs[*output];
        let last: Value = match last.shape().len() {
            3 => last.array::<f32>().unwrap().slice_axis(Axis(0), (5..).into()).to_owned().into(),
            _ => last.clone(),
        };
        let difference = difference(&last, steps.last().unwrap());
        println!("{name} stream {difference:.1e}");
        assert!(difference < 1e-5, "{name}: {difference}");
    }
    assert!(seen >= 16, "{seen}");
}

/// Writes the files and inputs for tests/fixtures/generate_onnx.py, which sets the folder.
#[test]
fn samples_are_written_for_the_generator_of_the_fixture() {
    let Some(folder) = std::env::var_os("RECURRENT_ONNX_SAMPLES") else { return };
    for sample in samples() {
        let mut kinds = vec![("whole", sample.inputs.clone())];
        if let Some((states, ..)) = &sample.stream {
            let mut inputs = states.clone();
            let x = sample.inputs.iter().filter(|(name, _)| name != &"lengths");
            inputs.extend(x.map(|(name, value)| (name.clone(), value.clone())));
            kinds.push(("stream", inputs));
        }
        for (kind, inputs) in kinds {
            let path = Path::new(&folder).join(format!("{}_{kind}", sample.name));
            std::fs::write(path.with_extension("onnx"), file(&sample, kind == "stream")).unwrap();
            write_inputs(&path, &inputs);
        }
    }
}
