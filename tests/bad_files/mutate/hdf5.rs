//! HDF5 files: fields near the signatures of their parts.

use crate::dice::Dice;

const SIGNATURES: [&[u8]; 9] =
    [b"\x89HDF", b"TREE", b"HEAP", b"SNOD", b"OHDR", b"FRHP", b"GCOL", b"\x01\0", b"\0\0\x08\0"];

/// Changes a file: a field after a signature, or any bytes.
pub(crate) fn hdf5(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    if dice.one_in(4) {
        return super::bytes(dice, file, other);
    }
    let mut file = file.to_vec();
    for _ in 0..1 + dice.below(3) {
        let signature = SIGNATURES[dice.below(SIGNATURES.len())];
        let starts = file.windows(signature.len()).enumerate().filter(|at| at.1 == signature);
        let starts: Vec<usize> = starts.map(|(start, _)| start).collect();
        if starts.is_empty() {
            continue;
        }
        let start = starts[dice.below(starts.len())];
        let place = (start + dice.below(96)).min(file.len() - 1);
        match dice.below(3) {
            0 => file[place] = dice.number(file[place].into()) as u8,
            1 => {
                // An address or a size of 8 bytes; some are those of other parts.
                let start = place - place % 8;
                let number = match dice.one_in(2) {
                    true => dice.below(file.len()) as u64 & !7,
                    false => dice.number(start as u64),
                };
                if let Some(field) = file.get_mut(start..start + 8) {
                    field.copy_from_slice(&number.to_le_bytes());
                }
            }
            _ => super::number(dice, &mut file, place),
        }
    }
    file
}
