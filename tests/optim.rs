//! Optimizers, schedules and averages against PyTorch: twenty steps of every rule and its settings, architectures with
//! schedules, L-BFGS, and every schedule's learning rates. The judge is float64 PyTorch; what is allowed is ten times
//! what float32 PyTorch is away from it, or ten units in the last place where that happens to be nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln::nn::StateDict;
use kiln::optim::*;
use kiln::prelude::*;
use kiln::schedule::*;
use support::{reference, reference_with_notes, worst};

#[derive(Module)]
struct Embed {
    table: Embedding,
    out: Linear,
}

impl Forward for Embed {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.out.forward(&self.table.forward(x).mean_axes([1i64], false))
    }
}

#[derive(Module)]
struct Attend {
    qkv: Linear,
    norm: LayerNorm,
    out: Linear,
}

impl Forward for Attend {
    fn forward(&self, x: &Tensor) -> Tensor {
        let qkv = self.qkv.forward(x);
        let part = |i: i64| qkv.narrow(-1, 6 * i, 6);
        let weights = (part(0).matmul(&part(1).transpose(-1, -2)) * 6f32.powf(-0.5)).softmax(-1);
        self.out.forward(&self.norm.forward(&(x + weights.matmul(&part(2)))).mean_axes([1i64], false))
    }
}

fn model(kind: &str, init: &mut Init) -> Box<dyn Forward> {
    match kind {
        "mlp" => Box::new(Sequential::new().push(Linear::new(8, 16, init)).push(Tanh).push(Linear::new(16, 4, init))),
        "flat" => {
            Box::new(Sequential::new().push(Linear::no_bias(8, 16, init)).push(Tanh).push(Linear::no_bias(16, 4, init)))
        }
        "cnn" => Box::new(
            Sequential::new()
                .push(Conv2d::new(1, 4, 3, init).padding(1))
                .push(Gelu)
                .push(AvgPool2d::new(2))
                .push(Flatten::default())
                .push(Linear::new(36, 4, init)),
        ),
        "norm" => Box::new(
            Sequential::new()
                .push(Linear::new(8, 12, init))
                .push(LayerNorm::new(12, init))
                .push(Silu)
                .push(Linear::new(12, 4, init)),
        ),
        "embed" => Box::new(Embed { table: Embedding::new(12, 8, init), out: Linear::new(8, 4, init) }),
        "attend" => Box::new(Attend {
            qkv: Linear::no_bias(6, 18, init),
            norm: LayerNorm::new(6, init),
            out: Linear::new(6, 4, init),
        }),
        _ => panic!("{kind}"),
    }
}

/// The model with PyTorch's first weights.
fn loaded(all: &StateDict, kind: &str, device: &Device) -> Box<dyn Forward> {
    let model = model(kind, &mut Init::new(device, 0));
    let prefix = format!("{kind}.before.");
    let strip = |(name, t): (&String, &Tensor)| Some((name.strip_prefix(&prefix)?.to_string(), t.clone()));
    model.load_state_dict(&all.iter().filter_map(strip).collect()).unwrap();
    model
}

fn weights(model: &dyn Forward) -> Vec<f64> {
    model.parameters().iter().flat_map(|p| p.to_vec::<f64>().unwrap()).collect()
}

/// Compares losses and final weights with the reference of this name; gives a line for the report of what is wrong.
fn judge(all: &StateDict, name: &str, losses: &[f64], after: &[f64]) -> Option<String> {
    let want = |part: &str| all[&format!("{name}.{part}")].to_vec::<f64>().unwrap();
    let far = want("far");
    let allowed = |far: f64| 10.0 * far.max(f64::from(f32::EPSILON));
    let errors = [worst(losses, &want("losses")), worst(after, &want("after"))];
    let fine = errors.iter().zip(&far).all(|(e, f)| *e <= allowed(*f));
    (!fine).then(|| format!("{name}: off by {errors:?}, float32 PyTorch by {far:?}"))
}

fn twenty_steps(
    all: &StateDict,
    kind: &str,
    model: &dyn Forward,
    optimizer: &mut dyn Optimizer,
    schedule: Option<&dyn Schedule>,
) -> Vec<f64> {
    let (x, y) = (&all[&format!("{kind}.x")], &all["labels"]);
    let mut losses = Vec::new();
    for step in 0..20 {
        if let Some(schedule) = schedule {
            apply(schedule, optimizer, step);
        }
        let rows = (step % 4 * 8) as i64;
        let loss = cross_entropy(&model.forward(&x.narrow(0, rows, 8)), &y.narrow(0, rows, 8));
        take_step(optimizer, (&loss).into(), &[]).unwrap();
        losses.push(loss);
    }
    losses.iter().map(|loss| loss.item_as::<f64>().unwrap()).collect()
}

