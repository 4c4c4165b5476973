//! Zoneout: some values of a state stay as they were.
//!
//! With ŝ what the cell makes of the state s':
//!
//! ```text
//! s = m ∘ s' + (1 − m) ∘ ŝ        m = 1 with probability p, else 0; in use m = p
//! d_ŝ = (1 − m) ∘ d_s             d_s' = m ∘ d_s + what comes back through the cell
//! ```
//!
//! m is drawn anew for each call, layer, direction, state, sequence, step and value, from a stream that
//! these name: backward draws the same again, on any number of threads. Source: Krueger et al.,
//! *Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations*, 2017.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::cell::MAX_STATES;
use crate::float::Float;
use crate::tensor::{Rows, RowsMut};

/// Zoneout of the states of one direction of one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zoneout {
    /// p of each state.
    pub(crate) p: [f64; MAX_STATES],
    /// Where training draws m from.
    pub(crate) seed: Option<u64>,
}

impl Zoneout {
    /// Sets `kept` to s, from s' and ŝ, at step `t`; the first row is the sequence at `place`.
    pub(crate) fn mix<T: Float>(
        &self,
        (t, place): (usize, usize),
        prev: &[Rows<'_, T>],
        made: &[RowsMut<'_, T>],
        kept: &mut [RowsMut<'_, T>],
    ) {
        for (s, kept) in kept.iter_mut().enumerate().take(made.len()) {
            let made = made[s].as_rows();
            for r in 0..kept.count() {
                let factors = self.factors::<T>((s, t, place + r), kept.width());
                let values = prev[s].row(r).iter().zip(made.row(r)).zip(factors);
                for (kept, ((&before, &made), m)) in kept.row_mut(r).iter_mut().zip(values) {
                    *kept = m * before + (T::one() - m) * made;
                }
            }
        }
    }

    /// Turns d_s into d_ŝ at step `t`; returns m ∘ d_s of all states, row by row, to be added to what
    /// comes back through the cell ([`restore`]).
    pub(crate) fn part<T: Float>(
        &self,
        (t, place): (usize, usize),
        d_state: &mut [RowsMut<'_, T>],
    ) -> Vec<T> {
        let mut skipped = Vec::new();
        for (s, d_state) in d_state.iter_mut().enumerate() {
            for r in 0..d_state.count() {
                let factors = self.factors::<T>((s, t, place + r), d_state.width());
                for (d, m) in d_state.row_mut(r).iter_mut().zip(factors) {
                    skipped.push(m * *d);
                    *d *= T::one() - m;
                }
            }
        }
        skipped
    }

    /// m of state `s` at step `t` of the sequence at `place`.
    fn factors<T: Float>(
        &self,
        (s, t, place): (usize, usize, usize),
        width: usize,
    ) -> impl Iterator<Item = T> {
        let p = self.p[s];
        let mut rng = self.seed.map(|seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream((place * MAX_STATES + s) as u64);
            // A number takes two words.
            rng.set_word_pos(2 * (t as u128) * (width as u128));
            rng
        });
        (0..width).map(move |_| match &mut rng {
            None => T::of(p),
            Some(rng) => T::of(f64::from(u8::from(rng.random::<f64>() < p))),
        })
    }
}

/// Adds what [`Zoneout::part`] returned.
pub(crate) fn restore<T: Float>(skipped: Vec<T>, d_state: &mut [RowsMut<'_, T>]) {
    let mut skipped = skipped.into_iter();
    for d_state in d_state {
        for r in 0..d_state.count() {
            d_state.row_mut(r).iter_mut().zip(&mut skipped).for_each(|(d, more)| *d += more);
        }
    }
}
