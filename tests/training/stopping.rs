//! Tests of the ends of a training: it stops, resumes at any event, and keeps the best weights; options of
//! any size work.

use std::fs;
use std::ops::ControlFlow;

use ndarray::{Array1, array};
use rand::Rng;
use recurrent::data::Source;
use recurrent::optim::schedule::{ReduceOnPlateau, Schedule};
use recurrent::optim::{Optimizer, Sgd};
use recurrent::train::{Event, History, Model, Score, Trainer, progress};
use recurrent::{Error, Result, arrays};

use crate::common::temporary::Folder;
use crate::train::Net;

/// One number w with the loss factor·(w − y)²/2 of a batch of y.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    pub(crate) w: Array1<f64>,
    pub(crate) factor: f64,
    /// The weight of every batch, if it is not the number of samples.
    pub(crate) weight: Option<f64>,
}
arrays!([] Number: f64 { w: array });

impl Number {
    pub(crate) fn new(w: f64) -> Self {
        Self { w: array![w], factor: 1.0, weight: None }
    }
}

/// The mean of the losses of all samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    sum: f64,
    count: f64,
}

impl Score for Losses {
    fn loss(&self) -> f64 {
        self.sum / self.count
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("loss", self.loss())]
    }

    fn merge(&mut self, other: Self) {
        (self.sum, self.count) = (self.sum + other.sum, self.count + other.count);
    }
}

impl Model for Number {
    type Batch = Vec<f64>;
    type Score = Losses;

    fn loss_and_grad(&self, y: &Vec<f64>, grad: &mut Self, _: &mut dyn Rng) -> Result<f64> {
        let errors = y.iter().map(|y| self.w[0] - y);
        grad.w[0] += self.factor * errors.clone().sum::<f64>() / y.len() as f64;
        Ok(self.factor * errors.map(|e| e * e / 2.0).sum::<f64>() / y.len() as f64)
    }

    fn weighted_loss_and_grad(
        &self,
        y: &Vec<f64>,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        Ok((self.loss_and_grad(y, grad, rng)?, self.weight))
    }

    fn score_batch(&self, y: &Vec<f64>, score: &mut Losses) -> Result<()> {
        score.sum += y.iter().map(|y| self.factor * (self.w[0] - y).powi(2) / 2.0).sum::<f64>();
        score.count += y.len() as f64;
        Ok(())
    }
}

/// Numbers y in memory.
pub(crate) struct Numbers(pub(crate) Vec<f64>);

impl Source<Vec<f64>> for Numbers {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<Vec<f64>> {
        Ok(indices.iter().map(|&i| self.0[i]).collect())
    }
}

/// A number that counts epochs, as its gradient is −1 and the rate is 1. Its validation loss is the value
/// at that place of the batch.
#[derive(Clone, Debug)]
struct Counter {
    w: Array1<f64>,
}
arrays!([] Counter: f64 { w: array });

impl Model for Counter {
    type Batch = Vec<f64>;
    type Score = Losses;

    fn loss_and_grad(&self, _: &Vec<f64>, grad: &mut Self, _: &mut dyn Rng) -> Result<f64> {
        grad.w[0] -= 1.0;
        Ok(self.w[0])
    }

    fn score_batch(&self, losses: &Vec<f64>, score: &mut Losses) -> Result<()> {
        score.sum += losses[self.w[0] as usize - 1];
        score.count += 1.0;
        Ok(())
    }
}

fn trainer<'a>(epochs: usize) -> Trainer<'a, Number> {
    Trainer::new(Sgd::new(0.25).unwrap()).epochs(epochs).batch_size(8)
}

fn data() -> Numbers {
    Numbers(vec![1.0, 2.0, 4.0])
}

