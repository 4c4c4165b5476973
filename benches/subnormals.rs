//! The effect of subnormal numbers on the time of a network: a state that decays over 10⁵ steps with
//! zero inputs, and a gradient that vanishes over 10⁴ steps, each beside the same work on normal
//! numbers.
//!
//!     cargo bench --bench subnormals
//!
//! Without a flush to zero both would reach the subnormal range and stay there, because below 2⁻¹⁴⁹ /
//! (1 − f) a value times f rounds to itself. Requirement: not slower.
#![allow(missing_docs)]

#[path = "support/table.rs"]
mod table;

use std::time::Instant;

use ndarray::{Array3, ArrayViewMutD, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{Cell, GruCell, LstmCell, RnnCell};
use recurrent::{Arrays, Recurrent, Result, Sequences};
use table::print_table;

const INPUT: usize = 16;
const HIDDEN: usize = 64;
const STATE_STEPS: usize = 100_000;
const GRADIENT_STEPS: usize = 10_000;
const GRADIENT_BATCH: usize = 4;
/// The number of calls, of which the fastest counts.
const CALLS: usize = 3;
/// The largest ratio of two times that counts as noise.
const SLACK: f64 = 1.1;

/// The parameters that determine the factor of the state at each step.
#[derive(Clone, Copy)]
enum Keep {
    /// The bias of each gate.
    Gates(&'static [f32]),
    /// The factor of the identity in W_hh.
    Weight(f32),
}

struct Case {
    cell: &'static str,
    vanishing: Keep,
    lasting: Keep,
}

fn set(name: &str, mut values: ArrayViewMutD<'_, f32>, keep: Keep, rng: &mut ChaCha8Rng) {
    let hidden = |row: usize| row / HIDDEN;
    match (keep, name) {
        (Keep::Gates(biases), "bias_ih_l0") => {
            values.indexed_iter_mut().for_each(|(at, value)| *value = biases[hidden(at[0])]);
        }
        (Keep::Weight(weight), "weight_hh_l0") => {
            let diagonal = |row, column| if row == column { weight } else { 0.0 };
            values.indexed_iter_mut().for_each(|(at, value)| *value = diagonal(at[0], at[1]));
        }
        _ if name.starts_with("bias") => values.fill(0.0),
        _ => values.mapv_inplace(|_| rng.random_range(-0.01..0.01)),
    }
}

fn network<C: Cell<Elem = f32>>(keep: Keep) -> Result<Recurrent<C>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut network = Recurrent::builder(INPUT, HIDDEN).build(&mut rng)?;
    network.for_each_mut(&mut |name, values| set(name, values, keep, &mut rng));
    Ok(network)
}

/// Returns the share of subnormal numbers among `values`.
fn share<'a>(values: impl ExactSizeIterator<Item = &'a f32>) -> f64 {
    let count = values.len() as f64;
    values.filter(|value| value.is_subnormal()).count() as f64 / count
}

/// Returns the seconds of inference from a state of ones with zero inputs, and the share of subnormal
/// outputs.
fn state<C: Cell<Elem = f32>>(keep: Keep) -> Result<(f64, f64)> {
    let network = network::<C>(keep)?;
    let x = Sequences::full(Array3::zeros((STATE_STEPS, 1, INPUT)))?;
    let mut initial = network.zero_state(1)?;
    for name in C::STATE {
        initial.set(name, Array3::ones((1, 1, HIDDEN)))?;
    }
    let (mut best, mut subnormal) = (f64::INFINITY, 0.0);
    for _ in 0..CALLS {
        let start = Instant::now();
        let (output, _) = network.forward(&x, Some(&initial))?;
        best = best.min(start.elapsed().as_secs_f64());
        subnormal = share(output.values().iter());
    }
    Ok((best, subnormal))
}

/// Returns the seconds of backward for a loss of the last step or of every step, and the share of
/// subnormal numbers in the gradient of the input.
fn gradient<C: Cell<Elem = f32>>(keep: Keep, last_alone: bool) -> Result<(f64, f64)> {
    let network = network::<C>(keep)?;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let shape = (GRADIENT_STEPS, GRADIENT_BATCH, INPUT);
    let x = Array3::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0));
    let x = Sequences::full(x)?;
    let mut d_output = Array3::<f32>::ones((GRADIENT_STEPS, GRADIENT_BATCH, HIDDEN));
    if last_alone {
        d_output.slice_mut(s![..GRADIENT_STEPS - 1, .., ..]).fill(0.0);
    }
    let d_output = x.with_values(d_output)?;
    let (mut best, mut subnormal) = (f64::INFINITY, 0.0);
    for _ in 0..CALLS {
        let (_, _, tape) = network.forward_train(&x, None, &mut rng)?;
        let mut grad = network.zeros_like();
        let start = Instant::now();
        let (d_x, _) = network.backward(tape, &d_output, None, &mut grad)?;
        best = best.min(start.elapsed().as_secs_f64());
        subnormal = share(d_x.values().iter());
    }
    Ok((best, subnormal))
}

fn row(name: String, normal: (f64, f64), vanishing: (f64, f64)) -> Vec<String> {
    let ratio = vanishing.0 / normal.0;
    vec![
        name,
        format!("{:.2}", normal.0 * 1e3),
        format!("{:.2}", vanishing.0 * 1e3),
        format!("{ratio:.2}"),
        format!("{:.0} %", normal.1 * 100.0),
        format!("{:.0} %", vanishing.1 * 100.0),
        if ratio <= SLACK { "met" } else { "not met" }.to_owned(),
    ]
}

fn rows<C: Cell<Elem = f32>>(rows: &mut Vec<Vec<String>>, case: &Case) -> Result<()> {
    let states = (state::<C>(case.lasting)?, state::<C>(case.vanishing)?);
    rows.push(row(format!("{}, state", case.cell), states.0, states.1));
    let gradients = (gradient::<C>(case.vanishing, false)?, gradient::<C>(case.vanishing, true)?);
    rows.push(row(format!("{}, gradient", case.cell), gradients.0, gradients.1));
    Ok(())
}

fn main() -> Result<()> {
    println!("f32, I {INPUT}, H {HIDDEN}; state: inference over {STATE_STEPS} steps, B 1;");
    println!(
        "gradient: backward over {GRADIENT_STEPS} steps, B {GRADIENT_BATCH}; best of {CALLS}\n"
    );
    let mut table = Vec::new();
    let case = |cell, vanishing, lasting| Case { cell, vanishing, lasting };
    let (lstm, lasting) = (&[-20.0, 3.0, 0.0, 0.0], &[-20.0, 40.0, 0.0, 0.0]);
    let lstm = case("LSTM", Keep::Gates(lstm), Keep::Gates(lasting));
    rows::<LstmCell<f32>>(&mut table, &lstm)?;
    let gru = case("GRU", Keep::Gates(&[0.0, 3.0, 0.0]), Keep::Gates(&[0.0, 40.0, 0.0]));
    rows::<GruCell<f32>>(&mut table, &gru)?;
    let rnn = case("RNN", Keep::Weight(0.95), Keep::Weight(1.0));
    rows::<RnnCell<f32>>(&mut table, &rnn)?;
    let head = [
        "work",
        "normal, ms",
        "vanishing, ms",
        "ratio",
        "subnormal, normal",
        "subnormal, vanishing",
        "not slower",
    ];
    print_table(&head, &table);
    Ok(())
}
