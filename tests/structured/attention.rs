//! Tests of attention.

use ndarray::{Array2, Array3, ArrayView2, Axis};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::layer::{Attention, AttentionScore, Layer};
use recurrent::{Arrays, Result, Sequences};

use crate::common::bits::bits;
use crate::common::fixture::Fixture;
use crate::common::random::random;

const SCORES: [AttentionScore; 6] = [
    AttentionScore::Dot,
    AttentionScore::ScaledDot,
    AttentionScore::General,
    AttentionScore::Additive { size: 17 },
    AttentionScore::Location { size: 3, filters: 2, kernel_size: 3 },
    AttentionScore::Location { size: 7, filters: 1, kernel_size: 1 },
];

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

/// Returns attention whose memory is as wide as its queries where it must be.
fn attention(score: AttentionScore, query: usize, memory: usize) -> Attention<f64> {
    let one_width = matches!(score, AttentionScore::Dot | AttentionScore::ScaledDot);
    Attention::new(score, query, if one_width { query } else { memory }, &mut rng()).unwrap()
}

fn sequences(width: usize, lengths: &[usize], seed: u64) -> Sequences<f64> {
    let time = lengths.iter().copied().max().unwrap();
    Sequences::new(random((time, lengths.len(), width), seed), lengths.to_vec()).unwrap()
}

/// A linear function of the contexts, as a loss.
fn loss(contexts: &Sequences<f64>, factors: &Array3<f64>) -> f64 {
    let of_step = |(t, step): (usize, ArrayView2<'_, f64>)| {
        let live = contexts.lengths().iter().enumerate().filter(move |(_, length)| t < **length);
        live.map(|(b, _)| step.row(b).dot(&factors.index_axis(Axis(0), t).row(b))).sum::<f64>()
    };
    contexts.values().outer_iter().enumerate().map(of_step).sum()
}

/// The equations of the module in plain loops: the context and weights of each query of one sequence.
fn by_hand(
    score: AttentionScore,
    attention: &Attention<f64>,
    queries: ArrayView2<'_, f64>,
    memory: ArrayView2<'_, f64>,
) -> (Array2<f64>, Array2<f64>) {
    let mut arrays = std::collections::HashMap::new();
    attention.for_each(&mut |name, array| {
        arrays.insert(name.to_owned(), array.to_owned());
    });
    let matrix =
        |name: &str| arrays[name].view().into_dimensionality::<ndarray::Ix2>().unwrap().to_owned();
    let (steps, rows) = (queries.nrows(), memory.nrows());
    let mut contexts = Array2::zeros((steps, memory.ncols()));
    let mut all = Array2::zeros((steps, rows));
    let mut before = vec![0.0; rows];
    for t in 0..steps {
        let q = queries.row(t);
        let mut e = vec![0.0; rows];
        for s in 0..rows {
            let m = memory.row(s);
            e[s] = match score {
                AttentionScore::Dot => q.dot(&m),
                AttentionScore::ScaledDot => q.dot(&m) / (q.len() as f64).sqrt(),
                AttentionScore::General => q.dot(&matrix("key.weight").dot(&m)),
                _ => {
                    let mut sum = matrix("query.weight").dot(&q) + matrix("key.weight").dot(&m);
                    sum +=
                        &arrays["key.bias"].view().into_dimensionality::<ndarray::Ix1>().unwrap();
                    if let AttentionScore::Location { filters, kernel_size, .. } = score {
                        let convolution = matrix("location.convolution");
                        let f = |k: usize| -> f64 {
                            let term = |j: usize| {
                                let u = (s + j).checked_sub(kernel_size / 2)?;
                                Some(convolution[[k, j]] * before.get(u)?)
                            };
                            (0..kernel_size).filter_map(term).sum()
                        };
                        let f: ndarray::Array1<f64> = (0..filters).map(f).collect();
                        sum += &matrix("location.projection.weight").dot(&f);
                    }
                    matrix("score.weight").row(0).dot(&sum.mapv(f64::tanh))
                }
            };
        }
        let total: f64 = e.iter().map(|e| e.exp()).sum();
        for s in 0..rows {
            before[s] = e[s].exp() / total;
            all[[t, s]] = before[s];
            contexts.row_mut(t).scaled_add(before[s], &memory.row(s));
        }
    }
    (contexts, all)
}

