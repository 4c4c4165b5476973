//! The worker of candle-nn: its LSTM and GRU, stepped over time-major rows without slices of a
//! batch-first sequence or copies. In training each x_t is a variable of its own, so that backward() does
//! not pad a gradient to the whole sequence at every step.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use candle_nn::rnn::{GRU, GRUConfig, GRUState, LSTM, LSTMConfig, LSTMState, RNN};
use peer_protocol::{Array, Case, Made, Result, Tensors, Work, serve};

const KINDS: [&str; 4] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];

enum Layer {
    Lstm(LSTM),
    Gru(GRU),
}

/// h, and c of an LSTM.
type State = (Tensor, Option<Tensor>);

impl Layer {
    fn step(&self, x: &Tensor, (h, c): &State) -> Result<State> {
        Ok(match (self, c) {
            (Layer::Lstm(lstm), Some(c)) => {
                let state = lstm.step(x, &LSTMState::new(h.clone(), c.clone()))?;
                (state.h, Some(state.c))
            }
            (Layer::Gru(gru), _) => (gru.step(x, &GRUState { h: h.clone() })?.h, None),
            _ => return Err("an LSTM needs c".into()),
        })
    }
}

struct Candle {
    case: Case,
    layers: Vec<Layer>,
    rows: Vec<Tensor>,
    start: Vec<State>,
    upstream: HashMap<String, Tensor>,
    /// The variables, by the names of their gradients.
    variables: Vec<(String, Tensor)>,
    carried: Vec<State>,
    t: usize,
}

/// The results of a run: the output rows or the output of the step, final states, gradients.
struct Outcome {
    output: Tensor,
    last: Vec<State>,
    grads: Vec<(String, Tensor)>,
}

impl Candle {
    fn new(case: &Case, tensors: &Tensors) -> Result<Self> {
        let dtype = if case.dtype == "f64" { DType::F64 } else { DType::F32 };
        let mut variables = Vec::new();
        let tensor = |array: &Array| -> Result<Tensor> {
            Ok(Tensor::from_slice(&array.values, array.shape.as_slice(), &Device::Cpu)?
                .to_dtype(dtype)?)
        };
        let mut leaf = |name: String, array: &Array| -> Result<Tensor> {
            let mut value = tensor(array)?;
            if case.trains() {
                value = Var::from_tensor(&value)?.as_tensor().clone();
                variables.push((name, value.clone()));
            }
            Ok(value)
        };
        let mut layers = Vec::new();
        let mut start = Vec::new();
        for index in 0..case.num_layers {
            let mut weights = HashMap::new();
            for kind in KINDS {
                let name = format!("{kind}_l{index}");
                weights.insert(format!("{kind}_l0"), leaf(format!("d_{name}"), &tensors[&name])?);
            }
            let vb = VarBuilder::from_tensors(weights, dtype, &Device::Cpu);
            let (input, hidden) = (case.input_width(index), case.hidden_size);
            layers.push(match case.cell.as_str() {
                "lstm" => Layer::Lstm(LSTM::new(input, hidden, LSTMConfig::default(), vb)?),
                _ => Layer::Gru(GRU::new(input, hidden, GRUConfig::default(), vb)?),
            });
            let h = leaf("d_h_0".into(), &tensors["h_0"].row(index))?;
            let c = tensors.get("c_0").map(|c| leaf("d_c_0".into(), &c.row(index))).transpose()?;
            start.push((h, c));
        }
        let x = &tensors["x"];
        let rows =
            (0..x.shape[0]).map(|t| leaf("d_x".into(), &x.row(t))).collect::<Result<Vec<_>>>()?;
        let mut upstream = HashMap::new();
        for name in ["d_output", "d_h_n", "d_c_n"] {
            if let Some(array) = tensors.get(name) {
                upstream.insert(name.to_string(), tensor(array)?);
            }
        }
        let carried = start.clone();
        Ok(Self { case: case.clone(), layers, rows, start, upstream, variables, carried, t: 0 })
    }

