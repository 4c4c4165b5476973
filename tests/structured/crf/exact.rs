//! Values, gradients, marginals and best paths against the enumeration of all paths, finite differences and
//! pytorch-crf.

use ndarray::{Array1, Array2, Array3, Axis, array};
use proptest::prelude::*;
use recurrent::check::GradientCheck;
use recurrent::layer::crf::{Constraints, Crf, Reduction};
use recurrent::{Arrays, Sequences};

use super::{all_paths, allowed_tags, crf, emissions, log_sum_exp, random_rules, score};
use crate::common::bits::bits;
use crate::common::distance::distance;
use crate::common::fixture::Fixture;

const LENGTHS: [usize; 5] = [4, 1, 0, 3, 2];

/// Returns CRFs of 1 to 4 tags, without and with constraints.
fn all() -> Vec<Crf<f64>> {
    let plain = (1..=4).map(|tags| crf(tags, 2.0, tags as u64));
    let ruled = |crf: Crf<f64>| {
        let rules = random_rules(crf.tags(), 7 + crf.tags() as u64);
        crf.constraints(rules).unwrap()
    };
    let names = ["O", "B-X", "I-X", "B-Y"];
    let iob2 = crf(4, 2.0, 9).constraints(Constraints::iob2(&names).unwrap()).unwrap();
    plain.clone().chain(plain.map(ruled)).chain([iob2]).collect()
}

