//! Tensors larger than one binding: split into parts, with the same answers. Devices here are told that a binding holds
//! little; what they are given does not fit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod cases;
mod support;

use cases::compare::judge;
use cases::{FAMILIES, Table};
use kiln::gpu::Options;
use kiln::loss::cross_entropy;
use kiln::nn::{TransformerEncoderLayer, TransformerOptions};
use kiln::prelude::*;
use support::worst;

/// A device whose bindings hold so many bytes.
fn device(max_binding: u64) -> Device {
    let options = Options { max_binding: Some(max_binding), ..Options::from_env().unwrap() };
    Device::open_with(&options).unwrap()
}

/// Numbers between −1 and 1 that look random.
fn numbers(device: &Device, shape: &[usize], seed: usize) -> Tensor {
    let number = |i: usize| ((i + 1) * 2_654_435_761 + seed * 40_503) % 2003;
    let all = (0..shape.iter().product()).map(|i| number(i) as f32 / 1001.0 - 1.0).collect();
    Tensor::from_vec(device, all, shape)
}

/// Families with rows of more than a binding of the test below.
const SPLIT: &[&str] = &["unary", "binary", "dtypes", "reduce", "join", "matmul", "softmax", "norms"];

/// The case table where a binding holds 2048 numbers: its larger rows are split.
#[test]
fn the_case_table_in_parts() {
    let device = device(8192);
    let (mut wrong, mut rows) = (Vec::new(), 0);
    for (family, fill) in FAMILIES.iter().filter(|(family, _)| SPLIT.contains(family)) {
        let mut table = Table::default();
        fill(&mut table);
        for case in &table.0 {
            rows += 1;
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(&device, case)));
            match found {
                Ok(v) => wrong.extend(v.mistakes.into_iter().map(|(_, text)| format!("{family}: {text}"))),
                Err(_) => wrong.push(format!("{family}: {} panics", case.name)),
            }
        }
    }
    assert!(rows > 300);
    // a row of a sort or a scan, an image of a convolution are not cut
    wrong.retain(|text| !text.contains("in one binding and cannot be split"));
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// What is made of the same tensors on a device of small bindings and on one without that limit, as bits.
fn same_bits(what: &str, make: impl Fn(&Device) -> Tensor) {
    let bits = |device: &Device| {
        let made = make(device);
        (made.shape().unwrap(), Tensor::read_all(&[&made]).unwrap().swap_remove(0))
    };
    let (small, large) = (bits(&device(1 << 16)), bits(&Device::open().unwrap()));
    assert!(small.1.len() > 1 << 10 && small == large, "{what}: other bits in parts");
}

/// Where the parts run the same algorithm, they give the same bits.
#[test]
fn parts_give_the_same_bits() {
    let x = |d: &Device| numbers(d, &[300, 130], 1); // 156 KiB
    let odd = |d: &Device| numbers(d, &[37, 1025], 2); // rows that begin at no multiple of 256 bytes
    let long = |d: &Device| numbers(d, &[40_001], 3);
    let index = |d: &Device| Tensor::from_vec(d, (0..900).map(|i| (i * 7919) % 300).collect(), &[900]);
    same_bits("map", |d| (x(d) * 3.0 + 1.0).relu().sqrt());
    same_bits("odd rows", |d| odd(d).exp() - odd(d));
    same_bits("a vector", |d| long(d).tanh());
    same_bits("broadcast", |d| x(d) * numbers(d, &[130], 4) + numbers(d, &[300, 1], 5));
    same_bits("outer", |d| numbers(d, &[300, 1], 4) + numbers(d, &[1, 300], 5));
    same_bits("softmax", |d| odd(d).softmax(-1));
    same_bits("log softmax", |d| x(d).log_softmax(-1));
    same_bits("layer norm", |d| x(d).layer_norm(1, Some(&numbers(d, &[130], 4)), None, 1e-5));
    same_bits("transposed", |d| x(d).t().exp());
    same_bits("flipped", |d| long(d).flip([0]));
    same_bits("strided", |d| odd(d).slice(1, 3, 1000, 7).slice(0, 1, 37, 2) * 2.0);
    same_bits("reshaped", |d| odd(d).reshape([1025, 37]) + 1.0);
    same_bits("padded", |d| x(d).pad(&[(1, 2), (3, 0)], PadMode::Constant(0.0)));
    same_bits("joined", |d| Tensor::cat(&[&x(d), &(x(d) * 2.0), &x(d).slice(0, 7, 9, 1)], 0));
    same_bits("joined columns", |d| Tensor::cat(&[&x(d), &x(d).slice(1, 7, 9, 1)], 1));
    same_bits("rows by index", |d| x(d).index_select(0, &index(d)));
    same_bits("columns by index", |d| x(d).index_select(1, &(index(d) % 130)));
    same_bits("embedding", |d| x(d).embedding(&index(d).reshape([30, 30])));
    same_bits("row sums", |d| x(d).expand([5, 300, 130]).sum_axes(-1, false));
    same_bits("places of the greatest", |d| x(d).argmax(0, false).expand([10, 130]) * 2);
    same_bits("sorted rows", |d| x(d).sort(-1, false).0);
    same_bits("random", |d| Rng::new(d, 7).uniform([200, 201]));
    same_bits("normal", |d| Rng::new(d, 7).normal([40_000]));
}

