//! Trains the models of a folder of jobs and writes their results. `benches/learning/run.py` makes the
//! folder and trains the same models in PyTorch.
//!
//!     cargo bench --bench learning -- FOLDER

use std::path::{Path, PathBuf};
use std::time::Instant;

use ndarray::{Array2, Array3, Axis, IxDyn};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{Cell, GruCell, LstmCell, RnnCell};
use recurrent::model::{SequenceClassifier, SequenceRegressor, SequenceTagger};
use recurrent::optim::{Adam, clip_global_norm};
use recurrent::train::{Model, Score};
use recurrent::{Result, Sequences};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

/// A training job of run.py.
#[derive(Deserialize)]
struct Job {
    name: String,
    /// The name of the data file in the folder.
    data: String,
    kind: Kind,
    cell: String,
    hidden_size: usize,
    outputs: usize,
    /// The number of tokens and the width of their embedding.
    embedding: Option<(usize, usize)>,
    learning_rate: f64,
    batch_size: usize,
    epochs: usize,
    seed: u64,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Regress,
    Classify,
    Tag,
}

#[derive(Serialize)]
struct Outcome {
    name: String,
    seed: u64,
    figures: Vec<(&'static str, f64)>,
    seconds: Vec<f64>,
}

/// The tensors of a job, all in f32.
struct Data(Vec<u8>);

impl Data {
    fn get(&self, name: &str) -> ndarray::ArrayD<f32> {
        let file = SafeTensors::deserialize(&self.0).expect("run.py's file");
        let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let values = tensor.data().chunks_exact(4);
        let values = values.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")));
        ndarray::ArrayD::from_shape_vec(IxDyn(tensor.shape()), values.collect()).expect("its shape")
    }

    fn samples(&self, part: &str, embedding: Option<(usize, usize)>) -> Samples {
        Samples {
            x: self.get(&format!("{part}.x")).into_dimensionality().expect("[batch, time, width]"),
            y: self.get(&format!("{part}.y")),
            lengths: self.get(&format!("{part}.lengths")).iter().map(|&l| l as usize).collect(),
            tokens: embedding.map(|(tokens, _)| tokens),
        }
    }
}

/// Samples [batch, time, width], each with its length and target.
struct Samples {
    x: Array3<f32>,
    y: ndarray::ArrayD<f32>,
    lengths: Vec<usize>,
    tokens: Option<usize>,
}

impl Samples {
    fn x(&self, samples: &[usize]) -> Result<Sequences<f32>> {
        let lengths: Vec<usize> = samples.iter().map(|&i| self.lengths[i]).collect();
        let time = lengths.iter().copied().max().unwrap_or(0);
        let Some(tokens) = self.tokens else {
            let shape = (time, samples.len(), self.x.dim().2);
            let x = Array3::from_shape_fn(shape, |(t, b, j)| self.x[[samples[b], t, j]]);
            return Sequences::new(x, lengths);
        };
        let token = |(t, b): (usize, usize)| self.x[[samples[b], t, 0]] as usize;
        let x = Array2::from_shape_fn((time, samples.len()), token);
        Sequences::one_hot(x.view(), tokens, lengths)
    }

    /// Returns the targets [batch, values] of the samples.
    fn y(&self, samples: &[usize]) -> Array2<f32> {
        self.y.select(Axis(0), samples).into_dimensionality().expect("targets [batch, values]")
    }

    fn numbers(&self, samples: &[usize]) -> Result<(Sequences<f32>, Array2<f32>)> {
        Ok((self.x(samples)?, self.y(samples)))
    }

    fn classes(&self, samples: &[usize]) -> Result<(Sequences<f32>, Vec<usize>)> {
        Ok((self.x(samples)?, self.y(samples).iter().map(|&class| class as usize).collect()))
    }

