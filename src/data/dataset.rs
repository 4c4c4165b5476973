//! [`Dataset`]: sequences in memory, each with its target.

use ndarray::{Array1, Array2, ArrayView2};

use crate::data::{Scaler, Source};
use crate::error::{Result, check_indices, check_shape, check_size};
use crate::float::Float;
use crate::sequences::{Sequences, check_tokens};

/// What a sequence is to be answered with, and what a batch makes of several.
///
/// | target | of | batch |
/// |---|---|---|
/// | `usize` | a sequence: its class | `Vec<usize>` |
/// | `Array1<T>` | a sequence: its values, one a feature | `Array2<T>` [batch, features] |
/// | `Vec<usize>` | each step: its class | `Array2<usize>` [time, batch], 0 in the padding |
/// | `Array2<T>` | each step: its values [time, features] | [`Sequences`] [time, batch, features] |
pub trait Target: Clone {
    /// Several targets together.
    type Batch;

    /// How many steps it has, where it has one answer for each.
    fn steps(&self) -> Option<usize>;

    /// Several targets together, padded to `time` steps.
    fn stack(targets: &[&Self], time: usize) -> Result<Self::Batch>;
}

impl Target for usize {
    type Batch = Vec<usize>;

    fn steps(&self) -> Option<usize> {
        None
    }

    fn stack(targets: &[&Self], _: usize) -> Result<Self::Batch> {
        Ok(targets.iter().map(|&&class| class).collect())
    }
}

impl<T: Float> Target for Array1<T> {
    type Batch = Array2<T>;

    fn steps(&self) -> Option<usize> {
        None
    }

    fn stack(targets: &[&Self], _: usize) -> Result<Self::Batch> {
        let features = targets.first().map_or(0, |target| target.len());
        let mut rows = Array2::zeros((targets.len(), features));
        for (b, (mut row, target)) in rows.rows_mut().into_iter().zip(targets).enumerate() {
            check_shape(format!("targets[{b}]"), "features", &[features], target.shape())?;
            row.assign(target);
        }
        Ok(rows)
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
}

#[derive(Clone, Debug)]
enum Inputs<T> {
    /// [time, features] of each sequence.
    Values(Vec<Array2<T>>),
    Tokens {
        tokens: Vec<Vec<usize>>,
        classes: usize,
    },
}

/// Sequences in memory, of values or of tokens, each with its [`Target`].
///
/// A batch is the sequences, padded to the longest of them, and their targets. Tokens become
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
}

impl<T: Float, Y: Target> Dataset<T, Y> {
    /// `sequences`, each [time, features], with as many `targets`.
    ///
    /// # Errors
    /// Where there is none, one is empty or of other features, or a target does not fit its sequence.
    pub fn new(sequences: Vec<Array2<T>>, targets: Vec<Y>) -> Result<Self> {
        let features = sequences.first().map_or(0, Array2::ncols);
        check_size("sequences [number, features]", &[sequences.len(), features])?;
        for (i, sequence) in sequences.iter().enumerate() {
            let expected = [sequence.nrows().max(1), features];
            check_shape(format!("sequences[{i}]"), "time, features", &expected, sequence.shape())?;
        }
        Self { inputs: Inputs::Values(sequences), targets }.checked()
    }

    /// Sequences of tokens, each less than `classes`, with as many `targets`.
    ///
    /// # Errors
    /// Where there is none, one is empty or has a token that is too large, or a target does not fit its
    /// sequence.
    pub fn of_tokens(tokens: Vec<Vec<usize>>, classes: usize, targets: Vec<Y>) -> Result<Self> {
        check_size("tokens [number], classes", &[tokens.len(), classes])?;
        for (i, sequence) in tokens.iter().enumerate() {
            check_size(format!("tokens[{i}]"), &[sequence.len()])?;
            let places = sequence.iter().enumerate().map(|(t, &token)| ([i, t], token));
            check_tokens(places, classes, "classes")?;
        }
        Self { inputs: Inputs::Tokens { tokens, classes }, targets }.checked()
    }

