//! Tokenizers: byte pairs against a plain implementation in Python (scripts/reference_data.py), any bytes, characters,
//! windows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::data::augment::Draw;
use kiln::data::tokens::{Bpe, Chars, Windows, pieces};
use kiln::data::{Dataset, files::text};
use kiln::prelude::*;
use std::path::{Path, PathBuf};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}

fn whole(name: &str) -> Vec<i32> {
    let tensors = store::load_tensors(&Device::open().unwrap(), data().join("data.safetensors")).unwrap().0;
    tensors[name].to_vec::<f32>().unwrap().iter().map(|&v| v as i32).collect()
}

#[test]
fn pieces_merges_and_tokens_are_those_of_the_plain_algorithm() {
    let text = text::read(data().join("files/bpe.txt")).unwrap();
    let lengths: Vec<i32> = pieces(text.as_bytes()).map(|piece| piece.len() as i32).collect();
    assert_eq!(lengths, whole("bpe.pieces"));
    let merges = whole("bpe.merges");
    let bpe = Bpe::train(&text, 256 + merges.len() / 2);
    assert_eq!(bpe.merges().iter().flat_map(|&(a, b)| [a, b]).collect::<Vec<_>>(), merges);
    assert_eq!(bpe.encode(&text), whole("bpe.tokens"));
    assert_eq!(bpe.decode(&bpe.encode(&text)).unwrap(), text.as_bytes());
}

#[test]
fn pieces_by_hand() {
    let cut = |text: &'static str| pieces(text.as_bytes()).map(|p| std::str::from_utf8(p).unwrap()).collect::<Vec<_>>();
    assert_eq!(cut("I'll go 12!?"), ["I", "'ll", " go", " 12", "!?"]);
    assert_eq!(cut("a  b\n c   "), ["a", " ", " b", "\n", " c", "   "]);
    assert_eq!(cut("x\n\ny"), ["x", "\n", "\n", "y"]);
    assert_eq!(cut("'sx 'tis"), ["'s", "x", " '", "tis"]);
    assert_eq!(cut(""), Vec::<&str>::new());
}

#[test]
fn any_bytes_come_back() {
    let text = text::read(data().join("files/bpe.txt")).unwrap();
    let bpe = Bpe::train(&text, 400);
    for round in 0..200 {
        let mut draw = Draw::new(1, round);
        let n = draw.below(60);
        let bytes: Vec<u8> = match round % 2 {
            0 => (0..n).map(|_| draw.bits() as u8).collect(),
            _ => (0..n).map(|_| text.as_bytes()[draw.below(text.len())]).collect(),
        };
        let tokens = bpe.encode(&bytes);
        assert_eq!(bpe.decode(&tokens).unwrap(), bytes);
        assert_eq!(pieces(&bytes).flatten().copied().collect::<Vec<_>>(), bytes);
        assert!(tokens.iter().all(|&token| (0..bpe.vocab_size() as i32).contains(&token)));
    }
    for bad in [-1, bpe.vocab_size() as i32, i32::MAX] {
        assert!(matches!(bpe.decode(&[65, bad]), Err(Error::Argument { .. })));
    }
    // Without a text there is nothing to merge; a long run is merged in time that does not square.
    assert_eq!(Bpe::train("", 300).vocab_size(), 256);
    let runs = Bpe::train("aaaaaaaa aaaaaaaa", 260);
    let long = vec![b'a'; 100_000];
    assert_eq!(runs.decode(&runs.encode(&long)).unwrap(), long);
}

#[test]
fn merges_are_saved_and_loaded() {
    let bpe = Bpe::train(text::read(data().join("files/bpe.txt")).unwrap(), 300);
    let path = std::env::temp_dir().join(format!("kiln-bpe-{}.txt", std::process::id()));
    bpe.save(&path).unwrap();
    assert_eq!(Bpe::load(&path).unwrap(), bpe);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn characters() {
    let chars = Chars::new("banana ñ");
    assert_eq!((chars.vocab_size(), chars.chars()), (5, &[' ', 'a', 'b', 'n', 'ñ'][..]));
    assert_eq!(chars.decode(&chars.encode("nab ñ").unwrap()).unwrap(), "nab ñ");
    assert!(matches!(chars.encode("bax"), Err(Error::Argument { .. })));
    assert!(matches!(chars.decode(&[5]), Err(Error::Argument { .. })));
    assert!(matches!(chars.decode(&[-1]), Err(Error::Argument { .. })));
}

#[test]
fn windows_of_a_text() {
    let device = Device::open().unwrap();
    let windows = |stride| Windows::new(&device, (0..10).collect(), 4).unwrap().stride(stride);
    assert_eq!([1, 2, 4, 9].map(|stride| windows(stride).len()), [6, 3, 2, 1]);
    let (x, y) = windows(4).batch(&[0, 1]);
    assert_eq!(x.shape().unwrap().to_vec(), [2, 4]);
    assert_eq!(x.to_vec::<i32>().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(y.to_vec::<i32>().unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
    for stride in 1..12 {
        let set = windows(stride);
        let (_, y) = set.batch(&[set.len() - 1]);
        assert!(*y.to_vec::<i32>().unwrap().last().unwrap() <= 9);
    }
    assert!(Windows::new(&device, vec![1, 2, 3], 3).is_err() && Windows::new(&device, vec![1, 2], 0).is_err());
}
