//! The configuration of a model, a JSON text: the layers of a chain and their options.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::refuse;
use crate::error::{Error, Result};

/// The layers of a `Sequential` model, or of a functional one in which each layer has one input, the layer before.
pub(super) struct Chain {
    pub(super) layers: Vec<LayerConfig>,
}

/// The class, the name and the options of a layer.
#[derive(Clone)]
pub(super) struct LayerConfig {
    path: PathBuf,
    pub(super) class: String,
    pub(super) name: String,
    options: Value,
}

impl Chain {
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
            let layer_config = LayerConfig::new(path, layer)?;
            if class == "Functional" {
                check_input(&layer_config, layers.last(), &layer["inbound_nodes"])?;
            }
            layers.push(layer_config);
        }
        match layers.last() {
            None => return Err(refuse(path, "the configuration has no layers")),
            Some(last) if class == "Functional" => {
                let outputs = &model["config"]["output_layers"];
                // One output is [name, node, tensor], or a list of one such.
                let name = outputs[0].as_str().or(outputs[0][0].as_str());
                if name != Some(&last.name) || outputs.get(1).is_some_and(Value::is_array) {
                    let problem = format!("expected one output, of {}, got {outputs}", last.name);
                    return Err(refuse(path, problem));
                }
            }
            Some(_) => {}
        }
        Ok(Self { layers })
    }
}

/// Fails unless the only input of `layer` is the output of the layer `before`, or nothing for the first.
fn check_input(layer: &LayerConfig, before: Option<&LayerConfig>, nodes: &Value) -> Result<()> {
    let calls = nodes.as_array().map_or(0, Vec::len);
    let Some(before) = before else {
        return if calls == 0 { Ok(()) } else { Err(layer.refuse("the first layer has an input")) };
    };
    let input = nodes[0]["args"][0]["config"]["keras_history"][0].as_str();
    let initial_state = nodes[0]["args"].get(1).or(nodes[0]["kwargs"].get("initial_state"));
    if initial_state.is_some_and(|state| !state.is_null()) {
        return Err(layer.refuse("it has a second input, an initial state"));
    }
    if calls != 1 || input != Some(&before.name) {
        let got = input.unwrap_or("several");
        return Err(layer.refuse(format!("expected the input {} alone, got {got}", before.name)));
    }
    Ok(())
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
            options: layer["config"].clone(),
        };
        let dtype = &layer.options["dtype"];
        let dtype = dtype.as_str().or(dtype["config"]["name"].as_str()).unwrap_or("float32");
        if dtype != "float32" {
            return Err(layer.refuse(format!("expected the dtype float32, got {dtype}")));
        }
        Ok(layer)
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
