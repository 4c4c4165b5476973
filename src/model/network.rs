//! [`Network`]: the layers of every model.
//!
//! ```text
//! characters → encoder ┐
//! tokens → embedding ──┤
//! values → scaler ─────┴→ joined frames → dropout → recurrent layers → dropout → linear head → outputs
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::{Array, Array2, Array3, ArrayView1, ArrayView2, Axis, CowArray, Dimension, Ix2};
use rand::{Rng, RngExt};

use crate::cell::Cell;
use crate::data::Scaler;
use crate::error::{Error, Result, check_size};
use crate::float::Float;
use crate::layer::characters::CharacterTape;
use crate::layer::linear::PackedLinear;
use crate::layer::stack_frames::Frames;
use crate::layer::{CharacterEncoder, Dropout, Embedding, Features, Layer, Linear};
use crate::model::config::{CharacterOptions, Config};
use crate::sequence::{Recurrent, State, Stream, Tape};
use crate::sequences::{Input, Sequences};
use crate::tensor::Precision;
use crate::tensor::elementwise::multiply;

/// The embedding, the recurrent layers and the head. They are the prefixes of the names of its arrays.
#[derive(Clone, Debug)]
pub(super) struct Network<C: Cell> {
    pub(super) embedding: Option<Embedding<C::Elem>>,
    /// The encoder of characters; none without an embedding.
    pub(super) characters: Option<CharacterEncoder<C::Elem>>,
    pub(super) recurrent: Recurrent<C>,
    pub(super) head: Linear<C::Elem>,
    pub(super) dropout: f64,
    /// The probability of dropout on the input of the recurrent layers.
    input_dropout: f64,
    /// The probability with which training replaces a token, and the token that it puts in its place.
    word_dropout: Option<(f64, usize)>,
    /// The scaler of the inputs; none also where they are scaled already.
    pub(super) scaler: Option<Arc<Scaler>>,
    /// How the frames of the input are joined; none leaves them as they are.
    pub(super) frames: Option<Frames>,
}

impl<T: Float, C: Cell<Elem = T>> Network<C> {
    /// Creates a network whose head has `outputs` values.
    pub(super) fn new<E>(config: &Config<C, E>, outputs: usize, rng: &mut dyn Rng) -> Result<Self> {
        Self::with_frames(config, outputs, None, rng)
    }

    /// Creates the same for joined frames.
    pub(super) fn with_frames<E>(
        config: &Config<C, E>,
        outputs: usize,
        frames: Option<Frames>,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        let tokens = config.input_size;
        let embedding = config.embedding_dim.map(|width| Embedding::new(tokens, width, rng));
        let characters = config.characters.as_ref().map(|characters| {
            let CharacterOptions { vocabulary, embedding_dim, encoding } = characters;
            CharacterEncoder::new(vocabulary.len(), *embedding_dim, *encoding, rng)
                .map_err(|error| error.prefixed("characters, "))
        });
        let characters = characters.transpose()?;
        let mut layers = config.recurrent.clone();
        let of_characters = characters.as_ref().map_or(0, CharacterEncoder::output_size);
        let joined = frames.unwrap_or_default().frames;
        let sizes = [joined, config.embedding_dim.unwrap_or(tokens) + of_characters];
        layers.input_size = check_size("frames × features", &sizes)?;
        let recurrent = layers.build(rng)?;
        let head = Linear::new(recurrent.output_size(), outputs, rng)?;
        let scaler = config.scaler.clone().map(Arc::new);
        let dropout = config.dropout;
        let input_dropout = config.input_dropout;
        let word_dropout = config.unknown().map(|token| (config.word_dropout, token));
        let word_dropout = word_dropout.filter(|&(p, _)| p > 0.0);
        let embedding = embedding.transpose()?;
        Ok(Self {
            embedding,
            characters,
            recurrent,
            head,
            dropout,
            input_dropout,
            word_dropout,
            scaler,
            frames,
        })
    }

    pub(super) fn directions(&self) -> usize {
        1 + usize::from(self.recurrent.bidirectional())
    }

