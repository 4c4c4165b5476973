//! Recurrent layers of Keras, in one direction or two.
#![expect(clippy::indexing_slicing, reason = "a layer has one direction or two")]

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, concatenate};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::config::LayerConfig;
use super::layer::KerasOutput;
use super::merge::Merge;
use super::weights::LayerWeights;
use crate::arrays::Arrays;
use crate::cell::{Cell, GruCell, GruOptions, LstmCell, Nonlinearity, Reset, RnnCell};
use crate::error::{Result, check_size};
use crate::layer::Features;
use crate::sequence::Recurrent;
use crate::sequences::Sequences;

/// A recurrent layer: a network of one layer, and the options of Keras that are about its output.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KerasRecurrent<C: Cell<Elem = f32>> {
    /// The network, with PyTorch's order of the gates.
    pub network: Recurrent<C>,
    /// Whether the output is that of each step. Otherwise it is that of the last step, of the backward direction the
    /// one at the first step.
    pub return_sequences: bool,
    /// Whether the sequence is read from its end.
    pub go_backwards: bool,
    /// The combination of two directions.
    pub merge: Merge,
}

/// A cell that Keras has, and the way from its weights to ours.
pub(super) trait KerasCell: Cell<Elem = f32> {
    /// The class of the layer.
    const CLASS: &'static str;
    /// The position in our weights of each gate of Keras.
    const ORDER: &'static [usize];

    /// Checks the options, and returns those of the cell.
    fn options(config: &LayerConfig) -> Result<Self::Options>;

    /// Returns whether the input and the state have a bias each. Otherwise there is one, which is that of the input.
    fn two_biases(_: &LayerConfig) -> bool {
        false
    }

    /// Returns whether Keras has a bias each for the input and the state of this cell. Otherwise it has their sum.
    fn has_two_biases(&self) -> bool {
        false
    }
}

impl KerasCell for RnnCell<f32> {
    const CLASS: &'static str = "SimpleRNN";
    const ORDER: &'static [usize] = &[0];

    fn options(config: &LayerConfig) -> Result<Nonlinearity> {
        config.expect("activation", &["tanh", "relu"])?;
        let relu = config.text("activation") == Some("relu");
        Ok(if relu { Nonlinearity::Relu } else { Nonlinearity::Tanh })
    }
}

impl KerasCell for LstmCell<f32> {
    const CLASS: &'static str = "LSTM";
    const ORDER: &'static [usize] = &[0, 1, 2, 3];

    fn options(config: &LayerConfig) -> Result<Self::Options> {
        check_activations(config)?;
        Ok(Self::Options::default())
    }
}

impl KerasCell for GruCell<f32> {
    const CLASS: &'static str = "GRU";
    /// z, r, n becomes r, z, n.
    const ORDER: &'static [usize] = &[1, 0, 2];

    fn options(config: &LayerConfig) -> Result<GruOptions> {
        check_activations(config)?;
        Ok(GruOptions::new(if Self::two_biases(config) { Reset::After } else { Reset::Before }))
    }

    fn two_biases(config: &LayerConfig) -> bool {
        config.flag("reset_after", true)
    }

    fn has_two_biases(&self) -> bool {
        self.reset == Reset::After
    }
}

fn check_activations(config: &LayerConfig) -> Result<()> {
    config.expect("activation", &["tanh"])?;
    config.expect("recurrent_activation", &["sigmoid"])
}

