//! A classifier of sentences with any cell, its gradient flow, and its gates.

use ndarray::{Array2, Array3, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::Cell;
use recurrent::check::GradientFlow;
use recurrent::layer::Layer;
use recurrent::loss::{CrossEntropy, Loss};
use recurrent::model::SequenceClassifier;
use recurrent::{Arrays, Sequences};

use crate::common::options::Failure;
use crate::corpus::{self, Batch, CITIES};

/// An embedding, a recurrent layer, and a linear layer from its last output to the logits of the cities.
pub(crate) type Reader<C> = SequenceClassifier<C>;

pub(crate) fn reader<C: Cell<Elem = f32>>(
    options: C::Options,
    seed: u64,
) -> Result<Reader<C>, Failure> {
    Ok(Reader::builder(corpus::vocabulary().len(), CITIES.len())
        .embedding_dim(16)
        .hidden_size(32)
        .cell_options(options)
        .labels(&CITIES)
        .build(&mut ChaCha8Rng::seed_from_u64(seed))?)
}

fn vectors<C: Cell<Elem = f32>>(
    reader: &Reader<C>,
    (x, _): &Batch,
) -> Result<Sequences<f32>, Failure> {
    let embedding = reader.embedding().ok_or_else(|| Failure::new("no word vectors"))?;
    Ok(embedding.forward(x)?)
}

/// Returns ‖∂L/∂h_t‖ at each step t, and ‖∂L/∂c_t‖ for an LSTM. L is the loss at the last word of the
/// sentences in `batch`, which have equal lengths.
pub(crate) fn flow<C: Cell<Elem = f32>>(
    reader: &Reader<C>,
    batch: &Batch,
    rng: &mut dyn Rng,
) -> Result<Vec<GradientFlow>, Failure> {
    let x = vectors(reader, batch)?;
    let flows = GradientFlow::measure(reader.recurrent(), &x, rng, |output, state| {
        let (last, head) = (state.part("h", 0, false)?, reader.head());
        let (logits, tape) =
            head.forward_train(&last.to_owned(), &mut ChaCha8Rng::seed_from_u64(0))?;
        let (_, d_logits) = CrossEntropy::default().loss(&logits, &batch.1)?;
        let d_last: Array2<f32> = head.backward(tape, &d_logits, &mut head.zeros_like())?;
        Ok((at_the_end(output, &d_last)?, None))
    })?;
    Ok(flows)
}

/// Returns the values [time, batch, hidden] of gate `name` for `batch`.
pub(crate) fn gate<C: Cell<Elem = f32>>(
    reader: &Reader<C>,
    name: &str,
    batch: &Batch,
    rng: &mut dyn Rng,
) -> Result<Array3<f32>, Failure> {
    let (_, _, tape) = reader.recurrent().forward_train(&vectors(reader, batch)?, None, rng)?;
    Ok(tape.gate(name, 0, false)?)
}

/// Returns the gradient with respect to all outputs, zero except at the last step of each sequence.
fn at_the_end(output: &Sequences<f32>, d_last: &Array2<f32>) -> recurrent::Result<Sequences<f32>> {
    let mut d_output = Array3::zeros(output.values().dim());
    for (b, &length) in output.lengths().iter().enumerate() {
        if length > 0 {
            let mut step = d_output.index_axis_mut(Axis(0), length - 1);
            step.row_mut(b).assign(&d_last.row(b));
        }
    }
    output.with_values(d_output)
}
