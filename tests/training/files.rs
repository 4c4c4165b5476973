//! Tests of files: the kinds of files that a save may write to, invalid headers, options of other versions,
//! values that are not finite, and half precision.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use ndarray::{Array1, Array2, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{GruCell, LayerNormLstmCell, LstmCell};
use recurrent::io::{self, Reader, Writer};
use recurrent::layer::Linear;
use recurrent::loss::Mse;
use recurrent::model::{BuiltInCell, Composed, Forecaster, SequenceGenerator, SequenceTagger};
use recurrent::{Arrays, Error, Lstm, Result};
use serde_json::{Value, json};

use crate::common::temporary::Folder;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

fn loaded(path: &std::path::Path) -> Array1<f32> {
    let mut values = array![0.0_f32, 0.0];
    io::load(path, &mut values).unwrap();
    values
}

#[cfg(unix)]
#[test]
fn a_device_and_a_pipe_are_written_to_and_stay_what_they_are() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let (folder, values) = (Folder::new("devices"), array![1.0_f32, 2.0]);
    let (null, link) = (folder.path("null"), folder.path("link"));
    let made = Command::new("mknod").arg(&null).args(["c", "1", "3"]).status();
    let made = made.is_ok_and(|status| status.success());
    // Only a privileged process makes a device. The system's own is reached by a link.
    symlink(if made { "null" } else { "/dev/null" }, &link).unwrap();
    for path in [Some(&link), made.then_some(&null)].into_iter().flatten() {
        io::save(path, &values).unwrap();
        assert!(fs::metadata(path).unwrap().file_type().is_char_device());
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());

    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || loaded(&pipe)
    });
    io::save(&pipe, &values).unwrap();
    assert_eq!(reader.join().unwrap(), values);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    let full = io::save("/dev/full", &values);
    assert!(cfg!(not(target_os = "linux")) || matches!(full, Err(Error::Io { .. })), "{full:?}");
    let expected = if made { vec!["link", "null", "pipe"] } else { vec!["link", "pipe"] };
    assert_eq!(folder.names(), expected);
}

#[cfg(unix)]
#[test]
fn a_file_that_is_replaced_keeps_its_permissions_also_through_a_link() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    let (folder, file) = (Folder::new("permissions"), "weights");
    symlink(file, folder.path("link")).unwrap();
    for (mode, path) in [(0o600, file), (0o640, "link"), (0o604, file), (0o755, "link")] {
        fs::write(folder.path(file), "old").unwrap();
        fs::set_permissions(folder.path(file), PermissionsExt::from_mode(mode)).unwrap();
        let old = fs::metadata(folder.path(file)).unwrap();
        io::save(folder.path(path), &array![1.0_f32, 2.0]).unwrap();
        let new = fs::metadata(folder.path(file)).unwrap();
        assert_eq!(new.permissions().mode(), old.permissions().mode());
        assert_eq!((new.uid(), new.gid()), (old.uid(), old.gid()));
        assert_ne!(new.ino(), old.ino(), "the file was not replaced");
        assert_eq!(loaded(&folder.path(file)), array![1.0, 2.0]);
    }
    // A file that may not be written may not be replaced either. A privileged process may do both.
    fs::set_permissions(folder.path(file), PermissionsExt::from_mode(0o444)).unwrap();
    let writable = fs::OpenOptions::new().write(true).open(folder.path(file)).is_ok();
    assert_eq!(io::save(folder.path(file), &array![3.0_f32, 4.0]).is_ok(), writable);
    assert_eq!(fs::metadata(folder.path(file)).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(folder.names(), ["link", "weights"]);
}

#[test]
fn a_path_that_names_no_file_is_an_error_and_leaves_nothing() {
    let (folder, values) = (Folder::new("paths"), array![1.0_f32, 2.0]);
    fs::create_dir_all(folder.path("folder")).unwrap();
    let paths = ["folder", "folder/", "new/", "new/.", "folder/.", "folder/..", "missing/new", ""];
    for name in paths {
        let path = if name.is_empty() { PathBuf::new() } else { folder.path(name) };
        let error = io::save(&path, &values).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{name}: {error}");
        assert_eq!(folder.names(), ["folder"], "{name}");
    }
    assert_eq!(fs::read_dir(folder.path("folder")).unwrap().count(), 0);
}

