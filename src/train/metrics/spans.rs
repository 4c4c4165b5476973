//! [`SpanMetrics`]: precision, recall and F1 of entities, which are spans of steps given by tags.
//!
//! A predicted span is correct if type, first and last step are those of an actual span. Sources: the script
//! `conlleval` of CoNLL-2000 (Tjong Kim Sang and Buchholz, 2000); `seqeval`.
#![expect(clippy::indexing_slicing, reason = "spans lie within their sequence")]

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::Range;

use crate::error::{Error, Result, check_shape};
use crate::layer::crf::{OUTSIDE, Scheme, parse_tag};
use crate::train::Score;
use crate::train::metrics::PrecisionRecallF1;
use crate::train::metrics::classification::ratio;

/// How spans are read from tags that do not follow their scheme.
///
/// | mode | `O I-X` | `B-X I-Y` | BIOES: `B-X O` |
/// |---|---|---|---|
/// | `Lenient` | a span X | a span X and a span Y | a span X |
/// | `Strict` | no span | a span X in IOB2, none in BIOES | no span |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpanMode {
    /// Where a span cannot go on, it ends, and another begins. This is `conlleval`, and seqeval's default.
    /// Tags may have the prefixes of any [`Scheme`].
    #[default]
    Lenient,
    /// Only spans that follow the scheme count, as in seqeval with `mode="strict"`.
    Strict(Scheme),
}

/// The steps of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Its type.
    pub kind: String,
    /// The first step.
    pub start: usize,
    /// The step after the last.
    pub end: usize,
}

/// Returns the spans of the `tags` of one sequence, in the order of their steps.
///
/// ```
/// use recurrent::layer::crf::Scheme;
/// use recurrent::train::metrics::{SpanMode, spans_of};
///
/// let tags = ["B-PER", "I-PER", "O", "I-LOC"];
/// let spans = spans_of(&tags, SpanMode::Lenient)?;
/// assert_eq!((&spans[0].kind[..], spans[0].start, spans[0].end), ("PER", 0, 2));
/// assert_eq!((&spans[1].kind[..], spans[1].start, spans[1].end), ("LOC", 3, 4));
/// assert_eq!(spans_of(&tags, SpanMode::Strict(Scheme::Iob2))?, spans[..1]);
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// If a tag is neither `O` nor one of the prefixes B, I, E and S with a type, or the prefix is none of the
/// strict scheme.
pub fn spans_of<S: AsRef<str>>(tags: &[S], mode: SpanMode) -> Result<Vec<Span>> {
    spans(&tags.iter().map(AsRef::as_ref).collect::<Vec<_>>(), mode, "tags")
}

/// Returns the spans of `tags`, which an error calls `argument`.
fn spans(tags: &[&str], mode: SpanMode, argument: &str) -> Result<Vec<Span>> {
    let mut parsed = Vec::with_capacity(tags.len() + 1);
    for (t, tag) in tags.iter().enumerate() {
        let (read, expected) = match mode {
            SpanMode::Lenient => (parse_tag(tag), Scheme::Bioes.tags()),
            SpanMode::Strict(scheme) => (scheme.parse(tag), scheme.tags()),
        };
        let refuse = || Error::argument(format!("{argument}[{t}]"), expected, tag);
        parsed.push(read.ok_or_else(refuse)?);
    }
    let of = |steps: Range<usize>| {
        let kind = parsed[steps.start].1.to_owned();
        Span { kind, start: steps.start, end: steps.end }
    };
    let ranges = match mode {
        SpanMode::Lenient => lenient(&parsed),
        SpanMode::Strict(scheme) => strict(&parsed, scheme),
    };
    Ok(ranges.into_iter().map(of).collect())
}

/// Returns the steps of each span of the [lenient](SpanMode::Lenient) mode.
fn lenient(tags: &[(char, &str)]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut before, mut start) = (OUTSIDE, 0);
    for (t, &tag) in tags.iter().chain([&OUTSIDE]).enumerate() {
        let changed = before.1 != tag.1;
        let ended = match before.0 {
            'O' => false,
            'E' | 'S' => true,
            _ => changed || matches!(tag.0, 'B' | 'S' | 'O'),
        };
        if ended {
            ranges.push(start..t);
        }
        let starts = match tag.0 {
            'O' => false,
            'B' | 'S' => true,
            _ => changed || matches!(before.0, 'E' | 'S' | 'O'),
        };
        if starts {
            start = t;
        }
        before = tag;
    }
    ranges
}

/// Returns the steps of each span of the [strict](SpanMode::Strict) mode.
fn strict(tags: &[(char, &str)], scheme: Scheme) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    for (start, &(first, kind)) in tags.iter().enumerate() {
        let inside = |&&(prefix, other): &&(char, &str)| prefix == 'I' && other == kind;
        let rest = &tags[start + 1..];
        let inner = rest.iter().take_while(inside).count();
        let end = start + 1 + inner;
        match (scheme, first) {
            (Scheme::Bioes, 'S') => ranges.push(start..start + 1),
            (Scheme::Bioes, 'B') if rest.get(inner) == Some(&('E', kind)) => {
                ranges.push(start..end + 1);
            }
            (Scheme::Iob2, 'B') => ranges.push(start..end),
            _ => {}
        }
    }
    ranges
}

