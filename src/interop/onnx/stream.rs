//! [`Stream`]: a graph that is run step by step.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::interop::onnx::graph::Graph;
use crate::interop::onnx::recurrent::Memory;
use crate::interop::onnx::value::Value;

/// A graph whose states pass from step to step; made by [`Graph::stream`].
///
/// A step may have any number of points in time: one, or a chunk of a longer sequence. The weights of
/// recurrent operators are packed by the first step of one point, and by the first chunk, and then kept. So a graph
/// without states that is run many times is faster as a stream too: `graph.stream(&[], &[])`.
#[derive(Debug)]
pub struct Stream<'g> {
    graph: &'g Graph,
    /// The pairs of an input and an output.
    pairs: Vec<(String, String)>,
    state: BTreeMap<String, Value>,
    memory: Memory<'g>,
}

impl<'g> Stream<'g> {
    pub(super) fn new(
        graph: &'g Graph,
        states: &[(&str, &str)],
        initial: &[(&str, Value)],
    ) -> Result<Self> {
        for &(input, output) in states {
            if !graph.inputs().any(|name| name == input) {
                return Err(Error::argument("states", "inputs of the graph", format!("{input:?}")));
            }
            if !graph.outputs().any(|name| name == output) {
                return Err(Error::argument(
                    "states",
                    "outputs of the graph",
                    format!("{output:?}"),
                ));
            }
        }
        let owned = |&(input, output): &(&str, &str)| (input.to_owned(), output.to_owned());
        let state = initial.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mut stream = Self {
            graph,
            pairs: states.iter().map(owned).collect(),
            state: BTreeMap::new(),
            memory: Memory::default(),
        };
        stream.restore(&state.collect())?;
        Ok(stream)
    }

    /// Computes one step, and returns the outputs that are not states.
    ///
    /// # Errors
    /// As [`Graph::run`]; the stream is then as before.
    pub fn step(&mut self, inputs: &[(&str, Value)]) -> Result<BTreeMap<String, Value>> {
        if let Some((name, _)) = inputs.iter().find(|(name, _)| self.state.contains_key(*name)) {
            return Err(Error::argument(
                "inputs",
                "values that are not states",
                format!("{name:?}"),
            ));
        }
        let state = self.state.iter().map(|(name, value)| (name.as_str(), value));
        let inputs = inputs.iter().map(|(name, value)| (*name, value));
        let values = self.graph.run_with(&mut inputs.chain(state), &mut self.memory)?;
        let mut outputs = BTreeMap::new();
        for (port, mut value) in self.graph.outputs.iter().zip(values) {
            let pairs = self.pairs.iter().filter(|(_, output)| *output == port.name);
            let mut inputs = pairs.map(|(input, _)| input).peekable();
            if inputs.peek().is_none() {
                outputs.extend(value.map(|value| (port.name.clone(), value)));
                continue;
            }
            while let Some(input) = inputs.next() {
                let next = if inputs.peek().is_some() { value.clone() } else { value.take() };
                if let (Some(state), Some(next)) = (self.state.get_mut(input), next) {
                    *state = next;
                }
            }
        }
        Ok(outputs)
    }

    /// Returns the states, by the names of their inputs.
    pub fn snapshot(&self) -> BTreeMap<String, Value> {
        self.state.clone()
    }

    /// Replaces the states by those of a [`snapshot`](Self::snapshot).
    ///
    /// # Errors
    /// If there is not one value for each state. The stream is then as before.
    pub fn restore(&mut self, state: &BTreeMap<String, Value>) -> Result<()> {
        let mut names: Vec<&str> = self.pairs.iter().map(|(input, _)| input.as_str()).collect();
        names.sort_unstable();
        if !names.iter().copied().eq(state.keys().map(String::as_str)) {
            let got: Vec<&String> = state.keys().collect();
            let expected = format!("values of {names:?}");
            return Err(Error::argument("state", expected, format!("{got:?}")));
        }
        self.state.clone_from(state);
        Ok(())
    }

    /// Returns an independent stream that continues from here.
    pub fn fork(&self) -> Self {
        let Self { graph, pairs, state, .. } = self;
        Self { graph, pairs: pairs.clone(), state: state.clone(), memory: Memory::default() }
    }
}
