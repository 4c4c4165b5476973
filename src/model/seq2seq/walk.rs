//! The decoder of [`Seq2Seq`] on given tokens, with or without scheduled sampling: several threads walk through all
//! steps, each with a block of the batch.
#![expect(clippy::indexing_slicing, reason = "rows are those of the batch")]

use ndarray::{Array2, Array3, ArrayViewMut2, ArrayViewMut3, Axis};
use rand::{Rng, RngExt};

use crate::cell::Cell;
use crate::decode::argmax;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::layer::linear::PackedLinear;
use crate::model::Seq2Seq;
use crate::model::seq2seq::decoder::Steps;
use crate::model::seq2seq::live_at;
use crate::sequences::Sequences;
use crate::tensor::{Precision, threads};

/// The tokens of scheduled sampling: the likeliest ones of the model itself, each with probability `p`.
pub(super) struct OwnTokens<'m, T: Float> {
    p: f64,
    head: PackedLinear<'m, T>,
    /// The random number of each token after the first, [time − 1, batch].
    draws: Array2<f64>,
}

/// A block of the batch, whose first sequence is `first`, in a walk of the decoder.
struct Walk<'m, 'a, C: Cell> {
    steps: Steps<'m, C>,
    first: usize,
    /// [time, rows].
    inputs: ArrayViewMut2<'a, usize>,
    /// h̃ of all steps, [time, rows, hidden].
    readouts: ArrayViewMut3<'a, C::Elem>,
}

impl<'m, T: Float, C: Cell<Elem = T>> Walk<'m, '_, C> {
    /// Walks through all steps. An error comes with its step.
    fn run(
        mut self,
        model: &Seq2Seq<C>,
        lengths: &[usize],
        own: Option<&OwnTokens<'_, T>>,
    ) -> Result<Steps<'m, C>, (usize, Error)> {
        let lengths = &lengths[self.first..][..self.inputs.ncols()];
        for t in 0..self.inputs.nrows() {
            if let (Some(own), Some(before)) = (own, t.checked_sub(1)) {
                let replaced = self.replace(before, own);
                replaced.map_err(|error| (t, error.prefixed(&format!("step {before}, "))))?;
            }
            let tokens = self.inputs.row(t);
            let readout = model.feed(&mut self.steps, tokens, &live_at(t, lengths));
            let readout = readout.map_err(|error| (t, error))?;
            self.readouts.index_axis_mut(Axis(0), t).assign(&readout);
        }
        Ok(self.steps)
    }

    /// Replaces tokens of the step after `before` by the likeliest ones of that step.
    fn replace(&mut self, before: usize, own: &OwnTokens<'_, T>) -> Result<()> {
        let logits = own.head.forward_rows(self.steps.readout())?;
        for (row, logits) in logits.rows().into_iter().enumerate() {
            let b = self.first + row;
            let likeliest = argmax(logits)
                .ok_or_else(|| Error::argument(format!("logits[{b}]"), "numbers", "NaN"))?;
            if own.draws[[before, b]] < own.p {
                self.inputs[[before + 1, row]] = likeliest;
            }
        }
        Ok(())
    }
}

impl<T: Float, C: Cell<Elem = T>> Seq2Seq<C> {
    /// Runs the decoder on `inputs` [time, batch]. With `own`, some of them are replaced. Returns h̃ of all steps,
    /// [time, batch, hidden], and the steps of each block of the batch.
    pub(super) fn run<'m>(
        &self,
        steps: Steps<'m, C>,
        (inputs, lengths): (&mut Array2<usize>, &[usize]),
        own: Option<&OwnTokens<'_, T>>,
    ) -> Result<(Sequences<T>, Vec<Steps<'m, C>>)> {
        let (time, batch) = inputs.dim();
        let mut readouts = Array3::zeros((time, batch, self.decoder.output_size()));
        let head = own.map_or(0, |_| self.head_work());
        let blocks = self.decoder.blocks((batch, 1, time), head);
        let (mut inputs, mut to, mut parts) = (inputs.view_mut(), readouts.view_mut(), Vec::new());
        for (steps, rows) in steps.divided(&blocks)?.into_iter().zip(&blocks) {
            let (inputs_here, inputs_after) = inputs.split_at(Axis(1), rows.len());
            let (to_here, to_after) = to.split_at(Axis(1), rows.len());
            parts.push(Walk { steps, first: rows[0], inputs: inputs_here, readouts: to_here });
            (inputs, to) = (inputs_after, to_after);
        }
        let walked = threads::map(parts, |walk| walk.run(self, lengths, own));
        // The error of the earliest step, as without blocks.
        let error = walked.iter().filter_map(|walked| walked.as_ref().err().map(|(t, _)| *t)).min();
        let mut steps = Vec::with_capacity(walked.len());
        for walked in walked {
            match walked {
                Err((t, failure)) if Some(t) == error => return Err(failure),
                Err(_) => {}
                Ok(walked) => steps.push(walked),
            }
        }
        Ok((Sequences::new(readouts, lengths.to_vec())?, steps))
    }

    /// Returns what scheduled sampling needs for `shape` [time, batch] tokens, if there is any at this step.
    pub(super) fn own_tokens(
        &self,
        (time, batch): (usize, usize),
        rng: &mut dyn Rng,
    ) -> Option<OwnTokens<'_, T>> {
        let p = 1.0 - self.config.own.scheduled_sampling?.probability(self.step);
        let shape = (time.saturating_sub(1), batch);
        (p > 0.0).then(|| OwnTokens {
            p,
            head: self.packed_head(Precision::Full),
            draws: Array2::from_shape_simple_fn(shape, || rng.random()),
        })
    }
}
