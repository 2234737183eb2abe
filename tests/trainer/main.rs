//! What the trainer does besides calling a step: each setting against the loop that it stands for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::ops::ControlFlow;
use std::time::Duration;

use kiln::data::{Last, Order, Passes, Source};
use kiln::prelude::*;
use kiln::schedule::{ReduceLrOnPlateau, StepLr};
use kiln::train::{Callback, Checkpoints, Every, LrFinder, Start, Step, Validation};

mod logs;
#[path = "../support/mod.rs"]
mod support;

use support::worst;

fn net(device: &Device) -> Sequential {
    let mut init = Init::new(device, 1);
    Sequential::new().push(Linear::new(4, 8, &mut init)).push(nn::Tanh).push(Linear::new(8, 1, &mut init))
}

/// y = sin of the sum of four numbers.
fn set(device: &Device, rows: usize) -> TensorDataset {
    let x: Vec<f32> = (0..rows * 4).map(|i| ((i * 37 + i * i) % 89) as f32 / 44.0 - 1.0).collect();
    let y: Vec<f32> = x.chunks(4).map(|row| row.iter().sum::<f32>().sin()).collect();
    TensorDataset::new(device, (x, [4]), (y, [1])).unwrap()
}

/// Trains a fresh network and gives history and weights.
fn run<O: Optimizer>(
    trainer: Trainer<'_>,
    optimizer: impl Fn(&Sequential) -> O,
    rows: [usize; 2],
) -> (Result<History>, Vec<f32>) {
    let device = Device::open().unwrap();
    let (train, test) = (set(&device, rows[0]), set(&device, rows[1]));
    let model = net(&device);
    let mut optimizer = optimizer(&model);
    let forward = |(x, y): &(Tensor, Tensor)| {
        let out = model.forward(x);
        let metric = Some(("error", (&out - y).abs().mean()));
        Outcome { loss: mse_loss(&out, y), metric, count: y.numel() }
    };
    let test = (rows[1] > 0).then_some(&test as &dyn Source<Batch = (Tensor, Tensor)>);
    let history = trainer.progress(false).fit(&model, &mut optimizer, &train, test, forward);
    (history, weights(&model))
}

fn weights(model: &Sequential) -> Vec<f32> {
    model.parameters().iter().flat_map(|param| param.to_vec::<f32>().unwrap()).collect()
}

fn sgd(model: &Sequential) -> Sgd {
    Sgd::new(model, 0.2).momentum(0.9)
}

fn close(a: &[f32], b: &[f32], within: f64) {
    let error = worst(a, b);
    assert!(error <= within, "{error:e}");
}

#[test]
fn batches_that_are_added_up_are_one_large_batch() {
    for clip in [None, Some(0.05)] {
        let with = |trainer: Trainer<'static>| match clip {
            Some(bound) => trainer.clip_norm(bound),
            None => trainer,
        };
        // 5 large batches are 20 small ones, both in the same order
        let (large, a) = run(with(Trainer::new(3).batch(16)), sgd, [80, 0]);
        let (small, b) = run(with(Trainer::new(3).batch(4).accumulate(4)), sgd, [80, 0]);
        close(&a, &b, 2e-6);
        let (large, small) = (large.unwrap(), small.unwrap());
        for (large, small) in large.epochs.iter().zip(&small.epochs) {
            assert_eq!(large.step, small.step);
            assert!((large.train.loss - small.train.loss).abs() < 1e-6);
            assert!((large.train.metric.unwrap() - small.train.metric.unwrap()).abs() < 1e-6);
        }
        let (short, _) = run(with(Trainer::new(1).batch(4).accumulate(4)), sgd, [68, 0]);
        assert_eq!(short.unwrap().epochs[0].step, 5); // 17 batches: 4 + 4 + 4 + 4 + 1
    }
}

#[test]
fn gradients_are_clipped_as_by_hand() {
    let device = Device::open().unwrap();
    let (data, model) = (set(&device, 32), net(&device));
    let mut by_hand = sgd(&model);
    for epoch in 0..3 {
        for (x, y) in data.batches(32, epoch) {
            let mut gradients = by_hand.backward(&mse_loss(&model.forward(&x), &y)).unwrap();
            clip_grad_value(&mut gradients, 0.1);
            clip_grad_norm(&mut gradients, 0.2);
            by_hand.step(&gradients).unwrap();
        }
    }
    let clipped = Trainer::new(3).batch(32).clip_value(0.1).clip_norm(0.2);
    close(&run(clipped, sgd, [32, 0]).1, &weights(&model), 1e-6);
    let free = run(Trainer::new(3).batch(32), sgd, [32, 0]).1;
    assert!(free.iter().zip(&weights(&model)).any(|(a, b)| (a - b).abs() > 1e-3));
}

