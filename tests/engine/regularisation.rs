//! Tests of zoneout and recurrent dropout: gradients, frequencies, streams, threads, errors.

use ndarray::{Axis, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, LayerNormLstmCell, LstmCell, PeepholeLstmCell,
    ProjectedLstmCell, ProjectedLstmOptions, RnnCell,
};
use recurrent::check::GradientCheck;
use recurrent::{Arrays, Gru, Lstm, Recompute, Recurrent, Rnn, Sequences};

use crate::common::bits::bits;
use crate::common::random::random;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

fn sequences(features: usize) -> Sequences<f64> {
    Sequences::new(random((6, 4, features), 1), vec![2, 6, 0, 5]).unwrap()
}

fn gradients<C: Cell<Elem = f64>>(options: C::Options) {
    for (hidden, bidirectional) in [(3, true), (7, false)] {
        let mut network = Recurrent::<C>::builder(3, hidden)
            .num_layers(2)
            .bidirectional(bidirectional)
            .dropout(0.2)
            .recurrent_dropout(0.3)
            .zoneout(&[0.3, 0.5][..C::STATE.len()])
            .options(options.clone())
            .learned_initial_state(true)
            .build(&mut rng())
            .unwrap();
        // Equal values have no variance, which layer normalisation divides by.
        network.for_each_mut(&mut |name, mut array| {
            let values = random((1, 1, array.len()), 7);
            if name.starts_with("initial") {
                array.iter_mut().zip(values).for_each(|(to, value)| *to = value);
            }
        });
        let (x, w) = (sequences(3), sequences(network.output_size()));
        let run = |keep| {
            let (_, _, tape) = network.forward_train_with(&x, None, &mut rng(), keep).unwrap();
            let mut grad = network.zeros_like();
            let (d_x, _) = network.backward(tape, &w, None, &mut grad).unwrap();
            (grad, d_x)
        };
        let gradient = run(Recompute::Store);
        let loss = |(network, x): &(Recurrent<C>, Sequences<f64>)| {
            let (output, _, _) = network.forward_train(x, None, &mut rng())?;
            Ok((output.values() * w.values()).sum())
        };
        let point = (network.clone(), x.clone());
        // If zoneout leaves values nearly equal, layer normalisation has a large curvature.
        let check = GradientCheck { step: 1e-4, ..GradientCheck::default() };
        let report = check.run(&point, &gradient, loss).unwrap();
        assert!(report.relative_error <= 1e-6, "{report}");
        assert_eq!(bits(&gradient), bits(&run(Recompute::Every(2))));
        assert_eq!(bits(&gradient), bits(&run(Recompute::Sqrt)));
    }
}

#[test]
fn gradients_of_the_cells_that_everyone_knows_match_finite_differences() {
    gradients::<LstmCell<f64>>(Default::default());
    gradients::<GruCell<f64>>(Default::default());
    gradients::<RnnCell<f64>>(Default::default());
}

#[test]
fn gradients_of_their_variants_match_finite_differences() {
    gradients::<PeepholeLstmCell<f64>>(Default::default());
    gradients::<CoupledLstmCell<f64>>(Default::default());
    gradients::<LayerNormLstmCell<f64>>(Default::default());
    let proj_size = ProjectedLstmOptions { proj_size: 2, ..Default::default() };
    gradients::<ProjectedLstmCell<f64>>(proj_size);
}

#[test]
fn a_value_stays_as_often_as_asked_and_otherwise_is_what_the_cell_makes() {
    let builder = Lstm::<f64>::builder(3, 40).zoneout(&[0.25, 0.6]);
    let lstm = builder.build(&mut rng()).unwrap();
    let x = Sequences::full(random((30, 4, 3), 1)).unwrap();
    let (_, _, tape) = lstm.forward_train(&x, None, &mut rng()).unwrap();
    for (name, p) in [("h", 0.25), ("c", 0.6)] {
        let state = tape.state(name, 0, false).unwrap();
        let (before, after) = (state.slice(s![..-1, .., ..]), state.slice(s![1.., .., ..]));
        let stays = before.iter().zip(&after).filter(|(a, b)| a == b).count();
        let share = stays as f64 / after.len() as f64;
        assert!((share - p).abs() < 0.03, "{name}: {share}");
    }
}

