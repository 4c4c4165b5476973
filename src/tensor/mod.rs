//! Numerics: products, activations, reductions, random factors and initialisers. Knows no network.
//!
//! | file | duty |
//! |---|---|
//! | `rows` | contiguous rows with a stride: what cells and kernels see of an array |
//! | `aligned` | values that begin at a cache line |
//! | `lanes` | a loop over the native vectors of a slice, with its tail |
//! | `kernel` | the micro-kernel of products, generic over instruction set and element type |
//! | `pack` | an operand laid out once for the micro-kernel |
//! | `matmul` | products of rows by a packed matrix |
//! | `outer` | sums of outer products |
//! | `one_hot` | both of one-hot rows: gathers and scatters |
//! | `activation` | sigmoid, tanh, relu, exp: vectorised, with stated error bounds |
//! | `reduce` | column sums, softmax and log-sum-exp in a fixed order |
//! | `threads` | the one rule that decides on how many threads a piece of work runs, and how they begin |
//! | `random` | dropout masks |
//! | `init` | initial values of weights |
//!
//! Instruction sets are chosen at run time by `fearless_simd`: AVX-512, AVX2 with FMA, SSE, NEON,
//! or a portable fallback. Functions that take `simd: S` run inside that choice and are
//! `#[inline(always)]`, so that their loops are compiled for it.

pub mod activation;
pub mod init;
mod lanes;
pub mod matmul;
pub mod reduce;
pub mod rows;

pub(crate) mod aligned;
mod kernel;
pub(crate) mod one_hot;
mod outer;
mod pack;
pub(crate) mod random;
pub(crate) mod threads;

pub(crate) use aligned::Aligned;
pub use fearless_simd::{Level, Select, Simd, SimdBase, SimdFloat, dispatch};
pub use init::Init;
pub use lanes::{Lanes, Vector, lanes};
pub use matmul::{Start, product, product_then};
pub use one_hot::Inputs;
pub use outer::add_outer_products;
pub use pack::{MAX_GATES, Packed};
pub use rows::{Gather, Rows, RowsMut};
