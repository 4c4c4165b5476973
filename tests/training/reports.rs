//! Tests of the reports of a training run, and of the hook on its gradients.

use std::ops::ControlFlow;

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::data::Dataset;
use recurrent::layer::Layer;
use recurrent::model::SequenceClassifier;
use recurrent::optim::{Adam, Sgd};
use recurrent::train::{Event, Model, Trainer, predict};
use recurrent::{Arrays, Error, Result};

use crate::common::bits::bits;
use crate::common::temporary::Folder;
use crate::train::{Batch, Judged, Net, Samples, net, trainer};

#[test]
fn a_resumed_training_reports_it_and_a_complete_one_says_so() {
    let (train, folder) = (Samples::new(40, 1), Folder::new("reports"));
    let path = folder.0.join("run.safetensors");
    let fit = |epochs| {
        let (mut resumed, mut others, mut model) = (Vec::new(), 0, net());
        let history = trainer(epochs)
            .checkpoint(&path)
            .callback(|event| {
                match event {
                    Event::Resumed(at) => resumed.push(**at),
                    _ => others += 1,
                }
                ControlFlow::Continue(())
            })
            .fit(&mut model, &train, None)
            .unwrap();
        assert_eq!(resumed, history.resumed.into_iter().collect::<Vec<_>>());
        (history, others)
    };
    let (first, _) = fit(2);
    assert!(first.resumed.is_none() && !first.stopped);
    let (complete, events) = fit(2);
    let resumed = complete.resumed.unwrap();
    assert_eq!((resumed.epoch, resumed.step, resumed.complete, events), (2, 6, true, 0));
    let (more, events) = fit(3);
    let resumed = more.resumed.unwrap();
    assert_eq!((resumed.epoch, resumed.complete, events), (2, false, 4));
}

#[test]
fn a_history_has_the_seconds_of_each_epoch_apart_from_what_is_compared() {
    let (train, folder) = (Samples::new(16, 1), Folder::new("seconds"));
    let path = folder.0.join("run.safetensors");
    let fit = |epochs| trainer(epochs).checkpoint(&path).fit(&mut net(), &train, None).unwrap();
    let first = fit(2);
    assert!(first.seconds.iter().all(|s| s.is_some_and(|s| s > 0.0)) && first.seconds.len() == 2);
    let second = fit(3);
    assert_eq!(second.seconds[..2], [None, None]);
    assert!(second.seconds[2].is_some() && second.seconds.len() == 3);
    let mut other = first.clone();
    other.seconds.clear();
    assert_eq!(first, other);
    assert!(!first.to_csv().contains("seconds"));
}

#[test]
fn the_gradient_hook_sees_the_mean_before_clipping_and_can_replace_it() {
    let train = Samples::new(32, 1);
    let mut norms = Vec::new();
    let sgd = || Trainer::new(Sgd::new(0.1).unwrap()).epochs(1).clip_norm(1e-3);
    let (mut seen, mut plain) = (net(), net());
    let hook = |grad: &mut Net<f64>| {
        norms.push(recurrent::optim::clip_global_norm(grad, 1e9)?);
        Ok(())
    };
    sgd().on_gradient(hook).fit(&mut seen, &train, None).unwrap();
    sgd().fit(&mut plain, &train, None).unwrap();
    assert_eq!(bits(&seen), bits(&plain));
    assert!(norms.len() == 1 && norms[0] > 1e-3, "{norms:?}");

    let mut frozen = net();
    let zero = |grad: &mut Net<f64>| {
        grad.fill(0.0);
        Ok(())
    };
    sgd().on_gradient(zero).fit(&mut frozen, &train, None).unwrap();
    assert_eq!(bits(&frozen), bits(&net()));
}

#[test]
fn an_error_of_the_gradient_hook_ends_the_training_before_the_step() {
    let (train, mut model) = (Samples::new(32, 1), net());
    let fail = |_: &mut Net<f64>| Err(Error::argument("peer", "an answer", "none"));
    let error = trainer(1).on_gradient(fail).fit(&mut model, &train, None).unwrap_err();
    let Error::Training { step: 0, source, .. } = error else { panic!("{error}") };
    assert_eq!(source.to_string(), "peer: expected an answer, got none");
    assert_eq!(bits(&model), bits(&net()));
}

#[test]
fn a_checkpoint_of_other_model_options_is_refused() {
    let sequences = (0..8).map(|i| Array2::from_elem((3, 1), (i % 2) as f32)).collect();
    let data = Dataset::new(sequences, (0..8).map(|i| i % 2).collect()).unwrap();
    let folder = Folder::new("model-options");
    let fit = |dropout: f64| {
        let builder = SequenceClassifier::<LstmCell<f32>>::builder(1, 2).hidden_size(4);
        let builder = builder.dropout(dropout);
        let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        let trainer = Trainer::new(Adam::new(0.01).unwrap()).epochs(1);
        trainer.checkpoint(folder.0.join("run.safetensors")).fit(&mut model, &data, None)
    };
    fit(0.25).unwrap();
    fit(0.25).unwrap();
    let error = fit(0.5).unwrap_err().to_string();
    assert!(error.starts_with("model: expected ") && error.contains("dropout: 0.25"), "{error}");
}

#[test]
fn predictions_over_a_source_come_in_the_order_of_the_samples() {
    let (data, model) = (Samples::new(11, 1), net());
    let outputs = |(x, _): &Batch| -> Result<Vec<f64>> {
        let (_, last) = model.lstm.forward(x, None)?;
        let logits: Array2<f64> = model.head.forward(&last.part("h", 0, false)?.to_owned())?;
        Ok(logits.column(0).to_vec())
    };
    let one_by_one = predict(&data, 1, outputs).unwrap();
    let all = predict(&data, 4, outputs).unwrap();
    assert_eq!(all.len(), 11);
    assert!(all.iter().zip(&one_by_one).all(|(a, b)| (a - b).abs() < 1e-12));
    assert!(predict(&data, 0, outputs).is_err());
}

/// A model that reports each metric of [`Net`] twice.
#[derive(Clone, Debug)]
struct Twice(Net<f64>);

impl Arrays for Twice {
    type Elem = f64;

    fn for_each<'a>(&'a self, f: &mut recurrent::arrays::Visit<'_, 'a, f64>) {
        self.0.for_each(f);
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut recurrent::arrays::VisitMut<'_, 'a, f64>) {
        self.0.for_each_mut(f);
    }
}

impl Model for Twice {
    type Batch = Batch;
    type Score = (Judged, Judged);

    fn loss_and_grad(&self, batch: &Batch, grad: &mut Self, rng: &mut dyn Rng) -> Result<f64> {
        self.0.loss_and_grad(batch, &mut grad.0, rng)
    }

    fn score_batch(&self, batch: &Batch, score: &mut (Judged, Judged)) -> Result<()> {
        self.0.score_batch(batch, &mut score.0)?;
        self.0.score_batch(batch, &mut score.1)
    }
}

#[test]
fn a_history_numbers_metrics_of_the_same_name() {
    let (data, mut model) = (Samples::new(8, 1), Twice(net()));
    let trainer = Trainer::new(Sgd::new(0.1).unwrap()).epochs(1);
    let csv = trainer.fit(&mut model, &data, Some(&data)).unwrap().to_csv();
    let header = ",loss,validation_loss,validation_accuracy,validation_accuracy_2\n";
    assert!(csv.contains(header), "{csv}");
}
