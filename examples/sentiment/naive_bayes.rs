//! The baseline: naive Bayes, which ignores the order of the words.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::labelled::Labelled;
use crate::languages::Language;

/// Multinomial naive Bayes: the log odds of each run of words or characters.
pub(crate) struct NaiveBayes(BTreeMap<String, f64>);

impl NaiveBayes {
    const SMOOTHING: f64 = 0.3;

    /// Returns the different runs of a text.
    fn runs(language: &Language, text: &str) -> BTreeSet<String> {
        let tokens = language.unit.tokens(&text.to_lowercase());
        let of_length = |length| tokens.windows(length).map(|run| run.join("\t"));
        (1..=language.run).flat_map(of_length).collect()
    }

    pub(crate) fn fit(language: &Language, reviews: &Labelled) -> Self {
        let mut counts: BTreeMap<String, [f64; 2]> = BTreeMap::new();
        for (text, &class) in reviews.texts.iter().zip(&reviews.classes) {
            let runs = Self::runs(language, text);
            // Each text is a vector of length 1, so that long texts do not count more.
            let weight = 1.0 / (runs.len() as f64).sqrt();
            for run in runs {
                counts.entry(run).or_insert([Self::SMOOTHING; 2])[class] += weight;
            }
        }
        let total = |class: usize| counts.values().map(|count| count[class]).sum::<f64>();
        let shift = (total(0) / total(1)).ln();
        Self(counts.into_iter().map(|(run, [neg, pos])| (run, (pos / neg).ln() + shift)).collect())
    }

    /// Returns the log odds of the positive class.
    pub(crate) fn log_odds(&self, language: &Language, text: &str) -> f64 {
        Self::runs(language, text).iter().filter_map(|run| self.0.get(run)).sum()
    }
}