/// The weights of a direction, in our order and with PyTorch's names.
type Direction = Vec<(&'static str, Array2<f32>)>;

/// Reads a recurrent layer in one direction.
pub(super) fn one_direction<C: KerasCell>(
    config: &LayerConfig,
    weights: &mut LayerWeights<'_>,
) -> Result<KerasRecurrent<C>> {
    let network = network::<C>(config, &[direction::<C>(config, weights.part("cell"))?])?;
    Ok(KerasRecurrent {
        network,
        return_sequences: config.flag("return_sequences", false),
        go_backwards: config.flag("go_backwards", false),
        merge: Merge::Concat,
    })
}

/// Reads a bidirectional layer.
pub(super) fn two_directions<C: KerasCell>(
    config: &LayerConfig,
    [forward, backward]: [&LayerConfig; 2],
    weights: &mut LayerWeights<'_>,
) -> Result<KerasRecurrent<C>> {
    config.expect("merge_mode", &["concat", "sum", "mul", "ave"])?;
    let merge = match config.text("merge_mode") {
        Some("sum") => Merge::Sum,
        Some("mul") => Merge::Mul,
        Some("ave") => Merge::Ave,
        _ => Merge::Concat,
    };
    if forward.flag("go_backwards", false) || !backward.flag("go_backwards", false) {
        return Err(config.refuse("expected a forward layer and one that goes backwards"));
    }
    let flags = ["use_bias", "return_sequences", "reset_after"];
    let flags_differ =
        flags.into_iter().any(|key| forward.flag(key, true) != backward.flag(key, true));
    if flags_differ || forward.text("activation") != backward.text("activation") {
        return Err(config.refuse("expected the same options in both directions"));
    }
    let directions = [
        direction::<C>(forward, weights.part("forward_layer").part("cell"))?,
        direction::<C>(backward, weights.part("backward_layer").part("cell"))?,
    ];
    Ok(KerasRecurrent {
        network: network::<C>(forward, &directions)?,
        return_sequences: forward.flag("return_sequences", false),
        go_backwards: false,
        merge,
    })
}

/// Reads the weights of a direction.
fn direction<C: KerasCell>(
    config: &LayerConfig,
    mut weights: LayerWeights<'_>,
) -> Result<Direction> {
    for key in ["stateful", "return_state"] {
        config.expect_unset(key)?;
    }
    let units = config.size("units")?;
    let rows = check_size("units × gates", &[units, C::ORDER.len()])?;
    let kernel = ordered::<C>(weights.matrix(0, [0, rows])?.t(), units);
    let recurrent = ordered::<C>(weights.matrix(1, [units, rows])?.t(), units);
    let mut all = vec![("weight_ih", kernel), ("weight_hh", recurrent)];
    if config.flag("use_bias", true) {
        let biases = if C::two_biases(config) {
            weights.matrix(2, [2, rows])?.reversed_axes()
        } else {
            let bias = weights.vector(2, rows)?.insert_axis(Axis(1));
            concatenate![Axis(1), bias, Array2::zeros((rows, 1))]
        };
        let biases = ordered::<C>(biases.view(), units);
        for (i, name) in ["bias_ih", "bias_hh"].into_iter().enumerate() {
            all.push((name, biases.column(i).insert_axis(Axis(1)).to_owned()));
        }
    }
    Ok(all)
}

/// Returns the rows of Keras' gates in our order, or of ours in Keras' order: no more than two gates change places.
#[expect(clippy::expect_used, reason = "the gates are ranges of one width")]
pub(super) fn ordered<C: KerasCell>(rows: ArrayView2<'_, f32>, units: usize) -> Array2<f32> {
    let gate = |&gate: &usize| rows.slice_axis(Axis(0), (gate * units..(gate + 1) * units).into());
    let gates: Vec<_> = C::ORDER.iter().map(gate).collect();
    concatenate(Axis(0), &gates).expect("gates of one width")
}

/// Returns a network of one layer with the given weights of each direction.
fn network<C: KerasCell>(config: &LayerConfig, directions: &[Direction]) -> Result<Recurrent<C>> {
    let [kernel, recurrent] = [0, 1].map(|i| &directions[0][i].1);
    // The initial values are replaced.
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut network = Recurrent::<C>::builder(kernel.ncols(), recurrent.ncols())
        .options(C::options(config)?)
        .bias(config.flag("use_bias", true))
        .bidirectional(directions.len() == 2)
        .build(&mut rng)?;
    for (direction, end) in directions.iter().zip(["", "_reverse"]) {
        for (name, values) in direction {
            let name = format!("{name}_l0{end}");
            let set = if name.starts_with("bias") {
                network.set(&name, values.column(0))
            } else {
                network.set(&name, values.view())
            };
            set.map_err(|error| config.refuse(error.to_string()))?;
        }
    }
    Ok(network)
}

impl<C: Cell<Elem = f32>> KerasRecurrent<C> {
    /// Returns the output of the layer.
    pub(super) fn apply(&self, x: &Sequences<f32>) -> Result<KerasOutput> {
        let (output, state) = if self.go_backwards {
            self.network.forward(&reversed(x)?, None)?
        } else {
            self.network.forward(x, None)?
        };
        if self.return_sequences {
            let values = self.merged(output.values().view());
            return Ok(KerasOutput::Steps(output.with_values(values)?));
        }
        let forward = state.part("h", 0, false)?.to_owned();
        let ends = if self.network.bidirectional() {
            forward.concat(&state.part("h", 0, true)?.to_owned())?
        } else {
            forward
        };
        let rows = self.merged(ends.view().insert_axis(Axis(0)));
        Ok(KerasOutput::Rows(rows.index_axis_move(Axis(0), 0)))
    }

    /// Combines the features of two directions; those of one stay.
    #[expect(clippy::expect_used, reason = "the halves have one shape")]
    fn merged(&self, both: ArrayView3<'_, f32>) -> Array3<f32> {
        if !self.network.bidirectional() || self.merge == Merge::Concat {
            return both.as_standard_layout().into_owned();
        }
        let (forward, backward) = both.split_at(Axis(2), both.len_of(Axis(2)) / 2);
        self.merge.combine(&[forward, backward]).expect("directions of one shape")
    }
}

/// Returns each sequence from its last step to its first.
fn reversed(x: &Sequences<f32>) -> Result<Sequences<f32>> {
    if let Some(tokens) = x.tokens() {
        let lists = x
            .lengths()
            .iter()
            .enumerate()
            .map(|(b, &length)| (0..length).rev().map(|t| tokens[[t, b]]).collect::<Vec<_>>());
        return Sequences::one_hot_from_list(&lists.collect::<Vec<_>>(), x.features());
    }
    let mut values = x.values().clone();
    for (b, &length) in x.lengths().iter().enumerate() {
        for t in 0..length {
            let step = x.values().index_axis(Axis(0), length - 1 - t);
            values.index_axis_mut(Axis(0), t).row_mut(b).assign(&step.row(b));
        }
    }
    x.with_values(values)
}
