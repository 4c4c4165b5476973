//! [`Dataset`]: sequences in memory, each with a target.
#![expect(
    clippy::indexing_slicing,
    reason = "indices are checked at the entrance, and a data set is not empty"
)]

use ndarray::{Array1, Array2, ArrayView2};

use crate::data::source::check_steps;
use crate::data::{Scaler, Source, columns};
use crate::error::{Error, Result, check_indices, check_shape, check_size};
use crate::float::Float;
use crate::sequences::{Input, Sequences};

/// The target of a sequence, for the whole sequence or for each of its steps.
///
/// | type | target | batch |
/// |---|---|---|
/// | `usize` | the class of the sequence | `Vec<usize>` |
/// | `f32`, `f64` | one number for the sequence | `Array2<T>` [batch, 1] |
/// | `Array1<T>` | several numbers for the sequence | `Array2<T>` [batch, numbers] |
/// | `Vec<usize>` | the class of each step | `Array2<usize>` [time, batch], 0 in the padding |
/// | `Array2<T>` | the numbers of each step [time, numbers] | [`Sequences`] [time, batch, numbers] |
/// | [`Labels`](super::Labels) | labels of unknown times, fewer than steps | `Vec<Vec<usize>>` |
/// | `(A, B)` | two targets, or a target and its weight | a pair of batches |
///
/// Implement it for targets of another kind, for example the tokens of a sequence that is shorter than
/// its input:
///
/// ```
/// use ndarray::array;
/// use recurrent::Result;
/// use recurrent::data::{Dataset, Source, Target};
///
/// /// The syllables of a word that is given by its sounds.
/// #[derive(Clone)]
/// struct Syllables(Vec<usize>);
///
/// impl Target for Syllables {
///     type Batch = Vec<Vec<usize>>;
///     fn steps(&self) -> Option<usize> { None } // any number, whatever the length of the input
///     fn stack(targets: &[&Self], _: usize) -> Result<Self::Batch> {
///         Ok(targets.iter().map(|target| target.0.clone()).collect())
///     }
/// }
///
/// let sounds = vec![array![[0.1_f32], [0.7], [0.2]]];
/// let data = Dataset::new(sounds, vec![Syllables(vec![4, 2])])?;
/// assert_eq!(data.batch(&[0])?.1, [[4, 2]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the target of a sequence",
    label = "not a target",
    note = "the target of a whole sequence is a `usize` (its class), an `f32` or `f64` (one number) \
            or an `Array1` of them (several numbers)",
    note = "a target for each step is a `Vec<usize>` (classes) or an `Array2<f32>` or `Array2<f64>` \
            [time, numbers]",
    note = "a target of any other length is `Labels`"
)]
pub trait Target: Clone {
    /// The type of several targets in one batch.
    type Batch;

    /// Returns the number of steps of a target that has a value for each step of its sequence. `None`, for
    /// any other target, disables the comparison of the two lengths.
    fn steps(&self) -> Option<usize>;

    /// Combines targets into a batch. Targets with a value for each step are padded to `time` steps, those
    /// of the batch of their sequences.
    fn stack(targets: &[&Self], time: usize) -> Result<Self::Batch>;

    /// Fails at the first value that is NaN or infinite, naming its step and feature. The default accepts
    /// everything.
    fn check_finite(&self) -> Result<()> {
        Ok(())
    }
}

/// The beginning of an error about a target.
const OF_TARGET: &str = "target, ";

impl Target for usize {
    type Batch = Vec<usize>;

    fn steps(&self) -> Option<usize> {
        None
    }

    fn stack(targets: &[&Self], _: usize) -> Result<Self::Batch> {
        Ok(targets.iter().map(|&&class| class).collect())
    }
}

