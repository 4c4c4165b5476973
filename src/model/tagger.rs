//! [`SequenceTagger`]: many to many, a class for each step.
#![expect(
    clippy::indexing_slicing,
    reason = "a class is below the number of labels, which was compared"
)]

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::arrays::check_same_structure;
use crate::cell::{Cell, LstmCell};
use crate::data::Source;
use crate::error::{Error, Result, check_indices, check_shape};
use crate::float::Float;
use crate::layer::crf::{Constraints, Crf, Reduction};
use crate::loss::CrossEntropy;
use crate::model::calls::{shape_calls, with_loss};
use crate::model::config::{Config, ModelBuilder, Shape, WithCharacters, refuse};
use crate::model::model_calls;
use crate::model::network::{Network, NetworkStream, Step, of_outputs};
use crate::model::scored::{Objective, Scored};
use crate::model::{classes_of, counted, given, needed, probabilities_of, with_characters};
use crate::sequences::Sequences;
use crate::tensor::Precision;
use crate::train::metrics::{SpanMetrics, SpanMode};
use crate::train::{Model, predict};

/// How a [`SequenceTagger`] decides on the classes of the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Head {
    /// Softmax: each step by itself.
    #[default]
    Softmax,
    /// A [CRF](crate::layer::crf): all steps of a sequence together.
    Crf,
}

/// The options that only a tagger has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaggerOptions<L> {
    #[serde(flatten)]
    objective: Objective<L>,
    #[serde(default)]
    head: Head,
    #[serde(default)]
    constraints: Option<Constraints>,
}

impl<L> TaggerOptions<L> {
    /// Fails if an option does not fit the others or the number of `classes`, or the configuration was read
    /// from a file that names another loss.
    fn check<P>(&self, classes: usize) -> Result<()>
    where
        L: Scored<P>,
    {
        self.objective.check(classes)?;
        if self.head == Head::Softmax {
            let set = self.constraints.as_ref().map(|_| "some");
            return refuse("constraints", set, "only Head::Crf keeps them");
        }
        // The CRF has a loss of its own.
        let plain = CrossEntropy::default();
        let loss = &self.objective.loss;
        if format!("{loss:?}") == format!("{plain:?}") {
            return Ok(());
        }
        let expected = "cross entropy without options: Head::Crf has its own loss";
        Err(Error::argument("loss", expected, format!("{loss:?}")))
    }
}

/// The network, whose outputs are the emissions of the CRF, if there is one.
#[derive(Clone, Debug)]
struct Body<C: Cell> {
    network: Network<C>,
    crf: Option<Crf<C::Elem>>,
}
crate::arrays!([T: Float, C: Cell<Elem = T>] Body<C>: T { ..network, crf });

/// A model that predicts a class for each step of sequences of values or of tokens.
///
/// ```text
/// characters → encoder ┐
/// tokens → embedding ──┴→ recurrent layers → dropout → linear → softmax at each step, or a CRF
/// ```
///
/// With [`Head::Crf`], the classes of a sequence depend on each other. The model is trained by the negative
/// log-likelihood of whole sequences, divided by the number of steps
/// ([`TokenMean`](Reduction::TokenMean)). It predicts the best path, which keeps the
/// [`constraints`](ModelBuilder::constraints), and its probabilities are the marginals. Its score has the
/// classes of the best path; other classes have their ranks by the marginals. (Huang, Xu and Yu,
/// *Bidirectional LSTM-CRF Models for Sequence Tagging*, 2015.)
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::cell::LstmCell;
/// use recurrent::data::{Dataset, Source};
/// use recurrent::model::SequenceTagger;
/// use recurrent::optim::Adam;
/// use recurrent::train::{Model, Trainer};
///
/// // Which token was before?
/// let tokens: Vec<Vec<usize>> = (0..40).map(|i| (0..3 + i % 4).map(|t| (i * 5 + t * t) % 3).collect()).collect();
/// let before = |sequence: &Vec<usize>| (0..sequence.len()).map(|t| if t > 0 { sequence[t - 1] } else { 0 }).collect();
/// let tags: Vec<Vec<usize>> = tokens.iter().map(before).collect();
/// let data = Dataset::<f32, _>::from_tokens(tokens, 3, tags)?;
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mut model = SequenceTagger::<LstmCell<f32>>::builder(3, 3).embedding_dim(4).hidden_size(12).build(&mut rng)?;
/// Trainer::new(Adam::new(0.03)?).epochs(40).batch_size(8).fit(&mut model, &data, None)?;
/// assert!(model.evaluate(&data, 40)?.accuracy() > 0.9);
/// let tags = model.predict(&data.batch(&[0])?.0)?; // a list of classes for each sequence
/// assert_eq!(tags[0].len(), 3);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SequenceTagger<C: Cell = LstmCell<f32>, L = CrossEntropy> {
    config: Arc<Config<C, TaggerOptions<L>>>,
    body: Body<C>,
}
shape_calls!(
    [L: Scored<Sequences<T>, Target = Array2<usize>>] SequenceTagger<C, L>, [L], body.network, body
);
with_loss!(
    SequenceTagger, Sequences<T> => Array2<usize>, objective.loss,
    |TaggerOptions { head, constraints, .. }, objective| {
        TaggerOptions { objective, head, constraints }
    }
);

