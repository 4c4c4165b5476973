//! Tests of words from characters.
