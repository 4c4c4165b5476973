//! Files of the library's own models, and checkpoints of trainings.

use std::path::Path;

use ndarray::{Array2, Array3, array};
use recurrent::cell::LayerNormLstmOptions;
use recurrent::data::{Dataset, Scaler, Unit, Vocabulary, Windows};
use recurrent::decode::Sampling;
use recurrent::layer::crf::Constraints;
use recurrent::layer::{AttentionScore, CharacterEncoding, Linear, Pooling, TimePooling};
use recurrent::loss::{CrossEntropy, Quantile};
use recurrent::model::{
    BuiltInCell, BuiltInOptions, Composed, Forecaster, Head, Seq2Seq, SequenceClassifier,
    SequenceGenerator, SequenceRegressor, SequenceTagger, SequenceTranscriber,
};
use recurrent::optim::Adam;
use recurrent::optim::schedule::ReduceOnPlateau;
use recurrent::tensor::Precision;
use recurrent::train::Trainer;
use recurrent::{Error, Gru, GruCell, LstmCell, Result, Sequences};

use super::{rng, used, written};
use crate::mutate;
use crate::run::{Format, OWN_MEMORY, Use};

type Layers = (Gru<f32>, TimePooling<f32>, Linear<f32>);
type Own = Composed<Sequences<f32>, Layers, CrossEntropy>;

fn own(hidden: &u8) -> Result<Own> {
    let hidden = usize::from(*hidden);
    // The sizes of a composed model are bounded by the program that builds it.
    if hidden > 8 {
        return Err(Error::argument("hidden", "at most 8", hidden));
    }
    let gru = Gru::builder(2, hidden).build(&mut rng())?;
    let pooling = TimePooling::new(Pooling::Mean, hidden, 1, &mut rng())?;
    Ok(Composed::new((gru, pooling, Linear::new(hidden, 2, &mut rng())?), CrossEntropy::default()))
}

fn values() -> Sequences<f32> {
    Sequences::full(Array3::ones((3, 1, 2))).unwrap()
}

fn tokens() -> Sequences<f32> {
    Sequences::one_hot_from_list(&[vec![1, 2, 0]], 7).unwrap()
}

/// Returns a tagger that reads the characters of words.
fn spelled(encoding: CharacterEncoding) -> SequenceTagger<LstmCell<f32>> {
    let letters = Vocabulary::builder(Unit::Character).fit(["abc"]).unwrap();
    let words = Vocabulary::builder(Unit::Word).special(&["?"]).unknown("?").fit(["ab c"]).unwrap();
    let builder = SequenceTagger::builder(words.len(), 2).embedding_dim(2).hidden_size(2);
    let builder = builder.vocabulary(words).labels(&["a", "b"]).characters(letters, 2, encoding);
    builder.build(&mut rng()).unwrap()
}

fn seeds() -> Vec<Vec<u8>> {
    let series = Array2::from_shape_fn((9, 2), |(t, j)| (t + j) as f32);
    let scaler = Scaler::standard(&[series.view()]).unwrap();
    let words = Vocabulary::builder(Unit::Character).fit(["abcdefg"]).unwrap();
    let windows = Windows::new(3, 1).unwrap();
    let attention = AttentionScore::Additive { size: 2 };
    let quantiles = Quantile::new(vec![0.1, 0.5, 0.9]).unwrap();

    let classifier = SequenceClassifier::<LstmCell<f32>>::builder(2, 2).hidden_size(3);
    let classifier = classifier.labels(&["a", "b"]).columns(&["x", "y"]).scaler(scaler.clone());
    let built_in = SequenceClassifier::<BuiltInCell<f32>>::builder(7, 2).hidden_size(2);
    let built_in = built_in.vocabulary(words).embedding_dim(2).pooling(Pooling::Attention);
    let tagger = SequenceTagger::<LstmCell<f32>>::builder(2, 3).hidden_size(2).num_layers(2);
    let regressor = SequenceRegressor::<GruCell<f32>>::builder(2, 2).hidden_size(3).loss(quantiles);
    let forecaster =
        Forecaster::<LstmCell<f32>>::builder(2, &windows).hidden_size(3).scaler(scaler);
    let generator = SequenceGenerator::<LstmCell<f32>>::builder(7).start(0).end(1).hidden_size(3);
    let transcriber =
        SequenceTranscriber::<LstmCell<f32>>::builder(2, 4).hidden_size(2).frames(2, 1);
    let seq2seq = Seq2Seq::<GruCell<f32>>::builder(7, 8, 0, 1).embedding_dim(2).hidden_size(2);
    let seq2seq = seq2seq.attention(attention).bidirectional(true);
    let all = || vec![true; 3].into();
    let pairs = Array2::from_shape_fn((3, 3), |(i, j)| i != j);
    let constraints = Constraints::new(all(), all(), pairs).unwrap();
    let built_in_tagger = || SequenceTagger::<BuiltInCell<f32>>::builder(7, 3).hidden_size(2);
    let letters = Vocabulary::builder(Unit::Character).fit(["abcdefg"]).unwrap();
    let crf = built_in_tagger().head(Head::Crf).constraints(constraints).vocabulary(letters);
    let normal = BuiltInOptions::LayerNormLstm(LayerNormLstmOptions::default());
    let normal = built_in_tagger().embedding_dim(2).cell_options(normal).num_layers(2);
    let conditioned = SequenceGenerator::<GruCell<f32>>::builder(7).start(0).end(1);
    let conditioned = conditioned.condition_size(2).hidden_size(3).suppress_tokens(&[5]);
    vec![
        written(|path| classifier.build(&mut rng())?.save(path)),
        written(|path| built_in.build(&mut rng())?.save(path)),
        written(|path| tagger.bidirectional(true).build(&mut rng())?.save(path)),
        written(|path| regressor.build(&mut rng())?.save(path)),
        written(|path| forecaster.build(&mut rng())?.save_with(path, Precision::Int8)),
        written(|path| generator.embedding_dim(2).build(&mut rng())?.save(path)),
        written(|path| transcriber.build(&mut rng())?.save(path)),
        written(|path| seq2seq.build(&mut rng())?.save(path)),
        written(|path| own(&2)?.save(&2_u8, path)),
        written(|path| crf.build(&mut rng())?.save(path)),
        written(|path| normal.build(&mut rng())?.save(path)),
        written(|path| conditioned.build(&mut rng())?.save(path)),
        written(|path| spelled(CharacterEncoding::Lstm { hidden_size: 2 }).save(path)),
        written(|path| {
            spelled(CharacterEncoding::Conv { out_channels: 2, kernel_size: 3 }).save(path)
        }),
    ]
}

