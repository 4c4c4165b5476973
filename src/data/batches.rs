//! [`Batches`]: the order of the samples in an epoch. They can be shuffled, and bucketed by length so that
//! batches need little padding.
#![expect(clippy::indexing_slicing, reason = "samples are numbers below that of the lengths")]

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::error::{Result, check_count};

/// A rule that divides the samples into batches, anew for each epoch.
///
/// The order of an epoch depends only on the seed and the epoch's number. Training can therefore
/// resume at any epoch.
///
/// ```
/// use recurrent::data::Batches;
///
/// let lengths = [3, 9, 4, 8, 3, 7, 5];
/// let batches = Batches::new(2)?.shuffled(1).bucketed(2)?;
/// let epoch = batches.epoch(&lengths, 0);
/// assert_eq!(epoch.len(), 4);
/// let mut seen = epoch.concat();
/// seen.sort();
/// assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
/// assert_ne!(epoch, batches.epoch(&lengths, 1));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batches {
    batch_size: usize,
    seed: Option<u64>,
    bucketed: usize,
}

impl Batches {
    /// Creates a rule for batches of `batch_size` consecutive samples. The last batch may be smaller. A
    /// size of the number of samples or more, such as `usize::MAX`, puts all samples into one batch.
    ///
    /// # Errors
    /// If `batch_size` is zero.
    pub fn new(batch_size: usize) -> Result<Self> {
        check_count("batch_size", batch_size)?;
        Ok(Self { batch_size, seed: None, bucketed: 1 })
    }

    /// Shuffles the samples, and the order of the batches, in each epoch.
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sorts the samples of every `batches` batches by length before it divides them into batches.
    ///
    /// A larger number means less padding, but also less randomness.
    ///
    /// # Errors
    /// If `batches` is zero.
    pub fn bucketed(mut self, batches: usize) -> Result<Self> {
        check_count("bucketed", batches)?;
        self.bucketed = batches;
        Ok(self)
    }

    /// Returns the batches of one epoch, as indices into `lengths`. Each sample occurs once.
    pub fn epoch(&self, lengths: &[usize], epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = self.seed.map(|seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(epoch);
            rng
        });
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        rng.iter_mut().for_each(|rng| order.shuffle(rng));
        if self.bucketed > 1 {
            for bucket in order.chunks_mut(self.batch_size.saturating_mul(self.bucketed)) {
                bucket.sort_by_key(|&sample| lengths[sample]);
            }
        }
        let batches = order.chunks(self.batch_size).map(<[usize]>::to_vec);
        let mut batches: Vec<Vec<usize>> = batches.collect();
        if self.bucketed > 1 {
            rng.iter_mut().for_each(|rng| batches.shuffle(rng));
        }
        batches
    }
}
