//! Values in the padding, which must not change any result.

use recurrent::Sequences;

/// Returns `x` with `filler` in its padding.
pub(crate) fn padded(x: &Sequences<f64>, filler: f64) -> Sequences<f64> {
    let mut values = x.values().clone();
    for ((t, b, _), value) in values.indexed_iter_mut() {
        if t >= x.lengths()[b] {
            *value = filler;
        }
    }
    x.with_values(values).unwrap()
}
