//! [`Table`]: a CSV file with a line of column names. Needs the feature `csv`.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ndarray::{Array2, Axis, Slice};

use crate::error::{Error, Result, check_size};
use crate::float::Float;

/// The cells of a CSV file, without the blanks around them, by column name and row; a column is read as
/// numbers only when it is asked for.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-table-{}.csv", std::process::id()));
/// # std::fs::write(&path, "walk,x,y,kind\n7,0.5,1,up\n7,1.5,2,up\n9,2.5,3,down\n").unwrap();
/// use ndarray::array;
/// use recurrent::data::Table;
///
/// let table = Table::read(&path)?;
/// assert_eq!(table.values::<f32>(&["y", "x"])?, array![[1.0, 0.5], [2.0, 1.5], [3.0, 2.5]]);
///
/// // A sequence for each run of rows with one name.
/// let walks = table.groups("walk")?;
/// assert_eq!(walks, [0..2, 2..3]);
/// assert_eq!(table.sequences::<f32>("walk", &["x"])?, [array![[0.5], [1.5]], array![[2.5]]]);
/// let (classes, kinds) = table.labels("walk", "kind")?;
/// assert_eq!((&classes[..], &kinds[..]), (&[1, 0][..], &["down".to_owned(), "up".to_owned()][..]));
/// assert_eq!(table.labels_as("walk", "kind", &["up", "down"])?, [0, 1]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    path: PathBuf,
    names: Vec<String>,
    rows: Vec<Vec<String>>,
    /// The line of the file at which each row begins, from 1.
    lines: Vec<u64>,
}

