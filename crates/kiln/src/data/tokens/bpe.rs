//! Byte-pair encoding of bytes: any text, in fact any bytes, and no unknown token.
//!
//! Source: Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with Subword Units", algorithm 1;
//! on bytes as in Radford et al. 2019 (GPT-2).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::fmt::Write;
use std::path::Path;

use super::marks::is_mark;
use crate::data::files::{malformed_line, text_of};
use crate::error::At;
use crate::{Error, Result, store};

type Pair = (i32, i32);

/// A byte-level tokenizer. Tokens 0 to 255 are the bytes; token 256 + i is the i-th merge.
///
/// Text is first cut into pieces ([`pieces`]), and merges do not reach over their borders.
///
/// ```
/// # use kiln::prelude::*;
/// let bpe = data::tokens::Bpe::train("low lower lowest low low", 260);
/// let tokens = bpe.encode("lower");
/// assert!(tokens.len() < 5);
/// assert_eq!(bpe.decode(&tokens)?, b"lower");
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Bpe {
    /// What each merge joins.
    merges: Vec<Pair>,
    /// The merge of a pair.
    ranks: HashMap<Pair, i32>,
    /// How long each token is, in bytes.
    lengths: Vec<usize>,
}

const HEADER: &str = "# kiln byte-pair merges, version 1";
/// No token is longer: a file could double the length with every merge.
const LONGEST: usize = 1 << 16;

impl Bpe {
    /// Learns merges from `text` until there are `vocab` tokens or no pair occurs twice. Each merge is the most frequent
    /// pair; of several, the one with the smaller first token, then the smaller second one.
    pub fn train(text: impl AsRef<[u8]>, vocab: usize) -> Self {
        let mut bpe = Self::bytes();
        let mut counts: BTreeMap<&[u8], i64> = BTreeMap::new();
        for piece in pieces(text.as_ref()) {
            *counts.entry(piece).or_default() += 1;
        }
        let mut words: Vec<(Vec<i32>, i64)> = counts.into_iter().map(|(word, n)| (bytes_as_tokens(word), n)).collect();
        let mut pairs = Pairs::default();
        for (index, (word, n)) in words.iter().enumerate() {
            word.windows(2).for_each(|pair| pairs.add((pair[0], pair[1]), index, *n));
        }
        while bpe.vocab_size() < vocab {
            let Some(best) = pairs.most_frequent(|pair| bpe.length(pair) <= LONGEST) else { break };
            let token = bpe.push(best);
            for index in pairs.words_with(best) {
                let (word, n) = &mut words[index];
                word.windows(2).for_each(|pair| pairs.add((pair[0], pair[1]), index, -*n));
                *word = merged(word, best, token);
                word.windows(2).for_each(|pair| pairs.add((pair[0], pair[1]), index, *n));
            }
        }
        bpe
    }

    /// The bytes as tokens, without merges.
    pub(super) fn bytes() -> Self {
        Self { merges: Vec::new(), ranks: HashMap::new(), lengths: vec![1; 256] }
    }

    /// Adds a merge of known tokens and gives its token, unless it is known already or the token would be too long.
    pub(super) fn add(&mut self, pair: Pair) -> Option<i32> {
        (!self.ranks.contains_key(&pair) && self.length(pair) <= LONGEST).then(|| self.push(pair))
    }

    fn length(&self, (a, b): Pair) -> usize {
        self.lengths[a as usize] + self.lengths[b as usize]
    }

    fn push(&mut self, pair: Pair) -> i32 {
        let token = self.vocab_size() as i32;
        self.lengths.push(self.length(pair));
        self.merges.push(pair);
        self.ranks.insert(pair, token);
        token
    }

    /// The number of tokens.
    pub fn vocab_size(&self) -> usize {
        256 + self.merges.len()
    }

    /// What each merge joins, in the order of the tokens from 256 on.
    pub fn merges(&self) -> &[(i32, i32)] {
        &self.merges
    }

    /// The tokens of text or bytes: in each piece, the earliest merges first.
    pub fn encode(&self, text: impl AsRef<[u8]>) -> Vec<i32> {
        let mut known: HashMap<&[u8], Vec<i32>> = HashMap::new();
        let mut tokens = Vec::new();
        for piece in pieces(text.as_ref()) {
            tokens.extend_from_slice(known.entry(piece).or_insert_with(|| self.encode_piece(piece)));
        }
        tokens
    }

