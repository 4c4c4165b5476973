//! An embedding: a row of the weight for each token.
//!
//! ```text
//! y = W[token]                W [num_embeddings, embedding_dim]
//! dW[token] += d_y
//! ```
//!
//! A gather, not a product. Name, layout and first values (normal, deviation 1) are those of
//! `torch.nn.Embedding`.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};
use rand::Rng;

use crate::arrays::{Arrays, Visit, VisitMut, check_same_structure};
use crate::error::{Error, Result, check_shape, check_size};
use crate::float::Float;
use crate::sequences::{Sequences, check_token_sequences};
use crate::tensor::Init;

/// A row for each token; see the [module](self).
///
/// ```
/// use ndarray::{Array3, array};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::{Arrays, layer::Embedding};
///
/// let words = Embedding::<f32>::new(100, 8, &mut ChaCha8Rng::seed_from_u64(1))?;
/// let tokens = array![[4, 17], [99, 0]]; // [time, batch]; the second sequence has one step
/// let x = words.forward(tokens.view(), &[2, 1])?;
/// assert_eq!(x.values().dim(), (2, 2, 8));
///
/// let (mut grad, d_x) = (words.zeros_like(), Array3::ones((2, 2, 8)));
/// words.backward(tokens.view(), &[2, 1], d_x.view(), &mut grad)?;
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Embedding<T> {
    weight: Array2<T>,
    padding_index: Option<usize>,
    frozen: bool,
}

impl<T: Float> Embedding<T> {
    /// A layer for `num_embeddings` tokens, with rows of `embedding_dim` values.
    ///
    /// # Errors
    /// Where a size is zero.
    pub fn new(num_embeddings: usize, embedding_dim: usize, rng: &mut dyn Rng) -> Result<Self> {
        check_size("num_embeddings × embedding_dim", &[num_embeddings, embedding_dim])?;
        let mut weight = Array2::zeros((num_embeddings, embedding_dim));
        Init::Normal(1.0).fill(weight.view_mut(), rng);
        Ok(Self { weight, padding_index: None, frozen: false })
    }

    /// A layer with the given rows `weight` [num_embeddings, embedding_dim]: word vectors from
    /// elsewhere.
    ///
    /// # Errors
    /// Where a size is zero or a value is not finite.
    pub fn from_weight(weight: Array2<T>) -> Result<Self> {
        check_size("weight [num_embeddings, embedding_dim]", weight.shape())?;
        weight.check_finite()?;
        Ok(Self { weight, padding_index: None, frozen: false })
    }

    /// Makes the row of `token` zero, and lets it learn nothing: for a token that stands where there
    /// is none.
    ///
    /// # Errors
    /// Where there is no such token.
    pub fn padding_index(mut self, token: usize) -> Result<Self> {
        if token >= self.weight.nrows() {
            let expected = format!("less than {} (num_embeddings)", self.weight.nrows());
            return Err(Error::argument("padding_index", expected, token));
        }
        self.weight.row_mut(token).fill(T::zero());
        self.padding_index = Some(token);
        Ok(self)
    }

    /// Whether its rows learn nothing: their gradient is then zero. An optimiser with weight decay
    /// would still shrink them; freeze them by name there.
    pub fn frozen(mut self, frozen: bool) -> Self {
        self.frozen = frozen;
        self
    }

    /// How many tokens there are.
    pub fn num_embeddings(&self) -> usize {
        self.weight.nrows()
    }

    /// Values of a row.
    pub fn embedding_dim(&self) -> usize {
        self.weight.ncols()
    }

    /// The rows, [num_embeddings, embedding_dim].
    pub fn weight(&self) -> ArrayView2<'_, T> {
        self.weight.view()
    }

    /// Sequences [time, batch, embedding_dim] of the given `lengths`, of `tokens` [time, batch].
    /// What stands in the padding of `tokens` is not read.
    ///
    /// # Errors
    /// Where a token is not less than `num_embeddings`, or a length does not fit.
    pub fn forward(
        &self,
        tokens: ArrayView2<'_, usize>,
        lengths: &[usize],
    ) -> Result<Sequences<T>> {
        let (time, batch) = tokens.dim();
        self.check_tokens(tokens, lengths)?;
        let mut values = Array3::zeros((time, batch, self.weight.ncols()));
        for ((t, b), &token) in tokens.indexed_iter() {
            if t < lengths[b] {
                let mut step = values.index_axis_mut(Axis(0), t);
                step.row_mut(b).assign(&self.weight.row(token));
            }
        }
        Sequences::new(values, lengths.to_vec())
    }

    /// Adds dW to `grad`, from `d_y` [time, batch, embedding_dim], which is not read in the
    /// padding.
    pub fn backward(
        &self,
        tokens: ArrayView2<'_, usize>,
        lengths: &[usize],
        d_y: ArrayView3<'_, T>,
        grad: &mut Self,
    ) -> Result<()> {
        let (time, batch) = tokens.dim();
        let expected = [time, batch, self.weight.ncols()];
        check_shape("d_y", "time, batch, embedding", &expected, d_y.shape())?;
        check_same_structure("grad", self, grad)?;
        self.check_tokens(tokens, lengths)?;
        if self.frozen {
            return Ok(());
        }
        for ((t, b), &token) in tokens.indexed_iter() {
            if t < lengths[b] && Some(token) != self.padding_index {
                let mut row = grad.weight.row_mut(token);
                row += &d_y.index_axis(Axis(0), t).row(b);
            }
        }
        Ok(())
    }

    /// The same as [`forward`](Self::forward) of one-hot sequences `x`.
    ///
    /// # Errors
    /// Where `x` is not one-hot or has other classes.
    pub fn forward_sequences(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        self.forward(self.tokens_of(x)?, x.lengths())
    }

    /// The same as [`backward`](Self::backward) at one-hot sequences `x`.
    ///
    /// # Errors
    /// Where `x` is not one-hot or has other classes, or a shape does not fit.
    pub fn backward_sequences(
        &self,
        x: &Sequences<T>,
        d_y: ArrayView3<'_, T>,
        grad: &mut Self,
    ) -> Result<()> {
        self.backward(self.tokens_of(x)?, x.lengths(), d_y, grad)
    }

    fn tokens_of<'x>(&self, x: &'x Sequences<T>) -> Result<ArrayView2<'x, usize>> {
        let expected = [x.time(), x.batch(), self.weight.nrows()];
        let got = [x.time(), x.batch(), x.features()];
        check_shape("x", "time, batch, num_embeddings", &expected, &got)?;
        let tokens = x.tokens();
        tokens.ok_or_else(|| Error::argument("x", "tokens (Sequences::one_hot)", "values"))
    }

    fn check_tokens(&self, tokens: ArrayView2<'_, usize>, lengths: &[usize]) -> Result<()> {
        check_token_sequences(tokens, lengths, self.weight.nrows(), "num_embeddings")
    }
}

impl<T: Float> Arrays for Embedding<T> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        f("weight", self.weight.view().into_dyn());
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        f("weight", self.weight.view_mut().into_dyn());
    }
}
