//! [`Float`]: the two element types of the crate, `f32` and `f64`.

use fearless_simd::SimdFloatElement;
use ndarray::NdFloat;

use crate::memory::{self, Pool};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A family of types with one member for each element type.
#[doc(hidden)]
pub trait PerFloat {
    type Of<T: Float>;
}

/// The two members of a family. A `static` table of functions makes their instances part of the crate
/// that defines it ([`Float::pick`]).
#[doc(hidden)]
#[derive(Debug)]
pub struct Table<F: PerFloat> {
    pub f32: F::Of<f32>,
    pub f64: F::Of<f64>,
}

/// Defines a function that is compiled in this crate, once for each element type, from a function that
/// is generic over it. A program that calls a generic function directly compiles it again.
macro_rules! per_float {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$life:lifetime, $T:ident>(
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $output:ty)? = $function:ident;
    )+) => {$(
        $(#[$attribute])*
        #[inline]
        #[allow(clippy::extra_unused_lifetimes, clippy::needless_lifetimes)]
        $visibility fn $name<$life, $T: $crate::Float>($($argument: $type),*) $(-> $output)? {
            struct Family;
            impl $crate::float::PerFloat for Family {
                type Of<$T: $crate::Float> = for<$life> fn($($type),*) $(-> $output)?;
            }
            static TABLE: $crate::float::Table<Family> =
                $crate::float::Table { f32: $function::<f32>, f64: $function::<f64> };
            $T::pick(&TABLE)($($argument),*)
        }
    )+};
}
pub(crate) use per_float;

/// An element of every array in this crate: `f32` or `f64`. Sealed: no other type implements it.
///
/// The trait combines the arithmetic of `ndarray` ([`NdFloat`]) with the native vectors of
/// `fearless_simd` ([`SimdFloatElement`]), so that one generic kernel serves both types.
pub trait Float: SimdFloatElement + NdFloat + std::iter::Sum + sealed::Sealed {
    /// The name of the type in files and messages: `"f32"` or `"f64"`.
    const NAME: &'static str;
    /// The number of explicit bits of the significand: 23 or 52.
    const SIGNIFICAND_BITS: u32;
    /// The bias of the exponent: 127 or 1023.
    const EXPONENT_BIAS: f64;
    /// The smallest x whose eˣ is a normal number, rounded up a little.
    const MIN_EXP: f64;
    /// ln 2 as a sum of two numbers. Products of the first with the exponents of this type are exact.
    const LN_2_PARTS: [f64; 2];
    /// The coefficients of x⁰, x², x⁴, … in the polynomial with value 1 at 0 that is nearest to x·coth(x)
    /// on |x| ≤ ¼·ln 2. Its error is at most 2.2·10⁻⁹ for f32 and 8.6·10⁻¹⁹ for f64.
    const COTH: &'static [f64];

    /// Returns the pool of memory of this type.
    #[doc(hidden)]
    fn pool() -> &'static Pool<Self>;

    /// Returns the entry of `table` for this type.
    #[doc(hidden)]
    fn pick<F: PerFloat>(table: &Table<F>) -> &F::Of<Self>;

    /// Returns the value nearest to `value`.
    fn from_f64(value: f64) -> Self;

    /// Returns the value in double precision, which is exact.
    fn as_f64(self) -> f64;

    /// Appends the value's bytes, little-endian.
    fn write_le(self, bytes: &mut Vec<u8>);

    /// Returns the value of the first bytes, little-endian, or zero if there are too few.
    fn read_le(bytes: &[u8]) -> Self;
}

impl Float for f32 {
    const NAME: &'static str = "f32";
    const SIGNIFICAND_BITS: u32 = 23;
    const EXPONENT_BIAS: f64 = 127.0;
    const MIN_EXP: f64 = -87.3;
    const LN_2_PARTS: [f64; 2] = [0.693_359_375, -2.121_944_4e-4];
    const COTH: &'static [f64] = &[1.0, 0.333_332_513_537_761_6, -0.022_133_957_365_989_08];

    fn pool() -> &'static Pool<Self> {
        &memory::F32
    }

    #[inline]
    fn pick<F: PerFloat>(table: &Table<F>) -> &F::Of<Self> {
        &table.f32
    }

    #[inline]
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    #[inline]
    fn as_f64(self) -> f64 {
        f64::from(self)
    }

    fn write_le(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn read_le(bytes: &[u8]) -> Self {
        bytes.first_chunk().map_or(0.0, |&bytes| Self::from_le_bytes(bytes))
    }
}

impl Float for f64 {
    const NAME: &'static str = "f64";
    const SIGNIFICAND_BITS: u32 = 52;
    const EXPONENT_BIAS: f64 = 1023.0;
    const MIN_EXP: f64 = -708.3;
    const LN_2_PARTS: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    const COTH: &'static [f64] = &[
        1.0,
        0.333_333_333_333_332_04,
        -0.022_222_222_221_610_227,
        0.002_116_402_022_622_218_6,
        -0.000_211_633_937_966_432_44,
        0.000_021_187_106_596_688_516,
    ];

    fn pool() -> &'static Pool<Self> {
        &memory::F64
    }

    #[inline]
    fn pick<F: PerFloat>(table: &Table<F>) -> &F::Of<Self> {
        &table.f64
    }

    #[inline]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline]
    fn as_f64(self) -> f64 {
        self
    }

    fn write_le(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn read_le(bytes: &[u8]) -> Self {
        bytes.first_chunk().map_or(0.0, |&bytes| Self::from_le_bytes(bytes))
    }
}

/// Returns the value of the bits of a half-precision number (IEEE 754 binary16), which is exact.
pub(crate) fn f16_to_f64(bits: u16) -> f64 {
    // The exponent's bias is 127 in f32 and 15 here, also of subnormal numbers.
    let rebias = f32::from_bits((127 + 127 - 15) << 23);
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let value = match magnitude >> 23 {
        0x1f => f32::from_bits(magnitude | 0x7f80_0000),
        _ => f32::from_bits(magnitude) * rebias,
    };
    f64::from(if bits >> 15 == 1 { -value } else { value })
}

/// Returns the value of the bits of a bfloat16 number, the upper half of an `f32`.
pub(crate) fn bf16_to_f64(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}
