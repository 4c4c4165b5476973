//! [`Texts`]: training texts of a generator, each with a condition vector if it has one.
#![expect(clippy::indexing_slicing, reason = "indices are checked at the entrance")]

use ndarray::{Array1, Array2};

use crate::data::dataset::check_texts;
use crate::data::{Dataset, Source};
use crate::error::{Error, Result, check_indices, check_shape, check_size};
use crate::float::Float;
use crate::sequences::Sequences;

/// Texts as token numbers, in memory: the training data of a
/// [`SequenceGenerator`](crate::model::SequenceGenerator).
///
/// The texts must not contain the generator's start and end tokens, which it adds itself.
///
/// A batch is a pair of the condition vectors [batch, condition], if there are any, and the texts as
/// [one-hot](Sequences::one_hot) sequences.
///
/// ```
/// use ndarray::array;
/// use recurrent::data::{Source, Texts};
///
/// let captions = Texts::new(vec![vec![2, 0], vec![1, 1, 2]], 3)?.conditions(vec![array![0.5_f32], array![0.25]])?;
/// let (vectors, texts) = captions.batch(&[1])?;
/// assert_eq!((vectors, texts.lengths()), (Some(array![[0.25]]), &[3][..]));
///
/// // One long text in pieces of four tokens. Each begins with the last token of the piece before.
/// let pieces = Texts::<f32>::pieces(&[0, 1, 2, 0, 1, 2, 0, 1], 4, 3)?;
/// assert_eq!(pieces.len(), 3);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Texts<T> {
    texts: Dataset<T, usize>,
    conditions: Option<Vec<Array1<T>>>,
}

impl<T: Float> Texts<T> {
    /// Creates a source of `texts`, whose tokens are less than `vocabulary_size`.
    ///
    /// # Errors
    /// If there is no text, one is empty, or a token is too large.
    pub fn new(texts: Vec<Vec<usize>>, vocabulary_size: usize) -> Result<Self> {
        check_texts("texts", &texts, vocabulary_size)?;
        let targets = vec![0; texts.len()];
        Ok(Self { texts: Dataset::from_tokens(texts, vocabulary_size, targets)?, conditions: None })
    }

    /// Divides one long `text` into pieces of `length` tokens.
    ///
    /// Each piece begins with the last token of the one before, so that every token but the first is
    /// predicted once. The last piece may be shorter. The generator should have neither a start nor
    /// an end token: it would add them to every piece.
    ///
    /// # Errors
    /// If `text` or `length` is less than two tokens, or a token is too large.
    pub fn pieces(text: &[usize], length: usize, vocabulary_size: usize) -> Result<Self> {
        for (argument, tokens) in [("length", length), ("text", text.len())] {
            if tokens < 2 {
                return Err(Error::argument(argument, "at least 2 tokens", tokens));
            }
        }
        check_size("vocabulary_size", &[vocabulary_size])?;
        check_indices("text", text, vocabulary_size, "vocabulary_size")?;
        let starts = (0..text.len() - 1).step_by(length - 1);
        let piece =
            |start: usize| text[start..text.len().min(start.saturating_add(length))].to_vec();
        Self::new(starts.map(piece).collect(), vocabulary_size)
    }

    /// Sets the condition vector of each text, such as the features of a picture that it describes.
    ///
    /// # Errors
    /// If there are more or fewer vectors than texts, one is empty, or they differ in width.
    pub fn conditions(mut self, conditions: Vec<Array1<T>>) -> Result<Self> {
        check_shape("conditions", "texts", &[self.len()], &[conditions.len()])?;
        let width = conditions.first().map_or(0, |vector| vector.len());
        check_size("conditions[0]", &[width])?;
        for (i, vector) in conditions.iter().enumerate() {
            check_shape(format!("conditions[{i}]"), "condition", &[width], vector.shape())?;
        }
        self.conditions = Some(conditions);
        Ok(self)
    }
}

impl<T: Float> Source<(Option<Array2<T>>, Sequences<T>)> for Texts<T> {
    fn len(&self) -> usize {
        self.texts.len()
    }

    fn length(&self, index: usize) -> usize {
        self.texts.length(index)
    }

    fn check_finite(&self, index: usize) -> Result<()> {
        let vector = self.conditions.as_ref().and_then(|vectors| vectors.get(index));
        match vector.and_then(|v| v.iter().enumerate().find(|(_, value)| !value.is_finite())) {
            None => Ok(()),
            Some((j, value)) => {
                Err(Error::argument(format!("condition, feature {j}"), "a finite value", value))
            }
        }
    }

    fn batch(&self, indices: &[usize]) -> Result<(Option<Array2<T>>, Sequences<T>)> {
        let (texts, _) = self.texts.batch(indices)?;
        let conditions = self.conditions.as_ref().map(|vectors| {
            let width = vectors.first().map_or(0, |vector| vector.len());
            Array2::from_shape_fn((indices.len(), width), |(b, j)| vectors[indices[b]][j])
        });
        Ok((conditions, texts))
    }
}
