//! The worker of rust-lstm: its LSTM network, f64 only. Sequences of a batch are columns, with one matrix
//! for each step, made at load. The crate's sequence calls start from zero and take no gradient of the
//! final states, so the worker calls the network's step and the cells' backward itself.

use ndarray::Array2;
use peer_protocol::{Array, Case, Made, Result, Tensors, Work, serve};
use rust_lstm::layers::lstm_cell::LSTMCellGradients;
use rust_lstm::models::lstm_network::{LSTMNetwork, LSTMState};

struct RustLstm {
    case: Case,
    network: LSTMNetwork,
    rows: Vec<Array2<f64>>,
    start: LSTMState,
    d_output: Vec<Array2<f64>>,
    d_last: LSTMState,
    carried: LSTMState,
    t: usize,
}

/// The results of a run. The gradients are empty for inference.
struct Outcome {
    output: Vec<Array2<f64>>,
    last: LSTMState,
    d_x: Vec<Array2<f64>>,
    d_start: LSTMState,
    grads: Vec<LSTMCellGradients>,
}

/// Returns [batch, n] as a matrix with one column for each sequence of the batch.
fn columns(rows: &Array) -> Array2<f64> {
    let turned = rows.transposed();
    Array2::from_shape_vec((turned.shape[0], turned.shape[1]), turned.values).unwrap()
}

fn all_columns(array: Option<&Array>) -> Vec<Array2<f64>> {
    array.map_or(vec![], |array| (0..array.shape[0]).map(|i| columns(&array.row(i))).collect())
}

fn matrix(array: &Array2<f64>) -> Array {
    Array::new(&[array.nrows(), array.ncols()], array.iter().copied().collect())
}

fn stacked(parts: &[Array2<f64>]) -> Array {
    Array::stack(&parts.iter().map(|part| matrix(part).transposed()).collect::<Vec<_>>())
}

impl RustLstm {
    fn new(case: &Case, tensors: &Tensors) -> Self {
        let mut network = LSTMNetwork::new(case.input_size, case.hidden_size, case.num_layers);
        for (index, cell) in network.get_cells_mut().iter_mut().enumerate() {
            let weight = |kind: &str| {
                let array = &tensors[&format!("{kind}_l{index}")];
                let columns = array.shape.get(1).copied().unwrap_or(1);
                Array2::from_shape_vec((array.shape[0], columns), array.values.clone()).unwrap()
            };
            (cell.w_ih, cell.w_hh) = (weight("weight_ih"), weight("weight_hh"));
            (cell.b_ih, cell.b_hh) = (weight("bias_ih"), weight("bias_hh"));
        }
        if case.trains() {
            network.train();
        } else {
            network.eval();
        }
        let state = |h: &str, c: &str| LSTMState {
            h: all_columns(tensors.get(h)),
            c: all_columns(tensors.get(c)),
        };
        let start = state("h_0", "c_0");
        Self {
            case: case.clone(),
            network,
            rows: all_columns(tensors.get("x")),
            carried: start.clone(),
            start,
            d_output: all_columns(tensors.get("d_output")),
            d_last: state("d_h_n", "d_c_n"),
            t: 0,
        }
    }

    fn step(&mut self) -> Array2<f64> {
        let (output, state) =
            self.network.forward(&self.rows[self.t % self.rows.len()], &self.carried);
        self.carried = state;
        self.t += 1;
        output
    }

    fn sequence(&mut self) -> Outcome {
        let mut state = self.start.clone();
        let mut output = Vec::with_capacity(self.rows.len());
        let mut caches = Vec::new();
        for x in &self.rows {
            let (h, next) = if self.case.trains() {
                let (h, next, cache) = self.network.forward_with_cache(x, &state);
                caches.push(cache);
                (h, next)
            } else {
                self.network.forward(x, &state)
            };
            output.push(h);
            state = next;
        }
        let mut d_state = self.d_last.clone();
        let mut d_x = vec![Array2::zeros((0, 0)); caches.len()];
        let mut grads = if self.case.trains() { self.network.zero_gradients() } else { vec![] };
        for (t, cache) in caches.iter().enumerate().rev() {
            let mut d_above = self.d_output[t].clone();
            for (layer, cell) in self.network.get_cells().iter().enumerate().rev() {
                let d_h = d_above + &d_state.h[layer];
                let (grad, d_in, d_h, d_c) =
                    cell.backward(&d_h, &d_state.c[layer], &cache.cell_caches[layer]);
                grads[layer].accumulate(&grad);
                (d_state.h[layer], d_state.c[layer]) = (d_h, d_c);
                d_above = d_in;
            }
            d_x[t] = d_above;
        }
        Outcome { output, last: state, d_x, d_start: d_state, grads }
    }
}

impl Work for RustLstm {
    fn run(&mut self) -> Result<()> {
        if self.case.mode == "step" {
            std::hint::black_box(self.step());
        } else {
            std::hint::black_box(self.sequence());
        }
        Ok(())
    }

    fn check(&mut self) -> Result<Vec<(String, Array)>> {
        if self.case.mode == "step" {
            (self.carried, self.t) = (self.start.clone(), 0);
            let outputs: Vec<_> = (0..10).map(|_| self.step()).collect();
            return Ok(vec![("output".into(), matrix(&outputs[9]).transposed())]);
        }
        let outcome = self.sequence();
        let mut named = vec![
            ("output".to_string(), stacked(&outcome.output)),
            ("h_n".to_string(), stacked(&outcome.last.h)),
            ("c_n".to_string(), stacked(&outcome.last.c)),
        ];
        if self.case.trains() {
            named.push(("d_x".into(), stacked(&outcome.d_x)));
            named.push(("d_h_0".into(), stacked(&outcome.d_start.h)));
            named.push(("d_c_0".into(), stacked(&outcome.d_start.c)));
        }
        for (layer, grad) in outcome.grads.iter().enumerate() {
            let flat = |m: &Array2<f64>| Array::new(&[m.len()], m.iter().copied().collect());
            named.push((format!("d_weight_ih_l{layer}"), matrix(&grad.w_ih)));
            named.push((format!("d_weight_hh_l{layer}"), matrix(&grad.w_hh)));
            named.push((format!("d_bias_ih_l{layer}"), flat(&grad.b_ih)));
            named.push((format!("d_bias_hh_l{layer}"), flat(&grad.b_hh)));
        }
        Ok(named)
    }
}

fn main() -> Result<()> {
    serve("rust_lstm", "0.10.0 (f64 only)", |case, tensors| {
        if let Some(reason) = case.beyond_plain_stack() {
            return Ok(Made::Unsupported(reason));
        }
        Ok(match (case.dtype.as_str(), case.cell.as_str()) {
            ("f64", "lstm") => Made::Work(Box::new(RustLstm::new(case, tensors))),
            ("f64", "gru") => {
                Made::Unsupported("its GRU resets h before the product: another function")
            }
            ("f64", _) => Made::Unsupported("no plain tanh layer"),
            _ => Made::Unsupported("f64 only"),
        })
    })
}
