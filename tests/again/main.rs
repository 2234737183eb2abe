//! A step on a loss is taken by what an earlier one of the same structure has shown: it does the same to the bit as a
//! step whose gradients and update are made anew, whatever was changed in between.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../support/mod.rs"]
mod support;
mod wrapped;

use kiln::gpu::{Params, Source};
use kiln::optim::{Method, Rule, StepInput, Turn, take_step};
use kiln::prelude::*;
use kiln::{Custom, CustomLaunch};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::net::{self, bits};

/// The small network on top of a table.
#[derive(Module)]
struct Net {
    table: Embedding,
    top: net::Net,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self { table: Embedding::new(7, 6, &mut Init::new(device, 4)), top: net::Net::new(device) }
    }

    fn hidden(&self, x: &Tensor) -> Tensor {
        self.top.hidden(&self.table.forward(x))
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.top.forward(&self.table.forward(x))
    }
}

fn batch(device: &Device, rows: usize, seed: usize) -> (Tensor, Tensor) {
    let x = (0..rows).map(|i| ((i * 31 + seed * 17) % 7) as i32).collect();
    let y = (0..rows).map(|i| ((i + seed) % 4) as i32).collect();
    (Tensor::from_vec(device, x, &[rows]), Tensor::from_vec(device, y, &[rows]))
}

/// How a step is taken.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// From the loss.
    Loss,
    /// From gradients, which are made anew.
    Gradients,
}

impl By {
    fn step(self, optimizer: &mut impl Optimizer, loss: &Tensor, also: &[&Tensor]) -> Result<()> {
        match self {
            By::Loss => optimizer.step_with(loss, also),
            By::Gradients => {
                let gradients = optimizer.backward(loss)?;
                optimizer.step_with(&gradients, also)
            }
        }
    }
}

/// How often gradients were made since the profile was last taken.
fn differentiated(device: &Device) -> u64 {
    let profile = device.take_profile();
    profile.host_times().iter().filter(|(name, ..)| *name == "differentiate").map(|(_, count, _)| count).sum()
}

/// Runs `story` both ways, and asks for the same numbers; how often gradients were made from losses.
fn same<T: PartialEq + std::fmt::Debug>(story: impl Fn(&Device, By) -> T) -> u64 {
    let device = Device::open().unwrap();
    let want = story(&device, By::Gradients);
    assert_eq!(story(&device, By::Loss), want, "by the same plans");
    let device = Device::open().unwrap();
    device.profile_host(true);
    assert_eq!(story(&device, By::Loss), want, "by plans of its own");
    differentiated(&device)
}

#[test]
fn steps_do_the_same_and_make_no_gradients() {
    let made = same(|device, by| {
        let model = Net::new(device);
        let mut adam = AdamW::new(&model, 1e-2);
        let mut losses = Vec::new();
        for i in 0..20 {
            let (x, y) = batch(device, if i % 3 == 0 { 5 } else { 8 }, i);
            let loss = cross_entropy(&model.forward(&x), &y);
            by.step(&mut adam, &loss, &[]).unwrap();
            losses.push(loss.item().unwrap().to_bits());
        }
        (losses, bits(&model, &adam))
    });
    assert_eq!(made, 4, "each of two structures is made twice");
}

#[test]
fn settings_count_at_once() {
    let made = same(|device, by| {
        let model = Net::new(device);
        let mut sgd = Sgd::new(&model, 1e-1).momentum(0.9);
        for i in 0..40 {
            match i {
                5..15 => sgd.set_lr(1e-1 / i as f64),
                15 => sgd.slots_mut().all[3].weight_decay = 0.1,
                18 => sgd.slots_mut().all[3].weight_decay = 0.0,
                21 => sgd.slots_mut().all[1].maximize = true,
                24 => sgd.slots_mut().all[1].lr_scale = 0.5,
                27 => sgd.set_momentum(0.5),
                30 => sgd.set_momentum(0.0),
                33 => sgd = sgd.weight_decay(0.01),
                36 => sgd = sgd.only(|slot| !slot.name.ends_with("bias")),
                _ => {}
            }
            let (x, y) = batch(device, 8, i);
            by.step(&mut sgd, &cross_entropy(&model.forward(&x), &y), &[]).unwrap();
        }
        bits(&model, &sgd)
    });
    assert!((2..30).contains(&made), "{made} times");
}

