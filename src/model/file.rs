//! Files of models: weights and configuration.

use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::io::about::{self, Description};
use crate::io::{Reader, Writer};
use crate::model::config::{Config, Shape};
use crate::model::{built_in, sizes};
use crate::tensor::Precision;

/// The description of the model in a file.
#[derive(Serialize, Deserialize)]
struct About {
    model: String,
    cell: String,
    config: serde_json::Value,
}

/// Writes the configuration and the weights of `model` to the file `path`.
pub(super) fn save<M: Shape<Cell: Cell<Options: Serialize>, Own: Serialize>>(
    model: &M,
    path: &Path,
    precision: Precision,
) -> Result<()> {
    let refuse = |error: serde_json::Error| format_error(path, error.to_string());
    let config = serde_json::to_value(model.config()).map_err(refuse)?;
    let (config, cell) = built_in::to_file::<M::Cell>(config);
    let about = About { model: M::NAME.to_owned(), cell, config };
    let about = about::write(&about).map_err(|problem| format_error(path, problem))?;
    Writer::default().arrays_with("", model, precision)?.about(about).write(path)
}

/// Reads a model from the file `path`.
pub(super) fn load<M>(path: &Path) -> Result<M>
where
    M: Shape<Cell: Cell<Options: Serialize + DeserializeOwned>, Own: Serialize + DeserializeOwned>,
{
    let refuse = |problem: String| format_error(path, problem);
    let file = Reader::open(path)?;
    let about = described(path, &file, M::NAME, Some(M::Cell::NAME))?;
    let (about, format): (About, _) = about.read_outer().map_err(|error| no_model(path, error))?;
    if !built_in::loads::<M::Cell>(&about.cell) {
        let expected = format!("a {} of {} cells", M::NAME, M::Cell::NAME);
        let got = format!("a {} of {} cells", about.model, about.cell);
        return Err(Error::argument(path.display().to_string(), expected, got));
    }
    sizes::check(&about.config, &about.cell, file.count()?).map_err(refuse)?;
    let config = built_in::from_file::<M::Cell>(about.config, &about.cell);
    let config: Config<M::Cell, M::Own> = format.read(config).map_err(refuse)?;
    config.check()?;
    // All weights drawn here are replaced.
    let mut model = M::assemble(config, &mut ChaCha8Rng::seed_from_u64(0))?;
    file.arrays("", &mut model)?;
    Ok(model)
}

/// Returns the description of the model in `file`, which has the path `path`. Fails if it is that of another
/// kind of model than `expected`, which has the cell `of`.
pub(super) fn described(
    path: &Path,
    file: &Reader,
    expected: &str,
    of: Option<&str>,
) -> Result<Description> {
    let about = file.about().ok_or_else(|| format_error(path, "weights alone".to_owned()))?;
    let about = Description::parse(about).map_err(|error| no_model(path, error))?;
    let (kind, cell) = about.kind();
    let Some(kind) = kind.filter(|kind| *kind != expected) else { return Ok(about) };
    let named = |kind: &str, cell: Option<&str>| match cell {
        Some(cell) => format!("a {kind} of {cell} cells"),
        None => format!("a {kind}"),
    };
    Err(Error::argument(path.display().to_string(), named(expected, of), named(kind, cell)))
}

/// Returns the error of a description that cannot be read.
pub(super) fn no_model(path: &Path, error: String) -> Error {
    format_error(path, format!("not the description of a model ({error})"))
}

pub(super) fn format_error(path: &Path, problem: String) -> Error {
    Error::Format { path: path.to_owned(), format: "model", problem }
}
