//! The pages of a column: heads, dictionaries, nulls.

use super::decode::{Hybrid, Value, Values, unpacked};
use super::footer::{Chunk, Leaf, Stored};
use super::thrift::Thrift;

/// Why a column cannot be read: the byte in its pages, what was expected, what is there.
pub(super) type Refusal = (u64, String, String);

/// A page's head.
#[derive(Default)]
struct Head {
    kind: Option<i64>,
    unpacked: u64,
    packed: u64,
    values: u64,
    encoding: i64,
    /// How nulls are written; of the first version.
    levels: i64,
    /// Bytes of levels in front of the values; of the second version.
    level_bytes: [u64; 2],
    compressed: bool,
}

const DATA: i64 = 0;
const INDEX: i64 = 1;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;

impl Head {
    /// The head at the front of `bytes`, and how long it is.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut head = Self { compressed: true, ..Self::default() };
        let mut from = Thrift::new(bytes);
        from.outer(|from, id, kind| {
            match id {
                1 => head.kind = Some(from.int(kind)?),
                2 => head.unpacked = from.size(kind)?,
                3 => head.packed = from.size(kind)?,
                outer @ (5 | 7) => from.structure(kind, |from, id, kind| {
                    match id {
                        1 => head.values = from.size(kind)?,
                        2 => head.encoding = from.int(kind)?,
                        // of a dictionary it says whether that is sorted
                        3 if outer == 5 => head.levels = from.int(kind)?,
                        _ => return Some(false),
                    }
                    Some(true)
                })?,
                8 => from.structure(kind, |from, id, kind| {
                    match id {
                        1 => head.values = from.size(kind)?,
                        4 => head.encoding = from.int(kind)?,
                        5 => head.level_bytes[1] = from.size(kind)?,
                        6 => head.level_bytes[0] = from.size(kind)?,
                        7 => head.compressed = kind.truth()?,
                        _ => return Some(false),
                    }
                    Some(true)
                })?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Some((head, from.at()))
    }
}

/// Gives `each` the values of a column in turn, nulls among them. `bytes` are its pages.
pub(super) fn read(
    leaf: &Leaf,
    stored: Stored,
    chunk: &Chunk,
    bytes: &[u8],
    each: &mut dyn FnMut(Value) -> Result<(), (String, String)>,
) -> Result<(), Refusal> {
    let mut dictionary: Vec<Value> = Vec::new();
    let (mut at, mut done) = (0usize, 0u64);
    while done < chunk.values {
        let place = at as u64;
        let bad = |expected: &str, found: &str| (place, expected.to_string(), found.to_string());
        let rest = bytes.get(at..).unwrap_or_default();
        let (head, length) = Head::read(rest).ok_or_else(|| bad("the head of a page", "other bytes"))?;
        let packed = usize::try_from(head.packed).ok().and_then(|packed| rest.get(length..length.checked_add(packed)?));
        let packed = packed.ok_or_else(|| bad("a page within its column", &format!("{} bytes", head.packed)))?;
        at += length + packed.len();
        match head.kind {
            Some(DICTIONARY) => dictionary = entries(stored, chunk, &head, packed).map_err(|(e, f)| bad(&e, &f))?,
            Some(INDEX) => {}
            Some(DATA | DATA_V2) => {
                if head.values > chunk.values - done {
                    return Err(bad(&format!("{} values at most", chunk.values - done), &head.values.to_string()));
                }
                let page = body(chunk, &head, packed).map_err(|(e, f)| bad(&e, &f))?;
                values(leaf, stored, &head, &page, &dictionary, each).map_err(|(e, f)| bad(&e, &f))?;
                done += head.values;
            }
            _ => return Err(bad("a page of values or of a dictionary", "another kind of page")),
        }
    }
    Ok(())
}

/// The values of a dictionary's page.
fn entries(stored: Stored, chunk: &Chunk, head: &Head, packed: &[u8]) -> Result<Vec<Value>, (String, String)> {
    let page = unpack(chunk.codec, packed, head.unpacked)?;
    let mut left = page.as_slice();
    let mut entries = Vec::new(); // grows with what is really there
    for _ in 0..head.values {
        entries.push(Value::plain(stored, &mut left).ok_or_else(|| short("a dictionary", head.values))?);
    }
    Ok(entries)
}

fn short(what: &str, count: u64) -> (String, String) {
    (format!("{count} values of {what}"), "fewer, or others".to_string())
}

fn unpack(codec: i64, packed: &[u8], size: u64) -> Result<Vec<u8>, (String, String)> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    match unpacked(codec, packed, size) {
        Ok(Some(page)) => Ok(page),
        Ok(None) => Err((format!("a page that unpacks to {size} bytes"), "another".to_string())),
        Err(packed_by) => Err(("pages as they are, or packed by Snappy or gzip".into(), packed_by.to_string())),
    }
}

/// A page of values as it was before it was packed; of the second version without the levels of repetition.
fn body(chunk: &Chunk, head: &Head, packed: &[u8]) -> Result<Vec<u8>, (String, String)> {
    if head.kind == Some(DATA) {
        return unpack(chunk.codec, packed, head.unpacked);
    }
    let [repetition, levels] = head.level_bytes.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let front = repetition.checked_add(levels).and_then(|front| packed.split_at_checked(front));
    let (front, values) = front.ok_or_else(|| ("levels within their page".to_string(), "more bytes".to_string()))?;
    let codec = if head.compressed { chunk.codec } else { 0 };
    let left = head.unpacked.checked_sub(front.len() as u64);
    let left = left.ok_or_else(|| ("levels within their page".to_string(), format!("{} bytes", head.unpacked)))?;
    // a page of nulls has nothing to unpack
    let values = if values.is_empty() && left == 0 { Vec::new() } else { unpack(codec, values, left)? };
    Ok([&front[repetition..], &values].concat())
}

/// The values of an unpacked page.
fn values(
    leaf: &Leaf,
    stored: Stored,
    head: &Head,
    page: &[u8],
    dictionary: &[Value],
    each: &mut dyn FnMut(Value) -> Result<(), (String, String)>,
) -> Result<(), (String, String)> {
    const RLE: i64 = 3;
    let unlike = |what: &str| (what.to_string(), "other bytes".to_string());
    let (mut present, page) = match (leaf.optional, head.kind) {
        (false, Some(DATA)) => (None, page),
        (_, Some(DATA)) if head.levels != RLE => return Err(unlike("nulls written in runs")),
        (_, Some(DATA)) => {
            let (present, rest) = Hybrid::sized(page, 1).ok_or_else(|| unlike("the places of nulls"))?;
            (Some(present), rest)
        }
        (optional, _) => {
            let (levels, rest) =
                page.split_at_checked(head.level_bytes[1] as usize).ok_or_else(|| unlike("the places of nulls"))?;
            (Hybrid::new(levels, 1).filter(|_| optional), rest)
        }
    };
    let encoded = || -> Option<Result<Values<'_>, i64>> {
        Some(Ok(match (head.encoding, stored) {
            (0, Stored::Bool) => Values::Bits(page, 0),
            (0, _) => Values::Plain(stored, page),
            (2 | 8, _) => match page.split_first() {
                Some((&width, places)) => Values::Places(Hybrid::new(places, width.into())?, dictionary),
                None => Values::Plain(stored, page), // nulls alone
            },
            (RLE, Stored::Bool) => Values::Truths(Hybrid::sized(page, 1)?.0),
            (9, Stored::F32 | Stored::I32 | Stored::U32) => Values::split(stored, page, 4)?,
            (9, Stored::F64 | Stored::I64 | Stored::U64) => Values::split(stored, page, 8)?,
            (other, _) => return Some(Err(other)),
        }))
    };
    let mut values = match encoded() {
        Some(Ok(values)) => values,
        Some(Err(encoding)) => {
            let found = match encoding {
                5..=7 => "delta encoding".to_string(),
                other => format!("encoding {other}"),
            };
            return Err(("plain, dictionary, run-length or split encoding".into(), found));
        }
        None => return Err(unlike("encoded values")),
    };
    for _ in 0..head.values {
        let there = match &mut present {
            Some(present) => present.next().ok_or_else(|| short("the places of nulls", head.values))? == 1,
            None => true,
        };
        each(if there { values.next().ok_or_else(|| short("the page", head.values))? } else { Value::Null })?;
    }
    Ok(())
}
