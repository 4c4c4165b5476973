//! Tests of files of other programs.
//!
//! They are one program, so that shared code is compiled once.

mod numpy;
mod pytorch;

#[path = "../common"]
mod common {
    #[allow(dead_code, reason = "not every program uses folders")]
    pub(crate) mod temporary;
}
