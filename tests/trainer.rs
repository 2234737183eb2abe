//! What the trainer does besides calling a step: each setting against the loop that it stands for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln::data::{Last, Order, Passes, Source};
use kiln::prelude::*;
use kiln::schedule::{ReduceLrOnPlateau, StepLr};
use kiln::train::{
    Callback, Checkpoints, CsvLog, Every, JsonLines, LrFinder, Report, Sample, Start, Step, TensorBoard, Validation,
};

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

fn close(a: &[f32], b: &[f32], within: f32) {
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f32::max);
    assert!(a.len() == b.len() && worst <= within, "{worst}");
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
    for bad in [
        LrFinder { start: 0.0, ..finder },
        LrFinder { end: 1e-6, ..finder },
        LrFinder { beta: 1.0, ..finder },
        LrFinder { steps: 1, ..finder },
    ] {
        assert!(matches!(bad.find(&model, &mut adam, &data, forward), Err(Error::Argument { .. })));
    }
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("kiln-trainer-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder); // of an earlier run with this process id
    folder
}

/// A log without its times.
fn timeless(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let cut = |line: &str| line.rsplit_once([',', ':']).unwrap().0.to_string();
    let lines = text.lines();
    lines.map(|line| if line.starts_with("{\"event\":\"validation") { line.into() } else { cut(line) }).collect()
}

#[test]
fn logs_of_a_resumed_training_are_those_of_a_whole_one() {
    let home = scratch("logs");
    let logged = |name: &str, most: usize| {
        let folder = home.join(name);
        let trainer = Trainer::new(4).batch(8).validate(Every::Steps(2)).max_steps(most);
        let trainer = trainer.checkpoints(folder.join("state"), Checkpoints::every(Every::Steps(2))).resume();
        let trainer = trainer.callback(CsvLog::new(&folder)).callback(JsonLines::new(folder.join("log.jsonl")));
        run(trainer, sgd, [24, 8]).0.unwrap()
    };
    let logs = ["steps.csv", "validations.csv", "epochs.csv", "log.jsonl"];
    logged("whole", 100);
    let all = |name: &str| logs.map(|log| timeless(&home.join(name).join(log)));
    let whole = all("whole");
    assert_eq!(whole.each_ref().map(Vec::len), [13, 7, 5, 12 + 6 + 4]);
    assert_eq!(whole[0][0], "step,epoch,loss,metric,lr,examples");
    assert!(whole[0][12].starts_with("12,4,") && whole[0][12].ends_with(",0.2,8"), "{}", whole[0][12]);

    for most in 0..=12 {
        let parts = home.join("parts");
        logged("parts", most);
        // what a killed run may leave behind its last checkpoint, the end of it half-written
        for (log, line) in logs.iter().zip([
            "99,9,0.5,0.5,0.2,8,1.0\n99,",
            "99,9,0.5,0.5\n",
            "9,99,,,,,,\n9",
            "{\"event\":\"step\",\n{",
        ]) {
            let path = parts.join(log);
            fs::write(&path, fs::read_to_string(&path).unwrap() + line).unwrap();
        }
        logged("parts", 100);
        assert_eq!(all("parts"), whole, "ended after step {most}");
        fs::remove_dir_all(parts).unwrap();
    }
    fs::remove_dir_all(home).unwrap();
}

