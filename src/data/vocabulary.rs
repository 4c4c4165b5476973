//! [`Vocabulary`]: maps the characters or words of a text to numbers and back.
//!
//! Text is normalised to Unicode's composed form (NFC) first, so that an accented letter is the same
//! token however it was typed. Characters are grapheme clusters. Words are split at Unicode's word
//! boundaries (UAX #29). Whatever else is between two words is a token too, except white space.
//!
//! Each token is then lowercased, if that is set, and normalised again. Every token that enters a vocabulary
//! or is looked up has this form: the tokens of a text, tokens that are given, special tokens and the unknown
//! one.
#![expect(clippy::indexing_slicing, reason = "token numbers are checked at the entrance")]

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use crate::error::{Error, Result, check_indices, check_size};

/// The unit into which a text is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// A character as a reader sees it: a grapheme cluster.
    Character,
    /// A word or a punctuation mark. White space separates tokens and is not one.
    Word,
    /// The text between two white spaces, whatever it is. For texts that are already divided into tokens.
    Whitespace,
}

impl Unit {
    /// Splits `text` into tokens.
    ///
    /// ```
    /// use recurrent::data::Unit;
    ///
    /// assert_eq!(Unit::Word.tokens("Don't stop, café!"), ["Don't", "stop", ",", "café", "!"]);
    /// assert_eq!(Unit::Whitespace.tokens("Don't stop, café!"), ["Don't", "stop,", "café!"]);
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
            Self::Whitespace => text.split_whitespace().map(str::to_owned).collect(),
        }
    }
}

/// A numbered list of tokens that encodes text as numbers and decodes it again.
///
/// The [module](self) describes how text is split.
///
/// ```
/// use recurrent::data::{Unit, Vocabulary};
///
/// let words = Vocabulary::builder(Unit::Word)
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
#[serde(deny_unknown_fields)]
struct Stored {
    unit: Unit,
    lowercase: bool,
    unknown: Option<String>,
    tokens: Vec<String>,
    /// The number of special tokens, which come first.
    #[serde(default)]
    special: usize,
}

impl From<Vocabulary> for Stored {
    fn from(vocabulary: Vocabulary) -> Self {
        vocabulary.stored
    }
}

impl TryFrom<Stored> for Vocabulary {
    type Error = Error;

    fn try_from(mut stored: Stored) -> Result<Self> {
        check_size("tokens", &[stored.tokens.len()])?;
        stored.tokens = stored.tokens.iter().map(|token| stored.normal(token)).collect();
        stored.unknown = stored.unknown.as_ref().map(|token| stored.normal(token));
        if stored.special > stored.tokens.len() {
            let expected = format!("at most {} (tokens)", stored.tokens.len());
            return Err(Error::argument("special", expected, stored.special));
        }
        let mut numbers = HashMap::new();
        for (number, token) in stored.tokens.iter().enumerate() {
            if numbers.insert(token.clone(), number).is_some() {
                return Err(Error::argument(format!("tokens[{number}]"), "a new token", token));
            }
        }
        let unknown = match &stored.unknown {
            None => None,
            Some(token) => Some(*numbers.get(token).ok_or_else(|| {
                Error::argument("unknown", "one of the tokens, such as a special one", token)
            })?),
        };
        Ok(Self { stored, numbers, unknown })
    }
}

impl Vocabulary {
    /// Returns a builder for a vocabulary of tokens of the given `unit`.
    pub fn builder(unit: Unit) -> VocabularyBuilder {
        VocabularyBuilder {
            min_count: 1,
            max_size: usize::MAX,
            special: Vec::new(),
            stored: Stored {
                unit,
                lowercase: false,
                unknown: None,
                tokens: Vec::new(),
                special: 0,
            },
        }
    }

    /// Returns the number of tokens.
    #[allow(clippy::len_without_is_empty, reason = "there is always a token")]
    pub fn len(&self) -> usize {
        self.stored.tokens.len()
    }

    /// Returns the tokens in the order of their numbers.
    pub fn tokens(&self) -> &[String] {
        &self.stored.tokens
    }

    /// Returns the special tokens. They have the first numbers.
    pub fn special(&self) -> &[String] {
        &self.stored.tokens[..self.stored.special]
    }

    /// Returns the number that replaces every token that is not in the vocabulary, if there is one.
    pub fn unknown(&self) -> Option<usize> {
        self.unknown
    }

    /// Returns the number of `token`, or `None` if the vocabulary does not contain it.
    ///
    /// ```
    /// use recurrent::data::{Unit, Vocabulary};
    ///
    /// let words = Vocabulary::builder(Unit::Word).lowercase(true).special(&["<PAD>"]).fit(["The dog"])?;
    /// assert_eq!(words.tokens(), ["<pad>", "dog", "the"]);
    /// assert_eq!((words.number("<PAD>"), words.number("The")), (Some(0), Some(2)));
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn number(&self, token: &str) -> Option<usize> {
        self.numbers.get(&self.stored.normal(token)).copied()
    }