    fn step(&mut self) -> Result<Tensor> {
        let mut x = self.rows[self.t % self.rows.len()].clone();
        self.t += 1;
        for (layer, state) in self.layers.iter().zip(&mut self.carried) {
            *state = layer.step(&x, state)?;
            x = state.0.clone();
        }
        Ok(x)
    }

    fn sequence(&self) -> Result<Outcome> {
        let mut rows = self.rows.clone();
        let mut last = self.start.clone();
        for (layer, state) in self.layers.iter().zip(&mut last) {
            for row in &mut rows {
                *state = layer.step(row, state)?;
                *row = state.0.clone();
            }
        }
        let output = Tensor::stack(&rows, 0)?;
        let mut grads = Vec::new();
        if self.case.trains() {
            let mut loss = (&output * &self.upstream["d_output"])?.sum_all()?;
            let finals: Vec<Tensor> = last.iter().map(|(h, _)| h.clone()).collect();
            loss = (loss + (Tensor::stack(&finals, 0)? * &self.upstream["d_h_n"])?.sum_all()?)?;
            if let Some(d_c_n) = self.upstream.get("d_c_n") {
                let finals: Vec<Tensor> = last.iter().filter_map(|(_, c)| c.clone()).collect();
                loss = (loss + (Tensor::stack(&finals, 0)? * d_c_n)?.sum_all()?)?;
            }
            let store = loss.backward()?;
            for (name, variable) in &self.variables {
                let grad = store.get(variable).ok_or_else(|| format!("no gradient {name}"))?;
                grads.push((name.clone(), grad.clone()));
            }
        }
        Ok(Outcome { output, last, grads })
    }
}

fn array(tensor: &Tensor) -> Result<Array> {
    let values = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(Array::new(tensor.dims(), values))
}

impl Work for Candle {
    fn run(&mut self) -> Result<()> {
        if self.case.mode == "step" {
            std::hint::black_box(self.step()?);
        } else {
            std::hint::black_box(self.sequence()?);
        }
        Ok(())
    }

    fn check(&mut self) -> Result<Vec<(String, Array)>> {
        if self.case.mode == "step" {
            (self.carried, self.t) = (self.start.clone(), 0);
            let outputs = (0..10).map(|_| self.step()).collect::<Result<Vec<_>>>()?;
            return Ok(vec![("output".into(), array(&outputs[9])?)]);
        }
        let outcome = self.sequence()?;
        let states = |pick: fn(&State) -> Option<&Tensor>| -> Result<Vec<Array>> {
            outcome.last.iter().filter_map(pick).map(array).collect()
        };
        let mut named = vec![
            ("output".to_string(), array(&outcome.output)?),
            ("h_n".to_string(), Array::stack(&states(|state| Some(&state.0))?)),
        ];
        if self.case.cell == "lstm" {
            named.push(("c_n".to_string(), Array::stack(&states(|state| state.1.as_ref())?)));
        }
        // x and the states have one variable for each row, the weights one each.
        let mut parts: Vec<(String, Vec<Array>)> = Vec::new();
        for (name, grad) in &outcome.grads {
            match parts.iter_mut().find(|(known, _)| known == name) {
                Some((_, rows)) => rows.push(array(grad)?),
                None => parts.push((name.clone(), vec![array(grad)?])),
            }
        }
        for (name, mut rows) in parts {
            let stacked = ["d_x", "d_h_0", "d_c_0"].contains(&name.as_str());
            named.push((name, if stacked { Array::stack(&rows) } else { rows.remove(0) }));
        }
        Ok(named)
    }
}

fn main() -> Result<()> {
    // The thread count comes from RAYON_NUM_THREADS, which the driver sets.
    serve("candle", "0.11.1", |case, tensors| {
        if let Some(reason) = case.beyond_plain_stack() {
            return Ok(Made::Unsupported(reason));
        }
        if case.cell == "rnn_tanh" {
            return Ok(Made::Unsupported("candle-nn has no plain tanh layer"));
        }
        Ok(Made::Work(Box::new(Candle::new(case, tensors)?)))
    })
}
