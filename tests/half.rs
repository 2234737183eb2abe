//! Half precision, where the device has it: elements are rounded to f16 when stored, arithmetic is done in f32, and a
//! gradient has the type of what it is the gradient of. Elsewhere an f16 tensor is an error that says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use half::f16;
use kiln::prelude::*;

/// One unit in the last place of f16, relative.
const ULP: f32 = 1.0 / 1024.0;

type Fun = fn(&Tensor, &Tensor) -> Tensor;

/// Expressions of `x [9, 17]` and `w [17, 9]`.
const ROWS: [(&str, Fun); 14] = [
    ("cast", |x, _| x.clone()),
    ("map", |x, w| (x * w.t() + 1.0).tanh()),
    ("sum", |x, _| x.sum_axes([1], false)),
    ("mean", |x, _| x.mean_axes([0], true)),
    ("amax", |x, _| x.amax([1], false)),
    ("matmul", |x, w| x.matmul(w)),
    ("matmul of transposes", |x, w| w.t().matmul(&x.t())),
    ("softmax", |x, _| x.softmax(1)),
    ("log_softmax", |x, _| x.log_softmax(0)),
    ("layer_norm", |x, _| x.layer_norm(1, None, None, 1e-5)),
    ("views", |x, w| Tensor::cat(&[&x.flip([0]), &w.t()], 0).slice(1, 1, 16, 2)),
    ("gather", |x, _| x.index_select(1, &Tensor::new(x.device(), [3i32, 3, 16, 0]))),
    ("cumsum", |x, _| x.cumsum(1)),
    ("sort", |x, _| x.sort(1, false).0),
];

fn noise(device: &Device, seed: u64, shape: [usize; 2]) -> Tensor {
    Rng::new(device, seed).uniform(shape) * 2.0 - 1.0
}

#[test]
fn half_is_close_to_single() {
    let device = &Device::open().unwrap();
    let x = noise(device, 1, [9, 17]);
    let w = noise(device, 2, [17, 9]);
    if !device.caps().f16 {
        let error = x.cast(DType::F16).eval().unwrap_err();
        assert!(error.to_string().contains("f16"), "{error}");
        println!("{} has no half precision", device.caps().name);
        return;
    }
    // The inputs themselves are rounded first, so that both sides see the same numbers.
    let (hx, hw) = (x.cast(DType::F16), w.cast(DType::F16));
    let (x, w) = (hx.cast(DType::F32), hw.cast(DType::F32));
    for (name, run) in ROWS {
        let (half, single) = (run(&hx, &hw), run(&x, &w));
        assert_eq!(half.dtype(), DType::F16, "{name}");
        let weights = noise(device, 3, [1, 1]).reshape([1]);
        let grads = |y: &Tensor, by: &Tensor| (y.cast(DType::F32) * &weights).sum().grad(&[by]).unwrap().swap_remove(0);
        let (dh, ds) = (grads(&half, &hx), grads(&single, &x));
        assert_eq!(dh.dtype(), DType::F16, "{name}'s gradient");
        for (what, got, want) in [("", half, single), ("'s gradient", dh, ds)] {
            let (got, want) = (got.to_vec::<f32>().unwrap(), want.to_vec::<f32>().unwrap());
            assert_eq!(got.len(), want.len(), "{name}{what}");
            for (g, w) in got.iter().zip(&want) {
                // Two roundings, of an intermediate and of the result.
                assert!((g - w).abs() <= 4.0 * ULP * (1.0 + w.abs()), "{name}{what}: {g} is not {w}");
            }
        }
    }
}

