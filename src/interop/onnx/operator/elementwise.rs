//! Operators that compute each element from the elements at its place.
#![expect(clippy::indexing_slicing, reason = "the inputs are those of the operator")]

use ndarray::{ArrayD, Zip};

use super::{Inputs, Kernel, broadcast, broadcast_view, mismatch, zip};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::interop::onnx::attributes::Attributes;
use crate::interop::onnx::recurrent::Activation;
use crate::interop::onnx::value::{Element, Sealed, Value, check_type};

/// An element with arithmetic. That of integers wraps.
pub(super) trait Number: Element + PartialOrd {
    fn of_count(count: usize) -> Self;

    fn apply(self, operation: Arithmetic, other: Self) -> Self;
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
}

macro_rules! float_number {
    ($($type:ident)+) => {$(
        impl Number for $type {
            fn of_count(count: usize) -> Self {
                count as $type
            }

            fn apply(self, operation: Arithmetic, other: Self) -> Self {
                match operation {
                    Arithmetic::Add => self + other,
                    Arithmetic::Sub => self - other,
                    Arithmetic::Mul => self * other,
                    Arithmetic::Div => self / other,
                    Arithmetic::Pow => self.powf(other),
                    Arithmetic::Min => if other < self || other.is_nan() { other } else { self },
                    Arithmetic::Max => if other > self || other.is_nan() { other } else { self },
                }
            }
        }
    )+};
}

macro_rules! integer_number {
    ($($type:ident)+) => {$(
        impl Number for $type {
            fn of_count(count: usize) -> Self {
                count as $type
            }

            fn apply(self, operation: Arithmetic, other: Self) -> Self {
                match operation {
                    Arithmetic::Add => self.wrapping_add(other),
                    Arithmetic::Sub => self.wrapping_sub(other),
                    Arithmetic::Mul => self.wrapping_mul(other),
                    Arithmetic::Div if other == 0 => 0,
                    Arithmetic::Div => self.wrapping_div(other),
                    Arithmetic::Pow => power(self.into(), other.into()) as $type,
                    Arithmetic::Min => self.min(other),
                    Arithmetic::Max => self.max(other),
                }
            }
        }
    )+};
}

float_number!(f32 f64);
integer_number!(i32 i64);

/// Returns a power of integers, which wraps around. A power of a negative exponent is rounded towards zero; that of
/// zero is zero.
fn power(mut base: i64, exponent: i64) -> i64 {
    if exponent < 0 {
        return if [1, -1].contains(&base) { power(base, exponent & 1) } else { 0 };
    }
    let (mut rest, mut result) = (exponent, 1_i64);
    while rest > 0 {
        if rest & 1 == 1 {
            result = result.wrapping_mul(base);
        }
        (base, rest) = (base.wrapping_mul(base), rest >> 1);
    }
    result
}

/// Evaluates an expression for two arrays of numbers of one type.
macro_rules! numbers {
    ($a:expr, $b:expr, ($x:ident, $y:ident) => $result:expr) => {
        match ($a, $b) {
            (Value::F32($x), Value::F32($y)) => $result,
            (Value::F64($x), Value::F64($y)) => $result,
            (Value::I32($x), Value::I32($y)) => $result,
            (Value::I64($x), Value::I64($y)) => $result,
            (a, b) => Err(mismatch(a, b)),
        }
    };
}

/// Returns the operator `op`, if it is one of this file.
pub(super) fn kernel(op: &str, attributes: &mut Attributes) -> Result<Option<Kernel>> {
    let arithmetic = |operation| Some(Kernel::new(2..=2, move |inputs| binary(inputs, operation)));
    let compared = |test: fn(Option<std::cmp::Ordering>) -> bool| {
        Some(Kernel::new(2..=2, move |inputs| compare(inputs, test)))
    };
    let logic =
        |f: fn(bool, bool) -> bool| Some(Kernel::new(2..=2, move |inputs| logical(inputs, f)));
    Ok(match op {
        "Add" => arithmetic(Arithmetic::Add),
        "Sub" => arithmetic(Arithmetic::Sub),
        "Mul" => arithmetic(Arithmetic::Mul),
        "Div" => arithmetic(Arithmetic::Div),
        "Pow" => arithmetic(Arithmetic::Pow),
        "Min" => Some(extreme(Arithmetic::Min)),
        "Max" => Some(extreme(Arithmetic::Max)),
        "Equal" => compared(|order| order.is_some_and(|order| order.is_eq())),
        "Less" => compared(|order| order.is_some_and(|order| order.is_lt())),
        "LessOrEqual" => compared(|order| order.is_some_and(|order| order.is_le())),
        "Greater" => compared(|order| order.is_some_and(|order| order.is_gt())),
        "GreaterOrEqual" => compared(|order| order.is_some_and(|order| order.is_ge())),
        "And" => logic(|a, b| a && b),
        "Or" => logic(|a, b| a || b),
        "Xor" => logic(|a, b| a != b),
        "Not" => Some(Kernel::new(1..=1, |inputs| {
            Ok(inputs.need(0)?.array::<bool>()?.mapv(|value| !value).into())
        })),
        "Where" => Some(Kernel::new(3..=3, select)),
        "Dropout" => Some(dropout(attributes)?),
        "Cast" => Some(cast(attributes)?),
        "Clip" => Some(clip(attributes)?),
        "Abs" => Some(map(|x| x.abs(), |x| x.abs())),
        "Neg" => Some(map(|x| -x, |x| -x)),
        "Exp" => Some(map(f32::exp, f64::exp)),
        "Log" => Some(map(f32::ln, f64::ln)),
        "Sqrt" => Some(map(f32::sqrt, f64::sqrt)),
        "Reciprocal" => Some(map(f32::recip, f64::recip)),
        "Floor" => Some(map(f32::floor, f64::floor)),
        "Ceil" => Some(map(f32::ceil, f64::ceil)),
        _ => activation(op, attributes)?,
    })
}

