//! Safetensors files: a length, a header in JSON, and the values.

use serde_json::{Map, Value, json};

use super::json::change;
use crate::dice::Dice;

/// A tensor: its name, type, shape and bytes.
#[derive(Clone)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

/// Changes a file: its header, or its tensors with a header that fits them.
pub(crate) fn safetensors(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    let Some((header, data)) = divided(file) else { return super::bytes(dice, file, other) };
    let others = divided(other);
    match dice.below(4) {
        0 => super::bytes(dice, file, other),
        1 => {
            let text = header.to_string();
            let other = others.map_or(Vec::new(), |(other, _)| other.to_string().into_bytes());
            let mut joined = joined(&super::json(dice, text.as_bytes(), &other), data);
            if dice.one_in(8) {
                let length = dice.number(text.len() as u64);
                joined[..8].copy_from_slice(&length.to_le_bytes());
            }
            joined
        }
        _ => {
            let (mut tensors, mut about) = tensors(&header, data);
            let others = others.map(|(header, data)| self::tensors(&header, data).0);
            if about.is_null() || dice.one_in(2) {
                of_tensors(dice, &mut tensors, &others.unwrap_or_default());
            } else {
                let other = about.clone();
                change(dice, &mut about, &other);
            }
            written(&tensors, about)
        }
    }
}

fn divided(file: &[u8]) -> Option<(Value, &[u8])> {
    let length = u64::from_le_bytes(*file.first_chunk()?) as usize;
    let header = file.get(8..length.checked_add(8)?)?;
    Some((serde_json::from_slice(header).ok()?, &file[8 + length..]))
}

fn joined(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Returns the tensors, and the texts about the file.
fn tensors(header: &Value, data: &[u8]) -> (Vec<Tensor>, Value) {
    let of = |(name, about): (&String, &Value)| {
        let offset = |i: usize| about["data_offsets"][i].as_u64().map(|offset| offset as usize);
        let sizes = about["shape"].as_array()?.iter().filter_map(Value::as_u64);
        Some(Tensor {
            name: name.clone(),
            dtype: about["dtype"].as_str()?.to_owned(),
            shape: sizes.collect(),
            bytes: data.get(offset(0)?..offset(1)?)?.to_vec(),
        })
    };
    let tensors = header.as_object().map(|all| all.iter().filter_map(of).collect());
    (tensors.unwrap_or_default(), header["__metadata__"].clone())
}

fn written(tensors: &[Tensor], about: Value) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    if !about.is_null() {
        header.insert("__metadata__".to_owned(), about);
    }
    for tensor in tensors {
        let start = data.len();
        data.extend_from_slice(&tensor.bytes);
        let place = [start, data.len()];
        let about = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": place});
        header.insert(tensor.name.clone(), about);
    }
    joined(Value::Object(header).to_string().as_bytes(), &data)
}

fn of_tensors(dice: &mut Dice, tensors: &mut Vec<Tensor>, others: &[Tensor]) {
    let place = dice.below(tensors.len());
    let choice = dice.below(7);
    let Some(tensor) = tensors.get_mut(place) else { return };
    let width = tensor.bytes.len() / tensor.shape.iter().product::<u64>().max(1) as usize;
    match choice {
        0 => super::list(dice, tensors, others),
        1 => tensor.name.push(['0', '.', 'é'][dice.below(3)]),
        2 => {
            tensor.dtype = dice.pick(&["F32", "F64", "F16", "BF16", "I64", "BOOL", "F4"]).to_owned()
        }
        3 => tensor.bytes = super::bytes(dice, &tensor.bytes, &[0xff; 16]),
        4 => {
            let special = [f32::NAN, f32::INFINITY, f32::MAX, -0.0, 1e-45][dice.below(5)];
            tensor.bytes = special.to_le_bytes().repeat(tensor.bytes.len() / 4);
        }
        5 => {
            // Sizes that no address has, of an array without elements.
            tensor.shape.push(dice.number(0));
            tensor.shape.insert(0, 0);
            tensor.bytes.clear();
        }
        _ => {
            // Another shape with the bytes that it needs.
            let axis = dice.below(tensor.shape.len() + 1);
            match tensor.shape.get_mut(axis) {
                Some(size) => *size = dice.number(*size) % 64,
                None => tensor.shape.push(1 + dice.below(2) as u64),
            }
            let count = tensor.shape.iter().product::<u64>().min(1 << 16) as usize;
            tensor.bytes.resize(count * width, 0);
        }
    }
}
