//! Scores so large that their exponentials overflow or underflow.

use ndarray::{Array2, Array3};
use recurrent::layer::crf::{Constraints, Crf, Reduction};
use recurrent::{Arrays, Sequences};

use super::{all_paths, allowed_tags, crf, emissions, log_sum_exp, random_rules, score};

/// Compares losses and gradients of the emissions with those of the enumeration.
fn check(crf: &Crf<f64>, x: &Sequences<f64>, gold: &Array2<usize>) {
    let crf = crf.clone().reduction(Reduction::Sum);
    let (loss, d_x) = crf.loss_and_grad(x, gold, &mut crf.zeros_like()).unwrap();
    let mut expected = Array3::<f64>::zeros(x.values().dim());
    let mut sum = 0.0;
    let mut largest = 1.0_f64;
    for (b, &length) in x.lengths().iter().enumerate() {
        let paths = all_paths(crf.tags(), length, crf.rules());
        let scores: Vec<f64> = paths.iter().map(|path| score(&crf, x, b, path)).collect();
        let z = log_sum_exp(&scores);
        let own: Vec<usize> = (0..length).map(|t| gold[[t, b]]).collect();
        sum += z - score(&crf, x, b, &own);
        largest = largest.max(z.abs());
        let shares = scores.iter().map(|score| (score - z).exp());
        for (path, share) in paths.iter().zip(shares).chain([(&own, -1.0)]) {
            for (t, &tag) in path.iter().enumerate() {
                expected[[t, b, tag]] += share;
            }
        }
    }
    assert!((loss - sum).abs() <= 1e-14 * largest.max(sum), "{loss} is not {sum}");
    for (got, want) in d_x.values().iter().zip(&expected) {
        assert!((got - want).abs() <= 1e-14 * largest, "{got} is not {want}");
    }
}

#[test]
fn losses_of_extreme_scores_are_those_of_the_enumeration() {
    for range in [30.0, 300.0, 1e3, 1e4] {
        for seed in 0..6 {
            let plain = crf(3, range, seed);
            let ruled = plain.clone().constraints(random_rules(3, seed)).unwrap();
            for crf in [plain, ruled] {
                let lengths = [5, 1, 3];
                let x = emissions(&lengths, 3, range, seed + 10);
                check(&crf, &x, &allowed_tags(&crf, &lengths, seed));
            }
        }
    }
}

/// Two chains of tags that never meet. One leads at both ends, the other in the middle and in total: both
/// recursions lose the better one if they underflow.
#[test]
fn a_path_that_both_recursions_would_lose_is_found() {
    let rules = Constraints::new(
        vec![true; 2].into(),
        vec![true; 2].into(),
        Array2::from_shape_fn((2, 2), |(i, j)| i == j),
    );
    let mut crf = crf(2, 1.0, 1).constraints(rules.unwrap()).unwrap();
    crf.fill(0.0);
    for scale in [1.0, 10.0, 30.0] {
        let x = Array3::from_shape_fn((12, 1, 2), |(t, _, k)| match (t, k) {
            (0 | 11, 0) => 100.0 * scale,
            (_, 0) => -30.0 * scale,
            _ => 0.0,
        });
        let x = Sequences::full(x).unwrap();
        check(&crf, &x, &Array2::ones((12, 1)));
        assert_eq!(crf.viterbi(&x).unwrap()[0].tags, [1; 12]);
        let narrow = narrow(&crf);
        let z = narrow.log_partitions(&as_f32(&x)).unwrap()[0];
        assert!(z.abs() < 1e-6, "{z}");
    }
}

fn narrow(crf: &Crf<f64>) -> Crf<f32> {
    let mut narrow = Crf::<f32>::new(crf.tags(), &mut super::rng(1)).unwrap();
    if let Some(rules) = crf.rules() {
        narrow = narrow.constraints(rules.clone()).unwrap();
    }
    crf.for_each(&mut |name, array| narrow.set(name, array.mapv(|x| x as f32)).unwrap());
    narrow
}

fn as_f32(x: &Sequences<f64>) -> Sequences<f32> {
    Sequences::new(x.values().mapv(|x| x as f32), x.lengths().to_vec()).unwrap()
}

#[test]
fn f32_agrees_with_f64_at_every_scale() {
    for range in [0.1, 1.0, 10.0, 50.0, 90.0, 1e3, 1e4] {
        for (seed, tags) in [(1, 5), (2, 17), (3, 33)] {
            // Scores that f32 represents.
            let mut wide = crf(tags, range, seed);
            wide.for_each_mut(&mut |_, mut array| array.mapv_inplace(|x| f64::from(x as f32)));
            let lengths = [20, 3, 1];
            let x = as_f32(&emissions(&lengths, tags, range, seed));
            let values = x.values().mapv(f64::from);
            let wide_x = Sequences::new(values, lengths.to_vec()).unwrap();
            let gold = allowed_tags(&wide, &lengths, seed);
            let narrow = narrow(&wide);
            let (mut grad, mut wide_grad) = (narrow.zeros_like(), wide.zeros_like());
            let (loss, d) = narrow.loss_and_grad(&x, &gold, &mut grad).unwrap();
            let (wide_loss, wide_d) = wide.loss_and_grad(&wide_x, &gold, &mut wide_grad).unwrap();
            assert!((loss - wide_loss).abs() <= 3e-6 * (1.0 + wide_loss.abs()));
            for (d, wide) in d.values().iter().zip(wide_d.values()) {
                assert!((f64::from(*d) - wide).abs() <= 1e-5, "range {range}: {d}, {wide}");
            }
            for (d, wide) in grad.transitions().iter().zip(wide_grad.transitions()) {
                assert!((f64::from(*d) - wide).abs() <= 2e-5, "range {range}: {d}, {wide}");
            }
        }
    }
}
