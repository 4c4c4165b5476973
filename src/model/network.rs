//! [`Network`]: what all models are made of.
//!
//! ```text
//! tokens → embedding ┐
//! values → scaler ───┴→ recurrent layers → dropout → linear head → outputs
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::{Array, Array3, ArrayView1, ArrayView2, Axis, Dimension};
use rand::Rng;

use crate::arrays::{Arrays, Visit, VisitMut};
use crate::cell::Cell;
use crate::data::Scaler;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::layer::{Dropout, Embedding, Linear};
use crate::model::config::Config;
use crate::sequence::{Recurrent, State, Stream, Tape};
use crate::sequences::Sequences;

/// Embedding, recurrent layers and head, as a bundle under these names.
#[derive(Clone, Debug)]
pub(super) struct Network<C: Cell> {
    pub(super) embedding: Option<Embedding<C::Elem>>,
    pub(super) recurrent: Recurrent<C>,
    pub(super) head: Linear<C::Elem>,
    dropout: f64,
    scaler: Option<Arc<Scaler>>,
}

impl<T: Float, C: Cell<Elem = T>> Network<C> {
    /// A network with `outputs` values from the head.
    pub(super) fn new<E>(config: &Config<C, E>, outputs: usize, rng: &mut dyn Rng) -> Result<Self> {
        let (tokens, dropout) = (config.input_size, config.dropout);
        let embedding = config.embedding_dim.map(|width| Embedding::new(tokens, width, rng));
        let mut layers = config.recurrent.clone();
        layers.input_size = config.embedding_dim.unwrap_or(tokens);
        // Between layers: there is no such place in a single one.
        let between = if layers.num_layers > 1 { dropout } else { 0.0 };
        let recurrent = layers.dropout(between).build(rng)?;
        let head = Linear::new(recurrent.output_size(), outputs, rng)?;
        let scaler = config.scaler.clone().map(Arc::new);
        Ok(Self { embedding: embedding.transpose()?, recurrent, head, dropout, scaler })
    }

    pub(super) fn directions(&self) -> usize {
        1 + usize::from(self.recurrent.bidirectional())
    }

    /// What the recurrent layers are told for `x`.
    fn told<'x>(&self, x: &'x Sequences<T>) -> Result<Cow<'x, Sequences<T>>> {
        match (&self.embedding, &self.scaler) {
            (Some(embedding), _) => embedding.forward_sequences(x).map(Cow::Owned),
            (None, Some(scaler)) => x.with_values(scaler.transform(x.values())?).map(Cow::Owned),
            (None, None) => Ok(Cow::Borrowed(x)),
        }
    }

    /// What the recurrent layers say at each step, [time, batch, hidden].
    pub(super) fn hidden(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<Sequences<T>> {
        Ok(self.recurrent.forward(self.told(x)?.as_ref(), initial)?.0)
    }

    /// The same, for [`hidden_backward`](Self::hidden_backward).
    pub(super) fn hidden_train(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
        rng: &mut dyn Rng,
    ) -> Result<(Sequences<T>, Tape<T>)> {
        let (h, _, tape) = self.recurrent.forward_train(self.told(x)?.as_ref(), initial, rng)?;
        Ok((h, tape))
    }

    /// Adds the gradient of embedding and recurrent layers to `grad`; returns that by the initial
    /// state.
    pub(super) fn hidden_backward(
        &self,
        x: &Sequences<T>,
        tape: Tape<T>,
        d_h: &Array3<T>,
        grad: &mut Self,
    ) -> Result<State<T>> {
        let (d_x, d_initial) = self.recurrent.backward(tape, d_h, None, &mut grad.recurrent)?;
        if let (Some(embedding), Some(grad)) = (&self.embedding, &mut grad.embedding) {
            let d_x = d_x.expect("the rows of an embedding are dense");
            embedding.backward_sequences(x, d_x.view(), grad)?;
        }
        Ok(d_initial)
    }

    /// Drops some of `h`; returns the factors, if there is dropout.
    pub(super) fn drop<D: Dimension>(
        &self,
        h: &mut Array<T, D>,
        rng: &mut dyn Rng,
    ) -> Result<Option<Array<T, D>>> {
        if self.dropout == 0.0 {
            return Ok(None);
        }
        let (dropped, mask) = Dropout::new(self.dropout)?.forward_train(h, rng);
        *h = dropped;
        Ok(Some(mask))
    }

    /// The head's outputs at each step, [time, batch, outputs].
    pub(super) fn outputs(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<Sequences<T>> {
        self.head.forward_sequences(&self.hidden(x, initial)?)
    }

    /// The loss that `loss` finds in the outputs at each step, with its gradient by them; adds that by
    /// all weights to `grad` and returns that by the initial state.
    pub(super) fn loss_and_grad(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
        loss: impl FnOnce(&Sequences<T>) -> Result<(T, Array3<T>)>,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, State<T>)> {
        let (mut h, tape) = self.hidden_train(x, initial, rng)?;
        let mask = self.drop(h.values_mut(), rng)?;
        let (loss, d_outputs) = loss(&self.head.forward_sequences(&h)?)?;
        let d_h = self.head.backward_sequences(&h, d_outputs.view(), &mut grad.head)?;
        let d_h = through(d_h, mask);
        Ok((loss.as_f64(), self.hidden_backward(x, tape, &d_h, grad)?))
    }

    /// The recurrent layers, step by step.
    pub(super) fn stream(&self, batch: usize) -> Result<NetworkStream<'_, C>> {
        Ok(NetworkStream { network: self, stream: self.recurrent.stream(batch)? })
    }
}

