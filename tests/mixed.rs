//! Mixed precision: what the rewrite does to a graph, that an overflow costs one step and nothing else, and that
//! networks learn as well as in f32. On a device without f16 it is an error that says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::data::digits;
use kiln::prelude::*;

/// A device, if it has f16; else the error of each step is looked at, once and for all tests.
fn device() -> Option<Device> {
    let device = Device::open().unwrap();
    if device.caps().f16 {
        return Some(device);
    }
    let model = Linear::new(2, 2, &mut Init::new(&device, 0));
    let mut adam = Adam::new(&model, 0.1).mixed_precision();
    let error = adam.step(&model.forward(&Tensor::ones(&device, [1, 2])).sum()).unwrap_err();
    assert!(matches!(&error, Error::Device(kiln::gpu::Error::Feature { feature: "f16", .. })), "{error:?}");
    None
}

fn mlp(init: &mut Init) -> Sequential {
    Sequential::new().push(Linear::new(64, 32, init)).push(Relu).push(Linear::new(32, 10, init))
}

fn values(model: &dyn Module) -> Vec<f32> {
    model.parameters().iter().flat_map(|p| p.to_vec::<f32>().unwrap()).collect()
}

fn batch(device: &Device, rows: usize) -> (Tensor, Tensor) {
    digits::load(device).unwrap().subset(&(0..rows).collect::<Vec<_>>()).all()
}

/// The value of the loss that the program holds, and of the logits it holds, are those of the rewritten graph.
#[test]
fn handles_stand_for_the_rewritten_graph() {
    let Some(device) = device() else { return };
    let model = mlp(&mut Init::new(&device, 1));
    let (x, y) = batch(&device, 32);
    let exact = model.forward(&x);
    let exact_loss = cross_entropy(&exact, &y);
    let logits = model.forward(&x);
    let correct = accuracy(&logits, &y);
    let loss = cross_entropy(&logits, &y);
    let mut sgd = Sgd::new(&model, 0.1).mixed_precision();
    let reference = (exact.to_vec::<f32>().unwrap(), exact_loss.item().unwrap());
    sgd.step_with(&loss, &[&correct]).unwrap();
    assert_eq!(loss.dtype(), DType::F32);
    let half = logits.to_vec::<f32>().unwrap();
    let far = half.iter().zip(&reference.0).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far > 1e-7 && far < 5e-3, "logits in half precision are off by {far:e}");
    assert!((loss.item().unwrap() - reference.1).abs() < 2e-3);
    assert!((0.0..=1.0).contains(&correct.item().unwrap()));
    assert_eq!((sgd.scale().unwrap(), sgd.skipped_steps().unwrap()), (65536.0, 0));
}

/// What was computed before the step and has nothing to learn is read as it is, from then on too.
#[test]
fn what_is_in_memory_is_not_computed_again() {
    let Some(device) = device() else { return };
    let (raw, y) = batch(&device, 32);
    let frozen = mlp(&mut Init::new(&device, 1));
    frozen.parameters().iter().for_each(|p| p.set_trainable(false));
    let model = Linear::new(10, 10, &mut Init::new(&device, 2));
    let features = frozen.forward(&raw);
    let exact = features.to_vec::<f32>().unwrap();
    let mut sgd = Sgd::new(&model, 0.1).mixed_precision();
    for _ in 0..4 {
        sgd.step(&cross_entropy(&model.forward(&features), &y)).unwrap();
    }
    let runs: u64 = device.plans().iter().filter(|plan| plan.label.contains("relu")).map(|plan| plan.runs).sum();
    assert_eq!(runs, 1, "the frozen part ran again");
    assert_eq!(features.to_vec::<f32>().unwrap(), exact);
    // asked for before the step, the gradient still knows what it was made from
    let z = Tensor::from_vec(&device, raw.to_vec::<f32>().unwrap(), &[32, 64]);
    let features = frozen.forward(&z);
    features.eval().unwrap();
    let loss = cross_entropy(&model.forward(&features), &y).mixed_precision().unwrap();
    let slope = loss.grad(&[&z]).unwrap().remove(0).to_vec::<f32>().unwrap();
    assert!(slope.iter().any(|v| *v != 0.0));
}

