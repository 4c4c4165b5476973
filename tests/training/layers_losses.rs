//! Tests of layers, losses and whole models: gradients against finite differences, padding, values worked
//! out by hand, errors.

use ndarray::{Array2, Array3, Axis, array};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::layer::{Dropout, Embedding, Layer, Linear, Pooling, TimePooling};
use recurrent::loss::{BceWithLogits, CrossEntropy, Loss, Mse};
use recurrent::tensor::Init;
use recurrent::{Arrays, Float, Lstm, Result, Sequences, arrays};

use crate::common::bits::bits;
use crate::common::padding::padded;
use crate::common::random::random;

const TIME: usize = 5;
const LENGTHS: [[usize; 4]; 3] = [[5, 5, 5, 5], [2, 0, 5, 1], [0, 0, 0, 3]];

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

fn random2(shape: (usize, usize), seed: u64) -> Array2<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0))
}

fn sequences(features: usize, lengths: [usize; 4], seed: u64) -> Sequences<f64> {
    Sequences::new(random((TIME, 4, features), seed), lengths.to_vec()).unwrap()
}

fn agrees<A: Arrays<Elem = f64>>(point: &A, gradient: &A, loss: impl FnMut(&A) -> Result<f64>) {
    let report = GradientCheck::default().run(point, gradient, loss).unwrap();
    assert!(report.relative_error <= 1e-6, "{report}");
}

#[test]
fn linear_gradients_match_finite_differences_on_rows_and_sequences() {
    for (input, output) in [(1, 1), (1, 3), (3, 1), (7, 17), (17, 7), (17, 17)] {
        for bias in [false, true] {
            let init = Init::XavierNormal;
            let linear = Linear::with_options(input, output, bias, init, &mut rng()).unwrap();
            let (x, w) = (random2((6, input), 1), random2((6, output), 2));
            let mut grad = linear.zeros_like();
            let d_x: Array2<f64> = linear.backward(x.clone(), &w, &mut grad).unwrap();
            agrees(&(linear.clone(), x), &(grad, d_x), |(linear, x)| {
                Ok((linear.forward(x)? * &w).sum())
            });
            for lengths in LENGTHS {
                let x = sequences(input, lengths, 3);
                let w = sequences(output, lengths, 4);
                let mut grad = linear.zeros_like();
                let d_x: Sequences<f64> = linear.backward(x.clone(), &w, &mut grad).unwrap();
                agrees(&(linear.clone(), x), &(grad, d_x), |(linear, x)| {
                    Ok((linear.forward(x)?.into_values() * w.values()).sum())
                });
            }
        }
    }
}

/// There are enough rows for several threads, in unequal parts.
#[test]
fn the_number_of_threads_never_matters_to_a_linear_layer() {
    let linear = Linear::<f32>::new(48, 65, &mut rng()).unwrap();
    let (x, d) =
        (random2((15001, 48), 1).mapv(|x| x as f32), random2((15001, 65), 2).mapv(|x| x as f32));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut grad = linear.zeros_like();
            let d_x: Array2<f32> = linear.backward(x.clone(), &d, &mut grad).unwrap();
            let mut all: Vec<f32> = linear.forward(&x).unwrap().into_iter().chain(d_x).collect();
            grad.for_each(&mut |_, array| all.extend(array));
            all
        })
    };
    let one = run(1);
    (2..=5).for_each(|threads| assert_eq!(run(threads), one, "{threads} threads"));
}

#[test]
fn embedding_gradients_match_finite_differences() {
    for (lengths, width) in LENGTHS.into_iter().flat_map(|l| [1, 7, 17].map(|width| (l, width))) {
        let embedding = Embedding::<f64>::new(6, width, &mut rng()).unwrap();
        let tokens = Array2::from_shape_fn((TIME, 4), |(t, b)| (3 * t + 2 * b) % 6);
        let x = Sequences::one_hot(tokens.view(), 6, lengths.to_vec()).unwrap();
        let w = sequences(width, lengths, 1);
        let mut grad = embedding.zeros_like();
        let d_x = embedding.backward(x.clone(), &w, &mut grad).unwrap();
        assert_eq!(d_x, x.zeros_like());
        agrees(&embedding, &grad, |embedding| {
            Ok((embedding.forward(&x)?.into_values() * w.values()).sum())
        });
    }
}

