//! The classes of the rows or sequences of a [`Table`].
#![expect(clippy::indexing_slicing, reason = "rows and columns are those of the table")]

use std::collections::HashMap;
use std::ops::Range;

use crate::data::{Table, columns};
use crate::error::Result;

impl Table {
    /// Returns the class of each sequence, and the names of the classes.
    ///
    /// The sequences are the [`groups`](Self::groups) of `by`: neighbouring rows with equal text in
    /// `by` are one sequence. [`classes`](Self::classes) takes each row as a sample of its own.
    ///
    /// The names are the texts in `column`, sorted alphabetically, each once. A class is an index into
    /// them.
    ///
    /// # Errors
    /// Those of [`groups`](Self::groups); [`Error::Parse`](crate::Error::Parse) if a cell of `column` is empty or changes
    /// within a sequence.
    pub fn labels(&self, by: &str, column: &str) -> Result<(Vec<usize>, Vec<String>)> {
        let names = self.class_names(column)?;
        Ok((self.labels_as(by, column, &names)?, names))
    }

    /// Returns the class of each sequence as an index into `names`: those that
    /// [`labels`](Self::labels) returned for another file, or a model's.
    ///
    /// The sequences are the [`groups`](Self::groups) of `by`.
    ///
    /// # Errors
    /// Those of [`groups`](Self::groups); if one of `names` is repeated; [`Error::Parse`](crate::Error::Parse) if a cell of
    /// `column` is empty, is not one of `names` or changes within a sequence.
    pub fn labels_as<S: AsRef<str>>(
        &self,
        by: &str,
        column: &str,
        names: &[S],
    ) -> Result<Vec<usize>> {
        let (place, groups, classes) =
            (self.place(column)?, self.groups(by)?, Classes::new(names)?);
        let class = |rows: Range<usize>| {
            let name = &self.rows[rows.start][place];
            if let Some(row) = rows.clone().find(|&row| self.rows[row][place] != *name) {
                return Err(self.bad_cell(row, place, format!("{name:?}, as the sequence began")));
            }
            self.class(rows.start, place, &classes)
        };
        groups.into_iter().map(class).collect()
    }

    /// Returns the class of each row, and the names of the classes.
    ///
    /// It is for files in which each row is a sample of its own. [`labels`](Self::labels) returns one
    /// class for several rows.
    ///
    /// The names are the texts in `column`, sorted alphabetically, each once. A class is an index into
    /// them.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-classes-{}.tsv", std::process::id()));
    /// # std::fs::write(&path, "text\tmood\nI \"like\" it\tgood\n\"Not me\tbad\nSo do I\tgood\n").unwrap();
    /// use recurrent::data::Table;
    ///
    /// let table = Table::reader().delimiter(b'\t').read(&path)?; // a row for each review
    /// let texts: Vec<String> = table.column("text")?;
    /// let (classes, names) = table.classes("mood")?;
    /// assert_eq!((&texts[1][..], &classes[..]), ("\"Not me", &[1, 0, 1][..]));
    /// assert_eq!(names, ["bad", "good"]);
    /// assert_eq!(table.classes_as("mood", &["good", "bad"])?, [0, 1, 0]);
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such column; [`Error::Parse`](crate::Error::Parse) if a cell of it is empty.
    pub fn classes(&self, column: &str) -> Result<(Vec<usize>, Vec<String>)> {
        let names = self.class_names(column)?;
        Ok((self.classes_as(column, &names)?, names))
    }

    /// Returns the class of each row as an index into `names`: those that [`classes`](Self::classes)
    /// returned for another file, or a model's.
    ///
    /// # Errors
    /// If there is no such column or one of `names` is repeated; [`Error::Parse`](crate::Error::Parse) if a cell of the column
    /// is empty or is not one of `names`.
    pub fn classes_as<S: AsRef<str>>(&self, column: &str, names: &[S]) -> Result<Vec<usize>> {
        let (place, classes) = (self.place(column)?, Classes::new(names)?);
        (0..self.rows()).map(|row| self.class(row, place, &classes)).collect()
    }

    /// Returns the texts of a column, each once, in alphabetical order, without the empty one.
    fn class_names(&self, column: &str) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.column(column)?;
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn class(&self, row: usize, place: usize, classes: &Classes<'_>) -> Result<usize> {
        let name = &self.rows[row][place];
        if name.is_empty() {
            return Err(self.bad_cell(row, place, "the name of a class"));
        }
        let class = classes.numbers.get(name.as_str()).copied();
        class.ok_or_else(|| self.bad_cell(row, place, format!("one of {:?}", classes.names)))
    }
}

/// The names of classes and their numbers.
struct Classes<'a> {
    names: Vec<&'a str>,
    numbers: HashMap<&'a str, usize>,
}

impl<'a> Classes<'a> {
    fn new<S: AsRef<str>>(names: &'a [S]) -> Result<Self> {
        columns::check_unique("names", names)?;
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let numbers = names.iter().copied().zip(0..).collect();
        Ok(Self { names, numbers })
    }
}
