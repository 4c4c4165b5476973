//! Optimisers, gradient clipping, learning-rate schedules and moving averages of weights.
//!
//! A step first reads the whole gradient to check it, so that a step that fails changes nothing. Then
//! it updates parameters and moments piece by piece; threads share the pieces. The check adds a seventh to
//! the memory traffic of Adam and a third to that of SGD without momentum. Moments have the type of the
//! parameters.
//!
//! | file | rule |
//! |---|---|
//! | `optimizer` | [`Optimizer`], the common interface, and [`OptimizerState`] |
//! | `sgd` | [`Sgd`]: gradient descent, with momentum |
//! | `adam` | [`Adam`] (with AMSGrad), [`AdamW`], [`NAdam`], [`RAdam`] |
//! | `adaptive` | [`RmsProp`], [`Adagrad`], [`Adadelta`] |
//! | `groups` | [`Groups`]: learning rates, weight decay and frozen weights by name |
//! | `clip` | [`clip_global_norm`], [`clip_global_norm_of_type`], [`clip_value`], [`global_norm`] |
//! | `ema` | [`Ema`]: the moving average of weights |
//! | `schedule` | [`Schedule`](schedule::Schedule): the learning rate over time |

pub mod adam;
pub mod adaptive;
pub mod clip;
pub mod ema;
mod groups;
mod optimizer;
mod ranges;
pub mod schedule;
pub mod sgd;

use ndarray::ArrayViewD;

use crate::arrays::{
    Arrays, ViewsMut, check_all_finite, check_structure, other_layout, views, views_mut,
};
use crate::error::{Error, Result};
use crate::float::{Float, per_float};
use crate::tensor::threads::{self, COPY_WORK};
use crate::tensor::update::{Check, Checked, Rule, Step};
use crate::tensor::{Compiled, Level};

pub use adam::{Adam, AdamW, NAdam, RAdam};
pub use adaptive::{Adadelta, Adagrad, RmsProp};
pub use clip::{clip_global_norm, clip_global_norm_of_type, clip_value, global_norm};
pub use ema::Ema;
pub use groups::Groups;
pub use optimizer::{Optimizer, OptimizerState};
pub use sgd::Sgd;

use ranges::{between, count, count_to_f64, in_range, representable};

/// Implements [`Optimizer`] for a rule that wraps a state with the same methods.
macro_rules! delegate {
    ($($rule:ident)+) => {$(
        impl<A> $rule<A> {
            /// Returns η.
            pub fn learning_rate(&self) -> f64 {
                self.0.options.learning_rate
            }

            /// Sets η for the next steps. Schedules call it.
            ///
            /// # Errors
            /// Unless η is finite and at least 0. It is unchanged then.
            pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
                self.0.options.set_learning_rate(learning_rate)
            }

            /// Updates `parameters` by `grad`.
            ///
            /// # Errors
            /// If `grad` does not fit, a gradient or its square is not finite, or a hyper-parameter lies
            /// outside the range of `T`. Nothing has changed then.
            pub fn step<T: Float>(&mut self, parameters: &mut A, grad: &A) -> Result<()>
            where
                A: Arrays<Elem = T>,
            {
                self.0.step(parameters, grad, &[])
            }
        }

        impl<T: Float, A: Arrays<Elem = T>> Optimizer<A> for $rule<A> {
            fn step(&mut self, parameters: &mut A, grad: &A) -> Result<()> {
                self.0.step(parameters, grad, &[])
            }

            fn step_with_decay(
                &mut self,
                parameters: &mut A,
                grad: &A,
                weight_decay: &[Option<f64>],
            ) -> Result<()> {
                check_decays(weight_decay, parameters)?;
                self.0.step(parameters, grad, weight_decay)
            }

            fn learning_rate(&self) -> f64 {
                self.0.options.learning_rate
            }

            fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
                self.0.options.set_learning_rate(learning_rate)
            }

            fn options(&self) -> String {
                self.0.options.describe(stringify!($rule))
            }

            fn state(&self) -> OptimizerState<A> {
                let moments = self.0.moments.clone();
                OptimizerState { scalars: self.0.options.scalars(), moments }
            }

            fn restore(&mut self, state: OptimizerState<A>) -> Result<()> {
                state.check(self.0.options.parts())?;
                self.0.options.restore(&state.scalars)?;
                self.0.moments = state.moments;
                Ok(())
            }
        }
    )+};
}
use delegate;

/// Fails unless `weight_decay` has an entry for each array of `parameters`.
fn check_decays<A: Arrays>(weight_decay: &[Option<f64>], parameters: &A) -> Result<()> {
    let (expected, got) = (views(parameters).len(), weight_decay.len());
    if got == expected {
        return Ok(());
    }
    Err(Error::argument("weight_decay", format!("{expected} entries, one for each array"), got))
}

