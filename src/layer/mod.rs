//! Layers to use before, between and after the recurrent layers.
//!
//! All of them implement [`Layer`], and so does [`Recurrent`](crate::Recurrent). A composition of
//! layers is a layer and needs no backward pass written by hand:
//!
//! | composition | input | output |
//! |---|---|---|
//! | a tuple `(A, B, …)` of up to six layers | X | that of the layers applied in order |
//! | [`Residual`] | X | x + layer(x) |
//! | [`Heads`] | X | a pair: both layers on the same input |
//! | [`Branches`] | a pair | a pair: each layer on its own input |
//! | [`Concat`], [`Add`] | a pair of equal types | the concatenated features, or their sum |
//!
//! ```
//! use ndarray::{Array2, Array3};
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//! use recurrent::layer::{Activation, Branches, Concat, Layer, Linear, Pooling, TimePooling};
//! use recurrent::{Arrays, Lstm, Sequences};
//!
//! // An LSTM over a day and a linear layer over static features, joined.
//! let mut rng = ChaCha8Rng::seed_from_u64(1);
//! let day = (
//!     Lstm::<f32>::builder(3, 8).build(&mut rng)?,
//!     TimePooling::new(Pooling::Last, 8, 1, &mut rng)?,
//! );
//! let fixed = (Linear::new(5, 4, &mut rng)?, Activation::tanh());
//! let head = Linear::new(8 + 4, 1, &mut rng)?;
//! let model = (Branches::new(day, fixed), Concat::new(), head);
//!
//! let x = (Sequences::full(Array3::ones((24, 2, 3)))?, Array2::ones((2, 5)));
//! let (y, tape) = model.forward_train(&x, &mut rng)?;
//! assert_eq!(y.dim(), (2, 1)); // [batch, output]
//! let mut grad = model.zeros_like();
//! let d_x: (Sequences<f32>, Array2<f32>) = model.backward(tape, &Array2::ones((2, 1)), &mut grad)?;
//! assert_eq!((d_x.0.values().dim(), d_x.1.dim()), ((24, 2, 3), (2, 5)));
//! # Ok::<(), recurrent::Error>(())
//! ```
//!
//! | file | layer |
//! |---|---|
//! | `traits` | [`Layer`], the trait |
//! | `linear` | [`Linear`]: y = W x + b |
//! | `embedding` | [`Embedding`]: a learned row for each token |
//! | `characters` | [`CharacterEncoder`]: tokens by their characters |
//! | `layer_norm` | [`LayerNorm`]: mean 0 and variance 1 over the features |
//! | `conv1d` | [`Conv1d`]: a convolution over time |
//! | `stack_frames` | [`StackFrames`]: several steps joined to one |
//! | `activation` | [`Activation`]: tanh, sigmoid or relu |
//! | `dropout` | [`Dropout`]; [`VariationalDropout`]: the same mask at every step |
//! | `attention` | [`Attention`]: a weighted mean of the rows of a memory, for each query |
//! | [`crf`] | [`Crf`]: a distribution over sequences of tags; it is a loss with parameters and no layer |
//! | `pooling` | [`TimePooling`]: one vector for each sequence |
//! | `non_crossing` | [`NonCrossing`]: quantiles that do not cross |
//! | `recurrent` | [`Recurrent`](crate::Recurrent) as a layer |
//! | `compose` | tuples, [`Residual`], [`Heads`], [`Branches`] |
//! | `merge` | [`Concat`], [`Add`] |
//! | `weight_drop` | [`WeightDrop`]: dropout of weights; it wraps a training step and is no layer |
//! | `linear_steps` | a linear layer that is applied step by step |
//! | `steps` | conversion between the steps of sequences and rows |

pub mod activation;
pub mod attention;
pub mod characters;
pub mod compose;
pub mod conv1d;
pub mod crf;
pub mod dropout;
pub mod embedding;
pub mod layer_norm;
pub mod linear;
pub(crate) mod linear_steps;
pub mod merge;
pub mod non_crossing;
pub mod pooling;
mod recurrent;
pub mod stack_frames;
mod steps;
mod traits;
pub mod weight_drop;

pub use activation::Activation;
pub(crate) use attention::PackedAttention;
pub use attention::{
    Attention, AttentionBackwardStream, AttentionMemory, AttentionScore, AttentionStream,
    AttentionTape, MemoryGradient,
};
pub use characters::{CharacterEncoder, CharacterEncoding};
pub use compose::{Branches, Heads, Residual};
pub use conv1d::{Conv1d, Padding};
pub use crf::Crf;
pub use dropout::{Dropout, VariationalDropout};
pub use embedding::Embedding;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use merge::{Add, Concat, Features};
pub use non_crossing::NonCrossing;
pub use pooling::{Pooling, TimePooling};
pub use stack_frames::StackFrames;
pub use traits::Layer;
pub use weight_drop::WeightDrop;
