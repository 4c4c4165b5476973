//! [`Extended`]: vectors of non-negative numbers with an exponent of any size.
//!
//! A number is m·2ᵉ, with m and the integer e as two f64. A product of thousands of probabilities neither
//! overflows nor underflows, and keeps the precision of m. A sum takes no logarithm.

use fearless_simd::{ExtractToken, Select, Simd, SimdBase, SimdFloat};

use crate::tensor::lanes::Vector;

/// The exponent of zero. It is below every exponent of a product of probabilities, and the difference of
/// two exponents is finite.
pub(super) const ZERO: f64 = -1e300;

/// The number of products after which [`Extended::normalized`] is due: m changes by less than a factor of
/// 2^±2 in each, and f64 has exponents to 2^±1022.
pub(super) const NORMALIZED_STEPS: usize = 64;

/// The exponent below which the lesser term of a sum is left out. It is far below the precision of f64,
/// and far enough above the least exponent that no product is subnormal.
const NEGLIGIBLE: f64 = -500.0;

/// The bias of the exponent of f64, and the number of explicit bits of its significand.
const BIAS: f64 = 1023.0;
const BITS: u32 = 52;

/// Loads a whole vector from index `at` on, which need not be that of a whole vector.
#[inline(always)]
pub(super) fn load<S: Simd>(simd: S, values: &[f64], at: usize) -> Vector<S, f64> {
    Vector::<S, f64>::from_slice(simd, &values[at..at + Vector::<S, f64>::LEN])
}

/// Stores a whole vector from index `at` on.
#[inline(always)]
pub(super) fn store<S: Simd>(vector: Vector<S, f64>, values: &mut [f64], at: usize) {
    vector.store_slice(&mut values[at..at + Vector::<S, f64>::LEN]);
}

/// A vector of numbers m·2ᵉ.
#[derive(Clone, Copy)]
pub(super) struct Extended<S: Simd> {
    pub(super) m: Vector<S, f64>,
    pub(super) e: Vector<S, f64>,
}

/// Returns 2ᵏ of each lane for integers k up to 1023, and 0 where it is negligible.
#[inline(always)]
pub(super) fn power_of_two<S: Simd>(k: Vector<S, f64>) -> Vector<S, f64> {
    let simd = k.token();
    let splat = |value| Vector::<S, f64>::splat(simd, value);
    // The bits of exponent 0 are those of the number zero.
    let k = k.simd_lt(splat(NEGLIGIBLE)).select(splat(-BIAS), k);
    // The lowest bits of this sum are k + BIAS. Shifted, they are the exponent of 2ᵏ.
    let shifted = k + splat(BIAS + 1.5 * (1_u64 << BITS) as f64);
    Vector::<S, f64>::from_bits(shifted.to_bits() << BITS)
}

impl<S: Simd> Extended<S> {
    /// Loads the numbers with the given significands and exponents from index `at` on.
    #[inline(always)]
    pub(super) fn load(simd: S, m: &[f64], e: &[f64], at: usize) -> Self {
        Self { m: load(simd, m, at), e: load(simd, e, at) }
    }

    /// Stores the numbers from index `at` on.
    #[inline(always)]
    pub(super) fn store(self, m: &mut [f64], e: &mut [f64], at: usize) {
        store::<S>(self.m, m, at);
        store::<S>(self.e, e, at);
    }

    /// Returns one number in each lane.
    #[inline(always)]
    pub(super) fn splat(simd: S, (m, e): (f64, f64)) -> Self {
        Self { m: Vector::<S, f64>::splat(simd, m), e: Vector::<S, f64>::splat(simd, e) }
    }

    #[inline(always)]
    pub(super) fn add(self, other: Self) -> Self {
        let e = self.e.max(other.e);
        let rest = other.m * power_of_two::<S>(other.e - e);
        Self { m: self.m.mul_add(power_of_two::<S>(self.e - e), rest), e }
    }

    #[inline(always)]
    pub(super) fn mul(self, other: Self) -> Self {
        Self { m: self.m * other.m, e: self.e + other.e }
    }

    /// Returns the numbers where `mask` is above zero, and zero elsewhere.
    #[inline(always)]
    pub(super) fn masked(self, mask: Vector<S, f64>) -> Self {
        let splat = |value| Vector::<S, f64>::splat(self.m.token(), value);
        let keep = mask.simd_gt(splat(0.0));
        Self { m: keep.select(self.m, splat(0.0)), e: keep.select(self.e, splat(ZERO)) }
    }

    /// Returns the same numbers with 1 ≤ m < 2, except zero.
    #[inline(always)]
    pub(super) fn normalized(self) -> Self {
        let simd = self.m.token();
        let splat = |value| Vector::<S, f64>::splat(simd, value);
        // The bits of m above those of its significand, which become the integer part of a number.
        let offset = 2.0 * (1_u64 << (BITS - 1)) as f64;
        let exponent = (self.m.to_bits() >> BITS) | splat(offset).to_bits();
        let k = Vector::<S, f64>::from_bits(exponent) - splat(offset + BIAS);
        let least = k.max(splat(NEGLIGIBLE));
        Self { m: self.m * power_of_two::<S>(-least), e: self.e + least }
    }

    /// Returns the numbers as f64, 0 where they are negligible. Exponents above 1023 count as 1023.
    #[inline(always)]
    pub(super) fn value(self) -> Vector<S, f64> {
        let most = Vector::<S, f64>::splat(self.m.token(), BIAS);
        self.m * power_of_two::<S>(self.e.min(most))
    }
}

/// Returns the logarithm of the number m·2ᵉ.
pub(super) fn ln((m, e): (f64, f64)) -> f64 {
    m.ln() + e * std::f64::consts::LN_2
}

/// Returns the sum of two numbers.
pub(super) fn sum(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let e = a.1.max(b.1);
    let part = |(m, of): (f64, f64)| m * (of - e).max(-BIAS).exp2();
    (part(a) + part(b), e)
}
