//! Each cell over whole sequences, in inference and in training, in GF/s beside the FMA peak of the
//! machine. One layer, one direction, and one thread unless `RAYON_NUM_THREADS` is set. The last table
//! is the time of each cell per multiply-add relative to the LSTM, at batches of 32 and more.
#![allow(missing_docs)]

#[path = "support/measure.rs"]
mod measure;
#[path = "support/peak.rs"]
mod peak;
#[path = "support/rate.rs"]
mod rate;

use criterion::{Criterion, criterion_group, criterion_main};
use measure::short;
use ndarray::Array3;
use peak::fma_peak;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rate::{measure_rate, set_threads};
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, LayerNormLstmCell, LstmCell, PeepholeLstmCell,
    ProjectedLstmCell, ProjectedLstmOptions, RnnCell,
};
use recurrent::memory::Reserve;
use recurrent::{Arrays, Float, Recurrent, Sequences};

/// The sizes time, batch, input and hidden.
const SIZES: &[(usize, usize, usize, usize)] = &[
    (100, 1, 32, 32),
    (100, 1, 64, 128),
    (50, 32, 28, 128),
    (100, 32, 64, 64),
    (100, 32, 128, 256),
    (50, 64, 256, 512),
    (28, 128, 28, 128),
];

/// Measures a cell at one size. Returns the seconds per multiply-add of the forward pass and of training.
fn cell<T: Float, C: Cell<Elem = T>>(
    criterion: &mut Criterion,
    (time, batch, input, hidden): (usize, usize, usize, usize),
    peak: f64,
    options: C::Options,
) -> [f64; 2] {
    let mut group = criterion.benchmark_group(format!("{}/{}", C::NAME, T::NAME));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let builder = Recurrent::builder(input, hidden).options(options);
    let net: Recurrent<C> = builder.build(&mut rng).expect("sizes in range");
    let mut values = |width| {
        let shape = (time, batch, width);
        Array3::from_shape_simple_fn(shape, || T::from_f64(rng.random_range(-1.0..1.0)))
    };
    let output = net.output_size();
    let x = Sequences::full(values(input)).expect("sizes in range");
    let d_output = Sequences::full(values(output)).expect("sizes in range");
    let gates = net.cells()[0].weights().weight_ih.nrows();
    let projection = if output < hidden { output * hidden } else { 0 };
    let work = time * batch * (gates * (input + output) + projection);
    let size = format!("T {time}, B {batch}, I {input}, H {hidden}");
    let forward = measure_rate(&mut group, &format!("forward, {size}"), work, peak, || {
        assert!(net.forward(&x, None).is_ok());
    });
    let mut grad = net.zeros_like();
    let training = measure_rate(&mut group, &format!("training, {size}"), 3 * work, peak, || {
        let pass = net.forward_train(&x, None, &mut rng);
        let back = pass.and_then(|(_, _, tape)| net.backward(tape, &d_output, None, &mut grad));
        assert!(back.is_ok());
    });
    group.finish();
    [forward / work as f64, training / (3 * work) as f64]
}

/// Measures all cells, size by size, so that the cells that are compared run one after the other.
fn all<T: Float>(criterion: &mut Criterion) {
    set_threads();
    let _reserve = Reserve::default();
    let peak = fma_peak::<T>();
    let mut table = Vec::new();
    for &size @ (time, batch, input, hidden) in SIZES {
        let c = &mut *criterion;
        let lstm = cell::<T, LstmCell<T>>(c, size, peak, Default::default());
        let projected = ProjectedLstmOptions::new(hidden / 2);
        let others = [
            ("rnn", cell::<T, RnnCell<T>>(c, size, peak, Default::default())),
            ("gru", cell::<T, GruCell<T>>(c, size, peak, Default::default())),
            ("peephole_lstm", cell::<T, PeepholeLstmCell<T>>(c, size, peak, Default::default())),
            ("coupled_lstm", cell::<T, CoupledLstmCell<T>>(c, size, peak, Default::default())),
            ("projected_lstm", cell::<T, ProjectedLstmCell<T>>(c, size, peak, projected)),
            ("layer_norm_lstm", cell::<T, LayerNormLstmCell<T>>(c, size, peak, Default::default())),
        ];
        for (name, [forward, training]) in others.into_iter().filter(|_| batch >= 32) {
            let (forward, training) = (forward / lstm[0], training / lstm[1]);
            let size = format!("T {time}, B {batch}, I {input}, H {hidden}");
            table.push(format!("{name}, {size}: {forward:.2} forward, {training:.2} training"));
        }
    }
    println!("time per multiply-add relative to the LSTM, {}", T::NAME);
    table.iter().for_each(|row| println!("{row}"));
}

criterion_group! {
    name = cells;
    config = short().sample_size(10);
    targets = all::<f32>, all::<f64>
}
criterion_main!(cells);
