//! Tests of the CTC loss and its decoding.
