//! Iteration over the native vectors of a slice, with a partial vector at its end.

use std::marker::PhantomData;

use fearless_simd::{Simd, SimdBase, SimdFloatElement};

use crate::float::Float;

/// The native vector of element type `T` on instruction set `S`.
pub type Vector<S, T> = <T as SimdFloatElement>::Native<S>;

/// The position of one vector in a slice: a whole vector, or the rest at the end.
#[derive(Clone, Copy, Debug)]
pub struct Lanes<S, T> {
    simd: S,
    at: usize,
    count: usize,
    element: PhantomData<T>,
}

impl<S: Simd, T: Float> Lanes<S, T> {
    const WIDTH: usize = Vector::<S, T>::LEN;

    /// Creates a position of `count` values from index `at`. To be loaded or stored, it may have at most
    /// the width of a vector.
    #[inline(always)]
    pub(crate) fn new(simd: S, at: usize, count: usize) -> Self {
        Self { simd, at, count, element: PhantomData }
    }

    /// Returns this position. If `WHOLE`, the compiler knows that it is that of a whole vector.
    #[inline(always)]
    pub(crate) fn known<const WHOLE: bool>(self) -> Self {
        debug_assert!(!WHOLE || self.count == Self::WIDTH);
        if WHOLE { Self { count: Self::WIDTH, ..self } } else { self }
    }

    /// Loads the values of `slice` at this position. Lanes past the end are zero.
    #[inline(always)]
    pub fn load(self, slice: &[T]) -> Vector<S, T> {
        let values = &slice[self.at..self.at + self.count];
        if self.count == Self::WIDTH {
            Vector::<S, T>::from_slice(self.simd, values)
        } else {
            let mut vector = Vector::<S, T>::splat(self.simd, T::zero());
            copy_part(values, vector.as_mut_slice());
            vector
        }
    }

    /// Stores `vector` in `slice` at this position.
    #[inline(always)]
    pub fn store(self, slice: &mut [T], vector: Vector<S, T>) {
        let values = &mut slice[self.at..self.at + self.count];
        if self.count == Self::WIDTH {
            vector.store_slice(values);
        } else {
            // A copy, so that the whole vectors of the other branch stay in registers.
            let part = vector;
            copy_part(part.as_slice(), values);
        }
    }

    /// Loads the values of each slice at this position, such as those of all gates.
    #[inline(always)]
    pub fn load_each<const N: usize>(self, slices: &[&mut [T]; N]) -> [Vector<S, T>; N] {
        let mut vectors = [Vector::<S, T>::splat(self.simd, T::zero()); N];
        for i in 0..N {
            vectors[i] = self.load(slices[i]);
        }
        vectors
    }

    /// Stores each vector in its slice at this position.
    #[inline(always)]
    pub fn store_each<const N: usize>(
        self,
        slices: &mut [&mut [T]; N],
        vectors: [Vector<S, T>; N],
    ) {
        for i in 0..N {
            self.store(slices[i], vectors[i]);
        }
    }

    /// Stores `vector` in `slice` at this position, unless `slice` is empty.
    #[inline(always)]
    pub fn record(self, slice: &mut [T], vector: Vector<S, T>) {
        if !slice.is_empty() {
            self.store(slice, vector);
        }
    }

    /// Returns a vector with `value` in each lane.
    #[inline(always)]
    pub fn splat(self, value: f64) -> Vector<S, T> {
        Vector::<S, T>::splat(self.simd, T::from_f64(value))
    }
}

/// Copies as many values as the shorter slice has. Inlined in a loop over lanes, this would become a
/// call of `memcpy` that slows down whole vectors too: no vector stays in a register across a call.
#[cold]
#[inline(never)]
fn copy_part<T: Float>(from: &[T], to: &mut [T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from;
    }
}

/// Returns an iterator over the positions of the vectors of slices of `len` values. The last one may be
/// shorter than a vector.
///
/// ```
/// use recurrent::tensor::{Level, Simd, lanes};
/// use recurrent::{Float, compiled};
///
/// #[inline(always)]
/// fn add_on<S: Simd, T: Float>(simd: S, x: &[T], y: &mut [T]) {
///     for l in lanes(simd, y.len()) {
///         l.store(y, l.load(x) + l.load(y));
///     }
/// }
/// compiled! { fn add<'a, T>(x: &'a [T], y: &'a mut [T]) = add_on; }
///
/// let (x, mut y) = ([1.0; 13], [2.0; 13]);
/// add(Level::new(), &x, &mut y);
/// assert_eq!(y, [3.0; 13]);
/// ```
#[inline(always)]
pub fn lanes<S: Simd, T: Float>(simd: S, len: usize) -> AllLanes<S, T> {
    AllLanes { rest: Lanes::new(simd, 0, len) }
}

/// The iterator of [`lanes`].
#[derive(Clone, Copy, Debug)]
pub struct AllLanes<S, T> {
    rest: Lanes<S, T>,
}

impl<S: Simd, T: Float> Iterator for AllLanes<S, T> {
    type Item = Lanes<S, T>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let Lanes { simd, at, count, .. } = self.rest;
        let next = count.min(Lanes::<S, T>::WIDTH);
        self.rest = Lanes::new(simd, at + next, count - next);
        (next > 0).then(|| Lanes::new(simd, at, next))
    }
}
