//! Named entities and slots: a bidirectional LSTM that reads words and characters, below a CRF.
//!
//! The task is many to many: each word of a sentence gets a tag, and the tags in a row make entities. Words
//! that were never seen are the hard part, so the tagger reads their characters too, and word dropout keeps it
//! from relying on the words that it knows. The same network with a softmax at each step shows what the CRF
//! adds.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::Result;
use recurrent::cell::LstmCell;
use recurrent::data::{Dataset, Unit, Vocabulary};
use recurrent::layer::CharacterEncoding;
use recurrent::layer::crf::Constraints;
use recurrent::model::{Head, SequenceTagger};
use recurrent::optim::Adam;
use recurrent::optim::schedule::Cosine;
use recurrent::train::Trainer;
use recurrent::train::metrics::{SpanMetrics, SpanMode, spans_of};

use by_spans::BySpans;
use common::options::{Failure, Options};
use common::report::Report;
use common::training::{fit, loaded_or};
use corpus::{Corpus, Sentence, corpora, tags_of};
use draw::draw;

#[path = "../common"]
mod common {
    pub(crate) mod corpus;
    pub(crate) mod options;
    pub(crate) mod pictures;
    pub(crate) mod report;
    pub(crate) mod training;
}
mod by_spans;
mod corpus;
mod draw;

const ABOUT: &str = "\
ner: entities in web text (persons, places, organisations) and slots of spoken commands. A bidirectional
LSTM reads words and their characters; a CRF decides on all tags of a sentence together. Compared with the
same network without a CRF.
--save FILE writes the tagger of entities, and that of slots beside it with the extension slots.
--load FILE --input TEXT marks the entities in each line of a text file.";

type Tagger = SequenceTagger<LstmCell<f32>>;

/// Returns whether the tags of `model` are those of `corpus`; a quick training may have missed some.
fn fits(model: &Tagger, corpus: &Corpus) -> bool {
    let tags = tags_of(&corpus.train);
    model.labels().iter().all(|label| tags.contains(label))
}

fn dataset(model: &Tagger, sentences: &[Sentence]) -> Result<Dataset<f32, Vec<usize>>, Failure> {
    let (Some(words), Some(letters)) = (model.vocabulary(), model.character_vocabulary()) else {
        return Err(Failure::new("expected a tagger of words and characters"));
    };
    let tags = Vocabulary::builder(Unit::Word).fixed(model.labels())?;
    let mut parts = (Vec::new(), Vec::new(), Vec::new());
    for sentence in sentences {
        parts.0.push(words.encode_tokens(&sentence.words)?);
        parts.1.push(letters.characters(&sentence.words)?);
        parts.2.push(tags.encode_tokens(&sentence.tags)?);
    }
    let data = Dataset::from_tokens(parts.0, words.len(), parts.2)?;
    Ok(data.with_characters(parts.1, letters.len())?)
}

/// Trains a tagger. Returns `None` if Ctrl-C ended the training.
fn train(
    options: &Options,
    corpus: &Corpus,
    head: Head,
    seed: u64,
) -> Result<Option<Tagger>, Failure> {
    // Case tells names from words, but only to the characters: "The" and "the" are one word.
    let words = Vocabulary::builder(Unit::Word).lowercase(true).min_count(2);
    let words = words.special(&["<unk>"]).unknown("<unk>");
    let words = words.fit_tokens(corpus.train.iter().map(|sentence| &sentence.words))?;
    let letters = Vocabulary::builder(Unit::Character).min_count(3);
    let letters = letters.special(&["<unk>"]).unknown("<unk>");
    let letters = letters.fit(corpus.train.iter().flat_map(|sentence| &sentence.words))?;
    let tags = tags_of(&corpus.train);
    let mut builder = Tagger::builder(words.len(), tags.len())
        .embedding_dim(100)
        .characters(letters, 32, CharacterEncoding::Lstm { hidden_size: 40 })
        .hidden_size(150)
        .bidirectional(true)
        .word_dropout(0.15)
        .input_dropout(0.3)
        .dropout(0.5)
        .vocabulary(words)
        .labels(&tags)
        .head(head);
    if head == Head::Crf {
        builder = builder.constraints(Constraints::iob2(&tags)?);
    }
    let mut model = BySpans(builder.build(&mut ChaCha8Rng::seed_from_u64(seed))?);
    let epochs = options.epochs_or(4, if corpus.name == "slots" { 12 } else { 18 });
    let trainer = Trainer::new(Adam::new(3e-3)?)
        .epochs(epochs)
        .batch_size(32)
        .bucketed(20)
        .schedule(Cosine::new(epochs)?.min_factor(0.02)?)
        .ema(if options.quick { 0.9 } else { 0.99 })
        .clip_norm(5.0)
        .early_stopping(6)
        .seed(seed);
    let (train, valid) = (dataset(&model.0, &corpus.train)?, dataset(&model.0, &corpus.valid)?);
    let name = format!("ner_{}_{head:?}_{seed}", corpus.name);
    let done = fit(options, &name, trainer, &mut model, &train, Some(&valid))?;
    Ok(done.then_some(model.0))
}

