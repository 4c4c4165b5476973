//! Tests of missing values: each fill against its definition, nothing from the future, errors.

use ndarray::{Array2, array, s};
use proptest::prelude::*;
use recurrent::data::{Imputer, Table};
use recurrent::{Error, Result};
use serde::de::value::{Error as ValueError, MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

const NAN: f64 = f64::NAN;

fn says<V>(result: Result<V>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

proptest! {
    #[test]
    fn no_fill_looks_into_the_future(
        cells in prop::collection::vec((-9.0..9.0_f64, any::<bool>()), 24), row in 0..8_usize,
        (forward, indicator) in (any::<bool>(), any::<bool>()),
    ) {
        let cell = |i: usize| if cells[i].1 { NAN } else { cells[i].0 };
        let series = Array2::from_shape_fn((8, 3), |(t, j)| cell(3 * t + j));
        let train = array![[1.0, 2.0, NAN], [NAN, 4.0, 6.0]];
        let imputer =
            Imputer::mean(&[train.view()]).unwrap().forward_fill(forward).add_indicator(indicator);
        let filled = imputer.transform(&series).unwrap();
        prop_assert_eq!(filled.dim(), (8, if indicator { 6 } else { 3 }));
        // Other rows after `row` change nothing up to it.
        let mut other = series.clone();
        other.slice_mut(s![row + 1.., ..]).fill(1e3);
        let same = imputer.transform(&other).unwrap();
        prop_assert_eq!(same.slice(s![..=row, ..]), filled.slice(s![..=row, ..]));
        for j in 0..3 {
            let known = (0..=row).rev().map(|t| series[[t, j]]).find(|value| !value.is_nan());
            let mean = [1.0, 3.0, 6.0][j];
            let here = series[[row, j]];
            let fill = if forward { known.unwrap_or(mean) } else { mean };
            prop_assert_eq!(filled[[row, j]], if here.is_nan() { fill } else { here });
            if indicator {
                prop_assert_eq!(filled[[row, 3 + j]], f64::from(u8::from(here.is_nan())));
            }
        }
    }
}

#[test]
fn means_are_those_of_the_known_values_of_all_parts() {
    let parts = [
        array![[1.0_f32, f32::NAN]],
        array![[f32::NAN, 5.0], [3.0, f32::NAN]],
        Array2::zeros((0, 2)),
    ];
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    let imputer = Imputer::mean(&views).unwrap();
    assert_eq!((imputer.features(), imputer.features_out()), (2, 2));
    let missing = array![[f32::NAN, f32::NAN]];
    assert_eq!(imputer.transform(&missing).unwrap(), array![[2.0, 5.0]]);
    assert_eq!(imputer.transform(&Array2::<f32>::zeros((0, 2))).unwrap().dim(), (0, 2));
    let json = serde_json::to_string(&imputer).unwrap();
    assert_eq!(serde_json::from_str::<Imputer>(&json).unwrap(), imputer);
    // The sum of these values is not finite, their mean is.
    let large = Imputer::mean(&[array![[f64::MAX], [f64::MAX], [NAN]].view()]).unwrap();
    assert_eq!(large.transform(&array![[NAN]]).unwrap(), array![[f64::MAX]]);
}

#[test]
fn what_cannot_be_filled_is_an_error() {
    let mean = |rows: Array2<f64>| says(Imputer::mean(&[rows.view()]));
    assert_eq!(says(Imputer::mean::<f64>(&[])), "parts: expected at least 1, got 0");
    assert_eq!(mean(Array2::zeros((2, 0))), "parts[0]: expected at least one feature, got 0");
    let known = "parts: expected at least one known value of each feature, got none of feature";
    assert_eq!(mean(Array2::zeros((0, 2))), format!("{known} 0"));
    assert_eq!(mean(array![[1.0, NAN], [2.0, NAN]]), format!("{known} 1"));
    let finite = "expected a finite value, or NaN for a missing one, got";
    assert_eq!(mean(array![[1.0], [f64::INFINITY]]), format!("parts[0][1, 0]: {finite} inf"));
    let parts = [array![[1.0]], array![[1.0, 2.0]]];
    let wide = says(Imputer::mean(&[parts[0].view(), parts[1].view()]));
    assert_eq!(wide, "parts[1]: expected [1, 1] (rows, features), got [1, 2]");
    let imputer = Imputer::mean(&[parts[1].view()]).unwrap().add_indicator(true);
    let got = says(imputer.transform(&array![[1.0, NAN], [f64::NEG_INFINITY, 2.0]]));
    assert_eq!(got, format!("x[1, 0]: {finite} -inf"));
    let got = says(imputer.transform(&array![[1.0]]));
    assert_eq!(got, "x: expected [1, 2] (time, features), got [1, 1]");
    assert_eq!(says(imputer.names_out(&["a"])), "names: expected [2] (features), got [1]");
    let twice = says(imputer.names_out(&["a", "missingindicator_a"]));
    assert_eq!(twice, "names[2]: expected each name once, got \"missingindicator_a\" again");
}

#[test]
fn missing_cells_of_a_table_are_errors_unless_they_are_asked_for() {
    let path = std::env::temp_dir().join(format!("recurrent-missing-{}.csv", std::process::id()));
    std::fs::write(&path, "id,x,y\r\na,1,-\r\na, ,NaN\r\nb,NA,4\r\nb,inf,nan\r\n").unwrap();
    let table = Table::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let line = |error: Error| match error {
        Error::Parse { line, column, .. } => (line, column.unwrap()),
        other => panic!("{other}"),
    };
    assert_eq!(line(table.values::<f64>(&["x"]).unwrap_err()), (3, "x".to_owned()));
    let with = |columns: &[&str], na: &[&str]| table.values_with_missing::<f32>(columns, na);
    assert_eq!(line(with(&["y"], &["NA"]).unwrap_err()), (2, "y".to_owned()));
    // An infinity is not a missing value.
    assert_eq!(line(with(&["x"], &["NA"]).unwrap_err()), (5, "x".to_owned()));
    let y = with(&["y"], &["-"]).unwrap();
    assert_eq!(y.mapv(|value| value.is_nan()), array![[true], [true], [false], [true]]);
    let sequences =
        table.sequences_with_missing::<f64>("id", &["x", "y"], &["NA", "-", "inf"]).unwrap();
    let shown: Vec<Vec<f64>> = sequences
        .iter()
        .map(|sequence| sequence.iter().map(|x| if x.is_nan() { -1.0 } else { *x }).collect())
        .collect();
    assert_eq!(shown, [[1.0, -1.0, -1.0, -1.0], [-1.0, 4.0, -1.0, -1.0]]);
    assert!(table.values_with_missing::<f64>(&["z"], &[]).is_err());
}

#[test]
fn an_imputer_is_read_as_it_was_written_and_only_with_means_that_it_could_have() {
    let train = array![[1.0, 2.0, NAN], [NAN, 4.0, 6.0]];
    let imputer = Imputer::mean(&[train.view()]).unwrap().forward_fill(true);
    let text = serde_json::to_string(&imputer).unwrap();
    assert_eq!(serde_json::from_str::<Imputer>(&text).unwrap(), imputer);
    let read = |means: &str, more: &str| {
        let text =
            format!("{{\"means\":[{means}],\"forward_fill\":true,\"add_indicator\":false{more}}}");
        serde_json::from_str::<Imputer>(&text).map_err(|error| error.to_string())
    };
    assert_eq!(read("1.0,3.0,6.0", "").unwrap(), imputer);
    assert!(read("", "").unwrap_err().starts_with("means: expected at least 1, got 0"));
    assert!(read("1.0,null", "").is_err());
    assert!(read("1.0", ",\"median\":true").unwrap_err().contains("median"));
    // A format that can hold infinities.
    let value = |means: Vec<f64>| {
        let fields = [("means", Means(means)), ("forward_fill", Off), ("add_indicator", Off)];
        Imputer::deserialize(MapDeserializer::<_, ValueError>::new(fields.into_iter()))
    };
    assert!(value(vec![0.5]).is_ok());
    for bad in [f64::INFINITY, NAN] {
        let error = value(vec![0.5, bad]).unwrap_err().to_string();
        assert_eq!(error, format!("means[1]: expected a finite value, got {bad}"));
    }
}

/// A field of an imputer in a format of its own.
enum Field {
    Means(Vec<f64>),
    Off,
}
use Field::{Means, Off};

impl<'de> IntoDeserializer<'de, ValueError> for Field {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Field {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Means(means) => visitor.visit_seq(SeqDeserializer::new(means.into_iter())),
            Off => visitor.visit_bool(false),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
