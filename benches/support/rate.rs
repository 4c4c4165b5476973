//! The rate of multiply-adds beside the FMA peak of the machine, on one thread.

use criterion::BenchmarkGroup;
use criterion::measurement::WallTime;

use crate::measure::measure;

/// Sets the number of threads to `RAYON_NUM_THREADS`, or to 1 if that is not set.
pub(crate) fn set_threads() {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|threads| threads.parse().ok());
    let builder = rayon::ThreadPoolBuilder::new().num_threads(asked.unwrap_or(1));
    if builder.build_global().is_err() {
        println!("the global thread pool already exists");
    }
}

/// Measures `call` and prints its rate beside `peak`, both in GF/s. Returns the seconds of the best
/// sample.
pub(crate) fn measure_rate(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    multiply_adds: usize,
    peak: f64,
    call: impl FnMut(),
) -> f64 {
    let operations = 2 * multiply_adds as u64;
    let seconds = measure(group, name, operations, call);
    // Infinite if the command line's filter excludes this benchmark.
    if seconds.is_finite() {
        let rate = operations as f64 / seconds * 1e-9;
        let share = 100.0 * rate / peak;
        let micros = seconds * 1e6;
        println!("{name}: best {micros:.2} µs, {rate:.1} GF/s, {share:.0} % of {peak:.1}\n");
    }
    seconds
}
