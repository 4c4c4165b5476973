//! Products that several threads share.
//!
//! Many rows are divided among the threads. A few rows, such as a single one, are too few to be divided,
//! so there each thread has some of the panels. It then reads its part of the weights alone, which stays
//! in its own cache from step to step. Each element of the result is the chain of multiply-adds that one
//! thread computes, with the same bits.

use std::cell::Cell;
use std::sync::{Arc, Weak};
use std::thread::LocalKey;

use fearless_simd::Level;

use crate::float::{Float, PerFloat, Table};
use crate::tensor::aligned::Aligned;
use crate::tensor::helper::{Helper, Work};
use crate::tensor::matmul::{Accumulate, Epilogue, ProductTiles, Term, run};
use crate::tensor::pack::Values;
use crate::tensor::panels::Layout;
use crate::tensor::rows::{Rows, RowsMut};
use crate::tensor::threads::{self, COPY_WORK};

/// The number of weights whose products with a single row take as long as a meeting with a helper. The meetings
/// of a product follow each other, so w times as many are divided best among √w threads.
const MEETING: usize = 1 << 14;
/// The number of further rows that take as long as reading the weights.
const ROWS: usize = 3;
/// The smallest number of rows of a thread if the rows are divided.
const MIN_ROWS: usize = 12;
/// The smallest number of multiply-adds of a thread if the rows are divided: the thread that divides them waits
/// for the others to wake.
const MIN_WORK: usize = 1 << 22;
/// The number of rows whose epilogue is computed at once.
const EPILOGUE_ROWS: usize = 4;

/// Computes a product on at most `threads` threads.
pub(super) fn multiply<T: Float>(
    level: Level,
    sum: &ProductTiles<'_, T>,
    out: RowsMut<'_, T>,
    epilogue: Option<&mut Epilogue<'_, T>>,
    threads: usize,
) {
    let (rows, whole) = (out.count(), sum.last.panels.layout);
    let (k, n) = (sum.terms().map(|term| term.panels.k()).sum::<usize>(), whole.n());
    let weights = k * n;
    let parts = threads.min((weights * (ROWS + rows) / (ROWS + 1) / MEETING).isqrt());
    let by_work = parts.min(weights * rows / MIN_WORK);
    if by_work > 1 && rows >= by_work * MIN_ROWS && epilogue.is_none() {
        return by_rows(level, sum, out, by_work);
    }
    match parts.min(whole.count).min(weights / (COPY_WORK * (k + n)).max(1)) {
        0 | 1 => run(level, sum, out, epilogue),
        parts => by_panels(level, sum, out, epilogue, (parts, weights * rows)),
    }
}

/// Divides the rows among `parts` threads of the pool.
fn by_rows<T: Float>(level: Level, sum: &ProductTiles<'_, T>, out: RowsMut<'_, T>, parts: usize) {
    dismiss_helpers::<T>();
    divide_rows(level, sum, out, parts);
    with_helpers::<T>(|helpers| helpers.iter_mut().for_each(Helper::finish));
}

fn divide_rows<T: Float>(
    level: Level,
    sum: &ProductTiles<'_, T>,
    out: RowsMut<'_, T>,
    parts: usize,
) {
    if parts == 1 {
        return run(level, sum, out, None);
    }
    let (count, middle) = (out.count(), out.count() * (parts / 2) / parts);
    let (head, tail) = out.split_at(middle);
    threads::join(
        || divide_rows(level, &sum.range(0..middle), head, parts / 2),
        || divide_rows(level, &sum.range(middle..count), tail, parts - parts / 2),
    );
}

/// Divides the panels of a product of `work` multiply-adds among `parts` threads: this one and its helpers.
fn by_panels<T: Float>(
    level: Level,
    sum: &ProductTiles<'_, T>,
    mut out: RowsMut<'_, T>,
    mut epilogue: Option<&mut Epilogue<'_, T>>,
    (parts, work): (usize, usize),
) {
    with_helpers::<T>(|helpers| {
        helpers.resize_with(helpers.len().max(parts - 1), Helper::new);
        // All are called, and those before the first that is not near take part.
        let parts =
            helpers.iter_mut().zip(1..parts).rev().fold(parts, |near, (helper, p)| {
                if helper.is_near(work / parts) { near } else { p }
            });
        let whole = sum.last.panels.layout;
        let panels = |p: usize| whole.count * p / parts..whole.count * (p + 1) / parts;
        for (helper, p) in helpers.iter().zip(1..parts) {
            helper.give(|part| part.set(level, &sum.part(panels(p)), out.as_rows()));
        }
        run(level, &sum.part(panels(0)), out.reborrow(), epilogue.as_deref_mut());
        for (helper, p) in helpers.iter_mut().zip(1..parts) {
            helper.take(work / parts, |part| part.write(&mut out));
            let Some(epilogue) = &mut epilogue else { continue };
            let (count, units) = (out.count(), whole.part(panels(p)).all_units());
            for start in (0..count).step_by(EPILOGUE_ROWS) {
                epilogue(start..count.min(start + EPILOGUE_ROWS), units.clone(), &mut out);
            }
        }
        helpers.iter_mut().for_each(Helper::finish);
    });
}

/// Frees the threads that help this one, for work that is divided by fork-join.
pub(super) fn dismiss_helpers<T: Float>() {
    with_helpers::<T>(|helpers| helpers.iter().for_each(Helper::dismiss));
}

