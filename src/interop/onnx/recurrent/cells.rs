//! [`Cells`]: one direction of a recurrent operator, on this crate's engine where it is one of its cells.

use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, Slice};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::steps::Steps;
use super::{Activation, Direction, Kind, Results, Settings};
use crate::arrays::Arrays;
use crate::cell::{Cell, GruOptions, Nonlinearity, Reset};
use crate::error::Result;
use crate::float::Float;
use crate::sequence::{
    Gru, Lstm, PeepholeLstm, Recurrent, RecurrentBuilder, Rnn, State, Workspace,
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

    /// Returns the packed weights, unless the network packs them itself.
    pub(super) fn workspace(&self) -> Option<Workspace<'_, T>> {
        network!(self, network => Some(network.workspace()), _steps => None)
    }

    /// Runs over `x` [time, batch, input] from states [batch, hidden], zeros if none are given.
    pub(super) fn forward(
        &self,
        workspace: Option<&mut Workspace<'_, T>>,
        x: Array3<T>,
        lengths: Vec<usize>,
        states: [Option<ArrayView2<'_, T>>; 2],
    ) -> Result<Results<T>> {
        let batch = lengths.len();
        let (mut state, workspace) = match (self, workspace) {
            (Self::Steps(steps), _) => {
                let owned = |state: Option<ArrayView2<'_, T>>| {
                    state.map_or_else(
                        || Array2::zeros((batch, self.hidden_size())),
                        |state| state.to_owned(),
                    )
                };
                let [h, c] = states.map(owned);
                return Ok(steps.forward(&x, &lengths, (h, c)));
            }
            (cells, Some(workspace)) => (cells.zero_state(batch)?, workspace),
            (cells, None) => {
                let workspace = &mut cells.workspace();
                let Some(workspace) = workspace else {
                    unreachable!("cells of the engine have one")
                };
                return cells.forward(Some(workspace), x, lengths, states);
            }
        };
        for (name, values) in ["h", "c"].into_iter().zip(states) {
            if let (Some(values), true) = (values, state.state_names().contains(&name)) {
                state.set_part(name, 0, false, values)?;
            }
        }
        let (output, last) = workspace.forward(&Sequences::new(x, lengths)?, Some(&state))?;
        let has_c = last.state_names().contains(&"c");
        let c = has_c.then(|| last.part("c", 0, false).map(|c| c.to_owned())).transpose()?;
        let h = last.part("h", 0, false)?.to_owned();
        Ok(Results { output: output.values().clone(), h, c })
    }

    /// Returns the width of a state.
    pub(super) fn hidden_size(&self) -> usize {
        network!(self, network => network.output_size(), steps => steps.hidden_size())
    }

    fn zero_state(&self, batch: usize) -> Result<State<T>> {
        network!(self, network => network.zero_state(batch), _steps => unreachable!("it has no such state"))
    }
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
