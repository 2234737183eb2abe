//! Scaled dot-product attention and its gradients against PyTorch in float64, by kernel and by plain operations.
//! The numbers are made by scripts/reference_attention.py.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln::prelude::*;
use support::{close, reference};

/// Element `i` of the sequence `seed`, as the script makes it.
fn hash(index: u32, seed: u32) -> u32 {
    let mut h = index.wrapping_add(seed.wrapping_mul(0x9E37_79B9));
    h = (h ^ (h >> 16)).wrapping_mul(0x7FEB_352D);
    h = (h ^ (h >> 15)).wrapping_mul(0x846C_A68B);
    h ^ (h >> 16)
}

fn ten(device: &Device, shape: &[usize], seed: u32, scale: f32) -> Tensor {
    let n: usize = shape.iter().product();
    let value = |i| ((hash(i, seed) >> 8) as f32 / 8_388_608.0 - 1.0) * scale;
    Tensor::from_vec(device, (0..n as u32).map(value).collect(), shape)
}

/// A leaf that gradients can be taken of, whatever `Tensor::grad` is asked.
fn learned(device: &Device, x: &Tensor) -> Param {
    Init::new(device, 0).param(x)
}

const PADDING: i32 = 3;
const LEARNED: i32 = 7;

/// The mask of a number: see the script.
fn mask_of(device: &Device, kind: i32, [b, h, l, s]: [usize; 4]) -> Option<Tensor> {
    let seen = |blind: bool| -> Vec<bool> {
        let see = |i: usize| (i.is_multiple_of(s) || !hash(i as u32, 8).is_multiple_of(3)) && !(blind && i < s);
        (0..l * s).map(see).collect()
    };
    let bools = |v: Vec<bool>| Tensor::from_vec(device, v.iter().map(|&x| i32::from(x)).collect(), &[l, s]);
    match kind {
        0 => None,
        1 => Some(bools(seen(false)).cast(DType::Bool)),
        2 | LEARNED => Some(ten(device, &[l, s], 8, 2.0)),
        PADDING => {
            let lengths: Vec<i32> = (0..b as u32).map(|i| 1 + (hash(i, 9) % s as u32) as i32).collect();
            Some(Tensor::new(device, &lengths[..]).key_padding_mask(s))
        }
        4 => Some(ten(device, &[h, l, s], 8, 2.0)),
        5 => Some(bools(seen(true)).cast(DType::Bool)),
        _ => {
            let number = |x: &bool| if *x { 0.0 } else { f32::NEG_INFINITY };
            Some(Tensor::from_vec(device, seen(true).iter().map(number).collect(), &[l, s]))
        }
    }
}

#[test]
fn agrees_with_pytorch() {
    let device = Device::open().unwrap();
    let known = reference(&device, "attention");
    let mut count = 0;
    while let Some(config) = known.get(&format!("{count:02}.config")) {
        let c: Vec<i32> = config.to_vec().unwrap();
        let [b, h, g, l, s, e, ev] = [0, 1, 2, 3, 4, 5, 6].map(|i| c[i] as usize);
        let (causal, kind, scale, wide) = (c[7] == 1, c[8], c[9] as f32 / 1000.0, c[10] as f32);
        let shape = |heads: usize, rows: usize, cols: usize| {
            let lead = [b, heads].into_iter().filter(|&n| n > 0);
            lead.chain([rows, cols]).collect::<Vec<usize>>()
        };
        let q = ten(&device, &shape(h, l, e), 1, wide);
        let k = ten(&device, &shape(g, s, e), 2, 1.0);
        let v = ten(&device, &shape(g, s, ev), 3, 1.0);
        let dy = ten(&device, &shape(h, l, ev), 4, 1.0);
        let mask = mask_of(&device, kind, [b, h, l, s]);
        let param = mask.as_ref().filter(|_| kind == LEARNED).map(|m| learned(&device, m));
        let mask = param.as_ref().map(|p| p.value()).or(mask);
        let mut options =
            Attention { mask: mask.clone(), causal, scale: (scale > 0.0).then_some(scale), gqa: h != g, dropout: None };
        // scores of hundreds are rounded by 1e-5 before the exponential
        let wider = f64::from(wide).max(10.0) / 10.0;
        for way in ["kernel", "plain"] {
            if way == "plain" {
                // a factor of one for every weight
                options.dropout = Some(Tensor::ones(&device, &shape(h, l, s)[..]));
            }
            let y = q.scaled_dot_product_attention(&k, &v, &options);
            let loss = (&y * &dy).sum();
            let mut wanted = vec![("dq", &q), ("dk", &k), ("dv", &v)];
            if let Some(mask) = mask.as_ref().filter(|_| kind == LEARNED) {
                wanted.push(("dmask", mask));
            }
            let grads = loss.grad(&wanted.iter().map(|w| w.1).collect::<Vec<_>>()).unwrap();
            let all: Vec<&Tensor> = [&y].into_iter().chain(&grads).collect();
            Tensor::eval_all(&all).unwrap();
            let named = |name: &str| &known[&format!("{count:02}.{name}")];
            close(&format!("{way} {c:?}"), &y, named("y"), 1e-5 * wider);
            for ((name, _), grad) in wanted.iter().zip(&grads) {
                close(&format!("{way} {name} {c:?}"), grad, named(name), 1e-4 * wider);
            }
        }
        count += 1;
    }
    assert!(count >= 40, "{count} cases");
}