macro_rules! number_target {
    ($($number:ty),+) => {
        $(impl Target for $number {
            type Batch = Array2<$number>;

            fn steps(&self) -> Option<usize> {
                None
            }

            fn stack(targets: &[&Self], _: usize) -> Result<Self::Batch> {
                Ok(Array2::from_shape_fn((targets.len(), 1), |(b, _)| *targets[b]))
            }

            fn check_finite(&self) -> Result<()> {
                Array1::from_elem(1, *self).check_finite()
            }
        })+
    };
}
number_target!(f32, f64);

impl<T: Float> Target for Array1<T> {
    type Batch = Array2<T>;

    fn steps(&self) -> Option<usize> {
        None
    }

    fn stack(targets: &[&Self], _: usize) -> Result<Self::Batch> {
        let features = targets.first().map_or(0, |target| target.len());
        if !targets.is_empty() {
            check_size("targets[0]", &[features])?;
        }
        let mut rows = Array2::zeros((targets.len(), features));
        for (b, (mut row, target)) in rows.rows_mut().into_iter().zip(targets).enumerate() {
            check_shape(format!("targets[{b}]"), "features", &[features], target.shape())?;
            row.assign(target);
        }
        Ok(rows)
    }

    fn check_finite(&self) -> Result<()> {
        match self.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            None => Ok(()),
            Some((j, value)) => {
                Err(Error::argument(format!("{OF_TARGET}feature {j}"), "a finite value", value))
            }
        }
    }
}

impl Target for Vec<usize> {
    type Batch = Array2<usize>;

    fn steps(&self) -> Option<usize> {
        Some(self.len())
    }

    fn stack(targets: &[&Self], time: usize) -> Result<Self::Batch> {
        let class = |(t, b): (usize, usize)| targets[b].get(t).copied().unwrap_or_default();
        Ok(Array2::from_shape_fn((time, targets.len()), class))
    }
}

impl<T: Float> Target for Array2<T> {
    type Batch = Sequences<T>;

    fn steps(&self) -> Option<usize> {
        Some(self.nrows())
    }

    fn stack(targets: &[&Self], _: usize) -> Result<Self::Batch> {
        let views: Vec<ArrayView2<'_, T>> = targets.iter().map(|target| target.view()).collect();
        Sequences::from_views(&views)
    }

    fn check_finite(&self) -> Result<()> {
        check_steps(OF_TARGET, self.view(), &[])
    }
}

/// Two targets of one sequence, for example one for each of two heads, or a target and its weight.
impl<A: Target, B: Target> Target for (A, B) {
    type Batch = (A::Batch, B::Batch);

    fn steps(&self) -> Option<usize> {
        self.0.steps().or(self.1.steps())
    }

    fn stack(targets: &[&Self], time: usize) -> Result<Self::Batch> {
        for (b, target) in targets.iter().enumerate() {
            if let (Some(first), Some(second)) = (target.0.steps(), target.1.steps()) {
                check_shape(format!("targets[{b}].1"), "time", &[first], &[second])?;
            }
        }
        let (first, second): (Vec<&A>, Vec<&B>) = targets.iter().map(|(a, b)| (a, b)).unzip();
        Ok((A::stack(&first, time)?, B::stack(&second, time)?))
    }
}

/// [time, features] of each sequence, or its tokens.
type Inputs<T> = Input<Vec<Array2<T>>, Tokens>;

/// The tokens of each sequence.
#[derive(Clone, Debug)]
struct Tokens {
    tokens: Vec<Vec<usize>>,
    vocabulary_size: usize,
    characters: Option<Characters>,
}

/// The characters of each token of each sequence.
#[derive(Clone, Debug)]
struct Characters {
    words: Vec<Vec<Vec<usize>>>,
    vocabulary_size: usize,
}

impl Tokens {
    /// Returns the sequences at `indices` as a batch.
    fn batch<T: Float>(&self, indices: &[usize]) -> Result<Sequences<T>> {
        let picked: Vec<&[usize]> = indices.iter().map(|&i| &self.tokens[i][..]).collect();
        let x = Sequences::one_hot_from_list(&picked, self.vocabulary_size)?;
        let Some(Characters { words, vocabulary_size }) = &self.characters else { return Ok(x) };
        let picked: Vec<&[Vec<usize>]> = indices.iter().map(|&i| &words[i][..]).collect();
        x.with_characters(&picked, *vocabulary_size)
    }

