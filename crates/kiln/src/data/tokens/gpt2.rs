//! GPT-2's own vocabulary: the files `vocab.json` and `merges.txt` that are published with its weights.
//!
//! In both, a byte is a character: itself where it can be seen, else one from U+0100 on (a space is `Ġ`). `merges.txt`
//! has two tokens a line, the first merge first; `vocab.json` the number of each token.
//!
//! Source: OpenAI 2019, `encoder.py` of GPT-2.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::bpe::Bpe;
use super::json;
use crate::data::files::{malformed, malformed_line, text_of};
use crate::error::{At, Place};
use crate::{Error, Result};

/// The tokenizer of GPT-2 and of the models that took it over, with their numbers of tokens.
///
/// Text is cut into pieces by GPT-2's pattern ([`pieces`](super::pieces)). What is neither byte nor merge, such as
/// `<|endoftext|>`, has a number ([`special`](Gpt2Bpe::special)), but no text becomes it.
///
/// ```no_run
/// # use kiln::prelude::*;
/// let tokens = data::tokens::Gpt2Bpe::read("gpt2/vocab.json", "gpt2/merges.txt")?;
/// assert_eq!(tokens.encode("Hello world"), [15496, 995]);
/// assert_eq!(tokens.decode(&[15496, 995])?, b"Hello world");
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Gpt2Bpe {
    bpe: Bpe,
    /// The number of each token of `bpe`.
    numbers: Vec<i32>,
    /// The token of `bpe` of each number.
    tokens: HashMap<i32, i32>,
    special: BTreeMap<String, i32>,
    /// One more than the largest number.
    size: usize,
}

impl Gpt2Bpe {
    /// Reads the two files.
    ///
    /// # Errors
    /// [`Error::File`] if one cannot be read; [`Error::Malformed`] with the byte of what is no vocabulary, the line of
    /// what is no merge of earlier tokens into one of the vocabulary, or a byte that has no token.
    pub fn read(vocab: impl AsRef<Path>, merges: impl AsRef<Path>) -> Result<Self> {
        Self::parse((&text_of(vocab.as_ref())?, vocab.as_ref()), (&text_of(merges.as_ref())?, merges.as_ref()))
    }

    /// The tokenizer in the texts of the two files, each with the name that errors call it by.
    ///
    /// # Errors
    /// As for [`read`](Gpt2Bpe::read), from their content.
    pub fn parse(vocab: (&str, &Path), merges: (&str, &Path)) -> Result<Self> {
        let (list, whole) = (json::numbers(vocab.0, vocab.1)?, |expected: &str, found: String| {
            malformed(vocab.1, Place::Whole, expected, found)
        });
        let count = list.len();
        let size = list.iter().map(|(_, number)| *number as usize + 1).max().unwrap_or(0);
        let mut names: HashMap<String, i32> = list.into_iter().collect();
        let distinct: std::collections::HashSet<i32> = names.values().copied().collect();
        if distinct.len() != count {
            return Err(whole("tokens and numbers that occur once", format!("{} of {count}", distinct.len())));
        }
        let mut bpe = Bpe::bytes();
        let mut known: HashMap<String, i32> = HashMap::new(); // from what it is called
        let mut numbers = Vec::new();
        for (byte, c) in byte_names().into_iter().enumerate() {
            let Some(number) = names.remove(&c.to_string()) else {
                return Err(whole("a token for each byte", format!("none for {byte:#04x}, {c:?}")));
            };
            known.insert(c.to_string(), byte as i32);
            numbers.push(number);
        }
        for (at, line) in merges.0.lines().enumerate().filter(|(at, line)| *at > 0 || !line.starts_with("#version")) {
            let bad = |expected| Err(malformed_line(merges.1, at as u64 + 1, expected, format!("{line:?}")));
            let parts = line.split_once(' ');
            let Some((a, b)) = parts.and_then(|(a, b)| known.get(a).copied().zip(known.get(b).copied())) else {
                return bad("two earlier tokens");
            };
            let name = line.replacen(' ', "", 1);
            let Some(number) = names.remove(&name) else { return bad("a new token of the vocabulary") };
            let Some(token) = bpe.add((a, b)) else { return bad("a merge of its own, of at most 65,536 bytes") };
            known.insert(name, token);
            numbers.push(number);
        }
        let tokens = numbers.iter().zip(0..).map(|(&number, token)| (number, token)).collect();
        Ok(Self { bpe, numbers, tokens, special: names.into_iter().collect(), size })
    }

    /// One more than the largest number: the rows of a model's table.
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The number of what is neither byte nor merge: `<|endoftext|>`.
    pub fn special(&self, name: &str) -> Option<i32> {
        self.special.get(name).copied()
    }

    /// The numbers of text or bytes.
    pub fn encode(&self, text: impl AsRef<[u8]>) -> Vec<i32> {
        self.bpe.encode(text).into_iter().map(|token| self.numbers[token as usize]).collect()
    }

    /// The bytes of numbers, and the names of special ones. They are UTF-8 where the numbers are those of a whole text.
    ///
    /// # Errors
    /// [`Error::Argument`] for a number that is no token's.
    #[track_caller]
    pub fn decode(&self, numbers: &[i32]) -> Result<Vec<u8>> {
        let at = At::here();
        let mut bytes = Vec::new();
        for number in numbers {
            if let Some(&token) = self.tokens.get(number) {
                bytes.extend(self.bpe.decode(&[token])?);
            } else if let Some((name, _)) = self.special.iter().find(|(_, special)| *special == number) {
                bytes.extend(name.as_bytes());
            } else {
                let (value, why) = (number.to_string(), "numbers of the vocabulary");
                return Err(Error::Argument { op: "Gpt2Bpe::decode", name: "numbers", value, why, at });
            }
        }
        Ok(bytes)
    }
}

/// The character that stands for each byte.
fn byte_names() -> [char; 256] {
    let mut next = 0x100u32;
    std::array::from_fn(|byte| match byte as u8 {
        seen @ (b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) => char::from(seen),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap_or_default()
        }
    })
}
