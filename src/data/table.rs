//! [`Table`]: a delimited text file, such as CSV, with named columns. Needs the feature `csv`.
#![expect(
    clippy::indexing_slicing,
    reason = "each row of a table has as many cells as there are names"
)]

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ndarray::{Array2, Axis, Slice};

use crate::data::reader::TableReader;
use crate::data::{TimeSteps, dates};
use crate::error::{Error, Result, check_size};
use crate::float::Float;

/// A delimited text file in memory, such as CSV, with named columns.
///
/// Blanks around a cell are removed. Cells are kept as text and parsed when a column is asked for.
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
/// // Neighbouring rows with the same `walk` are one sequence.
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
    /// The index of each name.
    places: HashMap<String, usize>,
    pub(super) rows: Vec<Vec<String>>,
    /// The line of the file on which each row begins, from 1.
    lines: Vec<u64>,
}

impl Table {
    /// Creates a table of `rows`, each with the line on which it begins and a cell for each of `names`.
    pub(super) fn new(path: &Path, names: Vec<String>, rows: Vec<(u64, Vec<String>)>) -> Self {
        let places = names.iter().cloned().zip(0..).collect();
        let (lines, rows) = rows.into_iter().unzip();
        Self { path: path.to_owned(), names, places, rows, lines }
    }

