//! [`Vocabulary`]: numbers for the characters or words of a text, and back.
//!
//! Text is brought to Unicode's composed form (NFC) first, so that an accented letter is the same
//! token however it was typed. Characters are what a reader takes for one (grapheme clusters); words
//! are cut at Unicode's word boundaries (UAX #29), and what stands between words but space is a token
//! too.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use crate::error::{Error, Result, check_size};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// A character, as a reader sees it.
    Character,
    /// A word, or a mark of punctuation; space parts tokens and is none.
    Word,
}

impl Unit {
    /// The tokens of `text`, in order.
    ///
    /// ```
    /// use recurrent::data::Unit;
    ///
    /// assert_eq!(Unit::Word.tokens("Don't stop, café!"), ["Don't", "stop", ",", "café", "!"]);
    /// assert_eq!(Unit::Character.tokens("cafe\u{301}"), ["c", "a", "f", "é"]);
    /// ```
    pub fn tokens(self, text: &str) -> Vec<String> {
        let text: String = text.nfc().collect();
        match self {
            Self::Character => text.graphemes(true).map(str::to_owned).collect(),
            Self::Word => {
                let words = text.split_word_bounds().filter(|word| !word.trim().is_empty());
                words.map(str::to_owned).collect()
            }
        }
    }
}

/// Numbers for tokens; see the [module](self).
///
/// ```
/// use recurrent::data::{Unit, Vocabulary};
///
/// let words = Vocabulary::of(Unit::Word)
///     .lowercase(true)
///     .special(&["<pad>", "<unk>"])
///     .unknown("<unk>")
///     .fit(["The cat saw the dog.", "The dog ran."])?;
/// assert_eq!(words.tokens(), ["<pad>", "<unk>", "the", ".", "dog", "cat", "ran", "saw"]);
/// assert_eq!(words.encode("The bird ran.")?, [2, 1, 6, 3]);
/// assert_eq!(words.decode(&[2, 5])?, "the cat");
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Vocabulary {
    stored: Stored,
    numbers: HashMap<String, usize>,
    unknown: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    unit: Unit,
    lowercase: bool,
    unknown: Option<String>,
    tokens: Vec<String>,
}

impl From<Vocabulary> for Stored {
    fn from(vocabulary: Vocabulary) -> Self {
        vocabulary.stored
    }
}

impl TryFrom<Stored> for Vocabulary {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        check_size("tokens", &[stored.tokens.len()])?;
        let mut numbers = HashMap::new();
        for (number, token) in stored.tokens.iter().enumerate() {
            if numbers.insert(token.clone(), number).is_some() {
                return Err(Error::argument(format!("tokens[{number}]"), "a new token", token));
            }
        }
        let unknown = match &stored.unknown {
            None => None,
            Some(token) => Some(*numbers.get(token).ok_or_else(|| {
                Error::argument("unknown", "one of the tokens, as a special one is", token)
            })?),
        };
        Ok(Self { stored, numbers, unknown })
    }
}

impl Vocabulary {
    /// Begins a vocabulary of such tokens.
    pub fn of(unit: Unit) -> VocabularyBuilder {
        VocabularyBuilder {
            minimum_count: 1,
            maximum_size: usize::MAX,
            special: Vec::new(),
            stored: Stored { unit, lowercase: false, unknown: None, tokens: Vec::new() },
        }
    }

    /// How many tokens there are.
    #[allow(clippy::len_without_is_empty, reason = "there is always a token")]
    pub fn len(&self) -> usize {
        self.stored.tokens.len()
    }

    /// The tokens, by number.
    pub fn tokens(&self) -> &[String] {
        &self.stored.tokens
    }

    /// The number of a token.
    pub fn number(&self, token: &str) -> Option<usize> {
        self.numbers.get(token).copied()
    }

    /// The numbers of the tokens of `text`.
    ///
    /// # Errors
    /// Where a token is not in the vocabulary and none stands for the unknown.
    pub fn encode(&self, text: &str) -> Result<Vec<usize>> {
        self.stored.tokens_of(text).iter().map(|token| self.number_of(token)).collect()
    }