fn binary(inputs: &Inputs<'_>, operation: Arithmetic) -> Result<Value> {
    let (a, b) = (inputs.need(0)?, inputs.need(1)?);
    let divides = operation == Arithmetic::Div && matches!(b, Value::I32(_) | Value::I64(_));
    if divides && b.integers()?.contains(&0) {
        return Err(Error::argument("divisor", "integers other than 0", 0));
    }
    numbers!(a, b, (x, y) => zip(inputs, x, y, |x, y| x.apply(operation, y)).map(Value::from))
}

/// Returns the operator of the least or greatest of any number of inputs.
fn extreme(operation: Arithmetic) -> Kernel {
    Kernel::new(1..=usize::MAX, move |inputs| {
        let mut result = inputs.need(0)?.clone();
        for index in 1..inputs.values.len() {
            let next = Inputs { values: &[Some(&result), Some(inputs.need(index)?)], ..*inputs };
            result = binary(&next, operation)?;
        }
        Ok(result)
    })
}

fn compare(inputs: &Inputs<'_>, test: fn(Option<std::cmp::Ordering>) -> bool) -> Result<Value> {
    let (a, b) = (inputs.need(0)?, inputs.need(1)?);
    if let (Value::Bool(a), Value::Bool(b)) = (a, b) {
        return Ok(zip(inputs, a, b, |a, b| test(a.partial_cmp(&b)))?.into());
    }
    numbers!(a, b, (x, y) => zip(inputs, x, y, |x, y| test(x.partial_cmp(&y))).map(Value::from))
}

fn logical(inputs: &Inputs<'_>, f: fn(bool, bool) -> bool) -> Result<Value> {
    let (a, b) = (inputs.need(0)?.array()?, inputs.need(1)?.array()?);
    Ok(zip(inputs, a, b, f)?.into())
}

fn select(inputs: &Inputs<'_>) -> Result<Value> {
    fn chosen<T: Element>(inputs: &Inputs<'_>, a: &ArrayD<T>, b: &ArrayD<T>) -> Result<ArrayD<T>> {
        let condition = inputs.need(0)?.array::<bool>()?;
        let shape = broadcast(condition.shape(), &broadcast(a.shape(), b.shape())?)?;
        inputs.check(&shape)?;
        let (a, b) = (broadcast_view(a, &shape)?, broadcast_view(b, &shape)?);
        let condition = broadcast_view(condition, &shape)?;
        Ok(Zip::from(condition)
            .and(a)
            .and(b)
            .map_collect(|&first, &a, &b| if first { a } else { b }))
    }
    let (a, b) = (inputs.need(1)?, inputs.need(2)?);
    if let (Value::Bool(a), Value::Bool(b)) = (a, b) {
        return chosen(inputs, a, b).map(Value::from);
    }
    numbers!(a, b, (a, b) => chosen(inputs, a, b).map(Value::from))
}

/// Returns dropout, which does nothing outside training.
fn dropout(attributes: &mut Attributes) -> Result<Kernel> {
    attributes.float("ratio")?;
    attributes.int("seed")?;
    Ok(Kernel::new(1..=3, |inputs| {
        if let Some(training) = inputs.get(2)
            && training.array::<bool>()?.iter().any(|&training| training)
        {
            return Err(Error::argument("training_mode", "false", true));
        }
        Ok(inputs.need(0)?.clone())
    }))
}

