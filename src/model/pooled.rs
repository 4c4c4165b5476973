//! [`Pooled`]: a network that answers once a sequence, from the pooled outputs of its steps.

use ndarray::Array2;
use rand::Rng;

use crate::arrays::{Arrays, Visit, VisitMut};
use crate::cell::Cell;
use crate::error::Result;
use crate::float::Float;
use crate::layer::TimePooling;
use crate::layer::pooling::Running;
use crate::model::config::Config;
use crate::model::network::{Network, NetworkStream, Step, through};
use crate::sequences::Sequences;

/// A network with pooling before its head.
#[derive(Clone, Debug)]
pub(super) struct Pooled<C: Cell> {
    pub(super) network: Network<C>,
    pooling: TimePooling<C::Elem>,
}

impl<T: Float, C: Cell<Elem = T>> Pooled<C> {
    pub(super) fn new<E>(config: &Config<C, E>, outputs: usize, rng: &mut dyn Rng) -> Result<Self> {
        let network = Network::new(config, outputs, rng)?;
        let (features, directions) = (network.recurrent.output_size(), network.directions());
        let pooling = TimePooling::new(config.pooling, features, directions, rng)?;
        Ok(Self { network, pooling })
    }

    /// The head's outputs, [batch, outputs].
    pub(super) fn outputs(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        let pooled = self.pooling.forward(&self.network.hidden(x, None)?)?;
        self.network.head.forward(pooled.view())
    }

    /// The loss that `loss` finds in the outputs, with its gradient by them; adds that by all weights
    /// to `grad`.
    pub(super) fn loss_and_grad(
        &self,
        x: &Sequences<T>,
        loss: impl FnOnce(&Array2<T>) -> Result<(T, Array2<T>)>,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<f64> {
        let Self { network, pooling } = self;
        let (h, tape) = network.hidden_train(x, None, rng)?;
        let mut pooled = pooling.forward(&h)?;
        let mask = network.drop(&mut pooled, rng)?;
        let (loss, d_outputs) = loss(&network.head.forward(pooled.view())?)?;
        let d = network.head.backward(pooled.view(), d_outputs.view(), &mut grad.network.head)?;
        let d_h = pooling.backward(&h, through(d, mask).view(), &mut grad.pooling)?;
        network.hidden_backward(x, tape, &d_h, &mut grad.network)?;
        Ok(loss.as_f64())
    }

    pub(super) fn stream(&self, batch: usize) -> Result<PooledStream<'_, C>> {
        let stream = self.network.stream(batch)?;
        Ok(PooledStream { model: self, stream, pool: Running::new(&self.pooling, batch) })
    }
}

/// The outputs after each step, from all steps so far.
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
        self.model.network.head.forward(self.pool.value().view())
    }

    pub(super) fn fork(&self) -> Self {
        Self { model: self.model, stream: self.stream.fork(), pool: self.pool.clone() }
    }
}

impl<T: Float, C: Cell<Elem = T>> Arrays for Pooled<C> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.network.for_each(f);
        self.pooling.for_each(&mut |name, array| f(&format!("pooling.{name}"), array));
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.network.for_each_mut(f);
        self.pooling.for_each_mut(&mut |name, array| f(&format!("pooling.{name}"), array));
    }
}
