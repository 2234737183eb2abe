//! Hostile files: each of a table of malformed inputs is an error that names the file, without a panic and without memory
//! beyond a small multiple of its size; so are a few hundred random changes to good files, unless they do no harm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unsafe_code)]

use kiln::data::augment::Draw;
use kiln::data::files::cifar::{self, Classes};
use kiln::data::files::csv::{Csv, Field};
use kiln::data::files::edges::EdgeFile;
#[cfg(feature = "images")]
use kiln::data::files::images::{self, Colours};
use kiln::data::files::{idx, medmnist, npy, npz, text, wav};
use kiln::data::tokens::{Bpe, Gpt2Bpe};
use kiln::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

mod parquet;

/// Counts what this thread holds, and the most that it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn note(bytes: isize) {
    // Not at a thread's end, when its cells are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `work` gives, and the most memory that it held.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (result, (MOST.get() - before) as usize)
}

/// What a reader makes of the bytes of a file.
type Reader = fn(&[u8], &Path) -> Result<()>;

const IDX: Reader = |bytes, name| idx::parse(bytes, name).map(drop);
const TEN: Reader = |bytes, name| cifar::parse(bytes, name, Classes::Ten).map(drop);
const HUNDRED: Reader = |bytes, name| cifar::parse(bytes, name, Classes::Hundred).map(drop);
const NPY: Reader = |bytes, name| npy::parse(bytes, name).map(drop);
const NPZ: Reader = |bytes, name| npz::parse(bytes, name).map(drop);
const CSV: Reader = |bytes, name| {
    let table = Csv::new().parse(bytes, name)?;
    table.numbers(&["x"])?;
    table.classes(Field::Number(1)).map(drop)
};
const EDGES: Reader = |bytes, name| EdgeFile::new().parse(bytes, name).map(drop);
const NAMED: Reader = |bytes, name| EdgeFile::new().named(true).parse(bytes, name).map(drop);
const WAV: Reader = |bytes, name| wav::parse(bytes, name).map(drop);
const TEXT: Reader = |bytes, name| text::parse(bytes.to_vec(), name).map(drop);
const BPE: Reader = |bytes, name| Bpe::parse(&text::parse(bytes.to_vec(), name)?, name).map(drop);
const VOCAB: Reader = |bytes, name| {
    let (vocab, merges) = (text::parse(bytes.to_vec(), name)?, text::parse(good("gpt2_merges.txt"), "merges")?);
    Gpt2Bpe::parse((&vocab, name), (&merges, Path::new("merges"))).map(drop)
};
const MERGES: Reader = |bytes, name| {
    let (vocab, merges) = (text::parse(good("gpt2_vocab.json"), "vocab")?, text::parse(bytes.to_vec(), name)?);
    Gpt2Bpe::parse((&vocab, Path::new("vocab")), (&merges, name)).map(drop)
};
#[cfg(feature = "images")]
const IMAGE: Reader = |bytes, name| images::parse(bytes, name, Colours::Rgb).map(drop);

fn good(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/files").join(name)).unwrap()
}

/// The good file with `bytes` written at `at`.
fn with(name: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = good(name);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn cut(name: &str, from_end: usize) -> Vec<u8> {
    let mut file = good(name);
    file.truncate(file.len() - from_end);
    file
}

fn more(name: &str) -> Vec<u8> {
    [good(name), vec![0]].concat()
}

/// An npy file of this header and these numbers.
fn npy_of(header: &str, numbers: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), numbers].concat()
}

/// Where the last `sign` is.
fn last(name: &str, sign: &[u8]) -> usize {
    good(name).windows(sign.len()).rposition(|window| window == sign).unwrap()
}

const IMAGES: &str = "t10k-images-idx3-ubyte";
const PACKED: &str = "train-images-idx3-ubyte.gz";

