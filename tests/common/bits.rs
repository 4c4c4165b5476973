//! What two results have in common if they are the same to the last bit.

use recurrent::Arrays;

/// The bits of all values, in order.
pub(crate) fn bits<A: Arrays<Elem = f64>>(arrays: &A) -> Vec<u64> {
    let mut bits = Vec::new();
    arrays.for_each(&mut |_, array| bits.extend(array.iter().map(|value| value.to_bits())));
    bits
}
