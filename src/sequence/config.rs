//! [`RecurrentBuilder`]: the sizes and options of a network.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::arrays::check_standard_layout;
use crate::cell::{Cell, CellConfig, MAX_STATES};
use crate::error::{Error, Result, check_shape, check_size};
use crate::float::Float;
use crate::sequence::Recurrent;
use crate::sequence::state::State;
use crate::tensor::Init;

/// The sizes and options of a [`Recurrent`] network. [`build`](RecurrentBuilder::build) checks them.
///
/// | option | default | range |
/// |---|---|---|
/// | `num_layers` | 1 | at least 1 |
/// | `hidden_sizes` | `num_layers` times `hidden_size` | each at least 1 |
/// | `bidirectional` | false | |
/// | `bias` | true | |
/// | `dropout` | 0 | 0 ≤ p < 1, between layers, so 0 with one layer |
/// | `recurrent_dropout` | 0 | 0 ≤ p < 1 |
/// | `residual` | false | layers of equal width |
/// | `zoneout` | none | 0 ≤ p < 1 for each state |
/// | `learned_initial_state` | false: zeros | |
/// | `weight_ih`, `weight_hh`, `bias_init` | uniform ±1/√hidden_size | [`Init`] |
/// | `options` | the cell's default | the cell's |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "C::Options: Serialize", deserialize = "C::Options: Deserialize<'de>"))]
pub struct RecurrentBuilder<C: Cell> {
    pub(crate) input_size: usize,
    /// The widths of the layers, repeated if there are more layers.
    hidden_sizes: Vec<usize>,
    pub(crate) num_layers: usize,
    bidirectional: bool,
    bias: bool,
    dropout: f64,
    #[serde(default)]
    recurrent_dropout: f64,
    residual: bool,
    zoneout: Vec<f64>,
    learned_initial_state: bool,
    weight_ih: Option<Init>,
    weight_hh: Option<Init>,
    bias_init: Option<Init>,
    options: C::Options,
}

impl<C: Cell> RecurrentBuilder<C> {
    /// Returns a description of the options that cannot be seen in the weights.
    pub(crate) fn describe(&self) -> String {
        let Self { dropout, recurrent_dropout, residual, zoneout, options, .. } = self;
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
            num_layers: 1,
            bidirectional: false,
            bias: true,
            dropout: 0.0,
            recurrent_dropout: 0.0,
            residual: false,
            zoneout: Vec::new(),
            learned_initial_state: false,
            weight_ih: None,
            weight_hh: None,
            bias_init: None,
            options: C::Options::default(),
        }
    }

    /// Sets the number of layers, each as wide as the first.
    pub fn num_layers(mut self, num_layers: usize) -> Self {
        self.hidden_sizes.truncate(1);
        self.num_layers = num_layers;
        self
    }

    /// Sets the width of each layer, in place of `hidden_size` and `num_layers`.
    pub fn hidden_sizes(mut self, hidden_sizes: &[usize]) -> Self {
        self.hidden_sizes = hidden_sizes.to_vec();
        self.num_layers = hidden_sizes.len();
        self
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
        self.dropout = p;
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
        self.zoneout = p.to_vec();
        self
    }

    /// Adds the input of each layer after the first, after dropout, to its output. Both must have the same
    /// width (He et al., 2016; in recurrent stacks Wu et al., 2016).
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
        let of_state = |s| self.zoneout.get(s).copied().unwrap_or(0.0);
        let zoneout = Some(std::array::from_fn(of_state)).filter(|p| *p != [0.0; MAX_STATES]);
        let directions = 1 + usize::from(self.bidirectional);
        let cells = self.cells(directions, rng)?;
        let states = cells[0].states();
        if !self.zoneout.is_empty() {
            check_shape("zoneout", "states", &[states.len()], &[self.zoneout.len()])?;
        }
        let widths = |cell: &C| (0..states.len()).map(|s| cell.state_size(s)).collect();
        let no_sequences = State::of_none(states, directions, cells.iter().map(widths));
        let initial = self.learned_initial_state.then(|| no_sequences.zeros(1));
        let Self { dropout, recurrent_dropout, residual, .. } = self;
        let network = Recurrent {
            cells,
            directions,
            dropout,
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
        check_size("num_layers", &[self.num_layers])?;
        check_size("hidden_sizes", &[self.hidden_sizes.len()])?;
        for &hidden_size in &self.hidden_sizes {
            check_size("hidden_size", &[hidden_size])?;
        }
        self.weight_ih.map_or(Ok(()), |init| init.check("weight_ih"))?;
        self.weight_hh.map_or(Ok(()), |init| init.check("weight_hh"))?;
        self.bias_init.map_or(Ok(()), |init| init.check("bias_init"))?;
        let dropouts = [("dropout", self.dropout), ("recurrent_dropout", self.recurrent_dropout)];
        for (argument, p) in dropouts {
            if !(0.0..1.0).contains(&p) {
                return Err(Error::argument(argument, "0 ≤ p < 1", p));
            }
        }
        if self.dropout > 0.0 && self.num_layers == 1 {
            let expected = "0 with one layer: it acts between layers";
            return Err(Error::argument("dropout", expected, self.dropout));
        }
        if let Some(p) = self.zoneout.iter().find(|p| !(0.0..1.0).contains(*p)) {
            return Err(Error::argument("zoneout", "0 ≤ p < 1", p));
        }
        Ok(())
    }

    /// Creates the cells, layer by layer and direction by direction.
    fn cells(&self, directions: usize, rng: &mut dyn Rng) -> Result<Vec<C>> {
        let mut cells: Vec<C> = Vec::new();
        let mut input_size = self.input_size;
        for &hidden_size in self.hidden_sizes.iter().cycle().take(self.num_layers) {
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
