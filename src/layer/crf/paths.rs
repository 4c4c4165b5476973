//! The best paths: the Viterbi algorithm (Viterbi, 1967), with a list of the k best paths to each tag.

use crate::layer::crf::scores::Scores;

/// A sequence of tags with its score.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Path {
    /// The tag of each step.
    pub tags: Vec<usize>,
    /// The sum of its emissions and of the scores of its start, its transitions and its end. With ln Z
    /// ([`log_partitions`](crate::layer::Crf::log_partitions)), e^(score − ln Z) is its probability.
    pub score: f64,
}

/// The end of a path to a tag at a step: its score, and its end one step before.
#[derive(Clone, Copy)]
struct End {
    score: f64,
    /// The tag, and the rank among the paths to it.
    before: (usize, usize),
}

/// Inserts `end` into the best `k`, which are in order, unless it is worse. Of equal ends the first stays
/// before the others.
fn insert(best: &mut Vec<End>, k: usize, end: End) {
    if best.len() == k && best.last().is_none_or(|last| last.score >= end.score) {
        return;
    }
    let place = best.partition_point(|other| other.score >= end.score);
    best.truncate(k - 1);
    best.insert(place, end);
}

/// Returns the best `k` allowed paths through `emissions` [steps, tags], the best first, or all if there are
/// fewer. Of equal paths, the one with the lower tag at the last step where they differ comes first.
pub(super) fn best_paths(scores: &Scores, emissions: &[f64], k: usize) -> Vec<Path> {
    let tags = scores.tags;
    let steps: Vec<&[f64]> = emissions.chunks_exact(tags).collect();
    let mut ends: Vec<Vec<Vec<End>>> = Vec::with_capacity(steps.len());
    for emissions in &steps {
        let to = |j: usize| {
            let mut best = Vec::new();
            let mut add = |before: (usize, usize), sum: f64| {
                if sum > f64::NEG_INFINITY {
                    insert(&mut best, k, End { score: sum + emissions[j], before });
                }
            };
            match ends.last() {
                None => add((0, 0), scores.start[j]),
                Some(before) => {
                    for (i, paths) in before.iter().enumerate() {
                        let arc = scores.transition(i, j);
                        for (rank, path) in paths.iter().enumerate() {
                            add((i, rank), path.score + arc);
                        }
                    }
                }
            }
            best
        };
        let row = (0..tags).map(to).collect();
        ends.push(row);
    }
    let Some(last) = ends.last() else { return vec![Path { tags: Vec::new(), score: 0.0 }] };
    let mut best = Vec::new();
    for (tag, paths) in last.iter().enumerate().filter(|&(j, _)| scores.end[j].is_finite()) {
        for (rank, path) in paths.iter().enumerate() {
            insert(&mut best, k, End { score: path.score + scores.end[tag], before: (tag, rank) });
        }
    }
    best.into_iter().map(|end| trace(&ends, end)).collect()
}

/// Returns the path to `end`, which is after the last step.
fn trace(ends: &[Vec<Vec<End>>], end: End) -> Path {
    let mut tags = vec![0; ends.len()];
    let (mut tag, mut rank) = end.before;
    for (to, step) in tags.iter_mut().zip(ends).rev() {
        *to = tag;
        (tag, rank) = step[tag][rank].before;
    }
    Path { tags, score: end.score }
}
