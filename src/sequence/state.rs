//! [`State`]: the states of all layers and directions of a network.

use ndarray::{Array2, Array3, ArrayView2, Axis};

use crate::arrays::{Arrays, Visit, VisitMut};
use crate::error::{Error, Result, check_indices, check_shape, check_size, shaped};
use crate::float::Float;
use crate::sequence::lengths::{Order, Towards};
use crate::tensor::elementwise::sum_of_rows;

/// The states of all layers and directions for each sequence of a batch: h, and c for an LSTM.
///
/// Index k is layer·directions + direction, as in PyTorch's `h_0` and `h_n`. Gradients of states
/// have this type too. As a bundle of arrays its names are `h_l0`, `c_l0`, `h_l0_reverse`, …
#[derive(Clone, Debug, PartialEq)]
pub struct State<T> {
    names: &'static [&'static str],
    directions: usize,
    /// The values [batch, width] of each state, for each layer and direction.
    parts: Vec<Vec<Array2<T>>>,
}

/// The axes of one state of all layers and directions.
const AXES: &str = "layers·directions, batch, hidden";

/// Returns the suffix of a layer and direction in PyTorch's names: `l0`, `l0_reverse`, `l1`, …
pub(crate) fn suffix(index: usize, directions: usize) -> String {
    let reverse = if index % directions == 1 { "_reverse" } else { "" };
    format!("l{}{reverse}", index / directions)
}

/// Returns the index of `name` in `names`.
pub(crate) fn index_of(names: &[&str], name: &str) -> Result<usize> {
    let expected = || format!("one of {names:?}");
    let place = names.iter().position(|&n| n == name);
    place.ok_or_else(|| Error::argument("name", expected(), name))
}

/// Returns the index of the given layer and direction. `parts` are the numbers of layers · directions and of
/// directions.
pub(crate) fn place_of(parts: (usize, usize), layer: usize, reverse: bool) -> Result<usize> {
    let (count, directions) = parts;
    let k = layer.saturating_mul(directions).saturating_add(usize::from(reverse));
    if k < count && usize::from(reverse) < directions {
        return Ok(k);
    }
    let expected = format!("one of {count} layers × directions");
    Err(Error::argument("layer", expected, format!("layer {layer}, reverse {reverse}")))
}

