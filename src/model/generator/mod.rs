//! [`SequenceGenerator`]: one to many, texts with or without a condition vector.
#![expect(clippy::indexing_slicing, reason = "a text is made for each row")]

mod options;

use std::fmt::Display;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use rand::Rng;

use crate::cell::{Cell, LstmCell};
use crate::decode::{BeamSearch, Decoder, Hypothesis, Sampling};
use crate::error::{Error, Result, check_indices, check_shape, check_size};
use crate::float::Float;
use crate::layer::Linear;
use crate::loss::{CrossEntropy, Loss, RowLoss};
use crate::model::calls::shape_calls;
use crate::model::config::{Config, ModelBuilder, ONE, Shape, options, refuse};
use crate::model::network::{Network, NetworkStream, Step};
use crate::model::states::{filled, side_by_side};
use crate::model::{model_calls, probabilities_of, suppressed_tokens};
use crate::sequence::State;
use crate::sequences::Sequences;
use crate::tensor::Precision;
use crate::train::Model;
use crate::train::metrics::Perplexity;

use options::GeneratorConfig;

/// An autoregressive token generator: a language model or, with a condition vector, a captioner.
///
/// ```text
/// h_0, c_0 of each layer = W v + b                           v: the vector; zeros without one
/// p(token t) = softmax(linear(dropout(recurrent(token t − 1))))
/// ```
///
/// It trains on [`Texts`](crate::data::Texts). With a [`start`](ModelBuilder::start) token it generates the
/// first token of a text too. Without one, a prompt must begin the text. With an
/// [`end`](ModelBuilder::end) token it learns where texts end. Without one, every text gets the greatest
/// length.
///
/// The generator adds the start and end tokens itself. Training data and prompts that contain them are
/// refused. A generated text never contains the start token, a special or the unknown token of the
/// [`vocabulary`](ModelBuilder::vocabulary), or one of
/// [`suppress_tokens`](ModelBuilder::suppress_tokens).
///
/// ```
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::cell::LstmCell;
/// use recurrent::data::{Texts, Unit, Vocabulary};
/// use recurrent::decode::Sampling;
/// use recurrent::model::SequenceGenerator;
/// use recurrent::optim::Adam;
/// use recurrent::train::{Model, Trainer};
///
/// let names = ["anna", "annika", "hanna", "ann", "nina"];
/// let letters = Vocabulary::builder(Unit::Character).special(&["<", ">"]).fit(names)?;
/// let data = Texts::<f32>::new(letters.encode_all(names)?, letters.len())?;
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mut model = SequenceGenerator::<LstmCell<f32>>::builder(letters.len())
///     .start(0)
///     .end(1)
///     .hidden_size(16)
///     .vocabulary(letters.clone())
///     .build(&mut rng)?;
/// Trainer::new(Adam::new(0.02)?).epochs(60).fit(&mut model, &data, None)?;
/// let texts = model.generate(None, &[], 12, &Sampling::greedy(), &mut rng)?; // one text
/// assert!(names.contains(&&letters.decode(&texts[0])?[..]));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SequenceGenerator<C: Cell = LstmCell<f32>> {
    config: Arc<Config<C, GeneratorConfig>>,
    network: Network<C>,
    pub(super) condition: Condition<C::Elem>,
}
shape_calls!([] SequenceGenerator<C>, [], network, network, condition);

/// The layer from the vector to the initial states, side by side.
#[derive(Clone, Debug)]
pub(super) struct Condition<T> {
    pub(super) condition: Option<Linear<T>>,
}
crate::arrays!(Condition { condition });

/// A generator that reads one token of each text at a time; made by [`SequenceGenerator::stream`]. It is a
/// [`Decoder`], whose steps return logits.
#[derive(Debug)]
pub struct GeneratorStream<'m, C: Cell>(NetworkStream<'m, C>);

impl<T: Float, C: Cell<Elem = T>> GeneratorStream<'_, C> {
    /// Reads one token of each text, and returns the probability of each token to be the next,
    /// [batch, vocabulary].
    ///
    /// # Errors
    /// If the tokens do not fit; the stream is then as before.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<Array2<T>> {
        Ok(probabilities_of(self.step(tokens)?))
    }
}

