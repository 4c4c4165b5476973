//! Compiles RTNeural's networks once for each backend, from the sources that setup.sh unpacks into
//! `source`. Without them the worker is built too, and runs no case.

use std::path::Path;

/// A backend's name, its definition, and a flag of its own. The compiler vectorises the loops of the STL
/// only if it may reorder sums.
const BACKENDS: [(&str, Option<&str>, &str); 3] = [
    ("eigen", Some("RTNEURAL_USE_EIGEN"), "-O3"),
    ("xsimd", Some("RTNEURAL_USE_XSIMD"), "-O3"),
    ("stl", None, "-Ofast"),
];

fn compile((name, definition, optimisation): (&str, Option<&str>, &str)) {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").warnings(false).file("src/layers.cpp");
    build.no_default_flags(true).flag("-fPIC").flag("-w");
    build.flag(optimisation).flag("-march=native").define("NDEBUG", None);
    build.define("RTNEURAL_NAMESPACE", format!("rtneural_{name}").as_str());
    // The vectors of AVX-512 are stored at multiples of 64 bytes; Eigen knows 32 and 16.
    let wide = std::env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|f| f.contains("avx512f"));
    let alignment = if wide && name != "eigen" { "64" } else { "32" };
    build.define("RTNEURAL_DEFAULT_ALIGNMENT", alignment);
    build.define("EIGEN_STACK_ALLOCATION_LIMIT", "0"); // the networks are on the heap
    if let Some(definition) = definition {
        build.define(definition, "1");
    }
    for folder in ["", "RTNeural", "modules/Eigen", "modules/xsimd/include"] {
        build.include(Path::new("source").join(folder));
    }
    build.compile(&format!("rtneural_{name}"));
}

fn main() {
    println!("cargo::rerun-if-changed=src/layers.cpp");
    println!("cargo::rerun-if-changed=source");
    if Path::new("source/RTNeural/RTNeural.h").exists() {
        std::thread::scope(|scope| {
            for backend in BACKENDS {
                scope.spawn(move || compile(backend));
            }
        });
        println!("cargo::rustc-cfg=sources");
    }
}
