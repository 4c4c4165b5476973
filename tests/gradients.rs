//! Hand-written gradients against finite differences in f64.

use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{Cell, LstmCell, RnnCell};
use recurrent::check::GradientCheck;
use recurrent::{Arrays, Recurrent, Result, Sequences, State};

fn random(rng: &mut ChaCha8Rng, shape: (usize, usize, usize)) -> Array3<f64> {
    Array3::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0))
}

/// Σ w·output + Σ v·final, whose gradients are w and v.
fn check<C: Cell<f64>>(layers: usize, bidirectional: bool, hidden: usize, lengths: &[usize]) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (time, batch, input) = (5, lengths.len(), 3);
    let net = Recurrent::<f64, C>::builder(input, hidden)
        .num_layers(layers)
        .bidirectional(bidirectional)
        .build(&mut rng)
        .unwrap();
    let x = Sequences::new(random(&mut rng, (time, batch, input)), lengths.to_vec()).unwrap();
    let mut initial = net.zero_state(batch).unwrap();
    initial.for_each_mut(&mut |_, mut a| a.mapv_inplace(|_| rng.random_range(-1.0..1.0)));
    let mut v = net.zero_state(batch).unwrap();
    v.for_each_mut(&mut |_, mut a| a.mapv_inplace(|_| rng.random_range(-1.0..1.0)));
    let w = random(&mut rng, (time, batch, net.output_size()));

    let loss = |point: &((Recurrent<f64, C>, Sequences<f64>), State<f64>)| -> Result<f64> {
        let ((net, x), initial) = point;
        let (output, last) = net.forward(x, Some(initial))?;
        let mut total = (output.values() * &w).sum();
        let mut weights = Vec::new();
        v.for_each(&mut |_, a| weights.push(a.to_owned()));
        let mut weights = weights.into_iter();
        last.for_each(&mut |_, a| total += (&a * &weights.next().unwrap()).sum());
        Ok(total)
    };
    let (_, _, tape) = net.forward_train(&x, Some(&initial), &mut rng).unwrap();
    let mut grad = net.zeros_like();
    let (d_x, d_initial) = net.backward(tape, &w, Some(&v), &mut grad).unwrap();
    let point = ((net, x.clone()), initial);
    let gradient = ((grad, x.with_values(d_x).unwrap()), d_initial);
    let report = GradientCheck::default().run(&point, &gradient, loss).unwrap();
    println!("{layers} {bidirectional} {hidden} {lengths:?}: {report}");
    assert!(report.relative_error < 1e-6, "{report}");
}

#[test]
fn smoke() {
    for layers in [1, 2, 3] {
        for bi in [false, true] {
            for hidden in [1, 3, 7, 17] {
                check::<LstmCell<f64>>(layers, bi, hidden, &[5, 5]);
                check::<LstmCell<f64>>(layers, bi, hidden, &[2, 0, 5, 1]);
                check::<RnnCell<f64>>(layers, bi, hidden, &[2, 0, 5, 1]);
            }
        }
    }
}
