//! The lattice of all alignments of labels with the steps of a sequence: forward and backward variables
//! of connectionist temporal classification (Graves et al., 2006).
//!
//! A lattice has the cells b_0, l_0, b_1, l_1, …, b_L at each step: blanks b around the labels l. With the
//! probabilities y of the classes, z_j of label j, and s_j = 1 where label j differs from label j − 1:
//!
//! ```text
//! α_t(b_j) = (α_{t−1}(b_j) + α_{t−1}(l_{j−1}))·y_t(blank)
//! α_t(l_j) = (α_{t−1}(l_j) + α_{t−1}(b_j) + s_j·α_{t−1}(l_{j−1}))·y_t(z_j)
//! β_t(b_j) = γ_{t+1}(b_j) + γ_{t+1}(l_j)                             γ_t = β_t·y_t
//! β_t(l_j) = γ_{t+1}(l_j) + γ_{t+1}(b_{j+1}) + s_{j+1}·γ_{t+1}(l_{j+1})
//! P = α_T(b_L) + α_T(l_{L−1})                 ∂(−ln P)/∂x_t(k) = y_t(k) − Σ_{cells of k} α_t·β_t / P
//! ```
//!
//! Every variable is a number of its own exponent ([`Extended`]). So no product
//! underflows, and no cell takes a logarithm. The weights e^(x − max x) stand for the probabilities
//! y in the recursions; their sums over the classes divide P at the end.

use std::ops::Range;

use fearless_simd::{Select, Simd, SimdBase};
use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis};

use crate::compiled;
use crate::float::{Float, per_float};
use crate::tensor::activation::exp_split;
use crate::tensor::extended::{self, Extended, NORMALIZED_STEPS, ZERO, load, store};
use crate::tensor::lanes::{Vector, lanes};
use crate::tensor::{Aligned, Level, threads};

/// The values of the widest vector. Rows of the lattice have a multiple of it, and as many zeros beyond.
const LANES: usize = 8;
/// The cost of a cell of the lattice, and of a logit, in multiply-adds.
const CELL_WORK: usize = 100;
/// The difference from the largest logit below which a probability is zero. The exponents of the products
/// of thousands of others are exact.
const LEAST_LOGIT: f64 = -1e12;

/// A sequence's −ln P, ∞ if no alignment has a probability above zero; or the step and class of the
/// first logit that is NaN or ∞, or of a step at which all are −∞.
pub(crate) type Outcome = Result<f64, (usize, usize)>;

/// The sequences of a batch and their labels.
#[derive(Clone, Copy)]
pub(crate) struct Alignments<'a, T> {
    /// [time, batch, classes], each row contiguous.
    pub(crate) logits: ArrayView3<'a, T>,
    pub(crate) lengths: &'a [usize],
    pub(crate) labels: &'a [Vec<usize>],
    pub(crate) blank: usize,
    /// The factor of each sequence's gradient. Sequences of factor zero are left out.
    pub(crate) factors: &'a [f64],
}

per_float! {
    /// Sets `outcomes`, and writes the gradient of each sequence's −ln P, times its factor, to `gradient`
    /// [time, batch, classes]. It is unspecified where the outcome is not finite. Threads split the sequences.
    pub(crate) fn align_all<'a, T>(
        all: Alignments<'a, T>,
        outcomes: &mut [Outcome],
        gradient: Option<ArrayViewMut3<'_, T>>,
    ) = align_batch;
}

fn align_batch<T: Float>(
    all: Alignments<'_, T>,
    outcomes: &mut [Outcome],
    gradient: Option<ArrayViewMut3<'_, T>>,
) {
    let classes = all.logits.dim().2;
    let passes = 1 + usize::from(gradient.is_some());
    let work = |b: usize| passes * all.lengths[b] * (2 * all.labels[b].len() + 1 + classes);
    let work: Vec<usize> = (0..outcomes.len()).map(work).collect();
    let parts = threads::parts(work.len(), 1, work.iter().sum::<usize>().saturating_mul(CELL_WORK));
    align_part(&all, &work, 0, outcomes, gradient, parts);
}