/// Returns the tags that `model` finds for the words of each text.
fn tag(model: &Tagger, texts: &[&Vec<String>]) -> Result<Vec<Vec<String>>> {
    let mut all = Vec::new();
    for part in texts.chunks(64) {
        let found = model.predict_labels(&model.encode_words(part)?)?;
        all.extend(found.iter().map(|tags| tags.iter().map(|&tag| tag.to_owned()).collect()));
    }
    Ok(all)
}

/// Returns the F1 of the entities of the tags that `tag` finds in `sentences`.
fn f1(
    sentences: &[Sentence],
    tag: impl FnOnce(&[&Vec<String>]) -> Result<Vec<Vec<String>>>,
) -> Result<f64> {
    let words: Vec<&Vec<String>> = sentences.iter().map(|sentence| &sentence.words).collect();
    let mut score = SpanMetrics::default();
    for (sentence, found) in sentences.iter().zip(tag(&words)?) {
        score.add(&sentence.tags, &found)?;
    }
    Ok(score.micro_average().f1)
}

/// Tags each word of `texts` with its most frequent tag in `train`, or O.
fn look_up(train: &[Sentence], texts: &[&Vec<String>]) -> Vec<Vec<String>> {
    let mut counts: BTreeMap<(&String, &String), usize> = BTreeMap::new();
    for pair in train.iter().flat_map(|sentence| sentence.words.iter().zip(&sentence.tags)) {
        *counts.entry(pair).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| count);
    // Of equal keys the last one stays, the most frequent.
    let tags: HashMap<_, _> = counts.into_iter().map(|(pair, _)| pair).collect();
    let tag = |word: &String| tags.get(word).map_or("O", |tag| tag).to_owned();
    texts.iter().map(|words| words.iter().map(tag).collect()).collect()
}

/// Prints each line of the file `input` with its entities in brackets.
fn mark_lines(model: &Tagger, input: &Path) -> Result<(), Failure> {
    for line in std::fs::read_to_string(input)?.lines() {
        let mut words = Unit::Word.tokens(line);
        if words.is_empty() {
            continue;
        }
        for span in spans_of(&tag(model, &[&words])?[0], SpanMode::Lenient)? {
            words[span.start].insert_str(0, &format!("[{} ", span.kind));
            words[span.end - 1].push(']');
        }
        println!("{}", words.join(" "));
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_data("ner", ABOUT)? else { return Ok(()) };
    let loaded = options.load.as_ref().map(Tagger::load).transpose()?;
    if let (Some(model), Some(input)) = (&loaded, &options.input) {
        return mark_lines(model, input);
    }
    let (corpora, real) = corpora(&options)?;
    if let Some(model) = loaded.as_ref().filter(|model| !corpora.iter().any(|c| fits(model, c))) {
        let message = format!("--load: expected the tags of a corpus, got {:?}", model.labels());
        return Err(Failure::new(message));
    }
    let mut report = Report::new("ner", !real);
    for seed in options.seed..options.seed + options.seeds {
        for corpus in &corpora {
            let test = &corpus.test;
            if loaded.as_ref().is_some_and(|model| !fits(model, corpus)) {
                continue;
            }
            let model = loaded_or(loaded.as_ref(), || train(&options, corpus, Head::Crf, seed))?;
            let Some(model) = model else { return Ok(()) };
            let metric = format!("{} f1", corpus.name);
            report.add(&metric, f1(test, |texts| tag(&model, texts))?);
            let by_word = f1(test, |texts| Ok(look_up(&corpus.train, texts)))?;
            report.baseline(&metric, by_word, "most frequent tag of the word");
            report.published_baseline(&metric, corpus.svm, "linear SVM on a window of words");
            let slots = corpus.name == "slots";
            if let Some(file) = options.save.as_ref().filter(|_| seed == options.seed) {
                model.save(if slots { file.with_extension("slots") } else { file.clone() })?;
            }
            if !slots && seed == options.seed {
                draw(&options, &model)?;
            }
            if slots || loaded.is_some() {
                continue;
            }
            let Some(plain) = train(&options, corpus, Head::Softmax, seed)? else { return Ok(()) };
            let metric = "entities f1 with softmax";
            report.add(metric, f1(test, |texts| tag(&plain, texts))?);
            report.baseline(metric, by_word, "most frequent tag of the word");
            report.published_baseline(metric, corpus.svm, "linear SVM on a window of words");
        }
    }
    report.print();
    report.require(&options, "entities f1", 0.1, false)
}
