//! Losses and layers at the ends of the range of numbers: finite, and near the same in f64.

use ndarray::{Array1, Array2, Array3, ArrayD};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use recurrent::layer::{Attention, AttentionScore, Crf, Layer, LayerNorm};
use recurrent::loss::{
    Batch, BceWithLogits, CrossEntropy, Ctc, Huber, KlDivergence, Loss, Mae, Mse, Quantile,
    RowLoss, SoftCrossEntropy,
};
use recurrent::tensor::Level;
use recurrent::tensor::reduce::softmax;
use recurrent::{Arrays, Error, Float, Result, Sequences};

/// The greatest difference of a loss or gradient of f32 from that of f64, relative to the greatest value above 1.
const BOUND: f64 = 2e-6;

/// The largest and the smallest values of the tests, zero and subnormal ones among them.
const VALUES: [f32; 12] =
    [0.0, 1.0, -1.0, 88.0, -88.0, 1e4, -1e4, 1e30, -1e30, 1e-30, 1e-40, -1e-45];

/// Returns the values at `start` and after it, as often as needed.
fn values(shape: &[usize], start: usize) -> ArrayD<f32> {
    let count = shape.iter().product();
    let values = VALUES.iter().cycle().skip(start).take(count).copied().collect();
    ArrayD::from_shape_vec(shape.to_vec(), values).unwrap()
}

fn rows(start: usize) -> Array2<f32> {
    values(&[4, 3], start).into_dimensionality().unwrap()
}

fn steps(start: usize) -> Sequences<f32> {
    Sequences::full(values(&[5, 2, 3], start).into_dimensionality().unwrap()).unwrap()
}

fn wide(x: &Sequences<f32>) -> Sequences<f64> {
    Sequences::full(x.values().mapv(f64::from)).unwrap()
}

fn assert_near<A: Arrays<Elem = f32>, W: Arrays<Elem = f64>>(
    name: &str,
    (loss, d): (f64, A),
    (wide_loss, wide_d): (f64, W),
) {
    let near = |a: f64, b: f64, scale: f64| {
        assert!(a.is_finite() && b.is_finite(), "{name}: {a}, {b}");
        assert!((a - b).abs() <= BOUND * scale.max(1.0), "{name}: {a}, {b}");
    };
    near(loss, wide_loss, wide_loss.abs());
    let (mut narrow, mut wide) = (Vec::new(), Vec::new());
    d.for_each(&mut |_, array| narrow.extend(array.iter().copied().map(f64::from)));
    wide_d.for_each(&mut |_, array| wide.extend(array.iter().copied()));
    assert_eq!(narrow.len(), wide.len(), "{name}");
    let scale = wide.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
    narrow.iter().zip(&wide).for_each(|(&a, &b)| near(a, b, scale));
}

/// Compares a loss whose target is like the prediction.
fn compare<L>(name: &str, loss: &L, target: impl Fn(usize) -> Array2<f32>)
where
    L: RowLoss<Array2<f32>, Target = Array2<f32>> + RowLoss<Array2<f64>, Target = Array2<f64>>,
{
    for start in 0..VALUES.len() {
        let (x, y) = (rows(start), target(start));
        let narrow = loss.loss(&x, &y).unwrap();
        let wide = loss.loss(&x.mapv(f64::from), &y.mapv(f64::from)).unwrap();
        assert_near(name, narrow, wide);
    }
}

#[test]
fn losses_are_near_those_of_f64_at_the_ends_of_the_range() {
    let other = |start| rows(start + 5);
    let shares = |_: usize| Array2::from_elem((4, 3), 0.25);
    compare("mae", &Mae, other);
    compare("huber", &Huber::new(1.0).unwrap(), other);
    compare("bce", &BceWithLogits::default(), |start| rows(start).mapv(|x| f32::from(x > 0.0)));
    let of_shares =
        |start| shares(start) + Array2::from_shape_fn((4, 3), |(_, j)| [0.25, 0.0, 0.0][j]);
    compare("soft cross-entropy", &SoftCrossEntropy::default(), of_shares);
    compare("kl divergence", &KlDivergence, of_shares);
    let quantile = Quantile::new(vec![0.1]).unwrap();
    compare("quantile", &quantile, other);
    for start in 0..VALUES.len() {
        let (x, classes) = (rows(start), vec![0, 1, 2, 0]);
        let narrow = CrossEntropy::default().loss(&x, &classes).unwrap();
        let wide = CrossEntropy::default().loss(&x.mapv(f64::from), &classes).unwrap();
        assert_near("cross-entropy", narrow, wide);
    }
}

/// The squares of 1e30 are beyond f32: the loss of an f32 model is refused, with its value.
#[test]
fn squared_errors_beyond_the_range_of_f32_are_refused_by_value() {
    let within = |x: f32| x.clamp(-1e15, 1e15);
    for start in 0..VALUES.len() {
        let (x, y) = (rows(start).mapv(within), rows(start + 5).mapv(within));
        let wide = Mse.loss(&x.mapv(f64::from), &y.mapv(f64::from)).unwrap();
        assert_near("mse", Mse.loss(&x, &y).unwrap(), wide);
    }
    let refused = Mse.loss(&rows(0), &rows(5)).unwrap_err();
    assert!(matches!(refused, Error::NonFinite { value, .. } if value > 1e59), "{refused}");
}

