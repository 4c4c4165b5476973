//! Sentences with a tag for each word: read from files, or generated.

use std::collections::BTreeSet;
use std::path::Path;

use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use recurrent::data::split;

use crate::common::corpus::find;
use crate::common::options::{Failure, Options};

const PUBLISHED: &str = "\
Published as UNER_English-EWT (universalner.org), and as the benchmark 2017-06-custom-intent-engines of
Snips: a line for each word, with the word first and its IOB2 tag last, separated by tabs; an empty line
after each sentence.";

#[derive(Clone)]
pub(crate) struct Sentence {
    pub(crate) words: Vec<String>,
    pub(crate) tags: Vec<String>,
}

/// A corpus in three parts. Early stopping looks at `valid`, and only the last evaluation at `test`.
pub(crate) struct Corpus {
    pub(crate) name: &'static str,
    pub(crate) train: Vec<Sentence>,
    pub(crate) valid: Vec<Sentence>,
    pub(crate) test: Vec<Sentence>,
    /// The F1 of a linear SVM on the words within two words each side.
    pub(crate) svm: f64,
}

fn read(file: &Path) -> Result<Vec<Sentence>, Failure> {
    let (mut sentences, mut words, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    let text = std::fs::read_to_string(file)?;
    for (i, line) in text.lines().chain([""]).enumerate() {
        if let Some((word, rest)) = line.split_once('\t') {
            words.push(word.to_owned());
            tags.push(rest.rsplit('\t').next().unwrap_or(rest).to_owned());
        } else if line.is_empty() && !words.is_empty() {
            let (words, tags) = (std::mem::take(&mut words), std::mem::take(&mut tags));
            sentences.push(Sentence { words, tags });
        } else if !line.is_empty() && !line.starts_with('#') {
            let (file, number) = (file.display(), i + 1);
            return Err(Failure::new(format!("{file}:{number}: expected a tab, got {line:?}")));
        }
    }
    Ok(sentences)
}

/// Returns sentences with invented names, whose type shows in their endings and in the words around.
fn generated(sentences: usize, seed: u64) -> Vec<Sentence> {
    const TEMPLATES: [&str; 6] = [
        "PER lives in LOC .",
        "yesterday PER met PER at ORG",
        "ORG opened an office in LOC .",
        "the train to LOC was late",
        "PER left ORG for a year",
        "the weather is fine today",
    ];
    const SYLLABLES: [&str; 8] = ["Ka", "Mo", "Ri", "Lun", "Te", "Sa", "Vor", "Ni"];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut pick = |from: &[&'static str]| from.choose(&mut rng).copied().unwrap_or_default();
    let mut sentence = |_| {
        let mut sentence = Sentence { words: Vec::new(), tags: Vec::new() };
        for word in pick(&TEMPLATES).split(' ') {
            let mut stem = || {
                let (one, two, three) = (pick(&SYLLABLES), pick(&SYLLABLES), pick(&SYLLABLES));
                one.to_owned() + &(two.to_owned() + three).to_lowercase()
            };
            let name = match word {
                "PER" => vec![stem(), stem() + "son"],
                "LOC" => vec![stem() + "burg"],
                "ORG" => vec![stem() + "tec", "Ltd".to_owned()],
                _ => vec![],
            };
            let inner = name.iter().enumerate().map(|(i, _)| if i == 0 { "B" } else { "I" });
            sentence.tags.extend(inner.map(|prefix| format!("{prefix}-{word}")));
            if name.is_empty() {
                sentence.words.push(word.to_owned());
                sentence.tags.push("O".to_owned());
            }
            sentence.words.extend(name);
        }
        sentence
    };
    (0..sentences).map(&mut sentence).collect()
}

/// Returns the corpora, and whether they are real.
pub(crate) fn corpora(options: &Options) -> Result<(Vec<Corpus>, bool), Failure> {
    let files = ["train.conll", "dev.conll", "test.conll"];
    let Some([train, valid, test]) = find(options, "ner", files, PUBLISHED) else {
        let parts = [(600, 1), (100, 2), (200, 3)];
        let [train, valid, test] = parts.map(|(count, seed)| generated(count, seed));
        return Ok((vec![Corpus { name: "entities", train, valid, test, svm: 0.0 }], false));
    };
    let (train, valid, test) = (read(&train)?, read(&valid)?, read(&test)?);
    let mut corpora = vec![Corpus { name: "entities", train, valid, test, svm: 0.5938 }];
    if let Some([train, test]) = find(options, "slots", ["train.conll", "test.conll"], PUBLISHED) {
        let (all, test) = (read(&train)?, read(&test)?);
        let (train, valid) = split::random(all.len(), 0.05, 1)?;
        let part = |part: Vec<usize>| part.into_iter().map(|i| all[i].clone()).collect();
        let (train, valid) = (part(train), part(valid));
        corpora.push(Corpus { name: "slots", train, valid, test, svm: 0.8358 });
    }
    if options.quick {
        corpora.iter_mut().for_each(|corpus| corpus.train.truncate(1000));
        corpora.iter_mut().for_each(|corpus| corpus.valid.truncate(200));
    }
    Ok((corpora, true))
}

/// Returns the tags of `sentences`, each once.
pub(crate) fn tags_of(sentences: &[Sentence]) -> Vec<String> {
    let all: BTreeSet<&String> = sentences.iter().flat_map(|sentence| &sentence.tags).collect();
    all.into_iter().cloned().collect()
}
