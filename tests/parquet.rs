//! Parquet tables against what pyarrow wrote (scripts/reference_parquet.py).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};

use kiln::data::files::parquet::Parquet;
use kiln::prelude::*;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/files").join(name)
}

fn want(device: &Device) -> nn::StateDict {
    store::load_tensors(device, file("../parquet.safetensors")).unwrap().0
}

const KINDS: [&str; 11] =
    ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float", "double"];

#[test]
fn columns_are_what_pyarrow_wrote() {
    let device = Device::open().unwrap();
    let want = want(&device);
    for (name, columns) in [
        ("snappy.parquet", &[&KINDS[..], &["same", "holes"]].concat()),
        ("v2.parquet", &[&KINDS[..], &["same", "holes"]].concat()),
        ("plain.parquet", &[&KINDS[..], &["same", "holes"]].concat()),
        ("split.parquet", &vec!["int32", "int64", "uint32", "uint64", "float", "double"]),
    ] {
        let table = Parquet::open(file(name)).unwrap().null(-1.0);
        assert_eq!(table.len(), 700);
        for column in columns {
            let (got, want) = (table.numbers(&[column]).unwrap(), want[*column].to_vec::<f32>().unwrap());
            assert!(got == want, "{name}: {column}");
        }
        // row by row, at once and a row group at a time, from a file and from memory
        let all = table.numbers(columns).unwrap();
        let first: Vec<f32> = columns.iter().map(|column| want[*column].to_vec::<f32>().unwrap()[0]).collect();
        assert_eq!(all[..columns.len()], first);
        let groups: Vec<Vec<f32>> = table.groups(columns).map(Result::unwrap).collect();
        assert_eq!(groups.concat(), all);
        assert_eq!(groups.len(), if name == "snappy.parquet" || name == "plain.parquet" { 3 } else { 1 });
        let parsed = Parquet::parse(&std::fs::read(file(name)).unwrap(), name).unwrap().null(-1.0);
        assert_eq!(parsed.numbers(columns).unwrap(), all);
    }
}

#[test]
fn labels_classes_and_sets() {
    let device = Device::open().unwrap();
    let want = want(&device);
    let table = Parquet::open(file("snappy.parquet")).unwrap();
    let (classes, names) = table.classes("class").unwrap();
    assert_eq!(names, ["", "cat", "dog", "Ärger"]);
    let of: Vec<f32> = classes.iter().map(|&class| class as f32).collect();
    assert_eq!(of, want["class"].to_vec::<f32>().unwrap());
    let small = table.labels("int8").unwrap();
    assert_eq!(small.iter().map(|&v| v as f32).collect::<Vec<_>>(), want["int8"].to_vec::<f32>().unwrap());

    let set = table.classification(&device, &["float", "int8"], "class").unwrap();
    let (x, y) = set.all();
    assert_eq!((x.shape().unwrap().to_vec(), y.to_vec::<i32>().unwrap()), (vec![700, 2], classes));
    let set = table.regression(&device, &["float"], &["double", "same"]).unwrap();
    assert_eq!(set.targets().shape().unwrap().to_vec(), [700, 2]);
    for name in ["small.parquet", "required.parquet"] {
        let table = Parquet::open(file(name)).unwrap();
        assert_eq!(table.names(), ["x", "y"]);
        assert_eq!(table.numbers(&["x"]).unwrap(), (0..40).map(|i| i as f32).collect::<Vec<_>>());
        assert_eq!(table.labels("y").unwrap(), (0..40).map(|i| i % 3).collect::<Vec<_>>());
    }
    let empty = Parquet::open(file("empty.parquet")).unwrap();
    assert!(empty.is_empty() && empty.numbers(&["x"]).unwrap().is_empty());
    assert!(empty.numbers(&["z"]).is_err());
}

#[test]
fn what_is_not_read_is_an_error_that_says_what_it_is() {
    let table = Parquet::open(file("snappy.parquet")).unwrap();
    let of = |name: &str| Parquet::open(file(name)).unwrap();
    for (result, part) in [
        (table.numbers(&["nothing"]), "a column \"nothing\""),
        (table.numbers(&["holes"]), "a null"),
        (table.numbers(&["nulls"]), "a null"),
        (table.numbers(&["class"]), "text"),
        (table.numbers(&["day"]), "dates"),
        (table.numbers(&["element"]), "lists"),
        (table.numbers(&["a"]), "lists or structures"),
        (table.numbers(&["huge"]), "1e300"),
        (table.labels("float").map(|_| Vec::new()), "an integer of 32 bits"),
        (table.labels("uint32").map(|_| Vec::new()), "4294967295"),
        (table.classes("int8").map(|_| Vec::new()), "text in column"),
        (of("zstd.parquet").numbers(&["x"]), "Zstandard"),
        (of("delta.parquet").numbers(&["y"]), "delta encoding"),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Malformed { .. }) && error.to_string().contains(part), "{part}: {error}");
    }
    assert_eq!(of("delta.parquet").numbers(&["x"]).unwrap().len(), 40);
    assert_eq!(table.clone().null(2.5).numbers(&["nulls"]).unwrap(), [2.5; 700]);
    let bad = table.groups(&["holes"]).collect::<Vec<_>>();
    assert!(bad.len() == 1 && bad[0].is_err(), "an error is the last item");
    assert!(matches!(Parquet::open(std::env::temp_dir()), Err(Error::File { .. })));
}
