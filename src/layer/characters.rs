//! An encoder of tokens by their characters, for words that were never seen.
//!
//! ```text
//! lstm   y = [h of the last character, forward; h of the first character, backward]
//! conv   y_j = max_i (b + Σ_k W[:, :, k] e_{i + k − left})_j          e the embedded characters
//! ```
//!
//! The LSTM reads the characters of each token in both directions (Ling et al., *Finding Function in Form*,
//! 2015; Lample et al., *Neural Architectures for Named Entity Recognition*, 2016). The convolution is centred,
//! with zeros beyond the ends of the token, and is pooled over them (Chiu and Nichols, *Named Entity
//! Recognition with Bidirectional LSTM-CNNs*, 2016; Ma and Hovy, 2016). The encoding of a token without
//! characters is zero.

use ndarray::{Array2, Array3, Axis};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::arrays::Arrays;
use crate::cell::LstmCell;
use crate::error::{Error, Result, check_shape, check_size};
use crate::float::{Float, per_float};
use crate::layer::steps::check;
use crate::layer::{Conv1d, Embedding, Layer, Pooling, TimePooling};
use crate::sequence::{Recurrent, Tape};
use crate::sequences::Sequences;

/// The kind of a [`CharacterEncoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CharacterEncoding {
    /// A bidirectional LSTM.
    Lstm {
        /// The width of each direction; the encoding has twice as many values.
        hidden_size: usize,
    },
    /// A convolution with max pooling.
    Conv {
        /// The number of values of the encoding.
        out_channels: usize,
        /// The number of characters of a window.
        kernel_size: usize,
    },
}

/// A map of each token to an encoding of its characters, [time, batch, features]; see the [module](self).
///
/// The input has tokens with their characters ([`Sequences::with_characters`]). Beside an embedding of the
/// tokens themselves, it is one of two [`Heads`](crate::layer::Heads):
///
/// ```
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{CharacterEncoder, CharacterEncoding, Concat, Embedding, Heads, Layer};
/// use recurrent::{Arrays, Sequences};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let kind = CharacterEncoding::Conv { out_channels: 5, kernel_size: 3 };
/// let characters = CharacterEncoder::<f32>::new(26, 4, kind, &mut rng)?;
/// let words = Embedding::new(100, 8, &mut rng)?;
/// let layer = (Heads::new(words, characters), Concat::new());
///
/// // The words 7 and 99 (unknown) of one text and 7 of another, with their letters.
/// let x = Sequences::one_hot_from_list(&[vec![7, 99], vec![7]], 100)?;
/// let letters = [vec![vec![19, 7, 4], vec![25, 14, 4]], vec![vec![19, 7, 4]]];
/// let x = x.with_characters(&letters, 26)?;
/// let (y, tape) = layer.forward_train(&x, &mut rng)?;
/// assert_eq!(y.values().dim(), (2, 2, 8 + 5)); // [time, batch, features]
///
/// let mut grad = layer.zeros_like();
/// layer.backward(tape, &y, &mut grad)?;
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CharacterEncoder<T: Float> {
    embedding: Embedding<T>,
    lstm: Option<Recurrent<LstmCell<T>>>,
    conv: Option<Conv1d<T>>,
    pooling: TimePooling<T>,
    features: usize,
}
crate::arrays!(CharacterEncoder { embedding, lstm, conv });

/// The values that [`CharacterEncoder`] stores for its backward pass.
#[derive(Debug)]
pub struct CharacterTape<T: Float> {
    /// The input.
    x: Sequences<T>,
    words: Option<WordTape<T>>,
}

/// The characters of all tokens that have some, one sequence for each, and what the layers kept.
#[derive(Debug)]
struct WordTape<T: Float> {
    characters: Sequences<T>,
    embedded: Sequences<T>,
    /// The outputs that are pooled.
    y: Sequences<T>,
    lstm: Option<Tape<T>>,
}

