//! The HDF5 file of the weights: `layers/<group>/…/vars/<number>`. A group is found by the class of its layer and its number
//! among those of the class, as in Keras; the name of the layer, an attribute of `vars`, may be that of another copy of
//! the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions};
use ndarray::{Array1, Array2, ArrayD, Dimension};

use super::contents::{Contents, LAYERS, NAME, State, VARS};
use super::refuse;
use crate::error::{Error, Result, shaped};

/// The deepest nesting of groups that is read; a bidirectional layer in `TimeDistributed` has seven.
const MAX_DEPTH: usize = 12;

/// The number of bytes of paths and of groups, for each byte of a file, that are read.
const MAX_PATHS: usize = 16;

/// The number of bytes that a group or an array takes beside its path.
const GROUP: usize = 64;

/// The group of the states of random generators, which noise has.
const NOISE: &str = "seed_generator";

/// The arrays of all layers that were not read yet.
pub(super) struct Weights {
    path: PathBuf,
    /// The arrays of each layer, by the name of its group.
    layers: BTreeMap<String, Arrays>,
    /// The groups, and the paths of all arrays.
    pub(super) contents: Contents,
}

/// Arrays by their paths below the group of a layer.
type Arrays = BTreeMap<String, ArrayD<f32>>;

/// The arrays of one layer, or of a part of it.
pub(super) struct LayerWeights<'w> {
    path: &'w Path,
    name: String,
    prefix: String,
    arrays: &'w mut Arrays,
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
        let Some(layers) = groups.iter().find(|group| group.name() == LAYERS) else {
            return Err(refuse(path, "weights: no group layers, as in files before Keras 3"));
        };
        let mut reader = Reader {
            contents: Contents::default(),
            values: length / size_of::<f32>(),
            paths: length.saturating_mul(MAX_PATHS),
        };
        reader.contents.group("", &name_of(&root).unwrap_or_default());
        let mut all = BTreeMap::new();
        for group in layers.groups().map_err(problem)? {
            let name = group.name();
            let mut arrays = Arrays::new();
            reader
                .collect(&group, (&format!("{LAYERS}/{name}"), ""), &mut arrays)
                .map_err(|error| refuse(path, format!("weights of {name}: {error}")))?;
            if all.insert(name.to_owned(), arrays).is_some() {
                return Err(refuse(path, format!("weights: two groups {name}")));
            }
        }
        Ok(Self { path: path.to_owned(), layers: all, contents: reader.contents })
    }

    /// Returns the arrays in the group `group` of the layer `name`, none if there is no such group.
    pub(super) fn of_layer(&mut self, group: &str, name: &str) -> LayerWeights<'_> {
        let arrays = self.layers.entry(group.to_owned()).or_default();
        LayerWeights { path: &self.path, name: name.to_owned(), prefix: String::new(), arrays }
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

/// Returns the name of the layer or part in the attribute of the group `vars`.
fn name_of(group: &Group) -> Option<String> {
    group.group(VARS).ok()?.attribute(NAME).ok()?.read_string().ok()
}

/// The parts of a file that have been read. Links could give the same bytes to many arrays, so their number is bounded.
struct Reader {
    contents: Contents,
    /// The number of values that may still be read.
    values: usize,
    /// The number of bytes that further paths may have.
    paths: usize,
}

impl Reader {
    /// Adds the arrays below `group` to `arrays`. The path of `group` is that of the group of its layer and the rest.
    fn collect(
        &mut self,
        group: &Group,
        (place, rest): (&str, &str),
        arrays: &mut Arrays,
    ) -> std::result::Result<(), String> {
        if rest.matches('/').count() > MAX_DEPTH {
            return Err(format!("groups deeper than {MAX_DEPTH}"));
        }
        let text = |error: hdf5_reader::error::Error| error.to_string();
        let (groups, datasets) = group.members().map_err(text)?;
        for dataset in datasets {
            let name = format!("{rest}{}", dataset.name());
            self.spend(place, &name)?;
            let path = format!("{place}/{name}");
            if rest.split('/').any(|part| part == NOISE) {
                self.state(path, &dataset).map_err(|error| format!("{name}: {error}"))?;
                continue;
            }
            let array = dataset.read_array::<f32>().map_err(|error| format!("{name}: {error}"))?;
            if let Some(value) = array.iter().find(|value| !value.is_finite()) {
                return Err(format!("{name}: expected finite numbers, got {value}"));
            }
            let left = self.values.checked_sub(array.len());
            self.values = left.ok_or("more values than the file has")?;
            self.contents.weights.insert(path);
            arrays.insert(name, array);
        }
        for inner in groups {
            let name = format!("{rest}{}/", inner.name());
            self.spend(place, &name)?;
            if inner.name() == VARS {
                let layer = name_of(group).unwrap_or_else(|| group.name().to_owned());
                self.spend(&layer, "")?;
                self.contents.groups.push((format!("{place}/{rest}{VARS}"), layer));
            }
            self.collect(&inner, (place, &name), arrays)?;
        }
        Ok(())
    }

    /// Takes the memory of a group or an array. Fails if the file is too small to have that many.
    fn spend(&mut self, place: &str, rest: &str) -> std::result::Result<(), String> {
        let left = self.paths.checked_sub(place.len() + rest.len() + GROUP);
        self.paths = left.ok_or("more groups than the file has")?;
        Ok(())
    }

    /// Keeps the state of a random generator as it is.
    fn state(&mut self, path: String, dataset: &Dataset) -> std::result::Result<(), String> {
        let datatype = dataset.dtype().clone();
        if !matches!(datatype, Datatype::FixedPoint { .. }) {
            return Err("expected integers".to_owned());
        }
        let bytes = dataset.read_raw_bytes().map_err(|error| error.to_string())?;
        let left = self.values.checked_sub(bytes.len().div_ceil(size_of::<f32>()));
        self.values = left.ok_or("more values than the file has")?;
        let shape = dataset.shape().to_vec();
        self.contents.states.push(State { path, datatype, shape, bytes });
        Ok(())
    }
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
        shaped(key, array.into_dimensionality())
    }

    fn refuse(&self, problem: String) -> Error {
        refuse(self.path, format!("weights of {}: {problem}", self.name))
    }
}