/// Reader, what is wrong, the file, and a part of the message.
fn table() -> Vec<(Reader, &'static str, Vec<u8>, &'static str)> {
    let dict = |descr: &str, fortran: &str, shape: &str| {
        format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}")
    };
    let floats = |shape: &str, n: usize| npy_of(&dict("'<f4'", "False", shape), &vec![0; n]);
    let of = |descr: &str, numbers: &[u8]| npy_of(&dict(descr, "False", "(1,)"), numbers);
    let (directory, end) = (last("all.npz", b"PK\x01\x02"), last("all.npz", b"PK\x05\x06"));
    let packed = last("packed.npz", b"PK\x01\x02");
    let mut rows: Vec<(Reader, &'static str, Vec<u8>, &'static str)> = vec![
        (IDX, "empty", vec![], "magic number"),
        (IDX, "three bytes", vec![0, 0, 8], "magic number"),
        (IDX, "first bytes", with(IMAGES, 0, b"PK"), "two zero bytes"),
        (IDX, "type", with(IMAGES, 2, &[0x0a]), "0x0a"),
        (IDX, "rank 0", with(IMAGES, 3, &[0]), "a rank from 1 to 6"),
        (IDX, "rank 255", with(IMAGES, 3, &[255]), "a rank from 1 to 6"),
        (IDX, "extents cut", good(IMAGES)[..10].to_vec(), "an extent"),
        (IDX, "extents too large", with(IMAGES, 4, &[255; 12]), "shape"),
        (IDX, "one extent too large", with(IMAGES, 4, &[255; 4]), "shape"),
        (IDX, "numbers cut", cut(IMAGES, 1), "59 bytes"),
        (IDX, "one number more", more(IMAGES), "61 bytes"),
        (IDX, "another type", with(IMAGES, 2, &[0x0e]), "shape"),
        (IDX, "gzip cut in its head", good(PACKED)[..9].to_vec(), "magic number"),
        (IDX, "gzip cut", cut(PACKED, 30), "byte"),
        (IDX, "gzip without its end", cut(PACKED, 4), "the end"),
        (IDX, "gzip with a wrong checksum", with(PACKED, good(PACKED).len() - 8, &[1, 2, 3, 4]), "the end"),
        (IDX, "gzip of something else", gzip(b"hello world"), "two zero bytes"),
        (IDX, "gzip that claims more", gzip(&with(IMAGES, 4, &[0x70, 0, 0, 0])), "numbers"),
        (IDX, "gzip that unpacks to more", gzip(&more(IMAGES)), "expected the end"),
        (IDX, "f64 out of range", [&[0, 0, 0x0e, 1, 0, 0, 0, 1][..], &1e300f64.to_be_bytes()].concat(), "32 bits"),
        (TEN, "empty", vec![], "records of 3073 bytes"),
        (TEN, "cut", vec![0; 3072], "3072 bytes at the end"),
        (TEN, "more", vec![0; 3074], "byte 3073"),
        (
            TEN,
            "label",
            [vec![0; 3073], vec![10], vec![0; 3072]].concat(),
            "byte 3073: expected a label under 10, found 10",
        ),
        (HUNDRED, "CIFAR-10", vec![0; 3073], "records of 3074 bytes"),
        (HUNDRED, "coarse label", [vec![20, 0], vec![0; 3072]].concat(), "byte 0: expected a label under 20"),
        (HUNDRED, "fine label", [vec![0, 100], vec![0; 3072]].concat(), "byte 1: expected a label under 100"),
        (NPY, "empty", vec![], "magic number"),
        (NPY, "magic", with("rows.npy", 0, b"PK"), "NUMPY"),
        (NPY, "version 4", with("rows.npy", 6, &[4]), "version"),
        (NPY, "version 1.1", with("rows.npy", 7, &[1]), "version"),
        (NPY, "cut after the version", good("rows.npy")[..8].to_vec(), "length"),
        (NPY, "header cut", good("rows.npy")[..40].to_vec(), "the header"),
        (NPY, "header of 4 GiB", with("v2.npy", 8, &[255; 4]), "bytes of the header"),
        (NPY, "header without text", npy_of("", &[]), "a dict"),
        (NPY, "header of bytes", with("rows.npy", 12, &[0xff]), "text"),
        (NPY, "no dict", npy_of("[1, 2]", &[]), "a dict"),
        (NPY, "no shape", npy_of("{'descr': '<f4', 'fortran_order': False}", &[]), "a dict"),
        (NPY, "a field twice", npy_of("{'descr': '<f4', 'descr': '<f4', 'shape': ()}", &[]), "a dict"),
        (
            NPY,
            "an unknown field",
            npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}", &[]),
            "a dict",
        ),
        (NPY, "order", npy_of(&dict("'<f4'", "Maybe", "()"), &[0; 4]), "a dict"),
        (NPY, "a shape that is no tuple", floats("(3)", 12), "a dict"),
        (NPY, "a negative extent", floats("(-1,)", 4), "a dict"),
        (NPY, "an open tuple", floats("(3", 12), "a dict"),
        (NPY, "objects", of("'|O'", &[0; 8]), "|O"),
        (NPY, "complex", of("'<c8'", &[0; 8]), "<c8"),
        (
            NPY,
            "a record",
            npy_of("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", &[0; 4]),
            "a dict",
        ),
        (NPY, "long floats", of("'<f16'", &[0; 16]), "<f16"),
        (NPY, "f4 without a byte order", of("'|f4'", &[0; 4]), "|f4"),
        (NPY, "numbers cut", cut("rows.npy", 1), "479 bytes"),
        (NPY, "one byte more", more("rows.npy"), "481 bytes"),
        (NPY, "extents too large", floats("(4294967296, 4294967296, 4294967296)", 4), "shape"),
        (NPY, "extents that overflow to little", floats("(9223372036854775808, 2)", 0), "shape"),
        (NPY, "an extent of 30 digits", floats("(123456789012345678901234567890,)", 0), "a dict"),
        (NPY, "a large array in a small file", floats("(1000000000,)", 4), "shape"),
        (NPY, "i8 out of range", of("'<i8'", &(1i64 << 40).to_le_bytes()), "found 1099511627776"),
        (NPY, "u8 out of range", of("'<u8'", &u64::MAX.to_le_bytes()), "32 bits"),
        (NPY, "f8 out of range", of("'>f8'", &1e39f64.to_be_bytes()), "32 bits"),
        (NPY, "a boolean of 2", of("'|b1'", &[2]), "truth value"),
        (NPZ, "empty", vec![], "a zip archive"),
        (NPZ, "an npy file", good("rows.npy"), "end record"),
        (NPZ, "end cut", cut("all.npz", 1), "end record"),
        (NPZ, "front cut", good("all.npz")[100..].to_vec(), "found"),
        (NPZ, "several disks", with("all.npz", end + 4, &[1]), "one part"),
        (NPZ, "too many members", with("all.npz", end + 8, &[255, 254, 255, 254]), "directory"),
        (NPZ, "directory outside", with("all.npz", end + 16, &[255; 4]), "directory before"),
        (NPZ, "encrypted", with("all.npz", directory + 8, &[1]), "encrypted"),
        (NPZ, "another method", with("all.npz", directory + 10, &[14]), "method 14"),
        (NPZ, "wrong checksum", with("all.npz", directory + 16, &[1, 2, 3, 4]), "checksum"),
        (NPZ, "a size too large", with("all.npz", directory + 20, &[255, 255, 255, 127, 255, 255, 255, 127]), "bytes"),
        (NPZ, "two sizes of a stored member", with("all.npz", directory + 24, &[9]), "one size"),
        (NPZ, "a member outside", with("all.npz", directory + 42, &[255, 255, 255, 127]), "bytes"),
        (NPZ, "another member name", with("all.npz", last("all.npz", b".npy"), b".txt"), "named .npy"),
        (NPZ, "overlapping members", overlapping(), "bytes of their own"),
        (NPZ, "a larger deflated size", with("packed.npz", packed + 24, &[200]), "bytes"),
        (NPZ, "a smaller deflated size", with("packed.npz", packed + 24, &[20, 0]), "found 0 bytes"),
        (NPZ, "damaged deflate", with("packed.npz", 60, &[0xff; 8]), "found"),
        (CSV, "empty", vec![], ":1: expected a header"),
        (CSV, "no column x", b"a,b\n1,2\n".to_vec(), "a column \"x\", found a, b"),
        (CSV, "one column", b"x\n1\n".to_vec(), "a column 1"),
        (CSV, "a field more", b"x,y\n1,a\n2,b,c\n".to_vec(), ":3: expected 2 fields, found 3"),
        (CSV, "a field less", b"x,y\n1,a\n2\n".to_vec(), ":3: expected 2 fields, found 1"),
        (
            CSV,
            "a word for a number",
            b"x,y\n1,a\n\none,b\n".to_vec(),
            ":4: expected a number in column \"x\", found \"one\"",
        ),
        (CSV, "no number", b"x,y\n1,a\n,b\n".to_vec(), ":3: expected a number"),
        (CSV, "a number too large", b"x,y\n1e99,a\n".to_vec(), "32 bits"),
        (CSV, "no class", b"x,y\n1,\n".to_vec(), ":2: expected a class"),
        (CSV, "an open quote", b"x,y\n1,\"a\n2,b\n".to_vec(), ":2: expected a closing quote"),
        (CSV, "text after a quote", b"x,y\n\"1\"2,a\n".to_vec(), ":2: expected a delimiter"),
        (CSV, "bytes", b"x,y\n1,a\n2,\xff\n".to_vec(), ":3: expected UTF-8"),
        (EDGES, "one end", b"0 1\n2\n".to_vec(), ":2: expected source and target"),
        (EDGES, "four fields", b"0 1 2 3\n".to_vec(), ":1:"),
        (EDGES, "a weight only once", b"0 1 2\n1 0\n".to_vec(), ":2: expected source, target and weight"),
        (EDGES, "a name", b"0 a\n".to_vec(), "the number of a node"),
        (EDGES, "a negative number", b"0 -1\n".to_vec(), "from 0"),
        (EDGES, "a number of 64 bits", b"0 4294967296\n".to_vec(), "the number of a node"),
        (EDGES, "a weight that is none", b"0 1 heavy\n".to_vec(), "a weight"),
        (EDGES, "an infinite weight", b"0 1 inf\n".to_vec(), "a weight"),
        (EDGES, "bytes", b"0 1\n\xff\n".to_vec(), ":2: expected UTF-8"),
        (NAMED, "no name", b"a,b\n,b\n".to_vec(), ":2: expected the name"),
        (WAV, "empty", vec![], "RIFF"),
        (WAV, "big-endian", with("pcm16.wav", 0, b"RIFX"), "RIFF"),
        (WAV, "another form", with("pcm16.wav", 8, b"AVI "), "WAVE"),
        (WAV, "no format", with("pcm16.wav", 12, b"abcd"), "a fmt chunk"),
        (WAV, "no data", with("pcm16.wav", 36, b"abcd"), "a data chunk"),
        (WAV, "a chunk's head cut", good("pcm16.wav")[..40].to_vec(), "the head of a chunk"),
        (WAV, "a format of 4 bytes", with("pcm16.wav", 16, &[4]), "16 bytes of format"),
        (WAV, "data of 4 GiB", with("pcm16.wav", 40, &[255; 4]), "a chunk inside the file"),
        (WAV, "data cut", cut("pcm16.wav", 1), "a chunk inside the file"),
        (WAV, "half a frame", with("pcm24.wav", 40, &[5]), "frames of 6 bytes"),
        (WAV, "compressed", with("pcm16.wav", 20, &[0x55]), "format 85"),
        (WAV, "12 bits", with("pcm16.wav", 34, &[12]), "12 bits"),
        (WAV, "no channels", with("pcm16.wav", 22, &[0]), "channels"),
        (WAV, "no rate", with("pcm16.wav", 24, &[0; 4]), "a rate"),
        (WAV, "another frame", with("pcm16.wav", 32, &[7]), "the bytes of a frame"),
        (WAV, "extended format cut", with("pcm16.wav", 20, &[0xfe, 0xff]), "40 bytes"),
        (TEXT, "bytes", b"one\ntwo \xc3(\n".to_vec(), ":2: expected UTF-8, found the byte 0xc3"),
        (BPE, "empty", vec![], "merges"),
        (BPE, "another file", b"hello\n".to_vec(), "merges"),
        (
            BPE,
            "a later token",
            b"# kiln byte-pair merges, version 1\n1 2\n257 3\n".to_vec(),
            ":3: expected two earlier tokens",
        ),
        (BPE, "a negative token", b"# kiln byte-pair merges, version 1\n-1 2\n".to_vec(), ":2:"),
        (BPE, "one token", b"# kiln byte-pair merges, version 1\n1\n".to_vec(), ":2:"),
        (
            BPE,
            "a merge twice",
            b"# kiln byte-pair merges, version 1\n1 2\n1 2\n".to_vec(),
            ":3: expected a merge of its own",
        ),
        (BPE, "tokens that double", doubling(), "65,536 bytes"),
        (VOCAB, "empty", vec![], "byte 0: expected {"),
        (VOCAB, "no tokens", b"{}".to_vec(), "a token for each byte"),
        (VOCAB, "a list", b"[1]".to_vec(), "byte 0: expected {"),
        (VOCAB, "a fraction", b"{\"a\": 1.5}".to_vec(), "byte 7: expected }"),
        (VOCAB, "half an escape", b"{\"\\ud83d\": 0}".to_vec(), "an escape"),
        (VOCAB, "cut", cut("gpt2_vocab.json", 1), "expected }"),
        (VOCAB, "more", more("gpt2_vocab.json"), "the end"),
        (VOCAB, "bytes", b"{\"\xff\": 0}".to_vec(), "UTF-8"),
        (MERGES, "a later token", b"#version: 0.2\nth e\n".to_vec(), ":2: expected two earlier tokens"),
        (MERGES, "one token", b"#version: 0.2\nt\n".to_vec(), ":2: expected two earlier tokens"),
        (MERGES, "a token that the vocabulary lacks", b"! !\n".to_vec(), ":1: expected a new token"),
    ];
    #[cfg(feature = "images")]
    {
        let (png, jpeg) = ("folder/a_first/2.png", "folder/b_second/1.jpg");
        rows.extend([
            (IMAGE, "empty", vec![], "a PNG or JPEG file"),
            (IMAGE, "a gif", b"GIF89a\0\0".to_vec(), "a PNG or JPEG file"),
            (IMAGE, "png's head alone", good(png)[..8].to_vec(), "a whole image"),
            (IMAGE, "png cut", cut(png, 20), "a whole image"),
            (IMAGE, "png without its last byte", cut(png, 1), "a whole image"),
            (IMAGE, "png with a wrong checksum", with(png, 50, &[1, 2]), "a whole image"),
            (IMAGE, "png of 4 billion pixels", huge_png(), "a whole image"),
            (IMAGE, "jpeg's head alone", good(jpeg)[..4].to_vec(), "a whole image"),
            (IMAGE, "jpeg without its scan", good(jpeg)[..620].to_vec(), "a whole image"),
            (IMAGE, "jpeg cut in its scan", cut(jpeg, 60), "a whole image"),
            (IMAGE, "jpeg of 4 billion pixels", huge_jpeg(), "a whole image"),
        ]);
    }
    rows
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    // One stored block: no compressor needed.
    let n = bytes.len() as u16;
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    let mut crc = !0u32;
    for &b in bytes {
        crc ^= u32::from(b);
        (0..8).for_each(|_| crc = crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()));
    }
    [&head[..], &n.to_le_bytes(), &(!n).to_le_bytes(), bytes, &(!crc).to_le_bytes(), &u32::from(n).to_le_bytes()]
        .concat()
}

