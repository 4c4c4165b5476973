//! The exponential moving average of weights, which often generalises better than the last weights.
//!
//! ```text
//! a = a + (1 − δ)·(θ − a)              (a = θ at the first update)
//! ```
//!
//! For δ < ½ it is computed as θ − δ·(θ − a), which is θ for δ = 0, and as δ·a + (1 − δ)·θ if the
//! difference overflows.
//!
//! Source: Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992;
//! `torch.optim.swa_utils.get_ema_multi_avg_fn`.

use super::in_range;
use crate::arrays::{
    Arrays, Views, ViewsMut, check_all_finite, check_same_structure, views, views_mut,
};
use crate::error::Result;
use crate::float::{Float, per_float};

/// A moving average of a model's weights; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use recurrent::optim::Ema;
///
/// let mut ema = Ema::new(0.5)?;
/// ema.update(&array![1.0])?;
/// ema.update(&array![2.0])?;
/// assert_eq!(ema.average(), Some(&array![1.5]));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ema<A> {
    decay: f64,
    average: Option<A>,
}

impl<A> Ema<A> {
    /// Creates an average that keeps the share δ = `decay` of itself at each update.
    ///
    /// # Errors
    /// Unless 0 ≤ δ < 1.
    pub fn new(decay: f64) -> Result<Self> {
        Ok(Self { decay: in_range("decay", decay, 0.0, 1.0)?, average: None })
    }

    /// Moves the average toward `weights`.
    ///
    /// # Errors
    /// If `weights` has other names or shapes than before, or holds a value that is not finite (the error
    /// names it). The average is unchanged then.
    pub fn update<T: Float>(&mut self, weights: &A) -> Result<()>
    where
        A: Arrays<Elem = T>,
    {
        let Some(average) = &mut self.average else {
            weights.check_finite()?;
            self.average = Some(weights.clone());
            return Ok(());
        };
        check_same_structure("weights", average, weights)?;
        let weights = views(weights);
        check_all_finite(&weights)?;
        move_toward(views_mut(average), weights, self.decay);
        Ok(())
    }

    /// Returns the average, or `None` before the first update.
    pub fn average(&self) -> Option<&A> {
        self.average.as_ref()
    }

    /// Returns the average by value.
    pub fn into_average(self) -> Option<A> {
        self.average
    }

    /// Sets the average, for example from a file.
    ///
    /// # Errors
    /// If `average` has other names or shapes than the average has so far, or holds a value that is not
    /// finite (the error names it). The average is unchanged then.
    pub fn restore<T: Float>(&mut self, average: Option<A>) -> Result<()>
    where
        A: Arrays<Elem = T>,
    {
        if let Some(average) = &average {
            if let Some(before) = &self.average {
                check_same_structure("average", before, average)?;
            }
            average.check_finite()?;
        }
        self.average = average;
        Ok(())
    }
}

per_float! {
    fn move_toward<'a, T>(to: ViewsMut<'a, T>, from: Views<'a, T>, decay: f64) = move_each;
}

fn move_each<T: Float>(to: ViewsMut<'_, T>, from: Views<'_, T>, decay: f64) {
    let (kept, rest) = (T::from_f64(decay), T::from_f64(1.0 - decay));
    let moved = |a: T, theta: T| {
        let difference = theta - a;
        if !difference.is_finite() {
            kept * a + rest * theta
        } else if decay < 0.5 {
            theta - kept * difference
        } else {
            a + rest * difference
        }
    };
    for ((_, mut average), (_, weights)) in to.into_iter().zip(from) {
        average.zip_mut_with(&weights, |a, &theta| *a = moved(*a, theta));
    }
}