    /// Merges by rank, then from left to right, over a linked list: n log n for a piece of n bytes.
    fn encode_piece(&self, piece: &[u8]) -> Vec<i32> {
        let mut tokens = bytes_as_tokens(piece);
        let end = tokens.len();
        let (mut next, mut last): (Vec<usize>, Vec<usize>) =
            ((1..=end).collect(), (0..end).map(|i| i.wrapping_sub(1)).collect());
        const GONE: i32 = -1;
        let rank = |tokens: &[i32], a: usize, b: usize| self.ranks.get(&(tokens[a], tokens[b])).copied();
        let mut heap: BinaryHeap<Reverse<(i32, usize)>> =
            (1..end).filter_map(|b| rank(&tokens, b - 1, b).map(|token| Reverse((token, b - 1)))).collect();
        while let Some(Reverse((token, a))) = heap.pop() {
            let b = next[a];
            // Neighbours may have changed since the pair was noted.
            if tokens[a] == GONE || b >= end || rank(&tokens, a, b) != Some(token) {
                continue;
            }
            tokens[a] = token;
            tokens[b] = GONE;
            next[a] = next[b];
            if next[a] < end {
                last[next[a]] = a;
                heap.extend(rank(&tokens, a, next[a]).map(|token| Reverse((token, a))));
            }
            if last[a] < end {
                heap.extend(rank(&tokens, last[a], a).map(|token| Reverse((token, last[a]))));
            }
        }
        tokens.retain(|&token| token != GONE);
        tokens
    }

    /// The bytes of tokens. They are UTF-8 where the tokens are those of a whole text.
    ///
    /// # Errors
    /// [`Error::Argument`] for a number that is no token.
    #[track_caller]
    pub fn decode(&self, tokens: &[i32]) -> Result<Vec<u8>> {
        let at = At::here();
        let mut bytes = Vec::new();
        for &token in tokens {
            if !(0..self.vocab_size() as i32).contains(&token) {
                let (value, why) = (token.to_string(), "numbers under vocab_size");
                return Err(Error::Argument { op: "Bpe::decode", name: "tokens", value, why, at });
            }
            // Parts still to be written, the next one last.
            let mut parts = vec![token];
            while let Some(token) = parts.pop() {
                match usize::try_from(token - 256) {
                    Ok(merge) => parts.extend([self.merges[merge].1, self.merges[merge].0]),
                    Err(_) => bytes.push(token as u8),
                }
            }
        }
        Ok(bytes)
    }

    /// Writes the merges as text, one a line: the two tokens that it joins.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written; an old file stays then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut text = format!("{HEADER}\n");
        for (a, b) in &self.merges {
            let _ = writeln!(text, "{a} {b}"); // to a String: cannot fail
        }
        store::write_atomically(path, &[text.as_bytes()])
    }

    /// Reads what [`save`](Bpe::save) has written.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Malformed`] with the line of what is no merge of earlier tokens.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::parse(&text_of(path.as_ref())?, path)
    }

    /// The tokenizer in the text of a file; errors call it `name`.
    ///
    /// # Errors
    /// As for [`load`](Bpe::load), from its content.
    pub fn parse(text: &str, name: impl AsRef<Path>) -> Result<Self> {
        let bad = |line: usize, expected: &str, found: &str| {
            Err(malformed_line(name.as_ref(), line as u64 + 1, expected, format!("{found:?}")))
        };
        let mut bpe = Self::bytes();
        let mut lines = text.lines().enumerate();
        match lines.next() {
            Some((_, HEADER)) => {}
            other => return bad(0, HEADER, other.map_or("nothing", |(_, line)| line)),
        }
        for (number, line) in lines {
            let known = |token: &str| token.parse().ok().filter(|token| (0..bpe.vocab_size() as i32).contains(token));
            let pair = line.split_once(' ').and_then(|(a, b)| known(a).zip(known(b)));
            match pair {
                Some(pair) if bpe.ranks.contains_key(&pair) => return bad(number, "a merge of its own", line),
                Some(pair) if bpe.length(pair) > LONGEST => {
                    return bad(number, "a token of at most 65,536 bytes", line);
                }
                Some(pair) => drop(bpe.push(pair)),
                None => return bad(number, "two earlier tokens", line),
            }
        }
        Ok(bpe)
    }
}