type Make = fn(&dyn Forward) -> Box<dyn Optimizer>;

const RULES: [(&str, &str, Make); 37] = [
    ("sgd", "mlp", |m| Box::new(Sgd::new(m, 0.1))),
    ("sgd_momentum", "mlp", |m| Box::new(Sgd::new(m, 0.1).momentum(0.9).weight_decay(0.01))),
    ("sgd_nesterov", "mlp", |m| Box::new(Sgd::new(m, 0.1).momentum(0.9).nesterov())),
    ("sgd_dampened", "mlp", |m| Box::new(Sgd::new(m, 0.1).momentum(0.9).dampening(0.5))),
    ("sgd_maximize", "mlp", |m| Box::new(Sgd::new(m, 0.01).momentum(0.5).maximize())),
    ("adam", "mlp", |m| Box::new(Adam::new(m, 0.02))),
    ("adam_decay", "mlp", |m| Box::new(Adam::new(m, 0.02).betas(0.8, 0.95).eps(1e-6).weight_decay(0.1))),
    ("adam_amsgrad", "mlp", |m| Box::new(Adam::new(m, 0.02).betas(0.9, 0.5).amsgrad())),
    ("adam_maximize", "mlp", |m| Box::new(Adam::new(m, 0.002).maximize())),
    ("adamw", "mlp", |m| Box::new(AdamW::new(m, 0.02))),
    ("adamw_amsgrad", "mlp", |m| Box::new(AdamW::new(m, 0.02).betas(0.9, 0.5).weight_decay(0.1).amsgrad())),
    ("rmsprop", "mlp", |m| Box::new(RmsProp::new(m, 0.01))),
    ("rmsprop_centered", "mlp", |m| Box::new(RmsProp::new(m, 0.005).alpha(0.9).eps(1e-4).centered())),
    ("rmsprop_momentum", "mlp", |m| Box::new(RmsProp::new(m, 0.005).alpha(0.9).momentum(0.8).weight_decay(0.01))),
    ("rmsprop_all", "mlp", |m| {
        let all = RmsProp::new(m, 0.002).alpha(0.9).eps(1e-4).momentum(0.8).centered().weight_decay(0.01);
        Box::new(all.maximize())
    }),
    ("adagrad", "mlp", |m| Box::new(Adagrad::new(m, 0.05))),
    ("adagrad_all", "mlp", |m| {
        let all = Adagrad::new(m, 0.05).lr_decay(0.1).weight_decay(0.01);
        Box::new(all.initial_accumulator_value(0.1).eps(1e-6))
    }),
    ("adadelta", "mlp", |m| Box::new(Adadelta::new(m, 1.0))),
    ("adadelta_all", "mlp", |m| Box::new(Adadelta::new(m, 0.5).rho(0.8).eps(1e-4).weight_decay(0.01))),
    ("adamax", "mlp", |m| Box::new(Adamax::new(m, 0.02))),
    ("adamax_decay", "mlp", |m| Box::new(Adamax::new(m, 0.02).betas((0.8, 0.9)).weight_decay(0.01))),
    ("nadam", "mlp", |m| Box::new(NAdam::new(m, 0.01))),
    ("nadam_decay", "mlp", |m| Box::new(NAdam::new(m, 0.01).betas((0.8, 0.9)).momentum_decay(0.02).weight_decay(0.1))),
    ("nadam_decoupled", "mlp", |m| Box::new(NAdam::new(m, 0.01).weight_decay(0.1).decoupled())),
    ("radam", "mlp", |m| Box::new(RAdam::new(m, 0.02))),
    ("radam_decay", "mlp", |m| Box::new(RAdam::new(m, 0.02).betas((0.8, 0.9)).weight_decay(0.1))),
    ("radam_decoupled", "mlp", |m| Box::new(RAdam::new(m, 0.02).weight_decay(0.1).decoupled())),
    ("rprop", "mlp", |m| Box::new(Rprop::new(m, 0.001).step_sizes((1e-6, 0.02)))),
    ("asgd", "mlp", |m| Box::new(Asgd::new(m, 0.1).lambd(0.01).t0(5.0).weight_decay(0.01))),
    ("adafactor", "mlp", |m| Box::new(Adafactor::new(m, 0.05))),
    ("adafactor_all", "mlp", |m| {
        Box::new(Adafactor::new(m, 0.1).beta2_decay(-0.5).eps((1e-6, 1e-2)).d(2.0).weight_decay(0.1))
    }),
    ("lion", "mlp", |m| Box::new(Lion::new(m, 0.001).weight_decay(0.1))),
    ("lamb", "mlp", |m| Box::new(Lamb::new(m, 0.02))),
    ("lamb_plain", "mlp", |m| Box::new(Lamb::new(m, 0.02).betas((0.8, 0.9)).weight_decay(0.0))),
    ("muon", "flat", |m| Box::new(Muon::new(m, 0.02))),
    ("muon_plain", "flat", |m| {
        let muon = Muon::new(m, 0.01).weight_decay(0.0).momentum(0.8).nesterov(false);
        Box::new(muon.adjust_lr(AdjustLr::MatchRmsAdamW))
    }),
    ("muon_unclamped", "flat", |m| Box::new(Muon::new(m, 0.02).ns_steps(3).adjust_lr(AdjustLr::SpectralUnclamped))),
];

