//! A benchmark that returns the time of its best sample, which criterion does not report.

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};

/// Returns a configuration of criterion with one second for each benchmark, as there are many.
pub(crate) fn short() -> Criterion {
    let (warm_up, time) = (Duration::from_millis(300), Duration::from_secs(1));
    Criterion::default().warm_up_time(warm_up).measurement_time(time)
}

/// Measures `call`, whose throughput is `amount` per call, and returns the seconds of the best sample.
pub(crate) fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    amount: u64,
    mut call: impl FnMut(),
) -> f64 {
    let mut best = f64::INFINITY;
    group.throughput(Throughput::Elements(amount));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            let start = Instant::now();
            for _ in 0..count {
                call();
            }
            let elapsed = start.elapsed();
            best = best.min(elapsed.as_secs_f64() / count as f64);
            elapsed
        });
    });
    best
}
