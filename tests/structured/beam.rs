//! Tests of beam search.

use ndarray::{Array1, Array2, Array3, Axis, s};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::decode::{BeamSearch, Decoder, Hypothesis, LengthPenalty, argmax};
use recurrent::{Float, Result};

mod generator;
mod refused;

/// The number of steps that a decoder of these tests can make.
const STEPS: usize = 10;

/// A decoder whose logits depend on the sequence, the step and the last two tokens. So no two hypotheses
/// have the same terms in another order.
#[derive(Clone)]
struct Markov<T> {
    /// For each sequence, [vocabulary · vocabulary, vocabulary].
    logits: Array3<T>,
    /// The values that are added at each step, [steps, vocabulary].
    shifts: Array2<T>,
    /// The sequence and the token before the last of each row.
    rows: Vec<(usize, usize)>,
    /// The number of rows of each step.
    steps: Vec<usize>,
}

impl<T: Float> Markov<T> {
    fn new(logits: Array3<T>) -> Self {
        let rows = (0..logits.len_of(Axis(0))).map(|b| (b, 0)).collect();
        let shifts = Array2::zeros((STEPS, logits.len_of(Axis(2))));
        Self { logits, shifts, rows, steps: Vec::new() }
    }

    fn random(sequences: usize, vocabulary: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shape = (sequences, vocabulary * vocabulary, vocabulary);
        let mut draw = || T::from_f64(rng.random_range(-3.0..3.0));
        let logits = Array3::from_shape_simple_fn(shape, &mut draw);
        let shifts = Array2::from_shape_simple_fn((STEPS, vocabulary), draw);
        Self { shifts, ..Self::new(logits) }
    }

    fn vocabulary(&self) -> usize {
        self.logits.len_of(Axis(2))
    }

    /// Returns the decoder of sequence `b` alone.
    fn only(&self, b: usize) -> Self {
        let logits = self.logits.slice(s![b..=b, .., ..]).to_owned();
        Self { shifts: self.shifts.clone(), ..Self::new(logits) }
    }

    /// Returns the logits of step `t` after the token before the last and the last one.
    fn row(&self, t: usize, b: usize, before: usize, last: usize) -> Array1<T> {
        let row = self.logits.slice(s![b, before * self.vocabulary() + last, ..]);
        &row + &self.shifts.row(t)
    }

    /// Returns ln p of each token.
    fn log_p(&self, t: usize, b: usize, before: usize, last: usize) -> Vec<f64> {
        let row = self.row(t, b, before, last);
        let sum: f64 = row.iter().map(|x| x.as_f64().exp()).sum();
        row.iter().map(|x| x.as_f64() - sum.ln()).collect()
    }
}

impl<T: Float> Decoder for Markov<T> {
    type Elem = T;

    fn step(&mut self, tokens: &[usize]) -> Result<Array2<T>> {
        assert_eq!(tokens.len(), self.rows.len());
        let mut logits = Array2::zeros((tokens.len(), self.vocabulary()));
        for (r, &last) in tokens.iter().enumerate() {
            let (b, before) = self.rows[r];
            logits.row_mut(r).assign(&self.row(self.steps.len(), b, before, last));
            self.rows[r].1 = last;
        }
        self.steps.push(tokens.len());
        Ok(logits)
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        self.rows = rows.iter().map(|&row| self.rows[row]).collect();
        Ok(())
    }
}

/// The options of a search by brute force.
struct Rules<'a> {
    end: Option<usize>,
    max_length: usize,
    min_length: usize,
    penalty: LengthPenalty,
    allowed: &'a (dyn Fn(&[usize], usize) -> bool + Sync),
}

impl Default for Rules<'_> {
    fn default() -> Self {
        Self {
            end: None,
            max_length: 4,
            min_length: 0,
            penalty: LengthPenalty::None,
            allowed: &|_, _| true,
        }
    }
}

