//! Translation, English to German: many to many, with an output of another length than the input.
//!
//! An encoder reads the words of the English sentence in both directions. A decoder writes the German one, word
//! by word. Before each word it attends to the encoder's outputs: a weighted mean of them, whose weights depend
//! on what it has written. The same model without attention has to keep the whole sentence in one state.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Axis, s};
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::GruCell;
use recurrent::data::{Dataset, Labels, Unit, Vocabulary, split};
use recurrent::decode::{BeamSearch, LengthPenalty};
use recurrent::layer::AttentionScore;
use recurrent::model::{AttentionPlace, Seq2Seq};
use recurrent::optim::Adam;
use recurrent::optim::schedule::Cosine;
use recurrent::train::Trainer;
use recurrent::train::metrics::{Bleu, BleuTokenizer};

use common::corpus::find;
use common::options::{Failure, Options};
use common::pictures::{HeatMap, heat_maps};
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
translation: short English sentences into German. A bidirectional GRU reads, and a GRU with additive
attention writes, greedily and by beam search. Compared with the same model without attention.
--load FILE --input TEXT translates each line of a text file.";
const PUBLISHED: &str = "\
Published by Tatoeba (tatoeba.org) and manythings.org/anki: train.tsv and test.tsv with the columns en and de,
separated by tabs; a sentence with several translations has a row for each.";

/// The longest translation in words.
const LONGEST: usize = 16;
/// The sentences of the picture.
const SHOWN: [&str; 3] = ["I want to go home now.", "He gave me a book.", "She does not like him."];

type Translator = Seq2Seq<GruCell<f32>>;

/// English sentences and their translations, lowercased, with spaces between words and punctuation marks.
type Pair = (String, String);

/// Returns `text` as the vocabularies divide it.
fn divided(text: &str) -> String {
    Unit::Word.tokens(&text.to_lowercase()).join(" ")
}

fn read(file: &Path) -> Result<Vec<Pair>, Failure> {
    let text = std::fs::read_to_string(file)?;
    let pair = |(i, line): (usize, &str)| {
        let (english, german) = line.split_once('\t').ok_or_else(|| {
            let (file, number) = (file.display(), i + 1);
            Failure::new(format!("{file}:{number}: expected a tab, got {line:?}"))
        })?;
        Ok((divided(english), divided(german)))
    };
    text.lines().enumerate().skip(1).map(pair).collect()
}

/// Returns sentences of a small grammar, whose verb stands last in the translation.
fn generated(count: usize, seed: u64) -> Vec<Pair> {
    const SUBJECTS: [[&str; 2]; 4] =
        [["i", "ich"], ["you", "du"], ["tom", "tom"], ["the woman", "die frau"]];
    const VERBS: [[&str; 2]; 4] =
        [["saw", "gesehen"], ["bought", "gekauft"], ["found", "gefunden"], ["lost", "verloren"]];
    const OBJECTS: [[&str; 2]; 5] = [
        ["a dog", "einen hund"],
        ["the book", "das buch"],
        ["a house", "ein haus"],
        ["the key", "den schlüssel"],
        ["my hat", "meinen hut"],
    ];
    const TIMES: [[&str; 2]; 3] = [["today", "heute"], ["yesterday", "gestern"], ["", ""]];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pair = |_| {
        let [subject, verb] =
            [&SUBJECTS, &VERBS].map(|of| of.choose(&mut rng).copied().unwrap_or_default());
        let object = OBJECTS.choose(&mut rng).copied().unwrap_or_default();
        let time = TIMES.choose(&mut rng).copied().unwrap_or_default();
        let has = ["habe", "hast", "hat", "hat"]
            [SUBJECTS.iter().position(|s| *s == subject).unwrap_or(0)];
        let english = format!("{} {} {} {} .", subject[0], verb[0], object[0], time[0]);
        let german = format!("{} {has} {} {} {} .", subject[1], time[1], object[1], verb[1]);
        (divided(&english), divided(&german))
    };
    (0..count).map(pair).collect()
}

/// Returns each English sentence once, with all its translations.
fn by_source(pairs: &[Pair]) -> (Vec<&String>, Vec<Vec<&String>>) {
    let mut grouped: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    pairs.iter().for_each(|(english, german)| grouped.entry(english).or_default().push(german));
    grouped.into_iter().unzip()
}

