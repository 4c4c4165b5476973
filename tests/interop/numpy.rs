//! Tests of `.npy` and `.npz` files. `tests/fixtures/generate_pytorch_files.py` makes the fixtures.

use std::fs;
use std::io::{Cursor, Write};
use std::path::PathBuf;

use ndarray::{Array0, Array1, Array2, Array3, ArrayD, IxDyn, array};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use recurrent::interop::numpy::{Npz, NpzWriter, read_npy, write_npy};
use recurrent::{Arrays, Error, Lstm, Sequences};

use crate::common::temporary::File;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/numpy").join(name)
}

#[test]
fn files_of_numpy_are_read() {
    for name in ["plain.npz", "compressed.npz"] {
        let file = Npz::open(path(name)).unwrap();
        assert_eq!(file.names(), ["classes", "fortran", "weight", "x", "x_lengths"]);
        let weight: Array2<f32> = file.array("weight").unwrap();
        assert_eq!(weight, Array2::from_shape_fn((2, 3), |(i, j)| (i * 3 + j) as f32 / 7.0));
        let fortran: Array2<f64> = file.array("fortran").unwrap();
        assert_eq!(fortran, array![[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        assert_eq!(file.integers::<ndarray::Ix1>("classes").unwrap(), array![2, 0]);
        let x: Sequences<f64> = file.sequences("x").unwrap();
        assert_eq!((x.values().dim(), x.lengths()), ((4, 2, 3), &[4, 1][..]));
        assert_eq!(x.values()[[3, 0, 2]], 20.0);
    }
}

#[test]
fn the_header_is_that_of_numpy() {
    let mut plain = Vec::new();
    let mut zip = zip::ZipArchive::new(fs::File::open(path("plain.npz")).unwrap()).unwrap();
    std::io::copy(&mut zip.by_name("weight.npy").unwrap(), &mut plain).unwrap();
    let written = File::new("weight.npy");
    write_npy(
        &written.0,
        &Npz::open(path("plain.npz")).unwrap().array::<f32, IxDyn>("weight").unwrap(),
    )
    .unwrap();
    assert_eq!(fs::read(&written.0).unwrap(), plain);
    write_npy(&written.0, &Array0::from_elem((), 2.5)).unwrap();
    assert_eq!(read_npy::<f64, ndarray::Ix0>(&written.0).unwrap()[()], 2.5);
}

#[test]
fn weights_come_back_with_their_bits() {
    let builder = Lstm::<f32>::builder(3, 4).num_layers(2).bidirectional(true);
    let lstm = builder.build(&mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    for compressed in [false, true] {
        let file = File::new("lstm.npz");
        NpzWriter::default()
            .arrays("a.", &lstm)
            .arrays("b.", &lstm)
            .compressed(compressed)
            .write(&file.0)
            .unwrap();
        let mut again = lstm.zeros_like();
        Npz::open(&file.0).unwrap().arrays("b.", &mut again).unwrap();
        again.zip_mut("lstm", &lstm, &mut |name, a, b| assert_eq!(a, b, "{name}")).unwrap();
    }
}

#[test]
fn names_shapes_and_types_that_do_not_fit_are_refused() {
    let file = Npz::open(path("plain.npz")).unwrap();
    let mut pair = (array![[0.0_f32]], array![0.0_f32]);
    let before = pair.clone();
    assert!(matches!(file.arrays("", &mut pair), Err(Error::Names { .. })));
    assert!(matches!(file.array::<f32, IxDyn>("nothing"), Err(Error::Names { .. })));
    assert!(matches!(file.array::<f32, ndarray::Ix3>("weight"), Err(Error::Format { .. })));
    assert!(matches!(file.integers::<IxDyn>("weight"), Err(Error::Argument { .. })));
    assert!(matches!(file.sequences::<f32>("weight"), Err(Error::Format { .. })));
    assert_eq!(pair, before);

    let written = File::new("types.npz");
    let writer = NpzWriter::default()
        .array("wide.value", &array![0.1])
        .array("nan.value", &array![f32::NAN]);
    let writer =
        writer.array("long.value", &array![1_i64]).array("two.value", &array![1.0_f32, 2.0]);
    writer.write(&written.0).unwrap();
    let file = Npz::open(&written.0).unwrap();
    let mut one = array![7.0_f32];
    assert!(matches!(file.arrays("wide.", &mut one), Err(Error::Dtype { .. })));
    assert!(matches!(file.arrays("long.", &mut one), Err(Error::Dtype { .. })));
    assert!(matches!(file.arrays("nan.", &mut one), Err(Error::NonFinite { .. })));
    assert!(matches!(file.arrays("two.", &mut one), Err(Error::Shape { .. })));
    assert_eq!(one, array![7.0]);

    let twice = NpzWriter::default().array("a", &one).array("a", &one).write(&written.0);
    assert_eq!(
        twice.unwrap_err().to_string(),
        r#"name: expected a new name for each array, got "a" again"#
    );
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let file = File::new("lengths.npz");
    for lengths in [array![3_i64, 1], array![-1, 1], array![1, 1, 1]] {
        let writer = NpzWriter::default().array("x", &Array3::<f64>::zeros((2, 2, 1)));
        writer.array("x_lengths", &lengths).write(&file.0).unwrap();
        let read = Npz::open(&file.0).unwrap().sequences::<f64>("x");
        assert!(read.is_err(), "{lengths}");
    }
}

/// Returns a zip file with a compressed entry.
fn zipped(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let deflated = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    zip.start_file(name, deflated).unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn bombs_and_other_entries_are_refused() {
    let npy = File::new("zeros.npy");
    write_npy(&npy.0, &Array1::<f64>::zeros(1 << 20)).unwrap();
    let bomb = File::with("bomb.npz", zipped("w.npy", &fs::read(&npy.0).unwrap()));
    let error = Npz::open(&bomb.0).unwrap().array::<f64, IxDyn>("w").unwrap_err().to_string();
    assert!(error.ends_with("bytes unpacked, more than 256 times the file"), "{error}");

    let other = File::with("other.npz", zipped("readme.txt", b"text"));
    let error = Npz::open(&other.0).unwrap_err().to_string();
    assert!(error.ends_with("not a npz file: the entry readme.txt is no .npy"), "{error}");

    let header = b"\x93NUMPY\x01\x00\x48\x00{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904,)}\n";
    let huge = File::with("huge.npz", zipped("w.npy", header));
    let error = Npz::open(&huge.0).unwrap().array::<f64, IxDyn>("w").unwrap_err();
    assert!(matches!(error, Error::Format { format: "npy", .. }), "{error}");
}

#[test]
fn a_file_that_is_cut_off_or_changed_anywhere_is_refused_or_read() {
    for name in ["plain.npz", "compressed.npz"] {
        let whole = fs::read(path(name)).unwrap();
        let read = |bytes: &[u8]| -> recurrent::Result<()> {
            let file = Npz::open(&File::with("cut.npz", bytes).0)?;
            file.names().iter().try_for_each(|name| file.array::<f64, IxDyn>(name).map(drop))
        };
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{name} at {length}");
        }
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0xff;
            read(&bytes).ok();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_array_is_read_as_it_was_written(
        shape in proptest::collection::vec(0_usize..4, 0..4),
        seed in any::<i64>(),
        reversed in any::<bool>(),
    ) {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| f64::from_bits((seed as u64).wrapping_mul(i as u64 + 1)));
        let mut array = ArrayD::from_shape_vec(shape, values.collect()).unwrap();
        if reversed {
            array = array.reversed_axes();
        }
        let (npy, npz) = (File::new("any.npy"), File::new("any.npz"));
        write_npy(&npy.0, &array).unwrap();
        NpzWriter::default().array("a", &array).write(&npz.0).unwrap();
        let bits = |array: &ArrayD<f64>| array.mapv(f64::to_bits);
        prop_assert_eq!(bits(&read_npy::<f64, IxDyn>(&npy.0).unwrap()), bits(&array));
        let file = Npz::open(&npz.0).unwrap();
        prop_assert_eq!(bits(&file.array::<f64, IxDyn>("a").unwrap()), bits(&array));
    }
}
