//! Tests of the kernels on every instruction set of this machine.
//!
//! They are one program, so that shared code is compiled once.

mod activations;
mod products;

#[path = "../common"]
mod common {
    pub(crate) mod double_double;
    pub(crate) mod levels;
    pub(crate) mod naive;
}
