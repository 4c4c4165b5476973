//! [`Given`]: arguments, of which some are allowed and the others not.

use ndarray::{Array1, Array2, Array3, Axis, Dimension, ShapeBuilder};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use recurrent::tensor::Precision;
use recurrent::{Arrays, Result, Sequences};

use crate::dice::Dice;

/// Sizes that are too large for memory, or whose products and sums overflow.
const HUGE: [usize; 6] =
    [1 << 33, 1 << 40, 1 << 62, isize::MAX as usize, usize::MAX - 1, usize::MAX];

const NUMBERS: [f64; 18] = [
    0.0,
    -0.0,
    0.5,
    1.0,
    2.0,
    -1.0,
    1e-3,
    1e30,
    -1e30,
    1e-30,
    1e300,
    1e-310,
    f64::MIN_POSITIVE,
    f64::MAX,
    f64::EPSILON,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

/// Texts that a name, a label or a sentence may be.
const TEXTS: [&str; 10] =
    ["", "a", "b", "ab", "a b c", "B-x", "I-x", "O", "é😀\u{301}", "\0\n\u{feff}"];

/// A source of arguments, the same for the same seed.
pub(crate) struct Given {
    dice: Dice,
    rng: ChaCha8Rng,
    /// Whether all arguments are allowed ones.
    fits: bool,
}

impl Given {
    pub(crate) fn new(index: u64) -> Self {
        Self {
            dice: Dice::new(1, index),
            rng: ChaCha8Rng::seed_from_u64(index),
            // So that each call has values, too.
            fits: index.is_multiple_of(3),
        }
    }

    pub(crate) fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.dice.below(bound)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.dice.one_in(2)
    }

    /// Returns whether this argument is another than the call needs.
    fn odd(&mut self) -> bool {
        !self.fits && self.dice.one_in(3)
    }

    /// Returns one of `values`.
    pub(crate) fn one<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.dice.below(values.len())].clone()
    }

    /// Returns a size from 1 to 4, or 0, or a huge one.
    pub(crate) fn size(&mut self) -> usize {
        let small = 1 + self.below(4);
        self.like(small)
    }

    /// Returns `size`, or another one.
    pub(crate) fn like(&mut self, size: usize) -> usize {
        match self.odd() {
            false => size,
            true => match self.below(4) {
                0 => 0,
                1 => size.saturating_add(1),
                2 => size.saturating_sub(1),
                _ => self.one(&HUGE),
            },
        }
    }

    /// Returns a size of an array that exists: `size`, or one from 0 to 5.
    pub(crate) fn length(&mut self, size: usize) -> usize {
        if self.odd() { self.below(6) } else { size }
    }

    /// Returns an index below `bound`, or one that is not.
    pub(crate) fn index(&mut self, bound: usize) -> usize {
        if self.odd() {
            let huge = self.one(&HUGE);
            return self.one(&[bound, bound + 1, huge]);
        }
        self.below(bound)
    }

    /// Returns indices, of which some may not be below `bound`.
    pub(crate) fn indices(&mut self, bound: usize) -> Vec<usize> {
        let count = if self.fits { 1 + self.below(4) } else { self.below(5) };
        self.some(count, bound)
    }

    /// Returns `count` indices, or another number of them.
    pub(crate) fn some(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let count = self.length(count);
        (0..count).map(|_| self.index(bound)).collect()
    }

    /// Returns lists of indices.
    pub(crate) fn lists(&mut self, count: usize, bound: usize) -> Vec<Vec<usize>> {
        let count = self.length(count);
        (0..count).map(|_| self.indices(bound)).collect()
    }

    /// Returns `value`, which is allowed, or any number.
    pub(crate) fn number(&mut self, value: f64) -> f64 {
        if self.odd() { self.one(&NUMBERS) } else { value }
    }

    /// Returns `count` numbers, mostly `value`.
    pub(crate) fn numbers(&mut self, count: usize, value: f64) -> Vec<f64> {
        let count = self.length(count);
        (0..count).map(|_| self.number(value)).collect()
    }

    /// Returns `text`, or another one.
    pub(crate) fn text(&mut self, text: &'static str) -> &'static str {
        if self.odd() { self.one(&TEXTS) } else { text }
    }

    /// Returns `count` texts, or another number of them, mostly those of `texts`.
    pub(crate) fn texts(&mut self, texts: &[&'static str]) -> Vec<&'static str> {
        let count = self.length(texts.len());
        (0..count).map(|k| self.text(texts[k % texts.len()])).collect()
    }

    /// Returns a value of an array: one between −1 and 1, or any number.
    fn value(&mut self) -> f32 {
        let any = self.dice.one_in(40);
        if any && self.odd() {
            return self.one(&NUMBERS) as f32;
        }
        self.below(2001) as f32 / 1000.0 - 1.0
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    pub(crate) fn array1(&mut self, size: usize) -> Array1<f32> {
        let size = self.length(size);
        Array1::from_vec(self.values(size))
    }

    /// Returns an array of the given shape, or of another one, in any layout.
    pub(crate) fn array2(&mut self, rows: usize, columns: usize) -> Array2<f32> {
        let shape = [rows, columns].map(|size| self.length(size));
        let values = self.values(shape[0] * shape[1]);
        let by_column = self.flag();
        let array = Array2::from_shape_vec(shape.set_f(by_column), values).unwrap();
        self.reversed(array)
    }

    pub(crate) fn array3(&mut self, shape: [usize; 3]) -> Array3<f32> {
        let shape = shape.map(|size| self.length(size));
        let values = self.values(shape.iter().product());
        let by_column = self.flag();
        let array = Array3::from_shape_vec(shape.set_f(by_column), values).unwrap();
        self.reversed(array)
    }

    /// Returns the array, or one of the same shape with a stride below zero.
    fn reversed<D: Dimension>(
        &mut self,
        mut array: ndarray::Array<f32, D>,
    ) -> ndarray::Array<f32, D> {
        if self.flag() {
            array.invert_axis(Axis(self.below(array.ndim())));
        }
        array
    }

    /// Returns sequences of `features` values, or another number of them. Some have no step, some have tokens.
    pub(crate) fn sequences(&mut self, features: usize) -> Sequences<f32> {
        let (time, batch) = (1 + self.below(4), 1 + self.below(3));
        self.sequences_of(time, batch, features)
    }

    /// Returns sequences of the given shape, or another one.
    pub(crate) fn sequences_of(
        &mut self,
        time: usize,
        batch: usize,
        features: usize,
    ) -> Sequences<f32> {
        // `Sequences::new` refuses the others.
        let [time, batch, features] = [time, batch, features].map(|size| self.length(size).max(1));
        let all = self.fits || self.flag();
        let least = if self.fits { time } else { 0 };
        let lengths: Vec<usize> = (0..batch)
            .map(|_| if all { time } else { least + self.below(time + 1 - least) })
            .collect();
        if !self.fits && self.dice.one_in(4) {
            let tokens = Array2::from_shape_simple_fn((time, batch), || self.below(features));
            return Sequences::one_hot(tokens.view(), features, lengths).unwrap();
        }
        let values = self.values(time * batch * features);
        let values = Array3::from_shape_vec((time, batch, features), values).unwrap();
        Sequences::new(values, lengths).unwrap()
    }

    /// Returns sequences of tokens of a vocabulary of `size`.
    pub(crate) fn tokens(&mut self, size: usize) -> Sequences<f32> {
        let (time, batch) = (1 + self.below(4), 1 + self.below(3));
        self.tokens_of(time, batch, size)
    }

    pub(crate) fn tokens_of(&mut self, time: usize, batch: usize, size: usize) -> Sequences<f32> {
        if self.odd() {
            return self.sequences_of(time, batch, size);
        }
        let tokens = Array2::from_shape_simple_fn((time, batch), || self.below(size));
        Sequences::one_hot(tokens.view(), size, vec![time; batch]).unwrap()
    }

    /// Returns classes [time, batch] for `x`, or of another shape, mostly below `classes`.
    pub(crate) fn classes(&mut self, x: &Sequences<f32>, classes: usize) -> Array2<usize> {
        let shape = [x.time(), x.batch()].map(|size| self.length(size));
        Array2::from_shape_simple_fn(shape, || self.index(classes))
    }
}

/// Returns every bit of the arrays.
pub(crate) fn bits<A: Arrays<Elem = f32>>(arrays: &A) -> Vec<u32> {
    let mut bits = Vec::new();
    arrays.for_each(&mut |_, array| bits.extend(array.iter().map(|value| value.to_bits())));
    bits
}

/// Calls `f` with the arrays. They must be as before if it fails.
pub(crate) fn unchanged<A: Arrays<Elem = f32>, R>(
    arrays: &mut A,
    f: impl FnOnce(&mut A) -> Result<R>,
) -> Result<R> {
    let before = bits(arrays);
    let result = f(arrays);
    if result.is_err() {
        assert!(bits(arrays) == before, "changed by a call that failed");
    }
    result
}

pub(crate) fn precision(given: &mut Given) -> Precision {
    given.one(&[Precision::Full, Precision::Bf16, Precision::Int8])
}
