//! Tests of losses by row, of weights of samples and steps, of soft targets and of quantiles that do not
//! cross.

use ndarray::{Array1, Array2, Array3, array, s};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::data::{Dataset, Source};
use recurrent::layer::{Layer, Linear, NonCrossing, Pooling, TimePooling};
use recurrent::loss::{
    BceWithLogits, CrossEntropy, Huber, KlDivergence, Loss, Mae, Mse, Quantile, RowLoss,
    SampleWeighted, SoftCrossEntropy, Sum,
};
use recurrent::model::Composed;
use recurrent::train::Model;
use recurrent::{Arrays, Gru, Result, Sequences};

use crate::common::random::random;

const LENGTHS: [usize; 3] = [4, 0, 3];

fn sequences(features: usize, seed: u64) -> Sequences<f64> {
    Sequences::new(random((4, 3, features), seed), LENGTHS.to_vec()).unwrap()
}

/// Returns a distribution at each step.
fn distributions(features: usize, seed: u64) -> Sequences<f64> {
    let mut values = random((4, 3, features), seed).mapv(f64::exp);
    for mut row in values.rows_mut() {
        let sum = row.sum();
        row /= sum;
    }
    Sequences::new(values, LENGTHS.to_vec()).unwrap()
}

fn agrees<A: Arrays<Elem = f64>>(x: &A, loss: impl Fn(&A) -> Result<(f64, A)>) {
    let gradient = loss(x).unwrap().1;
    let report = GradientCheck::default().run(x, &gradient, |x| Ok(loss(x)?.0)).unwrap();
    assert!(report.relative_error <= 1e-6, "{report}");
}

fn row(of: &Sequences<f64>, t: usize, b: usize) -> Array2<f64> {
    of.values().slice(s![t, b..=b, ..]).to_owned()
}

#[test]
fn losses_of_rows_and_their_weighted_mean_are_those_of_each_row_alone() {
    let weights = array![[1.0, f64::NAN, 2.0], [0.0, 9.0, 0.5], [3.0, 9.0, 0.0], [1.5, 9.0, 9.0]];
    macro_rules! check {
        ($loss:expr, $x:expr, $y:expr, $row:expr, $count:expr, $terms:expr) => {{
            let (loss, x, y) = ($loss, $x, $y);
            let losses = loss.losses(&x, &y).unwrap();
            assert_eq!(losses.dim(), (4, 3));
            let (mut sum, mut total) = (0.0, 0.0);
            for ((t, b), value) in losses.indexed_iter() {
                if t >= LENGTHS[b] {
                    assert_eq!(*value, 0.0);
                    continue;
                }
                let (x, y) = (row(&x, t, b), $row(t, b));
                let count: f64 = $count(t, b);
                let alone = loss.loss(&x, &y).unwrap().0;
                assert_eq!(loss.losses(&x, &y).unwrap().len(), 1);
                assert_eq!(loss.count(&x, &y).unwrap(), count);
                let features = if $terms { count } else { 1.0 };
                assert!((alone * count - value * features).abs() < 1e-14, "{value}");
                sum += weights[[t, b]] * alone * count;
                total += weights[[t, b]] * count;
            }
            let given = Some(weights.view());
            let (mean, _) = loss.weighted(&x, &y, given).unwrap();
            assert!((mean - sum / total).abs() < 1e-14, "{mean}, not {}", sum / total);
            assert!((loss.weighted_count(&x, &y, given).unwrap() - total).abs() < 1e-14);
            agrees(&x, |x| loss.weighted(x, &y, given));
            let ones = Array2::ones((4, 3));
            let (plain, d) = loss.loss(&x, &y).unwrap();
            let (same, d_same) = loss.weighted(&x, &y, Some(ones.view())).unwrap();
            assert!((plain - same).abs() < 1e-15 && d == d_same);
        }};
    }
    let y = sequences(3, 3);
    // Far from the kinks of the losses.
    let near = |levels: usize| {
        let noise = 0.05 * random((4, 3, 3 * levels), 1);
        let values = Array3::from_shape_fn(noise.dim(), |(t, b, j)| {
            let error = [0.3, -0.8, 0.9][(t + b + j) % 3];
            y.values()[[t, b, j / levels]] + error + noise[[t, b, j]]
        });
        Sequences::new(values, LENGTHS.to_vec()).unwrap()
    };
    let (x, wide) = (near(1), near(3));
    let p = distributions(3, 4);
    let of = |y: &Sequences<f64>| {
        let y = y.clone();
        move |t, b| row(&y, t, b)
    };
    check!(Mse, x.clone(), y.clone(), of(&y), |_, _| 3.0, true);
    check!(Mae, x.clone(), y.clone(), of(&y), |_, _| 3.0, true);
    check!(Huber::new(0.5).unwrap(), x.clone(), y.clone(), of(&y), |_, _| 3.0, true);
    check!(Quantile::new(vec![0.1, 0.5, 0.9]).unwrap(), wide, y.clone(), of(&y), |_, _| 9.0, true);
    check!(BceWithLogits::default(), x.clone(), p.clone(), of(&p), |_, _| 3.0, true);
    check!(KlDivergence, x.clone(), p.clone(), of(&p), |_, _| 1.0, false);
    let soft = SoftCrossEntropy::default().label_smoothing(0.1).unwrap();
    let soft = soft.class_weights(vec![1.0, 0.5, 2.0]).unwrap();
    check!(soft, x.clone(), p.clone(), of(&p), |_, _| 1.0, false);
    let classes = Array2::from_shape_fn((4, 3), |(t, b)| (t + b) % 3);
    let of_class = [1.0, 0.5, 2.0];
    let hard = CrossEntropy::default().class_weights(of_class.to_vec()).unwrap();
    let hard = hard.label_smoothing(0.2).unwrap();
    let at = |t: usize, b: usize| vec![(t + b) % 3];
    check!(hard, x, classes, at, |t, b| of_class[(t + b) % 3], false);
}