    /// Returns the sequences at `indices`.
    fn select(&self, indices: &[usize]) -> Self {
        let pick = |Characters { words, vocabulary_size }: &Characters| Characters {
            words: indices.iter().map(|&i| words[i].clone()).collect(),
            vocabulary_size: *vocabulary_size,
        };
        Self {
            tokens: indices.iter().map(|&i| self.tokens[i].clone()).collect(),
            vocabulary_size: self.vocabulary_size,
            characters: self.characters.as_ref().map(pick),
        }
    }
}

/// Sequences in memory, of values or of tokens, each with a [`Target`].
///
/// A batch is a pair of sequences, padded to the longest of them, and their targets. Tokens become
/// [one-hot](Sequences::one_hot) input.
///
/// ```
/// use ndarray::array;
/// use recurrent::data::{Dataset, Source, split};
///
/// let sequences = vec![array![[0.1, 0.2]], array![[0.3, 0.4], [0.5, 0.6]], array![[0.7, 0.8]]];
/// let data = Dataset::<f32, usize>::new(sequences, vec![0, 1, 0])?;
/// let (x, classes) = data.batch(&[0, 1])?;
/// assert_eq!((x.time(), x.lengths(), classes), (2, &[1, 2][..], vec![0, 1]));
///
/// let (train, test) = data.split(&split::random(data.len(), 0.34, 1)?)?;
/// assert_eq!((train.len(), test.len()), (2, 1));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dataset<T, Y> {
    inputs: Inputs<T>,
    targets: Vec<Y>,
    /// The names of the features, if there are any.
    columns: Vec<String>,
}

// The bound on `Y` is one of each constructor: only then does the compiler show the notes of `Target`.
impl<T: Float, Y> Dataset<T, Y> {
    /// Creates a data set of `sequences`, each [time, features], and one target for each.
    ///
    /// # Errors
    /// If there is no sequence, one is empty, they differ in features, or a target does not fit its
    /// sequence.
    pub fn new(sequences: Vec<Array2<T>>, targets: Vec<Y>) -> Result<Self>
    where
        Y: Target,
    {
        check_size("sequences", &[sequences.len()])?;
        let features = sequences[0].ncols();
        for (i, sequence) in sequences.iter().enumerate() {
            check_size(format!("sequences[{i}] [time, features]"), sequence.shape())?;
            let expected = [sequence.nrows(), features];
            check_shape(format!("sequences[{i}]"), "time, features", &expected, sequence.shape())?;
        }
        Self::checked(Input::Dense(sequences), targets)
    }

    /// Creates a data set of sequences of tokens and one target for each. Every token is less than
    /// `vocabulary_size`.
    ///
    /// # Errors
    /// If there is no sequence, one is empty or contains a token that is too large, or a target does
    /// not fit its sequence.
    pub fn from_tokens(
        tokens: Vec<Vec<usize>>,
        vocabulary_size: usize,
        targets: Vec<Y>,
    ) -> Result<Self>
    where
        Y: Target,
    {
        check_texts("tokens", &tokens, vocabulary_size)?;
        let tokens = Tokens { tokens, vocabulary_size, characters: None };
        Self::checked(Input::Tokens(tokens), targets)
    }
}

impl<T: Float, Y: Target> Dataset<T, Y> {
    fn checked(inputs: Inputs<T>, targets: Vec<Y>) -> Result<Self> {
        let data = Self { inputs, targets, columns: Vec::new() };
        check_shape("targets", "sequences", &[data.len()], &[data.targets.len()])?;
        for (i, target) in data.targets.iter().enumerate() {
            let (length, argument) = (data.length(i), || format!("targets[{i}]"));
            check_shape(argument(), "time", &[length], &[target.steps().unwrap_or(length)])?;
        }
        Ok(data)
    }

