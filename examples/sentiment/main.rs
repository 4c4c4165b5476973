//! Sentiment of film reviews, English and Korean: many to one, with attention that shows what decided.
//!
//! A bidirectional LSTM reads the words of a review. Attention pools its outputs: a learned query gives each
//! word a weight, and the weighted mean is classified. Most words are rare, and Korean ones also carry endings,
//! so the model reads the characters of each word too.
//!
//! With some thousand reviews, and without vectors of words from other texts, one network is level with naive
//! Bayes at best, which ignores the order of the words. The average of several networks is better than one,
//! and their average with naive Bayes is better than either; the report has them all.

use std::path::{Path, PathBuf};

use ndarray::Axis;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::data::{Unit, Vocabulary};
use recurrent::layer::{CharacterEncoding, Pooling};
use recurrent::model::SequenceClassifier;
use recurrent::optim::AdamW;
use recurrent::optim::schedule::OneCycle;
use recurrent::train::{Trainer, predict};

use common::corpus::find;
use common::labelled::{Labelled, each_line};
use common::options::{Failure, Options};
use common::pictures::{COLOURS, Marked, marked_words};
use common::report::Report;
use common::training::{fit, loaded_or};
use languages::{LANGUAGES, Language, generated};
use naive_bayes::NaiveBayes;

#[path = "../common"]
mod common {
    pub(crate) mod corpus;
    pub(crate) mod labelled;
    pub(crate) mod options;
    pub(crate) mod pictures;
    pub(crate) mod report;
    pub(crate) mod training;
}
mod languages;
mod naive_bayes;

const ABOUT: &str = "\
sentiment: film reviews, good or bad, in English and in Korean. A bidirectional LSTM with attention over the
words, beside naive Bayes; averages of several networks (--seeds) and of both.
--save FILE writes the English model, and the Korean one to the same name with the ending .ko.
--load FILE --input TEXT prints the probability that each line of a text file is positive, or each line that
you type with --input -.";
const PUBLISHED: &str = "\
Published as sentence polarity data set v1.0 (Pang and Lee, 2005; sentiment) and as the Naver sentiment
movie corpus (Park; sentiment_ko): train.tsv and test.tsv with the columns label (neg or pos) and text,
separated by tabs.";

const BATCH: usize = 64;
/// The number of reviews of a quick training.
const QUICK: usize = 4000;
const LABELS: [&str; 2] = ["neg", "pos"];

type Judge = SequenceClassifier<LstmCell<f32>>;

/// Returns the share of the texts whose class is that of its log odds.
fn accuracy(log_odds: &[f64], classes: &[usize]) -> f64 {
    let right = log_odds.iter().zip(classes).filter(|&(&x, &class)| (x > 0.0) == (class == 1));
    right.count() as f64 / classes.len() as f64
}

/// Trains a model from `seed`. Returns `None` if Ctrl-C ended the training.
fn train(
    options: &Options,
    language: &Language,
    reviews: &Labelled,
    seed: u64,
) -> Result<Option<Judge>, Failure> {
    let open = |unit| Vocabulary::builder(unit).special(&["<unk>"]).unknown("<unk>").min_count(2);
    let words = open(Unit::Word).lowercase(true).fit(&reviews.texts)?;
    let letters = open(Unit::Character).fit(&reviews.texts)?;
    let data = reviews.encode(&words, &letters)?;
    let channels = language.channels;
    let triples = CharacterEncoding::Conv { out_channels: channels, kernel_size: 3 };
    let mut model = Judge::builder(words.len(), LABELS.len())
        .embedding_dim(64)
        .characters(letters, channels / 2, triples)
        .hidden_size(language.hidden_size)
        .bidirectional(true)
        .pooling(Pooling::Attention)
        .dropout(language.dropout)
        .input_dropout(0.4)
        .word_dropout(0.2)
        .vocabulary(words)
        .labels(&LABELS)
        .build(&mut ChaCha8Rng::seed_from_u64(seed))?;
    let epochs = options.epochs_or(3, language.epochs);
    let trainer = Trainer::new(AdamW::new(language.learning_rate, 0.01)?)
        .schedule_by_step(OneCycle::new(epochs * reviews.texts.len().div_ceil(BATCH))?)
        .epochs(epochs)
        .batch_size(BATCH)
        .bucketed(8)
        .clip_norm(1.0)
        .seed(seed);
    let name = format!("sentiment_{}_{seed}", language.name);
    Ok(fit(options, &name, trainer, &mut model, &data, None)?.then_some(model))
}

/// Returns the log odds of the positive class of each review.
fn log_odds(model: &Judge, reviews: &Labelled) -> Result<Vec<f64>, Failure> {
    let (Some(words), Some(letters)) = (model.vocabulary(), model.character_vocabulary()) else {
        return Err(Failure::new("--load: expected a model that this example has saved"));
    };
    let data = reviews.encode(words, letters)?;
    let of = |p: f32| f64::from(p).max(f64::from(f32::MIN_POSITIVE)).ln();
    Ok(predict(&data, 64, |(x, _)| {
        let p = model.probabilities(x)?;
        Ok(p.rows().into_iter().map(|row| of(row[1]) - of(row[0])).collect::<Vec<f64>>())
    })?)
}