    /// The numbers of `tokens`, as they stand but for case and form: of a text that is cut already.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_tokens<S: AsRef<str>>(&self, tokens: &[S]) -> Result<Vec<usize>> {
        let number = |token: &S| self.number_of(&self.stored.normal(token.as_ref()));
        tokens.iter().map(number).collect()
    }

    /// The text of the tokens of the given numbers, words with a space between them.
    ///
    /// # Errors
    /// Where a number is too large.
    pub fn decode(&self, numbers: &[usize]) -> Result<String> {
        let token = |&number: &usize| {
            let expected = || format!("less than {} (tokens)", self.len());
            let token = self.stored.tokens.get(number).map(String::as_str);
            token.ok_or_else(|| Error::argument("numbers", expected(), number))
        };
        let tokens = numbers.iter().map(token).collect::<Result<Vec<_>>>()?;
        Ok(tokens.join(if self.stored.unit == Unit::Word { " " } else { "" }))
    }

    fn number_of(&self, token: &str) -> Result<usize> {
        let number = self.number(token).or(self.unknown);
        number.ok_or_else(|| Error::argument("text", "tokens of the vocabulary", token))
    }
}

impl Stored {
    fn normal(&self, text: &str) -> String {
        let text: String = text.nfc().collect();
        if self.lowercase { text.to_lowercase() } else { text }
    }

    fn tokens_of(&self, text: &str) -> Vec<String> {
        self.unit.tokens(&self.normal(text))
    }
}

/// What a [`Vocabulary`] is made by.
#[derive(Clone, Debug)]
pub struct VocabularyBuilder {
    minimum_count: usize,
    maximum_size: usize,
    special: Vec<String>,
    stored: Stored,
}

impl VocabularyBuilder {
    /// Tokens that are seen less often are left out.
    pub fn minimum_count(mut self, count: usize) -> Self {
        self.minimum_count = count;
        self
    }

    /// The most tokens, special ones among them; the rarest are left out.
    pub fn maximum_size(mut self, size: usize) -> Self {
        self.maximum_size = size;
        self
    }

    /// Whether case is ignored.
    pub fn lowercase(mut self, lowercase: bool) -> Self {
        self.stored.lowercase = lowercase;
        self
    }

    /// Tokens that come first, in this order, whether a text has them or not: for padding, the
    /// unknown, beginning and end.
    pub fn special<S: AsRef<str>>(mut self, tokens: &[S]) -> Self {
        self.special = tokens.iter().map(|token| token.as_ref().to_owned()).collect();
        self
    }

    /// The special token that stands for all that are not in the vocabulary.
    pub fn unknown(mut self, token: impl Into<String>) -> Self {
        self.stored.unknown = Some(token.into());
        self
    }

    /// The vocabulary of `texts`: special tokens, then the others from the most frequent to the
    /// rarest, those that are equally frequent in the order of their letters.
    ///
    /// # Errors
    /// Where there is no token, a special one is there twice, or the unknown is not special.
    pub fn fit<S: AsRef<str>>(self, texts: impl IntoIterator<Item = S>) -> Result<Vocabulary> {
        let Self { minimum_count, maximum_size, special, mut stored } = self;
        let mut counts: HashMap<String, usize> = HashMap::new();
        for text in texts {
            for token in stored.tokens_of(text.as_ref()) {
                *counts.entry(token).or_default() += 1;
            }
        }
        counts.retain(|token, count| *count >= minimum_count && !special.contains(token));
        let mut tokens: Vec<(String, usize)> = counts.into_iter().collect();
        tokens.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        tokens.truncate(maximum_size.saturating_sub(special.len()));
        stored.tokens = special.into_iter().chain(tokens.into_iter().map(|(t, _)| t)).collect();
        stored.try_into()
    }

    /// The vocabulary of special tokens and `tokens`, in the given order.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fixed<S: AsRef<str>>(mut self, tokens: &[S]) -> Result<Vocabulary> {
        let tokens = tokens.iter().map(|token| token.as_ref().to_owned());
        self.stored.tokens = self.special.into_iter().chain(tokens).collect();
        self.stored.try_into()
    }
}
