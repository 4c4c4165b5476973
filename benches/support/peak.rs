//! The FMA peak: the largest rate of multiply-adds of one core, with all operands in registers.

use std::hint::black_box;
use std::time::Instant;

use recurrent::tensor::{Level, Simd, SimdBase, SimdFloat, Vector};
use recurrent::{Float, compiled};

/// The number of independent sums. It exceeds latency × number of FMA units and is less than the number
/// of registers.
const CHAINS: usize = 12;
const STEPS: usize = 20_000;
const BURSTS: usize = 200;

/// Measures the best burst in GF/s, where a multiply-add is two operations, and prints it.
pub(crate) fn fma_peak<T: Float>() -> f64 {
    let level = Level::new();
    let best = (0..BURSTS).map(|_| burst::<T>(level)).fold(0.0, f64::max);
    println!("FMA peak {} on {level:?}: {best:.1} GF/s", T::NAME);
    best
}

compiled! {
    fn burst<'a, T>() -> f64 = burst_on::<_, T>;
}

#[inline(always)]
fn burst_on<S: Simd, T: Float>(simd: S) -> f64 {
    let vector = |value: f64| Vector::<S, T>::splat(simd, T::from_f64(value));
    let (factor, addend) = (vector(black_box(0.999)), vector(black_box(0.001)));
    let mut sums = [vector(black_box(1.0)); CHAINS];
    let start = Instant::now();
    for _ in 0..STEPS {
        for c in 0..CHAINS {
            sums[c] = sums[c].mul_add(factor, addend);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    for sum in sums {
        black_box(sum.as_slice());
    }
    (2 * STEPS * CHAINS * Vector::<S, T>::LEN) as f64 / seconds * 1e-9
}
