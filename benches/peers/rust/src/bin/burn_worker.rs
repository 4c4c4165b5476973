//! The worker of burn: its LSTM, GRU and RNN modules on the ndarray backend (`--backend ndarray`) or on
//! the flex backend that replaces it (`--backend flex`). Training uses autodiff. The LSTM reads
//! time-major rows through `forward_iter`. In training each row is a leaf of its own, so that backward
//! does not pad a gradient to the whole sequence at every step.

use burn::module::Param;
use burn::nn::{
    GateController, Gru, GruConfig, Lstm, LstmConfig, LstmState, Rnn, RnnConfig, RnnState,
};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use peer_protocol::{Array, Case, Made, Result, Tensors, Work, serve};

enum Layer {
    Lstm(Lstm),
    Gru(Gru),
    Rnn(Rnn),
}

impl Layer {
    /// Returns the gates in PyTorch's order.
    fn gates(&self) -> Vec<&GateController> {
        match self {
            Layer::Lstm(l) => vec![
                &l.input_gate,
                l.forget_gate.as_ref().expect("uncoupled"),
                &l.cell_gate,
                &l.output_gate,
            ],
            Layer::Gru(l) => vec![&l.reset_gate, &l.update_gate, &l.new_gate],
            Layer::Rnn(l) => vec![&l.gate],
        }
    }
}

#[derive(Clone)]
struct State {
    h: Tensor<2>,
    c: Option<Tensor<2>>,
}

struct Burn {
    case: Case,
    device: Device,
    layers: Vec<Layer>,
    /// The input of the LSTM and of single steps, a row [batch, 1, input] for each step.
    rows: Vec<Tensor<3>>,
    /// The input of the other modules: batch first for the GRU, time first for the RNN.
    x: Tensor<3>,
    start: Vec<State>,
    d_output: Option<Tensor<3>>,
    d_last: Vec<State>,
    carried: Vec<State>,
    t: usize,
}

struct Outcome {
    /// [batch, time, hidden], or [time, batch, hidden] for the RNN.
    output: Tensor<3>,
    last: Vec<State>,
    grads: Option<Gradients>,
}

fn tensor<const D: usize>(array: &Array, device: &Device, dtype: DType) -> Tensor<D> {
    let data = TensorData::new(array.values.clone(), array.shape.clone());
    Tensor::from_data(data, (device, dtype))
}

fn array<const D: usize>(tensor: &Tensor<D>) -> Result<Array> {
    let data = tensor.to_data_dtype(DType::F64);
    let shape: Vec<usize> = tensor.dims().to_vec();
    Ok(Array::new(&shape, data.try_to_vec::<f64>().map_err(|e| format!("{e:?}"))?))
}

fn swapped(rows: &Array) -> Array {
    let (a, b) = (rows.shape[0], rows.shape[1]);
    let parts: Vec<Array> = (0..b)
        .map(|j| Array::stack(&(0..a).map(|i| rows.row(i).row(j)).collect::<Vec<_>>()))
        .collect();
    Array::stack(&parts)
}