impl<C: Cell> Decoder for GeneratorStream<'_, C> {
    type Elem = C::Elem;

    fn step(&mut self, tokens: &[usize]) -> Result<Array2<C::Elem>> {
        self.0.step_outputs(Step::Tokens(tokens))
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        self.0.stream.select(rows)
    }
}

/// Input tokens, or the logits after them, and target tokens.
type TeacherForcingPair<T> = (Sequences<T>, Array2<usize>);

impl<T: Float, C: Cell<Elem = T>> SequenceGenerator<C> {
    /// Returns a builder for a generator of tokens less than `vocabulary_size`.
    pub fn builder(vocabulary_size: usize) -> ModelBuilder<Self> {
        ModelBuilder::new(vocabulary_size, vocabulary_size, GeneratorConfig::default())
    }

    /// Generates a text for each row of `condition` [batch, condition], or one text without it.
    ///
    /// Each text continues the tokens of `prompt` by at most `max_len` tokens, chosen by `sampling`.
    /// The result contains neither the prompt nor the end token.
    ///
    /// # Errors
    /// If `condition` does not fit, `prompt` contains a token that is too large or the start or end
    /// token, there is neither a prompt nor a start token, or `sampling` keeps more tokens than there are.
    /// If a logit is NaN or ∞, or no token is left to choose, the error names the step and the text.
    pub fn generate(
        &self,
        condition: Option<ArrayView2<'_, T>>,
        prompt: &[usize],
        max_len: usize,
        sampling: &Sampling,
        rng: &mut dyn Rng,
    ) -> Result<Vec<Vec<usize>>> {
        sampling.check(self.config.output_size)?;
        let (mut steps, first) = self.begin(condition, prompt)?;
        let never = (self.config.own.end, &self.suppressed()[..]);
        sampling.generate(&mut steps, first, never, max_len, rng)
    }

    /// Searches for the likeliest texts for each row of `condition` [batch, condition], or for one text
    /// without it. Returns the best of each, from the highest score to the lowest.
    ///
    /// Each text continues the tokens of `prompt`; see [`BeamSearch`] for the options. The end token is
    /// that of the model. The tokens that [`generate`](Self::generate) never chooses are forbidden here too,
    /// but the probabilities of the others are not renormalised.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::LstmCell;
    /// use recurrent::decode::{BeamSearch, LengthPenalty};
    /// use recurrent::model::SequenceGenerator;
    ///
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let builder = SequenceGenerator::<LstmCell<f32>>::builder(20).start(0).end(1);
    /// let model = builder.build(&mut rng)?;
    /// let search = BeamSearch::new(5)?.n_best(2)?.max_length(12)?;
    /// let texts = model.beam(None, &[7, 3], &search.length_penalty(LengthPenalty::Wu(0.6))?)?;
    /// assert!(texts[0][0].score >= texts[0][1].score);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `condition` or `prompt` does not fit, as in [`generate`](Self::generate), `search` has another end
    /// token than the model, and as [`BeamSearch::search`].
    pub fn beam(
        &self,
        condition: Option<ArrayView2<'_, T>>,
        prompt: &[usize],
        search: &BeamSearch<'_>,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        let search = search.for_model(self.config.own.end, &self.suppressed())?;
        let (mut steps, last) = self.begin(condition, prompt)?;
        search.search(&mut steps, &last)
    }

    /// Feeds the start token and `prompt`, except the last token, which is returned for each text.
    fn begin(
        &self,
        condition: Option<ArrayView2<'_, T>>,
        prompt: &[usize],
    ) -> Result<(GeneratorStream<'_, C>, Vec<usize>)> {
        let batch = condition.map_or(1, |condition| condition.nrows());
        check_indices("prompt", prompt, self.config.input_size, "vocabulary_size")?;
        self.check_unmarked("prompt", prompt)?;
        let first: Vec<usize> =
            self.config.own.start.into_iter().chain(prompt.iter().copied()).collect();
        let Some((&last, before)) = first.split_last() else {
            let expected = "at least one token: the model has no start";
            return Err(Error::argument("prompt", expected, "none"));
        };
        let mut steps = self.stream(condition, batch)?;
        for &token in before {
            steps.0.step(Step::Tokens(&vec![token; batch]))?;
        }
        Ok((steps, vec![last; batch]))
    }

