//! The names of features, which data sets and models compare.
#![expect(clippy::indexing_slicing, reason = "the place is one of the names")]

use std::collections::HashSet;

use crate::error::{Error, Result, check_shape};

/// Fails unless `names` has one name for each of `features`, and each name once.
pub(crate) fn check_names(names: &[String], features: usize) -> Result<()> {
    check_shape("columns", "features", &[features], &[names.len()])?;
    check_unique("columns", names)
}

/// Fails unless each of `names`, the argument of that name, is there once.
pub(crate) fn check_unique(argument: &str, names: &[impl AsRef<str>]) -> Result<()> {
    match repeated(names) {
        None => Ok(()),
        Some(i) => Err(Error::argument(
            format!("{argument}[{i}]"),
            "each name once",
            format!("{:?} again", names[i].as_ref()),
        )),
    }
}

/// Returns the index of the first name that also occurs before it.
pub(crate) fn repeated(names: &[impl AsRef<str>]) -> Option<usize> {
    let mut seen = HashSet::with_capacity(names.len());
    names.iter().position(|name| !seen.insert(name.as_ref()))
}

/// Fails unless both lists have the same names in the same order. An empty list has no names to compare.
///
/// The error names the first column of `expected` that is missing or in another place.
pub(crate) fn check_same(expected: &[String], got: &[String]) -> Result<()> {
    if expected.is_empty() || got.is_empty() {
        return Ok(());
    }
    let all = 0..expected.len().max(got.len());
    let Some(i) = all.into_iter().find(|&i| expected.get(i) != got.get(i)) else { return Ok(()) };
    let found = got.get(i).map_or("no column".to_owned(), |name| format!("{name:?}"));
    let (wanted, found) = match expected.get(i) {
        None => (format!("no more than {} columns", expected.len()), found),
        Some(name) => {
            let place = got.iter().position(|other| other == name);
            let place = place.map_or("is missing".to_owned(), |j| format!("is columns[{j}]"));
            (format!("{name:?}"), format!("{found} ({name:?} {place})"))
        }
    };
    Err(Error::argument(format!("columns[{i}]"), wanted, found))
}

/// Returns owned copies of names.
pub(crate) fn owned<S: AsRef<str>>(names: &[S]) -> Vec<String> {
    names.iter().map(|name| name.as_ref().to_owned()).collect()
}
