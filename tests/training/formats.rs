//! Tests of weight files: round trips bit for bit, PyTorch's names, and invalid files.

use std::fs;

use ndarray::{Array1, Array2, ArrayD, array};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::{Arrays, Error, Float, Gru, Lstm, io};

use crate::common::temporary::Folder;

/// The name of the file in each folder.
const WEIGHTS: &str = "weights.safetensors";

fn lstm<T: Float>() -> Lstm<T> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    Lstm::builder(3, 4).num_layers(2).bidirectional(true).build(&mut rng).unwrap()
}

fn values<T: Float>(arrays: &impl Arrays<Elem = T>) -> Vec<u64> {
    let mut values = Vec::new();
    arrays.for_each(&mut |_, array| {
        values.extend(array.iter().map(|value| value.as_f64().to_bits()))
    });
    values
}

fn comes_back<T: Float>() {
    let (folder, model) = (Folder::new("formats"), lstm::<T>());
    io::save(folder.path(WEIGHTS), &model).unwrap();
    let mut again = model.zeros_like();
    io::load(folder.path(WEIGHTS), &mut again).unwrap();
    assert_eq!(values(&model), values(&again));
    assert_eq!(folder.names(), ["weights.safetensors"]);
    let bytes = fs::read(folder.path(WEIGHTS)).unwrap();
    io::save(folder.path(WEIGHTS), &again).unwrap();
    assert_eq!(bytes, fs::read(folder.path(WEIGHTS)).unwrap());
}

#[test]
fn what_is_saved_comes_back_bit_for_bit_and_leaves_one_file() {
    comes_back::<f32>();
    comes_back::<f64>();
}

/// Reads the file with all its values, finite or not.
fn as_it_is(folder: &Folder, arrays: &mut impl Arrays) {
    let reader = io::Reader::open(folder.path(WEIGHTS)).unwrap().ensure_all_finite(false);
    reader.arrays("", arrays).unwrap();
}

#[test]
fn special_values_come_back_bit_for_bit() {
    let folder = Folder::new("formats");
    let special = array![f64::NAN, -0.0, f64::INFINITY, 5e-324, f64::MAX, -f64::MIN_POSITIVE];
    io::save(folder.path(WEIGHTS), &special).unwrap();
    let mut again = Array1::<f64>::zeros(6);
    as_it_is(&folder, &mut again);
    assert_eq!(values(&special), values(&again));
}

#[test]
fn what_a_nan_carries_comes_back() {
    let folder = Folder::new("formats");
    let patterns = [0x7fc0_1234_u32, 0xffc0_0001, 0x7f80_0001, 0x8000_0000, 1, 0x007f_ffff];
    let special: Array1<f32> = patterns.iter().map(|&bits| f32::from_bits(bits)).collect();
    io::save(folder.path(WEIGHTS), &special).unwrap();
    let mut again = Array1::<f32>::zeros(6);
    as_it_is(&folder, &mut again);
    assert_eq!(again.mapv(f32::to_bits).to_vec(), patterns);
    let patterns = [0x7ff8_0000_dead_beef_u64, 0xfff0_0000_0000_0001, 1 << 63, 1];
    let special: Array1<f64> = patterns.iter().map(|&bits| f64::from_bits(bits)).collect();
    io::save(folder.path(WEIGHTS), &special).unwrap();
    let mut again = Array1::<f64>::zeros(4);
    as_it_is(&folder, &mut again);
    assert_eq!(again.mapv(f64::to_bits).to_vec(), patterns);
}

