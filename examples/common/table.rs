//! Reading the data files: comma-separated numbers under one line of column names.

use std::path::Path;

use ndarray::{Array1, Array2, Axis};

use super::options::Failure;

/// A table of numbers with named columns.
pub(crate) struct Table {
    names: Vec<String>,
    pub(crate) values: Array2<f32>,
}

impl Table {
    /// Reads `file`, a path below `examples/data`. A column whose name is in `text` may hold
    /// anything; it is left out.
    pub(crate) fn read(file: &str, text: &[&str]) -> Result<Self, Failure> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(file);
        let content = std::fs::read_to_string(&path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        let mut lines = content.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let kept = |column: &usize| !text.contains(&header[*column]);
        let columns: Vec<usize> = (0..header.len()).filter(kept).collect();
        let mut values = Vec::new();
        for (row, line) in lines.enumerate() {
            let fields: Vec<&str> = line.split(',').collect();
            for &column in &columns {
                let field = fields.get(column).unwrap_or(&"");
                values.push(field.parse().map_err(|_| {
                    let (path, line) = (path.display(), row + 2);
                    let message = format!("{path}:{line}: expected a number, got {field:?}");
                    Failure::new(message)
                })?);
            }
        }
        let shape = (values.len() / columns.len().max(1), columns.len());
        let names = columns.iter().map(|&column| header[column].to_owned()).collect();
        Ok(Self { names, values: Array2::from_shape_vec(shape, values)? })
    }

    /// The column called `name`.
    pub(crate) fn column(&self, name: &str) -> Result<Array1<f32>, Failure> {
        match self.names.iter().position(|n| n == name) {
            Some(column) => Ok(self.values.index_axis(Axis(1), column).to_owned()),
            None => Err(Failure::new(format!("expected a column {name}, got {:?}", self.names))),
        }
    }
}
