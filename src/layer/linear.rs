//! A linear layer on rows, or on every step of sequences.
//!
//! ```text
//! y = W x + b                 W [output, input], b [output]
//! d_x = Wᵀ d_y     dW = Σ d_y ⊗ x     db = Σ d_y
//! ```
//!
//! Names, layout and initial values are those of `torch.nn.Linear`.

use ndarray::{Array1, Array2, ArrayView2, Axis, CowArray, Ix2};
use rand::Rng;

use crate::arrays::{Arrays, check_same_structure};
use crate::error::{Result, check_shape, check_size};
use crate::float::{Float, per_float};
use crate::layer::steps::row_layer;
use crate::tensor::reduce::add_column_sums;
use crate::tensor::threads;
use crate::tensor::{
    Accumulate, Init, Level, Packed, Precision, RowRefs, Rows, RowsMut, add_outer_products, product,
};

/// The number of rows below which a product takes much longer per row.
const MIN_ROWS: usize = 24;

/// The affine map y = W x + b; see the [module](self).
///
/// ```
/// use ndarray::{Array2, Array3};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Layer, Linear};
/// use recurrent::{Arrays, Sequences};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let head = Linear::<f32>::new(3, 2, &mut rng)?;
/// let x = Array2::ones((5, 3)); // [rows, input]
/// let (y, tape) = head.forward_train(&x, &mut rng)?;
/// assert_eq!(y.dim(), (5, 2));
/// let mut grad = head.zeros_like();
/// let d_x: Array2<f32> = head.backward(tape, &Array2::ones((5, 2)), &mut grad)?;
/// assert_eq!(d_x.dim(), (5, 3));
///
/// let x = Sequences::new(Array3::ones((4, 2, 3)), vec![4, 1])?; // every step of sequences
/// assert_eq!(head.forward(&x)?.values().dim(), (4, 2, 2));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear<T> {
    weight: Array2<T>,
    bias: Option<Array1<T>>,
}

impl<T: Float> Linear<T> {
    /// Creates a layer with bias. Both parameters are uniform on ±1/√input_size.
    ///
    /// # Errors
    /// If a size is zero.
    pub fn new(input_size: usize, output_size: usize, rng: &mut dyn Rng) -> Result<Self> {
        let init = Init::Uniform(1.0 / (input_size as f64).sqrt());
        Self::with_options(input_size, output_size, true, init, rng)
    }

    /// Creates a layer with or without bias. The weight is initialised by `init`; the bias is uniform on
    /// ±1/√input_size.
    ///
    /// # Errors
    /// If a size is zero or a number in `init` is out of range.
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

    /// Creates a layer with the given `weight` [output, input] and `bias`, if it has one, such as those of a
    /// layer that was trained elsewhere.
    ///
    /// ```
    /// use ndarray::array;
    /// use recurrent::layer::{Layer, Linear};
    ///
    /// let head = Linear::from_weight(array![[1.0, 2.0], [0.5, 0.0]], Some(array![0.0, 1.0]))?;
    /// assert_eq!(head.forward(&array![[3.0, 1.0]])?, array![[5.0, 2.5]]);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a size is zero, `bias` has another length than the rows of `weight`, or a value is not finite.
    pub fn from_weight(weight: Array2<T>, bias: Option<Array1<T>>) -> Result<Self> {
        check_size("weight [output, input]", weight.shape())?;
        if let Some(bias) = &bias {
            check_shape("bias", "output", &[weight.nrows()], bias.shape())?;
        }
        let bias = bias.map(|bias| bias.as_standard_layout().into_owned());
        let layer = Self { weight: weight.as_standard_layout().into_owned(), bias };
        layer.check_finite()?;
        Ok(layer)
    }

    /// Creates a layer with parameters in standard layout that fit each other.
    pub(crate) fn of(weight: Array2<T>, bias: Option<Array1<T>>) -> Self {
        Self { weight, bias }
    }

    /// Returns the number of values in a row of the input.
    pub fn input_size(&self) -> usize {
        self.weight.ncols()
    }

    /// Returns the number of values in a row of the output.
    pub fn output_size(&self) -> usize {
        self.weight.nrows()
    }

