//! Pooling over time: one vector for each sequence, of length L. The padding is never read.
//!
//! ```text
//! last       y = x_L of the forward direction, x_1 of the backward direction
//! mean       y = Σ_t x_t / L              d_x_t = d_y / L
//! max        y_j = max_t x_t,j            d_x_t,j = d_y_j at the first maximum, or the first NaN, else 0
//! attention  α = softmax(q·x_t), y = Σ_t α_t x_t
//!            d_α_t = d_y·x_t, d_s_t = α_t (d_α_t − Σ_u α_u d_α_u)
//!            d_x_t = α_t d_y + d_s_t q, dq = Σ_t d_s_t x_t
//! ```
//!
//! With a NaN among the values that a kind reads, the result is NaN. An empty sequence is an error.
//!
//! Attention with a learned query q: Yang et al., *Hierarchical Attention Networks for Document
//! Classification*, 2016, without the hidden layer before the query.

use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, Zip};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::arrays::check_same_structure;
use crate::error::{Error, Result, check_length, check_shape};
use crate::float::{Float, per_float};
use crate::layer::steps::layer_at;
use crate::sequences::Sequences;
use crate::tensor::reduce::softmax;
use crate::tensor::{Init, Level};

/// The kinds of [`TimePooling`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pooling {
    /// The last step of each direction, which is the final hidden state.
    #[default]
    Last,
    /// The mean of the steps.
    Mean,
    /// The maximum of each feature.
    Max,
    /// A weighted mean, whose weights come from a learned query.
    Attention,
}

/// Pooling of each sequence to one vector; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Layer, Pooling, TimePooling};
/// use recurrent::{Arrays, Sequences};
///
/// let x = Sequences::from_list(&[array![[1.0], [3.0]], array![[5.0]]])?;
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mean = TimePooling::new(Pooling::Mean, 1, 1, &mut rng)?;
/// let (y, tape) = mean.forward_train(&x, &mut rng)?;
/// assert_eq!(y, array![[2.0], [5.0]]); // [batch, features]
///
/// let mut grad = mean.zeros_like();
/// let d_x = mean.backward(tape, &array![[1.0], [1.0]], &mut grad)?;
/// assert_eq!(d_x.values(), array![[[0.5], [1.0]], [[0.5], [0.0]]]); // [time, batch, features]
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TimePooling<T> {
    kind: Pooling,
    features: usize,
    directions: usize,
    pub(crate) query: Option<Array1<T>>,
}

per_float! {
    // Many models pool: this is compiled here, not in each program.
    fn pooled<'a, T>(pooling: &'a TimePooling<T>, x: &'a Sequences<T>) -> Result<Array2<T>> = pool_steps;
    fn input_gradient<'a, T>(
        pooling: &'a TimePooling<T>,
        x: &'a Sequences<T>,
        d_y: &'a Array2<T>,
        grad: &'a mut TimePooling<T>,
    ) -> Result<Sequences<T>> = gradient_of_input;
}

impl<T: Float> TimePooling<T> {
    /// Creates pooling of steps of `features` values. `directions` is 2 if they are the concatenated
    /// outputs of a bidirectional network, else 1. The query of attention is uniform on ±1/√features;
    /// other kinds draw no random number.
    ///
    /// # Errors
    /// If `features` is zero, or `directions` is not 1 or 2 or does not divide `features`.
    pub fn new(
        kind: Pooling,
        features: usize,
        directions: usize,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        check_length("features", features)?;
        if !(1..=2).contains(&directions) || !features.is_multiple_of(directions) {
            let expected = format!("1 or 2 that divide {features} features");
            return Err(Error::argument("directions", expected, directions));
        }
        let query = (kind == Pooling::Attention).then(|| {
            let mut query = Array2::zeros((1, features));
            Init::Uniform(1.0 / (features as f64).sqrt()).fill(query.view_mut(), rng);
            query.index_axis_move(Axis(0), 0)
        });
        Ok(Self { kind, features, directions, query })
    }

    /// Returns the kind of pooling.
    pub fn kind(&self) -> Pooling {
        self.kind
    }

    /// Returns y [batch, features] of `x` [time, batch, features].
    pub(crate) fn pool(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        pooled(self, x)
    }

