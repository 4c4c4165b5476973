//! One to many: image captioning.
//!
//! The image of a scene shows two handwritten digits. A small perceptron encodes each of nine
//! overlapping squares, like a convolution with a stride, and another layer joins the results to one
//! vector. This vector is the initial state of an LSTM and a part of its input at every step. The LSTM
//! generates the caption. Each scene has two correct captions, such as "a three above a seven" and "a
//! seven below a three". The test images show digits and arrangements that are not in the training data.

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
one_to_many: image captioning. An image shows two handwritten digits, one above or beside the other.
Perceptrons encode it as a vector, from which an LSTM generates \"a three above a seven\".
--load FILE --input CSV prints the caption of the image in a file: a header line, then 17 rows of 17
comma-separated pixels from 0 to 16.";

const BATCH: usize = 64;
const BATCHES_PER_EPOCH: usize = 100;
const LEARNING_RATE: f64 = 2e-3;
const HIDDEN: usize = 128;
const EMBEDDING: usize = 16;
/// The side of a glimpse. An image is encoded as 3 × 3 overlapping glimpses.
const GLIMPSE: usize = 9;
const STRIDE: usize = 4;
const GLIMPSES: usize = 9;
/// The number of features of a glimpse.
const FEATURES: usize = 32;
// Chosen on digits and arrangements held out of the training data.
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

/// The encoder of a glimpse.
type Look<T> = (Linear<T>, Activation<T>, Linear<T>, Activation<T>);
/// The layer that joins the features of all glimpses to one vector.
type Understand<T> = (Linear<T>, Activation<T>);
/// The tapes of both parts.
type Seen =
    (<Look<f32> as Layer<Array2<f32>>>::Tape, <Understand<f32> as Layer<Array2<f32>>>::Tape);

/// Returns the glimpses of each image, one a row.
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

    /// Returns the vector of each image, [batch, hidden], and the tapes.
    fn see(&self, pixels: &Array2<f32>, rng: &mut dyn Rng) -> Result<(Array2<f32>, Seen)> {
        let (features, look) = self.look.forward_train(&glimpses(pixels), rng)?;
        let features = reshaped(features, (pixels.nrows(), GLIMPSES * FEATURES))?;
        let (vector, understand) = self.understand.forward_train(&features, rng)?;
        Ok((vector, (look, understand)))
    }

    /// Adds the gradients of the encoder to `grad`, from the gradient with respect to the vectors.
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

    /// Returns the initial state, h = `vector` and c = 0.
    fn initial(&self, vector: &Array2<f32>) -> Result<State<f32>> {
        let mut state = self.lstm.zero_state(vector.nrows())?;
        state.set("h", vector.clone().insert_axis(Axis(0)))?;
        Ok(state)
    }

    /// Returns the input at each step: the embedded previous word from `words`, and the vector.
    fn input(words: &Sequences<f32>, vector: &Array2<f32>) -> Result<Sequences<f32>> {
        let (time, batch, _) = words.values().dim();
        let values =
            ndarray::Array3::from_shape_fn((time, batch, EMBEDDING + HIDDEN), |(t, b, j)| {
                if j < EMBEDDING { words.values()[[t, b, j]] } else { vector[[b, j - EMBEDDING]] }
            });
        words.with_values(values)
    }

    /// Generates the captions of images, word by word, with `sampling`.
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

/// Images [batch, pixels], with a caption of each.
struct Lesson {
    pixels: Array2<f32>,
    captions: Vec<Vec<usize>>,
}

impl Lesson {
    /// Returns the previous word of each word of the captions, and the words [time, batch].
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

/// Random scenes, new ones in each epoch, each with one of its two captions.
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

/// Returns for each scene the caption of the nearest of 5000 training scenes, by the distance of pixels.
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

    // The test scenes depend only on the seed, whether the model was trained or loaded.
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
    // The nearest training scene never has a held-out arrangement, so the first baseline is 0.
    let baseline = test.exact(&nearest(&test, &mut rng)?);
    let known_baseline = familiar.exact(&nearest(&familiar, &mut rng)?);
    println!("correct captions, new digits and arrangements: {exact:.3} (sampled {drawn:.3})");
    println!("correct captions, new digits, known arrangements: {known:.3}");
    println!(
        "baseline, the caption of the nearest training scene: {baseline:.3} and {known_baseline:.3}"
    );
    println!(
        "result one_to_many exact={exact:.4} baseline={baseline:.4} sampled={drawn:.4} \
         known_arrangements={known:.4} known_baseline={known_baseline:.4}"
    );
    Ok(())
}
