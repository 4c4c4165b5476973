//! Mutations of valid files. Each knows a format, and gives bytes that get past its outermost checks.

mod csv;
mod hdf5;
mod json;
mod npy;
mod pickle;
mod protobuf;
mod safetensors;
mod wav;
mod zip;

use crate::dice::Dice;

pub(crate) use csv::csv;
pub(crate) use hdf5::hdf5;
pub(crate) use json::json;
pub(crate) use npy::npy;
pub(crate) use protobuf::protobuf;
pub(crate) use safetensors::safetensors;
pub(crate) use wav::wav;
pub(crate) use zip::{keras, npz, pytorch};

/// The greatest size of a mutated file.
const MAX_SIZE: usize = 1 << 20;

/// Changes the bytes of a file, or splices it with another of its format.
pub(crate) fn bytes(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..1 + dice.below(4) {
        change(dice, &mut file, other);
        file.truncate(MAX_SIZE);
    }
    file
}

fn change(dice: &mut Dice, file: &mut Vec<u8>, other: &[u8]) {
    let (range, place) = (dice.range(file.len()), dice.below(file.len()));
    match dice.below(10) {
        0 if !file.is_empty() => file[place] ^= 1 << dice.below(8),
        1 if !file.is_empty() => file[place] = dice.number(0) as u8,
        2 => file.truncate(place),
        3 => {
            file.drain(range);
        }
        4 => {
            let again = file[range.clone()].repeat(1 + dice.below(8));
            file.splice(range.end..range.end, again);
        }
        5 => {
            let inserted = vec![dice.number(0) as u8; dice.below(64)];
            file.splice(place..place, inserted);
        }
        6 => {
            file.truncate(place);
            file.extend_from_slice(&other[dice.below(other.len())..]);
        }
        7 => {
            let from = dice.range(other.len());
            file.splice(range, other[from].iter().copied());
        }
        _ => number(dice, file, place),
    }
}

/// Replaces the integer at `place`, of a random width and order of bytes.
fn number(dice: &mut Dice, file: &mut [u8], place: usize) {
    let width = (1 << dice.below(4)).min(file.len() - place);
    let place = &mut file[place..place + width];
    let near = place.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
    let bytes = dice.number(near).to_le_bytes();
    place.copy_from_slice(&bytes[..width]);
    if dice.one_in(4) {
        place.reverse();
    }
}

/// Changes a list: removes, repeats, exchanges or moves elements, or takes one of `others`.
fn list<T: Clone>(dice: &mut Dice, values: &mut Vec<T>, others: &[T]) {
    let (a, b) = (dice.below(values.len()), dice.below(values.len()));
    match dice.below(6) {
        _ if values.is_empty() => values.extend(others.first().cloned()),
        0 => {
            values.remove(a);
        }
        1 => {
            let again = vec![values[a].clone(); 1 + dice.below(3)];
            values.splice(b..b, again);
        }
        2 => values.swap(a, b),
        3 => values.truncate(a),
        _ if others.is_empty() => {}
        4 => values.insert(a, others[dice.below(others.len())].clone()),
        _ => values[a] = others[dice.below(others.len())].clone(),
    }
}