    /// Returns a stream that reads `batch` texts token by token, and returns the probabilities of the next
    /// token. The first token that it reads is the start token, if the model has one. `condition` is
    /// [batch, condition].
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::GruCell;
    /// use recurrent::model::SequenceGenerator;
    ///
    /// let builder = SequenceGenerator::<GruCell<f32>>::builder(5).start(0).end(1);
    /// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// let (mut stream, mut nats) = (model.stream(None, 1)?, 0.0);
    /// for pair in [0, 3, 2, 1].windows(2) {
    ///     nats -= stream.step_tokens(&pair[..1])?[[0, pair[1]]].ln(); // of the text 3 2
    /// }
    /// assert!(nats > 0.0);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `condition` does not fit or `batch` is zero.
    pub fn stream(
        &self,
        condition: Option<ArrayView2<'_, T>>,
        batch: usize,
    ) -> Result<GeneratorStream<'_, C>> {
        self.stream_with(condition, batch, Precision::Full)
    }

    /// Creates a stream whose embedding, recurrent layers, head and layer of the condition have weights of the
    /// given precision.
    ///
    /// # Errors
    /// As for [`stream`](Self::stream), and if the model is one of `f64` or has a weight that is not finite,
    /// unless the precision is full.
    pub fn stream_with(
        &self,
        condition: Option<ArrayView2<'_, T>>,
        batch: usize,
        precision: Precision,
    ) -> Result<GeneratorStream<'_, C>> {
        precision.check(self)?;
        let mut stream = self.network.stream_of(batch, precision)?;
        if let Some(initial) = self.initial(condition, batch, precision)? {
            stream.stream.restore(&initial)?;
        }
        Ok(GeneratorStream(stream))
    }

    /// Generates one text that continues `prompt` by at most `max_len` tokens of the model's vocabulary.
    ///
    /// ```
    /// use recurrent::prelude::*;
    ///
    /// let letters = Vocabulary::builder(Unit::Character).special(&["<s>", "</s>"]).fit(["anna", "otto"])?;
    /// let builder = SequenceGenerator::<GruCell<f32>>::builder(letters.len()).start(0).end(1);
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let model = builder.vocabulary(letters).build(&mut rng)?;
    /// println!("an{}", model.generate_text("an", 10, &Sampling::greedy(), &mut rng)?);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model has no vocabulary or needs a condition vector, `prompt` has a token that the vocabulary
    /// lacks, and as [`generate`](Self::generate).
    pub fn generate_text(
        &self,
        prompt: &str,
        max_len: usize,
        sampling: &Sampling,
        rng: &mut dyn Rng,
    ) -> Result<String> {
        let Some(words) = self.vocabulary() else {
            return Err(Error::argument("vocabulary", "one in the model", "none"));
        };
        let texts = self.generate(None, &words.encode(prompt)?, max_len, sampling, rng)?;
        words.decode(&texts[0])
    }

    /// Returns ln p of each text of `batch`, given its condition vector if there is one: the sum over its tokens
    /// and the end token. The first token counts if the model has a start token. With a uniform or other prior
    /// over conditions, Bayes' rule makes a classifier of them.
    ///
    /// ```
    /// use recurrent::prelude::*;
    ///
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let builder = SequenceGenerator::<LstmCell<f32>>::builder(5).start(0).end(1).condition_size(2);
    /// let model = builder.build(&mut rng)?;
    /// let texts = Texts::new(vec![vec![3, 4], vec![3, 4]], 5)?.conditions(vec![array![1.0, 0.0], array![0.0, 1.0]])?;
    /// let log_p = model.log_likelihoods(&texts.batch(&[0, 1])?)?; // of the same text under two conditions
    /// assert!(log_p.len() == 2 && log_p[0] < 0.0 && log_p[0] != log_p[1]);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the batch does not fit the model, or a result is not finite.
    pub fn log_likelihoods(
        &self,
        (condition, texts): &(Option<Array2<T>>, Sequences<T>),
    ) -> Result<Vec<f64>> {
        let (logits, y) = self.logits(condition.as_ref(), texts)?;
        let losses = CrossEntropy::default().losses(&logits, &y)?;
        Ok(losses.columns().into_iter().map(|of_text| -of_text.sum()).collect())
    }

    /// Returns the logits of the texts at each step, and the tokens that they predict.
    fn logits(
        &self,
        condition: Option<&Array2<T>>,
        texts: &Sequences<T>,
    ) -> Result<TeacherForcingPair<T>> {
        let (x, y) = self.teacher_forcing_pair(texts)?;
        let initial =
            self.initial(condition.map(|vectors| vectors.view()), x.batch(), Precision::Full)?;
        Ok((self.network.outputs(&x, initial.as_ref())?, y))
    }

    /// Returns the tokens that are never generated.
    fn suppressed(&self) -> Vec<usize> {
        let GeneratorConfig { start, end, suppress_tokens, .. } = &self.config.own;
        suppressed_tokens(self.vocabulary(), (*start, *end), suppress_tokens)
    }

    /// Returns the initial states of texts, or `None` if they are zeros.
    fn initial(
        &self,
        condition: Option<ArrayView2<'_, T>>,
        batch: usize,
        precision: Precision,
    ) -> Result<Option<State<T>>> {
        match (&self.condition.condition, condition) {
            (None, None) => Ok(None),
            (Some(linear), Some(vectors)) => {
                check_shape(
                    "condition",
                    "batch, condition",
                    &[batch, linear.input_size()],
                    vectors.shape(),
                )?;
                let values = linear.packed_with(precision).forward_rows(vectors)?;
                Ok(Some(filled(self.network.recurrent.zero_state(batch)?, &values)))
            }
            (linear, given) => {
                let shown = |has: bool| if has { "a vector for each text" } else { "none" };
                Err(Error::argument("condition", shown(linear.is_some()), shown(given.is_some())))
            }
        }
    }

    /// Fails if `text`, the argument of that name, contains the start or the end token.
    fn check_unmarked(&self, argument: impl Display, text: &[usize]) -> Result<()> {
        let GeneratorConfig { start, end, .. } = self.config.own;
        let marker = |&token: &usize| Some(token) == start || Some(token) == end;
        let Some(t) = text.iter().position(marker) else { return Ok(()) };
        let which = if Some(text[t]) == start { "start" } else { "end" };
        let expected = "neither the start nor the end token, which the generator adds itself";
        // Batches are shuffled: only the tokens identify the text.
        let shown = match &self.config.vocabulary {
            Some(vocabulary) => format!("{:?}", vocabulary.decode(text)?),
            None => format!("{text:?}"),
        };
        let got = format!("{} ({which}) in the text {}", text[t], shortened(&shown));
        Err(Error::argument(format!("{argument}[{t}]"), expected, got))
    }

    /// Returns the inputs and the targets of `texts`, which are one-hot: the target of each token is the
    /// next one.
    fn teacher_forcing_pair(&self, texts: &Sequences<T>) -> Result<TeacherForcingPair<T>> {
        let tokens = texts.tokens();
        let tokens = tokens.ok_or_else(|| Error::argument("texts", "tokens", "values"))?;
        let GeneratorConfig { start, end, .. } = self.config.own;
        let of_text = |(b, &length): (usize, &usize)| {
            let text: Vec<usize> = tokens.column(b).iter().copied().take(length).collect();
            self.check_unmarked(format_args!("texts[{b}]"), &text)?;
            Ok(start.into_iter().chain(text).chain(end).collect())
        };
        let all = texts.lengths().iter().enumerate().map(of_text);
        let all = all.collect::<Result<Vec<Vec<usize>>>>()?;
        if let Some(b) = all.iter().position(|text| text.len() < 2) {
            let expected = "at least two tokens, of which the first predicts the second";
            return Err(Error::argument(format!("texts[{b}]"), expected, format!("{:?}", all[b])));
        }
        let inputs: Vec<&[usize]> = all.iter().map(|text| &text[..text.len() - 1]).collect();
        let x = Sequences::one_hot_from_list(&inputs, self.config.input_size)?;
        // The padding is not read.
        let next = |(t, b): (usize, usize)| all[b].get(t + 1).copied().unwrap_or(0);
        let y = Array2::from_shape_fn((x.time(), x.batch()), next);
        Ok((x, y))
    }
}

