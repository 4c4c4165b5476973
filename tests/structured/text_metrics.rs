//! Tests of the metrics of text against sacrebleu and jiwer, and of their properties.

use std::path::Path;

use proptest::prelude::*;
use recurrent::Error;
use recurrent::train::Score;
use recurrent::train::metrics::{
    Alignment, Bleu, BleuScore, BleuSmoothing, BleuTokenizer, Chrf, ChrfScore, Edit, ErrorRate,
    ExactMatch,
};
use serde_json::Value;

/// Reads what `generate_text_metrics.py` wrote.
fn fixture() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/text_metrics.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// Fails unless `got` is `expected` up to 1e-9, relative to numbers greater than 1.
fn assert_near(got: f64, expected: &Value, place: &str) {
    let expected = expected.as_f64().unwrap();
    let near = (got - expected).abs() <= 1e-9 * expected.abs().max(1.0);
    assert!(near, "{place}: expected {expected}, got {got}");
}

/// Returns hypotheses and references of a corpus.
fn sentences(corpus: &Value) -> (Vec<&str>, Vec<Vec<&str>>) {
    list(corpus)
        .iter()
        .map(|pair| (text(&pair[0]), list(&pair[1]).iter().map(text).collect()))
        .unzip()
}

#[test]
fn words_of_13a_are_those_of_sacrebleu() {
    let fixture = fixture();
    for case in list(&fixture["words_13a"]) {
        let expected: Vec<&str> = list(&case[1]).iter().map(text).collect();
        assert_eq!(BleuTokenizer::V13a.words(text(&case[0])), expected, "{}", case[0]);
    }
    assert!(list(&fixture["words_13a"]).len() > 150);
}

fn bleu(options: &Value) -> Bleu {
    let mut bleu = Bleu::default()
        .effective_order(options["effective_order"] == true)
        .lowercase(options["lowercase"] == true);
    if options["tokenize"] == "none" {
        bleu = bleu.tokenizer(BleuTokenizer::None);
    }
    if let Some(order) = options["max_ngram_order"].as_u64() {
        bleu = bleu.max_ngram_order(order as usize).unwrap();
    }
    let value = options["smooth_value"].as_f64();
    let smoothing = match options["smooth_method"].as_str() {
        None => return bleu,
        Some("none") => BleuSmoothing::None,
        Some("floor") => BleuSmoothing::Floor(value.unwrap_or(0.1)),
        Some("add-k") => BleuSmoothing::AddK(value.unwrap_or(1.0)),
        Some(other) => panic!("{other}"),
    };
    bleu.smoothing(smoothing).unwrap()
}

#[test]
fn bleu_of_corpora_and_sentences_is_that_of_sacrebleu() {
    let fixture = fixture();
    let mut seen = 0;
    for case in list(&fixture["bleu"]) {
        let bleu = bleu(&case["options"]);
        for (name, expected) in case["corpora"].as_object().unwrap() {
            let place = format!("{name} {}", case["options"]);
            let (hypotheses, references) = sentences(&fixture["corpora"][name]);
            let score = bleu.corpus(&hypotheses, &references).unwrap();
            let corpus = &expected["corpus"];
            assert_near(score.bleu(), &corpus["score"], &place);
            assert_near(score.brevity_penalty(), &corpus["brevity_penalty"], &place);
            assert_eq!(score.hypothesis_words(), size(&corpus["hypothesis_words"]), "{place}");
            assert_eq!(score.reference_words(), size(&corpus["reference_words"]), "{place}");
            assert_eq!(score.precisions().len(), list(&corpus["precisions"]).len());
            for (&got, expected) in score.precisions().iter().zip(list(&corpus["precisions"])) {
                assert_near(got, expected, &place);
            }
            for (i, expected) in list(&expected["sentences"]).iter().enumerate() {
                let score = bleu.sentence(hypotheses[i], &references[i]).unwrap();
                assert_near(score.bleu(), expected, &format!("sentence {i} of {place}"));
                seen += usize::from(score.bleu() > 0.0);
            }
        }
    }
    assert!(seen > 500, "only {seen} scores are greater than 0");
}

