//! Networks from and for Keras 3: `.keras` files, or a configuration with its `.weights.h5` (feature `keras`).
//!
//! A file is read into a [`KerasModel`], a graph of this crate's layers with one input and one output. It predicts what Keras predicts, and each layer
//! can be taken out by its name, to be trained further. [`KerasModel::stream`] runs a chain that is forward in time step
//! by step. [`KerasModel::save`] writes it back with new
//! weights. [`KerasWeights`] writes layers of this crate for a model that is defined in Keras.
//!
//! | layer | read |
//! |---|---|
//! | `SimpleRNN`, `LSTM`, `GRU` | activations tanh and sigmoid (`SimpleRNN`: or relu); `reset_after` true or false; `use_bias`, `go_backwards`, `return_sequences` |
//! | `Bidirectional` | of these, with each merge mode but `None` |
//! | `Dense`, alone or in `TimeDistributed` | activations linear, relu, sigmoid, tanh, softmax |
//! | `Embedding`, `Masking` | `mask_zero`, `mask_value`: masked steps at the end become lengths |
//! | `LayerNormalization` | over the last axis |
//! | `Add`, `Multiply`, `Average`, `Concatenate` | of branches, over the last axis |
//! | `Activation`, `Dropout`, `SpatialDropout1D`, `GaussianNoise`, `InputLayer` | noise is that of training, and is left out |
//!
//! Any other layer or option is refused by name, and so are several inputs or outputs, shared layers and a weight that no layer reads. The state of
//! the optimiser is not read. Weights are `f32`. Keras keeps the gates in the order i, f, g, o (LSTM) and z, r, n
//! (GRU), and a matrix as [inputs, outputs]; the layers here have PyTorch's order and names. Keras has one bias where
//! these have two, except in `GRU` with `reset_after`: it is read as b_ih beside a b_hh of zeros, and b_ih + b_hh is
//! written.
//!
//! A sequence of Keras ends with the array. One that is shorter than its batch has a length here; in Keras it needs
//! a mask, without which padding is read as values.
//!
//! | file | contents |
//! |---|---|
//! | `config` | the configuration: the layers, what each reads, and their options |
//! | `weights` | the HDF5 file: the arrays of each layer |
//! | `contents` | the groups of the HDF5 file, and the file that is written |
//! | `layout` | the arrays of a layer as Keras keeps them |
//! | `writer` | [`KerasWeights`] |
//! | `recurrent` | recurrent layers, in one direction or two |
//! | `merge` | [`Merge`]: the combination of directions and of branches |
//! | `layer` | all layers, and their application |
//! | `stream` | [`KerasStream`] |

mod config;
mod contents;
mod layer;
mod layout;
mod merge;
mod recurrent;
mod stream;
mod weights;
mod writer;

use std::path::Path;

use crate::arrays::{Arrays, Visit, VisitMut, check_all_finite, check_structure, views, views_mut};
use crate::error::{Error, Result};
use crate::interop::archive::{Archive, read_regular, zipped};
use crate::io;
use crate::sequences::Sequences;
use config::Layers;
use contents::{ArraysByPath, Contents, LAYERS, Numbers, VARS};
use layer::{INNER, TIME_DISTRIBUTED, build};
use weights::Weights;

pub use layer::{KerasActivation, KerasLayer, KerasOutput};
pub use merge::Merge;
pub use recurrent::KerasRecurrent;
pub use stream::KerasStream;
pub use writer::KerasWeights;

/// The name of the format in errors.
const FORMAT: &str = "Keras 3";

/// The entries of a `.keras` file.
const METADATA: &str = "metadata.json";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.weights.h5";

/// The end of the name of a file of weights.
const END_OF_WEIGHTS: &str = ".weights.h5";

/// The metadata of a model that was not in a `.keras` file.
const NO_METADATA: &[u8] = br#"{"keras_version": "3.0.0", "date_saved": "1980-01-01@00:00:00"}"#;

/// A graph of layers that Keras has trained, with one input and one output; see the [module](self).
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
    /// The layers, each after those that it reads.
    layers: Vec<Named>,
    /// The place of the layer whose output is that of the model.
    output: usize,
    /// The configuration, as it was read.
    config: String,
    /// The entry `metadata.json` of a `.keras` file.
    metadata: Option<Vec<u8>>,
    contents: Contents,
}

