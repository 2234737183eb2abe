//! Parquet tables made by hand, a byte at a time: one that is well, and those that are wrong in one way each.

use super::*;
use kiln::data::files::parquet::Parquet;

/// Every column, as whatever it is.
pub(super) const READER: Reader = |bytes, name| {
    let table = Parquet::parse(bytes, name)?.null(0.0);
    for column in table.names() {
        table.numbers(&[column]).or_else(|error| table.classes(column).map(|_| Vec::new()).map_err(|_| error))?;
    }
    Ok(())
};
/// A varint of Thrift's compact protocol.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7F {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A signed one of a small number that is not negative.
fn signed(value: u64) -> Vec<u8> {
    varint(value << 1)
}

/// The head of a page: kind, size unpacked and packed, and its values and their encoding.
fn page(kind: u64, sizes: [u64; 2], values: u64, encoding: u64) -> Vec<u8> {
    let sizes = [signed(sizes[0]), vec![0x15], signed(sizes[1])].concat();
    let inner = [vec![0x15], signed(values), vec![0x15], signed(encoding), vec![0x15], signed(3), vec![0]].concat();
    let field = if kind == 2 { 0x4C } else { 0x2C }; // 7 or 5, behind 3
    [vec![0x15], signed(kind), vec![0x15], sizes, vec![field], inner, vec![0]].concat()
}

/// The head of a page of the second version: sizes unpacked and packed, values, and bytes of nulls.
fn page_v2(sizes: [u64; 2], values: u64, nulls: u64) -> Vec<u8> {
    let sizes = [signed(3), vec![0x15], signed(sizes[0]), vec![0x15], signed(sizes[1])].concat();
    let inner =
        [vec![0x15], signed(values), vec![0x35], signed(0), vec![0x15], signed(nulls), vec![0x15, 0, 0]].concat();
    [vec![0x15], sizes, vec![0x5C], inner, vec![0]].concat() // 8, behind 3
}

/// A table of `count` row groups of 16,777,216 equal values each, all of them in the same few bytes.
fn shared_groups(count: u64) -> Vec<u8> {
    let (rows, dictionary) = (1 << 24, [page(2, [4, 4], 1, 0), vec![0; 4]].concat());
    let run = [vec![1], varint(rows << 1), vec![0]].concat();
    let pages = [dictionary, page(0, [run.len() as u64; 2], rows, 8), run].concat();
    parquet_with(count, rows, rows, [4, pages.len() as u64], 0, &pages)
}

/// A table of one column of floats, of these numbers in its description and these bytes as its pages.
fn parquet_of(rows: u64, values: u64, place: [u64; 2], codec: u64, pages: &[u8]) -> Vec<u8> {
    parquet_with(1, rows, values, place, codec, pages)
}

