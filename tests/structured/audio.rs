//! Tests of sound features.
