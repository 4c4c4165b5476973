//! Tests of every cell's gradients against finite differences in f64, through the engine.
//!
//! The grid: layers {1, 2, 3} × one or two directions × full, ragged (one sequence empty) and
//! single sequences × zero, given and learned initial states × with and without bias × hidden sizes
//! {1, 3, 7, 17} and layers of unequal widths. Compared are the gradients of all parameters, of the
//! input (padding included) and of the initial state, from random gradients of the outputs and of
//! the final states.
//!
//! A relative error is |analytic − numeric| / max(|analytic|, |numeric|, 1e-4); the worst must stay
//! below 1e-6. Small networks are checked entry by entry, large ones in evenly spread entries.

use std::cell::Cell as Flag;

use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, GruOptions, LayerNormLstmCell, LayerNormLstmOptions, LstmCell,
    Nonlinearity, PeepholeLstmCell, ProjectedLstmCell, ProjectedLstmOptions, Reset, RnnCell,
};
use recurrent::check::{GradientCheck, GradientReport};
use recurrent::{Arrays, Recurrent, Result, Sequences, State};

const MAX_ERROR: f64 = 1e-6;
const TIME: usize = 4;
const INPUT: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Initial {
    Zeros,
    Given,
    Learned,
}

#[derive(Clone, Debug)]
struct Case {
    hidden_sizes: Vec<usize>,
    bidirectional: bool,
    bias: bool,
    initial: Initial,
    lengths: &'static [usize],
}

/// Returns all cases of the grid, with hidden size 1 replaced by `smallest`.
fn cases(smallest: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for layers in [1, 2, 3] {
        let mut widths: Vec<Vec<usize>> =
            [smallest, 3, 7, 17].iter().map(|&hidden| vec![hidden; layers]).collect();
        if layers > 1 {
            widths.push([3, 5, 2][..layers].to_vec());
        }
        for hidden_sizes in widths {
            for bidirectional in [false, true] {
                for lengths in [[TIME; 3].as_slice(), &[2, 0, 4, 1], &[TIME]] {
                    for initial in [Initial::Zeros, Initial::Given, Initial::Learned] {
                        for bias in [true, false] {
                            let hidden_sizes = hidden_sizes.clone();
                            cases.push(Case {
                                hidden_sizes,
                                bidirectional,
                                bias,
                                initial,
                                lengths,
                            });
                        }
                    }
                }
            }
        }
    }
    cases
}

fn random(rng: &mut ChaCha8Rng, shape: (usize, usize, usize)) -> Array3<f64> {
    Array3::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0))
}

/// Adds noise to each value, so that none is a special value such as 0 or 1.
fn shake<A: Arrays<Elem = f64>>(arrays: &mut A, rng: &mut ChaCha8Rng, size: f64) {
    arrays.for_each_mut(&mut |_, mut array| {
        array.mapv_inplace(|value| value + rng.random_range(-size..size));
    });
}

/// Returns Σ w·v over two bundles of arrays.
fn dot<A: Arrays<Elem = f64>>(w: &A, v: &A) -> Result<f64> {
    let (mut sum, mut w) = (0.0, w.clone());
    w.zip_mut("v", v, &mut |_, w, v| sum += (&w * &v).sum())?;
    Ok(sum)
}

type Point<C> = ((Recurrent<C>, Sequences<f64>), Option<State<f64>>);

/// Returns which outputs of all layers are positive at each step: the linear piece of a relu network.
fn piece<C: Cell<Elem = f64>>(
    (net, x): &(Recurrent<C>, Sequences<f64>),
    initial: Option<&State<f64>>,
) -> Result<Vec<bool>> {
    let mut positive = Vec::new();
    let (_, _, tape) = net.forward_train(x, initial, &mut ChaCha8Rng::seed_from_u64(0))?;
    for layer in 0..net.num_layers() {
        for reverse in [false, true].into_iter().take(1 + usize::from(net.bidirectional())) {
            positive.extend(tape.state("h", layer, reverse)?.iter().map(|&h| h > 0.0));
        }
    }
    Ok(positive)
}

/// Returns the worst entry of one case, or none if a difference crossed a kink of the network.
fn worst<C: Cell<Elem = f64>>(
    case: &Case,
    options: C::Options,
    check: GradientCheck,
    kinks: bool,
    seed: u64,
) -> Result<Option<GradientReport>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let batch = case.lengths.len();
    let mut net = Recurrent::<C>::builder(INPUT, 1)
        .hidden_sizes(&case.hidden_sizes)
        .bidirectional(case.bidirectional)
        .bias(case.bias)
        .learned_initial_state(case.initial == Initial::Learned)
        .options(options)
        .build(&mut rng)?;
    shake(&mut net, &mut rng, 0.3);
    let x = Sequences::new(random(&mut rng, (TIME, batch, INPUT)), case.lengths.to_vec())?;
    let mut initial = net.zero_state(batch)?;
    if case.initial == Initial::Given {
        shake(&mut initial, &mut rng, 1.0);
    }
    // The gradients of the loss Σ w·output + Σ v·final are w and v.
    let w = x.with_values(random(&mut rng, (TIME, batch, net.output_size())))?;
    let mut v = net.zero_state(batch)?;
    shake(&mut v, &mut rng, 1.0);

    let given = (case.initial == Initial::Given).then_some(&initial);
    let (_, _, tape) = net.forward_train(&x, given, &mut rng)?;
    let mut grad = net.zeros_like();
    let (d_x, d_initial) = net.backward(tape, &w, Some(&v), &mut grad)?;

    let learned = case.initial == Initial::Learned;
    let gradient = ((grad, d_x), (!learned).then_some(d_initial));
    let point: Point<C> = ((net, x), (!learned).then_some(initial));
    let home = if kinks { piece(&point.0, point.1.as_ref())? } else { Vec::new() };
    let met_a_kink = Flag::new(false);
    let loss = |(model, initial): &Point<C>| {
        if kinks && piece(model, initial.as_ref())? != home {
            met_a_kink.set(true);
        }
        let (output, last) = model.0.forward(&model.1, initial.as_ref())?;
        Ok(dot(&output, &w)? + dot(&last, &v)?)
    };
    let report = check.run(&point, &gradient, loss)?;
    Ok((!met_a_kink.get()).then_some(report))
}

