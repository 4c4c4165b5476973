//! The memory that opening a file takes.

use recurrent::interop::pytorch::StateDict;

use super::path;
use super::views::{pt, text, view};
use crate::common::temporary::File;
use crate::memory::factor;

#[test]
fn opening_takes_at_most_256_times_the_size_of_the_file() {
    const COUNT: usize = 200_000;
    let repeated = |code: &[u8]| code.repeat(COUNT);
    let pickles = [
        ("lists", repeated(b"]")),
        ("tuples", repeated(b")")),
        ("dictionaries", repeated(b"}")),
        ("values", repeated(b"N")),
        ("marks", repeated(b"(")),
        ("the memo", [&b"N"[..], &repeated(b"\x94")].concat()),
        ("a list of lists", [&b"]("[..], &repeated(b"]"), b"e"].concat()),
        ("pairs", [&b"}("[..], &repeated(b"N"), b"u"].concat()),
        ("lists in pairs", [&b"]"[..], &repeated(b"]\x85")].concat()),
        ("names", {
            let pairs =
                (0..COUNT / 8).map(|i| [&b"J"[..], &(i as u32).to_le_bytes(), b"N"].concat());
            [b"}(".to_vec(), pairs.collect::<Vec<_>>().concat(), b"u".to_vec()].concat()
        }),
        ("shared shapes", {
            let storage = [
                b"ctorch._utils\n_rebuild_tensor_v2\nq\x000((".to_vec(),
                text("storage"),
                b"ctorch\nDoubleStorage\n".to_vec(),
                text("0"),
                text("cpu"),
                b"K\x02tQq\x010(".to_vec(),
                b"K\x01".repeat(16),
                b"tq\x020ccollections\nOrderedDict\n)Rq\x030]".to_vec(),
            ];
            let tensor = b"h\x00(h\x01K\x00h\x02h\x02\x89h\x03tRa";
            [storage.concat(), tensor.repeat(COUNT / 20)].concat()
        }),
    ];
    for (what, pickle) in pickles {
        let file = File::with("memory.pt", pt(&pickle, &[0.0, 1.0]));
        assert!(factor(what, &file.0, |file| StateDict::open(file)) <= 256.0, "{what}");
    }
}

#[test]
fn arrays_take_at_most_32_times_the_size_of_the_file() {
    let repeated = pt(&view(2, 0, &[1000], &[0]), &[1.0, 2.0]);
    let file = File::with("expanded.pt", repeated);
    let used = factor("expanded", &file.0, |file| {
        let file = StateDict::open(file).unwrap();
        assert_eq!(file.array::<f64, ndarray::Ix1>("value").unwrap().len(), 1000);
    });
    assert!(used <= 256.0);
    let plain = factor("plain tensors", &path("layers_f64.pt"), |file| StateDict::open(file));
    assert!(plain < 8.0, "{plain}");
}
