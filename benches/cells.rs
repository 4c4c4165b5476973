//! Each cell over whole sequences, forward alone and forward with backward, in GF/s beside the
//! machine's peak. One layer, one direction, one thread unless `RAYON_NUM_THREADS` says otherwise.
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
    Cell, CoupledLstmCell, GruCell, LayerNormLstmCell, LstmCell, PeepholeLstmCell, RnnCell,
};
use recurrent::{Arrays, Float, Recurrent, Sequences};

/// Time, batch, input, hidden.
const SIZES: &[(usize, usize, usize, usize)] = &[
    (100, 1, 32, 32),
    (100, 1, 64, 128),
    (50, 32, 28, 128),
    (100, 32, 64, 64),
    (100, 32, 128, 256),
    (50, 64, 256, 512),
    (28, 128, 28, 128),
];

fn cell<T: Float, C: Cell<Elem = T>>(criterion: &mut Criterion, name: &str, peak: f64) {
    let mut group = criterion.benchmark_group(format!("{name}/{}", T::NAME));
    for &(time, batch, input, hidden) in SIZES {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let net: Recurrent<C> = match Recurrent::builder(input, hidden).build(&mut rng) {
            Ok(net) => net,
            Err(error) => return println!("{name}: {error}"),
        };
        let mut values = |width| {
            let shape = (time, batch, width);
            Array3::from_shape_simple_fn(shape, || T::from_f64(rng.random_range(-1.0..1.0)))
        };
        let (x, d_output) = (Sequences::full(values(input)), values(net.output_size()));
        let Ok(x) = x else { return };
        let gates = net.cells()[0].weights().weight_ih.nrows();
        let work = time * batch * gates * (input + net.output_size());
        let size = format!("T {time}, B {batch}, I {input}, H {hidden}");
        measure_rate(&mut group, &format!("forward, {size}"), work, peak, || {
            assert!(net.forward(&x, None).is_ok());
        });
        let mut grad = net.zeros_like();
        measure_rate(&mut group, &format!("training, {size}"), 3 * work, peak, || {
            let pass = net.forward_train(&x, None, &mut rng);
            let back = pass.and_then(|(_, _, tape)| net.backward(tape, &d_output, None, &mut grad));
            assert!(back.is_ok());
        });
    }
    group.finish();
}

fn all<T: Float>(criterion: &mut Criterion) {
    set_threads();
    let peak = fma_peak::<T>();
    cell::<T, RnnCell<T>>(criterion, "rnn", peak);
    cell::<T, LstmCell<T>>(criterion, "lstm", peak);
    cell::<T, GruCell<T>>(criterion, "gru", peak);
    cell::<T, PeepholeLstmCell<T>>(criterion, "peephole_lstm", peak);
    cell::<T, CoupledLstmCell<T>>(criterion, "coupled_lstm", peak);
    cell::<T, LayerNormLstmCell<T>>(criterion, "layer_norm_lstm", peak);
}

criterion_group! {
    name = cells;
    config = short().sample_size(10);
    targets = all::<f32>, all::<f64>
}
criterion_main!(cells);
