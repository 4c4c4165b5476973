//! Hostile and damaged files: a typed error that names what is wrong, and no panic.

use std::fs;
use std::io::{Cursor, Read, Write};

use proptest::prelude::*;
use recurrent::Error;
use recurrent::interop::pytorch::StateDict;

use super::path;
use super::views::{archive, pt, text, view};
use crate::common::temporary::File;

/// Opens a file with the content `bytes`.
fn open(bytes: &[u8]) -> Result<StateDict, Error> {
    StateDict::open(&File::with("hostile.pt", bytes).0)
}

/// Opens the file of a pickle, with a storage of two numbers.
fn open_pickle(pickle: &[u8]) -> Result<StateDict, Error> {
    open(&pt(pickle, &[1.0, 2.0]))
}

/// Checks that opening is refused as not a file of the format, with `problem` in the message.
fn refused(opened: Result<StateDict, Error>, problem: &str) {
    let error = opened.expect_err(problem);
    assert!(matches!(error, Error::Format { .. }), "{error}");
    assert!(error.to_string().contains(problem), "{error}\nlacks: {problem}");
}

#[test]
fn a_call_of_another_function_is_refused_by_name_and_not_executed() {
    let names = [
        ("system.pt", "it asks for `posix.system`, which is refused, and nothing was executed"),
        ("eval.pt", "it asks for `builtins.eval`, which is refused, and nothing was executed"),
        ("module.pt", "it asks for `torch.nn.modules.linear.Linear`, which is refused"),
        ("complex.pt", "it asks for `torch.ComplexFloatStorage`, which is refused"),
    ];
    for (name, problem) in names {
        refused(StateDict::open(path(name)), problem);
    }
    refused(open_pickle(b"(ios\nsystem\n"), "`os.system`");
    refused(open_pickle(b"cos\nsystem\n(Vecho\ntR"), "`os.system`");
}

#[test]
fn other_formats_are_refused_by_name_with_advice() {
    let legacy =
        "the stream format of PyTorch before 1.6, which is refused; convert it by torch.save(";
    refused(StateDict::open(path("legacy.pt")), legacy);
    refused(StateDict::open(path("script.pt")), "a TorchScript program, which is refused");
    refused(open(b""), "not a safetensors file");
    refused(open(b"weights"), "not a safetensors file");
    refused(open(&archive(&[])), "0 entries end with /data.pkl");
    refused(open(&archive(&[("a/data.pkl", b""), ("b/data.pkl", b"")])), "2 entries");
}

#[test]
fn big_endian_and_compressed_entries_are_refused() {
    let pickle = [&b"\x80\x02"[..], &view(1, 0, &[1], &[1]), b"."].concat();
    let entries: [(&str, &[u8]); 3] =
        [("x/data.pkl", &pickle), ("x/byteorder", b"big"), ("x/data/0", &[0; 8])];
    refused(open(&archive(&entries)), r#"its byte order is "big", expected "little""#);
    assert!(
        open(&archive(&[entries[0], entries[2]])).is_ok(),
        "files before 2.1 have no byteorder"
    );

    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [entries[0], ("x/data/0", &[0; 1_000_000][..])] {
        let deflated = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated);
        zip.start_file(name, deflated).unwrap();
        zip.write_all(bytes).unwrap();
    }
    let bomb = zip.finish().unwrap().into_inner();
    refused(open(&bomb), "the entry x/data.pkl is compressed");
}

#[test]
fn storages_that_are_missing_or_have_another_size_are_refused() {
    let pickle = [&b"\x80\x02"[..], &view(2, 0, &[2], &[1]), b"."].concat();
    refused(open(&archive(&[("x/data.pkl", &pickle)])), "the entry x/data/0 is missing");
    let short = archive(&[("x/data.pkl", &pickle), ("x/data/0", &[0; 15])]);
    refused(open(&short), "the entry x/data/0: 2 elements of f64, got 15 bytes");
}

#[test]
fn views_beyond_their_storage_and_huge_shapes_are_refused() {
    let opened =
        |offset, shape: &[u32], strides: &[u32]| open_pickle(&view(2, offset, shape, strides));
    assert!(opened(1, &[1], &[7]).is_ok());
    assert!(opened(9, &[0, 5], &[1, 1]).is_ok(), "no element is read");
    refused(opened(1, &[2], &[1]), "reaches beyond its storage of 2 elements");
    refused(opened(0, &[2, 2], &[1, 1]), "reaches beyond");
    refused(opened(0, &[2], &[i32::MAX as u32]), "reaches beyond");
    refused(opened(0, &[1 << 30], &[0]), "repeats too many values: all tensors may have at most 4");
    refused(opened(0, &[1 << 30; 4], &[0; 4]), "cannot be addressed");
    refused(opened(0, &[0, 1 << 30, 1 << 30, 1 << 30], &[0; 4]), "cannot be addressed");
    refused(opened(0, &[2, 1], &[1]), "the shape [2, 1] with the strides [1]");
    refused(opened(0, &[u32::MAX], &[1]), "the size -1");
    refused(opened(u32::MAX, &[1], &[1]), "the size -1");
    refused(opened(0, &[1; 17], &[1; 17]), "17 axes, at most 16 are read");
}

