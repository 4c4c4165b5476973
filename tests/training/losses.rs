//! Tests of the absolute, Huber, pinball and weighted binary losses: gradients, PyTorch, padding, errors.

use ndarray::{Array2, Array3, Ix0, Ix1, Ix2, array};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::loss::{
    BceWithLogits, CrossEntropy, Huber, KlDivergence, Loss, Mae, Mse, Quantile, Sum,
};
use recurrent::{Result, Sequences};

use crate::common::fixture::Fixture;

fn random(shape: (usize, usize, usize), seed: u64) -> Array3<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array3::from_shape_simple_fn(shape, || rng.random_range(-2.0..2.0))
}

type Value = Result<(f64, Sequences<f64>)>;

fn agrees(x: &Sequences<f64>, loss: impl Fn(&Sequences<f64>) -> Value) {
    let gradient = loss(x).unwrap().1;
    let report = GradientCheck::default().run(x, &gradient, |x| Ok(loss(x)?.0)).unwrap();
    assert!(report.relative_error <= 1e-6, "{report}");
}

#[test]
fn gradients_match_finite_differences_over_any_lengths() {
    for (seed, features) in [1, 3, 7, 17].into_iter().enumerate() {
        let lengths = vec![5, 0, 2, 3];
        let sequences = |width, seed| Sequences::new(random((5, 4, width), seed), lengths.clone());
        let (x, y) = (
            sequences(features, seed as u64).unwrap(),
            sequences(features, 100 + seed as u64).unwrap(),
        );
        agrees(&x, |x| Mae.loss(x, &y));
        agrees(&x, |x| Huber::new(0.7).unwrap().loss(x, &y));
        let weight = (0..features).map(|j| 0.5 + j as f64).collect();
        let bce = BceWithLogits::default().positive_weight(weight).unwrap();
        let target = y.with_values(y.values().mapv(|y| f64::from(u8::from(y > 0.0)))).unwrap();
        agrees(&x, |x| bce.loss(x, &target));
        let wide = sequences(3 * features, 200 + seed as u64).unwrap();
        let levels = Quantile::new(vec![0.1, 0.5, 0.8]).unwrap();
        agrees(&wide, |x| levels.loss(x, &y));
    }
}

/// The mean over the k values of a row is their sum divided by k.
#[test]
fn a_sum_is_that_of_its_rows_and_has_its_gradient() {
    let sequences =
        |width, seed| Sequences::new(random((4, 3, width), seed), vec![4, 0, 3]).unwrap();
    let (x, wide, y) = (sequences(5, 1), sequences(10, 2), sequences(5, 3));
    let shares = y.values().mapv(|y| (y + 2.0) / 20.0);
    let positive = y.with_values(shares).unwrap();
    let real = [(0, 0), (0, 2), (1, 0), (1, 2), (2, 0), (2, 2), (3, 0)];
    let row = |of: &Sequences<f64>, (t, b)| of.values().slice(ndarray::s![t, b..=b, ..]).to_owned();
    macro_rules! check {
        ($loss:expr, $x:expr, $y:expr, $terms:expr) => {{
            let by_row = real.map(|place| {
                let (x, y) = (row($x, place), row($y, place));
                $terms * $loss.loss(&x, &y).unwrap().0
            });
            let sum = Sum($loss).loss($x, $y).unwrap().0;
            assert!((sum - by_row.iter().sum::<f64>()).abs() < 1e-12 * sum.abs(), "{sum}");
            let (x, y) = (row($x, (3, 0)), row($y, (3, 0)));
            let one = Sum($loss).loss(&x, &y).unwrap().0;
            assert!((one - by_row[6]).abs() < 1e-14 * sum.abs(), "{one}");
            agrees($x, |x| Sum($loss).loss(x, $y));
        }};
    }
    check!(Mse, &x, &y, 5.0);
    check!(Mae, &x, &y, 5.0);
    check!(Huber::new(0.7).unwrap(), &x, &y, 5.0);
    check!(Quantile::new(vec![0.1, 0.5]).unwrap(), &wide, &y, 10.0);
    check!(BceWithLogits::default(), &x, &positive, 5.0);
    let mut shares = positive.values().to_owned();
    for mut row in shares.rows_mut() {
        let sum = row.sum();
        row /= sum;
    }
    let shares = y.with_values(shares).unwrap();
    check!(KlDivergence, &x, &shares, 1.0);

    let weights = vec![0.5, 2.0, 1.0, 3.0, 0.25];
    let loss = CrossEntropy::default().class_weights(weights.clone()).unwrap().ignore_index(4);
    let classes = Array2::from_shape_fn((4, 3), |(t, b)| (3 * t + b) % 5);
    let by_row = real.map(|(t, b)| match classes[[t, b]] {
        4 => 0.0,
        class => weights[class] * loss.loss(&row(&x, (t, b)), &vec![class]).unwrap().0,
    });
    let sum = Sum(loss.clone()).loss(&x, &classes).unwrap().0;
    assert!((sum - by_row.iter().sum::<f64>()).abs() < 1e-12 * sum, "{sum}");
    let one = Sum(loss.clone()).loss(&row(&x, (3, 0)), &vec![classes[[3, 0]]]);
    assert_eq!(one.unwrap(), (0.0, Array2::zeros((1, 5))), "the only row is ignored");
    agrees(&x, |x| Sum(loss.clone()).loss(x, &classes));
    let huge = array![[1e300_f64; 20]];
    let error = Sum(Mae).loss(&huge.map(|x| x * 1e8), &(-1.0 * &huge));
    assert!(error.is_err(), "a sum that is not finite");
}

