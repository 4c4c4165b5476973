//! [`Sequences`]: a batch of sequences of any lengths.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, Slice};

use crate::arrays::{Arrays, Visit, VisitMut};
use crate::error::{Error, Result, check_indices, check_shape, check_size};
use crate::float::{Float, per_float};

/// A batch of sequences: values [time, batch, features], or [one-hot](Sequences::one_hot) vectors given
/// by their tokens, and the length of each sequence, in any order.
///
/// Values after the end of a sequence are padding. They do not change a bit of any result.
///
/// ```
/// use ndarray::Array3;
/// use recurrent::Sequences;
///
/// let x = Sequences::new(Array3::<f32>::zeros((5, 2, 3)), vec![5, 2])?;
/// assert_eq!((x.time(), x.batch(), x.features()), (5, 2, 3));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequences<T> {
    values: Values<T>,
    lengths: Vec<usize>,
    characters: Option<Arc<Characters>>,
}

/// The characters of each token, [time, batch], none in the padding, and the size of their vocabulary.
#[derive(Clone, Debug, PartialEq)]
struct Characters {
    words: Array2<Vec<usize>>,
    vocabulary_size: usize,
}

/// Values [time, batch, features]: an array, or one that is made when it is needed.
#[derive(Clone, Debug)]
enum Values<T> {
    Dense(Array3<T>),
    Sparse(Sparse<T>),
}

/// One-hot vectors, or zeros.
#[derive(Clone, Debug)]
struct Sparse<T> {
    /// Time, batch, features.
    dim: (usize, usize, usize),
    /// The index of the 1 of each vector, [time, batch]. In the padding it is the number of features, out
    /// of range. None: the vectors are zero.
    tokens: Option<Array2<usize>>,
    /// The values as an array, created at its first use.
    array: OnceLock<Array3<T>>,
}

impl<T: Float> Sparse<T> {
    fn new(dim: (usize, usize, usize), tokens: Option<Array2<usize>>) -> Self {
        Self { dim, tokens, array: OnceLock::new() }
    }

    /// Returns the values as an array.
    fn array(&self) -> &Array3<T> {
        self.array.get_or_init(|| self.made())
    }

    /// Returns the values as an array, without a copy if it has been created.
    fn take_array(&mut self) -> Array3<T> {
        self.array.take().unwrap_or_else(|| self.made())
    }

    fn made(&self) -> Array3<T> {
        match &self.tokens {
            Some(tokens) => one_hot_values(tokens, self.dim.2),
            None => Array3::zeros(self.dim),
        }
    }
}

/// Dense values, or one-hot vectors given by their tokens, the indices of their ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input<D, I> {
    /// Values.
    Dense(D),
    /// Tokens.
    Tokens(I),
}

impl<D, I> Input<D, I> {
    /// Converts a reference to this type into one of references.
    pub fn as_ref(&self) -> Input<&D, &I> {
        match self {
            Self::Dense(values) => Input::Dense(values),
            Self::Tokens(tokens) => Input::Tokens(tokens),
        }
    }
}

/// Returns one-hot vectors as an array [time, batch, classes]. The vector of a token that is out of range
/// is zero.
pub(crate) fn one_hot_values<T: Float>(tokens: &Array2<usize>, classes: usize) -> Array3<T> {
    let (time, batch) = tokens.dim();
    let mut values = Array3::zeros((time, batch, classes));
    for ((t, b), &token) in tokens.indexed_iter() {
        if let Some(value) = values.get_mut([t, b, token]) {
            *value = T::one();
        }
    }
    values
}

/// Fails unless each of `tokens`, which come with their indices, is less than `most`, which the error
/// calls `name`.
pub(crate) fn check_tokens<P: Debug>(
    mut tokens: impl Iterator<Item = (P, usize)>,
    most: usize,
    name: &str,
) -> Result<()> {
    match tokens.find(|&(_, token)| token >= most) {
        None => Ok(()),
        Some((place, token)) => {
            let expected = format!("less than {most} ({name})");
            Err(Error::argument(format!("tokens{place:?}"), expected, token))
        }
    }
}

/// Fails unless `lengths` fits `tokens` [time, batch] and each token is less than `most`, which the error
/// calls `name`. The padding is not read.
pub(crate) fn check_token_sequences(
    tokens: ArrayView2<'_, usize>,
    lengths: &[usize],
    most: usize,
    name: &str,
) -> Result<()> {
    let (time, batch) = tokens.dim();
    check_lengths(lengths, time, batch)?;
    let real = tokens.indexed_iter().filter(|((t, b), _)| *t < lengths[*b]);
    check_tokens(real.map(|((t, b), &token)| ([t, b], token)), most, name)
}