/// Returns the first 60 characters of a longer text.
fn shortened(text: &str) -> String {
    let first: String = text.chars().take(60).collect();
    if first.len() < text.len() { format!("{first} …") } else { first }
}

impl<T: Float, C: Cell<Elem = T>> Model for SequenceGenerator<C> {
    type Batch = (Option<Array2<T>>, Sequences<T>);
    type Score = Perplexity;

    fn options(&self) -> String {
        options(self)
    }

    model_calls!();

    fn weighted_loss_and_grad(
        &self,
        (condition, texts): &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        let (x, y) = self.teacher_forcing_pair(texts)?;
        let condition = condition.as_ref().map(|vectors| vectors.view());
        let initial = self.initial(condition, x.batch(), Precision::Full)?;
        let mut weight = 0.0;
        let loss = |head: &Linear<T>, h: &Sequences<T>, grad: &mut Linear<T>| {
            let (loss, count, d_h) = CrossEntropy::default().of_linear(head, h, &y, grad)?;
            weight = count;
            Ok((loss, d_h))
        };
        let (loss, d_initial) =
            self.network.loss_and_grad(&x, initial.as_ref(), loss, &mut grad.network, rng)?;
        if let (Some(linear), Some(vectors), Some(grad)) =
            (&self.condition.condition, condition, &mut grad.condition.condition)
        {
            linear.backward_rows(vectors, side_by_side(&d_initial).view(), grad)?;
        }
        Ok((loss, Some(weight)))
    }

