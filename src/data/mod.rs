//! Data on its way to a network.
//!
//! | file | duty |
//! |---|---|
//! | `batches` | [`Batches`]: the order in which an epoch sees its samples |

mod batches;

pub use batches::Batches;