    /// Returns the weights α of attention for the steps of `x` [time, batch, features]: [time, batch], zero in
    /// the padding.
    ///
    /// ```
    /// use ndarray::array;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::Sequences;
    /// use recurrent::layer::{Pooling, TimePooling};
    ///
    /// let x = Sequences::from_list(&[array![[1.0], [1.0]], array![[5.0]]])?;
    /// let pooling = TimePooling::new(Pooling::Attention, 1, 1, &mut ChaCha8Rng::seed_from_u64(1))?;
    /// assert_eq!(pooling.attention_weights(&x)?, array![[0.5, 1.0], [0.5, 0.0]]);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the kind is not [`Pooling::Attention`], `x` has another width, or a sequence is empty.
    pub fn attention_weights(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        self.check(x)?;
        let Some(query) = &self.query else {
            let got = format!("{:?}", self.kind);
            return Err(Error::argument("pooling", "Attention, which has weights", got));
        };
        let mut weights = Array2::zeros((x.time(), x.batch()));
        for (b, &length) in x.lengths().iter().enumerate() {
            let of_steps = weights_of(x.values().index_axis(Axis(1), b), length, query);
            weights.column_mut(b).iter_mut().zip(of_steps).for_each(|(to, weight)| *to = weight);
        }
        Ok(weights)
    }

    /// Returns d_x [time, batch, features], zero in the padding, from `d_y` [batch, features] and the
    /// input `x` of the forward pass. Adds the gradient of the query to `grad`.
    pub(crate) fn gradient_at(
        &self,
        x: &Sequences<T>,
        d_y: &Array2<T>,
        grad: &mut Self,
    ) -> Result<Sequences<T>> {
        input_gradient(self, x, d_y, grad)
    }

    fn check(&self, x: &Sequences<T>) -> Result<()> {
        let expected = [x.time(), x.batch(), self.features];
        check_shape("x", "time, batch, features", &expected, x.values().shape())?;
        match x.lengths().iter().position(|&length| length == 0) {
            None => Ok(()),
            Some(b) => {
                let expected = "at least 1: of an empty sequence there is nothing to pool";
                Err(Error::argument(format!("lengths[{b}]"), expected, 0))
            }
        }
    }
}

fn pool_steps<T: Float>(pooling: &TimePooling<T>, x: &Sequences<T>) -> Result<Array2<T>> {
    pooling.check(x)?;
    let mut pool = Running::new(pooling, x.batch());
    for (t, step) in x.values().outer_iter().enumerate() {
        let alive = |b: usize| t < x.lengths()[b];
        pool.add(pooling, step, alive);
    }
    if pooling.kind == Pooling::Last && pooling.directions == 2 {
        let half = pooling.features / 2;
        let (mut y, first) = (pool.value(), x.values().index_axis(Axis(0), 0));
        let backward = first.split_at(Axis(1), half).1;
        y.view_mut().split_at(Axis(1), half).1.assign(&backward);
        return Ok(y);
    }
    Ok(pool.value())
}

#[expect(clippy::unreachable, reason = "`new` makes the query of attention")]
fn gradient_of_input<T: Float>(
    pooling: &TimePooling<T>,
    x: &Sequences<T>,
    d_y: &Array2<T>,
    grad: &mut TimePooling<T>,
) -> Result<Sequences<T>> {
    pooling.check(x)?;
    check_shape("d_y", "batch, features", &[x.batch(), pooling.features], d_y.shape())?;
    check_same_structure("grad", pooling, grad)?;
    let mut d_x = Array3::zeros(x.values().dim());
    for (b, &length) in x.lengths().iter().enumerate() {
        let (steps, d_y) = (x.values().index_axis(Axis(1), b), d_y.row(b));
        let mut d_steps = d_x.index_axis_mut(Axis(1), b);
        let query = pooling.query.as_ref().zip(grad.query.as_mut());
        match (pooling.kind, query) {
            (Pooling::Last, _) => {
                let half = pooling.features / pooling.directions;
                for (j, &d) in d_y.indexed_iter() {
                    d_steps[[if j < half { length - 1 } else { 0 }, j]] = d;
                }
            }
            (Pooling::Max, _) => {
                for (j, &d) in d_y.indexed_iter() {
                    let first = |best: usize, t: usize| {
                        if exceeds(steps[[t, j]], steps[[best, j]]) { t } else { best }
                    };
                    d_steps[[(1..length).fold(0, first), j]] = d;
                }
            }
            (Pooling::Attention, Some((query, d_query))) => {
                let weights = weights_of(steps, length, query);
                let d_weights = steps.rows().into_iter().map(|row| row.dot(&d_y));
                let d_weights: Vec<T> = d_weights.take(length).collect();
                let mean: T = weights.iter().zip(&d_weights).map(|(&w, &d)| w * d).sum();
                for t in 0..length {
                    let (weight, d_score) = (weights[t], weights[t] * (d_weights[t] - mean));
                    d_query.scaled_add(d_score, &steps.row(t));
                    Zip::from(d_steps.row_mut(t))
                        .and(d_y)
                        .and(query)
                        .for_each(|d, &d_y, &q| *d = weight * d_y + d_score * q);
                }
            }
            (Pooling::Attention, None) => unreachable!("`new` makes the query of attention"),
            (Pooling::Mean, _) => {
                let share = &d_y / T::from_f64(length as f64);
                d_steps.rows_mut().into_iter().take(length).for_each(|mut d| d.assign(&share));
            }
        }
    }
    x.with_values(d_x)
}

