//! To ONNX: a model trained here becomes a file for onnxruntime, and this crate runs the file too.
//!
//! An LSTM learns to recognise speakers, as in `many_to_one`, but forward in time alone, so that it can be
//! streamed. Two files are written: of whole sequences, and of a stream whose states are inputs and outputs.
//! Both are compared with the model.

use std::time::Instant;

use ndarray::{Array1, Array2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::data::Scaler;
use recurrent::interop::onnx::{Export, Graph, Value};
use recurrent::layer::Pooling;
use recurrent::model::SequenceClassifier;
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};

use common::options::{Failure, Options};
use common::training::fit;
use common::vowels::{COEFFICIENTS, SPEAKERS, utterances};

mod common {
    pub(crate) mod data;
    pub(crate) mod options;
    pub(crate) mod training;
    pub(crate) mod vowels;
}

const ABOUT: &str = "\
to_onnx: a trained classifier of speakers (the data set JapaneseVowels) as two ONNX files in the directory of
--out: to_onnx.onnx reads whole utterances, to_onnx_stream.onnx one or more frames at a time. The files are
run here and compared with the model. --load FILE converts a model that --save wrote.";

const HIDDEN: usize = 64;
/// The states of the stream of an LSTM with mean pooling, with their widths.
const STATES: [(&str, &str, usize); 4] = [
    ("h_l0", "next_h_l0", HIDDEN),
    ("c_l0", "next_c_l0", HIDDEN),
    ("sum", "next_sum", HIDDEN),
    ("count", "next_count", 1),
];

type Speaker = SequenceClassifier<LstmCell<f32>>;

/// Trains a model, or reads it. Returns `None` if Ctrl-C ended the training.
fn model(options: &Options) -> Result<Option<Speaker>, Failure> {
    if let Some(file) = &options.load {
        return Ok(Some(Speaker::load(file)?));
    }
    let train = utterances("japanese_vowels/train.csv")?;
    let mut model = Speaker::builder(COEFFICIENTS.len(), SPEAKERS)
        .hidden_size(HIDDEN)
        .pooling(Pooling::Mean)
        .dropout(0.5)
        .scaler(Scaler::standard(&train.views())?)
        .build(&mut ChaCha8Rng::seed_from_u64(options.seed))?;
    let trainer = Trainer::new(Adam::new(5e-3)?)
        .epochs(options.epochs_or(5, 30))
        .batch_size(30)
        .clip_norm(1.0)
        .seed(options.seed);
    Ok(fit(options, "to_onnx", trainer, &mut model, &train, None)?.then_some(model))
}

/// Returns the largest difference of two arrays of probabilities.
fn difference(got: &Value, expected: &Array2<f32>) -> Result<f32, Failure> {
    let pairs = got.array::<f32>()?.iter().zip(expected);
    Ok(pairs.map(|(got, expected)| (got - expected).abs()).fold(0.0, f32::max))
}

/// Streams `frames` [time, coefficients], the same for each of `batch` sequences, through the model and through
/// the file. Returns the largest difference, and the mean times of a step in microseconds.
fn streamed(
    model: &Speaker,
    graph: &Graph,
    frames: &Array2<f32>,
    batch: usize,
) -> Result<(f32, [f64; 2]), Failure> {
    let pairs = STATES.map(|(input, output, _)| (input, output));
    let zeros =
        STATES.map(|(input, _, width)| (input, Array2::<f32>::zeros((batch, width)).into()));
    let mut of_file = graph.stream(&pairs, &zeros)?;
    let mut own = model.stream(batch)?;
    let (mut most, mut seconds) = (0.0_f32, [0.0; 2]);
    for t in 0..frames.nrows() {
        let frame = frames.select(Axis(0), &vec![t; batch]); // [batch, coefficients]
        let start = Instant::now();
        let expected = own.step(frame.view())?;
        seconds[0] += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let frame = frame.insert_axis(Axis(0)); // [time, batch, coefficients]
        let outputs = of_file.step(&[("x", frame.into())])?;
        seconds[1] += start.elapsed().as_secs_f64();
        most = most.max(difference(&outputs["probabilities"], &expected)?);
    }
    Ok((most, seconds.map(|seconds| seconds / frames.nrows() as f64 * 1e6)))
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse("to_onnx", ABOUT)? else { return Ok(()) };
    let Some(model) = model(&options)? else { return Ok(()) };
    if let Some(file) = &options.save {
        model.save(file)?;
    }
    std::fs::create_dir_all(&options.out)?;
    let files = ["to_onnx.onnx", "to_onnx_stream.onnx"].map(|name| options.out.join(name));
    model.to_onnx(&files[0])?;
    model.to_onnx_stream(&files[1])?;
    println!("{}\n{}", files[0].display(), files[1].display());

    let test = utterances("japanese_vowels/test.csv")?;
    let (x, speakers) = test.all()?;
    let graph = Graph::load(&files[0])?;
    let lengths: Array1<i32> = x.lengths().iter().map(|&length| length as i32).collect();
    let outputs = graph.run(&[("x", x.values().clone().into()), ("lengths", lengths.into())])?;
    let whole = difference(&outputs["probabilities"], &model.probabilities(&x)?)?;
    println!("whole utterances: largest difference {whole:.1e}");

    let frames: Vec<_> = test.values().iter().map(|values| values.view()).collect();
    let frames = ndarray::concatenate(Axis(0), &frames)?;
    let graph = Graph::load(&files[1])?;
    let mut most = whole;
    for batch in [1, 32] {
        let (stream, [own, file]) = streamed(&model, &graph, &frames, batch)?;
        println!(
            "stream of {} frames, batch {batch}: largest difference {stream:.1e}",
            frames.nrows()
        );
        println!("a step: {own:.1} µs by the model's stream, {file:.1} µs by the file");
        most = most.max(stream);
    }
    let accuracy = model.evaluate(&test, speakers.len())?.accuracy();
    println!("result to_onnx accuracy={accuracy:.4} difference={most:.1e}");
    Ok(())
}