/// A layer with its name.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    layer: KerasLayer,
    /// The places of the layers that this one reads; none if it reads the input of the model.
    inputs: Vec<usize>,
    /// The path of the group of its arrays in the file of weights.
    group: String,
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
        let config = archive.read(CONFIG)?;
        let config =
            String::from_utf8(config).map_err(|_| refuse(path, "config.json: no UTF-8"))?;
        let weights = Weights::read(path, archive.read(WEIGHTS)?)?;
        let has_metadata = archive.names()?.iter().any(|name| name == METADATA);
        let metadata = has_metadata.then(|| archive.read(METADATA)).transpose()?;
        Ok(Self { metadata, ..Self::assemble(path, &config, weights)? })
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
        let read = Layers::parse(path, config)?;
        let mut numbers = Numbers::default();
        let layers = read.layers.iter().map(|of_layer| {
            let (name, group) = (of_layer.name.clone(), numbers.next(&of_layer.class));
            let layer = build(of_layer, &mut weights.of_layer(&group, &name))?;
            let outer = format!("{LAYERS}/{group}");
            let group = match of_layer.class.as_str() {
                TIME_DISTRIBUTED => format!("{outer}/{INNER}"),
                _ => outer,
            };
            Ok(Named { name, layer, inputs: of_layer.inputs.clone(), group })
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        weights.check_all_read()?;
        let contents = weights.contents;
        let (output, config) = (read.output, config.to_owned());
        Ok(Self { layers, output, config, metadata: None, contents })
    }

    /// Returns the names of the layers, in order.
    pub fn names(&self) -> Vec<&str> {
        self.layers.iter().map(|layer| layer.name.as_str()).collect()
    }

    /// Returns the layer `name`.
    pub fn layer(&self, name: &str) -> Option<&KerasLayer> {
        self.layers.iter().find(|layer| layer.name == name).map(|named| &named.layer)
    }

    /// Returns the output of the model for `x`, [time, batch, features] or tokens for an `Embedding`.
    ///
    /// # Errors
    /// If `x` does not fit, a mask hides a step before the last of a sequence, or layers that are combined have other
    /// shapes or lengths; the error names the layer.
    #[expect(
        clippy::indexing_slicing,
        reason = "the inputs of a layer are layers before it, as was checked"
    )]
    pub fn predict(&self, x: &Sequences<f32>) -> Result<KerasOutput> {
        let mut uses = vec![0; self.layers.len()];
        uses[self.output] = 1;
        self.layers.iter().flat_map(|layer| &layer.inputs).for_each(|&place| uses[place] += 1);
        let mut values: Vec<Option<KerasOutput>> = Vec::new();
        for Named { name, layer, inputs, .. } in &self.layers {
            let mut input = |&place: &usize| {
                uses[place] -= 1;
                if uses[place] == 0 { values[place].take() } else { values[place].clone() }
            };
            let inputs = match inputs.is_empty() {
                true => vec![KerasOutput::Steps(x.clone())],
                false => inputs.iter().filter_map(&mut input).collect(),
            };
            let value = layer.apply_to(inputs);
            values.push(Some(value.map_err(|error| error.prefixed(&format!("{name}: ")))?));
        }
        let output = values.swap_remove(self.output);
        output.ok_or_else(|| Error::argument("output", "the value of a layer", "one that was used"))
    }

    /// Creates a stream of `batch` sequences, whose states are zero.
    ///
    /// ```no_run
    /// use recurrent::interop::keras::KerasModel;
    ///
    /// let model = KerasModel::open("model.keras")?;
    /// let mut stream = model.stream(1)?;
    /// for x_t in [ndarray::array![[0.5, 1.0]], ndarray::array![[0.0, -1.0]]] {
    ///     println!("{}", stream.step(x_t.view())?); // [batch, outputs]
    /// }
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model has branches, a layer is bidirectional or goes backwards, an `Embedding` or `Masking` layer is not the first one, or a layer
    /// reads another width than the layer before has; the error names the layer. If `batch` is too large to be addressed.
    pub fn stream(&self, batch: usize) -> Result<KerasStream<'_>> {
        for (place, Named { name, inputs, .. }) in self.layers.iter().enumerate() {
            if !inputs.iter().copied().eq(place.checked_sub(1)) {
                let argument = format!("{name}: input");
                let expected = "the output of the layer before, for a stream";
                return Err(Error::argument(argument, expected, "another"));
            }
        }
        KerasStream::new(self.layers.iter().map(|named| (named.name.as_str(), &named.layer)), batch)
    }

    /// Replaces the weights of the layer `name` by those of `weights`, a layer or network of the same sizes, for example
    /// after further training. Its options stay those of the configuration.
    ///
    /// ```no_run
    /// use recurrent::interop::keras::{KerasLayer, KerasModel};
    ///
    /// let mut model = KerasModel::open("model.keras")?;
    /// let Some(KerasLayer::Lstm(layer)) = model.layer("lstm") else { panic!("no LSTM") };
    /// let mut lstm = layer.network.clone();
    /// // Further training of `lstm`.
    /// model.set_layer("lstm", &lstm)?;
    /// model.save("trained.keras")?; // keras.saving.load_model("trained.keras")
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no such layer, [`Error::Structure`] if `weights` has arrays of other names or
    /// shapes, [`Error::NonFinite`] if a value is NaN or infinite. Nothing is changed then.
    pub fn set_layer<A: Arrays<Elem = f32>>(&mut self, name: &str, weights: &A) -> Result<()> {
        let expected = format!("one of {:?}", self.names());
        let Some(named) = self.layers.iter_mut().find(|layer| layer.name == name) else {
            return Err(Error::argument("name", expected, name));
        };
        let weights = views(weights);
        check_structure("weights", &views(&named.layer), &weights)?;
        check_all_finite(&weights)?;
        for ((_, mut to), (_, from)) in views_mut(&mut named.layer).into_iter().zip(weights) {
            to.assign(&from);
        }
        Ok(())
    }

    /// Writes a `.keras` file, which `keras.saving.load_model(path)` reads. The configuration is the one that was read,
    /// byte by byte.
    ///
    /// The file is replaced as by [`io::save`]: there is never half of a file. The state of the
    /// optimiser, which is not read, is not in it: Keras warns, and starts the optimiser anew. Two biases of this
    /// crate become their sum where Keras has one ([`KerasWeights::recurrent`]).
    ///
    /// # Errors
    /// [`Error::Argument`] if `path` does not end with `.keras`, or a weight has no place in the file: the offset of a
    /// `LayerNormalization` with `center=False` that is no longer zero; [`Error::NonFinite`] if a value is NaN or
    /// infinite; [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        check_end(path, ".keras")?;
        let weights = self.contents.encode(path, &self.arrays()?)?;
        let metadata = self.metadata.as_deref().unwrap_or(NO_METADATA);
        let entries = [(METADATA, metadata), (CONFIG, self.config.as_bytes()), (WEIGHTS, &weights)];
        io::write(path, &zipped(path, entries, false)?)
    }

    /// Writes a `.weights.h5` file, which Keras' `model.load_weights(path)` reads.
    ///
    /// # Errors
    /// As [`save`](Self::save); `path` must end with `.weights.h5`.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        check_end(path, END_OF_WEIGHTS)?;
        io::write(path, &self.contents.encode(path, &self.arrays()?)?)
    }

    /// Returns the arrays of all layers by their paths, in Keras' layout.
    fn arrays(&self) -> Result<ArraysByPath> {
        let mut arrays = ArraysByPath::new();
        for Named { name, layer, group, .. } in &self.layers {
            for (part, of_part) in layout::parts(layer) {
                let vars = if part.is_empty() { VARS.to_owned() } else { format!("{part}/{VARS}") };
                for (i, array) in of_part.into_iter().enumerate() {
                    let path = format!("{group}/{vars}/{i}");
                    if self.contents.weights.contains(&path) {
                        arrays.insert(path, array);
                    } else if array.iter().any(|&value| value != 0.0) {
                        let expected = "zeros: the Keras layer does not have it";
                        return Err(Error::argument(
                            format!("{name}: {vars}/{i}"),
                            expected,
                            "others",
                        ));
                    }
                }
            }
        }
        Ok(arrays)
    }
}

/// The names of the arrays are those of the layers, a dot, and the names within the layer: `lstm.weight_ih_l0`.
impl Arrays for KerasModel {
    type Elem = f32;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, f32>) {
        for Named { name, layer, .. } in &self.layers {
            layer.for_each(&mut |of_layer, array| f(&format!("{name}.{of_layer}"), array));
        }
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, f32>) {
        for Named { name, layer, .. } in &mut self.layers {
            layer.for_each_mut(&mut |of_layer, array| f(&format!("{name}.{of_layer}"), array));
        }
    }
}

/// Fails unless the name of the file `path` ends with `end`, by which Keras knows its files.
fn check_end(path: &Path, end: &str) -> Result<()> {
    if path.as_os_str().as_encoded_bytes().ends_with(end.as_bytes()) {
        return Ok(());
    }
    Err(Error::argument("path", format!("a name that ends with {end}"), path.display()))
}

fn refuse(path: &Path, problem: impl Into<String>) -> Error {
    Error::Format { path: path.to_owned(), format: FORMAT, problem: problem.into() }
}
