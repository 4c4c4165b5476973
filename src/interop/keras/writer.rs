//! [`KerasWeights`]: layers of this crate as a file of weights for Keras.
#![expect(clippy::indexing_slicing, reason = "a layer has one direction or two")]

use std::any::Any;
use std::collections::BTreeSet;
use std::path::Path;

use ndarray::ArrayD;

use super::contents::{ArraysByPath, Contents, LAYERS, Numbers, VARS, snake};
use super::layout::{self, CellArrays};
use super::{END_OF_WEIGHTS, check_end};
use crate::arrays::{Arrays, check_all_finite, views};
use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::io;
use crate::layer::{Embedding, LayerNorm, Linear};
use crate::sequence::Recurrent;

/// A writer of a `.weights.h5` file, which `model.load_weights(path)` of Keras 3 reads.
///
/// The layers are added in the order of the Keras model. Keras finds each by its class and its number among the
/// layers of that class, so layers without weights, such as `Dropout`, are left out. The names are for people and for
/// [`KerasModel`](super::KerasModel).
///
/// | call | layer of Keras |
/// |---|---|
/// | [`recurrent`](Self::recurrent) | `SimpleRNN`, `LSTM`, `GRU`, or `Bidirectional` of one |
/// | [`dense`](Self::dense) | `Dense`, for rows or for each step |
/// | [`time_distributed`](Self::time_distributed) | `TimeDistributed(Dense)` |
/// | [`embedding`](Self::embedding) | `Embedding` |
/// | [`layer_norm`](Self::layer_norm) | `LayerNormalization` |
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-{}.weights.h5", std::process::id()));
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::Lstm;
/// use recurrent::interop::keras::KerasWeights;
/// use recurrent::layer::Linear;
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let lstm = Lstm::<f32>::builder(3, 8).num_layers(2).bidirectional(true).build(&mut rng)?;
/// let head = Linear::<f32>::new(16, 2, &mut rng)?;
/// KerasWeights::default().recurrent("lstm", &lstm)?.dense("head", &head)?.write(&path)?;
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// ```python
/// model = keras.Sequential([
///     keras.Input((None, 3)),
///     layers.Bidirectional(layers.LSTM(8, return_sequences=True)),
///     layers.Bidirectional(layers.LSTM(8)),
///     layers.Dense(2),
/// ])
/// model.load_weights("model.weights.h5")
/// ```
#[derive(Clone, Debug)]
pub struct KerasWeights {
    contents: Contents,
    arrays: ArraysByPath,
    numbers: Numbers,
    names: BTreeSet<String>,
}

impl Default for KerasWeights {
    fn default() -> Self {
        let mut contents = Contents::default();
        contents.group("", "sequential");
        Self {
            contents,
            arrays: ArraysByPath::new(),
            numbers: Numbers::default(),
            names: BTreeSet::new(),
        }
    }
}

