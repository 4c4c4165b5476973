//! The modes `infer`, `train` and `step`: a stack of recurrent layers alone.

use ndarray::Array3;
use peer_protocol::{Array as Tensor, Case, Result, Tensors, Work};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use recurrent::cell::Cell;
use recurrent::{Arrays, Float, Recompute, Recurrent, Sequences, State, Stream, Workspace};

use crate::tensors::{array, named, set};

/// Returns the work of `case` with cells of type `C`.
pub fn make<T: Float, C: Cell<Elem = T> + 'static>(
    case: &Case,
    tensors: &Tensors,
) -> Result<Box<dyn Work>> {
    let mut network = Recurrent::<C>::builder(case.input_size, case.hidden_size)
        .num_layers(case.num_layers)
        .bidirectional(case.bidirectional)
        .build(&mut rng())?;
    set(&mut network, tensors, "")?;
    let x: Array3<T> = array(tensors, "x")?;
    let initial = state(&network, tensors, case.batch, "0", "")?;
    if case.mode == "step" {
        return Ok(Box::new(Step::new(network, x, initial)?));
    }
    let x = match tensors.get("lengths") {
        Some(lengths) => Sequences::new(x, lengths.values.iter().map(|&n| n as usize).collect())?,
        None => Sequences::full(x)?,
    };
    Ok(match case.mode.as_str() {
        "infer" => Box::new(Infer::new(network, x, initial)),
        "train" => Box::new(Train {
            d_output: x.with_values(array(tensors, "d_output")?)?,
            d_final: state(&network, tensors, case.batch, "n", "d_")?,
            network,
            x,
            initial,
            checkpoint: case.checkpoint.map_or(Recompute::Store, Recompute::Every),
        }),
        other => return Err(format!("no such mode: {other}").into()),
    })
}

/// Returns a generator for calls that need one. The file replaces the initial parameters, and there is
/// no dropout.
pub fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(0)
}

/// Returns the state whose parts are `h_SUFFIX` and `c_SUFFIX` under `prefix` in the file.
fn state<T: Float, C: Cell<Elem = T>>(
    network: &Recurrent<C>,
    tensors: &Tensors,
    batch: usize,
    suffix: &str,
    prefix: &str,
) -> Result<State<T>> {
    let mut state = network.zero_state(batch)?;
    for name in C::STATE {
        state.set(name, array(tensors, &format!("{prefix}{name}_{suffix}"))?)?;
    }
    Ok(state)
}

/// Returns the parts of `state`, named `h_SUFFIX` and `c_SUFFIX` under `prefix`.
fn named_state<T: Float>(
    state: &State<T>,
    suffix: &str,
    prefix: &str,
) -> Result<Vec<(String, Tensor)>> {
    let part =
        |name: &&str| Ok(named(&format!("{prefix}{name}_{suffix}"), state.get(name)?.view()));
    state.state_names().iter().map(part).collect()
}

struct Infer<T: Float> {
    workspace: Workspace<'static, T>,
    x: Sequences<T>,
    initial: State<T>,
}

impl<T: Float> Infer<T> {
    fn new<C: Cell<Elem = T> + 'static>(
        network: Recurrent<C>,
        x: Sequences<T>,
        initial: State<T>,
    ) -> Self {
        // The workspace borrows the network, which lives as long as this process.
        let workspace = Box::leak(Box::new(network)).workspace();
        Self { workspace, x, initial }
    }
}

impl<T: Float> Work for Infer<T> {
    fn run(&mut self) -> Result<()> {
        std::hint::black_box(self.workspace.forward(&self.x, Some(&self.initial))?);
        Ok(())
    }

    fn check(&mut self) -> Result<Vec<(String, Tensor)>> {
        let (output, last) = self.workspace.forward(&self.x, Some(&self.initial))?;
        let mut answer = named_state(last, "n", "")?;
        answer.push(named("output", output.values().view()));
        Ok(answer)
    }
}

struct Train<C: Cell> {
    network: Recurrent<C>,
    x: Sequences<C::Elem>,
    initial: State<C::Elem>,
    d_output: Sequences<C::Elem>,
    d_final: State<C::Elem>,
    checkpoint: Recompute,
}

/// The results of one unit of training.
struct Trained<C: Cell> {
    output: Sequences<C::Elem>,
    last: State<C::Elem>,
    d_x: Sequences<C::Elem>,
    d_initial: State<C::Elem>,
    grad: Recurrent<C>,
}

impl<T: Float, C: Cell<Elem = T>> Train<C> {
    fn unit(&self) -> Result<Trained<C>> {
        let Self { network, x, initial, checkpoint, .. } = self;
        let (output, last, tape) =
            network.forward_train_with(x, Some(initial), &mut rng(), *checkpoint)?;
        let mut grad = network.zeros_like();
        let (d_x, d_initial) =
            network.backward(tape, &self.d_output, Some(&self.d_final), &mut grad)?;
        Ok(Trained { output, last, d_x, d_initial, grad })
    }
}

impl<T: Float, C: Cell<Elem = T>> Work for Train<C> {
    fn run(&mut self) -> Result<()> {
        std::hint::black_box(self.unit()?);
        Ok(())
    }

    fn check(&mut self) -> Result<Vec<(String, Tensor)>> {
        let Trained { output, last, d_x, d_initial, grad } = self.unit()?;
        let mut answer = named_state(&last, "n", "")?;
        answer.extend(named_state(&d_initial, "0", "d_")?);
        answer.push(named("output", output.values().view()));
        answer.push(named("d_x", d_x.values().view()));
        grad.for_each(&mut |name, values| answer.push(named(&format!("d_{name}"), values)));
        Ok(answer)
    }
}

struct Step<T: Float> {
    stream: Stream<'static, T>,
    x: Array3<T>,
    initial: State<T>,
    t: usize,
}

impl<T: Float> Step<T> {
    fn new<C: Cell<Elem = T> + 'static>(
        network: Recurrent<C>,
        x: Array3<T>,
        initial: State<T>,
    ) -> Result<Self> {
        // The stream borrows the network, which lives as long as this process.
        let network = Box::leak(Box::new(network));
        let mut stream = network.stream(initial.batch())?;
        stream.restore(&initial)?;
        Ok(Self { stream, x, initial, t: 0 })
    }
}

impl<T: Float> Work for Step<T> {
    fn run(&mut self) -> Result<()> {
        let row = self.x.index_axis(ndarray::Axis(0), self.t);
        self.t = (self.t + 1) % self.x.dim().0;
        std::hint::black_box(self.stream.step(row)?);
        Ok(())
    }

    fn check(&mut self) -> Result<Vec<(String, Tensor)>> {
        self.stream.restore(&self.initial)?;
        self.t = 0;
        for _ in 0..self.x.dim().0 {
            self.run()?;
        }
        Ok(vec![named("output", self.stream.output())])
    }
}
