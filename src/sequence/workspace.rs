//! [`Workspace`]: repeated inference, with weights that are packed once.

use ndarray::Array3;

use crate::error::Result;
use crate::float::Float;
use crate::sequence::direction::Weights;
use crate::sequence::engine::{Call, ENGINE};
use crate::sequence::lengths::{Order, Towards};
use crate::sequence::network::{Network, Pass};
use crate::sequence::state::State;
use crate::sequences::{Input, Sequences};

/// The packed weights and the memory of [`Recurrent::forward`](super::Recurrent::forward), reused by each
/// call. It is created by [`Recurrent::workspace`](super::Recurrent::workspace).
///
/// It borrows the network, so the packed weights cannot become stale. On one thread, a call with the same
/// lengths as the call before allocates nothing. The workspace owns the output of each layer.
///
/// Threads can share a workspace behind a lock, tasks of a `rayon` pool too: a call that splits its work
/// between threads runs none of the caller's other tasks meanwhile, which may wait for the lock.
pub struct Workspace<'m, T: Float> {
    network: Network<'m, T>,
    weights: Vec<Weights<'m, T>>,
    results: Option<Results<T>>,
}

/// The results of a call in the caller's order, and its memory.
#[derive(Debug)]
pub(crate) struct Results<T: Float> {
    output: Sequences<T>,
    last: State<T>,
    pass: Pass<T>,
}

impl<T: Float> std::fmt::Debug for Workspace<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").field("results", &self.results).finish_non_exhaustive()
    }
}

impl<'m, T: Float> Workspace<'m, T> {
    pub(crate) fn new(network: Network<'m, T>) -> Self {
        Self { weights: network.pack(), network, results: None }
    }

    /// Runs [`Recurrent::forward`](super::Recurrent::forward), and returns references to the results.
    ///
    /// # Errors
    /// If `x` or `initial` does not fit the network.
    pub fn forward(
        &mut self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<(&Sequences<T>, &State<T>)> {
        let memory = self.results.take();
        let results = (T::pick(&ENGINE).infer)(self, memory, &Call { x, initial })?;
        let Results { output, last, .. } = self.results.insert(results);
        Ok((output, last))
    }

    /// Runs one call, and returns its results by value.
    pub(crate) fn results(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<(Sequences<T>, State<T>)> {
        let results = (T::pick(&ENGINE).infer)(self, None, &Call { x, initial })?;
        Ok((results.output, results.last))
    }

    /// Runs a call, and returns its results in the memory of those of another call if they fit.
    pub(crate) fn infer(
        &self,
        memory: Option<Results<T>>,
        call: &Call<'_, T>,
    ) -> Result<Results<T>> {
        self.network.check(call)?;
        let x = call.x;
        let tokens = matches!(x.input(), Input::Tokens(_));
        let fits = |memory: &Results<T>| {
            (memory.output.time(), memory.output.lengths()) == (x.time(), x.lengths())
                && matches!(memory.pass.layers[0].x, Some(Input::Tokens(_))) == tokens
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
        self.network.run(&self.weights, call, pass, None);
        if pass.order.is_caller_order() {
            std::mem::swap(output.values_mut(), &mut pass.output);
        } else {
            let to = output.values_mut().view_mut();
            pass.order.copy_steps(pass.output.view(), to, Towards::Caller);
        }
        last.copy(Some(&pass.states), &pass.order, Towards::Caller);
        Ok(results)
    }
}