#[test]
fn arrays_of_no_values_of_no_axes_and_in_column_order_come_back() {
    let folder = Folder::new("formats");
    let odd = (ArrayD::<f32>::from_elem(vec![], 2.0), Array2::<f32>::zeros((0, 3)));
    io::save(folder.path(WEIGHTS), &odd).unwrap();
    let mut again = (ArrayD::<f32>::zeros(vec![]), Array2::<f32>::zeros((0, 3)));
    io::load(folder.path(WEIGHTS), &mut again).unwrap();
    assert_eq!(odd, again);
    let columns = Array2::from_shape_fn((2, 3), |(i, j)| (3 * i + j) as f32).reversed_axes();
    io::save(folder.path(WEIGHTS), &columns).unwrap();
    let mut again = Array2::<f32>::zeros((3, 2));
    io::load(folder.path(WEIGHTS), &mut again).unwrap();
    assert_eq!(columns, again);
}

#[test]
fn a_name_as_long_as_the_system_allows_can_be_saved() {
    let folder = Folder::new("formats");
    let name = "n".repeat(255);
    for value in [3.0_f32, 4.0] {
        io::save(folder.0.join(&name), &array![value]).unwrap();
        let mut again = array![0.0_f32];
        io::load(folder.0.join(&name), &mut again).unwrap();
        assert_eq!(again, array![value]);
    }
    assert_eq!(folder.names(), [name]);
}

#[cfg(unix)]
#[test]
fn a_save_through_a_link_writes_what_it_links_to_and_keeps_the_link() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new("formats");
    fs::create_dir_all(folder.0.join("shelf")).unwrap();
    let target = folder.0.join("shelf/weights-1");
    // A link to a link by a relative path. The file does not exist at first.
    symlink("shelf/weights-1", folder.0.join("latest")).unwrap();
    symlink(folder.0.join("latest"), folder.path(WEIGHTS)).unwrap();
    for value in [1.0_f32, 2.0] {
        io::save(folder.path(WEIGHTS), &array![value]).unwrap();
        let mut again = array![0.0_f32];
        io::load(&target, &mut again).unwrap();
        assert_eq!(again, array![value]);
        assert!(fs::symlink_metadata(folder.path(WEIGHTS)).unwrap().is_symlink());
        assert!(fs::symlink_metadata(&target).unwrap().is_file());
    }
    assert_eq!(fs::read_dir(folder.0.join("shelf")).unwrap().count(), 1);
    let ring = folder.0.join("ring");
    symlink("ring", &ring).unwrap();
    assert!(matches!(io::save(&ring, &array![1.0_f32]), Err(Error::Io { .. })));
    assert!(fs::symlink_metadata(&ring).unwrap().is_symlink());
}

#[test]
fn names_are_those_of_pytorch() {
    let expected = |kinds: &[&str]| {
        let suffixes = ["l0", "l0_reverse", "l1", "l1_reverse"];
        let names =
            suffixes.iter().flat_map(|s| kinds.iter().map(move |kind| format!("{kind}_{s}")));
        names.collect::<Vec<_>>()
    };
    let kinds = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
    assert_eq!(lstm::<f32>().names(), expected(&kinds));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let gru = Gru::<f32>::builder(3, 4).num_layers(2).bidirectional(true).bias(false);
    assert_eq!(gru.build(&mut rng).unwrap().names(), expected(&kinds[..2]));
    let learned = Lstm::<f32>::builder(3, 4).learned_initial_state(true).build(&mut rng).unwrap();
    assert_eq!(learned.names()[4..], ["initial.h_l0", "initial.c_l0"]);
}

/// Loads `file` into `model`, which must fail and leave the model unchanged. Returns the error.
fn refused<A: Arrays<Elem = f32>>(file: &std::path::Path, model: &mut A) -> Error {
    let before = values(model);
    let error = io::load(file, model).unwrap_err();
    assert_eq!(before, values(model));
    error
}

