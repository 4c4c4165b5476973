//! The run of a format: its inputs are made, read and counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use recurrent::Result;

use crate::common::memory;
use crate::dice::Dice;

/// The time of an input after which it is a hang.
const SLOW: Duration = Duration::from_secs(20);

/// The time between two looks at an input that is read.
const LOOK: Duration = Duration::from_millis(100);

/// The number of looks at one input after which the process ends, for a reader that never returns. A machine that
/// is suspended does not look.
const STUCK: usize = 600;

/// The memory that most readers may take beside that which is relative to the size of the file.
pub(crate) const OWN_MEMORY: usize = 1 << 18;

/// The most memory that the use of a value may take.
const USE_MEMORY: usize = 1 << 26;

/// The number of attempts to make an input smaller.
const ATTEMPTS: usize = 500;

/// The use of a value that was read.
pub(crate) type Use = Box<dyn FnOnce() -> Result<()>>;

/// A reader of a file that was made from the seed of the given index.
pub(crate) type Read = dyn Fn(&Path, usize) -> Result<Use>;

/// A format of files.
pub(crate) struct Format {
    /// The name of its files.
    pub(crate) file: &'static str,
    /// Valid files.
    pub(crate) seeds: Vec<Vec<u8>>,
    pub(crate) mutate: fn(&mut Dice, &[u8], &[u8]) -> Vec<u8>,
    pub(crate) read: Box<Read>,
    /// The most memory that the reader may take, relative to the size of the file.
    pub(crate) growth: usize,
    /// The memory that it may take beside, whatever the size.
    pub(crate) beside: usize,
    /// The part of the inputs that are made in a short run.
    pub(crate) cost: usize,
}

/// The answer to an input.
struct Answer {
    /// Whether there was a value that could be used; the place and the message of a panic.
    result: std::result::Result<bool, String>,
    memory: usize,
    use_memory: usize,
    time: Duration,
}

#[derive(Default)]
struct Counts {
    inputs: usize,
    values: usize,
    errors: usize,
    panics: usize,
    slowest: Duration,
    /// The most memory relative to the size of a file of at least 1 KiB.
    factor: f64,
    /// The smallest input of each failure.
    failures: BTreeMap<String, Vec<u8>>,
}

