//! Tests of NumPy arrays, and of curves, a feature that is off by default.

use ndarray::{Array1, Array2, Array3, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::data::{Dataset, read_npy};
use recurrent::model::SequenceClassifier;
use recurrent::optim::Adam;
use recurrent::train::{History, Trainer};
use recurrent::{Error, Result};

use crate::common::temporary::File;

/// Returns the bytes of an array in version 1.0 of the format.
fn npy(descriptor: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {shape}, }}");
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.resize(10 + length - 1, b' ');
    bytes.push(b'\n');
    bytes.extend(values);
    bytes
}

#[test]
fn arrays_of_any_numbers_are_read() {
    let file = File::with("u1.npy", npy("|u1", "(2, 1, 2)", &[0, 1, 128, 255]));
    let bytes: Array3<f32> = read_npy(&file.0).unwrap();
    assert_eq!(bytes, array![[[0.0, 1.0]], [[128.0, 255.0]]]);
    let values: Vec<u8> = [-2_i64, 1 << 40].iter().flat_map(|value| value.to_le_bytes()).collect();
    let file = File::with("i8.npy", npy("<i8", "(2,)", &values));
    let wide: Array1<f64> = read_npy(&file.0).unwrap();
    assert_eq!(wide, array![-2.0, (1_u64 << 40) as f64]);
    let values: Vec<u8> = [0.5_f64, -1e-3].iter().flat_map(|value| value.to_le_bytes()).collect();
    let file = File::with("f8.npy", npy("<f8", "(1, 2)", &values));
    let narrow: Array2<f32> = read_npy(&file.0).unwrap();
    assert_eq!(narrow, array![[0.5, -1e-3]]);
}

#[test]
fn what_is_no_such_array_is_refused() {
    let refuses = |file: &File| {
        let read: Result<Array2<f32>> = read_npy(&file.0);
        assert!(matches!(read, Err(Error::Format { format: "npy", .. })), "{read:?}");
    };
    refuses(&File::with("axes.npy", npy("|u1", "(4,)", &[0, 1, 2, 3])));
    refuses(&File::with("complex.npy", npy("<c8", "(1, 1)", &[0; 8])));
    refuses(&File::with("short.npy", npy("<f4", "(2, 2)", &[0; 8])));
    refuses(&File::with("text.npy", b"no array"));
    let missing: Result<Array2<f32>> = read_npy("no such file.npy");
    assert!(matches!(missing, Err(Error::Io { .. })));
}

#[test]
fn a_history_is_drawn_with_its_losses_and_figures() {
    let sequences = (0..8).map(|i| Array2::from_elem((3, 1), (i % 2) as f32)).collect();
    let data = Dataset::new(sequences, (0..8).map(|i| i % 2).collect()).unwrap();
    let builder = SequenceClassifier::<LstmCell<f32>>::builder(1, 2).hidden_size(4);
    let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    let trainer = Trainer::new(Adam::new(0.01).unwrap()).epochs(3);
    let history = trainer.fit(&mut model, &data, Some(&data)).unwrap();
    let file = File::with("curves.svg", b"");
    history.to_svg(&file.0).unwrap();
    let svg = std::fs::read_to_string(&file.0).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for name in ["training", "validation", "accuracy", "macro_f1", "epoch"] {
        assert!(svg.contains(name), "{name} is not in the plot");
    }
    let nothing = History::default().to_svg(&file.0).unwrap_err();
    assert!(nothing.to_string().ends_with("not a curves file: no epochs"));
}
