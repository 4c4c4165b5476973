//! Prefix beam search: the likeliest labels, each by the sum over its alignments.
//!
//! A prefix ℓ has the probabilities b and n of its alignments so far that end in the blank and in its last
//! label. A step with the probabilities y of the classes sets, for every label c:
//!
//! ```text
//! b(ℓ) = (b'(ℓ) + n'(ℓ))·y(blank)
//! n(ℓ) = n'(ℓ)·y(last of ℓ) + n of the extension of its parent
//! n(ℓ + c) = (b'(ℓ) if c is the last label of ℓ, else b'(ℓ) + n'(ℓ))·y(c)
//! ```
//!
//! The best prefixes by ln(b + n) plus the sum of their scores survive the step. Source: Hannun et al.,
//! *First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs*, 2014.
#![expect(clippy::indexing_slicing, reason = "nodes are never removed, and labels are classes")]

use std::cmp::Ordering;
use std::collections::HashMap;

use ndarray::ArrayView1;

use crate::decode::check_n_best;
use crate::decode::ctc::{log_add, log_softmax, row};
use crate::error::{Error, Result, check_count, check_shape};
use crate::float::Float;
use crate::loss::ctc::{check_blank, not_finite};
use crate::sequences::Sequences;

/// Scores of labels beside those of the logits, such as a lexicon or a language model.
///
/// A closure `|prefix, label|` is a scorer:
///
/// ```
/// use ndarray::Array3;
/// use recurrent::Sequences;
/// use recurrent::decode::ctc::PrefixBeam;
///
/// // Class 0 is the blank. Label 2 comes after label 1 alone.
/// let mut scorer = |prefix: &[usize], label: usize| match (prefix.last(), label) {
///     (Some(1), 2) => 0.5_f64.ln(), // the weighted logarithm of a probability
///     (_, 2) => f64::NEG_INFINITY,
///     _ => 0.5_f64.ln(),
/// };
/// let logits = Sequences::full(Array3::<f32>::zeros((4, 1, 3)))?;
/// let transcripts = PrefixBeam::new(0, 20)?.n_best(20)?.decode_with(&logits, &mut scorer)?;
/// assert!(transcripts[0].iter().all(|t| t.labels.first() != Some(&2)));
/// # Ok::<(), recurrent::Error>(())
/// ```
pub trait PrefixScorer {
    /// Returns what is added to the logarithm of the probability where `label` follows `prefix`: for
    /// example α·ln p + β, with a language model's p. −∞ forbids the label.
    ///
    /// It may be called again with the same arguments, and must return the same.
    fn extend(&mut self, prefix: &[usize], label: usize) -> f64;

    /// Returns what is added where a sequence ends after `labels`: for example −∞ in the middle of a word.
    /// The default is zero.
    fn finish(&mut self, labels: &[usize]) -> f64 {
        let _ = labels;
        0.0
    }
}

impl<F: FnMut(&[usize], usize) -> f64> PrefixScorer for F {
    fn extend(&mut self, prefix: &[usize], label: usize) -> f64 {
        self(prefix, label)
    }
}

/// Labels that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The labels.
    pub labels: Vec<usize>,
    /// ln P, over the alignments of the labels that the search kept.
    pub log_probability: f64,
    /// ln P plus the sum of the scorer's scores, by which transcripts are ranked.
    pub score: f64,
}

/// The options of a prefix beam search; see the [module](super).
///
/// With a `width` of at least the number of prefixes, each P is the sum over all alignments, and so e^−loss of
/// [`Ctc`](crate::loss::Ctc). Results are the same for any division into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixBeam {
    blank: usize,
    width: usize,
    n_best: usize,
}

impl PrefixBeam {
    /// Creates a search that keeps the `width` best prefixes at each step, and returns the best one.
    ///
    /// # Errors
    /// If `width` is zero.
    pub fn new(blank: usize, width: usize) -> Result<Self> {
        check_count("width", width)?;
        Ok(Self { blank, width, n_best: 1 })
    }

    /// Sets the number of transcripts of each sequence. There are fewer if there are fewer prefixes.
    ///
    /// # Errors
    /// Unless it is at least 1 and at most the width.
    pub fn n_best(mut self, n_best: usize) -> Result<Self> {
        check_n_best(n_best, self.width)?;
        self.n_best = n_best;
        Ok(self)
    }

    /// Returns the best transcripts of each sequence of `logits` [time, batch, classes], the best first.
    ///
    /// # Errors
    /// If the blank is no class, a logit is NaN or ∞, or all of a step are −∞.
    pub fn decode<T: Float>(&self, logits: &Sequences<T>) -> Result<Vec<Vec<Transcript>>> {
        self.run(logits, None)
    }

