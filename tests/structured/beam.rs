//! Tests of beam search.
