//! Decoding of CTC logits: greedy, prefix beam search and alignment, against enumeration of all alignments.

use std::collections::HashMap;

use ndarray::{Array2, Array3, Axis, array, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::decode::ctc::{
    Greedy, PrefixBeam, PrefixScorer, PrefixSearch, Transcript, align, greedy,
};
use recurrent::loss::Ctc;
use recurrent::{Error, Sequences};

use crate::common::random::random;
use crate::ctc::{log_softmax, log_sum, paths, spelled};

/// Returns all labels that the alignments of one sequence spell, each with ln P, the likeliest first.
fn enumerated(x: &Array2<f64>, blank: usize) -> Vec<(Vec<usize>, f64)> {
    let y = log_softmax(x);
    let mut all: HashMap<Vec<usize>, Vec<f64>> = HashMap::new();
    for path in paths(x.nrows(), x.ncols()) {
        let log_p = path.iter().enumerate().map(|(t, &k)| y[[t, k]]).sum();
        all.entry(spelled(&path, blank)).or_default().push(log_p);
    }
    let mut all: Vec<(Vec<usize>, f64)> =
        all.into_iter().map(|(labels, log_p)| (labels, log_sum(log_p))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

fn one(x: &Array2<f64>) -> Sequences<f64> {
    Sequences::full(x.clone().insert_axis(Axis(1))).unwrap()
}

fn small(time: usize, classes: usize, seed: u64) -> Array2<f64> {
    2.0 * random((time, 1, classes), seed).index_axis_move(Axis(1), 0)
}

#[test]
fn a_beam_of_full_width_equals_the_sum_over_all_alignments() {
    for (time, classes) in [(1, 1), (1, 3), (3, 2), (4, 3), (5, 3), (4, 4), (7, 2)] {
        for blank in 0..classes {
            let x = small(time, classes, 11);
            let expected = enumerated(&x, blank);
            let beam = PrefixBeam::new(blank, 10_000).unwrap().n_best(10_000).unwrap();
            let got = &beam.decode(&one(&x)).unwrap()[0];
            assert_eq!(got.len(), expected.len());
            for (got, (labels, log_p)) in got.iter().zip(&expected) {
                assert_eq!(&got.labels, labels);
                assert!((got.log_probability - log_p).abs() < 1e-12);
                assert_eq!(got.score, got.log_probability);
            }
        }
    }
}

#[test]
fn a_beam_of_full_width_gives_the_values_of_the_loss() {
    let x = Sequences::new(2.0 * random((6, 3, 3), 2), vec![6, 1, 4]).unwrap();
    let beam = PrefixBeam::new(2, 10_000).unwrap().n_best(10).unwrap();
    for (b, transcripts) in beam.decode(&x).unwrap().iter().enumerate() {
        for transcript in transcripts {
            let mut labels = vec![vec![]; 3];
            labels[b] = transcript.labels.clone();
            let loss = Ctc::new(2).losses(&x, &labels).unwrap()[b];
            assert!((loss + transcript.log_probability).abs() < 1e-12);
        }
    }
}

#[test]
fn a_narrow_beam_never_exceeds_the_true_probability_and_finds_clear_labels() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..20 {
        let labels: Vec<usize> = (0..12).map(|_| rng.random_range(1..6)).collect();
        // Every label for two steps and a blank, with noise.
        let x = Array2::from_shape_fn((36, 6), |(t, k)| {
            let class = if t % 3 == 2 { 0 } else { labels[t / 3] };
            if k == class { 4.0 } else { rng.random_range(0.0..2.0) }
        });
        let x = one(&x);
        let beam = PrefixBeam::new(0, 8).unwrap().n_best(8).unwrap();
        let found = &beam.decode(&x).unwrap()[0];
        assert_eq!(found[0].labels, labels);
        for transcript in found {
            let exact =
                -Ctc::new(0).losses(&x, std::slice::from_ref(&transcript.labels)).unwrap()[0];
            assert!(transcript.log_probability <= exact + 1e-9);
        }
        assert!(found.is_sorted_by(|a, b| a.score >= b.score));
    }
}

#[test]
fn a_search_step_by_step_equals_the_batch_bit_for_bit() {
    let lengths = vec![9, 0, 4];
    let x = Sequences::new(2.0 * random((9, 3, 4), 5), lengths.clone()).unwrap();
    let mut noisy = x.values().clone();
    for (b, &length) in lengths.iter().enumerate() {
        noisy.slice_mut(s![length.., b, ..]).fill(f64::NAN);
    }
    let noisy = x.with_values(noisy).unwrap();
    let beam = PrefixBeam::new(1, 6).unwrap().n_best(6).unwrap();
    let all = beam.decode(&x).unwrap();
    assert_eq!(all, beam.decode(&noisy).unwrap());
    assert_eq!(greedy(&x, 1).unwrap(), greedy(&noisy, 1).unwrap());
    for (b, &length) in lengths.iter().enumerate() {
        let mut search = PrefixSearch::new(beam);
        let (mut decoder, mut labels) = (Greedy::new(1), Vec::new());
        for t in 0..length {
            search.step(x.values().slice(s![t, b, ..]), None).unwrap();
            labels.extend(decoder.step(x.values().slice(s![t, b, ..])).unwrap());
        }
        assert_eq!(search.transcripts(None).unwrap(), all[b]);
        assert_eq!(labels, greedy(&x, 1).unwrap()[b]);
    }
    let nothing = Transcript { labels: vec![], log_probability: 0.0, score: 0.0 };
    assert_eq!(all[1], [nothing]);
}

/// A bigram model, with scores of the last label.
struct Bigrams {
    table: Array2<f64>,
    ends: [f64; 3],
}

impl PrefixScorer for Bigrams {
    fn extend(&mut self, prefix: &[usize], label: usize) -> f64 {
        self.table[[prefix.last().copied().unwrap_or(0), label]]
    }

    fn finish(&mut self, labels: &[usize]) -> f64 {
        self.ends[labels.last().copied().unwrap_or(0)]
    }
}

#[test]
fn a_scorer_adds_its_scores_to_every_prefix() {
    let x = small(5, 3, 8);
    let table = array![[0.0, -0.3, 0.4], [0.0, f64::NEG_INFINITY, -1.0], [0.0, 0.7, -2.0]];
    let mut scorer = Bigrams { table, ends: [0.1, -0.5, f64::NEG_INFINITY] };
    let score = |scorer: &mut Bigrams, (labels, log_p): (Vec<usize>, f64)| {
        let steps = (0..labels.len()).map(|i| scorer.extend(&labels[..i], labels[i]));
        let score = log_p + steps.sum::<f64>() + scorer.finish(&labels);
        Transcript { labels, log_probability: log_p, score }
    };
    let mut expected: Vec<Transcript> =
        enumerated(&x, 0).into_iter().map(|found| score(&mut scorer, found)).collect();
    expected.retain(|transcript| transcript.score > f64::NEG_INFINITY);
    expected.sort_by(|a, b| b.score.total_cmp(&a.score));
    assert!(expected.len() > 5);

    let beam = PrefixBeam::new(0, 1000).unwrap().n_best(1000).unwrap();
    let got = beam.decode_with(&one(&x), &mut scorer).unwrap();
    assert_eq!(got[0].len(), expected.len());
    for (got, expected) in got[0].iter().zip(&expected) {
        assert_eq!(got.labels, expected.labels);
        assert!((got.score - expected.score).abs() < 1e-12);
        assert!((got.log_probability - expected.log_probability).abs() < 1e-12);
    }
}

#[test]
fn a_lexicon_allows_its_words_alone() {
    let words: [&[usize]; 3] = [&[1, 2, 1], &[2, 2], &[1, 3]];
    struct Lexicon<'a>(&'a [&'a [usize]]);
    impl PrefixScorer for Lexicon<'_> {
        fn extend(&mut self, prefix: &[usize], label: usize) -> f64 {
            let longer = [prefix, &[label]].concat();
            if self.0.iter().any(|word| word.starts_with(&longer)) {
                0.0
            } else {
                f64::NEG_INFINITY
            }
        }
        fn finish(&mut self, labels: &[usize]) -> f64 {
            if self.0.contains(&labels) { 0.0 } else { f64::NEG_INFINITY }
        }
    }
    let x = Sequences::new(3.0 * random((7, 5, 4), 4), vec![7, 7, 6, 5, 1]).unwrap();
    let beam = PrefixBeam::new(0, 50).unwrap().n_best(50).unwrap();
    let found = beam.decode_with(&x, &mut Lexicon(&words)).unwrap();
    for (b, transcripts) in found.iter().enumerate().take(4) {
        assert_eq!(transcripts.len(), 3, "all words fit sequence {b}");
        assert!(transcripts.iter().all(|transcript| words.contains(&&transcript.labels[..])));
    }
    assert!(found[4].is_empty(), "no word fits one step");
}

#[test]
fn greedy_decoding_spells_the_likeliest_alignment() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for blank in 0..4 {
        let x = Array2::from_shape_simple_fn((50, 4), || rng.random_range(-1.0..1.0));
        let path: Vec<usize> =
            x.rows().into_iter().map(|row| recurrent::decode::argmax(row).unwrap()).collect();
        assert_eq!(greedy(&one(&x), blank).unwrap(), [spelled(&path, blank)]);
    }
    let ties = Sequences::full(Array3::<f64>::zeros((3, 1, 3))).unwrap();
    assert_eq!(greedy(&ties, 2).unwrap(), [[0]]);
}

#[test]
fn the_alignment_is_the_likeliest_path_that_spells_the_labels() {
    for (time, classes) in [(1, 2), (3, 3), (5, 3), (4, 4), (7, 2)] {
        for blank in 0..classes {
            let x = small(time, classes, 21);
            let y = log_softmax(&x);
            for (labels, _) in enumerated(&x, blank) {
                let got = &align(&one(&x), std::slice::from_ref(&labels), blank).unwrap()[0];
                let of_path = |path: &Vec<usize>| {
                    path.iter().enumerate().map(|(t, &k)| y[[t, k]]).sum::<f64>()
                };
                let spelling = paths(time, classes).into_iter();
                let spelling = spelling.filter(|path| spelled(path, blank) == labels);
                let best = spelling.map(|path| of_path(&path)).fold(f64::NEG_INFINITY, f64::max);
                assert!((got.log_probability - best).abs() < 1e-12);
                assert!((of_path(&got.path) - best).abs() < 1e-12);
                assert_eq!(spelled(&got.path, blank), labels);
                let mut path = vec![blank; time];
                for (steps, &label) in got.steps.iter().zip(&labels) {
                    assert!(!steps.is_empty());
                    path[steps.clone()].fill(label);
                }
                assert_eq!((path, got.steps.len()), (got.path.clone(), labels.len()));
                assert!(got.steps.is_sorted_by(|a, b| a.end <= b.start));
            }
        }
    }
}

#[test]
fn an_alignment_of_a_batch_is_that_of_each_sequence() {
    let lengths = vec![8, 3, 0, 5];
    let labels = vec![vec![1, 1, 2], vec![2], vec![], vec![]];
    let x = Sequences::new(random((8, 4, 3), 2), lengths.clone()).unwrap();
    let all = align(&x, &labels, 0).unwrap();
    for (b, &length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
        let alone = x.values().slice(s![..length, b, ..]).to_owned();
        assert_eq!(align(&one(&alone), &labels[b..=b], 0).unwrap()[0], all[b]);
    }
    assert_eq!((all[2].path.len(), all[2].log_probability), (0, 0.0));
    assert_eq!(all[3].path, [0; 5]);
}

#[test]
fn probabilities_of_zero_are_never_decoded() {
    let none = f64::NEG_INFINITY;
    let x = one(&array![[none, 0.0, none], [none, none, 0.0]]);
    let beam = PrefixBeam::new(0, 9).unwrap().n_best(9).unwrap();
    let found = &beam.decode(&x).unwrap()[0];
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].labels[..], found[0].log_probability), (&[1, 2][..], 0.0));
    assert_eq!(align(&x, &[vec![1, 2]], 0).unwrap()[0].log_probability, 0.0);
    let error = align(&x, &[vec![2]], 0).unwrap_err().to_string();
    assert_eq!(error, "labels[0]: expected an alignment of probability above zero, got none");
}

