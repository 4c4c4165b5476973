//! One to many: the caption of a picture.
//!
//! A picture of two handwritten digits becomes one vector, by the same small perceptron at each of
//! nine places (a convolution with a stride) and one layer that joins them; an LSTM that begins from it, and sees
//! it at every step, tells in words what stands where. Of each scene two captions are true, "a
//! three above a seven" and "a seven below a three": the decoder may choose, but must then keep to
//! its choice. Test pictures hold digits and arrangements that training never showed.

use ndarray::{Array2, Axis};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::data::Source;
use recurrent::decode::Sampling;
use recurrent::layer::{Activation, Dropout, Embedding, Features, Layer, Linear};
use recurrent::loss::{CrossEntropy, Loss};
use recurrent::optim::Adam;
use recurrent::train::metrics::Perplexity;
use recurrent::train::{Model, Trainer};
use recurrent::{Float, Lstm, Result, Sequences, State, arrays, io};

use common::options::{Failure, Options};
use common::training::fit;
use scenes::{Arrangement, CANVAS, Digits, END, LONGEST, Scenes, WORDS};

mod scenes;
#[path = "../common"]
mod common {
    pub(crate) mod data;
    pub(crate) mod options;
    pub(crate) mod training;
}

const ABOUT: &str = "\
one_to_many: the caption of a picture. Two real handwritten digits stand above or beside each other;
perceptrons turn the picture into a vector, from which an LSTM tells \"a three above a seven\".
--load FILE --input CSV tells what a picture of yours shows: a line of names, then 17 rows of 17 pixels
from 0 to 16, separated by commas.";

const BATCH: usize = 64;
const BATCHES_PER_EPOCH: usize = 100;
const LEARNING_RATE: f64 = 2e-3;
const HIDDEN: usize = 128;
const EMBEDDING: usize = 16;
/// A picture is looked at in 3 × 3 overlapping squares.
const GLIMPSE: usize = 9;
const STRIDE: usize = 4;
const GLIMPSES: usize = 9;
/// What is noted of each.
const FEATURES: usize = 32;
// Chosen on digits and arrangements held out of the training file.
const VECTOR_DROPOUT: f64 = 0.2;
const OUTPUT_DROPOUT: f64 = 0.3;
const TEST_SCENES: usize = 1000;
const TEMPERATURE: f64 = 1.0;

#[derive(Clone)]
struct Teller<T: Float> {
    look: Look<T>,
    understand: Understand<T>,
    words: Embedding<T>,
    lstm: Lstm<T>,
    head: Linear<T>,
}
arrays!(Teller { look, understand, words, lstm, head });

/// From a glimpse to what is noted of it.
type Look<T> = (Linear<T>, Activation<T>, Linear<T>, Activation<T>);
/// From the notes of all glimpses to one vector.
type Understand<T> = (Linear<T>, Activation<T>);
/// The tapes of both.
type Seen =
    (<Look<f32> as Layer<Array2<f32>>>::Tape, <Understand<f32> as Layer<Array2<f32>>>::Tape);

/// The overlapping squares of each picture, one a row.
fn glimpses(pixels: &Array2<f32>) -> Array2<f32> {
    let shape = (pixels.nrows() * GLIMPSES, GLIMPSE * GLIMPSE);
    Array2::from_shape_fn(shape, |(row, pixel)| {
        let (picture, glimpse) = (row / GLIMPSES, row % GLIMPSES);
        let r = glimpse / 3 * STRIDE + pixel / GLIMPSE;
        let c = glimpse % 3 * STRIDE + pixel % GLIMPSE;
        pixels[[picture, r * CANVAS + c]]
    })
}

impl Teller<f32> {
    fn new(rng: &mut dyn Rng) -> Result<Self> {
        Ok(Self {
            look: (
                Linear::new(GLIMPSE * GLIMPSE, 128, rng)?,
                Activation::relu(),
                Linear::new(128, FEATURES, rng)?,
                Activation::relu(),
            ),
            understand: (Linear::new(GLIMPSES * FEATURES, HIDDEN, rng)?, Activation::tanh()),
            words: Embedding::new(WORDS.len(), EMBEDDING, rng)?,
            lstm: Lstm::builder(EMBEDDING + HIDDEN, HIDDEN).build(rng)?,
            head: Linear::new(HIDDEN, WORDS.len(), rng)?,
        })
    }

