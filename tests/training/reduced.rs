//! Tests of models and files whose weights have 16 or 8 bits.

use std::fs;

use ndarray::{Array2, Axis, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{GruCell, LstmCell};
use recurrent::data::Windows;
use recurrent::decode::Decoder;
use recurrent::io::{self, Reader};
use recurrent::layer::Embedding;
use recurrent::loss::Mse;
use recurrent::model::{
    Composed, Forecaster, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
    SequenceTranscriber,
};
use recurrent::tensor::Precision;
use recurrent::{Arrays, Error, Lstm, Result};

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