#[test]
fn gradients_of_gradients() {
    let device = Device::open().unwrap();
    let [q, k, v] = [(4, 5, 1), (2, 6, 2), (2, 6, 3)].map(|(h, l, seed)| ten(&device, &[2, h, l, 8], seed, 1.0));
    let (dy, w) = (ten(&device, &[2, 4, 5, 8], 4, 1.0), ten(&device, &[2, 4, 6, 8], 5, 1.0));
    let mask = mask_of(&device, 5, [2, 4, 5, 6]);
    let twice = |causal: bool, dropout: Option<Tensor>| {
        let mask = mask.clone().filter(|_| !causal);
        let options = Attention { mask, causal, gqa: true, scale: None, dropout };
        let y = q.scaled_dot_product_attention(&k, &v, &options);
        let first = (&y * &dy).sum().grad(&[&q, &k, &v]).unwrap();
        let weight = |g: &Tensor| {
            let shape = g.shape().unwrap();
            (g * w.slice(1, 0, shape[1] as i64, 1).slice(2, 0, shape[2] as i64, 1)).sum()
        };
        let loss = first.iter().map(weight).fold(y.sum(), |a, b| a + &b * b.sin());
        loss.grad(&[&q, &k, &v, &dy]).unwrap()
    };
    let drop = dropped(&device, 0.4, &[2, 4, 5, 6]);
    for (causal, dropout) in [(false, None), (true, None), (false, Some(drop))] {
        let by_kernel = twice(causal, dropout.clone());
        let in_memory = dropout.map_or(Tensor::ones(&device, [1]), |mask| copy(&mask));
        let by_formula = twice(causal, Some(in_memory));
        for (name, (got, want)) in ["q", "k", "v", "dy"].iter().zip(by_kernel.iter().zip(&by_formula)) {
            close(&format!("second gradient of {name}, causal {causal}"), got, want, 1e-4);
        }
    }
}

/// A dropout mask for weights of that shape.
fn dropped(device: &Device, p: f32, shape: &[usize]) -> Tensor {
    kiln::dropout_mask(device, 11, &Tensor::new(device, 3u32), p, Shape::new(shape).unwrap())
}

/// The same numbers without a history.
fn copy(x: &Tensor) -> Tensor {
    Tensor::from_vec(x.device(), x.to_vec::<f32>().unwrap(), &x.shape().unwrap())
}

