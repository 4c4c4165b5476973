//! Elementwise updates of parameters by their gradients: the arithmetic of optimisers.
//!
//! A [`Rule`] is generic over [`Number`] and runs on vectors of the chosen instruction set.

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

use fearless_simd::{Select, Simd, SimdBase, SimdFloat};

use crate::float::Float;
use crate::tensor::activation::zero_below;
use crate::tensor::dispatch::Kernel;
use crate::tensor::lanes::{Lanes, Vector, lanes};

/// A number, or a vector of numbers.
pub(crate) trait Number:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Returns `value` in each lane.
    fn like(self, value: f64) -> Self;
    /// Returns self · factor + addend, rounded once if the instruction set has a fused multiply-add.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    fn sqrt(self) -> Self;
    /// Returns the greater of both, or `other` where they cannot be compared.
    fn greater(self, other: Self) -> Self;
    /// Returns the number where it is less than the greatest finite one, and the latter elsewhere.
    fn at_most_finite(self) -> Self;
    /// Returns the number, or zero where it is subnormal. The moments of a value without gradient would
    /// otherwise decay to subnormal numbers, with which a step takes 20 to 40 times as long.
    fn flush(self) -> Self;
}

/// A vector as a [`Number`].
struct Values<S: Simd, T: Float> {
    simd: S,
    vector: Vector<S, T>,
}

impl<S: Simd, T: Float> Clone for Values<S, T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Simd, T: Float> Copy for Values<S, T> {}

impl<S: Simd, T: Float> Values<S, T> {
    #[inline(always)]
    fn with(self, vector: Vector<S, T>) -> Self {
        Self { vector, ..self }
    }
}

macro_rules! operator {
    ($($operator:ident $method:ident $symbol:tt)+) => {$(
        impl<S: Simd, T: Float> $operator for Values<S, T> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.with(self.vector $symbol other.vector)
            }
        }
    )+};
}
operator! { Add add + Sub sub - Mul mul * Div div / }

impl<S: Simd, T: Float> Neg for Values<S, T> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        self.with(-self.vector)
    }
}

impl<S: Simd, T: Float> Number for Values<S, T> {
    #[inline(always)]
    fn like(self, value: f64) -> Self {
        self.with(Vector::<S, T>::splat(self.simd, T::from_f64(value)))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.with(self.vector.mul_add(factor.vector, addend.vector))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.with(self.vector.sqrt())
    }

    #[inline(always)]
    fn greater(self, other: Self) -> Self {
        self.with(self.vector.simd_gt(other.vector).select(self.vector, other.vector))
    }

    #[inline(always)]
    fn at_most_finite(self) -> Self {
        let most = self.like(T::max_value().as_f64()).vector;
        self.with(self.vector.simd_lt(most).select(self.vector, most))
    }

    #[inline(always)]
    fn flush(self) -> Self {
        self.with(zero_below(self.vector, T::min_positive_value().as_f64()))
    }
}

/// The number of each value that must be finite before a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    /// λ of d = ∂L/∂θ + λ·θ.
    pub(crate) decay: f64,
    /// Whether the number is d² instead of d.
    pub(crate) squared: bool,
}

/// Returns d, the gradient with the weight decay λ = `decay`.
#[inline(always)]
pub(crate) fn decayed<V: Number>(decay: f64, theta: V, grad: V) -> V {
    if decay == 0.0 {
        return grad;
    }
    theta.mul_add(theta.like(decay), grad)
}

/// The step of an optimiser for one parameter θ, with `N` moments.
pub(crate) trait Rule<const N: usize>: Sync + 'static {
    /// Returns θ and the moments after the step.
    fn step<V: Number>(&self, theta: V, grad: V, moments: [V; N]) -> (V, [V; N]);
}

/// Loads the values of `slice` at the position `l`.
#[inline(always)]
fn load<S: Simd, T: Float>(simd: S, l: Lanes<S, T>, slice: &[T]) -> Values<S, T> {
    Values { simd, vector: l.load(slice) }
}

/// The kernel of a rule's step for a whole array.
pub(crate) struct Step<R, const N: usize>(PhantomData<R>);

impl<R: Rule<N>, const N: usize> Kernel for Step<R, N> {
    type Args<'a, T: Float> = (&'a R, &'a mut [T], &'a [T], [&'a mut [T]; N]);
    type Output<T: Float> = ();

    #[inline(always)]
    fn run<'a, S: Simd, T: Float>(simd: S, (rule, theta, grad, moments): Self::Args<'a, T>) {
        for l in lanes(simd, theta.len()) {
            let mut before = [load(simd, l, theta); N];
            for i in 0..N {
                before[i] = load(simd, l, moments[i]);
            }
            let (after, moved) = rule.step(load(simd, l, theta), load(simd, l, grad), before);
            for i in 0..N {
                l.store(moments[i], moved[i].vector);
            }
            l.store(theta, after.vector);
        }
    }
}

/// The kernel that returns whether all numbers that a rule checks are finite, and their sum.
pub(crate) struct Check;

impl Kernel for Check {
    type Args<'a, T: Float> = (Checked, &'a [T], &'a [T]);
    type Output<T: Float> = (bool, T);

    #[inline(always)]
    fn run<'a, S: Simd, T: Float>(simd: S, (of, theta, grad): Self::Args<'a, T>) -> (bool, T) {
        let zero = Vector::<S, T>::splat(simd, T::zero());
        let (mut sum, mut test) = (zero, zero);
        // Without weight decay the parameters are not read.
        let theta = if of.decay == 0.0 { grad } else { theta };
        for l in lanes(simd, grad.len()) {
            let d = decayed(of.decay, load(simd, l, theta), load(simd, l, grad)).vector;
            let number = if of.squared { d * d } else { d };
            sum += number;
            // 0·x is zero, or NaN where x is not finite.
            test = number.mul_add(zero, test);
        }
        (test.reduce_sum() == T::zero(), sum.reduce_sum())
    }
}
