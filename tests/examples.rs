//! The examples in a quick form: that they run, learn in the first few steps, and give the figure that they promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

use std::io::Write;

use kiln::prelude::*;

#[path = "../examples/cancer.rs"]
mod cancer;
#[path = "../examples/chars.rs"]
mod chars;
#[path = "../examples/cifar10.rs"]
mod cifar10;
#[path = "../examples/custom_op.rs"]
mod custom_op;
#[path = "../examples/grammar.rs"]
mod grammar;
#[path = "../examples/karate.rs"]
mod karate;
#[path = "../examples/markov.rs"]
mod markov;
#[path = "../examples/mnist.rs"]
mod mnist;
#[path = "../examples/residual.rs"]
mod residual;
#[path = "../examples/vae.rs"]
mod vae;

fn device() -> Device {
    Device::open().unwrap()
}

#[test]
fn residual_learns() {
    let right = residual::run(&device(), 1, true).unwrap();
    assert!((0.8..=1.0).contains(&right), "{right}");
}

/// After a tenth of the steps it guesses more than half; nobody can beat the rules by more than chance.
#[test]
fn grammar_learns_and_no_more_than_there_is() {
    let gap = grammar::run(&device(), 1, true).unwrap();
    assert!((-0.25..0.01).contains(&gap), "{gap}");
}

/// A model that knew nothing would be ln 5 less the entropy rate away, about 0.4.
#[test]
fn markov_learns_and_no_more_than_there_is() {
    let gap = markov::run(&device(), 42, true).unwrap();
    assert!((-0.4..0.02).contains(&gap), "{gap}");
}

#[test]
fn chars_learns_and_writes() {
    let gain = chars::run(&device(), 1, true).unwrap();
    assert!((-1.5..1.0).contains(&gain), "{gain}"); // ln 61 is 1.7 from the table
}

#[test]
fn karate_reaches_its_bar_from_two_seeds() {
    assert_eq!(karate::run(&device(), 0, true).unwrap(), 1.0);
}

#[test]
fn cancer_reaches_nearly_its_bar_in_one_fold() {
    let right = cancer::run(&device(), 1, true).unwrap();
    assert!((0.93..=1.0).contains(&right), "{right}");
}

#[test]
fn vae_learns_and_draws() {
    let (bound, picture) = vae::draw(&device(), 1, true).unwrap();
    assert!((-33.0..-13.7).contains(&bound), "{bound}");
    assert!(picture.starts_with("<svg") && picture.matches("<rect").count() > 500 && !picture.contains("NaN"));
}

#[test]
fn a_custom_operation_has_the_gradient_that_its_values_have() {
    let (error, loss) = custom_op::run(&device(), 1, true).unwrap();
    assert!(error < 1e-3 && loss < 10.0, "{error}, {loss}");
}

/// The pixels of one of ten classes: stripes across or down of one of five widths, with noise. Moving and mirroring
/// them changes nothing of that.
fn striped(class: usize, size: usize, planes: usize, chance: &mut data::augment::Draw) -> Vec<u8> {
    let pixel = |at: usize| {
        let along = if class < 5 { at / size % size } else { at % size };
        100 * (along / (1 + class % 5) % 2) + chance.below(100)
    };
    (0..planes * size * size).map(pixel).map(|pixel| pixel as u8).collect()
}

/// Files as MNIST has them, the images compressed: the quick form reads nearly all of what is easy to tell.
#[test]
fn mnist_learns_from_files_of_its_format() {
    let folder = Folder::new("mnist");
    let chance = &mut data::augment::Draw::new(7, 0);
    for (part, count) in [("train", 1280), ("t10k", 200)] {
        let mut images: Vec<u8> = [0x803u32, count, 28, 28].iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut labels: Vec<u8> = [0x801u32, count].iter().flat_map(|word| word.to_be_bytes()).collect();
        for class in (0..count as usize).map(|i| i % 10) {
            images.extend(striped(class, 28, 1, chance));
            labels.push(class as u8);
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&images).unwrap();
        std::fs::write(folder.0.join(format!("{part}-images-idx3-ubyte.gz")), gzip.finish().unwrap()).unwrap();
        std::fs::write(folder.0.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
    let right = mnist::run(&device(), 1, true, &folder.0).unwrap();
    assert!((0.9..=1.0).contains(&right), "{right}");
}

#[test]
fn cifar10_learns_from_files_of_its_format() {
    let folder = Folder::new("cifar10");
    let chance = &mut data::augment::Draw::new(8, 0);
    let parts = (1..=5).map(|i| format!("data_batch_{i}")).chain(["test_batch".into()]);
    for part in parts {
        let record = |class: usize| [vec![class as u8], striped(class, 32, 3, chance)].concat();
        let bytes: Vec<u8> = (0..200).map(|i| i % 10).flat_map(record).collect();
        std::fs::write(folder.0.join(part + ".bin"), bytes).unwrap();
    }
    let right = cifar10::run(&device(), 1, true, &folder.0).unwrap();
    assert!((0.9..=1.0).contains(&right), "{right}");
}

/// A folder of its own, gone at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kiln-examples-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
