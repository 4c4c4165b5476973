//! [`BleuTokenizer`]: the words that BLEU counts.

use super::{is_space, words};

/// The division of a text into the words that [`Bleu`](super::Bleu) counts, as in sacreBLEU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BleuTokenizer {
    /// `13a`, the tokeniser of the WMT evaluations (`mteval-v13a.pl`), for languages of Europe. It replaces
    /// four entities of XML, separates symbols, and separates full stops and commas that are not between
    /// digits, and hyphens after digits.
    #[default]
    V13a,
    /// `none`: the text is split at white space, for text that is already tokenised.
    None,
}

impl BleuTokenizer {
    /// Returns the words of a text.
    ///
    /// ```
    /// use recurrent::train::metrics::BleuTokenizer;
    ///
    /// let words = BleuTokenizer::V13a.words("It&apos;s 3,000 km, or 1-2 days.");
    /// assert_eq!(words.join(" "), "It & apos ; s 3,000 km , or 1 - 2 days .");
    /// ```
    pub fn words(self, text: &str) -> Vec<String> {
        let text = text.trim_end_matches(is_space);
        match self {
            Self::V13a => words(&separate_13a(text)).map(str::to_owned).collect(),
            Self::None => words(text).map(str::to_owned).collect(),
        }
    }
}

fn separate_13a(text: &str) -> String {
    let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    // In this order, so that `&amp;lt;` becomes `<`.
    for (entity, symbol) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        text = text.replace(entity, symbol);
    }
    let text = around_symbols(&format!(" {text} "));
    let text = between_pairs(&text, |a, b| !a.is_ascii_digit() && is_point(b), ["", " ", " "]);
    let text = between_pairs(&text, |a, b| is_point(a) && !b.is_ascii_digit(), [" ", " ", ""]);
    between_pairs(&text, |a, b| a.is_ascii_digit() && b == '-', ["", " ", " "])
}

fn is_point(c: char) -> bool {
    c == '.' || c == ','
}

/// Puts spaces around the symbols of ASCII except `'`, `,`, `-` and `.`.
fn around_symbols(text: &str) -> String {
    let mut separated = String::with_capacity(2 * text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && !matches!(c, '\'' | ',' | '-' | '.') {
            separated.extend([' ', c, ' ']);
        } else {
            separated.push(c);
        }
    }
    separated
}

/// Writes `spaces` before, between and after each pair of characters for which `is_pair` holds, from left
/// to right. Pairs do not overlap.
fn between_pairs(text: &str, is_pair: impl Fn(char, char) -> bool, spaces: [&str; 3]) -> String {
    let mut separated = String::with_capacity(2 * text.len());
    let mut rest = text.chars().peekable();
    while let Some(a) = rest.next() {
        match rest.next_if(|&b| is_pair(a, b)) {
            Some(b) => {
                separated.push_str(spaces[0]);
                separated.push(a);
                separated.push_str(spaces[1]);
                separated.push(b);
                separated.push_str(spaces[2]);
            }
            None => separated.push(a),
        }
    }
    separated
}