    /// Names the features, in order. A model that keeps names refuses a data set with others.
    ///
    /// ```
    /// use ndarray::array;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::{cell::LstmCell, data::Dataset, model::SequenceClassifier, train::Model};
    ///
    /// let columns = ["temperature", "wind"];
    /// let data = Dataset::new(vec![array![[20.0_f32, 3.0]]], vec![0])?.with_columns(&["wind", "temperature"])?;
    /// let builder = SequenceClassifier::<LstmCell<f32>>::builder(2, 2).columns(&columns);
    /// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// let error = model.evaluate(&data, 1).unwrap_err().to_string();
    /// let expected = r#"expected "temperature", got "wind" ("temperature" is columns[1])"#;
    /// assert_eq!(error, format!("columns[0]: {expected}"));
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there are more or fewer names than features, a name is repeated, or the data are tokens.
    pub fn with_columns<S: AsRef<str>>(mut self, names: &[S]) -> Result<Self> {
        let Input::Dense(sequences) = &self.inputs else {
            return Err(Error::argument("columns", "none: tokens have no columns", names.len()));
        };
        let names = columns::owned(names);
        columns::check_names(&names, sequences[0].ncols())?;
        self.columns = names;
        Ok(self)
    }

    /// Adds the characters of each token, `characters[i][t]` for step t of sequence i, each less than
    /// `vocabulary_size`, as [`Sequences::with_characters`] does. [`Vocabulary::characters`] encodes those of
    /// words.
    ///
    /// # Errors
    /// If the data are values, there are not as many tokens as steps of each sequence, or a character is too
    /// large.
    ///
    /// [`Vocabulary::characters`]: crate::data::Vocabulary::characters
    pub fn with_characters(
        mut self,
        characters: Vec<Vec<Vec<usize>>>,
        vocabulary_size: usize,
    ) -> Result<Self> {
        let Input::Tokens(tokens) = &mut self.inputs else {
            return Err(Error::argument("characters", "none: values have no characters", "some"));
        };
        check_size("vocabulary_size", &[vocabulary_size])?;
        check_shape("characters", "sequences", &[tokens.tokens.len()], &[characters.len()])?;
        for (i, (words, tokens)) in characters.iter().zip(&tokens.tokens).enumerate() {
            let argument = format!("characters[{i}]");
            check_shape(argument.clone(), "time", &[tokens.len()], &[words.len()])?;
            for (t, word) in words.iter().enumerate() {
                let argument = format!("{argument}[{t}]");
                check_indices(&argument, word, vocabulary_size, "vocabulary_size")?;
            }
        }
        tokens.characters = Some(Characters { words: characters, vocabulary_size });
        Ok(self)
    }

    /// Returns the target of each sequence.
    pub fn targets(&self) -> &[Y] {
        &self.targets
    }

    /// Returns the values [time, features] of each sequence. It is empty for a data set of tokens.
    pub fn values(&self) -> &[Array2<T>] {
        match &self.inputs {
            Input::Dense(sequences) => sequences,
            Input::Tokens(_) => &[],
        }
    }

