//! [`Cells`]: one direction of a recurrent operator, on this crate's engine where it is one of its cells.

use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayView3, Axis, Slice};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::steps::Steps;
use super::{Activation, Direction, Kind, Results, Settings};
use crate::arrays::Arrays;
use crate::cell::{Cell, GruOptions, Nonlinearity, Reset};
use crate::error::Result;
use crate::float::Float;
use crate::sequence::{
    Gru, Lstm, PeepholeLstm, Recurrent, RecurrentBuilder, Rnn, State, Stream, Workspace,
};
use crate::sequences::Sequences;
use crate::tensor::Init;

/// The network of one direction.
#[derive(Debug)]
pub(super) enum Cells<T: Float> {
    Rnn(Rnn<T>),
    Gru(Gru<T>),
    Lstm(Lstm<T>),
    Peephole(PeepholeLstm<T>),
    Steps(Box<Steps<T>>),
}

/// Evaluates an expression for the network of any cell.
macro_rules! network {
    ($cells:expr, $network:ident => $result:expr, $steps:ident => $other:expr) => {
        match $cells {
            Cells::Rnn($network) => $result,
            Cells::Gru($network) => $result,
            Cells::Lstm($network) => $result,
            Cells::Peephole($network) => $result,
            Cells::Steps($steps) => $other,
        }
    };
}

impl<T: Float> Cells<T> {
    pub(super) fn new(kind: Kind, settings: &Settings, direction: Direction<T>) -> Result<Self> {
        use Activation::{Relu, Sigmoid, Tanh};
        let plain = settings.clip.is_none() && !settings.input_forget;
        Ok(match (kind, &settings.activations[..]) {
            (Kind::Rnn, [Tanh]) if plain => {
                Self::Rnn(network(direction, Nonlinearity::Tanh, &[0])?)
            }
            (Kind::Rnn, [Relu]) if plain => {
                Self::Rnn(network(direction, Nonlinearity::Relu, &[0])?)
            }
            (Kind::Gru, [Sigmoid, Tanh]) if plain => {
                let after = settings.linear_before_reset;
                let reset = if after { Reset::After } else { Reset::Before };
                Self::Gru(network(direction, GruOptions::new(reset), &[1, 0, 2])?)
            }
            (Kind::Lstm, [Sigmoid, Tanh, Tanh]) if plain => match direction.peepholes {
                None => Self::Lstm(network(direction, Default::default(), &[0, 2, 3, 1])?),
                Some(_) => Self::Peephole(network(direction, Default::default(), &[0, 2, 3, 1])?),
            },
            _ => Self::Steps(Box::new(Steps::new(kind, settings.clone(), direction))),
        })
    }
}

/// One direction with its weights, which are packed when they are first used: once for single steps, and once for
/// sequences.
#[derive(Debug)]
pub(super) struct Runner<'g, T: Float> {
    cells: &'g Cells<T>,
    workspace: Option<Workspace<'g, T>>,
    stream: Option<Stream<'g, T>>,
    /// The states that the next call begins with.
    state: Option<State<T>>,
}

impl<'g, T: Float> Runner<'g, T> {
    pub(super) fn new(cells: &'g Cells<T>) -> Self {
        Self { cells, workspace: None, stream: None, state: None }
    }

    /// Returns the width of an input.
    pub(super) fn input_size(&self) -> usize {
        network!(self.cells, network => network.input_size(), steps => steps.input_size())
    }

    /// Returns the width of a state.
    pub(super) fn hidden_size(&self) -> usize {
        network!(self.cells, network => network.output_size(), steps => steps.hidden_size())
    }