/// Fails unless `lengths` has one entry of at most `time` for each of `batch` sequences.
pub(crate) fn check_lengths(lengths: &[usize], time: usize, batch: usize) -> Result<()> {
    check_shape("lengths", batch_axis(time, batch, lengths.len()), &[batch], &[lengths.len()])?;
    match lengths.iter().position(|&length| length > time) {
        None => Ok(()),
        Some(b) => {
            let argument = format!("lengths[{b}]");
            Err(Error::argument(argument, format!("at most {time} (time)"), lengths[b]))
        }
    }
}

/// Returns the name of the axis "batch" in an error about `got` entries, with a hint if the cause seems to
/// be an array [batch, time, features].
pub(crate) fn batch_axis(time: usize, batch: usize, got: usize) -> &'static str {
    if got == time && got != batch {
        return "batch; x is [time, batch, features], and Sequences::from_batch_first takes \
                [batch, time, features]";
    }
    "batch"
}

impl<T: Float> Sequences<T> {
    /// Creates a batch from `values` [time, batch, features]. Sequence b has the first `lengths[b]` steps.
    /// A length may be zero.
    ///
    /// # Errors
    /// If a size is zero, or `lengths` does not have one entry of at most `time` for each sequence.
    pub fn new(values: Array3<T>, lengths: Vec<usize>) -> Result<Self> {
        checked(values, lengths)
    }

    /// Creates a batch of zeros, which are an array only if their values are read.
    pub(crate) fn zeros(dim: (usize, usize, usize), lengths: Vec<usize>) -> Self {
        Self { values: Values::Sparse(Sparse::new(dim, None)), lengths, characters: None }
    }

    /// Creates a batch of one-hot vectors of `vocabulary_size` values from `tokens` [time, batch]: each
    /// vector is 1 at the token of its step. The padding of `tokens` is not read.
    ///
    /// The batch equals that of [`new`](Self::new) from an array [time, batch, vocabulary_size] which is zero
    /// in the padding. A network reads the tokens instead: W_ih x is a column of W_ih, and the gradient of
    /// W_ih is added to such columns alone. The results have the bits of the dense products if weights and
    /// gradients are finite (a product spreads 0·∞) and no sum begins with −0. The array is created only
    /// if [`values`](Self::values) or a mutation needs it.
    ///
    /// Tokens are discrete, so there is no gradient with respect to them. A backward pass returns zeros in
    /// its place, `x.zeros_like()`, which take no memory until they are read.
    ///
    /// ```
    /// use ndarray::array;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::{Arrays, Lstm, Sequences};
    ///
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let lstm = Lstm::<f32>::builder(50_000, 4).build(&mut rng)?;
    /// let tokens = array![[4, 17], [49_999, 0]]; // [time, batch]; the second sequence has one step
    /// let x = Sequences::one_hot(tokens.view(), 50_000, vec![2, 1])?;
    /// assert_eq!((x.time(), x.batch(), x.features()), (2, 2, 50_000));
    ///
    /// let (output, _, tape) = lstm.forward_train(&x, None, &mut rng)?;
    /// let mut grad = lstm.zeros_like();
    /// let d_output = output.clone(); // of the loss ½·Σ output²
    /// let (d_x, _) = lstm.backward(tape, &d_output, None, &mut grad)?;
    /// assert_eq!(d_x, x.zeros_like());
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a size is zero, a token is not less than `vocabulary_size`, or a length does not fit.
    pub fn one_hot(
        tokens: ArrayView2<'_, usize>,
        vocabulary_size: usize,
        lengths: Vec<usize>,
    ) -> Result<Self> {
        let (time, batch) = tokens.dim();
        check_size("tokens [time, batch]", &[time, batch])?;
        check_size("vocabulary_size", &[vocabulary_size])?;
        check_size("values [time, batch, vocabulary_size]", &[time, batch, vocabulary_size])?;
        check_token_sequences(tokens, &lengths, vocabulary_size, "vocabulary_size")?;
        let tokens = padded_tokens(tokens, vocabulary_size, &lengths);
        let one_hot = Sparse::new((time, batch, vocabulary_size), Some(tokens));
        Ok(Self { values: Values::Sparse(one_hot), lengths, characters: None })
    }