/// Exponentials, sums and losses stay f32: numbers that f16 cannot hold come out whole.
#[test]
fn what_is_not_safe_stays_single() {
    let Some(device) = device() else { return };
    let x = Tensor::new(&device, [[300.0, 200.0]]);
    let one = Tensor::new(&device, [[1.0], [1.0]]);
    let sum = x.matmul(&one); // 500 in f16
    let square = (&sum * &sum).sum().mixed_precision().unwrap();
    assert_eq!(square.item().unwrap(), 250_000.0);
    let exp = (x.matmul(&one) * 0.04).exp().sum().mixed_precision().unwrap().item().unwrap();
    assert!((exp / 20f32.exp() - 1.0).abs() < 0.02, "{exp}");
    // integers that became floats are multiplied exactly
    let whole = Tensor::new(&device, [[2049i32]]);
    assert_eq!(whole.matmul(&whole).cast(DType::F32).sum().mixed_precision().unwrap().item().unwrap(), 4_198_401.0);
}

/// Queries, keys and values go in as f16, and what comes out is f16; scores, their sums and masks are f32. The same
/// numbers as when the program itself asks for it, gradients and gradients of gradients too.
#[test]
fn attention_is_in_half() {
    let Some(device) = device() else { return };
    let rng = Rng::new(&device, 3);
    let [q, k, v] = [0; 3].map(|_| rng.normal([2, 2, 9, 8]));
    [&q, &k, &v].into_iter().for_each(|t| t.eval().unwrap());
    let mask = rng.normal([9, 9]) * 1e5; // more than f16 holds
    let visible = rng.normal([9, 9]).gt(-0.5);
    for (mask, causal) in [(None, false), (None, true), (Some(mask), false), (Some(visible), false)] {
        let options = Attention { mask, causal, ..Attention::default() };
        let exact = q.scaled_dot_product_attention(&k, &v, &options).square().sum();
        let mixed = q.scaled_dot_product_attention(&k, &v, &options).square().sum().mixed_precision().unwrap();
        let [q16, k16, v16] = [&q, &k, &v].map(|t| t.cast(DType::F16));
        let half = q16.scaled_dot_product_attention(&k16, &v16, &options).cast(DType::F32).square().sum();
        assert_eq!(mixed.dtype(), DType::F32);
        let got = mixed.item().unwrap();
        assert_eq!(got, half.item().unwrap(), "causal {causal}");
        let far = (got / exact.item().unwrap() - 1.0).abs();
        assert!(far > 0.0 && far < 5e-3, "off by {far:e}");
        let grads = mixed.grad(&[&q, &k, &v]).unwrap();
        for (got, want) in grads.iter().zip(half.grad(&[&q, &k, &v]).unwrap()) {
            assert_eq!(got.to_vec::<f32>().unwrap(), want.to_vec::<f32>().unwrap(), "causal {causal}");
        }
    }
    // a loss that holds gradients of attention: its second results are those of the kernel
    let penalty = |q: &Tensor| {
        let y = q.scaled_dot_product_attention(&k, &v, &Attention::default());
        y.square().sum().grad(&[q]).unwrap()[0].square().sum()
    };
    let (exact, mixed) = (penalty(&q), penalty(&q).mixed_precision().unwrap());
    let far = (mixed.item().unwrap() / exact.item().unwrap() - 1.0).abs();
    assert!(far > 0.0 && far < 1e-2, "off by {far:e}");
}

/// A scale that is too large costs one step: nothing moves, the scale is halved, the next step is fine.
#[test]
fn an_overflow_skips_one_step() {
    let Some(device) = device() else { return };
    let model = mlp(&mut Init::new(&device, 1));
    let mut adam =
        Adam::new(&model, 1e-2).mixed_precision().init_scale(f64::from(2f32.powi(40))).backoff_factor(2f64.powi(-30));
    let (x, y) = batch(&device, 32);
    let before = values(&model);
    let state = |adam: &MixedPrecision<Adam>| -> Vec<(String, Vec<f32>)> {
        let own = |name: &String| !name.starts_with("scaler.");
        adam.state_dict().into_iter().filter(|(n, _)| own(n)).map(|(n, t)| (n, t.to_vec().unwrap())).collect()
    };
    let memory = state(&adam);
    let loss = cross_entropy(&model.forward(&x), &y);
    adam.step(&loss).unwrap();
    assert!(loss.item().unwrap().is_finite(), "the loss itself is read without an error");
    assert_eq!(values(&model), before);
    assert_eq!(state(&adam), memory);
    assert_eq!((adam.scale().unwrap(), adam.skipped_steps().unwrap()), (1024.0, 1));
    adam.step(&cross_entropy(&model.forward(&x), &y)).unwrap();
    assert_ne!(values(&model), before);
    assert_eq!((adam.scale().unwrap(), adam.skipped_steps().unwrap()), (1024.0, 1));

    // clipped gradients: the norm of an overflow is no error either
    let mut sgd = Sgd::new(&model, 0.1).mixed_precision().init_scale(f64::from(2f32.powi(40)));
    let before = values(&model);
    let mut gradients = sgd.backward(&cross_entropy(&model.forward(&x), &y)).unwrap();
    clip_grad_norm(&mut gradients, 1.0);
    sgd.step(&gradients).unwrap();
    assert_eq!((values(&model), sgd.skipped_steps().unwrap()), (before, 1));
}

