//! The data loader: orders, last batches, positions, weights, threads that fail; streams; splits and folds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::data::stream::{Prefetch, batches, shuffle};
use kiln::data::{self, DataLoader, Last, Position};
use kiln::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The numbers of the examples themselves, with what each draws.
fn numbers(len: usize) -> DataLoader<Vec<(usize, u64)>> {
    DataLoader::from_examples(len, |row, draw| Ok((row, draw.bits())), Ok)
}

fn contents<B: Send + 'static>(batches: impl Iterator<Item = Result<data::Batch<B>>>) -> Vec<B> {
    batches.map(|batch| batch.unwrap().content).collect()
}

fn rows(loader: &DataLoader<Vec<(usize, u64)>>, epoch: u64) -> Vec<Vec<usize>> {
    contents(loader.epoch(epoch)).into_iter().map(|batch| batch.into_iter().map(|(row, _)| row).collect()).collect()
}

#[test]
fn defaults_are_single_examples_in_order() {
    let loader = numbers(3);
    assert_eq!(
        (loader.steps(), rows(&loader, 0), rows(&loader, 1)),
        (3, vec![vec![0], vec![1], vec![2]], rows(&loader, 0))
    );
    assert!(numbers(0).is_empty() && rows(&numbers(0).workers(2).shuffle(true), 0).is_empty());
}

