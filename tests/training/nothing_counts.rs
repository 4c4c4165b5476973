//! Tests of losses, scores and pooling where nothing counts, or a value is NaN, infinite or out of range.

use ndarray::{Array1, Array2, Array3, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::layer::{Layer, Pooling, TimePooling};
use recurrent::loss::{
    BceWithLogits, CrossEntropy, Huber, KlDivergence, Loss, Mae, Mse, Quantile, SoftCrossEntropy,
    Sum, Weighted,
};
use recurrent::model::{MeanLoss, Scored};
use recurrent::train::Score;
use recurrent::train::metrics::{
    ClassificationMetrics, Perplexity, RegressionMetrics, seasonal_error,
};
use recurrent::{Arrays, Sequences};

#[test]
fn a_loss_without_anything_to_count_is_zero_with_zero_gradient_and_count() {
    fn check<P: PartialEq + std::fmt::Debug, L: Loss<P>>(
        loss: &L,
        predicted: &P,
        target: &L::Target,
        zero: &P,
    ) {
        let (value, gradient) = loss.loss(predicted, target).unwrap();
        assert_eq!((value, &gradient), (0.0, zero));
        assert_eq!(loss.count(predicted, target).unwrap(), 0.0);
    }
    fn numbers<L>(loss: L)
    where
        L: Loss<Array2<f64>, Target = Array2<f64>> + Clone,
        L: Loss<Sequences<f64>, Target = Sequences<f64>>,
    {
        let none = Array2::<f64>::zeros((0, 3));
        check(&loss, &none, &none, &none);
        check(&Sum(loss.clone()), &none, &none, &none);
        let nan = Array3::from_elem((2, 2, 3), f64::NAN);
        let empty = Sequences::new(nan, vec![0, 0]).unwrap();
        let zero = Sequences::new(Array3::zeros((2, 2, 3)), vec![0, 0]).unwrap();
        check(&loss, &empty, &empty, &zero);
        check(&Sum(loss), &empty, &empty, &zero);
    }
    numbers(Mse);
    numbers(Mae);
    numbers(Huber::default());
    numbers(Quantile::new(vec![0.3]).unwrap());
    numbers(BceWithLogits::default());
    numbers(KlDivergence);
    numbers(SoftCrossEntropy::default());

    let (x, zero) = (array![[1.0, f64::NAN], [f64::INFINITY, 0.0]], Array2::zeros((2, 2)));
    let loss = CrossEntropy::default().ignore_index(7);
    check(&loss, &x, &vec![7, 7], &zero);
    check(&Sum(loss.clone()), &x, &vec![7, 7], &zero);
    let weightless = CrossEntropy::default().class_weights(vec![1.0, 0.0]).unwrap();
    check(&weightless, &x, &vec![1, 1], &zero);
    let pair = Weighted::new((2.0, Mse), (1.0, loss)).unwrap();
    let (none, both) = (Array2::zeros((0, 1)), (Array2::zeros((0, 1)), zero));
    check(&pair, &(none.clone(), x), &(none, vec![7, 7]), &both);
}

#[test]
fn the_mean_over_batches_by_their_counts_is_that_of_one_batch() {
    let x = array![[1.0, -2.0, 0.5], [0.3, 0.1, -0.7], [2.0, 0.0, 1.0], [-1.0, 1.5, 0.2]];
    let y = vec![2, 0, 1, 1];
    let loss = CrossEntropy::default().ignore_index(0).class_weights(vec![1.0, 0.25, 3.0]).unwrap();
    let whole = loss.loss(&x, &y).unwrap();
    let (mut sum, mut count, mut gradient) = (0.0, 0.0, Array2::zeros((4, 3)));
    for (from, to) in [(0, 1), (1, 2), (2, 4)] {
        let rows = ndarray::s![from..to, ..];
        let (part, classes) = (x.slice(rows).to_owned(), y[from..to].to_vec());
        let (value, d) = loss.loss(&part, &classes).unwrap();
        let weight = loss.count(&part, &classes).unwrap();
        (sum, count) = (sum + weight * value, count + weight);
        gradient.slice_mut(rows).assign(&(weight * d));
    }
    assert_eq!(count, 3.0 + 2.0 * 0.25);
    assert!((sum / count - whole.0).abs() < 1e-15);
    assert!((gradient / count - whole.1).iter().all(|d: &f64| d.abs() < 1e-15));
}

#[test]
fn a_class_that_occurs_nowhere_has_no_part_in_the_macro_average() {
    let mut score = ClassificationMetrics::default();
    for class in [0, 1, 1] {
        score
            .add(Array1::from_shape_fn(3, |j| f64::from(u8::from(j == class))).view(), class)
            .unwrap();
    }
    let all = score.macro_average(score.classes());
    assert_eq!((all.precision, all.recall, all.f1), (1.0, 1.0, 1.0));
    assert_eq!(score.metrics()[1], ("macro_f1", 1.0));
    assert_eq!(score.class(2).f1, 0.0);
    assert_eq!(score.macro_average([2]).f1, 0.0);
    // Once it is predicted, it has no recall and no precision.
    score.add(array![0.0, 0.0, 1.0].view(), 0).unwrap();
    let f1 = (2.0 / 3.0 + 1.0 + 0.0) / 3.0;
    assert!((score.macro_average(score.classes()).f1 - f1).abs() < 1e-15);

    let loss = CrossEntropy::default().ignore_index(2);
    let (x, y) = (array![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], vec![0, 1, 2]);
    let mut score = ClassificationMetrics::default();
    loss.score(0.1, &x, &y, &mut score).unwrap();
    assert_eq!((score.count(), score.macro_average(score.classes()).f1), (2, 1.0));
}

#[test]
fn figures_without_samples_are_nan() {
    let classes = ClassificationMetrics::default();
    assert!(classes.accuracy().is_nan() && classes.top_k(3).is_nan() && classes.loss().is_nan());
    let numbers = RegressionMetrics::default();
    let figures =
        [numbers.rmse(), numbers.mae(), numbers.mape(), numbers.mase(1.0), numbers.loss()];
    assert!(figures.iter().all(|figure| figure.is_nan()), "{figures:?}");
    let mut text = Perplexity::default();
    text.add(f64::NAN, 0);
    assert!(text.loss().is_nan() && text.perplexity().is_nan() && text.bits().is_nan());
    assert!(MeanLoss::default().mean().is_nan());
    // A mean of nothing is nothing.
    text.add(2.0, 1);
    assert_eq!(text.loss(), 2.0);
}

#[test]
fn nan_is_never_a_hit_and_never_disappears() {
    let mut score = ClassificationMetrics::default();
    for bad in
        [Array1::from_elem(3, f64::NAN), array![0.0, f64::NAN, 1.0], array![0.0, 0.0, f64::NAN]]
    {
        let error = score.add(bad.view(), 2).unwrap_err().to_string();
        assert!(error.starts_with("logits: expected finite values, got NaN"), "{error}");
    }
    assert_eq!(score, ClassificationMetrics::default());
    score.add(array![f64::NEG_INFINITY, 0.0, f64::INFINITY].view(), 2).unwrap();
    score.add(array![f64::NEG_INFINITY, 0.0, f64::INFINITY].view(), 0).unwrap();
    assert_eq!((score.accuracy(), score.top_k(2), score.top_k(usize::MAX)), (0.5, 0.5, 1.0));

    for (predicted, target) in [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::NAN, 0.0)] {
        let mut score = RegressionMetrics::default();
        score.add(1.0, 1.0);
        score.add(predicted, target);
        let mut merged = RegressionMetrics::default();
        merged.add(1.0, 2.0);
        merged.merge(score);
        let figures = [merged.rmse(), merged.mae(), merged.mape(), merged.loss()];
        assert!(figures.iter().all(|figure| figure.is_nan()), "{figures:?}");
    }
    let mut mean = MeanLoss::default();
    mean.add(f64::NAN, 1);
    mean.add(1.0, 5);
    assert!(mean.mean().is_nan());
    let mut infinite = RegressionMetrics::default();
    infinite.add(f64::INFINITY, 1.0);
    infinite.add(1.0, 1.0);
    assert_eq!((infinite.mae(), infinite.rmse()), (f64::INFINITY, f64::INFINITY));
}

