//! [`Alignment`]: the fewest edits that turn a reference into a hypothesis.
//!
//! ```text
//! D(i, j) = min(D(i−1, j) + 1, D(i, j−1) + 1, D(i−1, j−1) + [rᵢ ≠ hⱼ])     D(i, 0) = i,  D(0, j) = j
//! ```
//!
//! D(i, j) is the number of edits between the first i tokens of the reference and the first j of the
//! hypothesis. Several alignments may have the fewest edits. The one that jiwer and RapidFuzz choose is taken:
//! equal tokens at the start and at the end are aligned first, and the rest is walked from its end. A step is
//! a deletion if D(i, j) = D(i−1, j) + 1, else an insertion if D(i−1, j−1) = D(i, j−1) + 1, else a pair.
//!
//! Source: Wagner and Fischer, *The String-to-String Correction Problem*, 1974; `Levenshtein.opcodes` of
//! RapidFuzz.
#![expect(clippy::indexing_slicing, reason = "places lie within the table of the two texts")]

use std::ops::Range;

/// One step of an [`Alignment`], with the indices of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A token that both have.
    Equal {
        /// The index in the hypothesis.
        hypothesis: usize,
        /// The index in the reference.
        reference: usize,
    },
    /// A token of the hypothesis in place of another of the reference.
    Substitution {
        /// The index in the hypothesis.
        hypothesis: usize,
        /// The index in the reference.
        reference: usize,
    },
    /// A token of the reference that the hypothesis lacks.
    Deletion {
        /// The index in the reference.
        reference: usize,
    },
    /// A token of the hypothesis that the reference lacks.
    Insertion {
        /// The index in the hypothesis.
        hypothesis: usize,
    },
}

/// The fewest edits that turn a reference into a hypothesis, from start to end. The [module](self) states
/// which alignment is chosen among several.
///
/// ```
/// use recurrent::train::metrics::{Alignment, Edit};
///
/// let hypothesis = ["a", "x", "c", "d"];
/// let alignment = Alignment::new(&hypothesis, &["a", "b", "c"]);
/// assert_eq!(alignment.edits()[1], Edit::Substitution { hypothesis: 1, reference: 1 });
/// assert_eq!(alignment.edits()[3], Edit::Insertion { hypothesis: 3 });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alignment {
    edits: Vec<Edit>,
}

impl Alignment {
    /// Aligns tokens, for example the words or the characters of two texts. The time and the memory are
    /// proportional to the product of the lengths; [`ErrorRate::tokens`](super::ErrorRate::tokens) needs
    /// memory for the hypothesis only.
    pub fn new<S: PartialEq>(hypothesis: &[S], reference: &[S]) -> Self {
        let (start, h, r) = inner(hypothesis, reference);
        let columns = h.len();
        let mut steps = Vec::with_capacity(h.len() * r.len());
        count(&hypothesis[h.clone()], &reference[r.clone()], |step| steps.push(step));

        let equal = |hypothesis, reference| Edit::Equal { hypothesis, reference };
        let mut edits: Vec<Edit> = (0..start).map(|k| equal(k, k)).collect();
        let (mut i, mut j) = (r.len(), h.len());
        while i > 0 || j > 0 {
            let step = match (i, j) {
                (0, _) => Step::Insertion,
                (_, 0) => Step::Deletion,
                _ => steps[(i - 1) * columns + j - 1],
            };
            i -= usize::from(step != Step::Insertion);
            j -= usize::from(step != Step::Deletion);
            let (hypothesis, reference) = (start + j, start + i);
            edits.push(match step {
                Step::Equal => Edit::Equal { hypothesis, reference },
                Step::Substitution => Edit::Substitution { hypothesis, reference },
                Step::Deletion => Edit::Deletion { reference },
                Step::Insertion => Edit::Insertion { hypothesis },
            });
        }
        edits[start..].reverse();
        edits.extend((h.end..hypothesis.len()).zip(r.end..).map(|(j, i)| equal(j, i)));
        Self { edits }
    }

    /// Returns the edits in the order of the tokens.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }
}

/// An [`Edit`] without indices.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Step {
    Equal,
    Substitution,
    Deletion,
    Insertion,
}

/// The numbers of edits of an alignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Edits {
    pub(super) substitutions: usize,
    pub(super) deletions: usize,
    pub(super) insertions: usize,
}

impl Edits {
    pub(super) fn sum(self) -> usize {
        self.substitutions + self.deletions + self.insertions
    }
}

/// Returns the numbers of edits of the alignment of two sequences of tokens.
pub(super) fn edits<S: PartialEq>(hypothesis: &[S], reference: &[S]) -> Edits {
    let (_, h, r) = inner(hypothesis, reference);
    count(&hypothesis[h], &reference[r], |_| {})
}

/// Returns the number of equal tokens at the start, and the parts of hypothesis and reference between
/// these and the equal tokens at the end.
fn inner<S: PartialEq>(hypothesis: &[S], reference: &[S]) -> (usize, Range<usize>, Range<usize>) {
    let start = hypothesis.iter().zip(reference).take_while(|(h, r)| h == r).count();
    let rest = hypothesis[start..].iter().rev().zip(reference[start..].iter().rev());
    let end = rest.take_while(|(h, r)| h == r).count();
    (start, start..hypothesis.len() - end, start..reference.len() - end)
}

/// Returns the numbers of edits. Calls `visit` with the last step of the alignment of the first i and j
/// tokens, for each i and j from 1, row by row.
fn count<S: PartialEq>(hypothesis: &[S], reference: &[S], mut visit: impl FnMut(Step)) -> Edits {
    let insertions = |insertions| Edits { insertions, ..Edits::default() };
    let mut row: Vec<Edits> = (0..=hypothesis.len()).map(insertions).collect();
    for r in reference {
        let mut diagonal = row[0];
        row[0].deletions += 1;
        for (j, h) in hypothesis.iter().enumerate() {
            let (left, up) = (row[j], row[j + 1]);
            let (to, step) = next(left, up, diagonal, h == r);
            diagonal = up;
            row[j + 1] = to;
            visit(step);
        }
    }
    row[hypothesis.len()]
}

/// Returns the edits up to a pair of tokens and their last step, from the edits up to its neighbours.
fn next(left: Edits, up: Edits, diagonal: Edits, equal: bool) -> (Edits, Step) {
    let pair = diagonal.sum() + usize::from(!equal);
    if up.sum() < pair && up.sum() <= left.sum() {
        (Edits { deletions: up.deletions + 1, ..up }, Step::Deletion)
    } else if left.sum() < diagonal.sum() {
        (Edits { insertions: left.insertions + 1, ..left }, Step::Insertion)
    } else if equal {
        (diagonal, Step::Equal)
    } else {
        (Edits { substitutions: diagonal.substitutions + 1, ..diagonal }, Step::Substitution)
    }
}