#[test]
fn the_loss_of_each_row_is_pytorch_s_without_reduction() {
    let (x, y) = (array![[1.0, 2.0], [0.0, 3.0]], array![[0.0, 4.0], [0.0, 0.0]]);
    assert_eq!(Mse.losses(&x, &y).unwrap(), array![2.5, 4.5]);
    let logits = array![[0.0, 3_f64.ln()], [0.0, 3_f64.ln()], [0.0, 0.0]];
    let loss = CrossEntropy::default().class_weights(vec![2.0, 3.0]).unwrap().ignore_index(9);
    let losses = loss.losses(&logits, &vec![0, 1, 9]).unwrap();
    let by_hand = array![2.0 * 4_f64.ln(), 3.0 * (4_f64 / 3.0).ln(), 0.0];
    assert!((losses - by_hand).iter().all(|d| d.abs() < 1e-14));
    let none = Mse.losses(&Array2::<f64>::zeros((0, 2)), &Array2::zeros((0, 2))).unwrap();
    assert_eq!(none.len(), 0);
}

#[test]
fn rows_and_steps_of_weight_zero_are_not_read() {
    let nan = f64::NAN;
    let (x, y) = (array![[1.0], [nan], [3.0]], array![[0.0], [1.0], [nan]]);
    let loss = SampleWeighted::new(Mse);
    let (value, d) = loss.loss(&x, &(y.clone(), array![[2.0], [0.0], [0.0]])).unwrap();
    assert_eq!((value, d), (1.0, array![[2.0], [0.0], [0.0]]));
    let zero = array![[0.0], [0.0], [0.0]];
    assert_eq!(loss.loss(&x, &(y.clone(), zero.clone())).unwrap(), (0.0, zero.clone()));
    assert_eq!(loss.count(&x, &(y.clone(), zero)).unwrap(), 0.0);
    for bad in [nan, -1.0, f64::INFINITY] {
        let error = loss.loss(&x, &(y.clone(), array![[1.0], [bad], [1.0]])).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("weights[0, 1]: expected a finite weight"), "{message}");
    }
    let error = loss.loss(&x, &(y, array![[1.0]])).unwrap_err().to_string();
    assert_eq!(error, "weights: expected [3, 1] (batch, 1), got [1, 1]");
    let sum = Sum(loss).loss(&array![[2.0], [5.0]], &(array![[0.0], [0.0]], array![[0.5], [1.0]]));
    assert_eq!(sum.unwrap(), (0.5 * 4.0 + 25.0, array![[2.0], [10.0]]));
}

