//! Products that several threads share.
//!
//! Many rows are divided among the threads. A few rows, such as a single one, are too few to be divided,
//! so there each thread has some of the panels. It then reads its part of the weights alone, which stays
//! in its own cache from step to step. Each element of the result is the chain of multiply-adds that one
//! thread computes, with the same bits.

use std::ops::Range;

use fearless_simd::Level;

use crate::float::Float;
use crate::tensor::aligned::Aligned;
use crate::tensor::matmul::{Accumulate, Epilogue, ProductTiles, Term, run};
use crate::tensor::rows::{Rows, RowsMut};
use crate::tensor::threads;

/// The smallest number of weights of a thread's part, for a single row. Reading them takes several times as
/// long as the meeting of the threads.
const MIN_WEIGHTS: usize = 1 << 16;
/// The number of further rows that take as long as reading the weights.
const ROWS: usize = 3;
/// The smallest number of rows of a thread if the rows are divided.
const MIN_ROWS: usize = 12;
/// The number of rows whose epilogue is computed at once.
const EPILOGUE_ROWS: usize = 4;

/// Computes a product on at most `threads` threads.
pub(super) fn multiply<T: Float>(
    level: Level,
    sum: &ProductTiles<'_, T>,
    mut out: RowsMut<'_, T>,
    epilogue: Option<&mut Epilogue<'_, T>>,
    threads: usize,
) {
    let (rows, whole) = (out.count(), sum.last.panels);
    let weights = whole.n() * sum.terms().map(|term| term.panels.k()).sum::<usize>();
    let parts = threads.min(weights * (ROWS + rows) / (ROWS + 1) / MIN_WEIGHTS);
    if parts <= 1 {
        return run(level, sum, out, epilogue);
    }
    if rows >= parts * MIN_ROWS && epilogue.is_none() {
        return by_rows(level, sum, out, parts);
    }
    by_panels(level, sum, &mut out, parts.min(whole.count()));
    let Some(epilogue) = epilogue else { return };
    for start in (0..rows).step_by(EPILOGUE_ROWS) {
        epilogue(start..rows.min(start + EPILOGUE_ROWS), 0..whole.units(), &mut out);
    }
}

/// Divides the rows among `parts` threads.
fn by_rows<T: Float>(level: Level, sum: &ProductTiles<'_, T>, out: RowsMut<'_, T>, parts: usize) {
    if parts == 1 {
        return run(level, sum, out, None);
    }
    let (count, middle) = (out.count(), out.count() * (parts / 2) / parts);
    let (head, tail) = out.split_at(middle);
    threads::join(
        || by_rows(level, &sum.range(0..middle), head, parts / 2),
        || by_rows(level, &sum.range(middle..count), tail, parts - parts / 2),
    );
}

/// Some panels of a product, and their columns of the result.
struct Part<T: Float> {
    panels: Range<usize>,
    columns: Aligned<T>,
}

/// Divides the panels among `parts` threads.
fn by_panels<T: Float>(
    level: Level,
    sum: &ProductTiles<'_, T>,
    out: &mut RowsMut<'_, T>,
    parts: usize,
) {
    let whole = sum.last.panels;
    let part = |p: usize| {
        let panels = whole.count() * p / parts..whole.count() * (p + 1) / parts;
        let width = whole.range(panels.clone()).0.n();
        Part { panels, columns: Aligned::stale(out.count() * width) }
    };
    let mut all: Vec<_> = (0..parts).map(part).collect();
    let before = out.as_rows();
    threads::for_chunks(&mut all, 1, parts, &|_, parts| {
        parts.iter_mut().for_each(|part| part.multiply(level, sum, before));
    });
    for Part { panels, columns } in &all {
        let (panels, units) = whole.range(panels.clone());
        let columns = Rows::new(columns, panels.n());
        for r in 0..out.count() {
            let gates = columns.row(r).chunks_exact(units.len());
            for (to, from) in out.row_mut(r).chunks_exact_mut(whole.units()).zip(gates) {
                to[units.clone()].copy_from_slice(from);
            }
        }
    }
}

impl<T: Float> Part<T> {
    /// Computes the columns. `before` has the values of the whole result.
    fn multiply<'a>(&mut self, level: Level, sum: &ProductTiles<'a, T>, before: Rows<'_, T>) {
        let whole = &sum.last.panels;
        let (panels, units) = whole.range(self.panels.clone());
        let gather = |row: &[T], to: &mut [T]| {
            let gates = row.chunks_exact(whole.units());
            for (from, to) in gates.zip(to.chunks_exact_mut(units.len())) {
                to.copy_from_slice(&from[units.clone()]);
            }
        };
        let mut columns = RowsMut::new(&mut self.columns, panels.n());
        let mut bias = Aligned::stale(panels.n());
        let start = match sum.start {
            Accumulate::Zero => Accumulate::Zero,
            Accumulate::Output => {
                (0..columns.count()).for_each(|r| gather(before.row(r), columns.row_mut(r)));
                Accumulate::Output
            }
            Accumulate::Bias(values) => {
                gather(values, &mut bias);
                Accumulate::Bias(&bias)
            }
        };
        let part =
            |term: Term<'a, T>| Term { panels: term.panels.range(self.panels.clone()).0, ..term };
        let sum = ProductTiles {
            start,
            first: sum.first.map(part),
            last: part(sum.last),
            block: sum.block,
        };
        run(level, &sum, columns, None);
    }
}