    /// Reads a comma-separated file, whose cells may be quoted. In a file whose name ends in `.tsv` or `.tab`,
    /// cells are separated by tabs and not quoted.
    ///
    /// [`reader`](Self::reader) reads files with another delimiter or other quotes.
    ///
    /// # Errors
    /// As [`TableReader::read`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let extension = path.as_ref().extension().unwrap_or_default();
        let tabs = ["tsv", "tab"].iter().any(|name| extension.eq_ignore_ascii_case(name));
        Self::reader().delimiter(if tabs { b'\t' } else { b',' }).read(path)
    }

    /// Returns a reader whose delimiter and quoting can be set.
    pub fn reader() -> TableReader {
        TableReader::new()
    }

    /// Returns the names of the columns, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the number of rows, without the line of names.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Returns the text of a cell.
    ///
    /// # Errors
    /// If there is no such column or row.
    pub fn text(&self, column: &str, row: usize) -> Result<&str> {
        let place = self.place(column)?;
        let expected = || format!("less than {} (rows)", self.rows());
        let cells = self.rows.get(row).ok_or_else(|| Error::argument("row", expected(), row))?;
        Ok(&cells[place])
    }

    /// Parses the cells of a column as `V`, for example a number or `String`.
    ///
    /// # Errors
    /// If there is no such column; [`Error::Parse`] if a cell is not a `V`, or is a number that `f32` or
    /// `f64` cannot hold, NaN or an infinity.
    pub fn column<V: FromStr<Err: Display> + 'static>(&self, column: &str) -> Result<Vec<V>> {
        let place = self.place(column)?;
        (0..self.rows()).map(|row| self.cell(row, place)).collect()
    }

    /// Parses a column of times and checks that they follow the rule `steps`.
    ///
    /// A time is a number or, if the first one is not, a date of ISO 8601 such as `2024-02-29`,
    /// `2024-02-29 23:59` or `2024-02-29T23:59:59.5+01:00`. Dates become seconds since 1970 in UTC, which is
    /// assumed where the offset is missing.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-times-{}.csv", std::process::id()));
    /// # std::fs::write(&path, "date,x\n2024-02-28,1\n2024-02-29,2\n2024-03-02,3\n").unwrap();
    /// use recurrent::data::{Table, TimeSteps};
    ///
    /// let table = Table::read(&path)?; // 2024-02-28, 2024-02-29, 2024-03-02
    /// assert_eq!(table.times("date", &TimeSteps::increasing())?[0], 19_781.0 * 86_400.0);
    /// let error = table.times("date", &TimeSteps::every(86_400.0, 0.0)?).unwrap_err().to_string();
    /// assert!(error.contains("line 4, column date") && error.ends_with(r#"got "2024-03-02""#));
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such column; [`Error::Parse`] if a cell is not a time or violates the rule.
    pub fn times(&self, column: &str, steps: &TimeSteps) -> Result<Vec<f64>> {
        let place = self.place(column)?;
        let times = self.parsed_times(place)?;
        self.check_times(place, 0..self.rows(), &times, steps)?;
        Ok(times)
    }

    /// Parses the times of each sequence, and checks that those within one sequence follow the rule `steps`.
    /// The sequences are the [`groups`](Self::groups) of `by`.
    ///
    /// # Errors
    /// Those of [`groups`](Self::groups) and [`times`](Self::times).
    pub fn sequence_times(
        &self,
        by: &str,
        column: &str,
        steps: &TimeSteps,
    ) -> Result<Vec<Vec<f64>>> {
        let (place, groups) = (self.place(column)?, self.groups(by)?);
        let times = self.parsed_times(place)?;
        let of_group = |rows: Range<usize>| {
            let times = times[rows.clone()].to_vec();
            self.check_times(place, rows, &times, steps).map(|()| times)
        };
        groups.into_iter().map(of_group).collect()
    }

    fn parsed_times(&self, place: usize) -> Result<Vec<f64>> {
        let cells = || self.rows.iter().map(|row| row[place].as_str());
        let number = |cell: &str| cell.parse().ok();
        let numbers = cells().next().is_none_or(|first| number(first).is_some());
        let (parse, expected): (fn(&str) -> Option<f64>, _) = match numbers {
            true => (number, "a number, as in the first row"),
            false => {
                (dates::seconds, "a number, or a date such as 2024-02-29 or 2024-02-29T23:59:59")
            }
        };
        let time = |(row, cell)| parse(cell).ok_or_else(|| self.bad_cell(row, place, expected));
        cells().enumerate().map(time).collect()
    }

    /// Fails unless `times`, those of `rows`, follow the rule `steps`.
    fn check_times(
        &self,
        place: usize,
        rows: Range<usize>,
        times: &[f64],
        steps: &TimeSteps,
    ) -> Result<()> {
        match steps.violation(times) {
            None => Ok(()),
            Some((row, expected)) => Err(self.bad_cell(rows.start + row, place, expected)),
        }
    }

    /// Parses the given columns as an array [rows, columns]. They may be those that a
    /// [model](crate::model::ModelBuilder::columns) keeps.
    ///
    /// A missing value is an error. [`values_with_missing`](Self::values_with_missing) accepts it.
    ///
    /// # Errors
    /// If `columns` is empty or names a column that does not exist; [`Error::Parse`] if a cell is not a
    /// finite number.
    pub fn values<T: Float + FromStr<Err: Display>>(
        &self,
        columns: &[impl AsRef<str>],
    ) -> Result<Array2<T>> {
        self.numbers(columns, |_| false)
    }

    /// Parses the given columns as [`values`](Self::values) does, and missing values as NaN, which an
    /// [`Imputer`](super::Imputer) fills. A value is missing if its cell is empty, NaN or one of
    /// `na_values`.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-missing-{}.csv", std::process::id()));
    /// # std::fs::write(&path, "x,y\n1,2\n,4\n3,NA\n").unwrap();
    /// use ndarray::array;
    /// use recurrent::data::{Imputer, Table};
    ///
    /// let table = Table::read(&path)?; // 1,2  ,4  3,NA
    /// assert!(table.values::<f64>(&["x", "y"]).is_err());
    /// let values = table.values_with_missing::<f64>(&["x", "y"], &["NA"])?;
    /// let imputer = Imputer::mean(&[values.view()])?;
    /// assert_eq!(imputer.transform(&values)?, array![[1.0, 2.0], [2.0, 4.0], [3.0, 3.0]]);
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `columns` is empty or names a column that does not exist; [`Error::Parse`] if a cell is neither
    /// missing nor a finite number.
    pub fn values_with_missing<T: Float + FromStr<Err: Display>>(
        &self,
        columns: &[impl AsRef<str>],
        na_values: &[&str],
    ) -> Result<Array2<T>> {
        self.numbers(columns, |cell| cell.is_empty() || na_values.contains(&cell) || is_nan(cell))
    }

    /// Parses the given columns. A cell for which `missing` returns true is NaN.
    fn numbers<T: Float + FromStr<Err: Display>>(
        &self,
        columns: &[impl AsRef<str>],
        missing: impl Fn(&str) -> bool,
    ) -> Result<Array2<T>> {
        check_size("columns", &[columns.len()])?;
        let places = columns.iter().map(|column| self.place(column.as_ref()));
        let places = places.collect::<Result<Vec<_>>>()?;
        let mut values = Array2::zeros((self.rows(), columns.len()));
        for ((row, j), value) in values.indexed_iter_mut() {
            if missing(&self.rows[row][places[j]]) {
                *value = T::nan();
                continue;
            }
            *value = self.cell(row, places[j])?;
        }
        Ok(values)
    }

    /// Returns the rows of each sequence. Neighbouring rows with equal text in `column` are one
    /// sequence.
    ///
    /// # Errors
    /// If there is no such column; [`Error::Parse`] if a text occurs again after another one.
    pub fn groups(&self, column: &str) -> Result<Vec<Range<usize>>> {
        let place = self.place(column)?;
        let (mut groups, mut seen) = (Vec::new(), std::collections::HashSet::new());
        let mut start = 0;
        for row in 0..self.rows() {
            if row + 1 == self.rows() || self.rows[row + 1][place] != self.rows[row][place] {
                if !seen.insert(&self.rows[row][place]) {
                    let expected = "a new text: the rows of a sequence must be neighbours";
                    return Err(self.bad_cell(start, place, expected));
                }
                groups.push(start..row + 1);
                start = row + 1;
            }
        }
        Ok(groups)
    }

    /// Parses the given columns of each sequence, each [time, columns]. The sequences are the
    /// [`groups`](Self::groups) of `by`.
    ///
    /// # Errors
    /// Those of [`groups`](Self::groups) and [`values`](Self::values).
    pub fn sequences<T: Float + FromStr<Err: Display>>(
        &self,
        by: &str,
        columns: &[impl AsRef<str>],
    ) -> Result<Vec<Array2<T>>> {
        self.divided(&self.values(columns)?, by)
    }

    /// Parses the given columns of each sequence as [`sequences`](Self::sequences) does, and missing values
    /// as NaN, as [`values_with_missing`](Self::values_with_missing) does.
    ///
    /// # Errors
    /// Those of [`groups`](Self::groups) and [`values_with_missing`](Self::values_with_missing).
    pub fn sequences_with_missing<T: Float + FromStr<Err: Display>>(
        &self,
        by: &str,
        columns: &[impl AsRef<str>],
        na_values: &[&str],
    ) -> Result<Vec<Array2<T>>> {
        self.divided(&self.values_with_missing(columns, na_values)?, by)
    }

    /// Returns the rows of each of the groups of `by`.
    fn divided<T: Float>(&self, values: &Array2<T>, by: &str) -> Result<Vec<Array2<T>>> {
        let groups = self.groups(by)?.into_iter();
        Ok(groups.map(|rows| values.slice_axis(Axis(0), Slice::from(rows)).to_owned()).collect())
    }

    /// Returns the index of the column of this name.
    pub(super) fn place(&self, column: &str) -> Result<usize> {
        let place = self.places.get(column).copied();
        let expected = || {
            let hint =
                if self.names.len() == 1 { ", or a reader with another delimiter" } else { "" };
            format!("one of {:?}{hint}", self.names)
        };
        let argument = || format!("column of {}", self.path.display());
        place.ok_or_else(|| Error::argument(argument(), expected(), column))
    }

    fn cell<V: FromStr<Err: Display> + 'static>(&self, row: usize, place: usize) -> Result<V> {
        match self.rows[row][place].parse() {
            Ok(value) if is_finite(&value) => Ok(value),
            Ok(_) => Err(self.bad_cell(row, place, "a finite number")),
            Err(error) => {
                let name = std::any::type_name::<V>();
                Err(self.bad_cell(row, place, format!("a value of type {name} ({error})")))
            }
        }
    }

    pub(super) fn bad_cell(&self, row: usize, place: usize, expected: impl Display) -> Error {
        Error::Parse {
            path: self.path.clone(),
            line: self.lines[row],
            column: Some(self.names[place].clone()),
            expected: expected.to_string(),
            got: self.rows[row][place].clone(),
        }
    }
}

/// Returns whether a value is neither NaN nor an infinity.
fn is_finite(value: &dyn Any) -> bool {
    let single = value.downcast_ref::<f32>().is_none_or(|value| value.is_finite());
    single && value.downcast_ref::<f64>().is_none_or(|value| value.is_finite())
}

/// Returns whether a cell is the number NaN.
fn is_nan(cell: &str) -> bool {
    cell.parse().is_ok_and(f64::is_nan)
}