fn chrf(options: &Value) -> Chrf {
    let order = |name: &str, default| options[name].as_u64().map_or(default, |n| n as usize);
    Chrf::default()
        .char_order(order("char_order", 6))
        .and_then(|chrf| chrf.word_order(order("word_order", 0)))
        .and_then(|chrf| chrf.beta(options["beta"].as_f64().unwrap_or(2.0)))
        .unwrap()
        .lowercase(options["lowercase"] == true)
        .whitespace(options["whitespace"] == true)
        .eps_smoothing(options["eps_smoothing"] == true)
}

#[test]
fn chrf_of_corpora_and_sentences_is_that_of_sacrebleu() {
    let fixture = fixture();
    let mut seen = 0;
    for case in list(&fixture["chrf"]) {
        let chrf = chrf(&case["options"]);
        for (name, expected) in case["corpora"].as_object().unwrap() {
            let place = format!("{name} {}", case["options"]);
            let (hypotheses, references) = sentences(&fixture["corpora"][name]);
            let score = chrf.corpus(&hypotheses, &references).unwrap();
            assert_near(score.chrf(), &expected["corpus"], &place);
            for (i, expected) in list(&expected["sentences"]).iter().enumerate() {
                let score = chrf.sentence(hypotheses[i], &references[i]).unwrap();
                assert_near(score.chrf(), expected, &format!("sentence {i} of {place}"));
                seen += usize::from(score.chrf() > 0.0);
            }
        }
    }
    assert!(seen > 300, "only {seen} scores are greater than 0");
    assert_eq!(Chrf::plus_plus(), Chrf::default().word_order(2).unwrap());
}

/// Returns an alignment as a text with a letter for each edit.
fn letters(alignment: &Alignment) -> String {
    let letter = |edit: &Edit| match edit {
        Edit::Equal { .. } => '=',
        Edit::Substitution { .. } => 's',
        Edit::Deletion { .. } => 'd',
        Edit::Insertion { .. } => 'i',
    };
    alignment.edits().iter().map(letter).collect()
}

fn counts(rate: &ErrorRate) -> [usize; 4] {
    [rate.hits(), rate.substitutions(), rate.deletions(), rate.insertions()]
}

#[test]
fn error_rates_and_alignments_are_those_of_jiwer() {
    let fixture = fixture();
    let (mut words, mut characters) = (ErrorRate::default(), ErrorRate::default());
    for case in list(&fixture["error_rates"]["sentences"]) {
        let (hypothesis, reference) = (text(&case["hypothesis"]), text(&case["reference"]));
        let place = format!("{hypothesis:?}, {reference:?}");
        let alignments = [
            Alignment::new(
                &hypothesis.split_whitespace().collect::<Vec<_>>(),
                &reference.split_whitespace().collect::<Vec<_>>(),
            ),
            Alignment::new(
                &hypothesis.trim().chars().collect::<Vec<_>>(),
                &reference.trim().chars().collect::<Vec<_>>(),
            ),
        ];
        let rates =
            [ErrorRate::words(hypothesis, reference), ErrorRate::characters(hypothesis, reference)];
        for ((name, rate), alignment) in ["words", "characters"].iter().zip(&rates).zip(&alignments)
        {
            let expected = &case[name];
            let of: Vec<usize> = list(&expected["counts"]).iter().map(size).collect();
            assert_eq!(counts(rate)[..], of, "{name} of {place}");
            assert_eq!(letters(alignment), text(&expected["edits"]), "{name} of {place}");
            if rate.reference_tokens() > 0 {
                assert_near(rate.rate(), &expected["rate"], &place);
            }
        }
        words.merge(rates[0]);
        characters.merge(rates[1]);
    }
    assert_near(words.rate(), &fixture["error_rates"]["wer"], "all words");
    assert_near(characters.rate(), &fixture["error_rates"]["cer"], "all characters");
}

/// Returns the fewest edits by recursion.
fn fewest(hypothesis: &[u8], reference: &[u8]) -> usize {
    match (hypothesis.split_first(), reference.split_first()) {
        (None, _) => reference.len(),
        (_, None) => hypothesis.len(),
        (Some((h, rest_h)), Some((r, rest_r))) => {
            let pair = fewest(rest_h, rest_r) + usize::from(h != r);
            pair.min(1 + fewest(rest_h, reference)).min(1 + fewest(hypothesis, rest_r))
        }
    }
}

