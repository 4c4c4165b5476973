//! Tests of the loss of models with many tokens, whose logits never exist all at once.

use ndarray::{Array1, Array2};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::layer::{Layer, Linear};
use recurrent::loss::{CrossEntropy, Loss};
use recurrent::model::SequenceGenerator;
use recurrent::train::Model;
use recurrent::{Arrays, Error, Gru, GruCell, Sequences};

use crate::common::bits::bits;

#[test]
fn loss_and_gradients_are_those_of_all_logits_bit_for_bit() {
    // Three rows of logits exist at a time.
    let tokens = 300_001;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let builder = SequenceGenerator::<GruCell<f64>>::builder(tokens).hidden_size(2);
    let model = builder.build(&mut rng).unwrap();
    let texts = [vec![3, 300_000, 5, 77, 5], vec![9, 9], vec![4, 8, 1, 299_999]];
    let batch = (None, Sequences::one_hot_from_list(&texts, tokens).unwrap());
    let mut grad = model.zeros_like();
    let loss = model.loss_and_grad(&batch, &mut grad, &mut rng).unwrap();

    let (gru, head): (&Gru<f64>, &Linear<f64>) = (model.recurrent(), model.head());
    let inputs: Vec<_> = texts.iter().map(|text| &text[..text.len() - 1]).collect();
    let x = Sequences::one_hot_from_list(&inputs, tokens).unwrap();
    let y = Array2::from_shape_fn((4, 3), |(t, b)| texts[b].get(t + 1).copied().unwrap_or(0));
    let (h, _, tape) = gru.forward_train(&x, None, &mut rng).unwrap();
    let (logits, head_tape) = head.forward_train(&h, &mut rng).unwrap();
    let (right, d_logits) = CrossEntropy::default().loss(&logits, &y).unwrap();
    let (mut gru_grad, mut head_grad) = (gru.zeros_like(), head.zeros_like());
    let d_h: Sequences<f64> = head.backward(head_tape, &d_logits, &mut head_grad).unwrap();
    gru.backward(tape, &d_h, None, &mut gru_grad).unwrap();
    assert_eq!(loss.to_bits(), right.to_bits());
    assert!(bits(grad.head()) == bits(&head_grad));
    assert!(bits(grad.recurrent()) == bits(&gru_grad));
}

#[test]
fn a_loss_that_is_not_finite_is_named_by_its_index_in_all_logits() {
    let (tokens, mut rng) = (300_001, ChaCha8Rng::seed_from_u64(1));
    let builder = SequenceGenerator::<GruCell<f64>>::builder(tokens).hidden_size(2);
    let mut model = builder.build(&mut rng).unwrap();
    // Token 7 has the logit −∞, and is a target at step 3 of the first text.
    let mut bias = Array1::zeros(tokens);
    bias[7] = -f64::MAX;
    bias[8] = f64::MAX;
    model.set("head.bias", bias).unwrap();
    let texts = [vec![3, 8, 8, 8, 7], vec![9, 8]];
    let batch = (None, Sequences::one_hot_from_list(&texts, tokens).unwrap());
    let error = model.loss_and_grad(&batch, &mut model.zeros_like(), &mut rng).unwrap_err();
    let Error::NonFinite { index, .. } = error else { panic!("{error}") };
    assert_eq!(index / tokens, 3 * 2, "step 3 of sequence 0 of two");
}
