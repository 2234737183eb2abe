//! Training end to end: twenty steps against PyTorch's, determinism, steps that change nothing, the
//! trainer, and the digits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln::data::digits;
use kiln::optim::take_step;
use kiln::prelude::*;
use support::{below, off, reference, worst};

/// Every parameter and buffer as a name and a sum over all of its bits (FNV-1a).
fn bits(model: &dyn Module) -> Vec<(String, u64)> {
    model.state_dict().iter().map(|(name, tensor)| (name.clone(), sum(tensor))).collect()
}

fn sum(tensor: &Tensor) -> u64 {
    let bytes = Tensor::read_all(&[tensor]).unwrap().remove(0);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn mlp(init: &mut Init) -> Sequential {
    Sequential::new().push(Linear::new(8, 16, init)).push(Tanh).push(Linear::new(16, 4, init))
}

fn cnn(init: &mut Init) -> Sequential {
    Sequential::new()
        .push(Conv2d::new(1, 4, 3, init).padding(1).no_bias())
        .push(BatchNorm2d::new(4, init))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Conv2d::new(4, 6, 3, init).padding(1))
        .push(GroupNorm::new(2, 6, init))
        .push(Gelu)
        .push(AvgPool2d::new(2))
        .push(Flatten::default())
        .push(LayerNorm::new(24, init))
        .push(Linear::new(24, 5, init))
}

/// How the gradients are changed before the step.
#[derive(Clone, Copy)]
enum Clip {
    Off,
    Norm,
    Value,
}

/// The twenty steps of scripts/reference_training.py; gives the losses.
fn twenty_steps(model: &Sequential, optimizer: &mut dyn Optimizer, clip: Clip, x: &Tensor, y: &Tensor) -> Vec<f64> {
    let mut losses = Vec::new();
    for step in 0..20 {
        if step > 0 {
            optimizer.set_lr(optimizer.lr() * 0.95);
        }
        let rows = (step % 4) * 8;
        let loss = cross_entropy(&model.forward(&x.narrow(0, rows, 8)), &y.narrow(0, rows, 8));
        let mut gradients = loss.backward().unwrap();
        match clip {
            Clip::Off => {}
            Clip::Norm => drop(clip_grad_norm(&mut gradients, 0.5)),
            Clip::Value => clip_grad_value(&mut gradients, 0.02),
        }
        match clip {
            Clip::Off => take_step(optimizer, (&loss).into(), &[]).unwrap(),
            _ => take_step(optimizer, (&gradients).into(), &[]).unwrap(),
        }
        losses.push(loss);
    }
    losses.iter().map(|loss| loss.item_as::<f64>().unwrap()).collect()
}

/// PyTorch in float64 is the judge: what f32 loses in twenty steps stays below 1e-4.
fn agrees(kind: &str, name: &str, model: &Sequential, optimizer: &mut dyn Optimizer, clip: Clip) {
    let device = model.parameters()[0].device().clone();
    let all = reference(&device, "training");
    model.load_state_dict(&below(&all, &format!("train.{kind}.before."))).unwrap();
    let (x, y) = (&all[&format!("train.{kind}.x")], &all[&format!("train.{kind}.y")]);
    let losses = twenty_steps(model, optimizer, clip, x, y);
    let want = all[&format!("train.{kind}.{name}.losses")].to_vec::<f64>().unwrap();
    assert!(worst(&losses, &want) < 1e-4, "{kind} {name}: {losses:?} is not {want:?}");
    let after = below(&all, &format!("train.{kind}.{name}.after."));
    for (path, got) in model.state_dict() {
        let error = off(&got, &after[&path]);
        assert!(error < 1e-4, "{kind} {name}: {path} is off by {error:e}");
    }
}

