//! Tests of metrics, worked out by hand, and of sampling: the allowed tokens and their frequencies.

use ndarray::{Array1, Array2, Array3, array};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::decode::{Sampling, argmax};
use recurrent::loss::CrossEntropy;
use recurrent::model::Scored;
use recurrent::train::Score;
use recurrent::train::metrics::{
    ClassificationMetrics, Perplexity, RegressionMetrics, seasonal_error,
};
use recurrent::{Error, Sequences};

/// Returns the metrics of six predictions of three classes: predicted 0 0 1 1 2 0, true 0 1 1 2 2 2.
fn classified() -> ClassificationMetrics {
    let mut score = ClassificationMetrics::default();
    for (said, is) in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (0, 2)] {
        let logits = Array1::from_shape_fn(3, |j| if j == said { 1.0 } else { -(j as f64) });
        score.add(logits.view(), is).unwrap();
    }
    score
}

#[test]
fn classification_figures_are_those_worked_by_hand() {
    let score = classified();
    assert_eq!(score.confusion(), array![[1, 0, 0], [1, 1, 0], [1, 1, 1]]);
    assert_eq!((score.count(), score.accuracy(), score.top_k(3)), (6, 0.5, 1.0));
    // The second choice is the lowest of the other classes. It is right for (0, 1) alone.
    assert_eq!(score.top_k(2), 4.0 / 6.0);
    let of = |class| {
        let prf = score.class(class);
        (prf.precision, prf.recall, prf.f1)
    };
    assert_eq!(of(0), (1.0 / 3.0, 1.0, 0.5));
    assert_eq!(of(1), (0.5, 0.5, 0.5));
    assert_eq!(of(2), (1.0, 1.0 / 3.0, 0.5));
    assert_eq!(of(3), (0.0, 0.0, 0.0));
    let all = score.macro_average(score.classes());
    assert!((all.precision - 11.0 / 18.0).abs() < 1e-15 && (all.f1 - 0.5).abs() < 1e-15);
    assert_eq!(score.micro_average(score.classes()).f1, score.accuracy());
    let some = score.micro_average([1, 2]);
    assert_eq!((some.precision, some.recall), (2.0 / 3.0, 2.0 / 5.0));
    assert_eq!(ClassificationMetrics::default().macro_average(0..0).f1, 0.0);
}

#[test]
fn a_loss_over_parts_is_the_mean_over_all() {
    let mut score = classified();
    score.add_loss(1.0, 1);
    score.add_loss(4.0, 2);
    assert_eq!(score.loss(), 3.0);
    assert_eq!(score.to_string(), "loss 3.0000, accuracy 0.5000, macro F1 0.5000");
    let mut text = Perplexity::default();
    text.add(2_f64.ln(), 1);
    text.add(8_f64.ln(), 1);
    assert!((text.bits() - 2.0).abs() < 1e-15 && (text.perplexity() - 4.0).abs() < 1e-14);
    let mut numbers = RegressionMetrics::default();
    numbers.add(1.0, 0.0);
    numbers.add(1.0, 2.0);
    assert_eq!((numbers.rmse(), numbers.mae(), numbers.mape()), (1.0, 1.0, f64::INFINITY));
    let season = seasonal_error(&[1.0, 5.0, 2.0, 8.0], 2).unwrap();
    assert_eq!((season, numbers.mase(season)), (2.0, 0.5));
}

