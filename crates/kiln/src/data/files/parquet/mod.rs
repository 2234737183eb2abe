//! Parquet tables: columns of numbers, labels and categories, a row group at a time.
//!
//! Read are flat columns of booleans, integers, floats and text, with or without nulls, in plain, dictionary, run-length and
//! split encoding, as they are or packed by Snappy or gzip: what pyarrow, pandas, DuckDB and Spark write by default. A
//! column of another kind is an error when it is asked for, and no hindrance to the others.
//!
//! The reader is our own. The `parquet` crate, without arrow, brings eleven packages and a major version every few weeks,
//! and reserves memory by what a page's head claims; `parquet2` has no maintainer any more. What is needed here is small.
//!
//! Source: apache/parquet-format, version 2.11.
//!
//! ```no_run
//! # use kiln::prelude::*;
//! # let device = Device::open()?;
//! use kiln::data::files::parquet::Parquet;
//!
//! let table = Parquet::open("houses.parquet")?;
//! let set = table.regression(&device, &["rooms", "age"], &["price"])?;
//! for group in table.groups(&["rooms", "age"]) {
//!     println!("{} rows", group?.len() / 2); // of a table that need not fit in memory
//! }
//! # Ok::<(), Error>(())
//! ```

mod decode;
mod footer;
mod page;
mod thrift;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{malformed, open, unreadable};
use crate::data::{Column, TensorDataset};
use crate::error::Place;
use crate::{Device, Error, Result};
use decode::Value;
use footer::{Footer, Stored};

/// Rows of a row group, at most: a few bytes may stand for any number of equal values. Writers make groups of about a
/// million.
const MOST_ROWS: u64 = 1 << 24;
/// Rows of all groups together that are held in memory, for each byte of the file: groups may share their pages.
const ROWS_A_BYTE: u64 = 64;

/// A table. Opening it reads what the end of the file says of its columns; their values are read when asked for.
#[derive(Debug, Clone)]
pub struct Parquet {
    path: PathBuf,
    from: Origin,
    size: u64,
    footer: Arc<Footer>,
    null: Option<f32>,
}

/// Where the bytes are.
#[derive(Debug, Clone)]
enum Origin {
    File,
    Memory(Arc<[u8]>),
}

const MAGIC: &[u8; 4] = b"PAR1";