per_float! {
    // Every model may have an encoder: its layers are compiled here, not in each program.
    fn new_encoder<'a, T>(
        sizes: (usize, usize),
        kind: CharacterEncoding,
        rng: &mut dyn Rng,
    ) -> Result<CharacterEncoder<T>> = assemble;
    /// Returns the encodings of all tokens, with the tape of a training if there is an `rng`.
    fn encoded<'a, T>(
        encoder: &CharacterEncoder<T>,
        x: &Sequences<T>,
        rng: Option<&mut dyn Rng>,
    ) -> Result<(Sequences<T>, Option<WordTape<T>>)> = encode_all;
    fn add_to_gradient<'a, T>(
        encoder: &CharacterEncoder<T>,
        tape: CharacterTape<T>,
        d_y: &Sequences<T>,
        grad: &mut CharacterEncoder<T>,
    ) -> Result<()> = add_gradient;
}

impl<T: Float> CharacterEncoder<T> {
    /// Creates an encoder of `vocabulary_size` characters, each embedded as `embedding_dim` values.
    ///
    /// # Errors
    /// If a size is zero.
    pub fn new(
        vocabulary_size: usize,
        embedding_dim: usize,
        kind: CharacterEncoding,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        new_encoder((vocabulary_size, embedding_dim), kind, rng)
    }

    /// Returns the number of values of an encoding.
    pub fn output_size(&self) -> usize {
        self.features
    }

    /// Returns the number of characters.
    pub fn vocabulary_size(&self) -> usize {
        self.embedding.num_embeddings()
    }

    /// Returns the characters of the tokens of `x` that have some, in the order of [`places`].
    fn characters_of(&self, x: &Sequences<T>) -> Result<Option<Sequences<T>>> {
        let (words, size) = x.characters().ok_or_else(|| {
            Error::argument("x", "tokens with characters (Sequences::with_characters)", "none")
        })?;
        check_shape("characters of x", "vocabulary_size", &[self.vocabulary_size()], &[size])?;
        let words: Vec<&[usize]> = places(x).into_iter().map(|place| &words[place][..]).collect();
        if words.is_empty() {
            return Ok(None);
        }
        Sequences::one_hot_from_list(&words, size).map(Some)
    }

    /// Returns the encodings of the tokens with characters, with what the backward pass needs.
    #[expect(clippy::unreachable, reason = "`new` makes one of the two")]
    fn encode(
        &self,
        characters: Sequences<T>,
        rng: Option<&mut dyn Rng>,
    ) -> Result<(Array2<T>, WordTape<T>)> {
        let embedded = self.embedding.forward(&characters)?;
        let (y, lstm) = match (&self.lstm, &self.conv, rng) {
            (Some(lstm), _, Some(rng)) => {
                let (y, _, tape) = lstm.forward_train(&embedded, None, rng)?;
                (y, Some(tape))
            }
            (Some(lstm), _, None) => (lstm.forward(&embedded, None)?.0, None),
            (None, Some(conv), _) => (conv.forward(&embedded)?, None),
            (None, None, _) => unreachable!("`new` makes one of them"),
        };
        Ok((self.pooling.pool(&y)?, WordTape { characters, embedded, y, lstm }))
    }

    /// Puts the encodings `rows` of the tokens with characters at their places.
    fn spread(&self, x: &Sequences<T>, rows: Option<&Array2<T>>) -> Result<Sequences<T>> {
        let mut values = Array3::zeros((x.time(), x.batch(), self.features));
        if let Some(rows) = rows {
            for ([t, b], row) in places(x).into_iter().zip(rows.rows()) {
                values.index_axis_mut(Axis(0), t).row_mut(b).assign(&row);
            }
        }
        Sequences::new(values, x.lengths().to_vec())
    }

