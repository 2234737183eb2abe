//! A table that was read: its columns as numbers, classes, and data sets.

use super::at_line;
use crate::data::{Column, TensorDataset};
use crate::{Device, Result};
use std::collections::BTreeSet;
use std::path::PathBuf;

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

/// A whole table of text.
#[derive(Debug, Clone)]
pub struct Table {
    pub(super) path: PathBuf,
    pub(super) names: Vec<String>,
    pub(super) width: usize,
    /// All fields in one text, and where each ends.
    pub(super) text: String,
    pub(super) ends: Vec<usize>,
    /// Where each record begins.
    pub(super) lines: Vec<u64>,
    pub(super) missing: Missing,
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

    /// The numbers of these columns, record by record. What is missing is treated as [`Csv::missing`](super::Csv::missing) says.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) with the line of a field that is no number of 32 bits; for a column
    /// that is not there.
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
    /// [`Error::Malformed`](crate::Error::Malformed) with the line of a field that is no integer of 32 bits; for a column
    /// that is not there.
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
    /// [`Error::Malformed`](crate::Error::Malformed) for an empty field, or a column that is not there.
    pub fn classes<'a>(&self, column: impl Into<Field<'a>>) -> Result<(Vec<i32>, Vec<String>)> {
        let column = self.column(column.into())?;
        let names: BTreeSet<&str> = (0..self.len()).map(|record| self.field(record, column).trim()).collect();
        let names: Vec<String> = names.into_iter().map(String::from).collect();
        Ok((self.classes_among(column, &names)?, names))
    }

    /// A column of categories as places in `names`: for a table that must agree with another one.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) with the line of a name that is not among them; for a column that is not there.
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
    /// [`Error::Malformed`](crate::Error::Malformed) for a column that is not there.
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