#[test]
fn weights_of_samples_and_of_steps_agree_where_they_are_the_same() {
    let (x, classes) = (sequences(3, 1), Array2::from_shape_fn((4, 3), |(t, b)| (t * b) % 3));
    let by_sample = array![[0.5], [7.0], [2.0]];
    let by_step =
        Array3::from_shape_fn(
            (4, 3, 1),
            |(t, b, _)| {
                if t < LENGTHS[b] { by_sample[[b, 0]] } else { f64::NAN }
            },
        );
    let by_step = Sequences::new(by_step, LENGTHS.to_vec()).unwrap();
    let loss = CrossEntropy::default().ignore_index(2);
    let first = SampleWeighted::new(loss.clone());
    let first = first.loss(&x, &(classes.clone(), by_sample)).unwrap();
    let target = (classes, by_step);
    let second = SampleWeighted::new(loss.clone()).loss(&x, &target).unwrap();
    assert_eq!(first, second);
    agrees(&x, |x| SampleWeighted::new(loss.clone()).loss(x, &target));
}

type Weighing = Composed<
    Sequences<f64>,
    (Gru<f64>, TimePooling<f64>, Linear<f64>),
    SampleWeighted<CrossEntropy, Array2<f64>>,
>;

#[test]
fn a_model_trains_on_a_data_set_with_weights_and_scores_them_whatever_the_batches() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let layers = (
        Gru::builder(1, 4).build(&mut rng).unwrap(),
        TimePooling::new(Pooling::Mean, 4, 1, &mut rng).unwrap(),
        Linear::new(4, 2, &mut rng).unwrap(),
    );
    let loss = SampleWeighted::new(CrossEntropy::default());
    let model = Weighing::new(layers, loss);
    let x = (0..5).map(|i| Array2::from_elem((1 + i % 3, 1), i as f64)).collect();
    let targets: Vec<(usize, f64)> = (0..5).map(|i| (i % 2, 0.25 * i as f64)).collect();
    let data = Dataset::new(x, targets).unwrap();
    let whole = model.evaluate(&data, 5).unwrap();
    for batch_size in 1..5 {
        let score = model.evaluate(&data, batch_size).unwrap();
        assert!((score.total.mean() - whole.total.mean()).abs() < 1e-14);
        assert_eq!(score.metrics.accuracy(), whole.metrics.accuracy());
    }
    let batch = data.batch(&[3, 0, 4]).unwrap();
    let mut grad = model.zeros_like();
    let value = model.loss_and_grad(&batch, &mut grad, &mut rng).unwrap();
    let logits = model.predict(&batch.0).unwrap();
    let each = CrossEntropy::default().losses(&logits, &vec![1, 0, 0]).unwrap();
    assert!((value - (0.75 * each[0] + 1.0 * each[2]) / 1.75).abs() < 1e-14);

    let uneven = vec![(vec![0, 1], array![[1.0_f64]])];
    let uneven = Dataset::new(vec![array![[1.0_f64], [2.0]]], uneven).unwrap();
    let error = uneven.batch(&[0]).unwrap_err().to_string();
    assert_eq!(error, "targets[0].1: expected [2] (time), got [1]");
}

