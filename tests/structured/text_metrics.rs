//! Tests of the metrics of text.
