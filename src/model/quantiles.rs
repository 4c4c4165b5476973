//! The option [`non_crossing`](ModelBuilder::non_crossing) of models whose outputs may be quantiles.

use crate::cell::Cell;
use crate::error::Result;
use crate::float::Float;
use crate::layer::NonCrossing;
use crate::model::Scored;
use crate::model::config::{Config, ModelBuilder, Shape};

impl<C: Cell, E> Config<C, E> {
    /// Returns the layer that orders the quantiles of `numbers` of a prediction, if the option is set.
    pub(super) fn order<T: Float, P, L: Scored<P>>(
        &self,
        loss: &L,
        numbers: usize,
    ) -> Result<Option<NonCrossing<T>>> {
        if !self.non_crossing {
            return Ok(None);
        }
        loss.check_ascending()?;
        NonCrossing::new(numbers, loss.predictions()).map(Some)
    }
}

impl<M: WithQuantiles> ModelBuilder<M> {
    /// Sets whether quantiles are ascending ([`NonCrossing`](crate::layer::NonCrossing)). Default: false, each
    /// level is an output of the linear layer, and two may cross. The loss must be a
    /// [`Quantile`](crate::loss::Quantile) with ascending levels.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::Sequences;
    /// use recurrent::ndarray::Array3;
    /// use recurrent::{cell::LstmCell, loss::Quantile, model::SequenceRegressor};
    ///
    /// let builder = SequenceRegressor::<LstmCell<f32>>::builder(2, 1);
    /// let builder = builder.loss(Quantile::new(vec![0.1, 0.5, 0.9])?).non_crossing(true);
    /// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// let quantiles = model.predict(&Sequences::full(Array3::ones((4, 1, 2)))?)?;
    /// assert!(quantiles[[0, 0]] <= quantiles[[0, 1]] && quantiles[[0, 1]] <= quantiles[[0, 2]]);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn non_crossing(mut self, non_crossing: bool) -> Self {
        self.config.non_crossing = non_crossing;
        self
    }
}

/// A kind of model whose outputs may be quantiles. Sealed, as [`Shape`] is.
pub trait WithQuantiles: Shape {}