/// A result and gradients on a device of small bindings are those of another device.
fn close(what: &str, tolerance: f64, make: impl Fn(&Device) -> Vec<Tensor>) {
    let values = |device: &Device| make(device).iter().map(|t| t.to_vec::<f32>().unwrap()).collect::<Vec<_>>();
    let (small, large) = (values(&device(1 << 16)), values(&Device::open().unwrap()));
    for (k, (small, large)) in small.iter().zip(&large).enumerate() {
        let error = worst(small, large);
        assert!(error <= tolerance, "{what} {k}: off by {error:e}");
    }
}

/// Products whose operands or results are large, in every way, with gradients; sums of parts are other sums.
#[test]
fn products_in_parts() {
    for (m, k, n) in [(500, 40, 60), (40, 900, 60), (60, 40, 700), (300, 200, 250), (2, 20_000, 3), (1, 300, 400)] {
        for turned in [false, true] {
            close(&format!("[{m}, {k}] by [{k}, {n}], turned: {turned}"), 1e-4, |d| {
                let a = if turned { numbers(d, &[k, m], 1).t() } else { numbers(d, &[m, k], 1) };
                let b = if turned { numbers(d, &[n, k], 2).t() } else { numbers(d, &[k, n], 2) };
                let y = a.matmul(&b) * (1.0 / (k as f32).sqrt());
                let gradients = y.square().mean().grad(&[&a, &b]).unwrap();
                [vec![y], gradients].concat()
            });
        }
    }
    close("batches", 1e-4, |d| {
        let (a, b) = (numbers(d, &[70, 17, 33], 1), numbers(d, &[70, 33, 19], 2));
        vec![a.matmul(&b), a.matmul(&b).square().mean().grad(&[&b]).unwrap().remove(0)]
    });
}

/// Sums over what is large, its variance, its greatest.
#[test]
fn reductions_in_parts() {
    close("reductions", 1e-5, |d| {
        let (x, y) = (numbers(d, &[260, 130], 1), numbers(d, &[3, 45_000], 2));
        let mut all = vec![
            x.cumsum(-1),
            x.sum() * 1e-2, // the terms' sizes are some 20,000 in all, and rounding is relative to that
            x.sum_axes(0, false),
            x.sum_axes(1, false),
            y.sum_axes(-1, false) * 1e-2,
            y.amax(-1, false),
        ];
        all.extend([y.argmax(-1, false).cast(DType::F32), y.argmin(0, false).cast(DType::F32), y.logsumexp(-1, false)]);
        all.extend([x.var(0, 1, false), y.mean(), x.amin(0, true)]);
        all
    });
    // 135,000 roundings
    close("product", 1e-4, |d| vec![(numbers(d, &[3, 45_000], 2) * 1e-4 + 1.0).prod()]);
}

