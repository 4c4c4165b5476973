//! Finds mistakes in the quotes of a delimited file, which would join rows without an error.

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
    AfterQuote,
}

/// Checks that every quoted cell ends with a quote, and that no text follows that quote.
///
/// A cell is quoted if a quote is its first character. Two quotes within it stand for one.
pub(super) fn check(text: &[u8], delimiter: u8) -> Result<(), BadQuote> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let (mut place, mut line, mut begun) = (Place::CellStart, 1, (1, 0));
    for (i, &byte) in text.iter().enumerate() {
        place = match (place, byte) {
            (Place::CellStart, b'"') => {
                begun = (line, i);
                Place::Quoted
            }
            (Place::Quoted, b'"') => Place::AfterQuote,
            (Place::Quoted, _) | (Place::AfterQuote, b'"') => Place::Quoted,
            (_, b'\n' | b'\r') => Place::CellStart,
            (_, _) if byte == delimiter => Place::CellStart,
            (Place::AfterQuote, b' ' | b'\t') => Place::AfterQuote,
            (Place::AfterQuote, _) => {
                return Err(bad(text, begun, "a delimiter after the closing quote"));
            }
            (Place::CellStart | Place::Plain, _) => Place::Plain,
        };
        line += u64::from(byte == b'\n');
    }
    if place == Place::Quoted {
        return Err(bad(text, begun, "a closing quote"));
    }
    Ok(())
}

fn bad(text: &[u8], (line, start): (u64, usize), expected: &'static str) -> BadQuote {
    let cell = text[start..].split(|&byte| byte == b'\n' || byte == b'\r').next().unwrap_or(&[]);
    let cell = String::from_utf8_lossy(cell).chars().take(40).collect();
    BadQuote { line, cell, expected }
}
