//! Tests of the training loop: it learns, stops, rejects bad values and resumes. A run that was killed and
//! resumed ends as one that was not, bit for bit.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use ndarray::{Array2, Axis};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::data::Source;
use recurrent::layer::{Dropout, Layer, Linear};
use recurrent::loss::{CrossEntropy, Loss};
use recurrent::optim::schedule::{Constant, Cosine, ReduceOnPlateau, Schedule, Warmup};
use recurrent::optim::{Adagrad, Adam, AdamW, Groups, Optimizer, RmsProp, Sgd};
use recurrent::train::{Event, History, Model, Score, Trainer};
use recurrent::{Arrays, Error, Float, Lstm, Result, Sequences, arrays};

use crate::common::bits::bits;
use crate::common::temporary::Folder;

/// A model that predicts whether the first value of a sequence is positive.
#[derive(Clone, Debug)]
pub(crate) struct Net<T: Float> {
    pub(crate) lstm: Lstm<T>,
    pub(crate) head: Linear<T>,
}
arrays!(Net { lstm, head });

pub(crate) type Batch = (Sequences<f64>, Vec<usize>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    nats: f64,
    right: f64,
    count: f64,
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "accuracy {:.3}", self.right / self.count)
    }
}

impl Score for Judged {
    fn loss(&self) -> f64 {
        self.nats / self.count
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("accuracy", self.right / self.count), ("loss", self.loss())]
    }

    fn merge(&mut self, other: Self) {
        self.nats += other.nats;
        self.right += other.right;
        self.count += other.count;
    }
}

impl Model for Net<f64> {
    type Batch = Batch;
    type Score = Judged;

    fn loss_and_grad(&self, (x, y): &Batch, grad: &mut Self, rng: &mut dyn Rng) -> Result<f64> {
        let (output, last, tape) = self.lstm.forward_train(x, None, rng)?;
        let h = last.part("h", 0, false)?.to_owned();
        let (dropped, mask) = Dropout::new(0.2)?.forward_train(&h, rng)?;
        let (logits, rows) = self.head.forward_train(&dropped, rng)?;
        let (loss, d_logits) = CrossEntropy::default().loss(&logits, y)?;
        let d_dropped: Array2<f64> = self.head.backward(rows, &d_logits, &mut grad.head)?;
        let d_h = d_dropped * mask;
        let mut d_last = self.lstm.zero_state(x.batch())?;
        d_last.set("h", d_h.insert_axis(Axis(0)))?;
        self.lstm.backward(tape, &output.zeros_like(), Some(&d_last), &mut grad.lstm)?;
        Ok(loss)
    }

    fn score_batch(&self, (x, y): &Batch, score: &mut Judged) -> Result<()> {
        let (_, last) = self.lstm.forward(x, None)?;
        let logits = self.head.forward(&last.part("h", 0, false)?.to_owned())?;
        let (loss, _) = CrossEntropy::default().loss(&logits, y)?;
        let right = y.iter().zip(logits.rows()).filter(|(y, row)| (row[1] > row[0]) == (**y == 1));
        score.nats += loss * y.len() as f64;
        score.right += right.count() as f64;
        score.count += y.len() as f64;
        Ok(())
    }
}

pub(crate) struct Samples {
    x: Vec<Array2<f64>>,
    y: Vec<usize>,
}

impl Samples {
    pub(crate) fn new(count: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let steps = rng.random_range(1..7);
            let values = Array2::from_shape_simple_fn((steps, 2), || rng.random_range(-1.0..1.0));
            y.push(usize::from(values[[0, 0]] > 0.0));
            x.push(values);
        }
        Self { x, y }
    }
}

impl Source<Batch> for Samples {
    fn len(&self) -> usize {
        self.x.len()
    }

