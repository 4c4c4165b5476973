//! Tests of bad input to a beam search.

use ndarray::{Array2, s};
use recurrent::decode::{BeamSearch, Decoder, LengthPenalty};
use recurrent::{Error, Result};

use super::Markov;

#[test]
fn bad_input_is_refused_by_name() {
    let decoder = Markov::<f64>::random(2, 4, 1);
    let message = |search: BeamSearch<'_>, decoder: &Markov<f64>, first: &[usize]| {
        search.search(&mut decoder.clone(), first).unwrap_err().to_string()
    };
    let new = |width| BeamSearch::new(width).unwrap();
    let given = |error: Error| error.to_string();
    assert_eq!(given(BeamSearch::new(0).unwrap_err()), "width: expected at least 1, got 0");
    assert_eq!(given(new(3).n_best(0).unwrap_err()), "n_best: expected 1 to 3 (width), got 0");
    assert_eq!(given(new(3).n_best(4).unwrap_err()), "n_best: expected 1 to 3 (width), got 4");
    assert_eq!(given(new(3).max_length(0).unwrap_err()), "max_length: expected at least 1, got 0");
    let none = new(3).no_repeat_ngram_size(0).unwrap_err();
    assert_eq!(given(none), "no_repeat_ngram_size: expected at least 1, got 0");
    for alpha in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(new(3).length_penalty(LengthPenalty::Wu(alpha)).is_err());
    }
    let steep = new(3).length_penalty(LengthPenalty::Wu(1e3)).unwrap();
    assert!(message(steep, &decoder, &[0, 0]).starts_with("length_penalty: "));
    let empty = "the number of first_tokens: expected at least 1, got 0";
    assert_eq!(message(new(3), &decoder, &[]), empty);
    let out = message(new(3).end(4), &decoder, &[0, 0]);
    assert_eq!(out, "end: expected less than 4 (vocabulary), got 4");
    let out = message(new(3).suppress_tokens(&[1, 9]), &decoder, &[0, 0]);
    assert_eq!(out, "suppress_tokens[1]: expected less than 4 (vocabulary), got 9");
    let useless = message(new(3).min_length(2), &decoder, &[0, 0]);
    assert_eq!(useless, "min_length: expected 0: there is no end token, got 2");
    let short = new(3).end(0).max_length(2).unwrap().min_length(3);
    let short = message(short, &decoder, &[0, 0]);
    assert_eq!(short, "min_length: expected at most 2 (max_length), got 3");
}

/// A decoder whose logits have the given shapes, step by step.
struct Shapes(Vec<(usize, usize)>);

impl Decoder for Shapes {
    type Elem = f32;

    fn step(&mut self, _tokens: &[usize]) -> Result<Array2<f32>> {
        Ok(Array2::zeros(self.0.remove(0)))
    }

    fn select(&mut self, _rows: &[usize]) -> Result<()> {
        Ok(())
    }
}

#[test]
fn logits_of_another_shape_are_refused() {
    let search = BeamSearch::new(2).unwrap();
    let message = |shapes: &[(usize, usize)]| {
        search.search(&mut Shapes(shapes.to_vec()), &[0]).unwrap_err().to_string()
    };
    let axes = "(rows, vocabulary)";
    assert_eq!(message(&[(2, 3)]), format!("logits: expected [1, 3] {axes}, got [2, 3]"));
    assert_eq!(message(&[(1, 3), (1, 3)]), format!("logits: expected [2, 3] {axes}, got [1, 3]"));
    assert_eq!(message(&[(1, 3), (2, 4)]), format!("logits: expected [2, 3] {axes}, got [2, 4]"));
    assert!(message(&[(1, 0)]).starts_with("logits"));
    assert!(message(&[(0, 3)]).starts_with("logits"));
}

#[test]
fn logits_that_are_nan_or_infinite_are_refused_with_their_place() {
    for bad in [f64::NAN, f64::INFINITY] {
        for vocabulary in [3, 17, 40] {
            let mut decoder = Markov::<f64>::random(2, vocabulary, 1);
            // Token 1 of sequence 1 is likely, and what follows it is bad.
            decoder.logits.slice_mut(s![1, .., 1]).fill(9.0);
            decoder.logits.slice_mut(s![1, 1, 2]).fill(bad);
            let search = BeamSearch::new(2).unwrap();
            let error = search.search(&mut decoder, &[0, 0]).unwrap_err();
            let Error::NonFinite { name, index, value } = error else { panic!("{error}") };
            assert_eq!((&name[..], index), ("logits of step 1 of sequence 1, beam 0", 2));
            assert!(!value.is_finite());
        }
    }
}