impl Rules<'_> {
    /// Returns every complete hypothesis of sequence `b` of `decoder`, the best first.
    fn all<T: Float>(&self, decoder: &Markov<T>, b: usize, first: usize) -> Vec<Hypothesis> {
        let mut found = Vec::new();
        self.extend(decoder, b, &mut vec![0, first], 0.0, &mut found);
        found.sort_by(|x, y| y.score.total_cmp(&x.score));
        found
    }

    /// Adds every completion of `path`: the token before the first, the first, and the hypothesis.
    fn extend<T: Float>(
        &self,
        decoder: &Markov<T>,
        b: usize,
        path: &mut Vec<usize>,
        log_probability: f64,
        found: &mut Vec<Hypothesis>,
    ) {
        let length = path.len() - 2;
        if length == self.max_length {
            return found.push(self.complete(&path[2..], log_probability, false));
        }
        let log_p = decoder.log_p(length, b, path[length], path[length + 1]);
        for token in 0..decoder.vocabulary() {
            let log_probability = log_probability + log_p[token];
            if !(self.allowed)(&path[2..], token) {
                continue;
            }
            if self.end != Some(token) {
                path.push(token);
                self.extend(decoder, b, path, log_probability, found);
                path.pop();
            } else if length >= self.min_length {
                found.push(self.complete(&path[2..], log_probability, true));
            }
        }
    }

    fn complete(&self, tokens: &[usize], log_probability: f64, ended: bool) -> Hypothesis {
        let n = (tokens.len() + usize::from(ended)) as f64;
        let divisor = match self.penalty {
            LengthPenalty::None => 1.0,
            LengthPenalty::Wu(alpha) => (5.0 + n).powf(alpha) / 6_f64.powf(alpha),
            LengthPenalty::Mean => n,
        };
        let score = log_probability / divisor;
        Hypothesis { tokens: tokens.to_vec(), score, log_probability, ended }
    }

    /// Returns the beam search of these rules.
    fn search(&self, width: usize) -> BeamSearch<'_> {
        let search = BeamSearch::new(width).unwrap().max_length(self.max_length).unwrap();
        let search = search.length_penalty(self.penalty).unwrap().min_length(self.min_length);
        let search = search.mask(|_, tokens, allowed| {
            for (token, allowed) in allowed.iter_mut().enumerate() {
                *allowed = (self.allowed)(tokens, token);
            }
        });
        match self.end {
            Some(end) => search.end(end),
            None => search,
        }
    }
}

/// Fails unless the hypotheses are the same and their scores differ by rounding only.
fn assert_same(found: &[Hypothesis], expected: &[Hypothesis], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!((&found.tokens, found.ended), (&expected.tokens, expected.ended));
        assert!((found.score - expected.score).abs() <= tolerance, "{found:?} {expected:?}");
        let difference = found.log_probability - expected.log_probability;
        assert!(difference.abs() <= tolerance, "{found:?} {expected:?}");
    }
}

const PENALTIES: [LengthPenalty; 5] = [
    LengthPenalty::None,
    LengthPenalty::Wu(0.0),
    LengthPenalty::Wu(0.6),
    LengthPenalty::Wu(2.0),
    LengthPenalty::Mean,
];

/// Enough for every sequence of 4 tokens of 4.
const ALL: usize = 256;

#[test]
fn a_full_width_finds_every_sequence_in_order() {
    for (seed, penalty) in PENALTIES.into_iter().enumerate() {
        for end in [None, Some(0), Some(3)] {
            let decoder = Markov::<f64>::random(1, 4, seed as u64);
            let rules = Rules { end, penalty, ..Rules::default() };
            let expected = rules.all(&decoder, 0, 2);
            let search = rules.search(ALL * 2).n_best(expected.len()).unwrap();
            let found = search.search(&mut decoder.clone(), &[2]).unwrap();
            assert_same(&found[0], &expected, 1e-12);
            // The best one needs no more than one place for each beginning.
            let found = rules.search(ALL / 4).search(&mut decoder.clone(), &[2]).unwrap();
            assert_same(&found[0], &expected[..1], 1e-12);
        }
    }
}

#[test]
fn f32_logits_give_the_same_hypotheses() {
    let decoder = Markov::<f32>::random(1, 4, 7);
    let rules = Rules { end: Some(1), penalty: LengthPenalty::Mean, ..Rules::default() };
    let search = rules.search(ALL).n_best(10).unwrap();
    let found = search.search(&mut decoder.clone(), &[0]).unwrap();
    assert_same(&found[0], &rules.all(&decoder, 0, 0)[..10], 1e-5);
}

