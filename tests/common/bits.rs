//! The bits of results, for exact comparisons.

use recurrent::{Arrays, Float};

/// Returns the bits of all values as `f64`, in order.
pub(crate) fn bits<A: Arrays>(arrays: &A) -> Vec<u64> {
    let mut bits = Vec::new();
    arrays.for_each(&mut |_, array| {
        bits.extend(array.iter().map(|value| value.as_f64().to_bits()));
    });
    bits
}
