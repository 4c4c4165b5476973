//! CTC at 200 steps, 32 sequences, 30 classes and 30 labels: loss, gradient, and decoding.
//!
//!     cargo bench --bench ctc
//!
//! `RAYON_NUM_THREADS` is the number of threads. `peers/ctc.py` measures the loss with its gradient beside
//! PyTorch's.
#![allow(missing_docs)]

#[path = "support/measure.rs"]
mod measure;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use measure::{measure, short};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::decode::ctc::{PrefixBeam, align, greedy};
use recurrent::loss::{Ctc, Loss};
use recurrent::memory::Reserve;
use recurrent::{Float, Sequences};

const SHAPE: (usize, usize, usize) = (200, 32, 30);
const LABELS: usize = 30;

/// Logits whose labels are mostly clear, as after some training, and the labels.
fn batch<T: Float>() -> (Sequences<T>, Vec<Vec<usize>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (time, batch, classes) = SHAPE;
    let mut label = |_| rng.random_range(1..classes);
    let labels: Vec<Vec<usize>> =
        (0..batch).map(|_| (0..LABELS).map(&mut label).collect()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let logits = Array3::from_shape_fn((time, batch, classes), |(t, b, k)| {
        // Two steps in six say the label.
        let class = if t % 6 < 2 { labels[b].get(t / 6).copied().unwrap_or(0) } else { 0 };
        let clear = if k == class { 4.0 } else { 0.0 };
        T::from_f64(clear + rng.random_range(-2.0..2.0))
    });
    (Sequences::full(logits).expect("sizes above zero"), labels)
}

fn all<T: Float>(criterion: &mut Criterion) {
    let _reserve = Reserve::default();
    let (logits, labels) = batch::<T>();
    let steps = (SHAPE.0 * SHAPE.1) as u64;
    let mut group = criterion.benchmark_group(format!("ctc/{}", T::NAME));
    let mut show = |name: &str, call: &mut dyn FnMut()| {
        let seconds = measure(&mut group, name, steps, call);
        if seconds.is_finite() {
            println!("{name}: best {:.3} ms\n", seconds * 1e3);
        }
    };
    let (ctc, beam) = (Ctc::new(0), PrefixBeam::new(0, 10).expect("a width above zero"));
    let loss = || ctc.losses(black_box(&logits), &labels).expect("labels that fit");
    show("loss", &mut || drop(black_box(loss())));
    let gradient = || ctc.loss(black_box(&logits), &labels).expect("labels that fit");
    show("loss and gradient", &mut || drop(black_box(gradient())));
    show("greedy", &mut || drop(black_box(greedy(&logits, 0).expect("finite logits"))));
    show("prefix beam of width 10", &mut || {
        drop(black_box(beam.decode(&logits).expect("finite logits")));
    });
    show("alignment", &mut || {
        drop(black_box(align(&logits, &labels, 0).expect("labels that fit")));
    });
    group.finish();
}

criterion_group! {
    name = ctc;
    config = short().sample_size(20);
    targets = all::<f32>, all::<f64>
}
criterion_main!(ctc);