proptest! {
    #[test]
    fn an_alignment_has_the_fewest_edits_and_each_token_once_in_order(
        hypothesis in prop::collection::vec(0_u8..3, 0..7),
        reference in prop::collection::vec(0_u8..3, 0..7),
    ) {
        let rate = ErrorRate::tokens(&hypothesis, &reference);
        let edits = rate.substitutions() + rate.deletions() + rate.insertions();
        prop_assert_eq!(edits, fewest(&hypothesis, &reference));
        prop_assert_eq!(rate.hits() + rate.substitutions() + rate.insertions(), hypothesis.len());
        prop_assert_eq!(rate.hits() + rate.substitutions() + rate.deletions(), reference.len());

        let alignment = Alignment::new(&hypothesis, &reference);
        let (mut hypotheses, mut references) = (Vec::new(), Vec::new());
        let mut seen = [0; 4];
        for &edit in alignment.edits() {
            let (kind, h, r) = match edit {
                Edit::Equal { hypothesis, reference } => (0, Some(hypothesis), Some(reference)),
                Edit::Substitution { hypothesis, reference } => (1, Some(hypothesis), Some(reference)),
                Edit::Deletion { reference } => (2, None, Some(reference)),
                Edit::Insertion { hypothesis } => (3, Some(hypothesis), None),
            };
            if let (Some(h), Some(r)) = (h, r) {
                prop_assert_eq!(hypothesis[h] == reference[r], kind == 0);
            }
            seen[kind] += 1;
            hypotheses.extend(h);
            references.extend(r);
        }
        prop_assert_eq!(seen, counts(&rate));
        prop_assert!(hypotheses.into_iter().eq(0..hypothesis.len()));
        prop_assert!(references.into_iter().eq(0..reference.len()));
    }

    #[test]
    fn a_text_has_no_errors_and_full_scores_against_itself(text in "[a-z ]{0,9}[a-z]{4}( [a-z]{1,5}){3,9}") {
        prop_assert_eq!(ErrorRate::words(&text, &text).rate(), 0.0);
        prop_assert_eq!(ErrorRate::characters(&text, &text).rate(), 0.0);
        prop_assert!((Bleu::default().sentence(&text, &[&text]).unwrap().bleu() - 100.0).abs() < 1e-9);
        prop_assert!((Chrf::plus_plus().sentence(&text, &[&text]).unwrap().chrf() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn any_text_has_scores_in_their_range(hypothesis in any::<String>(), reference in any::<String>()) {
        let bleu = Bleu::default().sentence(&hypothesis, &[&reference]).unwrap().bleu();
        let chrf = Chrf::plus_plus().whitespace(true).sentence(&hypothesis, &[&reference]).unwrap().chrf();
        prop_assert!((0.0..=100.0 + 1e-9).contains(&bleu) && (0.0..=100.0 + 1e-9).contains(&chrf));
    }
}

/// The order and the division into batches change no bit, because counts are summed.
#[test]
fn scores_of_a_corpus_are_those_of_its_sentences_merged() {
    let fixture = fixture();
    let (hypotheses, references) = sentences(&fixture["corpora"]["sentences"]);
    let (mut bleu, mut chrf) = (BleuScore::default(), ChrfScore::default());
    let options = Bleu::default().lowercase(true);
    for (hypothesis, references) in hypotheses.iter().zip(&references).rev() {
        bleu.merge(options.sentence(hypothesis, references).unwrap());
        chrf.merge(Chrf::plus_plus().sentence(hypothesis, references).unwrap());
    }
    assert_eq!(bleu, options.corpus(&hypotheses, &references).unwrap());
    assert_eq!(chrf, Chrf::plus_plus().corpus(&hypotheses, &references).unwrap());
    let before = bleu.clone();
    bleu.merge(BleuScore::default());
    assert_eq!(bleu, before);
    assert_eq!(bleu.loss(), 100.0 - bleu.bleu());
    assert_eq!(bleu.metrics(), [("bleu", bleu.bleu())]);
    assert_eq!(chrf.metrics(), [("chrf", chrf.chrf())]);
}

#[test]
fn scores_without_sentences_are_nan_and_empty_references_are_never_good() {
    assert!(BleuScore::default().bleu().is_nan() && BleuScore::default().loss().is_nan());
    assert!(ChrfScore::default().chrf().is_nan() && ChrfScore::default().loss().is_nan());
    assert!(ErrorRate::default().rate().is_nan() && ErrorRate::default().loss().is_nan());
    assert!(ExactMatch::default().share().is_nan() && ExactMatch::default().loss().is_nan());
    assert!(Bleu::default().corpus::<&str, [&str; 1], _>(&[], &[]).unwrap().bleu().is_nan());

    assert!(ErrorRate::words("  ", "").rate().is_nan());
    assert_eq!(ErrorRate::words("a", "").rate(), f64::INFINITY);
    assert_eq!(ErrorRate::words("", "a b").rate(), 1.0);
    assert_eq!(Bleu::default().sentence("", &[""]).unwrap().bleu(), 0.0);
    assert_eq!(Chrf::default().sentence("", &[""]).unwrap().chrf(), 0.0);

    let mut words = ErrorRate::words("a", "");
    words.merge(ErrorRate::words("b c", "b d"));
    assert_eq!((words.rate(), counts(&words)), (1.0, [1, 1, 0, 1]));
}

#[test]
fn error_rates_name_their_tokens_and_separate_at_any_white_space() {
    assert_eq!(ErrorRate::words("a", "a").metrics(), [("wer", 0.0)]);
    assert_eq!(ErrorRate::characters("a", "a").metrics(), [("cer", 0.0)]);
    assert_eq!(ErrorRate::tokens(&[1], &[1]).metrics(), [("error_rate", 0.0)]);
    let mut merged = ErrorRate::default();
    merged.merge(ErrorRate::characters("ab", "b"));
    assert_eq!(merged.metrics(), [("cer", 1.0)]);
    assert_eq!(
        merged.to_string(),
        "error rate 1.0000 (0 substitutions, 0 deletions, 1 insertions of 1 tokens)"
    );

    assert_eq!(ErrorRate::words("\ta\tb\u{a0}c\n", "a b c").rate(), 0.0);
    assert_eq!(ErrorRate::characters(" a b ", "a b").rate(), 0.0);
}

#[test]
fn exact_match_is_the_share_of_hypotheses_that_equal_a_reference() {
    let mut exact = ExactMatch::default();
    for (hypothesis, references) in
        [("a b", &["a b"][..]), ("A b", &["a b"]), ("a b ", &["a b"]), ("c", &["a b", "c"])]
    {
        exact.merge(ExactMatch::sentence(&hypothesis, references).unwrap());
    }
    assert_eq!((exact.share(), exact.loss(), exact.count()), (0.5, 0.5, 4));
    assert_eq!(exact.metrics(), [("exact_match", 0.5)]);
}

fn message<T>(result: Result<T, Error>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn errors_name_the_sentence_and_the_option() {
    let none: [&str; 0] = [];
    let expected = "references: expected at least one reference, got none";
    assert_eq!(message(Bleu::default().sentence("a", &none)), expected);
    assert_eq!(message(Chrf::default().sentence("a", &none)), expected);
    assert_eq!(message(ExactMatch::sentence(&"a", &none)), expected);
    let second = message(Bleu::default().corpus(&["a", "b"], &[vec!["a"], vec![]]));
    assert_eq!(second, format!("sentences[1].{expected}"));
    let fewer = message(Chrf::default().corpus(&["a", "b"], &[["a"]]));
    assert_eq!(fewer, "references: expected [2] (sentences), got [1]");

    for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for smoothing in [BleuSmoothing::Floor(value), BleuSmoothing::AddK(value)] {
            assert!(message(Bleu::default().smoothing(smoothing)).starts_with("smoothing: "));
        }
    }
    for order in [0, 1001, usize::MAX] {
        assert!(message(Bleu::default().max_ngram_order(order)).starts_with("max_ngram_order: "));
        assert!(message(Chrf::default().char_order(order)).starts_with("char_order: "));
    }
    assert!(message(Chrf::default().word_order(1001)).starts_with("word_order: "));
    for beta in [-0.5, 1e7, f64::NAN] {
        assert!(message(Chrf::default().beta(beta)).starts_with("beta: "));
    }
}
