//! [`Weights`]: the weights of a file, for layers and models of this crate.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array, ArrayD, Axis, Dimension};

use crate::arrays::{Arrays, ViewsMut, check_all_finite, views_mut};
use crate::error::{Error, Result, check_shape};
use crate::float::{Float, per_float};
use crate::interop::onnx::graph::{Graph, Work, read_file};
use crate::interop::onnx::proto::Model;
use crate::interop::onnx::value::{Element, Value, each};

/// The prefix of the weights of the recurrent nodes.
const RECURRENT: &str = "recurrent.";

/// The name of this crate in the files of [`Export`](super::Export).
pub(super) const PRODUCER: &str = "recurrent";

/// The weights of an ONNX file: its constants, and those of the recurrent nodes under the names of this crate.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-arrays-{}.onnx", std::process::id()));
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::interop::onnx::{Export, Weights};
/// use recurrent::{Arrays, LstmCell, model::SequenceClassifier};
///
/// let builder = SequenceClassifier::<LstmCell<f32>>::builder(3, 2).bidirectional(true);
/// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
/// model.to_onnx(&path)?;
///
/// let mut again = model.zeros_like();
/// Weights::load(&path)?.arrays("", &mut again)?;
/// again.zip_mut("model", &model, &mut |_, a, b| assert_eq!(a, b))?;
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Debug)]
pub struct Weights {
    /// The graph, which has the networks of the recurrent nodes.
    graph: Graph,
    constants: BTreeMap<String, Value>,
    /// Whether this crate wrote the file.
    own: bool,
}

impl Weights {
    /// Reads a file that [`Graph::load`] reads. It takes at most 1000 bytes of memory for each byte of the file.
    ///
    /// # Errors
    /// As [`Graph::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        read_file(path.as_ref(), Self::new)
    }

    fn new(model: Model, bytes: usize) -> Result<Self> {
        let own = model.producer_name == PRODUCER;
        // A graph packs its constants, or drops them.
        let initializers: Vec<_> =
            model.graph.iter().flat_map(|graph| graph.initializers.clone()).collect();
        let graph = Graph::new(model, bytes)?;
        let mut constants = BTreeMap::new();
        for tensor in initializers {
            constants.insert(tensor.name.clone(), Value::read(tensor)?);
        }
        Ok(Self { graph, constants, own })
    }

    /// Returns the names of the constants, sorted.
    pub fn constants(&self) -> impl Iterator<Item = &str> {
        self.constants.keys().map(String::as_str)
    }

    /// Returns the constant `name`.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-constant-{}.onnx", std::process::id()));
    /// use ndarray::Array2;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::interop::onnx::{Export, Weights};
    /// use recurrent::{GruCell, model::SequenceTagger};
    ///
    /// let model = SequenceTagger::<GruCell<f32>>::builder(3, 2).hidden_size(8);
    /// model.build(&mut ChaCha8Rng::seed_from_u64(1))?.to_onnx(&path)?;
    /// let head: Array2<f32> = Weights::load(&path)?.constant("head.weight")?; // [inputs, outputs]
    /// assert_eq!(head.dim(), (8, 2));
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such constant, its elements have another type than `T`, or it has another number of axes.
    pub fn constant<T: Element, D: Dimension>(&self, name: &str) -> Result<Array<T, D>> {
        let Some(value) = self.constants.get(name) else {
            let names: Vec<&str> = self.constants().collect();
            return Err(Error::argument("name", format!("one of {names:?}"), name));
        };
        let array = value.array::<T>().map_err(|error| error.prefixed(&format!("{name}, ")))?;
        array.clone().into_dimensionality().map_err(|_| {
            let (expected, got) =
                (D::NDIM.unwrap_or_default(), format!("shape {:?}", array.shape()));
            Error::argument(name.to_owned(), format!("{expected} axes"), got)
        })
    }

    /// Copies the weights of the file into every array of `arrays`, by name.
    ///
    /// | weights | names |
    /// |---|---|
    /// | layer k of a network: recurrent node k of the graph | `recurrent.weight_ih_lk`, `recurrent.weight_hh_lk`, `recurrent.bias_ih_lk`, `recurrent.bias_hh_lk`, with `_reverse` for the other direction |
    /// | of a file of [`Export`](super::Export) only | `embedding.weight`, `head.weight`, `head.bias`, `pooling.query`, `condition.weight`, `condition.bias`, `recurrent.initial.h_lk` |
    ///
    /// So a model that [`Export`](super::Export) wrote comes back with its bits, and `arrays("recurrent.", &mut lstm)`
    /// takes the network of a file of PyTorch. Weights alone are copied. The options of `arrays` must be those of the
    /// graph, such as the pooling or the position of the reset gate, and scalers are not among them.
    ///
    /// # Errors
    /// If the file lacks one of the names, which are `prefix` and those of `arrays`; if a shape or an element type
    /// is another, or a value is not finite; if the file has another weight under `prefix` (biases of zeros may be left
    /// out); if a recurrent node is none that this crate has as a cell. `arrays` is then unchanged.
    pub fn arrays<T: Float, A: Arrays<Elem = T>>(
        &self,
        prefix: &str,
        arrays: &mut A,
    ) -> Result<()> {
        read(self, prefix, views_mut(arrays))
    }

    /// Returns all weights by their names.
    fn all(&self) -> Result<BTreeMap<String, Value>> {
        let recurrent = self.graph.nodes.iter().filter_map(|node| match &node.work {
            Work::Recurrent(recurrent) => Some((&node.place, recurrent)),
            _ => None,
        });
        let mut weights = BTreeMap::new();
        for (l, (place, node)) in recurrent.enumerate() {
            let arrays = node.arrays(l).map_err(|error| error.prefixed(place))?;
            let named =
                arrays.into_iter().map(|(name, value)| (format!("{RECURRENT}{name}"), value));
            weights.extend(named);
        }
        for (name, value) in self.constants.iter().filter(|_| self.own) {
            if let Some(initial) = name.strip_prefix("initial.") {
                let directions = value.shape().first().copied().unwrap_or(0);
                for (d, direction) in ["", "_reverse"].iter().enumerate().take(directions) {
                    let part =
                        each!(value, array => array.index_axis(Axis(0), d).to_owned().into());
                    weights.insert(format!("{RECURRENT}initial.{initial}{direction}"), part);
                }
                continue;
            }
            let (name, value) = match name.as_str() {
                "embedding" => ("embedding.weight", value.clone()),
                "head.weight" => ("head.weight", transposed(value)),
                "head.bias" => ("head.bias", value.clone()),
                "condition_layer.weight" => ("condition.weight", transposed(value)),
                "condition_layer.bias" => ("condition.bias", value.clone()),
                "query" => ("pooling.query", flat(value)),
                _ => continue,
            };
            weights.insert(name.to_owned(), value);
        }
        Ok(weights)
    }
}

