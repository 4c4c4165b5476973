//! Small calls of each kind, for the interpreter Miri (`.ci/rare miri`). It finds undefined behaviour and data races.

use std::thread;

use ndarray::{Array2, Array3};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use recurrent::cell::{Cell, ProjectedLstmOptions};
use recurrent::{
    Arrays, CoupledLstmCell, GruCell, LayerNormLstmCell, LstmCell, PeepholeLstmCell,
    ProjectedLstmCell, Recurrent, RecurrentBuilder, RnnCell, Sequences,
};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// Trains, infers, streams, and shares the network between two threads.
fn run<C: Cell<Elem = f32>>(builder: RecurrentBuilder<C>) {
    let network = builder.build(&mut rng()).unwrap();
    let values = Array3::from_shape_fn((2, 2, 3), |(t, b, j)| (t + b + j) as f32 / 4.0);
    let x = Sequences::new(values, vec![1, 2]).unwrap();
    let (y, _, tape) = network.forward_train(&x, None, &mut rng()).unwrap();
    let mut grad = network.zeros_like();
    network.backward(tape, &y, None, &mut grad).unwrap();
    grad.check_finite().unwrap();
    thread::scope(|scope| {
        let outputs = [0, 1].map(|_| scope.spawn(|| network.forward(&x, None).unwrap().0));
        for output in outputs {
            assert_eq!(output.join().unwrap().values(), y.values());
        }
    });
    let mut stream = network.stream(1).unwrap();
    let step = stream.step(Array2::ones((1, 3)).view()).unwrap();
    assert!(step.iter().all(|y| y.is_finite()));
}

macro_rules! cells {
    ($($test:ident $cell:ident)+) => {$(
        #[test]
        fn $test() {
            run(Recurrent::<$cell<f32>>::builder(3, 2));
        }
    )+};
}

cells! {
    rnn RnnCell
    lstm LstmCell
    gru GruCell
    peephole_lstm PeepholeLstmCell
    coupled_lstm CoupledLstmCell
    layer_norm_lstm LayerNormLstmCell
}

#[test]
fn projected_lstm() {
    let options = ProjectedLstmOptions::new(1);
    run(Recurrent::<ProjectedLstmCell<f32>>::builder(3, 2).options(options));
}
