//! A linear layer, on rows or on every step of sequences.
//!
//! ```text
//! y = W x + b                 W [output, input], b [output]
//! d_x = Wᵀ d_y     dW = Σ d_y ⊗ x     db = Σ d_y
//! ```
//!
//! Names, layout and first values are those of `torch.nn.Linear`.

use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayView3};
use rand::Rng;
use rayon::prelude::*;

use crate::arrays::{Arrays, Visit, VisitMut, check_same_structure};
use crate::error::{Result, check_shape, check_size};
use crate::float::Float;
use crate::layer::steps::{self, Axes};
use crate::sequences::Sequences;
use crate::tensor::reduce::add_column_sums;
use crate::tensor::threads;
use crate::tensor::{
    Accumulate, Init, Level, Packed, RowRefs, Rows, RowsMut, add_outer_products, product,
};

/// Rows below which a product runs much slower per row.
const MIN_ROWS: usize = 24;

/// y = W x + b; see the [module](self).
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::{Arrays, layer::Linear};
///
/// let head = Linear::<f32>::new(3, 2, &mut ChaCha8Rng::seed_from_u64(1))?;
/// let x = Array2::ones((5, 3)); // [rows, input]
/// assert_eq!(head.forward(x.view())?.dim(), (5, 2));
///
/// let (mut grad, d_y) = (head.zeros_like(), Array2::ones((5, 2)));
/// let d_x = head.backward(x.view(), d_y.view(), &mut grad)?;
/// assert_eq!(d_x.dim(), (5, 3));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear<T> {
    weight: Array2<T>,
    bias: Option<Array1<T>>,
}

impl<T: Float> Linear<T> {
    /// A layer with bias; both parameters uniform on ±1/√input_size.
    pub fn new(input_size: usize, output_size: usize, rng: &mut dyn Rng) -> Result<Self> {
        let init = Init::Uniform(1.0 / (input_size as f64).sqrt());
        Self::with_options(input_size, output_size, true, init, rng)
    }

    /// A layer with or without bias, whose weight begins as `init` says, and its bias uniform on
    /// ±1/√input_size.
    ///
    /// # Errors
    /// Where a size is zero or `init` holds an impossible number.
    pub fn with_options(
        input_size: usize,
        output_size: usize,
        bias: bool,
        init: Init,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        check_size("input_size × output_size", &[input_size, output_size])?;
        init.check("init")?;
        let mut weight = Array2::zeros((output_size, input_size));
        init.fill(weight.view_mut(), rng);
        let bias = bias.then(|| {
            let mut bias = Array2::zeros((output_size, 1));
            Init::Uniform(1.0 / (input_size as f64).sqrt()).fill(bias.view_mut(), rng);
            bias.into_iter().collect()
        });
        Ok(Self { weight, bias })
    }

    /// Values of a row of the input.
    pub fn input_size(&self) -> usize {
        self.weight.ncols()
    }

    /// Values of a row of the output.
    pub fn output_size(&self) -> usize {
        self.weight.nrows()
    }

    /// y [rows, output] of `x` [rows, input].
    pub fn forward(&self, x: ArrayView2<'_, T>) -> Result<Array2<T>> {
        check_shape("x", "rows, input", &[x.nrows(), self.input_size()], x.shape())?;
        let mut y = Array2::zeros((x.nrows(), self.output_size()));
        self.product(x.as_standard_layout().as_slice(), y.as_slice_mut());
        Ok(y)
    }

    /// d_x [rows, input] from `d_y` [rows, output] at `x` [rows, input]. Adds dW and db to `grad`.
    pub fn backward(
        &self,
        x: ArrayView2<'_, T>,
        d_y: ArrayView2<'_, T>,
        grad: &mut Self,
    ) -> Result<Array2<T>> {
        let rows = x.nrows();
        check_shape("x", "rows, input", &[rows, self.input_size()], x.shape())?;
        check_shape("d_y", "rows, output", &[rows, self.output_size()], d_y.shape())?;
        check_same_structure("grad", self, grad)?;
        let (x, d_y) = (x.as_standard_layout(), d_y.as_standard_layout());
        let (x, d_y) = (
            Rows::new(slice(x.as_slice()), x.ncols()),
            Rows::new(slice(d_y.as_slice()), d_y.ncols()),
        );
        let mut d_x = Array2::zeros((rows, self.input_size()));
        self.backward_rows(x, d_y, &mut d_x, grad);
        Ok(d_x)
    }

    /// y [time, batch, output] of every step of `x`; zero in the padding.
    pub fn forward_sequences(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        steps::forward(x, self.input_axes(), |rows| self.forward(rows))
    }

    /// d_x [time, batch, input] from `d_y` [time, batch, output] at `x`; zero in the padding, where
    /// `d_y` is not read. Adds dW and db to `grad`.
    pub fn backward_sequences(
        &self,
        x: &Sequences<T>,
        d_y: ArrayView3<'_, T>,
        grad: &mut Self,
    ) -> Result<Array3<T>> {
        let output = (self.output_size(), "time, batch, output");
        steps::backward((x, self.input_axes()), (d_y, output), |x, d_y| self.backward(x, d_y, grad))
    }

    fn input_axes(&self) -> Axes {
        (self.input_size(), "time, batch, input")
    }

    fn product(&self, x: Option<&[T]>, y: Option<&mut [T]>) {
        let start = Accumulate::bias(self.bias.as_ref());
        let x = Rows::new(slice(x), self.input_size());
        let weight = Packed::new(Level::new(), self.weight.t());
        product_of_rows(x, &weight, start, y.unwrap_or_default());
    }

    fn backward_rows(
        &self,
        x: Rows<'_, T>,
        d_y: Rows<'_, T>,
        d_x: &mut Array2<T>,
        grad: &mut Self,
    ) {
        let level = Level::new();
        let weight = Packed::new(level, self.weight.view());
        let d_x = d_x.as_slice_mut().unwrap_or_default();
        product_of_rows(d_y, &weight, Accumulate::Zero, d_x);
        let (x, d_y) = (
            RowRefs::new(x.iter().collect(), x.width()),
            RowRefs::new(d_y.iter().collect(), d_y.width()),
        );
        add_outer_products(level, &d_y, &mut [(&x, grad.weight.view_mut())]);
        if let Some(bias) = &mut grad.bias {
            add_column_sums(level, &d_y, vec![bias.view_mut()]);
        }
    }
}

/// `y = start + x · weight`, for `x` without gaps. Threads take rows.
fn product_of_rows<T: Float>(
    x: Rows<'_, T>,
    weight: &Packed<T>,
    start: Accumulate<'_, T>,
    y: &mut [T],
) {
    let (input, output) = (weight.k(), weight.n());
    let parts = threads::parts(x.count(), MIN_ROWS, x.count() * input * output);
    if parts == 1 {
        return product(x, weight, start, RowsMut::new(y, output));
    }
    let rows = x.count().div_ceil(parts);
    let blocks = x.contiguous().par_chunks(rows * input).zip(y.par_chunks_mut(rows * output));
    blocks.for_each(|(x, y)| {
        product(Rows::new(x, input), weight, start, RowsMut::new(y, output));
    });
}

fn slice<T>(values: Option<&[T]>) -> &[T] {
    values.unwrap_or_default()
}

impl<T: Float> Arrays for Linear<T> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        f("weight", self.weight.view().into_dyn());
        self.bias.for_each(&mut |_, bias| f("bias", bias));
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        f("weight", self.weight.view_mut().into_dyn());
        self.bias.for_each_mut(&mut |_, bias| f("bias", bias));
    }
}