/// An archive with all entries of its directory about its largest member.
fn overlapping() -> Vec<u8> {
    let file = good("all.npz");
    let first = file.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let end = last("all.npz", b"PK\x05\x06");
    let name = usize::from(file[first + 28]);
    let entry = &file[first..first + 46 + name];
    let mut out = file[..first].to_vec();
    for i in 0..200u8 {
        let mut entry = entry.to_vec();
        (entry[46], entry[47]) = (b'A' + i / 16, b'A' + i % 16); // names differ
        out.extend(entry);
    }
    let size = (out.len() - first) as u32;
    let at = out.len();
    out.extend(&file[end..]);
    out[at + 8..at + 12].copy_from_slice(&[200, 0, 200, 0]);
    out[at + 12..at + 16].copy_from_slice(&size.to_le_bytes());
    out[at + 16..at + 20].copy_from_slice(&(first as u32).to_le_bytes());
    out
}

fn doubling() -> Vec<u8> {
    let mut text = "# kiln byte-pair merges, version 1\n97 97\n".to_string();
    (256..320).for_each(|token| text += &format!("{token} {token}\n"));
    text.into_bytes()
}

#[cfg(feature = "images")]
fn huge_png() -> Vec<u8> {
    let mut file = with("grey.png", 16, &[0, 0, 255, 255, 0, 0, 255, 255]);
    let mut crc = !0u32;
    for &b in &file[12..29] {
        crc ^= u32::from(b);
        (0..8).for_each(|_| crc = crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()));
    }
    file[29..33].copy_from_slice(&(!crc).to_be_bytes());
    file
}

