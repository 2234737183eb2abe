//! Data sets: batches, splits, the digits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::data::digits;
use kiln::prelude::*;

fn numbered(device: &Device, n: usize) -> TensorDataset {
    let inputs: Vec<f32> = (0..2 * n).map(|v| (v / 2) as f32).collect();
    TensorDataset::new(device, (inputs, [2]), ((0..n as i32).collect::<Vec<_>>(), [])).unwrap()
}

fn labels(batches: impl Iterator<Item = (Tensor, Tensor)>) -> Vec<i32> {
    batches.flat_map(|(_, y)| y.to_vec::<i32>().unwrap()).collect()
}

#[test]
fn a_pass_has_every_example_once_with_its_input() {
    let device = Device::open().unwrap();
    let set = numbered(&device, 23);
    for (x, y) in set.batches(5, 9) {
        let (x, y) = (x.to_vec::<f32>().unwrap(), y.to_vec::<i32>().unwrap());
        assert_eq!(x, y.iter().flat_map(|&v| [v as f32; 2]).collect::<Vec<_>>());
    }
    let order = labels(set.batches(5, 9));
    assert_eq!(order, labels(set.batches(7, 9)), "the order depends on the seed alone");
    assert_ne!(order, labels(set.batches(5, 10)));
    assert_ne!(order, (0..23).collect::<Vec<_>>());
    let mut sorted = order;
    sorted.sort_unstable();
    assert_eq!(sorted, labels(set.in_order(4)));
}

#[test]
fn batches_know_how_many_they_are() {
    let device = Device::open().unwrap();
    let set = numbered(&device, 10);
    for (size, whole, all) in [(1, 10, 10), (3, 3, 4), (5, 2, 2), (10, 1, 1), (11, 0, 1), (0, 10, 10)] {
        assert_eq!((set.batches(size, 0).len(), set.batches(size, 0).count()), (all, all), "{size}");
        let full = set.batches(size, 0).drop_last();
        assert_eq!((full.len(), full.count()), (whole, whole), "{size}");
    }
    assert_eq!(set.batches(usize::MAX, 0).map(|(_, y)| y.numel()).collect::<Vec<_>>(), [10]);
    let none = set.subset(&[]);
    assert!(none.is_empty() && none.batches(4, 0).next().is_none());
}

#[test]
fn splits_share_nothing_and_lose_nothing() {
    let device = Device::open().unwrap();
    let set = numbered(&device, 50);
    let (a, b) = set.split(0.3, 1).unwrap();
    assert_eq!((a.len(), b.len()), (35, 15));
    let mut all = [a.labels(), b.labels()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..50).collect::<Vec<_>>());
    // A split of a split counts rows of the part.
    let (c, d) = b.split(0.5, 1).unwrap();
    assert!(c.labels().iter().chain(&d.labels()).all(|label| b.labels().contains(label)));
    assert_eq!(set.subset(&[3, 99, 1]).labels(), [3, 1]);
    let sizes = |share| {
        [set.split(share, 1).unwrap(), set.stratified_split(share, 1).unwrap()].map(|(a, b)| (a.len(), b.len()))
    };
    assert_eq!((sizes(0.0), sizes(1.0)), ([(50, 0); 2], [(0, 50); 2]));
    for share in [-0.1, 1.1, 20.0, f64::NAN, f64::INFINITY] {
        for (op, refused) in [("split", set.split(share, 1)), ("stratified_split", set.stratified_split(share, 1))] {
            let error = refused.unwrap_err();
            assert!(matches!(&error, Error::Argument { op: of, name: "held_out", .. } if *of == op), "{error}");
            assert!(error.to_string().contains("tests/data.rs"), "{error}");
        }
    }
}

/// Targets of several integers each are no classes: a stratified split draws from all examples alike.
#[test]
fn several_integers_are_no_label() {
    let device = Device::open().unwrap();
    let targets: Vec<i32> = (0..20).flat_map(|row| [row, i32::from(row < 10)]).collect();
    let set = TensorDataset::new(&device, (vec![0f32; 20], []), (targets, [2])).unwrap();
    assert!(set.labels().is_empty());
    let (kept, held) = set.stratified_split(0.5, 3).unwrap();
    assert_eq!((kept.len(), held.len()), (10, 10));
    let one = TensorDataset::new(&device, (vec![0f32; 2], []), (vec![4i32, 5], [1])).unwrap();
    assert_eq!(one.labels(), [4, 5]);
}

#[test]
fn the_digits_split_keeps_the_proportions() {
    let device = Device::open().unwrap();
    let (train, test) = digits::split(&device).unwrap();
    assert_eq!((train.len(), test.len()), (1438, 359));
    let count = |set: &TensorDataset, digit| set.labels().iter().filter(|&&label| label == digit).count();
    let held: Vec<usize> = (0..10).map(|digit| count(&test, digit)).collect();
    let kept: Vec<usize> = (0..10).map(|digit| count(&train, digit)).collect();
    for digit in 0..10 {
        let part = held[digit] as f64 / (held[digit] + kept[digit]) as f64;
        assert!((part - 0.2).abs() < 0.003, "{digit}: {part}");
    }
    let (x, y) = test.reshaped(&[1, 8, 8]).unwrap().all();
    assert_eq!((x.shape().unwrap().to_vec(), y.shape().unwrap().to_vec()), (vec![359, 1, 8, 8], vec![359]));
    assert_eq!((x.max().item().unwrap(), x.min().item().unwrap()), (1.0, 0.0));
}

#[test]
fn sets_that_do_not_fit_are_errors() {
    let device = Device::open().unwrap();
    let new = |inputs: Vec<f32>, targets: Vec<i32>| TensorDataset::new(&device, (inputs, [2]), (targets, []));
    assert!(matches!(new(vec![0.0; 5], vec![0; 2]), Err(Error::Argument { name: "inputs", .. })));
    assert!(matches!(new(vec![0.0; 6], vec![0; 2]), Err(Error::Shape { .. })));
    assert!(TensorDataset::new(&device, (vec![0f32], [0]), (vec![0i32], [])).is_err());
    assert!(TensorDataset::new(&device, (vec![0f32], [1 << 40, 1 << 40]), (vec![0i32], [])).is_err());
    assert!(matches!(numbered(&device, 3).reshaped(&[1 << 40, 1 << 40]), Err(Error::Shape { .. })));
    let error = numbered(&device, 3).reshaped(&[3]).unwrap_err();
    assert!(error.to_string().contains("tests/data.rs"), "{error}");
}

#[test]
fn metrics_of_logits() {
    let device = Device::open().unwrap();
    let logits = Tensor::new(&device, [[1.0f32, 2.0], [3.0, 0.0], [0.0, 1.0], [0.0, 1.0]]);
    let labels = Tensor::new(&device, [1i32, 0, 0, 1]);
    assert_eq!(accuracy(&logits, &labels).item().unwrap(), 0.75);
    let mut matrix = ConfusionMatrix::new(2);
    matrix.add_logits(&labels, &logits).unwrap();
    assert_eq!(matrix.counts(), [[1, 1], [0, 2]]);
}
