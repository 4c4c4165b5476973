//! An embedding: the row of a weight matrix for each token.
//!
//! ```text
//! y = W[token]                W [num_embeddings, embedding_dim]
//! dW[token] += d_y
//! ```
//!
//! Rows are gathered, without a product. Name, layout and initial values (normal, standard deviation
//! 1) are those of `torch.nn.Embedding`.

use ndarray::{Array1, Array2, Array3, ArrayView2, Axis};
use rand::Rng;

use crate::arrays::{Arrays, check_same_structure};
use crate::error::{Error, Result, check_shape, check_size, shaped};
use crate::float::{Float, per_float};
use crate::layer::steps::{check, layer_at};
use crate::sequences::{Sequences, check_token_sequences};
use crate::tensor::precision::round_row;
use crate::tensor::{Init, Precision};

/// A learned row for each token; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Embedding, Layer};
/// use recurrent::{Arrays, Sequences};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let words = Embedding::<f32>::new(100, 8, &mut rng)?;
/// let tokens = array![[4, 17], [99, 0]]; // [time, batch]; the second sequence has one step
/// let x = Sequences::one_hot(tokens.view(), 100, vec![2, 1])?;
/// let (y, tape) = words.forward_train(&x, &mut rng)?;
/// assert_eq!(y.values().dim(), (2, 2, 8));
///
/// let mut grad = words.zeros_like();
/// words.backward(tape, &y, &mut grad)?;
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Embedding<T> {
    weight: Array2<T>,
    padding_index: Option<usize>,
    frozen: bool,
}

impl<T: Float> Embedding<T> {
    /// Creates a layer for `num_embeddings` tokens, with rows of `embedding_dim` values.
    ///
    /// # Errors
    /// If a size is zero.
    pub fn new(num_embeddings: usize, embedding_dim: usize, rng: &mut dyn Rng) -> Result<Self> {
        check_size("num_embeddings × embedding_dim", &[num_embeddings, embedding_dim])?;
        let mut weight = Array2::zeros((num_embeddings, embedding_dim));
        Init::Normal(1.0).fill(weight.view_mut(), rng);
        Ok(Self { weight, padding_index: None, frozen: false })
    }

    /// Creates a layer with the given rows `weight` [num_embeddings, embedding_dim], such as pretrained
    /// word vectors.
    ///
    /// # Errors
    /// If a size is zero or a value is not finite.
    pub fn from_weight(weight: Array2<T>) -> Result<Self> {
        check_size("weight [num_embeddings, embedding_dim]", weight.shape())?;
        weight.check_finite()?;
        Ok(Self {
            weight: weight.as_standard_layout().into_owned(),
            padding_index: None,
            frozen: false,
        })
    }

    /// Marks `token` as padding: its row is zero and receives no gradient (PyTorch's `padding_idx`).
    ///
    /// # Errors
    /// If there is no such token.
    pub fn padding_index(mut self, token: usize) -> Result<Self> {
        if token >= self.weight.nrows() {
            let expected = format!("less than {} (num_embeddings)", self.weight.nrows());
            return Err(Error::argument("padding_index", expected, token));
        }
        self.weight.row_mut(token).fill(T::zero());
        self.padding_index = Some(token);
        Ok(self)
    }

    /// Sets whether the gradient of the rows is zero. An optimiser with weight decay still shrinks
    /// frozen rows, unless [`Groups::frozen`](crate::optim::Groups::frozen) names them.
    pub fn frozen(mut self, frozen: bool) -> Self {
        self.frozen = frozen;
        self
    }

    /// Returns the number of tokens.
    pub fn num_embeddings(&self) -> usize {
        self.weight.nrows()
    }

    /// Returns the number of values of a row.
    pub fn embedding_dim(&self) -> usize {
        self.weight.ncols()
    }

