//! One step of a stream, for one sequence and for a few.
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
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, LayerNormLstmCell, LstmCell, PeepholeLstmCell, RnnCell,
};
use recurrent::{Float, Recurrent};

/// The sizes batch, input and hidden, and the number of layers.
const SIZES: &[(usize, usize, usize, usize)] = &[
    (1, 16, 16, 1),
    (1, 32, 32, 1),
    (1, 64, 128, 1),
    (1, 64, 128, 3),
    (1, 128, 256, 1),
    (1, 256, 512, 1),
    (8, 64, 128, 1),
];

fn cell<T: Float, C: Cell<Elem = T>>(criterion: &mut Criterion, name: &str, peak: f64) {
    let mut group = criterion.benchmark_group(format!("stream_step/{name}/{}", T::NAME));
    for &(batch, input, hidden, layers) in SIZES {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let builder = Recurrent::<C>::builder(input, hidden).num_layers(layers);
        let net = match builder.build(&mut rng) {
            Ok(net) => net,
            Err(error) => return println!("{name}: {error}"),
        };
        let x = Array2::from_shape_simple_fn((batch, input), || {
            T::from_f64(rng.random_range(-1.0..1.0))
        });
        let Ok(mut stream) = net.stream(batch) else { return };
        let weights = |cell: &C| {
            cell.weights().weight_ih.nrows()
                * (cell.weights().weight_ih.ncols() + cell.state_size(0))
        };
        let work = batch * net.cells().iter().map(weights).sum::<usize>();
        let size = format!("B {batch}, I {input}, H {hidden}, layers {layers}");
        measure_rate(&mut group, &size, work, peak, || {
            assert!(stream.step(x.view()).is_ok());
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
    name = stream_step;
    config = short().sample_size(20);
    targets = all::<f32>
}
criterion_main!(stream_step);
