//! Optimiser steps, clipping and cross entropy, in GB/s beside a memory copy in the same run. Each
//! array that a call reads or writes counts once. The head of a character model is measured in GF/s
//! beside the FMA peak of the machine.
#![allow(missing_docs)]

#[path = "support/measure.rs"]
mod measure;
#[path = "support/peak.rs"]
mod peak;
#[path = "support/rate.rs"]
mod rate;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use measure::{measure, short};
use ndarray::Array2;
use peak::fma_peak;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rate::{measure_rate, set_threads};
use recurrent::layer::{Layer, Linear};
use recurrent::loss::{CrossEntropy, Loss};
use recurrent::optim::{Adam, AdamW, Sgd, clip_global_norm};
use recurrent::{Arrays, Result};

/// The side of a square array of parameters, 4 million values, which exceeds the second-level cache.
const SIDE: usize = 2048;
/// The number of rows of logits.
const ROWS: usize = 2048;
/// The numbers of classes.
const CLASSES: [usize; 2] = [65, 10_000];
/// The head of a character model: rows, hidden, classes.
const HEAD: (usize, usize, usize) = (64 * 32, 256, 65);

type Group<'a> = BenchmarkGroup<'a, WallTime>;
/// An optimiser step of parameters with a gradient.
type Step<'a> = dyn FnMut(&mut Array2<f32>, &Array2<f32>) -> Result<()> + 'a;

fn random(shape: (usize, usize), seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0))
}

/// Measures `call`, which moves `bytes`, and prints its rate beside that of a `copy`. Returns the rate in
/// GB/s. Without `copy` the call itself is the copy.
fn bandwidth(
    group: &mut Group<'_>,
    name: &str,
    bytes: usize,
    copy: Option<f64>,
    call: impl FnMut(),
) -> Option<f64> {
    let seconds = measure(group, name, bytes as u64, call);
    // Infinite if the command line's filter excludes this benchmark.
    seconds.is_finite().then(|| {
        let rate = bytes as f64 / seconds * 1e-9;
        let share = 100.0 * rate / copy.unwrap_or(rate);
        println!("{name}: best {:.3} ms, {rate:.1} GB/s, {share:.0} % of a copy\n", seconds * 1e3);
        rate
    })
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("optim");
    let (mut theta, grad) = (random((SIDE, SIDE), 1), random((SIDE, SIDE), 2));
    let array = 4 * theta.len();
    let mut target = grad.clone();
    let copy = bandwidth(&mut group, "copy", 2 * array, None, || target.assign(black_box(&grad)));
    let mut step = |name: &str, arrays: usize, step: &mut Step<'_>| {
        bandwidth(&mut group, name, arrays * array, copy, || {
            assert!(step(&mut theta, &grad).is_ok());
        });
    };
    // Each step reads the gradient and the parameters, and writes the parameters ...
    let Ok(mut sgd) = Sgd::new(1e-6) else { return };
    step("SGD", 3, &mut |theta, grad| sgd.step(theta, grad));
    // ... and reads and writes each moment.
    let Ok(mut sgd) = Sgd::new(1e-6).and_then(|sgd| sgd.momentum(0.9)) else { return };
    step("SGD with momentum", 5, &mut |theta, grad| sgd.step(theta, grad));
    let mut sgd = sgd.nesterov(true);
    step("SGD with Nesterov's momentum", 5, &mut |theta, grad| sgd.step(theta, grad));
    let Ok(mut adam) = Adam::new(1e-6) else { return };
    step("Adam", 7, &mut |theta, grad| adam.step(theta, grad));
    let Ok(mut adam) = AdamW::new(1e-6, 1e-2) else { return };
    step("AdamW", 7, &mut |theta, grad| adam.step(theta, grad));

    let mut grad = grad;
    bandwidth(&mut group, "clipping, norm within the bound", array, copy, || {
        assert!(clip_global_norm(&mut grad, 1e9).is_ok());
    });
    let mut bound = 1e3;
    bandwidth(&mut group, "clipping, norm above the bound", 3 * array, copy, || {
        bound *= 0.9999;
        assert!(clip_global_norm(&mut grad, bound).is_ok());
    });
    group.finish();
}

fn cross_entropy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cross_entropy");
    for classes in CLASSES {
        let logits = random((ROWS, classes), 1) * 4.0;
        let targets: Vec<usize> = (0..ROWS).map(|row| (7 * row) % classes).collect();
        let bytes = 8 * logits.len();
        // The loss makes a new array too.
        let copy =
            bandwidth(&mut group, &format!("{classes}: copy to a new array"), bytes, None, || {
                black_box(black_box(&logits).clone());
            });
        for smoothing in [0.0, 0.1] {
            let Ok(loss) = CrossEntropy::default().label_smoothing(smoothing) else { return };
            let name = format!("{classes}: loss and gradient, smoothing {smoothing}");
            bandwidth(&mut group, &name, bytes, copy, || {
                assert!(loss.loss(&logits, &targets).is_ok());
            });
        }
    }
    group.finish();
}

fn head(criterion: &mut Criterion) {
    set_threads();
    let peak = fma_peak::<f32>();
    let mut group = criterion.benchmark_group("head");
    let (rows, hidden, classes) = HEAD;
    let Ok(head) = Linear::new(hidden, classes, &mut ChaCha8Rng::seed_from_u64(1)) else { return };
    let x = random((rows, hidden), 1);
    let d_y = random((rows, classes), 2);
    let mut grad = head.zeros_like();
    let (name, work) = (format!("[{rows}, {hidden}] to {classes}"), rows * hidden * classes);
    measure_rate(&mut group, &format!("forward, {name}"), work, peak, || {
        assert!(head.forward(&x).is_ok());
    });
    measure_rate(&mut group, &format!("backward, {name}"), 2 * work, peak, || {
        let d_x: recurrent::Result<Array2<f32>> = head.backward(x.clone(), &d_y, &mut grad);
        assert!(d_x.is_ok());
    });
    group.finish();
}

criterion_group! {
    name = optim;
    config = short().sample_size(10);
    targets = steps, cross_entropy, head
}
criterion_main!(optim);