impl Burn {
    fn new(case: &Case, tensors: &Tensors, device: &Device) -> Self {
        let device = if case.trains() { device.clone().autodiff() } else { device.clone() };
        let dtype = DType::F32;
        let leaf = |value: Tensor<3>| if case.trains() { value.require_grad() } else { value };
        let leaf_2 = |value: Tensor<2>| if case.trains() { value.require_grad() } else { value };

        let set = |gate: &mut GateController, layer: usize, index: usize, count: usize| {
            for (linear, kind) in
                [(&mut gate.input_transform, "ih"), (&mut gate.hidden_transform, "hh")]
            {
                let weight = tensors[&format!("weight_{kind}_l{layer}")].part(index, count);
                let bias = tensors[&format!("bias_{kind}_l{layer}")].part(index, count);
                linear.weight = Param::from_tensor(tensor(&weight.transposed(), &device, dtype));
                linear.bias = Some(Param::from_tensor(tensor(&bias, &device, dtype)));
            }
        };
        let mut layers = Vec::new();
        for index in 0..case.num_layers {
            let (input, hidden) = (case.input_width(index), case.hidden_size);
            layers.push(match case.cell.as_str() {
                "lstm" => {
                    let mut lstm = LstmConfig::new(input, hidden, true).init(&device);
                    set(&mut lstm.input_gate, index, 0, 4);
                    set(lstm.forget_gate.as_mut().expect("uncoupled"), index, 1, 4);
                    set(&mut lstm.cell_gate, index, 2, 4);
                    set(&mut lstm.output_gate, index, 3, 4);
                    Layer::Lstm(lstm)
                }
                "gru" => {
                    let mut gru = GruConfig::new(input, hidden, true).init(&device);
                    set(&mut gru.reset_gate, index, 0, 3);
                    set(&mut gru.update_gate, index, 1, 3);
                    set(&mut gru.new_gate, index, 2, 3);
                    Layer::Gru(gru)
                }
                _ => {
                    let config = RnnConfig::new(input, hidden, true).with_batch_first(false);
                    let mut rnn = config.init(&device);
                    set(&mut rnn.gate, index, 0, 1);
                    Layer::Rnn(rnn)
                }
            });
        }
        let states = |h: &str, c: &str| -> Vec<State> {
            let Some(all) = tensors.get(h) else { return vec![] };
            let one = |array: &Array, i: usize| leaf_2(tensor(&array.row(i), &device, dtype));
            (0..all.shape[0])
                .map(|i| State { h: one(all, i), c: tensors.get(c).map(|c| one(c, i)) })
                .collect()
        };
        let x = &tensors["x"];
        let rows = (0..x.shape[0])
            .map(|t| {
                let row = x.row(t);
                let shape = [row.shape[0], 1, row.shape[1]];
                leaf(tensor(&Array::new(&shape, row.values), &device, dtype))
            })
            .collect();
        let lay =
            |array: &Array| if case.cell == "rnn_tanh" { array.clone() } else { swapped(array) };
        let start = states("h_0", "c_0");
        Self {
            case: case.clone(),
            layers,
            rows,
            x: leaf(tensor(&lay(x), &device, dtype)),
            carried: start.clone(),
            start,
            d_output: tensors.get("d_output").map(|d| tensor(&lay(d), &device, dtype)),
            d_last: states("d_h_n", "d_c_n"),
            device,
            t: 0,
        }
    }

    /// Runs a layer over the rows. Returns its output [batch, time, hidden] and its final state.
    fn walk(
        &self,
        layer: &Layer,
        rows: Vec<Tensor<3>>,
        x: Tensor<3>,
        state: State,
    ) -> (Tensor<3>, State) {
        match layer {
            Layer::Lstm(lstm) => {
                let (count, batch) = (rows.len(), rows[0].dims()[0]);
                let state = LstmState::new(state.c.expect("an LSTM has c"), state.h);
                let rows = rows.into_iter().enumerate();
                let (output, last) =
                    lstm.forward_iter(rows, Some(state), batch, count, &self.device);
                (output, State { h: last.hidden, c: Some(last.cell) })
            }
            Layer::Gru(gru) => {
                let count = x.dims()[1];
                let output = gru.forward(x, Some(state.h));
                let last = output.clone().narrow(1, count - 1, 1).squeeze_dim(1);
                (output, State { h: last, c: None })
            }
            Layer::Rnn(rnn) => {
                let (output, last) = rnn.forward(x, Some(RnnState::new(state.h)));
                (output, State { h: last.hidden, c: None })
            }
        }
    }

    fn step(&mut self) -> Tensor<3> {
        let mut x = self.rows[self.t % self.rows.len()].clone();
        self.t += 1;
        for (index, layer) in self.layers.iter().enumerate() {
            let state = self.carried[index].clone();
            // The RNN takes [1, batch, input], the others [batch, 1, input].
            let row =
                if matches!(layer, Layer::Rnn(_)) { x.clone().swap_dims(0, 1) } else { x.clone() };
            let (output, next) = self.walk(layer, vec![x], row, state);
            x = if matches!(layer, Layer::Rnn(_)) { output.swap_dims(0, 1) } else { output };
            self.carried[index] = next;
        }
        x
    }