/// Stops at the first event of the given kind in the given epoch.
fn stop_at<'a>(step: bool, at: usize) -> impl FnMut(&Event<'_>) -> ControlFlow<()> + Send + 'a {
    move |event| match event {
        Event::Step { epoch, .. } if step && *epoch == at => ControlFlow::Break(()),
        Event::Epoch(epoch) if !step && epoch.epoch == at => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

#[test]
fn a_training_stopped_at_the_last_step_of_an_epoch_resumes_with_a_progress_bar() {
    let whole = {
        let mut model = Number::new(9.0);
        let history = trainer(5).fit(&mut model, &data(), None).unwrap();
        (history.epochs, model.w)
    };
    let folder = Folder::new("stopped-at-a-step");
    for at in 0..5 {
        for step in [true, false] {
            let path = folder.0.join(format!("{at}-{step}"));
            let first = trainer(5).checkpoint(&path).callback(stop_at(step, at));
            first.fit(&mut Number::new(9.0), &data(), None).unwrap();
            let mut model = Number::new(0.0);
            let second = trainer(5).checkpoint(&path).callback(progress());
            let history = second.fit(&mut model, &data(), None).unwrap();
            assert_eq!((history.epochs, model.w), whole, "{at} {step}");
        }
    }
}

/// A source that fails at its first batch, as a process that is killed between a step and the end of its
/// epoch.
struct Failing;

impl Source<Vec<f64>> for Failing {
    fn len(&self) -> usize {
        3
    }

    fn batch(&self, _: &[usize]) -> Result<Vec<f64>> {
        Err(Error::argument("disk", "an answer", "none"))
    }
}

#[test]
fn a_training_that_ended_after_the_last_step_of_an_epoch_resumes_with_a_progress_bar() {
    let folder = Folder::new("killed-after-a-step");
    let path = folder.0.join("run.safetensors");
    let run = || trainer(5).checkpoint_every(1, &path);
    run().fit(&mut Number::new(9.0), &data(), Some(&Failing)).unwrap_err();
    let mut model = Number::new(0.0);
    let history = run().callback(progress()).fit(&mut model, &data(), Some(&data())).unwrap();
    let mut whole = Number::new(9.0);
    let expected = trainer(5).fit(&mut whole, &data(), Some(&data())).unwrap();
    assert_eq!((history.epochs, model.w), (expected.epochs, whole.w));
}

#[test]
fn a_progress_bar_takes_events_in_any_order() {
    let history = trainer(3).fit(&mut Number::new(9.0), &data(), None).unwrap();
    let mut show = progress();
    for epoch in history.epochs.iter().rev().chain(&history.epochs) {
        assert!(show(&Event::Epoch(epoch)).is_continue());
    }
    let folder = Folder::new("any-order");
    let path = folder.0.join("run.safetensors");
    trainer(2).checkpoint(&path).fit(&mut Number::new(9.0), &data(), None).unwrap();
    let resumed = trainer(3).checkpoint(&path).fit(&mut Number::new(0.0), &data(), None).unwrap();
    let resumed = resumed.resumed.unwrap();
    assert_eq!((resumed.epoch, resumed.epochs, resumed.complete), (2, 3, false));
    for event in [Event::Epoch(&history.epochs[2]), Event::Resumed(&resumed)] {
        assert!(show(&event).is_continue());
    }
    for epoch in &history.epochs {
        assert!(show(&Event::Epoch(epoch)).is_continue());
    }
}

#[test]
fn options_have_no_upper_end() {
    let folder = Folder::new("largest-options");
    let most = usize::MAX;
    let mut model = Number::new(9.0);
    let history = trainer(most)
        .batch_size(most)
        .bucketed(most)
        .accumulate(most)
        .early_stopping(most)
        .checkpoint_every(most, folder.0.join("run.safetensors"))
        .callback(progress())
        .callback(stop_at(false, 2))
        .fit(&mut model, &data(), Some(&data()))
        .unwrap();
    let mut plain = Number::new(9.0);
    let expected = trainer(3).fit(&mut plain, &data(), Some(&data())).unwrap();
    assert_eq!((history.epochs, model.w), (expected.epochs, plain.w));
    // The number of all batches is none that the bar could show.
    let trainer = trainer(most).batch_size(1).callback(progress()).callback(stop_at(true, 1));
    assert_eq!(trainer.fit(&mut Number::new(9.0), &data(), None).unwrap().epochs.len(), 1);
    assert!(Number::new(1.0).evaluate(&data(), most).is_ok());
    // Buckets of fewer batches than there are divide the samples as before.
    let fit = |bucketed| {
        let mut model = Number::new(9.0);
        let trainer = self::trainer(2).batch_size(1).bucketed(bucketed);
        trainer.fit(&mut model, &data(), None).unwrap();
        model.w
    };
    assert_eq!(fit(3), fit(most));
    assert_eq!(fit(most), fit(most / 2));
}

#[test]
fn zero_of_an_option_is_refused_by_name() {
    let refused = |trainer: Trainer<'_, Number>, name: &str| {
        let error = trainer.fit(&mut Number::new(9.0), &data(), None).unwrap_err().to_string();
        assert_eq!(error, format!("{name}: expected at least 1, got 0"));
    };
    refused(trainer(0), "epochs");
    refused(trainer(1).batch_size(0), "batch_size");
    refused(trainer(1).bucketed(0), "bucketed");
    refused(trainer(1).accumulate(0), "accumulate");
    refused(trainer(1).early_stopping(0), "early_stopping");
    refused(trainer(1).checkpoint_every(0, "nowhere"), "checkpoint_every");
    let error = Number::new(1.0).evaluate(&data(), 0).unwrap_err().to_string();
    assert_eq!(error, "batch_size: expected at least 1, got 0");
    let empty = Numbers(Vec::new());
    let error = trainer(1).fit(&mut Number::new(9.0), &empty, None).unwrap_err().to_string();
    assert_eq!(error, "train: samples: expected at least 1, got 0");
    let mut model = Number::new(9.0);
    let error = trainer(1).fit(&mut model, &data(), Some(&empty)).unwrap_err().to_string();
    assert_eq!(error, "valid: samples: expected at least 1, got 0");
    assert_eq!(model.w[0], 9.0);
}