#[test]
fn last_batches_stay_go_or_are_filled_up() {
    let with = |last| numbers(7).batch_size(3).last(last);
    assert_eq!(rows(&with(Last::Keep), 0), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    assert_eq!(rows(&with(Last::Drop), 0), [[0, 1, 2], [3, 4, 5]]);
    assert_eq!(rows(&with(Last::Pad), 0), [[0, 1, 2], [3, 4, 5], [6, 0, 1]]);
    let padding: Vec<usize> = with(Last::Pad).epoch(0).map(|batch| batch.unwrap().padding).collect();
    assert_eq!(padding, [0, 0, 2]);
    assert_eq!([Last::Keep, Last::Drop, Last::Pad].map(|last| with(last).steps()), [3, 2, 3]);
    // A batch larger than the set goes round more than once.
    assert_eq!(rows(&numbers(2).batch_size(5).last(Last::Pad), 0), [[0, 1, 0, 1, 0]]);
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let all = |workers: usize, ahead: usize| {
        let loader = numbers(101).batch_size(8).shuffle(true).seed(5).workers(workers).prefetch(ahead);
        (0..3).map(|epoch| contents(loader.epoch(epoch))).collect::<Vec<_>>()
    };
    let want = all(0, 2);
    for (workers, ahead) in [(1, 0), (1, 3), (2, 1), (3, 2), (20, 1)] {
        assert_eq!(all(workers, ahead), want, "{workers} workers, {ahead} ahead");
    }
    let flat = |epoch: &Vec<Vec<(usize, u64)>>| epoch.concat().into_iter().map(|(row, _)| row).collect::<Vec<_>>();
    assert_ne!(flat(&want[0]), flat(&want[1]), "each epoch has an order of its own");
    let mut sorted = flat(&want[2]);
    sorted.sort_unstable();
    assert_eq!(sorted, (0..101).collect::<Vec<_>>());
    let other = numbers(101).batch_size(8).shuffle(true).seed(6);
    assert_ne!(contents(other.epoch(0)), want[0]);
    // Each example of each epoch draws numbers of its own.
    let mut draws: Vec<u64> = want.iter().flatten().flatten().map(|&(_, bits)| bits).collect();
    draws.sort_unstable();
    draws.dedup();
    assert_eq!(draws.len(), 303);
}

#[test]
fn a_pass_goes_on_where_it_was_broken_off() {
    for workers in [0, 2] {
        let loader = numbers(23).batch_size(4).shuffle(true).seed(9).workers(workers);
        let whole: Vec<_> = (0..2).flat_map(|epoch| contents(loader.epoch(epoch))).collect();
        for stop in 0..whole.len() {
            let mut position = Position::default();
            let mut seen = Vec::new();
            while seen.len() < stop {
                for batch in loader.resume(position).take(stop - seen.len()) {
                    let batch = batch.unwrap();
                    position = batch.next;
                    seen.push(batch.content);
                }
            }
            assert_eq!(position, Position { epoch: stop as u64 / 6, step: stop % 6 });
            let again = DataLoader::clone(&loader);
            let mut left = again.resume(position);
            assert_eq!(left.at(), position);
            seen.extend(contents(left.by_ref()));
            if position.epoch == 0 {
                seen.extend(contents(again.epoch(1)));
            }
            assert_eq!(seen, whole, "stopped after {stop}");
        }
        // A position past the end has nothing left.
        assert_eq!(loader.resume(Position { epoch: 0, step: 99 }).count(), 0);
    }
    // The batches of a plain set skip without being made.
    let device = Device::open().unwrap();
    let set = TensorDataset::new(&device, (vec![0f32; 10], [1]), ((0..10).collect::<Vec<i32>>(), [])).unwrap();
    let label = |batch: Option<(Tensor, Tensor)>| batch.map(|(_, y)| y.to_vec::<i32>().unwrap());
    let all: Vec<_> = set.batches(3, 4).map(|batch| label(Some(batch))).collect();
    assert_eq!(label(set.batches(3, 4).nth(2)), all[2]);
    assert_eq!(set.batches(3, 4).skip(1).map(|batch| label(Some(batch))).collect::<Vec<_>>(), all[1..]);
    assert_eq!(label(set.batches(3, 4).nth(4)), None);
}

#[test]
fn weights_are_followed() {
    let mut weights = vec![1.0; 10];
    (weights[3], weights[4]) = (0.0, 5.0);
    let loader = numbers(10).batch_size(100).weighted(&weights, 13_000).unwrap();
    assert_eq!(loader.steps(), 130);
    let drawn = rows(&loader, 0).concat();
    let count = |row| drawn.iter().filter(|&&other| other == row).count();
    assert_eq!((drawn.len(), count(3)), (13_000, 0));
    // 5,000 and 1,000 expected; four deviations are 222 and 122
    assert!(count(4).abs_diff(5_000) < 222 && (0..3).all(|row| count(row).abs_diff(1_000) < 122));
    assert_ne!(rows(&loader, 1).concat(), drawn);
    // An example that comes twice in a pass is changed in two ways.
    let same = numbers(1).weighted(&[1.0], 2).unwrap();
    let draws = contents(same.epoch(0)).concat();
    assert_ne!(draws[0].1, draws[1].1);
    for bad in [vec![1.0; 9], vec![0.0; 10], vec![-1.0; 10], vec![f64::NAN; 10], vec![f64::MAX; 10]] {
        assert!(matches!(numbers(10).weighted(&bad, 5), Err(Error::Argument { .. })), "{bad:?}");
    }
}

#[test]
fn errors_and_panics_of_workers_come_out_where_they_happened() {
    for workers in [0, 1, 3] {
        let refuse = |row: usize, _: &mut _| match row {
            13 => Err(Error::File { path: "thirteen.png".into(), why: "gone".into() }),
            row => Ok(row),
        };
        let loader = DataLoader::from_examples(20, refuse, Ok).batch_size(3).workers(workers);
        let results: Vec<_> = loader.epoch(0).collect();
        assert_eq!(results.len(), 5, "{workers}");
        assert!(results[..4].iter().all(Result::is_ok));
        assert!(results[4].as_ref().unwrap_err().to_string().contains("thirteen.png"));
    }
    for workers in [1, 2] {
        let panics = |row: usize, _: &mut _| if row == 5 { panic!("no five") } else { Ok(row) };
        let loader = DataLoader::from_examples(8, panics, Ok).workers(workers);
        let results: Vec<_> = loader.epoch(0).collect();
        assert_eq!(results.len(), 6, "{workers}");
        assert_eq!(results[5].as_ref().unwrap_err(), &Error::Worker("panicked: no five".into()));
    }
}

#[test]
fn workers_run_ahead_as_far_as_they_may_and_end_when_dropped() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = made.clone();
    let loader =
        DataLoader::from_rows(1000, move |_| Ok(counter.fetch_add(1, Ordering::SeqCst))).workers(2).prefetch(3);
    let mut pass = loader.epoch(0);
    // Three and one in the making for each thread; they go on once half of that is taken.
    for (taken, want) in [(0, 8), (3, 8), (1, 12)] {
        assert!(pass.by_ref().take(taken).all(|batch| batch.is_ok()));
        let start = Instant::now();
        while made.load(Ordering::SeqCst) < want && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(made.load(Ordering::SeqCst), want);
    }
    drop(pass);
    let at_the_end = made.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(made.load(Ordering::SeqCst), at_the_end, "a worker went on");
}

