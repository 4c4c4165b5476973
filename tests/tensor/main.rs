//! The kernels, on every instruction level of this machine.
//!
//! One program, so that what its parts share is compiled once.

mod activations;
mod products;

#[path = "../common"]
mod common {
    pub(crate) mod double_double;
    pub(crate) mod levels;
    pub(crate) mod naive;
}
