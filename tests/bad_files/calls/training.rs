//! The training loop.

use std::ops::ControlFlow;

use recurrent::data::Dataset;
use recurrent::model::SequenceClassifier;
use recurrent::optim::Adam;
use recurrent::optim::schedule::{Cosine, LinearRamp, ReduceOnPlateau};
use recurrent::train::metrics::ClassificationMetrics;
use recurrent::train::{Communicator, History, Score, ThreadCommunicator, Trainer, agree};
use recurrent::{Arrays, Error, LstmCell, Result};

use super::calls;
use super::given::{Given, bits};
use crate::common::temporary::Folder;

const WIDTH: usize = 2;

type Classifier = SequenceClassifier<LstmCell<f32>>;

fn data(given: &mut Given) -> Result<Dataset<f32, usize>> {
    let sequences = (0..given.length(3)).map(|_| given.array2(3, WIDTH)).collect();
    Dataset::new(sequences, given.some(3, 2))
}

/// Trains a small model. The model must be as before if no step was made.
fn fit(
    given: &mut Given,
    set: impl for<'a> FnOnce(&mut Given, Trainer<'a, Classifier>) -> Trainer<'a, Classifier>,
) -> Result<History> {
    let trainer = Trainer::new(Adam::new(0.1)?).epochs(2).batch_size(2);
    let trainer = set(given, trainer);
    let builder = Classifier::builder(given.length(WIDTH).max(1), 2).hidden_size(2);
    let mut model = builder.build(given.rng())?;
    let (train, valid) = (data(given)?, data(given)?);
    let before = bits(&model);
    let result = if given.flag() {
        trainer.fit(&mut model, &train, Some(&valid))
    } else {
        trainer.fit(&mut model, &train, None)
    };
    let of_step = |error: &Error| matches!(error, Error::Training { .. } | Error::Io { .. });
    // The validation follows an epoch.
    if let Err(error) = &result
        && !of_step(error)
        && !error.to_string().starts_with("valid: ")
    {
        assert!(before == bits(&model), "changed: {error}");
    }
    assert!(model.check_finite().is_ok(), "not finite after the training");
    result
}

fn checkpoint(given: &mut Given, every: bool) -> Result<History> {
    let folder = Folder::new("calls-training");
    let path = folder.path(given.text("checkpoint").replace('\0', ""));
    let steps = given.size();
    fit(
        given,
        move |_, trainer| {
            if every { trainer.checkpoint_every(steps, path) } else { trainer.checkpoint(path) }
        },
    )
}

/// A group of one.
struct Alone;

static ALONE: Alone = Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }
}

fn alone() -> ThreadCommunicator {
    ThreadCommunicator::group(1).unwrap().remove(0)
}

fn bytes(given: &mut Given) -> Vec<u8> {
    (0..given.length(9)).map(|i| i as u8).collect()
}

calls! {
"train::Trainer::", g:
    new = fit(g, |_, t| t)?;
    accumulate = fit(g, |g, t| t.accumulate(g.size()))?;
    batch_size = fit(g, |g, t| t.batch_size(g.size()))?;
    bucketed = fit(g, |g, t| t.bucketed(g.size()))?;
    callback = fit(g, |g, t| { let stop = g.flag(); t.callback(move |_| if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }) })?;
    checkpoint = checkpoint(g, false)?;
    checkpoint_every = checkpoint(g, true)?;
    distributed = fit(g, |_, t| t.distributed(&ALONE))?;
    keep_previous_checkpoint = { let folder = Folder::new("calls-previous"); let path = folder.path("run"); fit(g, move |g, t| t.checkpoint(path).keep_previous_checkpoint(g.flag()))? };
    clip_norm = fit(g, |g, t| t.clip_norm(g.number(1.0)))?;
    clip_norm_of_type = fit(g, |g, t| t.clip_norm_of_type(g.number(1.0), g.number(2.0)))?;
    clip_value = fit(g, |g, t| t.clip_value(g.number(1.0)))?;
    early_stopping = fit(g, |g, t| t.early_stopping(g.size()))?;
    ema = fit(g, |g, t| t.ema(g.number(0.9)))?;
    epochs = fit(g, |g, t| t.epochs(g.like(2).min(5)))?;
    fit = fit(g, |_, t| t)?;
    on_gradient = fit(g, |g, t| { let factor = g.number(0.5) as f32; t.on_gradient(move |grad: &mut Classifier| { grad.for_each_mut(&mut |_, mut array| array *= factor); Ok(()) }) })?;
    schedule = fit(g, |_, t| t.schedule(Cosine::new(4).unwrap()))?;
    schedule = fit(g, |_, t| t.schedule(ReduceOnPlateau::default()))?;
    schedule_by_step = fit(g, |_, t| t.schedule_by_step(LinearRamp::new(0.1, 1.0, 3).unwrap()))?;
    seed = fit(g, |g, t| t.seed(g.size() as u64))?;
"train::Communicator::", g:
    all_gather = alone().all_gather(&bytes(g))?;
    broadcast = { let mut all = bytes(g); let before = all.clone(); let root = g.index(1); alone().broadcast(root, &mut all).inspect_err(|_| assert_eq!(all.len(), before.len()))? };
    sum_f32 = alone().sum_f32(&mut g.array1(5).to_vec())?;
    sum_f64 = alone().sum_f64(&mut g.numbers(5, 0.5))?;
"train::ThreadCommunicator::", g:
    group = ThreadCommunicator::group(g.size().min(64))?;
"train::Score::", g:
    from_numbers = { let numbers = g.numbers(6, 1.0); ClassificationMetrics::from_numbers(&numbers).map(|score| score.metrics().len()) };
"train::", g:
    agree = { let own = if g.flag() { Ok(g.size()) } else { Trainer::<Classifier>::new(Adam::new(g.number(0.1))?).epochs(0).fit(&mut Classifier::builder(WIDTH, 2).build(g.rng())?, &data(g)?, None).map(|_| 0) }; agree(&alone(), own).or_else(|error| if g.flag() { Ok(0) } else { Err(error) })? };
"train::History::", g:
    to_svg = { let folder = Folder::new("calls-history"); let path = folder.path(g.text("h.svg").replace('\0', "")); fit(g, |_, t| t)?.to_svg(path)? };
}