#[test]
fn bad_input_is_refused_and_named() {
    let text = |error: Error| error.to_string();
    let x = Sequences::new(random((3, 2, 3), 1), vec![3, 2]).unwrap();
    assert_eq!(text(PrefixBeam::new(0, 0).unwrap_err()), "width: expected at least 1, got 0");
    let beam = PrefixBeam::new(0, 4).unwrap();
    assert_eq!(text(beam.n_best(0).unwrap_err()), "n_best: expected 1 to 4 (width), got 0");
    assert_eq!(text(beam.n_best(5).unwrap_err()), "n_best: expected 1 to 4 (width), got 5");
    let blank = "blank: expected less than 3 (classes), got 3";
    assert_eq!(text(greedy(&x, 3).unwrap_err()), blank);
    assert_eq!(text(PrefixBeam::new(3, 4).unwrap().decode(&x).unwrap_err()), blank);
    assert_eq!(text(align(&x, &[vec![], vec![]], 3).unwrap_err()), blank);

    let most = "labels that need at most 2 steps (the length of the sequence)";
    let expected = format!("labels[1]: expected {most}, got 2 labels that need 3");
    assert_eq!(text(align(&x, &[vec![1], vec![1, 1]], 0).unwrap_err()), expected);
    let expected = "labels[0][0]: expected a class other than the blank, got 0";
    assert_eq!(text(align(&x, &[vec![0], vec![1]], 0).unwrap_err()), expected);

    let mut values = x.values().clone();
    values[[1, 1, 2]] = f64::NAN;
    let bad = x.with_values(values).unwrap();
    let expected = "logits[1, 1, 2]: expected finite values, got NaN at flat index 11";
    assert_eq!(text(greedy(&bad, 0).unwrap_err()), expected);
    assert_eq!(text(beam.decode(&bad).unwrap_err()), expected);
    assert_eq!(text(align(&bad, &[vec![1], vec![1]], 0).unwrap_err()), expected);

    for score in [f64::NAN, f64::INFINITY] {
        let mut scorer = |_: &[usize], _: usize| score;
        let error = text(beam.decode_with(&x, &mut scorer).unwrap_err());
        assert_eq!(error, format!("scorer: expected scores below ∞, got {score}"));
    }
    let mut search = PrefixSearch::new(beam);
    let nan = array![0.0, f64::NAN, 0.0];
    let expected = "logits: expected finite values, got NaN at flat index 1";
    assert_eq!(text(search.step(nan.view(), None).unwrap_err()), expected);
    assert_eq!(text(Greedy::new(0).step(nan.view()).unwrap_err()), expected);
    let nothing = ndarray::Array1::from_elem(3, f64::NEG_INFINITY);
    let expected = "logits: expected finite values, got -inf at flat index 0";
    assert_eq!(text(Greedy::new(0).step(nothing.view()).unwrap_err()), expected);
    let empty = ndarray::Array1::<f64>::zeros(0);
    let expected = "logits: expected at least one class, got 0";
    assert_eq!(text(Greedy::new(0).step(empty.view()).unwrap_err()), expected);
}