    /// Returns the weight, [output, input].
    pub fn weight(&self) -> ArrayView2<'_, T> {
        self.weight.view()
    }

    /// Returns the values of the weight, row by row.
    #[expect(clippy::expect_used, reason = "`Linear` keeps its weight in standard layout")]
    pub(super) fn weight_slice(&self) -> &[T] {
        self.weight.as_slice().expect("a weight in standard layout")
    }

    /// Adds `d` [output, input] to the weight, which is a gradient.
    pub(super) fn add_weight_gradient(&mut self, d: &ArrayView2<'_, T>) {
        self.weight += d;
    }

    /// Returns the bias, if there is one.
    pub fn bias(&self) -> Option<&Array1<T>> {
        self.bias.as_ref()
    }

    /// Returns y [rows, output] of `x` [rows, input].
    pub(crate) fn forward_rows(&self, x: ArrayView2<'_, T>) -> Result<Array2<T>> {
        self.packed().forward_rows(x)
    }

    /// Returns the layer with its weight packed for many calls.
    pub(crate) fn packed(&self) -> PackedLinear<'_, T> {
        PackedLinear::new(self.weight.view(), self.bias.as_ref())
    }

    /// Returns the same with a weight of the given precision, which [`Precision::check`] allows.
    pub(crate) fn packed_with(&self, precision: Precision) -> PackedLinear<'_, T> {
        PackedLinear::with(self.weight.view(), self.bias.as_ref(), precision)
    }

    /// Returns the layer from d_y to d_x, with its weight packed for many calls.
    pub(crate) fn packed_backward(&self) -> PackedLinear<'_, T> {
        PackedLinear::new(self.weight.t(), None)
    }

    /// Returns d_x [rows, input] from `d_y` [rows, output] at `x` [rows, input]. Adds dW and db to
    /// `grad`.
    pub(crate) fn backward_rows(
        &self,
        x: ArrayView2<'_, T>,
        d_y: ArrayView2<'_, T>,
        grad: &mut Self,
    ) -> Result<Array2<T>> {
        gradients_of_rows(self, x, d_y, grad)
    }

    /// Adds dW and db to `grad`, from the rows `x` [rows, input] and the gradients `d_y` [rows, output].
    pub(crate) fn add_gradients(
        &self,
        x: &RowRefs<'_, T>,
        d_y: &RowRefs<'_, T>,
        grad: &mut Self,
    ) -> Result<()> {
        check_same_structure("grad", self, grad)?;
        let level = Level::new();
        add_outer_products(level, d_y, &mut [(x, grad.weight.view_mut())]);
        if let Some(bias) = &mut grad.bias {
            add_column_sums(level, d_y, vec![bias.view_mut()]);
        }
        Ok(())
    }
}

/// The number of inputs whose weights are read from the second-level cache for all rows, before those of
/// the next inputs.
const INPUTS: usize = 512;

/// A layer whose weight is packed, in blocks of inputs.
#[derive(Debug)]
pub(crate) struct PackedLinear<'m, T: Float> {
    weight: Vec<Packed<T>>,
    input: usize,
    output: usize,
    bias: Option<&'m Array1<T>>,
}

impl<'m, T: Float> PackedLinear<'m, T> {
    /// Packs `weight` [output, input].
    pub(crate) fn new(weight: ArrayView2<'_, T>, bias: Option<&'m Array1<T>>) -> Self {
        Self::in_blocks(weight, bias, INPUTS)
    }

    /// Packs `weight` in the given precision, which [`Precision::check`] allows.
    pub(crate) fn with(
        weight: ArrayView2<'_, T>,
        bias: Option<&'m Array1<T>>,
        precision: Precision,
    ) -> Self {
        if precision == Precision::Full {
            return Self::new(weight, bias);
        }
        // The scale of a row is that of all its inputs.
        let mut packed = Self::in_blocks(weight, bias, usize::MAX);
        packed.weight.iter_mut().for_each(|block| block.reduce(precision));
        packed
    }

    /// Packs `weight` in blocks of so many inputs.
    fn in_blocks(weight: ArrayView2<'_, T>, bias: Option<&'m Array1<T>>, inputs: usize) -> Self {
        let (output, input) = weight.dim();
        let blocks = weight.axis_chunks_iter(Axis(1), inputs.min(input));
        let weight = blocks.map(|block| Packed::new(Level::new(), block.reversed_axes())).collect();
        Self { weight, input, output, bias }
    }

    /// Returns y [rows, output] of `x` [rows, input].
    pub(crate) fn forward_rows(&self, x: ArrayView2<'_, T>) -> Result<Array2<T>> {
        outputs_of_rows(self, x)
    }

