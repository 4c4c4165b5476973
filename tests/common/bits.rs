//! The bits of results, for exact comparisons.

use recurrent::Arrays;

/// Returns the bits of all values, in order.
pub(crate) fn bits<A: Arrays<Elem = f64>>(arrays: &A) -> Vec<u64> {
    let mut bits = Vec::new();
    arrays.for_each(&mut |_, array| bits.extend(array.iter().map(|value| value.to_bits())));
    bits
}
