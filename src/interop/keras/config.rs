//! The configuration of a model, a JSON text: the layers, what each reads, and their options.
#![expect(clippy::indexing_slicing, reason = "a JSON value that is read by another key is null")]

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::refuse;
use crate::error::{Error, Result};

/// The classes of layers that combine several inputs.
const MERGES: [&str; 4] = ["Add", "Multiply", "Average", "Concatenate"];

/// The layers of a `Sequential` model, or of a functional one with one input and one output.
pub(super) struct Layers {
    /// The layers, each after those that it reads.
    pub(super) layers: Vec<LayerConfig>,
    /// The place of the layer whose output is that of the model.
    pub(super) output: usize,
}

/// The class, the name and the options of a layer.
#[derive(Clone)]
pub(super) struct LayerConfig {
    path: PathBuf,
    pub(super) class: String,
    pub(super) name: String,
    /// The places of the layers that this one reads; none if it reads the input of the model.
    pub(super) inputs: Vec<usize>,
    options: Value,
}

impl Layers {
    pub(super) fn parse(path: &Path, json: &str) -> Result<Self> {
        let problem = |error: serde_json::Error| refuse(path, format!("configuration: {error}"));
        let model: Value = serde_json::from_str(json).map_err(problem)?;
        let class = model["class_name"].as_str().unwrap_or("none");
        if !["Sequential", "Functional"].contains(&class) {
            let problem = format!("expected a Sequential or Functional model, got {class}");
            return Err(refuse(path, problem));
        }
        let Some(all) = model["config"]["layers"].as_array() else {
            return Err(refuse(path, "the configuration has no layers"));
        };
        let mut layers: Vec<LayerConfig> = Vec::new();
        for layer in all {
            let mut layer_config = LayerConfig::new(path, layer)?;
            layer_config.inputs = match class {
                "Functional" => inputs(&layer_config, &layers, &layer["inbound_nodes"])?,
                _ => layers.len().checked_sub(1).into_iter().collect(),
            };
            layers.push(layer_config);
        }
        let output = match class {
            "Functional" => output(path, &layers, &model["config"]["output_layers"])?,
            _ => layers.len().checked_sub(1),
        };
        let output = output.ok_or_else(|| refuse(path, "the configuration has no layers"))?;
        for (place, layer) in layers.iter().enumerate() {
            let read = layers.iter().any(|other| other.inputs.contains(&place));
            if !read && place != output {
                return Err(layer.refuse("expected a layer that reads its output, got none"));
            }
        }
        Ok(Self { layers, output })
    }
}

/// Returns the places of the layers that `layer` reads, all of which are among those `before`.
fn inputs(layer: &LayerConfig, before: &[LayerConfig], nodes: &Value) -> Result<Vec<usize>> {
    let calls = nodes.as_array().map_or(0, Vec::len);
    match (calls, before.is_empty()) {
        (0, true) => return Ok(Vec::new()),
        (_, true) => return Err(layer.refuse("the first layer has an input")),
        (0, false) => return Err(layer.refuse("expected one input of the model, got another")),
        (1, false) => {}
        _ => return Err(layer.refuse(format!("expected one call of the layer, got {calls}"))),
    }
    let node = &nodes[0];
    let initial_state = node["args"].get(1).or(node["kwargs"].get("initial_state"));
    if initial_state.is_some_and(|state| !state.is_null()) {
        return Err(layer.refuse("it has a second input, an initial state"));
    }
    let argument = &node["args"][0];
    let tensors = argument.as_array().map_or(std::slice::from_ref(argument), Vec::as_slice);
    if tensors.is_empty() || (tensors.len() > 1 && !layer.is_merge()) {
        let problem = format!("expected one input, got {}", tensors.len());
        return Err(layer.refuse(problem));
    }
    let place = |tensor: &Value| {
        let name = tensor["config"]["keras_history"][0].as_str().unwrap_or("none");
        let place = before.iter().position(|other| other.name == name);
        place.ok_or_else(|| layer.refuse(format!("expected an input before it, got {name}")))
    };
    tensors.iter().map(place).collect()
}