    /// The vector of each picture, and the tapes: the same layers look at each of its glimpses, others
    /// join what they found.
    fn see(&self, pixels: &Array2<f32>, rng: &mut dyn Rng) -> Result<(Array2<f32>, Seen)> {
        let (features, look) = self.look.forward_train(&glimpses(pixels), rng)?;
        let features = reshaped(features, (pixels.nrows(), GLIMPSES * FEATURES))?;
        let (vector, understand) = self.understand.forward_train(&features, rng)?;
        Ok((vector, (look, understand)))
    }

    /// Adds the gradients of the layers that see, from that with respect to the vectors.
    fn see_back(
        &self,
        (look, understand): Seen,
        d_vector: &Array2<f32>,
        grad: &mut Self,
    ) -> Result<()> {
        let d_features = self.understand.backward(understand, d_vector, &mut grad.understand)?;
        let d_features = reshaped(d_features, (d_vector.nrows() * GLIMPSES, FEATURES))?;
        let _: Array2<f32> = self.look.backward(look, &d_features, &mut grad.look)?;
        Ok(())
    }

    /// The state that begins with h = `vector`.
    fn initial(&self, vector: &Array2<f32>) -> Result<State<f32>> {
        let mut state = self.lstm.zero_state(vector.nrows())?;
        state.set("h", vector.clone().insert_axis(Axis(0)))?;
        Ok(state)
    }

    /// The input at each step: the word before, of the embedded `words`, and the vector.
    fn input(words: &Sequences<f32>, vector: &Array2<f32>) -> Result<Sequences<f32>> {
        let (time, batch, _) = words.values().dim();
        let values =
            ndarray::Array3::from_shape_fn((time, batch, EMBEDDING + HIDDEN), |(t, b, j)| {
                if j < EMBEDDING { words.values()[[t, b, j]] } else { vector[[b, j - EMBEDDING]] }
            });
        words.with_values(values)
    }

    /// The captions of pictures, word by word, as `sampling` takes them.
    fn tell(
        &self,
        pixels: &Array2<f32>,
        sampling: &Sampling,
        rng: &mut dyn Rng,
    ) -> Result<Vec<Vec<usize>>> {
        let batch = pixels.nrows();
        let (vector, _) = self.see(pixels, rng)?;
        let mut stream = self.lstm.stream(batch)?;
        stream.restore(&self.initial(&vector)?)?;
        let mut captions = vec![Vec::new(); batch];
        let mut last = vec![END; batch];
        for _ in 0..LONGEST {
            let before: Vec<[usize; 1]> = last.iter().map(|&word| [word]).collect();
            let before = Sequences::one_hot_from_list(&before, WORDS.len())?;
            let x = Self::input(&self.words.forward(&before)?, &vector)?.into_values();
            let scores = self.head.forward(&stream.step(x.index_axis(Axis(0), 0))?.to_owned())?;
            for ((caption, last), scores) in captions.iter_mut().zip(&mut last).zip(scores.rows()) {
                if caption.last() != Some(&END) {
                    *last = sampling.pick(scores, rng)?;
                    caption.push(*last);
                }
            }
        }
        Ok(captions)
    }
}

/// Pictures, and a caption of each.
struct Lesson {
    pixels: Array2<f32>,
    captions: Vec<Vec<usize>>,
}

impl Lesson {
    /// The word before each word of the captions, and the words, [time, batch].
    fn words(&self) -> Result<(Sequences<f32>, Array2<usize>)> {
        let before = |caption: &Vec<usize>| [&[END], &caption[..caption.len() - 1]].concat();
        let before: Vec<Vec<usize>> = self.captions.iter().map(before).collect();
        let before = Sequences::one_hot_from_list(&before, WORDS.len())?;
        let word = |(t, b): (usize, usize)| self.captions[b].get(t).copied().unwrap_or(END);
        let next = Array2::from_shape_fn((before.time(), before.batch()), word);
        Ok((before, next))
    }
}