#[test]
fn soft_targets_of_one_class_are_that_class() {
    let (x, classes) =
        (random((1, 6, 4), 1).index_axis_move(ndarray::Axis(0), 0), [3, 0, 1, 1, 2, 0]);
    let one_hot = Array2::from_shape_fn((6, 4), |(r, c)| f64::from(u8::from(classes[r] == c)));
    for epsilon in [0.0, 0.3, 1.0] {
        let hard = CrossEntropy::default().label_smoothing(epsilon).unwrap();
        let soft = SoftCrossEntropy::default().label_smoothing(epsilon).unwrap();
        let (hard, d_hard) = hard.loss(&x, &classes.to_vec()).unwrap();
        let (soft, d_soft) = soft.loss(&x, &one_hot).unwrap();
        assert!((hard - soft).abs() < 1e-14);
        assert!((d_hard - d_soft).iter().all(|d| d.abs() < 1e-15));
    }
    // PyTorch divides weighted soft targets by the number of rows.
    let weights = vec![0.5, 1.0, 2.0, 4.0];
    let hard = CrossEntropy::default().class_weights(weights.clone()).unwrap();
    let soft = SoftCrossEntropy::default().class_weights(weights).unwrap();
    let sum = Sum(hard).loss(&x, &classes.to_vec()).unwrap().0;
    assert!((soft.loss(&x, &one_hot).unwrap().0 - sum / 6.0).abs() < 1e-14);
    let masked = array![[0.0, f64::NEG_INFINITY, 3_f64.ln()]];
    let (value, d) = soft_loss(&masked, &array![[0.5, 0.0, 0.5]]);
    assert!((value - 0.5 * (4_f64.ln() + (4_f64 / 3.0).ln())).abs() < 1e-14);
    assert!((d - array![[-0.25, 0.0, 0.25]]).iter().all(|d| d.abs() < 1e-15));
}

fn soft_loss(x: &Array2<f64>, y: &Array2<f64>) -> (f64, Array2<f64>) {
    SoftCrossEntropy::default().loss(x, y).unwrap()
}

#[test]
fn soft_cross_entropy_is_the_divergence_plus_the_entropy_of_the_target() {
    let (x, p) = (sequences(5, 1), distributions(5, 2));
    let entropy: f64 = (0..3)
        .flat_map(|b| (0..LENGTHS[b]).map(move |t| (t, b)))
        .map(|(t, b)| row(&p, t, b).mapv(|p| -p * p.ln()).sum())
        .sum();
    let (soft, d_soft) = SoftCrossEntropy::default().loss(&x, &p).unwrap();
    let (divergence, d) = KlDivergence.loss(&x, &p).unwrap();
    assert!((soft - divergence - entropy / 7.0).abs() < 1e-14);
    assert!((d.values() - d_soft.values()).iter().all(|d| d.abs() < 1e-15));
    agrees(&x, |x| SoftCrossEntropy::default().loss(x, &p));
}

#[test]
fn the_gradient_of_quantiles_that_do_not_cross_matches_finite_differences() {
    let (layer, y) = (NonCrossing::<f64>::new(2, 3).unwrap(), sequences(2, 3));
    let x = Sequences::new(3.0 * random((4, 3, 6), 1), LENGTHS.to_vec()).unwrap();
    let loss = Quantile::new(vec![0.1, 0.5, 0.9]).unwrap();
    agrees(&x, |x| {
        let (value, d) = loss.loss(&layer.forward(x)?, &y)?;
        Ok((value, layer.backward(x.clone(), &d, &mut layer.clone())?))
    });
    let rows: Array2<f64> = layer.forward(&array![[1.0, 0.0, -800.0, 5.0, 800.0, 0.0]]).unwrap();
    let ln2 = 2_f64.ln();
    assert_eq!(rows, array![[1.0, 1.0 + ln2, 1.0 + ln2, 5.0, 805.0, 805.0 + ln2]]);
    assert!(NonCrossing::<f64>::new(0, 3).is_err() && NonCrossing::<f64>::new(1, 0).is_err());
    let error = layer.forward(&Array2::zeros((1, 5))).unwrap_err().to_string();
    assert_eq!(error, "x: expected [1, 6] (rows, targets · levels), got [1, 5]");
}

proptest! {
    #[test]
    fn quantiles_never_cross(values in prop::collection::vec(-1e4..1e4_f32, 12)) {
        let layer = NonCrossing::<f32>::new(1, 4).unwrap();
        let x = Array2::from_shape_vec((3, 4), values).unwrap();
        let y: Array2<f32> = layer.forward(&x).unwrap();
        for row in y.rows() {
            prop_assert!(row.windows(2).into_iter().all(|pair| pair[0] <= pair[1]), "{row}");
        }
        let first: Array1<f32> = x.column(0).to_owned();
        prop_assert_eq!(first, y.column(0).to_owned());
    }
}