#[test]
fn the_scale_grows_after_clean_steps() {
    let Some(device) = device() else { return };
    let model = mlp(&mut Init::new(&device, 1));
    let mut sgd = Sgd::new(&model, 1e-3).mixed_precision().init_scale(8.0).growth_interval(3);
    let (x, y) = batch(&device, 32);
    let scales: Vec<f32> = (0..7)
        .map(|_| {
            sgd.step(&cross_entropy(&model.forward(&x), &y)).unwrap();
            sgd.scale().unwrap()
        })
        .collect();
    assert_eq!(scales, [8.0, 8.0, 16.0, 16.0, 16.0, 32.0, 32.0]);
    // scale and counts are part of the memory
    let saved = sgd.state_dict();
    let mut other = Sgd::new(&model, 1e-3).mixed_precision();
    other.load_state_dict(&saved).unwrap();
    assert_eq!(other.scale().unwrap(), 32.0);
}

/// A loss that is not finite stays an error: no scale would help.
#[test]
fn a_bad_loss_is_an_error_still() {
    let Some(device) = device() else { return };
    let model = mlp(&mut Init::new(&device, 1));
    let mut sgd = Sgd::new(&model, 0.1).mixed_precision();
    let before = values(&model);
    let (x, y) = batch(&device, 8);
    let loss = cross_entropy(&model.forward(&(&x * f32::NAN)), &y);
    let refused = sgd.step(&loss).and_then(|()| loss.item().map(drop));
    assert!(matches!(refused, Err(Error::NotFinite { .. })), "{refused:?}");
    assert_eq!(values(&model), before);
    let gradients = cross_entropy(&model.forward(&x), &y).backward().unwrap();
    assert!(matches!(sgd.step(&gradients), Err(Error::Gradient { .. })), "gradients made in f32");
}

/// Running statistics and dropout belong to the step in mixed precision too.
#[test]
fn statistics_follow_the_rewritten_graph() {
    let Some(device) = device() else { return };
    let mut init = Init::new(&device, 3);
    let norm = BatchNorm2d::new(4, &mut init);
    let conv = Conv2d::new(1, 4, 3, &mut init);
    let drop = Dropout::new(0.5, &mut init);
    let out = Linear::new(4 * 36, 10, &mut init);
    let forward = |x: &Tensor| {
        let y = drop.forward(&norm.forward(&conv.forward(&x.reshape([-1, 1, 8, 8]))).relu());
        out.forward(&y.reshape([-1, 4 * 36]))
    };
    let (x, y) = batch(&device, 32);
    let mut sgd = Sgd::new(&conv, 0.1).mixed_precision();
    let mean = conv.forward(&x.reshape([-1, 1, 8, 8])).batch_statistics().0.to_vec::<f32>().unwrap();
    for steps in 1..4 {
        sgd.step(&cross_entropy(&forward(&x), &y)).unwrap();
        assert_eq!(norm.running.as_ref().unwrap().num_batches_tracked.item_as::<i32>().unwrap(), steps);
        if steps == 1 {
            let running = norm.running.as_ref().unwrap().running_mean.to_vec::<f32>().unwrap();
            let far = running.iter().zip(&mean).map(|(r, m)| (r - 0.1 * m).abs()).fold(0.0, f32::max);
            assert!(far < 1e-3, "{running:?} is not a tenth of {mean:?}");
        }
    }
}

/// Nothing new is made once it is warm, and the cost in dispatches is known.
#[test]
fn a_warm_step_makes_nothing() {
    let Some(device) = device() else { return };
    let model = mlp(&mut Init::new(&device, 1));
    let mut adam = Adam::new(&model, 1e-3).mixed_precision();
    let step = |adam: &mut MixedPrecision<Adam>, i: usize| {
        let (x, y) = batch(&device, 32);
        adam.set_lr(1e-3 / (1.0 + i as f64));
        adam.step(&cross_entropy(&model.forward(&x), &y)).unwrap();
    };
    (0..5).for_each(|i| step(&mut adam, i));
    let before = device.counters();
    (5..40).for_each(|i| step(&mut adam, i));
    let after = device.counters();
    assert_eq!(after.pipelines, before.pipelines);
    assert_eq!(after.bind_groups, before.bind_groups);
    println!("{} dispatches a step", (after.dispatches - before.dispatches) / 35);
}