impl Model for Teller<f32> {
    type Batch = Lesson;
    type Score = Perplexity;

    fn loss_and_grad(&self, lesson: &Lesson, grad: &mut Self, rng: &mut dyn Rng) -> Result<f64> {
        let (before, next) = lesson.words()?;
        let (vector, seen) = self.see(&lesson.pixels, rng)?;
        let (vector_dropout, output_dropout) =
            (Dropout::new(VECTOR_DROPOUT)?, Dropout::new(OUTPUT_DROPOUT)?);
        let (vector, vector_mask) = vector_dropout.forward_train(&vector, rng)?;
        let (words, words_tape) = self.words.forward_train(&before, rng)?;
        let x = Self::input(&words, &vector)?;
        let (output, _, tape) = self.lstm.forward_train(&x, Some(&self.initial(&vector)?), rng)?;
        let (dropped, output_mask) = output_dropout.forward_train(&output, rng)?;
        let (logits, head_tape) = self.head.forward_train(&dropped, rng)?;
        let (loss, d_logits) = CrossEntropy::default().loss(&logits, &next)?;

        let d_dropped: Sequences<f32> = self.head.backward(head_tape, &d_logits, &mut grad.head)?;
        let d_output: Sequences<f32> =
            output_dropout.backward(output_mask, &d_dropped, &mut output_dropout.clone())?;
        let (d_x, d_initial) = self.lstm.backward(tape, &d_output, None, &mut grad.lstm)?;
        let (d_words, d_steps) = d_x.split(EMBEDDING)?;
        self.words.backward(words_tape, &d_words, &mut grad.words)?;
        let d_vector = d_steps.values().sum_axis(Axis(0)) + d_initial.part("h", 0, false)?;
        let d_vector: Array2<f32> =
            vector_dropout.backward(vector_mask, &d_vector, &mut vector_dropout.clone())?;
        self.see_back(seen, &d_vector, grad)?;
        Ok(loss)
    }

    fn score_batch(&self, lesson: &Lesson, score: &mut Perplexity) -> Result<()> {
        let (before, next) = lesson.words()?;
        let (vector, _) = self.see(&lesson.pixels, &mut ChaCha8Rng::seed_from_u64(0))?;
        let x = Self::input(&self.words.forward(&before)?, &vector)?;
        let (output, _) = self.lstm.forward(&x, Some(&self.initial(&vector)?))?;
        let logits = self.head.forward(&output)?;
        let (loss, _) = CrossEntropy::default().loss(&logits, &next)?;
        score.add(loss, before.steps());
        Ok(())
    }
}

fn reshaped(values: Array2<f32>, shape: (usize, usize)) -> Result<Array2<f32>> {
    let refuse =
        |error| recurrent::Error::argument("values", "the pixels of whole pictures", error);
    values.into_shape_with_order(shape).map_err(refuse)
}

/// Scenes made up anew in each epoch, told from one side or the other.
struct Endless {
    digits: Digits,
    arrangements: Vec<Arrangement>,
}

impl Source<Lesson> for Endless {
    fn len(&self) -> usize {
        BATCHES_PER_EPOCH * BATCH
    }

