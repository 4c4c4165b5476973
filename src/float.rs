//! [`Float`]: the two element types of the crate, `f32` and `f64`.

use fearless_simd::SimdFloatElement;
use ndarray::NdFloat;

use crate::pool::Pool;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// An element of every array in this crate: `f32` or `f64`. Sealed: no other type implements it.
///
/// It joins the arithmetic of `ndarray` ([`NdFloat`]) with the native vectors of `fearless_simd`
/// ([`SimdFloatElement`]), so one generic kernel serves both types.
pub trait Float: SimdFloatElement + NdFloat + std::iter::Sum + sealed::Sealed {
    /// The name of the type as it stands in files and messages: `"f32"` or `"f64"`.
    const NAME: &'static str;
    /// Explicit bits of the significand: 23 or 52.
    const SIGNIFICAND_BITS: u32;
    /// The exponent's bias: 127 or 1023.
    const EXPONENT_BIAS: f64;
    /// The smallest x whose eˣ is a normal number, rounded up a little.
    const MIN_EXP: f64;
    /// The first part of ln 2; its products with the exponents of this type are exact.
    const LN_2_HIGH: f64;
    /// The rest of ln 2.
    const LN_2_LOW: f64;
    /// Coefficients 1/k! of the power series of eˣ from degree 2 up to the last one that still
    /// changes a result of this precision on |x| ≤ ½·ln 2, in pairs of even and odd degree.
    const EXP_SERIES: &'static [[f64; 2]];

    /// Where memory of this type waits for its next use.
    #[doc(hidden)]
    fn pool() -> &'static Pool<Self>;

    /// The nearest value to `value`.
    fn of(value: f64) -> Self;

    /// The value in double precision; exact.
    fn f64(self) -> f64;

    /// Appends the value's bytes, little-endian.
    fn write_le(self, bytes: &mut Vec<u8>);

    /// The value of the first bytes, little-endian; zero where there are too few.
    fn read_le(bytes: &[u8]) -> Self;
}

const INVERSE_FACTORIALS: [[f64; 2]; 6] = [
    [1.0 / 2.0, 1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 120.0],
    [1.0 / 720.0, 1.0 / 5_040.0],
    [1.0 / 40_320.0, 1.0 / 362_880.0],
    [1.0 / 3_628_800.0, 1.0 / 39_916_800.0],
    [1.0 / 479_001_600.0, 1.0 / 6_227_020_800.0],
];

impl Float for f32 {
    const NAME: &'static str = "f32";
    const SIGNIFICAND_BITS: u32 = 23;
    const EXPONENT_BIAS: f64 = 127.0;
    const MIN_EXP: f64 = -87.3;
    const LN_2_HIGH: f64 = 0.693_359_375;
    const LN_2_LOW: f64 = -2.121_944_4e-4;
    const EXP_SERIES: &'static [[f64; 2]] = INVERSE_FACTORIALS.split_at(3).0;

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<f32> = Pool::new();
        &POOL
    }

    fn of(value: f64) -> Self {
        value as f32
    }

    fn f64(self) -> f64 {
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
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const EXP_SERIES: &'static [[f64; 2]] = &INVERSE_FACTORIALS;

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<f64> = Pool::new();
        &POOL
    }

    fn of(value: f64) -> Self {
        value
    }

    fn f64(self) -> f64 {
        self
    }

    fn write_le(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn read_le(bytes: &[u8]) -> Self {
        bytes.first_chunk().map_or(0.0, |&bytes| Self::from_le_bytes(bytes))
    }
}