#[test]
fn every_rule_walks_as_pytorchs() {
    let device = Device::open().unwrap();
    let all = reference(&device, "optim");
    let names = all.keys().filter(|name| name.starts_with("rule.") && name.ends_with(".losses")).count();
    assert_eq!(names, RULES.len(), "a rule of the reference has no row");
    let wrong: Vec<String> = RULES
        .iter()
        .filter_map(|(name, kind, make)| {
            let model = loaded(&all, kind, &device);
            let losses = twenty_steps(&all, kind, &*model, &mut *make(&*model), None);
            judge(&all, &format!("rule.{name}"), &losses, &weights(&*model))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn architectures_with_schedules_walk_as_pytorchs() {
    let device = Device::open().unwrap();
    let all = reference(&device, "optim");
    let mut wrong = Vec::new();
    let mut count = 0;
    for name in all.keys().filter_map(|name| name.strip_suffix(".losses")) {
        let Some(rest) = name.strip_prefix("combined.") else { continue };
        let parts: Vec<&str> = rest.split('.').collect();
        let model = loaded(&all, parts[0], &device);
        let mut optimizer: Box<dyn Optimizer> = match parts[1] {
            "sgd" => Box::new(Sgd::new(&model, 0.1).momentum(0.9).nesterov()),
            "adam" => Box::new(Adam::new(&model, 0.01)),
            "adamw" => Box::new(AdamW::new(&model, 0.01).weight_decay(0.1)),
            "rmsprop" => Box::new(RmsProp::new(&model, 0.003).eps(1e-4)),
            "radam" => Box::new(RAdam::new(&model, 0.02)),
            other => panic!("{other}"),
        };
        let schedule: Box<dyn Schedule> = match parts[2] {
            "cosine" => Box::new(CosineAnnealingLr::new(20)),
            "one_cycle" => {
                let cycle = OneCycleLr::new(0.02, 21);
                let momentum = cycle.momentum.filter(|_| parts[1] != "rmsprop");
                Box::new(OneCycleLr { momentum, ..cycle })
            }
            "step" => Box::new(StepLr::new(5, 0.5)),
            "warmup" => {
                let climb = LinearLr { start_factor: 0.25, end_factor: 1.0, total_iters: 4 };
                Box::new(SequentialLr::new(climb).then(4, ExponentialLr::new(0.9)))
            }
            "cyclic" => Box::new(CyclicLr { step_size_up: 4, momentum: None, ..CyclicLr::new(0.001, 0.02) }),
            other => panic!("{other}"),
        };
        let losses = twenty_steps(&all, parts[0], &*model, &mut *optimizer, Some(&*schedule));
        wrong.extend(judge(&all, name, &losses, &weights(&*model)));
        count += 1;
    }
    assert_eq!(count, 25);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn momenta_are_cycled_and_groups_have_schedules_of_their_own() {
    let device = Device::open().unwrap();
    let all = reference(&device, "optim");
    let mut wrong = Vec::new();
    let mut walk = |name: &str, model: &dyn Forward, optimizer: &mut dyn Optimizer, schedule: &dyn Schedule| {
        let losses = twenty_steps(&all, "mlp", model, optimizer, Some(schedule));
        wrong.extend(judge(&all, name, &losses, &weights(model)));
    };
    let model = || loaded(&all, "mlp", &device);
    let one = OneCycleLr::new(0.02, 21);
    let m = model();
    walk("cycled.nadam", &*m, &mut NAdam::new(&m, 0.01), &one);
    let m = model();
    walk("cycled.radam", &*m, &mut RAdam::new(&m, 0.01), &one);
    let m = model();
    walk("cycled.adamax", &*m, &mut Adamax::new(&m, 0.01), &one);
    let m = model();
    walk("cycled.adam", &*m, &mut Adam::new(&m, 0.01).weight_decay(0.1).amsgrad(), &one);
    // momentum that the optimizer did not have before
    let m = model();
    walk("cycled.sgd", &*m, &mut Sgd::new(&m, 0.1), &OneCycleLr::new(0.05, 21));
    let m = model();
    let cyclic = CyclicLr { step_size_up: 4, ..CyclicLr::new(0.001, 0.005) };
    walk("cycled.rmsprop", &*m, &mut RmsProp::new(&m, 0.003).eps(1e-4), &cyclic);

    let biases = |slot: &Slot| slot.name.ends_with("bias");
    let m = model();
    let sgd = Sgd::new(&m, 0.1).momentum(0.9).group("biases", 0.02, biases, |rule| rule.momentum = 0.5);
    let mut sgd = sgd.each(|slot| slot.weight_decay = if biases(slot) { 0.1 } else { 0.0 });
    let own = PerGroup::new(LambdaLr(|t| 0.95f64.powi(t as i32))).and(LambdaLr(|t| 1.0 / (t + 1) as f64));
    walk("groups.sgd", &*m, &mut sgd, &own);
    let m = model();
    let adamw = AdamW::new(&m, 0.01).weight_decay(0.1).group("biases", 0.01, biases, |rule| rule.eps = 1e-4);
    let mut adamw = adamw.each(|slot| slot.weight_decay = if biases(slot) { 0.0 } else { 0.1 });
    walk("groups.adamw", &*m, &mut adamw, &PerGroup::new(one).and(OneCycleLr::new(0.005, 21)));
    let m = model();
    let mut adam = Adam::new(&m, 0.01).group("biases", 0.002, biases, |rule| rule.betas = (0.8, 0.9));
    walk("groups.adam", &*m, &mut adam, &CosineAnnealingLr { t_max: 15, eta_min: 1e-3 });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lbfgs_walks_as_pytorchs() {
    let device = Device::open().unwrap();
    let all = reference(&device, "optim");
    let mut wrong = Vec::new();
    for name in ["plain", "wolfe"] {
        let model = loaded(&all, "mlp", &device);
        let make = || match name {
            "plain" => Lbfgs::new(&model, 0.5).max_iter(4).history_size(3),
            _ => Lbfgs::new(&model, 1.0).max_iter(5).strong_wolfe(),
        };
        let mut lbfgs = make();
        let (x, y) = (&all["mlp.x"], &all["labels"]);
        let closure = || {
            let squares = model.parameters().iter().map(|p| p.square().sum()).reduce(|a, b| a + b).unwrap();
            cross_entropy(&model.forward(x), y) + squares * 0.01
        };
        let mut losses = vec![lbfgs.step(closure).unwrap(), lbfgs.step(closure).unwrap()];
        // the rest by another one that has taken over
        let mut other = make();
        other.load_state_dict(&lbfgs.state_dict()).unwrap();
        losses.extend([other.step(closure).unwrap(), other.step(closure).unwrap()]);
        wrong.extend(judge(&all, &format!("lbfgs.{name}"), &losses, &weights(&*model)));
        assert!(matches!(make().load_state_dict(&all), Err(Error::State(_))));
        assert!(matches!(Lbfgs::new(&model, -0.5).step(closure), Err(Error::Argument { .. })));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every schedule's learning rates (and momenta) over a hundred steps, to 1e-12.
#[test]
fn schedules_are_pytorchs() {
    let device = Device::open().unwrap();
    let (_, metadata) = reference_with_notes(&device, "optim");
    let scale: fn(f64) -> f64 = |x| 5f64.powf(-x * 0.0001);
    let cyclic = CyclicLr { step_size_up: 8, ..CyclicLr::new(0.01, 0.2) };
    let cycle = OneCycleLr::new(0.2, 120);
    let schedules: Vec<(&str, Box<dyn Schedule>)> = vec![
        ("step", Box::new(StepLr::new(7, 0.6))),
        ("multi_step", Box::new(MultiStepLr::new([3, 10, 10, 40], 0.5))),
        ("constant", Box::new(ConstantLr::default())),
        ("constant_set", Box::new(ConstantLr { factor: 0.25, total_iters: 30 })),
        ("linear", Box::new(LinearLr::default())),
        ("linear_set", Box::new(LinearLr { start_factor: 0.9, end_factor: 0.1, total_iters: 40 })),
        ("exponential", Box::new(ExponentialLr::new(0.97))),
        ("polynomial", Box::new(PolynomialLr { total_iters: 50, power: 2.0 })),
        ("polynomial_default", Box::new(PolynomialLr::default())),
        ("cosine", Box::new(CosineAnnealingLr::new(99))),
        ("cosine_min", Box::new(CosineAnnealingLr { t_max: 30, eta_min: 0.01 })),
        ("restarts", Box::new(CosineAnnealingWarmRestarts::new(10))),
        ("restarts_longer", Box::new(CosineAnnealingWarmRestarts { t_0: 5, t_mult: 2, eta_min: 0.01 })),
        ("cyclic", Box::new(cyclic.clone())),
        ("cyclic_two", {
            let (mode, momentum) = (CyclicMode::Triangular2, Some((0.5, 0.95)));
            Box::new(CyclicLr { step_size_down: Some(5), mode, momentum, ..cyclic.clone() })
        }),
        ("cyclic_exp", {
            let mode = CyclicMode::ExpRange { gamma: 0.98 };
            Box::new(CyclicLr { step_size_up: 6, mode, momentum: None, ..cyclic.clone() })
        }),
        ("cyclic_own", Box::new(CyclicLr { step_size_up: 6, mode: CyclicMode::Iterations(scale), ..cyclic })),
        ("one_cycle", Box::new(cycle.clone())),
        ("one_cycle_linear", {
            let (anneal, momentum) = (Anneal::Linear, Some((0.7, 0.9)));
            Box::new(OneCycleLr {
                pct_start: 0.4,
                anneal,
                div_factor: 10.0,
                final_div_factor: 100.0,
                momentum,
                ..cycle.clone()
            })
        }),
        ("one_cycle_three", Box::new(OneCycleLr { three_phase: true, ..cycle.clone() })),
        ("one_cycle_three_linear", {
            Box::new(OneCycleLr { three_phase: true, anneal: Anneal::Linear, momentum: None, ..cycle })
        }),
        ("lambda", Box::new(LambdaLr(|t| 0.95f64.powi(t as i32)))),
        ("multiplicative", Box::new(MultiplicativeLr::new(|t| if t % 3 == 0 { 1.05 } else { 0.9 }))),
        ("sequential", {
            let first = ConstantLr { factor: 0.1, total_iters: 20 };
            Box::new(SequentialLr::new(first).then(20, ExponentialLr::new(0.9)).then(50, StepLr::new(10, 0.5)))
        }),
        ("chained", {
            let first = ConstantLr { factor: 0.1, total_iters: 20 };
            let last = LinearLr { start_factor: 0.5, end_factor: 1.0, total_iters: 30 };
            Box::new(ChainedScheduler::new().and(first).and(ExponentialLr::new(0.9)).and(last))
        }),
        ("swa", Box::new(SwaLr::new(0.05))),
        ("swa_linear", Box::new(SwaLr { anneal_epochs: 7, anneal: Anneal::Linear, ..SwaLr::new(0.05) })),
        ("swa_at_once", Box::new(SwaLr { anneal_epochs: 0, ..SwaLr::new(0.05) })),
    ];
    let listed = metadata.keys().filter(|k| k.starts_with("rates.") && !k.contains("plateau")).count();
    assert_eq!(listed, schedules.len());
    let model = Linear::new(1, 1, &mut Init::new(&device, 0));
    for (name, schedule) in &schedules {
        let mut sgd = Sgd::new(&model, 0.3).momentum(0.9);
        // through a scheduler that is saved and taken up again half way
        let mut scheduler = Scheduler::new(&**schedule, &mut sgd);
        for (t, want) in rates(&metadata, name).into_iter().enumerate() {
            if t == 50 {
                let state = scheduler.state();
                sgd = Sgd::new(&model, 0.3).momentum(0.9);
                scheduler = Scheduler::new(&**schedule, &mut sgd);
                assert!(scheduler.load_state(&state, &mut sgd));
            }
            close(name, t, [sgd.lr(), sgd.present_momentum().unwrap()], want);
            scheduler.step(&mut sgd);
        }
    }
}

/// Learning rate and momentum of each step.
fn rates(metadata: &store::Metadata, name: &str) -> Vec<[f64; 2]> {
    let line = |line: &str| {
        let (lr, momentum) = line.split_once(' ').unwrap();
        [lr.parse().unwrap(), momentum.parse().unwrap()]
    };
    metadata[&format!("rates.{name}")].lines().map(line).collect()
}

fn close(name: &str, t: usize, got: [f64; 2], want: [f64; 2]) {
    for (got, want) in got.into_iter().zip(want) {
        // next to nothing is nothing: PyTorch gets there by products of many factors
        assert!((got - want).abs() <= 1e-12 * want.abs() + 1e-16, "{name} at {t}: {got:e} is not {want:e}");
    }
}

#[test]
fn plateaus_are_pytorchs() {
    let device = Device::open().unwrap();
    let (_, metadata) = reference_with_notes(&device, "optim");
    let falling = |t: usize| 1.0 / (1 + t / 9) as f64 + if t % 4 == 3 { 0.01 } else { 0.0 };
    let (max, abs) = (PlateauMode::Max, ThresholdMode::Abs);
    let base = ReduceLrOnPlateau::default();
    type Row = (&'static str, ReduceLrOnPlateau, fn(f64) -> f64);
    let rows: [Row; 4] = [
        ("plateau", ReduceLrOnPlateau { patience: 3, ..base.clone() }, |f| f),
        (
            "plateau_abs",
            ReduceLrOnPlateau {
                factor: 0.5,
                patience: 2,
                threshold: 0.05,
                threshold_mode: abs,
                cooldown: 4,
                min_lr: 0.02,
                ..base.clone()
            },
            |f| f,
        ),
        (
            "plateau_max",
            ReduceLrOnPlateau { mode: max, factor: 0.7, patience: 2, threshold: 0.01, cooldown: 1, ..base.clone() },
            |f| -f,
        ),
        (
            "plateau_max_abs",
            ReduceLrOnPlateau {
                mode: max,
                factor: 0.7,
                patience: 1,
                threshold: 0.1,
                threshold_mode: abs,
                eps: 1e-3,
                ..base
            },
            |f| 1.0 - f,
        ),
    ];
    let model = Linear::new(1, 1, &mut Init::new(&device, 0));
    for (name, fresh, figure) in rows {
        let (mut plateau, mut sgd) = (fresh.clone(), Sgd::new(&model, 0.3).momentum(0.9));
        for (t, want) in rates(&metadata, name).into_iter().enumerate() {
            if t == 50 {
                let state = plateau.state(&sgd);
                (plateau, sgd) = (fresh.clone(), Sgd::new(&model, 0.3).momentum(0.9));
                assert!(plateau.load_state(&state, &mut sgd));
                assert!(!plateau.load_state(&store::Metadata::new(), &mut sgd));
            }
            close(name, t, [sgd.lr(), 0.9], want);
            plateau.step(figure(falling(t)), &mut sgd);
        }
    }
}

/// Slots and groups are open to everybody: what is wrong with them is an error of the step, which changes nothing.
#[test]
fn groups_that_are_not_there_are_refused() {
    let device = Device::open().unwrap();
    let layer = Linear::new(2, 1, &mut Init::new(&device, 0));
    let before = layer.weight.to_vec::<f32>().unwrap();
    let loss = || layer.forward(&Tensor::ones(&device, [1, 2])).sum();
    let changes: [fn(&mut Slots); 3] = [
        |slots| slots.groups.clear(),
        |slots| slots.all[0].group = 7,
        |slots| slots.groups.push(slots.groups[0].clone()),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut adam = Adam::new(&layer, 1e-2);
        change(adam.slots_mut());
        if at == 2 {
            adam.slots_mut().all[0].group = 1;
        }
        let error = adam.step(&loss()).unwrap_err();
        assert!(matches!(&error, Error::Argument { name: "group", .. }), "{error}");
        assert_eq!(layer.weight.to_vec::<f32>().unwrap(), before);
    }
}