    fn length(&self, index: usize) -> usize {
        self.x[index].nrows()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch> {
        let x: Vec<_> = indices.iter().map(|&i| self.x[i].clone()).collect();
        Ok((Sequences::from_list(&x)?, indices.iter().map(|&i| self.y[i]).collect()))
    }
}

pub(crate) fn net() -> Net<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let lstm = Lstm::builder(2, 5).build(&mut rng).unwrap();
    Net { lstm, head: Linear::new(5, 2, &mut rng).unwrap() }
}

pub(crate) type Training<'a> = Trainer<'a, Net<f64>>;

/// Returns a trainer with every setting that carries state from step to step.
pub(crate) fn trainer<'a>(epochs: usize) -> Training<'a> {
    Trainer::new(Adam::new(0.02).unwrap())
        .epochs(epochs)
        .batch_size(8)
        .bucketed(3)
        .seed(3)
        .accumulate(2)
        .clip_norm(1.0)
        .ema(0.9)
        .early_stopping(50)
        .schedule(ReduceOnPlateau::default())
}

#[test]
fn a_model_learns_and_the_history_says_how() {
    let (train, valid, mut model) = (Samples::new(200, 1), Samples::new(60, 2), net());
    let history = Trainer::new(Adam::new(0.02).unwrap())
        .epochs(15)
        .fit(&mut model, &train, Some(&valid))
        .unwrap();
    assert_eq!(history.epochs.len(), 15);
    assert!(history.epochs[14].loss < history.epochs[0].loss / 2.0, "{history:?}");
    let score = model.evaluate(&valid, 7).unwrap();
    assert!(score.right / score.count > 0.9, "{score}");
    let csv = history.to_csv();
    assert!(csv.starts_with("epoch,step,learning_rate,loss,validation_accuracy,validation_loss\n"));
    assert_eq!(csv.lines().count(), 16);
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_gives_others() {
    let (train, valid) = (Samples::new(40, 1), Samples::new(20, 2));
    let run = |seed| {
        let mut model = net();
        let history = trainer(3).seed(seed).fit(&mut model, &train, Some(&valid)).unwrap();
        (bits(&model), history)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).0, run(4).0);
}

#[test]
fn a_training_stopped_after_any_step_resumes_and_ends_bit_equal() {
    let (train, valid) = (Samples::new(40, 1), Samples::new(20, 2));
    let (mut whole, folder) = (net(), Folder::new("resume"));
    let expected = trainer(4).fit(&mut whole, &train, Some(&valid)).unwrap();
    for stop in 1..=12 {
        let path = folder.0.join(format!("{stop}.safetensors"));
        let (mut steps, mut model) = (0, net());
        let stopped = trainer(4)
            .checkpoint(&path)
            .callback(|event| {
                steps += usize::from(matches!(event, Event::Step { .. }));
                if steps == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .fit(&mut model, &train, Some(&valid))
            .unwrap();
        assert!(stopped.stopped, "{stop}");
        let mut model = net();
        model.fill(9.0);
        let resumed = trainer(4).checkpoint(&path).fit(&mut model, &train, Some(&valid)).unwrap();
        assert_eq!(resumed.epochs, expected.epochs, "{stop}");
        assert_eq!(bits(&model), bits(&whole), "{stop}");
    }
}

#[test]
fn a_checkpoint_of_other_settings_is_refused_and_nothing_changes() {
    let (train, folder, mut model) = (Samples::new(20, 1), Folder::new("settings"), net());
    let path = folder.0.join("run.safetensors");
    trainer(1).checkpoint(&path).fit(&mut model, &train, None).unwrap();
    let mut other = net();
    let mut refused = |trainer: Training<'_>, start: &str, end: &str| {
        let error = trainer.checkpoint(&path).fit(&mut other, &train, None).unwrap_err();
        let (error, path) = (error.to_string(), path.display());
        assert_eq!(error, format!("{start} as in the checkpoint {path}, got {end}"));
        assert_eq!(bits(&other), bits(&net()));
    };
    refused(trainer(2).seed(4), "seed: expected 3", "4");
    let constant = trainer(2).schedule(Constant);
    let plateau = ReduceOnPlateau::default().options();
    let before = format!("schedule: expected Some(({plateau:?}, false))");
    refused(constant, &before, "Some((\"Constant\", false))");

    fs::write(&path, b"not a checkpoint").unwrap();
    let error = trainer(2).checkpoint(&path).fit(&mut other, &train, None).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error}");
    assert_eq!(bits(&other), bits(&net()));
}