#[test]
fn values_and_gradients_agree_with_pytorch() {
    let file = Fixture::open("elementwise");
    let get = |name: &str| file.get::<Ix2>(name);
    let (x, y, yes) = (get("x"), get("y"), get("yes"));
    let weight = file.get::<Ix1>("weight").to_vec();
    let check = |name: &str, (loss, gradient): (f64, Array2<f64>)| {
        let loss_of = file.get::<Ix0>(&format!("{name}.loss")).into_scalar();
        let expected = (loss_of, get(&format!("{name}.gradient")));
        assert!((loss - expected.0).abs() < 1e-14, "{name}: {loss}, not {}", expected.0);
        assert!((gradient - expected.1).iter().all(|d| d.abs() < 1e-15), "{name}");
    };
    check("mae", Mae.loss(&x, &y).unwrap());
    check("huber", Huber::new(0.5).unwrap().loss(&x, &y).unwrap());
    let bce = BceWithLogits::default().positive_weight(weight).unwrap();
    check("bce", bce.loss(&x, &yes).unwrap());
}

#[test]
fn padding_changes_nothing() {
    let (x, y) = (random((4, 2, 3), 1), random((4, 2, 3), 2));
    let of = |filler: f64| {
        let fill = |values: &Array3<f64>| {
            let mut values = values.clone();
            values.slice_mut(ndarray::s![2.., 1, ..]).fill(filler);
            Sequences::new(values, vec![4, 2]).unwrap()
        };
        let (x, y) = (fill(&x), fill(&y));
        let median = Quantile::new(vec![0.5]).unwrap();
        (
            Mae.loss(&x, &y).unwrap(),
            Huber::default().loss(&x, &y).unwrap(),
            median.loss(&x, &y).unwrap(),
        )
    };
    assert_eq!(of(0.0), of(f64::NAN));
}

#[test]
fn a_median_is_half_the_absolute_error_and_equal_values_have_no_gradient() {
    let (x, y) = (array![[1.0_f64, 2.0, 3.0]], array![[1.0, 4.0, 0.0]]);
    let (mae, _) = Mae.loss(&x, &y).unwrap();
    let (median, d) = Quantile::new(vec![0.5]).unwrap().loss(&x, &y).unwrap();
    assert!((mae - 2.0 * median).abs() < 1e-15);
    assert_eq!(d[[0, 0]], 0.0);
    assert_eq!(Mae.loss(&x, &x).unwrap().1, array![[0.0, 0.0, 0.0]]);
}

#[test]
fn a_sure_yes_or_no_does_not_overflow() {
    let (logits, target) = (array![[800.0, -800.0]], array![[1.0, 0.0]]);
    let bce = BceWithLogits::default().positive_weight(vec![5.0, 5.0]).unwrap();
    assert_eq!(bce.loss(&logits, &target).unwrap(), (0.0, array![[0.0, 0.0]]));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let message = |error: recurrent::Error| error.to_string();
    assert!(message(Huber::new(0.0).unwrap_err()).starts_with("delta"));
    assert!(message(Huber::new(f64::NAN).unwrap_err()).starts_with("delta"));
    assert!(message(Quantile::new(vec![]).unwrap_err()).starts_with("levels"));
    assert!(message(Quantile::new(vec![0.5, 1.0]).unwrap_err()).starts_with("levels"));
    let weight = BceWithLogits::default().positive_weight(vec![1.0, -1.0]);
    assert!(message(weight.unwrap_err()).starts_with("positive_weight"));
    let (x, y) = (array![[1.0, 2.0]], array![[1.0]]);
    assert!(message(Mae.loss(&x, &y).unwrap_err()).starts_with("target"));
    let two = Quantile::new(vec![0.1, 0.5, 0.9]).unwrap().loss(&x, &y);
    assert!(message(two.unwrap_err()).starts_with("predicted"));
    let nan = array![[f64::NAN]];
    assert!(message(Mae.loss(&nan, &y).unwrap_err()).starts_with("loss"));
    let quantile = Quantile::new(vec![0.5]).unwrap().loss(&nan, &y);
    assert!(message(quantile.unwrap_err()).starts_with("loss"));
}
