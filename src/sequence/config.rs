//! [`RecurrentBuilder`]: the sizes and options of a network.

use std::fmt::Debug;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::arrays::check_standard_layout;
use crate::cell::{Cell, CellConfig, MAX_STATES};
use crate::error::{Error, Result, check_length, check_shape, check_size};
use crate::float::Float;
use crate::sequence::Recurrent;
use crate::sequence::state::State;
use crate::tensor::Init;

/// The sizes and options of a [`Recurrent`] network. [`build`](RecurrentBuilder::build) checks them.
///
/// | option | default | range |
/// |---|---|---|
/// | `num_layers` | as many as `hidden_sizes` | at least 1 |
/// | `hidden_sizes` | `hidden_size` | each at least 1; one for all layers, or one for each |
/// | `bidirectional` | false | |
/// | `bias` | true | |
/// | `dropout` | 0 | 0 ≤ p < 1, between layers, so 0 with one layer |
/// | `recurrent_dropout` | 0 | 0 ≤ p < 1; 0 of a cell without `weight_hh` |
/// | `residual` | false | layers of equal width, at least two |
/// | `zoneout` | none | 0 ≤ p < 1 for each state |
/// | `learned_initial_state` | false: zeros | |
/// | `weight_ih`, `weight_hh` | uniform ±1/√hidden_size | [`Init`] |
/// | `bias_init` | uniform ±1/√hidden_size | [`Init`]; none without bias |
/// | `options` | the cell's default | the cell's |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "C::Options: Serialize", deserialize = "C::Options: Deserialize<'de>"))]
pub struct RecurrentBuilder<C: Cell> {
    pub(crate) input_size: usize,
    /// The width of all layers, or of each.
    hidden_sizes: Vec<usize>,
    /// The number of layers, if it was set.
    num_layers: Option<usize>,
    pub(crate) bidirectional: bool,
    bias: bool,
    /// The probability of dropout, if it was set.
    pub(crate) dropout: Option<f64>,
    #[serde(default)]
    recurrent_dropout: f64,
    pub(crate) residual: bool,
    zoneout: Option<Vec<f64>>,
    pub(crate) learned_initial_state: bool,
    weight_ih: Option<Init>,
    weight_hh: Option<Init>,
    bias_init: Option<Init>,
    options: C::Options,
}

impl<C: Cell> RecurrentBuilder<C> {
    /// Returns a description of the options that cannot be seen in the weights.
    pub(crate) fn describe(&self) -> String {
        let Self { dropout, recurrent_dropout, residual, zoneout, options, .. } = self;
        let (dropout, zoneout) = (dropout.unwrap_or(0.0), zoneout.as_deref().unwrap_or(&[]));
        format!(
            "dropout: {dropout}, recurrent_dropout: {recurrent_dropout}, residual: {residual}, \
             zoneout: {zoneout:?}, options: {options:?}"
        )
    }
}

impl<T: Float, C: Cell<Elem = T>> RecurrentBuilder<C> {
    pub(crate) fn new(input_size: usize, hidden_size: usize) -> Self {
        Self {
            input_size,
            hidden_sizes: vec![hidden_size],
            num_layers: None,
            bidirectional: false,
            bias: true,
            dropout: None,
            recurrent_dropout: 0.0,
            residual: false,
            zoneout: None,
            learned_initial_state: false,
            weight_ih: None,
            weight_hh: None,
            bias_init: None,
            options: C::Options::default(),
        }
    }

    /// Sets the number of layers.
    pub fn num_layers(mut self, num_layers: usize) -> Self {
        self.num_layers = Some(num_layers);
        self
    }

    /// Sets the width of each layer, in place of `hidden_size`. A single width is that of all layers;
    /// several must be as many as `num_layers`, if that is set.
    pub fn hidden_sizes(mut self, hidden_sizes: &[usize]) -> Self {
        self.hidden_sizes = hidden_sizes.to_vec();
        self
    }

    /// Sets the width of all layers, as many as there are.
    pub(crate) fn hidden_size(self, hidden_size: usize) -> Self {
        let count = self.num_layers.or(Some(self.layers()).filter(|&count| count > 1));
        Self { num_layers: count, ..self.hidden_sizes(&[hidden_size]) }
    }

    /// Returns the number of layers.
    pub(crate) fn layers(&self) -> usize {
        self.num_layers.unwrap_or(self.hidden_sizes.len())
    }

    /// Makes each layer compute both directions of time. Its output is then [forward, reverse], of twice the
    /// width.
    pub fn bidirectional(mut self, bidirectional: bool) -> Self {
        self.bidirectional = bidirectional;
        self
    }

    /// Sets whether the cells have biases.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Sets the probability with which training drops each output of a layer before the next layer. The
    /// remaining outputs are scaled by 1 / (1 − p).
    pub fn dropout(mut self, p: f64) -> Self {
        self.dropout = Some(p);
        self
    }

    /// Sets the probability with which training drops each unit of h' in the product with W_hh, at all
    /// steps of a call (Gal and Ghahramani, 2016). The remaining units are scaled by 1 / (1 − p).
    pub fn recurrent_dropout(mut self, p: f64) -> Self {
        self.recurrent_dropout = p;
        self
    }

    /// Sets the probability with which each value of a state keeps its old value at a step of training
    /// (Krueger et al., 2017). `p` has one for each of the cell's states: h, and c of an LSTM. Inference
    /// computes the mean p·old + (1 − p)·new.
    pub fn zoneout(mut self, p: &[f64]) -> Self {
        self.zoneout = Some(p.to_vec());
        self
    }

