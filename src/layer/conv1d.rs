//! A convolution over time.
//!
//! ```text
//! y_t = b + Σ_j W[:, :, j] x_{t + j·dilation − left}         W [out, in, kernel_size]
//! left = (kernel_size − 1)·dilation, halved and rounded down for padding "same"
//! ```
//!
//! x is zero before the first step and after the last step of each sequence. Names, layout and
//! initial values are those of `torch.nn.Conv1d`. The windows of all steps are the rows of a matrix,
//! and y is one product of it with W.

use ndarray::{Array1, Array2, Array3, Axis};
use rand::Rng;

use crate::arrays::{Arrays, Visit, VisitMut, check_same_structure};
use crate::error::{Result, check_shape, check_size, shaped};
use crate::float::Float;
use crate::layer::Linear;
use crate::layer::steps::{alive, check, layer_at, spread};
use crate::sequences::Sequences;

/// The position of a window relative to its step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// The window is centred on the step, as in PyTorch's `padding="same"`. If it cannot be centred,
    /// it extends one step further after the step than before it.
    #[default]
    Same,
    /// The window ends at the step, so y_t does not depend on later steps.
    Causal,
}

/// A convolution over time with stride 1; see the [module](self).
///
/// ```
/// use ndarray::Array3;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Conv1d, Layer, Padding};
/// use recurrent::{Arrays, Sequences};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let conv = Conv1d::<f32>::new(3, 8, 5, &mut rng)?.padding(Padding::Causal).dilation(2)?;
/// let x = Sequences::new(Array3::ones((20, 2, 3)), vec![20, 7])?; // [time, batch, in]
/// let (y, tape) = conv.forward_train(&x, &mut rng)?;
/// assert_eq!((y.values().dim(), y.lengths()), ((20, 2, 8), x.lengths()));
///
/// let mut grad = conv.zeros_like();
/// let d_x = conv.backward(tape, &y, &mut grad)?;
/// assert_eq!(d_x.values().dim(), (20, 2, 3));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv1d<T> {
    /// Weight [out, in·kernel_size], which is W in memory, and bias.
    linear: Linear<T>,
    in_channels: usize,
    kernel_size: usize,
    dilation: usize,
    padding: Padding,
}