/// A mask of `dropout_mask`, which the kernels draw by themselves, against the same mask in memory and plain operations.
#[test]
fn dropout_is_drawn_by_the_kernels() {
    let device = Device::open().unwrap();
    for (at, [b, h, g, l, s, e, ev]) in
        [[2, 4, 2, 5, 6, 8, 8], [1, 3, 3, 33, 72, 5, 7], [1, 1, 1, 1, 1, 1, 1]].into_iter().enumerate()
    {
        let q = ten(&device, &[b, h, l, e], 1, 2.0);
        let (k, v) = (ten(&device, &[b, g, s, e], 2, 1.0), ten(&device, &[b, g, s, ev], 3, 1.0));
        let dy = ten(&device, &[b, h, l, ev], 4, 1.0);
        for (causal, kind, p) in [(false, 0, 0.1), (true, 0, 0.5), (false, 5, 0.5), (false, 0, 1.0), (false, 0, 0.0)] {
            let mask = mask_of(&device, kind, [b, h, l, s]);
            let run = |dropout: Tensor| {
                let options =
                    Attention { mask: mask.clone(), dropout: Some(dropout), causal, scale: None, gqa: h != g };
                let y = q.scaled_dot_product_attention(&k, &v, &options);
                let grads = (&y * &dy).sum().grad(&[&q, &k, &v]).unwrap();
                let all = [vec![y], grads].concat();
                Tensor::eval_all(&all).unwrap();
                all
            };
            let drop = dropped(&device, p, &[b, h, l, s]);
            let (got, want) = (run(drop.clone()), run(copy(&drop)));
            for (name, (got, want)) in ["y", "dq", "dk", "dv"].iter().zip(got.iter().zip(&want)) {
                close(&format!("{name} of {at}, causal {causal}, mask {kind}, p {p}"), got, want, 1e-5);
            }
            // the same key and call draw the same bits
            for (once, again) in got.iter().zip(run(dropped(&device, p, &[b, h, l, s]))) {
                assert_eq!(once.to_vec::<f32>().unwrap(), again.to_vec::<f32>().unwrap());
            }
        }
    }
}

#[test]
fn dropout_has_the_slope_of_its_values() {
    let device = Device::open().unwrap();
    let (q, k, v) =
        (ten(&device, &[2, 5, 4], 1, 1.0), ten(&device, &[2, 6, 4], 2, 1.0), ten(&device, &[2, 6, 3], 3, 1.0));
    let check = kiln::check_gradients(&[&q, &k, &v], |x| {
        let dropout = Some(dropped(&device, 0.3, &[2, 5, 6]));
        x[0].scaled_dot_product_attention(&x[1], &x[2], &Attention { dropout, ..Attention::default() })
    });
    let check = check.unwrap();
    assert!(check.error < 1e-3, "{check:?}");
}

/// With values of one, a row is the sum of the weights that are kept, over 1 - p: 1 in the mean.
#[test]
fn dropout_keeps_the_mean() {
    let device = Device::open().unwrap();
    let q = ten(&device, &[4, 64, 8], 1, 1.0);
    let ones = Tensor::ones(&device, [4, 64, 1]);
    for p in [0.1, 0.5, 0.9] {
        let dropout = Some(dropped(&device, p, &[4, 64, 64]));
        let y = q.scaled_dot_product_attention(&q, &ones, &Attention { dropout, ..Attention::default() });
        let mean: f32 = y.mean().item().unwrap();
        // 16,384 weights of about 1/64 each: four deviations
        let deviation = (p / (1.0 - p) / 16_384.0).sqrt();
        assert!((mean - 1.0).abs() < 5.0 * deviation, "{mean} at {p}");
    }
}

/// A layer's dropout draws anew whenever it is evaluated while training, although its mask is never made.
#[test]
fn a_layer_draws_anew() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 1);
    let options = nn::MultiheadOptions { dropout: 0.5, ..Default::default() };
    let layer = nn::MultiheadAttention::with(8, 2, options, init);
    let x = ten(&device, &[6, 1, 8], 1, 1.0);
    let draw = || layer.forward(&x).to_vec::<f32>().unwrap();
    let (one, two) = (draw(), draw());
    assert_ne!(one, two);
    layer.eval();
    assert_eq!(draw(), draw());
}

