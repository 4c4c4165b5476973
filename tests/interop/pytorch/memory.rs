//! The memory that opening a file takes, counted by an allocator.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;

use recurrent::interop::pytorch::StateDict;

use super::path;
use super::views::{pt, text, view};
use crate::common::temporary::File;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with the bytes that the calling thread holds.
struct Counting;

fn add(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: every request is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both exist while the values are moved.
        add(size as isize);
        add(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Opens `file` and returns the most memory that it took, relative to the size of the file.
fn factor(what: &str, file: &std::path::Path, read: impl FnOnce(StateDict)) -> f64 {
    let before = HELD.get();
    MOST.set(before);
    if let Ok(file) = StateDict::open(file) {
        read(file);
    }
    let factor = (MOST.get() - before) as f64 / fs::metadata(file).unwrap().len() as f64;
    println!("{what}: {factor:.1}");
    factor
}

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
        assert!(factor(what, &file.0, drop) <= 256.0, "{what}");
    }
}

#[test]
fn arrays_take_at_most_32_times_the_size_of_the_file() {
    let repeated = pt(&view(2, 0, &[1000], &[0]), &[1.0, 2.0]);
    let file = File::with("expanded.pt", repeated);
    let used = factor("expanded", &file.0, |file| {
        assert_eq!(file.array::<f64, ndarray::Ix1>("value").unwrap().len(), 1000);
    });
    assert!(used <= 256.0);
    let plain = factor("plain tensors", &path("layers_f64.pt"), drop);
    assert!(plain < 8.0, "{plain}");
}
