//! Tests of files that are valid but for a number: sizes of a model and counts of a checkpoint.

use std::fs;

use ndarray::array;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::Error;
use recurrent::cell::{GruCell, LstmCell};
use recurrent::data::{Dataset, Unit, Vocabulary};
use recurrent::layer::CharacterEncoding;
use recurrent::model::SequenceTagger;
use recurrent::optim::Adam;
use recurrent::train::Trainer;
use serde_json::Value;

use crate::common::temporary::Folder;
use crate::files::{describe, safetensors};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

#[test]
fn sizes_of_characters_that_the_weights_of_a_file_do_not_have_reserve_no_memory() {
    let folder = Folder::new("characters");
    let file = folder.path("file");
    let vocabulary = |unit| Vocabulary::builder(unit).fit(["ab c"]).unwrap();
    let kinds = [
        (CharacterEncoding::Lstm { hidden_size: 2 }, vec!["lstm/hidden_size"]),
        (
            CharacterEncoding::Conv { out_channels: 2, kernel_size: 3 },
            vec!["conv/out_channels", "conv/kernel_size"],
        ),
    ];
    for (kind, sizes) in kinds {
        let builder = SequenceTagger::<LstmCell<f32>>::builder(2, 2).embedding_dim(2);
        let builder = builder.vocabulary(vocabulary(Unit::Word)).hidden_size(2);
        let builder = builder.characters(vocabulary(Unit::Character), 2, kind);
        let model = builder.build(&mut rng()).unwrap();
        let sizes = sizes.into_iter().map(|size| format!("/config/characters/encoding/{size}"));
        for place in sizes.chain(["/config/characters/embedding_dim".to_owned()]) {
            for size in [1_u64 << 20, 1 << 40, 1 << 59, u64::MAX] {
                model.save(&file).unwrap();
                describe(&file, &model, |about| *about.pointer_mut(&place).unwrap() = size.into());
                let error = SequenceTagger::<LstmCell<f32>>::load(&file).map(|_| ()).unwrap_err();
                assert!(error.to_string().contains("its sizes need at least"), "{error}");
            }
        }
    }
}

#[test]
fn counts_that_no_training_reaches_are_refused_in_a_checkpoint() {
    let folder = Folder::new("counts");
    let file = folder.path("file");
    let fit = |epochs| {
        let mut model =
            SequenceTagger::<GruCell<f32>>::builder(1, 2).hidden_size(2).build(&mut rng())?;
        let data = Dataset::new(vec![array![[0.0_f32], [1.0]]], vec![vec![0_usize, 1]])?;
        let trainer = Trainer::new(Adam::new(0.1)?).epochs(epochs).early_stopping(9);
        trainer.checkpoint(&file).fit(&mut model, &data, Some(&data)).map(drop)
    };
    for name in ["epoch", "batch", "batches", "step", "stale"] {
        fs::remove_file(&file).ok();
        fit(1).unwrap();
        let bytes = fs::read(&file).unwrap();
        let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let (header, data) = bytes[8..].split_at(length);
        let mut header: Value = serde_json::from_slice(header).unwrap();
        let texts = &mut header["__metadata__"]["recurrent"];
        let mut about: Value = serde_json::from_str(texts.as_str().unwrap()).unwrap();
        assert!(about["run"][name].is_u64(), "{name}");
        about["run"][name] = u64::MAX.into();
        *texts = about.to_string().into();
        fs::write(&file, safetensors(&header.to_string(), data)).unwrap();
        let error = fit(2).unwrap_err();
        assert!(matches!(error, Error::Format { format: "checkpoint", .. }), "{error}");
        assert!(error.to_string().contains("expected counts of at most"), "{error}");
    }
}