/// Returns the words of a text, each marked by its share of the attention: blue if the model takes the text for
/// positive, else red.
fn marked(model: &Judge, text: &str) -> Result<(String, Vec<Marked>), Failure> {
    let x = model.encode_texts(&[text])?;
    let (p, weights) = (model.probabilities(&x)?[[0, 1]], model.attention_weights(&x)?);
    let most = weights.iter().copied().fold(0.0, f32::max);
    let mark = |(word, &weight): (String, &f32)| Marked {
        word,
        colour: COLOURS[usize::from(p < 0.5)],
        strength: 0.8 * f64::from(weight / most),
        note: format!("{:.0}", 100.0 * weight),
    };
    let words = Unit::Word.tokens(text).into_iter().zip(weights.index_axis(Axis(1), 0));
    let title = format!("positive {p:.2}; below each word its weight in percent");
    Ok((title, words.map(mark).collect()))
}

/// Returns the name of the file of a language's model.
fn file_of(file: &Path, language: &Language) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    if language.name == "korean" {
        name.push(".ko");
    }
    name.into()
}

/// A line of the picture: its title and its words.
type Line = (String, Vec<Marked>);

/// Trains the models of a language, or takes the one that was loaded, and reports on the test reviews. Returns
/// two lines of the picture, or `None` if Ctrl-C ended a training.
fn run(
    options: &Options,
    language: &Language,
    [reviews, test]: [&Labelled; 2],
    loaded: Option<&Judge>,
    report: &mut Report,
) -> Result<Option<Vec<Line>>, Failure> {
    let bayes = NaiveBayes::fit(language, reviews);
    let bayes: Vec<f64> = test.texts.iter().map(|text| bayes.log_odds(language, text)).collect();
    let (mut average, mut lines) = (vec![0.0; test.texts.len()], Vec::new());
    for seed in options.seed..options.seed + options.seeds {
        let model = loaded_or(loaded, || train(options, language, reviews, seed))?;
        let Some(model) = model else { return Ok(None) };
        let of_model = log_odds(&model, test)?;
        report.add(language.name, accuracy(&of_model, &test.classes));
        average.iter_mut().zip(of_model).for_each(|(sum, x)| *sum += x / options.seeds as f64);
        if seed == options.seed {
            for text in language.shown {
                lines.push(marked(&model, text)?);
            }
            if let Some(file) = &options.save {
                model.save(file_of(file, language))?;
            }
        }
    }
    let both: Vec<f64> = average.iter().zip(&bayes).map(|(x, y)| x + y).collect();
    let name = language.name;
    report.baseline(name, accuracy(&bayes, &test.classes), "naive Bayes");
    report.published_baseline(name, language.baseline, "naive Bayes on TF-IDF");
    report.add(&format!("{name} naive Bayes"), accuracy(&bayes, &test.classes));
    report.add(&format!("{name} average of networks"), accuracy(&average, &test.classes));
    report.add(&format!("{name} average with naive Bayes"), accuracy(&both, &test.classes));
    Ok(Some(lines))
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_data("sentiment", ABOUT)? else { return Ok(()) };
    let load = |file: &PathBuf| -> Result<Vec<Judge>, Failure> {
        LANGUAGES.iter().map(|language| Ok(Judge::load(file_of(file, language))?)).collect()
    };
    let loaded = options.load.as_ref().map(load).transpose()?;
    if let (Some(models), Some(input)) = (&loaded, &options.input) {
        return each_line(input, |line| {
            let korean = line.chars().any(|c| ('가'..='힣').contains(&c));
            let model = &models[usize::from(korean)];
            let p = model.probabilities(&model.encode_texts(&[line])?)?;
            println!("{:.3}  {line}", p[[0, 1]]);
            Ok(())
        });
    }
    let find =
        |language: &Language| find(&options, language.folder, ["train.tsv", "test.tsv"], PUBLISHED);
    let files: Option<Vec<_>> = LANGUAGES.iter().map(find).collect();
    let mut report = Report::new("sentiment", files.is_none());
    let mut lines = Vec::new();
    for (i, language) in LANGUAGES.iter().enumerate() {
        let (mut reviews, test) = match &files {
            Some(files) => {
                (Labelled::read(&files[i][0], &LABELS)?, Labelled::read(&files[i][1], &LABELS)?)
            }
            None => (generated(language, 2000, 1), generated(language, 200, 2)),
        };
        if options.quick {
            reviews.texts.truncate(QUICK);
            reviews.classes.truncate(QUICK);
        }
        let model = loaded.as_ref().map(|models| &models[i]);
        match run(&options, language, [&reviews, &test], model, &mut report)? {
            Some(of_language) => lines.extend(of_language),
            None => return Ok(()),
        }
    }
    marked_words(&options.out.join("sentiment_attention.svg"), &lines)?;
    report.print();
    report.require(&options, "english", 0.6, false)?;
    report.require(&options, "korean", 0.65, false)
}
