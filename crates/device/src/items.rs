//! WGSL text cut into its module-scope declarations, so that a kernel can be specialised by name instead of by
//! searching text. This is not a parser: naga parses the result, and reports what is wrong with it.

use std::ops::Range;

/// What kind of declaration an item is, as far as specialisation cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `enable`, `requires`, `diagnostic`.
    Directive,
    Const,
    Alias,
    Struct,
    /// A storage buffer.
    Storage,
    /// `var<immediate>`.
    Immediate,
    /// Any other module-scope variable.
    Var,
    Fn,
    /// A function with an entry-point attribute.
    Entry,
    /// `const_assert`, `override`, stray semicolons.
    Other,
}

/// One module-scope declaration.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Comments and space before the declaration.
    pub(crate) lead: String,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Word,
    Number,
    Mark(u8),
    Comment,
}

/// The tokens of `text` with their places; white space is skipped.
fn tokens(text: &str) -> Vec<(Token, Range<usize>)> {
    let bytes = text.as_bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let b = bytes[at];
        let token = if b.is_ascii_whitespace() {
            at += 1;
            continue;
        } else if bytes[at..].starts_with(b"//") {
            at = text[at..].find('\n').map_or(bytes.len(), |n| at + n);
            Token::Comment
        } else if bytes[at..].starts_with(b"/*") {
            at = block_comment_end(bytes, at);
            Token::Comment
        } else if b.is_ascii_digit() || (b == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)) {
            // A sign inside a number follows an exponent: 1e-5, 0x1p+3.
            let hex = bytes[at..].starts_with(b"0x") || bytes[at..].starts_with(b"0X");
            while at < bytes.len() {
                let exponent = if hex { b"pP" } else { b"eE" };
                let sign = matches!(bytes[at], b'+' | b'-') && exponent.contains(&bytes[at - usize::from(at > start)]);
                if !(word(bytes[at]) || bytes[at] == b'.' || sign) {
                    break;
                }
                at += 1;
            }
            Token::Number
        } else if word(b) {
            while at < bytes.len() && word(bytes[at]) {
                at += 1;
            }
            Token::Word
        } else {
            at += 1;
            Token::Mark(b)
        };
        out.push((token, start..at));
    }
    out
}

/// Where the block comment that begins at `at` ends; WGSL nests them.
fn block_comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The declarations of `text`, in order. Text after the last one is dropped (comments).
pub(crate) fn parse(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let (mut depth, mut end_of_last, mut first) = (0i32, 0, None);
    let mut current: Vec<(Token, Range<usize>)> = Vec::new();
    for (token, span) in tokens(text) {
        if token == Token::Comment {
            continue;
        }
        let start = *first.get_or_insert(span.start);
        match token {
            Token::Mark(b'{' | b'(' | b'[') => depth += 1,
            Token::Mark(b'}' | b')' | b']') => depth -= 1,
            _ => {}
        }
        let end = span.end;
        current.push((token, span));
        if depth <= 0 && matches!(token, Token::Mark(b';' | b'}')) {
            let (kind, name) = classify(text, &current);
            let (lead, body) = (text[end_of_last..start].to_string(), text[start..end].to_string());
            items.push(Item { kind, name, lead, text: body });
            (depth, end_of_last, first) = (0, end, None);
            current.clear();
        }
    }
    if let Some(start) = first {
        // An unfinished declaration: naga will say what it lacks.
        let (lead, body) = (text[end_of_last..start].to_string(), text[start..].to_string());
        items.push(Item { kind: Kind::Other, name: String::new(), lead, text: body });
    }
    items
}