#[test]
fn a_name_without_a_folder_is_a_file_of_the_current_folder() {
    let name = PathBuf::from(format!("recurrent-relative-{}", std::process::id()));
    for value in [1.0_f32, 3.0] {
        io::save(&name, &array![value, 2.0]).unwrap();
        assert_eq!(loaded(&name), array![value, 2.0]);
    }
    fs::remove_file(&name).unwrap();
}

#[test]
fn two_tensors_of_one_name_are_refused_before_anything_is_written() {
    let (folder, one) = (Folder::new("twice"), || array![1.0_f32]);
    let file = folder.path("file");
    let says = |writer: Writer| writer.write(&file).unwrap_err().to_string();
    let twice = Writer::default().arrays("a.", &one()).arrays("b.", &one()).arrays("a.", &one());
    let expected = "prefix: expected a new name for each tensor, got \"a.value\" again";
    assert_eq!(says(twice), expected);
    // The same name by another prefix, and a name of the format itself.
    let nested = Writer::default().arrays("a.0.", &one()).arrays("a.", &(one(), one()));
    assert!(says(nested).contains("\"a.0.value\" again"));

    #[derive(Clone)]
    struct Named(&'static str, Array1<f32>);
    impl Arrays for Named {
        type Elem = f32;
        fn for_each<'a>(&'a self, f: &mut recurrent::arrays::Visit<'_, 'a, f32>) {
            f(self.0, self.1.view().into_dyn());
        }
        fn for_each_mut<'a>(&'a mut self, f: &mut recurrent::arrays::VisitMut<'_, 'a, f32>) {
            f(self.0, self.1.view_mut().into_dyn());
        }
    }
    let reserved = Writer::default().arrays("", &Named("__metadata__", one()));
    assert!(says(reserved).contains("__metadata__"));
    let same = (Named("0.value", one()), one());
    assert!(Writer::default().arrays("", &same).write(&file).is_ok());
    assert_eq!(folder.names(), ["file"]);
}

/// Returns the bytes of a safetensors file.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn a_header_that_the_file_does_not_keep_is_refused() {
    let folder = Folder::new("headers");
    let file = folder.path("file");
    let header = |shape: &str, offsets: &str| {
        format!(r#"{{"value":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let two = r#"{"value":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "other":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let headers = [
        header("[10000000,1000000]", "[0,40000000000000]"),
        header("[18446744073709551615]", "[0,18446744073709551615]"),
        header("[4294967296,4294967296,4294967296]", "[0,8]"),
        header("[-2]", "[0,8]"),
        header("[2]", "[-8,0]"),
        header("[2]", "[8,0]"),
        header("[2]", "[8,16]"),
        header("[2.0]", "[0,8]"),
        header("[2]", "[0,18446744073709551616]"),
        two.to_owned(),
        "[]".to_owned(),
        "\u{feff}{}".to_owned(),
    ];
    let mut bytes: Vec<Vec<u8>> = headers.iter().map(|text| safetensors(text, &[0; 8])).collect();
    bytes.push(safetensors(&header("[2]", "[0,8]"), &[0; 7]));
    bytes.push(safetensors(&header("[2]", "[0,8]"), &[0; 9]));
    bytes.push([&8_u64.to_le_bytes()[..], b"{\"\xff\":1} "].concat());
    bytes.push(99_999_999_u64.to_le_bytes().to_vec());
    bytes.push(vec![0; 64]);
    let mut values = array![5.0_f32, 5.0];
    for bytes in bytes {
        fs::write(&file, &bytes).unwrap();
        let error = io::load(&file, &mut values).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
        assert_eq!(values, array![5.0, 5.0]);
    }
    fs::write(&file, safetensors(&header("[2]", "[0,8]"), &[0; 8])).unwrap();
    assert_eq!(loaded(&file), array![0.0, 0.0]);
    // A device without an end.
    if fs::metadata("/dev/zero").is_ok() {
        assert!(matches!(Reader::open("/dev/zero"), Err(Error::Format { .. })));
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name_and_index_unless_allowed() {
    let folder = Folder::new("finite");
    let file = folder.path("file");
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let model = Lstm::<f64>::builder(2, 3).build(&mut rng()).unwrap();
        let mut broken = model.clone();
        broken.for_each_mut(&mut |name, mut array| {
            if name == "weight_hh_l0" {
                array[[3, 1]] = value;
            }
        });
        io::save(&file, &broken).unwrap();
        let mut again = model.zeros_like();
        let error = io::load(&file, &mut again).unwrap_err();
        let expected =
            format!("tensor weight_hh_l0: expected finite values, got {value} at flat index 10");
        assert!(error.to_string().ends_with(&expected), "{error}");
        assert!(matches!(error, Error::NonFinite { index: 10, .. }));
        again.for_each(&mut |_, array| assert!(array.iter().all(|&value| value == 0.0)));
        let reader = Reader::open(&file).unwrap().ensure_all_finite(false);
        reader.arrays("", &mut again).unwrap();
        again.for_each(&mut |name, array| {
            let bad = array.iter().filter(|value| !value.is_finite()).count();
            assert_eq!(bad, usize::from(name == "weight_hh_l0"));
        });
    }
    let tagger = SequenceTagger::<GruCell<f32>>::builder(2, 3).build(&mut rng()).unwrap();
    let mut broken = tagger.clone();
    broken.for_each_mut(&mut |name, mut array| {
        if name == "head.bias" {
            array[[2]] = f32::NAN;
        }
    });
    broken.save(&file).unwrap();
    let error = SequenceTagger::<GruCell<f32>>::load(&file).map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::NonFinite { index: 2, .. }), "{error}");
    assert!(error.to_string().contains("head.bias"), "{error}");
}

