//! Backpropagation through time in its textbook form, with explicit Jacobian matrices, against `backward`.
//!
//! For s_t = tanh(U x_t + W s_{t−1}), ŷ_t = softmax(V s_t) and the cross-entropy E_t = −ln ŷ_t[y_t]
//! the chain rule is
//!
//! ```text
//! ∂E_t/∂W = Σ_{k ≤ t} ∂E_t/∂ŷ_t · ∂ŷ_t/∂s_t · ∂s_t/∂s_k · ∂s_k/∂W
//! ∂s_t/∂s_k = Π_{k < j ≤ t} ∂s_j/∂s_{j−1} = Π diag(1 − s_j²) · W
//! ```
//!
//! where ∂s_k/∂W is the immediate derivative, which holds s_{k−1} fixed. (Werbos, *Backpropagation
//! Through Time: What It Does and How to Do It*, 1990.)

use ndarray::{Array1, Array2, Array3, Axis, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::{Arrays, Rnn, Sequences};

const STEPS: usize = 3;
const HIDDEN: usize = 4;
const TARGETS: [usize; STEPS] = [2, 0, 1];

struct Lecture {
    rnn: Rnn<f64>,
    x: Sequences<f64>,
    u: Array2<f64>,
    w: Array2<f64>,
    v: Array2<f64>,
}

/// Returns U or W of the network, or its gradient.
fn weight(rnn: &Rnn<f64>, name: &str) -> Array2<f64> {
    let mut found = None;
    rnn.for_each(&mut |of, array| {
        if of == name {
            found = array.to_owned().into_dimensionality().ok();
        }
    });
    found.unwrap()
}

fn lecture() -> Lecture {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let rnn = Rnn::<f64>::builder(2, HIDDEN).bias(false).build(&mut rng).unwrap();
    let x = array![[[0.5, -1.0]], [[1.5, 0.25]], [[-0.75, 2.0]]];
    let v = array![[0.9, -0.4, 0.3, 1.1], [-0.7, 0.8, -1.2, 0.2], [0.1, 0.6, 0.5, -0.9]];
    Lecture {
        x: Sequences::full(x).unwrap(),
        u: weight(&rnn, "weight_ih_l0"),
        w: weight(&rnn, "weight_hh_l0"),
        v,
        rnn,
    }
}

impl Lecture {
    fn x(&self, t: usize) -> Array1<f64> {
        self.x.values().index_axis(Axis(0), t).row(0).to_owned()
    }

    /// Returns s_0, the zero state before the first step, then s_1, s_2, s_3.
    fn states(&self) -> Vec<Array1<f64>> {
        let mut states = vec![Array1::zeros(HIDDEN)];
        for t in 0..STEPS {
            states.push((self.u.dot(&self.x(t)) + self.w.dot(&states[t])).mapv(f64::tanh));
        }
        states
    }

    fn softmax(&self, state: &Array1<f64>) -> Array1<f64> {
        let powers = self.v.dot(state).mapv(f64::exp);
        &powers / powers.sum()
    }

    /// Returns the row ∂E_t/∂s_t = ∂E_t/∂ŷ_t · ∂ŷ_t/∂s_t, with steps counted from 1.
    fn d_state(&self, t: usize) -> Array1<f64> {
        let y = self.softmax(&self.states()[t]);
        let target = TARGETS[t - 1];
        let mut d_y = Array1::zeros(y.len());
        d_y[target] = -1.0 / y[target];
        let column = y.view().insert_axis(Axis(1));
        let softmax_jacobian = Array2::from_diag(&y) - column.dot(&column.t());
        d_y.dot(&softmax_jacobian.dot(&self.v))
    }

    /// Returns ∂E_t/∂U or ∂E_t/∂W. `input_of(k)` is the vector that the weight multiplies at step k.
    fn gradient(&self, t: usize, input_of: impl Fn(usize) -> Array1<f64>) -> Array2<f64> {
        let states = self.states();
        let slope = |k: usize| Array2::from_diag(&states[k].mapv(|s| 1.0 - s * s));
        let mut total = 0.0 * slope(t).dot(&Array2::zeros((HIDDEN, input_of(t).len())));
        for k in 1..=t {
            let mut d_s_t_by_s_k = Array2::eye(HIDDEN);
            for j in (k + 1..=t).rev() {
                d_s_t_by_s_k = d_s_t_by_s_k.dot(&slope(j).dot(&self.w));
            }
            // ∂s_k/∂weight is [hidden] × [hidden, width]: entry (i, (i, j)) is (1 − s_k[i]²)·input[j].
            let (input, slope) = (input_of(k), slope(k));
            let mut d_s_k = Array3::zeros((HIDDEN, HIDDEN, input.len()));
            for i in 0..HIDDEN {
                for j in 0..input.len() {
                    d_s_k[[i, i, j]] = slope[[i, i]] * input[j];
                }
            }
            let row = self.d_state(t).dot(&d_s_t_by_s_k);
            for (factor, d_s_k) in row.iter().zip(d_s_k.outer_iter()) {
                total.scaled_add(*factor, &d_s_k);
            }
        }
        total
    }

    /// Returns ∂E/∂U and ∂E/∂W of E = Σ E_t over the given steps, from `backward`.
    fn backward(&self, steps: &[usize]) -> (Array2<f64>, Array2<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let (output, _, tape) = self.rnn.forward_train(&self.x, None, &mut rng).unwrap();
        let mut d_output = Array3::zeros((STEPS, 1, HIDDEN));
        for &t in steps {
            let s_t = output.values().index_axis(Axis(0), t - 1).row(0).to_owned();
            let mut d_logits = self.softmax(&s_t);
            d_logits[TARGETS[t - 1]] -= 1.0;
            d_output.index_axis_mut(Axis(0), t - 1).row_mut(0).assign(&d_logits.dot(&self.v));
        }
        let mut grad = self.rnn.zeros_like();
        let d_output = output.with_values(d_output).unwrap();
        self.rnn.backward(tape, &d_output, None, &mut grad).unwrap();
        (weight(&grad, "weight_ih_l0"), weight(&grad, "weight_hh_l0"))
    }

    fn check(&self, steps: &[usize]) {
        let states = self.states();
        let (d_u, d_w) = self.backward(steps);
        let sum = |input_of: &dyn Fn(usize) -> Array1<f64>| {
            let gradients = steps.iter().map(|&t| self.gradient(t, input_of));
            gradients.reduce(|sum, gradient| sum + gradient).unwrap()
        };
        let expected_u = sum(&|k| self.x(k - 1));
        let expected_w = sum(&|k| states[k - 1].clone());
        assert!(expected_w.iter().any(|d| d.abs() > 1e-2), "a gradient that says something");
        approx::assert_abs_diff_eq!(d_u, expected_u, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(d_w, expected_w, epsilon = 1e-12);
    }
}

#[test]
fn the_gradient_of_the_last_error_is_the_sum_over_all_steps_of_products_of_jacobians() {
    lecture().check(&[3]);
}

#[test]
fn the_gradient_of_the_whole_error_is_the_sum_of_those_of_each_step() {
    lecture().check(&[1, 2, 3]);
}
