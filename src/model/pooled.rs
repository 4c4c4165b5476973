//! [`Pooled`]: a network with one output for each sequence, from its pooled steps.

use ndarray::Array2;
use rand::Rng;

use crate::cell::Cell;
use crate::error::Result;
use crate::float::Float;
use crate::layer::pooling::Running;
use crate::layer::{NonCrossing, TimePooling};
use crate::model::config::Config;
use crate::model::network::{Network, NetworkStream, Step, apply_dropout, mask_gradient};
use crate::sequences::Sequences;
use crate::tensor::Precision;

/// A network with pooling before its head.
#[derive(Clone, Debug)]
pub(super) struct Pooled<C: Cell> {
    pub(super) network: Network<C>,
    pub(super) pooling: TimePooling<C::Elem>,
    /// The order of the outputs of the head, if they are quantiles that do not cross.
    pub(super) order: Option<NonCrossing<C::Elem>>,
}

impl<T: Float, C: Cell<Elem = T>> Pooled<C> {
    pub(super) fn new<E>(
        config: &Config<C, E>,
        outputs: usize,
        order: Option<NonCrossing<T>>,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        let network = Network::new(config, outputs, rng)?;
        let (features, directions) = (network.recurrent.output_size(), network.directions());
        let pooling = TimePooling::new(config.pooling, features, directions, rng)?;
        Ok(Self { network, pooling, order })
    }

    /// Returns the outputs of the head in their order, [batch, outputs].
    fn ordered(&self, outputs: Array2<T>) -> Result<Array2<T>> {
        match &self.order {
            Some(order) => order.forward_rows(outputs.view()),
            None => Ok(outputs),
        }
    }

    /// Returns the outputs, [batch, outputs].
    pub(super) fn outputs(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        let pooled = self.pooling.pool(&self.network.hidden(x, None)?)?;
        self.ordered(self.network.head.forward_rows(pooled.view())?)
    }

    /// Returns the weights of attention, [time, batch].
    pub(super) fn attention_weights(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        self.pooling.attention_weights(&self.network.hidden(x, None)?)
    }

    /// Returns the value of `loss` for the outputs. Adds the gradients of all weights to `grad`.
    pub(super) fn loss_and_grad(
        &self,
        x: &Sequences<T>,
        loss: impl FnOnce(&Array2<T>) -> Result<(f64, Array2<T>)>,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<f64> {
        let Self { network, pooling, order } = self;
        let (h, tape) = network.hidden_train(x, None, rng)?;
        let mut pooled = pooling.pool(&h)?;
        let mask = apply_dropout(network.dropout, &mut pooled, rng)?;
        let unordered = network.head.forward_rows(pooled.view())?;
        let (loss, d_outputs) = match order {
            None => loss(&unordered)?,
            Some(order) => {
                let (loss, d) = loss(&order.forward_rows(unordered.view())?)?;
                (loss, order.backward_rows(unordered.view(), d.view(), &mut { *order })?)
            }
        };
        let d =
            network.head.backward_rows(pooled.view(), d_outputs.view(), &mut grad.network.head)?;
        let d_h = pooling.gradient_at(&h, &mask_gradient(d, mask), &mut grad.pooling)?;
        network.hidden_backward(x, tape, &d_h, &mut grad.network)?;
        Ok(loss)
    }

    pub(super) fn stream(&self, batch: usize, precision: Precision) -> Result<PooledStream<'_, C>> {
        let stream = self.network.stream(batch, precision)?;
        Ok(PooledStream { model: self, stream, pool: Running::new(&self.pooling, batch) })
    }
}

/// A stream that returns the outputs for the steps so far.
#[derive(Debug)]
pub(super) struct PooledStream<'m, C: Cell> {
    model: &'m Pooled<C>,
    stream: NetworkStream<'m, C>,
    pool: Running<C::Elem>,
}

impl<T: Float, C: Cell<Elem = T>> PooledStream<'_, C> {
    pub(super) fn step(&mut self, x: Step<'_, T>) -> Result<Array2<T>> {
        let h = self.stream.step(x)?;
        self.pool.add(&self.model.pooling, h, |_| true);
        self.model.ordered(self.stream.head(self.pool.value().view())?)
    }

    pub(super) fn fork(&self) -> Self {
        Self { model: self.model, stream: self.stream.fork(), pool: self.pool.clone() }
    }
}

crate::arrays!([T: Float, C: Cell<Elem = T>] Pooled<C>: T { ..network, pooling });
