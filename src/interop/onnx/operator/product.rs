//! Products of matrices.
#![expect(clippy::indexing_slicing, reason = "the numbers of axes are compared before")]

use ndarray::{Array2, ArrayD, ArrayView2, Axis, Ix2, IxDyn, Zip};

use super::{Inputs, Kernel, broadcast, broadcast_view, mismatch};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::interop::onnx::attributes::Attributes;
use crate::interop::onnx::value::{Element, Value};
use crate::tensor::{Accumulate, Level, Packed, Rows, RowsMut, product};

/// Returns the operator `op`, if it is one of this file.
pub(super) fn kernel(op: &str, attributes: &mut Attributes) -> Result<Option<Kernel>> {
    Ok(Some(match op {
        "MatMul" => Kernel::new(2..=2, |inputs| match (inputs.need(0)?, inputs.need(1)?) {
            (Value::F32(a), Value::F32(b)) => Ok(product_of_stacks(inputs, a, b)?.into()),
            (Value::F64(a), Value::F64(b)) => Ok(product_of_stacks(inputs, a, b)?.into()),
            (a, b) => Err(mismatch(a, b)),
        }),
        "Gemm" => {
            let gemm = Gemm {
                alpha: attributes.float("alpha")?.unwrap_or(1.0),
                beta: attributes.float("beta")?.unwrap_or(1.0),
                transposed: [attributes.flag("transA")?, attributes.flag("transB")?],
            };
            Kernel::new(2..=3, move |inputs| match (inputs.need(0)?, inputs.need(1)?) {
                (Value::F32(a), Value::F32(b)) => gemm.run(inputs, a, b),
                (Value::F64(a), Value::F64(b)) => gemm.run(inputs, a, b),
                (a, b) => Err(mismatch(a, b)),
            })
        }
        _ => return Ok(None),
    }))
}

/// A matrix that products read, packed once.
#[derive(Debug)]
pub(in crate::interop::onnx) enum Matrix {
    F32(Packed<f32>),
    F64(Packed<f64>),
}

impl Matrix {
    /// Packs a value, if it is a matrix of real numbers that is not empty.
    pub(in crate::interop::onnx) fn new(value: &Value) -> Option<Self> {
        fn packed<T: Float>(array: &ArrayD<T>) -> Option<Packed<T>> {
            let matrix = array.view().into_dimensionality::<Ix2>().ok();
            matrix.filter(|b| !b.is_empty()).map(|b| Packed::new(Level::new(), b))
        }
        match value {
            Value::F32(array) => packed(array).map(Self::F32),
            Value::F64(array) => packed(array).map(Self::F64),
            _ => None,
        }
    }

    /// Returns the product of the first input by the matrix.
    pub(in crate::interop::onnx) fn multiply(&self, inputs: &Inputs<'_>) -> Result<Vec<Value>> {
        Ok(vec![match (inputs.need(0)?, self) {
            (Value::F32(a), Self::F32(b)) => rows_by_matrix(inputs, a, b)?.into(),
            (Value::F64(a), Self::F64(b)) => rows_by_matrix(inputs, a, b)?.into(),
            (a, Self::F32(_)) => return Err(Error::argument("element type", "f32", a.kind())),
            (a, Self::F64(_)) => return Err(Error::argument("element type", "f64", a.kind())),
        }])
    }
}

/// Returns the products of the rows of a stack of matrices, or of one row, by a packed matrix.
fn rows_by_matrix<T: Float + Element>(
    inputs: &Inputs<'_>,
    a: &ArrayD<T>,
    b: &Packed<T>,
) -> Result<ArrayD<T>> {
    let wrong = || refuse(a.shape(), &[b.k(), b.n()]);
    let Some((&width, stack)) = a.shape().split_last() else { return Err(wrong()) };
    if width != b.k() {
        return Err(wrong());
    }
    let shape = [stack, &[b.n()]].concat();
    inputs.check(&shape)?;
    let mut out = ArrayD::zeros(IxDyn(&shape));
    let a = a.as_standard_layout();
    if let (Some(rows), Some(to)) = (a.as_slice(), out.as_slice_mut()) {
        product(Rows::new(rows, width), b, Accumulate::Zero, RowsMut::new(to, b.n()));
    }
    Ok(out)
}

