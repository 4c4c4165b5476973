//! [`Merge`]: outputs of two directions or of several layers become one.
#![expect(clippy::indexing_slicing, reason = "a combination has at least two inputs of one shape")]

use ndarray::{Array, ArrayView, Axis, Dimension, RemoveAxis, concatenate};

use super::config::LayerConfig;
use super::layer::KerasOutput;
use crate::error::{Error, Result, check_shape};

/// A combination of the outputs of two directions, or of several layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Merge {
    /// The features of the first one, such as the forward direction, then those of the next.
    Concat,
    /// The sum.
    Sum,
    /// The product.
    Mul,
    /// The mean.
    Ave,
}

impl Merge {
    /// Reads a layer that combines others, which is of one of these classes.
    pub(super) fn of_layer(config: &LayerConfig) -> Result<Self> {
        if config.inputs.len() < 2 {
            let problem = format!("expected at least two inputs, got {}", config.inputs.len());
            return Err(config.refuse(problem));
        }
        Ok(match config.class.as_str() {
            "Add" => Self::Sum,
            "Multiply" => Self::Mul,
            "Average" => Self::Ave,
            _ if config.is_axis("axis", -1) => Self::Concat,
            _ => return Err(config.refuse("expected the last axis")),
        })
    }

    /// Returns the combination of outputs, which are all of steps of the same lengths or all of rows.
    pub(super) fn apply(self, inputs: Vec<KerasOutput>) -> Result<KerasOutput> {
        let (mut rows, mut steps) = (Vec::new(), Vec::new());
        for input in &inputs {
            match input {
                KerasOutput::Rows(x) => rows.push(x.view()),
                KerasOutput::Steps(x) => steps.push(x),
            }
        }
        let Some(first) = steps.first() else {
            return self.combine(&rows).map(KerasOutput::Rows);
        };
        if !rows.is_empty() {
            let expected = "sequences, or a row for each sequence";
            return Err(Error::argument("inputs", expected, "both"));
        }
        if let Some(other) = steps.iter().find(|other| other.lengths() != first.lengths()) {
            let expected = format!("the lengths {:?} of the first", first.lengths());
            return Err(Error::argument("inputs", expected, format!("{:?}", other.lengths())));
        }
        let values: Vec<_> = steps.iter().map(|steps| steps.values().view()).collect();
        Ok(KerasOutput::Steps(first.with_values(self.combine(&values)?)?))
    }

    /// Returns the combination of arrays over their last axis. Fails if another size differs.
    pub(super) fn combine<D: Dimension + RemoveAxis>(
        self,
        parts: &[ArrayView<'_, f32, D>],
    ) -> Result<Array<f32, D>> {
        let first = &parts[0];
        if self == Self::Concat {
            let axis = Axis(first.ndim() - 1);
            let all = concatenate(axis, parts);
            return all
                .map_err(|error| Error::argument("inputs", "features of the same rows", error));
        }
        let mut combined = first.as_standard_layout().into_owned();
        for part in &parts[1..] {
            check_shape("inputs", "as the first", first.shape(), part.shape())?;
            if self == Self::Mul {
                combined *= part;
            } else {
                combined += part;
            }
        }
        if self == Self::Ave {
            combined /= parts.len() as f32;
        }
        Ok(combined)
    }
}