impl Parquet {
    /// The table in a file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Malformed`] with the byte, what is expected and what is found.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let size = open(path)?.metadata().map_err(|why| unreadable(path, why))?.len();
        Self::of(path, Origin::File, size)
    }

    /// The table in the bytes of a file; errors call it `name`.
    ///
    /// # Errors
    /// As for [`open`](Parquet::open), from its content.
    pub fn parse(bytes: &[u8], name: impl AsRef<Path>) -> Result<Self> {
        Self::of(name.as_ref(), Origin::Memory(bytes.into()), bytes.len() as u64)
    }

    fn of(path: &Path, from: Origin, size: u64) -> Result<Self> {
        let mut table = Self {
            path: path.to_path_buf(),
            from,
            size,
            footer: Arc::new(Footer { columns: Vec::new(), groups: Vec::new() }),
            null: None,
        };
        let bad = |at: u64, expected: &str, found: &str| Err(malformed(path, Place::Byte(at), expected, found));
        if size < 12 || table.bytes(0, 4)? != MAGIC {
            return bad(0, "PAR1 and a table", "another file");
        }
        let end = table.bytes(size - 8, 8)?;
        let (length, magic) = end.split_at(4);
        if magic != MAGIC {
            let found = if magic == b"PARE" { "an encrypted table" } else { "other bytes, perhaps a part of a file" };
            return bad(size - 4, "PAR1 at the end", found);
        }
        let length = length.iter().rev().fold(0u64, |length, &byte| length << 8 | u64::from(byte));
        let Some(start) = (size - 8).checked_sub(length).filter(|&start| start >= 4) else {
            return bad(size - 8, "the length of the description in front of it", &length.to_string());
        };
        let Some(footer) = Footer::parse(&table.bytes(start, length)?) else {
            return bad(start, "a description of the table", "other bytes");
        };
        for group in &footer.groups {
            if group.rows > MOST_ROWS {
                return bad(start, &format!("row groups of {MOST_ROWS} rows at most"), &group.rows.to_string());
            }
            let within = |start_of: u64, length: u64| {
                start_of >= 4 && start_of.checked_add(length).is_some_and(|end| end <= start)
            };
            if let Some(chunk) =
                group.chunks.iter().find(|chunk| chunk.values > 0 && !within(chunk.start, chunk.length))
            {
                return bad(start, "columns within the file", &format!("{} bytes at {}", chunk.length, chunk.start));
            }
        }
        table.footer = Arc::new(footer);
        Ok(table)
    }

    /// Sets the number that a null becomes; without it, a null in a column that is asked for is an error.
    #[must_use]
    pub fn null(mut self, value: f32) -> Self {
        self.null = Some(value);
        self
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.footer.groups.iter().map(|group| group.rows as usize).sum()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of all columns, of those too that are not read.
    pub fn names(&self) -> Vec<&str> {
        self.footer.columns.iter().map(|leaf| leaf.name.as_str()).collect()
    }

    /// The numbers of these columns, row by row. Integers and doubles become the nearest number of 32 bits,
    /// which for integers past 2²⁴ is mostly another one: [`labels`](Parquet::labels) keeps integers exactly.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a column that is not there or has no numbers, a null, a number that does not fit in 32 bits,
    /// pages that are damaged or written in a way that is not read.
    pub fn numbers(&self, columns: &[&str]) -> Result<Vec<f32>> {
        columns.iter().try_for_each(|name| self.column(name, false).map(drop))?; // of a table without rows too
        self.may_be_held()?;
        let mut all = Vec::new();
        for group in self.groups(columns) {
            all.extend(group?);
        }
        Ok(all)
    }

    /// The same, a row group at a time, for tables larger than memory. An error is the last item.
    pub fn groups<'t>(&'t self, columns: &'t [&'t str]) -> impl Iterator<Item = Result<Vec<f32>>> + 't {
        let mut failed = false;
        (0..self.footer.groups.len()).map_while(move |group| {
            let rows = (!failed).then(|| self.group(group, columns))?;
            failed = rows.is_err();
            Some(rows)
        })
    }

    fn group(&self, group: usize, columns: &[&str]) -> Result<Vec<f32>> {
        let mut columns_of = Vec::with_capacity(columns.len());
        for name in columns {
            let mut numbers: Vec<f32> = Vec::new();
            self.read(group, name, false, &mut |value| {
                numbers.push(self.number(&value)?);
                Ok(())
            })?;
            columns_of.push(numbers);
        }
        let rows = columns_of.first().map_or(0, Vec::len);
        Ok((0..rows).flat_map(|row| columns_of.iter().map(move |numbers| numbers[row])).collect())
    }

    fn number(&self, value: &Value) -> Result<f32, (String, String)> {
        match *value {
            Value::Int(value) => Ok(value as f32),
            Value::Large(value) => Ok(value as f32),
            Value::Float(value) => match value as f32 {
                narrow if narrow.is_infinite() && value.is_finite() => {
                    Err(("a number of 32 bits".into(), format!("{value:e}")))
                }
                narrow => Ok(narrow),
            },
            Value::Null => self.null.ok_or_else(|| ("a number".into(), "a null".into())),
            Value::Text(_) => Err(("a number".into(), "text".into())),
        }
    }

    /// A column of integers or booleans as class numbers.
    ///
    /// # Errors
    /// As for [`numbers`](Parquet::numbers); for a value that is no integer of 32 bits.
    pub fn labels(&self, column: &str) -> Result<Vec<i32>> {
        self.column(column, false)?;
        self.may_be_held()?;
        let mut labels = Vec::new();
        for group in 0..self.footer.groups.len() {
            self.read(group, column, false, &mut |value| {
                let found = match value {
                    Value::Int(value) => match i32::try_from(value) {
                        Ok(label) => {
                            labels.push(label);
                            return Ok(());
                        }
                        Err(_) => value.to_string(),
                    },
                    Value::Large(value) => value.to_string(),
                    Value::Float(value) => value.to_string(),
                    Value::Text(_) => "text".into(),
                    Value::Null => "a null".into(),
                };
                Err(("an integer of 32 bits".into(), found))
            })?;
        }
        Ok(labels)
    }

    /// A column of text as class numbers, in the order of the sorted names, and the names.
    ///
    /// # Errors
    /// As for [`numbers`](Parquet::numbers), for a column that is no text.
    pub fn classes(&self, column: &str) -> Result<(Vec<i32>, Vec<String>)> {
        self.column(column, true)?;
        self.may_be_held()?;
        let mut texts = Vec::new();
        for group in 0..self.footer.groups.len() {
            self.read(group, column, true, &mut |value| match value {
                Value::Text(text) => {
                    texts.push(text);
                    Ok(())
                }
                _ => Err(("text".into(), "a null".into())),
            })?;
        }
        let names: BTreeSet<&str> = texts.iter().map(|text| &**text).collect();
        let places: BTreeMap<&str, i32> = names.iter().copied().zip(0..).collect();
        let classes = texts.iter().filter_map(|text| places.get(&**text).copied()).collect();
        Ok((classes, names.into_iter().map(String::from).collect()))
    }

    /// Inputs `[columns]` from these columns and classes from `target`: integers, booleans or text.
    ///
    /// # Errors
    /// As for [`numbers`](Parquet::numbers), [`labels`](Parquet::labels) and [`classes`](Parquet::classes).
    pub fn classification(&self, device: &Device, inputs: &[&str], target: &str) -> Result<TensorDataset> {
        let text = self.footer.columns.iter().any(|leaf| leaf.name == target && leaf.stored == Some(Stored::Text));
        let labels = if text { self.classes(target)?.0 } else { self.labels(target)? };
        let inputs = Column::F32(self.numbers(inputs)?.into(), vec![inputs.len()]);
        TensorDataset::new(device, inputs, (labels, []))
    }

    /// Inputs `[columns]` and targets `[columns]` from these columns.
    ///
    /// # Errors
    /// As for [`numbers`](Parquet::numbers).
    pub fn regression(&self, device: &Device, inputs: &[&str], targets: &[&str]) -> Result<TensorDataset> {
        let column = |numbers: Vec<f32>, width: usize| Column::F32(numbers.into(), vec![width]);
        let (x, y) = (self.numbers(inputs)?, self.numbers(targets)?);
        TensorDataset::new(device, column(x, inputs.len()), column(y, targets.len()))
    }

    /// Refuses a table of which a few bytes would fill the memory. Its groups can be read one by one.
    fn may_be_held(&self) -> Result<()> {
        let (rows, most) = (self.len() as u64, MOST_ROWS.max(self.size.saturating_mul(ROWS_A_BYTE)));
        if rows > most {
            return Err(malformed(
                &self.path,
                Place::Whole,
                format!("{most} rows at most, by the size of the file"),
                rows,
            ));
        }
        Ok(())
    }

    /// The number of a column that has what is wanted, and how it is stored.
    fn column(&self, name: &str, text: bool) -> Result<(usize, Stored)> {
        let whole = |expected: String, found: String| malformed(&self.path, Place::Whole, expected, found);
        let columns = &self.footer.columns;
        let Some(number) = columns.iter().position(|leaf| leaf.name == name) else {
            return Err(whole(format!("a column {name:?}"), self.names().join(", ")));
        };
        let leaf = &columns[number];
        let stored = leaf.stored.filter(|&stored| leaf.flat && (stored == Stored::Text) == text);
        let wanted = if text { "text" } else { "numbers" };
        stored
            .map(|stored| (number, stored))
            .ok_or_else(|| whole(format!("{wanted} in column {name:?}"), leaf.what.into()))
    }

    /// Gives `each` the values of a column in a row group.
    fn read(
        &self,
        group: usize,
        name: &str,
        text: bool,
        each: &mut dyn FnMut(Value) -> Result<(), (String, String)>,
    ) -> Result<()> {
        let (number, stored) = self.column(name, text)?;
        let (leaf, rows) = (&self.footer.columns[number], self.footer.groups[group].rows);
        let chunk = &self.footer.groups[group].chunks[number];
        if chunk.values != rows {
            let expected = format!("{rows} values in column {name:?}");
            return Err(malformed(&self.path, Place::Whole, expected, chunk.values));
        }
        if rows == 0 {
            return Ok(()); // its pages may be nowhere
        }
        let bytes = self.bytes(chunk.start, chunk.length)?;
        page::read(leaf, stored, chunk, &bytes, each).map_err(|(at, expected, found)| {
            malformed(&self.path, Place::Byte(chunk.start + at), format!("{expected}, in column {name:?}"), found)
        })
    }

    /// A part of the file.
    fn bytes(&self, start: u64, length: u64) -> Result<Vec<u8>> {
        let short = || malformed(&self.path, Place::Byte(start), format!("{length} bytes"), "the end");
        match &self.from {
            Origin::Memory(bytes) => {
                let (start, length) = (usize::try_from(start).ok(), usize::try_from(length).ok());
                let part = start.zip(length).and_then(|(start, length)| bytes.get(start..start.checked_add(length)?));
                part.map(<[u8]>::to_vec).ok_or_else(short)
            }
            Origin::File => {
                let failed = |why: std::io::Error| -> Error { unreadable(&self.path, why) };
                let mut file = open(&self.path)?;
                file.seek(SeekFrom::Start(start)).map_err(failed)?;
                let mut bytes = Vec::new(); // grows with what is really there
                file.take(length).read_to_end(&mut bytes).map_err(failed)?;
                if bytes.len() as u64 == length { Ok(bytes) } else { Err(short()) }
            }
        }
    }
}
