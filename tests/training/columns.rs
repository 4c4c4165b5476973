//! The names of input columns: kept in a model's file, and compared with those of the data.

use ndarray::{Array2, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{GruCell, LstmCell};
use recurrent::data::{Dataset, Source, Table, WindowedSeries, Windows};
use recurrent::model::{Forecaster, SequenceClassifier, SequenceRegressor, SequenceTagger};
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};
use recurrent::{Error, Result};

use crate::common::bits::bits;

const COLUMNS: [&str; 3] = ["high", "low", "wind"];

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(2)
}

fn series(features: usize) -> Array2<f64> {
    Array2::from_shape_fn((12, features), |(t, j)| (t * features + j) as f64 / 9.0)
}

/// The windows of a series whose columns have these names.
fn named(columns: &[&str]) -> WindowedSeries<f64> {
    let windows = Windows::new(4, 1).unwrap().targets(&[0]);
    let windows = if columns.is_empty() { windows } else { windows.columns(columns) };
    windows.cut(&series(3)).unwrap()
}

fn forecaster() -> Forecaster<LstmCell<f64>> {
    let windows = Windows::new(4, 1).unwrap().targets(&[0]).columns(&COLUMNS);
    Forecaster::builder(3, &windows).hidden_size(4).build(&mut rng()).unwrap()
}