/// Returns the value of a number of `exponent` and `fraction` bits below its sign, by the definition.
fn value_of(bits: u16, fraction: i32, bias: i32) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, part) = (i32::from((bits & 0x7fff) >> fraction), bits & ((1 << fraction) - 1));
    let part = f64::from(part) / 2_f64.powi(fraction);
    match exponent {
        0 => sign * part * 2_f64.powi(1 - bias),
        _ if exponent == 2 * bias + 1 && part == 0.0 => sign * f64::INFINITY,
        _ if exponent == 2 * bias + 1 => f64::NAN,
        _ => sign * (1.0 + part) * 2_f64.powi(exponent - bias),
    }
}

#[test]
fn every_number_of_half_precision_is_widened_exactly() {
    let folder = Folder::new("halves");
    let file = folder.path("file");
    let data: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for (dtype, fraction, bias) in [("F16", 10, 15), ("BF16", 7, 127)] {
        let header = format!(
            r#"{{"value":{{"dtype":"{dtype}","shape":[65536],"data_offsets":[0,131072]}}}}"#
        );
        fs::write(&file, safetensors(&header, &data)).unwrap();
        let (mut single, mut double) = (Array1::<f32>::zeros(65536), Array1::<f64>::zeros(65536));
        let open = || Reader::open(&file).unwrap();
        assert!(matches!(open().arrays("", &mut single), Err(Error::NonFinite { .. })));
        open().ensure_all_finite(false).arrays("", &mut single).unwrap();
        open().ensure_all_finite(false).arrays("", &mut double).unwrap();
        for bits in 0..=u16::MAX {
            let expected = value_of(bits, fraction, bias);
            let (single, double) =
                (f64::from(single[usize::from(bits)]), double[usize::from(bits)]);
            if expected.is_nan() {
                assert!(single.is_nan() && double.is_nan());
            } else {
                assert_eq!(
                    [single, double].map(f64::to_bits),
                    [expected.to_bits(); 2],
                    "{bits:#x}"
                );
            }
        }
        let mut two = array![0.0_f32, 0.0];
        assert!(matches!(io::load(&file, &mut two), Err(Error::Shape { .. })));
    }
}

/// Changes the description of the model in `file`.
pub(crate) fn describe<A: Arrays>(file: &PathBuf, model: &A, change: impl FnOnce(&mut Value)) {
    let mut about: Value =
        serde_json::from_str(Reader::open(file).unwrap().about().unwrap()).unwrap();
    change(&mut about);
    Writer::default().arrays("", model).about(about.to_string()).write(file).unwrap();
}

