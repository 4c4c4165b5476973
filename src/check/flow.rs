//! The gradient flow: the norm of ∂L/∂h_t (and of ∂L/∂c_t) at each step.
//!
//! A vanilla RNN multiplies the gradient by W_hhᵀ·diag(φ') at each step back in time, so the gradient
//! vanishes or explodes with the distance. The cell state of an LSTM multiplies it by the forget gate
//! alone (Hochreiter, 1991; Bengio, Simard and Frasconi, 1994; Pascanu, Mikolov and Bengio, 2013).

use std::fmt;

use rand::Rng;

use crate::arrays::Arrays;
use crate::cell::Cell;
use crate::error::Result;
use crate::float::Float;
use crate::sequence::{Recurrent, State, StepGradients};
use crate::sequences::Sequences;

/// The largest number of lines of a plot. Longer flows are shown at evenly spaced steps.
const PLOT_LINES: usize = 40;
/// The length of the longest bar in characters.
const BAR: usize = 50;

/// The norms of ∂L/∂`state`_t over the batch, for each step t of one layer and direction.
///
/// `Display` plots the norms as text, on a logarithmic scale.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientFlow {
    /// The state: `h`, or `c` of an LSTM.
    pub state: String,
    /// The layer.
    pub layer: usize,
    /// True for the direction backward in time.
    pub reverse: bool,
    /// The Euclidean norm over batch and width at each step.
    pub norms: Vec<f64>,
}

impl GradientFlow {
    /// Measures the flow of every state, layer and direction of `network` on the batch `x`. `d_loss`
    /// returns the gradients of a loss with respect to the output and the final state.
    ///
    /// ```
    /// use ndarray::Array3;
    /// use rand::SeedableRng;
    /// use recurrent::check::GradientFlow;
    /// use recurrent::{Rnn, Sequences};
    ///
    /// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    /// let rnn = Rnn::<f64>::builder(1, 8).build(&mut rng)?;
    /// let x = Sequences::full(Array3::ones((30, 1, 1)))?;
    /// let flows = GradientFlow::measure(&rnn, &x, &mut rng, |output, _| {
    ///     let mut d_output = Array3::zeros(output.values().dim());
    ///     d_output.slice_axis_mut(ndarray::Axis(0), (29..).into()).fill(1.0); // the last step alone
    ///     Ok((output.with_values(d_output)?, None))
    /// })?;
    /// assert!(flows[0].norms[0] < 1e-6 * flows[0].norms[29]); // it vanished
    /// println!("{}", flows[0]);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn measure<T: Float, C: Cell<Elem = T>>(
        network: &Recurrent<C>,
        x: &Sequences<T>,
        rng: &mut dyn Rng,
        d_loss: impl FnOnce(&Sequences<T>, &State<T>) -> Result<(Sequences<T>, Option<State<T>>)>,
    ) -> Result<Vec<Self>> {
        let (output, last, tape) = network.forward_train(x, None, rng)?;
        let (d_output, d_final) = d_loss(&output, &last)?;
        let mut grad = network.zeros_like();
        let (_, _, steps) = network.backward_steps(tape, &d_output, d_final.as_ref(), &mut grad)?;
        let mut flows = Vec::new();
        for layer in 0..network.num_layers() {
            for reverse in [false, true].into_iter().take(1 + usize::from(network.bidirectional()))
            {
                for state in last.state_names() {
                    flows.push(Self::of(&steps, state, layer, reverse)?);
                }
            }
        }
        Ok(flows)
    }

    /// Returns the flow of one state of one layer and direction.
    pub fn of<T: Float>(
        steps: &StepGradients<T>,
        state: &str,
        layer: usize,
        reverse: bool,
    ) -> Result<Self> {
        let gradients = steps.get(state, layer, reverse)?;
        let norm = |step: ndarray::ArrayView2<'_, T>| {
            step.iter().map(|d| d.as_f64() * d.as_f64()).sum::<f64>().sqrt()
        };
        let norms = gradients.outer_iter().map(norm).collect();
        Ok(Self { state: state.to_owned(), layer, reverse, norms })
    }
}

impl fmt::Display for GradientFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, layer, reverse, norms } = self;
        let direction = if *reverse { ", backward in time" } else { "" };
        writeln!(
            f,
            "‖∂L/∂{state}_t‖, layer {layer}{direction}; each mark is a factor, see the scale"
        )?;
        let positive = || norms.iter().copied().filter(|norm| *norm > 0.0 && norm.is_finite());
        let (low, high) = (positive().fold(f64::MAX, f64::min), positive().fold(0.0, f64::max));
        let decades = (high / low).log10().max(1.0);
        let stride = norms.len().div_ceil(PLOT_LINES).max(1);
        for (t, norm) in norms.iter().enumerate().step_by(stride) {
            let share = 1.0 + (norm / high).log10() / decades;
            let length =
                if *norm > 0.0 { (share * BAR as f64).clamp(0.0, BAR as f64) } else { 0.0 };
            writeln!(f, "{t:>6} {norm:>10.2e} {}", "▇".repeat(length.round() as usize))?;
        }
        write!(f, "scale: {BAR} marks are {decades:.1} decades")
    }
}
