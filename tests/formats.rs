//! Weight files: round trips bit for bit, PyTorch's names, and files that are not what they should
//! be.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use ndarray::{Array1, array};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::{Arrays, Error, Float, Gru, Lstm, io};

/// A folder of its own, gone with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("recurrent-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("weights.safetensors")
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lstm<T: Float>() -> Lstm<T> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    Lstm::builder(3, 4).num_layers(2).bidirectional(true).build(&mut rng).unwrap()
}

fn values<T: Float>(arrays: &impl Arrays<T>) -> Vec<u64> {
    let mut values = Vec::new();
    arrays.for_each(&mut |_, array| values.extend(array.iter().map(|value| value.f64().to_bits())));
    values
}

fn comes_back<T: Float>() {
    let (folder, model) = (Folder::new(), lstm::<T>());
    io::save(folder.file(), &model).unwrap();
    let mut again = model.zeros_like();
    io::load(folder.file(), &mut again).unwrap();
    assert_eq!(values(&model), values(&again));
    assert_eq!(folder.names(), ["weights.safetensors"]);
    let bytes = fs::read(folder.file()).unwrap();
    io::save(folder.file(), &again).unwrap();
    assert_eq!(bytes, fs::read(folder.file()).unwrap());
}

#[test]
fn what_is_saved_comes_back_bit_for_bit_and_leaves_one_file() {
    comes_back::<f32>();
    comes_back::<f64>();
}

#[test]
fn special_values_come_back_bit_for_bit() {
    let folder = Folder::new();
    let special = array![f64::NAN, -0.0, f64::INFINITY, 5e-324, f64::MAX, -f64::MIN_POSITIVE];
    io::save(folder.file(), &special).unwrap();
    let mut again = Array1::<f64>::zeros(6);
    io::load(folder.file(), &mut again).unwrap();
    assert_eq!(values(&special), values(&again));
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

/// Loads `file` into `model`, which must refuse it and stay as it was.
fn refused<A: Arrays<f32>>(file: &std::path::Path, model: &mut A) -> Error {
    let before = values(model);
    let error = io::load(file, model).unwrap_err();
    assert_eq!(before, values(model));
    error
}

#[test]
fn tensors_that_are_missing_unused_misshapen_or_of_another_type_are_named() {
    let folder = Folder::new();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let small = Lstm::<f32>::builder(3, 4).build(&mut rng).unwrap();
    io::save(folder.file(), &small).unwrap();

    let mut without = Lstm::<f32>::builder(3, 4).bias(false).build(&mut rng).unwrap();
    let message = refused(&folder.file(), &mut without).to_string();
    assert!(
        message.ends_with(r#"missing tensors [], unused tensors ["bias_hh_l0", "bias_ih_l0"]"#),
        "{message}"
    );
    let message = refused(&folder.file(), &mut lstm::<f32>()).to_string();
    assert!(
        message.contains(r#""weight_ih_l0_reverse""#) && message.ends_with("unused tensors []"),
        "{message}"
    );

    let mut wide = Lstm::<f32>::builder(5, 4).build(&mut rng).unwrap();
    let message = refused(&folder.file(), &mut wide).to_string();
    let expected = "tensor weight_ih_l0: expected [16, 5] (as in the model), got [16, 3]";
    assert!(message.ends_with(expected), "{message}");

    let mut double = Lstm::<f64>::builder(3, 4).build(&mut rng).unwrap();
    let before = values(&double);
    let message = io::load(folder.file(), &mut double).unwrap_err().to_string();
    assert!(message.ends_with("tensor weight_ih_l0: expected dtype f64, got f32"), "{message}");
    assert_eq!(before, values(&double));
}

#[test]
fn files_that_are_no_safetensors_are_refused() {
    let (folder, mut model) = (Folder::new(), lstm::<f32>());
    assert!(matches!(refused(&folder.file(), &mut model), Error::Io { .. }));
    io::save(folder.file(), &model).unwrap();
    let whole = fs::read(folder.file()).unwrap();
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
        fs::write(folder.file(), &bytes).unwrap();
        assert!(matches!(refused(&folder.file(), &mut model), Error::Format { .. }));
    }
}

#[test]
fn a_save_that_fails_leaves_what_was_there_and_nothing_else() {
    let (folder, model) = (Folder::new(), lstm::<f32>());
    let nowhere = folder.0.join("missing").join("weights.safetensors");
    assert!(matches!(io::save(&nowhere, &model), Err(Error::Io { .. })));
    // A folder in the file's place cannot be replaced by it.
    let taken = folder.0.join("taken");
    fs::create_dir_all(taken.join("inside")).unwrap();
    assert!(matches!(io::save(&taken, &model), Err(Error::Io { .. })));
    assert_eq!(folder.names(), ["taken"]);
    assert!(taken.join("inside").is_dir());
}

proptest! {
    #[test]
    fn no_change_of_a_byte_panics_or_half_loads(place in 0_usize..2000, byte: u8) {
        let (folder, model) = (Folder::new(), lstm::<f32>());
        io::save(folder.file(), &model).unwrap();
        let mut bytes = fs::read(folder.file()).unwrap();
        let place = place % bytes.len();
        bytes[place] = byte;
        fs::write(folder.file(), &bytes).unwrap();
        let mut target = model.zeros_like();
        if io::load(folder.file(), &mut target).is_err() {
            prop_assert!(values(&target).iter().all(|&bits| bits == 0));
        }
    }
}