    fn batch(&self, scenes: &[usize]) -> Result<Lesson> {
        let seed = scenes.first().map_or(0, |&first| first as u64);
        self.draw(scenes, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    fn draw(&self, scenes: &[usize], rng: &mut dyn Rng) -> Result<Lesson> {
        let Scenes { pixels, arrangements } =
            Scenes::random(&self.digits, &self.arrangements, scenes.len(), rng);
        let side = |arrangement: &Arrangement| {
            let [there, back] = arrangement.captions();
            if rng.random() { there } else { back }
        };
        Ok(Lesson { pixels, captions: arrangements.iter().map(side).collect() })
    }
}

fn arrangements(held_out: bool) -> Vec<Arrangement> {
    Arrangement::all().into_iter().filter(|a| a.held_out() == held_out).collect()
}

/// For each scene a caption of the training scene whose pixels are nearest.
fn nearest(test: &Scenes, rng: &mut dyn Rng) -> Result<Vec<Vec<usize>>, Failure> {
    let digits = Digits::read("digits/uci_train.csv")?;
    let train = Scenes::random(&digits, &arrangements(false), 5000, rng);
    let squares = train.pixels.map_axis(Axis(1), |picture| picture.dot(&picture));
    let products = test.pixels.dot(&train.pixels.t());
    let nearest = |products: ndarray::ArrayView1<'_, f32>| {
        let distance = |k: usize| squares[k] - 2.0 * products[k];
        let k = (0..squares.len()).min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
        let [caption, _] = train.arrangements[k.unwrap_or(0)].captions();
        caption
    };
    Ok(products.rows().into_iter().map(nearest).collect())
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse("one_to_many", ABOUT)? else { return Ok(()) };
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut model = Teller::new(&mut rng)?;
    let greedy = Sampling::greedy();
    if let Some(file) = &options.load {
        io::load(file, &mut model)?;
        if let Some(input) = &options.input {
            let pixels = Scenes::read(input)?;
            println!("{}", scenes::drawing(&[pixels.row(0)]));
            println!("{}", scenes::text(&model.tell(&pixels, &greedy, &mut rng)?[0]));
            return Ok(());
        }
    } else {
        let digits = Digits::read("digits/uci_train.csv")?;
        let lesson = Endless { digits, arrangements: arrangements(false) };
        let trainer = Trainer::new(Adam::new(LEARNING_RATE)?)
            .epochs(options.epochs_or(10, 80))
            .batch_size(BATCH)
            .clip_norm(1.0)
            .seed(options.seed);
        if !fit(&options, "one_to_many", trainer, &mut model, &lesson, None)? {
            return Ok(());
        }
    }
    if let Some(file) = &options.save {
        io::save(file, &model)?;
    }

    // The same test scenes whatever happened before.
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed.wrapping_add(1000));
    let digits = Digits::read("digits/uci_test.csv")?;
    let test = Scenes::random(&digits, &arrangements(true), TEST_SCENES, &mut rng);
    let familiar = Scenes::random(&digits, &arrangements(false), TEST_SCENES, &mut rng);

    let lively = Sampling::temperature(TEMPERATURE)?;
    let told = model.tell(&test.pixels, &greedy, &mut rng)?;
    let sampled = model.tell(&test.pixels, &lively, &mut rng)?;
    let again = model.tell(&test.pixels, &lively, &mut rng)?;
    let shown: Vec<_> = (0..3).map(|k| test.pixels.row(k)).collect();
    println!("three test scenes:\n{}", scenes::drawing(&shown));
    for k in 0..shown.len() {
        let [told, sampled, again] = [&told[k], &sampled[k], &again[k]].map(|c| scenes::text(c));
        println!("scene {}: {told}   (sampled: {sampled}; {again})", k + 1);
    }

    let exact = test.exact(&told);
    let drawn = test.exact(&sampled);
    let known = familiar.exact(&model.tell(&familiar.pixels, &greedy, &mut rng)?);
    // The nearest scene cannot show what training never showed; known arrangements it can tell.
    let baseline = test.exact(&nearest(&test, &mut rng)?);
    let known_baseline = familiar.exact(&nearest(&familiar, &mut rng)?);
    println!("exact captions, digits and arrangements never seen: {exact:.3} (sampled {drawn:.3})");
    println!("exact captions, digits never seen, arrangements known: {known:.3}");
    println!(
        "baseline, caption of the nearest training scene: {baseline:.3} and {known_baseline:.3}"
    );
    println!(
        "result one_to_many exact={exact:.4} baseline={baseline:.4} sampled={drawn:.4} \
         known_arrangements={known:.4} known_baseline={known_baseline:.4}"
    );
    Ok(())
}