#[test]
fn merged_scores_equal_one_score_over_all_samples() {
    let logits = [array![1.0, 0.0, 2.0], array![0.0, 3.0, 1.0], array![2.0, 1.0, 0.0]];
    let (mut all, mut parts) = (ClassificationMetrics::default(), Vec::new());
    for (row, class) in logits.iter().zip([2, 0, 0]) {
        let mut part = ClassificationMetrics::default();
        for score in [&mut all, &mut part] {
            score.add(row.view(), class).unwrap();
            score.add_loss(class as f64, 1);
        }
        parts.push(part);
    }
    let mut merged = ClassificationMetrics::default();
    parts.into_iter().for_each(|part| merged.merge(part));
    assert_eq!(merged, all);

    let (mut numbers, mut first, mut second) =
        (RegressionMetrics::default(), RegressionMetrics::default(), RegressionMetrics::default());
    for (score, error) in [(&mut first, 1.0), (&mut second, 3.0)] {
        score.add(2.0 + error, 2.0);
        score.add_loss(error, 1);
        numbers.add(2.0 + error, 2.0);
        numbers.add_loss(error, 1);
    }
    first.merge(second);
    assert_eq!(first, numbers);

    let mut text = Perplexity::default();
    text.add(1.0, 2);
    let mut other = Perplexity::default();
    other.add(4.0, 1);
    text.merge(other);
    assert_eq!(text.loss(), 2.0);
}

#[test]
fn a_merge_of_scores_with_different_classes_has_the_classes_of_both() {
    let (mut two, mut three) = (ClassificationMetrics::default(), ClassificationMetrics::default());
    two.add(array![1.0, 0.0].view(), 1).unwrap();
    three.add(array![0.0, 0.0, 1.0].view(), 2).unwrap();
    two.merge(three);
    assert_eq!(two.confusion(), array![[0, 0, 0], [1, 0, 0], [0, 0, 1]]);
    assert_eq!((two.count(), two.top_k(1), two.top_k(2)), (2, 0.5, 1.0));
}

#[test]
fn a_pair_of_scores_sums_the_losses_and_keeps_both_metrics() {
    let mut pair = (classified(), RegressionMetrics::default());
    pair.0.add_loss(2.0, 1);
    pair.1.add(1.0, 3.0);
    pair.1.add_loss(0.5, 1);
    assert_eq!(pair.loss(), 2.5);
    let names: Vec<_> = pair.metrics().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["loss", "accuracy", "macro_f1", "rmse", "mae"]);
    pair.merge((ClassificationMetrics::default(), pair.1));
    assert_eq!((pair.0.count(), pair.1.mae(), pair.loss()), (6, 2.0, 2.5));
}

#[test]
fn metrics_without_a_loss_print_none_and_fall_back_to_an_error() {
    let mut numbers = RegressionMetrics::default();
    numbers.add(1.0, 3.0);
    assert_eq!(numbers.to_string(), "RMSE 2.0000, MAE 2.0000");
    assert_eq!((numbers.loss(), numbers.metrics()[0]), (4.0, ("rmse", 2.0)));
    let score = classified();
    assert_eq!(score.to_string(), "accuracy 0.5000, macro F1 0.5000");
    assert_eq!((score.loss(), score.metrics()[0]), (0.5, ("accuracy", 0.5)));
}

#[test]
fn the_persistence_baseline_repeats_the_current_value() {
    let score = RegressionMetrics::persistence(&[1.0_f32, 3.0, 2.0, 6.0], 2).unwrap();
    // From 1: 3 and 2; from 3: 2 and 6.
    assert_eq!(score.mae(), (2.0 + 1.0 + 1.0 + 3.0) / 4.0);
    assert!(RegressionMetrics::persistence(&[1.0, 2.0], 2).is_err());
    assert!(RegressionMetrics::persistence(&[1.0, 2.0], 0).is_err());
}

#[test]
fn scores_refuse_what_does_not_fit() {
    let mut score = classified();
    assert!(score.add(array![1.0, 2.0].view(), 0).is_err());
    assert_eq!(
        score.add(array![1.0, 2.0, 3.0].view(), 3).unwrap_err().to_string(),
        "class: expected less than 3 (classes), got 3"
    );
    assert!(seasonal_error(&[1.0, 2.0], 2).is_err() && seasonal_error(&[1.0, 2.0], 0).is_err());
}

