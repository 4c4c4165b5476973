//! Sentences that name a city, continue with other clauses, and end before the blank for the city.

use std::ops::RangeInclusive;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::data::Source;
use recurrent::{Result, Sequences};

use crate::common::options::Failure;

/// The number of possible answers.
pub(crate) const CITIES: usize = 8;

/// The parts of the sentences of a language.
pub(crate) struct Language {
    /// The possible answers.
    pub(crate) cities: [&'static str; CITIES],
    /// The end of the word that names the city.
    particle: &'static str,
    before: &'static str,
    after: &'static str,
    end: &'static str,
    /// The clauses between the beginning and the end.
    clauses: [&'static str; 10],
}

pub(crate) static ENGLISH: Language = Language {
    cities: ["Moscow", "Paris", "Cairo", "Lima", "Tokyo", "Oslo", "Delhi", "Rome"],
    particle: "",
    before: "last week I travelled to",
    after: "the buildings were lovely",
    end: "a friend called and asked where I was I am in",
    clauses: [
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
    ],
};

pub(crate) static KOREAN: Language = Language {
    cities: ["모스크바", "파리", "카이로", "리마", "도쿄", "오슬로", "델리", "로마"],
    particle: "에",
    before: "나는 지난주에",
    after: "여행을 왔는데 건물들이 아름다웠다",
    end: "친구가 전화로 지금 어디에 있는지 물었다 나는 여기",
    clauses: [
        "날씨가 아주 좋았다",
        "우리는 강을 따라 걸었다",
        "호텔에는 작은 정원이 있었다",
        "음식이 맛있고 값도 쌌다",
        "한 시간 동안 비가 내렸다",
        "오래된 책을 한 권 읽었다",
        "기차는 제시간에 다녔다",
        "미술관에서 그림을 보았다",
        "사람들이 나에게 친절했다",
        "밤에는 잠을 잘 잤다",
    ],
};

/// Sentences of any lengths as tokens, and the index of the city of each.
pub(crate) type Batch = (Sequences<f32>, Vec<usize>);

impl Language {
    /// Returns all words in order. The token of a word is its index.
    pub(crate) fn vocabulary(&self) -> Vec<String> {
        let texts = [self.before, self.after, self.end].into_iter().chain(self.clauses);
        let mut words: Vec<String> =
            texts.flat_map(str::split_whitespace).map(str::to_owned).collect();
        words.extend((0..CITIES).map(|city| self.place(city)));
        words.sort_unstable();
        words.dedup();
        words
    }

    /// Returns the word that names `city` in a sentence.
    fn place(&self, city: usize) -> String {
        format!("{}{}", self.cities[city], self.particle)
    }

    /// Returns a sentence about `city` with exactly `gap` words after the city's name.
    fn sentence(&self, city: usize, gap: usize, rng: &mut dyn Rng) -> Vec<String> {
        let words = |text: &'static str| text.split_whitespace().map(str::to_owned);
        let end: Vec<String> = words(self.end).collect();
        let mut told: Vec<String> = words(self.after).collect();
        while told.len() + end.len() < gap {
            told.extend(words(self.clauses.choose(rng).copied().unwrap_or(self.after)));
        }
        told.truncate(gap.saturating_sub(end.len()));
        let mut sentence: Vec<String> = words(self.before).collect();
        sentence.push(self.place(city));
        sentence.extend(told);
        // If the gap is shorter than the end, the last words of the end remain.
        sentence.extend_from_slice(&end[end.len().saturating_sub(gap)..]);
        sentence
    }

    /// Returns `count` sentences with gaps drawn from `gaps`.
    pub(crate) fn draw(
        &self,
        count: usize,
        gaps: RangeInclusive<usize>,
        rng: &mut dyn Rng,
    ) -> Result<Batch> {
        let cities: Vec<usize> = (0..count).map(|_| rng.random_range(0..CITIES)).collect();
        let sentence = |&city: &usize| self.sentence(city, rng.random_range(gaps.clone()), rng);
        let sentences: Vec<Vec<String>> = cities.iter().map(sentence).collect();
        self.batch(&sentences, cities)
    }

    /// Returns a sentence about the first city that is short enough for a plot.
    pub(crate) fn lecture(&self, rng: &mut dyn Rng) -> Result<Batch> {
        self.batch(&[self.sentence(0, 30, rng)], vec![0])
    }

    /// Returns the words of `text` as a sentence. Fails on a word that is not in the vocabulary.
    pub(crate) fn told(&self, text: &str) -> std::result::Result<Batch, Failure> {
        let words = self.vocabulary();
        let sentence: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if let Some(unknown) = sentence.iter().find(|word| words.binary_search(word).is_err()) {
            return Err(Failure::new(format!("{unknown}: not in {words:?}")));
        }
        Ok(self.batch(&[sentence], vec![0])?)
    }

    /// Returns the words of the first sentence of a batch.
    pub(crate) fn words_of(&self, (x, _): &Batch) -> Vec<String> {
        let (words, numbers) = (self.vocabulary(), x.tokens());
        let numbers = numbers.iter().flat_map(|tokens| tokens.column(0).to_vec());
        numbers.filter_map(|number| words.get(number).cloned()).collect()
    }

    fn batch(&self, sentences: &[Vec<String>], cities: Vec<usize>) -> Result<Batch> {
        let words = self.vocabulary();
        let number = |word: &String| words.binary_search(word).unwrap_or(0);
        let numbers = |sentence: &Vec<String>| sentence.iter().map(number).collect::<Vec<usize>>();
        let numbers: Vec<_> = sentences.iter().map(numbers).collect();
        Ok((Sequences::one_hot_from_list(&numbers, words.len())?, cities))
    }
}

/// `count` random sentences, new ones in each epoch, with gaps of up to `longest` words.
pub(crate) struct Endless {
    pub(crate) language: &'static Language,
    pub(crate) count: usize,
    pub(crate) longest: usize,
}

impl Source<Batch> for Endless {
    fn len(&self) -> usize {
        self.count
    }

    fn batch(&self, sentences: &[usize]) -> Result<Batch> {
        let seed = sentences.first().map_or(0, |&first| first as u64);
        self.draw(sentences, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    fn draw(&self, sentences: &[usize], rng: &mut dyn Rng) -> Result<Batch> {
        self.language.draw(sentences.len(), 1..=self.longest, rng)
    }
}
