//! Fixtures: tensors made by PyTorch, in f64.

use std::path::Path;

use ndarray::{Array, ArrayD, Dimension};
use safetensors::SafeTensors;

pub(crate) struct Fixture(Vec<u8>);

impl Fixture {
    /// Opens the fixture `name`.
    pub(crate) fn open(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self(std::fs::read(root.join(format!("fixtures/{name}.safetensors"))).unwrap())
    }

    pub(crate) fn get<D: Dimension>(&self, name: &str) -> Array<f64, D> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let values = tensor.data().chunks_exact(8);
        let values = values.map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
        let array = ArrayD::from_shape_vec(tensor.shape(), values).unwrap();
        array.into_dimensionality().unwrap()
    }
}