#[test]
fn contexts_and_weights_are_those_of_the_equations() {
    for score in SCORES {
        let attention = attention(score, 5, 4);
        let (queries, memory) =
            (sequences(5, &[3, 1, 4], 1), sequences(attention.memory_size(), &[2, 6, 1], 2));
        let (contexts, weights) = attention.attend(&queries, &memory).unwrap();
        for b in 0..3 {
            let (steps, rows) = (queries.lengths()[b], memory.lengths()[b]);
            let part = |x: &Sequences<f64>, n: usize| {
                x.values().index_axis(Axis(1), b).select(Axis(0), &(0..n).collect::<Vec<_>>())
            };
            let (q, m) = (part(&queries, steps), part(&memory, rows));
            let (expected, expected_weights) = by_hand(score, &attention, q.view(), m.view());
            for t in 0..queries.time() {
                for s in 0..memory.time() {
                    let right = if t < steps && s < rows { expected_weights[[t, s]] } else { 0.0 };
                    assert!((weights[[b, t, s]] - right).abs() < 1e-14, "{score:?} {b} {t} {s}");
                }
            }
            let error = (&part(&contexts, steps) - &expected).mapv(f64::abs);
            assert!(error.iter().all(|&e| e < 1e-14), "{score:?} {b}");
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for score in SCORES {
        for (query, memory_size) in [(1, 3), (7, 1), (3, 17)] {
            let attention = attention(score, query, memory_size);
            let queries = sequences(query, &[3, 1, 4], 1);
            let memory = sequences(attention.memory_size(), &[2, 7, 1], 2);
            let factors = random((4, 3, attention.memory_size()), 3);
            let pair = (queries.clone(), memory);
            let (_, tape) = attention.forward_train(&pair, &mut rng()).unwrap();
            let d_y = queries.with_values(factors.clone()).unwrap();
            let mut grad = attention.zeros_like();
            let d_pair = attention.backward(tape, &d_y, &mut grad).unwrap();
            let report = GradientCheck::default()
                .run(&(attention, pair), &(grad, d_pair), |(attention, pair)| {
                    Ok(loss(&attention.forward(pair)?, &factors))
                })
                .unwrap();
            assert!(report.relative_error < 1e-6, "{score:?}: {report}");
        }
    }
}

#[test]
fn keys_and_values_may_differ_and_weights_have_gradients() {
    for score in SCORES {
        let attention = attention(score, 3, 3);
        let (keys, values) = (sequences(3, &[2, 4], 1), sequences(3, &[2, 4], 2));
        let queries = random((3, 2, 3), 3);
        let (of_contexts, of_weights) = (random((3, 2, 3), 4), random((3, 2, 4), 5));
        let memory = attention.memory_of(&keys, &values).unwrap();
        let mut stream = attention.training_stream(memory).unwrap();
        queries.outer_iter().for_each(|q| _ = stream.step(q).unwrap());
        let mut backward = stream.backward().unwrap();
        let mut d_queries = Array3::zeros(queries.dim());
        for t in (0..3).rev() {
            let at = |d: &Array3<f64>| d.index_axis(Axis(0), t).to_owned();
            let (d_context, d_weights) = (at(&of_contexts), at(&of_weights));
            let d = backward.step(d_context.view(), Some(d_weights.view())).unwrap();
            d_queries.index_axis_mut(Axis(0), t).assign(&d);
        }
        let mut grad = attention.zeros_like();
        let d_memory = backward.finish(&mut grad).unwrap();
        let analytic = (grad, (d_memory.keys.unwrap(), (d_memory.values, d_queries)));
        let report = GradientCheck::default()
            .run(&(attention, (keys, (values, queries))), &analytic, |point| {
                let (attention, (keys, (values, queries))) = point;
                let mut stream = attention.stream(attention.memory_of(keys, values)?)?;
                let mut loss = 0.0;
                for (t, q) in queries.outer_iter().enumerate() {
                    loss += (stream.step(q)? * of_contexts.index_axis(Axis(0), t)).sum();
                    loss += (&stream.weights() * &of_weights.index_axis(Axis(0), t)).sum();
                }
                Ok(loss)
            })
            .unwrap();
        assert!(report.relative_error < 1e-6, "{score:?}: {report}");
    }
}

#[test]
fn a_stream_of_queries_equals_whole_sequences() {
    for score in SCORES {
        let attention = attention(score, 17, 7);
        let queries = sequences(17, &[5, 5, 5], 1);
        let memory = sequences(attention.memory_size(), &[3, 9, 1], 2);
        let d_contexts = random((5, 3, attention.memory_size()), 3);
        let pair = (queries, memory);
        let (contexts, tape) = attention.forward_train(&pair, &mut rng()).unwrap();
        let mut grad = attention.zeros_like();
        let d_y = pair.0.with_values(d_contexts.clone()).unwrap();
        let (d_queries, d_memory) = attention.backward(tape, &d_y, &mut grad).unwrap();

        let memory = attention.memory(&pair.1).unwrap();
        let mut inference = attention.stream(memory.clone()).unwrap();
        let mut stream = attention.training_stream(memory).unwrap();
        for (q, context) in pair.0.values().outer_iter().zip(contexts.values().outer_iter()) {
            assert_eq!(bits(&stream.step(q).unwrap()), bits(&context.to_owned()));
            assert_eq!(bits(&inference.step(q).unwrap()), bits(&context.to_owned()));
        }
        let mut backward = stream.backward().unwrap();
        for t in (0..5).rev() {
            let d_q = backward.step(d_contexts.index_axis(Axis(0), t), None).unwrap();
            let right = d_queries.values().index_axis(Axis(0), t);
            assert_eq!(bits(&d_q), bits(&right.to_owned()), "{score:?} {t}");
        }
        let mut other = attention.zeros_like();
        let d_other = backward.finish(&mut other).unwrap().values;
        assert_eq!(bits(&d_other), bits(&d_memory));
        assert_eq!(bits(&other), bits(&grad), "{score:?}");
    }
}

#[test]
fn a_selected_row_keeps_its_memory_and_its_weights() {
    for score in SCORES {
        let attention = attention(score, 3, 4);
        let memory = sequences(attention.memory_size(), &[2, 5], 1);
        let q = random((2, 2, 3), 2);
        let all = |rows: &[usize]| -> Result<Array2<f64>> {
            let mut stream = attention.stream(attention.memory(&memory)?)?;
            stream.step(q.index_axis(Axis(0), 0))?;
            stream.select(rows)?;
            stream.step(q.index_axis(Axis(0), 1).select(Axis(0), rows).view())
        };
        let (same, other) = (all(&[0, 1]).unwrap(), all(&[1, 1, 0]).unwrap());
        assert_eq!(other, same.select(Axis(0), &[1, 1, 0]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_batch_equals_single_sequences_and_padding_changes_nothing(
        lengths in prop::collection::vec((1_usize..6, 1_usize..9), 1..5),
        kind in 0_usize..6,
        seed in 0_u64..1000,
    ) {
        let attention = attention(SCORES[kind], 3, 5);
        let (of_queries, of_memory): (Vec<_>, Vec<_>) = lengths.into_iter().unzip();
        let queries = sequences(3, &of_queries, seed);
        let memory = sequences(attention.memory_size(), &of_memory, seed + 1);
        let padded = |x: &Sequences<f64>| {
            let mut values = x.values().clone();
            for (t, mut step) in values.outer_iter_mut().enumerate() {
                for (b, &length) in x.lengths().iter().enumerate() {
                    if t >= length { step.row_mut(b).fill(f64::NAN); }
                }
            }
            x.with_values(values).unwrap()
        };
        let d_y = queries.with_values(random(
            (queries.time(), queries.batch(), attention.memory_size()), seed + 2)).unwrap();
        let run = |queries: &Sequences<f64>, memory: &Sequences<f64>, d_y: &Sequences<f64>| {
            let pair = (queries.clone(), memory.clone());
            let (y, tape) = attention.forward_train(&pair, &mut rng()).unwrap();
            let mut grad = attention.zeros_like();
            let (d_queries, d_memory) = attention.backward(tape, d_y, &mut grad).unwrap();
            (y, d_queries, d_memory, grad)
        };
        let whole = run(&queries, &memory, &d_y);
        let other = run(&padded(&queries), &padded(&memory), &padded(&d_y));
        for b in 0..queries.batch() {
            let one = |x: &Sequences<f64>| {
                let steps: Vec<usize> = (0..x.lengths()[b]).collect();
                let values = x.values().select(Axis(1), &[b]).select(Axis(0), &steps);
                Sequences::full(values).unwrap()
            };
            let alone = run(&one(&queries), &one(&memory), &one(&d_y));
            for (batch, single) in [(&whole, &alone), (&other, &alone)] {
                prop_assert_eq!(bits(&one(&batch.0)), bits(&single.0));
                prop_assert_eq!(bits(&one(&batch.1)), bits(&single.1));
                prop_assert_eq!(bits(&one(&batch.2)), bits(&single.2));
            }
        }
        let finite = other.3.check_finite();
        prop_assert!(finite.is_ok(), "{finite:?}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    let new = |score, query, memory| {
        Attention::<f64>::new(score, query, memory, &mut rng()).unwrap_err().to_string()
    };
    assert_eq!(
        new(AttentionScore::Dot, 3, 4),
        "memory_size: expected 3 (query_size): the score is a scalar product, got 4"
    );
    let even = AttentionScore::Location { size: 2, filters: 2, kernel_size: 2 };
    assert_eq!(new(even, 3, 4), "kernel_size: expected an odd number, got 2");
    assert!(new(AttentionScore::General, 0, 4).starts_with("query_size"));
    assert!(new(AttentionScore::Additive { size: 0 }, 3, 4).starts_with("size"));

    let attention = attention(AttentionScore::General, 3, 4);
    let (queries, memory) = (sequences(3, &[2, 2], 1), sequences(4, &[2, 3], 2));
    let empty = Sequences::new(memory.values().clone(), vec![3, 0]).unwrap();
    assert_eq!(
        attention.memory(&empty).unwrap_err().to_string(),
        "memory.lengths[1]: expected at least 1: the sequence is attended to, got 0"
    );
    let wrong = |queries: &Sequences<f64>, memory: &Sequences<f64>| {
        attention.attend(queries, memory).unwrap_err().to_string()
    };
    assert!(wrong(&sequences(4, &[2, 2], 1), &memory).starts_with("queries"));
    assert!(wrong(&sequences(3, &[2], 1), &memory).starts_with("queries"));
    assert!(wrong(&queries, &sequences(3, &[2, 2], 1)).starts_with("memory"));

    let other = Attention::<f64>::new(AttentionScore::General, 5, 4, &mut rng()).unwrap();
    let error = attention.stream(other.memory(&memory).unwrap()).unwrap_err().to_string();
    assert_eq!(error, "memory: expected [4, 3] (values, keys), got [4, 5]");
    let mut stream = attention.stream(attention.memory(&memory).unwrap()).unwrap();
    assert!(stream.step(Array2::zeros((3, 3)).view()).is_err());
    assert!(stream.select(&[2]).is_err());
    assert!(stream.backward().is_err());
    let mut stream = attention.training_stream(attention.memory(&memory).unwrap()).unwrap();
    stream.step(Array2::zeros((2, 3)).view()).unwrap();
    assert!(stream.select(&[0]).is_err());
    let mut backward = stream.backward().unwrap();
    assert!(backward.step(Array2::zeros((2, 3)).view(), None).is_err());
    assert!(backward.step(Array2::zeros((2, 4)).view(), None).is_ok());
    assert!(backward.step(Array2::zeros((2, 4)).view(), None).is_err());
}

#[test]
fn scaled_dot_attention_is_that_of_pytorch() {
    let fixture = Fixture::open("seq2seq");
    let get = |name: &str| -> Array3<f64> { fixture.get(&format!("attention.{name}")) };
    let of = |name: &str, lengths: &[usize]| {
        Sequences::from_batch_first(get(name).view(), lengths.to_vec()).unwrap()
    };
    let (lengths, queries) = ([4, 1, 6], of("q", &[4, 4, 4]));
    let attention = Attention::new(AttentionScore::ScaledDot, 5, 5, &mut rng()).unwrap();
    let memory = attention.memory_of(&of("k", &lengths), &of("v", &lengths)).unwrap();
    let mut stream = attention.training_stream(memory).unwrap();
    let (y, d_y) = (of("y", &[4, 4, 4]), of("d_y", &[4, 4, 4]));
    for (q, y) in queries.values().outer_iter().zip(y.values().outer_iter()) {
        let error = (stream.step(q).unwrap() - y).mapv(f64::abs);
        assert!(error.iter().all(|&e| e < 1e-14), "{error}");
    }
    let mut backward = stream.backward().unwrap();
    let d_q = of("d_q", &[4, 4, 4]);
    for t in (0..4).rev() {
        let d = backward.step(d_y.values().index_axis(Axis(0), t), None).unwrap();
        let error = (d - d_q.values().index_axis(Axis(0), t)).mapv(f64::abs);
        assert!(error.iter().all(|&e| e < 1e-14), "{error}");
    }
    let d_memory = backward.finish(&mut attention.zeros_like()).unwrap();
    for (ours, name) in [(d_memory.keys.unwrap(), "d_k"), (d_memory.values, "d_v")] {
        let error = (ours.values() - of(name, &lengths).values()).mapv(f64::abs);
        assert!(error.iter().all(|&e| e < 1e-14), "{name}: {error}");
    }
}