#[test]
fn tensors_that_are_missing_unused_misshapen_or_of_another_type_are_named() {
    let folder = Folder::new("formats");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let small = Lstm::<f32>::builder(3, 4).build(&mut rng).unwrap();
    io::save(folder.path(WEIGHTS), &small).unwrap();

    let mut without = Lstm::<f32>::builder(3, 4).bias(false).build(&mut rng).unwrap();
    let message = refused(&folder.path(WEIGHTS), &mut without).to_string();
    assert!(
        message.ends_with(r#"missing tensors [], unused tensors ["bias_hh_l0", "bias_ih_l0"]"#),
        "{message}"
    );
    let message = refused(&folder.path(WEIGHTS), &mut lstm::<f32>()).to_string();
    assert!(
        message.contains(r#""weight_ih_l0_reverse""#) && message.ends_with("unused tensors []"),
        "{message}"
    );

    let mut wide = Lstm::<f32>::builder(5, 4).build(&mut rng).unwrap();
    let message = refused(&folder.path(WEIGHTS), &mut wide).to_string();
    let expected = "tensor weight_ih_l0: expected [16, 5] (as in the model), got [16, 3]";
    assert!(message.ends_with(expected), "{message}");

    let mut double = Lstm::<f64>::builder(3, 4).build(&mut rng).unwrap();
    let before = values(&double);
    let message = io::load(folder.path(WEIGHTS), &mut double).unwrap_err().to_string();
    assert!(message.ends_with("tensor weight_ih_l0: expected dtype f64, got f32"), "{message}");
    assert_eq!(before, values(&double));
}

#[test]
fn files_that_are_no_safetensors_are_refused() {
    let (folder, mut model) = (Folder::new("formats"), lstm::<f32>());
    assert!(matches!(refused(&folder.path(WEIGHTS), &mut model), Error::Io { .. }));
    io::save(folder.path(WEIGHTS), &model).unwrap();
    let whole = fs::read(folder.path(WEIGHTS)).unwrap();
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let deep = [&60_000_u64.to_le_bytes()[..], &b"[".repeat(60_000)].concat();
    let texts = [
        vec![],
        b"not a file".to_vec(),
        huge,
        deep,
        whole[..whole.len() - 1].to_vec(),
        whole[..40].to_vec(),
    ];
    for bytes in texts {
        fs::write(folder.path(WEIGHTS), &bytes).unwrap();
        assert!(matches!(refused(&folder.path(WEIGHTS), &mut model), Error::Format { .. }));
    }
}

#[test]
fn a_save_that_fails_leaves_what_was_there_and_nothing_else() {
    let (folder, model) = (Folder::new("formats"), lstm::<f32>());
    let nowhere = folder.0.join("missing").join("weights.safetensors");
    assert!(matches!(io::save(&nowhere, &model), Err(Error::Io { .. })));
    // A folder at the path of the file cannot be replaced.
    let taken = folder.0.join("taken");
    fs::create_dir_all(taken.join("inside")).unwrap();
    assert!(matches!(io::save(&taken, &model), Err(Error::Io { .. })));
    assert_eq!(folder.names(), ["taken"]);
    assert!(taken.join("inside").is_dir());
    // A path through a file is not a folder, and ".." is not a file.
    io::save(folder.path(WEIGHTS), &model).unwrap();
    let before = fs::read(folder.path(WEIGHTS)).unwrap();
    assert!(io::save(folder.path(WEIGHTS).join("w"), &model).is_err());
    assert!(io::save(folder.0.join(".."), &model).is_err());
    assert_eq!(fs::read(folder.path(WEIGHTS)).unwrap(), before);
    assert_eq!(folder.names().len(), 2);
}

proptest! {
    #[test]
    fn no_change_or_cut_of_a_file_panics_or_half_loads(
        changes in prop::collection::vec((0_usize..2000, any::<u8>()), 1..4),
        length in 0_usize..4000,
    ) {
        let (folder, model) = (Folder::new("formats"), lstm::<f32>());
        io::save(folder.path(WEIGHTS), &model).unwrap();
        let mut bytes = fs::read(folder.path(WEIGHTS)).unwrap();
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        bytes.truncate(length);
        fs::write(folder.path(WEIGHTS), &bytes).unwrap();
        let mut target = model.zeros_like();
        if io::load(folder.path(WEIGHTS), &mut target).is_err() {
            prop_assert!(values(&target).iter().all(|&bits| bits == 0));
        }
    }
}

#[test]
fn several_bundles_and_a_text_share_a_file() {
    let (folder, model) = (Folder::new("formats"), lstm::<f64>());
    let mean = array![0.5_f32, f32::MIN_POSITIVE];
    let writer = io::Writer::default().arrays("model.", &model).arrays("mean.", &mean);
    writer.about("{\"epoch\": 3}").write(folder.path(WEIGHTS)).unwrap();

    let file = io::Reader::open(folder.path(WEIGHTS)).unwrap();
    assert_eq!(file.about(), Some("{\"epoch\": 3}"));
    assert_eq!(file.names("mean."), ["value"]);
    let (mut again, mut mean_again) = (model.zeros_like(), mean.zeros_like());
    file.arrays("model.", &mut again).unwrap();
    file.arrays("mean.", &mut mean_again).unwrap();
    assert_eq!(values(&model), values(&again));
    assert_eq!(mean, mean_again);
}

#[test]
fn a_bundle_must_be_all_that_stands_under_its_prefix() {
    let (folder, model) = (Folder::new("formats"), lstm::<f32>());
    let (cell, other) = (array![1.0_f32, 2.0], array![3.0_f32]);
    let pair = (cell.clone(), other);
    io::Writer::default().arrays("pair.", &pair).write(folder.path(WEIGHTS)).unwrap();
    let file = io::Reader::open(folder.path(WEIGHTS)).unwrap();
    assert_eq!(file.about(), None);

    let mut alone = (cell.clone(), None::<Array1<f32>>);
    match file.arrays("pair.", &mut alone).unwrap_err() {
        Error::Names { missing, unused, .. } => {
            assert!(missing.is_empty());
            assert_eq!(unused, ["pair.1.value"]);
        }
        error => panic!("{error}"),
    }
    let mut absent = model.zeros_like();
    assert!(matches!(file.arrays("model.", &mut absent), Err(Error::Names { .. })));
    assert_eq!(values(&absent), values(&model.zeros_like()));
    assert!(matches!(io::load(folder.path(WEIGHTS), &mut absent), Err(Error::Names { .. })));
}

#[test]
fn the_bytes_of_a_file_depend_on_its_content_alone() {
    let (folder, model) = (Folder::new("formats"), lstm::<f32>());
    let bytes = || {
        let writer = io::Writer::default().arrays("a.", &model).about("text");
        writer.write(folder.path(WEIGHTS)).unwrap();
        fs::read(folder.path(WEIGHTS)).unwrap()
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn renamed_tensors_load_under_the_names_of_a_model() {
    let (folder, model) = (Folder::new("formats"), lstm::<f32>());
    let writer = io::Writer::default().arrays("rnn.", &model).arrays("fc.", &array![1.0_f32]);
    writer.write(folder.path(WEIGHTS)).unwrap();
    let open = || io::Reader::open(folder.path(WEIGHTS)).unwrap();
    let mut again = model.zeros_like();
    let missing = open().arrays("recurrent.", &mut again).unwrap_err();
    assert!(matches!(missing, Error::Names { .. }), "{missing}");

    let file = open().rename("rnn.", "recurrent.").unwrap().rename("fc.", "head.").unwrap();
    file.arrays("recurrent.", &mut again).unwrap();
    assert_eq!(values(&model), values(&again));
    assert_eq!(file.names("head."), ["value"]);

    let error = open().rename("lstm.", "recurrent.").unwrap_err().to_string();
    assert!(error.starts_with("from: expected the start of a name"), "{error}");
    let error = open().rename("rnn.weight_ih_l0", "fc.value").unwrap_err().to_string();
    assert!(error.starts_with("to: expected different names"), "{error}");
}
