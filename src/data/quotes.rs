//! Finds mistakes in the quotes of a delimited file, which would join rows without an error.

use crate::data::lines::Lines;

/// A mistake in the quotes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadQuote {
    /// The line on which the quoted cell begins, from 1.
    pub(super) line: u64,
    /// The beginning of the cell.
    pub(super) cell: String,
    /// The expected content.
    pub(super) expected: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    CellStart,
    Plain,
    Quoted,
    /// After a quote that ends the cell unless another one follows.
    AfterQuote,
    /// After blanks behind the closing quote.
    AfterCell,
}

/// Checks that every quoted cell ends with a quote, and that no text follows that quote.
///
/// A cell is quoted if a quote is its first character. Two quotes within it stand for one.
pub(super) fn check(text: &[u8], delimiter: u8) -> Result<(), BadQuote> {
    let (mut place, mut begun) = (Place::CellStart, 0);
    for (i, &byte) in text.iter().enumerate() {
        place = match (place, byte) {
            (Place::CellStart, b'"') => {
                begun = i;
                Place::Quoted
            }
            (Place::Quoted, b'"') => Place::AfterQuote,
            (Place::Quoted, _) | (Place::AfterQuote, b'"') => Place::Quoted,
            (_, b'\n' | b'\r') => Place::CellStart,
            (_, _) if byte == delimiter => Place::CellStart,
            (Place::AfterQuote | Place::AfterCell, b' ' | b'\t') => Place::AfterCell,
            (Place::AfterQuote | Place::AfterCell, _) => {
                return Err(bad(text, begun, "a delimiter after the closing quote"));
            }
            (Place::CellStart | Place::Plain, _) => Place::Plain,
        };
    }
    if place == Place::Quoted {
        return Err(bad(text, begun, "a closing quote"));
    }
    Ok(())
}

fn bad(text: &[u8], start: usize, expected: &'static str) -> BadQuote {
    let rest = text.get(start..).unwrap_or_default();
    let cell = rest.split(|&byte| byte == b'\n' || byte == b'\r').next().unwrap_or_default();
    let cell = String::from_utf8_lossy(cell).chars().take(40).collect();
    BadQuote { line: Lines::new(text).of(start), cell, expected }
}
