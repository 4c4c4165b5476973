//! Delimited texts: cells, quotes and ragged rows.

use crate::dice::Dice;

const CELLS: [&[u8]; 28] = [
    b"",
    b" ",
    b"NaN",
    b"inf",
    b"-",
    b"1e999",
    b"-0",
    b"1e-400",
    b"99999999999999999999999",
    b"\"",
    b"\"\"",
    b"\"a",
    b"a\"b",
    b"\"a\"b",
    b"\"a,b\"",
    b"\"a\nb\"",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xa8",
    b"2024-02-30",
    b"9999999999-12-31",
    b"2024-02-29T23:59:60.999999999999999999999+99:99",
    b"-0001-01-01 24:00",
];

/// Changes a text.
pub(crate) fn csv(dice: &mut Dice, file: &[u8], other: &[u8]) -> Vec<u8> {
    if dice.one_in(4) {
        return super::bytes(dice, file, other);
    }
    let rows = |file: &[u8]| -> Vec<Vec<Vec<u8>>> {
        let cells = |row: &[u8]| row.split(|&byte| byte == b',').map(<[u8]>::to_vec).collect();
        file.split(|&byte| byte == b'\n').map(cells).collect()
    };
    let (mut rows, others) = (rows(file), rows(other));
    for _ in 0..1 + dice.below(4) {
        let row = dice.below(rows.len());
        match dice.below(4) {
            0 => super::list(dice, &mut rows, &others),
            _ if rows.is_empty() => {}
            1 => super::list(dice, &mut rows[row], &others[0]),
            2 => {
                let column = dice.below(rows[row].len());
                if let Some(cell) = rows[row].get_mut(column) {
                    *cell = super::bytes(dice, cell, other);
                }
            }
            _ => {
                let column = dice.below(rows[row].len());
                if let Some(cell) = rows[row].get_mut(column) {
                    *cell = CELLS[dice.below(CELLS.len())].to_vec();
                }
            }
        }
    }
    let delimiter = if dice.one_in(16) { b";" } else { b"," };
    let ends: [&[u8]; 4] = [b"\n", b"\n", b"\r\n", b"\r"];
    let rows: Vec<Vec<u8>> = rows.iter().map(|row| row.join(&delimiter[..])).collect();
    rows.join(ends[dice.below(ends.len())])
}
