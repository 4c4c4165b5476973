//! Attention: a weighted mean of the rows of a memory, whose weights depend on a query.
//!
//! ```text
//! α = softmax_s(e_s)     context = Σ_s α_s m_s            over the rows m_s of one memory
//!
//! dot          e_s = q·m_s
//! scaled dot   e_s = q·m_s / √size
//! general      e_s = q·(W_k m_s)
//! additive     e_s = v·tanh(W_q q + W_k m_s + b)
//! location     e_s = v·tanh(W_q q + W_k m_s + b + U f_s)   f = F * α of the query before
//!
//! d_α_s = d_context·m_s     d_e = α ∘ (d_α − Σ α ∘ d_α)     d_m_s = α_s d_context + that through e_s
//! ```
//!
//! Additive: Bahdanau, Cho and Bengio, *Neural Machine Translation by Jointly Learning to Align and
//! Translate*, 2015. Dot and general: Luong, Pham and Manning, *Effective Approaches to Attention-based
//! Neural Machine Translation*, 2015. Scaled dot: Vaswani et al., *Attention Is All You Need*, 2017.
//! Location: Chorowski et al., *Attention-Based Models for Speech Recognition*, 2015; * is a convolution
//! over the memory's time with zeros beyond its ends, and the weights before the first query are zero.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | [`Attention`]: the parameters, and attention of whole sequences of queries |
//! | `memory` | [`AttentionMemory`]: the rows to attend to, with their keys; its gradient |
//! | `stream` | [`AttentionStream`]: one query after another, in inference and training |
//! | `packed` | the same for many memories, with weights that are packed once, of any precision |
//! | `walk` | the forward and backward pass of one query of each sequence |
//! | `location` | the part of the scores that depends on the weights before |

mod location;
mod memory;
mod packed;
mod stream;
mod walk;

use ndarray::{Array2, Array3, Axis};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::arrays::check_same_structure;
use crate::error::{Error, Result, check_length, check_shape};
use crate::float::Float;
use crate::layer::steps::zero_padding;
use crate::layer::{Layer, Linear};
use crate::sequences::Sequences;
use crate::tensor::Init;
use location::Location;
use walk::{Walk, WalkBack};

pub use memory::{AttentionMemory, MemoryGradient};
pub(crate) use packed::PackedAttention;
pub use stream::{AttentionBackwardStream, AttentionStream};

/// The function that scores a row of the memory for a query; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum AttentionScore {
    /// The scalar product. Query and memory must have the same width.
    Dot,
    /// The scalar product divided by the square root of the width. Query and memory must have the same width.
    ScaledDot,
    /// The scalar product with W_k m.
    General,
    /// A hidden layer with tanh.
    Additive {
        /// The width of the hidden layer.
        size: usize,
    },
    /// A hidden layer that also reads the weights of the query before, for memories such as speech in which
    /// the attention moves on.
    Location {
        /// The width of the hidden layer.
        size: usize,
        /// The number of filters of the convolution over the weights.
        filters: usize,
        /// The width of the convolution, an odd number.
        kernel_size: usize,
    },
}

/// Attention to the rows of a memory; see the [module](self).
///
/// As a [`Layer`] it maps a pair, sequences of queries [query time, batch, query] and the memory
/// [memory time, batch, memory], to the contexts [query time, batch, memory]. Each sequence attends to the
/// memory of the same index.
///
/// The parameters are `query.weight`, `key.weight`, `key.bias` and `score.weight` (v), and for location
/// `location.convolution` [filters, kernel] and `location.projection.weight` (U), with the initial values
/// of `torch.nn.Linear`.
///
/// ```
/// use ndarray::Array3;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Attention, AttentionScore, Layer};
/// use recurrent::{Arrays, Sequences};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let attention = Attention::<f32>::new(AttentionScore::Additive { size: 8 }, 4, 6, &mut rng)?;
/// let queries = Sequences::full(Array3::ones((3, 2, 4)))?; // [query time, batch, query]
/// let memory = Sequences::new(Array3::ones((5, 2, 6)), vec![5, 2])?;
///
/// let (contexts, weights) = attention.attend(&queries, &memory)?;
/// assert_eq!(contexts.values().dim(), (3, 2, 6));
/// assert_eq!(weights.dim(), (2, 3, 5)); // [batch, query time, memory time]
/// assert_eq!((weights[[1, 0, 1]], weights[[1, 0, 2]]), (0.5, 0.0)); // two rows in the second memory
///
/// let pair = (queries, memory);
/// let (y, tape) = attention.forward_train(&pair, &mut rng)?;
/// let mut grad = attention.zeros_like();
/// let (d_queries, d_memory) = attention.backward(tape, &y, &mut grad)?;
/// # assert_eq!(d_memory.values().dim(), (5, 2, 6));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Attention<T> {
    kind: AttentionScore,
    query_size: usize,
    memory_size: usize,
    query: Option<Linear<T>>,
    key: Option<Linear<T>>,
    score: Option<Linear<T>>,
    location: Option<Location<T>>,
}
crate::arrays!(Attention { query, key, score, location });

