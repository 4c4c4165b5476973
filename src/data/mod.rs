//! Data sets and their preparation.
//!
//! | file | contents |
//! |---|---|
//! | `source` | [`Source`]: indexed samples from which batches are made |
//! | `columns` | checks of the names of features |
//! | `dataset` | [`Dataset`]: sequences in memory, each with a [`Target`] |
//! | `labels` | [`Labels`]: a target of its own length |
//! | `texts` | [`Texts`]: training texts of a generator |
//! | `windows` | [`Windows`]: windows of a time series, each with the rows that follow |
//! | `shards` | [`Manifest`], [`Sharded`]: files of which each rank of a distributed training reads its own |
//! | `batches` | [`Batches`]: the order of the samples in an epoch |
//! | [`split`] | splits at random, by class, by time |
//! | `scaler` | [`Scaler`]: brings features to a common scale and back |
//! | [`imputer`] | [`Imputer`]: fills missing values |
//! | `times` | [`TimeSteps`]: checks the times of the rows of a series |
//! | `vocabulary` | [`Vocabulary`]: maps characters or words to numbers and back |
//! | `table` | `Table`: the cells of a CSV or similar file (feature `csv`, on by default) |
//! | `classes` | the classes of its rows or sequences |
//! | `reader` | `TableReader`: reads such a file |
//! | `quotes` | finds mistakes in the quotes of such a file |
//! | `lines` | counts the lines of such a file |
//! | `dates` | parses the dates of such a file |
//! | `npy` | `read_npy`: reads an array of NumPy's |

mod batches;
#[cfg(feature = "csv")]
mod classes;
pub(crate) mod columns;
mod dataset;
#[cfg(feature = "csv")]
mod dates;
pub mod imputer;
mod labels;
#[cfg(feature = "csv")]
mod lines;
pub(crate) mod npy;
#[cfg(feature = "csv")]
mod quotes;
#[cfg(feature = "csv")]
mod reader;
pub mod scaler;
mod shards;
mod source;
pub mod split;
#[cfg(feature = "csv")]
mod table;
mod texts;
mod times;
pub mod vocabulary;
pub mod windows;

pub use batches::Batches;
pub use dataset::{Dataset, Target};
pub use imputer::Imputer;
pub use labels::Labels;
pub use npy::read_npy;
#[cfg(feature = "csv")]
pub use reader::TableReader;
pub use scaler::Scaler;
pub use shards::{Manifest, Shard, Sharded};
pub use source::Source;
#[cfg(feature = "csv")]
pub use table::Table;
pub use texts::Texts;
pub use times::TimeSteps;
pub use vocabulary::{Unit, Vocabulary, VocabularyBuilder};
pub use windows::{WindowBatch, WindowedSeries, Windows};