#[test]
fn a_callback_that_stops_leaves_the_best_weights() {
    // w → −2·w in each epoch.
    let run = |early: bool, ema: bool, step: bool| {
        let mut model = Number { factor: 3.0, ..Number::new(1.0) };
        let mut trainer = Trainer::new(Sgd::new(1.0).unwrap()).epochs(9);
        if early {
            trainer = trainer.early_stopping(8);
        }
        if ema {
            trainer = trainer.ema(0.0);
        }
        let zero = Numbers(vec![0.0]);
        let trainer = trainer.callback(stop_at(step, 2));
        let history = trainer.fit(&mut model, &zero, Some(&zero)).unwrap();
        assert!(history.stopped && history.best_epoch == Some(0));
        model.w[0]
    };
    for step in [false, true] {
        assert_eq!(run(true, false, step), -2.0);
        assert_eq!(run(true, true, step), -2.0);
        assert_eq!(run(false, false, step), -8.0);
    }
}

#[test]
fn a_training_stopped_with_the_best_weights_resumes_from_the_last() {
    let folder = Folder::new("stopped-with-the-best");
    let zero = Numbers(vec![0.0]);
    let run = |stop: usize| {
        let path = folder.0.join("run.safetensors");
        let mut model = Number { factor: 3.0, ..Number::new(1.0) };
        let trainer = Trainer::new(Sgd::new(1.0).unwrap()).epochs(4).early_stopping(8);
        let trainer = trainer.checkpoint(path).callback(stop_at(false, stop));
        (trainer.fit(&mut model, &zero, Some(&zero)).unwrap(), model.w[0])
    };
    assert_eq!(run(2).1, -2.0);
    let (history, w) = run(9);
    assert_eq!(w, -2.0);
    // The loss 3·w²/2 of w = 16 is that of four epochs.
    assert_eq!(history.epochs[3].validation[0].1, 384.0);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_an_error_before_the_first_step() {
    let folder = Folder::new("no-folder");
    fs::write(folder.0.join("file"), "").unwrap();
    let mut paths = vec![
        folder.0.join("missing").join("run.safetensors"),
        folder.0.join("file").join("run.safetensors"),
        folder.0.clone(),
        folder.0.join(".."),
        folder.0.join("x".repeat(300)),
        "".into(),
    ];
    if cfg!(unix) {
        paths.push("/proc/run.safetensors".into());
    }
    for path in paths {
        let (mut model, mut steps) = (Number::new(9.0), 0);
        let trainer = trainer(2).checkpoint(&path).on_gradient(|_| {
            steps += 1;
            Ok(())
        });
        let error = trainer.fit(&mut model, &data(), None).unwrap_err();
        assert!(matches!(&error, Error::Io { path: given, .. } if *given == path), "{error}");
        assert_eq!((steps, model.w[0]), (0, 9.0), "{}", path.display());
    }
    let left = fs::read_dir(&folder.0).unwrap().count();
    assert_eq!(left, 1);
}

#[test]
fn a_complete_training_needs_no_checkpoint_that_can_be_written() {
    let folder = Folder::new("complete");
    let path = folder.0.join("run.safetensors");
    let fit = || trainer(2).checkpoint(&path).fit(&mut Number::new(9.0), &data(), None).unwrap();
    let first = fit();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(fit().epochs, first.epochs);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
}

/// Returns the history of a training with these validation losses, and the number of epochs that its
/// weights have seen.
fn with_losses(losses: &[f64], patience: Option<usize>) -> (History, f64) {
    let mut trainer = Trainer::new(Sgd::new(1.0).unwrap()).epochs(losses.len());
    if let Some(patience) = patience {
        trainer = trainer.early_stopping(patience);
    }
    let (train, valid) = (Numbers(vec![0.0]), Numbers(losses.to_vec()));
    let mut model = Counter { w: array![0.0] };
    let history = trainer.batch_size(losses.len()).fit(&mut model, &train, Some(&valid)).unwrap();
    (history, model.w[0])
}

#[test]
fn a_loss_that_is_no_number_is_never_the_best() {
    let nan = f64::NAN;
    let cases: [(&[f64], Option<usize>, usize, f64); 9] = [
        (&[nan, 3.0, 2.0, nan, nan, 1.0], Some(2), 5, 3.0),
        (&[nan, 3.0, 2.0, nan, 1.0, nan], Some(2), 6, 5.0),
        (&[3.0, nan, 2.0], Some(2), 3, 3.0),
        (&[nan, nan, nan, 1.0], Some(2), 2, 2.0),
        (&[nan, nan, 1.0, nan], Some(4), 4, 3.0),
        (&[f64::INFINITY, 5.0, nan], Some(3), 3, 2.0),
        (&[1.0, f64::NEG_INFINITY, nan, 0.0], Some(9), 4, 2.0),
        (&[nan, 2.0, nan], None, 3, 3.0),
        (&[2.0, 2.0, nan], Some(5), 3, 1.0),
    ];
    for (losses, patience, epochs, w) in cases {
        let (history, got) = with_losses(losses, patience);
        assert_eq!((history.epochs.len(), got), (epochs, w), "{losses:?}");
        // Nothing disappears from the history.
        for (epoch, loss) in history.epochs.iter().zip(losses) {
            assert_eq!(epoch.validation[0].1.to_bits(), loss.to_bits());
        }
        if let Some(best) = history.best_epoch {
            assert!(!losses[best].is_nan());
        }
    }
    assert_eq!(with_losses(&[nan, nan], Some(5)).0.best_epoch, None);
    assert_eq!(with_losses(&[nan, 2.0, nan], None).0.best_epoch, Some(1));
}

#[test]
fn a_plateau_counts_a_loss_that_is_no_number_as_no_improvement() {
    let mut plateau = ReduceOnPlateau::default().patience(1);
    for (loss, factor) in [
        (f64::NAN, 1.0),
        (f64::NAN, 0.1),
        (5.0, 0.1),
        (f64::NAN, 0.1),
        (4.0, 0.1),
        (f64::NAN, 0.1),
        (f64::NAN, 0.01),
    ] {
        plateau.observe(loss);
        assert!((plateau.factor(0) - factor).abs() < 1e-15, "{loss}");
    }
}

#[test]
fn figures_that_are_no_numbers_survive_a_checkpoint() {
    let folder = Folder::new("nan");
    let path = folder.0.join("run.safetensors");
    let losses = [f64::NAN, f64::INFINITY, 1.0, f64::NAN];
    let (train, valid) = (Numbers(vec![0.0]), Numbers(losses.to_vec()));
    for epochs in 1..=4 {
        let trainer = Trainer::new(Sgd::new(1.0).unwrap()).epochs(epochs).early_stopping(3);
        let mut model = Counter { w: array![0.0] };
        let trainer = trainer.checkpoint(&path);
        let history = trainer.fit(&mut model, &train, Some(&valid)).unwrap();
        let found = history.epochs.iter().map(|epoch| epoch.validation[0].1.to_bits());
        assert!(found.eq(losses[..epochs].iter().map(|loss| loss.to_bits())));
        let (best, w) = [(None, 1.0), (Some(1), 2.0), (Some(2), 3.0), (Some(2), 3.0)][epochs - 1];
        assert_eq!((history.best_epoch, model.w[0]), (best, w));
    }
}

#[test]
fn events_have_the_loss_the_norm_and_the_rate_of_their_step() {
    let (mut seen, mut model) = (Vec::new(), Number::new(5.0));
    let trainer = Trainer::new(Sgd::new(0.5).unwrap()).epochs(2).batch_size(1).clip_norm(0.5);
    let trainer = trainer.clip_value(0.75).callback(|event| {
        if let Event::Step { step, loss, step_loss, grad_norm, learning_rate, .. } = event {
            seen.push((*step, *loss, *step_loss, *grad_norm, *learning_rate));
        }
        ControlFlow::Continue(())
    });
    trainer.fit(&mut model, &Numbers(vec![1.0, 1.0]), None).unwrap();
    // Each step is 0.5·0.5 long, whatever the gradient w − 1.
    let gradients = [4.0, 3.75, 3.5, 3.25];
    assert_eq!(seen.len(), 4);
    let near = |a: f64, b: f64| (a - b).abs() < 1e-4;
    for (k, &(step, loss, step_loss, norm, rate)) in seen.iter().enumerate() {
        let g: f64 = gradients[k];
        let half = |g: f64| g * g / 2.0;
        let mean = if k % 2 == 0 { half(g) } else { (half(g) + half(gradients[k - 1])) / 2.0 };
        assert_eq!((step, rate), (k + 1, 0.5));
        assert!(near(norm, g) && near(step_loss, half(g)) && near(loss, mean), "{seen:?}");
    }
}

#[test]
fn a_trainer_can_be_sent_to_another_thread() {
    fn sent<V: Send>(value: V) -> V {
        value
    }
    fn of<'a>(optimizer: impl Optimizer<Net<f64>> + Send + 'a) -> impl Send + 'a {
        sent(Trainer::<Net<f64>>::new(optimizer))
    }
    let _ = of(Sgd::new(0.1).unwrap());
    let trainer = trainer(2).schedule(ReduceOnPlateau::default()).callback(progress());
    let trainer = sent(trainer.on_gradient(|_| Ok(())));
    let fit = move || trainer.fit(&mut Number::new(9.0), &data(), Some(&data())).unwrap();
    let history = std::thread::spawn(fit).join().unwrap();
    assert_eq!(history.epochs.len(), 2);
}

#[test]
fn a_figure_that_is_no_number_is_a_gap_in_its_curve() {
    let folder = Folder::new("gap");
    let path = folder.0.join("curves.svg");
    let lines = |losses: &[f64]| {
        with_losses(losses, None).0.to_svg(&path).unwrap();
        // The colour of the validation, in the curve and in the legend.
        fs::read_to_string(&path).unwrap().matches("#CC3333").count()
    };
    assert_eq!(lines(&[3.0, 2.0, 1.0, 0.5]), 2);
    assert_eq!(lines(&[3.0, 2.0, f64::NAN, 1.0, 0.5]), 3);
    assert_eq!(lines(&[f64::NAN, 2.0, 1.0, f64::INFINITY]), 2);
}
