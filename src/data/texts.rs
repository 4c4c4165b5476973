//! [`Texts`]: what a generator learns to say, each text with the vector that it is made from, if any.

use ndarray::{Array1, Array2};

use crate::data::{Dataset, Source};
use crate::error::{Result, check_shape, check_size};
use crate::float::Float;
use crate::sequences::Sequences;

/// Texts of tokens, in memory.
///
/// A batch is the vectors [batch, condition], where there are any, and the texts as
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
/// // One long text, in pieces of four tokens of which the first is the last of the piece before.
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
    /// `texts` of tokens less than `classes`.
    ///
    /// # Errors
    /// Where there is none, one is empty or a token is too large.
    pub fn new(texts: Vec<Vec<usize>>, classes: usize) -> Result<Self> {
        let targets = vec![0; texts.len()];
        Ok(Self { texts: Dataset::of_tokens(texts, classes, targets)?, conditions: None })
    }

    /// One long `text`, cut into pieces of `length` tokens that each begin with the last token of the
    /// one before, so that each token but the first is foretold once; the last piece may be shorter.
    ///
    /// # Errors
    /// Where the text or a piece has fewer than two tokens, or a token is too large.
    pub fn pieces(text: &[usize], length: usize, classes: usize) -> Result<Self> {
        check_size(
            "length - 1, text - 1",
            &[length.saturating_sub(1), text.len().saturating_sub(1)],
        )?;
        let starts = (0..text.len() - 1).step_by(length - 1);
        let piece = |start: usize| text[start..text.len().min(start + length)].to_vec();
        Self::new(starts.map(piece).collect(), classes)
    }

    /// The vector that each text is made from.
    ///
    /// # Errors
    /// Where there are more or fewer than texts, or they differ in width.
    pub fn conditions(mut self, conditions: Vec<Array1<T>>) -> Result<Self> {
        check_shape("conditions", "texts", &[self.len()], &[conditions.len()])?;
        let width = conditions.first().map_or(0, |vector| vector.len());
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

    fn batch(&self, indices: &[usize]) -> Result<(Option<Array2<T>>, Sequences<T>)> {
        let (texts, _) = self.texts.batch(indices)?;
        let conditions = self.conditions.as_ref().map(|vectors| {
            let width = vectors.first().map_or(0, |vector| vector.len());
            Array2::from_shape_fn((indices.len(), width), |(b, j)| vectors[indices[b]][j])
        });
        Ok((conditions, texts))
    }
}
