//! Functions that are compiled once for each element type and instruction set, in the library.
//!
//! Rust compiles a generic function again in every crate that calls it, and a kernel for each
//! instruction set. [`compiled!`](crate::compiled) makes the instances part of the crate that invokes
//! it: a static table holds one function for each element type, which chooses the instruction set at
//! run time. The caller's program refers to the table alone.

use crate::float::{Float, PerFloat, Table};
use crate::tensor::{Level, Simd};

/// A function that is generic over the instruction set and the element type.
///
/// [`compiled!`](crate::compiled) implements it.
pub trait Kernel: 'static {
    /// The arguments.
    type Args<'a, T: Float>;
    /// The result.
    type Output<T: Float>;

    /// Calls the function. Implementations are `#[inline(always)]`, to be compiled for the set `S`.
    fn run<'a, S: Simd, T: Float>(simd: S, args: Self::Args<'a, T>) -> Self::Output<T>;
}

/// The instances of a [`Kernel`], as the value of a `static`.
#[derive(Debug)]
pub struct Compiled<K: Kernel>(Table<Instance<K>>);

/// The instance of a kernel for one element type.
type Function<K, T> = for<'a> fn(Level, <K as Kernel>::Args<'a, T>) -> <K as Kernel>::Output<T>;

/// The family of a kernel's instances.
#[derive(Debug)]
struct Instance<K>(std::marker::PhantomData<K>);

impl<K: Kernel> PerFloat for Instance<K> {
    type Of<T: Float> = Function<K, T>;
}

impl<K: Kernel> Compiled<K> {
    /// Creates the table of the instances of `K`.
    #[allow(clippy::new_without_default, reason = "statics call const functions alone")]
    pub const fn new() -> Self {
        Self(Table { f32: dispatched::<K, f32>, f64: dispatched::<K, f64> })
    }

    /// Calls the instance for `T` on the instruction set `level`.
    #[inline]
    pub fn call<T: Float>(&'static self, level: Level, args: K::Args<'_, T>) -> K::Output<T> {
        T::pick(&self.0)(level, args)
    }
}

/// Calls the instance of `K` for the best instruction set of `level`.
fn dispatched<K: Kernel, T: Float>(level: Level, args: K::Args<'_, T>) -> K::Output<T> {
    on_level(level, Call::<K, T>(args))
}

/// The arguments of a kernel.
struct Call<'a, K: Kernel, T: Float>(K::Args<'a, T>);

impl<K: Kernel, T: Float> OnLevel for Call<'_, K, T> {
    type Output = K::Output<T>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        K::run(simd, self.0)
    }
}

/// A call that is generic over the instruction set.
pub(super) trait OnLevel {
    /// The result.
    type Output;

    /// Computes the result. Implementations are `#[inline(always)]`, to be compiled for the set `S`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs a call on the best instruction set of `level`: AVX-512, AVX2 with FMA or SSE2 on x86, NEON or
/// portable loops elsewhere.
#[expect(clippy::expect_used, reason = "x86-64 has SSE2")]
pub(super) fn on_level<C: OnLevel>(level: Level, call: C) -> C::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = level.as_avx512() {
            return vectorized(simd, call);
        }
        if let Some(simd) = level.as_avx2() {
            return vectorized(simd, call);
        }
        vectorized(level.as_sse2().expect("x86-64 has SSE2"), call)
    }
    #[cfg(not(target_arch = "x86_64"))]
    fearless_simd::dispatch!(level, simd => vectorized(simd, call))
}

#[inline(always)]
fn vectorized<S: Simd, C: OnLevel>(simd: S, call: C) -> C::Output {
    simd.vectorize(
        #[inline(always)]
        || call.run(simd),
    )
}

/// Defines a function that is compiled in this crate for `f32` and `f64` and each instruction set. It
/// calls a function that is generic over both, whose first argument is the instruction set. The first
/// argument of the defined function is a [`Level`](crate::tensor::Level) instead.
///
/// ```
/// use recurrent::tensor::{Level, Simd, lanes};
/// use recurrent::{Float, compiled};
///
/// compiled! {
///     /// Adds `x` to `y`.
///     fn add<'a, T>(x: &'a [T], y: &'a mut [T]) = add_lanes;
/// }
///
/// #[inline(always)]
/// fn add_lanes<S: Simd, T: Float>(simd: S, x: &[T], y: &mut [T]) {
///     for l in lanes(simd, y.len()) {
///         l.store(y, l.load(x) + l.load(y));
///     }
/// }
///
/// let (x, mut y) = ([1.0; 13], [2.0; 13]);
/// add(Level::new(), &x, &mut y);
/// assert_eq!(y, [3.0; 13]);
/// ```
#[macro_export]
macro_rules! compiled {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$life:lifetime, $T:ident>(
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $output:ty)? = $function:path;
    )+) => {$(
        $(#[$attribute])*
        #[inline]
        #[allow(clippy::extra_unused_lifetimes, clippy::needless_lifetimes, clippy::too_many_arguments)]
        $visibility fn $name<$life, $T: $crate::Float>(
            level: $crate::tensor::Level,
            $($argument: $type),*
        ) $(-> $output)? {
            struct Function;
            impl $crate::tensor::Kernel for Function {
                type Args<$life, $T: $crate::Float> = ($($type,)*);
                type Output<$T: $crate::Float> = $crate::compiled!(@output $($output)?);

                #[inline(always)]
                fn run<$life, S: $crate::tensor::Simd, $T: $crate::Float>(
                    simd: S,
                    ($($argument,)*): Self::Args<$life, $T>,
                ) -> Self::Output<$T> {
                    $function(simd, $($argument),*)
                }
            }
            static COMPILED: $crate::tensor::Compiled<Function> = $crate::tensor::Compiled::new();
            COMPILED.call::<$T>(level, ($($argument,)*))
        }
    )+};
    (@output) => { () };
    (@output $output:ty) => { $output };
}