/// Returns the mean over time, for `features` values per step.
fn mean(features: usize) -> TimePooling<f64> {
    TimePooling::new(Pooling::Mean, features, 1, &mut rng()).unwrap()
}

#[test]
fn pooling_gradients_match_finite_differences_for_every_kind() {
    let kinds = [Pooling::Last, Pooling::Mean, Pooling::Max, Pooling::Attention];
    for (kind, directions) in kinds.into_iter().flat_map(|kind| [(kind, 1), (kind, 2)]) {
        for width in [1, 3, 7, 17].map(|width| width * directions) {
            let pooling = TimePooling::new(kind, width, directions, &mut rng()).unwrap();
            for lengths in [[5, 5, 5, 5], [2, 1, 5, 3]] {
                let (mut x, w) = (sequences(width, lengths, 1), random2((4, width), 2));
                // No two steps are so close that a small difference changes which is the greatest.
                x.for_each_mut(&mut |_, mut values| {
                    for (t, mut step) in values.outer_iter_mut().enumerate() {
                        step.mapv_inplace(|x| (20.0 * x).round() / 20.0 + 0.013 * t as f64);
                    }
                });
                let mut grad = pooling.zeros_like();
                let d_x = pooling.backward(x.clone(), &w, &mut grad).unwrap();
                agrees(&(pooling.clone(), x), &(grad, d_x), |(pooling, x)| {
                    Ok((pooling.forward(x)? * &w).sum())
                });
            }
        }
    }
}

#[test]
fn pooling_of_both_directions_is_the_final_state_of_each() {
    let lstm = Lstm::<f64>::builder(3, 4).bidirectional(true).build(&mut rng()).unwrap();
    let (h, last) = lstm.forward(&sequences(3, [2, 1, 5, 3], 1), None).unwrap();
    let pooled = TimePooling::new(Pooling::Last, 8, 2, &mut rng()).unwrap().forward(&h).unwrap();
    let (forward, backward) = pooled.view().split_at(Axis(1), 4);
    assert_eq!(forward, last.part("h", 0, false).unwrap());
    assert_eq!(backward, last.part("h", 0, true).unwrap());
}

#[test]
fn attention_weighs_steps_by_a_softmax_that_does_not_overflow() {
    let mut pooling = TimePooling::new(Pooling::Attention, 1, 1, &mut rng()).unwrap();
    pooling.fill(1.0);
    let x =
        Sequences::from_list(&[array![[0.0], [3_f64.ln()]], array![[800.0], [-800.0]]]).unwrap();
    let y = pooling.forward(&x).unwrap();
    assert!((y[[0, 0]] - 0.75 * 3_f64.ln()).abs() < 1e-15 && y[[1, 0]] == 800.0);
    let weights = pooling.attention_weights(&x).unwrap();
    assert!((weights[[0, 0]] - 0.25).abs() < 1e-15 && weights[[0, 1]] == 1.0);
}

#[test]
fn the_weights_of_attention_are_those_of_its_pooling() {
    let pooling = TimePooling::new(Pooling::Attention, 3, 1, &mut rng()).unwrap();
    let x = sequences(3, [2, 1, 5, 3], 1);
    let (y, weights) = (pooling.forward(&x).unwrap(), pooling.attention_weights(&x).unwrap());
    assert_eq!(weights.dim(), (5, 4));
    for (b, &length) in x.lengths().iter().enumerate() {
        let of_steps = weights.column(b);
        assert!((of_steps.sum() - 1.0).abs() < 1e-14);
        assert!(of_steps.iter().skip(length).all(|&weight| weight == 0.0));
        let pooled = of_steps.dot(&x.values().index_axis(Axis(1), b));
        assert!((&pooled - &y.row(b)).iter().all(|d| d.abs() < 1e-14));
    }
    let error = mean(3).attention_weights(&x).unwrap_err().to_string();
    assert_eq!(error, "pooling: expected Attention, which has weights, got Mean");
    let error = pooling.attention_weights(&sequences(2, [1, 1, 1, 1], 1)).unwrap_err().to_string();
    assert!(error.starts_with("x: "), "{error}");
}