fn transposed(value: &Value) -> Value {
    each!(value, array => array.t().as_standard_layout().into_owned().into())
}

fn flat(value: &Value) -> Value {
    each!(value, array => array.flatten().into_owned().into())
}

per_float! {
    fn read<'a, T>(file: &'a Weights, prefix: &str, arrays: ViewsMut<'a, T>) -> Result<()> = read_each;
}

fn read_each<T: Float + Element>(
    file: &Weights,
    prefix: &str,
    arrays: ViewsMut<'_, T>,
) -> Result<()> {
    let mut weights = file.all()?;
    weights.retain(|name, _| name.starts_with(prefix));
    // All weights are checked before the first array is changed.
    let mut read: Vec<ArrayD<T>> = Vec::new();
    for (name, array) in &arrays {
        let name = format!("{prefix}{name}");
        let Some(value) = weights.remove(&name) else {
            let names: Vec<&String> = weights.keys().collect();
            return Err(Error::argument(name, format!("a weight of the file: {names:?}"), "none"));
        };
        let values = value.array::<T>().map_err(|error| error.prefixed(&format!("{name}, ")))?;
        check_shape(name.clone(), "as in the bundle", array.shape(), values.shape())?;
        check_all_finite(&[(name, values.view())])?;
        read.push(values.clone());
    }
    // ONNX has one input for both biases, so the file of a network without any has zeros.
    let zeros = |array: &ArrayD<T>| array.iter().all(|&value| value == T::zero());
    let is_zero = |value: &Value| value.array::<T>().is_ok_and(zeros);
    let mut rest = weights.iter();
    if let Some((name, _)) = rest.find(|(name, value)| !(name.contains("bias") && is_zero(value))) {
        let got = format!("none for {name}");
        return Err(Error::argument("arrays", "an array for each weight of the file", got));
    }
    for ((_, mut array), values) in arrays.into_iter().zip(read) {
        array.assign(&values);
    }
    Ok(())
}