#[test]
fn in_use_a_state_is_the_mean_of_what_it_was_and_what_the_cell_makes() {
    let build = |p: &[f64]| Rnn::<f64>::builder(3, 5).zoneout(p).build(&mut rng()).unwrap();
    let (zoned, plain) = (build(&[0.3]), build(&[0.0]));
    let x = random((4, 2, 3), 1);
    let (output, last) = zoned.forward(&Sequences::full(x.clone()).unwrap(), None).unwrap();
    let mut state = plain.zero_state(2).unwrap();
    for t in 0..4 {
        let step = x.slice(s![t..=t, .., ..]).to_owned();
        let (made, _) = plain.forward(&Sequences::full(step).unwrap(), Some(&state)).unwrap();
        let mixed = 0.3 * state.get("h").unwrap() + 0.7 * made.values();
        assert!(
            (&mixed.index_axis(Axis(0), 0) - &output.values().index_axis(Axis(0), t))
                .iter()
                .all(|d| d.abs() < 1e-15)
        );
        state.set("h", mixed).unwrap();
    }
    assert_eq!(last.part("h", 0, false).unwrap(), output.values().index_axis(Axis(0), 3));
    let none = build(&[0.0]);
    let x = sequences(3);
    assert_eq!(none.forward(&x, None).unwrap(), plain.forward(&x, None).unwrap());
}

#[test]
fn a_stream_says_what_the_whole_sequence_does() {
    let builder = Gru::<f64>::builder(3, 5).num_layers(2).residual(true).zoneout(&[0.4]);
    let network = builder.build(&mut rng()).unwrap();
    let x = Sequences::full(random((6, 2, 3), 1)).unwrap();
    let (whole, last) = network.forward(&x, None).unwrap();
    let mut stream = network.stream(2).unwrap();
    for t in 0..6 {
        let x_t = x.values().index_axis(Axis(0), t);
        assert_eq!(stream.fork().step(x_t).unwrap(), whole.values().index_axis(Axis(0), t));
        assert_eq!(stream.step(x_t).unwrap(), whole.values().index_axis(Axis(0), t));
    }
    assert_eq!(stream.snapshot(), last);
}

/// A GRU also uses h' in z ∘ h', which keeps all units.
#[test]
fn recurrent_dropout_takes_units_from_the_recurrent_weights_alone() {
    let build = |p| Gru::<f64>::builder(2, 3).recurrent_dropout(p).build(&mut rng()).unwrap();
    let (dropping, plain) = (build(0.25), build(0.0));
    let x = Sequences::full(random((5, 2, 2), 1)).unwrap();
    assert_eq!(dropping.forward(&x, None).unwrap(), plain.forward(&x, None).unwrap());
    let without = |mask: usize| {
        let mut gru = plain.clone();
        gru.for_each_mut(&mut |name, mut array| {
            for mut row in array.rows_mut().into_iter().filter(|_| name == "weight_hh_l0") {
                for (unit, weight) in row.iter_mut().enumerate() {
                    *weight *= if mask >> unit & 1 == 1 { 0.0 } else { 1.0 / 0.75 };
                }
            }
        });
        gru.forward(&x, None).unwrap().0
    };
    let outputs: Vec<_> = (0..8).map(without).collect();
    let (draws, mut rng, mut dropped) = (600, rng(), 0);
    for _ in 0..draws {
        let (output, _, _) = dropping.forward_train(&x, None, &mut rng).unwrap();
        let mask = outputs.iter().position(|without| *without == output);
        dropped += mask.expect("the output of one of the masks").count_ones();
    }
    let share = f64::from(dropped) / f64::from(3 * draws);
    assert!((share - 0.25).abs() < 0.04, "{share}");
}

/// There is enough work to divide the batch into blocks.
#[test]
fn the_number_of_threads_never_matters() {
    let builder = Lstm::<f64>::builder(16, 48).bidirectional(true).zoneout(&[0.2, 0.3]);
    let lstm = builder.recurrent_dropout(0.5).build(&mut rng()).unwrap();
    let x = Sequences::full(random((40, 96, 16), 1)).unwrap();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (output, _, tape) = lstm.forward_train(&x, None, &mut rng()).unwrap();
            let mut grad = lstm.zeros_like();
            let (d_x, _) = lstm.backward(tape, &output, None, &mut grad).unwrap();
            bits(&(grad, (output, d_x)))
        })
    };
    assert_eq!(run(1), run(2));
    assert_eq!(run(1), run(3));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let build = |p: &[f64]| {
        Lstm::<f64>::builder(3, 4).zoneout(p).build(&mut rng()).unwrap_err().to_string()
    };
    assert_eq!(build(&[0.1]), "zoneout: expected [2] (states), got [1]");
    assert_eq!(build(&[0.1, 1.0]), "zoneout: expected 0 ≤ p < 1, got 1");
    let builder = Lstm::<f64>::builder(3, 4).recurrent_dropout(-0.5);
    let error = builder.build(&mut rng()).unwrap_err().to_string();
    assert_eq!(error, "recurrent_dropout: expected 0 ≤ p < 1, got -0.5");
}
