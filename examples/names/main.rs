//! Family names: a language model of their characters that classifies by Bayes' rule and invents names.
//!
//! The model reads a language, then the characters of a name, and predicts the next character at each step. One
//! training gives three uses. It is one to many: a language becomes a name. It is many to one: the language
//! under which a name is likeliest. And it is a measure: the bits that a character costs.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use ndarray::{Array2, ArrayView1};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::data::{Source, Texts, Unit, Vocabulary, split};
use recurrent::decode::Sampling;
use recurrent::model::SequenceGenerator;
use recurrent::optim::AdamW;
use recurrent::optim::schedule::Cosine;
use recurrent::train::{Model, Trainer};

use common::corpus::find;
use common::options::{Failure, Options};
use common::pictures::{HeatMap, heat_maps};
use common::report::Report;
use common::training::{fit, loaded_or};
use corpus::{Row, generated, largest, read, single_bits};

#[path = "../common"]
mod common {
    pub(crate) mod corpus;
    pub(crate) mod options;
    pub(crate) mod pictures;
    pub(crate) mod report;
    pub(crate) mod training;
}
mod corpus;

const ABOUT: &str = "\
names: the language of family names, and new names of a language, both from one language model of
characters. It classifies by Bayes' rule, and its bits per character are compared with those of 3-grams.
--load FILE --input TEXT classifies the name in each line of a text file, and invents names of that
language.";
const PUBLISHED: &str = "\
Published in the Python package Faker (github.com/joke2k/faker), in its lists of family names: TSV with
the columns language and name.";

/// The tokens before the languages, which are special tokens too: the generator never draws them.
const MARKS: [&str; 2] = ["<end>", "<unk>"];
/// The most characters of an invented name.
const LONGEST: usize = 30;
/// The number of names that are invented of each language.
const INVENTED: usize = 100;

type Names = SequenceGenerator<LstmCell<f32>>;
/// Returns a vocabulary of the characters of all names, with the languages as special tokens.
fn vocabulary(rows: &[Row]) -> Result<Vocabulary, Failure> {
    let languages: BTreeSet<&str> = rows.iter().map(|row| &row.0[..]).collect();
    let special: Vec<&str> = MARKS.into_iter().chain(languages).collect();
    let builder = Vocabulary::builder(Unit::Character).special(&special).unknown(MARKS[1]);
    Ok(builder.fit(rows.iter().map(|row| &row.1))?)
}

/// Returns the special tokens after the marks.
fn languages(vocabulary: &Vocabulary) -> &[String] {
    &vocabulary.special()[MARKS.len()..]
}

/// Returns the text of each row: the language as its first token, then the characters of the name.
fn texts<'a>(
    vocabulary: &Vocabulary,
    rows: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Texts<f32>, Failure> {
    let encode = |(language, name): (&String, &String)| {
        let mut text = vocabulary.encode_tokens(&[language])?;
        text.extend(vocabulary.encode(name)?);
        Ok(text)
    };
    let texts = rows.into_iter().map(encode).collect::<recurrent::Result<_>>()?;
    Ok(Texts::new(texts, vocabulary.len())?)
}

/// Returns the vocabulary of `model`, which has the languages too.
fn letters_of(model: &Names) -> Result<&Vocabulary, Failure> {
    let of_names = |letters: &&Vocabulary| letters.special().starts_with(&MARKS.map(str::to_owned));
    let letters = model.vocabulary().filter(of_names);
    letters.ok_or_else(|| Failure::new("--load: expected a model that this example has saved"))
}