/// A table, its gradient, a convolution, pooling.
#[test]
fn look_ups_and_images_in_parts() {
    close("gradients of a look-up", 1e-5, |d| {
        let table = numbers(d, &[700, 48], 1);
        let index = Tensor::from_vec(d, (0..1500).map(|i| (i * i) % 700).collect(), &[1500]);
        let rows = table.embedding(&index);
        let gradient = (rows.square() * numbers(d, &[1500, 48], 2)).sum().grad(&[&table]).unwrap().remove(0);
        vec![rows, gradient]
    });
    for part in 0..4 {
        close(&format!("images {part}"), 1e-4, |d| {
            let (x, w) = (numbers(d, &[24, 3, 20, 20], 1), numbers(d, &[8, 3, 3, 3], 2));
            let y = x.conv2d(&w, None, &Conv::default());
            let (most, mean) = (y.max_pool2d(&Pool::new(2)), y.avg_pool2d(&Pool::new(2)));
            let weight = |t: &Tensor| numbers(d, &t.shape().unwrap(), 9);
            let sum = match part {
                0 => (&y * weight(&y)).sum(),
                1 => (&most * weight(&most)).sum(),
                2 => (&mean * weight(&mean)).sum(),
                _ => (most.square() + &mean).mean(),
            };
            let gradients = sum.grad(&[&y, &x, &w]).unwrap();
            [vec![y, most, mean], gradients].concat()
        });
    }
}

/// A word model whose table, activations, logits and moments are all larger than a binding.
#[derive(Module)]
struct Words {
    table: Embedding,
    norm: LayerNorm,
    drop: Dropout,
    out: Linear,
}

/// Some steps of it; the losses, all weights and moments, and what the steps made last.
fn train(device: &Device, fused: bool) -> (Vec<f32>, Vec<(String, Vec<f32>)>) {
    device.set_fusion(fused);
    let init = &mut Init::new(device, 5);
    let model = Words {
        table: Embedding::new(400, 48, init),
        norm: LayerNorm::new(48, init),
        drop: Dropout::new(0.1, init),
        out: Linear::new(48, 400, init),
    };
    let mut adam = Adam::new(&model, 1e-2);
    let (mut losses, mut buffers) = (Vec::new(), 0);
    for step in 0..12 {
        let word = |i: usize, k: usize| ((i * 31 + k + step) * 7919 % 400) as i32;
        let words = |k: usize| Tensor::from_vec(device, (0..350).map(|i| word(i, k)).collect(), &[350]);
        let logits = model.out.forward(&model.drop.forward(&model.norm.forward(&model.table.forward(&words(0)))));
        let loss = cross_entropy(&logits, &words(1));
        adam.step(&loss).unwrap();
        losses.push(loss.item().unwrap());
        match step {
            9 => buffers = device.counters().buffers + device.counters().bind_groups,
            11 => {
                assert_eq!(device.counters().buffers + device.counters().bind_groups, buffers, "steps make nothing new")
            }
            _ => {}
        }
    }
    let all = model.state_dict().into_iter().chain(Optimizer::state_dict(&adam));
    (losses, all.map(|(name, t)| (name, t.to_vec().unwrap())).collect())
}

/// Training in parts is training; and it is deterministic.
#[test]
fn training_in_parts() {
    let fused = std::env::var("KILN_FUSE").map_or(true, |v| v != "0");
    let (losses, state) = train(&device(1 << 16), fused);
    let (want, want_state) = train(&Device::open().unwrap(), fused);
    assert!(losses[11] < losses[0] - 0.1, "{losses:?}");
    for (a, b) in losses.iter().zip(&want) {
        assert!((a - b).abs() < 1e-4, "{losses:?} and {want:?}");
    }
    for ((name, a), (_, b)) in state.iter().zip(&want_state) {
        // Adam divides by the root of squares of gradients that are nearly nothing: a sum in another order moves a
        // weight by a part of its rate
        assert!(worst(a, b) < 2e-3, "{name}: {}", worst(a, b));
    }
    let again = train(&device(1 << 16), fused);
    assert!(again.0 == losses && again.1 == state, "two runs, the same bits");
}

/// Layers whose kernels cannot be cut, between a table and logits that have to be.
#[derive(Module)]
struct Uncut {
    table: Embedding,
    block: TransformerEncoderLayer,
    lstm: Lstm,
    out: Linear,
}

