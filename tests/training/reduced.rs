//! Tests of models and files whose weights have 16 or 8 bits.

use std::fs;

use ndarray::{Array2, Axis, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{GruCell, LstmCell};
use recurrent::data::{Unit, Vocabulary, Windows};
use recurrent::decode::{BeamSearch, Decoder, Sampling};
use recurrent::io::{self, Reader};
use recurrent::layer::{AttentionScore, Embedding};
use recurrent::loss::Mse;
use recurrent::model::{
    AttentionPlace, Bridge, Composed, Forecaster, ModelBuilder, Seq2Seq, SequenceClassifier,
    SequenceGenerator, SequenceRegressor, SequenceTagger, SequenceTranscriber,
};
use recurrent::tensor::Precision;
use recurrent::{Arrays, Error, Lstm, Result, Sequences};

use crate::common::random::random;
use crate::common::temporary::Folder;
use crate::files::safetensors;

const REDUCED: [Precision; 2] = [Precision::Bf16, Precision::Int8];

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(6)
}

fn bits<A: Arrays<Elem = f32>>(arrays: &A) -> Vec<u32> {
    let mut bits = Vec::new();
    arrays.for_each(&mut |_, array| bits.extend(array.iter().map(|value| value.to_bits())));
    bits
}

/// Returns whether all values of both are at most 1e-5 apart.
fn near(a: &Array2<f32>, b: &Array2<f32>) -> bool {
    a.dim() == b.dim() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5)
}

/// Checks the outputs of three streams: of `model` in the precision, of the model loaded from a file of this
/// precision (the same bits), and of the loaded model in full (the same numbers).
macro_rules! check_streams {
    ($model:ident, $name:ty, $steps:expr) => {
        let folder = Folder::new("reduced_streams");
        for precision in REDUCED {
            let file = folder.path("model");
            $model.save_with(&file, precision).unwrap();
            let loaded = <$name>::load(&file).unwrap();
            let mut rounded = $model.clone();
            precision.round(&mut rounded).unwrap();
            assert_eq!(bits(&loaded), bits(&rounded), "{precision:?}");
            let outputs =
                |model: &$name, precision| -> Vec<Array2<f32>> { ($steps)(model, precision) };
            let reduced = outputs(&$model, precision);
            assert_eq!(reduced, outputs(&loaded, precision), "{precision:?}");
            let full = outputs(&loaded, Precision::Full);
            assert!(reduced.iter().zip(&full).all(|(a, b)| near(a, b)), "{precision:?}");
            assert_ne!(reduced, outputs(&$model, Precision::Full), "{precision:?}");
        }
    };
}

/// The steps of three sequences: rows of four features, or tokens less than 9.
fn rows(t: usize) -> Array2<f32> {
    random((1, 3, 4), t as u64).mapv(|x| x as f32).index_axis_move(Axis(0), 0)
}

fn tokens(t: usize) -> [usize; 3] {
    [t % 9, (5 * t + 3) % 9, 8]
}

