//! [`Source`]: samples by number, of which batches are made.

use crate::error::Result;

/// Samples by number, of which batches are made.
///
/// [`Dataset`](super::Dataset) and [`WindowedSeries`](super::WindowedSeries) are sources; a source of
/// one's own may read from anywhere, or change its samples from epoch to epoch.
///
/// ```
/// use recurrent::Result;
/// use recurrent::data::Source;
///
/// /// The numbers from 0 on.
/// struct Numbers(usize);
/// impl Source<Vec<usize>> for Numbers {
///     fn len(&self) -> usize { self.0 }
///     fn batch(&self, indices: &[usize]) -> Result<Vec<usize>> { Ok(indices.to_vec()) }
/// }
/// assert_eq!(Numbers(9).batch(&[4, 2])?, [4, 2]);
/// # Ok::<(), recurrent::Error>(())
/// ```
pub trait Source<B> {
    /// How many samples there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length of sample `index` in steps, by which batches of like lengths are made; a source
    /// whose samples are alike says 1.
    fn length(&self, index: usize) -> usize {
        let _ = index;
        1
    }

    /// The batch of the given samples.
    fn batch(&self, indices: &[usize]) -> Result<B>;
}