/// Kind and name of a declaration, from its tokens.
fn classify(text: &str, tokens: &[(Token, Range<usize>)]) -> (Kind, String) {
    let word = |i: usize| tokens.get(i).map_or("", |(_, span)| &text[span.clone()]);
    let mark = |i: usize, b: u8| tokens.get(i).is_some_and(|(token, _)| *token == Token::Mark(b));
    let (mut i, mut entry) = (0, false);
    while mark(i, b'@') {
        entry |= matches!(word(i + 1), "compute" | "vertex" | "fragment");
        i += 2;
        if mark(i, b'(') {
            let mut depth = 0;
            while i < tokens.len() {
                depth += i32::from(mark(i, b'(')) - i32::from(mark(i, b')'));
                i += 1;
                if depth == 0 {
                    break;
                }
            }
        }
    }
    let named = |kind, at| (kind, word(at).to_string());
    match word(i) {
        "enable" | "requires" | "diagnostic" => (Kind::Directive, String::new()),
        "const" => named(Kind::Const, i + 1),
        "alias" => named(Kind::Alias, i + 1),
        "struct" => named(Kind::Struct, i + 1),
        "fn" if entry => named(Kind::Entry, i + 1),
        "fn" => named(Kind::Fn, i + 1),
        "var" if mark(i + 1, b'<') => {
            let kind = match word(i + 2) {
                "storage" => Kind::Storage,
                "immediate" => Kind::Immediate,
                _ => Kind::Var,
            };
            let close = (i..tokens.len()).find(|&at| mark(at, b'>')).unwrap_or(i);
            named(kind, close + 1)
        }
        "var" => named(Kind::Var, i + 1),
        _ => (Kind::Other, String::new()),
    }
}

impl Item {
    /// The names this declaration mentions: every word that does not follow a dot.
    pub(crate) fn mentions(&self) -> impl Iterator<Item = &str> {
        let mut after_dot = false;
        tokens(&self.text).into_iter().filter_map(move |(token, span)| {
            let member = std::mem::replace(&mut after_dot, token == Token::Mark(b'.'));
            (token == Token::Word && !member).then(|| &self.text[span])
        })
    }

    /// Replaces what stands between `=` and `;`.
    pub(crate) fn set_value(&mut self, value: &str) {
        let equals = self.find(b'=');
        let end = self.text.rfind(';').unwrap_or(self.text.len());
        if let Some(equals) = equals {
            self.text.replace_range(equals + 1..end, &format!(" {value}"));
        }
    }

    /// Replaces what stands between a function's braces.
    pub(crate) fn set_body(&mut self, body: &str) {
        if let (Some(open), Some(close)) = (self.find(b'{'), self.text.rfind('}')) {
            self.text.replace_range(open + 1..close, &format!("\n{}\n", body.trim_matches('\n')));
        }
    }

    /// Appends a field to a struct.
    pub(crate) fn add_field(&mut self, name: &str, ty: &str) {
        let Some(close) = self.text.rfind('}') else { return };
        let last = tokens(&self.text[..close]).into_iter().rfind(|(token, _)| *token != Token::Comment);
        let comma = match last {
            Some((Token::Mark(b'{' | b','), _)) | None => "",
            Some(_) => ",",
        };
        let at = last.map_or(close, |(_, span)| span.end);
        self.text.insert_str(at, &format!("{comma} {name}: {ty}"));
    }

    /// How many fields a struct has.
    pub(crate) fn fields(&self) -> usize {
        tokens(&self.text).iter().filter(|(token, _)| *token == Token::Mark(b':')).count()
    }

    /// The number in `@binding(..)`.
    pub(crate) fn binding(&self) -> Option<u32> {
        let (_, after) = self.text.split_once("@binding(")?;
        after.split_once(')')?.0.trim().trim_end_matches('u').parse().ok()
    }

    fn find(&self, mark: u8) -> Option<usize> {
        tokens(&self.text).into_iter().find(|(token, _)| *token == Token::Mark(mark)).map(|(_, span)| span.start)
    }
}

/// The text without comments and with single spaces: what tells kernels apart, and what naga gets, whose parsing
/// time grows with length. A comment that names the caller's line must not make another kernel.
pub(crate) fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (token, span) in tokens(text) {
        if token != Token::Comment {
            if from < span.start && !out.is_empty() {
                out.push(' ');
            }
            out.push_str(&text[span.clone()]);
            from = span.end;
        }
    }
    out
}