    /// Returns the same with the scores of `scorer`. A sequence for which it forbids all has no transcript.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); also if a score is NaN or ∞.
    pub fn decode_with<T: Float>(
        &self,
        logits: &Sequences<T>,
        scorer: &mut dyn PrefixScorer,
    ) -> Result<Vec<Vec<Transcript>>> {
        self.run(logits, Some(scorer))
    }

    fn run<T: Float>(
        &self,
        logits: &Sequences<T>,
        mut scorer: Option<&mut dyn PrefixScorer>,
    ) -> Result<Vec<Vec<Transcript>>> {
        check_blank(self.blank, logits.features())?;
        let mut all = Vec::with_capacity(logits.batch());
        for (b, &length) in logits.lengths().iter().enumerate() {
            let mut search = PrefixSearch::new(*self);
            for t in 0..length {
                let y = log_softmax(row(logits, t, b));
                let y = y.map_err(|k| not_finite(logits, (t, b, k)))?;
                search.advance(&y, &mut scorer)?;
            }
            all.push(search.ranked(&mut scorer)?);
        }
        Ok(all)
    }
}

/// The parent of the empty prefix, and its last label.
const NONE: usize = usize::MAX;

/// A prefix in the tree of all prefixes that ever survived a step.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: usize,
    label: usize,
    /// The sum of the scorer's scores.
    score: f64,
}

/// A prefix that survived the last step.
#[derive(Clone, Copy, Debug)]
struct Entry {
    node: usize,
    /// ln b and ln n.
    blank: f64,
    label: f64,
}

impl Entry {
    fn total(&self) -> f64 {
        log_add(self.blank, self.label)
    }
}

/// A prefix that may survive a step: one that did before, or the extension of one.
struct Candidate {
    rank: f64,
    from: Entry,
    /// The new label and the score of the extended prefix.
    extension: Option<(usize, f64)>,
}

/// A prefix beam search of one sequence that reads one step at a time.
///
/// ```
/// use ndarray::array;
/// use recurrent::decode::ctc::{PrefixBeam, PrefixSearch};
///
/// let mut search = PrefixSearch::new(PrefixBeam::new(0, 8)?);
/// search.step(array![0.0, 3.0, 0.0].view(), None)?;
/// search.step(array![0.0, 0.0, 4.0].view(), None)?;
/// assert_eq!(search.transcripts(None)?[0].labels, [1, 2]); // so far
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PrefixSearch {
    options: PrefixBeam,
    /// The number of logits of a step; none before the first.
    classes: Option<usize>,
    nodes: Vec<Node>,
    children: HashMap<(usize, usize), usize>,
    /// From the best to the worst.
    beam: Vec<Entry>,
}

impl PrefixSearch {
    /// Creates a search at the beginning of a sequence.
    pub fn new(options: PrefixBeam) -> Self {
        let root = Node { parent: NONE, label: NONE, score: 0.0 };
        let beam = vec![Entry { node: 0, blank: 0.0, label: f64::NEG_INFINITY }];
        Self { options, classes: None, nodes: vec![root], children: HashMap::new(), beam }
    }

    /// Reads the logits of the next step.
    ///
    /// # Errors
    /// If the blank is no class, there are other classes than before, a logit is NaN or ∞, all are −∞, or a
    /// score is NaN or ∞. The search is then as before.
    pub fn step<T: Float>(
        &mut self,
        logits: ArrayView1<'_, T>,
        mut scorer: Option<&mut dyn PrefixScorer>,
    ) -> Result<()> {
        check_blank(self.options.blank, logits.len())?;
        let classes = self.classes.unwrap_or(logits.len());
        check_shape("logits", "classes", &[classes], &[logits.len()])?;
        let y = log_softmax(logits).map_err(|index| {
            let value = logits[index].as_f64();
            Error::NonFinite { name: "logits".to_owned(), index, value }
        })?;
        self.advance(&y, &mut scorer)?;
        self.classes = Some(classes);
        Ok(())
    }

    /// Returns the best transcripts of the steps so far, the best first.
    ///
    /// # Errors
    /// If a score is NaN or ∞.
    pub fn transcripts(
        &self,
        mut scorer: Option<&mut dyn PrefixScorer>,
    ) -> Result<Vec<Transcript>> {
        self.ranked(&mut scorer)
    }

    /// Returns the labels of a prefix.
    fn labels(&self, node: usize) -> Vec<usize> {
        let step = |&node: &usize| Some(self.nodes[node].parent);
        let path = std::iter::successors(Some(node), step).take_while(|&node| node != 0);
        let mut labels: Vec<usize> = path.map(|node| self.nodes[node].label).collect();
        labels.reverse();
        labels
    }

