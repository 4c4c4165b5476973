//! The benchmarks of `recurrent`: see the files beside this one.