impl<T: Float> Conv1d<T> {
    /// Creates a layer with bias and centred windows of `kernel_size` steps. All parameters are uniform
    /// on ±1/√(in_channels·kernel_size).
    ///
    /// # Errors
    /// If a size is zero.
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: usize,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        let sizes = [in_channels, out_channels, kernel_size];
        check_size("in_channels × out_channels × kernel_size", &sizes)?;
        let linear = Linear::new(in_channels * kernel_size, out_channels, rng)?;
        Ok(Self { linear, in_channels, kernel_size, dilation: 1, padding: Padding::Same })
    }

    /// Creates a layer with the given `weight` [out, in, kernel_size] and `bias`, if it has one, such as those of
    /// a layer that was trained elsewhere. Windows are centred.
    ///
    /// ```
    /// use ndarray::{Array3, array};
    /// use recurrent::Sequences;
    /// use recurrent::layer::{Conv1d, Layer};
    ///
    /// let mean = Conv1d::from_weight(Array3::from_elem((1, 1, 3), 1.0 / 3.0), None)?;
    /// let x = Sequences::from_list(&[array![[3.0], [6.0], [9.0]]])?;
    /// assert_eq!(mean.forward(&x)?.values()[[1, 0, 0]], 6.0);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a size is zero, `bias` has another length than the first axis of `weight`, or a value is not finite.
    pub fn from_weight(weight: Array3<T>, bias: Option<Array1<T>>) -> Result<Self> {
        let (out_channels, in_channels, kernel_size) = weight.dim();
        check_size("weight [out, in, kernel_size]", weight.shape())?;
        let values = weight.iter().copied().collect();
        let rows = Array2::from_shape_vec((out_channels, in_channels * kernel_size), values);
        let linear = Linear::from_weight(shaped("weight", rows)?, bias)?;
        Ok(Self { linear, in_channels, kernel_size, dilation: 1, padding: Padding::Same })
    }

    /// Sets the position of a window relative to its step. Default: [`Padding::Same`].
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Sets the distance in steps between neighbouring entries of a window. Default: 1.
    ///
    /// # Errors
    /// If it is zero, or the length of a window overflows.
    pub fn dilation(mut self, dilation: usize) -> Result<Self> {
        check_size("dilation × kernel_size", &[dilation, self.kernel_size])?;
        self.dilation = dilation;
        Ok(self)
    }

    /// Returns the window of each step, [steps, in·kernel_size].
    fn windows(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        let expected = [x.time(), x.batch(), self.in_channels];
        check_shape("x", "time, batch, in", &expected, x.values().shape())?;
        let mut windows = Array2::zeros((x.steps(), self.in_channels * self.kernel_size));
        self.each_place(x, |row, place, at| windows[[row, at]] = x.values()[place]);
        Ok(windows)
    }

    /// Returns d_x from `d_y` and the input `x` of the forward pass. Adds dW and db to `grad`.
    fn backward_at(
        &self,
        x: &Sequences<T>,
        d_y: &Sequences<T>,
        grad: &mut Self,
    ) -> Result<Sequences<T>> {
        let windows = self.windows(x)?;
        check("d_y", x, (self.linear.output_size(), "time, batch, out"), d_y)?;
        check_same_structure("grad", self, grad)?;
        let d_rows = alive(x, d_y.values().view());
        let d_windows =
            self.linear.backward_rows(windows.view(), d_rows.view(), &mut grad.linear)?;
        let mut d_x = Array3::zeros(x.values().dim());
        self.each_place(x, |row, place, at| d_x[place] += d_windows[[row, at]]);
        x.with_values(d_x)
    }

    /// Calls `f` for each entry of the windows that lies within its sequence: with its row, its index
    /// [t, b, i] in `x`, and its column.
    fn each_place(&self, x: &Sequences<T>, mut f: impl FnMut(usize, [usize; 3], usize)) {
        let reach = (self.kernel_size - 1) * self.dilation;
        let left = if self.padding == Padding::Causal { reach } else { reach / 2 };
        let mut row = 0;
        for t in 0..x.time() {
            for (b, &length) in x.lengths().iter().enumerate().filter(|&(_, &length)| t < length) {
                for j in 0..self.kernel_size {
                    let place = (t + j * self.dilation).checked_sub(left).filter(|&s| s < length);
                    let Some(s) = place else { continue };
                    for i in 0..self.in_channels {
                        f(row, [s, b, i], i * self.kernel_size + j);
                    }
                }
                row += 1;
            }
        }
    }
}

layer_at! {
    /// Maps `x` [time, batch, in] to y [time, batch, out] with the same lengths, zero in the padding.
    Conv1d: Sequences<T> => Sequences<T>,
    forward: |conv, x| {
        let y = conv.linear.forward_rows(conv.windows(x)?.view())?;
        x.with_values(spread(x, y))
    },
    backward: |conv, x, d_y, grad| conv.backward_at(&x, d_y, grad),
}

impl<T: Float> Arrays for Conv1d<T> {
    type Elem = T;

    #[expect(clippy::expect_used, reason = "`Linear` keeps its weight in standard layout")]
    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.linear.for_each(&mut |name, array| match array.ndim() {
            2 => {
                // Splits the axis in·kernel_size, as PyTorch's weight has three axes.
                let shape = (array.len_of(Axis(0)), self.in_channels, self.kernel_size);
                let weight = array.into_shape_with_order(shape);
                f(name, weight.expect("`Linear::new` makes a contiguous weight").into_dyn());
            }
            _ => f(name, array),
        });
    }

    #[expect(clippy::expect_used, reason = "`Linear` keeps its weight in standard layout")]
    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        let (in_channels, kernel_size) = (self.in_channels, self.kernel_size);
        self.linear.for_each_mut(&mut |name, array| match array.ndim() {
            2 => {
                let shape = (array.len_of(Axis(0)), in_channels, kernel_size);
                let weight = array.into_shape_with_order(shape);
                f(name, weight.expect("`Linear::new` makes a contiguous weight").into_dyn());
            }
            _ => f(name, array),
        });
    }
}