    /// Sets `y`, rows of the output, to the products of `x`, as many rows of the input.
    pub(crate) fn forward_into(&self, x: &[T], y: &mut [T]) {
        product_of_rows(Rows::new(x, self.input), &self.weight, Accumulate::bias(self.bias), y);
    }
}

row_layer!(Linear, input_size "input", output_size "output");
crate::arrays!(Linear { weight: array, bias: array });

per_float! {
    /// Returns y [rows, output] of `x` [rows, input].
    fn outputs_of_rows<'a, T>(
        linear: &'a PackedLinear<'a, T>,
        x: ArrayView2<'a, T>,
    ) -> Result<Array2<T>> = forward_rows;

    /// Returns d_x and adds dW and db to `grad`, as [`Linear::backward_rows`] does.
    fn gradients_of_rows<'a, T>(
        linear: &'a Linear<T>,
        x: ArrayView2<'a, T>,
        d_y: ArrayView2<'a, T>,
        grad: &'a mut Linear<T>,
    ) -> Result<Array2<T>> = backward_rows;

    /// Computes `y = start + x · weight` for contiguous `x` and a weight in blocks of rows. Threads split the
    /// rows of `x`.
    fn product_of_rows<'a, T>(
        x: Rows<'_, T>,
        blocks: &[Packed<T>],
        start: Accumulate<'_, T>,
        y: &mut [T],
    ) = rows_by_weight;
}

fn forward_rows<T: Float>(linear: &PackedLinear<'_, T>, x: ArrayView2<'_, T>) -> Result<Array2<T>> {
    check_shape("x", "rows, input", &[x.nrows(), linear.input], x.shape())?;
    let mut y = Array2::zeros((x.nrows(), linear.output));
    let x = x.as_standard_layout();
    linear.forward_into(slice(&x), slice_mut(&mut y));
    Ok(y)
}

fn backward_rows<T: Float>(
    linear: &Linear<T>,
    x: ArrayView2<'_, T>,
    d_y: ArrayView2<'_, T>,
    grad: &mut Linear<T>,
) -> Result<Array2<T>> {
    let rows = x.nrows();
    check_shape("x", "rows, input", &[rows, linear.input_size()], x.shape())?;
    check_shape("d_y", "rows, output", &[rows, linear.output_size()], d_y.shape())?;
    check_same_structure("grad", linear, grad)?;
    let (x, d_y) = (x.as_standard_layout(), d_y.as_standard_layout());
    let (x, d_y) = (Rows::new(slice(&x), x.ncols()), Rows::new(slice(&d_y), d_y.ncols()));
    let mut d_x = Array2::zeros((rows, linear.input_size()));
    linear.packed_backward().forward_into(d_y.contiguous(), slice_mut(&mut d_x));
    let (x, d_y) = (
        RowRefs::new(x.iter().collect(), x.width()),
        RowRefs::new(d_y.iter().collect(), d_y.width()),
    );
    linear.add_gradients(&x, &d_y, grad)?;
    Ok(d_x)
}

fn rows_by_weight<T: Float>(
    x: Rows<'_, T>,
    blocks: &[Packed<T>],
    start: Accumulate<'_, T>,
    y: &mut [T],
) {
    let output = blocks[0].n();
    let parts = threads::parts(x.count(), MIN_ROWS, x.count() * x.width() * output);
    let rows = x.count().div_ceil(parts).max(1);
    threads::for_chunks(y, rows * output, parts, &|i, y| {
        let x = x.range(i * rows..i * rows + y.len() / output);
        let (mut start, mut inputs) = (start, 0..0);
        for weight in blocks {
            inputs = inputs.end..inputs.end + weight.k();
            product(x.columns(inputs.clone()), weight, start, RowsMut::new(y, output));
            start = Accumulate::Output;
        }
    });
}

#[expect(clippy::expect_used, reason = "rows are brought into standard layout first")]
fn slice<'a, T>(rows: &'a CowArray<'_, T, Ix2>) -> &'a [T] {
    rows.as_slice().expect("rows in standard layout")
}

#[expect(clippy::expect_used, reason = "new rows are in standard layout")]
fn slice_mut<T>(rows: &mut Array2<T>) -> &mut [T] {
    rows.as_slice_mut().expect("new rows are in standard layout")
}