impl<T, C, L> ModelBuilder<SequenceTagger<C, L>>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Sequences<T>, Target = Array2<usize>>,
{
    /// Sets how the classes of the steps are decided. Default: [`Head::Softmax`]. A [`Head::Crf`] has its own
    /// loss, so it refuses another [`loss`](Self::loss) and options of the cross entropy.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-head-{}", std::process::id()));
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::LstmCell;
    /// use recurrent::layer::crf::Constraints;
    /// use recurrent::model::{Head, SequenceTagger};
    /// use recurrent::{Sequences, train::Model};
    ///
    /// let names = ["O", "B-PER", "I-PER"];
    /// let model = SequenceTagger::<LstmCell<f32>>::builder(50, 3)
    ///     .embedding_dim(8)
    ///     .bidirectional(true)
    ///     .labels(&names)
    ///     .head(Head::Crf)
    ///     .constraints(Constraints::iob2(&names)?)
    ///     .build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// let x = Sequences::one_hot_from_list(&[vec![7, 3, 49], vec![1]], 50)?;
    /// let tags = model.predict_labels(&x)?;
    /// assert_ne!(tags[0][0], "I-PER"); // a sequence cannot start with it
    ///
    /// model.save(&path)?;
    /// assert_eq!(SequenceTagger::<LstmCell<f32>>::load(&path)?.predict_labels(&x)?, tags);
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn head(mut self, head: Head) -> Self {
        self.config.own.head = head;
        self
    }

    /// Sets which classes may start, end and follow each other, for [`Head::Crf`] alone. A forbidden class is
    /// never predicted, and data that contain one are refused. Default: none.
    pub fn constraints(mut self, constraints: Constraints) -> Self {
        self.config.own.constraints = Some(constraints);
        self
    }
}

impl<T, C, L> WithCharacters for SequenceTagger<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Sequences<T>, Target = Array2<usize>>,
{
}

impl<T: Float, C: Cell<Elem = T>> SequenceTagger<C> {
    /// Returns a builder for a tagger of sequences of `input_size` features, or tokens, with `classes` for
    /// each step.
    pub fn builder(input_size: usize, classes: usize) -> ModelBuilder<Self> {
        let objective = Objective::new::<Sequences<T>>(CrossEntropy::default());
        let own = TaggerOptions { objective, head: Head::default(), constraints: None };
        ModelBuilder::new(input_size, classes, own)
    }
}

impl<T, C, L> SequenceTagger<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Sequences<T>, Target = Array2<usize>>,
{
    /// Returns the number of classes.
    pub fn classes(&self) -> usize {
        self.config.output_size
    }

    /// Returns the CRF, if the head is one. It also computes the `k` best paths and marginals from
    /// [`emissions`](Self::emissions).
    pub fn crf(&self) -> Option<&Crf<T>> {
        self.body.crf.as_ref()
    }

    /// Returns the output of the last linear layer at each step, [time, batch, classes]: logits, or the
    /// emissions of the CRF.
    ///
    /// # Errors
    /// If `x` does not fit.
    pub fn emissions(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        self.body.network.outputs(x, None)
    }

    /// Returns the probability of each class at each step, [time, batch, classes]; the marginals, if the head
    /// is a CRF. They are zero in the padding.
    ///
    /// # Errors
    /// If `x` does not fit; for a CRF also if an emission is not finite.
    pub fn probabilities(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        let mut p = self.emissions(x)?;
        if let Some(crf) = self.crf() {
            return crf.marginals(&p);
        }
        let lengths = p.lengths().to_vec();
        for (t, mut step) in p.values_mut().outer_iter_mut().enumerate() {
            for (mut row, _) in step.rows_mut().into_iter().zip(&lengths).filter(|x| t < *x.1) {
                let of_row = probabilities_of(row.to_owned().insert_axis(Axis(0)));
                row.assign(&of_row.row(0));
            }
        }
        Ok(p)
    }