/// Handles the sequences from `first` on, as many as `outcomes` has, in `parts` parts of equal work.
fn align_part<T: Float>(
    all: &Alignments<'_, T>,
    work: &[usize],
    first: usize,
    outcomes: &mut [Outcome],
    gradient: Option<ArrayViewMut3<'_, T>>,
    parts: usize,
) {
    let count = outcomes.len();
    if parts <= 1 || count <= 1 {
        return align_here(all, first, outcomes, gradient);
    }
    let total: usize = work.iter().sum();
    let mut rest = total / parts * (parts / 2);
    let fits = |work: &&usize| {
        rest = rest.saturating_sub(**work);
        rest > 0
    };
    let middle = (work.iter().take_while(fits).count() + 1).min(count - 1);
    let (left, right) = outcomes.split_at_mut(middle);
    let (d_left, d_right) = match gradient {
        Some(gradient) => {
            let (left, right) = gradient.split_at(Axis(1), middle);
            (Some(left), Some(right))
        }
        None => (None, None),
    };
    threads::join(
        || align_part(all, &work[..middle], first, left, d_left, parts / 2),
        || align_part(all, &work[middle..], first + middle, right, d_right, parts - parts / 2),
    );
}

fn align_here<T: Float>(
    all: &Alignments<'_, T>,
    first: usize,
    outcomes: &mut [Outcome],
    mut gradient: Option<ArrayViewMut3<'_, T>>,
) {
    let (level, classes) = (Level::new(), all.logits.dim().2);
    let mut memory = Aligned::stale(0);
    for (i, outcome) in outcomes.iter_mut().enumerate() {
        let b = first + i;
        let (length, labels, factor) = (all.lengths[b], &all.labels[b][..], all.factors[b]);
        if factor == 0.0 {
            continue;
        }
        let room = Lattice::room(length, classes, labels.len(), gradient.is_some());
        if memory.len() < room {
            memory = Aligned::stale(room);
        }
        let logits = all.logits.index_axis_move(Axis(1), b);
        let logits = logits.split_at(Axis(0), length).0;
        let gradient = gradient.as_mut().map(|gradient| {
            let d = gradient.view_mut().index_axis_move(Axis(1), i);
            (d.split_at(Axis(0), length).0, factor)
        });
        *outcome = align(level, logits, (labels, all.blank), gradient, &mut memory[..room]);
    }
}

compiled! {
    fn align<'a, T>(
        logits: ArrayView2<'a, T>,
        target: (&'a [usize], usize),
        gradient: Option<(ArrayViewMut2<'a, T>, f64)>,
        memory: &'a mut [f64],
    ) -> Outcome = align_on;
}

#[inline(always)]
fn align_on<S: Simd, T: Float>(
    simd: S,
    logits: ArrayView2<'_, T>,
    (labels, blank): (&[usize], usize),
    gradient: Option<(ArrayViewMut2<'_, T>, f64)>,
    memory: &mut [f64],
) -> Outcome {
    let (length, classes) = logits.dim();
    let mut lattice = Lattice::new(memory, (length, classes), (labels, blank), gradient.is_some());
    match gradient {
        None => {
            let sums = lattice.forward(simd, logits, None)?;
            Ok(sums - extended::ln(lattice.probability(length)))
        }
        Some((mut d, factor)) => {
            let sums = lattice.forward(simd, logits, Some((&mut d, factor)))?;
            let probability = lattice.probability(length);
            if probability.0 > 0.0 {
                lattice.backward(simd, probability, d, factor);
            }
            Ok(sums - extended::ln(probability))
        }
    }
}

/// Numbers m·2ᵉ in memory.
struct Numbers<'a> {
    m: &'a mut [f64],
    e: &'a mut [f64],
}

impl<'a> Numbers<'a> {
    /// Takes `count` numbers from the front of `memory`.
    fn take(memory: &mut &'a mut [f64], count: usize) -> Self {
        Self { m: take(memory, count), e: take(memory, count) }
    }

    fn fill_zero(&mut self, places: Range<usize>) {
        self.m[places.clone()].fill(0.0);
        self.e[places].fill(ZERO);
    }

    fn get(&self, at: usize) -> (f64, f64) {
        (self.m[at], self.e[at])
    }

    fn set(&mut self, at: usize, (m, e): (f64, f64)) {
        (self.m[at], self.e[at]) = (m, e);
    }

    #[inline(always)]
    fn load<S: Simd>(&self, simd: S, at: usize) -> Extended<S> {
        Extended::load(simd, self.m, self.e, at)
    }

    #[inline(always)]
    fn store<S: Simd>(&mut self, at: usize, numbers: Extended<S>) {
        numbers.store(self.m, self.e, at);
    }
}

/// Takes `count` values from the front of `memory`.
fn take<'a>(memory: &mut &'a mut [f64], count: usize) -> &'a mut [f64] {
    let (front, rest) = std::mem::take(memory).split_at_mut(count);
    *memory = rest;
    front
}

