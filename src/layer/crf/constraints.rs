//! [`Constraints`]: which tags may start, end and follow each other; [`Scheme`]: prefixes of tags.

use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_shape, check_size};

/// A scheme of tags for spans of steps. A tag is `O`, outside any span, or a prefix, a hyphen and the type
/// of the span, such as `B-PER`. A prefix alone is one with the type `_`.
///
/// | scheme | prefixes |
/// |---|---|
/// | `Iob2` | B begins a span, I continues it (Ramshaw and Marcus, 1995) |
/// | `Bioes` | B begins a span, I continues it, E ends it, S is a span of one step |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scheme {
    /// B and I.
    Iob2,
    /// B, I, E and S.
    Bioes,
}

impl Scheme {
    /// Returns the prefix and the type of the tag `name`, or `None` if it is not a tag of the scheme.
    pub(crate) fn parse(self, name: &str) -> Option<(char, &str)> {
        let prefixes = match self {
            Self::Iob2 => "OBI",
            Self::Bioes => "OBIES",
        };
        parse_tag(name).filter(|tag| prefixes.contains(tag.0))
    }

    /// Returns the names of the tags of the scheme, for an error.
    pub(crate) fn tags(self) -> &'static str {
        match self {
            Self::Iob2 => "O, or B or I with a type, such as B-PER",
            Self::Bioes => "O, or B, I, E or S with a type, such as B-PER",
        }
    }

    /// Returns whether a span is open after the tag with the prefix `before`.
    fn stays_open(self, before: char) -> bool {
        match self {
            Self::Iob2 => false, // it may end anywhere
            Self::Bioes => matches!(before, 'B' | 'I'),
        }
    }

    /// Returns whether the second tag may follow the first.
    fn allows(self, before: (char, &str), after: (char, &str)) -> bool {
        let continues = matches!(after.0, 'I' | 'E');
        let open = matches!(before.0, 'B' | 'I') && before.1 == after.1;
        if continues { open } else { !self.stays_open(before.0) }
    }
}

/// The tag `O`.
pub(crate) const OUTSIDE: (char, &str) = ('O', "_");

/// Returns the prefix, one of OBIES, and the type of the tag `name`, or `None` if it has neither.
pub(crate) fn parse_tag(name: &str) -> Option<(char, &str)> {
    let (prefix, kind) = name.split_once('-').unwrap_or((name, OUTSIDE.1));
    let mut letters = prefix.chars();
    let letter = letters.next().filter(|&letter| "OBIES".contains(letter))?;
    let is_tag = letters.next().is_none() && !kind.is_empty() && (letter != 'O' || name == "O");
    is_tag.then_some((letter, kind))
}

/// A table of the tags that may start and end a sequence, and of those that may follow each other.
///
/// ```
/// use recurrent::layer::crf::Constraints;
///
/// let rules = Constraints::iob2(&["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])?;
/// assert!(!rules.may_start(2)); // I-PER
/// assert!(rules.may_follow(1, 2)); // B-PER, I-PER
/// assert!(!rules.may_follow(3, 2)); // B-LOC, I-PER
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Constraints {
    start: Array1<bool>,
    end: Array1<bool>,
    transitions: Array2<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    start: Vec<bool>,
    end: Vec<bool>,
    transitions: Vec<Vec<bool>>,
}

impl From<Constraints> for Stored {
    fn from(constraints: Constraints) -> Self {
        let rows = constraints.transitions.rows().into_iter();
        Self {
            start: constraints.start.to_vec(),
            end: constraints.end.to_vec(),
            transitions: rows.map(|row| row.to_vec()).collect(),
        }
    }
}

impl TryFrom<Stored> for Constraints {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let tags = stored.start.len();
        check_shape("transitions", "tags", &[tags], &[stored.transitions.len()])?;
        for (i, row) in stored.transitions.iter().enumerate() {
            check_shape(format!("transitions[{i}]"), "tags", &[tags], &[row.len()])?;
        }
        let allowed = |(i, j): (usize, usize)| stored.transitions[i][j];
        let transitions = Array2::from_shape_fn((tags, tags), allowed);
        Self::new(stored.start.into(), stored.end.into(), transitions)
    }
}

impl Constraints {
    /// Creates constraints from tables of what is allowed: `start` and `end`, `[tags]`, whether a tag may
    /// start and end a sequence, and `transitions` [tags, tags], whether the tag of the column may follow
    /// that of the row.
    ///
    /// # Errors
    /// If the sizes differ or are zero, or no tag may start, or none may end.
    pub fn new(start: Array1<bool>, end: Array1<bool>, transitions: Array2<bool>) -> Result<Self> {
        let tags = start.len();
        check_size("start", &[tags])?;
        check_shape("end", "tags", &[tags], end.shape())?;
        check_shape("transitions", "tags, tags", &[tags, tags], transitions.shape())?;
        for (name, table) in [("start", &start), ("end", &end)] {
            if !table.iter().any(|&allowed| allowed) {
                return Err(Error::argument(name, "at least one tag that is allowed", "none"));
            }
        }
        Ok(Self { start, end, transitions })
    }

    /// Creates the constraints of the scheme [`Scheme::Iob2`] for tags of these `names`: I follows B or I of
    /// the same type alone.
    ///
    /// # Errors
    /// If a name is not a tag of the scheme, or no tag may start or end.
    pub fn iob2<S: AsRef<str>>(names: &[S]) -> Result<Self> {
        Self::of(Scheme::Iob2, names)
    }

    /// Creates the constraints of the scheme [`Scheme::Bioes`] for tags of these `names`: I and E follow B or
    /// I of the same type alone, and nothing else follows B and I.
    ///
    /// # Errors
    /// As [`iob2`](Self::iob2).
    pub fn bioes<S: AsRef<str>>(names: &[S]) -> Result<Self> {
        Self::of(Scheme::Bioes, names)
    }

    /// Creates the constraints of `scheme` for tags of these `names`.
    ///
    /// # Errors
    /// As [`iob2`](Self::iob2).
    pub fn of<S: AsRef<str>>(scheme: Scheme, names: &[S]) -> Result<Self> {
        let mut tags = Vec::with_capacity(names.len());
        for (i, name) in names.iter().map(AsRef::as_ref).enumerate() {
            let refuse = || Error::argument(format!("names[{i}]"), scheme.tags(), name);
            tags.push(scheme.parse(name).ok_or_else(refuse)?);
        }
        let outside = OUTSIDE;
        let start = tags.iter().map(|&tag| scheme.allows(outside, tag)).collect();
        let end = tags.iter().map(|&tag| scheme.allows(tag, outside)).collect();
        let pair = |(i, j): (usize, usize)| scheme.allows(tags[i], tags[j]);
        Self::new(start, end, Array2::from_shape_fn((tags.len(), tags.len()), pair))
    }

    /// Returns the number of tags.
    pub fn tags(&self) -> usize {
        self.start.len()
    }

    /// Returns whether `tag` may be the first of a sequence; false if there is no such tag.
    pub fn may_start(&self, tag: usize) -> bool {
        self.start.get(tag).copied().unwrap_or(false)
    }

    /// Returns whether `tag` may be the last of a sequence; false if there is no such tag.
    pub fn may_end(&self, tag: usize) -> bool {
        self.end.get(tag).copied().unwrap_or(false)
    }

    /// Returns whether `after` may be the tag after `before`; false if there is no such tag.
    pub fn may_follow(&self, before: usize, after: usize) -> bool {
        self.transitions.get([before, after]).copied().unwrap_or(false)
    }
}
