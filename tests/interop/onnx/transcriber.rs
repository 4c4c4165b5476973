//! Transcribers as ONNX files: run by `Graph`, and by onnxruntime (the fixture `onnx_unaligned`).

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array1, Array2, Array3, Axis, Slice};
use recurrent::cell::Nonlinearity;
use recurrent::data::Scaler;
use recurrent::decode::ctc::greedy;
use recurrent::interop::onnx::{Export, Value};
use recurrent::model::{ModelBuilder, SequenceTranscriber};
use recurrent::{GruCell, LstmCell, Result, RnnCell, Sequences, cell::Cell};

use super::export::{noise, rng};
use super::fixtures::{cases, difference, load, run, temporary, write_inputs, written};

const LENGTHS: [usize; 3] = [7, 1, 5];
const TIME: usize = 7;

/// Writes a model, as a stream or not.
type Writer = Box<dyn Fn(bool, &Path) -> Result<()>>;

/// A transcriber with inputs, and its own results.
struct Sample {
    name: &'static str,
    write: Writer,
    /// The values or tokens.
    x: (&'static str, Value),
    /// The logarithms of the probabilities, [windows, batch, classes], and the number of windows.
    whole: Value,
    lengths: Value,
    labels: Vec<Vec<usize>>,
    /// The first states of a stream, and its windows if all sequences have the greatest length.
    stream: Option<(BTreeMap<String, Value>, Array3<f32>)>,
    frames: (usize, usize),
}

/// Returns the logarithms of the softmax of logits, zero in the padding.
fn log_softmax(logits: &Sequences<f32>) -> Array3<f32> {
    let mut values = logits.values().clone();
    for (t, mut step) in values.outer_iter_mut().enumerate() {
        for (b, mut row) in step.outer_iter_mut().enumerate() {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            let alive = t < logits.lengths()[b];
            row.mapv_inplace(|x| if alive { (f64::from(x) - sum.ln()) as f32 } else { 0.0 });
        }
    }
    values
}

/// Returns a sample. The first states of its stream are `h_l0` and others of the given widths.
fn sample<C: Cell<Elem = f32> + 'static>(
    name: &'static str,
    builder: ModelBuilder<SequenceTranscriber<C>>,
    frames: (usize, usize),
    tokens: bool,
    stream: Option<(&[&str], usize)>,
) -> Sample {
    let model = builder.frames(frames.0, frames.1).hidden_size(5).build(&mut rng()).unwrap();
    let (values, numbers) = (noise((TIME, 3, 4)) * 2.0, |(t, b)| (3 * t + 2 * b) % 7);
    let sequences = |lengths: [usize; 3]| match tokens {
        true => {
            let tokens = Array2::from_shape_fn((TIME, 3), numbers);
            Sequences::one_hot(tokens.view(), 7, lengths.to_vec()).unwrap()
        }
        false => Sequences::new(values.clone(), lengths.to_vec()).unwrap(),
    };
    let x = match tokens {
        true => {
            let tokens = Array2::from_shape_fn((TIME, 3), |place| numbers(place) as i64);
            ("tokens", tokens.into())
        }
        false => ("x", values.clone().into()),
    };
    let logits = model.logits(&sequences(LENGTHS)).unwrap();
    let stream = stream.map(|(names, width)| {
        let zeros = |name: &&str| (name.to_string(), Array2::<f32>::zeros((3, 5)).into());
        let mut states: BTreeMap<String, Value> = names.iter().map(zeros).collect();
        if frames != (1, 1) {
            states.insert("recent".to_owned(), Array3::<f32>::zeros((0, 3, width)).into());
        }
        if frames.1 > frames.0 {
            states.insert("skip".to_owned(), ndarray::array![0_i64].into());
        }
        (states, log_softmax(&model.logits(&sequences([TIME; 3])).unwrap()))
    });
    let lengths: Array1<i32> = logits.lengths().iter().map(|&length| length as i32).collect();
    Sample {
        name,
        x,
        whole: log_softmax(&logits).into(),
        lengths: lengths.into(),
        labels: model.transcribe(&sequences(LENGTHS)).unwrap(),
        stream,
        frames,
        write: Box::new(move |stream, path| match stream {
            true => model.to_onnx_stream(path),
            false => model.to_onnx(path),
        }),
    }
}

fn samples() -> Vec<Sample> {
    let scaler = Scaler::standard(&[noise((TIME, 3, 4)).index_axis(Axis(1), 0)]).unwrap();
    let words = || SequenceTranscriber::<LstmCell<f32>>::builder(7, 6).embedding_dim(2);
    let both = SequenceTranscriber::<GruCell<f32>>::builder(4, 6).bidirectional(true);
    let plain = SequenceTranscriber::<LstmCell<f32>>::builder(4, 6);
    let relu = SequenceTranscriber::<RnnCell<f32>>::builder(4, 6).scaler(scaler);
    let gaps = relu.cell_options(Nonlinearity::Relu);
    let short = SequenceTranscriber::<GruCell<f32>>::builder(4, 6);
    let of_lstm = &["h_l0", "c_l0"];
    vec![
        sample("both", both, (1, 1), false, None),
        sample("plain", plain, (1, 1), false, Some((of_lstm, 4))),
        sample("joined", words(), (3, 2), true, Some((of_lstm, 2))),
        sample("gaps", gaps, (2, 5), false, Some((&["h_l0"], 4))),
        sample("short", short, (9, 1), false, Some((&["h_l0"], 4))),
    ]
}

/// Returns the file that a sample writes.
fn file(sample: &Sample, stream: bool) -> Vec<u8> {
    written(sample.name, |path| (sample.write)(stream, path))
}

