//! The lecture's sentence, many times: a city is named, other things are told, and at the end the
//! city is asked for.

use std::ops::RangeInclusive;

use ndarray::Array2;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// What can be the answer.
pub(crate) const CITIES: [&str; 8] =
    ["Moscow", "Paris", "Cairo", "Lima", "Tokyo", "Oslo", "Delhi", "Rome"];

const BEGIN: &str = "last week I travelled to";
const AFTER: &str = "the buildings were lovely";
const END: &str = "a friend called and asked where I was I am in";
/// What is told between the beginning and the end.
const CLAUSES: [&str; 10] = [
    "the weather was fine",
    "we walked along the river",
    "my hotel had a small garden",
    "the food was good and cheap",
    "it rained for an hour",
    "I read an old book",
    "the trains ran on time",
    "we saw a museum of art",
    "the people were kind to me",
    "I slept well at night",
];

/// Sentences [time, batch] of word numbers, whose lengths differ, and the city of each.
pub(crate) struct Batch {
    pub(crate) tokens: Array2<usize>,
    pub(crate) lengths: Vec<usize>,
    pub(crate) cities: Vec<usize>,
}

/// All words that occur; a word's number is its place.
pub(crate) fn vocabulary() -> Vec<&'static str> {
    let texts = [BEGIN, AFTER, END].into_iter().chain(CLAUSES).chain(CITIES);
    let mut words: Vec<_> = texts.flat_map(str::split_whitespace).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// The sentence about `city`, in which exactly `gap` words stand after the city's name.
fn sentence(city: &'static str, gap: usize, rng: &mut dyn Rng) -> Vec<&'static str> {
    let end: Vec<_> = END.split_whitespace().collect();
    let mut told: Vec<_> = AFTER.split_whitespace().collect();
    while told.len() + end.len() < gap {
        told.extend(CLAUSES.choose(rng).copied().unwrap_or(AFTER).split_whitespace());
    }
    told.truncate(gap.saturating_sub(end.len()));
    let mut words: Vec<_> = BEGIN.split_whitespace().collect();
    words.push(city);
    words.extend(told);
    // A gap that is shorter than the end keeps the end's last words.
    words.extend(&end[end.len().saturating_sub(gap)..]);
    words
}

/// `count` sentences with gaps drawn from `gaps`.
pub(crate) fn draw(count: usize, gaps: RangeInclusive<usize>, rng: &mut dyn Rng) -> Batch {
    let cities: Vec<usize> = (0..count).map(|_| rng.random_range(0..CITIES.len())).collect();
    let sentence = |&city: &usize| sentence(CITIES[city], rng.random_range(gaps.clone()), rng);
    let sentences = cities.iter().map(sentence).collect();
    batch(sentences, cities)
}

/// One sentence about Moscow, short enough to be looked at.
pub(crate) fn lecture(rng: &mut dyn Rng) -> Batch {
    batch(vec![sentence(CITIES[0], 30, rng)], vec![0])
}

/// The words of the first sentence of `batch`.
pub(crate) fn words_of(batch: &Batch) -> Vec<&'static str> {
    let words = vocabulary();
    batch.tokens.column(0).iter().map(|&number| words[number]).collect()
}

fn batch(sentences: Vec<Vec<&'static str>>, cities: Vec<usize>) -> Batch {
    let words = vocabulary();
    let lengths: Vec<usize> = sentences.iter().map(Vec::len).collect();
    let time = lengths.iter().copied().max().unwrap_or(0);
    let number = |word: &str| words.binary_search(&word).unwrap_or(0);
    let tokens = Array2::from_shape_fn((time, sentences.len()), |(t, b)| {
        sentences[b].get(t).map_or(0, |word| number(word))
    });
    Batch { tokens, lengths, cities }
}
