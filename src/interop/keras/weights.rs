//! The HDF5 file of the weights: `layers/<group>/…/vars/<number>`, where an attribute of `vars` is the layer's name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hdf5_reader::group::Group;
use hdf5_reader::{Hdf5File, OpenOptions};
use ndarray::{Array1, Array2, ArrayD, Dimension};

use super::refuse;
use crate::error::{Error, Result};

/// The deepest nesting of groups that is read; a bidirectional layer in `TimeDistributed` has seven.
const MAX_DEPTH: usize = 12;

/// The arrays of all layers that were not read yet.
pub(super) struct Weights {
    path: PathBuf,
    /// The arrays of each layer, by their paths below its group.
    layers: BTreeMap<String, BTreeMap<String, ArrayD<f32>>>,
}

/// The arrays of one layer, or of a part of it.
pub(super) struct LayerWeights<'w> {
    path: &'w Path,
    name: String,
    prefix: String,
    arrays: &'w mut BTreeMap<String, ArrayD<f32>>,
}

impl Weights {
    pub(super) fn read(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        // Keras neither compresses nor links.
        let length = bytes.len();
        let options = OpenOptions::default().with_max_read_bytes(length);
        let problem = |error: hdf5_reader::error::Error| refuse(path, format!("weights: {error}"));
        let file = Hdf5File::from_vec_with_options(bytes, options).map_err(problem)?;
        let root = file.root_group().map_err(problem)?;
        let groups = root.groups().map_err(problem)?;
        let Some(layers) = groups.iter().find(|group| group.name() == "layers") else {
            return Err(refuse(path, "weights: no group layers, as in files before Keras 3"));
        };
        // Links could give the same bytes to many arrays.
        let mut left = length / size_of::<f32>();
        let mut weights = Self { path: path.to_owned(), layers: BTreeMap::new() };
        for group in layers.groups().map_err(problem)? {
            let name = name_of(&group).unwrap_or_else(|| group.name().to_owned());
            let mut arrays = BTreeMap::new();
            collect(&group, "", 0, &mut left, &mut arrays)
                .map_err(|error| refuse(path, format!("weights of {name}: {error}")))?;
            if weights.layers.insert(name.clone(), arrays).is_some() {
                return Err(refuse(path, format!("weights: two layers {name}")));
            }
        }
        Ok(weights)
    }

    pub(super) fn of_layer(&mut self, name: &str) -> Result<LayerWeights<'_>> {
        let arrays = self.layers.entry(name.to_owned()).or_default();
        Ok(LayerWeights { path: &self.path, name: name.to_owned(), prefix: String::new(), arrays })
    }

    /// Fails if an array was not read.
    pub(super) fn check_all_read(&self) -> Result<()> {
        for (layer, arrays) in &self.layers {
            if let Some(name) = arrays.keys().next() {
                let problem = format!("weights: no layer reads {name} of {layer}");
                return Err(refuse(&self.path, problem));
            }
        }
        Ok(())
    }
}

/// Returns the name of the layer in the attribute of the group `vars`.
fn name_of(group: &Group) -> Option<String> {
    group.group("vars").ok()?.attribute("name").ok()?.read_string().ok()
}

/// Adds the arrays below `group` to `arrays`, at most `left` values. The states of random generators, which noise
/// has, are left out.
fn collect(
    group: &Group,
    prefix: &str,
    depth: usize,
    left: &mut usize,
    arrays: &mut BTreeMap<String, ArrayD<f32>>,
) -> std::result::Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("groups deeper than {MAX_DEPTH}"));
    }
    let text = |error: hdf5_reader::error::Error| error.to_string();
    let (groups, datasets) = group.members().map_err(text)?;
    for dataset in datasets {
        let name = format!("{prefix}{}", dataset.name());
        let array = dataset.read_array::<f32>().map_err(|error| format!("{name}: {error}"))?;
        if let Some(value) = array.iter().find(|value| !value.is_finite()) {
            return Err(format!("{name}: expected finite numbers, got {value}"));
        }
        *left = left.checked_sub(array.len()).ok_or("more values than the file has")?;
        arrays.insert(name, array);
    }
    for inner in groups.iter().filter(|inner| inner.name() != "seed_generator") {
        collect(inner, &format!("{prefix}{}/", inner.name()), depth + 1, left, arrays)?;
    }
    Ok(())
}

impl LayerWeights<'_> {
    /// Returns the weights of a part of the layer.
    pub(super) fn part(&mut self, name: &str) -> LayerWeights<'_> {
        let prefix = format!("{}{name}/", self.prefix);
        LayerWeights { path: self.path, name: self.name.clone(), prefix, arrays: self.arrays }
    }

    /// Takes the matrix `vars/<index>`. A 0 in the shape stands for any size.
    pub(super) fn matrix(&mut self, index: usize, shape: [usize; 2]) -> Result<Array2<f32>> {
        self.take(index, &shape)
    }

    /// Takes the vector `vars/<index>`. The length 0 stands for any.
    pub(super) fn vector(&mut self, index: usize, length: usize) -> Result<Array1<f32>> {
        self.take(index, &[length])
    }

    fn take<D: Dimension>(
        &mut self,
        index: usize,
        shape: &[usize],
    ) -> Result<ndarray::Array<f32, D>> {
        let key = format!("{}vars/{index}", self.prefix);
        let Some(array) = self.arrays.remove(&key) else {
            return Err(self.refuse(format!("no weight {key}")));
        };
        let fits = |(&wanted, &got): (&usize, &usize)| got > 0 && (wanted == 0 || wanted == got);
        let got = array.shape().to_vec();
        if got.len() != shape.len() || !shape.iter().zip(&got).all(fits) {
            let size = |&size: &usize| if size == 0 { "any".to_owned() } else { size.to_string() };
            let shape = shape.iter().map(size).collect::<Vec<_>>().join(", ");
            return Err(self.refuse(format!("{key}: expected the shape [{shape}], got {got:?}")));
        }
        Ok(array.into_dimensionality().expect("the number of axes was compared"))
    }

    fn refuse(&self, problem: String) -> Error {
        refuse(self.path, format!("weights of {}: {problem}", self.name))
    }
}
