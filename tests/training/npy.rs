//! Tests of `.npy` files: every element type, layouts, and headers that do not fit the file.

use ndarray::{Array0, Array1, Array2, ArrayD, array};
use proptest::prelude::*;
use recurrent::data::read_npy;
use recurrent::{Error, Result};

use crate::common::temporary::File;

/// Returns the bytes of a file of the given version with the given text as its header.
fn file(version: u8, header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = [b"\x93NUMPY", &[version, 0][..]].concat();
    match version {
        1 => bytes.extend((header.len() as u16).to_le_bytes()),
        _ => bytes.extend((header.len() as u32).to_le_bytes()),
    }
    bytes.extend(header);
    bytes.extend(data);
    bytes
}

fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}     \n");
    file(1, header.as_bytes(), data)
}

fn bytes<const N: usize>(values: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    values.into_iter().flatten().collect()
}

#[test]
fn a_shape_that_the_file_does_not_hold_reserves_no_memory() {
    let shapes = [
        "(10000000, 1000000)",
        "(4611686018427387904,)",
        "(18446744073709551615,)",
        "(4294967296, 4294967296, 0)",
        "(4294967296, 4294967296, 4294967296)",
        "(5,)",
        "(7,)",
        "(-6,)",
        "(99999999999999999999999999,)",
        "(6.0,)",
        "(6)",
        "6",
        "[6]",
        "(2, 3",
        "(2,, 3)",
    ];
    for shape in shapes {
        for descr in ["<f4", "<f8"] {
            let data = vec![0; 6 * if descr == "<f4" { 4 } else { 8 }];
            let file = File::with("shape.npy", npy(descr, "False", shape, &data));
            let read: Result<ArrayD<f32>> = read_npy(&file.0);
            assert!(matches!(read, Err(Error::Format { format: "npy", .. })), "{shape}: {read:?}");
        }
    }
    let none = File::with("none.npy", npy("<f8", "False", "(3, 0, 2)", &[]));
    assert_eq!(read_npy::<f32, ndarray::Ix3>(&none.0).unwrap().dim(), (3, 0, 2));
    let scalar = File::with("scalar.npy", npy("<f4", "False", "()", &2.5_f32.to_le_bytes()));
    assert_eq!(read_npy::<f64, ndarray::Ix0>(&scalar.0).unwrap(), Array0::from_elem((), 2.5));
}

#[test]
fn a_number_out_of_the_range_of_the_elements_is_refused_by_its_place() {
    for (bad, shown) in
        [(1e300, "1e300"), (-3.5e38, "-3.5e38"), (f64::MAX, "1.7976931348623157e308")]
    {
        let data = bytes([1.0, f64::NAN, bad].map(f64::to_le_bytes));
        let file = File::with("range.npy", npy("<f8", "False", "(3,)", &data));
        let error = read_npy::<f32, ndarray::Ix1>(&file.0).unwrap_err().to_string();
        let expected = format!("element 2: expected a number in the range of f32, got {shown}");
        assert!(error.ends_with(&expected), "{error}");
        assert_eq!(read_npy::<f64, ndarray::Ix1>(&file.0).unwrap()[2], bad);
    }
    // The largest f32, what rounds to it, and what is infinite in the file.
    let kept = [f64::from(f32::MAX), 3.4028235e38, -0.0, 1e-300, f64::INFINITY, f64::NEG_INFINITY];
    let file =
        File::with("kept.npy", npy("<f8", "False", "(6,)", &bytes(kept.map(f64::to_le_bytes))));
    let read: Array1<f32> = read_npy(&file.0).unwrap();
    assert_eq!(read.to_vec(), kept.map(|value| value as f32));
}

#[test]
fn an_array_in_fortrans_order_has_the_same_elements_in_standard_layout() {
    let data = bytes([1_i16, 4, 2, 5, 3, 6].map(i16::to_le_bytes));
    let file = File::with("fortran.npy", npy("<i2", "True", "(2, 3)", &data));
    let read: Array2<f32> = read_npy(&file.0).unwrap();
    assert_eq!(read, array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    assert!(read.is_standard_layout());
}

#[test]
fn numbers_of_half_precision_are_widened() {
    let halves = [0x3c00_u16, 0xc000, 0x7bff, 0x0001, 0x8400, 0x7c00];
    let data = bytes(halves.map(u16::to_le_bytes));
    let file = File::with("half.npy", npy("<f2", "False", "(6,)", &data));
    let expected = [1.0, -2.0, 65504.0, 2_f64.powi(-24), -(2_f64.powi(-14)), f64::INFINITY];
    assert_eq!(read_npy::<f64, ndarray::Ix1>(&file.0).unwrap().to_vec(), expected);
    let single = read_npy::<f32, ndarray::Ix1>(&file.0).unwrap();
    assert_eq!(single.to_vec(), expected.map(|value| value as f32));
}

#[test]
fn headers_as_other_programs_write_them_are_read() {
    let data = bytes([1.0_f32, 2.0].map(f32::to_le_bytes));
    let texts = [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n",
        "{\"shape\":(2,),\"descr\":\"<f4\",\"fortran_order\":False,}",
        "  { 'fortran_order' : True , 'shape' : ( 2L , ) , 'descr' : '<f4' }  \t\n",
    ];
    for version in [1, 2, 3] {
        for text in texts {
            let file = File::with("text.npy", file(version, text.as_bytes(), &data));
            assert_eq!(read_npy::<f64, ndarray::Ix1>(&file.0).unwrap(), array![1.0, 2.0]);
        }
    }
}

#[test]
fn whatever_is_no_such_file_is_refused() {
    let right = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n";
    let whole = file(1, right.as_bytes(), &[0; 4]);
    let mut files: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
    files.push([&whole[..], &[0]].concat());
    files.push([&b"\x93NUMPZ"[..], &whole[6..]].concat());
    files.extend([0, 4, 255].map(|version| file(version, right.as_bytes(), &[0; 4])));
    let texts = [
        "",
        "{}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} 1",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)",
        "{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '|f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': 'é4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (((1,),),)}",
    ];
    files.extend(texts.map(|text| file(1, text.as_bytes(), &[0; 4])));
    files.push(file(3, b"{'descr': '\xff'}", &[0; 4]));
    files.push(file(1, &[b'('; 60_000], &[0; 4]));
    files.push(file(2, &vec![b'{'; 1 << 20], &[0; 4]));
    files.push([b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..], b"{}"].concat());
    for bytes in files {
        let file = File::with("refused.npy", &bytes);
        let read: Result<ArrayD<f32>> = read_npy(&file.0);
        assert!(matches!(read, Err(Error::Format { format: "npy", .. })), "{bytes:?}: {read:?}");
    }
    let big = File::with("big.npy", npy(">f8", "False", "(1,)", &[0; 8]));
    let error = read_npy::<f32, ndarray::Ix1>(&big.0).unwrap_err().to_string();
    assert!(error.ends_with("big-endian elements of type >f8"), "{error}");
    assert!(matches!(read_npy::<f32, ndarray::Ix1>(std::env::temp_dir()), Err(Error::Io { .. })));
}

proptest! {
    #[test]
    fn no_change_or_cut_of_a_file_panics(
        changes in prop::collection::vec((0_usize..100, any::<u8>()), 1..4),
        length in 0_usize..120,
    ) {
        let mut bytes = npy("<f4", "False", "(2, 3)", &[0; 24]);
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        bytes.truncate(length);
        let file = File::with("changed.npy", &bytes);
        let _: Result<ArrayD<f32>> = read_npy(&file.0);
    }
}
