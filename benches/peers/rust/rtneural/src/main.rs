//! The worker of RTNeural, a C++ library of networks with sizes known to the compiler: a step of its LSTM
//! and GRU. Each backend of the library is compiled, and the fastest one runs the case. A network's state
//! starts from zero.

use peer_protocol::{Case, Made, Result, Tensors, serve};

fn main() -> Result<()> {
    serve("rtneural", "1.0.0", make)
}

#[cfg(not(sources))]
fn make(_: &Case, _: &Tensors) -> Result<Made> {
    Ok(Made::Unsupported("built without the sources of RTNeural, which setup.sh unpacks"))
}

#[cfg(sources)]
fn make(case: &Case, tensors: &Tensors) -> Result<Made> {
    if case.mode != "step" || case.batch != 1 || case.dtype != "f32" {
        return Ok(Made::Unsupported("this worker runs steps of one sequence in f32"));
    }
    if case.cell == "rnn_tanh" || case.input_size != case.hidden_size {
        return Ok(Made::Unsupported("no network of these sizes is compiled"));
    }
    Ok(match network::Steps::new(case, tensors)? {
        Some(steps) => Made::FromZero(Box::new(steps)),
        None => Made::Unsupported("no network of these sizes is compiled"),
    })
}

#[cfg(sources)]
mod network {
    use std::ffi::{CString, c_char};
    use std::time::Instant;

    use peer_protocol::{Array, Case, Result, Tensors, Work};
    use serde_json::{Map, Value, json};

    /// A network of C++.
    enum Network {}

    /// The functions of a backend.
    struct Backend {
        make: unsafe extern "C" fn(bool, usize, usize, *const c_char) -> *mut Network,
        reset: unsafe extern "C" fn(*mut Network),
        step: unsafe extern "C" fn(*mut Network, *const f32),
        output: unsafe extern "C" fn(*const Network) -> *const f32,
        drop: unsafe extern "C" fn(*mut Network),
    }

    macro_rules! backend {
        ($make:ident, $reset:ident, $step:ident, $output:ident, $drop:ident) => {{
            unsafe extern "C" {
                fn $make(
                    gru: bool,
                    size: usize,
                    layers: usize,
                    json: *const c_char,
                ) -> *mut Network;
                fn $reset(network: *mut Network);
                fn $step(network: *mut Network, x: *const f32);
                fn $output(network: *const Network) -> *const f32;
                fn $drop(network: *mut Network);
            }
            Backend { make: $make, reset: $reset, step: $step, output: $output, drop: $drop }
        }};
    }

    #[rustfmt::skip]
    static BACKENDS: [Backend; 3] = [
        backend!(rtneural_eigen_make, rtneural_eigen_reset, rtneural_eigen_step, rtneural_eigen_output, rtneural_eigen_drop),
        backend!(rtneural_xsimd_make, rtneural_xsimd_reset, rtneural_xsimd_step, rtneural_xsimd_output, rtneural_xsimd_drop),
        backend!(rtneural_stl_make, rtneural_stl_reset, rtneural_stl_step, rtneural_stl_output, rtneural_stl_drop),
    ];

    /// A network with the functions of its backend.
    struct Made {
        backend: &'static Backend,
        network: *mut Network,
    }

    impl Drop for Made {
        fn drop(&mut self) {
            unsafe { (self.backend.drop)(self.network) }
        }
    }

    /// The input of a step, at a multiple of the widest vector.
    #[derive(Clone, Copy)]
    #[repr(align(64))]
    struct Part([f32; 16]);

    pub struct Steps {
        case: Case,
        made: Made,
        rows: Vec<Vec<Part>>,
        t: usize,
    }

    fn aligned(row: &Array) -> Vec<Part> {
        let part = |values: &[f64]| {
            let mut part = Part([0.0; 16]);
            part.0.iter_mut().zip(values).for_each(|(to, from)| *to = *from as f32);
            part
        };
        row.values.chunks(16).map(part).collect()
    }

    /// Returns the tensor as nested lists.
    fn nested(array: &Array) -> Value {
        match array.shape.len() {
            1 => json!(array.values),
            _ => (0..array.shape[0]).map(|i| nested(&array.row(i))).collect(),
        }
    }

    impl Steps {
        /// Returns the fastest network, or `None` if none of the sizes is compiled.
        pub fn new(case: &Case, tensors: &Tensors) -> Result<Option<Self>> {
            let mut weights = Map::new();
            for layer in 0..case.num_layers {
                for kind in ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] {
                    let array = &tensors[&format!("{kind}_l{layer}")];
                    weights.insert(format!("{layer}.{kind}_l0"), nested(array));
                }
            }
            let json = CString::new(serde_json::to_string(&weights)?)?;
            let x = &tensors["x"];
            let rows: Vec<_> = (0..x.shape[0]).map(|t| aligned(&x.row(t))).collect();
            let (gru, hidden, layers) = (case.cell == "gru", case.hidden_size, case.num_layers);
            let mut candidates = Vec::new();
            for backend in &BACKENDS {
                let network = unsafe { (backend.make)(gru, hidden, layers, json.as_ptr()) };
                if network.is_null() {
                    return Ok(None);
                }
                let made = Made { backend, network };
                let mut steps = Steps { case: case.clone(), made, rows: rows.clone(), t: 0 };
                steps.reset();
                candidates.push(steps);
            }
            let times: Vec<f64> = candidates.iter_mut().map(Steps::least).collect();
            let fastest = (0..times.len()).min_by(|&a, &b| times[a].total_cmp(&times[b]));
            Ok(fastest.map(|index| candidates.swap_remove(index)))
        }

        fn reset(&mut self) {
            unsafe { (self.made.backend.reset)(self.made.network) };
            self.t = 0;
        }

        fn step(&mut self) {
            let row = &self.rows[self.t % self.rows.len()];
            unsafe { (self.made.backend.step)(self.made.network, row.as_ptr().cast()) };
            self.t += 1;
        }

        /// Returns the least seconds of a step over several turns.
        fn least(&mut self) -> f64 {
            let mut turn = |count: usize| {
                let start = Instant::now();
                (0..count).for_each(|_| self.step());
                start.elapsed().as_secs_f64() / count as f64
            };
            let count = (2e-3 / turn(10)) as usize + 1;
            (0..20).map(|_| turn(count)).fold(f64::INFINITY, f64::min)
        }
    }

    impl Work for Steps {
        fn run(&mut self) -> Result<()> {
            self.step();
            Ok(())
        }

        fn check(&mut self) -> Result<Vec<(String, Array)>> {
            self.reset();
            (0..10).for_each(|_| self.step());
            let hidden = self.case.hidden_size;
            let output = unsafe {
                let start = (self.made.backend.output)(self.made.network);
                std::slice::from_raw_parts(start, hidden)
            };
            let values = output.iter().map(|v| f64::from(*v)).collect();
            Ok(vec![("output".into(), Array::new(&[1, hidden], values))])
        }
    }
}