/// A slow batch does not hold up those that come after it, nor change their order.
#[test]
fn a_slow_batch_holds_up_one_thread() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = made.clone();
    let slow = move |rows: &data::Rows| {
        let row = rows.rows[0];
        let start = Instant::now();
        // the first batch waits for five others, which its thread cannot make
        while row == 0 && counter.load(Ordering::SeqCst) < 5 && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        counter.fetch_add(1, Ordering::SeqCst);
        Ok((row, start.elapsed() < Duration::from_secs(20)))
    };
    let loader = DataLoader::from_rows(9, slow).workers(2).prefetch(2);
    assert_eq!(contents(loader.epoch(0)), (0..9).map(|row| (row, true)).collect::<Vec<_>>());
}

#[test]
fn absurd_numbers_of_batches_in_advance_are_those_that_there_are() {
    let loader = numbers(20).batch_size(3).workers(usize::MAX).prefetch(usize::MAX);
    assert_eq!(rows(&loader, 0).concat(), (0..20).collect::<Vec<_>>());
    assert_eq!(Prefetch::new((0..9).map(Ok), usize::MAX).count(), 9);
}

#[test]
fn a_loader_of_tensors_gives_what_the_set_gives() {
    let device = Device::open().unwrap();
    let (train, _) = data::digits::split(&device).unwrap();
    let loader = DataLoader::new(train.clone()).batch_size(100).shuffle(true).seed(3).workers(2);
    let order = loader.order(4);
    for (step, batch) in loader.epoch(4).enumerate().take(4) {
        let (x, y) = batch.unwrap().content;
        let (want_x, want_y) = train.batch(&order[100 * step..100 * (step + 1)]);
        assert_eq!(x.to_vec::<f32>().unwrap(), want_x.to_vec::<f32>().unwrap());
        assert_eq!(y.to_vec::<i32>().unwrap(), want_y.to_vec::<i32>().unwrap());
    }
}

#[test]
fn images_are_changed_on_the_workers_and_keep_their_targets() {
    use data::augment::Image;
    let device = Device::open().unwrap();
    let pixels: Vec<u8> = (0..6 * 2).map(|i| 20 * i as u8).collect();
    let set = TensorDataset::new(&device, (pixels, [1, 1, 2]), ((0..6).collect::<Vec<i32>>(), [])).unwrap();
    let set = set.subset(&[5, 4, 3, 2, 1]); // numbers of the subset, not of the set
    let loader = data::DataLoader::images(set.clone(), |image, _| Ok(image.hflip())).batch_size(2).workers(2);
    let batches: Vec<_> = contents(loader.epoch(0));
    assert_eq!(batches[0].0.shape().unwrap(), [2, 1, 1, 2]);
    assert_eq!(batches[0].0.to_vec::<f32>().unwrap(), [220.0, 200.0, 180.0, 160.0].map(|v: f32| v / 255.0));
    assert_eq!(batches[0].1.to_vec::<i32>().unwrap(), [5, 4]);
    let noisy = |workers: usize| {
        let noise = |image, draw: &mut data::augment::Draw| Ok(data::augment::gaussian_noise(image, 1.0, draw));
        let loader = data::DataLoader::images(set.clone(), noise).batch_size(2).shuffle(true).seed(3).workers(workers);
        contents(loader.epoch(1)).iter().flat_map(|(x, _)| x.to_vec::<f32>().unwrap()).collect::<Vec<f32>>()
    };
    assert_eq!(noisy(0), noisy(3));
    // no such example, no image, images of several sizes
    assert!(matches!(set.image(5), Err(Error::Argument { op: "image", name: "row", .. })));
    let flat = TensorDataset::new(&device, (vec![0.0f32; 4], [2]), (vec![0i32; 2], [])).unwrap();
    assert!(matches!(flat.image(0), Err(Error::Argument { op: "image", name: "input", .. })));
    let whole = TensorDataset::new(&device, (vec![0i32; 4], [1, 1, 2]), (vec![0i32; 2], [])).unwrap();
    assert!(matches!(whole.image(0), Err(Error::Argument { op: "image", name: "input", .. })));
    let sizes = |image: Image, _: &mut data::augment::Draw| match image.pixels()[0] > 0.7 {
        true => image.crop(0, 0, 1, 1),
        false => Ok(image),
    };
    let mut loader = data::DataLoader::images(set, sizes).batch_size(4).epoch(0);
    assert!(matches!(loader.next(), Some(Err(Error::Argument { op: "stack", .. }))));
}

