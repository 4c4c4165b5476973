//! The instruction sets of this machine, the best one first.

use recurrent::tensor::Level;

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub(crate) fn levels() -> Vec<Level> {
    use recurrent::tensor::Simd;

    let best = Level::new();
    let levels = [
        best.as_avx512().map(|simd| simd.level()),
        best.as_avx2().map(|simd| simd.level()),
        best.as_sse4_2().map(|simd| simd.level()),
        best.as_sse2().map(|simd| simd.level()),
    ];
    levels.into_iter().flatten().collect()
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
pub(crate) fn levels() -> Vec<Level> {
    vec![Level::new()]
}
