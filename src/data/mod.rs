//! Data on its way to a network.
//!
//! | file | duty |
//! |---|---|
//! | `source` | [`Source`]: samples by number, of which batches are made |
//! | `dataset` | [`Dataset`]: sequences in memory, each with its target |
//! | `texts` | [`Texts`]: what a generator learns to say |
//! | `windows` | [`Windows`]: pieces of a time series, each with what follows it |
//! | `batches` | [`Batches`]: the order in which an epoch sees its samples |
//! | [`split`] | random, stratified, by time |
//! | `scaler` | [`Scaler`]: features of like size, and back |
//! | `vocabulary` | [`Vocabulary`]: numbers for characters or words, and back |
//! | `table` | `Table`: a CSV file (feature `csv`, on by default) |
//! | `npy` | `read_npy`: an array of NumPy's (feature `npy`) |

mod batches;
mod dataset;
#[cfg(feature = "npy")]
mod npy;
pub mod scaler;
mod source;
pub mod split;
#[cfg(feature = "csv")]
mod table;
mod texts;
pub mod vocabulary;
pub mod windows;

pub use batches::Batches;
pub use dataset::{Dataset, Target};
#[cfg(feature = "npy")]
pub use npy::read_npy;
pub use scaler::Scaler;
pub use source::Source;
#[cfg(feature = "csv")]
pub use table::Table;
pub use texts::Texts;
pub use vocabulary::{Unit, Vocabulary, VocabularyBuilder};
pub use windows::{WindowedSeries, Windows};