/// Convolutions read and give f16 in memory: of the bytes that a step works in, nearly half are gone.
#[test]
fn a_cnn_takes_less_memory() {
    let peak = |mixed: bool| -> Option<u64> {
        let device = device()?;
        let mut init = Init::new(&device, 0);
        let model = Sequential::new()
            .push(Conv2d::new(1, 8, 3, &mut init).padding(1))
            .push(Relu)
            .push(Conv2d::new(8, 8, 3, &mut init).padding(1))
            .push(Relu)
            .push(Conv2d::new(8, 8, 1, &mut init))
            .push(Relu)
            .push(Flatten::default())
            .push(Linear::new(512, 10, &mut init));
        let (x, y) = batch(&device, 128);
        let loss = cross_entropy(&model.forward(&x.reshape([-1, 1, 8, 8])), &y);
        if mixed {
            Sgd::new(&model, 0.1).mixed_precision().step(&loss).unwrap();
        } else {
            Sgd::new(&model, 0.1).step(&loss).unwrap();
        }
        assert!(loss.item().unwrap().is_finite());
        device.plans().iter().map(|plan| plan.bytes).max()
    };
    let (Some(single), Some(half)) = (peak(false), peak(true)) else { return };
    println!("bytes of a step: f32 {single}, mixed {half}");
    assert!(10 * half < 7 * single, "f32 {single}, mixed {half}");
}

/// A small convolutional network, for few epochs over three seeds: as many digits right as in f32, within half a point.
#[test]
fn a_cnn_reads_digits_as_well() {
    let Some(device) = device() else { return };
    let (train, test) = digits::split(&device).unwrap();
    let run = |seed: u64, mixed: bool| -> f64 {
        let mut init = Init::new(&device, seed);
        let model = Sequential::new()
            .push(Conv2d::new(1, 8, 3, &mut init).padding(1))
            .push(BatchNorm2d::new(8, &mut init))
            .push(Relu)
            .push(MaxPool2d::new(2))
            .push(Conv2d::new(8, 16, 3, &mut init).padding(1))
            .push(Relu)
            .push(Flatten::default())
            .push(Linear::new(256, 10, &mut init));
        let forward = |x: &Tensor| model.forward(&x.reshape([-1, 1, 8, 8]));
        let trainer = Trainer::new(4).batch(64).progress(false).seed(seed);
        let trainer = trainer.schedule(|step, total| schedule::cosine(5e-3, step, total, 0.0));
        let outcome = |(x, y): &(Tensor, Tensor)| Outcome::classification(&forward(x), y);
        let adam = AdamW::new(&model, 5e-3);
        if mixed {
            let mut adam = adam.mixed_precision();
            trainer.fit(&model, &mut adam, &train, None, outcome).unwrap();
            assert!(adam.skipped_steps().unwrap() < 10);
        } else {
            let mut adam = adam;
            trainer.fit(&model, &mut adam, &train, None, outcome).unwrap();
        }
        model.eval();
        let (x, y) = test.all();
        100.0 * accuracy(&forward(&x), &y).item_as::<f64>().unwrap()
    };
    let mean = |mixed| (0..3).map(|seed| run(seed, mixed)).sum::<f64>() / 3.0;
    let (single, half) = (mean(false), mean(true));
    println!("digits: f32 {single:.2} %, mixed {half:.2} %");
    assert!(single > 94.0 && (single - half).abs() <= 0.5, "f32 {single:.2} %, mixed {half:.2} %");
}

/// One block of a transformer over 16 symbols.
#[derive(Module)]
struct Gpt {
    symbols: Embedding,
    places: Embedding,
    before: LayerNorm,
    qkv: Linear,
    merge: Linear,
    between: LayerNorm,
    up: Linear,
    down: Linear,
    after: LayerNorm,
    head: Linear,
}

const LENGTH: usize = 16;

impl Gpt {
    fn new(init: &mut Init) -> Self {
        Self {
            symbols: Embedding::new(16, 32, init),
            places: Embedding::new(LENGTH, 32, init),
            before: LayerNorm::new(32, init),
            qkv: Linear::new(32, 96, init),
            merge: Linear::new(32, 32, init),
            between: LayerNorm::new(32, init),
            up: Linear::new(32, 128, init),
            down: Linear::new(128, 32, init),
            after: LayerNorm::new(32, init),
            head: Linear::new(32, 16, init),
        }
    }

