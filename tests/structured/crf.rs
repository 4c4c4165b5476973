//! Tests of the CRF.
