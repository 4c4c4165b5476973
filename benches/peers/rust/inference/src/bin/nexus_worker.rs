//! The worker of nexus-inference: a step of its LSTM and GRU. A network's state starts from zero, and its
//! output layer, which every network has, is of one row. The weights are at multiples of 64 bytes.

use std::alloc::{GlobalAlloc, Layout, System};

use nexus_inference::{StackedLstm, TinyGru, TinyLstm};
use peer_protocol::{Array, Case, Made, Result, Tensors, Work, serve};

/// Aligns large memory to the lines of the cache, which the vectors of AVX-512 otherwise cross.
struct Aligned;

fn aligned(layout: Layout) -> Layout {
    match layout.size() {
        ..256 => layout,
        _ => layout.align_to(64).unwrap_or(layout),
    }
}

unsafe impl GlobalAlloc for Aligned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(aligned(layout)) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, aligned(layout)) }
    }
}

#[global_allocator]
static MEMORY: Aligned = Aligned;

enum Network {
    Lstm(TinyLstm),
    Stacked(StackedLstm),
    Gru(TinyGru),
}

impl Network {
    fn step(&mut self, x: &[f32], output: &mut [f32; 1]) {
        match self {
            Network::Lstm(network) => network.predict_into(x, output),
            Network::Stacked(network) => network.predict_into(x, output),
            Network::Gru(network) => network.predict_into(x, output),
        }
    }

    fn reset(&mut self) {
        match self {
            Network::Lstm(network) => network.reset(),
            Network::Stacked(network) => network.reset(),
            Network::Gru(network) => network.reset(),
        }
    }

    fn hidden(&self) -> &[f32] {
        match self {
            Network::Lstm(network) => network.hidden_state(),
            Network::Stacked(network) => network.hidden_state(network.n_layers() - 1),
            Network::Gru(network) => network.hidden_state(),
        }
    }
}

struct Steps {
    network: Network,
    rows: Vec<Vec<f32>>,
    output: [f32; 1],
    t: usize,
}

fn floats(array: &Array) -> Vec<f32> {
    array.values.iter().map(|v| *v as f32).collect()
}

impl Steps {
    fn new(case: &Case, tensors: &Tensors) -> Result<Self> {
        let (input, hidden) = (case.input_size, case.hidden_size);
        let layers = |kind: &str| -> Vec<Vec<f32>> {
            (0..case.num_layers)
                .map(|layer| floats(&tensors[&format!("{kind}_l{layer}")]))
                .collect()
        };
        let [w_ih, w_hh, b_ih, b_hh] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(layers);
        let (w, b) = (vec![0.0; hidden], [0.0]);
        let network = match (case.cell.as_str(), case.num_layers) {
            ("gru", _) => Network::Gru(TinyGru::from_parts(
                input, hidden, 1, &w_ih[0], &w_hh[0], &b_ih[0], &b_hh[0], &w, &b,
            )?),
            (_, 1) => Network::Lstm(TinyLstm::from_parts(
                input, hidden, 1, &w_ih[0], &w_hh[0], &b_ih[0], &b_hh[0], &w, &b,
            )?),
            _ => {
                fn slices(layers: &[Vec<f32>]) -> Vec<&[f32]> {
                    layers.iter().map(Vec::as_slice).collect()
                }
                let [w_ih, w_hh, b_ih, b_hh] = [&w_ih, &w_hh, &b_ih, &b_hh].map(|l| slices(l));
                Network::Stacked(StackedLstm::from_parts(
                    input, hidden, 1, &w_ih, &w_hh, &b_ih, &b_hh, &w, &b,
                )?)
            }
        };
        let x = &tensors["x"];
        let rows = (0..x.shape[0]).map(|t| floats(&x.row(t))).collect();
        Ok(Self { network, rows, output: [0.0], t: 0 })
    }
}

impl Work for Steps {
    fn run(&mut self) -> Result<()> {
        self.network.step(&self.rows[self.t % self.rows.len()], &mut self.output);
        self.t += 1;
        Ok(())
    }

    fn check(&mut self) -> Result<Vec<(String, Array)>> {
        self.network.reset();
        self.t = 0;
        for _ in 0..10 {
            self.run()?;
        }
        let values: Vec<_> = self.network.hidden().iter().map(|v| f64::from(*v)).collect();
        Ok(vec![("output".into(), Array::new(&[1, values.len()], values))])
    }
}

fn main() -> Result<()> {
    serve("nexus", "0.9.0", |case, tensors| {
        if case.mode != "step" || case.batch != 1 || case.dtype != "f32" {
            return Ok(Made::Unsupported("the crate runs steps of one sequence in f32"));
        }
        if case.cell == "rnn_tanh" || (case.cell == "gru" && case.num_layers > 1) {
            return Ok(Made::Unsupported("this worker has no such network"));
        }
        Ok(Made::FromZero(Box::new(Steps::new(case, tensors)?)))
    })
}