impl KerasWeights {
    /// Adds each layer of `network` as a layer of Keras: the first as `name`, the others as `name_1`, `name_2` and so
    /// on. Layers of two directions are `Bidirectional` with `merge_mode="concat"`.
    ///
    /// | cell | layer of Keras | kernels [inputs, gates·units] and bias |
    /// |---|---|---|
    /// | [`RnnCell`](crate::RnnCell) | `SimpleRNN` | W_ihᵀ, W_hhᵀ, b_ih + b_hh |
    /// | [`LstmCell`](crate::LstmCell) | `LSTM` | the same, gates i, f, g, o |
    /// | [`GruCell`](crate::GruCell), [`Reset::After`](crate::cell::Reset) | `GRU` | W_ihᵀ, W_hhᵀ, the rows b_ih and b_hh; gates z, r, n |
    /// | [`GruCell`](crate::GruCell), [`Reset::Before`](crate::cell::Reset) | `GRU(reset_after=False)` | W_ihᵀ, W_hhᵀ, b_ih + b_hh; gates z, r, n |
    /// | [`BuiltInCell`](crate::model::BuiltInCell) | that of its cell | |
    ///
    /// Keras has one bias where this crate has two, except in `GRU` with `reset_after`. The file has their sum. A
    /// network without biases needs `use_bias=False` in Keras, and a vanilla RNN of relu needs `activation="relu"`.
    /// Dropout is not in the file.
    ///
    /// # Errors
    /// If Keras does not have the cell (peephole, coupled, projected or layer-normalised LSTM, or a user's), residual
    /// connections, zoneout or a learned initial state; if the name is empty, has `/` or is used already; if a weight
    /// is not finite. The error names the layer and what it is.
    pub fn recurrent<C: Cell<Elem = f32> + 'static>(
        mut self,
        name: &str,
        network: &Recurrent<C>,
    ) -> Result<Self> {
        check_finite(name, network)?;
        let refuse = |what: &str, is: bool| match is {
            true => Err(Error::argument(
                format!("{name}: {what}"),
                "none: Keras has no such layer",
                "some",
            )),
            false => Ok(()),
        };
        refuse("residual connections", network.residual && network.num_layers() > 1)?;
        refuse("zoneout", network.zoneout.is_some())?;
        refuse("learned initial state", network.initial.is_some())?;
        let both = network.bidirectional();
        for (l, cells) in network.cells().chunks(1 + usize::from(both)).enumerate() {
            let name = if l == 0 { name.to_owned() } else { format!("{name}_{l}") };
            let arrays = |cell: &C| {
                let expected = "a cell that Keras has: rnn, lstm or gru";
                let argument = format!("{name}: cell");
                let of_cell = CellArrays::of(cell as &dyn Any, C::NAME);
                of_cell.map_err(|got| Error::argument(argument, expected, got))
            };
            let cells: Vec<CellArrays> = cells.iter().map(arrays).collect::<Result<_>>()?;
            let class = cells[0].class;
            let group = self.layer(if both { "Bidirectional" } else { class }, &name)?;
            if both {
                let part = snake(class);
                for direction in ["forward", "backward"] {
                    let path = format!("{group}/{direction}_layer");
                    self.contents.group(&path, &format!("{direction}_{part}"));
                }
            }
            for (path, cell) in layout::cell_paths(both).iter().zip(cells) {
                let part = format!("{}_cell", snake(class));
                let vars = self.contents.group(&format!("{group}/{path}"), &part);
                self.add(&vars, cell.arrays);
            }
        }
        Ok(self)
    }

    /// Adds a `Dense` layer: the kernel Wᵀ [inputs, units], and the bias if there is one. A layer without bias needs
    /// `use_bias=False` in Keras.
    ///
    /// # Errors
    /// If the name is empty, has `/` or is used already, or a weight is not finite.
    pub fn dense(self, name: &str, linear: &Linear<f32>) -> Result<Self> {
        self.plain("Dense", name, linear, layout::dense(linear))
    }

    /// Adds a `Dense` layer in `TimeDistributed`. `Dense` alone reads each step too.
    ///
    /// # Errors
    /// As [`dense`](Self::dense).
    pub fn time_distributed(mut self, name: &str, linear: &Linear<f32>) -> Result<Self> {
        check_finite(name, linear)?;
        let group = self.layer("TimeDistributed", name)?;
        let vars = self.contents.group(&format!("{group}/layer"), "dense");
        self.add(&vars, layout::dense(linear));
        Ok(self)
    }

    /// Adds an `Embedding` layer: its vectors [tokens, width]. A token that is padding needs `mask_zero=True` in
    /// Keras, and must be token 0.
    ///
    /// # Errors
    /// As [`dense`](Self::dense).
    pub fn embedding(self, name: &str, embedding: &Embedding<f32>) -> Result<Self> {
        self.plain("Embedding", name, embedding, layout::embedding(embedding))
    }

    /// Adds a `LayerNormalization` layer over the last axis: scale and offset. Its `epsilon` is not in the file; the
    /// default of Keras is 10⁻³, that of [`LayerNorm`] 10⁻⁵.
    ///
    /// # Errors
    /// As [`dense`](Self::dense).
    pub fn layer_norm(self, name: &str, norm: &LayerNorm<f32>) -> Result<Self> {
        self.plain("LayerNormalization", name, norm, layout::layer_norm(norm))
    }

    /// Writes the file `path`, whose name must end with `.weights.h5`. It is replaced as by
    /// [`io::save`]: there is never half of a file.
    ///
    /// # Errors
    /// [`Error::Argument`] for another name, [`Error::NonFinite`] if the sum of two biases is infinite, [`Error::Io`] if
    /// the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        check_end(path, END_OF_WEIGHTS)?;
        io::write(path, &self.contents.encode(path, &self.arrays)?)
    }

    /// Adds a layer whose arrays are in its own group.
    fn plain<A: Arrays<Elem = f32>>(
        mut self,
        class: &'static str,
        name: &str,
        layer: &A,
        arrays: Vec<ArrayD<f32>>,
    ) -> Result<Self> {
        check_finite(name, layer)?;
        let group = self.layer(class, name)?;
        self.add(&format!("{group}/{}", VARS), arrays);
        Ok(self)
    }

    /// Adds the groups of a layer without its arrays, and returns the path of the outer one.
    fn layer(&mut self, class: &'static str, name: &str) -> Result<String> {
        if name.is_empty() || name.contains(['/', '\0']) {
            let expected = "a name of at least one character, without /";
            return Err(Error::argument("name", expected, format!("{name:?}")));
        }
        if !self.names.insert(name.to_owned()) {
            let got = format!("{name:?} again");
            return Err(Error::argument("name", "a new name for each layer", got));
        }
        let path = format!("{LAYERS}/{}", self.numbers.next(class));
        self.contents.group(&path, name);
        Ok(path)
    }

    fn add(&mut self, vars: &str, arrays: Vec<ArrayD<f32>>) {
        for (i, array) in arrays.into_iter().enumerate() {
            self.arrays.insert(format!("{vars}/{i}"), array);
        }
    }
}

fn check_finite<A: Arrays<Elem = f32>>(name: &str, layer: &A) -> Result<()> {
    check_all_finite(&views(layer)).map_err(|error| error.prefixed(&format!("{name}: ")))
}
