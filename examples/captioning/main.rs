//! Image captioning: one to many, a picture becomes a sentence.
//!
//! A picture is divided into 36 regions. An encoder reads their pixels in both directions, so that the output at a
//! region knows its neighbours. A decoder writes the caption word by word. Before each word it attends to the
//! regions: it reads their weighted mean, with weights that depend on the words so far (Xu et al., *Show, Attend
//! and Tell*, 2015). The same model without attention sees the picture once, as its initial state.

use std::path::Path;

use ndarray::{Array2, Array4, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::Sequences;
use recurrent::cell::LstmCell;
use recurrent::data::{Dataset, Labels, Unit, Vocabulary};
use recurrent::decode::{BeamSearch, LengthPenalty};
use recurrent::layer::AttentionScore;
use recurrent::model::{AttentionPlace, Seq2Seq};
use recurrent::optim::AdamW;
use recurrent::optim::schedule::Cosine;
use recurrent::train::Trainer;
use recurrent::train::metrics::{Bleu, BleuTokenizer};

use attended::{Attended, draw};
use common::corpus::find;
use common::options::{Failure, Options};
use common::report::Report;
use common::training::{fit, loaded_or, reduced};
use scenes::{Captioned, generated, nearest, read, read_pictures, regions};

mod attended;
#[path = "../common"]
mod common {
    pub(crate) mod corpus;
    pub(crate) mod options;
    pub(crate) mod report;
    pub(crate) mod training;
}
mod scenes;

const ABOUT: &str = "\
captioning: the names of emoji from their pictures, by an LSTM that attends to regions. Compared with the same
model without attention, and with the caption of the nearest training picture.
--load FILE --input NPY prints the caption of each picture in a NumPy file, [pictures, 24, 24, 3] from 0 to 255.";
const PUBLISHED: &str = "\
Made from OpenMoji 17 (openmoji.org) and the names in Unicode CLDR: train_images.npy and test_images.npy, bytes
[pictures, 24, 24, 3], and train_captions.tsv and test_captions.tsv with the column caption.";

/// The longest caption in words.
const LONGEST: usize = 14;
/// The greatest number of test pictures that are drawn.
const DRAWN: usize = 4;

type Captioner = Seq2Seq<LstmCell<f32>>;

/// Returns the pictures from `range` as sequences of regions.
fn sources(
    pictures: &Array4<f32>,
    range: std::ops::Range<usize>,
) -> recurrent::Result<Sequences<f32>> {
    let parts = range.map(|i| regions(pictures.index_axis(Axis(0), i)));
    Sequences::from_list(&parts.collect::<Vec<_>>())
}

/// Trains a captioner. Returns `None` if Ctrl-C ended the training.
fn train(
    options: &Options,
    lesson: &Captioned,
    attention: bool,
    seed: u64,
) -> Result<Option<Captioner>, Failure> {
    let words = Vocabulary::builder(Unit::Whitespace).special(&["<s>", "</s>"]);
    let words = words.fit(&lesson.captions)?;
    let pictures: Vec<Array2<f32>> = lesson.pictures.outer_iter().map(regions).collect();
    let captions = words.encode_all(&lesson.captions)?.into_iter().map(Labels).collect();
    let mut builder = Captioner::builder(pictures[0].ncols(), words.len(), 0, 1)
        .hidden_size(192)
        .bidirectional(true)
        .decoder_hidden_size(256)
        .target_embedding_dim(96)
        .dropout(0.3)
        .target_vocabulary(words);
    if attention {
        builder = builder.attention(AttentionScore::Additive { size: 128 });
        builder = builder.attention_place(AttentionPlace::Before);
    }
    let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(seed))?;
    let data = Dataset::<f32, Labels>::new(pictures, captions)?;
    let epochs = options.epochs_or(6, 25);
    let trainer = Trainer::new(AdamW::new(1e-3, 0.01)?)
        .epochs(epochs)
        .schedule(Cosine::new(epochs)?.min_factor(0.02)?)
        .batch_size(32)
        .clip_norm(1.0)
        .seed(seed);
    let name = format!("captioning_{}_{seed}", if attention { "attention" } else { "none" });
    Ok(fit(options, &name, trainer, &mut model, &data, None)?.then_some(model))
}

fn search(width: usize) -> recurrent::Result<BeamSearch<'static>> {
    BeamSearch::new(width)?.max_length(LONGEST)?.length_penalty(LengthPenalty::Wu(0.6))
}

