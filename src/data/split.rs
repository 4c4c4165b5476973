//! Splits of samples into a training and a test part.
//!
//! Each function returns the indices of both parts, training first, as
//! [`Dataset::split`](super::Dataset::split) takes them.
#![expect(clippy::indexing_slicing, reason = "the parts are at most as many as the samples")]

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::error::{Error, Result};

/// Splits `number` samples at random, so that the test part has the share `test` of them, rounded.
/// Both parts are sorted.
///
/// ```
/// let (train, test) = recurrent::data::split::random(10, 0.3, 1)?;
/// assert_eq!((train.len(), test.len()), (7, 3));
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// If `test` is not between 0 and 1, a part would be empty, or so many indices do not fit into memory.
pub fn random(number: usize, test: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
    check_share(test)?;
    let count = share(number, test);
    divide([(indices(number)?, count)], seed)
}

/// Splits each class by the share `test`, rounded, at random. `classes` has the class of each sample.
/// Both parts are sorted.
///
/// The training part has at least one sample of each class, so a class with one sample is not in the
/// test part.
///
/// ```
/// let classes = [0, 0, 1, 0, 0, 1, 0, 0, 1, 1];
/// let (_, test) = recurrent::data::split::stratified(&classes, 0.5, 1)?;
/// assert_eq!(test.iter().filter(|&&i| classes[i] == 1).count(), 2);
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// If `test` is not between 0 and 1, or a part would be empty.
pub fn stratified(classes: &[usize], test: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
    check_share(test)?;
    let mut of_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, &class) in classes.iter().enumerate() {
        of_class.entry(class).or_default().push(i);
    }
    let of_class = of_class.into_values().map(|samples| {
        let count = share(samples.len(), test).min(samples.len() - 1);
        (samples, count)
    });
    divide(of_class, seed)
}

/// Shuffles the samples of each class and puts the given number of them into the test part.
fn divide(
    of_class: impl IntoIterator<Item = (Vec<usize>, usize)>,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut train, mut held) = (Vec::new(), Vec::new());
    for (mut samples, count) in of_class {
        samples.shuffle(&mut rng);
        held.extend_from_slice(&samples[..count]);
        train.extend_from_slice(&samples[count..]);
    }
    train.sort_unstable();
    held.sort_unstable();
    both(train, held)
}

/// Splits `number` samples in the order of time: the test part is the last ones, the share `test` of
/// them, rounded.
///
/// Do not use it for windows of one series: they overlap. [`Windows::split`](super::Windows::split)
/// splits the series instead.
///
/// ```
/// assert_eq!(recurrent::data::split::by_time(5, 0.4)?, (vec![0, 1, 2], vec![3, 4]));
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// If `test` is not between 0 and 1, a part would be empty, or so many indices do not fit into memory.
pub fn by_time(number: usize, test: f64) -> Result<(Vec<usize>, Vec<usize>)> {
    check_share(test)?;
    let mut train = indices(number)?;
    let held = train.split_off(number - share(number, test));
    both(train, held)
}

/// Returns the numbers from 0 to `number`.
fn indices(number: usize) -> Result<Vec<usize>> {
    let mut indices = Vec::new();
    indices.try_reserve_exact(number).map_err(|_| {
        Error::argument("number", "a number of samples whose indices fit into memory", number)
    })?;
    indices.extend(0..number);
    Ok(indices)
}

fn check_share(test: f64) -> Result<()> {
    if 0.0 < test && test < 1.0 {
        return Ok(());
    }
    Err(Error::argument("test", "a share between 0 and 1", test))
}

/// Returns both parts, or an error if one is empty.
fn both(train: Vec<usize>, test: Vec<usize>) -> Result<(Vec<usize>, Vec<usize>)> {
    if !train.is_empty() && !test.is_empty() {
        return Ok((train, test));
    }
    let got = format!("{} to train and {} to test", train.len(), test.len());
    Err(Error::argument("test", "a share that leaves both parts a sample", got))
}

fn share(number: usize, test: f64) -> usize {
    ((number as f64 * test).round() as usize).min(number)
}
