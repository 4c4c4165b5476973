//! A convolution over time: each step sees its neighbours.
//!
//! ```text
//! y_t = b + Σ_j W[:, :, j] x_{t + j·dilation − left}         W [out, in, kernel_size]
//! left = (kernel_size − 1)·dilation, halved and rounded down for padding "same"
//! ```
//!
//! What lies before the beginning, or after a sequence's own end, is zero. Names, layout and first
//! values are those of `torch.nn.Conv1d`. The windows of all steps become rows, of which one product
//! with W makes y.

use ndarray::{Array2, Array3, Axis};
use rand::Rng;

use crate::arrays::{Arrays, Visit, VisitMut, check_same_structure};
use crate::error::{Result, check_shape, check_size};
use crate::float::Float;
use crate::layer::Linear;
use crate::layer::steps::{alive, check, layer_at, spread};
use crate::sequences::Sequences;

/// Where a step's window lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Around the step, as PyTorch's `padding="same"`: of an even window one more step is after it.
    #[default]
    Same,
    /// Up to the step: none sees the future.
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
    /// Its weight [out, in·kernel_size] has the memory of W.
    linear: Linear<T>,
    in_channels: usize,
    kernel_size: usize,
    dilation: usize,
    padding: Padding,
}

impl<T: Float> Conv1d<T> {
    /// Returns a layer with bias, of windows of `kernel_size` steps around each; all parameters uniform on
    /// ±1/√(in_channels·kernel_size).
    ///
    /// # Errors
    /// Where a size is zero.
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

    /// Sets where a step's window lies.
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Sets the number of steps from one of a window to the next.
    ///
    /// # Errors
    /// Where it is zero, or a window could not be addressed.
    pub fn dilation(mut self, dilation: usize) -> Result<Self> {
        check_size("dilation × kernel_size", &[dilation, self.kernel_size])?;
        self.dilation = dilation;
        Ok(self)
    }

    /// The window of each step, [steps, in·kernel_size].
    fn windows(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        let expected = [x.time(), x.batch(), self.in_channels];
        check_shape("x", "time, batch, in", &expected, x.values().shape())?;
        let mut windows = Array2::zeros((x.steps(), self.in_channels * self.kernel_size));
        self.each_place(x, |row, place, at| windows[[row, at]] = x.values()[place]);
        Ok(windows)
    }

    /// Returns d_x at `x`. Adds dW and db to `grad`.
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

    /// Calls `f` with each row, the place [t, b, i] of `x` that stands in it, and where.
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
    /// y [time, batch, out] of `x` [time, batch, in], with the same lengths; zero in the padding.
    Conv1d: Sequences<T> => Sequences<T>,
    forward: |conv, x| {
        let y = conv.linear.forward_rows(conv.windows(x)?.view())?;
        x.with_values(spread(x, y))
    },
    backward: |conv, x, d_y, grad| conv.backward_at(&x, d_y, grad),
}

impl<T: Float> Arrays for Conv1d<T> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.linear.for_each(&mut |name, array| match array.ndim() {
            2 => {
                // The axis in·kernel_size of a contiguous array, in two.
                let shape = (array.len_of(Axis(0)), self.in_channels, self.kernel_size);
                let weight = array.into_shape_with_order(shape);
                f(name, weight.expect("`Linear::new` makes a contiguous weight").into_dyn());
            }
            _ => f(name, array),
        });
    }

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