    /// Returns the embedded or scaled `x` with its frames joined, the input of the recurrent layers.
    fn prepare_input<'x>(&self, x: &'x Sequences<T>) -> Result<Cow<'x, Sequences<T>>> {
        let x = self.features(x)?;
        match self.frames {
            Some(frames) => frames.stack(x.as_ref()).map(Cow::Owned),
            None => Ok(x),
        }
    }

    /// Returns the embedded or scaled `x`.
    fn features<'x>(&self, x: &'x Sequences<T>) -> Result<Cow<'x, Sequences<T>>> {
        match (&self.embedding, &self.scaler) {
            (Some(embedding), _) => {
                let embedded = embedding.forward(x)?;
                match &self.characters {
                    None => Ok(Cow::Owned(embedded)),
                    Some(encoder) => embedded.concat(&encoder.forward(x)?).map(Cow::Owned),
                }
            }
            (None, scaler) => scaled("x", x, scaler.as_deref()),
        }
    }

    /// Returns the output of the recurrent layers at each step, [time, batch, hidden].
    pub(super) fn hidden(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<Sequences<T>> {
        Ok(self.recurrent.forward(self.prepare_input(x)?.as_ref(), initial)?.0)
    }

    /// Returns the same with the tape for [`hidden_backward`](Self::hidden_backward).
    pub(super) fn hidden_train(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
        rng: &mut dyn Rng,
    ) -> Result<(Sequences<T>, HiddenTape<T>)> {
        let (replaced, whole) = (self.without_words(x, rng)?, x);
        let x = replaced.as_ref().unwrap_or(whole);
        let (mut input, characters) = match (&self.embedding, &self.characters) {
            (Some(embedding), Some(encoder)) => {
                let (encoded, tape) = encoder.forward_train(whole, rng)?;
                (Cow::Owned(embedding.forward(x)?.concat(&encoded)?), Some(tape))
            }
            _ => (self.prepare_input(x)?, None),
        };
        let mask = match self.input_dropout {
            0.0 => None,
            p => apply_dropout(p, input.to_mut().values_mut(), rng)?,
        };
        let (h, _, layers) = self.recurrent.forward_train(input.as_ref(), initial, rng)?;
        Ok((h, HiddenTape { layers, characters, replaced, mask }))
    }

    /// Returns the tokens `x` of which some are replaced by the unknown token, without characters, or `None`
    /// without word dropout.
    fn without_words(&self, x: &Sequences<T>, rng: &mut dyn Rng) -> Result<Option<Sequences<T>>> {
        let (Some((p, unknown)), Some(tokens)) = (self.word_dropout, x.tokens()) else {
            return Ok(None);
        };
        let kept = without_some(tokens, p, unknown, rng);
        Sequences::one_hot(kept.view(), x.features(), x.lengths().to_vec()).map(Some)
    }

    /// Adds the gradients of the embedding, the encoder and the recurrent layers to `grad`. Returns the
    /// gradient with respect to the initial state.
    pub(super) fn hidden_backward(
        &self,
        x: &Sequences<T>,
        tape: HiddenTape<T>,
        d_h: &Sequences<T>,
        grad: &mut Self,
    ) -> Result<State<T>> {
        let HiddenTape { layers, characters, replaced, mask } = tape;
        let x = replaced.as_ref().unwrap_or(x);
        let (mut d_x, d_initial) =
            self.recurrent.backward(layers, d_h, None, &mut grad.recurrent)?;
        if let Some(mask) = mask {
            multiply(d_x.values_mut().view_mut().into_dyn(), mask.view().into_dyn());
        }
        if let (Some(encoder), Some(grad), Some(tape)) =
            (&self.characters, &mut grad.characters, characters)
        {
            let (d_embedded, d_encoded) = d_x.split(d_x.features() - encoder.output_size())?;
            encoder.backward(tape, &d_encoded, grad)?;
            d_x = d_embedded;
        }
        if let (Some(embedding), Some(grad)) = (&self.embedding, &mut grad.embedding) {
            match self.frames {
                Some(frames) => {
                    let features = embedding.embedding_dim();
                    embedding.add_gradient(x, &frames.unstack(x, features, &d_x)?, grad)?;
                }
                None => embedding.add_gradient(x, &d_x, grad)?,
            }
        }
        Ok(d_initial)
    }

    /// Returns the head's outputs at each step, [time, batch, outputs].
    pub(super) fn outputs(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<Sequences<T>> {
        self.head.forward(&self.hidden(x, initial)?)
    }

    /// Returns the value of `loss`, and the gradient with respect to the initial state. Adds the gradients of
    /// all weights to `grad`. `loss` returns its gradient with respect to the input of the head, and adds
    /// that of the head; [`of_outputs`] makes it from a loss of the head's outputs.
    pub(super) fn loss_and_grad(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
        loss: impl FnOnce(&Linear<T>, &Sequences<T>, &mut Linear<T>) -> ValueAndGradient<T>,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, State<T>)> {
        let (mut h, tape) = self.hidden_train(x, initial, rng)?;
        let mask = apply_dropout(self.dropout, h.values_mut(), rng)?;
        let (loss, d_h) = loss(&self.head, &h, &mut grad.head)?;
        let d_h = h.with_values(mask_gradient(d_h.into_values(), mask))?;
        Ok((loss, self.hidden_backward(x, tape, &d_h, grad)?))
    }

    /// Returns a stream of `batch` sequences whose weights have the given precision.
    pub(super) fn stream(
        &self,
        batch: usize,
        precision: Precision,
    ) -> Result<NetworkStream<'_, C>> {
        precision.check(self)?;
        self.stream_of(batch, precision)
    }

    /// Returns a stream of a precision that [`Precision::check`] allows.
    pub(super) fn stream_of(
        &self,
        batch: usize,
        precision: Precision,
    ) -> Result<NetworkStream<'_, C>> {
        if self.characters.is_some() {
            let expected = "none: a stream reads tokens without their characters";
            return Err(Error::argument("characters", expected, "some"));
        }
        Ok(NetworkStream {
            network: self,
            precision,
            stream: self.recurrent.stream_of(batch, precision)?,
            head: Arc::new(self.head.packed_with(precision)),
        })
    }
}

