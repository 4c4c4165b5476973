//! [`ModelBuilder`]: the sizes and options of a model.

use std::fmt::Debug;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::arrays::Arrays;
use crate::cell::Cell;
use crate::data::{Scaler, Vocabulary, columns};
use crate::error::{Error, Result, check_shape, check_size};
use crate::layer::{CharacterEncoding, Pooling};
#[cfg(feature = "pytorch")]
use crate::model::file_sizes::FileSizes;
use crate::sequence;

/// The configuration of a model, which its file keeps beside the weights. `E` has the options of one kind
/// of model.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(
    serialize = "C::Options: Serialize, E: Serialize",
    deserialize = "C::Options: Deserialize<'de>, E: Deserialize<'de>"
))]
pub struct Config<C: Cell, E> {
    pub(super) input_size: usize,
    pub(super) output_size: usize,
    pub(super) embedding_dim: Option<usize>,
    pub(super) dropout: f64,
    #[serde(default)]
    pub(super) input_dropout: f64,
    #[serde(default)]
    pub(super) word_dropout: f64,
    pub(super) pooling: Pooling,
    #[serde(default)]
    pub(super) non_crossing: bool,
    pub(super) recurrent: sequence::RecurrentBuilder<C>,
    pub(super) vocabulary: Option<Vocabulary>,
    pub(super) labels: Option<Vec<String>>,
    pub(super) scaler: Option<Scaler>,
    pub(super) columns: Option<Vec<String>>,
    #[serde(default)]
    pub(super) characters: Option<CharacterOptions>,
    pub(super) own: E,
}

/// How the characters of tokens are encoded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CharacterOptions {
    pub(super) vocabulary: Vocabulary,
    pub(super) embedding_dim: usize,
    pub(super) encoding: CharacterEncoding,
}

impl<C: Cell, E> Config<C, E> {
    /// Returns the same configuration with the options of its kind replaced by `f`.
    pub(super) fn map_own<F>(self, f: impl FnOnce(E) -> F) -> Config<C, F> {
        Config {
            input_size: self.input_size,
            output_size: self.output_size,
            embedding_dim: self.embedding_dim,
            dropout: self.dropout,
            input_dropout: self.input_dropout,
            word_dropout: self.word_dropout,
            pooling: self.pooling,
            non_crossing: self.non_crossing,
            recurrent: self.recurrent,
            vocabulary: self.vocabulary,
            labels: self.labels,
            scaler: self.scaler,
            columns: self.columns,
            characters: self.characters,
            own: f(self.own),
        }
    }

    /// Returns the token of what the vocabulary does not contain, if there is one.
    pub(super) fn unknown(&self) -> Option<usize> {
        self.vocabulary.as_ref().and_then(Vocabulary::unknown)
    }

    /// Fails if an option is outside its range or does not fit the others.
    pub(super) fn check(&self) -> Result<()> {
        check_size("input_size", &[self.input_size])?;
        check_size("output_size", &[self.output_size])?;
        check_size("embedding_dim", &[self.embedding_dim.unwrap_or(1)])?;
        for (name, p) in [
            ("dropout", self.dropout),
            ("input_dropout", self.input_dropout),
            ("word_dropout", self.word_dropout),
        ] {
            if !(0.0..1.0).contains(&p) {
                return Err(Error::argument(name, "0 ≤ p < 1", p));
            }
        }
        if self.word_dropout > 0.0 && self.unknown().is_none() {
            let expected = "0 without a vocabulary that has an unknown token";
            return Err(Error::argument("word_dropout", expected, self.word_dropout));
        }
        if let Some(vocabulary) = &self.vocabulary {
            check_shape("vocabulary", "input", &[self.input_size], &[vocabulary.len()])?;
        }
        let reads = self.recurrent.input_size;
        if reads != self.input_size {
            let expected = format!("layers of {} inputs, as the model has", self.input_size);
            return Err(Error::argument("recurrent", expected, reads));
        }
        if self.embedding_dim.is_some() || self.vocabulary.is_some() {
            let (scaler, columns) = (self.scaler.as_ref(), self.columns.as_ref());
            refuse("scaler", scaler.map(|_| ONE), "tokens are not scaled")?;
            refuse("columns", columns.map(Vec::len), "tokens have no columns")?;
        }
        if let Some(scaler) = &self.scaler {
            check_shape("scaler", "input", &[self.input_size], &[scaler.features()])?;
        }
        if let Some(columns) = &self.columns {
            columns::check_names(columns, self.input_size)?;
        }
        if let Some(characters) = &self.characters {
            let without = self.embedding_dim.is_none().then_some(characters.embedding_dim);
            refuse("characters", without, "they are read beside an embedding (embedding_dim)")?;
            characters.vocabulary.characters::<&str>(&[])?;
        }
        if let Some(labels) = &self.labels {
            check_shape("labels", "output", &[self.output_size], &[labels.len()])?;
        }
        Ok(())
    }
}

