//! [`Workspace`]: whole sequences, again and again, from weights that are packed once.

use ndarray::Array3;

use crate::cell::Cell;
use crate::error::Result;
use crate::float::Float;
use crate::sequence::Recurrent;
use crate::sequence::lengths::Order;
use crate::sequence::stack::Pass;
use crate::sequence::state::State;
use crate::sequence::unroll::Weights;
use crate::sequences::{Input, Sequences};
use crate::tensor::{Level, dispatch};

/// What [`forward`](Recurrent::forward) needs beside its arguments, kept for the next call; made by
/// [`Recurrent::workspace`](super::Recurrent::workspace).
///
/// It borrows the network, so the weights, which it packs once, cannot change under it. A call over
/// sequences of the same lengths as the call before allocates nothing on one thread. It holds the
/// output of each layer.
#[derive(Debug)]
pub struct Workspace<'m, T: Float, C: Cell<T>> {
    network: &'m Recurrent<T, C>,
    weights: Vec<Weights<'m, T, C::Packed>>,
    results: Option<Results<T>>,
}

/// The results of a call in the caller's order, and its memory.
#[derive(Debug)]
pub(crate) struct Results<T: Float> {
    pub(crate) output: Sequences<T>,
    pub(crate) last: State<T>,
    pass: Pass<T>,
}

impl<'m, T: Float, C: Cell<T>> Workspace<'m, T, C> {
    pub(crate) fn new(network: &'m Recurrent<T, C>) -> Self {
        let weights = dispatch!(Level::new(), simd => network.pack(simd));
        Self { network, weights, results: None }
    }

    /// [`Recurrent::forward`]; the results stand in the workspace until the next call.
    ///
    /// # Errors
    /// Where `x` or `initial` does not fit the network.
    pub fn forward(
        &mut self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<(&Sequences<T>, &State<T>)> {
        let results = self.results.take();
        let results = self.run(results, x, initial)?;
        let Results { output, last, .. } = self.results.insert(results);
        Ok((output, last))
    }

    /// The results of a call, in the memory of another where it fits.
    pub(crate) fn run(
        &self,
        memory: Option<Results<T>>,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<Results<T>> {
        self.network.check_input(x, initial)?;
        let fits = |memory: &Results<T>| {
            (memory.output.time(), memory.output.lengths()) == (x.time(), x.lengths())
                && memory.pass.layers[0].tokens.is_some() == matches!(x.input(), Input::Tokens(_))
        };
        let mut results = match memory.filter(fits) {
            Some(memory) => memory,
            None => {
                let order = Order::new(x.time(), x.lengths());
                let pass = self.network.pass(x.input(), order, None);
                let output = x.with_values(Array3::zeros(pass.output.dim()))?;
                Results { output, last: pass.states.clone(), pass }
            }
        };
        let Results { output, last, pass } = &mut results;
        dispatch!(Level::new(), simd => {
            self.network.run(simd, &self.weights, (x, initial), pass, None)
        });
        if pass.order.is_caller_order() {
            std::mem::swap(output.values_mut(), &mut pass.output);
        } else {
            let to = output.values_mut().view_mut();
            pass.order.copy_steps(pass.output.view(), to, true);
        }
        last.copy(Some(&pass.states), &pass.order, true);
        Ok(results)
    }
}