#[cfg(feature = "images")]
fn huge_jpeg() -> Vec<u8> {
    let name = "folder/b_second/1.jpg";
    let frame = good(name).windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    with(name, frame + 5, &[255; 4])
}

#[test]
fn malformed_files_are_errors_that_name_their_place() {
    let rows = [table(), parquet::rows()].concat();
    assert!(rows.len() >= 80, "{}", rows.len());
    let mut wrong = Vec::new();
    for (reader, what, bytes, part) in &rows {
        let name = Path::new("some/file.x");
        let (result, most) = measured(|| reader(bytes, name));
        match result {
            Ok(()) => wrong.push(format!("{what} ({part}): was read")),
            Err(error) => {
                let text = error.to_string();
                if !matches!(error, Error::Malformed { .. }) || !text.starts_with("some/file.x") || !text.contains(part)
                {
                    wrong.push(format!("{what}: {text} has no {part:?}"));
                }
            }
        }
        // Decoders of images and gzip have fixed tables and windows of some hundred kilobytes.
        let limit = 16 * bytes.len() + 400_000;
        if most > limit {
            wrong.push(format!("{what}: held {most} bytes for a file of {}", bytes.len()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn parts_of_medmnist_that_do_not_fit_are_errors() {
    let device = Device::open().unwrap();
    let error = medmnist::parse(&good("all.npz"), "m.npz", &device).unwrap_err().to_string();
    assert_eq!(error, "m.npz: expected an array train_images, found none");
}

#[test]
fn what_is_no_file_is_an_error() {
    let folder = std::env::temp_dir();
    for error in [
        idx::read(&folder).unwrap_err(),
        npy::read("no/such/file.npy").unwrap_err(),
        npy::NpyFile::open(&folder).unwrap_err(),
        Csv::new().read(&folder).unwrap_err(),
        text::lines(&folder).unwrap_err(),
        wav::read("/dev/null").unwrap_err(),
    ] {
        assert!(matches!(error, Error::File { .. }), "{error}");
    }
}

#[test]
fn random_changes_do_no_harm() {
    let readers: Vec<(Reader, Vec<u8>)> = vec![
        (IDX, good(IMAGES)),
        (IDX, good(PACKED)),
        (TEN, vec![1; 2 * 3073]),
        (NPY, good("rows.npy")),
        (NPZ, good("all.npz")),
        (NPZ, good("packed.npz")),
        (CSV, b"x,y\n1,a\n2,\"b\"\"c\"\n\"3\",d\n".to_vec()),
        (EDGES, b"0 1 0.5\n2 3 1e3\n".to_vec()),
        (WAV, good("pcm24.wav")),
        (BPE, b"# kiln byte-pair merges, version 1\n97 98\n256 99\n".to_vec()),
        (VOCAB, good("gpt2_vocab.json")),
        (MERGES, good("gpt2_merges.txt")),
        (parquet::READER, good("small.parquet")),
        (parquet::READER, good("required.parquet")),
        (parquet::READER, good("v2.parquet")),
        #[cfg(feature = "images")]
        (IMAGE, good("folder/a_first/2.png")),
        #[cfg(feature = "images")]
        (IMAGE, good("folder/b_second/1.jpg")),
        #[cfg(feature = "images")]
        (IMAGE, good("progressive.jpg")),
    ];
    for (number, (reader, file)) in readers.iter().enumerate() {
        for round in 0..400 {
            let mut draw = Draw::new(number as u64, round);
            let mut bytes = file.clone();
            for _ in 0..=draw.below(4) {
                let at = draw.below(bytes.len().max(1));
                match draw.below(5) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, draw.bits() as u8),
                    2 if at < bytes.len() => bytes[at] = [0, 1, 127, 128, 255][draw.below(5)],
                    3 if at < bytes.len() => bytes[at] ^= 1 << draw.below(8),
                    _ if at < bytes.len() => bytes[at] = draw.bits() as u8,
                    _ => {}
                }
            }
            // Read or refused; a panic fails the test.
            let (_, most) = measured(|| drop(reader(&bytes, Path::new("fuzzed"))));
            // What does unpack may be 1,100 times larger, in three copies of up to four bytes a number.
            assert!(most <= 16 * 1100 * bytes.len() + 400_000, "reader {number}, round {round}: {most} bytes");
        }
    }
}