    /// Returns a view of each of the [`values`](Self::values), for example to fit a [`Scaler`].
    pub fn views(&self) -> Vec<ArrayView2<'_, T>> {
        self.values().iter().map(|sequence| sequence.view()).collect()
    }

    /// Returns the samples at `indices`, in that order.
    ///
    /// # Errors
    /// If `indices` is empty, or one of them is too large.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        check_size("indices", &[indices.len()])?;
        check_indices("indices", indices, self.len(), "samples")?;
        let inputs = match &self.inputs {
            Input::Dense(all) => Input::Dense(indices.iter().map(|&i| all[i].clone()).collect()),
            Input::Tokens(tokens) => Input::Tokens(tokens.select(indices)),
        };
        let targets = indices.iter().map(|&i| self.targets[i].clone()).collect();
        Ok(Self { inputs, targets, columns: self.columns.clone() })
    }

    /// Divides the data set into two, by the indices that a function of [`split`](super::split)
    /// returns.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn split(&self, parts: &(Vec<usize>, Vec<usize>)) -> Result<(Self, Self)> {
        Ok((self.select(&parts.0)?, self.select(&parts.1)?))
    }

    /// Scales the values. Tokens stay as they are.
    ///
    /// # Errors
    /// If `scaler` has another number of features.
    pub fn scaled(mut self, scaler: &Scaler) -> Result<Self> {
        if let Input::Dense(sequences) = &mut self.inputs {
            for sequence in sequences {
                *sequence = scaler.transform(sequence)?;
            }
        }
        Ok(self)
    }

    /// Returns all samples as one batch, in order.
    pub fn all(&self) -> Result<(Sequences<T>, Y::Batch)> {
        self.batch(&(0..self.len()).collect::<Vec<_>>())
    }
}

/// Fails unless there are `texts`, the argument of that name, each with at least one token and all
/// tokens less than `vocabulary_size`.
pub(super) fn check_texts(
    argument: &'static str,
    texts: &[Vec<usize>],
    vocabulary_size: usize,
) -> Result<()> {
    check_size("vocabulary_size", &[vocabulary_size])?;
    check_size(argument, &[texts.len()])?;
    for (i, text) in texts.iter().enumerate() {
        let argument = format!("{argument}[{i}]");
        if text.is_empty() {
            return Err(Error::argument(argument, "at least one token", "an empty list"));
        }
        check_indices(&argument, text, vocabulary_size, "vocabulary_size")?;
    }
    Ok(())
}

impl<T: Float, Y: Target> Source<(Sequences<T>, Y::Batch)> for Dataset<T, Y> {
    fn len(&self) -> usize {
        match &self.inputs {
            Input::Dense(sequences) => sequences.len(),
            Input::Tokens(Tokens { tokens, .. }) => tokens.len(),
        }
    }

    fn length(&self, index: usize) -> usize {
        match &self.inputs {
            Input::Dense(sequences) => sequences.get(index).map_or(0, Array2::nrows),
            Input::Tokens(Tokens { tokens, .. }) => tokens.get(index).map_or(0, Vec::len),
        }
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn check_finite(&self, index: usize) -> Result<()> {
        check_indices("index", &[index], self.len(), "samples")?;
        if let Input::Dense(sequences) = &self.inputs {
            check_steps("", sequences[index].view(), &self.columns)?;
        }
        self.targets[index].check_finite()
    }

    fn scaled_once(
        &self,
        scaler: &Scaler,
    ) -> Result<Option<Box<dyn Source<(Sequences<T>, Y::Batch)> + '_>>> {
        let Input::Dense(sequences) = &self.inputs else { return Ok(None) };
        let sequences = sequences.iter().map(|sequence| scaler.transform(sequence));
        let inputs = Input::Dense(sequences.collect::<Result<_>>()?);
        let (targets, columns) = (self.targets.clone(), self.columns.clone());
        Ok(Some(Box::new(Self { inputs, targets, columns })))
    }

    fn batch(&self, indices: &[usize]) -> Result<(Sequences<T>, Y::Batch)> {
        check_indices("indices", indices, self.len(), "samples")?;
        let x = match &self.inputs {
            Input::Dense(all) => {
                let views: Vec<_> = indices.iter().map(|&i| all[i].view()).collect();
                Sequences::from_views(&views)?
            }
            Input::Tokens(tokens) => tokens.batch(indices)?,
        };
        let targets: Vec<&Y> = indices.iter().map(|&i| &self.targets[i]).collect();
        let targets = Y::stack(&targets, x.time())?;
        Ok((x, targets))
    }
}
