//! The tagger with a CRF.
