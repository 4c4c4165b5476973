//! [`Workspace`]: whole sequences, again and again, from weights that are packed once.

use ndarray::{Array3, Axis};

use crate::cell::Cell;
use crate::error::Result;
use crate::float::Float;
use crate::sequence::Recurrent;
use crate::sequence::lengths::Order;
use crate::sequence::stack::Pass;
use crate::sequence::state::State;
use crate::sequence::tape::Keep;
use crate::sequence::unroll::Weights;
use crate::sequences::Sequences;
use crate::tensor::{Level, dispatch};

/// What [`forward`](Recurrent::forward) needs beside its arguments, kept for the next call; made by
/// [`Recurrent::workspace`](super::Recurrent::workspace).
///
/// It borrows the network, so the weights, which it packs once, cannot change under it. A call over
/// sequences of the same lengths as the call before allocates nothing on one thread.
#[derive(Debug)]
pub struct Workspace<'m, T: Float, C: Cell<T>> {
    network: &'m Recurrent<T, C>,
    level: Level,
    weights: Vec<Weights<T, C::Packed>>,
    kept: Option<Kept<T>>,
}

/// The memory of a call, and its results in the caller's order.
#[derive(Debug)]
struct Kept<T: Float> {
    pass: Pass<T>,
    output: Sequences<T>,
    last: State<T>,
}

impl<'m, T: Float, C: Cell<T>> Workspace<'m, T, C> {
    pub(crate) fn new(network: &'m Recurrent<T, C>) -> Self {
        let level = Level::new();
        let weights = dispatch!(level, simd => network.pack(simd));
        Self { network, level, weights, kept: None }
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
        self.network.check_input(x, initial)?;
        let kept = self.kept.take();
        let kept = self.run(kept, x, initial)?;
        let Kept { output, last, .. } = self.kept.insert(kept);
        Ok((output, last))
    }

    /// [`forward`](Workspace::forward), whose results leave the workspace.
    pub(crate) fn into_forward(
        self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<(Sequences<T>, State<T>)> {
        self.network.check_input(x, initial)?;
        let Kept { output, last, .. } = self.run(None, x, initial)?;
        Ok((output, last))
    }

    fn run(
        &self,
        kept: Option<Kept<T>>,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<Kept<T>> {
        let fits = |kept: &Kept<T>| kept.pass.order.is_of(x.time(), x.lengths());
        let Kept { mut pass, mut output, mut last } = match kept.filter(fits) {
            Some(kept) => kept,
            None => {
                let pass = self.network.pass(Order::new(x.time(), x.lengths()), Keep::Nothing);
                let output = x.with_values(Array3::zeros(pass.output.dim()))?;
                Kept { last: pass.states.clone(), pass, output }
            }
        };
        self.network.start(initial, &mut pass);
        let in_order = pass.order.is_caller_order();
        if !in_order {
            let x_sorted = pass.layers[0].x.view_mut();
            pass.order.copy_sorted(x.values().view(), x_sorted, Axis(1));
        }
        let values = in_order.then(|| x.values().view());
        dispatch!(self.level, simd => {
            self.network.run(simd, &self.weights, values, &mut pass, None)
        });
        if in_order {
            std::mem::swap(output.values_mut(), &mut pass.output);
        } else {
            let values = output.values_mut().view_mut();
            pass.order.copy_unsorted(pass.output.view(), values, Axis(1));
        }
        last.copy_unsorted(&pass.states, &pass.order);
        Ok(Kept { pass, output, last })
    }
}