/// Returns the product of two matrices.
#[expect(clippy::expect_used, reason = "new rows are in standard layout")]
pub(in crate::interop::onnx) fn multiply<T: Float>(
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
) -> Array2<T> {
    let mut out = Array2::zeros((a.nrows(), b.ncols()));
    let a = a.as_standard_layout();
    if let (Some(rows), false) = (a.as_slice(), a.is_empty() || b.is_empty()) {
        let (width, packed) = (b.ncols(), Packed::new(Level::new(), b));
        let to = out.as_slice_mut().expect("new rows are in standard layout");
        let to = RowsMut::new(to, width);
        product(Rows::new(rows, a.ncols()), &packed, Accumulate::Zero, to);
    }
    out
}

fn refuse(a: &[usize], b: &[usize]) -> Error {
    let expected = format!("matrices that can be multiplied by those of {a:?}");
    Error::argument("shape", expected, format!("{b:?}"))
}

/// Returns the products of two stacks of matrices. A vector is a matrix of one row or column, and the result
/// has no axis for it.
fn product_of_stacks<T: Float + Element>(
    inputs: &Inputs<'_>,
    a: &ArrayD<T>,
    b: &ArrayD<T>,
) -> Result<ArrayD<T>> {
    let wrong = || refuse(a.shape(), b.shape());
    if a.ndim() == 0 || b.ndim() == 0 {
        return Err(wrong());
    }
    let (row, column) = (a.ndim() == 1, b.ndim() == 1);
    let a_view = if row { a.view().insert_axis(Axis(0)) } else { a.view() };
    let b_view = if column { b.view().insert_axis(Axis(1)) } else { b.view() };
    let ((a_stack, a_matrix), (b_stack, b_matrix)) =
        (a_view.shape().split_at(a_view.ndim() - 2), b_view.shape().split_at(b_view.ndim() - 2));
    let (m, k, n) = (a_matrix[0], a_matrix[1], b_matrix[1]);
    if b_matrix[0] != k {
        return Err(wrong());
    }
    let stack = broadcast(a_stack, b_stack).map_err(|_| wrong())?;
    let mut shape = [&stack[..], &[m, n]].concat();
    inputs.check(&shape)?;
    let count: usize = stack.iter().product();
    let of = |view: &ndarray::ArrayViewD<'_, T>, rows: usize, columns: usize| {
        let to = [&stack[..], &[rows, columns]].concat();
        let all = view.broadcast(to).map(|view| view.as_standard_layout().into_owned());
        all.and_then(|all| all.into_shape_with_order((count, rows, columns)).ok())
    };
    let result: Vec<T> = if b_stack.is_empty() {
        let rows = a_view.as_standard_layout();
        let rows = rows.to_shape((count * m, k)).map_err(|_| wrong())?;
        let matrix = b_view.into_dimensionality::<Ix2>().map_err(|_| wrong())?;
        multiply(rows.view(), matrix).into_iter().collect()
    } else {
        let (Some(a), Some(b)) = (of(&a_view, m, k), of(&b_view, k, n)) else {
            return Err(wrong());
        };
        a.outer_iter().zip(b.outer_iter()).flat_map(|(a, b)| multiply(a, b)).collect()
    };
    if column {
        shape.pop();
    }
    if row {
        shape.remove(shape.len() - 1 - usize::from(!column));
    }
    ArrayD::from_shape_vec(IxDyn(&shape), result).map_err(|_| wrong())
}

/// The operator α·A·B + β·C.
#[derive(Clone, Copy)]
struct Gemm {
    alpha: f64,
    beta: f64,
    transposed: [bool; 2],
}

impl Gemm {
    fn run<T: Float + Element>(
        self,
        inputs: &Inputs<'_>,
        a: &ArrayD<T>,
        b: &ArrayD<T>,
    ) -> Result<Value> {
        let wrong = || refuse(a.shape(), b.shape());
        let matrix = |array: &ArrayD<T>, transposed: bool| {
            let matrix = array.clone().into_dimensionality::<Ix2>().map_err(|_| wrong())?;
            Ok::<_, Error>(if transposed { matrix.reversed_axes() } else { matrix })
        };
        let (a, b) = (matrix(a, self.transposed[0])?, matrix(b, self.transposed[1])?);
        if a.ncols() != b.nrows() {
            return Err(wrong());
        }
        let shape = [a.nrows(), b.ncols()];
        inputs.check(&shape)?;
        let mut result = multiply(a.view(), b.view()).into_dyn();
        if self.alpha != 1.0 {
            let alpha = T::from_f64(self.alpha);
            result.mapv_inplace(|value| value * alpha);
        }
        if let Some(c) = inputs.get(2) {
            let (c, beta) = (c.array::<T>()?, T::from_f64(self.beta));
            let c = broadcast_view(c, &shape)?;
            Zip::from(&mut result).and(c).for_each(|to, &c| *to += beta * c);
        }
        Ok(T::value(result))
    }
}