impl<T: Float> State<T> {
    /// Creates the states of an empty batch, from the widths of the states of each layer and direction.
    pub(crate) fn of_none(
        names: &'static [&'static str],
        directions: usize,
        widths: impl Iterator<Item = Vec<usize>>,
    ) -> Self {
        let part = |widths: Vec<usize>| {
            widths.into_iter().map(|width| Array2::zeros((0, width))).collect()
        };
        Self { names, directions, parts: widths.map(part).collect() }
    }

    /// Returns states like these for `batch` sequences, all zero.
    pub(crate) fn zeros(&self, batch: usize) -> Self {
        self.map(|values| Array2::zeros((batch, values.ncols())))
    }

    /// Replaces state `name` of all layers and directions by `values`
    /// [layers·directions, batch, hidden], as in PyTorch's `h_0` and `c_0`.
    ///
    /// # Errors
    /// If there is no state of this name, `values` has another shape, or layers differ in width
    /// ([`set_part`](Self::set_part) sets one of them). The state is then unchanged.
    pub fn set(&mut self, name: &str, values: Array3<T>) -> Result<()> {
        let state = self.of_equal_width(name)?;
        let of_first = &self.parts[0][state];
        let expected = [self.parts.len(), of_first.nrows(), of_first.ncols()];
        check_shape(name.to_owned(), AXES, &expected, values.shape())?;
        for (part, values) in self.parts.iter_mut().zip(values.outer_iter()) {
            part[state].assign(&values);
        }
        Ok(())
    }

    /// Returns state `name` of all layers and directions, [layers·directions, batch, hidden], as in
    /// PyTorch's `h_n` and `c_n`.
    ///
    /// # Errors
    /// If there is no state of this name, or layers differ in width ([`part`](Self::part) returns one of
    /// them).
    pub fn get(&self, name: &str) -> Result<Array3<T>> {
        let state = self.of_equal_width(name)?;
        let views: Vec<_> = self.parts.iter().map(|part| part[state].view()).collect();
        shaped(format!("state {name}"), ndarray::stack(Axis(0), &views))
    }

    /// Returns the index of state `name`. Fails if layers differ in its width.
    fn of_equal_width(&self, name: &str) -> Result<usize> {
        let state = index_of(self.names, name)?;
        let widths: Vec<usize> = self.parts.iter().map(|part| part[state].ncols()).collect();
        if widths.iter().any(|&width| width != widths[0]) {
            let got = format!("widths {widths:?}");
            return Err(Error::argument("layers", "layers of equal width", got));
        }
        Ok(state)
    }

    /// Returns state `name` of one layer and direction, [batch, width].
    ///
    /// # Errors
    /// If there is no such state, layer or direction.
    pub fn part(&self, name: &str, layer: usize, reverse: bool) -> Result<ArrayView2<'_, T>> {
        let state = index_of(self.names, name)?;
        let k = place_of((self.parts.len(), self.directions), layer, reverse)?;
        Ok(self.parts[k][state].view())
    }

    /// Replaces state `name` of one layer and direction by `values` [batch, width].
    ///
    /// ```
    /// use ndarray::Array2;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::Lstm;
    ///
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let lstm = Lstm::<f32>::builder(3, 8).hidden_sizes(&[8, 4]).build(&mut rng)?;
    /// let mut state = lstm.zero_state(2)?;
    /// state.set_part("c", 1, false, Array2::ones((2, 4)).view())?;
    /// assert_eq!(state.part("c", 1, false)?.sum(), 8.0);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such state, layer or direction, or `values` has another shape. The state is then
    /// unchanged.
    pub fn set_part(
        &mut self,
        name: &str,
        layer: usize,
        reverse: bool,
        values: ArrayView2<'_, T>,
    ) -> Result<()> {
        let state = index_of(self.names, name)?;
        let k = place_of((self.parts.len(), self.directions), layer, reverse)?;
        let part = &mut self.parts[k][state];
        check_shape(name.to_owned(), "batch, width", part.shape(), values.shape())?;
        part.assign(&values);
        Ok(())
    }

    /// Returns the names of the states. The first is the output.
    pub fn state_names(&self) -> &'static [&'static str] {
        self.names
    }

    /// Returns the states of the sequences `rows`, in this order. A sequence may occur more than once, as
    /// in a beam search that continues one hypothesis in several ways.
    ///
    /// # Errors
    /// If there is no row, or one is not less than the number of sequences.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        check_size("rows", &[rows.len()])?;
        check_indices("rows", rows, self.batch(), "batch")?;
        Ok(self.map(|values| values.select(Axis(0), rows)))
    }

    /// Returns the number of sequences.
    pub fn batch(&self) -> usize {
        self.parts[0][0].nrows()
    }

    /// Fails unless `self` fits `batch` sequences of a network whose states are as in `model`. The error
    /// names `argument`.
    pub(crate) fn check_like(&self, argument: &str, model: &Self, batch: usize) -> Result<()> {
        if (self.names, self.directions) != (model.names, model.directions) {
            let show = |state: &Self| format!("{:?} of {}", state.names, state.directions);
            let plural = if model.directions == 1 { "" } else { "s" };
            let expected = format!("states {} direction{plural}", show(model));
            return Err(Error::argument(argument.to_owned(), expected, show(self)));
        }
        let shape = |state: &Self, k: usize, s: usize, batch: usize| {
            [state.parts.len(), batch, state.parts.get(k).map_or(0, |part| part[s].ncols())]
        };
        for (s, name) in model.names.iter().enumerate() {
            for k in 0..model.parts.len().max(self.parts.len()) {
                let (expected, got) = (shape(model, k, s, batch), shape(self, k, s, self.batch()));
                if expected != got {
                    check_shape(format!("{argument} {name}"), AXES, &expected, &got)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn parts(&self) -> &[Vec<Array2<T>>] {
        &self.parts
    }

    pub(crate) fn parts_mut(&mut self) -> &mut [Vec<Array2<T>>] {
        &mut self.parts
    }

    /// Copies the states `from` to `self`, from one order to the other as in [`Order::copy`]. Without
    /// `from`, sets the states to zero.
    pub(crate) fn copy(&mut self, from: Option<&Self>, order: &Order, towards: Towards) {
        let values = self.parts.iter_mut().flatten();
        let Some(from) = from else { return values.for_each(|values| values.fill(T::zero())) };
        for (to, from) in values.zip(from.parts.iter().flatten()) {
            order.copy(from.view(), to.view_mut(), Axis(0), towards);
        }
    }

    /// Returns the states, given in `order`, in the caller's order.
    pub(crate) fn unsorted(self, order: &Order) -> Self {
        let mut unsorted = self.zeros(self.batch());
        unsorted.copy(Some(&self), order, Towards::Caller);
        unsorted
    }

    /// Returns the states of one sequence, repeated for each of `batch` sequences.
    pub(crate) fn repeated(&self, batch: usize) -> Self {
        self.map(|values| values.select(Axis(0), &vec![0; batch]))
    }

    /// Returns the sum over the sequences, as states of one sequence.
    pub(crate) fn summed(&self) -> Self {
        self.map(sum_of_rows)
    }

    fn map(&self, f: impl Fn(&Array2<T>) -> Array2<T>) -> Self {
        let parts = self.parts.iter().map(|part| part.iter().map(&f).collect()).collect();
        Self { parts, ..*self }
    }
}

impl<T: Float> Arrays for State<T> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        for (k, part) in self.parts.iter().enumerate() {
            for (name, values) in self.names.iter().zip(part) {
                let name = format!("{name}_{}", suffix(k, self.directions));
                f(&name, values.view().into_dyn());
            }
        }
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        for (k, part) in self.parts.iter_mut().enumerate() {
            for (name, values) in self.names.iter().zip(part) {
                let name = format!("{name}_{}", suffix(k, self.directions));
                f(&name, values.view_mut().into_dyn());
            }
        }
    }
}
