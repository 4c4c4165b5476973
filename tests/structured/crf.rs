//! Tests of the CRF.

mod errors;
mod exact;
mod extreme;
mod tagger;

use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::layer::crf::{Constraints, Crf};
use recurrent::{Arrays, Sequences};

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Returns a CRF whose scores are uniform on ±`range`.
fn crf(tags: usize, range: f64, seed: u64) -> Crf<f64> {
    let mut rng = rng(seed);
    let mut crf = Crf::new(tags, &mut rng).unwrap();
    crf.for_each_mut(&mut |_, mut array| array.mapv_inplace(|_| rng.random_range(-range..range)));
    crf
}

/// Returns emissions uniform on ±`range`, 1e9 in the padding.
fn emissions(lengths: &[usize], tags: usize, range: f64, seed: u64) -> Sequences<f64> {
    let mut rng = rng(seed);
    let time = lengths.iter().copied().max().unwrap().max(1);
    let values = Array3::from_shape_fn((time, lengths.len(), tags), |(t, b, _)| {
        let value = rng.random_range(-range..range);
        if t < lengths[b] { value } else { 1e9 }
    });
    Sequences::new(values, lengths.to_vec()).unwrap()
}

/// Returns tags that `rules` allow, as one of the paths with a high score for random emissions.
fn allowed_tags(crf: &Crf<f64>, lengths: &[usize], seed: u64) -> Array2<usize> {
    let x = emissions(lengths, crf.tags(), 3.0, seed);
    let paths = crf.viterbi(&x).unwrap();
    Array2::from_shape_fn((x.time(), lengths.len()), |(t, b)| {
        paths[b].tags.get(t).copied().unwrap_or(usize::MAX)
    })
}

/// Returns every path of `length` steps that `rules` allow.
fn all_paths(tags: usize, length: usize, rules: Option<&Constraints>) -> Vec<Vec<usize>> {
    let mut paths = vec![Vec::new()];
    for _ in 0..length {
        let longer = |path: &Vec<usize>| {
            let path = path.clone();
            (0..tags).map(move |tag| [&path[..], &[tag]].concat())
        };
        paths = paths.iter().flat_map(longer).collect();
    }
    let allowed = |path: &Vec<usize>| {
        let Some(rules) = rules else { return true };
        let follow = path.windows(2).all(|pair| rules.may_follow(pair[0], pair[1]));
        let ends = path.first().is_none_or(|&tag| rules.may_start(tag))
            && path.last().is_none_or(|&tag| rules.may_end(tag));
        follow && ends
    };
    paths.into_iter().filter(allowed).collect()
}

/// Returns the score of a path, by its definition.
fn score(crf: &Crf<f64>, x: &Sequences<f64>, b: usize, path: &[usize]) -> f64 {
    let Some((&first, &last)) = path.first().zip(path.last()) else { return 0.0 };
    let emitted: f64 = path.iter().enumerate().map(|(t, &tag)| x.values()[[t, b, tag]]).sum();
    let moved: f64 = path.windows(2).map(|pair| crf.transitions()[[pair[0], pair[1]]]).sum();
    crf.start_transitions()[first] + emitted + moved + crf.end_transitions()[last]
}

fn log_sum_exp(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln()
}

/// Returns constraints of `tags` tags in which about a third is forbidden, but no tag altogether: each may
/// start, end and follow itself or its neighbour.
fn random_rules(tags: usize, seed: u64) -> Constraints {
    let mut rng = rng(seed);
    let mut draw = || rng.random_bool(0.6);
    let start = (0..tags).map(|tag| tag == 0 || draw()).collect();
    let end = (0..tags).map(|tag| tag == 0 || draw()).collect();
    let transitions = Array2::from_shape_fn((tags, tags), |(i, j)| i == j || draw());
    Constraints::new(start, end, transitions).unwrap()
}