/// Returns the rule of each array, made from its weight decay: `each`, or `own` where that is `None`.
/// Without `each`, returns one rule for all arrays.
fn by_decay<R>(own: f64, each: &[Option<f64>], rule: impl Fn(f64) -> Result<R>) -> Result<Vec<R>> {
    if each.is_empty() {
        return Ok(vec![rule(own)?]);
    }
    let decay =
        |each: &Option<f64>| in_range("weight_decay", each.unwrap_or(own), 0.0, f64::INFINITY);
    each.iter().map(|each| rule(decay(each)?)).collect()
}

static CHECK: Compiled<Check> = Compiled::new();

/// The part of a rule that does not depend on the number of its moments.
trait Checks {
    /// The name of the checked quantity, the prefix of an array's name in errors.
    const CHECKED: &'static str;
    /// Returns the numbers that must be finite before the step.
    fn checked(&self) -> Checked;

    /// Returns the value with which a moment begins.
    fn initial(&self, _moment: usize) -> f64 {
        0.0
    }
}

/// The interface of the rules of all arrays, for one array at a time.
trait ArrayRule<T>: Sync {
    /// Returns the value with which each moment begins.
    fn initial(&self) -> Vec<f64>;
    /// Returns the name of the checked quantity, the prefix of an array's name in errors.
    fn checked(&self) -> &'static str;
    /// Returns whether all checked numbers of a piece of the array at `place` are finite, and their sum.
    fn check(&self, level: Level, place: usize, theta: &[T], grad: &[T]) -> (bool, T);
    /// Updates `theta`, a piece of the array at `place`, and its moments.
    fn step(
        &self,
        level: Level,
        place: usize,
        theta: &mut [T],
        grad: &[T],
        moments: &mut [&mut [T]],
    );
}

/// The rules of all arrays, or the one rule for all, and the kernel of their steps.
struct Rules<'r, R: Rule<N>, const N: usize>(&'r [R], &'static Compiled<Step<R, N>>);

impl<R: Rule<N>, const N: usize> Rules<'_, R, N> {
    /// Returns the rule of the array at `place`.
    fn of(&self, place: usize) -> &R {
        &self.0[place.min(self.0.len() - 1)]
    }
}

impl<T: Float, R: Rule<N> + Checks, const N: usize> ArrayRule<T> for Rules<'_, R, N> {
    fn initial(&self) -> Vec<f64> {
        (0..N).map(|moment| self.of(0).initial(moment)).collect()
    }

    fn checked(&self) -> &'static str {
        R::CHECKED
    }

    fn check(&self, level: Level, place: usize, theta: &[T], grad: &[T]) -> (bool, T) {
        CHECK.call(level, (self.of(place).checked(), theta, grad))
    }

    #[expect(clippy::expect_used, reason = "a rule gets as many moments as it keeps")]
    fn step(
        &self,
        level: Level,
        place: usize,
        theta: &mut [T],
        grad: &[T],
        moments: &mut [&mut [T]],
    ) {
        let mut moments = moments.iter_mut();
        let moments =
            std::array::from_fn(|_| &mut **moments.next().expect("as many as the rule keeps"));
        self.1.call(level, (self.of(place), theta, grad, moments));
    }
}

/// The number of values of a piece of an array. Pieces are updated independently of each other.
const PIECE: usize = 1 << 15;

/// A piece of the parameters, with the same piece of the gradient and of each moment.
struct Piece<'t, T> {
    place: usize,
    theta: &'t mut [T],
    grad: &'t [T],
    moments: Vec<&'t mut [T]>,
}

/// Calls `f` with each of `pieces`. Threads share them.
fn for_pieces<P: Send>(pieces: &mut [P], f: impl Fn(&mut P) + Sync) {
    let parts = threads::parts(pieces.len(), 1, pieces.len() * PIECE * COPY_WORK);
    let length = pieces.len().div_ceil(parts).max(1);
    threads::for_chunks(pieces, length, parts, &|_, pieces| pieces.iter_mut().for_each(&f));
}

/// Applies one step of `rule` to each array of the parameters.
///
/// # Errors
/// If `grad` does not fit or is not finite, a checked number is not finite, or an array is not in
/// standard layout. Nothing has changed then.
fn walk<T: Float, A: Arrays<Elem = T>>(
    parameters: &mut A,
    grad: &A,
    moments: &mut Vec<A>,
    rule: &dyn ArrayRule<T>,
) -> Result<()> {
    let grads = views(grad);
    for moment in &*moments {
        check_moments(&views(moment), &views(parameters))?;
    }
    check(rule, &views(parameters), &grads)?;
    let initial = rule.initial();
    moments.truncate(initial.len());
    for &value in &initial[moments.len()..] {
        let mut moment = parameters.clone();
        moment.fill(T::from_f64(value));
        moments.push(moment);
    }
    apply(rule, views_mut(parameters), &grads, moments.iter_mut().map(views_mut).collect());
    Ok(())
}

