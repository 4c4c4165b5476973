//! Views of storages, element types, and the readers against each other.

use std::io::{Cursor, Write};

use ndarray::{Array2, ArrayD, IxDyn};
use proptest::prelude::*;
use recurrent::Error;
use recurrent::interop::numpy::{Npz, NpzWriter};
use recurrent::interop::pytorch::{Dtype, StateDict};
use recurrent::io::{Reader, Writer};

use super::fixture;
use crate::common::temporary::File;

/// Compares the file of views with a file of the same tensors, copied.
fn same_as_copies(name: &str) {
    let (views, copies) = (fixture(name), fixture("views.safetensors"));
    assert_eq!(views.names(), copies.names());
    for name in views.names() {
        assert_eq!(views.shape(name), copies.shape(name), "{name}");
        match copies.dtype(name) {
            Some(Dtype::F64) => {
                let [a, b] = [&views, &copies].map(|f| f.array::<f64, IxDyn>(name).unwrap());
                assert_eq!(a, b, "{name}");
            }
            _ => {
                let [a, b] = [&views, &copies].map(|f| f.integers::<IxDyn>(name).unwrap());
                assert_eq!(a, b, "{name}");
            }
        }
    }
}

#[test]
fn views_of_storages_have_the_values_of_copies() {
    same_as_copies("views.pt");
}

#[test]
fn a_later_protocol_of_pickle_is_read() {
    same_as_copies("views_protocol_4.pt");
}

#[test]
fn every_element_type_is_named() {
    let views = fixture("views.pt");
    let types = [
        ("base", "f64"),
        ("single", "f32"),
        ("half", "f16"),
        ("bfloat", "bf16"),
        ("long", "i64"),
        ("int", "i32"),
        ("short", "i16"),
        ("char", "i8"),
        ("byte", "u8"),
        ("bool", "bool"),
    ];
    for (name, dtype) in types {
        assert_eq!(views.dtype(name).unwrap().to_string(), dtype);
    }
    let half: ArrayD<f32> = views.array("half").unwrap();
    assert_eq!(half[0], 1.0);
    assert_eq!(half[2], 2.0_f32.powi(-24));
    let of_integers = views.array::<f64, IxDyn>("long");
    assert!(matches!(of_integers, Err(Error::Dtype { .. })), "{of_integers:?}");
    let of_floats = views.integers::<IxDyn>("half");
    assert!(matches!(of_floats, Err(Error::Dtype { .. })), "{of_floats:?}");
    let axes = views.array::<f64, ndarray::Ix1>("base").unwrap_err().to_string();
    assert!(axes.ends_with("tensor base: expected 1 axes, got the shape [4, 6]"), "{axes}");
}

/// Returns the instructions of pickle that push a view of the storage `0` of `count` numbers.
pub(super) fn view(count: u32, offset: u32, shape: &[u32], strides: &[u32]) -> Vec<u8> {
    let int = |value: &u32| [&[b'J'][..], &value.to_le_bytes()].concat();
    let tuple = |values: &[u32]| {
        let values: Vec<u8> = values.iter().flat_map(int).collect();
        [&b"("[..], &values, b"t"].concat()
    };
    let mut pickle = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    pickle.extend([text("storage"), b"ctorch\nDoubleStorage\n".to_vec()].concat());
    pickle.extend([text("0"), text("cpu"), int(&count), b"tQ".to_vec()].concat());
    pickle.extend([int(&offset), tuple(shape), tuple(strides)].concat());
    pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    pickle
}

/// Returns the instruction that pushes a text.
pub(super) fn text(text: &str) -> Vec<u8> {
    [&[0x8c, text.len() as u8][..], text.as_bytes()].concat()
}

/// Returns the file of `torch.save(value)` for the value that `pickle` builds, with the storage `0`.
pub(super) fn pt(pickle: &[u8], storage: &[f64]) -> Vec<u8> {
    let pickle = [b"\x80\x02", pickle, b"."].concat();
    let data: Vec<u8> = storage.iter().flat_map(|value| value.to_le_bytes()).collect();
    archive(&[("x/data.pkl", &pickle), ("x/byteorder", b"little"), ("x/data/0", &data)])
}

/// Returns a zip file.
pub(super) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn all_readers_agree(
        values in proptest::collection::vec(-1e300..1e300_f64, 40),
        (rows, columns, offset) in (1_usize..5, 1_usize..5, 0_usize..8),
        (by_row, by_column) in (0_usize..4, 0_usize..4),
    ) {
        let at = |i, j| offset + i * by_row + j * by_column;
        prop_assume!(at(rows - 1, columns - 1) < values.len());
        let w = Array2::from_shape_fn((rows, columns), |(i, j)| values[at(i, j)]);
        let sizes = |a: usize, b: usize| [a as u32, b as u32];
        let (shape, strides) = (sizes(rows, columns), sizes(by_row, by_column));
        let pickle = view(values.len() as u32, offset as u32, &shape, &strides);
        let pt = File::with("view.pt", pt(&[b"}", &text("w")[..], &pickle, b"s"].concat(), &values));
        let (safetensors, npz) = (File::new("view.safetensors"), File::new("view.npz"));
        Writer::default().arrays("w.", &w).write(&safetensors.0).unwrap();
        NpzWriter::default().arrays("w.", &w).write(&npz.0).unwrap();

        prop_assert_eq!(&StateDict::open(&pt.0).unwrap().array::<f64, _>("w").unwrap(), &w);
        let file = StateDict::open(&safetensors.0).unwrap();
        prop_assert_eq!(&file.array::<f64, _>("w.value").unwrap(), &w);
        let mut again = Array2::<f64>::zeros(w.dim());
        Reader::open(&safetensors.0).unwrap().arrays("w.", &mut again).unwrap();
        prop_assert_eq!(&again, &w);
        let mut again = Array2::<f64>::zeros(w.dim());
        Npz::open(&npz.0).unwrap().arrays("w.", &mut again).unwrap();
        prop_assert_eq!(&again, &w);
        prop_assert_eq!(&Npz::open(&npz.0).unwrap().array::<f64, _>("w.value").unwrap(), &w);
    }
}
