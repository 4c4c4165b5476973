//! Sentences that name a city, continue with other clauses, and end before the blank for the city.

use std::ops::RangeInclusive;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::data::Source;
use recurrent::{Result, Sequences};

use crate::common::options::Failure;

/// The possible answers.
pub(crate) const CITIES: [&str; 8] =
    ["Moscow", "Paris", "Cairo", "Lima", "Tokyo", "Oslo", "Delhi", "Rome"];

const BEGIN: &str = "last week I travelled to";
const AFTER: &str = "the buildings were lovely";
const END: &str = "a friend called and asked where I was I am in";
/// The clauses between the beginning and the end.
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

/// Sentences of any lengths as tokens, and the index of the city of each.
pub(crate) type Batch = (Sequences<f32>, Vec<usize>);

/// Returns all words in order. The token of a word is its index.
pub(crate) fn vocabulary() -> Vec<&'static str> {
    let texts = [BEGIN, AFTER, END].into_iter().chain(CLAUSES).chain(CITIES);
    let mut words: Vec<_> = texts.flat_map(str::split_whitespace).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Returns a sentence about `city` with exactly `gap` words after the city's name.
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
    // If the gap is shorter than the end, the last words of the end remain.
    words.extend(&end[end.len().saturating_sub(gap)..]);
    words
}

/// Returns `count` sentences with gaps drawn from `gaps`.
pub(crate) fn draw(count: usize, gaps: RangeInclusive<usize>, rng: &mut dyn Rng) -> Result<Batch> {
    let cities: Vec<usize> = (0..count).map(|_| rng.random_range(0..CITIES.len())).collect();
    let sentence = |&city: &usize| sentence(CITIES[city], rng.random_range(gaps.clone()), rng);
    let sentences = cities.iter().map(sentence).collect();
    batch(sentences, cities)
}

/// Returns a sentence about Moscow that is short enough for a plot.
pub(crate) fn lecture(rng: &mut dyn Rng) -> Result<Batch> {
    batch(vec![sentence(CITIES[0], 30, rng)], vec![0])
}

/// Returns the words of `text` as a sentence. Fails on a word that is not in the vocabulary.
pub(crate) fn told(text: &str) -> std::result::Result<Batch, Failure> {
    let words = vocabulary();
    let known = |word: &str| words.iter().find(|w| **w == word).copied();
    let known = |word| known(word).ok_or_else(|| Failure::new(format!("{word}: not in {words:?}")));
    let sentence = text.split_whitespace().map(known).collect::<std::result::Result<_, _>>()?;
    Ok(batch(vec![sentence], vec![0])?)
}

/// Returns the words of the first sentence of a batch.
pub(crate) fn words_of((x, _): &Batch) -> Vec<&'static str> {
    let (words, numbers) = (vocabulary(), x.tokens());
    let numbers = numbers.iter().flat_map(|tokens| tokens.column(0).to_vec());
    numbers.filter_map(|number| words.get(number).copied()).collect()
}

fn batch(sentences: Vec<Vec<&'static str>>, cities: Vec<usize>) -> Result<Batch> {
    let words = vocabulary();
    let number = |word: &&str| words.binary_search(word).unwrap_or(0);
    let numbers = |sentence: &Vec<&str>| sentence.iter().map(number).collect::<Vec<usize>>();
    let numbers: Vec<_> = sentences.iter().map(numbers).collect();
    Ok((Sequences::one_hot_from_list(&numbers, words.len())?, cities))
}

/// `count` random sentences, new ones in each epoch, with gaps of up to `longest` words.
pub(crate) struct Endless {
    pub(crate) count: usize,
    pub(crate) longest: usize,
}

impl Source<Batch> for Endless {
    fn len(&self) -> usize {
        self.count
    }

    fn batch(&self, sentences: &[usize]) -> Result<Batch> {
        let seed = sentences.first().map_or(0, |&first| first as u64);
        draw(sentences.len(), 1..=self.longest, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    fn draw(&self, sentences: &[usize], rng: &mut dyn Rng) -> Result<Batch> {
        draw(sentences.len(), 1..=self.longest, rng)
    }
}
