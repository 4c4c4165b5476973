//! Tests of the short ways: files by their names, text from text, errors about other files.

use ndarray::array;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::data::{Scaler, Table, Unit, Vocabulary};
use recurrent::decode::Sampling;
use recurrent::layer::Linear;
use recurrent::loss::Mae;
use recurrent::model::{Composed, SequenceClassifier, SequenceGenerator, SequenceTagger};
use recurrent::{GruCell, LstmCell, Result};

fn path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("recurrent-shortcuts-{}-{name}", std::process::id()))
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

#[test]
fn a_file_named_tsv_has_tabs() -> Result<()> {
    let text = "label\ttext\n0\t\"ah, no\n1\tyes, and\n";
    for name in ["a.tsv", "b.TAB"] {
        let file = path(name);
        std::fs::write(&file, text).unwrap();
        let table = Table::read(&file)?;
        assert_eq!(table.text("text", 0)?, "\"ah, no");
        assert_eq!(table.rows(), 2);
        std::fs::remove_file(file).unwrap();
    }
    Ok(())
}

#[test]
fn a_text_is_generated_from_a_text() -> Result<()> {
    let letters = Vocabulary::builder(Unit::Character).special(&["<s>", "</s>"]).fit(["abc"])?;
    let builder = SequenceGenerator::<GruCell<f32>>::builder(letters.len()).start(0).end(1);
    let model = builder.clone().vocabulary(letters.clone()).build(&mut rng())?;
    let greedy = Sampling::greedy();
    let text = model.generate_text("ab", 5, &greedy, &mut rng())?;
    let tokens = model.generate(None, &letters.encode("ab")?, 5, &greedy, &mut rng())?;
    assert_eq!(text, letters.decode(&tokens[0])?);
    assert!(model.generate_text("xyz", 5, &greedy, &mut rng()).is_err());
    let model = builder.build(&mut rng())?;
    let error = model.generate_text("", 5, &greedy, &mut rng()).unwrap_err().to_string();
    assert!(error.starts_with("vocabulary"), "{error}");
    Ok(())
}

#[test]
fn a_scaler_shows_what_it_holds() -> Result<()> {
    let scaler = Scaler::min_max(&[array![[1.0, 0.0], [3.0, 10.0]].view()])?;
    assert_eq!((scaler.offset(), scaler.scale()), (&[1.0, 0.0][..], &[2.0, 10.0][..]));
    Ok(())
}

#[test]
fn a_file_of_another_model_is_named() -> Result<()> {
    let file = path("kind");
    type Net = Composed<ndarray::Array2<f32>, Linear<f32>, Mae>;
    let net: Net = Composed::new(Linear::new(2, 1, &mut rng())?, Mae);
    net.save(&(), &file)?;
    let error = SequenceClassifier::<LstmCell<f32>>::load(&file).unwrap_err().to_string();
    assert!(error.contains("a SequenceClassifier") && error.contains("a Composed"), "{error}");

    SequenceTagger::<LstmCell<f32>>::builder(2, 2).build(&mut rng())?.save(&file)?;
    let error = SequenceClassifier::<LstmCell<f32>>::load(&file).unwrap_err().to_string();
    assert!(error.contains("a SequenceTagger"), "{error}");
    let error = Net::load(&file, |(): &()| Ok(net.clone())).unwrap_err().to_string();
    assert!(error.contains("a Composed") && error.contains("a SequenceTagger"), "{error}");
    std::fs::remove_file(file).unwrap();
    Ok(())
}
