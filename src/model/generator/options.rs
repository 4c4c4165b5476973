//! The options that only a generator has.

use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::float::Float;
use crate::model::SequenceGenerator;
use crate::model::config::ModelBuilder;

/// The options that only a generator has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GeneratorConfig {
    pub(super) start: Option<usize>,
    pub(super) end: Option<usize>,
    pub(super) condition_size: Option<usize>,
    #[serde(default)]
    pub(super) suppress_tokens: Vec<usize>,
}

impl<T: Float, C: Cell<Elem = T>> ModelBuilder<SequenceGenerator<C>> {
    /// Sets the token that the generator adds before each text. The texts must not contain it.
    pub fn start(mut self, token: usize) -> Self {
        self.config.own.start = Some(token);
        self
    }

    /// Sets the token that the generator adds after each text, and that ends a generated text. The texts
    /// must not contain it.
    pub fn end(mut self, token: usize) -> Self {
        self.config.own.end = Some(token);
        self
    }

    /// Sets the width of the condition vector of each text.
    pub fn condition_size(mut self, size: usize) -> Self {
        self.config.own.condition_size = Some(size);
        self
    }

    /// Sets further tokens that are never generated, however likely they are. The probabilities of the
    /// others are renormalised. If the end token is one of them, every text gets the greatest length.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::LstmCell;
    /// use recurrent::decode::Sampling;
    /// use recurrent::model::SequenceGenerator;
    ///
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let builder = SequenceGenerator::<LstmCell<f32>>::builder(5).start(0).end(1);
    /// let model = builder.suppress_tokens(&[3]).build(&mut rng)?;
    /// let text = &model.generate(None, &[], 50, &Sampling::temperature(1.0)?, &mut rng)?[0];
    /// assert!(text.iter().all(|&token| token == 2 || token == 4));
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn suppress_tokens(mut self, tokens: &[usize]) -> Self {
        self.config.own.suppress_tokens = tokens.to_vec();
        self
    }
}