/// Two parameters of a shape change places in the kinds that share numbers.
#[test]
fn numbers_go_to_their_parameters() {
    #[derive(Module)]
    struct Three(Linear, Linear, Linear);
    same(|device, by| {
        let init = &mut Init::new(device, 1);
        let model = Three(Linear::no_bias(3, 3, init), Linear::no_bias(3, 3, init), Linear::no_bias(3, 3, init));
        let mut adam = AdamW::new(&model, 1e-2);
        adam.slots_mut().all[1].lr_scale = 0.5;
        for i in 0..8 {
            if i == 4 {
                adam.slots_mut().all[2].lr_scale = 0.5;
            }
            let x = Tensor::full(device, [2, 3], i as f32);
            let y = model.2.forward(&model.1.forward(&model.0.forward(&x).tanh()).tanh());
            by.step(&mut adam, &y.square().mean(), &[]).unwrap();
        }
        bits(&model, &adam)
    });
}

#[test]
fn numbers_of_the_loss_and_other_results() {
    let made = same(|device, by| {
        let model = Net::new(device);
        let mut adam = Adam::new(&model, 1e-2);
        let mut seen = Vec::new();
        for i in 0..12 {
            let (x, y) = batch(device, 8, i);
            let logits = model.forward(&x);
            let loss = cross_entropy(&logits, &y) * (1.0 + i as f32) + logits.square().mean() * 0.25;
            let right = logits.argmax(-1, false).eq(&y).sum();
            by.step(&mut adam, &loss, &[&right, &Tensor::zeros(device, [0])]).unwrap();
            seen.push((loss.item().unwrap().to_bits(), right.item().unwrap() as u32));
            // held by the program: computed by the step, from the values before it
            seen.extend(logits.to_vec::<f32>().unwrap().iter().map(|v| (v.to_bits(), 0)));
        }
        (seen, bits(&model, &adam))
    });
    assert_eq!(made, 2);
}

#[test]
fn what_is_held_keeps_its_value() {
    same(|device, by| {
        let model = Net::new(device);
        let mut adam = Adam::new(&model, 1e-2);
        let (mut seen, mut held) = (Vec::new(), Vec::new());
        for i in 0..9 {
            let (x, y) = batch(device, 8, i);
            let hidden = if i % 3 == 0 { Some(model.hidden(&x)) } else { None };
            if i % 2 == 0 {
                held.push((model.top.last.weight.value(), &model.top.first.weight.value() * 2.0));
            }
            let loss = match &hidden {
                Some(hidden) => cross_entropy(&model.top.last.forward(hidden), &y),
                None => cross_entropy(&model.forward(&x), &y),
            };
            by.step(&mut adam, &loss, &[]).unwrap();
            if let Some(hidden) = hidden {
                seen.push(hidden.to_vec::<f32>().unwrap());
                // its own graph is there still, on the old values where somebody holds them
                let old = hidden.sum().backward().and_then(|g| g.get(&model.top.first.weight).unwrap().to_vec::<f32>());
                seen.extend(old.ok());
            }
        }
        for (weight, doubled) in &held {
            seen.extend([weight.to_vec::<f32>().unwrap(), doubled.to_vec::<f32>().unwrap()]);
        }
        (seen, bits(&model, &adam))
    });
}

#[test]
fn changes_of_the_model_are_noticed() {
    same(|device, by| {
        let model = Net::new(device);
        let mut adam = Adam::new(&model, 1e-2);
        let average = AveragedModel::ema(&model, 0.5);
        let mut seen = Vec::new();
        for i in 0..30 {
            match i {
                4 => model.eval(),
                8 => model.train(),
                12 => model.top.first.weight.set_trainable(false),
                15 => model.top.first.weight.set_trainable(true),
                18 => model.top.last.weight.set(&Tensor::ones(device, [4, 16])).unwrap(),
                21 => model.top.last.weight.project(&model.top.last.weight.clamp(-0.01, 0.01)).unwrap(),
                24 => {
                    let states = adam.states();
                    let (_, state) = states.iter().find(|(name, _)| name == "top.last.bias.exp_avg").unwrap();
                    state.set(&Tensor::ones(device, [4])).unwrap();
                }
                27 => model.top.norm.running.as_ref().unwrap().running_mean.set(&Tensor::ones(device, [16])).unwrap(),
                _ => {}
            }
            let (x, y) = batch(device, 8, i);
            let loss = cross_entropy(&model.forward(&x), &y);
            by.step(&mut adam, &loss, &[]).unwrap();
            if i % 4 == 3 {
                average.update().unwrap();
            }
            seen.push(loss.item().unwrap().to_bits());
        }
        (seen, bits(&model, &adam))
    });
}