#[test]
fn a_stream_of_fewer_bits_is_that_of_the_file_of_fewer_bits_for_every_model() {
    type Classifier = SequenceClassifier<LstmCell<f32>>;
    // More inputs than one block of a full head.
    let builder = Classifier::builder(9, 5).embedding_dim(7).hidden_size(530).num_layers(2);
    let classifier = builder.build(&mut rng()).unwrap();
    check_streams!(classifier, Classifier, |model: &Classifier, precision| {
        let mut stream = model.stream_with(3, precision).unwrap();
        (0..4).map(|t| stream.step_tokens(&tokens(t)).unwrap()).collect()
    });

    type Regressor = SequenceRegressor<GruCell<f32>>;
    let regressor = Regressor::builder(4, 1).hidden_size(17).build(&mut rng()).unwrap();
    check_streams!(regressor, Regressor, |model: &Regressor, precision| {
        let mut stream = model.stream_with(3, precision).unwrap();
        (0..4).map(|t| stream.step(rows(t).view()).unwrap()).collect()
    });

    type Series = Forecaster<LstmCell<f32>>;
    let windows = Windows::new(3, 2).unwrap().targets(&[1, 2]);
    let forecaster = Series::builder(4, &windows).hidden_size(16).build(&mut rng()).unwrap();
    check_streams!(forecaster, Series, |model: &Series, precision| {
        let mut stream = model.stream_with(3, precision).unwrap();
        (0..4).map(|t| stream.step(rows(t).view()).unwrap()).collect()
    });

    // One-hot tokens that nothing embeds.
    type Tagger = SequenceTagger<LstmCell<f32>>;
    let tagger = Tagger::builder(9, 3).hidden_size(33).build(&mut rng()).unwrap();
    check_streams!(tagger, Tagger, |model: &Tagger, precision| {
        let mut stream = model.stream_with(3, precision).unwrap();
        let fork = stream.fork();
        let outputs: Vec<_> = (0..4).map(|t| stream.step_tokens(&tokens(t)).unwrap()).collect();
        let mut fork = fork;
        assert_eq!(fork.step_tokens(&tokens(0)).unwrap(), outputs[0]);
        outputs
    });

    type Transcriber = SequenceTranscriber<LstmCell<f32>>;
    let builder = Transcriber::builder(4, 6).hidden_size(20).frames(2, 1);
    let transcriber = builder.build(&mut rng()).unwrap();
    check_streams!(transcriber, Transcriber, |model: &Transcriber, precision| {
        let mut stream = model.stream_with(3, precision).unwrap();
        let steps = (0..4).filter_map(|t| stream.step_logits(rows(t).view()).unwrap());
        let steps: Vec<_> = steps.collect();
        assert_eq!(steps.len(), 3);
        steps
    });

    type Generator = SequenceGenerator<GruCell<f32>>;
    let builder = Generator::builder(9).embedding_dim(6).hidden_size(31).condition_size(4);
    let generator = builder.build(&mut rng()).unwrap();
    check_streams!(generator, Generator, |model: &Generator, precision| {
        let mut stream = model.stream_with(Some(rows(7).view()), 3, precision).unwrap();
        (0..4).map(|t| stream.step(&tokens(t)).unwrap()).collect()
    });
}

type Translator = Seq2Seq<LstmCell<f32>>;

/// Encoder-decoders of every kind of layer, each with three sources.
fn translators() -> Vec<(Translator, Sequences<f32>)> {
    let of_tokens = || Translator::builder(9, 9, 0, 1);
    let words = Sequences::one_hot_from_list(&[vec![2, 8, 5, 5], vec![7], vec![3, 0]], 9).unwrap();
    let values = random((4, 3, 4), 9).mapv(|x| x as f32);
    let values = Sequences::new(values, vec![2, 4, 1]).unwrap();
    let location = AttentionScore::Location { size: 5, filters: 3, kernel_size: 3 };
    let builders: [(ModelBuilder<Translator>, &Sequences<f32>); 5] = [
        // More inputs than one block of a full layer.
        (of_tokens().embedding_dim(7).hidden_size(530).attention(AttentionScore::General), &words),
        // One-hot tokens that nothing embeds.
        (of_tokens().hidden_size(19).num_layers(2).bridge(Bridge::Same), &words),
        (
            of_tokens()
                .embedding_dim(12)
                .hidden_size(12)
                .shared_embedding(true)
                .tied_output(true)
                .attention(location),
            &words,
        ),
        (
            Translator::builder(4, 9, 0, 1)
                .hidden_size(9)
                .bidirectional(true)
                .decoder_hidden_size(21)
                .attention(AttentionScore::Additive { size: 6 })
                .attention_place(AttentionPlace::Before)
                .input_feeding(true),
            &values,
        ),
        (
            Translator::builder(4, 9, 0, 1)
                .without_encoder()
                .hidden_size(33)
                .attention(AttentionScore::General),
            &values,
        ),
    ];
    builders.map(|(builder, source)| (builder.build(&mut rng()).unwrap(), source.clone())).into()
}

/// Returns the logits of four steps of the decoder of `source`.
fn decoded(model: &Translator, source: &Sequences<f32>, precision: Precision) -> Vec<Array2<f32>> {
    let mut decoder = model.workspace_with(precision).unwrap().decoder(source).unwrap();
    (0..4).map(|t| decoder.step(&tokens(t)).unwrap()).collect()
}

#[test]
fn a_decoder_of_fewer_bits_is_that_of_the_file_of_fewer_bits() {
    for (model, source) in translators() {
        check_streams!(model, Translator, |model: &Translator, precision| decoded(
            model, &source, precision
        ));
    }
}

