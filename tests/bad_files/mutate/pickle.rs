//! Pickles: lists of instructions.

use crate::dice::Dice;

/// An instruction: its code, the bytes of a length before its argument, and the argument.
#[derive(Clone)]
struct Instruction {
    code: u8,
    /// The width of the length of the argument; 0 if the code sets it.
    length: usize,
    argument: Vec<u8>,
}

/// Codes without an argument, most of them of the protocols 2 to 4.
const PLAIN: &[u8] = b"().01lt}]NQRabdesu\x81\x85\x86\x87\x88\x89\x93\x94";

/// Changes the instructions of a pickle.
pub(super) fn pickle(dice: &mut Dice, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    if dice.one_in(6) {
        return super::bytes(dice, bytes, other);
    }
    let (mut all, others) = (instructions(bytes), instructions(other));
    for _ in 0..1 + dice.below(3) {
        let place = dice.below(all.len());
        match dice.below(5) {
            0 => super::list(dice, &mut all, &others),
            1 => {
                let code = PLAIN[dice.below(PLAIN.len())];
                let repeated = if dice.one_in(8) { 200 } else { 1 };
                let added = Instruction { code, length: 0, argument: Vec::new() };
                all.splice(place..place, vec![added; repeated]);
            }
            _ => argument(dice, &mut all, place),
        }
    }
    let mut bytes = Vec::new();
    for Instruction { code, length, argument } in all {
        bytes.push(code);
        bytes.extend_from_slice(&(argument.len() as u64).to_le_bytes()[..length]);
        bytes.extend(argument);
    }
    bytes
}

/// Changes the argument of the first instruction from `place` on that has one.
fn argument(dice: &mut Dice, all: &mut [Instruction], place: usize) {
    let Some(found) = all[place..].iter_mut().find(|one| !one.argument.is_empty()) else { return };
    match found.length {
        0 if found.code != b'c' => {
            let width = found.argument.len();
            let near = found.argument.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
            found.argument = dice.number(near).to_le_bytes()[..width.min(8)].to_vec();
        }
        _ => {
            let text = &found.argument;
            found.argument = match dice.below(3) {
                0 => super::bytes(dice, text, b"torch._utils"),
                1 => text.repeat(dice.below(3)),
                _ => text[..dice.below(text.len())].to_vec(),
            };
        }
    }
}

/// Returns the instructions; one that is not known is taken as plain.
fn instructions(mut rest: &[u8]) -> Vec<Instruction> {
    let mut all = Vec::new();
    while let Some((&code, after)) = rest.split_first() {
        let (length, width) = match code {
            b'c' => (0, line_ends(after)),
            0x80 | b'K' | b'h' | b'q' => (0, 1),
            b'M' => (0, 2),
            b'J' | b'j' | b'r' => (0, 4),
            b'G' | 0x95 => (0, 8),
            0x8a | 0x8c | b'U' | b'C' => (1, 0),
            b'X' | b'B' | b'T' => (4, 0),
            0x8d | 0x8e => (8, 0),
            _ => (0, 0),
        };
        let announced =
            after.iter().take(length).rev().fold(0, |n, &byte| n << 8 | usize::from(byte));
        let start = length.min(after.len());
        let end = (start + width).saturating_add(announced).min(after.len());
        all.push(Instruction { code, length, argument: after[start..end].to_vec() });
        rest = &after[end..];
    }
    all
}

/// Returns the end of the second line.
fn line_ends(bytes: &[u8]) -> usize {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(place, _)| place + 1).nth(1).unwrap_or(bytes.len())
}
