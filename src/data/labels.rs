//! [`Labels`]: a target of its own length.

use crate::data::Target;
use crate::error::Result;

/// The labels of a sequence, of which the times are unknown: fewer than it has steps, or none. The target
/// of [`Ctc`](crate::loss::Ctc) and [`SequenceTranscriber`](crate::model::SequenceTranscriber).
///
/// ```
/// use ndarray::Array2;
/// use recurrent::data::{Dataset, Labels, Source};
///
/// let recordings = vec![Array2::<f32>::zeros((9, 2)), Array2::zeros((7, 2))]; // [time, features]
/// let data = Dataset::new(recordings, vec![Labels(vec![3, 1, 1]), Labels(vec![2])])?;
/// assert_eq!(data.batch(&[1, 0])?.1, [vec![2], vec![3, 1, 1]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub Vec<usize>);

impl From<Vec<usize>> for Labels {
    fn from(labels: Vec<usize>) -> Self {
        Self(labels)
    }
}

impl Target for Labels {
    type Batch = Vec<Vec<usize>>;

    fn steps(&self) -> Option<usize> {
        None
    }

    fn stack(targets: &[&Self], _: usize) -> Result<Self::Batch> {
        Ok(targets.iter().map(|labels| labels.0.clone()).collect())
    }
}
