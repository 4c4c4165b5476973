//! A classifier of sentences with any cell, its gradient flow, and its gates.

use ndarray::{Array2, Array3, Axis, aview2};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::Cell;
use recurrent::check::GradientFlow;
use recurrent::layer::Layer;
use recurrent::loss::{CrossEntropy, Loss};
use recurrent::model::SequenceClassifier;
use recurrent::{Arrays, Lstm, Sequences};

use crate::common::options::Failure;
use crate::corpus::{Batch, CITIES, Language};

/// An embedding, a recurrent layer, and a linear layer from its last output to the logits of the cities.
pub(crate) type Reader<C> = SequenceClassifier<C>;

pub(crate) fn reader<C: Cell<Elem = f32>>(
    language: &Language,
    options: C::Options,
    seed: u64,
) -> Result<Reader<C>, Failure> {
    Ok(Reader::builder(language.vocabulary().len(), CITIES)
        .embedding_dim(16)
        .hidden_size(32)
        .cell_options(options)
        .labels(&language.cities)
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

/// Returns the cell state of an LSTM with one unit at each step of `inputs`, if the values of its gates i
/// and f are fixed, from c = 1. The candidate g is nearly the input.
pub(crate) fn cell_state(inputs: &[f32], [i, f]: [bool; 2]) -> Result<Vec<f32>, Failure> {
    // σ(±40) is 1 and 0. Small inputs and g = tanh(x) ≈ x.
    let bias = |open: bool| if open { 40.0 } else { -40.0 };
    let mut lstm = Lstm::<f32>::builder(1, 1).build(&mut ChaCha8Rng::seed_from_u64(0))?;
    lstm.for_each_mut(&mut |name, mut array| {
        array.fill(0.0);
        let values = match name {
            "weight_ih_l0" => [0.0, 0.0, 1.0, 0.0],
            "bias_ih_l0" => [bias(i), bias(f), 0.0, bias(true)],
            _ => [0.0; 4],
        };
        array.iter_mut().zip(values).for_each(|(element, value)| *element = value);
    });
    let mut state = lstm.zero_state(1)?;
    state.set("c", Array3::ones((1, 1, 1)))?;
    let mut stream = lstm.stream(1)?;
    stream.restore(&state)?;
    let mut states = Vec::new();
    for &x in inputs {
        stream.step(aview2(&[[x]]))?;
        states.push(stream.snapshot().part("c", 0, false)?[[0, 0]]);
    }
    Ok(states)
}