    /// Returns the likeliest class at each step of each sequence, or the classes of the likeliest path, if
    /// the head is a CRF.
    ///
    /// # Errors
    /// If `x` does not fit or a result is NaN.
    pub fn predict(&self, x: &Sequences<T>) -> Result<Vec<Vec<usize>>> {
        let logits = self.emissions(x)?;
        if let Some(crf) = self.crf() {
            return Ok(crf.viterbi(&logits)?.into_iter().map(|path| path.tags).collect());
        }
        let of_sequence = |(b, &length): (usize, &usize)| {
            let steps = logits.values().index_axis(Axis(1), b);
            classes_of(steps.split_at(Axis(0), length).0)
        };
        x.lengths().iter().enumerate().map(of_sequence).collect()
    }

    /// Returns the name of the likeliest class at each step of each sequence.
    ///
    /// # Errors
    /// As [`predict`](Self::predict); also if the model has no [`labels`](ModelBuilder::labels).
    pub fn predict_labels(&self, x: &Sequences<T>) -> Result<Vec<Vec<&str>>> {
        let labels = needed(self.config.labels.as_ref())?;
        let names = |classes: Vec<usize>| {
            classes.into_iter().map(|class| labels[class].as_str()).collect::<Vec<&str>>()
        };
        Ok(self.predict(x)?.into_iter().map(names).collect())
    }

    /// Encodes texts that are already split into words as input, by the model's vocabularies.
    ///
    /// # Errors
    /// If the model has no vocabulary, there is no word, or a word or a character is not in a vocabulary
    /// without an unknown token.
    pub fn encode_words<S: AsRef<str>, W: AsRef<[S]>>(&self, texts: &[W]) -> Result<Sequences<T>> {
        let vocabulary = given(self.vocabulary())?;
        let encode = |(i, words): (usize, &W)| {
            let found = vocabulary.encode_tokens(words.as_ref());
            found.map_err(|error| error.prefixed(&format!("texts[{i}], ")))
        };
        let tokens: Vec<Vec<usize>> =
            texts.iter().enumerate().map(encode).collect::<Result<_>>()?;
        let x = Sequences::one_hot_from_list(&tokens, vocabulary.len())?;
        with_characters(x, self.config.characters.as_ref(), || texts.iter().map(AsRef::as_ref))
    }

    /// Returns the tokens of each text, each with the name of its likeliest class.
    ///
    /// # Errors
    /// As [`encode_texts`](Self::encode_texts) and [`predict_labels`](Self::predict_labels).
    pub fn predict_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<(String, &str)>>> {
        let names = self.predict_labels(&self.encode_texts(texts)?)?;
        let split = |text: &S| self.vocabulary().map(|words| words.split(text.as_ref()));
        let tokens = texts.iter().filter_map(split);
        Ok(tokens
            .zip(names)
            .map(|(tokens, names)| tokens.into_iter().zip(names).collect())
            .collect())
    }

    /// Returns precision, recall and F1 of the spans that the predicted tags of all samples of `source` give,
    /// `batch_size` samples at a time. The labels are the names of the tags, such as `B-PER`.
    ///
    /// # Errors
    /// If the model has no [`labels`](ModelBuilder::labels), a label is no tag of `mode`, `batch_size` is
    /// zero, classes have another shape or are too large, or the source or [`predict`](Self::predict) fails.
    pub fn evaluate_spans(
        &self,
        source: &dyn Source<(Sequences<T>, Array2<usize>)>,
        batch_size: usize,
        mode: SpanMode,
    ) -> Result<SpanMetrics> {
        let labels = needed(self.config.labels.as_ref())?;
        let mut score = SpanMetrics::new(mode);
        predict(source, batch_size, |(x, classes)| {
            check_shape("classes", "time, batch", &[x.time(), x.batch()], classes.shape())?;
            for (b, predicted) in self.predict_labels(x)?.into_iter().enumerate() {
                let actual: Vec<usize> =
                    classes.column(b).iter().take(predicted.len()).copied().collect();
                check_indices(&format!("classes[.., {b}]"), &actual, labels.len(), "classes")?;
                let actual: Vec<&String> = actual.iter().map(|&class| &labels[class]).collect();
                score.add(&actual, &predicted)?;
            }
            Ok(None::<()>)
        })?;
        Ok(score)
    }

