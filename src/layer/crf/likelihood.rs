//! Forward–backward over the sequences of a batch.

use ndarray::{ArrayView2, Axis};

use crate::error::{Error, Result, check_shape};
use crate::float::{Float, per_float};
use crate::layer::crf::Crf;
use crate::layer::crf::scores::Scores;
use crate::sequences::Sequences;
use crate::tensor::chain::{Chain, forward_backward};
use crate::tensor::{Aligned, Level, threads};

/// The number of multiply-adds of a step per transition, with those of the exponentials.
const STEP_WORK: usize = 4;

/// The result of forward–backward for one sequence. Rows have `width` values; those past the tags are zero.
#[derive(Debug)]
pub(super) struct Outcome<T: Float> {
    /// ln Z; 0 without a step.
    pub(super) log_partition: f64,
    /// The probability of each tag at each step, [steps, width].
    pub(super) marginals: Aligned<T>,
    /// The expected number of each transition, [tags, width].
    pub(super) counts: Aligned<T>,
    pub(super) width: usize,
}

per_float! {
    /// Returns the outcome of each sequence of `emissions`. Threads split the sequences.
    pub(super) fn outcomes<'a, T>(
        crf: &Crf<T>,
        scores: &Scores,
        emissions: &Sequences<T>,
    ) -> Result<Vec<Outcome<T>>> = all_outcomes;

    /// Fails unless `emissions` are finite and have as many features as the CRF has tags, and its scores
    /// are finite. Returns the scores.
    pub(super) fn checked<'a, T>(crf: &Crf<T>, emissions: &Sequences<T>) -> Result<Scores> = check;

    /// Fails unless `tags` [time, batch] are allowed paths through the emissions.
    pub(super) fn check_tags<'a, T>(
        crf: &Crf<T>,
        emissions: &Sequences<T>,
        tags: ArrayView2<'_, usize>,
    ) -> Result<()> = check_paths;

    /// Returns the emissions of sequence `b`, [steps, tags].
    pub(super) fn steps_of<'a, T>(emissions: &Sequences<T>, b: usize) -> Vec<f64> = steps;
}

fn all_outcomes<T: Float>(
    crf: &Crf<T>,
    scores: &Scores,
    emissions: &Sequences<T>,
) -> Result<Vec<Outcome<T>>> {
    let tags = crf.tags();
    let longest = emissions.lengths().iter().copied().max().unwrap_or(0);
    let chain = Chain::new(&scores.start, &scores.transitions, &scores.end, longest);
    let work = emissions.steps() * tags * tags * STEP_WORK;
    let mut slots: Vec<Option<Outcome<T>>> = emissions.lengths().iter().map(|_| None).collect();
    let parts = threads::parts(slots.len(), 1, work);
    threads::for_chunks(&mut slots, 1, parts, &|b, slot| {
        slot[0] = outcome(&chain, scores, emissions, b);
    });
    let check = |(b, slot): (usize, Option<Outcome<T>>)| {
        slot.ok_or_else(|| no_path(b, emissions.lengths()[b]))
    };
    slots.into_iter().enumerate().map(check).collect()
}

/// Returns the error about constraints that forbid all paths of sequence `b`.
pub(super) fn no_path(b: usize, length: usize) -> Error {
    let expected = format!("an allowed path of {length} steps, the length of sequence {b}");
    Error::argument("constraints", expected, "none")
}

/// Returns the outcome of sequence `b`, or `None` if all its paths are forbidden.
fn outcome<T: Float>(
    chain: &Chain<T>,
    scores: &Scores,
    emissions: &Sequences<T>,
    b: usize,
) -> Option<Outcome<T>> {
    let (length, tags, width) = (emissions.lengths()[b], scores.tags, chain.width());
    let mut marginals = Aligned::stale(length * width);
    let mut counts = Aligned::zeros(tags * width);
    if length == 0 {
        return Some(Outcome { log_partition: 0.0, marginals, counts, width });
    }
    let rows = emissions.values().index_axis(Axis(1), b);
    for (to, from) in marginals.chunks_exact_mut(width).zip(rows.rows()) {
        let (to, padding) = to.split_at_mut(tags);
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
        padding.fill(T::neg_infinity());
    }
    if let Some(log_partition) = forward_backward(Level::new(), chain, &mut marginals, &mut counts)
    {
        return Some(Outcome { log_partition, marginals, counts, width });
    }
    let expected = scores.expected(&steps(emissions, b))?;
    for (rows, from) in [(&mut marginals, expected.marginals), (&mut counts, expected.counts)] {
        rows.fill(T::zero());
        for (to, from) in rows.chunks_exact_mut(width).zip(from.chunks_exact(tags)) {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = T::from_f64(from));
        }
    }
    Some(Outcome { log_partition: expected.log_partition, marginals, counts, width })
}

fn steps<T: Float>(emissions: &Sequences<T>, b: usize) -> Vec<f64> {
    let (rows, length) = (emissions.values().index_axis(Axis(1), b), emissions.lengths()[b]);
    let rows = rows.split_at(Axis(0), length).0;
    rows.iter().map(|value| value.as_f64()).collect()
}

fn check<T: Float>(crf: &Crf<T>, emissions: &Sequences<T>) -> Result<Scores> {
    let (time, batch, got) = emissions.dim();
    let axes = "time, batch, tags";
    check_shape("emissions", axes, &[time, batch, crf.tags()], &[time, batch, got])?;
    crate::arrays::Arrays::check_finite(crf)?;
    for (t, step) in emissions.values().outer_iter().enumerate() {
        let rows = step.outer_iter().enumerate().filter(|&(b, _)| t < emissions.lengths()[b]);
        for (b, row) in rows {
            if let Some(k) = row.iter().position(|value| !value.is_finite()) {
                let argument = format!("emissions[{t}, {b}, {k}]");
                return Err(Error::argument(argument, "a finite value", row[k]));
            }
        }
    }
    Ok(crf.scores())
}

fn check_paths<T: Float>(
    crf: &Crf<T>,
    emissions: &Sequences<T>,
    tags: ArrayView2<'_, usize>,
) -> Result<()> {
    let expected = [emissions.time(), emissions.batch()];
    check_shape("tags", "time, batch", &expected, tags.shape())?;
    for (b, &length) in emissions.lengths().iter().enumerate() {
        for t in 0..length {
            let tag = tags[[t, b]];
            let refuse =
                |expected: String| Err(Error::argument(format!("tags[{t}, {b}]"), expected, tag));
            if tag >= crf.tags() {
                return refuse(format!("less than {} (tags)", crf.tags()));
            }
            let Some(rules) = crf.rules() else { continue };
            match t.checked_sub(1).map(|before| tags[[before, b]]) {
                None if !rules.may_start(tag) => {
                    return refuse("a tag that may start a sequence".to_owned());
                }
                Some(before) if !rules.may_follow(before, tag) => {
                    return refuse(format!("a tag that may follow {before}"));
                }
                _ if t + 1 == length && !rules.may_end(tag) => {
                    return refuse("a tag that may end a sequence".to_owned());
                }
                _ => {}
            }
        }
    }
    Ok(())
}
