//! The tests of `recurrent`: see the files beside this one.
