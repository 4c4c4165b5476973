//! Tests that a figure over a data set does not depend on its division into batches.

use ndarray::{Array1, Array2, Array3, array};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::RnnCell;
use recurrent::data::Dataset;
use recurrent::loss::{
    BceWithLogits, CrossEntropy, Huber, KlDivergence, Loss, Mae, Mse, Quantile, Sum, Weighted,
};
use recurrent::model::{MeanLoss, PairScore, Scored, SequenceRegressor, SequenceTagger};
use recurrent::train::metrics::{ClassificationMetrics, Perplexity, RegressionMetrics};
use recurrent::train::{Model, Score};

/// Fails unless both have the same metrics up to rounding.
fn same<S: Score>(merged: &S, whole: &S) -> Result<(), TestCaseError> {
    let close =
        |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12 * b.abs();
    prop_assert!(close(merged.loss(), whole.loss()), "{} {}", merged.loss(), whole.loss());
    for ((name, a), (_, b)) in merged.metrics().into_iter().zip(whole.metrics()) {
        prop_assert!(close(a, b), "{name}: {a}, not {b}");
    }
    Ok(())
}

/// Returns the ranges between `cuts` of 0..len. Some are empty.
fn ranges(cuts: &[usize], len: usize) -> Vec<std::ops::Range<usize>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (len + 1)).chain([0, len]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// Compares the score of all rows as one batch with those of parts, both added to one score and merged.
fn check<L, Y>(
    loss: &L,
    x: &Array2<f64>,
    target: impl Fn(std::ops::Range<usize>) -> Y,
    cuts: &[usize],
) -> Result<(), TestCaseError>
where
    L: Scored<Array2<f64>, Target = Y>,
{
    let add = |score: &mut L::Score, range: std::ops::Range<usize>| {
        let (part, y) = (x.slice(ndarray::s![range.clone(), ..]).to_owned(), target(range));
        let value = loss.loss(&part, &y).unwrap().0;
        loss.score(value, &part, &y, score).unwrap();
    };
    let (mut whole, mut added, mut merged) = <(L::Score, L::Score, L::Score)>::default();
    add(&mut whole, 0..x.nrows());
    for range in ranges(cuts, x.nrows()) {
        add(&mut added, range.clone());
        let mut part = L::Score::default();
        add(&mut part, range);
        merged.merge(part);
    }
    same(&added, &whole)?;
    same(&merged, &whole)
}

type Pair = PairScore<RegressionMetrics, ClassificationMetrics>;

fn rows(values: &[f64], width: usize) -> Array2<f64> {
    Array2::from_shape_fn((values.len() / width, width), |(r, j)| values[r * width + j])
}

proptest! {
    #[test]
    fn the_score_of_any_division_into_batches_is_that_of_one_batch(
        values in prop::collection::vec(-3.0..3.0_f64, 36),
        classes in prop::collection::vec(0..3_usize, 12),
        cuts in prop::collection::vec(0..13_usize, 0..5),
    ) {
        let x = rows(&values, 3);
        let y = x.mapv(|x| (x * 1.7).sin());
        let part = |of: &Array2<f64>, range| of.slice(ndarray::s![range, ..]).to_owned();
        let numbers = |range| part(&y, range);
        check(&Mse, &x, numbers, &cuts)?;
        check(&Mae, &x, numbers, &cuts)?;
        check(&Huber::default(), &x, numbers, &cuts)?;
        check(&Sum(Mse), &x, numbers, &cuts)?;
        let first = |range| part(&y.slice(ndarray::s![.., ..1]).to_owned(), range);
        check(&Quantile::new(vec![0.1, 0.5, 0.9]).unwrap(), &x, first, &cuts)?;
        check(&BceWithLogits::default(), &x, |range| part(&y.mapv(f64::abs), range), &cuts)?;
        let mut p = y.mapv(f64::exp);
        for mut row in p.rows_mut() {
            let sum = row.sum();
            row /= sum;
        }
        check(&KlDivergence, &x, |range| part(&p, range), &cuts)?;
        let of = |range: std::ops::Range<usize>| classes[range].to_vec();
        let plain = CrossEntropy::default();
        check(&plain, &x, of, &cuts)?;
        let options = plain.ignore_index(1).class_weights(vec![0.3, 1.0, 2.5]).unwrap();
        check(&options, &x, of, &cuts)?;
        check(&options.clone().label_smoothing(0.2).unwrap(), &x, of, &cuts)?;
        check(&Sum(options), &x, of, &cuts)?;
    }

    #[test]
    fn the_score_of_a_pair_does_not_depend_on_the_division_either(
        values in prop::collection::vec(-3.0..3.0_f64, 36),
        classes in prop::collection::vec(0..3_usize, 12),
        cuts in prop::collection::vec(0..13_usize, 0..5),
    ) {
        let x = rows(&values, 3);
        let loss = Weighted::new((0.7, Mse), (2.0, CrossEntropy::default().ignore_index(0))).unwrap();
        let add = |score: &mut Pair, range: std::ops::Range<usize>| {
            let part = x.slice(ndarray::s![range.clone(), ..]).to_owned();
            let target = (part.mapv(f64::cos), classes[range].to_vec());
            let pair = (part.clone(), part);
            let value = loss.loss(&pair, &target).unwrap().0;
            loss.score(value, &pair, &target, score).unwrap();
            value
        };
        let (mut whole, mut merged) = <(Pair, Pair)>::default();
        let value = add(&mut whole, 0..12);
        for range in ranges(&cuts, 12) {
            let mut part = Pair::default();
            add(&mut part, range);
            merged.merge(part);
        }
        prop_assert!((whole.loss() - value).abs() < 1e-12);
        same(&merged, &whole)?;
    }

    #[test]
    fn sums_of_very_different_size_merge_to_the_same_digits(
        errors in prop::collection::vec((-30.0..30.0_f64, -1.0..1.0_f64), 1..20),
        cuts in prop::collection::vec(0..20_usize, 0..4),
    ) {
        let errors: Vec<f64> = errors.into_iter().map(|(size, sign)| sign * size.exp()).collect();
        let (mut whole, mut merged) = <(RegressionMetrics, RegressionMetrics)>::default();
        let (mut text, mut texts) = <(Perplexity, Perplexity)>::default();
        for error in &errors {
            whole.add(*error, 0.5);
            text.add(error.abs(), 3);
        }
        for range in ranges(&cuts, errors.len()) {
            let (mut part, mut part_text) = (RegressionMetrics::default(), Perplexity::default());
            for error in &errors[range] {
                part.add(*error, 0.5);
                part_text.add(error.abs(), 3);
            }
            merged.merge(part);
            texts.merge(part_text);
        }
        prop_assert_eq!(merged, whole);
        prop_assert_eq!((merged.rmse(), merged.mae(), merged.mape()), (whole.rmse(), whole.mae(), whole.mape()));
        prop_assert_eq!((texts.loss(), texts.bits()), (text.loss(), text.bits()));
    }
}

#[test]
fn a_tagger_with_ignored_tags_has_one_loss_whatever_the_batches() {
    let texts = vec![vec![0, 1], vec![1, 2], vec![2, 2]];
    let tags = vec![vec![1, 2], vec![2, 1], vec![0, 0]];
    let data = Dataset::<f64, _>::from_tokens(texts, 3, tags).unwrap();
    let builder = SequenceTagger::<RnnCell<f64>>::builder(3, 3).hidden_size(4);
    let builder = builder.loss(CrossEntropy::default().ignore_index(0));
    let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    let whole = model.evaluate(&data, 3).unwrap();
    assert_eq!(whole.count(), 4);
    for batch_size in [1, 2] {
        let score = model.evaluate(&data, batch_size).unwrap();
        assert_eq!(score.confusion(), whole.confusion());
        assert!((score.loss() - whole.loss()).abs() < 1e-15);
    }
    let nothing = data.select(&[2]).unwrap();
    let score = model.evaluate(&nothing, 1).unwrap();
    assert!(score.loss().is_nan() && score.accuracy().is_nan());
}

#[test]
fn the_score_of_a_sum_is_the_mean_whatever_the_batches() {
    let x = vec![array![[1.0_f64]], array![[2.0], [0.5]], array![[-1.0]]];
    let data = Dataset::new(x, vec![0.0, 0.0, 3.0]).unwrap();
    let build = || SequenceRegressor::<RnnCell<f64>>::builder(1, 1).hidden_size(2);
    let rng = || ChaCha8Rng::seed_from_u64(1);
    let mean = build().build(&mut rng()).unwrap().evaluate(&data, 3).unwrap();
    let model = build().loss(Sum(Mse)).build(&mut rng()).unwrap();
    for batch_size in 1..=3 {
        let score = model.evaluate(&data, batch_size).unwrap();
        assert!((score.loss() - mean.loss()).abs() < 1e-15);
    }
}

#[test]
fn a_mean_of_steps_weighs_a_batch_by_its_steps() {
    let mut score = MeanLoss::default();
    let full = |time| recurrent::Sequences::full(Array3::<f64>::ones((time, 1, 1))).unwrap();
    for (time, logit) in [(1, 0.0), (9, 1.0)] {
        let (x, y) =
            (full(time).with_values(Array3::from_elem((time, 1, 1), logit)).unwrap(), full(time));
        let loss = BceWithLogits::default();
        loss.score(loss.loss(&x, &y).unwrap().0, &x, &y, &mut score).unwrap();
    }
    let by_hand = (2_f64.ln() + 9.0 * (-1_f64).exp().ln_1p()) / 10.0;
    assert!((score.mean() - by_hand).abs() < 1e-15);
}

#[test]
fn an_error_adds_nothing_to_a_score() {
    let loss = CrossEntropy::default();
    let mut score = ClassificationMetrics::default();
    let x = array![[1.0, 0.0], [f64::NAN, 0.0]];
    assert!(loss.score(0.5, &x, &vec![0, 1], &mut score).is_err());
    assert!(loss.score(0.5, &x, &vec![0, 2], &mut score).is_err());
    assert_eq!(score, ClassificationMetrics::default());
    assert!(score.add(Array1::<f64>::zeros(3).view(), 3).is_err());
    score.add(array![0.0, 1.0].view(), 1).unwrap();
    assert_eq!(score.accuracy(), 1.0);
}