/// Matrix units may round f32 operands to f16 only when the device is told so; what was planned before stays exact.
#[test]
fn products_are_exact_unless_the_device_may_round() {
    let device = Device::open().unwrap();
    assert_eq!(device.matmul_precision(), MatmulPrecision::Exact);
    let (x, w) = (noise(&device, 5, [40, 72]), noise(&device, 6, [72, 24]));
    let product = || x.matmul(&w).to_vec::<f32>().unwrap();
    let exact = product();
    let plans = device.plans().len();
    device.set_matmul_precision(MatmulPrecision::Fast);
    let fast = product();
    assert_eq!(device.plans().len(), plans + 1, "another precision is another plan");
    for (got, want) in fast.iter().zip(&exact) {
        // 72 products of operands rounded to 11 bits
        assert!((got - want).abs() <= 72.0 * ULP * (1.0 + want.abs()) / 8.0, "{got} is not {want}");
    }
    device.set_matmul_precision(MatmulPrecision::Exact);
    assert_eq!(product(), exact);
    let options =
        kiln::gpu::Options { matmul_precision: MatmulPrecision::Fast, ..kiln::gpu::Options::from_env().unwrap() };
    assert_eq!(Device::open_with(&options).unwrap().matmul_precision(), MatmulPrecision::Fast);
}

/// A cast rounds to the nearest, of two as near to the even one, also where the next operation goes on in f32 within the same
/// kernel: each number of half precision, each tie between two of them, and the neighbours of each tie.
#[test]
fn casts_round() {
    let device = Device::open().unwrap();
    if !device.caps().f16 {
        return;
    }
    let (mut x, mut want) =
        (vec![f32::INFINITY, -f32::INFINITY, f32::MAX], vec![f32::INFINITY, -f32::INFINITY, f32::INFINITY]);
    for h in 0..0x7c00u16 {
        let (low, high) = (f16::from_bits(h).to_f32(), f16::from_bits(h + 1).to_f32());
        // past the greatest number the step goes on
        let tie = if h == 0x7bff { 65520.0 } else { low + (high - low) / 2.0 };
        x.extend([low, tie.next_down(), -tie, tie.next_up()]);
        want.extend([low, low, if h % 2 == 0 { -low } else { -high }, high]);
    }
    // an odd number of them is handled one at a time, with one more it is four
    for more in [0, 1] {
        x.extend(vec![0.5; more]);
        want.extend(vec![0.5; more]);
        let half = (Tensor::from_vec(&device, x.clone(), &[x.len()]) * 1.0).cast(DType::F16);
        for (what, y) in [("on", half.cast(DType::F32) * 1.0), ("stored", half)] {
            for (at, (got, want)) in y.to_vec::<f32>().unwrap().into_iter().zip(&want).enumerate() {
                assert_eq!(got.to_bits(), want.to_bits(), "{what}: {:e} is {got:e}, not {want:e}", x[at]);
            }
        }
    }
    let nan = (Tensor::new(&device, [f32::NAN]) * 1.0).cast(DType::F16).cast(DType::F32) * 1.0;
    assert!(nan.item().unwrap().is_nan());
}

/// What a kernel stores in half precision is what the operations fused with it see of it: rounded, and infinite from 65520 on.
#[test]
fn what_is_stored_is_what_is_seen() {
    for fused in [true, false] {
        let device = Device::open().unwrap();
        device.set_fusion(fused);
        if !device.caps().f16 {
            return;
        }
        let full = |shape: &[i64], value: f32| Tensor::full(&device, shape.to_vec(), value).cast(DType::F16);
        let made: [(&str, f32, Tensor); 8] = [
            ("product", f32::INFINITY, full(&[4, 300], 250.0).matmul(&full(&[300, 5], 1.0))),
            ("vector", f32::INFINITY, full(&[1, 300], 250.0).matmul(&full(&[300, 5], 1.0))),
            ("sum", f32::INFINITY, full(&[4, 300], 250.0).sum_axes([1], false)),
            ("large sum", f32::INFINITY, full(&[70000], 2.0).sum()),
            ("rounded sum", 2048.0, full(&[3, 2049], 1.0).sum_axes([1], false)),
            ("conv", f32::INFINITY, full(&[1, 30, 10], 250.0).conv1d(&full(&[4, 30, 10], 1.0), None, &Conv::default())),
            ("map", f32::INFINITY, full(&[3, 5], 300.0) * full(&[5], 300.0)),
            ("cast", 2048.0, (full(&[3, 5], 2049.0) * 1.0).cast(DType::F32).cast(DType::F16)),
        ];
        for (name, value, p) in made {
            let case = format!("{name}, fused: {fused}");
            let (finite, single) = (p.isfinite(), p.cast(DType::F32) * 0.5);
            let turned = p.reshape([-1]).flip([0]) - 1.0;
            Tensor::eval_all(&[&p, &finite, &single, &turned]).unwrap();
            let stored = p.to_vec::<f32>().unwrap();
            assert!(stored.iter().all(|&v| v == value), "{case}: {stored:?}");
            assert!(finite.to_vec::<bool>().unwrap().iter().all(|&f| f == value.is_finite()), "{case}: isfinite");
            assert!(single.to_vec::<f32>().unwrap().iter().all(|&v| v == value * 0.5), "{case}: half of it");
            let less = f16::from_f32(value - 1.0).to_f32();
            assert!(turned.to_vec::<f32>().unwrap().iter().all(|&v| v == less), "{case}: turned");
        }
    }
}

