//! Kernels by matrix units in whole graphs: with output slots fused, in mixed precision, with gradients. A software adapter
//! with cooperative matrices chooses kernels as a GPU would, and all fast classes but the cooperative ones are put aside;
//! the profile says which shader files ran. Where there are no cooperative matrices each test says that it is skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln::data::digits;
use kiln::gpu::kernels::Stages;
use kiln::gpu::{AdapterKind, Candidate, Options, Trial, Want};
use kiln::prelude::*;
use std::path::PathBuf;
use support::worst;

/// A device that takes cooperative kernels wherever there is one, with a cache folder of its own, and the adapter as it is.
struct Devices {
    coop: Device,
    plain: Device,
    folder: PathBuf,
}

impl Devices {
    /// `aside` are classes of matrix products that are not to be taken beside those that never are.
    fn new(test: &str, aside: &[&str]) -> Option<Devices> {
        let plain = Device::open().unwrap();
        if !plain.caps().f16 || plain.caps().coop.is_empty() {
            println!("skipped: {} has no cooperative matrices", plain.caps().name);
            return None;
        }
        let folder = std::env::temp_dir().join(format!("kiln-coop-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let kind = Some(AdapterKind::Discrete);
        let options = Options { kind, cache_dir: Some(folder.clone()), ..Options::from_env().unwrap() };
        let coop = Device::open_with(&options).unwrap();
        let directions = ["forward tile", "input tile", "weight tile"].map(|class| ("conv", class));
        let products = ["tile", "thin", "narrow"].iter().chain(aside).map(|&class| ("matmul", class));
        for (family, class) in products.chain(directions) {
            assert!(coop.gpu().self_test(family, &nothing(class)).unwrap().wrong.is_some(), "{family} {class}");
        }
        Some(Devices { coop, plain, folder })
    }

    /// The results of `run` by cooperative kernels; those of the adapter's own kernels on the same operands in half precision,
    /// and in f32; the shader files of all dispatches of the first.
    fn run(&self, name: &str, run: impl Fn(&Device, bool) -> Vec<Vec<f32>>) -> ([Vec<Vec<f32>>; 3], Vec<String>) {
        let (got, ran) = shaders(&self.coop, || run(&self.coop, true));
        let (same, others) = shaders(&self.plain, || run(&self.plain, true));
        assert!(!others.iter().any(|file| file.contains("coop")), "{name}: {others:?}");
        ([got, same, run(&self.plain, false)], ran)
    }

    /// The same, held against each other: every element within so many roundings to half precision, of itself or of what it is made
    /// of, of the sum of its `terms`' magnitudes. Operands are numbers that half precision holds, and sums are taken in f32,
    /// whose own roundings are 2⁻¹³ of these, and beside them the 1e-6 that is allowed for all.
    fn agree(
        &self,
        name: &str,
        roundings: [f64; 2],
        run: impl Fn(&Device, bool) -> Vec<Vec<f32>>,
        terms: impl Fn(&Device) -> Vec<Vec<f32>>,
    ) -> Vec<String> {
        let ([got, same, exact], ran) = self.run(name, run);
        let terms = terms(&self.plain);
        for (at, got) in got.iter().enumerate() {
            for (what, want, roundings) in [("f16", &same[at], roundings[0]), ("f32", &exact[at], roundings[1])] {
                assert_eq!([got.len(), got.len()], [want.len(), terms[at].len()], "{name}: result {at}");
                let off = |i: usize| {
                    let [got, want, terms] = [got[i], want[i], terms[at][i]].map(f64::from);
                    let off = (got - want).abs();
                    match () {
                        () if off <= 1e-6 => 0.0,
                        () if off.is_nan() => f64::INFINITY,
                        () => (off - 1e-6) / (ROUNDING * terms),
                    }
                };
                let most = (0..got.len()).map(off).fold(0.0, f64::max);
                assert!(most <= roundings, "{name}: result {at} is {most} roundings off {what} by other kernels");
            }
        }
        ran
    }
}

/// The most that rounding a number to half precision changes, of itself.
const ROUNDING: f64 = 1.0 / 2048.0;

impl Drop for Devices {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A trial that no kernel passes: what is never written is NaN.
fn nothing(class: &str) -> Trial {
    Trial {
        class: class.into(),
        inputs: Vec::new(),
        out: 4,
        second: None,
        want: Want::Known(vec![0.0; 4]),
        candidates: vec![Candidate { name: "nothing".into(), stages: Stages::default() }],
        heuristic: "nothing".into(),
        tolerance: 1e-6,
    }
}

/// What `work` gives, and the shader files of the dispatches that it made.
fn shaders<T>(device: &Device, work: impl FnOnce() -> T) -> (T, Vec<String>) {
    device.profile(true);
    let result = work();
    device.profile(false);
    (result, device.take_profile().events.iter().map(|event| event.kernel.to_string()).collect())
}

fn count(ran: &[String], file: &str) -> usize {
    ran.iter().filter(|ran| *ran == file).count()
}

/// Asks for at least so many dispatches of these files, since a family's first use adds its self-test, and for none of other
/// files whose names begin so.
fn only(ran: &[String], family: &str, files: &[(&str, usize)], name: &str) {
    for &(file, least) in files {
        assert!(count(ran, file) >= least, "{name}: {ran:?}");
    }
    let known = |file: &String| !file.starts_with(family) || files.iter().any(|(known, _)| file == known);
    assert!(ran.iter().all(known), "{name}: {ran:?}");
}

/// Operands that half precision holds: multiples of 1/64 in -1..1.
fn operand(device: &Device, seed: u64, shape: &[usize], half: bool) -> Tensor {
    let x = ((Rng::new(device, seed).uniform(shape) * 2.0 - 1.0) * 64.0).round() / 64.0;
    let x = if half { x.cast(DType::F16) } else { x };
    x.eval().unwrap();
    x
}

/// y, and the gradients of a weighted sum of it.
fn with_gradients(y: &Tensor, by: &[&Tensor]) -> Vec<Vec<f32>> {
    weighted(y, &operand(y.device(), 9, &y.shape().unwrap(), false), by)
}

/// The sums of terms' magnitudes of a function that is linear in each operand, and of its gradients: the function of the
/// operands' magnitudes.
fn magnitudes(y: &Tensor, by: &[&Tensor]) -> Vec<Vec<f32>> {
    weighted(y, &operand(y.device(), 9, &y.shape().unwrap(), false).abs(), by)
}

fn weighted(y: &Tensor, weights: &Tensor, by: &[&Tensor]) -> Vec<Vec<f32>> {
    let mut all = vec![y.clone()];
    all.extend((y.cast(DType::F32) * weights).sum().grad(by).unwrap());
    support::values(&all.iter().collect::<Vec<_>>()).unwrap()
}

/// Roundings of `tanh(z)`, z being a sum of exact products that half precision holds: by the same kernels in f16, the sums of its
/// gradients may fall to either side of the middle between two numbers, which are two roundings apart. Off those in f32, z is
/// rounded once and once more where it is divided, which moves the slope 1 - tanh² by at most 1.2 roundings (z tanh sech² is
/// at most 0.31); what comes from above is rounded where it is cast and where it is divided, and the gradient once.
const OF_TANH: [f64; 2] = [2.0, 5.0];

/// Products of any size, with a bias and tanh in the output slot.
#[test]
fn products_of_odd_sizes() {
    let Some(devices) = Devices::new("products", &["coop direct"]) else { return };
    for m in [1, 3, 17, 65] {
        for (n, k) in [(1, 17), (3, 65), (17, 1), (17, 3), (65, 17), (65, 65), (36, 44)] {
            let name = format!("{m}x{n}x{k}");
            let operands = |device: &Device, half: bool| {
                [(1, &[m, k][..]), (2, &[n, k]), (3, &[n])].map(|(seed, shape)| operand(device, seed, shape, half))
            };
            let z =
                |[x, w, b]: &[Tensor; 3]| (x.matmul(&w.t()) / (k as f32).sqrt()).cast(DType::F32) + b.cast(DType::F32);
            let run = |device: &Device, half: bool| {
                let all = operands(device, half);
                with_gradients(&z(&all).tanh(), &[&all[0], &all[1], &all[2]])
            };
            let terms = |device: &Device| {
                let all = operands(device, false).map(|x| x.abs());
                magnitudes(&z(&all), &[&all[0], &all[1], &all[2]])
            };
            let ran = devices.agree(&name, OF_TANH, run, terms);
            only(&ran, "matmul", &[("matmul_coop", 3)], &name);
        }
    }
}

/// Convolutions in all three directions, strided and in groups, with tanh in the slot.
#[test]
fn convolutions_of_odd_sizes() {
    let Some(devices) = Devices::new("convolutions", &[]) else { return };
    for (n, [inputs, outputs], size, groups, stride) in
        [(1, [3, 3], 1, 1, 1), (3, [3, 17], 17, 1, 2), (1, [17, 65], 3, 1, 1), (2, [6, 10], 9, 2, 1)]
    {
        let name = format!("{n} images {inputs}->{outputs} {size} / {groups}");
        let operands = |device: &Device, half: bool| {
            let shapes = [(1, &[n, inputs, size, size][..]), (2, &[outputs, inputs / groups, 3, 3])];
            shapes.map(|(seed, shape)| operand(device, seed, shape, half))
        };
        let conv = Conv { padding: vec![1], stride: vec![stride], groups, ..Conv::default() };
        let z = |[x, w]: &[Tensor; 2]| (x.conv2d(w, None, &conv) * 0.125).cast(DType::F32);
        let run = |device: &Device, half: bool| {
            let all = operands(device, half);
            with_gradients(&z(&all).tanh(), &[&all[0], &all[1]])
        };
        let terms = |device: &Device| {
            let all = operands(device, false).map(|x| x.abs());
            magnitudes(&z(&all), &[&all[0], &all[1]])
        };
        let ran = devices.agree(&name, OF_TANH, run, terms);
        only(&ran, "conv", &[("conv_coop", 2), ("conv_weight_coop", 1)], &name);
    }
}

/// Attention of few and many keys, grouped and causal, and its gradients, which read what forward kept.
#[test]
fn attention_of_odd_lengths() {
    let Some(devices) = Devices::new("attention", &[]) else { return };
    // Weights are rounded once, the result once; gradients read the result where they take from each weight's gradient the mean of
    // all, round what is left, and are rounded once themselves. Off other kernels in f16, which have weights and their gradients in
    // f32, what is rounded to neighbours is two roundings apart, the result and then the gradient.
    let roundings = [6.0, 4.0];
    for (length, keys, size, causal) in
        [(8, 17, 16, false), (17, 65, 32, false), (65, 65, 32, true), (3, 17, 16, false)]
    {
        let name = format!("{length} to {keys}, {size}");
        let operands = |device: &Device, half: bool| {
            let shapes = [[2, 4, length, size], [2, 2, keys, size], [2, 2, keys, size]];
            [0, 1, 2].map(|at| operand(device, at as u64, &shapes[at], half))
        };
        let run = |device: &Device, half: bool| {
            let [q, k, v] = operands(device, half);
            let how = Attention { causal, gqa: true, ..Attention::default() };
            let y = q.scaled_dot_product_attention(&k, &v, &how).cast(DType::F32) + 0.5;
            with_gradients(&y, &[&q, &k, &v])
        };
        let terms = |device: &Device| {
            let [q, k, v] = operands(device, false);
            let [k, v] = [k, v].map(|x| x.repeat_interleave(2, 1));
            let scale = (size as f32).sqrt();
            let scores = q.matmul(&k.transpose(-1, -2)) / scale;
            let seen = Tensor::full(device, [length, keys], 1.0).tril(if causal { 0 } else { keys as i64 });
            let p = (scores + (seen - 1.0) * 1e9).softmax(-1);
            let above = operand(device, 9, &[2, 4, length, size], false).abs();
            let y = p.matmul(&v.abs());
            let mean = (&above * &y).sum_axes([-1], true);
            let ds = &p * (above.matmul(&v.abs().transpose(-1, -2)) + mean) / scale;
            let of_group = |x: Tensor| x.reshape([2, 2, 2, keys as i64, size as i64]).sum_axes([2], false);
            let dk = of_group(ds.transpose(-1, -2).matmul(&q.abs()));
            let dv = of_group(p.transpose(-1, -2).matmul(&above));
            support::values(&[&y, &ds.matmul(&k.abs()), &dk, &dv]).unwrap()
        };
        let ran = devices.agree(&name, roundings, run, terms);
        // rows are whole fragments, of 8 at least
        let whole = length >= devices.coop.caps().coop[0].size as usize;
        for file in ["attention_coop", "attention_coop_query", "attention_coop_keys"] {
            assert_eq!(ran.iter().any(|ran| ran == file), whole, "{name}: {ran:?}");
        }
    }
}

/// A network trained in mixed precision: convolutions, attention over what they see, and products, with residual sums,
/// norms and activations around them.
#[derive(Module)]
struct Net {
    first: Conv2d,
    second: Conv2d,
    norm: LayerNorm,
    qkv: Linear,
    up: Linear,
    out: Linear,
}

impl Net {
    fn new(init: &mut Init) -> Self {
        Self {
            first: Conv2d::new(1, 8, 3, init).padding(1),
            second: Conv2d::new(8, 16, 3, init).padding(1).stride(2),
            norm: LayerNorm::new(16, init),
            qkv: Linear::new(16, 48, init),
            up: Linear::new(16, 40, init),
            out: Linear::new(40, 10, init),
        }
    }

    /// `x` [batch, 64] → logits [batch, 10].
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.second.forward(&self.first.forward(&x.reshape([-1, 1, 8, 8])).relu()).relu();
        let x = x.reshape([-1, 16, 16]).permute([0usize, 2, 1]);
        let heads = self.qkv.forward(&self.norm.forward(&x)).reshape([-1, 16, 3, 2, 8]).permute([2usize, 0, 3, 1, 4]);
        let part = |i: i64| heads.narrow(0, i, 1).squeeze(0);
        let seen = part(0).scaled_dot_product_attention(&part(1), &part(2), &Attention::default());
        let x = x + seen.permute([0usize, 2, 1, 3]).reshape([-1, 16, 16]);
        self.out.forward(&self.up.forward(&x).gelu().mean_axes([1], false))
    }
}

#[test]
fn a_network_trains_as_with_other_kernels() {
    let Some(devices) = Devices::new("network", &["coop direct"]) else { return };
    // losses of eight steps, then what the weights have become
    let train = |device: &Device, half: bool| -> Vec<Vec<f32>> {
        let model = Net::new(&mut Init::new(device, 3));
        let (x, y) = digits::load(device).unwrap().subset(&(0..65).collect::<Vec<_>>()).all();
        let (mut plain, mut mixed) =
            (Sgd::new(&model, 0.1), Sgd::new(&model, 0.1).mixed_precision().init_scale(1024.0));
        let mut losses = Vec::new();
        for _ in 0..8 {
            let loss = cross_entropy(&model.forward(&x), &y);
            if half {
                mixed.step(&loss).unwrap()
            } else {
                plain.step(&loss).unwrap()
            }
            losses.push(loss.item().unwrap());
        }
        assert!(losses[7] < losses[0], "{losses:?}");
        assert_eq!(mixed.skipped_steps().unwrap(), 0);
        let weights = model.parameters().into_iter().map(|p| p.to_vec::<f32>().unwrap());
        [losses].into_iter().chain(weights).collect()
    };
    let ([got, same, exact], ran) = devices.run("training", train);
    for (at, got) in got.iter().enumerate() {
        // what eight steps make of the roundings of all gradients is not to be counted: four times what it was on lavapipe 26.1
        for (what, want) in [("f16", &same[at]), ("f32", &exact[at])] {
            let error = worst(got, want);
            assert!(error < 2e-4, "training: result {at} is {error:e} off {what} by other kernels");
        }
    }
    let attention = ["attention_coop", "attention_coop_query", "attention_coop_keys"];
    for file in ["matmul_coop", "conv_coop", "conv_weight_coop"].into_iter().chain(attention) {
        assert!(count(&ran, file) >= 8, "{file}: {ran:?}");
    }
    // every product of the network, forward and backward
    assert!(!ran.iter().any(|file| file.starts_with("matmul") && file != "matmul_coop"), "{ran:?}");
}

/// Fragments straight from storage, where all sizes are whole fragments.
#[test]
fn products_straight_from_storage() {
    let Some(devices) = Devices::new("direct", &["coop staged"]) else { return };
    let operands = |device: &Device, half: bool| {
        [(1, &[48, 64][..]), (2, &[32, 64]), (3, &[32])].map(|(seed, shape)| operand(device, seed, shape, half))
    };
    let z = |[x, w, b]: &[Tensor; 3]| (x.matmul(&w.t()) / 8.0).cast(DType::F32) + b.cast(DType::F32);
    let run = |device: &Device, half: bool| {
        let all = operands(device, half);
        with_gradients(&z(&all).tanh(), &[&all[0], &all[1]])
    };
    let terms = |device: &Device| {
        let all = operands(device, false).map(|x| x.abs());
        magnitudes(&z(&all), &[&all[0], &all[1]])
    };
    let ran = devices.agree("48x32x64", OF_TANH, run, terms);
    only(&ran, "matmul", &[("matmul_coop_direct", 3)], "48x32x64");
}
