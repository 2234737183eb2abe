//! Captured steps do what steps do, to the bit, and make their graph once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln::optim::{Captured, Traced};
use kiln::prelude::*;
use std::cell::Cell;
use support::net::{Net, bits};

fn batch(device: &Device, rows: usize, seed: usize) -> (Tensor, Tensor) {
    let number = |i: usize| ((i * 2_654_435_761 + seed * 40_503) % 1000) as f32 / 500.0 - 1.0;
    let x = Tensor::from_vec(device, (0..rows * 6).map(number).collect(), &[rows, 6]);
    let y = Tensor::from_vec(device, (0..rows).map(|i| ((i + seed) % 4) as i32).collect(), &[rows]);
    (x, y)
}

const ROWS: [usize; 8] = [8, 8, 5, 8, 5, 5, 8, 3];

#[test]
fn captured_steps_give_the_same_bits() {
    let device = Device::open().unwrap();
    let lr = |i: usize| if i < 4 { 1e-2 } else { 1e-2 / (1.0 + i as f64) };

    let model = Net::new(&device);
    let mut adam = AdamW::new(&model, 1e-2);
    let mut losses = Vec::new();
    for (i, rows) in ROWS.iter().cycle().take(24).enumerate() {
        let (x, y) = batch(&device, *rows, i);
        adam.set_lr(lr(i));
        let loss = cross_entropy(&model.forward(&x), &y);
        adam.step(&loss).unwrap();
        losses.push(loss.item().unwrap());
    }
    let want = bits(&model, &adam);

    let model = Net::new(&device);
    let mut adam = AdamW::new(&model, 1e-2);
    let made = Cell::new(0);
    let mut train = adam.capture(|(x, y): &(Tensor, Tensor)| {
        made.set(made.get() + 1);
        cross_entropy(&model.forward(x), y)
    });
    for (i, rows) in ROWS.iter().cycle().take(24).enumerate() {
        train.set_lr(lr(i));
        let loss = train.step(&batch(&device, *rows, i)).unwrap();
        assert_eq!(loss.item().unwrap(), losses[i], "step {i}");
    }
    assert_eq!(bits(&model, &adam), want);
    assert!(made.get() <= 6, "{} graphs for three shapes", made.get());
}

#[test]
fn nothing_new_is_made_and_nothing_grows() {
    let device = Device::open().unwrap();
    let model = Net::new(&device);
    let mut adam = Adam::new(&model, 1e-3);
    let mut train = adam.capture(|(x, y): &(Tensor, Tensor)| cross_entropy(&model.forward(x), y));
    let mut before = device.counters();
    for i in 0..600 {
        if i == 100 {
            device.wait().unwrap();
            before = device.counters();
        }
        train.step(&batch(&device, if i % 2 == 0 { 8 } else { 6 }, i)).unwrap();
    }
    device.wait().unwrap();
    let after = device.counters();
    assert_eq!(
        [after.pipelines, after.bind_groups, after.buffers, after.live_bytes],
        [before.pipelines, before.bind_groups, before.buffers, before.live_bytes]
    );
}

#[test]
fn modes_and_frozen_parameters_are_noticed() {
    let device = Device::open().unwrap();
    let model = Net::new(&device);
    let mut sgd = Sgd::new(&model, 0.1);
    let mut train = sgd.capture(|(x, y): &(Tensor, Tensor)| cross_entropy(&model.forward(x), y));
    let data = batch(&device, 8, 1);
    for _ in 0..3 {
        train.step(&data).unwrap();
    }
    let mean = || model.norm.running.as_ref().unwrap().running_mean.to_vec::<f32>().unwrap();
    let seen = mean();
    train.step(&data).unwrap();
    assert_ne!(mean(), seen, "training moves the statistics");
    model.eval();
    let seen = mean();
    train.step(&data).unwrap();
    train.step(&data).unwrap();
    assert_eq!(mean(), seen, "evaluation does not");
    model.train();
    train.step(&data).unwrap();
    assert_ne!(mean(), seen);
    model.first.weight.set_trainable(false);
    let frozen = model.first.weight.to_vec::<f32>().unwrap();
    for _ in 0..3 {
        train.step(&data).unwrap();
    }
    assert_eq!(model.first.weight.to_vec::<f32>().unwrap(), frozen);
    model.first.weight.set_trainable(true);
    train.step(&data).unwrap();
    assert_ne!(model.first.weight.to_vec::<f32>().unwrap(), frozen);
}