impl<T: Float> Attention<T> {
    /// Creates attention of queries of `query_size` values to memories of `memory_size` values.
    ///
    /// # Errors
    /// If a size is zero, `kernel_size` is even, or the sizes differ where the score needs one width.
    pub fn new(
        kind: AttentionScore,
        query_size: usize,
        memory_size: usize,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        check_length("query_size", query_size)?;
        check_length("memory_size", memory_size)?;
        let mut attention = Self {
            kind,
            query_size,
            memory_size,
            query: None,
            key: None,
            score: None,
            location: None,
        };
        let without_bias = |input: usize, output: usize, rng: &mut dyn Rng| {
            let init = Init::Uniform(1.0 / (input as f64).sqrt());
            Linear::with_options(input, output, false, init, rng)
        };
        match kind {
            AttentionScore::Dot | AttentionScore::ScaledDot if query_size != memory_size => {
                let expected = format!("{query_size} (query_size): the score is a scalar product");
                return Err(Error::argument("memory_size", expected, memory_size));
            }
            AttentionScore::Dot | AttentionScore::ScaledDot => {}
            AttentionScore::General => {
                attention.key = Some(without_bias(memory_size, query_size, rng)?);
            }
            AttentionScore::Additive { size } | AttentionScore::Location { size, .. } => {
                check_length("size", size)?;
                attention.query = Some(without_bias(query_size, size, rng)?);
                attention.key = Some(Linear::new(memory_size, size, rng)?);
                attention.score = Some(without_bias(size, 1, rng)?);
            }
        }
        if let AttentionScore::Location { size, filters, kernel_size } = kind {
            attention.location = Some(Location::new(size, filters, kernel_size, rng)?);
        }
        Ok(attention)
    }

    /// Returns the function that scores a row.
    pub fn score(&self) -> AttentionScore {
        self.kind
    }

    /// Returns the width of a query.
    pub fn query_size(&self) -> usize {
        self.query_size
    }

    /// Returns the width of a row of the memory.
    pub fn memory_size(&self) -> usize {
        self.memory_size
    }

    /// Returns the contexts [query time, batch, memory] of `queries`, and the weights
    /// [batch, query time, memory time], which are zero beyond the ends of memories and queries.
    ///
    /// # Errors
    /// If `queries` or `memory` does not fit, or a memory has no row.
    pub fn attend(
        &self,
        queries: &Sequences<T>,
        memory: &Sequences<T>,
    ) -> Result<(Sequences<T>, Array3<T>)> {
        let (contexts, walk) = self.walk(queries, memory, true)?;
        let mut weights = Array3::zeros((queries.batch(), queries.time(), memory.time()));
        for (t, step) in walk.steps().iter().enumerate() {
            weights.index_axis_mut(Axis(1), t).assign(&step.weights);
        }
        Ok((contexts, weights))
    }

    /// Returns the contexts of `queries`, and the walk over them, which keeps its steps if `keep`.
    fn walk(
        &self,
        queries: &Sequences<T>,
        memory: &Sequences<T>,
        keep: bool,
    ) -> Result<(Sequences<T>, Walk<T>)> {
        let axes = ("query time, batch, query", self.query_size);
        let sizes = [queries.time(), memory.batch(), axes.1];
        check_shape("queries", axes.0, &sizes, queries.values().shape())?;
        let projected = self.query.as_ref().map(|query| query.forward(queries)).transpose()?;
        let mut walk = Walk::new(self.memory(memory)?, keep);
        let mut contexts = Array3::zeros((queries.time(), queries.batch(), self.memory_size));
        let values = projected.as_ref().unwrap_or(queries).values();
        for (t, q) in values.outer_iter().enumerate() {
            let live = queries.lengths().iter().map(|&length| t < length).collect();
            let context = walk.attend(self, self.scaled(q.to_owned()), live)?;
            contexts.index_axis_mut(Axis(0), t).assign(&context);
        }
        Ok((queries.with_values(contexts)?, walk))
    }

