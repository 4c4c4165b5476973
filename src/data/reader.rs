//! [`TableReader`]: reads delimited text files, such as CSV.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::data::lines::Lines;
use crate::data::{Table, columns, quotes};
use crate::error::{Error, Result};

/// The greatest number of bytes of a line, 64 MiB.
const MAX_LINE: usize = 1 << 26;

/// The number of bytes that are read before they are checked.
const CHUNK: u64 = 1 << 22;

/// A reader of delimited files; made by [`Table::reader`].
///
/// | option | default |
/// |---|---|
/// | [`delimiter`](Self::delimiter) | a comma |
/// | [`quoting`](Self::quoting) | on, except for the tab: tab-separated files seldom quote their cells |
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-reader-{}.csv", std::process::id()));
/// # std::fs::write(&path, "text;stars\n\"good; cheap\";4\n").unwrap();
/// use recurrent::data::Table;
///
/// let table = Table::reader().delimiter(b';').read(&path)?; // text;stars
/// assert_eq!(table.text("text", 0)?, "good; cheap"); // "good; cheap";4
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableReader {
    delimiter: u8,
    /// `None` until it is set: the delimiter decides.
    quoting: Option<bool>,
}

impl TableReader {
    pub(super) fn new() -> Self {
        Self { delimiter: b',', quoting: None }
    }

    /// Sets the character between two cells, such as `b'\t'` or `b';'`.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Sets whether a cell may be enclosed in `"`, and may then contain delimiters, line breaks and
    /// doubled quotes. Without quoting, `"` is a character like any other.
    pub fn quoting(mut self, quoting: bool) -> Self {
        self.quoting = Some(quoting);
        self
    }

    /// Reads the file `path`, whose first row names the columns.
    ///
    /// Rows end with `\n`, `\r\n` or `\r`. Empty lines, and a byte order mark at the beginning, are skipped.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read.
    ///
    /// [`Error::Parse`] if there are no names or a name is repeated, a row has more or fewer cells than
    /// there are names, a line has more than 64 MiB, or the text is not UTF-8. With quoting, also if a quote is not closed, or text
    /// follows a closing quote.
    ///
    /// [`Error::Argument`] if the delimiter is a quote, a line break or not ASCII.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table> {
        self.read_path(path.as_ref())
    }

    fn read_path(&self, path: &Path) -> Result<Table> {
        let delimiter = self.delimiter;
        if !delimiter.is_ascii() || b"\"\r\n".contains(&delimiter) {
            let expected = "an ASCII character other than a quote or a line break";
            let got = format!("{:?}", char::from(delimiter));
            return Err(Error::argument("delimiter", expected, got));
        }
        let bytes = contents(path)?;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        std::str::from_utf8(text).map_err(|error| {
            let line = Lines::new(text).of(error.valid_up_to());
            bad_line(path, line, "UTF-8", &error.to_string())
        })?;
        let quoting = self.quoting.unwrap_or(delimiter != b'\t');
        if quoting {
            quotes::check(text, delimiter).map_err(|bad| {
                let expected = format!("{}, or a reader with `quoting(false)`", bad.expected);
                bad_line(path, bad.line, &expected, &bad.cell)
            })?;
        }
        let mut rows = self.rows(path, text, quoting)?.into_iter();
        let Some((line, names)) = rows.next() else {
            return Err(bad_line(path, 1, "the names of columns", ""));
        };
        if let Some(twice) = columns::repeated(&names).and_then(|twice| names.get(twice)) {
            return Err(bad_line(path, line, "each name once", twice));
        }
        let rows: Vec<_> = rows.collect();
        if let Some((line, row)) = rows.iter().find(|(_, row)| row.len() != names.len()) {
            let cells = |number| format!("{number} cells");
            return Err(bad_line(path, *line, &cells(names.len()), &cells(row.len())));
        }
        Ok(Table::new(path, names, rows))
    }

    /// Returns the cells of all rows, that of the names included, each with the line on which it begins.
    fn rows(&self, path: &Path, text: &[u8], quoting: bool) -> Result<Vec<(u64, Vec<String>)>> {
        let mut reader = csv::ReaderBuilder::new();
        reader.delimiter(self.delimiter).quoting(quoting).has_headers(false).flexible(true);
        // The lines that `csv` counts are wrong after `\r\n` and after empty lines.
        let mut lines = Lines::new(text);
        let mut rows = Vec::new();
        for record in reader.from_reader(text).into_records() {
            let record = record.map_err(|error| {
                let byte = error.position().map_or(0, csv::Position::byte);
                bad_line(path, lines.of_row(byte as usize), "a row", &error.to_string())
            })?;
            let byte = record.position().map_or(0, csv::Position::byte);
            let cells = record.iter().map(|cell| cell.trim().to_owned());
            rows.push((lines.of_row(byte as usize), cells.collect()));
        }
        Ok(rows)
    }
}

/// Returns the bytes of the file `path`. Stops early at bytes that are not UTF-8, which [`TableReader::read`]
/// refuses. Fails at a line that is longer than [`MAX_LINE`]: a device such as `/dev/zero` never ends.
fn contents(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let room = file.metadata().map_or(0, |about| about.len().min(MAX_LINE as u64));
    let mut bytes = Vec::with_capacity(room as usize);
    // The bytes that are known to be UTF-8, and the start of the last line.
    let (mut valid, mut line) = (0, 0);
    while (&mut file).take(CHUNK).read_to_end(&mut bytes).map_err(failed)? > 0 {
        match std::str::from_utf8(bytes.get(valid..).unwrap_or_default()) {
            Ok(_) => valid = bytes.len(),
            Err(error) if error.error_len().is_none() => valid += error.valid_up_to(),
            Err(_) => break,
        }
        let end =
            bytes.get(line..).unwrap_or_default().iter().rposition(|byte| b"\r\n".contains(byte));
        line += end.map_or(0, |end| end + 1);
        if bytes.len() - line > MAX_LINE {
            let (line, size) = (Lines::new(&bytes).of(line), bytes.len() - line);
            let expected = format!("a line of at most {MAX_LINE} bytes");
            return Err(bad_line(path, line, &expected, &format!("{size} bytes without an end")));
        }
    }
    Ok(bytes)
}

fn bad_line(path: &Path, line: u64, expected: &str, got: &str) -> Error {
    Error::Parse {
        path: path.to_owned(),
        line,
        column: None,
        expected: expected.to_owned(),
        got: got.to_owned(),
    }
}
