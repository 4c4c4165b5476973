//! Tests of the metrics of spans.

use std::collections::BTreeMap;
use std::path::Path;

use recurrent::Result;
use recurrent::layer::crf::Scheme;
use recurrent::train::Score;
use recurrent::train::metrics::{PrecisionRecallF1, Span, SpanMetrics, SpanMode, spans_of};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    scheme: String,
    actual: Vec<Vec<String>>,
    predicted: Vec<Vec<String>>,
    accuracy: f64,
    lenient: Figures,
    strict: Figures,
}

#[derive(Deserialize)]
struct Figures {
    /// Precision, recall, F1 and support.
    types: BTreeMap<String, [f64; 4]>,
    micro: [f64; 3],
    #[serde(rename = "macro")]
    macro_: [f64; 3],
    weighted: [f64; 3],
}

fn close(got: PrecisionRecallF1, expected: &[f64]) {
    for (got, want) in [got.precision, got.recall, got.f1].iter().zip(expected) {
        assert!((got - want).abs() < 1e-12, "{got} is not {want}");
    }
}

#[test]
fn figures_are_those_of_seqeval() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/spans.json");
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 10);
    for case in &cases {
        let scheme = if case.scheme == "iob2" { Scheme::Iob2 } else { Scheme::Bioes };
        let modes = [(SpanMode::Lenient, &case.lenient), (SpanMode::Strict(scheme), &case.strict)];
        for (mode, expected) in modes {
            let mut score = SpanMetrics::new(mode);
            for (actual, predicted) in case.actual.iter().zip(&case.predicted) {
                score.add(actual, predicted).unwrap();
            }
            assert_eq!(
                score.types().collect::<Vec<_>>(),
                expected.types.keys().collect::<Vec<_>>()
            );
            for (kind, figures) in &expected.types {
                close(score.of_type(kind), figures);
                assert_eq!(score.support(kind) as f64, figures[3]);
            }
            close(score.micro_average(), &expected.micro);
            close(score.macro_average(), &expected.macro_);
            close(score.weighted_average(), &expected.weighted);
            assert!((score.accuracy() - case.accuracy).abs() < 1e-12);
            assert!((score.loss() - (1.0 - expected.micro[2])).abs() < 1e-12);
        }
    }
    let differ = cases.iter().filter(|case| case.lenient.micro != case.strict.micro);
    assert!(differ.count() > 4, "the fixture has tags that break their scheme");
}

#[test]
fn spans_are_those_of_the_conventions() {
    let span = |kind: &str, start, end| Span { kind: kind.to_owned(), start, end };
    let of = |tags: &[&str], mode| spans_of(tags, mode).unwrap();
    let (lenient, iob2, bioes) =
        (SpanMode::Lenient, SpanMode::Strict(Scheme::Iob2), SpanMode::Strict(Scheme::Bioes));
    let broken = ["I-X", "I-X", "I-Y", "O", "B-Y", "I-X"];
    let all = [span("X", 0, 2), span("Y", 2, 3), span("Y", 4, 5), span("X", 5, 6)];
    assert_eq!(of(&broken, lenient), all);
    assert_eq!(of(&broken, iob2), [span("Y", 4, 5)]);
    let chunks = ["B-X", "E-X", "E-X", "B-X", "I-X", "S-X", "B-X", "O"];
    let all = [(0, 2), (2, 3), (3, 5), (5, 6), (6, 7)].map(|(a, b)| span("X", a, b));
    assert_eq!(of(&chunks, lenient), all);
    assert_eq!(of(&chunks, bioes), [span("X", 0, 2), span("X", 5, 6)]);
    assert_eq!(of(&["B", "I"], lenient), [span("_", 0, 2)]);
    assert_eq!(of(&[], lenient), []);
}

#[test]
fn figures_do_not_depend_on_the_division_into_batches() {
    let pairs = [
        (vec!["B-X", "I-X", "O"], vec!["B-X", "O", "O"]),
        (vec!["O", "B-Y"], vec!["B-X", "B-Y"]),
        (vec!["B-X"], vec!["B-X"]),
    ];
    let mode = SpanMode::Strict(Scheme::Iob2);
    let (mut all, mut merged) = (SpanMetrics::new(mode), SpanMetrics::default());
    for (actual, predicted) in &pairs {
        all.add(actual, predicted).unwrap();
        let mut one = SpanMetrics::new(mode);
        one.add(actual, predicted).unwrap();
        merged.merge(one);
    }
    assert_eq!(all, merged);
    assert_eq!(all.to_string(), "precision 0.5000, recall 0.6667, F1 0.5714");
    let names: Vec<&str> = all.metrics().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["precision", "recall", "f1", "accuracy"]);
}

#[test]
fn figures_without_spans_are_defined() {
    let mut score = SpanMetrics::default();
    assert!(score.loss().is_nan() && score.accuracy().is_nan());
    score.add::<&str, &str>(&[], &[]).unwrap();
    assert!(score.loss().is_nan());
    score.add(&["O"], &["O"]).unwrap();
    assert_eq!((score.accuracy(), score.loss(), score.types().count()), (1.0, 1.0, 0));
    for average in [score.micro_average(), score.macro_average(), score.weighted_average()] {
        close(average, &[0.0; 3]);
    }
    score.add(&["O"], &["B-X"]).unwrap();
    close(score.weighted_average(), &[0.0; 3]);
    assert_eq!((score.support("X"), score.support("Y")), (0, 0));
}

#[test]
fn tags_that_are_none_are_refused() {
    fn says<V: std::fmt::Debug>(result: Result<V>) -> String {
        result.unwrap_err().to_string()
    }
    let mut score = SpanMetrics::new(SpanMode::Strict(Scheme::Iob2));
    let before = score.clone();
    assert_eq!(says(score.add(&["O", "O"], &["O"])), "predicted: expected [2] (time), got [1]");
    assert_eq!(
        says(score.add(&["O", "B-X"], &["O", "E-X"])),
        "predicted[1]: expected O, or B or I with a type, such as B-PER, got E-X"
    );
    assert_eq!(score, before);
    for tag in ["", "X-A", "B-", "BX", "O-X", "ÖB-X"] {
        let error = says(spans_of(&["O", tag], SpanMode::Lenient));
        assert!(error.starts_with("tags[1]: expected O, or B, I, E or S with a type"), "{error}");
    }
}
