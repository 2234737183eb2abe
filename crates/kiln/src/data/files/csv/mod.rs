//! Tables of text: fields between delimiters, one record a line, fields with delimiters or line ends in quotes.
//!
//! Source: RFC 4180; besides, blank lines are skipped, lines may end in LF alone, and a quote inside a field that does
//! not begin with one stands for itself.
//!
//! ```
//! # use kiln::prelude::*;
//! let table = data::files::csv::Csv::new().parse(b"x,kind\n1.5,cat\n2,dog\n", "pets.csv")?;
//! assert_eq!(table.numbers(&["x"])?, [1.5, 2.0]);
//! assert_eq!(table.classes("kind")?, (vec![0, 1], vec!["cat".into(), "dog".into()]));
//! # Ok::<(), Error>(())
//! ```

mod table;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::text::{LONGEST_LINE, Lines, at_line};
use super::{open, read_file};
use crate::{Error, Result};
pub use table::{Field, Missing, Table};

/// How a table is written. By default: commas, a header, missing values refused.
#[derive(Debug, Clone)]
pub struct Csv {
    delimiter: u8,
    header: bool,
    missing: Missing,
}

impl Default for Csv {
    fn default() -> Self {
        Self { delimiter: b',', header: true, missing: Missing::Refuse }
    }
}

impl Csv {
    /// Commas, a header, missing values refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the byte between fields: `b'\t'`, `b';'`.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Sets whether the first record has the names of the columns.
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }

    /// Sets what a number that is missing becomes: an empty field, `NA`, `NaN`, `null`, `?`, in any case.
    #[must_use]
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Reads a whole table.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Malformed`] with the line of a quote that does not end or a
    /// record with another number of fields than the first.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table> {
        self.parse(&read_file(path.as_ref())?, path)
    }

    /// The table in the bytes of a file; errors call it `name`.
    ///
    /// # Errors
    /// As for [`read`](Csv::read), from its content.
    pub fn parse(&self, bytes: &[u8], name: impl AsRef<Path>) -> Result<Table> {
        let mut records = self.records(bytes, name.as_ref())?;
        let mut table = Table {
            path: name.as_ref().to_path_buf(),
            names: records.names().to_vec(),
            width: 0,
            text: String::new(),
            ends: Vec::new(),
            lines: Vec::new(),
            missing: self.missing,
        };
        for record in &mut records {
            let record = record?;
            for field in &record.fields {
                table.text.push_str(field);
                table.ends.push(table.text.len());
            }
            table.lines.push(record.line);
        }
        table.width = records.width.unwrap_or(0);
        Ok(table)
    }

    /// The records of a file one after another, for tables larger than memory.
    ///
    /// # Errors
    /// As for [`read`](Csv::read); errors after the header come as the last item.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Records<BufReader<File>>> {
        self.records(BufReader::new(open(path.as_ref())?), path.as_ref())
    }

    fn records<R: BufRead>(&self, from: R, path: &Path) -> Result<Records<R>> {
        let mut records = Records {
            lines: Lines::new(from, path),
            path: path.to_path_buf(),
            delimiter: char::from(self.delimiter),
            names: Vec::new(),
            width: None,
            ended: false,
        };
        if !self.delimiter.is_ascii() || matches!(self.delimiter, b'"' | b'\n' | b'\r') {
            return Err(Error::Argument {
                op: "Csv",
                name: "delimiter",
                value: format!("{:?}", char::from(self.delimiter)),
                why: "an ASCII character that is no quote and no line end",
                at: crate::error::At::here(),
            });
        }
        if self.header {
            match records.next() {
                Some(header) => records.names = header?.fields,
                None => return Err(at_line(path, 1, "a header", "an empty file")),
            }
        }
        Ok(records)
    }
}

/// One record of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The line it begins on, from 1.
    pub line: u64,
    /// As many as in every other record.
    pub fields: Vec<String>,
}

/// The iterator of [`Csv::open`].
#[derive(Debug)]
pub struct Records<R> {
    lines: Lines<R>,
    path: PathBuf,
    delimiter: char,
    names: Vec<String>,
    width: Option<usize>,
    ended: bool,
}

impl<R: BufRead> Records<R> {
    /// The names in the header; none without one.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn read(&mut self) -> Result<Option<Record>> {
        let first = loop {
            match self.lines.next().transpose()? {
                None => return Ok(None),
                Some(line) if line.is_empty() => {}
                Some(line) => break line,
            }
        };
        let line = self.lines.line();
        let bad = |expected: &str, found: &str| at_line(&self.path, line, expected, found);
        let (mut fields, mut field, mut state) = (Vec::new(), String::new(), State::Start);
        let (mut text, mut length) = (first, 0);
        loop {
            for c in text.chars() {
                state = match (state, c) {
                    (State::Start, '"') => State::Quoted,
                    (State::Quoted, '"') => State::Closed,
                    (State::Quoted, c) => {
                        field.push(c);
                        State::Quoted
                    }
                    (State::Closed, '"') => {
                        field.push('"'); // two quotes are one
                        State::Quoted
                    }
                    (_, c) if c == self.delimiter => {
                        fields.push(std::mem::take(&mut field));
                        State::Start
                    }
                    (State::Closed, _) => {
                        return Err(bad("a delimiter after a closing quote", &format!("{c:?}")));
                    }
                    (State::Start | State::Plain, c) => {
                        field.push(c);
                        State::Plain
                    }
                };
            }
            if state != State::Quoted {
                break;
            }
            length += text.len() + 1;
            field.push('\n');
            text = match self.lines.next().transpose()? {
                Some(next) if length <= LONGEST_LINE => next,
                Some(_) => return Err(bad("a record of at most 16 MiB", "a longer one")),
                None => return Err(bad("a closing quote", "the end of the file")),
            };
        }
        fields.push(field);
        match self.width {
            Some(width) if width != fields.len() => {
                return Err(bad(&format!("{width} fields"), &fields.len().to_string()));
            }
            _ => self.width = Some(fields.len()),
        }
        Ok(Some(Record { line, fields }))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Start,
    Plain,
    Quoted,
    Closed,
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        if self.ended {
            return None;
        }
        let record = self.read().transpose();
        self.ended = !matches!(record, Some(Ok(_)));
        record
    }
}
