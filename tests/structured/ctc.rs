//! The CTC loss: all alignments by enumeration, a reference in log space, PyTorch, and bad input.

use std::iter::zip;

use ndarray::{Array1, Array2, Array3, Axis, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::loss::{Ctc, Loss, Sum};
use recurrent::{Error, Sequences};

use crate::common::bits::bits;
use crate::common::distance::distance;
use crate::common::fixture::Fixture;
use crate::common::random::random;

/// Returns ln Σ eˣ.
pub(crate) fn log_sum(values: impl IntoIterator<Item = f64> + Clone) -> f64 {
    let max = values.clone().into_iter().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + values.into_iter().map(|x| (x - max).exp()).sum::<f64>().ln()
}

/// Returns the logarithm of the softmax of each row.
pub(crate) fn log_softmax(x: &Array2<f64>) -> Array2<f64> {
    let sums = x.map_axis(Axis(1), |row| log_sum(row.to_vec()));
    x - &sums.insert_axis(Axis(1))
}

/// Returns the labels that an alignment spells.
pub(crate) fn spelled(path: &[usize], blank: usize) -> Vec<usize> {
    let mut path = path.to_vec();
    path.dedup();
    path.retain(|&class| class != blank);
    path
}

/// Returns every list of `length` classes.
pub(crate) fn paths(length: usize, classes: usize) -> Vec<Vec<usize>> {
    let mut paths = vec![Vec::new()];
    for _ in 0..length {
        let longer = |path: &Vec<usize>| {
            let path = path.clone();
            (0..classes).map(move |class| [&path[..], &[class]].concat())
        };
        paths = paths.iter().flat_map(longer).collect();
    }
    paths
}

/// Returns −ln P of `labels` and its gradient by the sum over all alignments.
fn enumerated(x: &Array2<f64>, labels: &[usize], blank: usize) -> (f64, Array2<f64>) {
    let y = log_softmax(x);
    let matching = paths(x.nrows(), x.ncols()).into_iter();
    let matching: Vec<Vec<usize>> =
        matching.filter(|path| spelled(path, blank) == labels).collect();
    let of_path = |path: &Vec<usize>| path.iter().enumerate().map(|(t, &k)| y[[t, k]]).sum::<f64>();
    let log_p: Vec<f64> = matching.iter().map(of_path).collect();
    let total = log_sum(log_p.clone());
    let mut gradient = y.mapv(f64::exp);
    for (path, log_p) in zip(&matching, log_p) {
        for (t, &k) in path.iter().enumerate() {
            gradient[[t, k]] -= (log_p - total).exp();
        }
    }
    (-total, gradient)
}

/// Returns the same by the recursions in log space.
fn in_log_space(x: &Array2<f64>, labels: &[usize], blank: usize) -> (f64, Array2<f64>) {
    let y = log_softmax(x);
    let time = x.nrows();
    let cells: Vec<usize> =
        labels.iter().flat_map(|&label| [blank, label]).chain([blank]).collect();
    let skips = |s: usize| s >= 2 && cells[s] != blank && cells[s] != cells[s - 2];
    let none = f64::NEG_INFINITY;
    let mut alpha = Array2::from_elem((time, cells.len()), none);
    let mut beta = alpha.clone();
    for t in 0..time {
        for s in 0..cells.len() {
            let before = |back: usize| if s >= back { alpha[[t - 1, s - back]] } else { none };
            let sum = match t {
                0 => {
                    if s < 2 {
                        0.0
                    } else {
                        none
                    }
                }
                _ => log_sum([before(0), before(1), if skips(s) { before(2) } else { none }]),
            };
            alpha[[t, s]] = sum + y[[t, cells[s]]];
        }
    }
    for t in (0..time).rev() {
        for s in 0..cells.len() {
            let after = |on: usize| match cells.get(s + on) {
                Some(&class) if t + 1 < time => beta[[t + 1, s + on]] + y[[t + 1, class]],
                _ => none,
            };
            let skip = if s + 2 < cells.len() && skips(s + 2) { after(2) } else { none };
            let last = if s + 2 >= cells.len() { 0.0 } else { none };
            beta[[t, s]] = if t + 1 == time { last } else { log_sum([after(0), after(1), skip]) };
        }
    }
    let total = log_sum((0..cells.len()).map(|s| alpha[[time - 1, s]] + beta[[time - 1, s]]));
    let mut gradient = y.mapv(f64::exp);
    for ((t, s), alpha) in alpha.indexed_iter() {
        gradient[[t, cells[s]]] -= (alpha + beta[[t, s]] - total).exp();
    }
    (-total, gradient)
}

/// Returns the loss and the gradient of one sequence.
fn alone(x: &Array2<f64>, labels: &[usize], blank: usize) -> (f64, Array2<f64>) {
    let x = Sequences::full(x.clone().insert_axis(Axis(1))).unwrap();
    let ctc = Ctc::new(blank).divide_by_length(false);
    let (loss, gradient) = ctc.loss(&x, &vec![labels.to_vec()]).unwrap();
    assert_eq!(ctc.losses(&x, &[labels.to_vec()]).unwrap(), Array1::from_elem(1, loss));
    (loss, gradient.into_values().index_axis_move(Axis(1), 0))
}

/// Returns labels without the blank.
fn random_labels(count: usize, classes: usize, blank: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let label = |_| (blank + rng.random_range(1..classes)) % classes;
    (0..count).map(label).collect()
}

/// Returns a batch with repeats and lengths in any order, of which the longest has all steps.
fn batch(classes: usize, blank: usize) -> (Sequences<f64>, Vec<Vec<usize>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(classes as u64);
    let lengths = vec![7, 1, 17, 3, 17, 2, 5, 9];
    let counts = [3, 1, 8, 1, 5, 0, 2, 4];
    let labels = counts.iter().map(|&count| random_labels(count, classes, blank, &mut rng));
    let x = Sequences::new(random((17, 8, classes), 5), lengths).unwrap();
    (x, labels.collect())
}

#[test]
fn value_and_gradient_equal_the_sum_over_all_alignments() {
    let mut cases = 0;
    for (time, classes) in [(1, 1), (1, 3), (2, 3), (3, 2), (3, 4), (4, 3), (5, 3), (6, 2)] {
        let x = random((time, 1, classes), 7).index_axis_move(Axis(1), 0) * 3.0;
        for blank in 0..classes {
            let mut all: Vec<Vec<usize>> =
                paths(time, classes).iter().map(|path| spelled(path, blank)).collect();
            all.sort();
            all.dedup();
            for labels in all {
                let (expected, gradient) = enumerated(&x, &labels, blank);
                let (loss, got) = alone(&x, &labels, blank);
                assert!((loss - expected).abs() < 1e-13 * expected.max(1.0), "{labels:?}");
                assert!(distance(&got, &gradient) < 1e-13, "{labels:?}");
                cases += 1;
            }
        }
    }
    assert!(cases > 200, "{cases}");
}

#[test]
fn an_empty_sequence_spells_no_labels_with_certainty() {
    let x = Sequences::new(random((2, 2, 3), 1), vec![0, 2]).unwrap();
    let (loss, gradient) = Ctc::new(0).loss(&x, &vec![vec![], vec![1]]).unwrap();
    let only = alone(&x.values().index_axis(Axis(1), 1).to_owned(), &[1], 0);
    assert!((loss - only.0 / 2.0).abs() < 1e-15);
    assert!(gradient.values().index_axis(Axis(1), 0).iter().all(|&d| d == 0.0));
}

#[test]
fn logits_of_any_size_give_the_values_of_log_space() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for size in [1.0, 30.0, 1e4, 1e9, 1e11] {
        for (time, count, classes) in
            [(5, 2, 3), (17, 7, 4), (200, 30, 30), (700, 3, 5), (150, 74, 9)]
        {
            let x = Array2::from_shape_simple_fn((time, classes), || rng.random_range(-size..size));
            let labels = random_labels(count, classes, 1, &mut rng);
            let (expected, gradient) = in_log_space(&x, &labels, 1);
            let (loss, got) = alone(&x, &labels, 1);
            let case = format!("{size:e}, {time} steps, {count} labels: {loss}, {expected}");
            assert!((loss - expected).abs() <= 1e-13 * expected.max(size), "{case}");
            // Two alignments of equal size are told apart by the digits after those of the logits.
            let digits = (time as f64 * size * f64::EPSILON).max(1e-13);
            assert!(distance(&got, &gradient) <= 100.0 * digits || size > 1e6, "{case}");
            assert!(got.iter().all(|d| (-1.0 - 1e-9..=1.0).contains(d)), "{case}");
        }
    }
}

