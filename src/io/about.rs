//! Descriptions in files, as JSON with the version of the format. Options that would be ignored are refused.
#![expect(clippy::indexing_slicing, reason = "a description is a JSON object")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, to_value};

/// The key of the version in a description.
const KEY: &str = "format";

/// The version of the format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Format(u64);

impl Format {
    /// The version that this crate writes, and the last that it reads.
    const LAST: Self = Self(1);

    /// Returns the value of `json`. Fails with the problem, in words, if it does not fit, it holds an option
    /// that `S` does not have, or the version is a later one.
    pub(crate) fn read<S: Serialize + DeserializeOwned>(self, json: Value) -> Result<S, String> {
        let parsed = self.parse(json)?;
        if self > Self::LAST { Err(self.versions()) } else { Ok(parsed) }
    }

    fn versions(self) -> String {
        let (file, last) = (self.0, Self::LAST.0);
        format!("the file has version {file} of the format, this crate reads up to {last}")
    }

    /// Returns the value of `json`, whatever the version.
    fn parse<S: Serialize + DeserializeOwned>(self, json: Value) -> Result<S, String> {
        let versions = self.versions();
        let parsed = from_value::<S>(json.clone()).map_err(|error| error.to_string());
        let again = parsed.as_ref().map_err(Clone::clone).and_then(|parsed| json_of(parsed));
        let unknown = match &again {
            Ok(again) => ignored::<S>(&json, again),
            Err(_) => None,
        };
        match (unknown, parsed) {
            (Some(option), _) => Err(format!("unknown option {option}: {versions}")),
            (None, Err(problem)) if self > Self::LAST => Err(format!("{problem}: {versions}")),
            (None, parsed) => parsed,
        }
    }
}

/// Returns the description `about` as text.
pub(crate) fn write<S: Serialize>(about: &S) -> Result<String, String> {
    let mut json = json_of(about)?;
    json[KEY] = Format::LAST.0.into();
    Ok(json.to_string())
}

/// Returns the description in `text`. Fails as [`Format::read`].
pub(crate) fn read<S: Serialize + DeserializeOwned>(text: &str) -> Result<S, String> {
    let (json, format) = Description::parse(text)?.parts()?;
    format.read(json)
}

/// The description of a model, parsed once.
pub(crate) struct Description(Value);

impl Description {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map(Self).map_err(|error| error.to_string())
    }

    /// Returns the kind of the model and its cell, as far as they are named.
    pub(crate) fn kind(&self) -> (Option<&str>, Option<&str>) {
        let named = |key: &str| self.0.get(key)?.as_str();
        (named("model"), named("cell"))
    }

    /// Returns a description of which a part is for [`Format::read`]. That part may name the option by
    /// which a later version differs.
    pub(crate) fn read_outer<S: Serialize + DeserializeOwned>(self) -> Result<(S, Format), String> {
        let (json, format) = self.parts()?;
        Ok((format.parse(json)?, format))
    }

    fn parts(self) -> Result<(Value, Format), String> {
        let Self(mut json) = self;
        let version = json.as_object_mut().and_then(|json| json.remove(KEY)?.as_u64());
        let version = version.filter(|&version| version > 0);
        Ok((json, Format(version.ok_or_else(|| format!("no version of the {KEY}"))?)))
    }
}

fn json_of<S: Serialize>(value: &S) -> Result<Value, String> {
    to_value(value).map_err(|error| error.to_string())
}

/// Returns the first option of `json` that does not change the value `S` read from it, which is `again`
/// when it is written.
#[expect(clippy::expect_used, reason = "`missing` begins each pointer with a slash")]
fn ignored<S: Serialize + DeserializeOwned>(json: &Value, again: &Value) -> Option<String> {
    let mut places = Vec::new();
    missing(json, again, &mut String::new(), &mut places);
    // An option may have been read under another name than the one it is written under.
    let place = places.into_iter().find(|place| {
        let mut without = json.clone();
        let (parent, key) = place.rsplit_once('/').expect("a pointer begins with a slash");
        let key = key.replace("~1", "/").replace("~0", "~");
        if let Some(Value::Object(parent)) = without.pointer_mut(parent) {
            parent.remove(&key);
        }
        from_value::<S>(without).is_ok_and(|value| json_of(&value).as_ref() == Ok(again))
    })?;
    Some(place.trim_start_matches('/').replace('/', "."))
}

/// Appends the JSON pointers of the keys of `json` that are not in `again`.
fn missing(json: &Value, again: &Value, place: &mut String, places: &mut Vec<String>) {
    let length = place.len();
    match (json, again) {
        (Value::Object(json), Value::Object(again)) => {
            for (key, value) in json {
                *place += &format!("/{}", key.replace('~', "~0").replace('/', "~1"));
                match again.get(key) {
                    Some(again) => missing(value, again, place, places),
                    None => places.push(place.clone()),
                }
                place.truncate(length);
            }
        }
        (Value::Array(json), Value::Array(again)) => {
            for (i, (value, again)) in json.iter().zip(again).enumerate() {
                *place += &format!("/{i}");
                missing(value, again, place, places);
                place.truncate(length);
            }
        }
        _ => {}
    }
}