/// Fails if an option is set that has no effect on a model for the reason `why`.
pub(super) fn refuse(option: &'static str, set: Option<impl ToString>, why: &str) -> Result<()> {
    match set {
        None => Ok(()),
        Some(shown) => Err(Error::argument(option, format!("none: {why}"), shown)),
    }
}

/// The value that the error about a scaler or a vocabulary shows.
pub(super) const ONE: &str = "one";

/// Returns a description of the options that a checkpoint compares.
pub(super) fn options<M: Shape>(model: &M) -> String {
    let config = model.config();
    let Config { dropout, pooling, recurrent, columns, characters, own, .. } = config;
    let characters = characters.as_ref().map_or(String::new(), |characters| {
        let CharacterOptions { embedding_dim, encoding, .. } = characters;
        format!(", characters: {embedding_dim}, {encoding:?}")
    });
    let columns = columns.as_ref().map_or(String::new(), |names| format!(", columns: {names:?}"));
    let order = if config.non_crossing { ", non_crossing" } else { "" };
    let of_input = match (config.input_dropout, config.word_dropout) {
        (0.0, 0.0) => String::new(),
        (input, word) => format!(", input_dropout: {input}, word_dropout: {word}"),
    };
    let recurrent = recurrent.describe();
    format!(
        "dropout: {dropout}, {pooling:?}, {own:?}, recurrent: {{ {recurrent} }}{columns}{characters}{order}{of_input}"
    )
}

/// A kind of model that [`ModelBuilder`] builds and files hold. Sealed: only this module implements it.
pub trait Shape: Arrays {
    /// The cell of its recurrent layers.
    type Cell: Cell<Elem = Self::Elem>;
    /// Its name in files.
    const NAME: &'static str;
    /// The options that only this kind of model has.
    type Own: Clone + Debug;

    /// Returns a model with weights drawn from `rng`.
    fn assemble(config: Config<Self::Cell, Self::Own>, rng: &mut dyn Rng) -> Result<Self>;

    /// Returns the configuration that the model was built by.
    fn config(&self) -> &Config<Self::Cell, Self::Own>;

    /// Returns `builder` with the sizes of the weights of `file`.
    #[cfg(feature = "pytorch")]
    fn sized(mut builder: ModelBuilder<Self>, file: &impl FileSizes) -> Result<ModelBuilder<Self>>
    where
        Self: Sized,
    {
        let config = &mut builder.config;
        config.recurrent = file.layers("")?.set(config.recurrent.clone());
        config.embedding_dim = file.embedding_dim("", config.input_size)?.or(config.embedding_dim);
        Ok(builder)
    }
}

/// The sizes and options of a model. [`build`](ModelBuilder::build) checks them.
///
/// | option | default | range |
/// |---|---|---|
/// | [`hidden_size`](Self::hidden_size) | 64 | at least 1 |
/// | [`num_layers`](Self::num_layers) | 1 | at least 1 |
/// | [`bidirectional`](Self::bidirectional) | false | true only of models that read whole sequences: no generator, no `stream` |
/// | [`embedding_dim`](Self::embedding_dim) | none: the input as it is | at least 1; the input is then tokens |
/// | [`dropout`](Self::dropout), [`input_dropout`](Self::input_dropout) | 0 | 0 ≤ p < 1 |
/// | [`word_dropout`](Self::word_dropout) | 0 | 0 ≤ p < 1; above 0 only with an unknown token |
/// | [`cell_options`](Self::cell_options) | the cell's | the cell's |
/// | [`recurrent`](Self::recurrent) | | all other options of the recurrent layers |
/// | [`vocabulary`](Self::vocabulary), [`scaler`](Self::scaler), [`columns`](Self::columns), [`labels`](Self::labels) | none | as many as inputs, or outputs |
///
/// Some kinds of model have more options, such as `pooling` and `loss`.
#[derive(Clone, Debug)]
pub struct ModelBuilder<M: Shape> {
    pub(super) config: Config<M::Cell, M::Own>,
}