#[test]
fn an_alignment_that_is_unlikely_at_first_is_not_lost() {
    // Step 0 is almost surely blank, step 1 almost surely the second label: the first label can only be at
    // step 0.
    let x = ndarray::array![[0.0, -1e4, -2e4], [-3e4, -3e4, 0.0], [-9e4, -9e4, 0.0]];
    let (loss, gradient) = alone(&x, &[1, 2], 0);
    assert!((loss - 1e4).abs() < 1e-9);
    let expected = ndarray::array![[1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]];
    assert!(distance(&gradient, &expected) < 1e-12);
}

#[test]
fn thousands_of_steps_keep_their_precision() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let x = Array2::from_shape_simple_fn((4000, 6), || rng.random_range(-8.0..8.0));
    let labels = random_labels(900, 6, 0, &mut rng);
    let (expected, gradient) = in_log_space(&x, &labels, 0);
    let (loss, got) = alone(&x, &labels, 0);
    assert!((loss / expected - 1.0).abs() < 1e-12, "{loss}, {expected}");
    assert!(distance(&got, &gradient) < 1e-9);
}

#[test]
fn gradients_match_finite_differences_for_every_option() {
    for (classes, blank) in [(3, 0), (7, 6), (17, 4)] {
        let (x, labels) = batch(classes, blank);
        for divide in [true, false] {
            for zero in [true, false] {
                let ctc = Ctc::new(blank).divide_by_length(divide);
                let ctc = if zero { ctc.zero_infinity() } else { ctc };
                let labels = if zero { too_many(&labels) } else { labels.clone() };
                let (_, gradient) = ctc.loss(&x, &labels).unwrap();
                let check = GradientCheck::default();
                let report = check.run(&x, &gradient, |x| Ok(ctc.loss(x, &labels)?.0)).unwrap();
                assert!(report.relative_error <= 1e-6, "{report}");
                let (_, gradient) = Sum(ctc).loss(&x, &labels).unwrap();
                let report =
                    check.run(&x, &gradient, |x| Ok(Sum(ctc).loss(x, &labels)?.0)).unwrap();
                assert!(report.relative_error <= 1e-6, "sum: {report}");
            }
        }
    }
}