    fn checked(self) -> Result<Self> {
        check_shape("targets", "sequences", &[self.len()], &[self.targets.len()])?;
        for (i, target) in self.targets.iter().enumerate() {
            let (length, argument) = (self.length(i), || format!("targets[{i}]"));
            check_shape(argument(), "time", &[length], &[target.steps().unwrap_or(length)])?;
        }
        Ok(self)
    }

    /// The target of each sequence.
    pub fn targets(&self) -> &[Y] {
        &self.targets
    }

    /// The values [time, features] of each sequence; none of a set of tokens.
    pub fn values(&self) -> &[Array2<T>] {
        match &self.inputs {
            Inputs::Values(sequences) => sequences,
            Inputs::Tokens { .. } => &[],
        }
    }

    /// Views of them, as a [`Scaler`] is fitted on.
    pub fn views(&self) -> Vec<ArrayView2<'_, T>> {
        self.values().iter().map(|sequence| sequence.view()).collect()
    }

    /// The sequences of the given numbers, in that order.
    ///
    /// # Errors
    /// Where one of them does not exist, or there is none.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        check_size("indices", &[indices.len()])?;
        check_indices("indices", indices, self.len(), "samples")?;
        let inputs = match &self.inputs {
            Inputs::Values(all) => {
                Inputs::Values(indices.iter().map(|&i| all[i].clone()).collect())
            }
            Inputs::Tokens { tokens, classes } => Inputs::Tokens {
                tokens: indices.iter().map(|&i| tokens[i].clone()).collect(),
                classes: *classes,
            },
        };
        Ok(Self { inputs, targets: indices.iter().map(|&i| self.targets[i].clone()).collect() })
    }

    /// Two sets of the given numbers, as one of [`split`](super::split) makes them.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn split(&self, parts: &(Vec<usize>, Vec<usize>)) -> Result<(Self, Self)> {
        Ok((self.select(&parts.0)?, self.select(&parts.1)?))
    }

    /// The same with scaled values; tokens stay as they are.
    ///
    /// # Errors
    /// Where `scaler` has other features.
    pub fn scaled(mut self, scaler: &Scaler) -> Result<Self> {
        if let Inputs::Values(sequences) = &mut self.inputs {
            for sequence in sequences {
                *sequence = scaler.apply(sequence)?;
            }
        }
        Ok(self)
    }

    /// The batch of all samples, in order.
    pub fn all(&self) -> Result<(Sequences<T>, Y::Batch)> {
        self.batch(&(0..self.len()).collect::<Vec<_>>())
    }
}

impl<T: Float, Y: Target> Source<(Sequences<T>, Y::Batch)> for Dataset<T, Y> {
    fn len(&self) -> usize {
        match &self.inputs {
            Inputs::Values(sequences) => sequences.len(),
            Inputs::Tokens { tokens, .. } => tokens.len(),
        }
    }

    fn length(&self, index: usize) -> usize {
        match &self.inputs {
            Inputs::Values(sequences) => sequences.get(index).map_or(0, Array2::nrows),
            Inputs::Tokens { tokens, .. } => tokens.get(index).map_or(0, Vec::len),
        }
    }

    fn batch(&self, indices: &[usize]) -> Result<(Sequences<T>, Y::Batch)> {
        check_indices("indices", indices, self.len(), "samples")?;
        let x = match &self.inputs {
            Inputs::Values(all) => {
                let views: Vec<_> = indices.iter().map(|&i| all[i].view()).collect();
                Sequences::from_views(&views)?
            }
            Inputs::Tokens { tokens, classes } => {
                let picked: Vec<&[usize]> = indices.iter().map(|&i| &tokens[i][..]).collect();
                Sequences::one_hot_from_list(&picked, *classes)?
            }
        };
        let targets: Vec<&Y> = indices.iter().map(|&i| &self.targets[i]).collect();
        let targets = Y::stack(&targets, x.time())?;
        Ok((x, targets))
    }
}