#[test]
fn decoding_in_bf16_has_the_bits_of_the_model_of_rounded_weights() {
    let search = BeamSearch::new(3).unwrap().n_best(2).unwrap().max_length(6).unwrap();
    for (model, source) in translators() {
        let mut rounded = model.clone();
        Precision::Bf16.round(&mut rounded).unwrap();
        let workspace = model.workspace_with(Precision::Bf16).unwrap();
        let mut expected = rounded.decoder(&source).unwrap();
        let mut decoder = workspace.decoder(&source).unwrap();
        for t in 0..4 {
            let (got, expected) = (decoder.step(&tokens(t)), expected.step(&tokens(t)));
            assert_eq!(bits(&got.unwrap()), bits(&expected.unwrap()), "step {t}");
        }
        let expected = rounded.beam(&source, &search).unwrap();
        assert_eq!(workspace.beam(&source, &search).unwrap(), expected);
        let sampling = Sampling::temperature(2.0).unwrap();
        assert_eq!(
            workspace.generate(&source, 6, &sampling, &mut rng()).unwrap(),
            rounded.generate(&source, 6, &sampling, &mut rng()).unwrap()
        );
        assert_ne!(expected, model.beam(&source, &search).unwrap());
    }
}

/// Returns the given sequences of a source.
fn selected(source: &Sequences<f32>, rows: &[usize]) -> Sequences<f32> {
    let lengths = rows.iter().map(|&row| source.lengths()[row]).collect();
    match source.tokens() {
        Some(tokens) => Sequences::one_hot(tokens.select(Axis(1), rows).view(), 9, lengths),
        None => Sequences::new(source.values().select(Axis(1), rows), lengths),
    }
    .unwrap()
}

#[test]
fn a_workspace_decodes_many_sources_as_the_model_does_also_at_once() {
    let search = BeamSearch::new(2).unwrap().max_length(5).unwrap();
    for (model, source) in translators() {
        let workspace = model.workspace_with(Precision::Full).unwrap();
        std::thread::scope(|scope| {
            for rows in [vec![0, 1, 2], vec![1], vec![2, 2, 1, 0, 0]] {
                let source = selected(&source, &rows);
                let expected = model.beam(&source, &search).unwrap();
                let (workspace, search) = (&workspace, &search);
                scope.spawn(move || {
                    assert_eq!(workspace.beam(&source, search).unwrap(), expected);
                });
            }
        });
    }
}

#[test]
fn texts_are_translated_by_weights_of_fewer_bits() {
    let words = Vocabulary::builder(Unit::Word).special(&["<s>", "</s>"]).fit(["a b c"]).unwrap();
    let builder = Translator::builder(5, 5, 0, 1).embedding_dim(6).hidden_size(8);
    let builder = builder.vocabulary(words.clone()).target_vocabulary(words);
    let mut model = builder.build(&mut rng()).unwrap();
    let search = BeamSearch::new(2).unwrap().max_length(4).unwrap();
    let texts = ["c a", "b"];
    let translated =
        model.workspace_with(Precision::Bf16).unwrap().translate(&texts, &search).unwrap();
    Precision::Bf16.round(&mut model).unwrap();
    assert_eq!(translated, model.translate(&texts, &search).unwrap());
}

#[test]
fn an_encoder_decoder_names_the_weight_that_cannot_have_fewer_bits() {
    let builder = Seq2Seq::<LstmCell<f64>>::builder(3, 4, 0, 1).hidden_size(2);
    let error = builder.build(&mut rng()).unwrap().workspace_with(Precision::Int8).unwrap_err();
    assert!(error.to_string().contains("precision: expected Full for weights of f64"), "{error}");
    let builder = Translator::builder(3, 4, 0, 1).hidden_size(2);
    let mut model = builder.build(&mut rng()).unwrap();
    model.for_each_mut(&mut |name, mut array| {
        if name == "decoder.recurrent.bias_hh_l0" {
            array.fill(f32::NAN);
        }
    });
    let error = model.workspace_with(Precision::Bf16).unwrap_err();
    assert!(
        matches!(&error, Error::NonFinite { name, .. } if name == "decoder.recurrent.bias_hh_l0")
    );
    assert!(model.workspace_with(Precision::Full).is_ok());
}