fn cast(attributes: &mut Attributes) -> Result<Kernel> {
    let to = attributes.int("to")?.unwrap_or_default();
    let to = i32::try_from(to).unwrap_or(-1);
    check_type(to).map_err(|error| error.prefixed("to, "))?;
    if attributes.opset >= 19 {
        attributes.int("saturate")?;
    }
    if attributes.opset >= 24 {
        attributes.string("round_mode")?;
    }
    Ok(Kernel::new(1..=1, move |inputs| {
        let value = inputs.need(0)?;
        inputs.check(value.shape())?;
        Ok(match value {
            Value::F32(array) => cast_float(&array.mapv(f64::from), to),
            Value::F64(array) => cast_float(array, to),
            Value::I32(array) => cast_integer(&array.mapv(i64::from), to),
            Value::I64(array) => cast_integer(array, to),
            Value::Bool(array) => cast_integer(&array.mapv(i64::from), to),
        })
    }))
}

fn cast_float(array: &ArrayD<f64>, to: i32) -> Value {
    match to {
        f32::NUMBER => array.mapv(|value| value as f32).into(),
        i32::NUMBER => array.mapv(|value| value as i32).into(),
        i64::NUMBER => array.mapv(|value| value as i64).into(),
        bool::NUMBER => array.mapv(|value| value != 0.0).into(),
        _ => array.clone().into(),
    }
}

fn cast_integer(array: &ArrayD<i64>, to: i32) -> Value {
    match to {
        f32::NUMBER => array.mapv(|value| value as f32).into(),
        f64::NUMBER => array.mapv(|value| value as f64).into(),
        i32::NUMBER => array.mapv(|value| value as i32).into(),
        bool::NUMBER => array.mapv(|value| value != 0).into(),
        _ => array.clone().into(),
    }
}

/// Returns the operator that bounds elements. The bounds are attributes before version 11.
fn clip(attributes: &mut Attributes) -> Result<Kernel> {
    let bounds = match attributes.opset < 11 {
        true => [attributes.float("min")?, attributes.float("max")?],
        false => [None, None],
    };
    Ok(Kernel::new(1..=3, move |inputs| {
        let mut value = inputs.need(0)?.clone();
        for (index, operation) in [(1, Arithmetic::Max), (2, Arithmetic::Min)] {
            let fixed = bounds[index - 1].map(|bound| {
                let to = value.number();
                cast_float(&ndarray::arr0(bound).into_dyn(), to)
            });
            if let Some(bound) = inputs.get(index).or(fixed.as_ref()) {
                let inputs = Inputs { values: &[Some(&value), Some(bound)], ..*inputs };
                value = binary(&inputs, operation)?;
            }
        }
        Ok(value)
    }))
}

/// Returns the operator of a function of one real number. Integers are computed as real numbers.
fn map(single: fn(f32) -> f32, double: fn(f64) -> f64) -> Kernel {
    Kernel::new(1..=1, move |inputs| {
        Ok(match inputs.need(0)? {
            Value::F32(array) => array.mapv(single).into(),
            Value::F64(array) => array.mapv(double).into(),
            Value::I32(array) => array.mapv(|value| double(f64::from(value)) as i32).into(),
            Value::I64(array) => array.mapv(|value| double(value as f64) as i64).into(),
            value => return Err(Error::argument("element type", "a number", value.kind())),
        })
    })
}

/// Returns the operator of an activation function, if `op` is one.
fn activation(op: &str, attributes: &mut Attributes) -> Result<Option<Kernel>> {
    const OPERATORS: [&str; 9] = [
        "Relu",
        "Tanh",
        "Sigmoid",
        "LeakyRelu",
        "ThresholdedRelu",
        "HardSigmoid",
        "Elu",
        "Softsign",
        "Softplus",
    ];
    if !OPERATORS.contains(&op) {
        return Ok(None);
    }
    let alpha = if Activation::has_alpha(op) { attributes.float("alpha")? } else { None };
    let beta = if Activation::has_beta(op) { attributes.float("beta")? } else { None };
    let function = Activation::new(op, alpha, beta)?;
    #[expect(clippy::expect_used, reason = "`as_standard_layout` makes it so")]
    fn applied<T: Float>(function: Activation, array: &ArrayD<T>) -> ArrayD<T> {
        let mut array = array.as_standard_layout().into_owned();
        function.apply(array.as_slice_mut().expect("an array in standard layout"));
        array
    }
    Ok(Some(Kernel::new(1..=1, move |inputs| {
        Ok(match inputs.need(0)? {
            Value::F32(array) => applied(function, array).into(),
            Value::F64(array) => applied(function, array).into(),
            value => return Err(Error::argument("element type", "f32 or f64", value.kind())),
        })
    })))
}
