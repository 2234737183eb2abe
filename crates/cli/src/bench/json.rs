//! JSON lines as `kiln bench` writes them: one flat object of texts, numbers and truth values a line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A member's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(f64),
    Bool(bool),
    Null,
}

/// An object under construction.
#[derive(Default)]
pub(crate) struct Object(String);

impl Object {
    fn name(&mut self, name: &str) -> &mut String {
        self.0.push_str(if self.0.is_empty() { "{" } else { ", " });
        quote(&mut self.0, name);
        self.0.push_str(": ");
        &mut self.0
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        quote(self.name(name), value);
        self
    }

    /// A number; JSON has none that are not finite, so those are `null`.
    pub(crate) fn number(&mut self, name: &str, value: f64) -> &mut Self {
        let out = self.name(name);
        if value.is_finite() {
            let _ = write!(out, "{value}");
        } else {
            out.push_str("null");
        }
        self
    }

    pub(crate) fn maybe(&mut self, name: &str, value: Option<f64>) -> &mut Self {
        self.number(name, value.unwrap_or(f64::NAN))
    }

    pub(crate) fn truth(&mut self, name: &str, value: bool) -> &mut Self {
        self.name(name).push_str(if value { "true" } else { "false" });
        self
    }

    /// The line.
    pub(crate) fn line(&self) -> String {
        if self.0.is_empty() { "{}".into() } else { format!("{}}}", self.0) }
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Reads one flat object; `None` for anything else.
pub(crate) fn read(line: &str) -> Option<BTreeMap<String, Value>> {
    let mut reader = Reader(line.trim());
    let mut members = BTreeMap::new();
    reader.take('{')?;
    if reader.take('}').is_none() {
        loop {
            let name = reader.string()?;
            reader.take(':')?;
            members.insert(name, reader.value()?);
            if reader.take(',').is_none() {
                reader.take('}')?;
                break;
            }
        }
    }
    reader.0.is_empty().then_some(members)
}

/// What is left of a line.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn take(&mut self, c: char) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(c)?.trim_start();
        Some(())
    }

    fn value(&mut self) -> Option<Value> {
        for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)] {
            if let Some(rest) = self.0.strip_prefix(word) {
                self.0 = rest.trim_start();
                return Some(value);
            }
        }
        if self.0.starts_with('"') {
            return self.string().map(Value::Text);
        }
        let end = self.0.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(self.0.len());
        let number: f64 = self.0[..end].parse().ok().filter(|n: &f64| n.is_finite())?;
        self.0 = self.0[end..].trim_start();
        Some(Value::Number(number))
    }

    fn string(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut chars = self.0.strip_prefix('"')?.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = self.0[at + 2..].trim_start();
                    return Some(out);
                }
                '\\' => match chars.next()?.1 {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    'u' => {
                        let code: Option<String> = (0..4).map(|_| chars.next().map(|(_, c)| c)).collect();
                        out.push(char::from_u32(u32::from_str_radix(&code?, 16).ok()?)?);
                    }
                    c @ ('"' | '\\' | '/') => out.push(c),
                    _ => return None,
                },
                c => out.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut object = Object::default();
        object.text("name", "a \"b\" \\ é\n\u{1}").number("x", -1.5e-9).maybe("none", None).truth("yes", true);
        let line = object.line();
        let members = read(&line);
        let want = [
            ("name", Value::Text("a \"b\" \\ é\n\u{1}".into())),
            ("none", Value::Null),
            ("x", Value::Number(-1.5e-9)),
            ("yes", Value::Bool(true)),
        ];
        assert_eq!(members, Some(want.map(|(name, value)| (name.to_owned(), value)).into()), "{line}");
        assert_eq!(read("{}"), Some(BTreeMap::new()));
    }

    #[test]
    fn anything_else_is_refused() {
        for line in
            ["", "{", "[1]", "{\"a\": }", "{\"a\": 1", "{\"a\": 1} x", "{\"a\": \"b}", "{\"a\": {}}", "{\"a\": nan}"]
        {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