per_float! {
    fn check_moments<'a, T>(
        moment: &[(String, ArrayViewD<'a, T>)],
        parameters: &[(String, ArrayViewD<'a, T>)],
    ) -> Result<()> = check_each_moment;
    fn check<'a, T>(
        rule: &dyn ArrayRule<T>,
        parameters: &[(String, ArrayViewD<'a, T>)],
        grads: &[(String, ArrayViewD<'a, T>)],
    ) -> Result<()> = check_each;
    fn apply<'a, T>(
        rule: &dyn ArrayRule<T>,
        parameters: ViewsMut<'a, T>,
        grads: &[(String, ArrayViewD<'a, T>)],
        moments: Vec<ViewsMut<'a, T>>,
    ) = apply_each;
}

/// Fails unless `moment` has the arrays of the parameters, each in standard layout.
fn check_each_moment<T: Float>(
    moment: &[(String, ArrayViewD<'_, T>)],
    parameters: &[(String, ArrayViewD<'_, T>)],
) -> Result<()> {
    check_structure("parameters", moment, parameters)?;
    match moment.iter().find(|(_, array)| !array.is_standard_layout()) {
        Some((name, _)) => Err(other_layout(format!("moment of {name}"))),
        None => Ok(()),
    }
}

/// Fails unless `grads` fits, every parameter is in standard layout, and `grads` and all checked
/// numbers are finite.
#[expect(clippy::expect_used, reason = "a standard layout is contiguous")]
fn check_each<T: Float>(
    rule: &dyn ArrayRule<T>,
    parameters: &[(String, ArrayViewD<'_, T>)],
    all: &[(String, ArrayViewD<'_, T>)],
) -> Result<()> {
    check_structure("grad", parameters, all)?;
    let level = Level::new();
    let grads: Vec<_> = all.iter().map(|(_, grad)| grad.as_standard_layout()).collect();
    let grad_of = |place: usize| grads[place].as_slice().expect("a standard layout is contiguous");
    let mut pieces = Vec::new();
    for (place, (name, theta)) in parameters.iter().enumerate() {
        let theta = theta.as_slice().ok_or_else(|| other_layout(name.clone()))?;
        let both = theta.chunks(PIECE).zip(grad_of(place).chunks(PIECE));
        let piece = |(i, (theta, grad))| (place, i * PIECE, theta, grad, true);
        pieces.extend(both.enumerate().map(piece));
    }
    for_pieces(&mut pieces, |(place, _, theta, grad, finite)| {
        *finite = rule.check(level, *place, theta, grad).0;
    });
    let Some(&(place, start, theta, grad, _)) = pieces.iter().find(|(.., finite)| !finite) else {
        return Ok(());
    };
    // An error names the gradient if that itself is not finite.
    check_all_finite(all)?;
    let number = |i: usize| rule.check(level, place, &theta[i..=i], &grad[i..=i]).1;
    let mut numbers = (start..).zip((0..grad.len()).map(number));
    let (index, value) = numbers.find(|(_, value)| !value.is_finite()).unwrap_or((0, T::nan()));
    let name = format!("{}{}", rule.checked(), parameters[place].0);
    Err(Error::NonFinite { name, index, value: value.as_f64() })
}

/// Updates each array, after [`check_each`] and [`check_each_moment`].
#[expect(clippy::expect_used, reason = "the layouts have been compared")]
fn apply_each<T: Float>(
    rule: &dyn ArrayRule<T>,
    parameters: ViewsMut<'_, T>,
    grads: &[(String, ArrayViewD<'_, T>)],
    moments: Vec<ViewsMut<'_, T>>,
) {
    const CHECKED: &str = "the layout has been checked";
    let level = Level::new();
    let grads: Vec<_> = grads.iter().map(|(_, grad)| grad.as_standard_layout()).collect();
    let mut moments: Vec<_> = moments.into_iter().map(Vec::into_iter).collect();
    let mut pieces = Vec::new();
    for (place, ((_, theta), grad)) in parameters.into_iter().zip(&grads).enumerate() {
        let theta = theta.into_slice().expect(CHECKED).chunks_mut(PIECE);
        let grad = grad.as_slice().expect(CHECKED).chunks(PIECE);
        let moments = moments.iter_mut().filter_map(Iterator::next);
        let mut moments: Vec<_> = moments
            .map(|(_, array)| array.into_slice().expect(CHECKED).chunks_mut(PIECE))
            .collect();
        for (theta, grad) in theta.zip(grad) {
            let moments = moments.iter_mut().filter_map(Iterator::next).collect();
            pieces.push(Piece { place, theta, grad, moments });
        }
    }
    for_pieces(&mut pieces, |Piece { place, theta, grad, moments }| {
        rule.step(level, *place, theta, grad, moments);
    });
}
