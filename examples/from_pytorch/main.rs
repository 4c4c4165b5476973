//! From PyTorch: a model that was trained there, used here.
//!
//! `train.py` trains a GRU that tells sine, square and sawtooth waves apart. This program loads its
//! `state_dict`, compares the predictions with those of PyTorch, and reads waves step by step.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use ndarray::{Array1, Array2, Axis};
use recurrent::Sequences;
use recurrent::cell::GruCell;
use recurrent::decode::argmax;
use recurrent::interop::numpy::Npz;
use recurrent::interop::pytorch::StateDict;
use recurrent::layer::Pooling;
use recurrent::model::SequenceClassifier;

use common::options::{Failure, Options};

#[path = "../common"]
mod common {
    pub(crate) mod options;
}

const ABOUT: &str = "\
from_pytorch: a classifier of waves that train.py, beside this program, has trained in PyTorch. Its
weights are loaded, its predictions compared with those of PyTorch, and waves are read step by step.
--save FILE writes the model as safetensors: train.py --check FILE loads it in PyTorch.
--load FILE reads other weights, .pt or safetensors.";

const WAVES: [&str; 3] = ["sine", "square", "sawtooth"];

type Waves = SequenceClassifier<GruCell<f32>>;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/from_pytorch").join(name)
}

/// Returns the least mean time in µs of a step of the wave, and the class after the last.
fn stream(model: &Waves, wave: &Array2<f32>, rounds: usize) -> Result<(f64, usize), Failure> {
    let (mut best, mut class) = (f64::INFINITY, 0);
    for _ in 0..rounds {
        let mut stream = model.stream(1)?;
        let start = Instant::now();
        for x_t in wave.rows() {
            let p = stream.step(x_t.insert_axis(Axis(0)))?; // [batch, features] → [batch, classes]
            class = argmax(p.row(0)).unwrap_or(class);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / wave.nrows() as f64);
    }
    Ok((best, class))
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse("from_pytorch", ABOUT)? else { return Ok(()) };
    let weights = options.load.clone().unwrap_or_else(|| file("weights.pt"));
    let builder = Waves::builder(1, WAVES.len()).pooling(Pooling::Mean).labels(&WAVES);
    let model = StateDict::open(&weights)?.model(builder)?; // the width of the GRU is in the file
    if let Some(path) = &options.save {
        model.save(path)?;
    }

    let expected = Npz::open(file("expected.npz"))?;
    let x: Sequences<f32> = expected.sequences("x")?;
    let (classes, logits): (Array1<i64>, Array2<f32>) =
        (expected.integers("classes")?, expected.array("logits")?);
    let p = model.probabilities(&x)?;
    let (mut worst, mut right, mut same) = (0.0_f32, 0, 0);
    for ((p, logits), &class) in p.rows().into_iter().zip(logits.rows()).zip(&classes) {
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        let errors = p.iter().zip(logits).map(|(p, logit)| (p - logit.exp() / sum).abs());
        worst = errors.fold(worst, f32::max);
        let best = argmax(p);
        same += usize::from(best == argmax(logits));
        right += usize::from(best.is_some_and(|best| best as i64 == class));
    }
    let count = classes.len();
    println!(
        "{same} of {count} predictions are PyTorch's, probabilities differ by at most {worst:.1e}"
    );

    let wave = x.values().slice(ndarray::s![..x.lengths()[0], 0, ..]).to_owned();
    let (step, class) = stream(&model, &wave, if options.quick { 20 } else { 2000 })?;
    println!("the first wave, step by step: {}", model.labels()[class]);
    println!(
        "this crate: {step:.2} µs a step; PyTorch: {}",
        fs::read_to_string(file("pytorch.txt"))?
    );
    let accuracy = right as f64 / count as f64;
    println!("result from_pytorch accuracy={accuracy:.4} same={same} of={count}");
    if same < count || worst > 1e-6 {
        return Err(Failure::new("the predictions are not those of PyTorch"));
    }
    Ok(())
}