/// Checks the whole grid. `options_of` returns the cell's options for the smallest hidden size.
fn check_grid<C: Cell<Elem = f64>>(
    label: &str,
    smallest: usize,
    step: f64,
    kinks: bool,
    options_of: impl Fn(usize) -> C::Options,
) {
    let mut worst_of_all: Option<(GradientReport, Case)> = None;
    let mut checked = 0;
    for case in cases(smallest) {
        let least = case.hidden_sizes.iter().copied().min().unwrap_or(0);
        let total: usize = case.hidden_sizes.iter().sum();
        let most = if total <= 3 { usize::MAX } else { 3 };
        let check = GradientCheck { step, max_entries: most, ..GradientCheck::default() };
        let report = (0..20)
            .find_map(|seed| worst::<C>(&case, options_of(least), check, kinks, seed).transpose())
            .expect("one of twenty networks has no kink within the step")
            .unwrap_or_else(|error| panic!("{label} {case:?}: {error}"));
        assert!(report.relative_error <= MAX_ERROR, "{label} {case:?}: {report}");
        checked += report.checked;
        if worst_of_all
            .as_ref()
            .is_none_or(|(worst, _)| report.relative_error > worst.relative_error)
        {
            worst_of_all = Some((report, case));
        }
    }
    let (report, case) = worst_of_all.expect("the grid has cases");
    println!("{label}: {checked} entries; {report} in {case:?}");
}

/// Checks a smooth cell with the default step.
fn check_smooth<C: Cell<Elem = f64>>(label: &str, options: C::Options) {
    check_grid::<C>(label, 1, GradientCheck::default().step, false, |_| options.clone());
}

#[test]
fn tanh_rnn_gradients_match_finite_differences() {
    check_smooth::<RnnCell<f64>>("rnn tanh", Nonlinearity::Tanh);
}

/// Within a linear piece of the activations the loss is a polynomial, so the only error is rounding
/// (10⁻¹⁶ / 10⁻⁴, against the floor of 10⁻⁴). A network with a kink within the step is drawn again.
#[test]
fn relu_rnn_gradients_match_finite_differences() {
    check_grid::<RnnCell<f64>>("rnn relu", 1, 1e-4, true, |_| Nonlinearity::Relu);
}

#[test]
fn lstm_gradients_match_finite_differences() {
    check_smooth::<LstmCell<f64>>("lstm", Default::default());
}

#[test]
fn gru_gradients_match_finite_differences_with_reset_after_the_product() {
    check_smooth::<GruCell<f64>>("gru after", GruOptions::new(Reset::After));
}

#[test]
fn gru_gradients_match_finite_differences_with_reset_before_the_product() {
    check_smooth::<GruCell<f64>>("gru before", GruOptions::new(Reset::Before));
}

/// The output must be narrower than the cell state, so the smallest hidden size is 2.
#[test]
fn projected_lstm_gradients_match_finite_differences() {
    let step = GradientCheck::default().step;
    check_grid::<ProjectedLstmCell<f64>>("lstm projected", 2, step, false, |least| {
        ProjectedLstmOptions::new(least.div_ceil(2).min(least - 1))
    });
}

#[test]
fn peephole_lstm_gradients_match_finite_differences() {
    check_smooth::<PeepholeLstmCell<f64>>("lstm peephole", Default::default());
}

#[test]
fn coupled_lstm_gradients_match_finite_differences() {
    check_smooth::<CoupledLstmCell<f64>>("lstm coupled", Default::default());
}

/// At a zero state W_hh h' has no variance. Its normalisation then varies on the scale of √ε, in each step
/// and layer. With ε = 0.1, a difference of 2·10⁻⁴ is small in comparison.
#[test]
fn layer_norm_lstm_gradients_match_finite_differences() {
    let options = LayerNormLstmOptions { epsilon: 0.1, ..Default::default() };
    check_grid::<LayerNormLstmCell<f64>>("lstm layer norm", 1, 2e-4, false, |_| options.clone());
}

#[test]
fn layer_norm_lstm_gradients_match_finite_differences_at_the_default_epsilon() {
    let case = Case {
        hidden_sizes: vec![7],
        bidirectional: true,
        bias: true,
        initial: Initial::Given,
        lengths: &[2, 0, 4, 1],
    };
    let options = LayerNormLstmOptions::default();
    let check = GradientCheck { step: 1e-4, ..GradientCheck::default() };
    let report = worst::<LayerNormLstmCell<f64>>(&case, options, check, false, 1).unwrap().unwrap();
    assert!(report.relative_error <= MAX_ERROR, "{report}");
}