    /// Returns the layer that computes the keys, if they are computed.
    fn key_layer(&self) -> Option<&Linear<T>> {
        self.key.as_ref()
    }

    /// Returns the layers of the scores.
    #[cfg(feature = "onnx")]
    pub(crate) fn parts(&self) -> AttentionParts<'_, T> {
        AttentionParts {
            query: self.query.as_ref(),
            key: self.key.as_ref(),
            score: self.score.as_ref(),
            location: self.location.as_ref().map(Location::parts),
        }
    }

    /// Returns the factor of the queries.
    pub(crate) fn scale(&self) -> Option<T> {
        let root = T::from_f64(self.query_size as f64).sqrt();
        (self.kind == AttentionScore::ScaledDot).then(|| root.recip())
    }

    /// Returns `q` times the factor of the queries, or the gradient of that.
    fn scaled(&self, mut q: Array2<T>) -> Array2<T> {
        if let Some(scale) = self.scale() {
            q.mapv_inplace(|q| q * scale);
        }
        q
    }
}

/// The layers of the scores of an [`Attention`].
#[cfg(feature = "onnx")]
pub(crate) struct AttentionParts<'m, T> {
    /// W_q.
    pub(crate) query: Option<&'m Linear<T>>,
    /// W_k and b.
    pub(crate) key: Option<&'m Linear<T>>,
    /// v.
    pub(crate) score: Option<&'m Linear<T>>,
    /// F [filters, kernel] and U.
    pub(crate) location: Option<(&'m Array2<T>, &'m Linear<T>)>,
}

/// The values that [`Attention`] stores for its backward pass.
#[derive(Clone, Debug)]
pub struct AttentionTape<T> {
    queries: Sequences<T>,
    walk: Walk<T>,
}

/// Maps queries and a memory to contexts; see [`Attention`].
impl<T: Float> Layer<(Sequences<T>, Sequences<T>)> for Attention<T> {
    type Output = Sequences<T>;
    type Tape = AttentionTape<T>;

    fn forward(&self, (queries, memory): &(Sequences<T>, Sequences<T>)) -> Result<Sequences<T>> {
        Ok(self.walk(queries, memory, false)?.0)
    }

    fn forward_train(
        &self,
        (queries, memory): &(Sequences<T>, Sequences<T>),
        _: &mut dyn Rng,
    ) -> Result<(Sequences<T>, AttentionTape<T>)> {
        let (contexts, walk) = self.walk(queries, memory, true)?;
        Ok((contexts, AttentionTape { queries: queries.clone(), walk }))
    }

    fn backward(
        &self,
        AttentionTape { queries, walk }: AttentionTape<T>,
        d_y: &Sequences<T>,
        grad: &mut Self,
    ) -> Result<(Sequences<T>, Sequences<T>)> {
        check_same_structure("grad", self, grad)?;
        let sizes = [queries.time(), queries.batch(), self.memory_size];
        d_y.check("d_y", ("query time, batch, memory", sizes), queries.lengths())?;
        let width = self.query.as_ref().map_or(self.query_size, Linear::output_size);
        let mut d_q = Array3::zeros((queries.time(), queries.batch(), width));
        let mut d_contexts = d_y.values().clone();
        zero_padding(&mut d_contexts, queries.lengths());
        let mut walk = WalkBack::new(self, walk);
        for t in (0..queries.time()).rev() {
            let d = walk.step(self, d_contexts.index_axis(Axis(0), t), None)?;
            d_q.index_axis_mut(Axis(0), t).assign(&self.scaled(d));
        }
        let d_queries = queries.with_values(d_q)?;
        let d_queries = match (&self.query, &mut grad.query) {
            (Some(query), Some(grad)) => query.backward_sequences(&queries, &d_queries, grad)?,
            _ => d_queries,
        };
        Ok((d_queries, WalkBack::finish(vec![walk], self, grad)?.values))
    }
}
