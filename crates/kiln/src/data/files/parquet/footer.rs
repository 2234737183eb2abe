//! What the end of a file says: columns, row groups, and where the pages of each column are.
//!
//! Source: apache/parquet-format, src/main/thrift/parquet.thrift.

use super::thrift::{Kind, Thrift};

/// The whole of it, as far as it is of interest.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) columns: Vec<Leaf>,
    pub(super) groups: Vec<Group>,
}

/// A column of values.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) name: String,
    /// How values are stored; `None` for a kind that is not read.
    pub(super) stored: Option<Stored>,
    /// Whether there may be nulls.
    pub(super) optional: bool,
    /// Whether it stands by itself, neither repeated nor part of another one.
    pub(super) flat: bool,
    /// What it is, in words.
    pub(super) what: &'static str,
}

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Bool,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
    Text,
}

/// Some of the rows.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) rows: u64,
    /// One for each column.
    pub(super) chunks: Vec<Chunk>,
}

/// A column's pages in a row group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Chunk {
    pub(super) codec: i64,
    pub(super) values: u64,
    pub(super) start: u64,
    pub(super) length: u64,
}

/// An element of the schema, a tree written in depth-first order.
#[derive(Default)]
struct Element {
    stored: Option<i64>,
    repetition: i64,
    name: String,
    children: u64,
    /// The older and the newer way to say what the values mean.
    converted: Option<i64>,
    logical: Option<i64>,
}

impl Footer {
    /// From its bytes; `None` if they are not one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut schema, mut groups) = (Vec::new(), Vec::new());
        Thrift::new(bytes).outer(|from, id, kind| {
            match id {
                2 => schema = from.list(kind, element)?,
                4 => groups = from.list(kind, group)?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        let columns = leaves(&schema)?;
        let whole = groups.iter().all(|group: &Group| group.chunks.len() == columns.len());
        whole.then_some(Self { columns, groups })
    }
}

fn element(from: &mut Thrift<'_>, kind: Kind) -> Option<Element> {
    let mut element = Element::default();
    from.structure(kind, |from, id, kind| {
        match id {
            1 => element.stored = Some(from.int(kind)?),
            3 => element.repetition = from.int(kind)?,
            4 => element.name = from.text(kind)?,
            5 => element.children = from.size(kind)?,
            6 => element.converted = Some(from.int(kind)?),
            // a union: its one field says which
            10 => from.structure(kind, |_, which, _| {
                element.logical = Some(which);
                Some(false)
            })?,
            _ => return Some(false),
        }
        Some(true)
    })?;
    (!element.name.is_empty()).then_some(element)
}

/// The columns of a schema; the first element is its root.
fn leaves(schema: &[Element]) -> Option<Vec<Leaf>> {
    let (root, elements) = schema.split_first()?;
    // how many children are still to come, from the root inwards
    let mut open = vec![root.children];
    let mut leaves = Vec::new();
    for element in elements {
        while open.last() == Some(&0) {
            open.pop();
        }
        *open.last_mut()? -= 1;
        if element.children > 0 && element.stored.is_none() {
            open.push(element.children);
        } else {
            leaves.push(leaf(element, open.len() == 1));
        }
    }
    open.iter().all(|&left| left == 0).then_some(leaves)
}

fn leaf(element: &Element, outermost: bool) -> Leaf {
    // ConvertedType: UTF8 0, UINT_8.. 11 to 14, INT_8.. 15 to 18; LogicalType: STRING 1, INTEGER 10
    let number = matches!((element.converted, element.logical), (None | Some(11..=18), None | Some(10)));
    let text = matches!((element.converted, element.logical), (None | Some(0), None | Some(1)));
    let (stored, what) = match element.stored {
        Some(0) if number => (Some(Stored::Bool), "booleans"),
        Some(1) if element.converted == Some(13) => (Some(Stored::U32), "integers"),
        Some(1) if number => (Some(Stored::I32), "integers"),
        Some(2) if element.converted == Some(14) => (Some(Stored::U64), "integers"),
        Some(2) if number => (Some(Stored::I64), "integers"),
        Some(4) if number => (Some(Stored::F32), "numbers"),
        Some(5) if number => (Some(Stored::F64), "numbers"),
        Some(6) if text => (Some(Stored::Text), "text"),
        Some(1 | 2) => (None, "dates, times or decimals"),
        Some(3) => (None, "96-bit times"),
        _ => (None, "values of a kind that is not read"),
    };
    let flat = outermost && element.repetition != 2;
    let what = if flat { what } else { "lists or structures" };
    Leaf { name: element.name.clone(), stored, optional: element.repetition == 1, flat, what }
}

fn group(from: &mut Thrift<'_>, kind: Kind) -> Option<Group> {
    let mut group = Group { rows: 0, chunks: Vec::new() };
    from.structure(kind, |from, id, kind| {
        match id {
            1 => group.chunks = from.list(kind, chunk)?,
            3 => group.rows = from.size(kind)?,
            _ => return Some(false),
        }
        Some(true)
    })?;
    Some(group)
}

fn chunk(from: &mut Thrift<'_>, kind: Kind) -> Option<Chunk> {
    let mut chunk = None;
    from.structure(kind, |from, id, kind| {
        match id {
            1 => return None, // the pages are in another file
            3 => chunk = Some(pages(from, kind)?),
            _ => return Some(false),
        }
        Some(true)
    })?;
    chunk
}

fn pages(from: &mut Thrift<'_>, kind: Kind) -> Option<Chunk> {
    let mut chunk = Chunk::default();
    let (mut data, mut dictionary) = (None, None);
    from.structure(kind, |from, id, kind| {
        match id {
            4 => chunk.codec = from.int(kind)?,
            5 => chunk.values = from.size(kind)?,
            7 => chunk.length = from.size(kind)?,
            9 => data = Some(from.size(kind)?),
            11 => dictionary = Some(from.size(kind)?),
            _ => return Some(false),
        }
        Some(true)
    })?;
    let data = data?;
    // some writers put a 0 for none
    chunk.start = dictionary.filter(|&at| at > 0).map_or(data, |at| at.min(data));
    Some(chunk)
}