    fn steps(&self, samples: &[usize]) -> Result<(Sequences<f32>, Array2<usize>)> {
        let x = self.x(samples)?;
        let y = self.y(samples);
        let y = Array2::from_shape_fn((x.time(), x.batch()), |(t, b)| y[[b, t]] as usize);
        Ok((x, y))
    }
}

/// Trains `model` on batches in the orders of the data file.
fn train<M: Model<Elem = f32>>(
    job: Job,
    mut model: M,
    data: &Data,
    batch: impl Fn(&Samples, &[usize]) -> Result<M::Batch>,
) -> Result<Outcome> {
    let (samples, test) =
        (data.samples("train", job.embedding), data.samples("test", job.embedding));
    let orders = data.get("orders");
    let mut adam = Adam::new(job.learning_rate)?;
    let mut rng = ChaCha8Rng::seed_from_u64(job.seed);
    let mut seconds = Vec::new();
    for order in orders.outer_iter().take(job.epochs) {
        let order: Vec<usize> = order.iter().map(|&i| i as usize).collect();
        let begun = Instant::now();
        for chunk in order.chunks(job.batch_size) {
            let mut grad = model.zeros_like();
            model.loss_and_grad(&batch(&samples, chunk)?, &mut grad, &mut rng)?;
            clip_global_norm(&mut grad, 1.0)?;
            adam.step(&mut model, &grad)?;
        }
        seconds.push(begun.elapsed().as_secs_f64());
    }
    let mut score = M::Score::default();
    let all: Vec<usize> = (0..test.lengths.len()).collect();
    for chunk in all.chunks(256) {
        model.score_batch(&batch(&test, chunk)?, &mut score)?;
    }
    Ok(Outcome { name: job.name, seed: job.seed, figures: score.metrics(), seconds })
}

fn run<C: Cell<Elem = f32>>(job: Job, data: &Data) -> Result<Outcome> {
    let mut rng = ChaCha8Rng::seed_from_u64(job.seed);
    let width = data.get("train.x").shape()[2];
    let input = job.embedding.map_or(width, |(tokens, _)| tokens);
    let (hidden, outputs) = (job.hidden_size, job.outputs);
    match job.kind {
        Kind::Regress => {
            let builder = SequenceRegressor::<C>::builder(input, outputs).hidden_size(hidden);
            train(job, builder.build(&mut rng)?, data, Samples::numbers)
        }
        Kind::Classify => {
            let builder = SequenceClassifier::<C>::builder(input, outputs).hidden_size(hidden);
            train(job, builder.build(&mut rng)?, data, Samples::classes)
        }
        Kind::Tag => {
            let builder = SequenceTagger::<C>::builder(input, outputs).hidden_size(hidden);
            let builder = match job.embedding {
                Some((_, width)) => builder.embedding_dim(width),
                None => builder,
            };
            train(job, builder.build(&mut rng)?, data, Samples::steps)
        }
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` itself adds `--bench`.
    let Some(folder) = std::env::args().skip(1).find(|argument| argument != "--bench") else {
        println!("learning: expected the folder that benches/learning/run.py makes, got none");
        return Ok(());
    };
    let folder = PathBuf::from(folder);
    let jobs: Vec<Job> = serde_json::from_str(&std::fs::read_to_string(folder.join("jobs.json"))?)?;
    let mut outcomes = Vec::new();
    for job in jobs {
        let data = Data(std::fs::read(Path::new(&folder).join(&job.data))?);
        let outcome = match &job.cell[..] {
            "lstm" => run::<LstmCell<f32>>(job, &data)?,
            "gru" => run::<GruCell<f32>>(job, &data)?,
            _ => run::<RnnCell<f32>>(job, &data)?,
        };
        eprintln!("{} seed {}: {:?}", outcome.name, outcome.seed, outcome.figures);
        outcomes.push(outcome);
    }
    std::fs::write(folder.join("ours.json"), serde_json::to_string(&outcomes)?)?;
    Ok(())
}
