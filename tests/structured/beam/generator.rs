//! Tests of the beam search of `SequenceGenerator`.

use ndarray::{Axis, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::data::{Unit, Vocabulary};
use recurrent::decode::{BeamSearch, Hypothesis, LengthPenalty, Sampling};
use recurrent::model::SequenceGenerator;
use recurrent::train::Model;
use recurrent::{Arrays, GruCell, Sequences};

use crate::common::random::random;

/// Returns a generator of 9 tokens with the start 0 and the end 1.
fn generator(condition_size: Option<usize>) -> SequenceGenerator<GruCell<f64>> {
    let builder = SequenceGenerator::<GruCell<f64>>::builder(9).start(0).end(1).hidden_size(5);
    let builder = builder.num_layers(2).embedding_dim(3);
    let builder = match condition_size {
        Some(size) => builder.condition_size(size),
        None => builder,
    };
    let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(3)).unwrap();
    // Far from uniform, so that hypotheses differ.
    model.for_each_mut(&mut |_, mut weights| weights *= 6.0);
    model
}

#[test]
fn a_generator_finds_texts_with_the_probability_that_it_trains_on() {
    let model = generator(None);
    let search = BeamSearch::new(6).unwrap().n_best(6).unwrap().max_length(7).unwrap();
    let found = model.beam(None, &[], &search).unwrap().remove(0);
    let ended: Vec<&Hypothesis> = found.iter().filter(|found| found.ended).collect();
    assert!(!ended.is_empty());
    for hypothesis in ended.into_iter().filter(|found| !found.tokens.is_empty()) {
        let texts = Sequences::one_hot_from_list(&[&hypothesis.tokens], 9).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut grad, batch) = (model.zeros_like(), (None, texts));
        let (loss, count) = model.weighted_loss_and_grad(&batch, &mut grad, &mut rng).unwrap();
        let log_p = -loss * count.unwrap();
        assert!((hypothesis.log_probability - log_p).abs() < 1e-10, "{hypothesis:?} {log_p}");
    }
}

#[test]
fn a_generator_with_width_1_is_greedy() {
    let model = generator(None);
    for prompt in [&[][..], &[4], &[3, 2, 2]] {
        let search = BeamSearch::new(1).unwrap().max_length(12).unwrap();
        let found = model.beam(None, prompt, &search).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let greedy = model.generate(None, prompt, 12, &Sampling::greedy(), &mut rng).unwrap();
        assert_eq!(found[0][0].tokens, greedy[0]);
    }
}

#[test]
fn a_generators_conditions_are_searched_together_with_the_bits_of_each_alone() {
    let model = generator(Some(4));
    let vectors = random((1, 5, 4), 8).index_axis_move(Axis(0), 0);
    let search = BeamSearch::new(3).unwrap().n_best(3).unwrap().max_length(8).unwrap();
    let search = search.length_penalty(LengthPenalty::Wu(0.6)).unwrap();
    let together = model.beam(Some(vectors.view()), &[5], &search).unwrap();
    assert_eq!(together.len(), 5);
    for b in 0..5 {
        let alone = model.beam(Some(vectors.slice(s![b..=b, ..])), &[5], &search).unwrap();
        assert_eq!(alone[0], together[b]);
    }
}

#[test]
fn a_generators_own_end_and_suppressed_tokens_hold_in_a_search() {
    let words = Vocabulary::builder(Unit::Word).special(&["<s>", "</s>", "<pad>"]);
    let words = words.fit(["a b c d e"]).unwrap();
    let size = words.len();
    let builder = SequenceGenerator::<GruCell<f32>>::builder(size).start(0).end(1);
    let builder = builder.vocabulary(words).suppress_tokens(&[5]);
    let model = builder.build(&mut ChaCha8Rng::seed_from_u64(2)).unwrap();
    let search = BeamSearch::new(20).unwrap().n_best(20).unwrap().max_length(3).unwrap();
    let found = model.beam(None, &[], &search).unwrap().remove(0);
    assert!(found.iter().all(|one| one.tokens.iter().all(|token| ![0, 1, 2, 5].contains(token))));
    assert_eq!(found, model.beam(None, &[], &search.clone().end(1)).unwrap().remove(0));
    let error = model.beam(None, &[], &search.end(4)).unwrap_err();
    assert_eq!(error.to_string(), "end: expected 1 or none, as in the model, got 4");
}
