//! [`Source`]: samples by number, of which batches are made.

use rand::Rng;

use crate::error::Result;

/// Samples by number, of which batches are made.
///
/// [`Dataset`](super::Dataset), [`WindowedSeries`](super::WindowedSeries) and [`Texts`](super::Texts) are
/// sources; a source of one's own may read from anywhere.
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

    /// The batch of the given samples to learn from: the same, unless a source of one's own changes
    /// its samples, or makes them up, by what it draws from `rng`. A training that goes on from a
    /// checkpoint draws the same again.
    fn draw(&self, indices: &[usize], rng: &mut dyn Rng) -> Result<B> {
        let _ = rng;
        self.batch(indices)
    }
}