/// The variables of one sequence. Each row has `width` blanks and `width` labels, of which the last are zero.
struct Lattice<'a> {
    labels: &'a [usize],
    blank: usize,
    /// The number of labels plus one, rounded up to whole vectors.
    width: usize,
    /// Whether all steps are kept, for the backward pass.
    keep: bool,
    /// α of the blanks and of the labels before the first step and after each step, after `LANES` zeros.
    alpha: [Numbers<'a>; 2],
    /// The weights of the blank and of the labels at each step.
    y_blank: Numbers<'a>,
    y_labels: Numbers<'a>,
    /// The sum of the weights of all classes at each step.
    sums: &'a mut [f64],
    /// γ of the blanks and of the labels of one step, before `LANES` zeros.
    gamma: [Numbers<'a>; 2],
    /// s of each label, before `LANES` zeros.
    skips: &'a mut [f64],
    /// The occupancy α·β / P and the weight of each label at one step.
    occupancy: &'a mut [f64],
    shares: &'a mut [f64],
    /// The weights of all classes at one step, and their values.
    row: Numbers<'a>,
    values: &'a mut [f64],
}

/// The sizes of a lattice: the width of its rows, the classes rounded up to whole vectors, and the numbers
/// of rows of α and of y.
fn sizes(length: usize, classes: usize, labels: usize, keep: bool) -> [usize; 4] {
    let (rows, steps) = if keep { (length + 1, length.max(1)) } else { (2, 1) };
    [(labels + 1).next_multiple_of(LANES), classes.next_multiple_of(LANES), rows, steps]
}

impl<'a> Lattice<'a> {
    /// Returns the number of values that a lattice needs.
    fn room(length: usize, classes: usize, labels: usize, keep: bool) -> usize {
        let [width, whole, rows, steps] = sizes(length, classes, labels, keep);
        let padded = width + LANES;
        4 * rows * padded + steps * (3 + 2 * width) + 5 * padded + 2 * width + 3 * whole
    }

    fn new(
        mut memory: &'a mut [f64],
        (length, classes): (usize, usize),
        (labels, blank): (&'a [usize], usize),
        keep: bool,
    ) -> Self {
        let [width, whole, rows, steps] = sizes(length, classes, labels.len(), keep);
        let (memory, padded) = (&mut memory, width + LANES);
        let mut lattice = Self {
            labels,
            blank,
            width,
            keep,
            alpha: [(); 2].map(|()| Numbers::take(memory, rows * padded)),
            y_blank: Numbers::take(memory, steps),
            y_labels: Numbers::take(memory, steps * width),
            sums: take(memory, steps),
            gamma: [(); 2].map(|()| Numbers::take(memory, padded)),
            skips: take(memory, padded),
            occupancy: take(memory, width),
            shares: take(memory, width),
            row: Numbers::take(memory, whole),
            values: take(memory, whole),
        };
        lattice.skips.fill(0.0);
        for j in 1..labels.len() {
            lattice.skips[j] = f64::from(labels[j] != labels[j - 1]);
        }
        for alpha in &mut lattice.alpha {
            alpha.fill_zero(0..padded);
            for row in 1..rows {
                alpha.set(row * padded + LANES - 1, (0.0, ZERO));
            }
        }
        lattice.alpha[0].set(LANES, (1.0, 0.0));
        lattice
    }

    /// Returns the index of b_0 in the row of α before step `t`, and that of l_0.
    #[inline(always)]
    fn before(&self, t: usize) -> usize {
        (if self.keep { t } else { t % 2 }) * (self.width + LANES) + LANES
    }

    /// Returns the row of step `t` in y.
    #[inline(always)]
    fn step(&self, t: usize) -> usize {
        if self.keep { t } else { 0 }
    }

    /// Computes α of all steps, and returns Σ ln Σ_k y(k) over the steps. Writes the probabilities times
    /// `factor` to `gradient`.
    #[inline(always)]
    #[expect(clippy::expect_used, reason = "the rows of logits are contiguous")]
    fn forward<S: Simd, T: Float>(
        &mut self,
        simd: S,
        logits: ArrayView2<'_, T>,
        mut gradient: Option<(&mut ArrayViewMut2<'_, T>, f64)>,
    ) -> Outcome {
        let mut log_sums = 0.0;
        for t in 0..logits.nrows() {
            let x = logits.row(t);
            let x = x.to_slice().expect("a row of logits is contiguous");
            let sum = self.weigh(simd, x).map_err(|class| (t, class))?;
            log_sums += sum.ln();
            let step = self.step(t);
            self.sums[step] = sum;
            self.pick(step);
            self.advance(simd, t);
            if let Some((d, factor)) = &mut gradient {
                let mut d = d.row_mut(t);
                let d = d.as_slice_mut().expect("a row of the gradient is contiguous");
                let scale = *factor / sum;
                for (d, value) in d.iter_mut().zip(&*self.values) {
                    *d = T::from_f64(value * scale);
                }
            }
        }
        Ok(log_sums)
    }

    /// Sets the weights e^(x − max x) of all classes, and returns their sum; or the class of the first
    /// logit that is NaN or ∞, 0 if all are −∞.
    #[inline(always)]
    fn weigh<S: Simd, T: Float>(&mut self, simd: S, x: &[T]) -> Result<f64, usize> {
        let Self { row, values, .. } = self;
        let splat = |value| Vector::<S, f64>::splat(simd, value);
        for (to, x) in values.iter_mut().zip(x) {
            *to = x.as_f64();
        }
        values[x.len()..].fill(f64::NEG_INFINITY);
        let (mut largest, mut refused) = (splat(f64::NEG_INFINITY), splat(0.0));
        for l in lanes(simd, values.len()) {
            let x = l.load(values);
            largest = largest.max(x);
            refused = x.simd_lt(splat(f64::INFINITY)).select(refused, splat(1.0));
        }
        let largest = largest.reduce_max();
        if refused.reduce_max() > 0.0 || largest == f64::NEG_INFINITY {
            let refused = |x: &f64| x.is_nan() || *x == f64::INFINITY;
            return Err(values.iter().position(refused).unwrap_or(0));
        }
        let mut sum = splat(0.0);
        for l in lanes(simd, values.len()) {
            let x = l.load(values) - splat(largest);
            let some = x.simd_gt(splat(LEAST_LOGIT));
            let (m, e) = exp_split::<S, Vector<S, f64>>(x.max(splat(LEAST_LOGIT)));
            let y = Extended::<S> { m: some.select(m, splat(0.0)), e: some.select(e, splat(ZERO)) };
            let value = y.value();
            l.store(row.m, y.m);
            l.store(row.e, y.e);
            l.store(values, value);
            sum += value;
        }
        Ok(sum.reduce_sum())
    }

    /// Copies the weights of the blank and the labels to row `step` of y.
    fn pick(&mut self, step: usize) {
        self.y_blank.set(step, self.row.get(self.blank));
        let places = step * self.width..(step + 1) * self.width;
        let (m, e) = (&mut self.y_labels.m[places.clone()], &mut self.y_labels.e[places]);
        for ((m, e), &label) in m.iter_mut().zip(&mut *e).zip(self.labels) {
            (*m, *e) = self.row.get(label);
        }
        m[self.labels.len()..].fill(0.0);
        e[self.labels.len()..].fill(ZERO);
    }

    /// Computes α after step `t` from α before it.
    #[inline(always)]
    fn advance<S: Simd>(&mut self, simd: S, t: usize) {
        let (from, to, step) = (self.before(t), self.before(t + 1), self.step(t));
        let y_blank = Extended::splat(simd, self.y_blank.get(step));
        let normalize = t % NORMALIZED_STEPS == NORMALIZED_STEPS - 1;
        let [blanks, labels] = &mut self.alpha;
        for j in (0..self.width).step_by(Vector::<S, f64>::LEN) {
            let (b, l) = (blanks.load(simd, from + j), labels.load(simd, from + j));
            let before = labels.load(simd, from + j - 1);
            let skips = load(simd, self.skips, j);
            let y = self.y_labels.load(simd, step * self.width + j);
            let mut next_l = l.add(b).add(before.masked(skips)).mul(y);
            let mut next_b = b.add(before).mul(y_blank);
            if normalize {
                (next_b, next_l) = (next_b.normalized(), next_l.normalized());
            }
            blanks.store(to + j, next_b);
            labels.store(to + j, next_l);
        }
    }

    /// Returns Σ α over the last blank and the last label after step `length` − 1.
    fn probability(&self, length: usize) -> (f64, f64) {
        let (last, count) = (self.before(length), self.labels.len());
        let [blanks, labels] = &self.alpha;
        // Without labels, the place of the last one is a zero.
        extended::sum(blanks.get(last + count), labels.get(last + count - 1))
    }

    /// Subtracts the occupancies of the blank and the labels from the probabilities in `gradient`.
    #[inline(always)]
    fn backward<S: Simd, T: Float>(
        &mut self,
        simd: S,
        probability: (f64, f64),
        mut gradient: ArrayViewMut2<'_, T>,
        factor: f64,
    ) {
        for gamma in &mut self.gamma {
            gamma.fill_zero(0..self.width + LANES);
        }
        self.gamma[0].set(self.labels.len(), (1.0, 0.0));
        for t in (0..gradient.nrows()).rev() {
            let (share, occupancy) = self.retreat(simd, t, probability);
            let mut d = gradient.row_mut(t);
            let scale = self.sums[t].recip();
            d[self.blank] = T::from_f64(factor * (share * scale - occupancy));
            let labels = || self.labels.iter().enumerate();
            labels().for_each(|(_, &class)| self.values[class] = 0.0);
            labels().for_each(|(j, &class)| self.values[class] += self.occupancy[j]);
            for (j, &class) in labels() {
                let excess = self.shares[j] * scale - self.values[class];
                d[class] = T::from_f64(factor * excess);
            }
        }
    }

    /// Computes γ, the occupancies and the values of y of step `t` from γ of the next one. Returns those
    /// of the blank: y and the occupancy.
    #[inline(always)]
    fn retreat<S: Simd>(&mut self, simd: S, t: usize, probability: (f64, f64)) -> (f64, f64) {
        let place = self.before(t + 1);
        let y_blank = Extended::splat(simd, self.y_blank.get(t));
        let inverse = Extended::splat(simd, (probability.0.recip(), -probability.1));
        let normalize = t % NORMALIZED_STEPS == NORMALIZED_STEPS - 1;
        let [blanks, labels] = &mut self.gamma;
        let mut of_blank = Vector::<S, f64>::splat(simd, 0.0);
        for j in (0..self.width).step_by(Vector::<S, f64>::LEN) {
            let (b, l) = (blanks.load(simd, j), labels.load(simd, j));
            let (after_b, after_l) = (blanks.load(simd, j + 1), labels.load(simd, j + 1));
            let skips = load(simd, self.skips, j + 1);
            let y = self.y_labels.load(simd, t * self.width + j);
            let mut beta_l = l.add(after_b).add(after_l.masked(skips));
            let mut beta_b = b.add(l);
            if normalize {
                (beta_b, beta_l) = (beta_b.normalized(), beta_l.normalized());
            }
            let [alpha_b, alpha_l] = &self.alpha;
            of_blank += alpha_b.load(simd, place + j).mul(beta_b).mul(inverse).value();
            let of_label = alpha_l.load(simd, place + j).mul(beta_l).mul(inverse).value();
            store::<S>(of_label, self.occupancy, j);
            store::<S>(y.value(), self.shares, j);
            blanks.store(j, beta_b.mul(y_blank));
            labels.store(j, beta_l.mul(y));
        }
        (y_blank.value()[0], of_blank.reduce_sum())
    }
}