fn says<V>(result: Result<V>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_forecaster_keeps_the_columns_of_its_windows_in_its_file() {
    let name = format!("recurrent-columns-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    forecaster().save(&path).unwrap();
    let model = Forecaster::<LstmCell<f64>>::load(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(model.columns(), COLUMNS);
    model.evaluate(&named(&COLUMNS), 4).unwrap();
    let message = says(model.evaluate(&named(&["high", "wind", "low"]), 4));
    let expected = r#"columns[1]: expected "low", got "wind" ("low" is columns[2])"#;
    assert_eq!(message, expected);
    let message = says(model.evaluate(&named(&["high", "rain", "wind"]), 4));
    assert_eq!(message, r#"columns[1]: expected "low", got "rain" ("low" is missing)"#);
}

#[test]
fn every_model_of_values_keeps_columns_and_compares_them() {
    let data =
        |columns: &[&str]| Dataset::new(vec![series(3)], vec![1_usize])?.with_columns(columns);
    let few =
        |columns: &[&str]| Dataset::new(vec![series(2)], vec![1_usize])?.with_columns(columns);
    let classifier = SequenceClassifier::<GruCell<f64>>::builder(3, 2).columns(&COLUMNS);
    let classifier = classifier.build(&mut rng()).unwrap();
    classifier.evaluate(&data(&COLUMNS).unwrap(), 1).unwrap();
    assert_eq!(
        says(classifier.evaluate(&few(&["high", "low"]).unwrap(), 1)),
        r#"columns[2]: expected "wind", got no column ("wind" is missing)"#
    );
    let regressor = SequenceRegressor::<GruCell<f64>>::builder(3, 1).columns(&COLUMNS);
    let numbers = Dataset::new(vec![series(3)], vec![1.0]).unwrap();
    let numbers = numbers.with_columns(&["low", "high", "wind"]).unwrap();
    assert!(
        says(regressor.build(&mut rng()).unwrap().evaluate(&numbers, 1)).starts_with("columns[0]")
    );
    let tagger = SequenceTagger::<GruCell<f64>>::builder(3, 2).columns(&COLUMNS);
    let tags = Dataset::new(vec![series(3)], vec![vec![1_usize; 12]]).unwrap();
    let tags = tags.with_columns(&["high", "low", "rain"]).unwrap();
    assert!(says(tagger.build(&mut rng()).unwrap().evaluate(&tags, 1)).starts_with("columns[2]"));
    let narrow = SequenceClassifier::<GruCell<f64>>::builder(2, 2).columns(&COLUMNS[..2]);
    assert_eq!(
        says(narrow.build(&mut rng()).unwrap().evaluate(&data(&COLUMNS).unwrap(), 1)),
        r#"columns[2]: expected no more than 2 columns, got "wind""#
    );
}

#[test]
fn training_on_other_columns_is_refused_and_changes_nothing() {
    let (mut model, right, swapped) =
        (forecaster(), named(&COLUMNS), named(&["low", "high", "wind"]));
    let before = bits(&model);
    for (train, valid) in [(&swapped, None), (&right, Some(&swapped as &dyn Source<_>))] {
        let trainer = Trainer::new(Adam::new(0.01).unwrap()).epochs(1);
        let error = trainer.fit(&mut model, train, valid).unwrap_err();
        assert!(matches!(&error, Error::Argument { argument, .. } if argument == "columns[0]"));
        assert_eq!(bits(&model), before);
    }
    let trainer = Trainer::new(Adam::new(0.01).unwrap()).epochs(1);
    trainer.fit(&mut model, &right, Some(&right)).unwrap();
    assert_ne!(bits(&model), before);
}

#[test]
fn without_names_on_one_side_nothing_is_compared() {
    forecaster().evaluate(&named(&[]), 4).unwrap();
    let windows = Windows::new(4, 1).unwrap().targets(&[0]);
    let model = Forecaster::<LstmCell<f64>>::builder(3, &windows).build(&mut rng()).unwrap();
    assert!(model.columns().is_empty());
    model.evaluate(&named(&["a", "b", "c"]), 4).unwrap();
}

#[test]
fn a_table_gives_a_model_its_columns_or_names_the_missing_one() {
    let name = format!("recurrent-columns-{}.csv", std::process::id());
    let path = std::env::temp_dir().join(name);
    let model = forecaster();
    std::fs::write(&path, "day,wind,high,low\n1,0.5,20,10\n2,1.5,22,12\n").unwrap();
    let values = Table::read(&path).unwrap().values::<f64>(model.columns()).unwrap();
    assert_eq!(values, array![[20.0, 10.0, 0.5], [22.0, 12.0, 1.5]]);
    std::fs::write(&path, "day,high,low\n1,20,10\n").unwrap();
    let message = says(Table::read(&path).unwrap().values::<f64>(model.columns()));
    assert!(message.ends_with(r#"expected one of ["day", "high", "low"], got wind"#), "{message}");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn names_that_do_not_fit_the_features_are_refused() {
    let build = |columns: &[&str]| {
        let builder = SequenceClassifier::<LstmCell<f64>>::builder(3, 2).columns(columns);
        says(builder.build(&mut rng()))
    };
    assert_eq!(build(&["a"]), "columns: expected [3] (features), got [1]");
    assert_eq!(build(&["a", "b", "a"]), r#"columns[2]: expected each name once, got "a" again"#);
    let words = SequenceClassifier::<LstmCell<f64>>::builder(3, 2).columns(&COLUMNS);
    assert_eq!(
        says(words.embedding_dim(2).build(&mut rng())),
        "columns: expected none: tokens have no columns, got 3"
    );
    let data = || Dataset::new(vec![series(3)], vec![0_usize]).unwrap();
    assert_eq!(says(data().with_columns(&["a"])), "columns: expected [3] (features), got [1]");
    let tokens = Dataset::<f64, usize>::from_tokens(vec![vec![0]], 1, vec![0]).unwrap();
    assert!(says(tokens.with_columns(&["a"])).starts_with("columns: expected none"));
    let windows = Windows::new(4, 1).unwrap().columns(&["a"]);
    assert_eq!(says(windows.cut(&series(3))), "columns: expected [3] (features), got [1]");
    assert_eq!(says(windows.split(&series(3), 6)), "columns: expected [3] (features), got [1]");
}

#[test]
fn parts_of_a_data_set_keep_its_columns() {
    let data = Dataset::new(vec![series(3), series(3)], vec![0_usize, 1]).unwrap();
    let (train, test) = data.with_columns(&COLUMNS).unwrap().split(&(vec![1], vec![0])).unwrap();
    assert_eq!(
        (train.columns(), test.columns()),
        (&COLUMNS.map(str::to_owned)[..], test.columns())
    );
    assert_eq!(test.columns(), COLUMNS);
}