#[test]
fn optimizers_walk_as_pytorchs_do() {
    type Make = fn(&Sequential) -> Box<dyn Optimizer>;
    let rows: &[(&str, Make, Clip)] = &[
        ("sgd", |m| Box::new(Sgd::new(m, 0.1)), Clip::Off),
        ("sgd_momentum", |m| Box::new(Sgd::new(m, 0.1).momentum(0.9).weight_decay(0.01)), Clip::Off),
        ("sgd_nesterov", |m| Box::new(Sgd::new(m, 0.1).momentum(0.9).nesterov()), Clip::Off),
        ("sgd_dampened", |m| Box::new(Sgd::new(m, 0.1).momentum(0.9).dampening(0.5)), Clip::Off),
        ("adam", |m| Box::new(Adam::new(m, 0.02)), Clip::Off),
        ("adam_decay", |m| Box::new(Adam::new(m, 0.02).betas(0.8, 0.95).eps(1e-6).weight_decay(0.1)), Clip::Off),
        ("adamw", |m| Box::new(AdamW::new(m, 0.02).weight_decay(0.1)), Clip::Off),
        ("clip_norm", |m| Box::new(Sgd::new(m, 0.5)), Clip::Norm),
        ("clip_value", |m| Box::new(Sgd::new(m, 0.5)), Clip::Value),
    ];
    let device = Device::open().unwrap();
    for (name, make, clip) in rows {
        let model = mlp(&mut Init::new(&device, 0));
        agrees("mlp", name, &model, &mut *make(&model), *clip);
    }
}

#[test]
fn a_small_cnn_walks_as_pytorchs_does() {
    let device = Device::open().unwrap();
    let model = cnn(&mut Init::new(&device, 0));
    agrees("cnn", "adamw", &model, &mut AdamW::new(&model, 0.01), Clip::Off);
    let model = cnn(&mut Init::new(&device, 0));
    agrees("cnn", "sgd_nesterov", &model, &mut Sgd::new(&model, 0.05).momentum(0.9).nesterov(), Clip::Off);
}

/// A model with everything that remembers: batch norm, dropout, Adam.
fn remembering(device: &Device, seed: u64) -> (Sequential, AdamW) {
    let mut init = Init::new(device, seed);
    let model = Sequential::new()
        .push(Linear::new(64, 32, &mut init))
        .push(BatchNorm1d::new(32, &mut init))
        .push(Relu)
        .push(Dropout::new(0.2, &mut init))
        .push(Linear::new(32, 10, &mut init));
    let optimizer = AdamW::new(&model, 3e-3);
    (model, optimizer)
}

fn steps(device: &Device, model: &Sequential, optimizer: &mut AdamW, from: u64, to: u64) {
    let (train, _) = digits::split(device).unwrap();
    for epoch in from..to {
        for (x, y) in train.subset(&(0..200).collect::<Vec<_>>()).batches(64, epoch) {
            optimizer.step(&cross_entropy(&model.forward(&x), &y)).unwrap();
        }
    }
}

