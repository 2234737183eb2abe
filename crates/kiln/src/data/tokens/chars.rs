//! One token for each character.

use std::collections::BTreeSet;

use crate::error::At;
use crate::{Error, Result};

/// The characters of a text, numbered in the order of Unicode.
///
/// ```
/// # use kiln::prelude::*;
/// let chars = data::tokens::Chars::new("hello");
/// assert_eq!(chars.encode("hole")?, [1, 3, 2, 0]);       // e h l o
/// assert_eq!(chars.decode(&[1, 3, 2, 0])?, "hole");
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chars {
    chars: Vec<char>,
}

impl Chars {
    /// The characters that occur in `text`.
    pub fn new(text: &str) -> Self {
        Self { chars: text.chars().collect::<BTreeSet<char>>().into_iter().collect() }
    }

    /// How many characters there are.
    pub fn vocab_size(&self) -> usize {
        self.chars.len()
    }

    /// The characters in the order of their tokens.
    pub fn chars(&self) -> &[char] {
        &self.chars
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// [`Error::Argument`] for a character that is not among the known ones.
    #[track_caller]
    pub fn encode(&self, text: &str) -> Result<Vec<i32>> {
        let at = At::here();
        let token = |(index, c): (usize, char)| {
            self.chars.binary_search(&c).map(|token| token as i32).map_err(|_| {
                let (value, why) = (format!("{c:?} at {index}"), "characters of the text the tokenizer was made of");
                Error::Argument { op: "Chars::encode", name: "text", value, why, at }
            })
        };
        text.char_indices().map(token).collect()
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// [`Error::Argument`] for a number that is no token.
    #[track_caller]
    pub fn decode(&self, tokens: &[i32]) -> Result<String> {
        let at = At::here();
        let char_of = |&token: &i32| {
            usize::try_from(token).ok().and_then(|token| self.chars.get(token).copied()).ok_or_else(|| {
                let (value, why) = (token.to_string(), "numbers under vocab_size");
                Error::Argument { op: "Chars::decode", name: "tokens", value, why, at }
            })
        };
        tokens.iter().map(char_of).collect()
    }
}
