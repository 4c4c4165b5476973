//! [`Contents`]: what a file of weights has beside the values, and the HDF5 file of both.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use hdf5_writer::{
    AttributeBuilder, ByteOrder, DatasetBuilder, Datatype, Hdf5Builder, WriteOptions,
};
use ndarray::ArrayD;

use crate::arrays::check_all_finite;
use crate::error::{Error, Result};

/// The name of the groups that hold the arrays of a layer or of a part of one.
pub(super) const VARS: &str = "vars";
/// The group of all layers.
pub(super) const LAYERS: &str = "layers";
/// The attribute of a group `vars` that has the name of its layer or part.
pub(super) const NAME: &str = "name";

/// Arrays by their paths.
pub(super) type ArraysByPath = BTreeMap<String, ArrayD<f32>>;

/// The groups and arrays of a file. Paths begin below its root.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// The path of each group `vars`, with the name of the layer or part.
    pub(super) groups: Vec<(String, String)>,
    /// The paths of the weights.
    pub(super) weights: BTreeSet<String>,
    /// The states of random generators, which noise has.
    pub(super) states: Vec<State>,
}

/// The state of a random generator as it is in a file.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) path: String,
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<u64>,
    pub(super) bytes: Vec<u8>,
}

/// The number of layers of each class so far, by which Keras names their groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(BTreeMap<String, usize>);

impl Numbers {
    /// Returns the name of the group of the next layer of `class`: `lstm`, `lstm_1`, `lstm_2` and so on.
    pub(super) fn next(&mut self, class: &str) -> String {
        let name = snake(class);
        let count = self.0.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}_{}", *count - 1) }
    }
}

/// Returns the name of a class in paths: `lstm`, `gru`, `simple_rnn`, `time_distributed`.
pub(super) fn snake(class: &str) -> String {
    let mut name = String::new();
    let mut before = ' ';
    for letter in class.chars() {
        if letter.is_uppercase() && before.is_lowercase() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
        before = letter;
    }
    name
}

impl Contents {
    /// Adds the group `vars` in the group `path` of the layer or part `name`, and returns its path.
    pub(super) fn group(&mut self, path: &str, name: &str) -> String {
        let separator = if path.is_empty() { "" } else { "/" };
        let vars = format!("{path}{separator}{VARS}");
        self.groups.push((vars.clone(), name.to_owned()));
        vars
    }

    /// Returns the HDF5 file with the weights `arrays`. `path` is where it will be, for errors. Fails if a value is not
    /// finite, as a sum of two biases may be.
    pub(super) fn encode(&self, path: &Path, arrays: &ArraysByPath) -> Result<Vec<u8>> {
        let views: Vec<_> =
            arrays.iter().map(|(name, array)| (name.clone(), array.view())).collect();
        check_all_finite(&views)?;
        let problem = |error: hdf5_writer::Error| Error::Io {
            path: path.to_owned(),
            source: io::Error::other(error),
        };
        let mut file = Hdf5Builder::new();
        for (group, name) in &self.groups {
            file = file.group_attribute(group, AttributeBuilder::fixed_string(NAME, name));
        }
        for (name, array) in arrays {
            let shape: Vec<u64> = array.shape().iter().map(|&size| size as u64).collect();
            let order = ByteOrder::LittleEndian;
            let dataset = DatasetBuilder::typed_with_order::<f32>(name, shape, order);
            let values: Vec<f32> = array.iter().copied().collect();
            file = file.dataset(dataset.data(&values).map_err(problem)?);
        }
        for State { path, datatype, shape, bytes } in &self.states {
            let dataset = DatasetBuilder::new(path, datatype.clone(), shape.clone());
            file = file.dataset(dataset.raw_data(bytes.clone()));
        }
        let plan = file.into_plan().map_err(problem)?;
        plan.encode(WriteOptions::default()).map_err(problem)
    }
}
