//! The least number of weights of a configuration in a file, compared before memory is reserved for them.
#![expect(clippy::indexing_slicing, reason = "a JSON value that is read by another key is null")]

use serde_json::Value;

use crate::model::built_in;

/// Fails, with the problem in words, if a model of `config` with cells of the name `cell` has more weights
/// than `held`, the number in its file.
pub(super) fn check(config: &Value, cell: &str, held: usize) -> Result<(), String> {
    let least = least(config, cell, held as u64);
    if least <= u128::from(held as u64) {
        return Ok(());
    }
    Err(format!("its sizes need at least {least} weights, the file holds {held}"))
}

/// Returns a lower bound of the number of weights. Options that are absent or of another type count as zero.
fn least(config: &Value, cell: &str, held: u64) -> u128 {
    let recurrent = &config["recurrent"];
    let widths = recurrent["hidden_sizes"].as_array().map_or(&[][..], Vec::as_slice);
    let layers = recurrent["num_layers"].as_u64().unwrap_or(widths.len() as u64);
    if layers > held {
        return layers.into();
    }
    let directions = 1 + u128::from(recurrent["bidirectional"] == true);
    let tokens = number(&config["input_size"]);
    let embedding = config["embedding_dim"].as_u64().map(u128::from);
    let own = &config["own"];
    let joined = own["frames"]["frames"].as_u64().map_or(1, u128::from);
    let mut input = embedding.unwrap_or(tokens).saturating_mul(joined);
    let mut least = embedding.map_or(0, |width| tokens.saturating_mul(width));
    let mut add = |a: u128, b: u128| least = least.saturating_add(a.saturating_mul(b));
    add(of_characters(&config["characters"]), 1);
    // W_ih has a row for each hidden unit. The other weights of a user's cell are unknown.
    let output_of = |width: u128| match recurrent["options"].get("proj_size") {
        _ if !built_in::is_built_in(cell) => 1,
        Some(output) => number(output),
        None => width,
    };
    let layers = if own["encoder"] == false { 0 } else { layers as usize };
    for width in widths.iter().cycle().take(layers).map(number) {
        let output = output_of(width);
        add(directions.saturating_mul(width), input.saturating_add(output));
        input = directions.saturating_mul(output);
    }
    if own.get("bridge").is_some() {
        // The decoder has a width of its own, and its head may have no weight.
        let width = own["decoder_hidden_size"].as_u64().map(u128::from);
        let width = width.unwrap_or_else(|| number(widths.first().unwrap_or(&Value::Null)));
        add(width, output_of(width));
        add(number(&own["decoder_num_layers"]), 1);
        for kind in ["additive", "location"] {
            let score = &own["attention"][kind];
            let size = number(&score["size"]);
            add(size, output_of(width).saturating_add(1));
            add(number(&score["filters"]), number(&score["kernel_size"]).saturating_add(size));
        }
        let shared = own["shared_embedding"] == true;
        let target = if shared { 0 } else { number(&own["target_embedding_dim"]) };
        let head = if own["tied_output"] == false { output_of(width) } else { 0 };
        add(number(&config["output_size"]), target.saturating_add(head).max(1));
        return least;
    }
    let steps = own["steps"].as_u64().map_or(1, u128::from);
    add(number(&config["output_size"]).saturating_mul(steps), input);
    add(number(&own["condition_size"]), number(widths.first().unwrap_or(&Value::Null)));
    least
}

/// Returns a lower bound of the number of weights of an encoder of characters.
fn of_characters(config: &Value) -> u128 {
    let letters = config["vocabulary"]["tokens"].as_array().map_or(0, Vec::len) as u128;
    let width = number(&config["embedding_dim"]);
    let (lstm, conv) = (&config["encoding"]["lstm"], &config["encoding"]["conv"]);
    let hidden = number(&lstm["hidden_size"]);
    let of_lstm = hidden.saturating_mul(width.saturating_add(hidden));
    let window = number(&conv["kernel_size"]).saturating_mul(width);
    let of_conv = number(&conv["out_channels"]).saturating_mul(window);
    letters.saturating_mul(width).saturating_add(of_lstm).saturating_add(of_conv)
}

fn number(value: &Value) -> u128 {
    u128::from(value.as_u64().unwrap_or(0))
}