    /// Returns a stream that reads `batch` sequences step by step, and returns the probabilities of the
    /// classes of each step.
    ///
    /// # Errors
    /// If the model is bidirectional, its head is a CRF, or `batch` is zero.
    pub fn stream(&self, batch: usize) -> Result<TaggerStream<'_, C>> {
        self.stream_with(batch, Precision::Full)
    }

    /// Creates a stream whose embedding, recurrent layers and head have weights of the given precision.
    ///
    /// # Errors
    /// As for [`stream`](Self::stream), and if the model is one of `f64` or has a weight that is not finite,
    /// unless the precision is full.
    pub fn stream_with(&self, batch: usize, precision: Precision) -> Result<TaggerStream<'_, C>> {
        if self.crf().is_some() {
            let expected = "Softmax: the classes of a CRF depend on the steps that follow";
            return Err(Error::argument("head", expected, "Crf"));
        }
        Ok(TaggerStream(self.body.network.stream(batch, precision)?))
    }
}

impl<T, C, L> Model for SequenceTagger<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Sequences<T>, Target = Array2<usize>>,
{
    type Batch = (Sequences<T>, Array2<usize>);
    type Score = L::Score;

    model_calls!(body.network);

    fn has_mean_loss(&self) -> bool {
        self.loss().is_mean()
    }

    fn weighted_loss_and_grad(
        &self,
        (x, classes): &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        let mut weight = 0.0;
        let Body { network, crf } = &self.body;
        check_same_structure("grad", &self.body, &grad.body)?;
        let crf = crf.as_ref().zip(grad.body.crf.as_mut());
        let loss = |logits: &Sequences<T>| match crf {
            Some((crf, grad)) => {
                weight = crf.count(logits);
                crf.loss_and_grad(logits, classes, grad)
            }
            None => counted(self.loss(), (logits, classes), &mut weight),
        };
        let loss = of_outputs(loss);
        let (loss, _) = network.loss_and_grad(x, None, loss, &mut grad.body.network, rng)?;
        Ok((loss, Some(weight)))
    }

    fn score_batch(&self, (x, classes): &Self::Batch, score: &mut L::Score) -> Result<()> {
        let logits = self.emissions(x)?;
        let Some(crf) = self.crf() else {
            let (loss, _) = self.loss().loss(&logits, classes)?;
            return self.loss().score(loss, &logits, classes, score);
        };
        let loss = crf.loss(&logits, classes)?;
        // The class of the path gets the greatest value, and the others the order of the marginals.
        let mut ranked = crf.marginals(&logits)?;
        for (b, path) in crf.viterbi(&logits)?.into_iter().enumerate() {
            for (t, class) in path.tags.into_iter().enumerate() {
                ranked.values_mut()[[t, b, class]] += T::one();
            }
        }
        self.loss().score(loss, &ranked, classes, score)
    }
}

impl<T, C, L> Shape for SequenceTagger<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Sequences<T>, Target = Array2<usize>>,
{
    type Cell = C;
    const NAME: &'static str = "SequenceTagger";
    type Own = TaggerOptions<L>;

    fn assemble(config: Config<C, TaggerOptions<L>>, rng: &mut dyn Rng) -> Result<Self> {
        config.own.check(config.output_size)?;
        let network = Network::new(&config, config.output_size, rng)?;
        let crf = match config.own.head {
            Head::Softmax => None,
            Head::Crf => {
                let crf = Crf::new(config.output_size, rng)?.reduction(Reduction::TokenMean);
                Some(match config.own.constraints.clone() {
                    Some(constraints) => crf.constraints(constraints)?,
                    None => crf,
                })
            }
        };
        Ok(Self { config: Arc::new(config), body: Body { network, crf } })
    }

    fn config(&self) -> &Config<C, TaggerOptions<L>> {
        &self.config
    }
}

/// A tagger that reads one step at a time; made by [`SequenceTagger::stream`].
#[derive(Debug)]
pub struct TaggerStream<'m, C: Cell>(NetworkStream<'m, C>);

impl<T: Float, C: Cell<Elem = T>> TaggerStream<'_, C> {
    /// Reads the step `x_t` [batch, input], and returns the probability of each of its classes,
    /// [batch, classes].
    ///
    /// # Errors
    /// If `x_t` does not fit; the stream is then as before.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<Array2<T>> {
        Ok(probabilities_of(self.0.step_outputs(Step::Dense(x_t))?))
    }

    /// Reads one token of each sequence, and returns the same.
    ///
    /// # Errors
    /// If the tokens do not fit; the stream is then as before.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<Array2<T>> {
        Ok(probabilities_of(self.0.step_outputs(Step::Tokens(tokens))?))
    }

    /// Returns an independent stream that continues from here.
    pub fn fork(&self) -> Self {
        Self(self.0.fork())
    }
}
