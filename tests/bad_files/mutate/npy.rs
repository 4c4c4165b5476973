//! Arrays of NumPy: a magic string, a version, a length, a header as a Python literal, and elements.

use crate::dice::Dice;

/// The bytes before the header, in version 1.
const START: usize = 10;

/// Changes a file; its header keeps the announced length.
pub(crate) fn npy(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    let length = file.get(8..START).map(|bytes| usize::from(bytes[0]) | usize::from(bytes[1]) << 8);
    let header = length.and_then(|length| file.get(START..START + length));
    let Some(header) = header.filter(|_| !dice.one_in(4)) else {
        return super::bytes(dice, file, other);
    };
    let data = &file[START + header.len()..];
    let mut text = String::from_utf8_lossy(header).trim_end().to_owned();
    for _ in 0..1 + dice.below(2) {
        text = changed(dice, &text);
    }
    let mut header = text.into_bytes();
    if dice.one_in(4) {
        header = super::bytes(dice, &header, other);
    }
    header.resize((header.len() + START + 1).next_multiple_of(64) - START, b' ');
    let mut data = data.to_vec();
    if dice.one_in(2) {
        data = data.repeat(dice.below(5));
    }
    let length = (header.len() as u16).to_le_bytes();
    match dice.below(4) {
        0 => {
            let length = (header.len() as u32).to_le_bytes();
            [b"\x93NUMPY\x02\x00", &length[..], &header, &data].concat()
        }
        _ => [b"\x93NUMPY\x01\x00", &length[..], &header, &data].concat(),
    }
}

fn changed(dice: &mut Dice, header: &str) -> String {
    const TYPES: [&str; 14] = [
        "<f2", "<f4", "<f8", "<f16", "|u1", "|b1", "<i2", "<i4", ">f4", "<i8", "<u8", "|O", "<U4",
        "",
    ];
    match dice.below(7) {
        0 => {
            let (from, to) = (dice.pick(&["<f4", "<f8", "<i8"]), TYPES[dice.below(TYPES.len())]);
            header.replace(from, to)
        }
        1 => header.replace("False", dice.pick(&["True", "None", "0"])),
        2 => header.replace("True", "False"),
        3 => header.replace(')', &format!(", {})", dice.number(1))),
        4 => header.replace('(', &format!("({}, ", dice.number(1))),
        5 => header.replace(
            dice.pick(&["descr", "shape", "'", "{", ",", ":"]),
            dice.pick(&["", "x", "((", "\""]),
        ),
        _ => {
            let mut number = String::new();
            let mut result = String::new();
            for letter in header.chars().chain(['\n']) {
                if letter.is_ascii_digit() {
                    number.push(letter);
                    continue;
                }
                let near = number.parse().unwrap_or(0);
                match !number.is_empty() && dice.one_in(2) {
                    true => result += &dice.number(near).to_string(),
                    false => result += &number,
                }
                number.clear();
                result.push(letter);
            }
            result.trim_end().to_owned()
        }
    }
}