/// The gradient `d` on its way back through dropout.
pub(super) fn through<T: Float, D: Dimension>(
    d: Array<T, D>,
    mask: Option<Array<T, D>>,
) -> Array<T, D> {
    match mask {
        Some(mask) => d * mask,
        None => d,
    }
}

/// Embedding and recurrent layers, step by step.
#[derive(Debug)]
pub(super) struct NetworkStream<'m, C: Cell> {
    network: &'m Network<C>,
    pub(super) stream: Stream<'m, C::Elem>,
}

/// One step of each sequence: its values [batch, input] or its tokens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'x, T> {
    Values(ArrayView2<'x, T>),
    Tokens(&'x [usize]),
}

impl<T: Float, C: Cell<Elem = T>> NetworkStream<'_, C> {
    /// What the last recurrent layer says after the step, [batch, hidden].
    pub(super) fn step(&mut self, x: Step<'_, T>) -> Result<ArrayView2<'_, T>> {
        match (x, &self.network.embedding) {
            (Step::Values(_), Some(_)) => {
                Err(Error::argument("x_t", "tokens (step_tokens)", "values"))
            }
            (Step::Values(x), None) => match &self.network.scaler {
                Some(scaler) => self.stream.step(scaler.transform(&x)?.view()),
                None => self.stream.step(x),
            },
            (Step::Tokens(tokens), None) => self.stream.step_tokens(tokens),
            (Step::Tokens(tokens), Some(embedding)) => {
                let step = ArrayView1::from(tokens).insert_axis(Axis(0));
                let x = embedding.forward(step, &vec![1; tokens.len()])?;
                self.stream.step(x.values().index_axis(Axis(0), 0))
            }
        }
    }

    /// Another stream that goes on from here by itself.
    pub(super) fn fork(&self) -> Self {
        Self { network: self.network, stream: self.stream.fork() }
    }
}

impl<T: Float, C: Cell<Elem = T>> Arrays for Network<C> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.embedding.for_each(&mut |name, array| f(&format!("embedding.{name}"), array));
        self.recurrent.for_each(&mut |name, array| f(&format!("recurrent.{name}"), array));
        self.head.for_each(&mut |name, array| f(&format!("head.{name}"), array));
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.embedding.for_each_mut(&mut |name, array| f(&format!("embedding.{name}"), array));
        self.recurrent.for_each_mut(&mut |name, array| f(&format!("recurrent.{name}"), array));
        self.head.for_each_mut(&mut |name, array| f(&format!("head.{name}"), array));
    }
}