/// Returns the labels, of which those of sequence 3 need more steps than it has.
fn too_many(labels: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut labels = labels.to_vec();
    let label = labels[3][0];
    labels[3] = vec![label; 3];
    labels
}

#[test]
fn all_reductions_are_those_of_pytorch() {
    let fixture = Fixture::open("ctc");
    let whole = |name: &str| -> Vec<usize> {
        fixture.get::<ndarray::Ix1>(name).iter().map(|&x| x as usize).collect()
    };
    let (lengths, counts) = (whole("lengths"), whole("counts"));
    let padded: Array2<f64> = fixture.get("labels");
    let labels: Vec<Vec<usize>> = zip(padded.rows(), &counts)
        .map(|(row, &count)| row.iter().take(count).map(|&x| x as usize).collect())
        .collect();
    let logits: Array3<f64> = fixture.get("logits");
    for (name, rows, ctc) in [("fits", 4, Ctc::new(2)), ("all", 6, Ctc::new(2).zero_infinity())] {
        let x = logits.slice(s![.., ..rows, ..]).to_owned();
        let x = Sequences::new(x, lengths[..rows].to_vec()).unwrap();
        let labels = labels[..rows].to_vec();
        let losses: Array1<f64> = fixture.get(&format!("{name}.none.loss"));
        assert!(distance(&ctc.losses(&x, &labels).unwrap(), &losses) < 1e-12);
        let sum = Sum(ctc.divide_by_length(false)).loss(&x, &labels).unwrap();
        for (reduction, (loss, gradient)) in
            [("mean", ctc.loss(&x, &labels).unwrap()), ("sum", sum)]
        {
            let expected = fixture.get::<ndarray::Ix0>(&format!("{name}.{reduction}.loss"));
            assert!((loss - expected.into_scalar()).abs() < 1e-12, "{name} {reduction}");
            let expected: Array3<f64> = fixture.get(&format!("{name}.{reduction}.gradient"));
            assert!(distance(gradient.values(), &expected) < 1e-13, "{name} {reduction}");
        }
    }
}

