//! Counts of n-grams.

use std::collections::HashMap;
use std::hash::Hash;

/// The number of occurrences of each n-gram of one length.
pub(super) type Counts<'t, S> = HashMap<&'t [S], usize>;

/// Counts the n-grams of length `n`, at least 1.
pub(super) fn count<S: Eq + Hash>(tokens: &[S], n: usize) -> Counts<'_, S> {
    let mut counts = HashMap::new();
    for ngram in tokens.windows(n) {
        *counts.entry(ngram).or_insert(0) += 1;
    }
    counts
}

/// Returns the number of n-grams that both have, each as often as in the one that has fewer of it.
pub(super) fn common<S: Eq + Hash>(a: &Counts<'_, S>, b: &Counts<'_, S>) -> usize {
    a.iter().map(|(ngram, &count)| count.min(b.get(ngram).copied().unwrap_or(0))).sum()
}
