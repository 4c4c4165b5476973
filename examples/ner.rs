//! Named entities and slots: a bidirectional LSTM that reads words and characters, below a CRF.
//!
//! The task is many to many: each word of a sentence gets a tag, and the tags in a row make entities. Words
//! that were never seen are the hard part, so the tagger reads their characters too, and word dropout keeps it
//! from relying on the words that it knows. The same network with a softmax at each step shows what the CRF
//! adds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use ndarray::Array2;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::data::{Dataset, Unit, Vocabulary, split};
use recurrent::layer::CharacterEncoding;
use recurrent::layer::crf::Constraints;
use recurrent::model::{Head, SequenceTagger};
use recurrent::optim::Adam;
use recurrent::optim::schedule::Cosine;
use recurrent::train::metrics::{SpanMetrics, SpanMode, spans_of};
use recurrent::train::{Model, Trainer};
use recurrent::{Result, Sequences};

use common::corpus::find;
use common::options::{Failure, Options};
use common::pictures::{COLOURS, HeatMap, Marked, heat_maps, marked_words};
use common::report::Report;
use common::training::{fit, loaded_or};

mod common {
    pub(crate) mod corpus;
    pub(crate) mod options;
    pub(crate) mod pictures;
    pub(crate) mod report;
    pub(crate) mod training;
}

const ABOUT: &str = "\
ner: entities in web text (persons, places, organisations) and slots of spoken commands. A bidirectional
LSTM reads words and their characters; a CRF decides on all tags of a sentence together. Compared with the
same network without a CRF.
--save FILE writes the tagger of entities, and that of slots beside it with the extension slots.
--load FILE --input TEXT marks the entities in each line of a text file.";
const PUBLISHED: &str = "\
Published as UNER_English-EWT (universalner.org), and as the benchmark 2017-06-custom-intent-engines of
Snips: a line for each word, with the word first and its IOB2 tag last, separated by tabs; an empty line
after each sentence.";

/// The sentence of the picture.
const SHOWN: &str = "Last week Maria Keller flew from Vienna to Chicago to meet John Brown of Hartwell \
                     Industries , which has an office near Lake Michigan .";

type Tagger = SequenceTagger<LstmCell<f32>>;

#[derive(Clone)]
struct Sentence {
    words: Vec<String>,
    tags: Vec<String>,
}

/// A corpus in three parts. Early stopping looks at `valid`, and only the last evaluation at `test`.
struct Corpus {
    name: &'static str,
    train: Vec<Sentence>,
    valid: Vec<Sentence>,
    test: Vec<Sentence>,
    /// The F1 of a linear SVM on the words within two words each side.
    svm: f64,
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
fn corpora(options: &Options) -> Result<(Vec<Corpus>, bool), Failure> {
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
fn tags_of(sentences: &[Sentence]) -> Vec<String> {
    let all: BTreeSet<&String> = sentences.iter().flat_map(|sentence| &sentence.tags).collect();
    all.into_iter().cloned().collect()
}

/// Returns whether the tags of `model` are those of `corpus`; a quick training may have missed some.
fn fits(model: &Tagger, corpus: &Corpus) -> bool {
    let tags = tags_of(&corpus.train);
    model.labels().iter().all(|label| tags.contains(label))
}

/// A tagger that is scored by the F1 of its entities, so that early stopping watches it. The likelihood of
/// the tags gets worse long before.
#[derive(Clone, Debug)]
struct BySpans(Tagger);
recurrent::arrays!([] BySpans: f32 { ..0 });

impl Model for BySpans {
    type Batch = (Sequences<f32>, Array2<usize>);
    type Score = SpanMetrics;

    fn loss_and_grad(
        &self,
        batch: &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<f64> {
        self.0.loss_and_grad(batch, &mut grad.0, rng)
    }

    fn weighted_loss_and_grad(
        &self,
        batch: &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        self.0.weighted_loss_and_grad(batch, &mut grad.0, rng)
    }

    fn score_batch(&self, (x, classes): &Self::Batch, score: &mut SpanMetrics) -> Result<()> {
        let name = |&class: &usize| &self.0.labels()[class];
        for (b, found) in self.0.predict_labels(x)?.iter().enumerate() {
            let tags: Vec<&String> = classes.column(b).iter().take(found.len()).map(name).collect();
            score.add(&tags, found)?;
        }
        Ok(())
    }

    fn options(&self) -> String {
        self.0.options()
    }
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

/// Draws a sentence with the entities that the model finds in it, and the scores by which the CRF lets one tag
/// follow another.
fn draw(options: &Options, model: &Tagger) -> Result<(), Failure> {
    let words = Unit::Word.tokens(SHOWN);
    let kinds: BTreeSet<_> = model.labels().iter().filter_map(|tag| tag.split_once('-')).collect();
    let mark = |(word, tag): (&String, &String)| {
        let kind = tag.split_once('-').map(|(_, kind)| kinds.iter().position(|k| k.1 == kind));
        Marked {
            word: word.clone(),
            colour: COLOURS[kind.flatten().unwrap_or(0) % COLOURS.len()],
            strength: if kind.is_some() { 0.35 } else { 0.0 },
            note: tag.strip_prefix("B-").unwrap_or_default().to_owned(),
        }
    };
    let found = tag(model, &[&words])?;
    let lines = [("Found".to_owned(), words.iter().zip(&found[0]).map(mark).collect())];
    marked_words(&options.out.join("ner_sentence.svg"), &lines)?;

    let Some((crf, rules)) = model.crf().and_then(|crf| Some((crf, crf.rules()?))) else {
        return Ok(());
    };
    // The scores of forbidden pairs are never read.
    let mut scores = crf.transitions().to_owned();
    let allowed = |(i, j): (usize, usize)| rules.may_follow(i, j);
    let least = scores.indexed_iter().filter(|&(place, _)| allowed(place)).map(|(_, score)| score);
    let least = least.copied().fold(f32::INFINITY, f32::min);
    scores.indexed_iter_mut().filter(|(place, _)| !allowed(*place)).for_each(|(_, s)| *s = least);
    let (rows, columns) = (model.labels().to_vec(), model.labels().to_vec());
    let title =
        "Score of a tag (column) after another (row); white: least, or forbidden".to_owned();
    let map = HeatMap { title, rows, columns, values: scores.view(), numbers: false };
    heat_maps(&options.out.join("ner_transitions.svg"), &[map])
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
