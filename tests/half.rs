//! Half precision, where the device has it: elements are rounded to f16 when stored, arithmetic is done in f32, and a
//! gradient has the type of what it is the gradient of. Elsewhere an f16 tensor is an error that says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

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

/// A cast rounds, also where the next operation goes on in f32 within the same kernel.
#[test]
fn casts_round() {
    let device = Device::open().unwrap();
    if !device.caps().f16 {
        return;
    }
    let x = Tensor::new(&device, [0.1, -0.1, 2049.0, 2051.0, 65519.9, 65520.0, 5e-8, 1e-8]);
    let y = (x * 1.0).cast(DType::F16).cast(DType::F32) + 0.0;
    let want = [0.099975586, -0.099975586, 2048.0, 2052.0, 65504.0, f32::INFINITY, 5.9604645e-8, 0.0];
    assert_eq!(y.to_vec::<f32>().unwrap(), want);
}
