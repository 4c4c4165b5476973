//! The tests of `recurrent`, in the files beside this one.