/// Calls `f` with the helpers of this thread.
fn with_helpers<T: Float>(f: impl FnOnce(&mut Vec<Helper<Part<T>>>)) {
    let of_thread = T::pick(&HELPERS);
    // Taken out, so that a product within another has helpers of its own. A thread that ends has none.
    let mut helpers = of_thread.try_with(Cell::take).unwrap_or_default();
    f(&mut helpers);
    of_thread.try_with(|cell| cell.set(helpers)).ok();
}

struct HelpersOf;

impl PerFloat for HelpersOf {
    type Of<T: Float> = &'static LocalKey<Cell<Vec<Helper<Part<T>>>>>;
}

/// The helpers of each thread.
static HELPERS: Table<HelpersOf> = Table { f32: &F32, f64: &F64 };

thread_local! {
    static F32: Cell<Vec<Helper<Part<f32>>>> = const { Cell::new(Vec::new()) };
    static F64: Cell<Vec<Helper<Part<f64>>>> = const { Cell::new(Vec::new()) };
}

/// Some panels of a product, as the work of a helper.
#[derive(Debug, Default)]
struct Part<T: Float> {
    level: Option<Level>,
    first: Factors<T>,
    last: Factors<T>,
    /// The number of rows of a block.
    block: usize,
    start: Start,
    bias: Memory<T>,
    /// The whole rows of the result. The columns of these panels alone are used.
    out: Memory<T>,
}

/// The operands of one product of a part, or of none.
#[derive(Debug, Default)]
struct Factors<T: Float> {
    rows: Memory<T>,
    layout: Layout,
    /// Weak, so that the weights are freed as if no thread shared them.
    weights: Weak<Values<T>>,
}

/// The kind of [`Accumulate`].
#[derive(Debug, Default)]
enum Start {
    #[default]
    Zero,
    Output,
    Bias,
}

/// Values in memory that is kept for the next ones.
#[derive(Debug, Default)]
struct Memory<T: Float> {
    values: Aligned<T>,
    len: usize,
}

impl<T: Float> Memory<T> {
    /// Changes the number of values, which are then unspecified.
    fn resize(&mut self, len: usize) -> &mut [T] {
        if self.values.len() < len {
            self.values = Aligned::stale(len);
        }
        self.len = len;
        self.get_mut()
    }

    fn get(&self) -> &[T] {
        &self.values[..self.len]
    }

    fn get_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.len]
    }
}

impl<T: Float> Factors<T> {
    fn set(&mut self, term: Option<&Term<'_, T>>) {
        let Some(Term { rows, panels }) = term else {
            return self.weights = Weak::new();
        };
        let to = self.rows.resize(rows.count() * rows.width());
        to.chunks_exact_mut(rows.width())
            .zip(rows.iter())
            .for_each(|(to, row)| to.copy_from_slice(row));
        self.layout = panels.layout;
        if self.weights.as_ptr() != Arc::as_ptr(panels.source) {
            self.weights = Arc::downgrade(panels.source);
        }
    }

    fn term<'a>(&'a self, weights: &'a Arc<Values<T>>) -> Term<'a, T> {
        let rows = Rows::new(self.rows.get(), self.layout.k);
        Term { rows, panels: weights.panels(self.layout) }
    }
}

impl<T: Float> Part<T> {
    /// Sets the product. `before` has the values of the whole result.
    fn set(&mut self, level: Level, sum: &ProductTiles<'_, T>, before: Rows<'_, T>) {
        let layout = &sum.last.panels.layout;
        (self.level, self.block) = (Some(level), sum.block);
        self.first.set(sum.first.as_ref());
        self.last.set(Some(&sum.last));
        let out = self.out.resize(before.count() * layout.n());
        self.start = match sum.start {
            Accumulate::Zero => Start::Zero,
            Accumulate::Output => {
                let rows = out.chunks_exact_mut(layout.n()).zip(before.iter());
                rows.for_each(|(to, from)| layout.copy(from, to));
                Start::Output
            }
            Accumulate::Bias(bias) => {
                layout.copy(bias, self.bias.resize(layout.n()));
                Start::Bias
            }
        };
    }

    /// Writes the result to its columns of `out`.
    fn write(&self, out: &mut RowsMut<'_, T>) {
        let layout = &self.last.layout;
        let rows = self.out.get().chunks_exact(layout.n()).enumerate();
        rows.for_each(|(r, from)| layout.copy(from, out.row_mut(r)));
    }
}

impl<T: Float> Work for Part<T> {
    #[expect(
        clippy::expect_used,
        reason = "the caller borrows the weights until it takes the work"
    )]
    fn run(&mut self) {
        let Self { level, first, last, block, start, bias, out } = self;
        let [before, weights] = [&*first, &*last].map(|factors| factors.weights.upgrade());
        let (level, weights) = level.zip(weights).expect("a product that was set");
        let start = match start {
            Start::Zero => Accumulate::Zero,
            Start::Output => Accumulate::Output,
            Start::Bias => Accumulate::Bias(bias.get()),
        };
        let first = before.as_ref().map(|weights| first.term(weights));
        let sum = ProductTiles { block: *block, start, first, last: last.term(&weights) };
        run(level, &sum, RowsMut::new(out.get_mut(), last.layout.n()), None);
    }
}
