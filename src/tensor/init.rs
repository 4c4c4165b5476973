//! [`Init`]: initial values of weights.

use ndarray::{Array2, ArrayViewMut2};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::float::{Float, per_float};

per_float! {
    // Every model fills weights: this is compiled here, not in each program.
    fn fill_weight<'a, T>(
        init: Init,
        weight: ArrayViewMut2<'a, T>,
        rng: &mut dyn Rng,
    ) = fill_with;
}

/// An initialiser of a weight [fan_out, fan_in].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Init {
    /// Uniform between −b and b for the given b. PyTorch's recurrent layers use b = 1/√hidden_size.
    Uniform(f64),
    /// Normal with mean zero and the given standard deviation.
    Normal(f64),
    /// Uniform on ±√(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010, equation 16).
    XavierUniform,
    /// Normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).
    XavierNormal,
    /// Uniform on ±√(6 / fan_in) (He et al., 2015, for relu).
    HeUniform,
    /// Normal with variance 2 / fan_in (He et al., 2015, equation 10).
    HeNormal,
    /// Orthonormal rows or columns, whichever are fewer (Saxe et al., 2014).
    Orthogonal,
    /// The given value for every entry.
    Constant(f64),
}

impl Init {
    /// Fails unless the number of the initialiser is finite, and not negative if it is a bound or a
    /// deviation. The error names `argument`.
    pub fn check(self, argument: &'static str) -> Result<()> {
        let (Self::Uniform(value) | Self::Normal(value) | Self::Constant(value)) = self else {
            return Ok(());
        };
        let signed = matches!(self, Self::Constant(_));
        if value.is_finite() && (signed || value >= 0.0) {
            return Ok(());
        }
        let expected = if signed { "a finite value" } else { "a finite value of at least 0" };
        Err(Error::argument(argument, expected, value))
    }

    /// Fills `weight` [fan_out, fan_in]. Call it for each gate of a weight of several gates, so that
    /// each gate has its own fans and, for [`Init::Orthogonal`], its own orthonormal matrix.
    ///
    /// The values depend on the seed and the shape alone, not on the memory layout of the weight.
    pub fn fill<T: Float>(self, weight: ArrayViewMut2<'_, T>, rng: &mut dyn Rng) {
        fill_weight(self, weight, rng);
    }
}

fn fill_with<T: Float>(init: Init, mut weight: ArrayViewMut2<'_, T>, rng: &mut dyn Rng) {
    let (fan_out, fan_in) = weight.dim();
    let fans = (fan_in + fan_out) as f64;
    let uniform = |bound: f64, rng: &mut dyn Rng| bound * (2.0 * rng.random::<f64>() - 1.0);
    let normal = |deviation: f64, rng: &mut dyn Rng| {
        let value: f64 = StandardNormal.sample(rng);
        deviation * value
    };
    match init {
        Init::Uniform(bound) => {
            weight.iter_mut().for_each(|w| *w = T::from_f64(uniform(bound, rng)))
        }
        Init::Normal(deviation) => {
            weight.iter_mut().for_each(|w| *w = T::from_f64(normal(deviation, rng)));
        }
        Init::XavierUniform => Init::Uniform((6.0 / fans).sqrt()).fill(weight, rng),
        Init::XavierNormal => Init::Normal((2.0 / fans).sqrt()).fill(weight, rng),
        Init::HeUniform => Init::Uniform((6.0 / fan_in as f64).sqrt()).fill(weight, rng),
        Init::HeNormal => Init::Normal((2.0 / fan_in as f64).sqrt()).fill(weight, rng),
        Init::Constant(value) => weight.fill(T::from_f64(value)),
        Init::Orthogonal => {
            let (rows, columns) = (fan_out.min(fan_in), fan_out.max(fan_in));
            let basis = orthonormal_rows(rows, columns, || normal(1.0, rng));
            let basis = if fan_out <= fan_in { basis.view() } else { basis.t() };
            weight.zip_mut_with(&basis, |value, &entry| *value = T::from_f64(entry));
        }
    }
}

/// Returns `rows` ≤ `columns` orthonormal rows, from normal samples by modified Gram–Schmidt. It is
/// applied twice, so that rounding does not spoil the orthogonality. A sample that depends linearly on
/// the rows before it, which has probability zero, is drawn again.
fn orthonormal_rows(rows: usize, columns: usize, mut sample: impl FnMut() -> f64) -> Array2<f64> {
    let mut basis = Array2::<f64>::zeros((rows, columns));
    for r in 0..rows {
        loop {
            let mut row = ndarray::Array1::from_shape_simple_fn(columns, &mut sample);
            for _ in 0..2 {
                for earlier in basis.rows().into_iter().take(r) {
                    let along = row.dot(&earlier);
                    row.scaled_add(-along, &earlier);
                }
            }
            let norm = row.dot(&row).sqrt();
            if norm > 1e-6 {
                basis.row_mut(r).assign(&(row / norm));
                break;
            }
        }
    }
    basis
}