/// The same with the row group this many times.
fn parquet_with(groups: u64, rows: u64, values: u64, place: [u64; 2], codec: u64, pages: &[u8]) -> Vec<u8> {
    let [start, length] = place;
    let schema = [&[0x29, 0x2C, 0x48, 1, b'r', 0x15, 2, 0][..], &[0x15, 8, 0x25, 0, 0x18, 1, b'x', 0]].concat();
    let meta = [vec![0x45], signed(codec), vec![0x16], signed(values), vec![0x26], signed(length), vec![0x26]];
    let chunk = [vec![0x3C], meta.concat(), signed(start), vec![0, 0]].concat();
    let group = [vec![0x19, 0x1C], chunk, vec![0x26], signed(rows), vec![0]].concat();
    let count = if groups < 15 { vec![(groups as u8) << 4 | 0xC] } else { [vec![0xFC], varint(groups)].concat() };
    let footer = [schema, vec![0x29], count, group.repeat(groups as usize), vec![0]].concat();
    [b"PAR1", pages, &footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

/// A table whose description is these bytes.
fn described(footer: &[u8]) -> Vec<u8> {
    [b"PAR1", footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

/// One column of these pages, `values` in all.
fn column_of(values: u64, codec: u64, pages: &[u8]) -> Vec<u8> {
    parquet_of(values, values, [4, pages.len() as u64], codec, pages)
}

/// What the hand-made tables would be if nothing were wrong with them.
#[test]
fn a_table_made_by_hand_is_read() {
    let floats: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let plain = [page(0, [8, 8], 2, 0), floats.clone()].concat();
    assert_eq!(Parquet::parse(&column_of(2, 0, &plain), "x").unwrap().numbers(&["x"]).unwrap(), [1.5, -2.0]);
    let places = [page(0, [3, 3], 3, 8), vec![1, 3, 0b011]].concat();
    let pages = [page(2, [8, 8], 2, 0), floats, places].concat();
    assert_eq!(Parquet::parse(&column_of(3, 0, &pages), "x").unwrap().numbers(&["x"]).unwrap(), [-2.0, -2.0, 1.5]);
}

/// Tables that are wrong in one way each.
pub(super) fn rows() -> Vec<(Reader, &'static str, Vec<u8>, &'static str)> {
    let two = [1, 2, 3, 4, 5, 6, 7, 8];
    let pages =
        |kind, sizes, values, encoding, bytes: &[u8]| [page(kind, sizes, values, encoding), bytes.to_vec()].concat();
    let plain = |values, bytes: &[u8]| pages(0, [bytes.len() as u64; 2], values, 0, bytes);
    let dictionary = pages(2, [8, 8], 2, 0, &two);
    let placed = |bytes: &[u8]| [&dictionary[..], &pages(0, [bytes.len() as u64; 2], 2, 8, bytes)].concat();
    let deep = [vec![0x1C; 40], vec![0; 41]].concat();
    let end = good("small.parquet").len();
    let rows: Vec<(&'static str, Vec<u8>, &'static str)> = vec![
        ("no bytes", Vec::new(), "PAR1 and a table"),
        ("another magic", with("small.parquet", 0, b"PARX"), "PAR1 and a table"),
        ("a cut file", cut("small.parquet", 1), "perhaps a part"),
        ("an encrypted file", with("small.parquet", end - 4, b"PARE"), "encrypted"),
        ("a description longer than the file", with("small.parquet", end - 8, &[255; 4]), "length of the description"),
        ("a cut description", with("small.parquet", end - 8, &[9, 0, 0, 0]), "a description of the table"),
        ("an empty description", described(&[]), "a description of the table"),
        ("a description without a schema", described(&[0]), "a description of the table"),
        ("structures in structures", described(&deep), "a description of the table"),
        ("a list of very many", described(&[0x29, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]), "a description of the table"),
        ("a long varint", described(&[0x15; 40]), "a description of the table"),
        ("very many rows", parquet_of(1 << 40, 1 << 40, [4, 8], 0, &two), "16777216 rows at most"),
        ("a column behind the end", parquet_of(2, 2, [4, 1 << 40], 0, &two), "columns within the file"),
        ("a column in front of the file", parquet_of(2, 2, [0, 8], 0, &two), "columns within the file"),
        (
            "a place that overflows",
            parquet_of(2, 2, [u64::MAX >> 2, u64::MAX >> 2], 0, &two),
            "columns within the file",
        ),
        ("fewer values than rows", parquet_of(3, 2, [4, 8], 0, &plain(2, &two)), "3 values in column"),
        ("no page", column_of(2, 0, &[]), "the head of a page"),
        ("a head that does not end", column_of(2, 0, &[0x15; 9]), "the head of a page"),
        ("a page of no kind", column_of(2, 0, &[0]), "a page of values"),
        ("a page of another kind", column_of(2, 0, &pages(9, [8, 8], 2, 0, &two)), "a page of values"),
        ("a page longer than its column", column_of(2, 0, &pages(0, [8, 80], 2, 0, &two)), "within its column"),
        ("a size that is another", column_of(2, 0, &pages(0, [9, 8], 2, 0, &two)), "unpacks to 9 bytes"),
        ("a size of gigabytes", column_of(2, 0, &pages(0, [1 << 31, 8], 2, 0, &two)), "unpacks to 2147483648"),
        ("gigabytes of Snappy", column_of(2, 1, &pages(0, [1 << 31, 8], 2, 0, &two)), "unpacks to 2147483648"),
        ("Snappy that is none", column_of(2, 1, &pages(0, [8, 8], 2, 0, &two)), "unpacks to 8 bytes"),
        ("gzip that is none", column_of(2, 2, &pages(0, [8, 8], 2, 0, &two)), "unpacks to 8 bytes"),
        ("an unknown compression", column_of(2, 77, &plain(2, &two)), "unknown compression"),
        ("Brotli", column_of(2, 4, &plain(2, &two)), "Brotli"),
        ("more values than the column has", column_of(2, 0, &plain(3, &two)), "2 values at most"),
        ("fewer bytes than values", column_of(2, 0, &plain(2, &two[..7])), "2 values of the page"),
        ("fewer pages than values", column_of(4, 0, &plain(2, &two)), "the head of a page"),
        ("an unknown encoding", column_of(2, 0, &pages(0, [8, 8], 2, 44, &two)), "encoding 44"),
        ("packed in bits", column_of(2, 0, &pages(0, [8, 8], 2, 4, &two)), "encoding 4"),
        ("a dictionary that is short", column_of(2, 0, &pages(2, [8, 8], 3, 0, &two)), "3 values of a dictionary"),
        ("places without a dictionary", column_of(2, 0, &pages(0, [3, 3], 2, 8, &[1, 3, 1])), "2 values of the page"),
        ("places outside of it", column_of(2, 0, &placed(&[8, 3, 1, 9])), "2 values of the page"),
        ("places of too many bits", column_of(2, 0, &placed(&[33, 3, 1, 9])), "encoded values"),
        ("places that end", column_of(2, 0, &placed(&[1, 2, 1])), "2 values of the page"),
        ("runs of nothing", column_of(2, 0, &placed(&[0, 0, 0, 0])), "2 values of the page"),
        ("split values that are short", column_of(2, 0, &pages(0, [4, 4], 2, 9, &two[..4])), "2 values of the page"),
        ("split values in parts", column_of(1, 0, &pages(0, [7, 7], 1, 9, &two[..7])), "encoded values"),
        (
            "more levels than the page holds",
            column_of(2, 2, &[page_v2([1, 8], 2, 4), two.to_vec()].concat()),
            "levels within",
        ),
        ("groups that share their pages", shared_groups(200), "16777216 rows at most"),
    ];
    rows.into_iter().map(|(what, bytes, part)| (READER, what, bytes, part)).collect()
}