/// A replacement that waits on what only the optimizer reads is carried out by the step that replaces it.
#[test]
fn replacements_that_wait_on_moments_are_carried_out() {
    same(|device, by| {
        let model = Net::new(device);
        let mut sgd = Sgd::new(&model, 0.1).momentum(0.9);
        let seen = model.top.last.bias.as_ref().unwrap().group().state(&Tensor::zeros(device, [4]));
        let mut log = Vec::new();
        for i in 0..8 {
            let (x, y) = batch(device, 8, i);
            let loss = cross_entropy(&model.forward(&x), &y);
            let buffer = sgd.states().into_iter().find(|(name, _)| name.starts_with("top.last.bias")).unwrap().1;
            seen.set(&(buffer.value() * 0.5 + 1.0)).unwrap();
            by.step(&mut sgd, &loss, &[]).unwrap();
            log.push(seen.to_vec::<f32>().unwrap());
        }
        (log, bits(&model, &sgd))
    });
}

#[test]
fn expressions_that_are_in_memory_are_still_differentiated() {
    same(|device, by| {
        let model = Net::new(device);
        let mut sgd = Sgd::new(&model, 0.1);
        for i in 0..9 {
            let (x, y) = batch(device, 8, i);
            let hidden = model.hidden(&x);
            if i % 3 == 1 {
                hidden.eval().unwrap();
            }
            let loss = cross_entropy(&model.top.last.forward(&hidden), &y);
            if i % 3 == 2 {
                loss.item().unwrap();
            }
            drop(hidden);
            by.step(&mut sgd, &loss, &[]).unwrap();
        }
        bits(&model, &sgd)
    });
}

#[test]
fn checkpoints_branches_and_second_optimizers() {
    let made = same(|device, by| {
        let model = Net::new(device);
        let (mut adam, mut sgd) = (Adam::new(&model.top.first, 1e-2), Sgd::new(&model.top.last, 1e-1));
        for i in 0..12 {
            let (x, y) = batch(device, 8, i);
            let hidden = kiln::checkpoint(|| kiln::checkpoint(|| model.hidden(&x)).tanh());
            let loss = cross_entropy(&model.top.last.forward(&hidden), &y);
            drop(hidden);
            if i % 2 == 0 { by.step(&mut adam, &loss, &[]) } else { by.step(&mut sgd, &loss, &[]) }.unwrap();
            if i == 7 {
                device.clear_plans();
            }
        }
        (bits(&model, &adam), bits(&model, &sgd))
    });
    assert!(made < 12, "{made} of 12");
}

#[test]
fn bad_steps_change_nothing_and_name_their_line() {
    let device = Device::open().unwrap();
    let model = Net::new(&device);
    let mut adam = Adam::new(&model, 1e-2);
    let here = |x: &Tensor, y: &Tensor, scale: f32| cross_entropy(&(model.forward(x) * scale), y);
    let (here_line, there_line) = (line!() - 1, line!() + 1);
    let there = |x: &Tensor, y: &Tensor, scale: f32| cross_entropy(&(model.forward(x) * scale), y);
    let mut train = |label: i32, scale: f32, other: bool| -> Result<()> {
        let x = Tensor::new(&device, [0, 1, 2, 6]);
        let y = Tensor::new(&device, [0, 1, 2, label]);
        let loss = if other { there(&x, &y, scale) } else { here(&x, &y, scale) };
        adam.step(&loss)?;
        loss.item().map(|_| ())
    };
    for i in 0..8 {
        train(i % 4, 1.0, i % 2 == 0).unwrap();
    }
    let before = model.top.last.weight.to_vec::<f32>().unwrap();
    for (other, line) in [(false, here_line), (true, there_line), (false, here_line), (true, there_line)] {
        let error = train(3, f32::NAN, other).unwrap_err();
        assert!(matches!(&error, Error::NotFinite { op: "mul", at, .. } if at.line() == line), "{line}: {error}");
        let error = train(9, 1.0, other).unwrap_err();
        assert!(matches!(&error, Error::Index { row: 3, at, .. } if at.line() == line), "{line}: {error}");
        assert_eq!(model.top.last.weight.to_vec::<f32>().unwrap(), before);
    }
    // what is wrong with the expression is said as ever
    let x = Tensor::new(&device, [0, 1]);
    assert!(matches!(adam.step(&model.forward(&x)), Err(Error::Gradient { .. })));
    assert!(matches!(adam.step(&model.forward(&x).matmul(&x)), Err(Error::Shape { .. })));
}

