//! Tests of `interop::pytorch`. `tests/fixtures/generate_pytorch_files.py` makes the fixtures.

mod layers;
mod memory;
mod models;
mod names;
mod refused;
mod unaligned;
mod views;

use std::path::PathBuf;

pub(crate) use layers::same;

use ndarray::{Array, ArrayD, Dimension};
use recurrent::interop::pytorch::StateDict;
use recurrent::{Float, Result, Sequences};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch").join(name)
}

pub(crate) fn fixture(name: &str) -> StateDict {
    StateDict::open(path(name)).unwrap()
}

/// Returns the largest difference that a result may have from that of PyTorch.
pub(crate) fn tolerance<T: Float>() -> f64 {
    if T::NAME == "f64" { 1e-12 } else { 1e-6 }
}

/// Compares `y` with the outputs of PyTorch.
fn compare<T: Float, D: Dimension>(name: &str, y: &Array<T, D>, expected: &ArrayD<T>) {
    assert_eq!(y.shape(), expected.shape(), "{name}");
    let errors = y.iter().zip(expected).map(|(y, e)| (y.as_f64() - e.as_f64()).abs());
    let worst = errors.fold(0.0, |worst, e| if e > worst || e.is_nan() { e } else { worst });
    println!("{name} {}: {worst:.1e}", T::NAME);
    assert!(worst <= tolerance::<T>(), "{name} in {}: {worst:.1e}", T::NAME);
}

pub(crate) fn lengths(file: &StateDict) -> Vec<usize> {
    let lengths = file.integers::<ndarray::Ix1>("lengths").unwrap();
    lengths.iter().map(|&length| length as usize).collect()
}

/// Returns the input `name`: values [time, batch, features], or tokens [time, batch] of that many classes.
fn input<T: Float>(file: &StateDict, name: &str, classes: usize) -> Result<Sequences<T>> {
    match file.integers::<ndarray::Ix2>(name) {
        Ok(tokens) => {
            Sequences::one_hot(tokens.mapv(|token| token as usize).view(), classes, lengths(file))
        }
        Err(_) => Sequences::new(file.array(name)?, lengths(file)),
    }
}