/// A setting is a number in the formulas or changes the formulas themselves.
#[test]
fn settings_that_change_on_the_way_count() {
    let device = Device::open().unwrap();
    let change = |sgd: &mut Sgd, i: usize| match i {
        3 => sgd.set_lr(0.05),
        5 => sgd.slots_mut().all.iter_mut().for_each(|slot| slot.maximize = true),
        // the same count of numbers, at other parameters
        7 => sgd.slots_mut().all.iter_mut().for_each(|slot| slot.maximize = slot.name.starts_with("first")),
        9 => sgd.slots_mut().all.iter_mut().for_each(|slot| slot.maximize = slot.name.starts_with("last")),
        11 => sgd.slots_mut().all[0].weight_decay = 0.5,
        12 => sgd.set_momentum(0.9),
        _ => {}
    };
    let trained = |captured: bool| {
        let model = Net::new(&device);
        let mut sgd = Sgd::new(&model, 0.1);
        if captured {
            let mut train = sgd.capture(|(x, y): &(Tensor, Tensor)| cross_entropy(&model.forward(x), y));
            for i in 0..16 {
                change(train.optimizer_mut(), i);
                train.step(&batch(&device, 8, i)).unwrap();
            }
        } else {
            for i in 0..16 {
                change(&mut sgd, i);
                let (x, y) = batch(&device, 8, i);
                sgd.step(&cross_entropy(&model.forward(&x), &y).backward().unwrap()).unwrap();
            }
        }
        bits(&model, &sgd)
    };
    assert_eq!(trained(true), trained(false));
}

#[test]
fn what_is_held_keeps_its_value_and_what_is_set_counts() {
    let device = Device::open().unwrap();
    let model = Net::new(&device);
    let mut sgd = Sgd::new(&model, 0.1);
    let mut train = sgd.capture(|(x, y): &(Tensor, Tensor)| cross_entropy(&model.forward(x), y));
    let data = batch(&device, 8, 1);
    for _ in 0..3 {
        train.step(&data).unwrap();
    }
    let held = model.last.weight.value();
    let sum = &held * 2.0;
    let was = model.last.weight.to_vec::<f32>().unwrap();
    train.step(&data).unwrap();
    assert_ne!(model.last.weight.to_vec::<f32>().unwrap(), was);
    assert_eq!(held.to_vec::<f32>().unwrap(), was);
    assert_eq!(sum.to_vec::<f32>().unwrap(), was.iter().map(|w| 2.0 * w).collect::<Vec<_>>());
    // a parameter and a buffer set from outside
    model.last.weight.set(&held).unwrap();
    model.norm.running.as_ref().unwrap().running_mean.set(&Tensor::ones(&device, [16])).unwrap();
    assert_eq!(model.last.weight.to_vec::<f32>().unwrap(), was);
    train.step(&data).unwrap();
    assert_ne!(model.last.weight.to_vec::<f32>().unwrap(), was);
    assert!(
        model.norm.running.as_ref().unwrap().running_mean.to_vec::<f32>().unwrap().iter().all(|&m| m > 0.5),
        "0.9 of the ones that were set"
    );
}

#[test]
fn clipped_gradients_and_other_results() {
    let device = Device::open().unwrap();
    let run = |captured: bool| {
        let model = Net::new(&device);
        let mut sgd = Sgd::new(&model, 0.5).momentum(0.9);
        let mut seen = Vec::new();
        let make = |(x, y): &(Tensor, Tensor)| -> Result<(Gradients, Tensor)> {
            let logits = model.forward(x);
            let mut gradients = cross_entropy(&logits, y).backward()?;
            clip_grad_norm(&mut gradients, 0.1);
            Ok((gradients, logits))
        };
        if captured {
            let mut train: Captured<'_, _, (Tensor, Tensor), _> = sgd.capture(|data: &(Tensor, Tensor)| -> Traced {
                match make(data) {
                    Ok((gradients, logits)) => Traced::from(gradients).also(&[&logits]),
                    Err(error) => Traced::from(Err::<Tensor, _>(error)),
                }
            });
            for i in 0..6 {
                train.step(&batch(&device, 8, i)).unwrap();
                seen.push(train.also()[0].to_vec::<f32>().unwrap());
            }
        } else {
            for i in 0..6 {
                let (gradients, logits) = make(&batch(&device, 8, i)).unwrap();
                sgd.step_with(&gradients, &[&logits]).unwrap();
                seen.push(logits.to_vec::<f32>().unwrap());
            }
        }
        (seen, bits(&model, &sgd))
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn a_bad_step_changes_nothing_and_says_so() {
    let device = Device::open().unwrap();
    let model = Net::new(&device);
    let mut adam = Adam::new(&model, 1e-2);
    let mut train = adam.capture(|(x, y): &(Tensor, Tensor)| cross_entropy(&model.forward(x), y));
    for i in 0..3 {
        train.step(&batch(&device, 8, i)).unwrap();
    }
    let before = model.last.weight.to_vec::<f32>().unwrap();
    let (x, y) = batch(&device, 8, 1);
    let loss = train.step(&(x * f32::NAN, y)).unwrap();
    assert!(matches!(loss.item(), Err(Error::NotFinite { .. } | Error::In { .. })), "{:?}", loss.item());
    assert_eq!(model.last.weight.to_vec::<f32>().unwrap(), before);
    assert!(train.step(&batch(&device, 8, 1)).unwrap().item().unwrap().is_finite());
    assert_ne!(model.last.weight.to_vec::<f32>().unwrap(), before);
    // a wrong shape is an error of its own, and the next good batch works
    let wrong = (Tensor::ones(&device, [8, 5]), Tensor::new(&device, [0; 8]));
    assert!(train.step(&wrong).is_err());
    assert!(train.step(&batch(&device, 8, 1)).unwrap().item().unwrap().is_finite());
}