    /// `text` [batch, length] → logits [batch, length, 16].
    fn forward(&self, text: &Tensor) -> Tensor {
        let [batch, length] = text.dims().unwrap();
        let x = self.symbols.forward(text) + &*self.places.weight;
        let heads =
            self.qkv.forward(&self.before.forward(&x)).reshape([batch, length, 3, 2, 16]).permute([2usize, 0, 3, 1, 4]);
        let part = |i: i64| heads.narrow(0, i, 1).squeeze(0);
        let causal = Attention { causal: true, ..Attention::default() };
        let mixed = part(0).scaled_dot_product_attention(&part(1), &part(2), &causal);
        let mixed = mixed.permute([0usize, 2, 1, 3]).reshape([batch, length, 32]);
        let x = x + self.merge.forward(&mixed);
        let x = &x + self.down.forward(&self.up.forward(&self.between.forward(&x)).gelu());
        self.head.forward(&self.after.forward(&x))
    }
}

/// A small GPT on a source where three symbols in four follow from the last one: the same loss as in f32 within 1 %.
#[test]
fn a_gpt_learns_as_well() {
    let Some(device) = device() else { return };
    let text = |seed: usize| {
        let (mut a, mut noise) = (seed % 16, seed as u32 + 1);
        let mut next = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            a = if noise >> 24 < 64 { (noise >> 12) as usize % 16 } else { (5 * a + 3) % 16 };
            a as i32
        };
        let rows: Vec<i32> = (0..16 * (LENGTH + 1)).map(|_| next()).collect();
        Tensor::from_vec(&device, rows, &[16, LENGTH + 1])
    };
    let run = |mixed: bool| -> f64 {
        let model = Gpt::new(&mut Init::new(&device, 5));
        let adam = AdamW::new(&model, 1e-2);
        let mut losses = Vec::new();
        let (mut plain, mut half) = if mixed { (None, Some(adam.mixed_precision())) } else { (Some(adam), None) };
        for step in 0..120 {
            let rows = text(step);
            let logits = model.forward(&rows.narrow(1, 0, LENGTH)).reshape([-1, 16]);
            let loss = cross_entropy(&logits, &rows.narrow(1, 1, LENGTH).reshape([-1]));
            if let Some(adam) = &mut plain {
                adam.step(&loss).unwrap();
            }
            if let Some(adam) = &mut half {
                adam.step(&loss).unwrap();
            }
            losses.push(loss);
        }
        losses[100..].iter().map(|loss| loss.item_as::<f64>().unwrap()).sum::<f64>() / 20.0
    };
    let (single, half) = (run(false), run(true));
    println!("GPT: f32 {single:.6}, mixed {half:.6}");
    assert!(single < 1.8 && single != half && (half / single - 1.0).abs() < 0.01, "f32 {single:.4}, mixed {half:.4}");
}

/// Captured steps give the same bits as steps that are made anew, running statistics included.
#[test]
fn captured_steps_are_the_same() {
    let Some(device) = device() else { return };
    let (x, y) = batch(&device, 96);
    let run = |captured: bool| {
        let mut init = Init::new(&device, 4);
        let norm = BatchNorm1d::new(32, &mut init);
        let mean = norm.running.as_ref().unwrap().running_mean.clone();
        let model = Sequential::new().push(Linear::new(64, 32, &mut init)).push(norm).push(Relu);
        let model = model.push(Linear::new(32, 10, &mut init));
        let mut adam = Adam::new(&model, 1e-2).mixed_precision().init_scale(2f64.powi(40)).backoff_factor(1e-9);
        let part = |i: i64| (x.narrow(0, i * 32, 32), y.narrow(0, i * 32, 32));
        let loss = |(x, y): &(Tensor, Tensor)| cross_entropy(&model.forward(x), y);
        if captured {
            let mut train = adam.capture(loss);
            (0..9).for_each(|i| drop(train.step(&part(i % 3)).unwrap()));
        } else {
            (0..9).for_each(|i| adam.step(&loss(&part(i % 3))).unwrap());
        }
        (values(&model), mean.to_vec::<f32>().unwrap(), adam.scale().unwrap(), adam.skipped_steps().unwrap())
    };
    let (made, captured) = (run(false), run(true));
    assert_eq!(made.3, 1, "the first step overflows");
    assert_eq!(made, captured);
}
