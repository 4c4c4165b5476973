//! One forward and backward pass over a batch, and the comparison of two such passes bit for bit.

use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::Cell;
use recurrent::{Arrays, Recompute, Recurrent, Sequences, State};

/// A network and the inputs of a pass.
#[derive(Clone, Debug)]
pub(crate) struct Problem<C: Cell<Elem = f32>> {
    pub(crate) net: Recurrent<C>,
    pub(crate) x: Sequences<f32>,
    pub(crate) initial: State<f32>,
    pub(crate) d_output: Array3<f32>,
    pub(crate) d_final: State<f32>,
}

/// The results of a pass.
#[derive(Clone, Debug)]
pub(crate) struct Results<C: Cell<Elem = f32>> {
    pub(crate) output: Array3<f32>,
    pub(crate) last: State<f32>,
    pub(crate) d_x: Array3<f32>,
    pub(crate) d_initial: State<f32>,
    pub(crate) grad: Recurrent<C>,
}

/// Returns the bits of all arrays, with their names.
pub(crate) fn bits<A: Arrays<Elem = f32>>(arrays: &A) -> Vec<(String, Vec<u32>)> {
    let mut all = Vec::new();
    arrays.for_each(&mut |name, array| {
        all.push((name.to_owned(), array.iter().map(|value| value.to_bits()).collect()));
    });
    all
}

pub(crate) fn random<A: Arrays<Elem = f32>>(mut arrays: A, rng: &mut ChaCha8Rng) -> A {
    arrays.for_each_mut(&mut |_, mut a| a.mapv_inplace(|_| rng.random_range(-1.0..1.0)));
    arrays
}

impl<C: Cell<Elem = f32>> Problem<C> {
    pub(crate) fn random(
        net: Recurrent<C>,
        time: usize,
        lengths: Vec<usize>,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let batch = lengths.len();
        let x = random(Array3::zeros((time, batch, net.input_size())), rng);
        let state = net.zero_state(batch).unwrap();
        Self {
            x: Sequences::new(x, lengths).unwrap(),
            initial: random(state.clone(), rng),
            d_output: random(Array3::zeros((time, batch, net.output_size())), rng),
            d_final: random(state, rng),
            net,
        }
    }

    pub(crate) fn run(&self) -> Results<C> {
        self.run_with(Recompute::Store)
    }

    pub(crate) fn run_with(&self, checkpoint: Recompute) -> Results<C> {
        let Self { net, x, initial, d_output, d_final } = self;
        let rng = &mut ChaCha8Rng::seed_from_u64(9);
        let forward = net.forward_train_with(x, Some(initial), rng, checkpoint);
        let (output, last, tape) = forward.unwrap();
        let mut grad = net.zeros_like();
        let d_output = x.with_values(d_output.clone()).unwrap();
        let (d_x, d_initial) = net.backward(tape, &d_output, Some(d_final), &mut grad).unwrap();
        assert_eq!(d_x.lengths(), x.lengths());
        let (output, d_x) = (output.into_values(), d_x.into_values());
        Results { output, last, d_x, d_initial, grad }
    }
}

impl<C: Cell<Elem = f32>> Results<C> {
    /// Returns the results that belong to single sequences: outputs, states, gradients of inputs and states.
    pub(crate) fn of_sequences(&self) -> impl Arrays<Elem = f32> + use<C> {
        let Self { output, last, d_x, d_initial, .. } = self;
        ((output.clone(), last.clone()), (d_x.clone(), d_initial.clone()))
    }

    /// Returns all results.
    pub(crate) fn all(&self) -> impl Arrays<Elem = f32> + use<C> {
        (self.of_sequences(), self.grad.clone())
    }
}

/// Returns the name of the first array whose bits differ.
pub(crate) fn difference<A: Arrays<Elem = f32>>(got: &A, expected: &A) -> Option<String> {
    let mut pairs = bits(got).into_iter().zip(bits(expected));
    pairs.find(|(got, expected)| got != expected).map(|(got, _)| got.0)
}