    /// Creates a batch in which every sequence has all steps of `values` [time, batch, features].
    ///
    /// An array [batch, time, features] would be accepted with its axes confused. Use
    /// [`from_batch_first`](Self::from_batch_first) for it.
    ///
    /// # Errors
    /// If a size is zero.
    pub fn full(values: Array3<T>) -> Result<Self> {
        let (time, batch, _) = values.dim();
        Self::new(values, vec![time; batch])
    }

    /// Creates a batch from `values` [batch, time, features], the order of Keras and of PyTorch's
    /// `batch_first`.
    ///
    /// ```
    /// use ndarray::Array3;
    /// use recurrent::Sequences;
    ///
    /// let values = Array3::<f32>::zeros((2, 5, 3)); // 2 sequences of up to 5 steps
    /// let x = Sequences::from_batch_first(values.view(), vec![5, 4])?;
    /// assert_eq!((x.time(), x.batch(), x.lengths()), (5, 2, &[5, 4][..]));
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_batch_first(values: ArrayView3<'_, T>, lengths: Vec<usize>) -> Result<Self> {
        Self::new(values.permuted_axes([1, 0, 2]).to_owned(), lengths)
    }

    /// Returns a copy of the values as an array [batch, time, features], padding included. It undoes
    /// [`from_batch_first`](Self::from_batch_first).
    ///
    /// ```
    /// use ndarray::array;
    /// use recurrent::Sequences;
    ///
    /// let values = array![[[1.0], [2.0], [3.0]], [[4.0], [5.0], [0.0]]]; // 2 sequences of up to 3 steps
    /// let x = Sequences::from_batch_first(values.view(), vec![3, 2])?;
    /// assert_eq!(x.to_batch_first(), values);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn to_batch_first(&self) -> Array3<T> {
        let view = self.values().view().permuted_axes([1, 0, 2]);
        view.as_standard_layout().into_owned()
    }

    /// Creates a batch from one array [time, features] for each sequence, padded with zeros to the longest.
    ///
    /// # Errors
    /// If there is no sequence, no step or no feature, or the sequences differ in their features.
    pub fn from_list(sequences: &[Array2<T>]) -> Result<Self> {
        let views: Vec<ArrayView2<'_, T>> =
            sequences.iter().map(|sequence| sequence.view()).collect();
        Self::from_views(&views)
    }

    /// Creates a batch from views, as [`from_list`](Self::from_list) does from arrays.
    ///
    /// # Errors
    /// As [`from_list`](Self::from_list).
    pub fn from_views(sequences: &[ArrayView2<'_, T>]) -> Result<Self> {
        padded(sequences)
    }

    /// Creates a batch of one-hot vectors, as [`one_hot`](Self::one_hot) does, from the tokens of each sequence.
    ///
    /// # Errors
    /// If there is no token, or one is not less than `vocabulary_size`.
    pub fn one_hot_from_list<S: AsRef<[usize]>>(
        sequences: &[S],
        vocabulary_size: usize,
    ) -> Result<Self> {
        let sequences: Vec<&[usize]> = sequences.iter().map(AsRef::as_ref).collect();
        let (tokens, lengths) = tokens_of_lists(&sequences);
        Self::one_hot(tokens.view(), vocabulary_size, lengths)
    }

    /// Adds the characters of each token, `characters[b][t]` for step t of sequence b, each less than
    /// `vocabulary_size`. A token may have none.
    ///
    /// A [`CharacterEncoder`](crate::layer::CharacterEncoder) reads them, and other layers ignore them. A
    /// batch that is made from this one by [`with_values`](Self::with_values) has none.
    ///
    /// # Errors
    /// If there are not as many tokens as steps of each sequence, `vocabulary_size` is zero, or a character is
    /// not less than it.
    pub fn with_characters<W, C>(mut self, characters: &[W], vocabulary_size: usize) -> Result<Self>
    where
        W: AsRef<[C]>,
        C: AsRef<[usize]>,
    {
        let words: Vec<Vec<&[usize]>> = characters
            .iter()
            .map(|of_sequence| of_sequence.as_ref().iter().map(AsRef::as_ref).collect())
            .collect();
        let words = checked_words(&words, self.time(), &self.lengths, vocabulary_size)?;
        self.characters = Some(Arc::new(Characters { words, vocabulary_size }));
        Ok(self)
    }

    /// Returns the characters of each token, [time, batch], none in the padding, and the size of their
    /// vocabulary, or `None` for a batch without characters.
    pub fn characters(&self) -> Option<(ArrayView2<'_, Vec<usize>>, usize)> {
        let characters = self.characters.as_ref()?;
        Some((characters.words.view(), characters.vocabulary_size))
    }

    /// Returns a batch of the same lengths with other values [time, batch, any width].
    ///
    /// # Errors
    /// If `values` has another time or batch, or a width of zero.
    pub fn with_values(&self, values: Array3<T>) -> Result<Self> {
        let expected = [self.time(), self.batch(), values.dim().2];
        check_shape("values", "time, batch, features", &expected, values.shape())?;
        Self::new(values, self.lengths.clone())
    }

    /// Fails unless this batch, the argument `argument`, has the given `lengths` and sizes of `axes`.
    pub(crate) fn check(
        &self,
        argument: &'static str,
        (axes, sizes): (&'static str, [usize; 3]),
        lengths: &[usize],
    ) -> Result<()> {
        check_shape(argument, axes, &sizes, &[self.time(), self.batch(), self.features()])?;
        if self.lengths != lengths {
            let expected = format!("the lengths {lengths:?} of x");
            return Err(Error::argument(argument, expected, format!("{:?}", self.lengths)));
        }
        Ok(())
    }

    /// Returns the given steps, with the part of each sequence's length that falls into them, without
    /// characters.
    pub(crate) fn part(&self, steps: Range<usize>) -> Result<Self> {
        let lengths = self.lengths.iter();
        let lengths = lengths.map(|&length| length.min(steps.end).saturating_sub(steps.start));
        let (lengths, steps) = (lengths.collect(), Slice::from(steps));
        match self.tokens() {
            Some(tokens) => {
                Self::one_hot(tokens.slice_axis(Axis(0), steps), self.features(), lengths)
            }
            None => Self::new(self.values().slice_axis(Axis(0), steps).to_owned(), lengths),
        }
    }

    /// Returns the values [time, batch, features].
    pub fn values(&self) -> &Array3<T> {
        match &self.values {
            Values::Dense(values) => values,
            Values::Sparse(sparse) => sparse.array(),
        }
    }

    /// Returns the tokens [time, batch] of one-hot vectors, or `None` for dense values. In the padding each
    /// token is the size of the vocabulary, which is out of range.
    pub fn tokens(&self) -> Option<ArrayView2<'_, usize>> {
        self.token_array().map(|tokens| tokens.view())
    }

    fn token_array(&self) -> Option<&Array2<usize>> {
        match &self.values {
            Values::Dense(_) => None,
            Values::Sparse(sparse) => sparse.tokens.as_ref(),
        }
    }

    /// Returns the values, mutably. One-hot vectors become dense values.
    #[expect(clippy::unreachable, reason = "sparse values were replaced above")]
    pub(crate) fn values_mut(&mut self) -> &mut Array3<T> {
        if let Values::Sparse(sparse) = &mut self.values {
            self.values = Values::Dense(sparse.take_array());
        }
        match &mut self.values {
            Values::Dense(values) => values,
            Values::Sparse(_) => unreachable!("the branch above has made an array of them"),
        }
    }

    /// Returns the values without the lengths.
    pub fn into_values(self) -> Array3<T> {
        match self.values {
            Values::Dense(values) => values,
            Values::Sparse(mut sparse) => sparse.take_array(),
        }
    }

    /// Returns the values or the tokens.
    pub(crate) fn input(&self) -> Input<&Array3<T>, &Array2<usize>> {
        self.token_array().map_or_else(|| Input::Dense(self.values()), Input::Tokens)
    }

    /// Returns the sizes of the values: time, batch, features.
    pub(crate) fn dim(&self) -> (usize, usize, usize) {
        match &self.values {
            Values::Dense(values) => values.dim(),
            Values::Sparse(sparse) => sparse.dim,
        }
    }

    /// Returns the length of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Returns the number of steps of the array, the greatest possible length.
    pub fn time(&self) -> usize {
        self.dim().0
    }

    /// Returns the number of sequences.
    pub fn batch(&self) -> usize {
        self.dim().1
    }

    /// Returns the number of values per step.
    pub fn features(&self) -> usize {
        self.dim().2
    }

    /// Returns the number of steps of all sequences together.
    pub fn steps(&self) -> usize {
        self.lengths.iter().sum()
    }
}