#[test]
fn a_file_of_int8_is_a_quarter_and_one_of_bf16_half_as_large() {
    let folder = Folder::new("reduced_sizes");
    let lstm = Lstm::<f32>::builder(100, 300).build(&mut rng()).unwrap();
    let size = |precision| -> u64 {
        let file = folder.path("weights");
        io::save_with(&file, &lstm, precision).unwrap();
        fs::metadata(&file).unwrap().len()
    };
    let full = size(Precision::Full) as f64;
    let ratio = |precision| size(precision) as f64 / full;
    assert!((ratio(Precision::Bf16) - 0.5).abs() < 0.01);
    assert!((ratio(Precision::Int8) - 0.25).abs() < 0.02);
}

#[test]
fn tensors_of_more_axes_of_f64_and_without_values_come_back_rounded() {
    let folder = Folder::new("reduced_kinds");
    let file = folder.path("values");
    let kernel = random((3, 2, 5), 1);
    let (mut again, mut rounded) = (kernel.clone() * 0.0, kernel.clone());
    io::save_with(&file, &kernel, Precision::Int8).unwrap();
    io::load(&file, &mut again).unwrap();
    Precision::Int8.round(&mut rounded).unwrap();
    assert_eq!(again, rounded);
    for mut empty in [Array2::<f64>::zeros((0, 3)), Array2::zeros((3, 0))] {
        io::save_with(&file, &empty, Precision::Int8).unwrap();
        io::load(&file, &mut empty).unwrap();
    }
    let far = array![[1.0, 1e300]];
    for precision in REDUCED {
        assert!(io::save_with(folder.path("far"), &far, precision).is_err());
        assert!(io::save_with(folder.path("far"), &array![[f32::NAN]], precision).is_err());
    }
    assert!(!folder.path("far").exists());
}

#[test]
fn a_composed_model_is_saved_in_fewer_bits() {
    let folder = Folder::new("reduced_composed");
    let file = folder.path("model");
    let build = |_: &()| -> Result<Composed<_, _, Mse>> {
        Ok(Composed::new(Embedding::<f32>::new(9, 5, &mut rng())?, Mse))
    };
    let mut model = build(&()).unwrap();
    model.save_with(&(), &file, Precision::Int8).unwrap();
    let loaded = Composed::load(&file, build).unwrap();
    Precision::Int8.round(&mut model).unwrap();
    assert_eq!(bits(&loaded), bits(&model));
}

#[test]
fn scales_that_do_not_fit_int8_are_named() {
    let folder = Folder::new("reduced_scales");
    let file = folder.path("file");
    let of = |scale: &str, data: &[u8]| {
        let value = r#""value":{"dtype":"I8","shape":[2,3],"data_offsets":[0,6]}"#;
        fs::write(&file, safetensors(&format!("{{{value}{scale}}}"), data)).unwrap();
        let mut values = Array2::<f32>::ones((2, 3));
        let result = io::load(&file, &mut values);
        assert!(result.is_ok() || values == Array2::<f32>::ones((2, 3)));
        result.map(|()| values)
    };
    let data = |scales: [f32; 2]| {
        let bytes = scales.iter().flat_map(|scale| scale.to_le_bytes());
        [1, 2, 255, 128, 0, 127].into_iter().chain(bytes).collect::<Vec<u8>>()
    };
    let scale = |dtype: &str, shape: &str| {
        format!(r#","value.scale":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[6,14]}}"#)
    };
    let fits = scale("F32", "[2]");
    let values = of(&fits, &data([0.5, 2.0])).unwrap();
    assert_eq!(values, array![[0.5, 1.0, -0.5], [-256.0, 0.0, 254.0]]);
    assert_eq!(Reader::open(&file).unwrap().names(""), ["value"]);

    let error = of("", &data([0.0; 2])[..6]).unwrap_err();
    assert!(matches!(&error, Error::Dtype { name, got, .. } if name == "value" && got == "i8"));
    let error = of(&scale("F32", "[1,2]"), &data([1.0; 2])).unwrap_err();
    assert!(error.to_string().contains("tensor value.scale: expected [2] (rows)"), "{error}");
    let error = of(&scale("I32", "[2]"), &data([1.0; 2])).unwrap_err();
    assert!(
        matches!(&error, Error::Dtype { name, got, .. } if name == "value.scale" && got == "i32")
    );
    for bad in [f32::NAN, f32::INFINITY] {
        let error = of(&fits, &data([1.0, bad])).unwrap_err();
        assert!(matches!(error, Error::NonFinite { index: 3, .. }), "{error}");
    }
}