    /// Runs over `x` [time, batch, input] from states [batch, hidden], zeros if none are given.
    pub(super) fn forward(
        &mut self,
        x: ArrayView3<'_, T>,
        lengths: &[usize],
        states: [Option<ArrayView2<'_, T>>; 2],
    ) -> Result<Results<T>> {
        network!(
            self.cells,
            network => {
                let state = begin(self.state.take(), network, lengths.len(), states)?;
                if x.len_of(Axis(0)) == 1 && lengths.iter().all(|&length| length == 1) {
                    return self.step(network, x.index_axis(Axis(0), 0), state);
                }
                let workspace = self.workspace.get_or_insert_with(|| network.workspace());
                let x = Sequences::new(x.to_owned(), lengths.to_vec())?;
                let (output, last) = workspace.forward(&x, Some(&state))?;
                let (output, last) = (output.values().clone(), last.clone());
                self.finish(output, last)
            },
            steps => {
                let zeros = || Array2::zeros((lengths.len(), steps.hidden_size()));
                let [h, c] = states.map(|state| state.map_or_else(zeros, |state| state.to_owned()));
                Ok(steps.forward(x, lengths, (h, c)))
            }
        )
    }

    /// Computes one step `x` [batch, input].
    fn step<C: Cell<Elem = T>>(
        &mut self,
        network: &'g Recurrent<C>,
        x: ArrayView2<'_, T>,
        state: State<T>,
    ) -> Result<Results<T>> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(network.stream(x.nrows())?),
        };
        if stream.output().nrows() != x.nrows() {
            stream.select(&vec![0; x.nrows()])?;
        }
        stream.restore(&state)?;
        let output = stream.step(x)?.to_owned().insert_axis(Axis(0));
        let last = stream.snapshot();
        self.finish(output, last)
    }

    /// Returns the results, and keeps the memory of the `last` states.
    fn finish(&mut self, output: Array3<T>, last: State<T>) -> Result<Results<T>> {
        let h = last.part("h", 0, false)?.to_owned();
        let has_c = last.state_names().contains(&"c");
        let c = has_c.then(|| last.part("c", 0, false).map(|c| c.to_owned())).transpose()?;
        self.state = Some(last);
        Ok(Results { output, h, c })
    }
}

/// Returns the states `values` [batch, hidden], zeros if none are given, in the memory of those of another call if
/// they fit.
fn begin<T: Float, C: Cell<Elem = T>>(
    memory: Option<State<T>>,
    network: &Recurrent<C>,
    batch: usize,
    values: [Option<ArrayView2<'_, T>>; 2],
) -> Result<State<T>> {
    let names = || ["h", "c"].into_iter().zip(&values);
    let whole = |state: &State<T>| {
        let is_given = |name: &str| names().any(|(n, value)| n == name && value.is_some());
        state.batch() == batch && state.state_names().iter().all(|name| is_given(name))
    };
    let mut state = match memory.filter(whole) {
        Some(state) => state,
        None => network.zero_state(batch)?,
    };
    for (name, value) in names() {
        if let (Some(value), true) = (value, state.state_names().contains(&name)) {
            state.set_part(name, 0, false, value.view())?;
        }
    }
    Ok(state)
}

/// Returns a network with the weights of `direction`, whose gates are at the places `order`.
fn network<T: Float, C: Cell<Elem = T>>(
    direction: Direction<T>,
    options: C::Options,
    order: &[usize],
) -> Result<Recurrent<C>> {
    let Direction { w, r, w_bias, r_bias, peepholes } = direction;
    let (hidden, zero) = (r.ncols(), Init::Constant(0.0));
    let builder = RecurrentBuilder::<C>::new(w.ncols(), hidden).options(options);
    let builder = builder.weight_ih(zero).weight_hh(zero).bias_init(zero);
    let mut network = builder.build(&mut ChaCha8Rng::seed_from_u64(0))?;
    let matrix = |from: &Array2<T>| -> Vec<T> {
        order.iter().flat_map(|&gate| part(from, gate, hidden)).collect()
    };
    let vector = |from: &Array1<T>| matrix(&from.clone().insert_axis(Axis(1)));
    let peephole = |index: usize| -> Vec<T> {
        let column = peepholes.clone().unwrap_or_default().insert_axis(Axis(1));
        part(&column, index, hidden).collect()
    };
    network.for_each_mut(&mut |name, mut array| {
        let values = match name {
            "weight_ih_l0" => matrix(&w),
            "weight_hh_l0" => matrix(&r),
            "bias_ih_l0" => vector(&w_bias),
            "bias_hh_l0" => vector(&r_bias),
            "weight_ci_l0" => peephole(0),
            "weight_co_l0" => peephole(1),
            _ => peephole(2),
        };
        array.iter_mut().zip(values).for_each(|(to, from)| *to = from);
    });
    Ok(network)
}

/// Returns the values of gate `gate`, row by row.
fn part<T: Float>(
    from: &Array2<T>,
    gate: usize,
    hidden: usize,
) -> impl Iterator<Item = T> + use<T> {
    let rows = from.slice_axis(Axis(0), Slice::from(gate * hidden..(gate + 1) * hidden));
    rows.iter().copied().collect::<Vec<_>>().into_iter()
}