#[test]
fn validation_and_best_model_have_the_averaged_weights() {
    let device = Device::open().unwrap();
    let (train, test, model) = (set(&device, 64), set(&device, 24), net(&device));
    let mut by_hand = sgd(&model);
    let average = AveragedModel::ema(&model, 0.8);
    for (x, y) in train.batches(8, 0) {
        by_hand.step(&mse_loss(&model.forward(&x), &y)).unwrap();
        average.update().unwrap();
    }
    let (x, y) = test.all();
    let want = average.during(|| mse_loss(&model.forward(&x), &y).item()).unwrap();

    let path = std::env::temp_dir().join(format!("kiln-trainer-ema-{}.safetensors", std::process::id()));
    let (history, last) = run(Trainer::new(1).batch(8).ema(0.8).best(&path), sgd, [64, 24]);
    let got = history.unwrap().epochs[0].validation.unwrap().loss;
    assert!((got - f64::from(want)).abs() < 1e-6, "{got} and {want}");
    close(&last, &weights(&model), 1e-6);
    store::load(&model, &path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert!((mse_loss(&model.forward(&x), &y).item().unwrap() - want).abs() < 1e-6);
}

/// Keeps all that it is told.
#[derive(Default)]
struct Told {
    starts: Vec<Start>,
    steps: Vec<Step>,
    validations: Vec<Validation>,
    epochs: usize,
    ends: usize,
    break_at: usize,
}

impl Callback for Told {
    fn on_start(&mut self, start: &Start) -> Result<()> {
        self.starts.push(*start);
        Ok(())
    }

    fn on_step(&mut self, step: &Step) -> Result<ControlFlow<()>> {
        self.steps.push(*step);
        Ok(if step.step == self.break_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn on_validation(&mut self, validation: &Validation) -> Result<()> {
        self.validations.push(*validation);
        Ok(())
    }

    fn on_epoch(&mut self, _epoch: &kiln::train::Epoch) -> Result<ControlFlow<()>> {
        self.epochs += 1;
        Ok(ControlFlow::Continue(()))
    }

    fn on_end(&mut self, _history: &History) -> Result<()> {
        self.ends += 1;
        Ok(())
    }
}

#[test]
fn callbacks_hear_of_every_step() {
    let mut told = Told::default();
    let trainer = Trainer::new(2).batch(8).accumulate(2).validate(Every::Steps(3)).scheduler(StepLr::new(3, 0.5));
    let history = run(trainer.callback(&mut told), sgd, [44, 8]).0.unwrap();
    assert_eq!(told.starts, [Start { step: 0, epochs_done: 0, validations: 0, steps: 6, epochs: 2 }]);
    assert_eq!(told.steps.iter().map(|s| s.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(told.steps.iter().map(|s| s.examples).collect::<Vec<_>>(), [16, 16, 12, 16, 16, 12]);
    assert_eq!(told.steps.iter().map(|s| s.lr).collect::<Vec<_>>(), [0.2, 0.2, 0.2, 0.1, 0.1, 0.1]);
    let loss: f64 = told.steps[..3].iter().map(|s| s.loss * s.examples as f64).sum::<f64>() / 44.0;
    assert!((loss - history.epochs[0].train.loss).abs() < 1e-9);
    assert!(told.steps.iter().all(|s| s.metric.is_some_and(|(name, value)| name == "error" && value > 0.0)));
    assert_eq!(told.validations.iter().map(|v| (v.step, v.epoch)).collect::<Vec<_>>(), [(3, 1), (6, 2)]);
    assert_eq!((told.epochs, told.ends, &told.validations), (2, 1, &history.validations));

    let mut told = Told { break_at: 2, ..Told::default() };
    let history = run(Trainer::new(5).batch(8).callback(&mut told), sgd, [96, 0]).0.unwrap();
    assert_eq!((history.ending, history.epochs.len(), told.epochs, told.ends), (Ending::Early, 0, 0, 1));
    assert!((2..=6).contains(&told.steps.len()));
}

#[test]
fn validation_comes_as_often_as_asked() {
    let every = |every| {
        let history = run(Trainer::new(5).batch(8).validate(every), sgd, [24, 8]).0.unwrap();
        history.validations.iter().map(|v| v.step).collect::<Vec<_>>()
    };
    assert_eq!(every(Every::Epochs(2)), [6, 12, 15]); // and after the last epoch
    assert_eq!(every(Every::Steps(4)), [4, 8, 12, 15]);
    let history = run(Trainer::new(3).batch(8).validate(Every::Epochs(2)), sgd, [24, 8]).0.unwrap();
    assert_eq!(history.epochs.iter().map(|e| e.validation.is_some()).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn limits_end_a_training() {
    let limited = run(Trainer::new(9).batch(8).max_steps(5), sgd, [24, 0]).0.unwrap();
    assert_eq!((limited.ending, limited.epochs.len()), (Ending::Limit, 1));
    let late = run(Trainer::new(1_000_000).batch(8).time_limit(Duration::from_millis(30)), sgd, [24, 0]).0.unwrap();
    assert_eq!(late.ending, Ending::Limit);
    let rising = |model: &Sequential| Sgd::new(model, 0.2).maximize();
    let patient = run(Trainer::new(9).batch(8).clip_norm(0.1).patience(2), rising, [24, 8]).0.unwrap();
    assert_eq!((patient.ending, patient.epochs.len()), (Ending::Early, 3));
    let plateau = ReduceLrOnPlateau { patience: 0, factor: 0.5, ..Default::default() };
    let fallen = run(Trainer::new(4).batch(8).clip_norm(0.1).plateau(plateau), rising, [24, 8]).0.unwrap();
    assert_eq!(fallen.epochs.iter().map(|e| e.lr).collect::<Vec<_>>(), [0.2, 0.1, 0.05, 0.025]);
}

#[test]
fn captured_steps_are_the_same_steps() {
    let device = Device::open().unwrap();
    let (train, test) = (set(&device, 44), set(&device, 8));
    let mut all = Vec::new();
    for captured in [false, true] {
        let model = net(&device);
        let mut adam = Adam::new(&model, 0.01);
        let forward = |(x, y): &(Tensor, Tensor)| {
            let out = model.forward(x);
            Outcome { loss: mse_loss(&out, y), metric: Some(("error", (&out - y).abs().mean())), count: y.numel() }
        };
        let trainer = Trainer::new(3).batch(8).progress(false).clip_norm(0.5).ema(0.9);
        let trainer = trainer.schedule(|step, total| schedule::cosine(0.01, step, total, 0.0));
        let history = match captured {
            false => trainer.fit(&model, &mut adam, &train, Some(&test), forward),
            true => trainer.fit_captured(&model, &mut adam, &train, Some(&test), forward),
        };
        let history = history.unwrap();
        all.push((weights(&model), history.epochs.iter().map(|e| (e.train, e.validation)).collect::<Vec<_>>()));
    }
    assert_eq!(all[0], all[1]);
}

/// A set and a loader of it in the same order, by threads or not, take the same steps.
#[test]
fn a_loader_trains_as_its_batches_do() {
    let device = Device::open().unwrap();
    let (train, test) = (set(&device, 44), set(&device, 20));
    let loader = DataLoader::new(train.clone()).batch_size(8).shuffle(true).seed(5);
    let forward = |model: &Sequential, (x, y): &(Tensor, Tensor)| mse_loss(&model.forward(x), y);
    let by_hand = |last: Last| {
        let model = net(&device);
        let mut sgd = sgd(&model);
        for epoch in 0..2 {
            for batch in loader.clone().last(last).epoch(epoch) {
                sgd.step(&forward(&model, &batch.unwrap().content)).unwrap();
            }
        }
        weights(&model)
    };
    for (last, steps) in [(Last::Keep, [8, 8, 8, 8, 8, 4]), (Last::Drop, [8, 8, 8, 8, 8, 0]), (Last::Pad, [8; 6])] {
        for workers in [0, 3] {
            let loader = loader.clone().last(last).workers(workers);
            let model = net(&device);
            let mut steps_told = Examples::default();
            let outcome = |batch: &(Tensor, Tensor)| Outcome::loss(forward(&model, batch), batch.1.numel());
            let trainer = Trainer::new(2).progress(false).callback(&mut steps_told);
            // the validation is of another kind, in its own order
            let history = trainer.fit(&model, &mut sgd(&model), &loader, Some(&test), outcome).unwrap();
            close(&weights(&model), &by_hand(last), 0.0);
            let (x, y) = test.all();
            let loss = f64::from(forward(&model, &(x, y)).item().unwrap());
            assert!((history.validations[1].figures.loss - loss).abs() < 1e-6);
            let want: Vec<usize> = steps.iter().copied().filter(|&n| n > 0).collect();
            assert_eq!(steps_told.0, [want.clone(), want].concat(), "{last:?}");
        }
    }
    // a loader as the validation: its pass 0, each time
    let model = net(&device);
    let outcome = |batch: &(Tensor, Tensor)| Outcome::loss(forward(&model, batch), batch.1.numel());
    let shuffled = DataLoader::new(test.clone()).batch_size(5).shuffle(true).last(Last::Drop);
    let still = Trainer::new(3).progress(false);
    let history = still.fit(&model, &mut Sgd::new(&model, 0.0), &train, Some(&shuffled), outcome).unwrap();
    assert!(history.validations.iter().all(|v| v.figures == history.validations[0].figures));

    let model = net(&device);
    let outcome = |batch: &(Tensor, Tensor)| Outcome::loss(forward(&model, batch), batch.1.numel());
    for (setting, trainer) in [("batch", Trainer::new(1).batch(8)), ("seed", Trainer::new(1).seed(0))] {
        let refused = trainer.fit(&model, &mut sgd(&model), &loader, None, outcome);
        assert!(matches!(&refused, Err(Error::Argument { name, .. }) if *name == setting), "{refused:?}");
    }
    let broken = |row: usize, _: &mut _| match row {
        30 => Err(Error::File { path: "thirty.png".into(), why: "gone".into() }),
        row => Ok(row),
    };
    let loader = DataLoader::from_examples(44, broken, move |rows| Ok(train.batch(&rows))).batch_size(8).workers(2);
    let failed = Trainer::new(1).progress(false).fit(&model, &mut sgd(&model), &loader, None, outcome);
    assert!(failed.unwrap_err().to_string().contains("thirty.png"));
}

/// How many examples each step had.
#[derive(Default)]
struct Examples(Vec<usize>);

impl Callback for Examples {
    fn on_step(&mut self, step: &Step) -> Result<ControlFlow<()>> {
        assert!(step.waited >= 0.0 && step.waited <= step.seconds);
        self.0.push(step.examples);
        Ok(ControlFlow::Continue(()))
    }
}

/// A source that ends too early says so.
#[test]
fn a_pass_has_the_batches_that_it_says() {
    struct Short(TensorDataset);
    impl Source for Short {
        type Batch = (Tensor, Tensor);
        fn passes(&self, order: &Order) -> Passes<'_, (Tensor, Tensor)> {
            let size = order.batch;
            Passes::new(24, size, move |pass, first| Box::new(self.0.batches(size, pass).skip(first).map(Ok)))
        }
    }
    let device = Device::open().unwrap();
    let (model, short) = (net(&device), Short(set(&device, 16)));
    let forward = |(x, y): &(Tensor, Tensor)| Outcome::loss(mse_loss(&model.forward(x), y), y.numel());
    let result = Trainer::new(1).batch(8).progress(false).fit(&model, &mut sgd(&model), &short, None, forward);
    assert!(matches!(&result, Err(Error::Argument { name: "train", value, .. }) if value == "2 batches of 3"));
}

#[test]
fn settings_out_of_range_are_refused() {
    let trainer = || Trainer::new(1);
    let folder = std::env::temp_dir();
    let bad = [
        ("batch", trainer().batch(0)),
        ("accumulate", trainer().accumulate(0)),
        ("clip_norm", trainer().clip_norm(f64::NAN)),
        ("clip_value", trainer().clip_value(0.0)),
        ("ema", trainer().ema(1.5)),
        ("validate", trainer().validate(Every::Steps(0))),
        ("checkpoints.every", trainer().checkpoints(&folder, Checkpoints::every(Every::Epochs(0)))),
        ("checkpoints.keep", trainer().checkpoints(&folder, Checkpoints::default().keep(0))),
    ];
    for (setting, trainer) in bad {
        let refused = run(trainer, sgd, [8, 0]).0;
        assert!(matches!(&refused, Err(Error::Argument { name, .. }) if *name == setting), "{refused:?}");
    }
    let device = Device::open().unwrap();
    let (data, model) = (set(&device, 8), net(&device));
    let forward = |(x, y): &(Tensor, Tensor)| Outcome::loss(mse_loss(&model.forward(x), y), y.numel());
    let both = trainer().accumulate(2).fit_captured(&model, &mut sgd(&model), &data, None, forward);
    assert!(matches!(both, Err(Error::Argument { name: "accumulate", .. })));
}

/// A source that has less than it says.
struct Empty;

impl Source for Empty {
    type Batch = (Tensor, Tensor);

    fn passes(&self, order: &Order) -> Passes<'_, (Tensor, Tensor)> {
        Passes::new(10, order.batch, |_, _| Box::new(std::iter::empty()))
    }
}

#[test]
fn the_finder_sweeps_and_puts_everything_back() {
    let device = Device::open().unwrap();
    let (data, model) = (set(&device, 64), net(&device));
    let mut adam = Adam::new(&model, 0.003);
    for (x, y) in data.batches(16, 9) {
        adam.step(&mse_loss(&model.forward(&x), &y)).unwrap();
    }
    let state = |adam: &Adam| -> Vec<Vec<u8>> {
        adam.state_dict().values().map(|t| Tensor::read_all(&[t]).unwrap().remove(0)).collect()
    };
    let before = (weights(&model), state(&adam));
    let forward = |(x, y): &(Tensor, Tensor)| Outcome::loss(mse_loss(&model.forward(x), y), y.numel());
    let finder = LrFinder { steps: 60, batch: 16, start: 1e-5, end: 100.0, beta: 0.9, ..LrFinder::default() };
    let curve = finder.find(&model, &mut adam, &data, forward).unwrap();
    assert_eq!((weights(&model), state(&adam)), before);
    assert_eq!(adam.lr(), 0.003);

    assert!((curve.rates[0] - 1e-5).abs() < 1e-18 && curve.rates.len() < 60, "it diverges: {}", curve.rates.len());
    let ratio = curve.rates[7] / curve.rates[6];
    assert!((ratio - 1e7f64.powf(1.0 / 59.0)).abs() < 1e-9);
    let mut average = 0.0;
    for (i, (loss, smoothed)) in curve.losses.iter().zip(&curve.smoothed).enumerate() {
        average = 0.9 * average + 0.1 * loss;
        assert!((average / (1.0 - 0.9f64.powi(i as i32 + 1)) - smoothed).abs() < 1e-9);
    }
    let lr = curve.suggestion().unwrap();
    assert!((1e-4..1.0).contains(&lr), "{lr}");

    // a loss that is not finite ends the sweep too
    let sudden = |(x, y): &(Tensor, Tensor)| Outcome::loss(mse_loss(&(model.forward(x) / 0.0), y), y.numel());
    assert_eq!(finder.find(&model, &mut adam, &data, sudden).unwrap().suggestion(), None);
    assert_eq!((weights(&model), state(&adam)), before);
    // a loss below zero is lowest where it is furthest from it
    let below = |(x, y): &(Tensor, Tensor)| Outcome::loss(mse_loss(&model.forward(x), y) - 9.0, y.numel());
    let curve = finder.find(&model, &mut adam, &data, below).unwrap();
    assert!(curve.rates.len() > 20 && curve.suggestion().is_some(), "{:?}", curve.smoothed);
    // passes that are shorter than they say do not go on for ever
    let none = finder.find(&model, &mut adam, &Empty, forward);
    assert!(matches!(none, Err(Error::Argument { name: "data", .. })));
    assert_eq!((weights(&model), state(&adam)), before);
    for bad in [
        LrFinder { start: 0.0, ..finder },
        LrFinder { end: 1e-6, ..finder },
        LrFinder { beta: 1.0, ..finder },
        LrFinder { steps: 1, ..finder },
    ] {
        assert!(matches!(bad.find(&model, &mut adam, &data, forward), Err(Error::Argument { .. })));
    }
}
