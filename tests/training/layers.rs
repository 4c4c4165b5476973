//! Tests of normalisation, convolution, dropout over time and in weights, the divergence and parameter
//! groups: finite differences, PyTorch, padding, errors.

use ndarray::{Array1, Array2, Array3, Axis, Ix1, Ix2, Ix3, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::layer::{Conv1d, Layer, LayerNorm, Padding, VariationalDropout, WeightDrop};
use recurrent::loss::{BceWithLogits, KlDivergence, Loss};
use recurrent::optim::{Adam, AdamW, Groups, Optimizer, Sgd, clip_value};
use recurrent::{Arrays, Error, Lstm, Result, Sequences, arrays};

use crate::common::bits::bits;
use crate::common::distance::distance;
use crate::common::fixture::Fixture;
use crate::common::padding::padded;
use crate::common::random::random;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

const LENGTHS: [[usize; 3]; 3] = [[6, 6, 6], [2, 0, 5], [0, 1, 0]];

fn sequences(features: usize, lengths: [usize; 3], seed: u64) -> Sequences<f64> {
    Sequences::new(random((6, 3, features), seed), lengths.to_vec()).unwrap()
}

fn agrees<A: Arrays<Elem = f64>>(point: &A, gradient: &A, loss: impl FnMut(&A) -> Result<f64>) {
    let report = GradientCheck::default().run(point, gradient, loss).unwrap();
    assert!(report.relative_error <= 1e-6, "{report}");
}

/// Returns the gradients of Σ w ∘ y with respect to the layer and to `x`, and y.
fn gradients<L>(
    layer: &L,
    x: &Sequences<f64>,
    w: &Sequences<f64>,
) -> (L, Sequences<f64>, Sequences<f64>)
where
    L: Layer<Sequences<f64>, Output = Sequences<f64>, Elem = f64>,
{
    let (y, tape) = layer.forward_train(x, &mut rng()).unwrap();
    assert_eq!(y, layer.forward(x).unwrap());
    let mut grad = layer.zeros_like();
    let d_x = layer.backward(tape, w, &mut grad).unwrap();
    (grad, d_x, y)
}

#[test]
fn layer_norm_gradients_match_finite_differences_on_rows_and_sequences() {
    for features in [1, 3, 7, 17] {
        let mut norm = LayerNorm::<f64>::new(features).unwrap();
        norm.for_each_mut(&mut |_, mut array| {
            let shift = random((1, 1, array.len()), 9);
            array.iter_mut().zip(&shift).for_each(|(value, s)| *value += 0.5 * s);
        });
        let flat = |seed| random((1, 5, features), seed).index_axis_move(Axis(0), 0);
        let (x, w, mut grad) = (flat(1), flat(2), norm.zeros_like());
        let d_x: Array2<f64> = norm.backward(x.clone(), &w, &mut grad).unwrap();
        agrees(&(norm.clone(), x), &(grad, d_x), |(norm, x)| Ok((norm.forward(x)? * &w).sum()));
        for lengths in LENGTHS {
            let (x, w) = (sequences(features, lengths, 3), sequences(features, lengths, 4));
            let run = |x: &Sequences<f64>| gradients(&norm, x, &w);
            let (grad, d_x, y) = run(&x);
            let (_, d_again, y_again) = run(&padded(&x, f64::NAN));
            assert_eq!((&d_x, &y), (&d_again, &y_again));
            agrees(&(norm.clone(), x), &(grad, d_x), |(norm, x)| {
                Ok((norm.forward(x)?.into_values() * w.values()).sum())
            });
        }
    }
}

#[test]
fn layer_norm_gradients_do_not_depend_on_the_layout_of_arrays() {
    let norm = LayerNorm::<f64>::new(7).unwrap();
    let flat = |seed| random((1, 5, 7), seed).index_axis_move(Axis(0), 0);
    // The same values, column by column in memory.
    let columns = |rows: &Array2<f64>| rows.t().as_standard_layout().into_owned().reversed_axes();
    let (x, d_y) = (flat(1), flat(2));
    let run = |x: &Array2<f64>, d_y: &Array2<f64>| {
        let mut grad = norm.zeros_like();
        let d_x: Array2<f64> = norm.backward(x.clone(), d_y, &mut grad).unwrap();
        let mut all = d_x.iter().copied().collect::<Vec<f64>>();
        grad.for_each(&mut |_, array| all.extend(array));
        (all, norm.forward(x).unwrap())
    };
    let expected = run(&x, &d_y);
    assert_eq!(run(&columns(&x), &d_y), expected);
    assert_eq!(run(&x, &columns(&d_y)), expected);
}

fn convolutions() -> Vec<(Padding, usize, usize)> {
    let kernels = [(1, 1), (3, 1), (4, 1), (3, 2), (2, 5), (9, 1)];
    let both = |(k, d)| [(Padding::Same, k, d), (Padding::Causal, k, d)];
    kernels.into_iter().flat_map(both).collect()
}

#[test]
fn convolution_gradients_match_finite_differences_for_every_window() {
    for (padding, kernel, dilation) in convolutions() {
        for (input, output) in [(1, 3), (3, 1), (7, 17)] {
            let conv = Conv1d::<f64>::new(input, output, kernel, &mut rng()).unwrap();
            let conv = conv.padding(padding).dilation(dilation).unwrap();
            for lengths in LENGTHS {
                let (x, w) = (sequences(input, lengths, 3), sequences(output, lengths, 4));
                let run = |x: &Sequences<f64>| gradients(&conv, x, &w);
                let (grad, d_x, y) = run(&x);
                let (_, d_again, y_again) = run(&padded(&x, f64::NAN));
                assert_eq!((&d_x, &y), (&d_again, &y_again));
                agrees(&(conv.clone(), x), &(grad, d_x), |(conv, x)| {
                    Ok((conv.forward(x)?.into_values() * w.values()).sum())
                });
            }
        }
    }
}

#[test]
fn a_causal_convolution_sees_no_future_and_a_sequence_no_other() {
    let conv = Conv1d::<f64>::new(2, 3, 4, &mut rng()).unwrap().padding(Padding::Causal);
    let x = sequences(2, [6, 4, 5], 1);
    let y = conv.forward(&x).unwrap();
    let mut changed = x.values().clone();
    changed.slice_mut(ndarray::s![3.., 0, ..]).fill(9.0);
    let other = conv.forward(&x.with_values(changed).unwrap()).unwrap();
    let early = |y: &Sequences<f64>| y.values().slice(ndarray::s![..3, .., ..]).to_owned();
    assert_eq!(early(&y), early(&other));
    assert_eq!(
        y.values().slice(ndarray::s![.., 1.., ..]),
        other.values().slice(ndarray::s![.., 1.., ..])
    );
    assert_ne!(y.values()[[3, 0, 0]], other.values()[[3, 0, 0]]);
}

#[test]
fn normalisation_convolution_and_divergence_agree_with_pytorch() {
    let file = Fixture::open("layers");
    let near = |name: &str, got: &Array3<f64>| {
        let far = distance(got, &file.get::<Ix3>(name));
        assert!(far < 1e-13, "{name}: {far:e}");
    };
    let lengths = vec![6, 1, 4];
    let x = |name: &str| {
        Sequences::new(file.get::<Ix3>(&format!("{name}.x")), lengths.clone()).unwrap()
    };
    /// Returns `layer` with the parameters of the fixture.
    fn with_parameters<A: Arrays<Elem = f64>>(mut layer: A, file: &Fixture, name: &str) -> A {
        layer.for_each_mut(&mut |key, mut array| {
            array.assign(&file.get::<ndarray::IxDyn>(&format!("{name}.{key}")));
        });
        layer
    }
    fn check<A: Arrays<Elem = f64>>(grad: &A, file: &Fixture, name: &str) {
        grad.for_each(&mut |key, array| {
            let expected = file.get::<ndarray::IxDyn>(&format!("{name}.d_{key}"));
            let far = distance(&array.to_owned(), &expected);
            assert!(far < 1e-14, "{name}.{key}: {far:e}");
        });
    }
    let norm = with_parameters(LayerNorm::new(3).unwrap(), &file, "layer_norm");
    let x_norm = x("layer_norm");
    let d_y = x_norm.with_values(file.get::<Ix3>("layer_norm.d_y")).unwrap();
    let (grad, d_x, y) = gradients(&norm, &x_norm, &d_y);
    near("layer_norm.y", y.values());
    near("layer_norm.d_x", d_x.values());
    check(&grad, &file, "layer_norm");

    for (name, padding, kernel, dilation) in [
        ("conv.same_3_1", Padding::Same, 3, 1),
        ("conv.same_4_1", Padding::Same, 4, 1),
        ("conv.same_3_2", Padding::Same, 3, 2),
        ("conv.causal_3_1", Padding::Causal, 3, 1),
        ("conv.causal_2_3", Padding::Causal, 2, 3),
    ] {
        let conv = Conv1d::new(3, 5, kernel, &mut rng()).unwrap().padding(padding);
        let conv = with_parameters(conv.dilation(dilation).unwrap(), &file, name);
        let x = x(name);
        let d_y = x.with_values(file.get::<Ix3>(&format!("{name}.d_y"))).unwrap();
        let (grad, d_x, y) = gradients(&conv, &x, &d_y);
        near(&format!("{name}.y"), y.values());
        near(&format!("{name}.d_x"), d_x.values());
        check(&grad, &file, name);
    }

    let (logits, target) = (file.get::<Ix2>("kl.logits"), file.get::<Ix2>("kl.target"));
    let (loss, gradient) = KlDivergence.loss(&logits, &target).unwrap();
    assert!((loss - file.get::<ndarray::Ix0>("kl.loss").into_scalar()).abs() < 1e-14);
    assert!(distance(&gradient, &file.get("kl.gradient")) < 1e-15);
}

#[test]
fn the_divergence_s_gradient_matches_finite_differences() {
    for (classes, lengths) in
        [1, 3, 7, 17].into_iter().zip([LENGTHS[0], LENGTHS[1]].into_iter().cycle())
    {
        let (x, mut y) = (sequences(classes, lengths, 1), random((6, 3, classes), 2));
        y.mapv_inplace(|y| if y < -0.5 { 0.0 } else { y.abs() });
        for mut row in y.rows_mut() {
            row[0] += 0.1;
            let sum = row.sum();
            row /= sum;
        }
        let y = x.with_values(y).unwrap();
        let (loss, gradient) = KlDivergence.loss(&x, &y).unwrap();
        let poisoned = KlDivergence.loss(&padded(&x, f64::NAN), &padded(&y, f64::NAN)).unwrap();
        assert_eq!((loss, &gradient), (poisoned.0, &poisoned.1));
        agrees(&x, &gradient, |x| Ok(KlDivergence.loss(x, &y)?.0));
    }
}

#[test]
fn variational_dropout_is_the_same_at_every_step() {
    let (x, dropout) = (sequences(40, [6, 6, 6], 1), VariationalDropout::new(0.25).unwrap());
    let (y, mask) = dropout.forward_train(&x, &mut rng()).unwrap();
    assert!(mask.iter().all(|&m| m == 0.0 || m == 1.0 / 0.75));
    assert!(mask.iter().any(|&m| m == 0.0) && mask.iter().any(|&m| m > 0.0));
    for t in 0..6 {
        let at = |x: &Sequences<f64>| x.values().index_axis(Axis(0), t).to_owned();
        assert_eq!(at(&y), at(&x) * &mask);
    }
    let w = sequences(40, [6, 6, 6], 2);
    let d_x = dropout.backward(mask.clone(), &w, &mut dropout.clone()).unwrap();
    agrees(&x, &d_x, |x| {
        Ok((dropout.forward_train(x, &mut rng())?.0.into_values() * w.values()).sum())
    });
    let narrow = Sequences::full(random((6, 2, 40), 1)).unwrap();
    assert!(dropout.backward(mask, &narrow, &mut dropout.clone()).is_err());
}

#[test]
fn weight_drop_refuses_a_gradient_of_other_arrays() {
    let lstm = Lstm::<f64>::builder(3, 5).build(&mut rng()).unwrap();
    let deep = Lstm::<f64>::builder(3, 5).num_layers(2).build(&mut rng()).unwrap();
    let (drop, mut grad) = (WeightDrop::new(0.4, "weight_hh*").unwrap(), lstm.zeros_like());
    let error = drop.loss_and_grad(&lstm, &mut grad, &mut rng(), |_, grad, _| {
        *grad = deep;
        Ok(())
    });
    let message = error.unwrap_err().to_string();
    assert_eq!(message, "grad: expected an array `nothing`, got `weight_ih_l1 [20, 5]`");
    assert_eq!(bits(&grad), bits(&lstm.zeros_like()));
}

#[test]
fn gradients_go_through_dropped_weights() {
    let builder = Lstm::<f64>::builder(3, 5).num_layers(2).bidirectional(true);
    let lstm = builder.build(&mut rng()).unwrap();
    let (x, w) = (sequences(3, LENGTHS[1], 1), sequences(10, LENGTHS[1], 2));
    let drop = WeightDrop::new(0.4, "weight_hh*").unwrap();
    let learn = |lstm: &Lstm<f64>, grad: &mut Lstm<f64>| {
        drop.loss_and_grad(lstm, grad, &mut rng(), |lstm, grad, rng| {
            let (output, _, tape) = lstm.forward_train(&x, None, rng)?;
            lstm.backward(tape, &w, None, grad)?;
            Ok((output.values() * w.values()).sum())
        })
    };
    let mut grad = lstm.zeros_like();
    learn(&lstm, &mut grad).unwrap();
    agrees(&lstm, &grad, |lstm| learn(lstm, &mut lstm.zeros_like()));
    let mut zeros = Vec::new();
    grad.for_each(&mut |name, array| {
        let share = array.iter().filter(|&&d| d == 0.0).count() as f64 / array.len() as f64;
        zeros.push((name.to_owned(), share));
    });
    for (name, share) in zeros {
        assert_eq!(
            share > 0.2,
            name.contains("_hh") && !name.starts_with("bias"),
            "{name} {share}"
        );
    }
    // The values that were in the gradient before are kept.
    let once = grad.clone();
    learn(&lstm, &mut grad).unwrap();
    grad.zip_mut("once", &once, &mut |name, twice, once| {
        assert!(twice.iter().zip(once).all(|(a, b)| (a - 2.0 * b).abs() < 1e-12), "{name}");
    })
    .unwrap();
    let nothing = WeightDrop::new(0.4, "nothing").unwrap();
    let error = nothing.loss_and_grad(&lstm, &mut grad, &mut rng(), |_, _, _| Ok(())).unwrap_err();
    assert!(error.to_string().starts_with("pattern: expected a pattern that matches one of"));
}

#[derive(Clone)]
struct Three<T> {
    first: Array1<T>,
    second: Array1<T>,
    third: Array1<T>,
}
arrays!(Three { first, second, third });

type Rule = Box<dyn Optimizer<Three<f64>>>;

#[test]
fn groups_agree_with_pytorch_s_over_twenty_steps() {
    let file = Fixture::open("layers");
    let get = |name: &str| file.get::<Ix1>(&format!("groups.{name}"));
    fn grouped<O: Optimizer<Three<f64>> + 'static>(inner: O) -> Rule {
        Box::new(Groups::new(inner).frozen("third.*").rate("*o*", 0.3).unwrap())
    }
    let sgd = Sgd::new(0.1).unwrap().momentum(0.9).unwrap().weight_decay(0.01).unwrap();
    let rules = [
        ("sgd", grouped(sgd)),
        ("adam", grouped(Adam::new(0.1).unwrap().amsgrad(true))),
        ("adamw", grouped(AdamW::new(0.1, 0.1).unwrap())),
    ];
    let (start, grads) = (["first", "second", "third"], file.get::<Ix3>("groups.grads"));
    let start = start.map(|name| get(&format!("start.{name}")));
    for (name, mut rule) in rules {
        let [first, second, third] = start.clone();
        let mut theta = Three { first, second, third: third.clone() };
        for grad in grads.outer_iter() {
            let row = |k: usize| grad.row(k).to_owned();
            let grad = Three { first: row(0), second: row(1), third: row(2) };
            rule.step(&mut theta, &grad).unwrap();
        }
        let far = |key: &str, value: &Array1<f64>| distance(value, &get(&format!("{name}.{key}")));
        assert!(far("first", &theta.first) < 1e-12, "{name}");
        assert!(far("second", &theta.second) < 1e-12, "{name}: {}", far("second", &theta.second));
        assert_eq!(theta.third, third, "{name}");
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    let says = |error: Error| error.to_string();
    assert!(LayerNorm::<f64>::new(0).is_err());
    assert!(LayerNorm::<f64>::new(2).unwrap().epsilon(0.0).is_err());
    assert!(Conv1d::<f64>::new(2, 2, 0, &mut rng()).is_err());
    assert!(Conv1d::<f64>::new(2, 2, 2, &mut rng()).unwrap().dilation(0).is_err());
    let conv = Conv1d::<f64>::new(2, 2, 2, &mut rng()).unwrap();
    let error = conv.forward(&sequences(3, LENGTHS[0], 1)).unwrap_err();
    assert_eq!(says(error), "x: expected [6, 3, 2] (time, batch, in), got [6, 3, 3]");
    let mut grad = array![1.0, f64::NAN];
    assert!(matches!(clip_value(&mut grad, 1.0), Err(Error::NonFinite { index: 1, .. })));
    assert!(clip_value(&mut array![1.0], -1.0).is_err());
    let target = array![[0.5, -0.5]];
    let error = KlDivergence.loss(&target, &target).unwrap_err();
    assert_eq!(says(error), "target[0, 1]: expected a probability, got -0.5");
    let weight = BceWithLogits::default().positive_weight(vec![1.0, -1.0]).unwrap_err();
    assert_eq!(says(weight), "positive_weight[1]: expected a finite weight of at least 0, got -1");
    let weighted = BceWithLogits::default().positive_weight(vec![2.0]).unwrap();
    let error = weighted.loss(&target, &target).unwrap_err();
    assert_eq!(says(error), "positive_weight: expected [2] (features), got [1]");
    let mut lost = Groups::new(Sgd::new(0.1).unwrap()).frozen("lost");
    let (mut theta, grad): (Array2<f64>, Array2<f64>) = (array![[1.0]], array![[1.0]]);
    let error = lost.step(&mut theta, &grad).unwrap_err();
    assert_eq!(
        says(error),
        "pattern: expected a pattern that matches one of [\"value\"], got lost"
    );
    assert_eq!(theta, array![[1.0]]);
}