/// Reads a model of the kind of the seed, in the order of [`seeds`].
fn read(path: &Path, seed: usize) -> Result<Use> {
    let greedy = Sampling::greedy;
    match seed {
        0 => {
            let model = SequenceClassifier::<LstmCell<f32>>::load(path)?;
            used(move || {
                model.stream(1)?.step(Array2::ones((1, 2)).view())?;
                model.predict_labels(&values()).map(drop)
            })
        }
        1 => {
            let model = SequenceClassifier::<BuiltInCell<f32>>::load(path)?;
            used(move || {
                model.encode_texts(&["abc"]).ok();
                model.predict(&tokens()).map(drop)
            })
        }
        2 => {
            let model = SequenceTagger::<LstmCell<f32>>::load(path)?;
            used(move || model.predict(&values()).map(drop))
        }
        3 => {
            let model = SequenceRegressor::<GruCell<f32>, Quantile>::load(path)?;
            used(move || model.predict(&values()).map(drop))
        }
        4 => {
            let model = Forecaster::<LstmCell<f32>>::load(path)?;
            used(move || {
                model.forecast_recursively(Array2::ones((3, 2)).view(), 2).ok();
                model.predict(&values()).map(drop)
            })
        }
        5 => {
            let model = SequenceGenerator::<LstmCell<f32>>::load(path)?;
            used(move || model.generate(None, &[], 4, &greedy(), &mut rng()).map(drop))
        }
        6 => {
            let model = SequenceTranscriber::<LstmCell<f32>>::load(path)?;
            used(move || model.transcribe(&values()).map(drop))
        }
        7 => {
            let model = Seq2Seq::<GruCell<f32>>::load(path)?;
            used(move || model.generate(&tokens(), 4, &greedy(), &mut rng()).map(drop))
        }
        9 | 10 => {
            let model = SequenceTagger::<BuiltInCell<f32>>::load(path)?;
            used(move || {
                model.predict_texts(&["ab c"]).ok();
                model.probabilities(&tokens())?;
                model.predict(&tokens()).map(drop)
            })
        }
        11 => {
            let model = SequenceGenerator::<GruCell<f32>>::load(path)?;
            let condition = Array2::ones((1, 2));
            used(move || {
                model.generate(Some(condition.view()), &[], 4, &greedy(), &mut rng()).map(drop)
            })
        }
        12 | 13 => {
            let model = SequenceTagger::<LstmCell<f32>>::load(path)?;
            used(move || model.predict_texts(&["ab c", "bac"]).map(drop))
        }
        _ => {
            let model = Own::load(path, own)?;
            used(move || model.predict(&values()).map(drop))
        }
    }
}

pub(crate) fn models() -> Format {
    Format {
        file: "model.safetensors",
        seeds: seeds(),
        mutate: mutate::safetensors,
        read: Box::new(read),
        growth: 256,
        beside: OWN_MEMORY,
        cost: 1,
    }
}

/// Trains from the checkpoint `path`, if there is one, up to the given epoch.
fn train(path: &Path, epochs: usize) -> Result<()> {
    let builder = SequenceClassifier::<GruCell<f32>>::builder(1, 2).hidden_size(2);
    let mut model = builder.build(&mut rng())?;
    let x = vec![array![[0.0_f32], [1.0]], array![[1.0], [0.0]], array![[0.5], [0.5]]];
    let data = Dataset::new(x, vec![0_usize, 1, 0])?;
    let trainer = Trainer::new(Adam::new(0.1)?).epochs(epochs).batch_size(2).early_stopping(3);
    let trainer = trainer.schedule(ReduceOnPlateau::default());
    trainer.ema(0.5).checkpoint(path).fit(&mut model, &data, Some(&data)).map(drop)
}

pub(crate) fn checkpoints() -> Format {
    Format {
        file: "checkpoint.safetensors",
        seeds: vec![written(|path| train(path, 1)), written(|path| train(path, 2))],
        mutate: mutate::safetensors,
        read: Box::new(|path, _| {
            train(path, 2)?;
            used(|| Ok(()))
        }),
        growth: 256,
        beside: OWN_MEMORY,
        cost: 2,
    }
}