/// A plain loop in f64.
#[test]
fn cross_entropy_and_softmax_equal_a_plain_loop() {
    for start in 0..VALUES.len() {
        let x = rows(start);
        let (loss, _) = CrossEntropy::default().loss(&x, &vec![1; 4]).unwrap();
        let mut expected = 0.0;
        for row in x.rows() {
            let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
            let most = row.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(x));
            let sum: f64 = row.iter().map(|x| (x - most).exp()).sum();
            expected += (most + sum.ln() - row[1]) / 4.0;
            let mut shares: Vec<f32> = row.iter().map(|&x| x as f32).collect();
            softmax(Level::new(), &mut shares);
            for (share, x) in shares.iter().zip(&row) {
                assert!((f64::from(*share) - (x - most).exp() / sum).abs() <= 1e-6);
            }
        }
        assert!((loss - expected).abs() <= BOUND * expected.max(1.0), "{loss}, {expected}");
    }
}

#[test]
fn ctc_and_crf_are_near_those_of_f64_at_the_ends_of_the_range() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let crf = Crf::<f32>::new(3, &mut rng).unwrap();
    let mut wide_crf = Crf::<f64>::new(3, &mut rng).unwrap();
    let mut arrays = Vec::new();
    crf.for_each(&mut |name, array| arrays.push((name.to_owned(), array.mapv(f64::from))));
    arrays.into_iter().for_each(|(name, array)| wide_crf.set(&name, array).unwrap());
    let tags = Array2::from_shape_fn((5, 2), |(t, b)| (t + b) % 3);
    for start in 0..VALUES.len() {
        let x = steps(start);
        let labels = vec![vec![1, 2], vec![2]];
        let within = x.with_values(x.values().mapv(|x| x.clamp(-1e4, 1e4))).unwrap();
        let narrow = Ctc::new(0).loss(&within, &labels).unwrap();
        assert_near("ctc", narrow, Ctc::new(0).loss(&wide(&within), &labels).unwrap());
        // A path of probability zero has no finite loss.
        match Ctc::new(0).loss(&x, &labels) {
            Ok((loss, d)) => assert!(loss.is_finite() && d.check_finite().is_ok()),
            Err(error) => assert!(matches!(error, Error::NonFinite { .. }), "{error}"),
        }
        let (mut grad, mut wide_grad) = (crf.zeros_like(), wide_crf.zeros_like());
        let narrow = crf.loss_and_grad(&x, &tags, &mut grad).unwrap();
        let wide = wide_crf.loss_and_grad(&wide(&x), &tags, &mut wide_grad).unwrap();
        assert_near("crf", narrow, wide);
        assert_near("scores of the crf", (0.0, grad), (0.0, wide_grad));
    }
}

#[test]
fn attention_of_any_finite_scores_is_a_mean_of_the_memory() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let kinds = [
        AttentionScore::Dot,
        AttentionScore::ScaledDot,
        AttentionScore::General,
        AttentionScore::Additive { size: 4 },
    ];
    let memory =
        Sequences::full(Array3::from_shape_fn((5, 2, 3), |(t, _, j)| (t * j) as f32 / 8.0));
    let memory = memory.unwrap();
    for kind in kinds {
        let attention = Attention::<f32>::new(kind, 3, 3, &mut rng).unwrap();
        for start in 0..VALUES.len() {
            let (contexts, weights) = attention.attend(&steps(start), &memory).unwrap();
            contexts.check_finite().unwrap();
            for weights in weights.rows() {
                let sum: f32 = weights.sum();
                assert!((sum - 1.0).abs() <= 1e-6, "{kind:?}: {weights}");
            }
            assert!(contexts.values().iter().all(|x| (-1e-6..=1.000_001).contains(x)), "{kind:?}");
        }
    }
}

/// Returns x̂ of a row, and d_x of the gradient (1, 2, 3).
fn normalised<T: Float>(row: [f64; 3]) -> Result<(Array2<T>, Array2<T>)> {
    let norm = LayerNorm::<T>::new(3)?;
    let x = Array1::from(row.map(T::from_f64).to_vec()).insert_axis(ndarray::Axis(0));
    let (y, tape) = norm.forward_train(&x, &mut ChaCha8Rng::seed_from_u64(3))?;
    let d_y = Array2::from_shape_fn((1, 3), |(_, j)| T::from_f64(1.0 + j as f64));
    let d_x: Array2<T> = norm.backward(tape, &d_y, &mut norm.zeros_like())?;
    Ok((y, d_x))
}

/// The sum of the squares of such a row is infinite.
#[test]
fn a_row_whose_squares_overflow_is_normalised() {
    for factor in [1e19, 1e30, 3e37, 1e38] {
        let (y, d) = normalised::<f32>([factor, 2.0 * factor, -factor]).unwrap();
        let (wide_y, wide_d) = normalised::<f64>([factor, 2.0 * factor, -factor]).unwrap();
        assert_near("f32", (0.0, y), (0.0, wide_y));
        let scaled = |d: f64| d * factor;
        let d = d.mapv(|d| (f64::from(d) * factor) as f32);
        assert_near("d_x of f32", (0.0, d), (0.0, wide_d.mapv(scaled)));
    }
    // A sum that overflows, and squares beyond f64.
    let (large, _) = normalised::<f32>([3e38, 3e38, -3e38]).unwrap();
    let (small, _) = normalised::<f64>([3.0, 3.0, -3.0]).unwrap();
    assert_near("a sum beyond f32", (0.0, large), (0.0, small.clone()));
    let (large, _) = normalised::<f64>([1e308, 1e308, -1e308]).unwrap();
    assert!((large - small).iter().all(|d| d.abs() < 1e-5));
}

#[test]
fn losses_of_each_row_are_finite() {
    for start in 0..VALUES.len() {
        let losses = Mse.losses(&rows(start), &rows(start + 5)).unwrap();
        assert!(losses.iter().all(|loss| loss.is_finite()));
        assert_eq!(losses.len(), rows(start).steps());
    }
}
