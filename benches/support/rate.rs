//! Multiply-adds a second beside the machine's peak, on one thread.

use criterion::BenchmarkGroup;
use criterion::measurement::WallTime;

use crate::measure::measure;

/// Lets everything run on one thread, or on as many as `RAYON_NUM_THREADS` says.
pub(crate) fn set_threads() {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|threads| threads.parse().ok());
    let builder = rayon::ThreadPoolBuilder::new().num_threads(asked.unwrap_or(1));
    if builder.build_global().is_err() {
        println!("the thread pool stands already");
    }
}

/// [`measure`] of so many multiply-adds; prints the rate beside `peak`, both in GF/s. Returns the
/// seconds of the best sample.
pub(crate) fn measure_rate(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    multiply_adds: usize,
    peak: f64,
    call: impl FnMut(),
) -> f64 {
    let operations = 2 * multiply_adds as u64;
    let seconds = measure(group, name, operations, call);
    // Not measured where the command line's filter leaves this one out.
    if seconds.is_finite() {
        let rate = operations as f64 / seconds * 1e-9;
        let share = 100.0 * rate / peak;
        let micros = seconds * 1e6;
        println!("{name}: best {micros:.2} µs, {rate:.1} GF/s, {share:.0} % of {peak:.1}\n");
    }
    seconds
}