#[test]
fn two_runs_give_the_same_bytes() {
    let device = Device::open().unwrap();
    let run = |seed| {
        let (model, mut optimizer) = remembering(&device, seed);
        steps(&device, &model, &mut optimizer, 0, 3);
        bits(&model)
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
}

#[test]
fn two_threads_give_the_bytes_of_each_alone() {
    let device = Device::open().unwrap();
    let run = |seed| {
        let (model, mut optimizer) = remembering(&device, seed);
        steps(&device, &model, &mut optimizer, 0, 3);
        bits(&model)
    };
    let alone = [run(1), run(2)];
    let together = std::thread::scope(|scope| {
        let (a, b) = (scope.spawn(|| run(1)), scope.spawn(|| run(2)));
        [a.join().unwrap(), b.join().unwrap()]
    });
    assert_eq!(alone, together);
}

#[test]
fn a_run_that_was_killed_goes_on_to_the_same_bytes() {
    let device = Device::open().unwrap();
    let path = scratch("resume");
    let (model, mut optimizer) = remembering(&device, 7);
    steps(&device, &model, &mut optimizer, 0, 2);
    let metadata = [("epoch".to_string(), "2".to_string())].into();
    store::save_training(&model, &optimizer, &metadata, &path).unwrap();
    steps(&device, &model, &mut optimizer, 2, 4);

    let (other, mut fresh) = remembering(&device, 7);
    let read = store::load_training(&other, &fresh, &device, &path).unwrap();
    assert_eq!(read["epoch"], "2");
    steps(&device, &other, &mut fresh, 2, 4);
    assert_eq!(bits(&model), bits(&other));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_bad_step_changes_nothing() {
    let device = Device::open().unwrap();
    let (model, mut optimizer) = remembering(&device, 7);
    steps(&device, &model, &mut optimizer, 0, 1);
    let remembered = |optimizer: &AdamW| {
        let values = optimizer.state_dict().into_iter();
        let counters = model.named_counters().into_iter().map(|(name, state)| (name, state.value()));
        values.chain(counters).map(|(name, t)| (name, sum(&t))).collect::<Vec<_>>()
    };
    let before = (bits(&model), remembered(&optimizer));

    // A loss that is not a number.
    let (x, y) = digits::load(&device).unwrap().subset(&(0..64).collect::<Vec<_>>()).all();
    let loss = cross_entropy(&model.forward(&(&x * f32::NAN)), &y);
    let refused = optimizer.step(&loss).and_then(|()| loss.item().map(drop));
    assert!(matches!(refused, Err(Error::NotFinite { .. })), "{refused:?}");
    assert_eq!((bits(&model), remembered(&optimizer)), before);

    // A label that is no class.
    let loss = cross_entropy(&model.forward(&x), &(&y + 20));
    let refused = optimizer.step(&loss).and_then(|()| loss.item().map(drop));
    assert!(matches!(refused, Err(Error::Index { .. })), "{refused:?}");
    assert_eq!((bits(&model), remembered(&optimizer)), before);

    // The next good step goes on as if nothing had been.
    steps(&device, &model, &mut optimizer, 1, 2);
    let (twin, mut fresh) = remembering(&device, 7);
    steps(&device, &twin, &mut fresh, 0, 2);
    assert_eq!(bits(&model), bits(&twin));
}

#[test]
fn a_clipped_gradient_that_is_not_finite_changes_nothing() {
    let device = Device::open().unwrap();
    let model = Linear::new(2, 2, &mut Init::new(&device, 0));
    let mut sgd = Sgd::new(&model, 0.1).momentum(0.9);
    let before = bits(&model);
    // The loss is finite, but the root has no slope at 0.
    let loss = (&model.weight * 0.0).abs().sqrt().sum() + 1.0;
    let mut gradients = loss.backward().unwrap();
    let norm = clip_grad_norm(&mut gradients, 1.0).unwrap();
    let refused = sgd.step_with(&gradients, &[&norm]).and_then(|()| loss.item().map(drop));
    assert!(matches!(refused, Err(Error::NotFinite { .. })), "{refused:?}");
    assert_eq!(bits(&model), before);
    assert!(sgd.state_dict().values().all(|v| v.to_vec::<f32>().unwrap().iter().all(|&x| x == 0.0)));
}

#[test]
fn frozen_parameters_stay() {
    let device = Device::open().unwrap();
    let model = mlp(&mut Init::new(&device, 0));
    let mut adam = Adam::new(&model, 0.1);
    let first = model.layers()[0].parameters();
    first.iter().for_each(|param| param.set_trainable(false));
    let before = bits(&model);
    let x = Tensor::ones(&device, [4, 8]);
    adam.step(&model.forward(&x).square().mean()).unwrap();
    let after = bits(&model);
    assert_eq!(before[..2], after[..2], "the frozen layer moved");
    assert_ne!(before[2..], after[2..]);
    model.unfreeze();
    adam.step(&model.forward(&x).square().mean()).unwrap();
    assert_ne!(after[..2], bits(&model)[..2]);
}

#[test]
fn settings_of_single_parameters() {
    let device = Device::open().unwrap();
    let model = Linear::new(2, 2, &mut Init::new(&device, 0));
    let mut sgd = Sgd::new(&model, 0.5).each(|slot| {
        if slot.name == "bias" {
            slot.lr_scale = 0.0;
        }
    });
    let (weight, bias) = (model.weight.to_vec::<f32>().unwrap(), model.bias.as_ref().unwrap().to_vec::<f32>().unwrap());
    sgd.step(&model.forward(&Tensor::ones(&device, [1, 2])).sum()).unwrap();
    assert_eq!(model.bias.as_ref().unwrap().to_vec::<f32>().unwrap(), bias);
    let moved: Vec<f32> = weight.iter().map(|w| w - 0.5).collect();
    assert_eq!(model.weight.to_vec::<f32>().unwrap(), moved);
}

#[test]
fn the_trainer_learns_stops_and_keeps_the_best() {
    let device = Device::open().unwrap();
    let (train, test) = digits::split(&device).unwrap();
    let path = scratch("best");
    let (model, mut optimizer) = remembering(&device, 3);
    let mut seen = 0;
    let history = Trainer::new(50)
        .patience(3)
        .best(&path)
        .schedule(|step, total| schedule::cosine(3e-3, step, total, 0.0))
        .after_epoch(|epoch| {
            seen = epoch.epoch;
            if epoch.epoch == 8 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .fit(&model, &mut optimizer, &train, Some(&test), |(x, y)| Outcome::classification(&model.forward(x), y))
        .unwrap();
    assert_eq!((history.ending, seen, history.epochs.len()), (Ending::Early, 8, 8));
    let (first, last) = (&history.epochs[0], &history.epochs[7]);
    assert!(last.train.loss < first.train.loss / 2.0, "{} to {}", first.train.loss, last.train.loss);
    assert!(last.validation.unwrap().metric.unwrap() > 0.93);
    assert!(optimizer.lr() < 3e-3);

    let best = &history.epochs[history.best_epoch().unwrap() - 1];
    let (other, _) = remembering(&device, 4);
    store::load(&other, &path).unwrap();
    other.eval();
    let (x, y) = test.all();
    let loss = cross_entropy(&other.forward(&x), &y).item().unwrap();
    assert!((f64::from(loss) - best.validation.unwrap().loss).abs() < 1e-5);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_trainer_ends_when_asked_and_on_nan() {
    let device = Device::open().unwrap();
    let (train, _) = digits::split(&device).unwrap();
    let (model, mut optimizer) = remembering(&device, 3);
    let asked = Trainer::new(5).stop_flag(Arc::new(AtomicBool::new(true)));
    let history =
        asked.fit(&model, &mut optimizer, &train, None, |(x, y)| Outcome::classification(&model.forward(x), y));
    assert_eq!(history.unwrap().ending, Ending::Interrupted);

    let before = bits(&model);
    let refused = Trainer::new(5)
        .fit(&model, &mut optimizer, &train, None, |(x, y)| Outcome::classification(&model.forward(&(x / 0.0)), y));
    assert!(matches!(refused, Err(Error::NotFinite { .. })), "{refused:?}");
    assert_eq!(bits(&model), before);
}

/// Few epochs of a small network; the goals over five seeds are held in crates/cli/src/digits.rs.
#[test]
fn a_network_reads_digits() {
    let device = Device::open().unwrap();
    let (train, test) = digits::split(&device).unwrap();
    let mut init = Init::new(&device, 0);
    let model = Sequential::new()
        .push(Linear::new(64, 64, &mut init))
        .push(Silu)
        .push(LayerNorm::new(64, &mut init))
        .push(Linear::new(64, 10, &mut init));
    let mut sgd = Sgd::new(&model, 0.1).momentum(0.9).nesterov();
    Trainer::new(8)
        .schedule(|step, total| schedule::one_cycle(0.1, step, total))
        .fit(&model, &mut sgd, &train, None, |(x, y)| Outcome::classification(&model.forward(x), y))
        .unwrap();
    model.eval();
    let (x, y) = test.all();
    let right = accuracy(&model.forward(&x), &y).item().unwrap();
    assert!(right > 0.95, "{right}");
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("kiln-training-{name}-{}.safetensors", std::process::id()))
}
