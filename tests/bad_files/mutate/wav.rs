//! WAV files: chunks with a name, a size and bytes.

use crate::dice::Dice;

/// The names of chunks that readers know.
const NAMES: [[u8; 4]; 5] = [*b"fmt ", *b"data", *b"LIST", *b"fact", *b"RIFF"];

/// A chunk: its name, its announced size and its bytes.
type Chunk = ([u8; 4], u32, Vec<u8>);

/// Changes a file: its chunks, or the fields of the format.
pub(crate) fn wav(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    let Some(mut chunks) = chunks(file).filter(|_| !dice.one_in(4)) else {
        return super::bytes(dice, file, other);
    };
    let others = self::chunks(other).unwrap_or_default();
    for _ in 0..1 + dice.below(3) {
        let place = dice.below(chunks.len());
        match dice.below(6) {
            0 => super::list(dice, &mut chunks, &others),
            _ if chunks.is_empty() => {}
            1 => chunks[place].1 = dice.number(chunks[place].1.into()) as u32,
            2 => chunks[place].0 = NAMES[dice.below(NAMES.len())],
            3 => {
                let bytes = super::bytes(dice, &chunks[place].2, other);
                chunks[place].1 = bytes.len() as u32;
                chunks[place].2 = bytes;
            }
            _ => of_format(dice, &mut chunks),
        }
    }
    let (mut file, size) = (file[..12].to_vec(), file.len() as u64);
    if dice.one_in(8) {
        file[4..8].copy_from_slice(&(dice.number(size) as u32).to_le_bytes());
    }
    for (name, size, bytes) in chunks {
        file.extend(name);
        file.extend(size.to_le_bytes());
        file.extend(bytes);
    }
    file
}

fn chunks(file: &[u8]) -> Option<Vec<Chunk>> {
    let (mut rest, mut chunks) = (file.get(12..)?, Vec::new());
    while let (Some(name), Some(size)) = (rest.first_chunk(), rest.get(4..8)) {
        let size = u32::from_le_bytes(size.try_into().ok()?);
        let end = (8 + size as usize).min(rest.len());
        chunks.push((*name, size, rest[8..end].to_vec()));
        rest = &rest[end..];
    }
    Some(chunks)
}

/// Changes a field of the format: the encoding, the channels, the rates, the widths.
fn of_format(dice: &mut Dice, chunks: &mut [Chunk]) {
    const FIELDS: [(usize, usize); 9] =
        [(0, 2), (2, 2), (4, 4), (8, 4), (12, 2), (14, 2), (16, 2), (18, 2), (24, 2)];
    let Some((_, _, format)) = chunks.iter_mut().find(|chunk| &chunk.0 == b"fmt ") else { return };
    let (start, width) = FIELDS[dice.below(FIELDS.len())];
    let Some(field) = format.get_mut(start..start + width) else { return };
    let near = field.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
    field.copy_from_slice(&dice.number(near).to_le_bytes()[..width]);
}