/// Returns the place of the only output. One output is [name, node, tensor], or a list of one such.
fn output(path: &Path, layers: &[LayerConfig], outputs: &Value) -> Result<Option<usize>> {
    let name = outputs[0].as_str().or(outputs[0][0].as_str()).unwrap_or("none");
    let place = layers.iter().position(|layer| layer.name == name);
    if place.is_none() || outputs.get(1).is_some_and(Value::is_array) {
        return Err(refuse(path, format!("expected one output, of a layer, got {outputs}")));
    }
    Ok(place)
}

impl LayerConfig {
    fn new(path: &Path, layer: &Value) -> Result<Self> {
        let of_layer = |key: &str| {
            let text = layer[key].as_str().or(layer["config"][key].as_str());
            text.map(str::to_owned).ok_or_else(|| refuse(path, format!("a layer without {key}")))
        };
        let layer = Self {
            path: path.to_owned(),
            class: of_layer("class_name")?,
            name: of_layer("name")?,
            inputs: Vec::new(),
            options: layer["config"].clone(),
        };
        let dtype = &layer.options["dtype"];
        let dtype = dtype.as_str().or(dtype["config"]["name"].as_str()).unwrap_or("float32");
        if dtype != "float32" {
            return Err(layer.refuse(format!("expected the dtype float32, got {dtype}")));
        }
        Ok(layer)
    }

    /// Returns whether the layer combines several inputs.
    fn is_merge(&self) -> bool {
        MERGES.contains(&self.class.as_str())
    }

    /// Returns the layer inside this one, under the option `key`.
    pub(super) fn inner(&self, key: &str) -> Result<Self> {
        Self::new(&self.path, &self.options[key])
    }

    /// Returns the error of the `problem` of this layer.
    pub(super) fn refuse(&self, problem: impl AsRef<str>) -> Error {
        refuse(&self.path, format!("{} {}: {}", self.class, self.name, problem.as_ref()))
    }

    /// Fails unless the option `key` is absent or one of `allowed`.
    pub(super) fn expect(&self, key: &str, allowed: &[&str]) -> Result<()> {
        let text = self.text(key).unwrap_or(allowed[0]);
        if allowed.contains(&text) {
            return Ok(());
        }
        let allowed = allowed.join(" or ");
        Err(self.refuse(format!("{key}: expected {allowed}, got {text}")))
    }

    /// Fails if the option `key` is set.
    pub(super) fn expect_unset(&self, key: &str) -> Result<()> {
        match &self.options[key] {
            Value::Null | Value::Bool(false) => Ok(()),
            other => Err(self.refuse(format!("{key}: {other} is not supported"))),
        }
    }

    /// Returns a text, or the name of a registered function.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let value = &self.options[key];
        value.as_str().or(value["config"].as_str()).or(value["class_name"].as_str())
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        self.options[key].as_bool().unwrap_or(default)
    }

    pub(super) fn number(&self, key: &str) -> Result<f64> {
        let value = &self.options[key];
        let number = value.as_f64();
        number.ok_or_else(|| self.refuse(format!("{key}: expected a number, got {value}")))
    }

    pub(super) fn size(&self, key: &str) -> Result<usize> {
        let value = &self.options[key];
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|&size| size > 0).ok_or_else(|| {
            self.refuse(format!("{key}: expected a whole number of at least 1, got {value}"))
        })
    }

    /// Returns whether the option `key` is `value`, or a list of it alone.
    pub(super) fn is_axis(&self, key: &str, value: i64) -> bool {
        let option = &self.options[key];
        let only = option.as_array().filter(|list| list.len() == 1).map_or(option, |list| &list[0]);
        only.as_i64() == Some(value)
    }
}
