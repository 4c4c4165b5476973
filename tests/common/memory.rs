//! The memory that opening a file takes, counted by an allocator.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::ptr;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The size of an allocation that no test needs. It fails, as on a machine with less memory.
const HUGE: usize = 1 << 32;

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
        if layout.size() > HUGE {
            return ptr::null_mut();
        }
        add(layout.size() as isize);
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > HUGE {
            return ptr::null_mut();
        }
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

/// Calls `f` and returns its result with the most memory that the call held, in bytes.
pub(crate) fn most<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = f();
    (result, (MOST.get() - before) as usize)
}

/// Calls `open` with `file` and returns the most memory that the call held, relative to the size of the file.
#[allow(dead_code, reason = "not every program has one file")]
pub(crate) fn factor<T>(what: &str, file: &Path, open: impl FnOnce(&Path) -> T) -> f64 {
    let (_, most) = most(|| open(file));
    let factor = most as f64 / fs::metadata(file).unwrap().len() as f64;
    println!("{what}: {factor:.1}");
    factor
}