    /// Returns the rows, [num_embeddings, embedding_dim].
    pub fn weight(&self) -> ArrayView2<'_, T> {
        self.weight.view()
    }

    /// Returns the row of each of `tokens` [time, batch] in the given precision. Tokens in the padding are not
    /// read.
    ///
    /// # Errors
    /// If a token is not less than `num_embeddings`, or a length does not fit.
    pub(crate) fn rows_of(
        &self,
        tokens: ArrayView2<'_, usize>,
        lengths: &[usize],
        precision: Precision,
    ) -> Result<Sequences<T>> {
        let (time, batch) = tokens.dim();
        check_token_sequences(tokens, lengths, self.weight.nrows(), "num_embeddings")?;
        let values = rows_of_tokens(&self.weight, tokens, lengths);
        let rows = values.into_shape_with_order((time, batch, self.weight.ncols()));
        let mut rows = shaped("rows of tokens", rows)?;
        if precision != Precision::Full {
            rows.rows_mut().into_iter().for_each(|row| round_row(precision, row.into_dyn()));
        }
        Sequences::new(rows, lengths.to_vec())
    }

    /// Returns the rows of the one-hot sequences `x` in the given precision.
    pub(crate) fn forward_with(
        &self,
        x: &Sequences<T>,
        precision: Precision,
    ) -> Result<Sequences<T>> {
        self.rows_of(self.tokens_of(x)?, x.lengths(), precision)
    }

    /// Adds dW to `grad`, from `d_y` [time, batch, embedding_dim] and the tokens `x` of the forward pass.
    pub(crate) fn add_gradient(
        &self,
        x: &Sequences<T>,
        d_y: &Sequences<T>,
        grad: &mut Self,
    ) -> Result<()> {
        let tokens = self.tokens_of(x)?;
        check("d_y", x, (self.weight.ncols(), "time, batch, embedding"), d_y)?;
        check_same_structure("grad", self, grad)?;
        if self.frozen {
            return Ok(());
        }
        add_rows(tokens, x.lengths(), self.padding_index, d_y.values(), &mut grad.weight);
        Ok(())
    }

    /// Adds `d` [num_embeddings, embedding_dim] to the rows, which are a gradient.
    pub(crate) fn add_weight_gradient(&mut self, d: ArrayView2<'_, T>) {
        self.weight += &d;
    }

    fn tokens_of<'x>(&self, x: &'x Sequences<T>) -> Result<ArrayView2<'x, usize>> {
        let expected = [x.time(), x.batch(), self.weight.nrows()];
        let got = [x.time(), x.batch(), x.features()];
        check_shape("x", "time, batch, num_embeddings", &expected, &got)?;
        let tokens = x.tokens();
        tokens.ok_or_else(|| Error::argument("x", "tokens (Sequences::one_hot)", "values"))
    }
}

per_float! {
    /// Returns the row of each token, zeros in the padding.
    fn rows_of_tokens<'a, T>(
        weight: &'a Array2<T>,
        tokens: ArrayView2<'a, usize>,
        lengths: &'a [usize],
    ) -> Array1<T> = gathered;

    /// Adds the row of `d_y` of each token other than the padding index to that of `d_weight`.
    fn add_rows<'a, T>(
        tokens: ArrayView2<'a, usize>,
        lengths: &'a [usize],
        padding_index: Option<usize>,
        d_y: &'a Array3<T>,
        d_weight: &'a mut Array2<T>,
    ) = scattered;
}

#[expect(clippy::expect_used, reason = "an embedding keeps its weight in standard layout")]
fn gathered<T: Float>(
    weight: &Array2<T>,
    tokens: ArrayView2<'_, usize>,
    lengths: &[usize],
) -> Array1<T> {
    let width = weight.ncols();
    let rows = weight.as_slice().expect("a weight in standard layout");
    let mut values = Vec::with_capacity(tokens.len() * width);
    for ((t, b), &token) in tokens.indexed_iter() {
        match t < lengths[b] {
            true => values.extend_from_slice(&rows[token * width..][..width]),
            false => values.resize(values.len() + width, T::zero()),
        }
    }
    values.into()
}

fn scattered<T: Float>(
    tokens: ArrayView2<'_, usize>,
    lengths: &[usize],
    padding_index: Option<usize>,
    d_y: &Array3<T>,
    d_weight: &mut Array2<T>,
) {
    for ((t, b), &token) in tokens.indexed_iter() {
        if t < lengths[b] && Some(token) != padding_index {
            let mut row = d_weight.row_mut(token);
            row += &d_y.index_axis(Axis(0), t).row(b);
        }
    }
}

layer_at! {
    /// Maps one-hot sequences to their rows [time, batch, embedding_dim]. Tokens have no gradient, so
    /// `backward` returns zeros.
    Embedding: Sequences<T> => Sequences<T>,
    forward: |embedding, x| embedding.forward_with(x, Precision::Full),
    backward: |embedding, x, d_y, grad| {
        embedding.add_gradient(&x, d_y, grad)?;
        Ok(x.zeros_like())
    },
}

crate::arrays!(Embedding { weight: array });