/// Trains a translator. Returns `None` if Ctrl-C ended the training.
fn train(
    options: &Options,
    pairs: &[Pair],
    attention: bool,
    seed: u64,
) -> Result<Option<Translator>, Failure> {
    let open = |special: &[&str]| {
        Vocabulary::builder(Unit::Word).special(special).unknown("<unk>").min_count(2)
    };
    let (english, german): (Vec<&String>, Vec<&String>) = pairs.iter().map(|(a, b)| (a, b)).unzip();
    let source = open(&["<unk>"]).fit(&english)?;
    let target = open(&["<s>", "</s>", "<unk>"]).fit(&german)?;
    let data = Dataset::<f32, Labels>::from_tokens(
        source.encode_all(&english)?,
        source.len(),
        target.encode_all(&german)?.into_iter().map(Labels).collect(),
    )?;
    let (lesson, check) = data.split(&split::random(pairs.len(), 0.03, 1)?)?;
    let mut builder = Translator::builder(source.len(), target.len(), 0, 1)
        .embedding_dim(192)
        .hidden_size(192)
        .bidirectional(true)
        .dropout(0.4)
        .label_smoothing(0.1)
        .vocabulary(source)
        .target_vocabulary(target);
    if attention {
        builder = builder.attention(AttentionScore::Additive { size: 192 });
        builder = builder.attention_place(AttentionPlace::Before);
    }
    let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(seed))?;
    let epochs = options.epochs_or(2, 10);
    let trainer = Trainer::new(Adam::new(2e-3)?)
        .epochs(epochs)
        .schedule(Cosine::new(epochs)?.min_factor(0.02)?)
        .batch_size(if options.quick { 32 } else { 64 })
        .bucketed(20)
        .clip_norm(1.0)
        .early_stopping(4)
        .seed(seed);
    let name = format!("translation_{}_{seed}", if attention { "attention" } else { "none" });
    Ok(fit(options, &name, trainer, &mut model, &lesson, Some(&check))?.then_some(model))
}

fn search(width: usize) -> recurrent::Result<BeamSearch<'static>> {
    BeamSearch::new(width)?.max_length(LONGEST)?.length_penalty(LengthPenalty::Wu(0.6))
}

/// Returns the BLEU score of the translations of all sources by a beam of `width`.
fn bleu(
    model: &Translator,
    (sources, references): &(Vec<&String>, Vec<Vec<&String>>),
    width: usize,
) -> Result<f64, Failure> {
    let (search, mut found) = (search(width)?, Vec::new());
    for part in sources.chunks(64) {
        found.extend(model.translate(part, &search)?.iter().map(|text| divided(text)));
    }
    Ok(Bleu::default().tokenizer(BleuTokenizer::None).corpus(&found, references)?.bleu())
}

/// Draws the attention of three sentences: a row for each German word, a column for each English one.
fn draw(file: &Path, model: &Translator) -> Result<(), Failure> {
    let (Some(source), Some(target)) = (model.vocabulary(), model.target_vocabulary()) else {
        return Err(Failure::new("expected a model with vocabularies"));
    };
    let mut maps = Vec::new();
    for text in SHOWN.map(divided) {
        let x = model.encode_texts(&[&text])?;
        let tokens = model.beam(&x, &search(5)?)?[0][0].tokens.clone();
        let weights = model.align(&x, std::slice::from_ref(&tokens))?.index_axis_move(Axis(0), 0);
        let mut rows = tokens.iter().map(|&t| target.tokens()[t].clone()).collect::<Vec<_>>();
        rows.push("</s>".to_owned());
        let words = source.encode(&text)?;
        let columns = words.iter().map(|&t| source.tokens()[t].clone()).collect();
        maps.push((text, rows, columns, weights));
    }
    let maps: Vec<HeatMap<'_>> = maps
        .iter()
        .map(|(title, rows, columns, weights)| HeatMap {
            title: title.clone(),
            rows: rows.clone(),
            columns: Vec::clone(columns),
            values: weights.slice(s![.., ..]),
            numbers: false,
        })
        .collect();
    heat_maps(file, &maps)
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_data("translation", ABOUT)? else { return Ok(()) };
    let loaded = options.load.as_ref().map(Translator::load).transpose()?;
    if let (Some(model), Some(input)) = (&loaded, &options.input) {
        for line in std::fs::read_to_string(input)?.lines().filter(|line| !line.trim().is_empty()) {
            println!("{}", model.translate(&[divided(line)], &search(5)?)?[0]);
        }
        return Ok(());
    }
    let files = find(&options, "translation", ["train.tsv", "test.tsv"], PUBLISHED);
    let real = files.is_some();
    let (mut pairs, test) = match files {
        Some([train, test]) => (read(&train)?, read(&test)?),
        None => (generated(2000, 1), generated(100, 2)),
    };
    if options.quick {
        pairs.truncate(8000);
    }
    let test = by_source(&test);
    let mut report = Report::new("translation", !real);
    for seed in options.seed..options.seed + options.seeds {
        let model = loaded_or(loaded.as_ref(), || train(&options, &pairs, true, seed))?;
        let Some(model) = model else { return Ok(()) };
        for (metric, width) in [("bleu greedy", 1), ("bleu beam", 5)] {
            report.add(metric, bleu(&model, &test, width)?);
            report.published_baseline(metric, 24.9238, "nearest training sentence");
        }
        if seed == options.seed {
            draw(&options.out.join("translation_attention.svg"), &model)?;
            if let Some(file) = &options.save {
                model.save(file)?;
            }
        }
        if loaded.is_none() {
            let Some(plain) = train(&options, &pairs, false, seed)? else { return Ok(()) };
            report.add("bleu beam without attention", bleu(&plain, &test, 5)?);
            report.published_baseline(
                "bleu beam without attention",
                24.9238,
                "nearest training sentence",
            );
        }
    }
    report.print();
    report.require(&options, "bleu beam", 3.0, false)
}