#[test]
fn rules_hold_in_every_hypothesis_and_lose_no_other() {
    let no_repeat = |size: usize| {
        move |tokens: &[usize], token: usize| {
            let longer = [tokens, &[token]].concat();
            let grams: Vec<&[usize]> = longer.windows(size).collect();
            grams.last().is_none_or(|last| !grams[..grams.len() - 1].contains(last))
        }
    };
    for (seed, size) in (1..=3).enumerate() {
        let decoder = Markov::<f64>::random(1, 4, 20 + seed as u64);
        let allowed = no_repeat(size);
        let rules = Rules { end: Some(2), max_length: 4, allowed: &allowed, ..Rules::default() };
        let expected = rules.all(&decoder, 0, 1);
        let search = BeamSearch::new(2 * ALL).unwrap().n_best(expected.len()).unwrap();
        let search = search.end(2).max_length(4).unwrap().no_repeat_ngram_size(size).unwrap();
        assert_same(&search.search(&mut decoder.clone(), &[1]).unwrap()[0], &expected, 1e-12);
    }
    for min_length in 0..=4 {
        let decoder = Markov::<f64>::random(1, 4, 30 + min_length as u64);
        let penalty = LengthPenalty::Wu(1.0);
        let rules = Rules { end: Some(0), min_length, penalty, ..Rules::default() };
        let expected = rules.all(&decoder, 0, 1);
        let search = rules.search(2 * ALL).n_best(expected.len()).unwrap();
        assert_same(&search.search(&mut decoder.clone(), &[1]).unwrap()[0], &expected, 1e-12);
    }
    let decoder = Markov::<f64>::random(1, 4, 40);
    let allowed = |tokens: &[usize], token: usize| token != 1 && tokens.last() != Some(&token);
    let rules = Rules { end: Some(3), allowed: &allowed, ..Rules::default() };
    let expected = rules.all(&decoder, 0, 0);
    let search = rules.search(ALL).n_best(expected.len()).unwrap();
    assert_same(&search.search(&mut decoder.clone(), &[0]).unwrap()[0], &expected, 1e-12);
    let suppressed = search.suppress_tokens(&[1]).mask(|_, tokens, allowed| {
        tokens.last().into_iter().for_each(|&last| allowed[last] = false);
    });
    assert_same(&suppressed.search(&mut decoder.clone(), &[0]).unwrap()[0], &expected, 1e-12);
}

#[test]
fn width_1_without_a_penalty_is_greedy() {
    for seed in 0..50 {
        let mut decoder = Markov::<f64>::random(1, 7, seed);
        let search = BeamSearch::new(1).unwrap().end(0).max_length(9).unwrap();
        let found = search.search(&mut decoder.clone(), &[3]).unwrap().remove(0).remove(0);
        let (mut tokens, mut last, mut ended) = (Vec::new(), 3, false);
        while tokens.len() < 9 && !ended {
            last = argmax(decoder.step(&[last]).unwrap().row(0)).unwrap();
            ended = last == 0;
            tokens.extend((!ended).then_some(last));
        }
        assert_eq!((found.tokens, found.ended), (tokens, ended));
    }
}

#[test]
fn a_wide_beam_finds_what_greedy_misses() {
    let mut better = 0;
    for seed in 0..50 {
        let decoder = Markov::<f64>::random(1, 7, seed);
        let best = |width: usize| {
            let search = BeamSearch::new(width).unwrap().max_length(6).unwrap();
            search.search(&mut decoder.clone(), &[3]).unwrap()[0][0].log_probability
        };
        assert!(best(2000) >= best(3) && best(2000) >= best(1));
        better += usize::from(best(3) > best(1));
    }
    assert!(better > 10, "{better}");
}

/// Ended hypotheses take no place of the beam: with width 2, both continuations of "1" stay.
#[test]
fn the_end_token_counts_among_the_likeliest_only() {
    let p = |values: [f64; 3]| values.map(f64::ln);
    let after = [p([0.3, 0.6, 0.1]), p([0.25, 0.4, 0.35]), p([0.2, 0.5, 0.3])];
    let logits = Array3::from_shape_fn((1, 9, 3), |(_, row, token)| after[row % 3][token]);
    let search = BeamSearch::new(2).unwrap().n_best(2).unwrap().end(0).max_length(2).unwrap();
    let found = search.search(&mut Markov::new(logits), &[0]).unwrap().remove(0);
    // Of "1 end" (0.15), "1 1" (0.24), "1 2" (0.21) the first is the third likeliest.
    let log = |p: f64| p.ln();
    assert_eq!([&found[0].tokens[..], &found[1].tokens[..]], [&[][..], &[1, 1]]);
    assert!((found[0].score - log(0.3)).abs() < 1e-12 && found[0].ended);
    assert!((found[1].score - log(0.24)).abs() < 1e-12 && !found[1].ended);
}

