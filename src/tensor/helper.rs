//! [`Helper`]: a thread that waits for work by spinning, so that a meeting with it takes less than a
//! microsecond.
//!
//! The work owns its data. Caller and helper copy it in and out, because safe Rust lends a thread only data
//! that outlives the whole walk. The thread is one of the pool of this crate. It comes if work is frequent, and
//! leaves after a short time without work. A caller never waits for a helper that has not begun: it does the
//! work itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::tensor::threads;

/// The time without work after which a helper leaves. It is longer than the time between two products of a walk.
const PATIENCE: Duration = Duration::from_micros(100);
/// The same for a helper that has just come: its caller may still be in a product that it computes alone.
const FIRST_PATIENCE: Duration = Duration::from_millis(1);
/// The time that a thread takes to wake, about.
const WAKING: Duration = Duration::from_micros(30);
/// The number of multiply-adds that take about as long.
const WAKING_WORK: usize = 1 << 20;
/// The number of multiply-adds that take many times as long, also if the core sleeps.
const LONG: usize = 1 << 24;
/// The number of looks at the state between two looks at the clock.
const LOOKS: u32 = 64;
/// The number of looks at the state after which a caller gives its core to others between two looks.
const CALLER_LOOKS: u32 = 1 << 12;
/// The further time, beyond that of the work, after which other threads must have taken the core of the helper.
/// They would take it again, so the helper is dismissed for `BAR` multiply-adds, some ten milliseconds, and for
/// twice as many each further time in a row, up to 2⁵ times.
const DELAY: Duration = Duration::from_micros(300);
const BAR: usize = 1 << 28;
const MOST_SLOW: u32 = 5;
/// The same after work that the helper had not begun when the caller had done its own, about a millisecond.
const LATE_BAR: usize = 1 << 26;
/// The number of multiply-adds in a nanosecond of a slow core.
const SLOWEST: u64 = 8;

// The places of the helper.
const AWAY: u32 = 0;
const CALLED: u32 = 1;
const HERE: u32 = 2;

// The states of the work.
const IDLE: u32 = 0;
const GIVEN: u32 = 1;
const BEGUN: u32 = 2;
const DONE: u32 = 3;
const FAILED: u32 = 4;
const DISMISSED: u32 = 5;

/// Work that another thread may do.
pub(super) trait Work: Default + Send + 'static {
    /// Does the work.
    fn run(&mut self);
}

/// A caller's helper and its work.
#[derive(Debug)]
pub(super) struct Helper<W> {
    meeting: Arc<Meeting<W>>,
    /// The start and the end of the products that followed each other while the helper was away.
    busy: Option<(Instant, Instant)>,
    /// The number of multiply-adds for which the helper is dismissed.
    barred: usize,
    /// The number of times in a row that it was slow.
    slow: u32,
}

#[derive(Debug)]
struct Meeting<W> {
    caller: ThreadId,
    state: Line<AtomicU32>,
    place: Line<AtomicU32>,
    work: Line<Mutex<W>>,
}

/// A value on cache lines of its own, on processors that fetch them in pairs too.
#[derive(Debug)]
#[repr(align(128))]
struct Line<V>(V);

impl<W: Work> Helper<W> {
    /// Creates the helper of this thread, which comes at the first work.
    pub(super) fn new() -> Self {
        let meeting = Meeting {
            caller: thread::current().id(),
            state: Line(AtomicU32::new(IDLE)),
            place: Line(AtomicU32::new(AWAY)),
            work: Line(Mutex::default()),
        };
        Self { meeting: Arc::new(meeting), busy: None, barred: 0, slow: 0 }
    }

    /// Lets the helper leave at once, so that its thread is free for other work of the pool.
    pub(super) fn dismiss(&self) {
        self.meeting.state.0.store(DISMISSED, Relaxed);
    }