#[test]
fn values_marginals_and_best_paths_are_those_of_the_enumeration() {
    for crf in all() {
        let tags = crf.tags();
        let x = emissions(&LENGTHS, tags, 3.0, 2);
        let gold = allowed_tags(&crf, &LENGTHS, 3);
        let losses = crf.losses(&x, &gold).unwrap();
        let partitions = crf.log_partitions(&x).unwrap();
        let marginals = crf.marginals(&x).unwrap();
        let best = crf.viterbi(&x).unwrap();
        let ranked = crf.k_best(&x, 7).unwrap();
        for (b, &length) in LENGTHS.iter().enumerate() {
            let mut paths: Vec<(f64, Vec<usize>)> = all_paths(tags, length, crf.rules())
                .into_iter()
                .map(|path| (score(&crf, &x, b, &path), path))
                .collect();
            let scores: Vec<f64> = paths.iter().map(|path| path.0).collect();
            let z = log_sum_exp(&scores);
            let own: Vec<usize> = (0..length).map(|t| gold[[t, b]]).collect();
            assert!((partitions[b] - z).abs() < 1e-12, "{tags} tags, sequence {b}");
            assert!((losses[b] - (z - score(&crf, &x, b, &own))).abs() < 1e-12);
            for (t, k) in (0..x.time()).flat_map(|t| (0..tags).map(move |k| (t, k))) {
                let through = paths.iter().filter(|path| path.1.get(t) == Some(&k));
                let p: f64 = through.map(|path| (path.0 - z).exp()).sum();
                assert!((marginals.values()[[t, b, k]] - p).abs() < 1e-13);
            }
            paths.sort_by(|a, b| b.0.total_cmp(&a.0));
            assert_eq!(ranked[b].len(), paths.len().min(7));
            assert_eq!(best[b], ranked[b][0]);
            for (found, (score, path)) in ranked[b].iter().zip(&paths) {
                assert_eq!(&found.tags, path);
                assert!((found.score - score).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn the_gradient_is_that_of_the_enumeration() {
    for crf in all() {
        let tags = crf.tags();
        let x = emissions(&LENGTHS, tags, 3.0, 4);
        let gold = allowed_tags(&crf, &LENGTHS, 5);
        let mut grad = crf.zeros_like();
        let sum = crf.clone().reduction(Reduction::Sum);
        let (_, d_x) = sum.loss_and_grad(&x, &gold, &mut grad).unwrap();
        let mut expected = (x.zeros_like().into_values(), crf.zeros_like());
        let [mut start, mut end] = [Array1::<f64>::zeros(tags), Array1::zeros(tags)];
        let mut transitions = Array2::<f64>::zeros((tags, tags));
        for (b, &length) in LENGTHS.iter().enumerate().filter(|x| *x.1 > 0) {
            let paths = all_paths(tags, length, crf.rules());
            let scores: Vec<f64> = paths.iter().map(|path| score(&crf, &x, b, path)).collect();
            let z = log_sum_exp(&scores);
            let own: Vec<usize> = (0..length).map(|t| gold[[t, b]]).collect();
            let shares = scores.iter().map(|score| (score - z).exp());
            for (path, share) in paths.iter().zip(shares).chain([(&own, -1.0)]) {
                start[path[0]] += share;
                end[path[length - 1]] += share;
                path.windows(2).for_each(|pair| transitions[[pair[0], pair[1]]] += share);
                for (t, &tag) in path.iter().enumerate() {
                    expected.0[[t, b, tag]] += share;
                }
            }
        }
        expected.1.set("start_transitions", start).unwrap();
        expected.1.set("end_transitions", end).unwrap();
        expected.1.set("transitions", transitions).unwrap();
        assert!(distance(d_x.values(), &expected.0) < 1e-13);
        grad.zip_mut("expected", &expected.1, &mut |name, got, want| {
            let distance = (&got - &want).iter().fold(0.0, |most: f64, d| most.max(d.abs()));
            assert!(distance < 1e-12, "{name}: {distance}");
        })
        .unwrap();
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for tags in [1, 3, 7, 17] {
        let rules = [None, Some(random_rules(tags, 3))];
        let reductions = [Reduction::Mean, Reduction::TokenMean, Reduction::Sum];
        for (rules, reduction) in rules.into_iter().flat_map(|r| reductions.map(|n| (r.clone(), n)))
        {
            let mut crf = crf(tags, 1.0, 1).reduction(reduction);
            if let Some(rules) = rules {
                crf = crf.constraints(rules).unwrap();
            }
            let lengths = [3, 0, 7, 1];
            let x = emissions(&lengths, tags, 1.0, 2);
            let gold = allowed_tags(&crf, &lengths, 4);
            let mut grad = crf.zeros_like();
            let (loss, d_x) = crf.loss_and_grad(&x, &gold, &mut grad).unwrap();
            assert_eq!(loss, crf.loss(&x, &gold).unwrap());
            let report = GradientCheck::default()
                .run(&(crf, x), &(grad, d_x), |(crf, x)| crf.loss(x, &gold))
                .unwrap();
            assert!(report.relative_error <= 1e-6, "{tags} tags, {reduction:?}: {report}");
        }
    }
}

#[test]
fn losses_gradients_and_paths_are_those_of_pytorch_crf() {
    let fixture = Fixture::open("crf");
    let lengths = vec![9, 1, 4, 9, 6];
    let x = Sequences::new(fixture.get::<ndarray::Ix3>("emissions"), lengths.clone()).unwrap();
    let gold = fixture.get::<ndarray::Ix2>("tags").mapv(|tag| tag as usize);
    let mut crf = crf(7, 1.0, 1);
    let one = |name: &str| fixture.get::<ndarray::Ix1>(name);
    for name in ["start_transitions", "end_transitions"] {
        crf.set(name, one(name)).unwrap();
    }
    crf.set("transitions", fixture.get::<ndarray::Ix2>("transitions")).unwrap();
    let losses = Array1::from_vec(crf.losses(&x, &gold).unwrap());
    assert!(distance(&losses, &one("losses")) < 1e-12);
    let reductions =
        [("sum", Reduction::Sum), ("mean", Reduction::Mean), ("token_mean", Reduction::TokenMean)];
    for (name, reduction) in reductions {
        let crf = crf.clone().reduction(reduction);
        let mut grad = crf.zeros_like();
        let (loss, d_x) = crf.loss_and_grad(&x, &gold, &mut grad).unwrap();
        assert!((loss - one(&format!("{name}.loss"))[0]).abs() < 1e-12);
        let expected: Array3<f64> = fixture.get(&format!("{name}.d_emissions"));
        assert!(distance(d_x.values(), &expected) < 1e-12);
        grad.for_each(&mut |parameter, array| {
            let expected = fixture.get::<ndarray::IxDyn>(&format!("{name}.d_{parameter}"));
            assert!(distance(&array.to_owned(), &expected) < 1e-12, "{name} {parameter}");
        });
    }
    let best: Array2<f64> = fixture.get("best");
    for (b, path) in crf.viterbi(&x).unwrap().iter().enumerate() {
        let expected: Vec<usize> = (0..lengths[b]).map(|t| best[[t, b]] as usize).collect();
        assert_eq!(path.tags, expected);
    }
}

#[test]
fn what_is_forbidden_has_no_gradient_and_no_probability() {
    let names = ["O", "B-X", "I-X", "B-Y", "I-Y"];
    let crf = crf(5, 1.0, 1).constraints(Constraints::iob2(&names).unwrap()).unwrap();
    let lengths = [6, 3, 1];
    let x = emissions(&lengths, 5, 1.0, 2);
    let gold = allowed_tags(&crf, &lengths, 4);
    let mut grad = crf.zeros_like();
    let (loss, d_x) = crf.loss_and_grad(&x, &gold, &mut grad).unwrap();
    let rules = crf.rules().unwrap();
    let mut forbidden = 0;
    for ((i, j), &d) in grad.transitions().indexed_iter() {
        assert_eq!(d == 0.0, !rules.may_follow(i, j), "{} {}", names[i], names[j]);
        forbidden += usize::from(d == 0.0);
    }
    assert_eq!(forbidden, 6); // of the 10 pairs that end in I, 4 are allowed
    assert_eq!((grad.start_transitions()[2], d_x.values()[[0, 0, 2]]), (0.0, 0.0));
    // Their scores have no effect.
    let mut other = crf.clone();
    other.transitions_set(0, 2, 1e6);
    assert_eq!(other.loss(&x, &gold).unwrap().to_bits(), loss.to_bits());
    assert_eq!(other.viterbi(&x).unwrap(), crf.viterbi(&x).unwrap());
}

/// Sets one transition.
trait SetTransition {
    fn transitions_set(&mut self, i: usize, j: usize, value: f64);
}

impl SetTransition for Crf<f64> {
    fn transitions_set(&mut self, i: usize, j: usize, value: f64) {
        let mut transitions = self.transitions().to_owned();
        transitions[[i, j]] = value;
        self.set("transitions", transitions).unwrap();
    }
}

#[test]
fn batching_and_padding_change_no_bit() {
    let crf = crf(7, 2.0, 1).reduction(Reduction::Sum);
    let lengths = [5, 9, 0, 1];
    let x = emissions(&lengths, 7, 3.0, 2);
    let gold = allowed_tags(&crf, &lengths, 3);
    let mut grad = crf.zeros_like();
    let (_, d_x) = crf.loss_and_grad(&x, &gold, &mut grad).unwrap();
    let losses = crf.losses(&x, &gold).unwrap();
    let marginals = crf.marginals(&x).unwrap();
    let mut alone = crf.zeros_like();
    for (b, &length) in lengths.iter().enumerate() {
        let time = length.max(1);
        let part = |values: &Array3<f64>| {
            let all = values.select(Axis(1), &[b]);
            all.slice_axis(Axis(0), (..time).into()).to_owned()
        };
        let one = Sequences::new(part(x.values()), vec![length]).unwrap();
        let tags = Array2::from_shape_fn((time, 1), |(t, _)| gold[[t, b]]);
        let (loss, d_one) = crf.loss_and_grad(&one, &tags, &mut alone).unwrap();
        assert_eq!(loss.to_bits(), losses[b].to_bits());
        assert_eq!(bits(d_one.values()), bits(&part(d_x.values())));
        assert_eq!(bits(crf.marginals(&one).unwrap().values()), bits(&part(marginals.values())));
        assert_eq!(crf.viterbi(&one).unwrap()[0], crf.viterbi(&x).unwrap()[b]);
    }
    assert_eq!(bits(&alone), bits(&grad));
}

#[test]
fn threads_change_no_bit() {
    let lengths: Vec<usize> = (0..40).map(|b| 60 + b).collect();
    let crf = crf(31, 1.0, 1);
    let x = emissions(&lengths, 31, 3.0, 2);
    let gold = allowed_tags(&crf, &lengths, 3);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut grad = crf.zeros_like();
        let (loss, d_x) = pool.install(|| crf.loss_and_grad(&x, &gold, &mut grad)).unwrap();
        (loss.to_bits(), bits(&d_x), bits(&grad))
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn sequences_without_a_step_have_the_empty_path() {
    let crf = crf(3, 1.0, 1);
    let x = Sequences::new(Array3::from_elem((2, 2, 3), f64::NAN), vec![0, 0]).unwrap();
    let gold = array![[9, 9], [9, 9]];
    let mut grad = crf.zeros_like();
    let (loss, d_x) = crf.loss_and_grad(&x, &gold, &mut grad).unwrap();
    assert_eq!((loss, crf.count(&x)), (0.0, 0.0));
    assert!(d_x.values().iter().all(|&d| d == 0.0));
    assert_eq!(bits(&grad), bits(&crf.zeros_like()));
    assert_eq!(crf.log_partitions(&x).unwrap(), [0.0, 0.0]);
    let paths = crf.k_best(&x, 3).unwrap();
    assert_eq!((paths[1].len(), paths[1][0].tags.len(), paths[1][0].score), (1, 0, 0.0));
    assert_eq!(crf.viterbi(&x).unwrap().len(), 2);
}

#[test]
fn of_equal_paths_the_first_has_the_lower_tag_at_the_last_difference() {
    let mut crf = crf(3, 1.0, 1);
    crf.fill(0.0);
    let x = Sequences::full(Array3::zeros((2, 1, 3))).unwrap();
    let paths = crf.k_best(&x, 4).unwrap().remove(0);
    let tags: Vec<Vec<usize>> = paths.into_iter().map(|path| path.tags).collect();
    assert_eq!(tags, [[0, 0], [1, 0], [2, 0], [0, 1]]);
}

proptest! {
    #[test]
    fn best_paths_never_break_a_constraint(
        seed in 0_u64..1000,
        tags in 1_usize..6,
        length in 1_usize..9,
        range in prop_oneof![Just(1.0), Just(50.0), Just(1e4)],
    ) {
        let rules = random_rules(tags, seed);
        let crf = crf(tags, range, seed).constraints(rules.clone()).unwrap();
        let x = emissions(&[length], tags, range, seed + 1);
        let paths = crf.k_best(&x, 5).unwrap().remove(0);
        prop_assert!(paths.windows(2).all(|pair| pair[0].score >= pair[1].score));
        for path in &paths {
            prop_assert!(rules.may_start(path.tags[0]) && rules.may_end(path.tags[length - 1]));
            prop_assert!(path.tags.windows(2).all(|pair| rules.may_follow(pair[0], pair[1])));
        }
        // A tag with probability is allowed, too.
        for (t, step) in crf.marginals(&x).unwrap().values().outer_iter().enumerate() {
            let total: f64 = step.sum();
            prop_assert!((total - 1.0).abs() < 1e-9, "{total} at step {t}");
        }
    }
}
