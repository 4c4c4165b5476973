//! The transcribers and encoder-decoders of `tests/fixtures/pytorch_models.py`, equal in their outputs, and the same
//! file again.

use ndarray::{ArrayD, Axis, Ix1, Ix2, Ix3};
use recurrent::cell::{Cell, GruCell, LstmCell, RnnCell};
use recurrent::decode::Decoder;
use recurrent::interop::pytorch::StateDict;
use recurrent::layer::AttentionScore;
use recurrent::model::{AttentionPlace, Bridge, ModelBuilder, Seq2Seq, SequenceTranscriber};
use recurrent::{Error, Float};
use serde::Serialize;

use super::models::back;
use super::{compare, fixture, input};

/// Compares the logits of each window with those of PyTorch.
fn transcriber<T: Float, C: Cell<Elem = T>>(
    name: &str,
    file: &StateDict,
    builder: ModelBuilder<SequenceTranscriber<C>>,
    tokens: usize,
) where
    C::Options: Serialize,
{
    let file = file.prefix(name);
    let model = file.prefix("model.").model(builder).unwrap();
    let y = model.logits(&input(&file, "x", tokens).unwrap()).unwrap();
    let windows = file.integers::<Ix1>("windows").unwrap();
    assert!(y.lengths().iter().map(|&n| n as i64).eq(windows.iter().copied()), "{name}");
    let mut expected = file.array::<T, Ix3>("y").unwrap();
    // The module has the bias of its head in the padding.
    for (b, &length) in y.lengths().iter().enumerate() {
        expected.slice_mut(ndarray::s![length.., b, ..]).fill(T::zero());
    }
    compare(name, y.values(), &expected.into_dyn());
    back::<T>(&file, |again| model.save(&again.0).unwrap());
}

/// Compares the logits of each step of the decoder with those of PyTorch.
fn seq2seq<T: Float, C: Cell<Elem = T>>(
    name: &str,
    file: &StateDict,
    builder: ModelBuilder<Seq2Seq<C>>,
    tokens: usize,
) where
    C::Options: Serialize,
{
    let file = file.prefix(name);
    let model = file.prefix("model.").model(builder).unwrap();
    let mut decoder = model.decoder(&input(&file, "x", tokens).unwrap()).unwrap();
    let expected: ArrayD<T> = file.array("y").unwrap();
    for (t, tokens) in file.integers::<Ix2>("tokens").unwrap().outer_iter().enumerate() {
        let tokens: Vec<usize> = tokens.iter().map(|&token| token as usize).collect();
        let logits = decoder.step(&tokens).unwrap();
        compare(&format!("{name} {t}"), &logits, &expected.index_axis(Axis(0), t).to_owned());
    }
    back::<T>(&file, |again| model.save(&again.0).unwrap());
}

fn each_model<T: Float>(name: &str) {
    let file = fixture(name);
    transcriber("frames.", &file, SequenceTranscriber::<GruCell<T>>::builder(4, 6), 0);
    let joined = SequenceTranscriber::<LstmCell<T>>::builder(7, 6).frames(3, 2);
    transcriber("joined.", &file, joined, 7);

    let translator = Seq2Seq::<LstmCell<T>>::builder(7, 8, 0, 1)
        .attention(AttentionScore::Additive { size: 4 })
        .attention_place(AttentionPlace::Before);
    seq2seq("translator.", &file, translator, 7);
    let feeding = Seq2Seq::<GruCell<T>>::builder(7, 8, 0, 1)
        .attention(AttentionScore::General)
        .bridge(Bridge::Same)
        .input_feeding(true);
    seq2seq("feeding.", &file, feeding, 7);
    let location = AttentionScore::Location { size: 4, filters: 2, kernel_size: 3 };
    let captions = Seq2Seq::<LstmCell<T>>::builder(4, 8, 0, 1).without_encoder();
    seq2seq("captions.", &file, captions.attention(location), 0);
    let tied = Seq2Seq::<RnnCell<T>>::builder(7, 7, 0, 1);
    seq2seq("tied.", &file, tied.shared_embedding(true).tied_output(true), 7);
    let scaled = Seq2Seq::<LstmCell<T>>::builder(4, 8, 0, 1)
        .attention(AttentionScore::ScaledDot)
        .bridge(Bridge::Zeros);
    seq2seq("scaled.", &file, scaled, 0);
}

#[test]
fn transcribers_and_encoder_decoders_of_f32_are_those_of_pytorch() {
    each_model::<f32>("unaligned_f32.pt");
}

#[test]
fn transcribers_and_encoder_decoders_of_f64_are_those_of_pytorch() {
    each_model::<f64>("unaligned_f64.pt");
}

#[test]
fn an_encoder_decoder_of_other_options_is_refused() {
    let file = fixture("unaligned_f32.pt");
    let refused = |part: &str, builder: ModelBuilder<Seq2Seq<LstmCell<f32>>>, problem: &str| {
        let model: Result<Seq2Seq<LstmCell<f32>>, Error> = file.prefix(part).model(builder);
        let error = model.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    };
    let builder = |sources, targets| Seq2Seq::<LstmCell<f32>>::builder(sources, targets, 0, 1);
    let translator = "translator.model.";
    refused(translator, builder(7, 8), r#"unused ["translator.model.decoder.attention"#);
    let additive = |size| builder(7, 8).attention(AttentionScore::Additive { size });
    let before = |size| additive(size).attention_place(AttentionPlace::Before);
    let wrong = "decoder.attention.key.weight: expected [3, 10], got [4, 10]";
    refused(translator, before(3), wrong);
    let wrong = "decoder.recurrent.weight_ih_l0: expected [24, 4], got [24, 14]";
    refused(translator, additive(4), wrong);
    let wrong = "encoder.embedding.weight: expected [9, 3], got [7, 3]";
    refused(translator, builder(9, 8), wrong);
    let wrong = "decoder.embedding.weight: expected [9, 4], got [8, 4]";
    refused(translator, builder(7, 9), wrong);
    let missing = r#"missing ["captions.model.encoder.recurrent.weight_ih_l0"]"#;
    refused("captions.model.", builder(4, 8), missing);
    let missing = r#"missing ["scaled.model.bridge.weight"]"#;
    refused("scaled.model.", builder(4, 8).attention(AttentionScore::ScaledDot), missing);
}