    /// Adds the gradients of the parameters to `grad`.
    #[expect(clippy::expect_used, reason = "the structure of the gradient was compared")]
    fn add_gradient(
        &self,
        tape: CharacterTape<T>,
        d_y: &Sequences<T>,
        grad: &mut Self,
    ) -> Result<()> {
        check("d_y", &tape.x, (self.features, "time, batch, features"), d_y)?;
        crate::arrays::check_same_structure("grad", self, grad)?;
        let Some(WordTape { characters, embedded, y, lstm }) = tape.words else { return Ok(()) };
        let places = places(&tape.x);
        let row = |(i, j): (usize, usize)| d_y.values()[[places[i][0], places[i][1], j]];
        let d_rows = Array2::from_shape_fn((places.len(), self.features), row);
        let d = self.pooling.gradient_at(&y, &d_rows, &mut grad.pooling)?;
        let d = match (&self.lstm, &self.conv, lstm) {
            (Some(layer), _, Some(tape)) => {
                let grad = grad.lstm.as_mut().expect("the same arrays, as was checked");
                layer.backward(tape, &d, None, grad)?.0
            }
            (_, Some(layer), _) => {
                let grad = grad.conv.as_mut().expect("the same arrays, as was checked");
                layer.backward(embedded, &d, grad)?
            }
            _ => return Err(Error::argument("tape", "that of an encoder of this kind", "another")),
        };
        self.embedding.add_gradient(&characters, &d, &mut grad.embedding)
    }
}

fn assemble<T: Float>(
    (vocabulary_size, embedding_dim): (usize, usize),
    kind: CharacterEncoding,
    rng: &mut dyn Rng,
) -> Result<CharacterEncoder<T>> {
    check_size("vocabulary_size", &[vocabulary_size])?;
    check_size("embedding_dim", &[embedding_dim])?;
    let embedding = Embedding::new(vocabulary_size, embedding_dim, rng)?;
    Ok(match kind {
        CharacterEncoding::Lstm { hidden_size } => {
            let lstm = Recurrent::builder(embedding_dim, hidden_size).bidirectional(true);
            let (lstm, features) = (lstm.build(rng)?, 2 * hidden_size);
            let pooling = TimePooling::new(Pooling::Last, features, 2, rng)?;
            CharacterEncoder { embedding, lstm: Some(lstm), conv: None, pooling, features }
        }
        CharacterEncoding::Conv { out_channels, kernel_size } => {
            let conv = Conv1d::new(embedding_dim, out_channels, kernel_size, rng)?;
            let pooling = TimePooling::new(Pooling::Max, out_channels, 1, rng)?;
            CharacterEncoder {
                embedding,
                lstm: None,
                conv: Some(conv),
                pooling,
                features: out_channels,
            }
        }
    })
}

fn encode_all<T: Float>(
    encoder: &CharacterEncoder<T>,
    x: &Sequences<T>,
    rng: Option<&mut dyn Rng>,
) -> Result<(Sequences<T>, Option<WordTape<T>>)> {
    let characters = encoder.characters_of(x)?;
    let rows = characters.map(|characters| encoder.encode(characters, rng)).transpose()?;
    let y = encoder.spread(x, rows.as_ref().map(|(rows, _)| rows))?;
    Ok((y, rows.map(|(_, tape)| tape)))
}

fn add_gradient<T: Float>(
    encoder: &CharacterEncoder<T>,
    tape: CharacterTape<T>,
    d_y: &Sequences<T>,
    grad: &mut CharacterEncoder<T>,
) -> Result<()> {
    encoder.add_gradient(tape, d_y, grad)
}

/// Returns the places [t, b] of the tokens that have characters, in the order of time.
fn places<T: Float>(x: &Sequences<T>) -> Vec<[usize; 2]> {
    let Some((words, _)) = x.characters() else { return Vec::new() };
    let some = words.indexed_iter().filter(|(_, word)| !word.is_empty());
    some.map(|((t, b), _)| [t, b]).collect()
}

/// Characters have no gradient, so `backward` returns zeros.
impl<T: Float> Layer<Sequences<T>> for CharacterEncoder<T> {
    type Output = Sequences<T>;
    type Tape = CharacterTape<T>;

    fn forward(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        Ok(encoded(self, x, None)?.0)
    }

    fn forward_train(
        &self,
        x: &Sequences<T>,
        rng: &mut dyn Rng,
    ) -> Result<(Sequences<T>, CharacterTape<T>)> {
        let (y, words) = encoded(self, x, Some(rng))?;
        Ok((y, CharacterTape { x: x.clone(), words }))
    }

    fn backward(
        &self,
        tape: CharacterTape<T>,
        d_y: &Sequences<T>,
        grad: &mut Self,
    ) -> Result<Sequences<T>> {
        let zeros = tape.x.zeros_like();
        add_to_gradient(self, tape, d_y, grad)?;
        Ok(zeros)
    }
}