#[test]
fn ratios_to_zero_are_not_zero() {
    let mape = |pairs: &[(f64, f64)]| {
        let mut score = RegressionMetrics::default();
        pairs.iter().for_each(|&(p, y)| score.add(p, y));
        score.mape()
    };
    assert_eq!(mape(&[(300.0, 0.0)]), f64::INFINITY);
    assert_eq!(mape(&[(300.0, -0.0), (1.0, 1.0)]), f64::INFINITY);
    assert_eq!(mape(&[(0.0, 0.0), (1.0, 2.0)]), 25.0);
    let constant = seasonal_error(&[2.0, 2.0, 2.0], 1).unwrap();
    let mut score = RegressionMetrics::default();
    score.add(2.0, 2.0);
    assert!(score.mase(constant).is_nan());
    score.add(3.0, 2.0);
    assert_eq!(score.mase(constant), f64::INFINITY);
    assert!(score.mase(f64::NAN).is_nan() && score.mase(-1.0).is_nan());
    assert!(seasonal_error(&[1.0, f64::NAN, 2.0], 1).unwrap().is_nan());
    assert_eq!(seasonal_error(&[-3e38_f32, 3e38], 1).unwrap(), 2.0 * f64::from(3e38_f32));
    let error = seasonal_error(&[1.0, 2.0], usize::MAX).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("series: expected more than {} values (the season), got 2", usize::MAX)
    );
    let none = RegressionMetrics::persistence::<f64>(&[], 1).unwrap_err().to_string();
    assert_eq!(none, "series: expected more than 1 values (the horizon), got 0");
}