/// The tapes of the recurrent layers and of the encoder of characters, and what dropout did to the input.
#[derive(Debug)]
pub(super) struct HiddenTape<T: Float> {
    layers: Tape<T>,
    characters: Option<CharacterTape<T>>,
    /// The tokens after word dropout.
    replaced: Option<Sequences<T>>,
    /// The factors of the dropout on the input.
    mask: Option<Array3<T>>,
}

/// The value of a loss, with its gradient.
type ValueAndGradient<T> = Result<(f64, Sequences<T>)>;

/// Returns a loss of the input of a head from `loss`, one of its outputs at each step.
pub(super) fn of_outputs<T: Float>(
    loss: impl FnOnce(&Sequences<T>) -> ValueAndGradient<T>,
) -> impl FnOnce(&Linear<T>, &Sequences<T>, &mut Linear<T>) -> ValueAndGradient<T> {
    move |head, h, grad| {
        let (loss, d_outputs) = loss(&head.forward(h)?)?;
        Ok((loss, head.backward_sequences(h, &d_outputs, grad)?))
    }
}

/// Returns `x`, the argument of that name, scaled if there is a scaler.
pub(super) fn scaled<'x, T: Float>(
    argument: &'static str,
    x: &'x Sequences<T>,
    scaler: Option<&Scaler>,
) -> Result<Cow<'x, Sequences<T>>> {
    match scaler {
        Some(_) if x.tokens().is_some() => {
            Err(Error::argument(argument, "values: tokens are not scaled", "tokens"))
        }
        Some(scaler) => x.with_values(scaler.transform(x.values())?).map(Cow::Owned),
        None => Ok(Cow::Borrowed(x)),
    }
}