#[test]
fn padding_and_the_other_sequences_do_not_change_a_bit() {
    for blank in [0, 3] {
        let (x, labels) = batch(5, blank);
        let ctc = Ctc::new(blank).divide_by_length(false);
        let (loss, gradient) = Sum(ctc).loss(&x, &labels).unwrap();
        let mut filled = x.values().clone();
        for (b, &length) in x.lengths().iter().enumerate() {
            filled.slice_mut(s![length.., b, ..]).fill(f64::NAN);
        }
        let filled = x.with_values(filled).unwrap();
        let (again, d_filled) = Sum(ctc).loss(&filled, &labels).unwrap();
        assert_eq!((loss.to_bits(), bits(&gradient)), (again.to_bits(), bits(&d_filled)));

        let losses = ctc.losses(&x, &labels).unwrap();
        let (_, of_mean) = ctc.loss(&x, &labels).unwrap();
        for (b, &length) in x.lengths().iter().enumerate() {
            let one = x.values().slice(s![..length, b, ..]).to_owned();
            let (loss, d) = alone(&one, &labels[b], blank);
            assert_eq!(loss.to_bits(), losses[b].to_bits());
            // The factor 1/8 of the mean changes exponents alone.
            let of_batch = of_mean.values().slice(s![..length, b, ..]).to_owned() * 8.0;
            assert_eq!(bits(&d), bits(&of_batch));
        }
        assert!(gradient.values().slice(s![1.., 1, ..]).iter().all(|&d| d == 0.0));
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let lengths: Vec<usize> = (0..33).map(|b| 200 - 5 * b).collect();
    let labels: Vec<Vec<usize>> =
        (0..33).map(|b| random_labels(20 - b / 2, 12, 3, &mut rng)).collect();
    let x = Sequences::new(random((200, 33, 12), 9), lengths).unwrap();
    let result = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (loss, gradient) = Ctc::new(3).loss(&x, &labels).unwrap();
            (loss.to_bits(), bits(&gradient), bits(&Ctc::new(3).losses(&x, &labels).unwrap()))
        })
    };
    let one = result(1);
    for threads in [2, 3, 8] {
        assert!(result(threads) == one, "{threads} threads");
    }
}

#[test]
fn single_precision_gives_the_values_of_double_precision_rounded() {
    let (x, labels) = batch(7, 2);
    let single = Sequences::new(x.values().mapv(|x| x as f32), x.lengths().to_vec()).unwrap();
    let exact = Sequences::new(single.values().mapv(f64::from), x.lengths().to_vec()).unwrap();
    let (loss, gradient) = Ctc::new(2).loss(&single, &labels).unwrap();
    let (expected, d) = Ctc::new(2).loss(&exact, &labels).unwrap();
    assert_eq!(loss as f32, expected as f32);
    assert!(distance(&gradient.values().mapv(f64::from), d.values()) < 1e-8);
}

#[test]
fn logits_of_minus_infinity_are_probabilities_of_zero() {
    let none = f64::NEG_INFINITY;
    let x = ndarray::array![[0.0, none, none], [none, 0.0, 0.0], [0.0, none, none]];
    for none in [none, -1e13, -1e30, f64::MIN] {
        let x = x.mapv(|x| x.max(none));
        let (loss, gradient) = alone(&x, &[2], 0);
        assert!((loss - 2_f64.ln()).abs() < 1e-15);
        let expected = ndarray::array![[0.0, 0.0, 0.0], [0.0, 0.5, -0.5], [0.0, 0.0, 0.0]];
        assert!(distance(&gradient, &expected) < 1e-15);
    }

    // The labels 1, 2 have no alignment, whatever the blanks.
    let both = x.clone().insert_axis(Axis(1));
    let both = ndarray::concatenate![Axis(1), both, both];
    let x = Sequences::full(both).unwrap();
    let labels = vec![vec![1, 2], vec![2]];
    let error = Ctc::new(0).loss(&x, &labels).unwrap_err().to_string();
    assert_eq!(error, "loss of labels[0]: expected finite values, got inf at flat index 0");
    let ctc = Ctc::new(0).zero_infinity().divide_by_length(false);
    let (loss, gradient) = ctc.loss(&x, &labels).unwrap();
    assert!((2.0 * loss - 2_f64.ln()).abs() < 1e-15);
    assert!(gradient.values().index_axis(Axis(1), 0).iter().all(|&d| d == 0.0));
}

