//! A network that reads a sentence and names the city, with any cell.

use ndarray::{Array2, Array3, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::arrays::{Visit, VisitMut};
use recurrent::cell::Cell;
use recurrent::check::GradientFlow;
use recurrent::layer::{Embedding, Linear};
use recurrent::loss::CrossEntropy;
use recurrent::optim::{Adam, clip_global_norm};
use recurrent::{Arrays, Recurrent, Sequences, Tape};

use crate::common::options::Failure;
use crate::common::progress::Progress;
use crate::corpus::{self, Batch, CITIES};

const EMBEDDING: usize = 16;
const HIDDEN: usize = 32;
const BATCH: usize = 32;
const LEARNING_RATE: f64 = 3e-3;

/// Word vectors, a recurrent network, and the scores of the cities from its last output.
#[derive(Clone)]
pub(crate) struct Reader<C: Cell<f32>> {
    words: Embedding<f32>,
    memory: Recurrent<f32, C>,
    head: Linear<f32>,
}

impl<C: Cell<f32>> Arrays<f32> for Reader<C> {
    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, f32>) {
        self.words.for_each(&mut |name, array| f(&format!("words.{name}"), array));
        self.memory.for_each(&mut |name, array| f(&format!("memory.{name}"), array));
        self.head.for_each(&mut |name, array| f(&format!("head.{name}"), array));
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, f32>) {
        self.words.for_each_mut(&mut |name, array| f(&format!("words.{name}"), array));
        self.memory.for_each_mut(&mut |name, array| f(&format!("memory.{name}"), array));
        self.head.for_each_mut(&mut |name, array| f(&format!("head.{name}"), array));
    }
}

/// What the network's last step says, and what it needs to learn from it.
struct Reading {
    output: Sequences<f32>,
    last: Array2<f32>,
    logits: Array2<f32>,
    tape: Tape<f32>,
}

impl<C: Cell<f32>> Reader<C> {
    pub(crate) fn new(options: C::Options, seed: u64) -> Result<Self, Failure> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Ok(Self {
            words: Embedding::new(corpus::vocabulary().len(), EMBEDDING, &mut rng)?,
            memory: Recurrent::builder(EMBEDDING, HIDDEN).options(options).build(&mut rng)?,
            head: Linear::new(HIDDEN, CITIES.len(), &mut rng)?,
        })
    }

    fn read(&self, batch: &Batch, rng: &mut dyn Rng) -> Result<Reading, Failure> {
        let x = self.words.forward(batch.tokens.view(), &batch.lengths)?;
        let (output, state, tape) = self.memory.forward_train(&x, None, rng)?;
        let last = state.part("h", 0, false)?.to_owned();
        let logits = self.head.forward(last.view())?;
        Ok(Reading { output, last, logits, tape })
    }

    /// One step; returns the loss.
    fn learn(
        &mut self,
        batch: &Batch,
        adam: &mut Adam<Self>,
        rng: &mut dyn Rng,
    ) -> Result<f32, Failure> {
        let Reading { output, last, logits, tape } = self.read(batch, rng)?;
        let (loss, d_logits) = CrossEntropy::default().rows(logits.view(), &batch.cities)?;
        let mut grad = self.zeros_like();
        let d_last = self.head.backward(last.view(), d_logits.view(), &mut grad.head)?;
        let d_output = at_the_end(&output, &d_last);
        let (d_x, _) = self.memory.backward(tape, &d_output, None, &mut grad.memory)?;
        let lengths = &batch.lengths;
        self.words.backward(batch.tokens.view(), lengths, d_x.view(), &mut grad.words)?;
        clip_global_norm(&mut grad, 1.0)?;
        adam.step(self, &grad)?;
        Ok(loss)
    }

    /// Trains on `steps` batches of sentences with gaps of up to `longest` words.
    pub(crate) fn train(
        &mut self,
        steps: usize,
        longest: usize,
        seed: u64,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut adam = Adam::new(LEARNING_RATE)?;
        for _ in 0..steps {
            let batch = corpus::draw(BATCH, 1..=longest, &mut rng);
            let loss = self.learn(&batch, &mut adam, &mut rng)?;
            progress.step(format!("loss {loss:.3}"));
        }
        Ok(())
    }

    /// The share of `batch` whose city is named rightly.
    pub(crate) fn accuracy(&self, batch: &Batch) -> Result<f64, Failure> {
        let x = self.words.forward(batch.tokens.view(), &batch.lengths)?;
        let (_, state) = self.memory.forward(&x, None)?;
        let scores = self.head.forward(state.part("h", 0, false)?)?;
        let best = |scores: ndarray::ArrayView1<'_, f32>| {
            (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
        };
        let pairs = scores.rows().into_iter().zip(&batch.cities);
        let right = pairs.filter(|(scores, city)| best(*scores) == Some(**city));
        Ok(right.count() as f64 / batch.cities.len() as f64)
    }

    /// How the gradient of the loss at the last word flows back through `batch`, whose sentences
    /// are equally long: ‖∂L/∂h_t‖, and for an LSTM ‖∂L/∂c_t‖.
    pub(crate) fn flow(
        &self,
        batch: &Batch,
        rng: &mut dyn Rng,
    ) -> Result<Vec<GradientFlow>, Failure> {
        let x = self.words.forward(batch.tokens.view(), &batch.lengths)?;
        let flows = GradientFlow::measure(&self.memory, &x, rng, |output, state| {
            let last = state.part("h", 0, false)?;
            let logits = self.head.forward(last)?;
            let (_, d_logits) = CrossEntropy::default().rows(logits.view(), &batch.cities)?;
            let d_last = self.head.backward(last, d_logits.view(), &mut self.head.zeros_like())?;
            Ok((at_the_end(output, &d_last), None))
        })?;
        Ok(flows)
    }

    /// Gate `name` while reading `batch`, [time, batch, hidden].
    pub(crate) fn gate(
        &self,
        name: &str,
        batch: &Batch,
        rng: &mut dyn Rng,
    ) -> Result<Array3<f32>, Failure> {
        Ok(self.read(batch, rng)?.tape.gate(name, 0, false)?)
    }
}

/// The gradient by all outputs where only each sequence's last one counts.
fn at_the_end(output: &Sequences<f32>, d_last: &Array2<f32>) -> Array3<f32> {
    let mut d_output = Array3::zeros(output.values().dim());
    for (b, &length) in output.lengths().iter().enumerate() {
        if length > 0 {
            let mut step = d_output.index_axis_mut(Axis(0), length - 1);
            step.row_mut(b).assign(&d_last.row(b));
        }
    }
    d_output
}