/// Applies dropout of probability `p` to `h`, and returns its factors, if there is dropout.
pub(super) fn apply_dropout<T: Float, D: Dimension>(
    p: f64,
    h: &mut Array<T, D>,
    rng: &mut dyn Rng,
) -> Result<Option<Array<T, D>>> {
    if p == 0.0 {
        return Ok(None);
    }
    let mask = Dropout::new(p)?.mask(h, rng);
    multiply(h.view_mut().into_dyn(), mask.view().into_dyn());
    Ok(Some(mask))
}

/// Returns the gradient with respect to the input of dropout, from `d`, that with respect to its output.
pub(super) fn mask_gradient<T: Float, D: Dimension>(
    mut d: Array<T, D>,
    mask: Option<Array<T, D>>,
) -> Array<T, D> {
    if let Some(mask) = mask {
        multiply(d.view_mut().into_dyn(), mask.view().into_dyn());
    }
    d
}

/// Returns `tokens` of which some are replaced by `unknown`, each with probability `p`.
fn without_some(
    tokens: ArrayView2<'_, usize>,
    p: f64,
    unknown: usize,
    rng: &mut dyn Rng,
) -> Array2<usize> {
    tokens.map(|&token| if rng.random_bool(p) { unknown } else { token })
}

/// A stream through the embedding and the recurrent layers, and the packed head.
#[derive(Debug)]
pub(super) struct NetworkStream<'m, C: Cell> {
    network: &'m Network<C>,
    precision: Precision,
    pub(super) stream: Stream<'m, C::Elem>,
    head: Arc<PackedLinear<'m, C::Elem>>,
}

/// One step of each sequence: its values [batch, input] or its tokens.
pub(super) type Step<'x, T> = Input<ArrayView2<'x, T>, &'x [usize]>;

impl<T: Float, C: Cell<Elem = T>> NetworkStream<'_, C> {
    /// Returns the output of the last recurrent layer after the step, [batch, hidden].
    pub(super) fn step(&mut self, x: Step<'_, T>) -> Result<ArrayView2<'_, T>> {
        match self.features(x)? {
            Input::Dense(x) => self.stream.step(x.view()),
            Input::Tokens(tokens) => self.stream.step_tokens(tokens),
        }
    }

    /// Returns the outputs of the head [rows, outputs] for the rows `h` [rows, hidden].
    pub(super) fn head(&self, h: ArrayView2<'_, T>) -> Result<Array2<T>> {
        self.head.forward_rows(h)
    }

    /// Returns the outputs of the head after the step, [batch, outputs].
    pub(super) fn step_outputs(&mut self, x: Step<'_, T>) -> Result<Array2<T>> {
        self.step(x)?;
        self.head(self.stream.output())
    }

    /// Returns the embedded or scaled values of the step, [batch, features], or its tokens if they are not
    /// embedded.
    pub(super) fn features<'x>(
        &self,
        x: Step<'x, T>,
    ) -> Result<Input<CowArray<'x, T, Ix2>, &'x [usize]>> {
        match (x, &self.network.embedding) {
            (Input::Dense(_), Some(_)) => {
                Err(Error::argument("x_t", "tokens (step_tokens)", "values"))
            }
            (Input::Dense(x), None) => Ok(Input::Dense(match &self.network.scaler {
                Some(scaler) => scaler.transform(&x)?.into(),
                None => x.into(),
            })),
            (Input::Tokens(_), None) if self.network.scaler.is_some() => {
                Err(Error::argument("x_t", "values (step): tokens are not scaled", "tokens"))
            }
            (Input::Tokens(tokens), None) => Ok(Input::Tokens(tokens)),
            (Input::Tokens(tokens), Some(embedding)) => {
                let step = ArrayView1::from(tokens).insert_axis(Axis(0));
                let x = embedding.rows_of(step, &vec![1; tokens.len()], self.precision)?;
                Ok(Input::Dense(x.into_values().index_axis_move(Axis(0), 0).into()))
            }
        }
    }

    /// Returns an independent stream that continues from here.
    pub(super) fn fork(&self) -> Self {
        let Self { network, precision, .. } = *self;
        Self { network, precision, stream: self.stream.fork(), head: self.head.clone() }
    }
}

crate::arrays!([T: Float, C: Cell<Elem = T>] Network<C>: T { embedding, characters, recurrent, head });