fn inputs(sample: &Sample) -> BTreeMap<String, Value> {
    let lengths = Array1::from(LENGTHS.map(|length| length as i32).to_vec());
    let (name, x) = sample.x.clone();
    BTreeMap::from([(name.to_owned(), x), ("lengths".to_owned(), lengths.into())])
}

/// Checks the outputs of a graph of whole sequences.
fn check(sample: &Sample, outputs: &BTreeMap<String, Value>, most: f64) {
    let difference = difference(&outputs["log_probabilities"], &sample.whole);
    println!("{} {difference:.1e}", sample.name);
    assert!(difference < most, "{}: {difference}", sample.name);
    assert_eq!(outputs["output_lengths"], sample.lengths, "{}", sample.name);
    let lengths = outputs["output_lengths"].array::<i32>().unwrap();
    let values = outputs["log_probabilities"].array::<f32>().unwrap();
    let values = values.clone().into_dimensionality().unwrap();
    let lengths = lengths.iter().map(|&length| length as usize).collect();
    let decoded = greedy(&Sequences::new(values, lengths).unwrap(), 0).unwrap();
    assert_eq!(decoded, sample.labels, "{}", sample.name);
}

#[test]
fn an_exported_transcriber_gives_its_own_results_as_a_graph() {
    let mut labels = 0;
    for sample in samples() {
        let outputs = run(&load(&file(&sample, false)).unwrap(), &inputs(&sample)).unwrap();
        check(&sample, &outputs, 1e-6);
        labels += sample.labels.iter().map(Vec::len).sum::<usize>();
    }
    assert!(labels > 5, "{labels}");
}

/// Whatever the number of frames of a step, the windows are those of the whole sequence.
#[test]
fn an_exported_stream_of_a_transcriber_gives_the_windows_that_each_step_completes() {
    let mut seen = 0;
    for sample in samples() {
        let Some((states, expected)) = &sample.stream else { continue };
        let graph = load(&file(&sample, true)).unwrap();
        let pairs: Vec<(String, String)> =
            states.keys().map(|name| (name.clone(), format!("next_{name}"))).collect();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        let first: Vec<(&str, Value)> =
            states.iter().map(|(name, value)| (&name[..], value.clone())).collect();
        let (frames, stride) = sample.frames;
        let windows = |read: usize| if read < frames { 0 } else { (read - frames) / stride + 1 };
        for chunk in [1, 2, 4, TIME] {
            let mut stream = graph.stream(&pairs, &first).unwrap();
            for start in (0..TIME).step_by(chunk) {
                let end = TIME.min(start + chunk);
                let part = Slice::from(start..end);
                let (name, x) = &sample.x;
                let x: Value = match x {
                    Value::F32(x) => x.slice_axis(Axis(0), part).to_owned().into(),
                    x => x.array::<i64>().unwrap().slice_axis(Axis(0), part).to_owned().into(),
                };
                let outputs = stream.step(&[(name, x)]).unwrap();
                let part = Slice::from(windows(start)..windows(end));
                let expected = expected.slice_axis(Axis(0), part).to_owned().into();
                let difference = difference(&outputs["log_probabilities"], &expected);
                assert!(difference < 1e-6, "{}, {chunk}: {difference}", sample.name);
                seen += 1;
            }
        }
    }
    assert!(seen >= 4 * 14, "{seen}");
}

#[test]
fn a_transcriber_of_both_directions_is_refused_as_a_stream() {
    let sample = samples().swap_remove(0);
    let error = (sample.write)(true, &temporary()).unwrap_err().to_string();
    assert!(error.starts_with("bidirectional: "), "{error}");
}

/// The fixture has the files that this crate writes today, with the outputs of onnxruntime.
#[test]
fn onnxruntime_gives_the_results_of_the_transcribers() {
    let cases = cases("onnx_unaligned");
    for sample in samples() {
        let case = &cases[&format!("{}_whole", sample.name)];
        let stale = format!("{}: run tests/fixtures/generate_onnx.py", sample.name);
        assert!(case.model == file(&sample, false), "{stale}");
        check(&sample, &case.outputs, 1e-5);
        let Some((_, expected)) = &sample.stream else { continue };
        let case = &cases[&format!("{}_stream", sample.name)];
        assert!(case.model == file(&sample, true), "{stale}");
        // onnxruntime reads all frames in one call.
        let (frames, stride) = sample.frames;
        let windows = if TIME < frames { 0 } else { (TIME - frames) / stride + 1 };
        let expected = expected.slice_axis(Axis(0), Slice::from(..windows)).to_owned().into();
        let difference = difference(&case.outputs["log_probabilities"], &expected);
        println!("{} stream {difference:.1e}", sample.name);
        assert!(difference < 1e-5, "{}: {difference}", sample.name);
    }
}

/// Writes the files and inputs for tests/fixtures/generate_onnx.py, which sets the folder.
#[test]
fn unaligned_transcribers_are_written_for_the_generator_of_the_fixture() {
    let Some(folder) = std::env::var_os("RECURRENT_ONNX_SAMPLES") else { return };
    for sample in samples() {
        let path = Path::new(&folder).join(format!("{}_whole", sample.name));
        std::fs::write(path.with_extension("onnx"), file(&sample, false)).unwrap();
        write_inputs(&path, &inputs(&sample));
        let Some((states, _)) = &sample.stream else { continue };
        let path = Path::new(&folder).join(format!("{}_stream", sample.name));
        std::fs::write(path.with_extension("onnx"), file(&sample, true)).unwrap();
        let mut inputs = states.clone();
        inputs.insert(sample.x.0.to_owned(), sample.x.1.clone());
        write_inputs(&path, &inputs);
    }
}