#[test]
fn optimisers_and_schedules_of_other_options_say_so() {
    fn of(optimizer: impl Optimizer<Net<f64>>) -> String {
        optimizer.options()
    }
    let (sgd, adam) = (|| Sgd::new(0.1).unwrap(), || Adam::new(0.1).unwrap());
    let rms = || RmsProp::new(0.1).unwrap();
    let rules = [
        of(sgd()),
        of(sgd().momentum(0.5).unwrap()),
        of(sgd().weight_decay(0.1).unwrap()),
        of(adam()),
        of(adam().betas(0.9, 0.99).unwrap()),
        of(adam().eps(1e-7).unwrap()),
        of(AdamW::new(0.1, 0.0).unwrap()),
        of(adam().amsgrad(true)),
        of(rms()),
        of(rms().decay(0.9).unwrap()),
        of(rms().momentum(0.9).unwrap()),
        of(Adagrad::new(0.1).unwrap().rate_decay(0.1).unwrap()),
        of(Groups::new(sgd()).frozen("a")),
        of(Groups::new(sgd()).frozen("b")),
        Warmup::new(3, Constant).unwrap().options(),
        Warmup::new(4, Constant).unwrap().options(),
        Cosine::new(3).unwrap().options(),
        ReduceOnPlateau::default().options(),
        ReduceOnPlateau::default().patience(2).options(),
    ];
    for (i, rule) in rules.iter().enumerate() {
        assert!(!rule.is_empty() && !rules[..i].contains(rule), "{rule}");
    }
    let mut plateau = ReduceOnPlateau::default();
    plateau.observe(1.0);
    assert_eq!(plateau.options(), ReduceOnPlateau::default().options());
}

#[test]
fn early_stopping_ends_in_time_with_the_best_weights() {
    let (train, mut valid, mut model) = (Samples::new(60, 1), Samples::new(20, 2), net());
    // The targets contradict those of validation, so the validation loss only rises.
    valid.y.iter_mut().for_each(|y| *y = 1 - *y);
    let history = Trainer::new(Sgd::new(0.5).unwrap())
        .epochs(30)
        .early_stopping(2)
        .fit(&mut model, &train, Some(&valid))
        .unwrap();
    assert!(history.epochs.len() < 30, "{history:?}");
    let best = history.best_epoch.unwrap();
    assert_eq!(history.epochs.len(), best + 3);
    let mut again = net();
    let same = Trainer::new(Sgd::new(0.5).unwrap()).epochs(best + 1);
    same.fit(&mut again, &train, Some(&valid)).unwrap();
    assert_eq!(bits(&model), bits(&again));
}

/// A source with an invalid value in one sample.
struct Poisoned(Samples, f64);

