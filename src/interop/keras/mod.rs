//! Networks that Keras 3 has saved: `.keras` files, or a configuration with its `.weights.h5` (feature `keras`).
//!
//! A file is read into a [`KerasModel`], a chain of this crate's layers. It predicts what Keras predicts, and each layer
//! can be taken out by its name, to be trained further or streamed.
//!
//! | layer | read |
//! |---|---|
//! | `SimpleRNN`, `LSTM`, `GRU` | activations tanh and sigmoid (`SimpleRNN`: or relu); `reset_after` true or false; `use_bias`, `go_backwards`, `return_sequences` |
//! | `Bidirectional` | of these, with each merge mode but `None` |
//! | `Dense`, alone or in `TimeDistributed` | activations linear, relu, sigmoid, tanh, softmax |
//! | `Embedding`, `Masking` | `mask_zero`, `mask_value`: masked steps at the end become lengths |
//! | `LayerNormalization` | over the last axis |
//! | `Activation`, `Dropout`, `SpatialDropout1D`, `GaussianNoise`, `InputLayer` | noise is that of training, and is left out |
//!
//! Any other layer, option or graph than a chain is refused by name, and so is a weight that no layer reads. The state of
//! the optimiser is not read. Weights are `f32`. Keras keeps the gates in the order i, f, g, o (LSTM) and z, r, n
//! (GRU), and a matrix as [inputs, outputs]; the layers here have PyTorch's order and names.
//!
//! A sequence of Keras ends with the array. One that is shorter than its batch has a length here; in Keras it needs
//! a mask, without which padding is read as values.
//!
//! | file | contents |
//! |---|---|
//! | `config` | the configuration: the layers of the chain and their options |
//! | `weights` | the HDF5 file: the arrays of each layer |
//! | `recurrent` | recurrent layers, in one direction or two |
//! | `layer` | all layers, and their application |

mod config;
mod layer;
mod recurrent;
mod weights;

use std::path::Path;

use crate::error::{Error, Result};
use crate::interop::archive::{Archive, read_regular};
use crate::sequences::Sequences;
use config::Chain;
use layer::build;
use weights::Weights;

pub use layer::{KerasActivation, KerasLayer, KerasOutput};
pub use recurrent::{KerasRecurrent, Merge};

/// The name of the format in errors.
const FORMAT: &str = "Keras 3";

/// A chain of layers that Keras has trained; see the [module](self).
///
/// ```no_run
/// use recurrent::Sequences;
/// use recurrent::interop::keras::{KerasLayer, KerasModel, KerasOutput};
///
/// let model = KerasModel::open("model.keras")?;
/// let x = Sequences::full(ndarray::Array3::zeros((20, 1, 3)))?; // [time, batch, features]
/// if let KerasOutput::Rows(y) = model.predict(&x)? {
///     println!("{y}"); // [batch, outputs], the last layer before it returns no sequence
/// }
/// if let Some(KerasLayer::Lstm(lstm)) = model.layer("lstm") {
///     let stream = lstm.network.stream(1)?; // step by step
/// }
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct KerasModel {
    layers: Vec<(String, KerasLayer)>,
}

impl KerasModel {
    /// Reads a `.keras` file. The memory in use is at most 256 times its size, and 16 MiB for a node of groups in
    /// the HDF5 file, which may announce any number of entries.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is not such a file, or has a layer,
    /// an option or a weight that is not read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_regular(path, FORMAT)?;
        let mut archive = Archive::open(path, FORMAT, &bytes)?;
        let config = archive.read("config.json")?;
        let config =
            String::from_utf8(config).map_err(|_| refuse(path, "config.json: no UTF-8"))?;
        let weights = Weights::read(path, archive.read("model.weights.h5")?)?;
        Self::assemble(path, &config, weights)
    }

    /// Reads the weights in `path`, a `.weights.h5` file, of the model whose configuration is `config`, the result of
    /// Keras' `model.to_json()`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_json(config: &str, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let weights = Weights::read(path, read_regular(path, FORMAT)?)?;
        Self::assemble(path, config, weights)
    }

    fn assemble(path: &Path, config: &str, mut weights: Weights) -> Result<Self> {
        let chain = Chain::parse(path, config)?;
        let layers = chain.layers.iter().map(|of_layer| {
            let layer = build(of_layer, &mut weights.of_layer(&of_layer.name)?)?;
            Ok((of_layer.name.clone(), layer))
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        weights.check_all_read()?;
        Ok(Self { layers })
    }

    /// Returns the names of the layers, in order.
    pub fn names(&self) -> Vec<&str> {
        self.layers.iter().map(|(name, _)| &name[..]).collect()
    }

    /// Returns the layer `name`.
    pub fn layer(&self, name: &str) -> Option<&KerasLayer> {
        self.layers.iter().find(|layer| layer.0 == name).map(|(_, layer)| layer)
    }

    /// Returns the output of the last layer for `x`, [time, batch, features] or tokens for an `Embedding`.
    ///
    /// # Errors
    /// If `x` does not fit, or a mask hides a step before the last of a sequence; the error names the layer.
    pub fn predict(&self, x: &Sequences<f32>) -> Result<KerasOutput> {
        let mut value = KerasOutput::Steps(x.clone());
        for (name, layer) in &self.layers {
            value = layer.apply(value).map_err(|error| error.prefixed(&format!("{name}: ")))?;
        }
        Ok(value)
    }
}

fn refuse(path: &Path, problem: impl Into<String>) -> Error {
    Error::Format { path: path.to_owned(), format: FORMAT, problem: problem.into() }
}