fn message<V: std::fmt::Debug>(result: recurrent::Result<V>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn targets_that_are_no_probabilities_are_refused() {
    let bce = BceWithLogits::default();
    let x = array![[5.0, 5.0]];
    assert_eq!(
        message(bce.loss(&x, &array![[1.0, 2.0]])),
        "target[0, 1]: expected 0 ≤ y ≤ 1, got 2"
    );
    for bad in [-1e-9, f64::NAN, f64::INFINITY, 1.0 + 1e-9] {
        assert!(message(bce.loss(&x, &array![[0.5, bad]])).starts_with("target[0, 1]: "), "{bad}");
    }
    assert!(bce.loss(&x, &array![[0.0, 1.0]]).is_ok());
    let steps = |filler: f64| {
        let mut values = Array3::from_elem((2, 2, 1), 0.5);
        values[[1, 1, 0]] = filler;
        Sequences::new(values, vec![2, 1]).unwrap()
    };
    assert!(bce.loss(&steps(0.0), &steps(9.0)).is_ok(), "the padding is not read");
    let full = Sequences::full(steps(9.0).into_values()).unwrap();
    assert_eq!(message(bce.loss(&full, &full)), "target[1, 1, 0]: expected 0 ≤ y ≤ 1, got 9");

    macro_rules! distributions {
        ($loss:expr) => {
            let of = |y: Array2<f64>| $loss.loss(&Array2::zeros(y.dim()), &y);
            assert!(of(array![[0.25, 0.75], [1.0, 0.0]]).is_ok());
            assert!(of(array![[0.1, 0.2, 0.7]]).is_ok(), "a sum of 1 up to rounding");
            assert_eq!(
                message(of(array![[0.5, 0.5], [0.5, 0.6]])),
                "target[1]: expected probabilities with the sum 1, got 1.1"
            );
            assert_eq!(
                message(of(array![[1.5, -0.5]])),
                "target[0, 1]: expected a probability, got -0.5"
            );
            assert!(message(of(array![[0.0, 0.0]])).starts_with("target[0]: "));
            assert!(message(of(array![[f64::NAN, 1.0]])).starts_with("target[0, 0]: "));
            assert!(message(of(array![[1.0, f64::INFINITY]])).starts_with("target[0, 1]: "));
            let thirds = ndarray::Array2::<f32>::from_elem((1, 3), 1.0 / 3.0);
            assert!($loss.loss(&thirds, &thirds).is_ok());
        };
    }
    distributions!(KlDivergence);
    distributions!(SoftCrossEntropy::default());
}

#[test]
fn weights_and_options_out_of_range_are_refused() {
    let plain = CrossEntropy::default();
    for bad in [vec![0.0, 0.0], vec![], vec![1.0, f64::NAN], vec![-1.0], vec![f64::INFINITY]] {
        assert!(message(plain.clone().class_weights(bad)).starts_with("class_weights"));
    }
    for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(message(plain.clone().label_smoothing(bad)).starts_with("label_smoothing"));
        assert!(message(SoftCrossEntropy::default().label_smoothing(bad)).starts_with("label_smo"));
    }
    for bad in [vec![0.0], vec![1.0], vec![0.5, f64::NAN], vec![-0.5], vec![]] {
        assert!(message(Quantile::new(bad)).starts_with("levels"));
    }
    assert!(Weighted::new((0.0, Mse), (0.0, Mae)).is_err());
    assert!(Weighted::new((f64::NAN, Mse), (1.0, Mae)).is_err());
    assert!(Weighted::new((0.0, Mse), (1.0, Mae)).is_ok());
    // The same from a file.
    let read = |text: &str| serde_json::from_str::<CrossEntropy>(text);
    let text = serde_json::to_string(&plain.label_smoothing(0.1).unwrap()).unwrap();
    assert!(read(&text).is_ok() && read(&text.replace("0.1", "7.0")).is_err());
    assert!(read(&text.replace("\"class_weights\":null", "\"class_weights\":[0.0]")).is_err());
}