#[test]
fn cycles_and_deep_nesting_are_refused() {
    refused(
        open_pickle(&[b"}q\x00", &text("a")[..], b"h\x00s"].concat()),
        r#"the value "a" contains itself"#,
    );
    refused(open_pickle(b"]q\x00h\x00a"), "contains itself");
    let deep = [vec![b']'; 100_000], vec![b'a'; 99_999]].concat();
    refused(open_pickle(&deep), "is nested more than 64 deep");

    // Each dictionary has the one before it twice: 2⁵⁰ names.
    let mut shared = [b"}q\x00", &text("w")[..], b"Ns"].concat();
    for _ in 0..50 {
        shared.extend([b"0}", &text("a")[..], b"h\x00s", &text("b"), b"h\x00sq\x00"].concat());
    }
    refused(open_pickle(&shared), "its dictionaries share each other too often");
    let twice = [&b"}("[..], &text("a.b"), b"N", &text("a"), b"}", &text("b"), b"Nsu"].concat();
    refused(open_pickle(&twice), r#"two values are named "a.b""#);
}

#[test]
fn instructions_without_their_values_are_refused() {
    let pickles: [(&[u8], &str); 22] = [
        (b"", "a value is taken from an empty stack"),
        (b"0", "a value is taken from an empty stack"),
        (b"]]", "values after the end of the pickle"),
        (b"N.N", "values after the end of the pickle"),
        (b"u", "a mark is taken from a stack without marks"),
        (b"(u", "a list or dictionary is missing on the stack"),
        (b"](Nu", "a key is set in a list"),
        (b"}(Nu", "a key without a value"),
        (b"}Na", "an element is appended to a dictionary"),
        (b"N(0", "a value is taken from an empty stack"),
        (b"h\x07", "no entry 7 of the memo"),
        (b"}NNs", "a key of \"\" is neither text nor integer"),
        (b"N)R", "a call of what is no function"),
        (b"ccollections\nOrderedDict\nN\x85R", "OrderedDict with 1 other arguments"),
        (b"NQ", "another value in the place of a tuple"),
        (b")Q", "a persistent value that is no storage"),
        (b"}\x8c\x01aNsNb", "attributes that are no dictionary"),
        (b"}}\x8c\x01aNsb", "attributes (BUILD) other than the _metadata"),
        (b"N)\x81", "the instruction 0x81 (NEWOBJ) of pickle, which is refused"),
        (b"I1\n", "the instruction 0x49 of protocol 0 of pickle, which is refused"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "the pickle is cut off"),
        (b"\x8c\x02\xff\xff", "a text that is not UTF-8"),
    ];
    for (pickle, problem) in pickles {
        refused(open_pickle(pickle), problem);
    }
    let old = archive(&[("x/data.pkl", b"\x80\x01N.")]);
    refused(open(&old), "protocol 1 of pickle, 2 to 5 are read");
}

/// Returns a zip file without entries that announces `count` entries, a directory of `size` bytes at `start`.
fn announcing(count: u64, size: u64, start: u64) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.resize(100, 0);
    let end = bytes.len() as u64;
    bytes.extend([&b"PK\x06\x06"[..], &44_u64.to_le_bytes(), &[45, 0, 45, 0], &[0; 8]].concat());
    bytes.extend([count, count, size, start].into_iter().flat_map(u64::to_le_bytes));
    bytes.extend([&b"PK\x06\x07"[..], &[0; 4], &end.to_le_bytes(), &1_u32.to_le_bytes()].concat());
    bytes.extend([&b"PK\x05\x06"[..], &[0; 4], &[0xff; 12], &[0; 2]].concat());
    bytes
}

#[test]
fn a_huge_directory_that_is_announced_reserves_no_memory() {
    for start in [0, 100, 1 << 20, 1 << 60] {
        for size in [0, 46, 1 << 40, 1 << 60] {
            for count in [1, 1 << 16, 1 << 40, 1 << 60, u64::MAX] {
                let opened = open(&announcing(count, size, start));
                assert!(matches!(opened, Err(Error::Format { .. })), "{count} {size} {start}");
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    for name in ["small.pt", "views.safetensors", "legacy.pt"] {
        let whole = fs::read(path(name)).unwrap();
        for length in 0..whole.len() {
            let error = open(&whole[..length]).map(drop).expect_err(name);
            assert!(matches!(error, Error::Format { .. }), "{name} at {length}: {error}");
        }
    }
    let mut pickle = Vec::new();
    let file = fs::File::open(path("small.pt")).unwrap();
    let mut zip = zip::ZipArchive::new(file).unwrap();
    zip.by_name("small/data.pkl").unwrap().read_to_end(&mut pickle).unwrap();
    for length in 0..pickle.len() {
        let opened = open(&archive(&[("x/data.pkl", &pickle[..length])]));
        assert!(matches!(opened, Err(Error::Format { .. })), "{length}: {opened:?}");
    }
}

#[test]
fn a_changed_byte_never_panics() {
    let whole = fs::read(path("small.pt")).unwrap();
    for place in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] ^= change;
            if let Ok(file) = open(&bytes) {
                file.linear::<f32>().ok();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_pickle_panics(
        codes in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(&b"(01.NJKMGX]})atesuqrhjcRbQ"[..]),
                proptest::sample::select(&[0x85_u8, 0x86, 0x87, 0x88, 0x8c, 0x93, 0x94, 0x95, 0, 1][..]),
                any::<u8>(),
            ],
            0..60,
        ),
    ) {
        if let Ok(file) = open_pickle(&codes) {
            for name in file.names() {
                file.array::<f64, ndarray::IxDyn>(name).ok();
            }
        }
    }
}

#[test]
fn a_safetensors_shape_without_elements_cannot_be_addressed() {
    let header = format!(
        r#"{{"w":{{"dtype":"F32","shape":[0,{0},{0}],"data_offsets":[0,0]}}}}"#,
        1_u64 << 40
    );
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    refused(open(&file), "cannot be addressed");
}
