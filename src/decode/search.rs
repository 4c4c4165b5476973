//! The steps of a [`BeamSearch`].
#![expect(clippy::indexing_slicing, reason = "tokens and beams are those of the logits")]

use std::cmp::Ordering;

use ndarray::{Array2, ArrayView1};

use crate::decode::{BeamSearch, Decoder, Hypothesis};
use crate::error::{Error, Result, check_count, check_shape, check_size};
use crate::float::{Float, per_float};
use crate::tensor::aligned::padded;
use crate::tensor::threads::{self, COPY_WORK};
use crate::tensor::top::{log_sum_exp, top_k};
use crate::tensor::{Aligned, Level};

per_float! {
    /// Searches for the best hypotheses of each sequence. `first` is the number of the first of them, in a mask
    /// and in errors.
    pub(super) fn search<'a, T>(
        options: &BeamSearch<'_>,
        decoder: &'a mut (dyn Decoder<Elem = T> + 'a),
        first_tokens: &[usize],
        first: usize,
    ) -> Result<Vec<Vec<Hypothesis>>> = search_all;
}

fn search_all<T: Float>(
    options: &BeamSearch<'_>,
    decoder: &mut (dyn Decoder<Elem = T> + '_),
    first_tokens: &[usize],
    first: usize,
) -> Result<Vec<Vec<Hypothesis>>> {
    check_count("the number of first_tokens", first_tokens.len())?;
    let mut logits = decoder.step(first_tokens)?;
    let vocabulary = check_size("logits [rows, vocabulary]", logits.shape())? / logits.nrows();
    options.check(vocabulary)?;
    let longest = options.length_penalty.at(options.max_length);
    let mut step = Step { options, longest, index: 0 };
    let mut beams: Vec<Beams> =
        (0..first_tokens.len()).map(|row| Beams::new(first + row, row)).collect();
    let mut rows = first_tokens.len();
    loop {
        check_shape("logits", "rows, vocabulary", &[rows, vocabulary], logits.shape())?;
        let parts = threads::parts(beams.len(), 1, rows * vocabulary * COPY_WORK);
        let length = beams.len().div_ceil(parts);
        threads::for_chunks(&mut beams, length, parts, &|_, beams| {
            let mut row = Row::new(vocabulary);
            for beams in beams {
                beams.next = beams.advance(&step, &mut row, &logits);
            }
        });
        let (mut parents, mut tokens) = (Vec::new(), Vec::new());
        for beams in &mut beams {
            let next = std::mem::replace(&mut beams.next, Ok(Vec::new()))?;
            parents.extend(next.iter().map(|next| beams.first + next.beam));
            beams.first = tokens.len();
            tokens.extend(next.iter().map(|next| next.token));
        }
        if tokens.is_empty() {
            return Ok(beams.into_iter().map(|beams| beams.complete).collect());
        }
        if !parents.iter().copied().eq(0..rows) {
            decoder.select(&parents)?;
        }
        rows = parents.len();
        logits = decoder.step(&tokens)?;
        step.index += 1;
    }
}

/// The values that all sequences share at a step.
struct Step<'a, 'm> {
    options: &'a BeamSearch<'m>,
    /// The length penalty of the greatest length.
    longest: f64,
    /// The number of steps before this one.
    index: usize,
}

/// The logits of one hypothesis, padded by −∞, and memory.
struct Row<T: Float> {
    level: Level,
    vocabulary: usize,
    logits: Aligned<T>,
    allowed: Vec<bool>,
    best: Vec<(T, usize)>,
}

impl<T: Float> Row<T> {
    fn new(vocabulary: usize) -> Self {
        let mut logits = Aligned::stale(padded::<T>(vocabulary));
        logits.fill(T::neg_infinity());
        Self { level: Level::new(), vocabulary, logits, allowed: Vec::new(), best: Vec::new() }
    }

    /// Copies the logits, and returns the largest one, m, and ln Σ e^(x − m); `None` if all are −∞. Fails
    /// with the index of a logit that is NaN or ∞.
    fn load(&mut self, logits: ArrayView1<'_, T>) -> Result<Option<(f64, f64)>, usize> {
        match logits.as_slice() {
            Some(logits) => self.logits[..self.vocabulary].copy_from_slice(logits),
            None => self.logits.iter_mut().zip(logits).for_each(|(to, &from)| *to = from),
        }
        let (largest, log_sum) = log_sum_exp(self.level, &self.logits);
        if log_sum.is_finite() {
            return Ok(Some((largest.as_f64(), log_sum)));
        }
        let bad = |x: &T| x.is_nan() || *x == T::infinity();
        self.logits.iter().position(bad).map_or(Ok(None), Err)
    }

    /// Forbids what may not follow `tokens` in the hypotheses of a sequence.
    fn forbid(&mut self, options: &BeamSearch<'_>, sequence: usize, tokens: &[usize]) {
        let mut forbid = |token: usize| self.logits[token] = T::neg_infinity();
        options.suppress_tokens.iter().copied().for_each(&mut forbid);
        if let Some(end) = options.end.filter(|_| tokens.len() < options.min_length) {
            forbid(end);
        }
        if let Some(size) = options.no_repeat_ngram_size.filter(|&size| size <= tokens.len()) {
            let start = &tokens[tokens.len() - (size - 1)..];
            let repeated = tokens.windows(size).filter(|gram| &gram[..size - 1] == start);
            repeated.for_each(|gram| forbid(gram[size - 1]));
        }
        if let Some(mask) = &options.mask {
            self.allowed.clear();
            self.allowed.resize(self.vocabulary, true);
            mask(sequence, tokens, &mut self.allowed);
            let forbidden = self.allowed.iter().enumerate().filter(|(_, allowed)| !**allowed);
            forbidden.for_each(|(token, _)| self.logits[token] = T::neg_infinity());
        }
    }
}

/// A hypothesis that has not ended.
struct Open {
    tokens: Vec<usize>,
    log_probability: f64,
}

/// A hypothesis with one more token.
struct Continuation {
    beam: usize,
    /// The place of the token among those that continue the same hypothesis.
    rank: usize,
    token: usize,
    log_probability: f64,
}

impl Continuation {
    /// The order of the module documentation of [`BeamSearch`].
    fn order(&self, other: &Self) -> Ordering {
        let likelier = other.log_probability.total_cmp(&self.log_probability);
        likelier.then(self.beam.cmp(&other.beam)).then(self.rank.cmp(&other.rank))
    }
}

/// The hypotheses of one sequence.
struct Beams {
    sequence: usize,
    /// The row of the first open hypothesis.
    first: usize,
    /// From the likeliest to the least likely.
    open: Vec<Open>,
    /// The best that are complete, from the highest score to the lowest.
    complete: Vec<Hypothesis>,
    /// The result of [`advance`](Self::advance).
    next: Result<Vec<Continuation>>,
}

impl Beams {
    fn new(sequence: usize, first: usize) -> Self {
        let start = Open { tokens: Vec::new(), log_probability: 0.0 };
        let (open, complete, next) = (vec![start], Vec::new(), Ok(Vec::new()));
        Self { sequence, first, open, complete, next }
    }

    /// Continues the open hypotheses by one token, and returns the continuations that stay open.
    fn advance<T: Float>(
        &mut self,
        step: &Step<'_, '_>,
        row: &mut Row<T>,
        logits: &Array2<T>,
    ) -> Result<Vec<Continuation>> {
        if self.open.is_empty() {
            return Ok(Vec::new());
        }
        let options = step.options;
        let mut next = self.continuations(step, row, logits)?;
        let mut place = 0;
        next.retain(|c| {
            place += 1;
            if options.end == Some(c.token) && place <= options.width {
                let tokens = self.open[c.beam].tokens.clone();
                self.complete(step, tokens, c.log_probability, true);
            }
            options.end != Some(c.token)
        });
        next.truncate(options.width);
        let continued = |c: &Continuation| {
            let before = &self.open[c.beam].tokens;
            let mut tokens = Vec::with_capacity(before.len() + 1);
            tokens.extend_from_slice(before);
            tokens.push(c.token);
            Open { tokens, log_probability: c.log_probability }
        };
        self.open = next.iter().map(continued).collect();
        if step.index + 1 == options.max_length {
            for Open { tokens, log_probability } in std::mem::take(&mut self.open) {
                self.complete(step, tokens, log_probability, false);
            }
        }
        if self.open.is_empty() && self.complete.is_empty() {
            let expected = "at least one finite value of a token that is allowed";
            let argument = format!("logits of step {} of sequence {}", step.index, self.sequence);
            return Err(Error::argument(argument, expected, "none"));
        }
        if self.is_settled(step) {
            self.open.clear();
        }
        next.truncate(self.open.len());
        Ok(next)
    }

    /// Returns the likeliest continuations in order, among them at least the `width` likeliest that stay
    /// open: each hypothesis has at most one that ends.
    fn continuations<T: Float>(
        &self,
        step: &Step<'_, '_>,
        row: &mut Row<T>,
        logits: &Array2<T>,
    ) -> Result<Vec<Continuation>> {
        let options = step.options;
        let mut all = Vec::new();
        for (beam, open) in self.open.iter().enumerate() {
            let logits = logits.row(self.first + beam);
            let Some((largest, log_sum)) = row.load(logits).map_err(|token| {
                let (index, sequence) = (step.index, self.sequence);
                let name = format!("logits of step {index} of sequence {sequence}, beam {beam}");
                Error::NonFinite { name, index: token, value: logits[token].as_f64() }
            })?
            else {
                continue;
            };
            row.forbid(options, self.sequence, &open.tokens);
            top_k(row.level, &row.logits, options.width.saturating_add(1), &mut row.best);
            for (rank, &(logit, token)) in row.best.iter().enumerate() {
                // Both differences are at most 0, so the sum never increases.
                let log_p = (logit.as_f64() - largest) - log_sum;
                let log_probability = open.log_probability + log_p;
                if log_probability > f64::NEG_INFINITY {
                    all.push(Continuation { beam, rank, token, log_probability });
                }
            }
        }
        let most = options.width.saturating_add(self.open.len());
        if all.len() > most {
            all.select_nth_unstable_by(most, Continuation::order);
            all.truncate(most);
        }
        all.sort_unstable_by(Continuation::order);
        Ok(all)
    }

    /// Adds a complete hypothesis to the best ones, behind those of the same score.
    fn complete(
        &mut self,
        step: &Step<'_, '_>,
        tokens: Vec<usize>,
        log_probability: f64,
        ended: bool,
    ) {
        let length = tokens.len() + usize::from(ended);
        let score = log_probability / step.options.length_penalty.at(length).min(step.longest);
        let place = self.complete.partition_point(|other| other.score >= score);
        self.complete.insert(place, Hypothesis { tokens, score, log_probability, ended });
        self.complete.truncate(step.options.n_best);
    }

    /// Returns whether no open hypothesis can enter the best ones.
    fn is_settled(&self, step: &Step<'_, '_>) -> bool {
        let options = step.options;
        let (likeliest, last) = (self.open.first(), self.complete.get(options.n_best - 1));
        options.early_stopping
            && likeliest
                .zip(last)
                .is_some_and(|(open, last)| last.score >= open.log_probability / step.longest)
    }
}