    fn advance(&mut self, y: &[f64], scorer: &mut Option<&mut dyn PrefixScorer>) -> Result<()> {
        let mut candidates = self.kept(y);
        // The place in the beam of each child of an entry that has survived, by its last label.
        let place: HashMap<usize, usize> =
            self.beam.iter().enumerate().map(|(i, entry)| (entry.node, i)).collect();
        let mut children = vec![Vec::new(); self.beam.len()];
        for (i, entry) in self.beam.iter().enumerate() {
            let Node { parent, label, .. } = self.nodes[entry.node];
            if let Some(&parent) = place.get(&parent) {
                children[parent].push((label, i));
            }
        }
        for (entry, children) in self.beam.iter().zip(&children) {
            let Node { label: last, score, .. } = self.nodes[entry.node];
            let (total, prefix) =
                (entry.total(), scorer.is_some().then(|| self.labels(entry.node)));
            for (label, y) in y.iter().enumerate().filter(|(label, _)| *label != self.options.blank)
            {
                let log_p = y + if label == last { entry.blank } else { total };
                if log_p == f64::NEG_INFINITY {
                    continue;
                }
                if let Some(&(_, i)) = children.iter().find(|child| child.0 == label) {
                    let kept = &mut candidates[i].from;
                    kept.label = log_add(kept.label, log_p);
                    continue;
                }
                let added = match (&mut *scorer, &prefix) {
                    (Some(scorer), Some(prefix)) => checked(scorer.extend(prefix, label))?,
                    _ => 0.0,
                };
                let from = Entry { node: entry.node, blank: f64::NEG_INFINITY, label: log_p };
                let rank = log_p + score + added;
                if rank > f64::NEG_INFINITY {
                    candidates.push(Candidate {
                        rank,
                        from,
                        extension: Some((label, score + added)),
                    });
                }
            }
        }
        for Candidate { rank, from, .. } in &mut candidates[..self.beam.len()] {
            *rank = from.total() + self.nodes[from.node].score;
        }
        self.survive(candidates);
        Ok(())
    }

    /// Returns the prefixes of the beam after the step, without what their parents add.
    fn kept(&self, y: &[f64]) -> Vec<Candidate> {
        let keep = |entry: &Entry| {
            let last = self.nodes[entry.node].label;
            let blank = entry.total() + y[self.options.blank];
            let label = if last == NONE { f64::NEG_INFINITY } else { entry.label + y[last] };
            let from = Entry { node: entry.node, blank, label };
            Candidate { rank: f64::NEG_INFINITY, from, extension: None }
        };
        self.beam.iter().map(keep).collect()
    }

    /// Makes the best candidates the beam.
    fn survive(&mut self, mut candidates: Vec<Candidate>) {
        candidates.retain(|candidate| candidate.rank > f64::NEG_INFINITY);
        // A stable sort: of equal ranks, the prefix that was better before comes first.
        candidates.sort_by(|a, b| descending(a.rank, b.rank));
        candidates.truncate(self.options.width);
        self.beam.clear();
        for Candidate { mut from, extension, .. } in candidates {
            if let Some((label, score)) = extension {
                let next = self.nodes.len();
                let parent = from.node;
                from.node = *self.children.entry((parent, label)).or_insert(next);
                if from.node == next {
                    self.nodes.push(Node { parent, label, score });
                }
            }
            self.beam.push(from);
        }
    }

    fn ranked(&self, scorer: &mut Option<&mut dyn PrefixScorer>) -> Result<Vec<Transcript>> {
        let mut transcripts = Vec::with_capacity(self.beam.len());
        for entry in &self.beam {
            let (labels, log_probability) = (self.labels(entry.node), entry.total());
            let added = scorer.as_mut().map_or(0.0, |scorer| scorer.finish(&labels));
            let score = log_probability + self.nodes[entry.node].score + checked(added)?;
            transcripts.push(Transcript { labels, log_probability, score });
        }
        transcripts.retain(|transcript| transcript.score > f64::NEG_INFINITY);
        transcripts.sort_by(|a, b| descending(a.score, b.score));
        transcripts.truncate(self.options.n_best);
        Ok(transcripts)
    }
}

fn descending(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

/// Returns the scorer's score, or an error if it is NaN or ∞.
fn checked(score: f64) -> Result<f64> {
    if score < f64::INFINITY {
        return Ok(score);
    }
    Err(Error::argument("scorer", "scores below ∞", score))
}
