//! The scores of paths in f64, in which −∞ forbids, and forward–backward in logarithms.

use crate::layer::crf::Constraints;

/// The scores of a CRF.
#[derive(Debug)]
pub(super) struct Scores {
    pub(super) tags: usize,
    pub(super) start: Vec<f64>,
    pub(super) end: Vec<f64>,
    /// [tags, tags], a row for each tag before.
    pub(super) transitions: Vec<f64>,
}

/// The result of forward–backward for one sequence.
#[derive(Debug)]
pub(super) struct Expected {
    /// ln Z.
    pub(super) log_partition: f64,
    /// The probability of each tag at each step, [steps, tags].
    pub(super) marginals: Vec<f64>,
    /// The expected number of each transition, [tags, tags].
    pub(super) counts: Vec<f64>,
}

impl Scores {
    /// Sets what `constraints` forbid to −∞.
    pub(super) fn forbid(&mut self, constraints: &Constraints) {
        let forbid = |score: &mut f64, allowed: bool| {
            if !allowed {
                *score = f64::NEG_INFINITY;
            }
        };
        for (tag, score) in self.start.iter_mut().enumerate() {
            forbid(score, constraints.may_start(tag));
        }
        for (tag, score) in self.end.iter_mut().enumerate() {
            forbid(score, constraints.may_end(tag));
        }
        for (place, score) in self.transitions.iter_mut().enumerate() {
            forbid(score, constraints.may_follow(place / self.tags, place % self.tags));
        }
    }

    /// Returns the score of the transition from tag `i` to tag `j`.
    pub(super) fn transition(&self, i: usize, j: usize) -> f64 {
        self.transitions[i * self.tags + j]
    }

    /// Returns the score of a path through `emissions` [steps, tags]; 0 for one without steps.
    pub(super) fn of_path(&self, emissions: &[f64], path: impl Iterator<Item = usize>) -> f64 {
        let (mut sum, mut before) = (0.0, None);
        for (tag, emissions) in path.zip(emissions.chunks_exact(self.tags)) {
            let arc = before.map_or(self.start[tag], |before| self.transition(before, tag));
            sum += arc + emissions[tag];
            before = Some(tag);
        }
        sum + before.map_or(0.0, |last: usize| self.end[last])
    }

    /// Returns the sums over all paths through `emissions` [steps, tags], with at least one step, or `None`
    /// if all paths are forbidden.
    ///
    /// ```text
    /// α_0 = start + e_0        α_t,j = e_t,j + ln Σ_i e^(α_{t−1,i} + transitions_ij)
    /// β_{L−1} = end            β_{t−1,i} = ln Σ_j e^(transitions_ij + e_t,j + β_t,j)
    /// ```
    pub(super) fn expected(&self, emissions: &[f64]) -> Option<Expected> {
        let (tags, steps) = (self.tags, emissions.len() / self.tags);
        let mut terms = vec![0.0; tags];
        let mut alpha = vec![0.0; emissions.len()];
        for t in 0..steps {
            for j in 0..tags {
                let before = match t.checked_sub(1) {
                    None => self.start[j],
                    Some(before) => {
                        for i in 0..tags {
                            terms[i] = alpha[before * tags + i] + self.transition(i, j);
                        }
                        log_sum_exp(&terms)
                    }
                };
                alpha[t * tags + j] = emissions[t * tags + j] + before;
            }
        }
        let last = &alpha[(steps - 1) * tags..];
        terms.iter_mut().zip(last.iter().zip(&self.end)).for_each(|(to, (a, b))| *to = a + b);
        let log_partition = log_sum_exp(&terms);
        if log_partition == f64::NEG_INFINITY {
            return None;
        }
        let mut marginals = vec![0.0; emissions.len()];
        let mut counts = vec![0.0; tags * tags];
        let mut beta = self.end.clone();
        for t in (0..steps).rev() {
            let row = &alpha[t * tags..][..tags];
            for j in 0..tags {
                marginals[t * tags + j] = (row[j] + beta[j] - log_partition).exp();
            }
            let Some(before) = t.checked_sub(1) else { break };
            let mut next = vec![0.0; tags];
            for i in 0..tags {
                for j in 0..tags {
                    terms[j] = self.transition(i, j) + emissions[t * tags + j] + beta[j];
                    let share = alpha[before * tags + i] + terms[j] - log_partition;
                    counts[i * tags + j] += share.exp();
                }
                next[i] = log_sum_exp(&terms);
            }
            beta = next;
        }
        Some(Expected { log_partition, marginals, counts })
    }
}

/// Returns ln Σ eˣ, −∞ if all terms are −∞.
fn log_sum_exp(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln()
}