impl<M: Shape> ModelBuilder<M> {
    pub(super) fn new(input_size: usize, output_size: usize, own: M::Own) -> Self {
        Self {
            config: Config {
                input_size,
                output_size,
                embedding_dim: None,
                dropout: 0.0,
                input_dropout: 0.0,
                word_dropout: 0.0,
                pooling: Pooling::Last,
                non_crossing: false,
                recurrent: sequence::Recurrent::builder(input_size, 64),
                vocabulary: None,
                labels: None,
                scaler: None,
                columns: None,
                characters: None,
                own,
            },
        }
    }

    /// Sets the width of each recurrent layer.
    pub fn hidden_size(self, hidden_size: usize) -> Self {
        self.recurrent(|layers| layers.hidden_size(hidden_size))
    }

    /// Sets the number of recurrent layers.
    pub fn num_layers(self, num_layers: usize) -> Self {
        self.recurrent(|layers| layers.num_layers(num_layers))
    }

    /// Sets whether each layer also runs backward in time. Such a model needs whole sequences.
    pub fn bidirectional(self, bidirectional: bool) -> Self {
        self.recurrent(|layers| layers.bidirectional(bidirectional))
    }

    /// Sets the options of the cells.
    pub fn cell_options(self, options: <M::Cell as Cell>::Options) -> Self {
        self.recurrent(|layers| layers.options(options))
    }

    /// Sets other options of the recurrent layers: initial weights, a learned initial state.
    pub fn recurrent(
        mut self,
        set: impl FnOnce(sequence::RecurrentBuilder<M::Cell>) -> sequence::RecurrentBuilder<M::Cell>,
    ) -> Self {
        self.config.recurrent = set(self.config.recurrent);
        self
    }

    /// Embeds the input as learned vectors of this width. The input is then tokens less than `input_size`.
    pub fn embedding_dim(mut self, embedding_dim: usize) -> Self {
        self.config.embedding_dim = Some(embedding_dim);
        self
    }

    /// Sets the probability of dropout on the outputs of each recurrent layer, before the next layer and
    /// before the head. A [`dropout`](sequence::RecurrentBuilder::dropout) of the recurrent layers replaces
    /// it between layers, whichever is set first.
    pub fn dropout(mut self, p: f64) -> Self {
        self.config.dropout = p;
        self
    }

    /// Sets the probability of dropout on the input of the first recurrent layer: the embedding of each token
    /// with the encoding of its characters, or the values. Default: 0. A `Seq2Seq` has none.
    pub fn input_dropout(mut self, p: f64) -> Self {
        self.config.input_dropout = p;
        self
    }

    /// Sets the probability with which training replaces a token by the unknown one of the
    /// [`vocabulary`](Self::vocabulary), at each step anew. Its characters stay. The model thus learns to do
    /// without words that it has not seen. Default: 0. A `Seq2Seq` has none.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::LstmCell;
    /// use recurrent::data::{Unit, Vocabulary};
    /// use recurrent::model::SequenceTagger;
    ///
    /// let words = Vocabulary::builder(Unit::Word).special(&["<unk>"]).unknown("<unk>").fit(["Anna met Bob"])?;
    /// let builder = SequenceTagger::<LstmCell<f32>>::builder(words.len(), 2).embedding_dim(8);
    /// let builder = builder.vocabulary(words).word_dropout(0.1).input_dropout(0.3);
    /// builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn word_dropout(mut self, p: f64) -> Self {
        self.config.word_dropout = p;
        self
    }

    /// Sets the vocabulary of the input tokens, which is saved with the model.
    pub fn vocabulary(mut self, vocabulary: Vocabulary) -> Self {
        self.config.vocabulary = Some(vocabulary);
        self
    }

    /// Sets the scaler of the input values. The model then takes unscaled values, in training and in
    /// use, and scales them itself. Data of [`Dataset::scaled`](crate::data::Dataset::scaled) need none.
    pub fn scaler(mut self, scaler: Scaler) -> Self {
        self.config.scaler = Some(scaler);
        self
    }

    /// Sets the names of the input features, in order, which are saved with the model.
    ///
    /// Training and evaluation then refuse a source with other
    /// [names](crate::data::Source::columns). `Table::values` and `Table::sequences` read the columns of
    /// these names from another file.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-columns-{}", std::process::id()));
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::{cell::LstmCell, model::SequenceRegressor};
    ///
    /// let builder = SequenceRegressor::<LstmCell<f32>>::builder(2, 1).columns(&["temperature", "wind"]);
    /// builder.build(&mut ChaCha8Rng::seed_from_u64(1))?.save(&path)?;
    ///
    /// let model = SequenceRegressor::<LstmCell<f32>>::load(&path)?;
    /// assert_eq!(model.columns(), ["temperature", "wind"]); // table.values::<f32>(model.columns())?
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn columns<S: AsRef<str>>(mut self, names: &[S]) -> Self {
        self.config.columns = Some(columns::owned(names));
        self
    }

    /// Sets the names of the outputs, in order, which are saved with the model.
    pub fn labels<S: AsRef<str>>(mut self, labels: &[S]) -> Self {
        self.config.labels = Some(columns::owned(labels));
        self
    }

    /// Returns the model, with weights drawn from `rng`.
    ///
    /// # Errors
    /// If an option is outside its range, or the vocabulary, scaler, columns or labels do not fit the input
    /// or output.
    pub fn build(mut self, rng: &mut dyn Rng) -> Result<M> {
        self.config.check()?;
        let layers = &mut self.config.recurrent;
        // A single layer has no place between layers.
        if layers.layers() > 1 {
            layers.dropout.get_or_insert(self.config.dropout);
        }
        M::assemble(self.config, rng)
    }
}