/// A loss of half precision that is finite before it is rounded, and infinite where it is stored, is an error like any that is not finite.
#[test]
fn a_loss_past_half_precision_is_not_finite() {
    for fused in [true, false] {
        let device = Device::open().unwrap();
        device.set_fusion(fused);
        if !device.caps().f16 {
            return;
        }
        let model = Linear::new(3, 1, &mut Init::new(&device, 0));
        let mut sgd = Sgd::new(&model, 1e-3);
        let loss =
            |more: f32| (model.forward(&Tensor::ones(&device, [2, 3])).sum() * 0.0 + 60000.0).cast(DType::F16) + more;
        let fine = loss(1000.0);
        sgd.step(&fine).unwrap();
        assert_eq!(fine.item().unwrap(), 60992.0);
        let past = loss(10000.0);
        let error = sgd.step(&past).and_then(|()| past.item());
        assert!(matches!(error, Err(Error::NotFinite { .. })), "fused {fused}: {error:?}");
    }
}

/// What half precision holds comes out, also where a sum on the way would be too large for it and is looked at as well.
#[test]
fn larger_numbers_on_the_way() {
    for fused in [true, false] {
        let device = Device::open().unwrap();
        device.set_fusion(fused);
        if !device.caps().f16 {
            return;
        }
        // of 300 and 500 by turns: the mean is 400, the deviation 100
        let x = (Tensor::arange(&device, 0, 1000, 1).remainder(2) * 200 + 300).cast(DType::F16);
        let x = x.reshape([2, 500]);
        let (sum, squares) = (x.sum(), x.square().sum_axes([1], false));
        let norm = (500.0f32 * (300.0 * 300.0 + 500.0 * 500.0) / 2.0).sqrt();
        let batch = x.reshape([1, 2, 500]);
        let (mean, var) = batch.batch_statistics();
        let normal = batch.batch_norm(&mean, &var, None, None, 0.0);
        let rows: [(&str, Tensor, f32); 9] = [
            ("mean", x.mean(), 400.0),
            ("nanmean", x.nanmean([1], false), 400.0),
            ("var", x.var([1], 0, false), 10000.0),
            ("std", x.std([1], 0, false), 100.0),
            ("norm", x.norm(2.0, [1], false), norm),
            (
                "norm of 1.5",
                x.norm(1.5, [1], false),
                (250.0f32 * (300f32.powf(1.5) + 500f32.powf(1.5))).powf(1.0 / 1.5),
            ),
            ("cov", (&x * 0.5).cov(0), 2500.0),
            ("batch_norm", normal.abs(), 1.0),
            ("layer_norm", x.layer_norm(1, None, None, 0.0).abs(), 1.0),
        ];
        let all: Vec<&Tensor> = rows.iter().map(|row| &row.1).chain([&sum, &squares]).collect();
        Tensor::eval_all(&all).unwrap();
        assert_eq!(sum.item().unwrap(), f32::INFINITY, "PyTorch's as well");
        assert_eq!(squares.to_vec::<f32>().unwrap(), [f32::INFINITY; 2]);
        for (name, got, want) in &rows {
            assert_eq!(got.dtype(), DType::F16, "{name}");
            let got = got.to_vec::<f32>().unwrap();
            assert!(got.iter().all(|v| (v - want).abs() <= ULP * want), "{name}, fused {fused}: {got:?} is not {want}");
        }
    }
}
