//! The weights of a [`Graph`], for layers and models of this crate.

use std::collections::BTreeMap;

use ndarray::{Array, ArrayD, Axis, Dimension};

use crate::arrays::{Arrays, ViewsMut, check_all_finite, views_mut};
use crate::error::{Error, Result, check_shape};
use crate::float::{Float, per_float};
use crate::interop::onnx::graph::Graph;
use crate::interop::onnx::value::{Element, Value, each};

/// The prefix of the weights of the recurrent nodes.
const RECURRENT: &str = "recurrent.";

impl Graph {
    /// Returns the names of the constants of the file that plain nodes read, sorted.
    pub fn constants(&self) -> impl Iterator<Item = &str> {
        self.named_constants().map(|(name, _)| name)
    }

    /// Returns the constant `name`.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-constant-{}.onnx", std::process::id()));
    /// use ndarray::Array2;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::interop::onnx::{Export, Graph};
    /// use recurrent::{GruCell, model::SequenceTagger};
    ///
    /// let model = SequenceTagger::<GruCell<f32>>::builder(3, 2).hidden_size(8);
    /// model.build(&mut ChaCha8Rng::seed_from_u64(1))?.to_onnx(&path)?;
    /// let head: Array2<f32> = Graph::load(&path)?.constant("head.weight")?; // [inputs, outputs]
    /// assert_eq!(head.dim(), (8, 2));
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such constant, its elements have another type than `T`, or it has another number of axes.
    pub fn constant<T: Element, D: Dimension>(&self, name: &str) -> Result<Array<T, D>> {
        let Some((_, value)) = self.named_constants().find(|&(constant, _)| constant == name)
        else {
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

    /// Copies the weights of the graph into every array of `arrays`, by name.
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
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-arrays-{}.onnx", std::process::id()));
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::interop::onnx::{Export, Graph};
    /// use recurrent::{Arrays, LstmCell, model::SequenceClassifier};
    ///
    /// let builder = SequenceClassifier::<LstmCell<f32>>::builder(3, 2).bidirectional(true);
    /// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// model.to_onnx(&path)?;
    ///
    /// let mut again = model.zeros_like();
    /// Graph::load(&path)?.arrays("", &mut again)?;
    /// again.zip_mut("model", &model, &mut |_, a, b| assert_eq!(a, b))?;
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the graph lacks one of the names, which are `prefix` and those of `arrays`; if a shape or an element type
    /// is another, or a value is not finite; if the graph has another weight under `prefix` (biases of zeros may be left
    /// out); if a recurrent node is none that this crate has as a cell. `arrays` is then unchanged.
    pub fn arrays<T: Float, A: Arrays<Elem = T>>(
        &self,
        prefix: &str,
        arrays: &mut A,
    ) -> Result<()> {
        read(self, prefix, views_mut(arrays))
    }

    fn named_constants(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.names
            .iter()
            .filter_map(|(name, &index)| Some((&name[..], self.constants[index].as_ref()?)))
    }

    /// Returns all weights by their names.
    fn weights(&self) -> Result<BTreeMap<String, Value>> {
        let mut weights = BTreeMap::new();
        for (l, (place, node)) in self.recurrent_nodes().enumerate() {
            let arrays = node.arrays(l).map_err(|error| error.prefixed(place))?;
            let named =
                arrays.into_iter().map(|(name, value)| (format!("{RECURRENT}{name}"), value));
            weights.extend(named);
        }
        for (name, value) in self.named_constants().filter(|_| self.own) {
            if let Some(initial) = name.strip_prefix("initial.") {
                for (d, direction) in ["", "_reverse"].iter().enumerate().take(value.shape()[0]) {
                    let part =
                        each!(value, array => array.index_axis(Axis(0), d).to_owned().into());
                    weights.insert(format!("{RECURRENT}initial.{initial}{direction}"), part);
                }
                continue;
            }
            let (name, value) = match name {
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
    fn read<'a, T>(graph: &'a Graph, prefix: &str, arrays: ViewsMut<'a, T>) -> Result<()> = read_each;
}

fn read_each<T: Float + Element>(
    graph: &Graph,
    prefix: &str,
    arrays: ViewsMut<'_, T>,
) -> Result<()> {
    let mut weights = graph.weights()?;
    weights.retain(|name, _| name.starts_with(prefix));
    // All weights are checked before the first array is changed.
    let mut read: Vec<ArrayD<T>> = Vec::new();
    for (name, array) in &arrays {
        let name = format!("{prefix}{name}");
        let Some(value) = weights.remove(&name) else {
            let names: Vec<&String> = weights.keys().collect();
            return Err(Error::argument(name, format!("a weight of the graph: {names:?}"), "none"));
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
        return Err(Error::argument("arrays", "an array for each weight of the graph", got));
    }
    for ((_, mut array), values) in arrays.into_iter().zip(read) {
        array.assign(&values);
    }
    Ok(())
}
