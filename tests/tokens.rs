//! Tokenizers: byte pairs against a plain implementation in Python (scripts/reference_data.py), any bytes, characters,
//! windows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::data::augment::Draw;
use kiln::data::tokens::{Bpe, Chars, Gpt2Bpe, Windows, pieces};
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

/// Every character alone before a letter and before a digit: they are of one piece where the classes are one.
#[test]
fn the_class_of_every_character_is_that_of_the_published_pattern() {
    let all = gpt2();
    let runs = all["classes"].chunks(2).map(|run| (run[0] as u32, run[1])).chain([(0x11_0000, 0)]).collect::<Vec<_>>();
    let mut wrong = Vec::new();
    for pair in runs.windows(2) {
        let class = pair[0].1;
        for c in (pair[0].0..pair[1].0).filter_map(char::from_u32) {
            let joins = |other: &str| pieces(format!("{c}{other}").as_bytes()).count() == 1;
            let got = match (joins("a"), joins("1"), joins("?")) {
                (true, true, true) => 0, // only a space, which belongs to what follows it
                (true, false, false) => 1,
                (false, true, false) => 2,
                (false, false, true) => 3,
                (false, false, false) => 0,
                _ => -1,
            };
            if got != class && c != '\'' {
                wrong.push(format!("{c:?} is {got}, not {class}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong: {}", wrong.len(), wrong.join(", ").chars().take(300).collect::<String>());
}

#[test]
fn gpt2s_files_give_gpt2s_tokens() {
    let all = gpt2();
    let file = |name: &str| data().join("files").join(name);
    let text = text::read(file("gpt2_text.txt")).unwrap();
    let lengths: Vec<i32> = pieces(text.as_bytes()).map(|piece| piece.len() as i32).collect();
    assert_eq!(lengths, all["pieces"]);
    let tokens = Gpt2Bpe::read(file("gpt2_vocab.json"), file("gpt2_merges.txt")).unwrap();
    assert_eq!(tokens.encode(&text), all["tokens"]);
    assert_eq!(tokens.decode(&all["tokens"]).unwrap(), text.as_bytes());
    assert_eq!((tokens.vocab_size(), tokens.special("<|endoftext|>")), (317, Some(316)));
    assert_eq!(tokens.encode("!~ "), [0, 93, 220]); // the numbers that GPT-2 gives these bytes
    assert_eq!(tokens.decode(&[0, 316]).unwrap(), b"!<|endoftext|>");
    assert!(matches!(tokens.decode(&[317]), Err(Error::Argument { .. })));
    assert!(matches!(tokens.decode(&[-1]), Err(Error::Argument { .. })));
}

/// Each change to the two files that makes them no vocabulary, and where the error says it is.
#[test]
fn vocabularies_that_are_refused() {
    let read = |name: &str| std::fs::read_to_string(data().join("files").join(name)).unwrap();
    let (vocab, merges) = (read("gpt2_vocab.json"), read("gpt2_merges.txt"));
    let parse = |vocab: &str, merges: &str| Gpt2Bpe::parse((vocab, Path::new("v")), (merges, Path::new("m")));
    assert!(parse(&vocab, &merges).is_ok());
    assert!(parse(&format!(" \r\n{vocab}\t"), merges.trim_start_matches("#version: 0.2\n")).is_ok());
    let vocabs = [
        ("".to_string(), "byte 0"),
        ("{}".into(), "0x00"),
        ("{} x".into(), "byte 3"),
        ("[1]".into(), "byte 0"),
        (vocab.replacen("\"!\": 0", "\"!\": -1", 1), "byte 6"),
        (vocab.replacen("\"!\": 0", "\"!\": 00", 1), "byte 6"),
        (vocab.replacen("\"!\": 0", "\"!\": 2147483648", 1), "byte 6"),
        (vocab.replacen("\"!\": 0", "\"!\": 1", 1), "occur once"),
        (vocab.replacen("\"!\": 0", "\"#\": 0", 1), "occur once"),
        (vocab.replacen("\"!\": 0", "\"!\" 0", 1), "byte 5"),
        (vocab.replacen("\"!\": 0,", "\"!\": 0;", 1), "byte 7"),
        (vocab.replacen("\"!\": 0, ", "", 1), "0x21"),
        ("{\"\\x\": 0}".into(), "byte 2"),
        ("{\"\\ud83d\": 0}".into(), "byte 2"),
        ("{\"\\u+123\": 0}".into(), "byte 2"),
        ("{\"a".into(), "byte 3"),
        ("{\"a\n\": 1}".into(), "byte 3"),
        (vocab[..vocab.len() - 1].into(), "byte"),
    ];
    for (vocab, place) in vocabs {
        let error = parse(&vocab, &merges).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }) && error.to_string().contains(place), "{place}: {error}");
    }
    let first = merges.lines().nth(1).unwrap();
    for wrong in ["", "a", "a  b", "a zzz", "! !", first, "a b c"] {
        let lines: Vec<&str> = merges.lines().take(3).chain([wrong]).chain(merges.lines().skip(3)).collect();
        let error = parse(&vocab, &lines.join("\n")).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }) && error.to_string().contains("4"), "{wrong:?}: {error}");
    }
}

fn gpt2() -> std::collections::BTreeMap<String, Vec<i32>> {
    let path = data().join("gpt2_tokens.safetensors");
    let tensors = store::load_tensors(&Device::open().unwrap(), path).unwrap().0;
    tensors.into_iter().map(|(name, tensor)| (name, tensor.to_vec::<i32>().unwrap())).collect()
}