    /// Encodes one text as the numbers of its tokens.
    ///
    /// # Errors
    /// If a token is not in the vocabulary and there is no [`unknown`](VocabularyBuilder::unknown)
    /// token.
    pub fn encode(&self, text: &str) -> Result<Vec<usize>> {
        self.numbers_of(self.stored.tokens_of(text), || "text".to_owned())
    }

    /// Encodes several texts.
    ///
    /// ```
    /// use recurrent::data::{Unit, Vocabulary};
    ///
    /// let words = Vocabulary::builder(Unit::Word).fit(["a b"])?;
    /// assert_eq!(words.encode_all(["b a", "b"])?, [vec![1, 0], vec![1]]);
    /// let error = words.encode_all(["a", "b c"]).unwrap_err();
    /// assert_eq!(error.to_string(), "texts[1]: expected tokens of the vocabulary, got c");
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`encode`](Self::encode); the error names the text.
    pub fn encode_all<S: AsRef<str>>(
        &self,
        texts: impl IntoIterator<Item = S>,
    ) -> Result<Vec<Vec<usize>>> {
        let encode = |(i, text): (usize, S)| {
            self.numbers_of(self.stored.tokens_of(text.as_ref()), || format!("texts[{i}]"))
        };
        texts.into_iter().enumerate().map(encode).collect()
    }

    /// Encodes a text that is already split into `tokens`.
    ///
    /// The tokens are normalised, and lowercased if the vocabulary is, but not split further.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); the error names the token's place.
    pub fn encode_tokens<S: AsRef<str>>(&self, tokens: &[S]) -> Result<Vec<usize>> {
        let number = |(i, token): (usize, &S)| {
            self.number_of(self.stored.normal(token.as_ref()), || format!("tokens[{i}]"))
        };
        tokens.iter().enumerate().map(number).collect()
    }

    /// Encodes the characters of each of `words` by this vocabulary of characters.
    ///
    /// ```
    /// use recurrent::data::{Unit, Vocabulary};
    ///
    /// let letters = Vocabulary::builder(Unit::Character).special(&["?"]).unknown("?").fit(["abc"])?;
    /// assert_eq!(letters.characters(&["ab", "", "dc"])?, [vec![1, 2], vec![], vec![0, 3]]);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If this is no vocabulary of characters, or a character is not in it and there is no
    /// [`unknown`](VocabularyBuilder::unknown) token; the error names the word.
    pub fn characters<S: AsRef<str>>(&self, words: &[S]) -> Result<Vec<Vec<usize>>> {
        if self.stored.unit != Unit::Character {
            let got = format!("{:?}", self.stored.unit);
            return Err(Error::argument("vocabulary", "a vocabulary of characters", got));
        }
        let of = |(t, word): (usize, &S)| {
            self.numbers_of(self.stored.tokens_of(word.as_ref()), || format!("words[{t}]"))
        };
        words.iter().enumerate().map(of).collect()
    }

    /// Returns the unit into which texts are split.
    pub fn unit(&self) -> Unit {
        self.stored.unit
    }

    /// Splits `text` into tokens as [`encode`](Self::encode) does.
    ///
    /// ```
    /// use recurrent::data::{Unit, Vocabulary};
    ///
    /// let words = Vocabulary::builder(Unit::Word).lowercase(true).fit(["A dog"])?;
    /// assert_eq!(words.split("A DOG ran."), ["a", "dog", "ran", "."]);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn split(&self, text: &str) -> Vec<String> {
        self.stored.tokens_of(text)
    }

    /// Decodes `numbers` into a text. Words are joined by spaces, characters by nothing.
    ///
    /// # Errors
    /// If a number is not less than [`len`](Self::len).
    pub fn decode(&self, numbers: &[usize]) -> Result<String> {
        check_indices("numbers", numbers, self.len(), "vocabulary_size")?;
        let tokens: Vec<&str> = numbers.iter().map(|&n| self.stored.tokens[n].as_str()).collect();
        Ok(tokens.join(if self.stored.unit == Unit::Character { "" } else { " " }))
    }

    fn numbers_of(&self, tokens: Vec<String>, argument: impl Fn() -> String) -> Result<Vec<usize>> {
        tokens.into_iter().map(|token| self.number_of(token, &argument)).collect()
    }

    /// Returns the number of a token in normal form.
    fn number_of(&self, token: String, argument: impl Fn() -> String) -> Result<usize> {
        let number = self.numbers.get(&token).copied().or(self.unknown);
        number.ok_or_else(|| Error::argument(argument(), "tokens of the vocabulary", token))
    }
}

impl Stored {
    /// Returns the form in which `token` is stored and looked up.
    fn normal(&self, token: &str) -> String {
        let token: String = token.nfc().collect();
        // Lowercase letters may compose where capitals do not.
        if self.lowercase { token.to_lowercase().nfc().collect() } else { token }
    }