impl Source<Batch> for Poisoned {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch> {
        let (mut x, y) = self.0.batch(indices)?;
        if indices.contains(&5) {
            x = x.with_values(x.values() * self.1)?;
        }
        Ok((x, y))
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_before_the_step_and_names_epoch_and_step() {
    let (train, folder, mut model) =
        (Poisoned(Samples::new(64, 1), f64::NAN), Folder::new("guard"), net());
    let path = folder.0.join("run.safetensors");
    let mut seen = Vec::new();
    let error = Trainer::new(Adam::new(0.02).unwrap())
        .batch_size(4)
        .checkpoint_every(1, &path)
        .callback(|_| {
            seen.push(());
            ControlFlow::Continue(())
        })
        .fit(&mut model, &train, None)
        .unwrap_err();
    let Error::Training { epoch, step, source } = error else { panic!("{error}") };
    assert_eq!((epoch, step), (0, seen.len()));
    assert!(matches!(*source, Error::NonFinite { .. }), "{source}");
    assert!(model.check_finite().is_ok());
    // The last valid checkpoint is the model before the failed step.
    let mut saved = net();
    recurrent::io::Reader::open(&path).unwrap().arrays("model.", &mut saved).unwrap();
    assert_eq!(bits(&saved), bits(&model));
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let train = Samples::new(8, 1);
    let refused = |trainer: Training<'_>, name: &str| {
        let error = trainer.fit(&mut net(), &train, None).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    };
    refused(trainer(1).batch_size(0), "batch_size");
    refused(trainer(1).accumulate(0), "accumulate");
    refused(trainer(1).bucketed(0), "bucketed");
    refused(trainer(1).clip_norm(f64::NAN), "max_norm");
    refused(trainer(1).ema(1.5), "decay");
    refused(trainer(1).early_stopping(0), "early_stopping");
    let nothing = trainer(1).fit(&mut net(), &Samples::new(0, 1), None).unwrap_err();
    assert!(nothing.to_string().contains("samples"), "{nothing}");
}

fn long_training<'a>(prepare: impl FnOnce(Training<'a>) -> Training<'a>) -> (Net<f64>, History) {
    let (train, valid, mut model) = (Samples::new(160, 1), Samples::new(40, 2), net());
    let history = prepare(trainer(20)).fit(&mut model, &train, Some(&valid)).unwrap();
    (model, history)
}

/// Runs the process that the next test starts and kills. On its own it does nothing.
#[test]
fn child_of_the_test_that_kills() {
    let Some(folder) = env::var_os("RECURRENT_KILLED_TRAINING").map(PathBuf::from) else { return };
    let last: usize = env::var("RECURRENT_KILLED_AFTER").unwrap().parse().unwrap();
    let mut steps = 0;
    let (model, history) = long_training(|training| {
        training.checkpoint_every(1, folder.join("run.safetensors")).callback(|event| {
            steps += usize::from(matches!(event, Event::Step { .. }));
            if steps == last {
                fs::write(folder.join("kill"), "").unwrap();
            }
            // The run makes a few more steps, to be killed at any of them, but does not end before.
            if steps > last + 3 {
                loop {
                    thread::park();
                }
            }
            ControlFlow::Continue(())
        })
    });
    recurrent::io::save(folder.join("end.safetensors"), &model).unwrap();
    fs::write(folder.join("end.csv"), history.to_csv()).unwrap();
}

#[test]
fn a_training_killed_at_many_random_moments_ends_bit_equal() {
    let (folder, mut rng) = (Folder::new("killed"), ChaCha8Rng::seed_from_u64(11));
    let (whole, history) = long_training(|training| training);
    let (kill, mut kills) = (folder.0.join("kill"), 0);
    while !folder.0.join("end.csv").exists() {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "train::child_of_the_test_that_kills"])
            .env("RECURRENT_KILLED_TRAINING", &folder.0)
            .env("RECURRENT_KILLED_AFTER", rng.random_range(2..12).to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !kill.exists() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_micros(200));
        }
        if fs::remove_file(&kill).is_ok() {
            thread::sleep(Duration::from_micros(rng.random_range(0..1500)));
            let _ = child.kill();
            kills += 1;
        }
        child.wait().unwrap();
    }
    // Each run makes at most 15 of the 200 steps before it is killed.
    assert!(kills >= 12, "only {kills} kills");
    let left = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
    assert!(!left.into_iter().any(|path| path.extension().is_some_and(|e| e == "tmp")));
    let mut end = net();
    recurrent::io::load(folder.0.join("end.safetensors"), &mut end).unwrap();
    assert_eq!(bits(&end), bits(&whole));
    assert_eq!(fs::read_to_string(folder.0.join("end.csv")).unwrap(), history.to_csv());
}
