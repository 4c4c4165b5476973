//! Matrix products at the shapes of recurrent networks, in GF/s beside the FMA peak of the machine.
#![allow(missing_docs)]

#[path = "support/measure.rs"]
mod measure;
#[path = "support/peak.rs"]
mod peak;
#[path = "support/rate.rs"]
mod rate;

use criterion::{Criterion, criterion_group, criterion_main};
use measure::short;
use ndarray::Array2;
use peak::fma_peak;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rate::{measure_rate, set_threads};
use recurrent::Float;
use recurrent::tensor::{
    Accumulate, Level, Packed, RowRefs, Rows, RowsMut, add_outer_products, product,
};

/// The batch, the width of the state, and the rows of the weight.
const STEPS: &[(usize, usize, usize)] = &[
    (1, 32, 128),
    (1, 128, 512),
    (1, 512, 2048),
    (8, 128, 512),
    (32, 64, 256),
    (32, 128, 512),
    (32, 256, 1024),
    (64, 512, 2048),
    (128, 128, 512),
    // The head of a vocabulary, forward and backward.
    (1280, 192, 4000),
    (1280, 4000, 192),
];

/// Time × batch, and the rows and columns of the weight.
const GRADIENTS: &[(usize, usize, usize)] = &[
    (100, 128, 32),
    (100, 512, 128),
    (3200, 256, 64),
    (3200, 1024, 256),
    (3200, 2048, 512),
    (1280, 4000, 192),
];

fn random<T: Float>(shape: (usize, usize)) -> Array2<T> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    Array2::from_shape_simple_fn(shape, || T::from_f64(rng.random_range(-1.0..1.0)))
}

fn products<T: Float>(criterion: &mut Criterion) {
    set_threads();
    let (peak, level) = (fma_peak::<T>(), Level::new());
    let mut group = criterion.benchmark_group(format!("matmul/{}", T::NAME));
    for &(rows, k, n) in STEPS {
        let (a, b) = (random::<T>((rows, k)), random::<T>((k, n)));
        let mut out = vec![T::zero(); rows * n];
        let packed = Packed::new(level, b.view());
        let a_rows = Rows::new(a.as_slice().unwrap_or_default(), k);
        let name = format!("product [{rows}, {k}] · [{k}, {n}]");
        measure_rate(&mut group, &name, rows * k * n, peak, || {
            product(a_rows, &packed, Accumulate::Zero, RowsMut::new(&mut out, n));
        });
    }
    for &(rows, m, n) in GRADIENTS {
        let (a, b) = (random::<T>((rows, m)), random::<T>((rows, n)));
        let mut out = Array2::zeros((m, n));
        let gather = |values: &'_ Array2<T>| -> Vec<Vec<T>> {
            values.outer_iter().map(|row| row.to_vec()).collect()
        };
        let (a, b) = (gather(&a), gather(&b));
        let a = RowRefs::new(a.iter().map(Vec::as_slice).collect(), m);
        let b = RowRefs::new(b.iter().map(Vec::as_slice).collect(), n);
        let name = format!("outer products {rows} × [{m}] ⊗ [{n}]");
        measure_rate(&mut group, &name, rows * m * n, peak, || {
            add_outer_products(level, &a, &mut [(&b, out.view_mut())]);
        });
    }
    group.finish();
}

criterion_group! {
    name = matmul;
    config = short().sample_size(20);
    targets = products::<f32>, products::<f64>
}
criterion_main!(matmul);