/// Trains a model. Returns `None` if Ctrl-C ended the training.
fn train(options: &Options, rows: &[Row], seed: u64) -> Result<Option<Names>, Failure> {
    let letters = vocabulary(rows)?;
    let (train, valid) = split::random(rows.len(), 0.06, 1)?;
    let part = |part: &[usize]| texts(&letters, part.iter().map(|&i| (&rows[i].0, &rows[i].1)));
    let (train, valid) = (part(&train)?, part(&valid)?);
    let mut model = Names::builder(letters.len())
        .end(0)
        .embedding_dim(48)
        .hidden_size(256)
        .input_dropout(0.2)
        .recurrent(|layers| layers.recurrent_dropout(0.2))
        .dropout(0.5)
        .vocabulary(letters)
        .build(&mut ChaCha8Rng::seed_from_u64(seed))?;
    let epochs = options.epochs_or(6, 40);
    let trainer = Trainer::new(AdamW::new(5e-3, 0.1)?)
        .epochs(epochs)
        .batch_size(64)
        .bucketed(20)
        .schedule(Cosine::new(epochs)?.min_factor(0.02)?)
        .ema(if options.quick { 0.9 } else { 0.995 })
        .clip_norm(1.0)
        .early_stopping(8)
        .seed(seed);
    let done = fit(options, &format!("names_{seed}"), trainer, &mut model, &train, Some(&valid))?;
    Ok(done.then_some(model))
}

/// Returns ln p(name | language), [names, languages].
fn log_likelihoods(
    model: &Names,
    letters: &Vocabulary,
    names: &[&String],
) -> Result<Array2<f64>, Failure> {
    let languages = languages(letters);
    let mut table = Array2::zeros((names.len(), languages.len()));
    for (language, mut column) in languages.iter().zip(table.columns_mut()) {
        let texts = texts(letters, names.iter().map(|&name| (language, name)))?;
        let all: Vec<usize> = (0..names.len()).collect();
        for part in all.chunks(256) {
            for (&i, log_p) in part.iter().zip(model.log_likelihoods(&texts.batch(part)?)?) {
                column[i] = log_p;
            }
        }
    }
    Ok(table)
}

/// Returns the place of the likeliest language, given ln p(name | language) of each. The prior is uniform.
fn likeliest(log_p: ArrayView1<'_, f64>) -> usize {
    (0..log_p.len()).max_by(|&a, &b| log_p[a].total_cmp(&log_p[b])).unwrap_or(0)
}

/// Draws names of `language` until `count` of them are not in `known`. Returns these, and how many were drawn.
fn invent(
    model: &Names,
    letters: &Vocabulary,
    language: &str,
    count: usize,
    known: &HashSet<&String>,
    rng: &mut ChaCha8Rng,
) -> Result<(Vec<String>, usize), Failure> {
    let prompt = letters.encode_tokens(&[language])?;
    let plain = Sampling::temperature(1.0)?;
    let (mut names, mut drawn) = (Vec::new(), 0);
    // A model of few names may know nothing else.
    while names.len() < count && drawn < 20 * count {
        let text = model.generate(None, &prompt, LONGEST, &plain, rng)?;
        let name = letters.decode(&text[0])?;
        drawn += 1;
        if !known.contains(&name) {
            names.push(name);
        }
    }
    Ok((names, drawn))
}

/// Tests the classifier, and draws the confusion matrix if `picture` names a file.
fn classify(
    model: &Names,
    letters: &Vocabulary,
    test: &[Row],
    picture: Option<&Path>,
) -> Result<f64, Failure> {
    let (languages, names) = (languages(letters), test.iter().map(|row| &row.1));
    let table = log_likelihoods(model, letters, &names.collect::<Vec<_>>())?;
    let mut confusion = Array2::<f32>::zeros((languages.len(), languages.len()));
    for ((language, _), log_p) in test.iter().zip(table.rows()) {
        let actual = languages.iter().position(|known| known == language);
        let actual = actual
            .ok_or_else(|| Failure::new(format!("{language}: a language without training")))?;
        confusion[[actual, likeliest(log_p)]] += 1.0;
    }
    let accuracy = f64::from(confusion.diag().sum()) / test.len() as f64;
    if let Some(file) = picture {
        let title = format!("{} names: actual (row), found (column)", test.len());
        let (rows, columns) = (languages.to_vec(), languages.to_vec());
        heat_maps(
            file,
            &[HeatMap { title, rows, columns, values: confusion.view(), numbers: true }],
        )?;
    }
    Ok(accuracy)
}

