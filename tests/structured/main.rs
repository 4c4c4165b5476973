//! Tests of structured outputs: attention, encoder-decoder, CRF, CTC, beam search, and their metrics.
//!
//! They are one program, so that shared code is compiled once.

mod attention;
mod audio;
mod beam;
mod characters;
mod crf;
mod ctc;
mod ctc_decode;
mod large_vocabulary;
mod seq2seq;
mod spans;
mod text_metrics;
mod transcriber;

#[path = "../common"]
mod common {
    pub(crate) mod bits;
    pub(crate) mod distance;
    pub(crate) mod fixture;
    pub(crate) mod random;
    #[allow(dead_code, reason = "not every program uses folders")]
    pub(crate) mod temporary;
}