#[test]
fn nan_passes_through_every_pooling_that_reads_it() {
    let nan = f64::NAN;
    let pooled = |kind, values: [f64; 3]| {
        let x = Sequences::full(Array3::from_shape_fn((3, 1, 1), |(t, ..)| values[t])).unwrap();
        let pooling = TimePooling::new(kind, 1, 1, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        let y = pooling.forward(&x).unwrap();
        let mut grad = pooling.zeros_like();
        let d_x = pooling.backward(x, &array![[1.0]], &mut grad).unwrap();
        (y[[0, 0]], d_x.into_values().into_raw_vec_and_offset().0)
    };
    for kind in [Pooling::Mean, Pooling::Max, Pooling::Attention] {
        for values in [[nan, 1.0, 2.0], [1.0, nan, 2.0], [1.0, 2.0, nan], [nan, nan, f64::INFINITY]]
        {
            assert!(pooled(kind, values).0.is_nan(), "{kind:?} of {values:?}");
        }
    }
    assert_eq!(pooled(Pooling::Max, [1.0, nan, 2.0]).1, [0.0, 1.0, 0.0]);
    assert_eq!(pooled(Pooling::Max, [nan, nan, 2.0]).1, [1.0, 0.0, 0.0]);
    assert_eq!(
        pooled(Pooling::Max, [f64::NEG_INFINITY; 3]),
        (f64::NEG_INFINITY, vec![1.0, 0.0, 0.0])
    );
    assert_eq!(pooled(Pooling::Last, [nan, 1.0, 2.0]).0, 2.0);
}

#[test]
fn an_error_of_a_loss_tells_the_place_of_the_value() {
    let (mut x, y) = (Array2::<f64>::zeros((4, 3)), Array2::<f64>::zeros((4, 3)));
    x[[2, 1]] = f64::NAN;
    let expected = "loss: expected finite values, got NaN at flat index 7";
    assert_eq!(message(Mse.loss(&x, &y)), expected);
    assert_eq!(message(Mae.loss(&y, &x)), expected);
    assert_eq!(message(BceWithLogits::default().loss(&x, &y)), expected);
    let row = "loss: expected finite values, got NaN at flat index 6";
    assert_eq!(message(CrossEntropy::default().loss(&x, &vec![0, 1, 2, 0])), row);
    let first = Array2::from_shape_fn((4, 3), |(_, j)| f64::from(u8::from(j == 0)));
    assert_eq!(message(KlDivergence.loss(&x, &first)), row);
}