    /// Returns whether the helper may do `work` multiply-adds now. If it is away, it is called if the caller has
    /// been busy for as long as a thread takes to wake, or if the work takes much longer than that.
    pub(super) fn is_near(&mut self, work: usize) -> bool {
        if self.barred > 0 {
            self.barred = self.barred.saturating_sub(work);
            return false;
        }
        let place = self.meeting.place.0.load(SeqCst);
        if place == HERE {
            return true;
        }
        if place == AWAY {
            let now = Instant::now();
            let busy = self.busy.filter(|&(_, end)| now.duration_since(end) < PATIENCE);
            let start = busy.map_or(now, |(start, _)| start);
            self.busy = Some((start, now));
            if work < LONG && now.duration_since(start) < WAKING {
                return false;
            }
            self.meeting.state.0.store(IDLE, Relaxed); // in case that it was dismissed
            self.meeting.place.0.store(CALLED, SeqCst);
            let meeting = Arc::clone(&self.meeting);
            threads::spawn(move || meeting.help());
        }
        work >= WAKING_WORK
    }

    /// Notes the end of a product.
    pub(super) fn finish(&mut self) {
        if let (AWAY, Some((_, end))) = (self.meeting.place.0.load(Relaxed), &mut self.busy) {
            *end = Instant::now();
        }
    }

    /// Gives the helper the work that `write` describes.
    pub(super) fn give(&self, write: impl FnOnce(&mut W)) {
        write(&mut self.meeting.work());
        self.meeting.state.0.store(GIVEN, SeqCst);
    }

    /// Waits until the work of so many multiply-adds is done, or does it if the helper has not begun, and calls
    /// `read` with it.
    pub(super) fn take(&mut self, work: usize, read: impl FnOnce(&W)) {
        let state = &self.meeting.state.0;
        let (mut looks, mut start) = (0, None);
        let done = loop {
            match state.load(Acquire) {
                BEGUN if looks < CALLER_LOOKS => std::hint::spin_loop(),
                BEGUN => {
                    start.get_or_insert_with(Instant::now);
                    thread::yield_now();
                }
                GIVEN if state.compare_exchange(GIVEN, IDLE, Acquire, Relaxed).is_err() => continue,
                state => break state,
            }
            looks += 1;
        };
        state.store(IDLE, Relaxed);
        let most = DELAY + Duration::from_nanos(work as u64 / SLOWEST);
        let slow = start.is_some_and(|start: Instant| start.elapsed() > most);
        if slow || done == GIVEN {
            self.barred = if slow { BAR << self.slow } else { LATE_BAR };
            self.slow = MOST_SLOW.min(self.slow + u32::from(slow));
            self.dismiss();
        } else {
            self.slow = 0;
        }
        let mut work = self.meeting.work();
        if done != DONE {
            work.run();
        }
        read(&work);
    }
}

impl<W: Work> Meeting<W> {
    fn work(&self) -> MutexGuard<'_, W> {
        self.work.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the caller's work until there has been none for some time, or the helper is dismissed.
    fn help(self: Arc<Self>) {
        let (mut last, mut patience) = (Instant::now(), FIRST_PATIENCE);
        self.place.0.store(HERE, SeqCst);
        // The caller may run this itself, as a worker of the pool that waits.
        let is_caller = self.caller == thread::current().id();
        loop {
            match self.look() {
                Look::Worked => (last, patience) = (Instant::now(), PATIENCE),
                Look::Idle
                    if !is_caller && last.elapsed() < patience && Arc::strong_count(&self) > 1 => {}
                _ => {
                    self.place.0.store(AWAY, SeqCst);
                    // Work that was given meanwhile found the helper here.
                    let given = self.state.0.load(SeqCst) == GIVEN;
                    if is_caller || !given || self.place.0.swap(HERE, SeqCst) != AWAY {
                        return;
                    }
                }
            }
        }
    }

    /// Looks for work some times, and does it.
    fn look(&self) -> Look {
        let state = &self.state.0;
        for _ in 0..LOOKS {
            match state.load(Relaxed) {
                DISMISSED => return Look::Dismissed,
                GIVEN if state.compare_exchange(GIVEN, BEGUN, Acquire, Relaxed).is_ok() => {
                    // A panic must reach the caller, which repeats the work, and not end the process.
                    let result = catch_unwind(AssertUnwindSafe(|| self.work().run()));
                    state.store(if result.is_ok() { DONE } else { FAILED }, Release);
                    return Look::Worked;
                }
                _ => std::hint::spin_loop(),
            }
        }
        Look::Idle
    }
}

/// The result of some looks at the state.
enum Look {
    Worked,
    Idle,
    Dismissed,
}
