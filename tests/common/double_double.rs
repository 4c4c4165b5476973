//! Numbers of about 100 bits as the sum of two f64, and the activation functions on them: the reference of
//! the f64 activations.
//!
//! Source: Dekker, *A Floating-Point Technique for Extending the Available Precision*, 1971.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// The number high + low, where |low| is at most half a unit in the last place of high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DoubleDouble {
    pub(crate) high: f64,
    pub(crate) low: f64,
}

const LN_2: DoubleDouble =
    DoubleDouble { high: std::f64::consts::LN_2, low: 2.319_046_813_846_299_6e-17 };

impl DoubleDouble {
    pub(crate) const ONE: Self = Self { high: 1.0, low: 0.0 };

    pub(crate) fn new(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }

    /// Returns a + b for |a| ≥ |b|.
    fn quick_sum(a: f64, b: f64) -> Self {
        let high = a + b;
        Self { high, low: b - (high - a) }
    }

    fn sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let b_part = high - a;
        Self { high, low: (a - (high - b_part)) + (b - b_part) }
    }

    /// Returns the number times 2ⁿ. It is exact if neither part becomes subnormal.
    pub(crate) fn scaled(self, n: i32) -> Self {
        let scale = |value: f64| value * 2_f64.powi(n / 2) * 2_f64.powi(n - n / 2);
        Self { high: scale(self.high), low: scale(self.low) }
    }

    /// Returns (n, e^r − 1) with self = n·ln 2 + r: the power series at r / 256, then
    /// e²ˣ − 1 = 2(eˣ − 1) + (eˣ − 1)² eight times.
    fn exp_parts(self) -> (i32, Self) {
        let n = (self.high / LN_2.high).round_ties_even();
        let r = (self - LN_2 * Self::new(n)).scaled(-8);
        let mut term = r;
        let mut sum = r;
        for k in 2..=12 {
            term = term * r / Self::new(f64::from(k));
            sum = sum + term;
        }
        for _ in 0..8 {
            sum = sum.scaled(1) + sum * sum;
        }
        (n as i32, sum)
    }

    pub(crate) fn exp(self) -> Self {
        self.exp_scaled(0)
    }

    /// Returns eˣ·2ⁿ, for eˣ so small that its second part would be subnormal.
    pub(crate) fn exp_scaled(self, n: i32) -> Self {
        if self.high < -1000.0 {
            return Self::new(0.0);
        }
        let (own, expm1) = self.exp_parts();
        (Self::ONE + expm1).scaled(own + n)
    }

    pub(crate) fn sigmoid(self) -> Self {
        if self.high < 0.0 {
            let e = self.exp();
            e / (Self::ONE + e)
        } else {
            Self::ONE / (Self::ONE + (-self).exp())
        }
    }

    /// Returns −t / (t + 2) with t = e^(−2|x|) − 1, or x below 2⁻¹⁰⁰ and 1 above 60, to which it rounds.
    pub(crate) fn tanh(self) -> Self {
        if self.high < 0.0 {
            return -(-self).tanh();
        }
        if self.high < 2_f64.powi(-100) {
            return self;
        }
        if self.high > 60.0 {
            return Self::ONE;
        }
        let (n, expm1) = (-self.scaled(1)).exp_parts();
        let t = if n == 0 { expm1 } else { (Self::ONE + expm1).scaled(n) - Self::ONE };
        -t / (t + Self::new(2.0))
    }
}

impl Neg for DoubleDouble {
    type Output = Self;
    fn neg(self) -> Self {
        Self { high: -self.high, low: -self.low }
    }
}

impl Add for DoubleDouble {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let high = Self::sum(self.high, other.high);
        let low = Self::sum(self.low, other.low);
        let sum = Self::quick_sum(high.high, high.low + low.high);
        Self::quick_sum(sum.high, sum.low + low.low)
    }
}

impl Sub for DoubleDouble {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for DoubleDouble {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let high = self.high * other.high;
        let rest = self.high.mul_add(other.high, -high);
        let cross = self.high.mul_add(other.low, self.low * other.high);
        Self::quick_sum(high, rest + cross)
    }
}

impl Div for DoubleDouble {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let first = self.high / other.high;
        let rest = self - other * Self::new(first);
        let second = rest.high / other.high;
        let rest = rest - other * Self::new(second);
        let third = rest.high / other.high;
        Self::quick_sum(first, second) + Self::new(third)
    }
}