#[test]
fn ties_are_broken_by_the_lower_token_and_the_shorter_hypothesis() {
    let mut decoder = Markov::new(Array3::<f32>::zeros((1, 25, 5)));
    let search = BeamSearch::new(4).unwrap().n_best(4).unwrap().max_length(2).unwrap();
    let found = search.search(&mut decoder, &[4]).unwrap().remove(0);
    let tokens: Vec<&[usize]> = found.iter().map(|found| &found.tokens[..]).collect();
    assert_eq!(tokens, [[0, 0], [0, 1], [0, 2], [0, 3]]);

    let search = search.end(1).length_penalty(LengthPenalty::Mean).unwrap();
    let mut decoder = Markov::new(Array3::<f32>::zeros((1, 25, 5)));
    let found = search.search(&mut decoder, &[4]).unwrap().remove(0);
    let tokens: Vec<&[usize]> = found.iter().map(|found| &found.tokens[..]).collect();
    assert_eq!(tokens, [&[][..], &[0], &[0, 0], &[0, 2]]);
}

#[test]
fn one_step_serves_the_rows_of_all_sequences_that_are_open() {
    // Sequence 0 ends at once: token 0 is certain after everything.
    let mut logits = Array3::<f64>::zeros((2, 9, 3));
    logits.slice_mut(s![0, .., 0]).fill(1e3);
    let mut decoder = Markov::new(logits);
    let search = BeamSearch::new(2).unwrap().end(0).max_length(3).unwrap();
    let search = search.length_penalty(LengthPenalty::Mean).unwrap().min_length(2);
    let found = search.search(&mut decoder, &[1, 1]).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(decoder.steps, [2, 4, 4]);
    let mut decoder = Markov::new(decoder.logits);
    let found = search.min_length(0).search(&mut decoder, &[1, 1]).unwrap();
    assert!(found[0][0].tokens.is_empty());
    assert_eq!(decoder.steps, [2, 2, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_early_stop_changes_no_result(
        seed in 0_u64..1 << 40,
        width in 1_usize..6,
        n_best in 1_usize..6,
        max_length in 1_usize..8,
        penalty in 0_usize..5,
        sharp in 1.0..8.0,
    ) {
        let mut decoder = Markov::<f64>::random(3, 5, seed);
        decoder.logits *= sharp;
        let search = BeamSearch::new(width).unwrap().end(0).max_length(max_length).unwrap();
        let search = search.n_best(n_best.min(width)).unwrap();
        let search = search.length_penalty(PENALTIES[penalty]).unwrap();
        let (mut fast, mut slow) = (decoder.clone(), decoder);
        let found = search.search(&mut fast, &[1, 2, 3]).unwrap();
        let all = search.early_stopping(false).search(&mut slow, &[1, 2, 3]).unwrap();
        prop_assert_eq!(found, all);
        prop_assert!(fast.steps.iter().sum::<usize>() <= slow.steps.iter().sum());
    }

    #[test]
    fn a_batch_gives_the_bits_of_each_sequence_alone(
        seed in 0_u64..1 << 40,
        width in 1_usize..6,
        vocabulary in 2_usize..40,
        penalty in 0_usize..5,
    ) {
        let decoder = Markov::<f32>::random(4, vocabulary, seed);
        let search = BeamSearch::new(width).unwrap().n_best(width).unwrap().end(0);
        let search = search.max_length(6).unwrap().length_penalty(PENALTIES[penalty]).unwrap();
        let together = search.search(&mut decoder.clone(), &[1, 0, 1, 0]).unwrap();
        for (b, first) in [1, 0, 1, 0].into_iter().enumerate() {
            let alone = search.search(&mut decoder.only(b), &[first]).unwrap();
            prop_assert_eq!(&alone[0], &together[b]);
        }
    }

    #[test]
    fn the_best_come_first_and_differ(seed in 0_u64..1 << 40, penalty in 0_usize..5) {
        let mut decoder = Markov::<f64>::random(1, 6, seed);
        let search = BeamSearch::new(8).unwrap().n_best(8).unwrap().end(0).max_length(5).unwrap();
        let search = search.length_penalty(PENALTIES[penalty]).unwrap();
        let found = search.search(&mut decoder, &[1]).unwrap().remove(0);
        prop_assert_eq!(found.len(), 8);
        prop_assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
        for (i, one) in found.iter().enumerate() {
            let same = |other: &Hypothesis| (&other.tokens, other.ended) == (&one.tokens, one.ended);
            prop_assert!(!found[..i].iter().any(same));
        }
    }
}

#[test]
fn an_early_stop_saves_steps() {
    let mut decoder = Markov::new(Array3::<f64>::zeros((1, 9, 3)));
    decoder.logits.slice_mut(s![.., .., 0]).fill(2.0);
    let search = BeamSearch::new(3).unwrap().end(0);
    let found = search.search(&mut decoder, &[1]).unwrap();
    assert_eq!((&found[0][0].tokens[..], decoder.steps.len()), (&[][..], 1));
}

#[test]
fn a_logit_of_minus_infinity_is_never_chosen() {
    let mut decoder = Markov::<f64>::random(1, 4, 3);
    decoder.logits.slice_mut(s![.., .., 2]).fill(f64::NEG_INFINITY);
    let search = BeamSearch::new(ALL).unwrap().n_best(ALL).unwrap().max_length(3).unwrap();
    let found = search.search(&mut decoder, &[0]).unwrap().remove(0);
    assert_eq!(found.len(), 27);
    assert!(found.iter().all(|one| !one.tokens.contains(&2)));
}

#[test]
fn a_hypothesis_without_an_allowed_token_is_dropped() {
    let decoder = Markov::<f64>::random(2, 4, 5);
    // Nothing follows 0 or 1.
    let rule = |_: usize, tokens: &[usize], allowed: &mut [bool]| {
        if tokens.last().is_some_and(|&last| last < 2) {
            allowed.fill(false);
        }
    };
    let search = BeamSearch::new(ALL).unwrap().n_best(ALL).unwrap().max_length(3).unwrap();
    let found = search.clone().mask(rule).search(&mut decoder.clone(), &[0, 0]).unwrap();
    assert!(found.iter().all(|found| found.len() == 2 * 2 * 4));

    // Nothing at all is allowed in sequence 1 from its second token on.
    let rule = |b: usize, tokens: &[usize], allowed: &mut [bool]| {
        if b == 1 && tokens.len() == 1 {
            allowed.fill(false);
        }
    };
    let error = search.mask(rule).search(&mut decoder.clone(), &[0, 0]).unwrap_err();
    let expected = "logits of step 1 of sequence 1: expected at least one finite value of a token that \
                    is allowed, got none";
    assert_eq!(error.to_string(), expected);
    let mut impossible = Markov::new(Array3::from_elem((1, 9, 3), f32::NEG_INFINITY));
    let error = BeamSearch::new(2).unwrap().search(&mut impossible, &[0]).unwrap_err();
    assert!(error.to_string().starts_with("logits of step 0 of sequence 0: "));
}

/// A decoder of 2,000 tokens whose logits depend on all tokens of the row.
struct Hashed(Vec<u64>);

impl Decoder for Hashed {
    type Elem = f32;

    fn step(&mut self, tokens: &[usize]) -> Result<Array2<f32>> {
        for (row, &token) in self.0.iter_mut().zip(tokens) {
            *row = (*row ^ token as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        }
        Ok(Array2::from_shape_fn((tokens.len(), 2000), |(row, token)| {
            let bits = (self.0[row] ^ token as u64).wrapping_mul(0xd129_0d4b_a0b5_c5a5);
            (bits >> 40) as f32 / 1e6
        }))
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        self.0 = rows.iter().map(|&row| self.0[row]).collect();
        Ok(())
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let sequences = 256;
    let search = BeamSearch::new(4).unwrap().n_best(4).unwrap().end(0).max_length(4).unwrap();
    let search = search.mask(|b, tokens, allowed| allowed[1000 + b + tokens.len()] = false);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let first: Vec<usize> = (0..sequences).collect();
        let run = || search.search(&mut Hashed(vec![1; sequences]), &first).unwrap();
        pool.install(run)
    };
    let one = with(1);
    assert!(one.iter().all(|found| found.len() == 4));
    assert!(one.windows(2).all(|pair| pair[0] != pair[1]));
    for threads in [2, 3, 7] {
        assert_eq!(with(threads), one, "{threads} threads");
    }
}
