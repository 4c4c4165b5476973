//! [`Activation`]: the activation functions of recurrent operators.

use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::Level;
use crate::tensor::activation::{relu_slice, sigmoid_slice, tanh_slice};

/// An activation function with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::interop::onnx) enum Activation {
    Relu,
    Tanh,
    Sigmoid,
    Affine { alpha: f64, beta: f64 },
    LeakyRelu { alpha: f64 },
    ThresholdedRelu { alpha: f64 },
    ScaledTanh { alpha: f64, beta: f64 },
    HardSigmoid { alpha: f64, beta: f64 },
    Elu { alpha: f64 },
    Softsign,
    Softplus,
}

impl Activation {
    /// Returns the function `name`. Numbers that are not given have the defaults of the operator of that
    /// name, and those of Affine and ScaledTanh, which are not operators, that of the identity and of tanh.
    pub(in crate::interop::onnx) fn new(
        name: &str,
        alpha: Option<f64>,
        beta: Option<f64>,
    ) -> Result<Self> {
        let of = |given: Option<f64>, default: f64| given.unwrap_or(default);
        Ok(match name {
            "Relu" => Self::Relu,
            "Tanh" => Self::Tanh,
            "Sigmoid" => Self::Sigmoid,
            "Affine" => Self::Affine { alpha: of(alpha, 1.0), beta: of(beta, 0.0) },
            "LeakyRelu" => Self::LeakyRelu { alpha: of(alpha, 0.01) },
            "ThresholdedRelu" => Self::ThresholdedRelu { alpha: of(alpha, 1.0) },
            "ScaledTanh" => Self::ScaledTanh { alpha: of(alpha, 1.0), beta: of(beta, 1.0) },
            "HardSigmoid" => Self::HardSigmoid { alpha: of(alpha, 0.2), beta: of(beta, 0.5) },
            "Elu" => Self::Elu { alpha: of(alpha, 1.0) },
            "Softsign" => Self::Softsign,
            "Softplus" => Self::Softplus,
            _ => return Err(Error::argument("activations", "a function of ONNX", name)),
        })
    }

    /// Returns whether the function `name` has a number alpha.
    pub(in crate::interop::onnx) fn has_alpha(name: &str) -> bool {
        Self::has_beta(name) || ["LeakyRelu", "ThresholdedRelu", "Elu"].contains(&name)
    }

    /// Returns whether the function `name` has a number beta.
    pub(in crate::interop::onnx) fn has_beta(name: &str) -> bool {
        ["Affine", "ScaledTanh", "HardSigmoid"].contains(&name)
    }

    /// Replaces each value by that of the function.
    pub(in crate::interop::onnx) fn apply<T: Float>(self, values: &mut [T]) {
        let level = Level::new();
        match self {
            Self::Relu => relu_slice(level, values),
            Self::Tanh => tanh_slice(level, values),
            Self::Sigmoid => sigmoid_slice(level, values),
            _ => values.iter_mut().for_each(|value| *value = T::from_f64(self.at(value.as_f64()))),
        }
    }

    /// Returns the value at `x` of a function without a kernel.
    fn at(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Affine { alpha, beta } => alpha * x + beta,
            Self::LeakyRelu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x
                }
            }
            Self::ThresholdedRelu { alpha } => {
                if x >= alpha {
                    x
                } else {
                    0.0
                }
            }
            Self::ScaledTanh { alpha, beta } => alpha * (beta * x).tanh(),
            Self::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Self::Elu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}
