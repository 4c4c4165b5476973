//! The gradients of the states after each step against finite differences, for each kind of LSTM.

use ndarray::{Array1, Array2, Array3, ArrayView1, Axis, Slice, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, LayerNormLstmCell, LstmCell, PeepholeLstmCell,
    ProjectedLstmCell, ProjectedLstmOptions,
};
use recurrent::check::{GradientCheck, GradientFlow};
use recurrent::model::{BuiltInCell, BuiltInOptions};
use recurrent::{Arrays, Recompute, Recurrent, Sequences, StepGradients};

use crate::common::random::random;

const TIME: usize = 6;
const LENGTHS: [usize; 4] = [4, 6, 0, 1];

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(6)
}

fn array<C: Cell<Elem = f64>>(net: &Recurrent<C>, name: &str) -> Vec<f64> {
    let mut values = Vec::new();
    net.for_each(&mut |of, array| {
        if of == name {
            values.extend(array.iter());
        }
    });
    assert!(!values.is_empty(), "{name}");
    values
}

fn steps_of(values: &Array3<f64>, from: usize) -> Array3<f64> {
    values.slice_axis(Axis(0), Slice::from(from..)).to_owned()
}

/// Compares ∂L/∂c_t at each step with the differences of the loss Σ w·y + Σ v·(h, c at the end), where
/// h_t = `output`(c_t, o_t) and the steps after t follow from both.
fn check<C: Cell<Elem = f64>>(
    net: &Recurrent<C>,
    output: impl Fn(ArrayView1<'_, f64>, ArrayView1<'_, f64>) -> Array1<f64>,
) {
    let batch = LENGTHS.len();
    let x = Sequences::new(random((TIME, batch, 3), 1), LENGTHS.to_vec()).unwrap();
    let w = random((TIME, batch, net.output_size()), 2);
    for keep in [Recompute::Store, Recompute::Every(2)] {
        let (_, mut v, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
        v.for_each_mut(&mut |_, mut array| {
            array.iter_mut().enumerate().for_each(|(i, value)| *value = (i as f64 + 1.0).sin());
        });
        let (c, o) = (tape.state("c", 0, false).unwrap(), tape.gate("o", 0, false).unwrap());
        let (_, _, tape) = net.forward_train_with(&x, None, &mut rng(), keep).unwrap();
        let (d_output, mut grad) = (x.with_values(w.clone()).unwrap(), net.zeros_like());
        let (_, _, steps) = net.backward_steps(tape, &d_output, Some(&v), &mut grad).unwrap();
        let [v_h, v_c] = ["h", "c"].map(|name| v.part(name, 0, false).unwrap());
        for t in 0..TIME {
            let loss = |c_t: &Array2<f64>| {
                let mut h_t = Array2::zeros((batch, net.output_size()));
                let mut loss = 0.0;
                for b in 0..batch {
                    h_t.row_mut(b).assign(&output(c_t.row(b), o.slice(s![t, b, ..])));
                    if t < LENGTHS[b] {
                        loss += h_t.row(b).dot(&w.slice(s![t, b, ..]));
                    }
                }
                let (mut last_h, mut last_c) = (h_t.clone(), c_t.clone());
                if t + 1 < TIME {
                    let lengths = LENGTHS.map(|length| length.saturating_sub(t + 1));
                    let rest = Sequences::new(steps_of(x.values(), t + 1), lengths.to_vec())?;
                    let mut state = net.zero_state(batch)?;
                    state.set("h", h_t.insert_axis(Axis(0)))?;
                    state.set("c", c_t.clone().insert_axis(Axis(0)))?;
                    let (y, last) = net.forward(&rest, Some(&state))?;
                    loss += (y.values() * &steps_of(&w, t + 1)).sum();
                    last_h.assign(&last.part("h", 0, false)?);
                    last_c.assign(&last.part("c", 0, false)?);
                }
                let alive = (0..batch).filter(|&b| t < LENGTHS[b]);
                let of_end = |b| last_h.row(b).dot(&v_h.row(b)) + last_c.row(b).dot(&v_c.row(b));
                Ok(loss + alive.map(of_end).sum::<f64>())
            };
            let point = c.index_axis(Axis(0), t).to_owned();
            let total = steps.get("c", 0, false).unwrap().index_axis(Axis(0), t).to_owned();
            let report = GradientCheck::default().run(&point, &total, loss).unwrap();
            assert!(report.relative_error < 1e-7, "{} step {t}: {report}", C::NAME);
        }
        check_carried(&steps, &w);
    }
}

/// Compares the gradients of h with their two parts.
fn check_carried(steps: &StepGradients<f64>, d_output: &Array3<f64>) {
    let (total, carried) =
        (steps.get("h", 0, false).unwrap(), steps.carried("h", 0, false).unwrap());
    for (b, length) in LENGTHS.into_iter().enumerate() {
        for t in 0..TIME {
            let alive = if t < length { 1.0 } else { 0.0 };
            let expected = &carried.slice(s![t, b, ..]) + &(&d_output.slice(s![t, b, ..]) * alive);
            assert_eq!(total.slice(s![t, b, ..]), expected);
        }
    }
}

fn plain(c: ArrayView1<'_, f64>, o: ArrayView1<'_, f64>) -> Array1<f64> {
    &o * &c.mapv(f64::tanh)
}

#[test]
fn the_gradient_of_a_cell_state_contains_the_path_through_the_output() {
    let lstm = Recurrent::<LstmCell<f64>>::builder(3, 5).build(&mut rng()).unwrap();
    check(&lstm, plain);
    let coupled = Recurrent::<CoupledLstmCell<f64>>::builder(3, 5).build(&mut rng()).unwrap();
    check(&coupled, plain);
    let built_in = Recurrent::<BuiltInCell<f64>>::builder(3, 9).options(BuiltInOptions::default());
    check(&built_in.build(&mut rng()).unwrap(), plain);
}

#[test]
fn the_gradient_of_a_cell_state_passes_a_projection() {
    let builder = Recurrent::<ProjectedLstmCell<f64>>::builder(3, 5);
    let net = builder.options(ProjectedLstmOptions::new(2)).build(&mut rng()).unwrap();
    let w_hr = Array2::from_shape_vec((2, 5), array(&net, "weight_hr_l0")).unwrap();
    check(&net, |c, o| w_hr.dot(&plain(c, o)));
}

#[test]
fn the_gradient_of_a_cell_state_passes_the_peephole_of_the_output_gate() {
    // Here the tape's o is that of the true c. Its sum without the peephole is found by the inverse of σ.
    let net = Recurrent::<PeepholeLstmCell<f64>>::builder(3, 5).build(&mut rng()).unwrap();
    let w_co = Array1::from(array(&net, "weight_co_l0"));
    let x = Sequences::new(random((TIME, LENGTHS.len(), 3), 1), LENGTHS.to_vec()).unwrap();
    let (_, _, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
    let (c, o) = (tape.state("c", 0, false).unwrap(), tape.gate("o", 0, false).unwrap());
    let at = |o_t: ArrayView1<'_, f64>| {
        let places = o.outer_iter().enumerate();
        let mut all = places.flat_map(|(t, rows)| (0..rows.nrows()).map(move |b| (t, b)));
        all.find(|&(t, b)| o.slice(s![t, b, ..]) == o_t).unwrap()
    };
    check(&net, |c_t, o_t| {
        let (t, b) = at(o_t);
        if t >= LENGTHS[b] {
            return Array1::zeros(5);
        }
        let without = o_t.mapv(|o| (o / (1.0 - o)).ln()) - &w_co * &c.slice(s![t, b, ..]);
        let gate = (without + &w_co * &c_t).mapv(|a| 1.0 / (1.0 + (-a).exp()));
        gate * c_t.mapv(f64::tanh)
    });
}

#[test]
fn the_gradient_of_a_cell_state_passes_layer_normalisation() {
    let mut net = Recurrent::<LayerNormLstmCell<f64>>::builder(3, 5).build(&mut rng()).unwrap();
    net.for_each_mut(&mut |name, mut array| {
        if name.starts_with("ln_c") {
            array.iter_mut().enumerate().for_each(|(i, value)| *value = 0.5 + 0.25 * i as f64);
        }
    });
    let [scale, shift] =
        ["ln_c_weight_l0", "ln_c_bias_l0"].map(|name| Array1::from(array(&net, name)));
    check(&net, |c, o| {
        let centred = &c - c.mean().unwrap();
        let variance = centred.mapv(|x| x * x).mean().unwrap();
        let y = centred / (variance + 1e-5).sqrt() * &scale + &shift;
        &o * &y.mapv(f64::tanh)
    });
}

#[test]
fn both_directions_and_all_layers_have_the_path_through_the_output() {
    let builder = Recurrent::<LstmCell<f64>>::builder(3, 5).num_layers(2).bidirectional(true);
    let net = builder.dropout(0.25).build(&mut rng()).unwrap();
    let x = Sequences::new(random((TIME, 4, 3), 1), LENGTHS.to_vec()).unwrap();
    let (y, _, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
    let places = [(0, false), (0, true), (1, false), (1, true)];
    let factors = places.map(|(layer, reverse)| {
        let c = tape.state("c", layer, reverse).unwrap();
        tape.gate("o", layer, reverse).unwrap() * c.mapv(|c| 1.0 - c.tanh().powi(2))
    });
    let (_, _, steps) = net.backward_steps(tape, &y, None, &mut net.zeros_like()).unwrap();
    for ((layer, reverse), factors) in places.into_iter().zip(factors) {
        let of = |name: &str| steps.get(name, layer, reverse).unwrap();
        let through = of("c") - steps.carried("c", layer, reverse).unwrap();
        let expected = of("h") * &factors;
        assert!((&through - &expected).iter().all(|error| error.abs() < 1e-15));
        assert!(through.iter().any(|&d| d != 0.0));
    }
}

#[test]
fn with_zoneout_the_output_does_not_depend_on_the_cell_state_after_it() {
    let builder = Recurrent::<LstmCell<f64>>::builder(3, 5).zoneout(&[0.3, 0.4]);
    let net = builder.build(&mut rng()).unwrap();
    let x = Sequences::new(random((TIME, 4, 3), 1), LENGTHS.to_vec()).unwrap();
    let (y, _, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
    let (_, _, steps) = net.backward_steps(tape, &y, None, &mut net.zeros_like()).unwrap();
    assert_eq!(steps.get("c", 0, false).unwrap(), steps.carried("c", 0, false).unwrap());
    check_carried(&steps, y.values());
}

#[test]
fn a_cell_without_a_second_state_has_the_gradients_of_its_output() {
    let net = Recurrent::<GruCell<f64>>::builder(3, 5).build(&mut rng()).unwrap();
    let x = Sequences::new(random((TIME, 4, 3), 1), LENGTHS.to_vec()).unwrap();
    let (y, _, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
    let (_, _, steps) = net.backward_steps(tape, &y, None, &mut net.zeros_like()).unwrap();
    check_carried(&steps, y.values());
    assert!(steps.carried("c", 0, false).is_err());
}

#[test]
fn the_gradient_flow_of_the_last_cell_state_is_that_through_the_output() {
    let net = Recurrent::<LstmCell<f64>>::builder(3, 5).build(&mut rng()).unwrap();
    let x = Sequences::full(random((TIME, 2, 3), 1)).unwrap();
    let flows = GradientFlow::measure(&net, &x, &mut rng(), |y, _| Ok((y.clone(), None))).unwrap();
    let of_c = flows.iter().find(|flow| flow.state == "c").unwrap();
    assert!(of_c.norms[TIME - 1] > 0.0);
}
