//! The one kind of JSON that a vocabulary is: an object of texts and whole numbers.
//!
//! Source: RFC 8259, §2 to §7.

use std::path::Path;

use crate::data::files::malformed;
use crate::error::Place;
use crate::{Error, Result};

/// The names and numbers of an object such as `{"a": 1, "b": 2}`, in its order; errors call it `name`.
///
/// # Errors
/// [`Error::Malformed`] with the byte where something else stands, or a number that does not fit in 31 bits.
pub(super) fn numbers(text: &str, name: &Path) -> Result<Vec<(String, i32)>> {
    let mut json = Json { text, at: 0, name };
    let mut found = Vec::new();
    json.expect("{")?;
    if !json.comes("}") {
        loop {
            let key = json.string()?;
            json.expect(":")?;
            found.push((key, json.number()?));
            if !json.comes(",") {
                json.expect("}")?;
                break;
            }
        }
    }
    json.space();
    if json.rest().is_empty() { Ok(found) } else { Err(json.bad("the end")) }
}

struct Json<'a> {
    text: &'a str,
    at: usize,
    name: &'a Path,
}

impl Json<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn bad(&self, expected: &str) -> Error {
        let found = self.rest().chars().next().map_or("the end".to_string(), |c| format!("{c:?}"));
        malformed(self.name, Place::Byte(self.at as u64), expected, found)
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// Goes past `what`, if it comes next.
    fn comes(&mut self, what: &str) -> bool {
        self.space();
        let comes = self.rest().starts_with(what);
        self.at += if comes { what.len() } else { 0 };
        comes
    }

    fn expect(&mut self, what: &str) -> Result<()> {
        if self.comes(what) { Ok(()) } else { Err(self.bad(what)) }
    }

    fn number(&mut self) -> Result<i32> {
        self.space();
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let text = &self.rest()[..digits];
        match text.parse() {
            Ok(number) if digits == 1 || !text.starts_with('0') => {
                self.at += digits;
                Ok(number)
            }
            _ => Err(self.bad("a whole number under 2147483648")),
        }
    }

    fn string(&mut self) -> Result<String> {
        self.expect("\"")?;
        let mut out = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else { return Err(self.bad("a closing quote")) };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(out);
                }
                '\\' => out.push(self.escape()?),
                c if c < ' ' => return Err(self.bad("no control character in a string")),
                c => {
                    self.at += c.len_utf8();
                    out.push(c);
                }
            }
        }
    }

    /// What a backslash and what follows it stand for.
    fn escape(&mut self) -> Result<char> {
        let simple = self.rest()[1..].chars().next().and_then(|c| {
            let (known, means) = ("\"\\/bfnrt", ['"', '\\', '/', '\u{8}', '\u{c}', '\n', '\r', '\t']);
            known.find(c).map(|at| means[at])
        });
        if let Some(c) = simple {
            self.at += 2;
            return Ok(c);
        }
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
        };
        // characters past 65,535 are written as two units of UTF-16
        let units: Vec<u16> = [unit(self.at), unit(self.at + 6)].into_iter().map_while(|unit| unit).collect();
        match char::decode_utf16(units).next() {
            Some(Ok(c)) => {
                self.at += 6 * c.len_utf16();
                Ok(c)
            }
            _ => Err(self.bad("an escape of JSON")),
        }
    }
}