/// Prints the language of each line of the file `input`, with new names of it.
fn classify_lines(
    model: &Names,
    letters: &Vocabulary,
    input: &Path,
    seed: u64,
) -> Result<(), Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let text = std::fs::read_to_string(input)?;
    let names = text.lines().map(|line| line.trim().to_owned()).filter(|name| !name.is_empty());
    let names: Vec<String> = names.collect();
    let known: HashSet<&String> = names.iter().collect();
    let table = log_likelihoods(model, letters, &names.iter().collect::<Vec<_>>())?;
    for (name, log_p) in names.iter().zip(table.rows()) {
        let best = likeliest(log_p);
        let p = 1.0 / log_p.iter().map(|other| (other - log_p[best]).exp()).sum::<f64>();
        let language = &languages(letters)[best];
        let (others, _) = invent(model, letters, language, 3, &known, &mut rng)?;
        println!("{name}: {language} ({:.0} %); others: {}", 100.0 * p, others.join(", "));
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_data("names", ABOUT)? else { return Ok(()) };
    let loaded = options.load.as_ref().map(Names::load).transpose()?;
    if let (Some(model), Some(input)) = (&loaded, &options.input) {
        return classify_lines(model, letters_of(model)?, input, options.seed);
    }
    let files = find(&options, "names", ["train.tsv", "test.tsv"], PUBLISHED);
    let mut report = Report::new("names", files.is_none());
    let (rows, test) = match files {
        Some([train, test]) => (read(&train)?, read(&test)?),
        None => (generated(900, 1), generated(300, 2)),
    };
    for seed in options.seed..options.seed + options.seeds {
        let model = loaded_or(loaded.as_ref(), || train(&options, &rows, seed))?;
        let Some(model) = model else { return Ok(()) };
        let (letters, first) = (letters_of(&model)?, seed == options.seed);
        let picture = options.out.join("names_confusion.svg");
        let accuracy = classify(&model, letters, &test, first.then_some(&picture))?;
        report.add("accuracy", accuracy);
        report.baseline("accuracy", largest(&test), "one language for all");
        report.published_baseline("accuracy", 0.7734, "logistic regression on 1- to 4-grams");
        let pairs = test.iter().map(|(language, name)| (language, name));
        report.add("bits per character", model.evaluate(&texts(letters, pairs)?, 256)?.bits());
        report.baseline(
            "bits per character",
            single_bits(&rows, &test),
            "frequencies of characters",
        );
        report.published_baseline("bits per character", 3.8517, "3-grams");

        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut drawn, mut held_out) = ((0, 0), 0);
        for language in languages(letters) {
            let of = |row: &&Row| row.0 == *language;
            let known: HashSet<&String> = rows.iter().filter(of).map(|row| &row.1).collect();
            held_out += test.iter().filter(of).filter(|row| known.contains(&row.1)).count();
            let (new, count) = invent(&model, letters, language, INVENTED, &known, &mut rng)?;
            drawn = (drawn.0 + count - new.len(), drawn.1 + count);
            if first {
                println!("{language}: {}", new[..new.len().min(6)].join(", "));
            }
        }
        report.add("drawn names in train", drawn.0 as f64 / drawn.1 as f64);
        let chance = held_out as f64 / test.len() as f64;
        report.baseline("drawn names in train", chance, "held-out real names");
        if let Some(file) = options.save.as_ref().filter(|_| first) {
            model.save(file)?;
        }
    }
    println!("\nThese names are new: a drawn name that is in the training file is drawn again.");
    report.print();
    report.require(&options, "accuracy", 0.5, false)
}
