//! Metrics worked by hand, and sampling: what it may take and how often.

use ndarray::{Array1, array};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::Error;
use recurrent::decode::{Sampling, argmax};
use recurrent::train::Score;
use recurrent::train::metrics::{
    ClassificationMetrics, Perplexity, RegressionMetrics, seasonal_error,
};

/// Six answers of three classes; said: 0 0 1 1 2 0, true: 0 1 1 2 2 2.
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
    // The second choice is the lowest other class: right for (0, 1) alone.
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
    assert_eq!((numbers.rmse(), numbers.mae(), numbers.mape()), (1.0, 1.0, 50.0));
    let season = seasonal_error(&[1.0, 5.0, 2.0, 8.0], 2).unwrap();
    assert_eq!((season, numbers.mase(season)), (2.0, 0.5));
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

/// How often each of the tokens is taken of 20,000 times.
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
        let sampling = Sampling::temperature(0.8).unwrap().top_k(k).unwrap().top_p(p).unwrap();
        let token = sampling.pick(logits.view(), &mut rng).unwrap();
        prop_assert!(logits.iter().filter(|&&x| x > logits[token]).count() < k);
        let one = sampling.top_k(1).unwrap().pick(logits.view(), &mut rng).unwrap();
        prop_assert_eq!(Some(one), argmax(logits.view()));
    }
}
