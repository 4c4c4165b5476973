//! Numerics: products, activations, reductions, random factors and initialisers. Knows no network.
//!
//! | file | duty |
//! |---|---|
//! | `rows` | contiguous rows with a stride: what cells and kernels see of an array |
//! | `aligned` | values that begin at a cache line |
//! | `lanes` | a loop over the native vectors of a slice, with its tail |
//! | `dispatch` | functions compiled once for each element type and instruction set |
//! | `kernel` | the micro-kernel of products, generic over instruction set and element type |
//! | `pack` | an operand laid out once for the micro-kernel |
//! | `matmul` | products of rows by a packed matrix |
//! | `outer` | sums of outer products |
//! | `projection` | products with inputs that are dense rows or one-hot tokens |
//! | `activation` | sigmoid, tanh, relu, exp: vectorised, with stated error bounds |
//! | `reduce` | column sums, softmax and log-sum-exp in a fixed order |
//! | `cross_entropy` | the cross entropy of a row with its gradient |
//! | `update` | elementwise updates of parameters: the arithmetic of optimisers |
//! | `threads` | the one rule that decides on how many threads a piece of work runs, and how they begin |
//! | `random` | dropout masks |
//! | `init` | initial values of weights |
//!
//! Instruction sets are chosen at run time: AVX-512, AVX2 with FMA or SSE2 on x86, NEON, or portable
//! loops. A function that takes a [`Level`] chooses; one that takes `simd: S` runs inside that choice
//! and is `#[inline(always)]`, so that its loops are compiled for it.

pub mod activation;
pub mod init;
mod lanes;
pub mod matmul;
pub mod reduce;
pub mod rows;

pub(crate) mod aligned;
pub(crate) mod cross_entropy;
mod dispatch;
mod kernel;
mod outer;
mod pack;
pub(crate) mod projection;
pub(crate) mod random;
pub(crate) mod threads;
pub(crate) mod update;

pub(crate) use aligned::Aligned;
pub use dispatch::{Compiled, Kernel};
pub use fearless_simd::{Level, Select, Simd, SimdBase, SimdFloat};
pub use init::Init;
pub use lanes::{Lanes, Vector, lanes};
pub use matmul::{Accumulate, Epilogue, Operands, product, product_then};
pub use outer::add_outer_products;
pub use pack::{MAX_GATES, Packed};
pub use rows::{RowRefs, Rows, RowsMut};