impl Table {
    /// Reads the file `path`: comma-separated, quoted where need be, under a line of names.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, [`Error::Parse`] where there are no names or one comes twice,
    /// or a row has more or fewer cells than there are names or is not UTF-8.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::read_with(path, b',')
    }

    /// The same of cells with another `delimiter` between them, such as a tabulator.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_with(path: impl AsRef<Path>, delimiter: u8) -> Result<Self> {
        let path = path.as_ref();
        let reader = csv::ReaderBuilder::new().delimiter(delimiter).from_path(path);
        let refuse = |error| refuse(path, error);
        let mut reader = reader.map_err(refuse)?;
        let names = reader.headers().map_err(refuse)?.iter().map(|name| name.trim().to_owned());
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return Err(bad_line(path, 1, "the names of columns", ""));
        }
        if let Some((_, twice)) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
            return Err(bad_line(path, 1, "each name once", twice));
        }
        let (mut rows, mut lines) = (Vec::new(), Vec::new());
        for record in reader.records() {
            let record = record.map_err(refuse)?;
            lines.push(record.position().map_or(0, csv::Position::line));
            rows.push(record.iter().map(|cell| cell.trim().to_owned()).collect());
        }
        Ok(Self { path: path.to_owned(), names, rows, lines })
    }

    /// The names of the columns, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many rows there are under the names.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The text of a cell.
    ///
    /// # Errors
    /// Where there is no such column or row.
    pub fn text(&self, column: &str, row: usize) -> Result<&str> {
        let place = self.place(column)?;
        let expected = || format!("less than {} (rows)", self.rows());
        let cells = self.rows.get(row).ok_or_else(|| Error::argument("row", expected(), row))?;
        Ok(&cells[place])
    }

    /// The cells of a column as `V`: numbers of any type, or `String`.
    ///
    /// # Errors
    /// [`Error::Parse`] where a cell is not a `V`.
    pub fn column<V: FromStr<Err: Display>>(&self, column: &str) -> Result<Vec<V>> {
        let place = self.place(column)?;
        (0..self.rows()).map(|row| self.cell(row, place)).collect()
    }

    /// The given columns as an array [rows, columns].
    ///
    /// # Errors
    /// Where there is no column; [`Error::Parse`] where a cell is not a finite number.
    pub fn values<T: Float + FromStr<Err: Display>>(&self, columns: &[&str]) -> Result<Array2<T>> {
        check_size("columns", &[columns.len()])?;
        let places = columns.iter().map(|column| self.place(column)).collect::<Result<Vec<_>>>()?;
        let mut values = Array2::zeros((self.rows(), columns.len()));
        for ((row, j), value) in values.indexed_iter_mut() {
            *value = self.cell::<T>(row, places[j])?;
            if !value.is_finite() {
                return Err(self.bad_cell(row, places[j], "a finite number"));
            }
        }
        Ok(values)
    }

    /// The rows of each sequence: those that follow each other with the same text in `column`.
    ///
    /// # Errors
    /// Where there is no such column, or a text comes again after another.
    pub fn groups(&self, column: &str) -> Result<Vec<std::ops::Range<usize>>> {
        let place = self.place(column)?;
        let (mut groups, mut seen) = (Vec::new(), std::collections::HashSet::new());
        let mut start = 0;
        for row in 0..self.rows() {
            if row + 1 == self.rows() || self.rows[row + 1][place] != self.rows[row][place] {
                if !seen.insert(&self.rows[row][place]) {
                    return Err(self.bad_cell(
                        start,
                        place,
                        "the rows of a sequence one below the other",
                    ));
                }
                groups.push(start..row + 1);
                start = row + 1;
            }
        }
        Ok(groups)
    }

    /// The given columns of each of the [`groups`](Self::groups) of `by`, each [time, columns].
    ///
    /// # Errors
    /// Those of [`groups`](Self::groups) and [`values`](Self::values).
    pub fn sequences<T: Float + FromStr<Err: Display>>(
        &self,
        by: &str,
        columns: &[&str],
    ) -> Result<Vec<Array2<T>>> {
        let (values, groups) = (self.values(columns)?, self.groups(by)?);
        let rows = groups.into_iter().map(|rows| values.slice_axis(Axis(0), Slice::from(rows)));
        Ok(rows.map(|rows| rows.to_owned()).collect())
    }

    /// The class of each of the [`groups`](Self::groups) of `by`, and the names of the classes: the texts
    /// that `column` has, in the order of their letters.
    ///
    /// # Errors
    /// Those of [`groups`](Self::groups); [`Error::Parse`] where the text of a sequence changes.
    pub fn labels(&self, by: &str, column: &str) -> Result<(Vec<usize>, Vec<String>)> {
        let mut names: Vec<String> = self.column(column)?;
        names.sort_unstable();
        names.dedup();
        Ok((self.labels_as(by, column, &names)?, names))
    }

    /// The class of each of the [`groups`](Self::groups) of `by`, by its place in `names`: those of
    /// [`labels`](Self::labels) of another file, or a model's.
    ///
    /// # Errors
    /// Those of [`groups`](Self::groups); [`Error::Parse`] where the text of a sequence changes, is empty
    /// or is not one of `names`.
    pub fn labels_as<S: AsRef<str>>(
        &self,
        by: &str,
        column: &str,
        names: &[S],
    ) -> Result<Vec<usize>> {
        let (place, groups) = (self.place(column)?, self.groups(by)?);
        let class = |rows: std::ops::Range<usize>| {
            let name = &self.rows[rows.start][place];
            if let Some(row) = rows.clone().find(|&row| self.rows[row][place] != *name) {
                return Err(self.bad_cell(row, place, format!("{name:?}, as the sequence began")));
            }
            let known = names.iter().position(|known| known.as_ref() == name);
            known.filter(|_| !name.is_empty()).ok_or_else(|| {
                let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
                self.bad_cell(rows.start, place, format!("one of {names:?}"))
            })
        };
        groups.into_iter().map(class).collect()
    }

    fn place(&self, column: &str) -> Result<usize> {
        let place = self.names.iter().position(|name| name == column);
        let expected = || {
            let hint =
                if self.names.len() == 1 { ", or `read_with` another delimiter" } else { "" };
            format!("one of {:?}{hint}", self.names)
        };
        let argument = || format!("column of {}", self.path.display());
        place.ok_or_else(|| Error::argument(argument(), expected(), column))
    }

    fn cell<V: FromStr<Err: Display>>(&self, row: usize, place: usize) -> Result<V> {
        self.rows[row][place].parse().map_err(|error: V::Err| {
            self.bad_cell(
                row,
                place,
                format!("a value of type {} ({error})", std::any::type_name::<V>()),
            )
        })
    }

    fn bad_cell(&self, row: usize, place: usize, expected: impl Display) -> Error {
        Error::Parse {
            path: self.path.clone(),
            line: self.lines[row],
            column: Some(self.names[place].clone()),
            expected: expected.to_string(),
            got: self.rows[row][place].clone(),
        }
    }
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

fn refuse(path: &Path, error: csv::Error) -> Error {
    let (line, problem) = (error.position().map_or(0, csv::Position::line), error.to_string());
    let parse = |expected: &str, got: &str| bad_line(path, line, expected, got);
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::Io { path: path.to_owned(), source },
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            parse(&format!("{expected_len} cells"), &format!("{len} cells"))
        }
        csv::ErrorKind::Utf8 { err, .. } => parse("UTF-8", &err.to_string()),
        _ => parse("a CSV row", &problem),
    }
}
