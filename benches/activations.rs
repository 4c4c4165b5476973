//! Activations of a slice that fits the first-level cache, in nanoseconds per value.
#![allow(missing_docs)]

#[path = "support/measure.rs"]
mod measure;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use measure::{measure, short};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::Float;
use recurrent::tensor::Level;
use recurrent::tensor::activation::{relu_slice, sigmoid_slice, tanh_slice};
use recurrent::tensor::reduce::softmax;

const LEN: usize = 1024;

/// Measures a function on a fresh copy of the values. The time includes the copy.
macro_rules! slice {
    ($group:expr, $name:expr, $values:expr, $function:ident) => {{
        let (level, mut scratch) = (Level::new(), $values.clone());
        let seconds = measure(&mut $group, $name, LEN as u64, || {
            scratch.copy_from_slice(black_box(&$values));
            $function(level, &mut scratch);
        });
        if seconds.is_finite() {
            println!("{}: best {:.3} ns per value\n", $name, seconds * 1e9 / LEN as f64);
        }
    }};
}

fn slices<T: Float>(criterion: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let values: Vec<T> = (0..LEN).map(|_| T::from_f64(rng.random_range(-4.0..4.0))).collect();
    let mut group = criterion.benchmark_group(format!("activations/{}", T::NAME));
    slice!(group, "sigmoid", values, sigmoid_slice);
    slice!(group, "tanh", values, tanh_slice);
    slice!(group, "relu", values, relu_slice);
    slice!(group, "softmax", values, softmax);
    group.finish();
}

criterion_group! {
    name = activations;
    config = short().sample_size(20);
    targets = slices::<f32>, slices::<f64>
}
criterion_main!(activations);
