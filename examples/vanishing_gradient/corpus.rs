//! The lecture's sentence, many times: a city is named, other things are told, and at the end the
//! city is asked for.

use std::ops::RangeInclusive;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::data::Source;
use recurrent::{Result, Sequences};

use crate::common::options::Failure;

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

/// Sentences of word numbers, whose lengths differ, and the city of each.
pub(crate) type Batch = (Sequences<f32>, Vec<usize>);

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
pub(crate) fn draw(count: usize, gaps: RangeInclusive<usize>, rng: &mut dyn Rng) -> Result<Batch> {
    let cities: Vec<usize> = (0..count).map(|_| rng.random_range(0..CITIES.len())).collect();
    let sentence = |&city: &usize| sentence(CITIES[city], rng.random_range(gaps.clone()), rng);
    let sentences = cities.iter().map(sentence).collect();
    batch(sentences, cities)
}

/// One sentence about Moscow, short enough to be looked at.
pub(crate) fn lecture(rng: &mut dyn Rng) -> Result<Batch> {
    batch(vec![sentence(CITIES[0], 30, rng)], vec![0])
}

/// The sentence of the words of `text`.
pub(crate) fn told(text: &str) -> std::result::Result<Batch, Failure> {
    let words = vocabulary();
    let known = |word: &str| words.iter().find(|w| **w == word).copied();
    let known = |word| known(word).ok_or_else(|| Failure::new(format!("{word}: not in {words:?}")));
    let sentence = text.split_whitespace().map(known).collect::<std::result::Result<_, _>>()?;
    Ok(batch(vec![sentence], vec![0])?)
}

/// The words of the first sentence of `batch`.
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

/// `count` sentences, made up anew in each epoch, with gaps of up to `longest` words.
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