fn bytes_as_tokens(bytes: &[u8]) -> Vec<i32> {
    bytes.iter().map(|&b| i32::from(b)).collect()
}

/// `word` with every `pair` in it, from the left, replaced by `token`.
fn merged(word: &[i32], pair: Pair, token: i32) -> Vec<i32> {
    let (mut out, mut at) = (Vec::with_capacity(word.len()), 0);
    while at < word.len() {
        let found = word.get(at + 1).is_some_and(|&b| (word[at], b) == pair);
        out.push(if found { token } else { word[at] });
        at += 1 + usize::from(found);
    }
    out
}

/// How often each pair occurs, where, and which is the most frequent.
#[derive(Default)]
struct Pairs {
    counts: HashMap<Pair, i64>,
    words: HashMap<Pair, BTreeSet<usize>>,
    /// Counts as they were when noted; an old one is put right when it comes up.
    heap: BinaryHeap<(i64, Reverse<Pair>)>,
}

impl Pairs {
    fn add(&mut self, pair: Pair, word: usize, n: i64) {
        let count = self.counts.entry(pair).or_default();
        *count += n;
        if n > 0 {
            self.words.entry(pair).or_default().insert(word);
            self.heap.push((*count, Reverse(pair)));
        }
    }

    /// The most frequent of those that occur at least twice and may be joined.
    fn most_frequent(&mut self, may: impl Fn(Pair) -> bool) -> Option<Pair> {
        while let Some((noted, Reverse(pair))) = self.heap.pop() {
            let count = self.counts.get(&pair).copied().unwrap_or(0);
            if noted != count {
                // Counts that grew were noted again; one that shrank is noted now.
                if count > 0 && noted > count {
                    self.heap.push((count, Reverse(pair)));
                }
            } else if count >= 2 && may(pair) {
                return Some(pair);
            }
        }
        None
    }

    fn words_with(&mut self, pair: Pair) -> BTreeSet<usize> {
        self.words.remove(&pair).unwrap_or_default()
    }
}

/// What a character is to [`pieces`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Space,
    Other,
}

/// The pieces that merges stay within, by GPT-2's rule
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`: contractions, letters, numbers and other
/// characters with the space in front of them, and other white space. A byte that is not UTF-8 is an other character.
/// Joined, the pieces are the text.
pub fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(first_piece(rest));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The class and the length of the first character.
fn first_char(text: &[u8]) -> Option<(Class, usize)> {
    let head = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    Some(match valid.chars().next() {
        None if text.is_empty() => return None,
        None => (Class::Other, 1),
        Some(c) if c.is_whitespace() => (Class::Space, c.len_utf8()),
        // Roman numerals are alphabetic too
        Some(c) if c.is_numeric() => (Class::Number, c.len_utf8()),
        Some(c) if c.is_alphabetic() && !is_mark(c) => (Class::Letter, c.len_utf8()),
        Some(c) => (Class::Other, c.len_utf8()),
    })
}

fn first_piece(text: &[u8]) -> usize {
    let contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
    if let Some(found) = contractions.iter().find(|c| text.starts_with(c.as_bytes())) {
        return found.len();
    }
    // Characters of one class from `at` on: their end, and where the last of them begins.
    let run = |class: Class, mut at: usize| {
        let mut last = at;
        while let Some((_, n)) = first_char(&text[at..]).filter(|(other, _)| *other == class) {
            (last, at) = (at, at + n);
        }
        (at, last)
    };
    let space = usize::from(text.starts_with(b" "));
    match first_char(&text[space..]) {
        Some((class, _)) if class != Class::Space => run(class, space).0,
        _ => match run(Class::Space, 0) {
            // The last white space before something else is left to it, if there is more than one.
            (end, last) if end < text.len() && last > 0 => last,
            (end, _) => end,
        },
    }
}
