//! The gradients of a layer's weights: one sum each over all steps of a part.

use std::ops::Range;

use crate::cell::Steps;
use crate::cell::any::AnyGradient;
use crate::cell::step::Window;
use crate::float::Float;
use crate::sequence::direction::{Direction, LayerInput};
use crate::sequence::io::{step_rows, step_tokens};
use crate::sequence::lengths::Block;
use crate::sequence::tape::BlockTape;
use crate::sequences::Input;
use crate::tensor::{RowRefs, Rows};

impl<T: Float> Direction<'_, '_, T> {
    /// Adds the gradients of the cell's parameters over a span of steps of all blocks of `tapes`. The rows
    /// are added from the step walked last to the first. This order does not depend on the division of the
    /// batch into blocks, nor on that of the steps into spans.
    pub(crate) fn accumulate(
        &self,
        x: LayerInput<'_, T>,
        span: &Range<usize>,
        tapes: &[BlockTape<T>],
        grad: &mut dyn AnyGradient<T>,
    ) {
        let rows = |block: &Block| block.offset(span.end) - block.offset(span.start);
        let count = tapes.iter().map(|tape| rows(&tape.block)).sum();
        let steps = self.steps(span.clone()).rev().collect();
        let window = &SpanRows { direction: self, x, tapes, steps, count };
        self.cell.accumulate(&Steps { level: self.level, window }, grad);
    }
}

/// The rows of a span, gathered on demand.
struct SpanRows<'a, 'd, 'm, T: Float> {
    direction: &'a Direction<'d, 'm, T>,
    x: LayerInput<'a, T>,
    tapes: &'a [BlockTape<T>],
    /// The steps, from the one walked last to the first.
    steps: Vec<usize>,
    /// The number of rows of all steps and blocks.
    count: usize,
}

impl<'a, T: Float> SpanRows<'a, '_, '_, T> {
    fn gather(
        &self,
        width: usize,
        rows_of: impl Fn(&'a BlockTape<T>, usize) -> Rows<'a, T>,
    ) -> RowRefs<'a, T> {
        let mut rows = Vec::with_capacity(self.count);
        for &t in &self.steps {
            for tape in self.tapes {
                rows.extend(rows_of(tape, t).iter());
            }
        }
        RowRefs::new(rows, width)
    }
}

impl<T: Float> Window<T> for SpanRows<'_, '_, '_, T> {
    fn x(&self) -> Input<RowRefs<'_, T>, Vec<usize>> {
        match self.x {
            Input::Dense(x) => {
                let width = self.direction.sizes.input;
                Input::Dense(self.gather(width, |tape, t| step_rows(x.view(), t, &tape.block)))
            }
            Input::Tokens(x) => {
                let mut tokens = Vec::with_capacity(self.count);
                for &t in &self.steps {
                    for tape in self.tapes {
                        tokens.extend(step_tokens(x, t, &tape.block));
                    }
                }
                Input::Tokens(tokens)
            }
        }
    }

    fn d_gates(&self) -> RowRefs<'_, T> {
        self.gather(self.direction.sizes.gates, BlockTape::gates)
    }

    fn saved(&self) -> RowRefs<'_, T> {
        self.gather(self.direction.sizes.saved, BlockTape::saved)
    }

    fn prev(&self, s: usize) -> RowRefs<'_, T> {
        self.gather(self.direction.sizes.states()[s], |tape, t| tape.prev(t, s))
    }

    fn next(&self, s: usize) -> RowRefs<'_, T> {
        self.gather(self.direction.sizes.states()[s], |tape, t| tape.next(t, s))
    }
}