#[test]
fn a_batch_of_targets_that_do_not_fit_has_no_loss_with_zero_infinity() {
    let x = Sequences::new(random((3, 2, 3), 1), vec![2, 3]).unwrap();
    let labels = vec![vec![1, 1], vec![1, 2, 2]];
    let ctc = Ctc::new(0).zero_infinity();
    let (loss, gradient) = ctc.loss(&x, &labels).unwrap();
    assert_eq!(
        (loss, gradient),
        (0.0, Sequences::new(Array3::zeros((3, 2, 3)), vec![2, 3]).unwrap())
    );
    assert_eq!(ctc.count(&x, &labels).unwrap(), 2.0);
    assert_eq!(ctc.losses(&x, &labels).unwrap(), ndarray::array![0.0, 0.0]);
}

#[test]
fn bad_input_is_refused_and_named() {
    let x = Sequences::new(random((4, 2, 3), 1), vec![4, 2]).unwrap();
    let good = vec![vec![1], vec![2]];
    let error = |ctc: Ctc, labels: &[&[usize]]| {
        let labels: Vec<Vec<usize>> = labels.iter().map(|labels| labels.to_vec()).collect();
        let error = ctc.loss(&x, &labels).unwrap_err().to_string();
        assert_eq!(error, ctc.losses(&x, &labels).unwrap_err().to_string());
        assert_eq!(error, ctc.count(&x, &labels).unwrap_err().to_string());
        error
    };
    let ctc = Ctc::new(0);
    let place = "labels[1][0]: expected less than 3 (classes), got 3";
    assert_eq!(error(ctc, &[&[1], &[3]]), place);
    let place = "labels[0][1]: expected a class other than the blank, got 0";
    assert_eq!(error(ctc, &[&[1, 0], &[1]]), place);
    assert_eq!(error(Ctc::new(3), &[&[1], &[1]]), "blank: expected less than 3 (classes), got 3");
    assert_eq!(error(ctc, &[&[1]]), "labels: expected [2] (batch), got [1]");
    let most = "labels that need at most 2 steps (the length of the sequence)";
    let expected = format!("labels[1]: expected {most}, got 2 labels that need 3");
    assert_eq!(error(ctc, &[&[1], &[2, 2]]), expected);

    let with = |value: f64| {
        let mut values = x.values().clone();
        values[[1, 1, 2]] = value;
        values[[3, 1, 0]] = f64::NAN; // padding
        let x = x.with_values(values).unwrap();
        let name = |error| match error {
            Error::NonFinite { name, index, .. } => (name, index),
            other => panic!("{other}"),
        };
        assert_eq!(name(ctc.losses(&x, &good).unwrap_err()).0, "logits[1, 1, 2]");
        name(ctc.loss(&x, &good).unwrap_err())
    };
    for value in [f64::NAN, f64::INFINITY] {
        assert_eq!(with(value), ("logits[1, 1, 2]".to_owned(), 11));
    }
    let mut values = x.values().clone();
    values.slice_mut(s![1, 0, ..]).fill(f64::NEG_INFINITY);
    let error = ctc.loss(&x.with_values(values).unwrap(), &good).unwrap_err().to_string();
    assert_eq!(error, "logits[1, 0, 0]: expected finite values, got -inf at flat index 6");
}

#[test]
fn options_survive_a_file_and_unknown_ones_are_refused() {
    let ctc = Ctc::new(4).divide_by_length(false).zero_infinity();
    let text = serde_json::to_string(&ctc).unwrap();
    assert_eq!(serde_json::from_str::<Ctc>(&text).unwrap(), ctc);
    assert!(serde_json::from_str::<Ctc>(&text.replace("blank", "blanc")).is_err());
}
