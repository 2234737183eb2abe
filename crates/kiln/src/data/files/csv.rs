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

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::text::{LONGEST_LINE, Lines, at_line};
use super::{open, read_file};
use crate::data::{Column, TensorDataset};
use crate::{Device, Error, Result};

/// What stands for a missing value.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Missing {
    /// An error with the line.
    #[default]
    Refuse,
    /// Not a number.
    Nan,
    /// This number.
    Value(f32),
    /// The mean of the column's other values.
    Mean,
}

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

/// A column by its name in the header or by its number from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// The first column of this name.
    Name(&'a str),
    /// From 0.
    Number(usize),
}

impl<'a> From<&'a str> for Field<'a> {
    fn from(name: &'a str) -> Self {
        Field::Name(name)
    }
}

impl From<usize> for Field<'_> {
    fn from(number: usize) -> Self {
        Field::Number(number)
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

/// A whole table of text.
#[derive(Debug, Clone)]
pub struct Table {
    path: PathBuf,
    names: Vec<String>,
    width: usize,
    /// All fields in one text, and where each ends.
    text: String,
    ends: Vec<usize>,
    /// Where each record begins.
    lines: Vec<u64>,
    missing: Missing,
}

impl Table {
    /// The number of records.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The names in the header; none without one.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The field in this record and column; empty past the end.
    pub fn field(&self, record: usize, column: usize) -> &str {
        if record >= self.len() || column >= self.width {
            return "";
        }
        let index = record * self.width + column;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    fn column(&self, field: Field<'_>) -> Result<usize> {
        let (found, what) = match field {
            Field::Name(name) => (self.names.iter().position(|other| other == name), format!("a column {name:?}")),
            Field::Number(number) => ((number < self.width).then_some(number), format!("a column {number}")),
        };
        let has = || match &self.names[..] {
            [] => format!("{} columns", self.width),
            names => names.join(", "),
        };
        found.ok_or_else(|| at_line(&self.path, 1, what, has()))
    }

    fn named(&self, column: usize) -> String {
        self.names.get(column).map_or_else(|| column.to_string(), |name| format!("{name:?}"))
    }

    /// The numbers of these columns, record by record. What is missing is treated as [`Csv::missing`] says.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the line of a field that is no number of 32 bits; for a column that is not there.
    pub fn numbers<'a, F: Into<Field<'a>> + Copy>(&self, columns: &[F]) -> Result<Vec<f32>> {
        let columns: Vec<usize> = columns.iter().map(|&field| self.column(field.into())).collect::<Result<_>>()?;
        let mut numbers = Vec::with_capacity(self.len() * columns.len());
        for record in 0..self.len() {
            for &column in &columns {
                numbers.push(self.number(record, column)?);
            }
        }
        if self.missing == Missing::Mean {
            for (at, &column) in columns.iter().enumerate() {
                fill_mean(&mut numbers, at, columns.len()).ok_or_else(|| {
                    at_line(&self.path, 1, format!("a value in column {}", self.named(column)), "none")
                })?;
            }
        }
        Ok(numbers)
    }

    fn number(&self, record: usize, column: usize) -> Result<f32> {
        let text = self.field(record, column).trim();
        let bad = |found: &str| {
            let expected = format!("a number in column {}", self.named(column));
            at_line(&self.path, self.lines[record], expected, found)
        };
        if is_missing(text) {
            return match self.missing {
                Missing::Refuse => Err(bad(&format!("{text:?}, a missing value"))),
                Missing::Value(value) => Ok(value),
                Missing::Nan | Missing::Mean => Ok(f32::NAN),
            };
        }
        let number: f32 = text.parse().map_err(|_| bad(&format!("{text:?}")))?;
        // Infinity may be written; a number that is too large may not become one.
        if number.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
            return Err(bad(&format!("{text}, which does not fit in 32 bits")));
        }
        Ok(number)
    }

    /// A column of integers, exactly: class numbers, or numbers past 2²⁴, which [`numbers`](Table::numbers) would round.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the line of a field that is no integer of 32 bits; for a column that is not there.
    pub fn labels<'a>(&self, column: impl Into<Field<'a>>) -> Result<Vec<i32>> {
        let column = self.column(column.into())?;
        let label = |record: usize| {
            let text = self.field(record, column).trim();
            text.parse().map_err(|_| {
                let expected = format!("an integer of 32 bits in column {}", self.named(column));
                at_line(&self.path, self.lines[record], expected, format!("{text:?}"))
            })
        };
        (0..self.len()).map(label).collect()
    }

    /// A column of categories as class numbers, in the order of the sorted names, and the names.
    ///
    /// # Errors
    /// [`Error::Malformed`] for an empty field, or a column that is not there.
    pub fn classes<'a>(&self, column: impl Into<Field<'a>>) -> Result<(Vec<i32>, Vec<String>)> {
        let column = self.column(column.into())?;
        let names: BTreeSet<&str> = (0..self.len()).map(|record| self.field(record, column).trim()).collect();
        let names: Vec<String> = names.into_iter().map(String::from).collect();
        Ok((self.classes_among(column, &names)?, names))
    }

    /// A column of categories as places in `names`: for a table that must agree with another one.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the line of a name that is not among them; for a column that is not there.
    pub fn classes_of<'a>(&self, column: impl Into<Field<'a>>, names: &[String]) -> Result<Vec<i32>> {
        self.classes_among(self.column(column.into())?, names)
    }

    fn classes_among(&self, column: usize, names: &[String]) -> Result<Vec<i32>> {
        let places: std::collections::BTreeMap<&str, i32> =
            names.iter().zip(0..).map(|(name, place)| (name.as_str(), place)).collect();
        let class = |record: usize| {
            let name = self.field(record, column).trim();
            places.get(name).filter(|_| !name.is_empty()).copied().ok_or_else(|| {
                let expected = format!("a class in column {}", self.named(column));
                at_line(&self.path, self.lines[record], expected, format!("{name:?}"))
            })
        };
        (0..self.len()).map(class).collect()
    }

    /// Only the records that have a value in each of these columns.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a column that is not there.
    pub fn without_missing<'a, F: Into<Field<'a>> + Copy>(&self, columns: &[F]) -> Result<Self> {
        let columns: Vec<usize> = columns.iter().map(|&field| self.column(field.into())).collect::<Result<_>>()?;
        let mut kept = Self { text: String::new(), ends: Vec::new(), lines: Vec::new(), ..self.clone() };
        for record in 0..self.len() {
            if columns.iter().any(|&column| is_missing(self.field(record, column).trim())) {
                continue;
            }
            for column in 0..self.width {
                kept.text.push_str(self.field(record, column));
                kept.ends.push(kept.text.len());
            }
            kept.lines.push(self.lines[record]);
        }
        Ok(kept)
    }

    /// Inputs `[columns]` from these columns and classes from `target`.
    ///
    /// # Errors
    /// As for [`numbers`](Table::numbers) and [`classes`](Table::classes).
    pub fn classification<'a, F: Into<Field<'a>> + Copy>(
        &self,
        device: &Device,
        inputs: &[F],
        target: impl Into<Field<'a>>,
    ) -> Result<TensorDataset> {
        let inputs = Column::F32(self.numbers(inputs)?.into(), vec![inputs.len()]);
        TensorDataset::new(device, inputs, (self.classes(target)?.0, []))
    }

    /// Inputs `[columns]` and targets `[columns]` from these columns.
    ///
    /// # Errors
    /// As for [`numbers`](Table::numbers).
    pub fn regression<'a, F: Into<Field<'a>> + Copy, G: Into<Field<'a>> + Copy>(
        &self,
        device: &Device,
        inputs: &[F],
        targets: &[G],
    ) -> Result<TensorDataset> {
        let column = |numbers: Vec<f32>, width: usize| Column::F32(numbers.into(), vec![width]);
        let (x, y) = (self.numbers(inputs)?, self.numbers(targets)?);
        TensorDataset::new(device, column(x, inputs.len()), column(y, targets.len()))
    }
}

fn is_missing(text: &str) -> bool {
    ["", "na", "n/a", "nan", "null", "?"].iter().any(|missing| text.eq_ignore_ascii_case(missing))
}

/// Replaces NaN in column `at` of rows of `width` by the mean of the others; `None` if there are only NaN.
fn fill_mean(numbers: &mut [f32], at: usize, width: usize) -> Option<()> {
    let known = || numbers.iter().skip(at).step_by(width).filter(|v| !v.is_nan());
    let (sum, count) = known().fold((0.0, 0usize), |(sum, count), &v| (sum + f64::from(v), count + 1));
    if count == 0 {
        return (numbers.is_empty()).then_some(());
    }
    let mean = (sum / count as f64) as f32;
    numbers.iter_mut().skip(at).step_by(width).filter(|v| v.is_nan()).for_each(|v| *v = mean);
    Some(())
}
