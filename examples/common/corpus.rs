//! The data sets that are not part of the repository.

use std::path::PathBuf;

use super::options::Options;

/// Returns the paths of `files` in the directory `folder` of the data directory. If one is missing, prints
/// its name, the place of its publication and its format (`published`), and returns `None`: the example
/// then generates a corpus.
pub(crate) fn find<const N: usize>(
    options: &Options,
    folder: &str,
    files: [&str; N],
    published: &str,
) -> Option<[PathBuf; N]> {
    let paths = options.data.as_ref().map(|root| files.map(|file| root.join(folder).join(file)));
    let problem = match &paths {
        None => format!(
            "No data directory (--data DIR or RECURRENT_DATA): {folder}/{} is needed.",
            files[0]
        ),
        Some(found) => match found.iter().find(|path| !path.is_file()) {
            Some(missing) => format!("{} is missing.", missing.display()),
            None => return paths,
        },
    };
    println!("{problem}\n{published}\nThis run uses a small corpus that it generates.\n");
    None
}