/// Queries, keys and values as parts of one product, by reshape and permute, are read where they lie.
#[test]
fn parts_of_one_projection_are_not_copied() {
    let device = Device::open().unwrap();
    let x = ten(&device, &[2, 10, 3 * 4 * 8], 1, 1.0);
    x.eval().unwrap();
    let split = x.reshape([2, 10, 3, 4, 8]).permute([2, 0, 3, 1, 4]);
    let [q, k, v] = [0, 1, 2].map(|i| split.select(0, i));
    let options = Attention { causal: true, ..Attention::default() };
    let copied = [&q, &k, &v].map(|t| Tensor::from_vec(&device, t.to_vec::<f32>().unwrap(), &t.shape().unwrap()));
    copied.iter().try_for_each(Tensor::eval).unwrap();
    let run = |[q, k, v]: [&Tensor; 3]| {
        let before = device.counters().dispatches;
        let y = q.scaled_dot_product_attention(k, v, &options);
        let y = y.permute([0, 2, 1, 3]).reshape([2, 10, 32]);
        y.eval().unwrap();
        (y, device.counters().dispatches - before)
    };
    let (parts, whole) = (run([&q, &k, &v]), run(copied.each_ref()));
    assert_eq!(parts.1, whole.1, "dispatches");
    close("parts", &parts.0, &whole.0, 0.0);
}

#[test]
fn leading_axes_broadcast() {
    let device = Device::open().unwrap();
    let (q, k) = (ten(&device, &[2, 3, 4, 8], 1, 1.0), ten(&device, &[1, 3, 5, 8], 2, 1.0));
    let v = ten(&device, &[2, 1, 5, 6], 3, 1.0);
    let run = |q: &Tensor, k: &Tensor, v: &Tensor| {
        let y = q.scaled_dot_product_attention(k, v, &Attention::default());
        let grads = y.square().sum().grad(&[q, k, v]).unwrap();
        [vec![y], grads].concat()
    };
    let got = run(&q, &k, &v);
    let want = run(&q, &k.expand([2, 3, 5, 8]), &v.expand([2, 3, 5, 6]));
    close("y", &got[0], &want[0], 1e-6);
    close("dq", &got[1], &want[1], 1e-6);
    close("dk", &got[2], &want[2].sum_axes([0], true), 1e-5);
    close("dv", &got[3], &want[3].sum_axes([1], true), 1e-5);
}

#[test]
fn nothing_attends_to_nothing() {
    let device = Device::open().unwrap();
    let attend = |q: [usize; 3], k: [usize; 3], v: [usize; 3]| {
        let t = |shape: [usize; 3]| Tensor::ones(&device, shape);
        t(q).scaled_dot_product_attention(&t(k), &t(v), &Attention::default())
    };
    let shape_of = |y: &Tensor| y.shape().unwrap().to_vec();
    assert_eq!(shape_of(&attend([2, 0, 4], [2, 5, 4], [2, 5, 3])), [2, 0, 3]);
    assert_eq!(shape_of(&attend([0, 3, 4], [0, 5, 4], [0, 5, 4])), [0, 3, 4]);
    assert_eq!(attend([2, 3, 4], [2, 0, 4], [2, 0, 3]).to_vec::<f32>().unwrap(), vec![0.0; 18]);
    assert_eq!(attend([1, 2, 0], [1, 3, 0], [1, 3, 2]).to_vec::<f32>().unwrap(), vec![1.0; 4]);
    let x = ten(&device, &[1, 3, 4], 1, 1.0);
    let nan = Tensor::full(&device, [1, 1, 4], f32::NAN);
    let y = Tensor::cat(&[&x, &nan], 1).scaled_dot_product_attention(&x, &x, &Attention::default());
    let values = y.to_vec::<f32>().unwrap();
    assert!(values[..12].iter().all(|v| v.is_finite()) && values[12..].iter().all(|v| v.is_nan()));
}

#[test]
fn halves_are_accumulated_in_f32() {
    let device = Device::open().unwrap();
    if !device.caps().f16 {
        return;
    }
    let full = [1, 2, 3].map(|seed| ten(&device, &[1, 2, 40, 16], seed, 1.0).cast(DType::F16).cast(DType::F32));
    let run = |[q, k, v]: [&Tensor; 3]| {
        let options = Attention { causal: true, ..Attention::default() };
        let y = q.scaled_dot_product_attention(k, v, &options);
        let grads = y.cast(DType::F32).square().sum().grad(&[q, k, v]).unwrap();
        [vec![y], grads].concat()
    };
    let want = run([&full[0], &full[1], &full[2]]);
    let half = full.each_ref().map(|t| t.cast(DType::F16));
    for (got, want) in run([&half[0], &half[1], &half[2]]).iter().zip(&want) {
        assert_eq!(got.dtype(), DType::F16);
        close("half", &got.cast(DType::F32), want, 4e-3); // 2⁻¹¹ for each of y, its gradient, and the result
    }
}