/// Returns the weights of attention for the first `length` of `steps` [time, features].
fn weights_of<T: Float>(steps: ArrayView2<'_, T>, length: usize, query: &Array1<T>) -> Vec<T> {
    let scores = steps.rows().into_iter().take(length).map(|row| row.dot(query));
    let mut weights: Vec<T> = scores.collect();
    softmax(Level::new(), &mut weights);
    weights
}

/// Returns whether `x` replaces the maximum `most` of the values before it. NaN replaces every number.
fn exceeds<T: Float>(x: T, most: T) -> bool {
    x > most || (x.is_nan() && !most.is_nan())
}

/// Pooling of one step at a time, shared by the forward pass and streams, which have one direction.
#[derive(Clone, Debug)]
pub(crate) struct Running<T> {
    sum: Array2<T>,
    /// For each sequence the number of steps so far, or for attention Σ e^(s − most).
    weight: Vec<T>,
    /// For each sequence the largest score s of attention.
    most: Vec<T>,
    /// Whether the result is the sum divided by the weight.
    divides: bool,
}

impl<T: Float> Running<T> {
    pub(crate) fn new(pooling: &TimePooling<T>, batch: usize) -> Self {
        Self {
            sum: Array2::zeros((batch, pooling.features)),
            weight: vec![T::zero(); batch],
            most: vec![T::neg_infinity(); batch],
            divides: matches!(pooling.kind, Pooling::Mean | Pooling::Attention),
        }
    }

    /// Adds the next step [batch, features] of the sequences that are `alive`.
    #[expect(clippy::unreachable, reason = "`new` makes the query of attention")]
    pub(crate) fn add(
        &mut self,
        pooling: &TimePooling<T>,
        step: ArrayView2<'_, T>,
        alive: impl Fn(usize) -> bool,
    ) {
        let rows = self.sum.rows_mut().into_iter().zip(step.rows());
        for (b, (mut sum, row)) in rows.enumerate().filter(|&(b, _)| alive(b)) {
            let weight = &mut self.weight[b];
            match (pooling.kind, &pooling.query) {
                (Pooling::Last, _) => sum.assign(&row),
                (Pooling::Max, _) if *weight > T::zero() => {
                    Zip::from(sum)
                        .and(row)
                        .for_each(|most, &x| *most = if exceeds(x, *most) { x } else { *most });
                }
                (Pooling::Max, _) => sum.assign(&row),
                (Pooling::Attention, Some(query)) => {
                    let score = row.dot(query);
                    if score > self.most[b] {
                        let shrink = (self.most[b] - score).exp();
                        sum *= shrink;
                        *weight *= shrink;
                        self.most[b] = score;
                    }
                    let share = (score - self.most[b]).exp();
                    sum.scaled_add(share, &row);
                    *weight += share;
                    continue;
                }
                (Pooling::Attention, None) => unreachable!("`new` makes the query of attention"),
                (Pooling::Mean, _) => sum += &row,
            }
            *weight += T::one();
        }
    }

    /// Returns the pooled vector of the steps so far, [batch, features].
    pub(crate) fn value(&self) -> Array2<T> {
        let mut value = self.sum.clone();
        if self.divides {
            for (mut row, &weight) in value.rows_mut().into_iter().zip(&self.weight) {
                row /= weight;
            }
        }
        value
    }
}

crate::arrays!(TimePooling { query: array });

layer_at! {
    /// Maps sequences to vectors [batch, features].
    ///
    /// # Errors
    /// If a sequence is empty.
    TimePooling: Sequences<T> => Array2<T>,
    forward: |pooling, x| pooling.pool(x),
    backward: |pooling, x, d_y, grad| pooling.gradient_at(&x, d_y, grad),
}
