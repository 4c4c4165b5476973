//! Messages of protocol buffers, without their schema.

use crate::dice::Dice;

/// The deepest nesting that is changed.
const DEPTH: usize = 8;

/// A field: its number, the type on the wire, and its bytes without a length.
#[derive(Clone)]
struct Field {
    number: u64,
    wire: u64,
    bytes: Vec<u8>,
}

/// Changes a message, or one within it. The lengths around it fit again.
pub(crate) fn protobuf(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    if dice.one_in(6) {
        return super::bytes(dice, file, other);
    }
    let mut file = file.to_vec();
    for _ in 0..1 + dice.below(3) {
        file = changed(dice, &file, other, 0);
    }
    file
}

fn changed(dice: &mut Dice, message: &[u8], other: &[u8], depth: usize) -> Vec<u8> {
    let Some(mut fields) = fields(message) else { return super::bytes(dice, message, other) };
    let place = dice.below(fields.len());
    let inner = fields.get(place).filter(|field| field.wire == 2 && depth < DEPTH);
    if inner.is_some_and(|inner| inner.bytes.len() > 1) && !dice.one_in(4) {
        // The field of the same number elsewhere is a message of the same kind.
        let number = fields[place].number;
        let others = self::fields(other).unwrap_or_default();
        let of_kind: Vec<_> = others.iter().filter(|field| field.number == number).collect();
        let other = of_kind.get(dice.below(of_kind.len())).map_or(other, |field| &field.bytes);
        fields[place].bytes = changed(dice, &fields[place].bytes, other, depth + 1);
        return encoded(&fields);
    }
    match dice.below(6) {
        0 | 1 => super::list(dice, &mut fields, &self::fields(other).unwrap_or_default()),
        _ if fields.is_empty() => {}
        2 => fields[place].number = 1 + dice.below(26) as u64,
        3 if fields[place].wire == 2 => {
            fields[place].bytes = super::bytes(dice, &fields[place].bytes, other);
        }
        4 => {
            // A field of another type on the wire, with bytes that fit it.
            let (wire, bytes) = match dice.below(4) {
                0 => (0, varint(dice.number(0))),
                1 => (1, dice.bits().to_le_bytes().to_vec()),
                2 => (2, fields[place].bytes.clone()),
                _ => (5, (dice.bits() as u32).to_le_bytes().to_vec()),
            };
            (fields[place].wire, fields[place].bytes) = (wire, bytes);
        }
        _ => number(dice, &mut fields[place]),
    }
    encoded(&fields)
}

fn number(dice: &mut Dice, field: &mut Field) {
    match field.wire {
        0 => {
            let near = read_varint(&field.bytes).map_or(0, |(near, _)| near);
            field.bytes = varint(dice.number(near));
        }
        _ if field.bytes.is_empty() => field.bytes = varint(dice.number(0)),
        _ => {
            let place = dice.below(field.bytes.len());
            super::number(dice, &mut field.bytes, place);
        }
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Returns the number at the start, and the count of its bytes.
fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let end = bytes.iter().take(10).position(|byte| byte & 128 == 0)?;
    let groups = bytes[..=end].iter().rev();
    Some((groups.fold(0, |number, byte| number << 7 | u64::from(byte & 127)), end + 1))
}

fn fields(mut rest: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (key, width) = read_varint(rest)?;
        rest = &rest[width..];
        let (number, wire) = (key >> 3, key & 7);
        let (start, length) = match wire {
            0 => (0, read_varint(rest)?.1),
            1 => (0, 8),
            2 => {
                let (length, width) = read_varint(rest)?;
                (width, length as usize)
            }
            5 => (0, 4),
            _ => return None,
        };
        let end = start.checked_add(length)?;
        let bytes = rest.get(start..end)?.to_vec();
        rest = &rest[end..];
        fields.push(Field { number, wire, bytes });
    }
    Some(fields)
}

fn encoded(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend(varint(field.number << 3 | field.wire));
        if field.wire == 2 {
            bytes.extend(varint(field.bytes.len() as u64));
        }
        bytes.extend_from_slice(&field.bytes);
    }
    bytes
}
