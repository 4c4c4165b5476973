//! The map in README.md is true: each part uses only those above it, and files stay readable.

use std::fs;
use std::path::{Path, PathBuf};

/// The parts of src/ in the order of the map.
const PARTS: [&str; 18] = [
    "error",
    "memory",
    "float",
    "arrays",
    "sequences",
    "tensor",
    "cell",
    "sequence",
    "layer",
    "loss",
    "optim",
    "data",
    "decode",
    "io",
    "train",
    "model",
    "check",
    "lib",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each source file with its part's place in the order.
fn sources() -> Vec<(PathBuf, usize, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    let place = |path: &Path| {
        let first = path.strip_prefix(&src).unwrap().iter().next().unwrap().to_str().unwrap();
        let part = first.trim_end_matches(".rs");
        PARTS.iter().position(|&p| p == part).unwrap_or_else(|| panic!("{part} is not on the map"))
    };
    paths
        .into_iter()
        .map(|path| (path.clone(), place(&path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// Lines that are neither blank nor comment, before a file's own tests.
fn code_lines(text: &str) -> usize {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[test]
fn each_part_uses_only_those_above_it() {
    let mut seen = 0;
    for (path, place, text) in sources() {
        for line in text.lines().map(str::trim) {
            let Some(used) = line.strip_prefix("use crate::") else { continue };
            let part = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let used = PARTS.iter().position(|&p| p == part);
            assert!(used.is_some_and(|used| used <= place), "{}: {line}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} uses were found");
}

#[test]
fn no_file_is_longer_than_400_lines_of_code() {
    for (path, _, text) in sources() {
        assert!(code_lines(&text) <= 400, "{}: {} lines", path.display(), code_lines(&text));
    }
}

/// The engine and the three cells that everyone knows; variants of a cell, and what is dropped in
/// training, are read on their own.
#[test]
fn the_core_can_be_read_in_an_afternoon() {
    let variants =
        ["peephole", "coupled", "projection", "layer_norm", "zoneout", "recurrent_dropout"];
    let core = sources().into_iter().filter(|(path, place, _)| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        ["cell", "sequence"].contains(&PARTS[*place]) && !variants.contains(&name)
    });
    let lines: usize = core.map(|(_, _, text)| code_lines(&text)).sum();
    assert!(lines <= 2450, "{lines} lines");
}

#[test]
fn the_map_in_the_readme_names_every_part() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    for part in PARTS {
        let named = [format!("  {part}/ "), format!("  {part}.rs ")];
        assert!(named.iter().any(|name| readme.contains(name)), "{part} is not in README.md");
    }
}

#[test]
fn each_program_of_the_readme_has_at_most_20_lines() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let programs: Vec<&str> = readme.split("```rust").skip(1).collect();
    assert!(programs.len() >= 5, "only {} programs were found", programs.len());
    for program in programs {
        let lines = program.lines().take_while(|line| !line.starts_with("```"));
        let count = lines.skip(1).filter(|line| !line.trim().is_empty()).count();
        assert!(count <= 20, "{count} lines:\n{}", &program[..200]);
    }
}