    fn score_batch(&self, (condition, texts): &Self::Batch, score: &mut Perplexity) -> Result<()> {
        let (logits, y) = self.logits(condition.as_ref(), texts)?;
        let (loss, _) = CrossEntropy::default().loss(&logits, &y)?;
        score.add(loss, logits.steps());
        Ok(())
    }
}

impl<C: Cell> Shape for SequenceGenerator<C> {
    type Cell = C;
    const NAME: &'static str = "SequenceGenerator";
    type Own = GeneratorConfig;

    fn assemble(config: Config<C, GeneratorConfig>, rng: &mut dyn Rng) -> Result<Self> {
        let tokens = config.output_size;
        let (scaler, columns) = (config.scaler.as_ref(), config.columns.as_ref());
        refuse("scaler", scaler.map(|_| ONE), "a generator reads tokens")?;
        refuse("columns", columns.map(Vec::len), "a generator reads tokens")?;
        check_indices("suppress_tokens", &config.own.suppress_tokens, tokens, "vocabulary_size")?;
        if config.own.condition_size.is_some() && config.recurrent.learned_initial_state {
            let expected = "false: the condition vector determines the initial state";
            return Err(Error::argument("learned_initial_state", expected, true));
        }
        for (name, token) in [("start", config.own.start), ("end", config.own.end)] {
            if let Some(token) = token.filter(|&token| token >= tokens) {
                return Err(Error::argument(
                    name,
                    format!("less than {tokens} (vocabulary_size)"),
                    token,
                ));
            }
        }
        let network = Network::new(&config, tokens, rng)?;
        if network.recurrent.bidirectional() {
            let expected = "false: its inputs are its own outputs so far";
            return Err(Error::argument("bidirectional", expected, true));
        }
        let condition = match config.own.condition_size {
            None => None,
            Some(size) => {
                check_size("condition_size", &[size])?;
                let width = side_by_side(&network.recurrent.zero_state(1)?).ncols();
                Some(Linear::new(size, width, rng)?)
            }
        };
        Ok(Self { config: Arc::new(config), network, condition: Condition { condition } })
    }

    fn config(&self) -> &Config<C, GeneratorConfig> {
        &self.config
    }
}
