//! Mutated files of every format: each reader gives a value or an error, in bounded time and memory.
//!
//! By default a short run. Options are variables of the environment:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `BAD_FILES_INPUTS` | inputs of each format | 3000, divided by the cost of the format |
//! | `BAD_FILES_SECONDS` | time after which a format stops | no limit |
//! | `BAD_FILES_SEED` | the seed of the mutations | 1 |
//! | `BAD_FILES_FOLDER` | where inputs that fail are written | the folder of temporary files |
//!
//! ```sh
//! BAD_FILES_INPUTS=100000 cargo test -p recurrent-tests --test bad_files -- --nocapture
//! ```

mod calls;
mod dice;
mod formats;
mod mutate;
mod run;

#[path = "../common"]
mod common {
    pub(crate) mod memory;
    pub(crate) mod onnx_value;
    #[allow(dead_code, reason = "not every program uses folders")]
    pub(crate) mod temporary;
}

macro_rules! formats {
    ($($name:ident)+) => {$(
        #[test]
        fn $name() {
            run::check(formats::$name());
        }
    )+};
}

formats! {
    safetensors models checkpoints csv npy npz descriptions wav pytorch keras keras_weights onnx
}