    /// Splits `text` into tokens in normal form. The case of a letter at the end of a token must not depend
    /// on the text that follows, as that of Σ does.
    fn tokens_of(&self, text: &str) -> Vec<String> {
        self.unit.tokens(text).iter().map(|token| self.normal(token)).collect()
    }
}

/// A builder of a [`Vocabulary`]; made by [`Vocabulary::builder`].
#[derive(Clone, Debug)]
pub struct VocabularyBuilder {
    min_count: usize,
    max_size: usize,
    special: Vec<String>,
    stored: Stored,
}

impl VocabularyBuilder {
    /// Leaves out tokens that occur fewer than `count` times. Default: 1.
    pub fn min_count(mut self, count: usize) -> Self {
        self.min_count = count;
        self
    }

    /// Limits the size of the vocabulary, special tokens included. The rarest tokens are left out.
    /// Default: no limit.
    pub fn max_size(mut self, size: usize) -> Self {
        self.max_size = size;
        self
    }

    /// Sets whether tokens are lowercased, special ones included. Default: false.
    pub fn lowercase(mut self, lowercase: bool) -> Self {
        self.stored.lowercase = lowercase;
        self
    }

    /// Sets tokens that get the first numbers, in this order, whether or not a text contains them.
    /// They stand for padding, for unknown tokens, or for the start and end of a text.
    pub fn special<S: AsRef<str>>(mut self, tokens: &[S]) -> Self {
        self.special = tokens.iter().map(|token| token.as_ref().to_owned()).collect();
        self
    }

    /// Sets the token that replaces every token that is not in the vocabulary. It must be one of the
    /// special tokens.
    pub fn unknown(mut self, token: impl Into<String>) -> Self {
        self.stored.unknown = Some(token.into());
        self
    }

    /// Builds the vocabulary of `texts`: the special tokens, then the others by falling frequency.
    /// Tokens that are equally frequent are sorted alphabetically.
    ///
    /// # Errors
    /// If there is no token, a special token is repeated, the unknown token is not special, or
    /// [`max_size`](Self::max_size) leaves no room for the special tokens.
    pub fn fit<S: AsRef<str>>(self, texts: impl IntoIterator<Item = S>) -> Result<Vocabulary> {
        let mut counts = HashMap::new();
        for text in texts {
            for token in self.stored.tokens_of(text.as_ref()) {
                *counts.entry(token).or_default() += 1;
            }
        }
        self.fit_counts(counts)
    }

    /// Builds the vocabulary of `texts` that are already split into tokens, as [`fit`](Self::fit) does.
    /// The tokens are normalised but not split further.
    ///
    /// ```
    /// use recurrent::data::{Unit, Vocabulary};
    ///
    /// let texts = [vec!["New York", "is", "large"], vec!["Is", "it?"]];
    /// let words = Vocabulary::builder(Unit::Word).lowercase(true).fit_tokens(&texts)?;
    /// assert_eq!(words.tokens(), ["is", "it?", "large", "new york"]);
    /// assert_eq!(words.encode_tokens(&["It?", "is"])?, [1, 0]);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fit_tokens<S: AsRef<str>, L: AsRef<[S]>>(
        self,
        texts: impl IntoIterator<Item = L>,
    ) -> Result<Vocabulary> {
        let mut counts = HashMap::new();
        for text in texts {
            for token in text.as_ref() {
                *counts.entry(self.stored.normal(token.as_ref())).or_default() += 1;
            }
        }
        self.fit_counts(counts)
    }

    /// Builds the vocabulary of tokens in normal form that occur the given numbers of times.
    fn fit_counts(self, mut counts: HashMap<String, usize>) -> Result<Vocabulary> {
        let Self { min_count, max_size, special, mut stored } = self;
        let special: Vec<String> = special.iter().map(|token| stored.normal(token)).collect();
        if max_size < special.len() {
            let expected = format!("at least {} (special tokens)", special.len());
            return Err(Error::argument("max_size", expected, max_size));
        }
        counts.retain(|token, count| *count >= min_count && !special.contains(token));
        let mut tokens: Vec<(String, usize)> = counts.into_iter().collect();
        tokens.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        tokens.truncate(max_size - special.len());
        stored.special = special.len();
        stored.tokens = special.into_iter().chain(tokens.into_iter().map(|(t, _)| t)).collect();
        stored.try_into()
    }

    /// Builds the vocabulary of the special tokens and `tokens`, in the given order.
    ///
    /// # Errors
    /// If there is no token, a token is repeated, or the unknown token is not among them.
    pub fn fixed<S: AsRef<str>>(mut self, tokens: &[S]) -> Result<Vocabulary> {
        let tokens = tokens.iter().map(|token| token.as_ref().to_owned());
        self.stored.special = self.special.len();
        self.stored.tokens = self.special.into_iter().chain(tokens).collect();
        self.stored.try_into()
    }
}