/// The numbers of spans of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    correct: usize,
    predicted: usize,
    actual: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.correct += other.correct;
        self.predicted += other.predicted;
        self.actual += other.actual;
    }

    fn figures(self) -> PrecisionRecallF1 {
        PrecisionRecallF1::new(self.correct, self.predicted, self.actual)
    }
}

/// Precision, recall and F1 of the spans of sequences of tags.
///
/// ```
/// use recurrent::train::metrics::{SpanMetrics, SpanMode};
///
/// let mut score = SpanMetrics::new(SpanMode::Lenient);
/// score.add(&["B-PER", "I-PER", "O", "B-LOC"], &["B-PER", "I-PER", "O", "B-PER"])?;
/// assert_eq!(score.of_type("PER").precision, 0.5);
/// assert_eq!(score.of_type("LOC").recall, 0.0);
/// assert_eq!(score.micro_average().f1, 0.5);
/// assert_eq!(score.accuracy(), 0.75); // of the tags
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanMetrics {
    mode: SpanMode,
    types: BTreeMap<String, Counts>,
    steps: usize,
    right: usize,
}

impl SpanMetrics {
    /// Creates metrics without sequences. The default has [`SpanMode::Lenient`].
    pub fn new(mode: SpanMode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Adds one sequence: its `actual` and its `predicted` tags.
    ///
    /// # Errors
    /// If they differ in length, or a tag is refused as by [`spans_of`]. Nothing is added then.
    pub fn add<A: AsRef<str>, P: AsRef<str>>(
        &mut self,
        actual: &[A],
        predicted: &[P],
    ) -> Result<()> {
        let actual: Vec<&str> = actual.iter().map(AsRef::as_ref).collect();
        let predicted: Vec<&str> = predicted.iter().map(AsRef::as_ref).collect();
        self.add_sequence(&actual, &predicted)
    }

    fn add_sequence(&mut self, actual: &[&str], predicted: &[&str]) -> Result<()> {
        check_shape("predicted", "time", &[actual.len()], &[predicted.len()])?;
        let of_actual = spans(actual, self.mode, "actual")?;
        let of_predicted = spans(predicted, self.mode, "predicted")?;
        for span in &of_predicted {
            let counts = self.types.entry(span.kind.clone()).or_default();
            counts.predicted += 1;
            // Both lists are in the order of the steps.
            let same = of_actual.binary_search_by_key(&span.start, |other| other.start);
            counts.correct += usize::from(same.is_ok_and(|place| of_actual[place] == *span));
        }
        for span in of_actual {
            self.types.entry(span.kind).or_default().actual += 1;
        }
        self.steps += actual.len();
        self.right += actual.iter().zip(predicted).filter(|(a, p)| a == p).count();
        Ok(())
    }

    /// Returns the types that occur, in alphabetical order.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    /// Returns the figures of the type `kind`, 0 if it does not occur.
    pub fn of_type(&self, kind: &str) -> PrecisionRecallF1 {
        self.types.get(kind).copied().unwrap_or_default().figures()
    }

    /// Returns the number of actual spans of the type `kind`.
    pub fn support(&self, kind: &str) -> usize {
        self.types.get(kind).map_or(0, |counts| counts.actual)
    }

    /// Returns the figures of all spans together, whatever their type.
    pub fn micro_average(&self) -> PrecisionRecallF1 {
        let mut sum = Counts::default();
        self.types.values().for_each(|&counts| sum.add(counts));
        sum.figures()
    }

    /// Returns the means of the figures of the types that occur, 0 without any.
    pub fn macro_average(&self) -> PrecisionRecallF1 {
        PrecisionRecallF1::mean(self.types.values().map(|counts| (counts.figures(), 1.0)))
    }

    /// Returns the means of the figures of the types, each weighted by its number of actual spans, 0 without
    /// actual spans.
    pub fn weighted_average(&self) -> PrecisionRecallF1 {
        let weighted = |counts: &Counts| (counts.figures(), counts.actual as f64);
        PrecisionRecallF1::mean(self.types.values().map(weighted))
    }

    /// Returns the share of steps with the right tag, NaN without steps.
    pub fn accuracy(&self) -> f64 {
        if self.steps == 0 { f64::NAN } else { ratio(self.right as f64, self.steps as f64) }
    }
}

impl Score for SpanMetrics {
    /// Returns 1 − F1 of all spans together, NaN without steps.
    fn loss(&self) -> f64 {
        if self.steps == 0 { f64::NAN } else { 1.0 - self.micro_average().f1 }
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let PrecisionRecallF1 { precision, recall, f1 } = self.micro_average();
        vec![
            ("precision", precision),
            ("recall", recall),
            ("f1", f1),
            ("accuracy", self.accuracy()),
        ]
    }

    /// Adds the sequences of `other`. Metrics without sequences take over its mode.
    fn merge(&mut self, other: Self) {
        if self.steps == 0 {
            self.mode = other.mode;
        }
        for (kind, counts) in other.types {
            self.types.entry(kind).or_default().add(counts);
        }
        self.steps += other.steps;
        self.right += other.right;
    }
}

impl Display for SpanMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PrecisionRecallF1 { precision, recall, f1 } = self.micro_average();
        write!(f, "precision {precision:.4}, recall {recall:.4}, F1 {f1:.4}")
    }
}
