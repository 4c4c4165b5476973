//! Tests of the encoder-decoder.
