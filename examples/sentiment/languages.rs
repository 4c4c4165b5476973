//! The languages: their settings, and generated reviews.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::data::Unit;

use crate::common::labelled::Labelled;

/// The settings of a language. The numbers were chosen by cross-validation on the training files.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    pub(crate) folder: &'static str,
    /// The accuracy of naive Bayes on TF-IDF of the same runs.
    pub(crate) baseline: f64,
    /// The unit that naive Bayes counts.
    pub(crate) unit: Unit,
    /// The longest run of units that it counts.
    pub(crate) run: usize,
    pub(crate) hidden_size: usize,
    /// The number of values that encode the characters of a word.
    pub(crate) channels: usize,
    pub(crate) dropout: f64,
    pub(crate) epochs: usize,
    pub(crate) learning_rate: f64,
    /// Sentences for the picture: a positive one and a negative one.
    pub(crate) shown: [&'static str; 2],
    /// The words of generated reviews: bad, good, any.
    pub(crate) words: [[&'static str; 5]; 3],
}

pub(crate) const LANGUAGES: [Language; 2] = [
    Language {
        name: "english",
        folder: "sentiment",
        baseline: 0.7791,
        unit: Unit::Word,
        run: 2,
        hidden_size: 48,
        channels: 32,
        dropout: 0.5,
        epochs: 8,
        learning_rate: 8e-3,
        shown: [
            "the plot is thin , but the cast is a delight and the ending moving .",
            "a dull film that wastes good actors on an hour of tired jokes .",
        ],
        words: [
            ["dull", "tedious", "a mess", "not funny", "weak"],
            ["moving", "funny", "a delight", "not dull", "fresh"],
            ["the film is", "with a plot", "and the cast", "for an hour", "as ever"],
        ],
    },
    Language {
        name: "korean",
        folder: "sentiment_ko",
        baseline: 0.8403,
        unit: Unit::Character,
        run: 3,
        hidden_size: 64,
        channels: 64,
        dropout: 0.4,
        epochs: 6,
        learning_rate: 4e-3,
        shown: [
            "배우들의 연기가 정말 좋고 마지막 장면이 감동적인 영화",
            "이야기가 지루하고 시간이 아까운 영화",
        ],
        words: [
            ["지루하다", "최악", "별로네요", "아깝다", "재미없다"],
            ["감동적이다", "최고", "좋네요", "재미있다", "완벽하다"],
            ["영화가", "배우들이", "정말", "이 감독", "그냥"],
        ],
    },
];

/// Returns `count` reviews: three phrases of any kind and one that tells.
pub(crate) fn generated(language: &Language, count: usize, seed: u64) -> Labelled {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut reviews = Labelled::default();
    for i in 0..count {
        let mut phrases: Vec<&str> = language.words[2].sample(&mut rng, 3).copied().collect();
        let telling = language.words[i % 2][rng.random_range(0..5)];
        phrases.insert(rng.random_range(0..=3), telling);
        reviews.push(phrases.join(" "), i % 2);
    }
    reviews
}