/// Returns the caption of each picture by a beam of `width`.
fn describe(
    model: &Captioner,
    pictures: &Array4<f32>,
    width: usize,
) -> Result<Vec<String>, Failure> {
    let Some(words) = model.target_vocabulary() else {
        return Err(Failure::new("--load: expected a model that this example has saved"));
    };
    let (search, count) = (search(width)?, pictures.len_of(Axis(0)));
    let mut captions = Vec::new();
    for first in (0..count).step_by(100) {
        let x = sources(pictures, first..count.min(first + 100))?;
        for found in model.beam(&x, &search)? {
            captions.push(words.decode(&found[0].tokens)?);
        }
    }
    Ok(captions)
}

/// Returns the share of captions that are right word for word, and their BLEU score.
fn compare(found: &[String], right: &[String]) -> Result<[f64; 2], Failure> {
    let exact = found.iter().zip(right).filter(|(found, right)| found == right).count();
    let references: Vec<[&String; 1]> = right.iter().map(|right| [right]).collect();
    let bleu = Bleu::default().tokenizer(BleuTokenizer::None).corpus(found, &references)?;
    Ok([exact as f64 / right.len() as f64, bleu.bleu()])
}

/// Draws the first pictures with their captions and the weights of attention.
fn draw_attention(file: &Path, model: &Captioner, test: &Captioned) -> Result<(), Failure> {
    let Some(words) = model.target_vocabulary() else { return Ok(()) };
    let x = sources(&test.pictures, 0..DRAWN.min(test.captions.len()))?;
    let tokens = model.beam(&x, &search(1)?)?.into_iter().map(|mut best| best.remove(0).tokens);
    let tokens: Vec<Vec<usize>> = tokens.collect();
    let weights = model.align(&x, &tokens)?;
    let drawn = tokens.iter().enumerate().map(|(i, tokens)| Attended {
        picture: test.pictures.index_axis(Axis(0), i).to_owned(),
        words: tokens.iter().map(|&token| words.tokens()[token].clone()).collect(),
        weights: weights.index_axis(Axis(0), i).to_owned(),
    });
    draw(file, &drawn.collect::<Vec<_>>())
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_data("captioning", ABOUT)? else { return Ok(()) };
    let loaded = options.load.as_ref().map(Captioner::load).transpose()?;
    if let (Some(model), Some(input)) = (&loaded, &options.input) {
        describe(model, &read_pictures(input)?, 5)?
            .iter()
            .for_each(|caption| println!("{caption}"));
        return Ok(());
    }
    let names = ["train_images.npy", "train_captions.tsv", "test_images.npy", "test_captions.tsv"];
    let files = find(&options, "captioning", names, PUBLISHED);
    let real = files.is_some();
    let (lesson, test) = match files {
        Some([train, captions, test, test_captions]) => {
            (read(&train, &captions)?, read(&test, &test_captions)?)
        }
        None => (generated(1000, 1), generated(200, 2)),
    };
    let mut report = Report::new("captioning", !real);
    let baseline = compare(&nearest(&lesson, &test.pictures), &test.captions)?;
    let mut add = |name: &str, found: &[String]| -> Result<(), Failure> {
        let values = compare(found, &test.captions)?;
        for (metric, (value, baseline)) in ["exact", "bleu"].iter().zip(values.iter().zip(baseline))
        {
            report.add(&format!("{metric}{name}"), *value);
            report.baseline(&format!("{metric}{name}"), baseline, "nearest training picture");
        }
        Ok(())
    };
    for seed in options.seed..options.seed + options.seeds {
        let model = loaded_or(loaded.as_ref(), || train(&options, &lesson, true, seed))?;
        let Some(model) = model else { return Ok(()) };
        add("", &describe(&model, &test.pictures, 1)?)?;
        add(" beam", &describe(&model, &test.pictures, 5)?)?;
        if seed == options.seed {
            let picture = if real { "attention" } else { "generated" };
            for (weights, model) in reduced(&model)? {
                let found = describe(&model, &test.pictures, 1)?;
                let [exact, bleu] = compare(&found, &test.captions)?;
                println!("with {weights} weights: exact {exact:.4}, BLEU {bleu:.2}");
            }
            draw_attention(&options.out.join(format!("captioning_{picture}.svg")), &model, &test)?;
            if let Some(file) = &options.save {
                model.save(file)?;
            }
        }
        if loaded.is_none() {
            let Some(plain) = train(&options, &lesson, false, seed)? else { return Ok(()) };
            add(" without attention", &describe(&plain, &test.pictures, 1)?)?;
        }
    }
    report.print();
    report.require(&options, "exact", 0.2, false)
}
