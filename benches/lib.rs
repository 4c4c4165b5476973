//! The package of the benchmarks of `recurrent`, which are in the other files of this folder.