/// The losses of some steps of it, in mixed precision or not.
fn train_uncut(device: &Device, mixed: bool) -> Vec<f32> {
    let init = &mut Init::new(device, 5);
    let options = TransformerOptions { dim_feedforward: 32, dropout: 0.0, ..TransformerOptions::default() };
    let model = Uncut {
        table: Embedding::new(2000, 16, init),
        block: TransformerEncoderLayer::with(16, 2, options, init),
        lstm: Lstm::new(16, 16, init),
        out: Linear::new(16, 2000, init),
    };
    let words =
        |seed: i32| Tensor::from_vec(device, (0..96).map(|i| (i * 37 + seed) * 7919 % 2000).collect(), &[24, 4]);
    let (x, y) = (words(1), words(2).reshape([-1]));
    let loss = || {
        let h = model.lstm.forward(&model.block.forward(&model.table.forward(&x)));
        cross_entropy(&model.out.forward(&h).reshape([96, -1]), &y)
    };
    let run = |adam: &mut dyn FnMut(&Tensor)| {
        let losses: Vec<Tensor> = (0..8).map(|_| loss()).inspect(|loss| adam(loss)).collect();
        losses.iter().map(|loss| loss.item().unwrap()).collect()
    };
    let mut adam = Adam::new(&model, 1e-2);
    if mixed {
        let mut adam = adam.mixed_precision();
        return run(&mut |loss| adam.step(loss).unwrap());
    }
    run(&mut |loss| adam.step(loss).unwrap())
}

/// The memory of the longest plan for intermediate tensors.
fn workspace(device: &Device) -> u64 {
    device.plans().into_iter().max_by_key(|plan| plan.dispatches).unwrap().bytes
}

/// Logits in parts, seen through reshapes, are looked up and differentiated part by part: no copy of them is put together.
#[test]
fn logits_in_parts_are_not_joined() {
    let step = |device: &Device| {
        let init = &mut Init::new(device, 5);
        let out = Linear::new(16, 2000, init);
        let y = Tensor::from_vec(device, (0..96).map(|i| i * 7919 % 2000).collect(), &[96]);
        let logits = out.forward(&numbers(device, &[4, 24, 16], 1));
        let loss = cross_entropy(&logits.reshape([96, -1]), &y);
        Sgd::new(&out, 1.0).step(&loss).unwrap();
        (loss.item().unwrap(), workspace(device))
    };
    // 32 rows of logits to a part
    let ((loss, bytes), (want, all)) = (step(&device(1 << 18)), step(&Device::open().unwrap()));
    assert!((loss - want).abs() < 1e-5, "{loss} is not {want}");
    // a part's gradient takes the place of the part before: less than the whole needs, where copies would be as much
    assert!((bytes as f64) < 0.9 * all as f64, "{bytes} bytes in parts, {all} as a whole");
}

/// What cannot be cut and need not be is run as it is, though it reads what was made in parts.
#[test]
fn attention_and_recurrence_beside_large_tables() {
    let (small, all) = (device(1 << 16), Device::open().unwrap());
    for mixed in [false, true] {
        if mixed && !all.caps().f16 {
            continue;
        }
        let (losses, want) = (train_uncut(&small, mixed), train_uncut(&all, mixed));
        assert!(losses[7] < losses[0] - 0.5, "mixed {mixed}: {losses:?}");
        let tolerance = if mixed { 1e-2 } else { 1e-3 };
        for (a, b) in losses.iter().zip(&want) {
            assert!((a - b).abs() < tolerance, "mixed {mixed}: {losses:?} and {want:?}");
        }
    }
}

/// What cannot be cut says so, with operation, shapes and line; an index out of range is still found.
#[test]
fn what_cannot_be_cut_is_an_error() {
    let device = device(1 << 16);
    let long = numbers(&device, &[2, 20_000], 1);
    let error = long.sort(-1, false).0.eval().unwrap_err();
    let Error::Limit { op: "sort", shapes, needs: 160_000, has: 65_536, at, .. } = &error else { panic!("{error:?}") };
    assert_eq!((shapes.0[0].to_vec(), at.line()), (vec![2, 20_000], line!() - 2));
    assert!(error.to_string().contains("large.rs") && error.to_string().contains("[2, 20000]"), "{error}");
    let error = long.softmax(-1).eval().unwrap_err();
    assert!(matches!(error, Error::Limit { op: "softmax", .. }), "{error:?}");
    let table = numbers(&device, &[700, 48], 1);
    let index = Tensor::from_vec(&device, (0..1000).map(|i| if i == 777 { 700 } else { i % 700 }).collect(), &[1000]);
    let error = table.embedding(&index).to_vec::<f32>().unwrap_err();
    assert!(matches!(error, Error::Index { op: "embedding", .. }), "{error:?}");
}