/// Returns the share of each token in 20,000 draws.
fn shares(sampling: &Sampling, logits: &Array1<f64>) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut counts = vec![0.0; logits.len()];
    for _ in 0..20_000 {
        counts[sampling.pick(logits.view(), &mut rng).unwrap()] += 1.0 / 20_000.0;
    }
    counts
}

#[test]
fn tokens_are_drawn_as_often_as_their_probability_says() {
    let logits = array![0.1_f64, 0.4, 0.2, 0.3].mapv(f64::ln);
    let near = |shares: Vec<f64>, expected: [f64; 4]| {
        let far = shares.iter().zip(expected).any(|(share, e)| (share - e).abs() > 0.015);
        assert!(!far, "{shares:?}, not {expected:?}");
    };
    let plain = Sampling::temperature(1.0).unwrap();
    near(shares(&plain, &logits), [0.1, 0.4, 0.2, 0.3]);
    let squares = [0.01, 0.16, 0.04, 0.09].map(|p: f64| p / 0.3);
    near(shares(&Sampling::temperature(0.5).unwrap(), &logits), squares);
    near(shares(&plain.top_k(2).unwrap(), &logits), [0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
    near(shares(&plain.top_p(0.65).unwrap(), &logits), [0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
    near(shares(&plain.top_p(0.75).unwrap(), &logits), [0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]);
    near(shares(&plain.top_k(2).unwrap().top_p(0.5).unwrap(), &logits), [0.0, 1.0, 0.0, 0.0]);
    near(shares(&Sampling::greedy(), &logits), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn sampling_refuses_nonsense_by_name() {
    let says = |error: Error| error.to_string();
    let temperature = Sampling::temperature(0.0).unwrap_err();
    assert_eq!(says(temperature), "temperature: expected a finite value above 0, got 0");
    assert!(Sampling::greedy().top_k(0).is_err() && Sampling::greedy().top_p(0.0).is_err());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut pick = |logits: Array1<f64>| Sampling::greedy().pick(logits.view(), &mut rng);
    assert!(matches!(pick(array![0.0, f64::NAN]), Err(Error::NonFinite { index: 1, .. })));
    assert!(matches!(pick(array![f64::INFINITY]), Err(Error::NonFinite { .. })));
    assert!(pick(array![f64::NEG_INFINITY]).is_err() && pick(array![]).is_err());
    assert_eq!(pick(array![f64::NEG_INFINITY, -5.0]).unwrap(), 1);
}

proptest! {
    #[test]
    fn what_is_taken_is_among_the_likeliest(
        logits in prop::collection::vec(-30.0..30.0_f64, 1..12), k in 1..12_usize, p in 0.01..1.0_f64,
        seed: u64,
    ) {
        let logits = Array1::from(logits);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let sampling = Sampling::temperature(0.8).unwrap().top_k(k.min(logits.len())).unwrap().top_p(p).unwrap();
        let token = sampling.pick(logits.view(), &mut rng).unwrap();
        prop_assert!(logits.iter().filter(|&&x| x > logits[token]).count() < k);
        let one = sampling.top_k(1).unwrap().pick(logits.view(), &mut rng).unwrap();
        prop_assert_eq!(Some(one), argmax(logits.view()));
    }
}

#[test]
fn classes_that_do_not_fit_the_logits_are_refused_before_any_is_counted() {
    let (loss, mut score) = (CrossEntropy::default(), ClassificationMetrics::default());
    let rows = Array2::<f64>::zeros((3, 2));
    let error = loss.score(0.0, &rows, &vec![0, 1], &mut score).unwrap_err();
    assert_eq!(error.to_string(), "classes: expected [3] (rows), got [2]");
    let steps = Sequences::full(Array3::<f64>::zeros((2, 3, 2))).unwrap();
    let error = loss.score(0.0, &steps, &Array2::zeros((3, 2)), &mut score).unwrap_err();
    assert_eq!(error.to_string(), "classes: expected [2, 3] (time, batch), got [3, 2]");
    assert_eq!(score, ClassificationMetrics::default());
}