#[test]
fn an_embedding_may_come_from_elsewhere_and_learn_nothing() {
    let weight = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
    let embedding = Embedding::from_weight(weight).unwrap().padding_index(1).unwrap();
    let x = Sequences::one_hot(array![[0, 1], [2, 9]].view(), 3, vec![2, 1]).unwrap();
    let y = embedding.forward(&x).unwrap();
    assert_eq!(y.values(), array![[[1.0, 2.0], [0.0, 0.0]], [[5.0, 6.0], [0.0, 0.0]]]);
    let mut grad = embedding.zeros_like();
    let d_y = x.with_values(Array3::ones((2, 2, 2))).unwrap();
    embedding.backward(x.clone(), &d_y, &mut grad).unwrap();
    assert_eq!(grad.weight(), array![[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]);
    grad.fill(0.0);
    embedding.clone().frozen(true).backward(x, &d_y, &mut grad).unwrap();
    assert_eq!(grad.weight(), Array2::<f64>::zeros((3, 2)));
    let message = |error: recurrent::Error| error.to_string();
    assert_eq!(
        message(embedding.clone().padding_index(3).unwrap_err()),
        "padding_index: expected less than 3 (num_embeddings), got 3"
    );
    assert_eq!(
        message(embedding.forward(&sequences(3, [5; 4], 1)).unwrap_err()),
        "x: expected tokens (Sequences::one_hot), got values"
    );
    assert!(Embedding::from_weight(array![[f64::NAN]]).is_err());
}

#[test]
fn dropout_scales_what_it_keeps_and_backward_is_its_mask() {
    let x = random2((50, 40), 1);
    let (y, mask) = Dropout::new(0.25).unwrap().forward_train(&x, &mut rng()).unwrap();
    assert_eq!(y, &x * &mask);
    assert!(mask.iter().all(|&m| m == 0.0 || m == 1.0 / 0.75));
    let kept = mask.iter().filter(|&&m| m > 0.0).count() as f64 / 2000.0;
    assert!((kept - 0.75).abs() < 0.04, "{kept}");
    let (again, _) = Dropout::new(0.25).unwrap().forward_train(&x, &mut rng()).unwrap();
    assert_eq!(y, again);
    let (x_7, w) = (random2((6, 7), 2), random2((6, 7), 3));
    let dropout = Dropout::new(0.4).unwrap();
    let (_, mask) = dropout.forward_train(&x_7, &mut rng()).unwrap();
    let d_x: Array2<f64> = dropout.backward(mask, &w, &mut dropout.clone()).unwrap();
    agrees(&x_7, &d_x, |x| Ok((dropout.forward_train(x, &mut rng())?.0 * &w).sum()));
    let (same, ones) = Dropout::new(0.0).unwrap().forward_train(&x, &mut rng()).unwrap();
    assert_eq!((same, ones), (x.clone(), Array2::ones((50, 40))));
}

fn cross_entropies(classes: usize) -> Vec<CrossEntropy> {
    let mut all = Vec::new();
    for ignore in [None, Some(0), Some(1000)] {
        for smoothing in [0.0, 0.2] {
            for weighted in [false, true] {
                let mut loss = CrossEntropy::default().label_smoothing(smoothing).unwrap();
                if let Some(class) = ignore {
                    loss = loss.ignore_index(class);
                }
                if weighted {
                    let weights = (0..classes).map(|c| 0.5 + c as f64).collect();
                    loss = loss.class_weights(weights).unwrap();
                }
                all.push(loss);
            }
        }
    }
    all
}

#[test]
fn cross_entropy_gradients_match_finite_differences_for_every_option() {
    for classes in [2, 3, 7, 17] {
        for loss in cross_entropies(classes) {
            let (x, y) = (random2((5, classes), 1), vec![0, 1, 1, classes - 1, 0]);
            let (_, d_x) = loss.loss(&x, &y).unwrap();
            agrees(&x, &d_x, |x| Ok(loss.loss(x, &y)?.0));
            for lengths in LENGTHS {
                let x = sequences(classes, lengths, 2);
                let y = Array2::from_shape_fn((TIME, 4), |(t, b)| (t + b + 1) % classes);
                let (_, d_x) = loss.loss(&x, &y).unwrap();
                agrees(&x, &d_x, |x| Ok(loss.loss(x, &y)?.0));
            }
        }
    }
}

#[test]
fn squared_error_and_binary_cross_entropy_gradients_match_finite_differences() {
    for features in [1, 3, 7, 17] {
        let (x, y) = (random2((5, features), 1), random2((5, features), 2).mapv(f64::abs));
        let (_, d_x) = Mse.loss(&x, &y).unwrap();
        agrees(&x, &d_x, |x| Ok(Mse.loss(x, &y)?.0));
        let (_, d_x) = BceWithLogits::default().loss(&x, &y).unwrap();
        agrees(&x, &d_x, |x| Ok(BceWithLogits::default().loss(x, &y)?.0));
        for lengths in LENGTHS {
            let x = sequences(features, lengths, 3);
            let y = x.with_values(random((TIME, 4, features), 4).mapv(f64::abs)).unwrap();
            let d_x = Mse.loss(&x, &y).unwrap().1;
            agrees(&x, &d_x, |x| Ok(Mse.loss(x, &y)?.0));
            let d_x = BceWithLogits::default().loss(&x, &y).unwrap().1;
            agrees(&x, &d_x, |x| Ok(BceWithLogits::default().loss(x, &y)?.0));
        }
    }
}

#[derive(Clone)]
struct Tagger<T: Float> {
    words: Embedding<T>,
    lstm: Lstm<T>,
    head: Linear<T>,
}
arrays!(Tagger { words, lstm, head });

#[test]
fn a_whole_tagger_s_gradient_matches_finite_differences() {
    let mut rng = rng();
    let model = Tagger {
        words: Embedding::new(6, 3, &mut rng).unwrap(),
        lstm: Lstm::builder(3, 4).num_layers(2).bidirectional(true).build(&mut rng).unwrap(),
        head: Linear::new(8, 3, &mut rng).unwrap(),
    };
    let tokens = Array2::from_shape_fn((TIME, 4), |(t, b)| (2 * t + b) % 6);
    let tags = Array2::from_shape_fn((TIME, 4), |(t, b)| (t + b) % 3);
    let loss = CrossEntropy::default().label_smoothing(0.1).unwrap();
    for lengths in LENGTHS {
        let tokens = Sequences::one_hot(tokens.view(), 6, lengths.to_vec()).unwrap();
        let (x, words) = model.words.forward_train(&tokens, &mut rng).unwrap();
        let (h, _, tape) = model.lstm.forward_train(&x, None, &mut rng).unwrap();
        let (logits, rows) = model.head.forward_train(&h, &mut rng).unwrap();
        let (_, d_logits) = loss.loss(&logits, &tags).unwrap();
        let mut grad = model.zeros_like();
        let d_h: Sequences<f64> = model.head.backward(rows, &d_logits, &mut grad.head).unwrap();
        let (d_x, _) = model.lstm.backward(tape, &d_h, None, &mut grad.lstm).unwrap();
        model.words.backward(words, &d_x, &mut grad.words).unwrap();
        agrees(&model, &grad, |model| {
            let x = model.words.forward(&tokens)?;
            let (h, _) = model.lstm.forward(&x, None)?;
            Ok(loss.loss(&model.head.forward(&h)?, &tags)?.0)
        });
    }
}

#[derive(Clone)]
struct Classifier<T: Float> {
    lstm: Lstm<T>,
    head: Linear<T>,
}
arrays!(Classifier { lstm, head });

impl Classifier<f64> {
    fn new() -> Self {
        let mut rng = rng();
        let lstm = Lstm::builder(3, 4).build(&mut rng).unwrap();
        Self { lstm, head: Linear::new(4, 2, &mut rng).unwrap() }
    }

    fn loss(&self, x: &Sequences<f64>, y: &Array2<f64>) -> Result<f64> {
        let (h, _) = self.lstm.forward(x, None)?;
        let logits = self.head.forward(&mean(4).forward(&h)?)?;
        Ok(BceWithLogits::default().loss(&logits, y)?.0)
    }

    fn gradient(&self, x: &Sequences<f64>, y: &Array2<f64>) -> Result<(Self, Sequences<f64>)> {
        let (h, _, tape) = self.lstm.forward_train(x, None, &mut rng())?;
        let pooled = mean(4).forward(&h)?;
        let (_, d) = BceWithLogits::default().loss(&self.head.forward(&pooled)?, y)?;
        let mut grad = self.zeros_like();
        let d_pooled: Array2<f64> = self.head.backward(pooled, &d, &mut grad.head)?;
        let d_h = mean(4).backward(h, &d_pooled, &mut mean(4))?;
        let (d_x, _) = self.lstm.backward(tape, &d_h, None, &mut grad.lstm)?;
        Ok((grad, d_x))
    }
}

fn labels() -> Array2<f64> {
    array![[0.0, 1.0], [1.0, 1.0], [0.3, 0.0], [1.0, 0.5]]
}

#[test]
fn a_whole_classifier_s_gradient_matches_finite_differences() {
    let (model, y) = (Classifier::new(), labels());
    for lengths in [[5, 5, 5, 5], [2, 1, 5, 3]] {
        let x = sequences(3, lengths, 1);
        let gradient = model.gradient(&x, &y).unwrap();
        agrees(&(model.clone(), x), &gradient, |(model, x)| model.loss(x, &y));
    }
}

#[test]
fn padding_of_a_whole_classifier_changes_no_bit() {
    let (model, y) = (Classifier::new(), labels());
    let run = |filler: f64| {
        let x = padded(&sequences(3, [2, 1, 5, 3], 1), filler);
        let (grad, d_x) = model.gradient(&x, &y).unwrap();
        (model.loss(&x, &y).unwrap().to_bits(), bits(&(grad, d_x)))
    };
    assert_eq!(run(0.5), run(f64::NAN));
    assert_eq!(run(0.5), run(f64::INFINITY));
}

#[test]
fn padding_of_layers_and_losses_changes_no_bit() {
    let lengths = [2, 0, 5, 1];
    let embedding = Embedding::<f64>::new(3, 4, &mut rng()).unwrap();
    let linear = Linear::<f64>::new(4, 3, &mut rng()).unwrap();
    let run = |filler: f64, token: usize| {
        let real = |(t, b): (usize, usize)| if t < lengths[b] { (t + b) % 3 } else { token };
        let tokens = Array2::from_shape_fn((TIME, 4), real);
        let values = |width, seed| padded(&sequences(width, lengths, seed), filler);
        let mut grad = (embedding.zeros_like(), linear.zeros_like());
        let (d, d_y) = (values(4, 2), values(3, 3));
        let one_hot = Sequences::one_hot(tokens.view(), 3, lengths.to_vec()).unwrap();
        let y = embedding.forward(&one_hot).unwrap();
        embedding.backward(one_hot, &d, &mut grad.0).unwrap();
        let x = padded(&y, filler);
        let d_x: Sequences<f64> = linear.backward(x.clone(), &d_y, &mut grad.1).unwrap();
        let mut all = bits(&(grad, (y, (d_x, linear.forward(&x).unwrap()))));
        let (p, q) = (values(3, 3), values(3, 4));
        let entropy = CrossEntropy::default().label_smoothing(0.1).unwrap().ignore_index(1);
        let yes = q.with_values(q.values().mapv(|q| if q < 0.5 { 0.2 } else { 1.0 })).unwrap();
        let losses =
            [Mse.loss(&p, &q), BceWithLogits::default().loss(&p, &yes), entropy.loss(&p, &tokens)];
        for loss in losses {
            let (value, d) = loss.unwrap();
            all.push(value.to_bits());
            all.extend(bits(&d));
        }
        all
    };
    assert_eq!(run(0.25, 0), run(f64::NAN, usize::MAX));
    assert_eq!(run(0.25, 0), run(f64::NEG_INFINITY, 7));
    let x = sequences(3, [2, 3, 5, 1], 1);
    for kind in [Pooling::Last, Pooling::Mean, Pooling::Max, Pooling::Attention] {
        let pooling = TimePooling::new(kind, 3, 1, &mut rng()).unwrap();
        let run = |x: &Sequences<f64>| {
            let (mut grad, y) = (pooling.zeros_like(), pooling.forward(x).unwrap());
            let d_x = pooling.backward(x.clone(), &y, &mut grad).unwrap();
            bits(&((y, d_x), grad))
        };
        assert_eq!(run(&x), run(&padded(&x, f64::NAN)), "{kind:?}");
    }
}

#[test]
fn cross_entropy_of_every_option_has_the_value_worked_by_hand() {
    // Softmax of both rows is [1/4, 3/4].
    let x = array![[0.0, 3_f64.ln()], [0.0, 3_f64.ln()]];
    let (ln4, ln34) = (4_f64.ln(), 0.75_f64.ln());
    let near = |loss: &CrossEntropy, y: &[usize], by_hand: f64| {
        let value = loss.loss(&x, &y.to_vec()).unwrap().0;
        assert!((value - by_hand).abs() < 1e-14, "{value} is not {by_hand}");
    };
    let plain = CrossEntropy::default();
    near(&plain, &[0, 1], (ln4 - ln34) / 2.0);
    near(&plain.clone().ignore_index(1), &[0, 1], ln4);
    let weighted = plain.clone().class_weights(vec![2.0, 6.0]).unwrap();
    near(&weighted, &[0, 1], (2.0 * ln4 - 6.0 * ln34) / 8.0);
    let smooth = plain.clone().label_smoothing(0.2).unwrap();
    near(&smooth, &[0, 0], 0.8 * ln4 + 0.1 * (ln4 - ln34));
    let both = smooth.class_weights(vec![2.0, 6.0]).unwrap();
    let first = 0.8 * 2.0 * ln4 + 0.1 * (2.0 * ln4 - 6.0 * ln34);
    near(&both.clone().ignore_index(1), &[0, 1], first / 2.0);
    let second = -0.8 * 6.0 * ln34 + 0.1 * (2.0 * ln4 - 6.0 * ln34);
    near(&both, &[0, 1], (first + second) / 8.0);
    assert_eq!(plain.loss(&array![[7.0], [-1.0]], &vec![0, 0]).unwrap().0, 0.0);
}

/// Checks the loss ln 4/3 of the row [0, ln 3] and class 1.
fn is_the_other_row_s(loss: Result<(f64, Array2<f64>)>) {
    let (value, d) = loss.unwrap();
    assert!((value + 0.75_f64.ln()).abs() < 1e-14, "{value}");
    assert_eq!(d.row(0), array![0.0, 0.0]);
    assert!((d[[1, 0]] - 0.25).abs() < 1e-15 && (d[[1, 1]] + 0.25).abs() < 1e-15, "{d}");
}

#[test]
fn a_class_masked_by_minus_infinity_has_no_part_in_loss_and_gradient() {
    let x = array![[0.0, f64::NEG_INFINITY, 3_f64.ln()]];
    let (value, d) = CrossEntropy::default().loss(&x, &vec![0]).unwrap();
    assert!((value - 4_f64.ln()).abs() < 1e-14, "{value}");
    assert_eq!(d[[0, 1]], 0.0);
    // The loss of the class itself is infinite.
    assert!(CrossEntropy::default().loss(&x, &vec![1]).is_err());
}

#[test]
fn a_row_or_a_term_of_weight_zero_is_harmless_where_its_logit_is_masked() {
    let weighted = CrossEntropy::default().class_weights(vec![0.0, 1.0]).unwrap();
    let x = array![[f64::NEG_INFINITY, 0.0], [0.0, 3_f64.ln()]];
    is_the_other_row_s(weighted.loss(&x, &vec![0, 1]));
    // With smoothing, the first row counts with its other class, of probability 1.
    let smooth = weighted.label_smoothing(0.5).unwrap();
    let (value, d) = smooth.loss(&x, &vec![0, 1]).unwrap();
    assert!((value + 0.75 * 0.75_f64.ln()).abs() < 1e-14, "{value}");
    assert_eq!(d.row(0), array![0.0, 0.0]);
}

#[test]
fn a_row_that_is_not_finite_is_harmless_where_it_counts_nothing() {
    let plain = CrossEntropy::default;
    let weighted = plain().class_weights(vec![0.0, 1.0]).unwrap();
    for bad in [f64::NAN, f64::INFINITY] {
        let x = array![[bad, 0.0], [0.0, 3_f64.ln()]];
        is_the_other_row_s(plain().ignore_index(0).loss(&x, &vec![0, 1]));
        is_the_other_row_s(weighted.loss(&x, &vec![0, 1]));
        assert!(plain().loss(&x, &vec![0, 1]).is_err());
    }
}

#[test]
fn cross_entropy_of_any_width_is_that_of_the_definition() {
    for classes in [1, 2, 15, 16, 17, 65, 1000] {
        let (x, y) = (random2((3, classes), 1) * 30.0 - 500.0, vec![0, classes / 2, classes - 1]);
        let single = x.mapv(|x| x as f32);
        let (loss, d) = CrossEntropy::default().loss(&x, &y).unwrap();
        let (loss_f32, d_f32) = CrossEntropy::default().loss(&single, &y).unwrap();
        let mut exact = 0.0;
        for (r, &y) in y.iter().enumerate() {
            let largest = x.row(r).fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let sum: f64 = x.row(r).iter().map(|x| (x - largest).exp()).sum();
            exact += (largest + sum.ln() - x[[r, y]]) / 3.0;
            for c in 0..classes {
                let p = (x[[r, c]] - largest).exp() / sum;
                let slope = (p - f64::from(u8::from(c == y))) / 3.0;
                assert!((d[[r, c]] - slope).abs() < 1e-15, "{classes}: {} {slope}", d[[r, c]]);
                assert!((f64::from(d_f32[[r, c]]) - slope).abs() < 1e-4, "{classes}");
            }
        }
        assert!((loss - exact).abs() < 1e-13 * (1.0 + exact), "{classes}: {loss} {exact}");
        assert!((loss_f32 - exact).abs() < 1e-4, "{classes}: {loss_f32} {exact}");
    }
}

#[test]
fn no_rows_at_all_give_no_rows_and_no_loss() {
    let linear = Linear::<f64>::new(3, 2, &mut rng()).unwrap();
    let (x, d) = (Array2::<f64>::zeros((0, 3)), Array2::<f64>::zeros((0, 2)));
    assert_eq!(linear.forward(&x).unwrap().dim(), (0, 2));
    let mut grad = linear.zeros_like();
    let d_x: Array2<f64> = linear.backward(x.clone(), &d, &mut grad).unwrap();
    assert_eq!(d_x.dim(), (0, 3));
    let empty = Sequences::new(random((2, 2, 3), 1), vec![0, 0]).unwrap();
    let y = linear.forward(&empty).unwrap().into_values();
    assert_eq!(y, Array3::<f64>::zeros((2, 2, 2)));
    assert_eq!(Mse.loss(&x, &x).unwrap(), (0.0, x.clone()));
    assert_eq!(CrossEntropy::default().loss(&x, &vec![]).unwrap(), (0.0, x.clone()));
    assert!(CrossEntropy::default().loss(&Array2::<f64>::zeros((2, 0)), &vec![0, 0]).is_err());
}

#[test]
fn losses_have_the_values_worked_by_hand() {
    let (loss, d) = Mse.loss(&array![[1.0, 2.0]], &array![[0.0, 4.0]]).unwrap();
    assert_eq!((loss, d), (2.5, array![[1.0, -2.0]]));
    let (loss, d) = BceWithLogits::default().loss(&array![[0.0]], &array![[1.0]]).unwrap();
    assert!((loss - 2_f64.ln()).abs() < 1e-15);
    assert_eq!(d, array![[-0.5]]);
    let logits = array![[0.0, 3_f64.ln()]];
    let (loss, d) = CrossEntropy::default().loss(&logits, &vec![0]).unwrap();
    assert!((loss - 4_f64.ln()).abs() < 1e-15, "{loss}");
    assert!((d[[0, 0]] + 0.75).abs() < 1e-15 && (d[[0, 1]] - 0.75).abs() < 1e-15, "{d}");
    // A logit of any magnitude neither overflows nor loses precision.
    let huge = array![[1e4, -1e4]];
    assert_eq!(CrossEntropy::default().loss(&huge, &vec![1]).unwrap().0, 2e4);
    assert_eq!(BceWithLogits::default().loss(&huge, &array![[0.0, 1.0]]).unwrap().0, 1e4);
}

fn message<V: std::fmt::Debug>(result: Result<V>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn an_offset_that_all_logits_share_costs_no_digits_of_the_loss() {
    for offset in [0.0_f32, 1e4, 1e6] {
        let logits = array![[offset, offset - 1.0]];
        let (loss, _) = CrossEntropy::default().loss(&logits, &vec![0]).unwrap();
        assert!((loss - 0.313_261_7).abs() < 1e-6, "{loss} at {offset}");
    }
}

#[test]
fn a_dropout_mask_does_not_depend_on_the_memory_layout() {
    let x = random2((7, 5), 1);
    let turned = x.t().as_standard_layout().into_owned().reversed_axes();
    let mask = |x: &Array2<f64>| Dropout::new(0.5).unwrap().forward_train(x, &mut rng()).unwrap().1;
    assert_eq!(mask(&x), mask(&turned));
}

#[test]
fn errors_name_argument_expected_and_got() {
    let mut rng = rng();
    let linear = Linear::<f64>::new(3, 2, &mut rng).unwrap();
    let mut grad = linear.zeros_like();
    let (x, d) = (random2((4, 5), 1), random2((3, 2), 2));
    assert_eq!(message(linear.forward(&x)), "x: expected [4, 3] (rows, input), got [4, 5]");
    let x = random2((4, 3), 1);
    assert_eq!(
        message::<Array2<f64>>(linear.backward(x, &d, &mut grad)),
        "d_y: expected [4, 2] (rows, output), got [3, 2]"
    );
    assert!(message(Linear::<f64>::new(0, 2, &mut rng)).starts_with("input_size × output_size"));
    let embedding = Embedding::<f64>::new(3, 2, &mut rng).unwrap();
    assert_eq!(
        message(
            embedding.forward(&Sequences::one_hot(array![[0], [3]].view(), 4, vec![2]).unwrap())
        ),
        "x: expected [2, 1, 3] (time, batch, num_embeddings), got [2, 1, 4]"
    );
    assert_eq!(message(Dropout::<f64>::new(1.0)), "p: expected 0 ≤ p < 1, got 1");
    assert_eq!(
        message(mean(2).forward(&sequences(2, [1, 0, 2, 3], 1))),
        "lengths[1]: expected at least 1: of an empty sequence there is nothing to pool, got 0"
    );
    let logits = random2((2, 3), 1);
    let plain = CrossEntropy::default();
    assert_eq!(
        message(plain.loss(&logits, &vec![0, 3])),
        "classes[1]: expected less than 3 (classes), got 3"
    );
    assert_eq!(message(plain.loss(&logits, &vec![0])), "classes: expected [2] (rows), got [1]");
    let ignored = plain.clone().ignore_index(1).loss(&logits, &vec![1, 1]).unwrap();
    assert_eq!(ignored, (0.0, Array2::zeros((2, 3))));
    assert!(message(plain.clone().label_smoothing(1.5)).starts_with("label_smoothing: expected 0"));
    assert!(message(plain.clone().class_weights(vec![1.0, -1.0])).starts_with("class_weights[1]"));
    let heavy = plain.clone().class_weights(vec![1e308; 3]).unwrap();
    assert_eq!(
        message(heavy.loss(&logits, &vec![0, 1])),
        "class_weights: expected a finite sum over the rows, got inf"
    );
    let nan = array![[f64::NAN, 0.0]];
    assert!(message(plain.loss(&nan, &vec![0])).starts_with("loss: expected finite values"));
    assert!(message(Mse.loss(&nan, &nan)).starts_with("loss: expected finite values"));
    let empty = Sequences::new(random((2, 1, 3), 1), vec![0]).unwrap();
    assert_eq!(Mse.loss(&empty, &empty).unwrap(), (0.0, empty.zeros_like()));
    let (long, short) = (sequences(3, [5, 5, 5, 5], 1), sequences(3, [5, 4, 5, 5], 1));
    assert_eq!(
        message(Mse.loss(&long, &short)),
        "target: expected the lengths [5, 5, 5, 5] of predicted, got [5, 4, 5, 5]"
    );
    let huge = array![[1e30_f32]];
    assert!(message(Mse.loss(&huge, &array![[0.0]])).starts_with("loss: expected finite"));
    let x = Sequences::one_hot(array![[0], [1]].view(), 3, vec![2]).unwrap();
    let d = Sequences::new(random((2, 1, 2), 1), vec![1]).unwrap();
    let mut grad = embedding.zeros_like();
    assert_eq!(
        message(embedding.backward(x, &d, &mut grad)),
        "d_y: expected the lengths [2] of x, got [1]"
    );
}