impl<M: Shape> ModelBuilder<M> {
    /// Sets the loss. Default: cross entropy for logits of classes, the squared error for numbers.
    ///
    /// | model | predictions | targets |
    /// |---|---|---|
    /// | classifier | logits [batch, classes] | the class of each sequence |
    /// | tagger | logits [time, batch, classes] | the class of each step, [time, batch] |
    /// | regressor | numbers [batch, outputs · levels] | numbers [batch, outputs] |
    /// | transcriber | logits [time, batch, classes] | labels without times; the loss is a [`Ctc`](crate::loss::Ctc) |
    /// | forecaster | forecasts [batch, horizon · targets · levels] | numbers [batch, horizon · targets] |
    pub fn loss<N>(self, loss: N) -> ModelBuilder<M::With>
    where
        M: WithLoss<N>,
    {
        ModelBuilder { config: self.config.map_own(|own| M::with_loss(own, loss)) }
    }

    /// Reads the characters of each token too, embedded as `embedding_dim` values, by a
    /// [`CharacterEncoder`](crate::layer::CharacterEncoder): its encoding is joined with the
    /// [embedding](Self::embedding_dim) of the token. `vocabulary` is that of the characters, which is saved
    /// with the model. The input needs
    /// [characters](crate::Sequences::with_characters); the model's `encode_texts` adds them.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::LstmCell;
    /// use recurrent::data::{Unit, Vocabulary};
    /// use recurrent::layer::CharacterEncoding;
    /// use recurrent::model::SequenceTagger;
    ///
    /// let texts = ["Anna met Bob", "Bob left"];
    /// let words = Vocabulary::builder(Unit::Word).special(&["<unk>"]).unknown("<unk>").fit(texts)?;
    /// let letters = Vocabulary::builder(Unit::Character).special(&["?"]).unknown("?").fit(texts)?;
    /// let model = SequenceTagger::<LstmCell<f32>>::builder(words.len(), 2)
    ///     .embedding_dim(8)
    ///     .characters(letters, 4, CharacterEncoding::Lstm { hidden_size: 5 })
    ///     .vocabulary(words)
    ///     .labels(&["O", "B-PER"])
    ///     .build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// let tagged = model.predict_texts(&["Annabel left"])?; // a name that was never seen
    /// assert_eq!(tagged[0][0].0, "Annabel");
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn characters(
        mut self,
        vocabulary: Vocabulary,
        embedding_dim: usize,
        encoding: CharacterEncoding,
    ) -> Self
    where
        M: WithCharacters,
    {
        self.config.characters = Some(CharacterOptions { vocabulary, embedding_dim, encoding });
        self
    }

    /// Sets how the outputs over time are pooled into one vector. Default: the final hidden state of
    /// each direction.
    pub fn pooling(mut self, pooling: Pooling) -> Self
    where
        M: WithPooling,
    {
        self.config.pooling = pooling;
        self
    }
}

/// A kind of model that can train by the loss `N`. Sealed, as [`Shape`] is.
pub trait WithLoss<N>: Shape {
    /// The same kind of model with that loss.
    type With: Shape<Cell = Self::Cell>;

    /// Returns the same options with that loss.
    fn with_loss(own: Self::Own, loss: N) -> <Self::With as Shape>::Own;
}

/// A kind of model that pools its outputs over time. Sealed, as [`Shape`] is.
pub trait WithPooling: Shape {}

/// A kind of model that can read the characters of its tokens. Sealed, as [`Shape`] is.
pub trait WithCharacters: Shape {}
