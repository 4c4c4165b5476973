//! Numerical kernels: products, activations, reductions, dropout masks and initialisers.
//!
//! | file | contents |
//! |---|---|
//! | `rows` | views of contiguous rows at a stride, the arguments of cells and kernels |
//! | `aligned` | buffers aligned to cache lines |
//! | `lanes` | iteration over the native vectors of a slice |
//! | `dispatch` | functions compiled once for each element type and instruction set |
//! | `kernel` | the micro-kernel of products, generic over instruction set and element type |
//! | `pack` | a matrix in the layout of the micro-kernel |
//! | `panels` | the part of it that one thread multiplies |
//! | `matmul` | products of rows by a packed matrix |
//! | `shared` | products that several threads share |
//! | `helper` | threads that wait for work by spinning |
//! | `reduced` | products with weights of 16 or 8 bits |
//! | `outer` | sums of outer products |
//! | `projection` | products with inputs that are dense rows or one-hot tokens |
//! | `activation` | sigmoid, tanh, relu, exp: vectorised, with documented error bounds |
//! | `reduce` | column sums, softmax, norms and normalisation in a fixed order |
//! | `cross_entropy` | the cross-entropy of a row with its gradient |
//! | `attention` | the sums of attention over the rows of one memory |
//! | `top` | ln Σ eˣ of a row, and its largest values |
//! | `chain` | forward–backward over a chain of tags |
//! | `extended` | vectors of numbers with an exponent of any size |
//! | `ctc` | the lattice of alignments of CTC: forward and backward variables |
//! | `update` | elementwise updates of parameters: the arithmetic of optimisers |
//! | `elementwise` | arithmetic of `ndarray`, compiled once |
//! | `threads` | the number of threads of a computation, and fork-join |
//! | `random` | dropout masks |
//! | `init` | initial values of weights |
//!
//! The instruction set is chosen at run time: AVX-512, AVX2 with FMA or SSE2 on x86, NEON, or portable
//! loops. A function that takes a [`Level`] dispatches on it. A function that takes `simd: S` is
//! `#[inline(always)]`, so that its loops are compiled for the instruction set `S`.

pub mod activation;
pub mod init;
mod lanes;
pub mod matmul;
pub mod reduce;
pub mod rows;

pub(crate) mod aligned;
pub(crate) mod attention;
pub(crate) mod chain;
pub(crate) mod cross_entropy;
pub(crate) mod ctc;
mod dispatch;
pub(crate) mod elementwise;
mod extended;
mod helper;
mod kernel;
mod outer;
mod pack;
mod panels;
pub(crate) mod precision;
pub(crate) mod projection;
pub(crate) mod random;
mod reduced;
mod shared;
pub(crate) mod threads;
pub(crate) mod top;
pub(crate) mod update;

pub(crate) use aligned::Aligned;
pub use dispatch::{Compiled, Kernel};
pub use fearless_simd::{Level, Select, Simd, SimdBase, SimdFloat};
pub use init::Init;
pub use lanes::{Lanes, Vector, lanes};
pub use matmul::{Accumulate, Epilogue, Operands, product, product_then};
pub use outer::add_outer_products;
pub use pack::{MAX_GATES, Packed};
pub use precision::Precision;
pub use rows::{RowRefs, Rows, RowsMut};
