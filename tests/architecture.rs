//! Tests of the rules of docs/architecture.md: dependencies of modules, and sizes of files and functions.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of src/ in the order of docs/architecture.md.
const PARTS: [&str; 20] = [
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
    "audio",
    "train",
    "model",
    "interop",
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

/// Returns the source files, each with the position of its module in the order.
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

/// Counts the lines that are neither blank nor comment, before a file's own tests. The reason of an
/// exception to a lint is a comment.
fn code_lines(text: &str) -> usize {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let is_code = |line: &&str| !line.starts_with("//") && !line.starts_with("#[expect(clippy::");
    code.lines().map(str::trim).filter(|line| !line.is_empty()).filter(is_code).count()
}

/// Names at the root of the crate that belong to a module: the macro `compiled!`, and names exported
/// twice.
const ROOT: [(&str, &str); 7] = [
    ("compiled", "tensor"),
    ("Float", "float"),
    ("Error", "error"),
    ("Result", "error"),
    ("Arrays", "arrays"),
    ("Sequences", "sequences"),
    ("Recurrent", "sequence"),
];

/// Returns the lines of code, without lines of comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Returns the first name of each path that begins with `crate::`, in a `use` or elsewhere.
fn used_names(line: &str) -> impl Iterator<Item = &str> {
    let end = |c: char| !c.is_alphanumeric() && c != '_';
    line.split("crate::").skip(1).map(move |rest| rest.split(end).next().unwrap())
}

#[test]
fn each_part_uses_only_those_above_it() {
    let mut seen = 0;
    for (path, place, text) in sources() {
        for line in code(&text) {
            for name in used_names(line) {
                let part = ROOT.iter().find(|(root, _)| *root == name).map_or(name, |root| root.1);
                let used = PARTS.iter().position(|&p| p == part);
                assert!(used.is_some_and(|used| used <= place), "{}: {line}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 300, "only {seen} uses were found");
}

/// The engine above the kernels is compiled once, not for each instruction set.
#[test]
fn only_tensor_and_cell_are_generic_over_the_instruction_set() {
    let mut seen = 0;
    for (path, place, text) in sources() {
        let words = |line: &str| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "Simd")
        };
        let uses = code(&text).filter(|line| words(line)).count();
        if ["tensor", "cell"].contains(&PARTS[place]) {
            seen += uses;
        } else {
            assert_eq!(uses, 0, "{}", path.display());
        }
    }
    assert!(seen > 20, "only {seen} uses were found");
}

/// Returns the functions of a file as formatted by rustfmt, each with its number of lines of code.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let head = line.trim_start();
        let indent = &line[..line.len() - head.len()];
        let is_function = head.starts_with("fn ") || (head.contains(" fn ") && head.contains('('));
        if !is_function || head.starts_with("//") {
            continue;
        }
        let end = [format!("{indent}}}"), format!("{indent});")];
        let closes = |line: &&&str| **line == end[0] || line.starts_with(&end[1]);
        let one_line = head.ends_with(';') || head.ends_with('}') || head.ends_with(',');
        let rest = lines[start + 1..].iter().take_while(|line| !closes(line));
        let count = if one_line { 1 } else { 2 + code_lines(&join(rest)) };
        functions.push((head.to_owned(), count));
    }
    functions
}

fn join<'a>(lines: impl Iterator<Item = &'a &'a str>) -> String {
    lines.copied().collect::<Vec<_>>().join("\n")
}

#[test]
fn no_function_is_longer_than_70_lines_of_code() {
    let mut seen = 0;
    for (path, _, text) in sources() {
        for (head, lines) in functions(&text) {
            assert!(lines <= 70, "{}: {head}: {lines} lines", path.display());
            seen += usize::from(lines > 20);
        }
    }
    assert!(seen > 50, "only {seen} long functions were found");
}

#[test]
fn no_file_is_longer_than_400_lines_of_code() {
    for (path, _, text) in sources() {
        assert!(code_lines(&text) <= 400, "{}: {} lines", path.display(), code_lines(&text));
    }
}

/// The number of lines of code of src/cell and src/sequence together. It may only be lowered.
const CORE_LINES: usize = 4230;

#[test]
fn the_core_stays_within_its_budget() {
    let core = sources().into_iter();
    let core = core.filter(|(_, place, _)| ["cell", "sequence"].contains(&PARTS[*place]));
    let lines: usize = core.map(|(_, _, text)| code_lines(&text)).sum();
    assert!(lines <= CORE_LINES, "{lines} lines");
}

#[test]
fn the_map_names_every_part() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/architecture.md");
    let map = fs::read_to_string(path).unwrap();
    for part in PARTS {
        let named = [format!("  {part}/ "), format!("  {part}.rs ")];
        assert!(
            named.iter().any(|name| map.contains(name)),
            "{part} is not in docs/architecture.md"
        );
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

#[test]
fn links_of_the_documents_lead_to_files_and_definitions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut links = 0;
    for folder in ["", "docs", "benches"] {
        let folder = root.join(folder);
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let document = fs::read_to_string(&entry).unwrap();
            for (before, after) in document.match_indices("](").map(|(i, _)| document.split_at(i)) {
                let target = after[2..].split([')', '#']).next().unwrap();
                if target.is_empty() || target.contains("://") {
                    continue;
                }
                links += 1;
                let file = folder.join(target);
                assert!(file.exists(), "{}: no file {target}", entry.display());
                let symbol = before.rsplit_once('[').unwrap().1.strip_prefix('`');
                if let (Some(symbol), true) = (symbol, target.ends_with(".rs")) {
                    let symbol = symbol.trim_end_matches('`');
                    let code = fs::read_to_string(&file).unwrap();
                    let defined = ["fn", "struct", "enum", "trait", "type", "const"]
                        .iter()
                        .any(|kind| code.contains(&format!("{kind} {symbol}")));
                    assert!(defined, "{}: no {symbol} in {target}", entry.display());
                }
            }
        }
    }
    assert!(links > 40, "only {links} links were found");
}