    fn sequence(&self) -> Outcome {
        let mut output = self.x.clone();
        let mut rows = self.rows.clone();
        let mut last = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 && matches!(layer, Layer::Lstm(_)) {
                rows = output.clone().iter_dim(1).collect();
            }
            let rows = std::mem::take(&mut rows);
            let (next, state) = self.walk(layer, rows, output, self.start[index].clone());
            output = next;
            last.push(state);
        }
        let grads = self.d_output.as_ref().map(|d_output| {
            let mut loss = (output.clone() * d_output.clone()).sum();
            for (state, d) in last.iter().zip(&self.d_last) {
                loss = loss + (state.h.clone() * d.h.clone()).sum();
                if let (Some(c), Some(d_c)) = (&state.c, &d.c) {
                    loss = loss + (c.clone() * d_c.clone()).sum();
                }
            }
            loss.backward()
        });
        Outcome { output, last, grads }
    }

    fn gradients(&self, grads: &Gradients) -> Result<Vec<(String, Array)>> {
        fn of<const D: usize>(tensor: &Tensor<D>, grads: &Gradients) -> Result<Array> {
            array(&tensor.grad(grads).ok_or("a gradient is missing")?)
        }
        let mut named = Vec::new();
        let d_x = if self.case.cell == "lstm" {
            let rows = self.rows.iter().map(|row| of(row, grads)).collect::<Result<Vec<_>>>()?;
            let shape = [self.case.time, self.case.batch, self.case.input_size];
            Array::new(&shape, Array::concat(&rows).values)
        } else if self.case.cell == "gru" {
            swapped(&of(&self.x, grads)?)
        } else {
            of(&self.x, grads)?
        };
        named.push(("d_x".to_string(), d_x));
        let d_h = self.start.iter().map(|s| of(&s.h, grads)).collect::<Result<Vec<_>>>()?;
        named.push(("d_h_0".to_string(), Array::stack(&d_h)));
        let d_c: Vec<_> = self
            .start
            .iter()
            .filter_map(|s| s.c.as_ref())
            .map(|c| of(c, grads))
            .collect::<Result<_>>()?;
        if !d_c.is_empty() {
            named.push(("d_c_0".to_string(), Array::stack(&d_c)));
        }
        for (index, layer) in self.layers.iter().enumerate() {
            for kind in ["ih", "hh"] {
                let (mut weights, mut biases) = (Vec::new(), Vec::new());
                for gate in layer.gates() {
                    let linear =
                        if kind == "ih" { &gate.input_transform } else { &gate.hidden_transform };
                    weights.push(of(&linear.weight.val(), grads)?.transposed());
                    biases.push(of(&linear.bias.as_ref().expect("a bias").val(), grads)?);
                }
                named.push((format!("d_weight_{kind}_l{index}"), Array::concat(&weights)));
                named.push((format!("d_bias_{kind}_l{index}"), Array::concat(&biases)));
            }
        }
        Ok(named)
    }
}

impl Work for Burn {
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
            let shape = [self.case.batch, self.case.hidden_size];
            return Ok(vec![("output".into(), Array::new(&shape, array(&outputs[9])?.values))]);
        }
        let outcome = self.sequence();
        let output = array(&outcome.output)?;
        let h_n = outcome.last.iter().map(|s| array(&s.h)).collect::<Result<Vec<_>>>()?;
        let c_n: Vec<_> =
            outcome.last.iter().filter_map(|s| s.c.as_ref()).map(array).collect::<Result<_>>()?;
        let rnn = self.case.cell == "rnn_tanh";
        let mut named = vec![
            ("output".to_string(), if rnn { output } else { swapped(&output) }),
            ("h_n".to_string(), Array::stack(&h_n)),
        ];
        if !c_n.is_empty() {
            named.push(("c_n".to_string(), Array::stack(&c_n)));
        }
        if let Some(grads) = &outcome.grads {
            named.extend(self.gradients(grads)?);
        }
        Ok(named)
    }
}

#[allow(deprecated)] // the ndarray backend, in favour of flex; both are measured
fn main() -> Result<()> {
    // The thread count comes from RAYON_NUM_THREADS and MATMUL_NUM_THREADS, which the driver sets.
    let flex = std::env::args().any(|argument| argument == "flex");
    let (name, version, device) = if flex {
        ("burn_flex", "0.22.1 (flex)", Device::flex())
    } else {
        ("burn", "0.22.1 (ndarray)", Device::ndarray())
    };
    serve(name, version, |case, tensors| {
        if let Some(reason) = case.beyond_plain_stack() {
            return Ok(Made::Unsupported(reason));
        }
        if case.dtype == "f64" {
            // Lstm, Gru and Rnn allocate their output with Tensor::empty(shape, device).
            return Ok(Made::Unsupported("its modules allocate in the device's default type, f32"));
        }
        Ok(Made::Work(Box::new(Burn::new(case, tensors, &device))))
    })
}