/// CRC-32C by its definition: the remainder of the bits, each byte's lowest first, with 32 more zeros.
fn masked_crc(data: &[u8]) -> u32 {
    let bits = data.iter().flat_map(|byte| (0..8).map(move |i| byte >> i & 1)).chain([0; 32]);
    let mut rest: u64 = 0;
    for (i, bit) in bits.enumerate() {
        rest = rest << 1 | u64::from(bit ^ u8::from(i < 32));
        if rest >> 32 & 1 == 1 {
            rest ^= 0x1_1EDC_6F41;
        }
    }
    let crc = !(rest as u32).reverse_bits();
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The fields of a message of protocol buffers: number and bytes (of a varint: its eight bytes).
fn fields(mut data: &[u8]) -> Vec<(u8, Vec<u8>)> {
    fn varint(data: &mut &[u8]) -> u64 {
        let length = data.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (head, rest) = data.split_at(length);
        *data = rest;
        head.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }
    let mut out = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let length = match key & 7 {
            0 => {
                out.push(((key >> 3) as u8, varint(&mut data).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut data) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (content, rest) = data.split_at(length);
        out.push(((key >> 3) as u8, content.to_vec()));
        data = rest;
    }
    out
}

/// The events of a file, every checksum checked.
fn events(path: &Path) -> Vec<Vec<(u8, Vec<u8>)>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(u32::from_le_bytes(rest[8..12].try_into().unwrap()), masked_crc(&rest[..8]));
        let data = &rest[12..12 + length];
        assert_eq!(u32::from_le_bytes(rest[12 + length..16 + length].try_into().unwrap()), masked_crc(data));
        out.push(fields(data));
        rest = &rest[16 + length..];
    }
    out
}

#[test]
fn tensorboard_files_hold_the_figures() {
    let home = scratch("tensorboard");
    let logged = |most: usize| {
        let trainer = Trainer::new(50).batch(8).max_steps(most);
        let trainer = trainer.checkpoints(home.join("state"), Checkpoints::default()).resume();
        run(trainer.callback(TensorBoard::new(home.join("log"))), sgd, [24, 8]).0.unwrap()
    };
    let first = logged(3);
    let second = logged(150);
    let mut files: Vec<PathBuf> = fs::read_dir(home.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2);
    assert!(files[0].file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents."));

    let step_of = |event: &[(u8, Vec<u8>)]| u64::from_le_bytes(event[1].1.clone().try_into().unwrap());
    let mut scalars = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let mut events = events(file).into_iter();
        let version = events.next().unwrap();
        assert_eq!((version[0].0, version[1].0, &version[2]), (1, 2, &(3, b"brain.Event:2".to_vec())));
        if number == 1 {
            let start = events.next().unwrap();
            assert_eq!(
                (step_of(&start), start[2].0, fields(&start[2].1)),
                (4, 7, vec![(1, vec![1, 0, 0, 0, 0, 0, 0, 0])])
            );
        }
        for event in events {
            assert!(f64::from_le_bytes(event[0].1.clone().try_into().unwrap()) > 1.7e9);
            assert_eq!(event[2].0, 5);
            for (field, value) in fields(&event[2].1) {
                let value = fields(&value);
                assert_eq!((field, value[0].0, value[1].0), (1, 1, 2));
                let number = f32::from_le_bytes(value[1].1.clone().try_into().unwrap());
                scalars.push((String::from_utf8(value[0].1.clone()).unwrap(), step_of(&event), number));
            }
        }
    }
    let of = |tag: &str| scalars.iter().filter(|s| s.0 == tag).map(|s| (s.1, s.2)).collect::<Vec<_>>();
    assert_eq!(of("train/loss").iter().map(|s| s.0).collect::<Vec<_>>(), (1..=150).collect::<Vec<_>>());
    assert_eq!(of("lr"), (1..=150).map(|step| (step, 0.2)).collect::<Vec<_>>());
    assert_eq!((of("train/error").len(), of("validation/error").len()), (150, 50));
    let want: Vec<(u64, f32)> = second.validations.iter().map(|v| (v.step as u64, v.figures.loss as f32)).collect();
    assert_eq!(of("validation/loss"), want);
    assert_eq!(first.validations, second.validations[..1]);
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn a_report_is_one_page_of_what_there_is() {
    let mut report = Report::new("<A & B>");
    let empty = report.html();
    assert!(empty.contains("&lt;A &amp; B&gt;") && !empty.contains("<svg") && !empty.contains("Confusion"));
    let history = run(Trainer::new(3).batch(8).callback(&mut report), sgd, [24, 8]).0.unwrap();
    report.note("optimizer", "SGD");
    let mut matrix = ConfusionMatrix::new(2);
    matrix.add(&[0, 0, 1, 1, 1], &[0, 1, 1, 1, 1]);
    report.confusion(&matrix, &["cat", "d<g"]);
    let picture = vec![vec![0.0, 1.0], vec![0.5, 0.0]];
    report.sample(Sample { picture, truth: "cat".into(), prediction: "d<g".into(), probability: 0.25 });
    let page = report.html();
    for part in ["SGD", "d&lt;g", ">50.0 %<", ">100.0 %<", "is cat", "validation error", "d&lt;g 25 %"] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<svg").count(), 3 + 1);
    let picture = report.picture("a < b");
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n") && picture.contains("a &lt; b"));
    assert!(picture.contains(">Loss<") && picture.contains(">Error<") && picture.contains(">epoch<"));
    assert!(page.contains(&format!("{:.4}", history.epochs[2].train.loss)));
    assert!(!page.contains("http") && !page.contains("NaN") && !page.contains("<script"));
}