/// Bytes that attention and its gradients of `length` queries and keys need.
fn bytes_at(length: usize, p: Option<f32>) -> u64 {
    let device = Device::open().unwrap();
    let q = ten(&device, &[1, 1, length, 4], 1, 1.0);
    q.eval().unwrap();
    let dropout = p.map(|p| dropped(&device, p, &[1, 1, length, length]));
    let y = q.scaled_dot_product_attention(&q, &q, &Attention { causal: true, dropout, ..Attention::default() });
    let grads = y.square().sum().grad(&[&q]).unwrap();
    grads[0].eval().unwrap();
    device.counters().peak_bytes
}

#[test]
fn memory_is_linear_in_the_length() {
    for p in [None, Some(0.1)] {
        let (one, two) = (bytes_at(2048, p), bytes_at(4096, p));
        assert!(two <= 2 * one + (1 << 16), "{one} bytes at 2048, {two} at 4096, dropout {p:?}");
        assert!(two < 4096 * 4096, "a byte for each score");
    }
}

#[test]
fn wrong_operands_are_errors() {
    let device = Device::open().unwrap();
    let t = |shape: &[usize]| Tensor::ones(&device, shape);
    let q = t(&[2, 4, 3, 8]);
    let none = Attention::default();
    let gqa = Attention { gqa: true, ..Attention::default() };
    let mask = |m: Tensor| Attention { mask: Some(m), ..Attention::default() };
    let attend = |q: &Tensor, k: &Tensor, v: &Tensor, o: &Attention| q.scaled_dot_product_attention(k, v, o).eval();
    let shapes = [
        attend(&t(&[8]), &t(&[8]), &t(&[8]), &none),
        attend(&q, &t(&[2, 4, 5, 7]), &t(&[2, 4, 5, 7]), &none),
        attend(&q, &t(&[2, 4, 5, 8]), &t(&[2, 4, 6, 8]), &none),
        attend(&q, &t(&[2, 2, 5, 8]), &t(&[2, 2, 5, 8]), &none),
        attend(&q, &t(&[3, 4, 5, 8]), &t(&[3, 4, 5, 8]), &none),
        attend(&q, &t(&[2, 3, 5, 8]), &t(&[2, 3, 5, 8]), &gqa),
        attend(&t(&[3, 8]), &t(&[3, 8]), &t(&[3, 8]), &gqa),
        attend(&q, &q, &q, &mask(t(&[3, 4]))),
        attend(&q, &q, &q, &mask(t(&[5, 2, 4, 3, 3]))),
        attend(&q, &q, &q, &Attention { dropout: Some(t(&[7])), ..Attention::default() }),
        t(&[2, 2]).cast(DType::I32).key_padding_mask(3).eval(),
    ];
    for (i, result) in shapes.into_iter().enumerate() {
        assert!(matches!(result, Err(Error::Shape { .. })), "{i}: {result:?}");
    }
    let ints = q.cast(DType::I32);
    let types = [
        attend(&ints, &ints, &ints, &none),
        attend(&q, &ints, &q, &none),
        attend(&q, &q, &q, &mask(t(&[3, 3]).cast(DType::I32))),
        t(&[2]).key_padding_mask(3).eval(),
    ];
    for (i, result) in types.into_iter().enumerate() {
        assert!(matches!(result, Err(Error::DType { .. })), "{i}: {result:?}");
    }
    let both = attend(&q, &q, &q, &Attention { causal: true, ..mask(t(&[3, 3])) });
    assert!(matches!(both, Err(Error::Argument { name: "causal", .. })), "{both:?}");
    let broken = q.matmul(&t(&[3, 3]));
    assert!(attend(&q, &broken, &q, &none).is_err());
    assert!(attend(&q, &q, &q, &mask(broken)).is_err());
}