#[test]
fn options_of_a_later_version_are_refused_by_name_with_both_versions() {
    let folder = Folder::new("options");
    let file = folder.path("file");
    let builder = SequenceTagger::<LayerNormLstmCell<f64>>::builder(2, 3);
    let model = builder.build(&mut rng()).unwrap();
    let fresh = |change: &dyn Fn(&mut Value)| {
        model.save(&file).unwrap();
        describe(&file, &model, change);
        let typed = SequenceTagger::<LayerNormLstmCell<f64>>::load(&file).map(|_| ());
        let any = SequenceTagger::<BuiltInCell<f64>>::load(&file).map(|_| ());
        assert_eq!(typed.is_ok(), any.is_ok());
        typed.map_err(|error| error.to_string())
    };
    fresh(&|_| ()).unwrap();
    let names = ["", "/config", "/config/own", "/config/recurrent", "/config/recurrent/options"];
    for place in names {
        for (version, value) in [(1, json!(true)), (2, json!(null))] {
            let error = fresh(&|about: &mut Value| {
                about["format"] = version.into();
                about.pointer_mut(place).unwrap()["layer_norm_of_tomorrow"] = value.clone();
            });
            let error = error.unwrap_err();
            assert!(error.contains("layer_norm_of_tomorrow: the file has version"), "{error}");
            assert!(error.contains(&format!("version {version} of the format")), "{error}");
            assert!(error.contains("reads up to 1"), "{error}");
        }
    }
    let newer = fresh(&|about: &mut Value| about["format"] = 7.into()).unwrap_err();
    assert!(newer.ends_with("the file has version 7 of the format, this crate reads up to 1"));
    for version in [Value::Null, json!("1"), json!(-1), json!(1.5), json!(0)] {
        let error = fresh(&|about: &mut Value| about["format"] = version.clone()).unwrap_err();
        assert!(error.contains("no version of the format"), "{error}");
    }
}

#[test]
fn options_of_a_composed_model_are_checked_like_those_of_others() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Sizes {
        #[serde(alias = "width")]
        output: usize,
    }
    type Model = Composed<Array2<f32>, Linear<f32>, Mse>;
    let build = |sizes: &Sizes| -> Result<Model> {
        Ok(Composed::new(Linear::new(2, sizes.output, &mut rng())?, Mse))
    };
    let folder = Folder::new("composed");
    let file = folder.path("file");
    let model = build(&Sizes { output: 3 }).unwrap();
    model.save(&Sizes { output: 3 }, &file).unwrap();
    describe(&file, &model, |about| about["config"]["dropout_of_tomorrow"] = 0.1.into());
    let error = Model::load(&file, build).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("unknown option dropout_of_tomorrow"), "{error}");
    // An option under an older name is read, not ignored.
    describe(&file, &model, |about| about["config"] = json!({ "width": 3 }));
    assert_eq!(Model::load(&file, build).unwrap().layer.output_size(), 3);
}

#[test]
fn sizes_that_the_weights_of_a_file_do_not_have_reserve_no_memory() {
    let folder = Folder::new("sizes");
    let file = folder.path("file");
    let refused = |load: &dyn Fn() -> Result<()>| {
        let error = load().unwrap_err();
        assert!(matches!(error, Error::Format { .. } | Error::Shape { .. }), "{error}");
    };
    let builder = SequenceTagger::<LstmCell<f32>>::builder(5, 3).embedding_dim(2).hidden_size(4);
    let tagger = builder.build(&mut rng()).unwrap();
    let huge = [1_u64 << 20, 1 << 40, 1 << 59, u64::MAX];
    for size in huge {
        let places =
            ["input_size", "output_size", "embedding_dim"].map(|name| format!("/config/{name}"));
        let layers = ["/config/recurrent/num_layers", "/config/recurrent/hidden_sizes/0"];
        for place in places.iter().map(String::as_str).chain(layers) {
            tagger.save(&file).unwrap();
            describe(&file, &tagger, |about| *about.pointer_mut(place).unwrap() = size.into());
            refused(&|| SequenceTagger::<LstmCell<f32>>::load(&file).map(|_| ()));
        }
        let builder = SequenceGenerator::<LstmCell<f32>>::builder(4).condition_size(2);
        let generator = builder.build(&mut rng()).unwrap();
        generator.save(&file).unwrap();
        describe(&file, &generator, |about| about["config"]["own"]["condition_size"] = size.into());
        refused(&|| SequenceGenerator::<LstmCell<f32>>::load(&file).map(|_| ()));

        let windows = recurrent::data::Windows::new(3, 2).unwrap();
        let forecaster = Forecaster::<LstmCell<f32>>::builder(2, &windows);
        let forecaster = forecaster.build(&mut rng()).unwrap();
        forecaster.save(&file).unwrap();
        describe(&file, &forecaster, |about| about["config"]["own"]["steps"] = size.into());
        refused(&|| Forecaster::<LstmCell<f32>>::load(&file).map(|_| ()));
    }
}