#[test]
fn nothing_new_is_made_and_nothing_grows() {
    let device = Device::open().unwrap();
    let model = Net::new(&device);
    let mut adam = Adam::new(&model, 1e-3);
    let mut before = device.counters();
    for i in 0..400 {
        if i == 100 {
            device.wait().unwrap();
            before = device.counters();
        }
        let (x, y) = batch(&device, if i % 2 == 0 { 8 } else { 6 }, i);
        adam.set_lr(1e-3 / (1 + i) as f64);
        take_step(&mut adam, StepInput::Loss(&cross_entropy(&model.forward(&x), &y)), &[]).unwrap();
    }
    device.wait().unwrap();
    let after = device.counters();
    assert_eq!(
        [after.pipelines, after.bind_groups, after.buffers, after.live_bytes],
        [before.pipelines, before.bind_groups, before.buffers, before.live_bytes]
    );
}

/// A rule of a user's own is asked in every step, unless it says that it follows from its settings alone.
#[test]
fn rules_that_look_elsewhere_are_asked_each_time() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    #[derive(Clone)]
    struct Counting {
        pure: bool,
    }
    impl Rule for Counting {
        fn step(&self, turn: &Turn<'_>) -> (Tensor, Vec<Tensor>) {
            CALLS.fetch_add(1, Ordering::Relaxed);
            (&turn.value - &turn.gradient * turn.lr, Vec::new())
        }
        fn pure(&self) -> bool {
            self.pure
        }
    }
    let device = Device::open().unwrap();
    for (pure, calls) in [(false, 10), (true, 3)] {
        CALLS.store(0, Ordering::Relaxed);
        let layer = Linear::no_bias(2, 1, &mut Init::new(&device, 0));
        let mut method = Method::with_rule(&layer, 0.1, Counting { pure });
        for _ in 0..10 {
            method.step(&layer.forward(&Tensor::ones(&device, [1, 2])).sum()).unwrap();
        }
        assert_eq!(CALLS.load(Ordering::Relaxed), calls);
    }
}

/// The same elements; the gradient has a number of its own.
struct Scaled(f32);

impl Custom for Scaled {
    fn name(&self) -> &'static str {
        "scaled"
    }
    fn inputs(&self) -> &[&'static str] {
        &["x"]
    }
    fn output(&self, shapes: &[Shape], dtypes: &[DType]) -> std::result::Result<(Shape, DType), &'static str> {
        Ok((shapes[0], dtypes[0]))
    }
    fn launch(&self, shapes: &[Shape]) -> CustomLaunch {
        let text = "
            struct Sizes { n: u32 }
            var<immediate> sizes: Sizes;
            @group(0) @binding(0) var<storage, read> x: array<f32>;
            @group(0) @binding(1) var<storage, read_write> out: array<f32>;
            @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                if id.x < sizes.n { out[id.x] = x[id.x]; }
            }";
        let n = shapes[0].numel() as u32;
        let (source, params) = (Source::user("scaled", text), Params::new().u32(n));
        CustomLaunch { source, params, groups: [n.div_ceil(64), 1, 1] }
    }
    fn vjp(&self, dy: &Tensor, _inputs: &[Tensor], _y: &Tensor) -> Vec<Option<Tensor>> {
        vec![Some(dy * self.0)]
    }
}

/// An operation of a user's own may put any number into its gradient.
#[test]
fn operations_of_ones_own_are_differentiated_each_time() {
    let device = Device::open().unwrap();
    device.profile_host(true);
    let layer = Linear::no_bias(2, 1, &mut Init::new(&device, 0));
    let weight = layer.weight.to_vec::<f32>().unwrap()[0];
    let mut sgd = Sgd::new(&layer, 0.1);
    for i in 0..6 {
        let scaled = Tensor::custom(Arc::new(Scaled(i as f32)), &[&layer.forward(&Tensor::ones(&device, [1, 2]))]);
        sgd.step(&scaled.sum()).unwrap();
    }
    assert_eq!(differentiated(&device), 6);
    let moved = layer.weight.to_vec::<f32>().unwrap()[0] - weight;
    assert!((moved + 0.1 * 15.0).abs() < 1e-5, "{moved}");
}