thread_local! {
    /// The place and the message of the last panic, in a thread that reads inputs.
    pub(crate) static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

pub(crate) fn option<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

/// Runs a format. Fails if an input is answered by a panic, too late or with too much memory.
pub(crate) fn check(format: Format) {
    record_panics();
    let thread = thread::current();
    let name = thread.name().unwrap_or("format").to_owned();
    let folder: PathBuf =
        option("BAD_FILES_FOLDER").unwrap_or_else(|| env::temp_dir().join("recurrent-bad-files"));
    // The file stays if the process is ended.
    let here = folder.join(format!("{name}-{}", process::id()));
    fs::create_dir_all(&here).unwrap();
    let path = here.join(format.file);
    for (seed, bytes) in format.seeds.iter().enumerate() {
        let Answer { result, .. } = answer(&format, &path, bytes, seed);
        assert_eq!(result, Ok(true), "the file {seed} of {name} is not valid");
    }
    let counts = inputs(&format, &path);
    fs::remove_dir_all(&here).unwrap();
    println!(
        "{name}: {} inputs, {} values, {} errors, {} panics, slowest {:.0?}, memory {:.1} times the file",
        counts.inputs, counts.values, counts.errors, counts.panics, counts.slowest, counts.factor
    );
    let written = counts.failures.iter().enumerate().map(|(number, (what, bytes))| {
        let path = folder.join(format!("{name}-{number}-{}", format.file));
        fs::write(&path, bytes).unwrap();
        format!("{what}: {}", path.display())
    });
    let written: Vec<String> = written.collect();
    assert!(written.is_empty(), "{name}:\n{}", written.join("\n"));
}

fn inputs(format: &Format, path: &Path) -> Counts {
    let seed = option("BAD_FILES_SEED").unwrap_or(1);
    let count = option("BAD_FILES_INPUTS").unwrap_or(3000 / format.cost);
    let seconds = option("BAD_FILES_SECONDS").map_or(Duration::MAX, Duration::from_secs);
    let (start, mut counts) = (Instant::now(), Counts::default());
    let input = watch(path.to_owned());
    for index in 0..count {
        if start.elapsed() > seconds {
            break;
        }
        let mut dice = Dice::new(seed, index as u64);
        let seed = dice.below(format.seeds.len());
        let other = &format.seeds[dice.below(format.seeds.len())];
        let bytes = (format.mutate)(&mut dice, &format.seeds[seed], other);
        count_one(format, path, seed, bytes, &mut counts);
        input.fetch_add(1, Ordering::Relaxed);
    }
    counts
}

fn count_one(format: &Format, path: &Path, seed: usize, bytes: Vec<u8>, counts: &mut Counts) {
    let mut answer_to = answer(format, path, &bytes, seed);
    if answer_to.time > SLOW {
        // The machine may have been busy.
        answer_to = answer(format, path, &bytes, seed);
    }
    let Answer { result, memory, use_memory, time } = answer_to;
    counts.inputs += 1;
    counts.slowest = counts.slowest.max(time);
    if bytes.len() >= 1 << 10 {
        counts.factor = counts.factor.max(memory as f64 / bytes.len() as f64);
    }
    let failure = match result {
        Err(what) => {
            counts.panics += 1;
            Some(what)
        }
        Ok(value) => {
            *if value { &mut counts.values } else { &mut counts.errors } += 1;
            let most = bytes.len() * format.growth + format.beside;
            match (time > SLOW, use_memory > USE_MEMORY, memory > most) {
                (true, _, _) => Some("a hang".to_owned()),
                (_, true, _) => Some("more memory in use".to_owned()),
                (_, _, true) => Some("more memory in reading".to_owned()),
                _ => None,
            }
        }
    };
    let Some(failure) = failure else { return };
    if counts.failures.get(&failure).is_some_and(|known| known.len() <= bytes.len()) {
        return;
    }
    let smallest = smaller(format, path, seed, bytes, &failure);
    counts.failures.insert(failure, smallest);
}

/// Removes bytes of an input as long as it panics in the same way.
fn smaller(format: &Format, path: &Path, seed: usize, mut bytes: Vec<u8>, what: &str) -> Vec<u8> {
    let (mut size, mut place) = (bytes.len() / 2, 0);
    for _ in 0..ATTEMPTS {
        if place + size > bytes.len() {
            (size, place) = (size / 2, 0);
        }
        if size == 0 {
            break;
        }
        let less = [&bytes[..place], &bytes[place + size..]].concat();
        match answer(format, path, &less, seed).result {
            Err(now) if now == what => bytes = less,
            _ => place += size,
        }
    }
    bytes
}

/// Reads an input and uses its value.
fn answer(format: &Format, path: &Path, bytes: &[u8], seed: usize) -> Answer {
    fs::write(path, bytes).unwrap();
    PANIC.set(None);
    let (start, mut memory, mut use_memory) = (Instant::now(), 0, 0);
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let (read, most) = memory::most(|| (format.read)(path, seed));
        memory = most;
        let (result, most) = memory::most(|| read.and_then(|of_value| of_value()));
        use_memory = most;
        result
    }));
    let what = |_| PANIC.take().unwrap_or_else(|| "a panic in another thread".to_owned());
    let result = result.map(|read| read.is_ok()).map_err(what);
    Answer { result, memory, use_memory, time: start.elapsed() }
}

/// Keeps the place of a panic instead of printing it, in threads that read inputs.
pub(crate) fn record_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // A failed assertion of a test is both printed and kept.
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            if place.contains("bad_files") {
                print(panic);
            }
            let payload = panic.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or_default();
            let message: String = text.chars().take(60).collect();
            PANIC.set(Some(format!("{place}: {message}")));
        }));
    });
}

/// Ends the process if an input is not answered. Returns the number of the input at hand, which the caller counts.
fn watch(path: PathBuf) -> Arc<AtomicUsize> {
    let input = Arc::new(AtomicUsize::new(0));
    let watched = Arc::downgrade(&input);
    thread::spawn(move || {
        let (mut last, mut looks) = (0, 0);
        while let Some(input) = watched.upgrade() {
            let now = input.load(Ordering::Relaxed);
            (last, looks) = (now, if now == last { looks + 1 } else { 0 });
            if looks > STUCK {
                eprintln!("no answer: {}", path.display());
                process::exit(1);
            }
            drop(input);
            thread::sleep(LOOK);
        }
    });
    input
}