#[test]
fn streams_shuffle_batch_and_run_ahead() {
    let through = |size, seed| shuffle((0..200).map(Ok), size, seed).collect::<Result<Vec<i32>>>().unwrap();
    let order = through(50, 1);
    assert_eq!(order, through(50, 1));
    assert_ne!(order, through(50, 2));
    assert_eq!(through(1, 1), (0..200).collect::<Vec<_>>());
    // An item cannot come out before it went in: at most the buffer's size early.
    assert!(order.iter().enumerate().all(|(place, &item)| item < place as i32 + 50));
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..200).collect::<Vec<_>>());
    let sizes = |drop: bool| {
        let all = batches((0..10).map(Ok), 4, |items: Vec<i32>| Ok(items.len()));
        let all = if drop { all.drop_last() } else { all };
        Prefetch::new(all, 1).collect::<Result<Vec<_>>>().unwrap()
    };
    assert_eq!((sizes(false), sizes(true)), (vec![4, 4, 2], vec![4, 4]));
    let broken = (0..10).map(|i| if i == 6 { Err(Error::Worker("six".into())) } else { Ok(i) });
    let results: Vec<_> = Prefetch::new(batches(broken, 4, Ok), 2).collect();
    assert!(results.len() == 2 && results[0].is_ok() && results[1].is_err());
}

#[test]
fn parts_and_folds() {
    let all = |rows: &[&[usize]]| {
        let mut all = rows.concat();
        all.sort_unstable();
        all
    };
    let parts = data::parts(11, &[0.7, 0.2, 0.1], 3).unwrap();
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [8, 2, 1]); // 7, 2, 1 and one left
    assert_eq!(all(&[&parts[0], &parts[1], &parts[2]]), (0..11).collect::<Vec<_>>());
    for shares in [&[][..], &[0.5, 0.4], &[1.5, -0.5], &[f64::NAN, 1.0]] {
        assert!(matches!(data::parts(5, shares, 0), Err(Error::Argument { .. })), "{shares:?}");
    }
    let labels: Vec<i32> = (0..47).map(|row| i32::from(row % 7 < 2) + i32::from(row > 40)).collect();
    for (folds, stratified) in
        [(data::folds(47, 5, 1).unwrap(), false), (data::stratified_folds(&labels, 5, 1).unwrap(), true)]
    {
        let held: Vec<&[usize]> = folds.iter().map(|(_, held)| held.as_slice()).collect();
        assert_eq!(all(&held), (0..47).collect::<Vec<_>>());
        for (train, held) in &folds {
            assert_eq!(all(&[train, held]), (0..47).collect::<Vec<_>>());
            assert!((9..=10).contains(&held.len()));
            for class in 0..3 {
                let count = |rows: &[usize]| rows.iter().filter(|&&row| labels[row] == class).count();
                let (own, total) = (count(held), count(&all(&[train, held])));
                assert!(!stratified || own.abs_diff(total / 5) <= 1, "class {class}: {own} of {total}");
            }
        }
    }
    assert!(data::folds(5, 1, 0).is_err() && data::folds(5, 6, 0).is_err() && data::folds(5, 5, 0).is_ok());
    let device = Device::open().unwrap();
    let (train, _) = data::digits::split(&device).unwrap();
    let pairs = train.stratified_k_fold(4, 2).unwrap();
    assert!(pairs.iter().all(|(kept, held)| kept.len() + held.len() == train.len() && held.len().abs_diff(359) <= 1));
    assert_eq!(train.random_split(&[0.5, 0.5], 1).unwrap()[0].len(), 719);
}
