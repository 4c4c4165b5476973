//! JSON texts: other numbers, names, types and nesting.

use serde_json::{Map, Value, json};

use crate::dice::Dice;

/// The greatest depth of a text that is made deeper; `serde_json` reads 127.
const DEPTH: usize = 140;

/// Changes a JSON text. One that is none is changed as bytes.
pub(crate) fn json(dice: &mut Dice, text: &[u8], other: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(text) {
        Ok(mut value) if !dice.one_in(8) => {
            let other = serde_json::from_slice(other).unwrap_or(Value::Null);
            for _ in 0..1 + dice.below(3) {
                change(dice, &mut value, &other);
            }
            value.to_string().into_bytes()
        }
        _ => super::bytes(dice, text, other),
    }
}

/// Changes one of the values within `root`.
pub(super) fn change(dice: &mut Dice, root: &mut Value, other: &Value) {
    let place = dice.below(count(root));
    let copied = match dice.one_in(2) {
        true => nth(root, dice.below(count(root))),
        false => nth(other, dice.below(count(other))),
    };
    apply(root, &mut { place }, &mut |value| replace(dice, value, copied.clone()));
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        Value::Object(values) => values.values().collect(),
        _ => Vec::new(),
    }
}

fn count(value: &Value) -> usize {
    1 + children(value).into_iter().map(count).sum::<usize>()
}

/// Returns the value number `place`, in the order of the text.
fn nth(value: &Value, mut place: usize) -> Value {
    if place == 0 {
        return value.clone();
    }
    place -= 1;
    for child in children(value) {
        let size = count(child);
        if place < size {
            return nth(child, place);
        }
        place -= size;
    }
    Value::Null
}

/// Calls `f` with the value number `place`. Returns whether there was one.
fn apply(value: &mut Value, place: &mut usize, f: &mut dyn FnMut(&mut Value)) -> bool {
    if *place == 0 {
        f(value);
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(values) => values.iter_mut().any(|value| apply(value, place, f)),
        Value::Object(values) => values.values_mut().any(|value| apply(value, place, f)),
        _ => false,
    }
}

fn replace(dice: &mut Dice, value: &mut Value, copied: Value) {
    let kept = value.take();
    *value = match (dice.below(12), kept) {
        (0, _) => any(dice),
        (1, _) => copied,
        (2, mut kept) => {
            for _ in 0..if dice.one_in(4) { DEPTH } else { 1 } {
                kept = json!([kept]);
            }
            kept
        }
        (_, Value::Number(number)) => {
            let near = number.as_u64().unwrap_or(number.as_f64().unwrap_or(0.0).to_bits());
            match dice.below(4) {
                0 => json!(-(dice.number(near) as i64).max(-i64::MAX)),
                1 => json!(f64::from_bits(dice.number(near))),
                _ => json!(dice.number(near)),
            }
        }
        (_, Value::String(text)) => Value::String(of_text(dice, text)),
        (_, Value::Array(mut values)) => {
            let others = values.clone();
            super::list(dice, &mut values, &others);
            Value::Array(values)
        }
        (_, Value::Object(values)) => Value::Object(of_object(dice, values, copied)),
        (_, Value::Bool(it)) => Value::Bool(!it),
        (_, Value::Null) => any(dice),
    };
}

fn any(dice: &mut Dice) -> Value {
    match dice.below(9) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(dice.number(0)),
        4 => json!(1e300),
        5 => json!("\u{0}é\u{1f600}"),
        6 => json!([]),
        7 => json!({}),
        _ => json!(""),
    }
}

/// Changes a text, as JSON if it is an object.
fn of_text(dice: &mut Dice, text: String) -> String {
    if text.starts_with('{') {
        let changed = json(dice, text.as_bytes(), b"null");
        return String::from_utf8_lossy(&changed).into_owned();
    }
    match dice.below(5) {
        0 => String::new(),
        1 => text.repeat(1 + dice.below(3)),
        2 => text.chars().rev().collect(),
        3 => text.chars().skip(1).collect(),
        _ => format!("{text}{}", ["é", "\u{0}", "/", "..", " ", "0"][dice.below(6)]),
    }
}

fn of_object(dice: &mut Dice, values: Map<String, Value>, copied: Value) -> Map<String, Value> {
    let mut pairs: Vec<(String, Value)> = values.into_iter().collect();
    let (a, b) = (dice.below(pairs.len()), dice.below(pairs.len()));
    match dice.below(5) {
        _ if pairs.is_empty() => pairs.push(("a".to_owned(), copied)),
        0 => {
            pairs.remove(a);
        }
        1 => pairs[a].0 = of_text(dice, pairs[a].0.clone()),
        2 => {
            let name = of_text(dice, pairs[a].0.clone());
            pairs.push((name, copied));
        }
        3 => {
            let moved = pairs[a].1.clone();
            pairs[a].1 = std::mem::replace(&mut pairs[b].1, moved);
        }
        _ => pairs[a].1 = copied,
    }
    pairs.into_iter().collect()
}