    /// Adds the input of each layer after the first, after dropout, to its output. There must be such a
    /// layer, and both must have the same width (He et al., 2016; in recurrent stacks Wu et al., 2016).
    pub fn residual(mut self, residual: bool) -> Self {
        self.residual = residual;
        self
    }

    /// Makes the initial state a parameter, initialised to zero. It is used by calls without an `initial`.
    pub fn learned_initial_state(mut self, learned: bool) -> Self {
        self.learned_initial_state = learned;
        self
    }

    /// Sets the initialiser of W_ih, applied to each gate.
    pub fn weight_ih(mut self, init: Init) -> Self {
        self.weight_ih = Some(init);
        self
    }

    /// Sets the initialiser of W_hh, applied to each gate.
    pub fn weight_hh(mut self, init: Init) -> Self {
        self.weight_hh = Some(init);
        self
    }

    /// Sets the initialiser of both biases.
    pub fn bias_init(mut self, init: Init) -> Self {
        self.bias_init = Some(init);
        self
    }

    /// Sets the cell's own options.
    pub fn options(mut self, options: C::Options) -> Self {
        self.options = options;
        self
    }

    /// Builds the network with parameters drawn from `rng`.
    ///
    /// # Errors
    /// If an option is outside its range, or an array of the cell has another than standard layout.
    pub fn build(self, rng: &mut dyn Rng) -> Result<Recurrent<C>> {
        self.check()?;
        let of_states = self.zoneout.as_deref().unwrap_or(&[]);
        let of_state = |s| of_states.get(s).copied().unwrap_or(0.0);
        let zoneout = Some(std::array::from_fn(of_state)).filter(|p| *p != [0.0; MAX_STATES]);
        let directions = 1 + usize::from(self.bidirectional);
        let cells = self.cells(directions, rng)?;
        let states = cells[0].states();
        if self.zoneout.is_some() {
            check_shape("zoneout", "states", &[states.len()], &[of_states.len()])?;
        }
        let widths = |cell: &C| (0..states.len()).map(|s| cell.state_size(s)).collect();
        let no_sequences = State::of_none(states, directions, cells.iter().map(widths));
        let initial = self.learned_initial_state.then(|| no_sequences.zeros(1));
        let Self { dropout, recurrent_dropout, residual, .. } = self;
        let network = Recurrent {
            cells,
            directions,
            dropout: dropout.unwrap_or(0.0),
            recurrent_dropout,
            residual,
            zoneout,
            no_sequences,
            initial,
        };
        if recurrent_dropout > 0.0 && !network.has_columns() {
            let expected = "0 of a cell without weight_hh";
            return Err(Error::argument("recurrent_dropout", expected, recurrent_dropout));
        }
        Ok(network)
    }

    /// Fails if an option is outside its range. The cells check their own options.
    fn check(&self) -> Result<()> {
        check_size("input_size", &[self.input_size])?;
        let (layers, widths) = (self.layers(), self.hidden_sizes.len());
        check_length("num_layers", layers)?;
        check_size("hidden_sizes", &[widths])?;
        self.hidden_sizes.iter().try_for_each(|&w| check_size("hidden_size", &[w]).map(|_| ()))?;
        self.weight_ih.map_or(Ok(()), |init| init.check("weight_ih"))?;
        self.weight_hh.map_or(Ok(()), |init| init.check("weight_hh"))?;
        self.bias_init.map_or(Ok(()), |init| init.check("bias_init"))?;
        let dropout = self.dropout.unwrap_or(0.0);
        let of_states = self.zoneout.iter().flatten().map(|&p| ("zoneout", p));
        let dropouts = [("dropout", dropout), ("recurrent_dropout", self.recurrent_dropout)];
        for (argument, p) in dropouts.into_iter().chain(of_states) {
            if !(0.0..1.0).contains(&p) {
                return Err(Error::argument(argument, "0 ≤ p < 1", p));
            }
        }
        let refuse = |argument: &'static str, expected: &str, got: &dyn Debug| {
            Err(Error::argument(argument, expected, format!("{got:?}")))
        };
        if widths > 1 && widths != layers {
            return refuse("num_layers", &format!("{widths}, as many as hidden_sizes"), &layers);
        }
        if dropout > 0.0 && layers == 1 {
            return refuse("dropout", "0 with one layer: it acts between layers", &dropout);
        }
        if self.residual && layers == 1 {
            return refuse("residual", "false with one layer: it acts after the first", &true);
        }
        match self.bias_init {
            Some(init) if !self.bias => refuse("bias_init", "none without bias", &init),
            _ => Ok(()),
        }
    }

    /// Creates the cells, layer by layer and direction by direction.
    fn cells(&self, directions: usize, rng: &mut dyn Rng) -> Result<Vec<C>> {
        let mut cells: Vec<C> = Vec::new();
        let mut input_size = self.input_size;
        for &hidden_size in self.hidden_sizes.iter().cycle().take(self.layers()) {
            let mut config =
                CellConfig { bias: self.bias, ..CellConfig::new(input_size, hidden_size) };
            config.weight_ih = self.weight_ih.unwrap_or(config.weight_ih);
            config.weight_hh = self.weight_hh.unwrap_or(config.weight_hh);
            config.bias_init = self.bias_init.unwrap_or(config.bias_init);
            let mut output_size = 0;
            for _ in 0..directions {
                let cell = C::new(&config, &self.options, rng)?;
                check_standard_layout(&cell)?;
                output_size += cell.state_size(0);
                cells.push(cell);
            }
            if self.residual && cells.len() > directions && output_size != input_size {
                let expected = format!("layers of equal width, {input_size} after the first");
                return Err(Error::argument("residual", expected, output_size));
            }
            input_size = output_size;
        }
        Ok(cells)
    }
}
