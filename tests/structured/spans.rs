//! Tests of the metrics of spans.
