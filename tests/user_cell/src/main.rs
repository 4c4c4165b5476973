//! A user-defined cell in a network: a check of its gradient, training, and streaming.

mod cell;

use cell::MinimalGatedUnit;
use ndarray::{Array3, Axis};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use recurrent::check::GradientCheck;
use recurrent::loss::{Loss, Mse};
use recurrent::optim::Adam;
use recurrent::{Arrays, Recurrent, Result, Sequences};

fn main() -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut network =
        Recurrent::<MinimalGatedUnit<f64>>::builder(2, 5).num_layers(2).build(&mut rng)?;
    let values =
        Array3::from_shape_fn((7, 3, 2), |(t, b, i)| ((3 * t + 5 * b + i) % 7) as f64 / 7.0);
    let x = Sequences::new(values, vec![7, 2, 5])?;
    let target = x.with_values(Array3::from_elem((7, 3, 5), 0.3))?;

    // The gradient equals finite differences.
    let (output, _, tape) = network.forward_train(&x, None, &mut rng)?;
    let (first, d_output) = Mse.loss(&output, &target)?;
    let mut grad = network.zeros_like();
    network.backward(tape, &d_output, None, &mut grad)?;
    let report = GradientCheck::default()
        .run(&network, &grad, |network| Ok(Mse.loss(&network.forward(&x, None)?.0, &target)?.0))?;
    assert!(report.relative_error < 1e-6, "{report}");

    // Training reduces the loss.
    let mut adam = Adam::new(0.02)?;
    let mut last = first;
    for _ in 0..100 {
        let (output, _, tape) = network.forward_train(&x, None, &mut rng)?;
        let (loss, d_output) = Mse.loss(&output, &target)?;
        let mut grad = network.zeros_like();
        network.backward(tape, &d_output, None, &mut grad)?;
        adam.step(&mut network, &grad)?;
        last = loss;
    }
    assert!(last < 0.1 * first, "{first} to {last}");

    // A stream has the bits of the whole sequence.
    let x = Sequences::full(x.into_values())?;
    let (output, _) = network.forward(&x, None)?;
    let mut stream = network.stream(3)?;
    for (x_t, h_t) in x.values().axis_iter(Axis(0)).zip(output.values().axis_iter(Axis(0))) {
        assert_eq!(stream.step(x_t)?, h_t);
    }
    println!(
        "relative error of the gradient {:.1e}, loss {first:.4} to {last:.6}",
        report.relative_error
    );
    Ok(())
}