per_float! {
    /// Returns a batch of `values`, as [`Sequences::new`] does.
    fn checked<'a, T>(values: Array3<T>, lengths: Vec<usize>) -> Result<Sequences<T>> = dense;
    /// Returns a batch of sequences, padded with zeros to the longest.
    fn padded<'a, T>(sequences: &'a [ArrayView2<'a, T>]) -> Result<Sequences<T>> = padded_views;
}

fn dense<T: Float>(values: Array3<T>, lengths: Vec<usize>) -> Result<Sequences<T>> {
    let (time, batch, _) = values.dim();
    check_size("values [time, batch, features]", values.shape())?;
    check_lengths(&lengths, time, batch)?;
    let standard = values.is_standard_layout();
    let values = if standard { values } else { values.as_standard_layout().into_owned() };
    Ok(Sequences { values: Values::Dense(values), lengths, characters: None })
}

fn padded_views<T: Float>(sequences: &[ArrayView2<'_, T>]) -> Result<Sequences<T>> {
    let features = sequences.first().map_or(0, |sequence| sequence.ncols());
    let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.nrows()).collect();
    let time = lengths.iter().copied().max().unwrap_or(0);
    check_size("sequences [time, batch, features]", &[time, sequences.len(), features])?;
    let mut values = Array3::zeros((time, sequences.len(), features));
    for (b, sequence) in sequences.iter().enumerate() {
        let expected = [sequence.nrows(), features];
        check_shape(format!("sequences[{b}]"), "time, features", &expected, sequence.shape())?;
        let mut column = values.index_axis_mut(Axis(1), b);
        for (mut to, from) in column.rows_mut().into_iter().zip(sequence.rows()) {
            to.assign(&from);
        }
    }
    Sequences::new(values, lengths)
}

/// Returns the tokens of each sequence, [time, batch], and the lengths.
fn tokens_of_lists(sequences: &[&[usize]]) -> (Array2<usize>, Vec<usize>) {
    let lengths: Vec<usize> = sequences.iter().map(|tokens| tokens.len()).collect();
    let time = lengths.iter().copied().max().unwrap_or(0);
    let token = |(t, b): (usize, usize)| sequences[b].get(t).copied().unwrap_or(0);
    (Array2::from_shape_fn((time, sequences.len()), token), lengths)
}

/// Returns `tokens` [time, batch] with the token `padding` in the padding.
fn padded_tokens(
    tokens: ArrayView2<'_, usize>,
    padding: usize,
    lengths: &[usize],
) -> Array2<usize> {
    Array2::from_shape_fn(
        tokens.dim(),
        |(t, b)| if t < lengths[b] { tokens[[t, b]] } else { padding },
    )
}

/// Returns the characters of each token, [time, batch], from those of each sequence.
fn checked_words(
    characters: &[Vec<&[usize]>],
    time: usize,
    lengths: &[usize],
    vocabulary_size: usize,
) -> Result<Array2<Vec<usize>>> {
    check_size("vocabulary_size", &[vocabulary_size])?;
    check_shape("characters", "batch", &[lengths.len()], &[characters.len()])?;
    let mut words = Array2::from_elem((time, lengths.len()), Vec::new());
    for (b, of_sequence) in characters.iter().enumerate() {
        let argument = format!("characters[{b}]");
        check_shape(argument.clone(), "time", &[lengths[b]], &[of_sequence.len()])?;
        for (t, word) in of_sequence.iter().enumerate() {
            let argument = format!("{argument}[{t}]");
            check_indices(&argument, word, vocabulary_size, "vocabulary_size")?;
            words[[t, b]] = word.to_vec();
        }
    }
    Ok(words)
}

/// Batches are equal if their lengths, characters and values are, padding included.
impl<T: Float> PartialEq for Sequences<T> {
    fn eq(&self, other: &Self) -> bool {
        self.lengths == other.lengths
            && self.characters == other.characters
            && match (&self.values, &other.values) {
                (Values::Sparse(a), Values::Sparse(b))
                    if a.tokens.is_some() == b.tokens.is_some() =>
                {
                    (a.dim, &a.tokens) == (b.dim, &b.tokens)
                }
                _ => self.values() == other.values(),
            }
    }
}

/// The values are one array, named `value`, padding included.
impl<T: Float> Arrays for Sequences<T> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.values().for_each(f);
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.values_mut().for_each_mut(f);
    }

    /// Returns zeros of the same shape and lengths. Those of tokens take no memory until they are read.
    fn zeros_like(&self) -> Self {
        let mut zeros = Self::zeros(self.dim(), self.lengths.clone());
        if let Values::Dense(_) = self.values {
            zeros.values_mut();
        }
        zeros
    }

    fn add_arrays(&mut self, argument: &'static str, other: &Self) -> Result<()> {
        match &other.values {
            // Without this, the gradients of tokens would become arrays as large as the vocabulary.
            Values::Sparse(Sparse { tokens: None, dim, .. }) if *dim == self.dim() => Ok(()),
            _ => self.zip_mut(argument, other, &mut |_, mut sum, values| sum += &values),
        }
    }
}
