//! A user's own operation: a WGSL kernel and its gradient through the public API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

use kiln::gpu::{Options, Params, Source};
use kiln::prelude::*;
use kiln::{Custom, CustomLaunch, KernelText};
use std::sync::Arc;

/// x · sin(frequency · x), elementwise.
struct Wave {
    frequency: f32,
}

const TEXT: &str = "
    struct Sizes { n: u32, frequency: f32 }
    var<immediate> sizes: Sizes;
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> out: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x < sizes.n { out[id.x] = x[id.x] * sin(sizes.frequency * x[id.x]); }
    }";

impl Custom for Wave {
    fn name(&self) -> &'static str {
        "wave"
    }

    fn inputs(&self) -> &[&'static str] {
        &["x"]
    }

    fn output(&self, shapes: &[Shape], dtypes: &[DType]) -> Result<(Shape, DType), &'static str> {
        if dtypes[0] == DType::F32 { Ok((shapes[0], DType::F32)) } else { Err("floats only") }
    }

    fn launch(&self, shapes: &[Shape]) -> CustomLaunch {
        let n = shapes[0].numel() as u32;
        CustomLaunch {
            source: Source::user("wave", TEXT),
            params: Params::new().u32(n).f32(self.frequency),
            groups: [n.div_ceil(64), 1, 1],
        }
    }

    fn vjp(&self, dy: &Tensor, inputs: &[Tensor], _y: &Tensor) -> Vec<Option<Tensor>> {
        let x = &inputs[0];
        let turns = x * self.frequency;
        vec![Some(dy * (turns.sin() + turns.cos() * x * self.frequency))]
    }

    fn key(&self) -> u64 {
        self.frequency.to_bits().into()
    }
}

#[test]
fn a_custom_kernel_has_a_gradient() {
    let device = Device::open().unwrap();
    let numbers: Vec<f32> = (0..130).map(|i| i as f32 / 40.0 - 1.6).collect();
    let x = Tensor::from_slice(&device, &numbers, &[10, 13]);
    for frequency in [2.0, 0.5] {
        let op = Arc::new(Wave { frequency });
        // a view: the operand reaches the kernel contiguous
        let y = Tensor::custom(op, &[&(x.t() * 1.0)]).t();
        let got = y.to_vec::<f32>().unwrap();
        let slope = y.sum().grad(&[&x]).unwrap()[0].to_vec::<f32>().unwrap();
        for ((v, got), slope) in numbers.iter().map(|&v| f64::from(v)).zip(got).zip(slope) {
            let f = |v: f64| v * (f64::from(frequency) * v).sin();
            assert!((f64::from(got) - f(v)).abs() < 1e-3, "wave({v}) is {got}");
            let want = (f(v + 1e-5) - f(v - 1e-5)) / 2e-5;
            assert!((f64::from(slope) - want).abs() < 1e-3, "slope at {v} is {slope}, not {want}");
        }
    }
}

#[test]
fn a_custom_operation_refuses_what_it_cannot_take() {
    let device = Device::open().unwrap();
    let wave = || Arc::new(Wave { frequency: 1.0 });
    let error = Tensor::custom(wave(), &[&Tensor::new(&device, [1, 2])]).eval().unwrap_err();
    assert!(matches!(error, Error::Shape { op: "wave", .. }), "{error}");
    let x = Tensor::ones(&device, [3]);
    assert!(matches!(Tensor::custom(wave(), &[&x, &x]).eval().unwrap_err(), Error::Argument { .. }));
}

/// With eight storage bindings, as every device has, a model with norms, convolution and Adam still trains.
#[test]
fn eight_bindings_are_enough() {
    let options = Options { max_storage_buffers: Some(8), ..Options::from_env().unwrap() };
    let device = Device::open_with(&options).unwrap();
    let init = &mut Init::new(&device, 3);
    let net = Sequential::new()
        .push(Conv2d::new(1, 4, 3, init))
        .push(BatchNorm2d::new(4, init))
        .push(Relu)
        .push(Flatten::default())
        .push(Linear::new(4 * 36, 16, init))
        .push(LayerNorm::new(16, init))
        .push(Gelu)
        .push(Linear::new(16, 3, init));
    let mut adam = AdamW::new(&net, 1e-2);
    let x = Rng::new(&device, 1).normal([12, 1, 8, 8]);
    x.eval().unwrap();
    let y = Tensor::from_vec(&device, (0..12).map(|i| i % 3).collect::<Vec<i32>>(), &[12]);
    let mut losses = Vec::new();
    for _ in 0..12 {
        let loss = cross_entropy(&net.forward(&x), &y);
        adam.step(&loss).unwrap();
        losses.push(loss.item().unwrap());
    }
    assert!(losses[11] < 0.5 * losses[0], "{losses:?}");
}

#[test]
fn a_wrong_gradient_is_found_where_it_is() {
    let device = Device::open().unwrap();
    let (x, y) = (Tensor::new(&device, [[0.5, -1.5, 2.0], [0.1, 3.0, -0.4]]), Tensor::new(&device, [0.3, -0.7, 1.2]));
    let right = |inputs: &[Tensor]| (&inputs[0] * &inputs[1]).sin().sum_axes([1], false);
    let check = kiln::check_gradients(&[&x, &y], right).unwrap();
    assert!(check.error < 1e-3, "{check:?}");
    // the second input's third element has twice the gradient that it should have
    let twice = Tensor::new(&device, [0.0, 0.0, 1.0]);
    let wrong = |inputs: &[Tensor]| {
        let y = &inputs[1];
        right(&[inputs[0].clone(), y + (y - y.detach()) * &twice])
    };
    let check = kiln::check_gradients(&[&x, &y], wrong).unwrap();
    assert!((check.input, check.element) == (1, 2) && check.error > 0.1, "{check:?}");
    assert!(check.gradient / check.slope > 1.9 && check.gradient / check.slope < 2.1, "{check:?}");
    let check = kiln::check_gradients(&[&x], |inputs| inputs[0].log()).unwrap();
    assert!(!check.error.is_finite(), "{check:?}"); // the logarithm of a negative number

    let error = kiln::check_gradients(&[], right).unwrap_err();
    assert!(matches!(error, Error::Argument { name: "inputs", .. }), "{error}");
    let error = kiln::check_gradients(&[&Tensor::new(&device, [1, 2])], |x| x[0].clone()).unwrap_err();
    assert!(matches!(error, Error::DType { .. }), "{error}");
    let error = kiln::check_gradients(&[&x, &x.t()], right).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
}

/// A scalar function whose text is in a file.
struct FromFile(KernelText);

impl Custom for FromFile {
    fn name(&self) -> &'static str {
        "from_file"
    }

    fn inputs(&self) -> &[&'static str] {
        &["x"]
    }

    fn output(&self, shapes: &[Shape], _: &[DType]) -> Result<(Shape, DType), &'static str> {
        Ok((shapes[0], DType::F32))
    }

    fn launch(&self, shapes: &[Shape]) -> CustomLaunch {
        let n = shapes[0].numel() as u32;
        let params = Params::new().u32(n).f32(2.0);
        CustomLaunch { source: self.0.source("from_file"), params, groups: [n.div_ceil(64), 1, 1] }
    }

    fn vjp(&self, _: &Tensor, _: &[Tensor], _: &Tensor) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn key(&self) -> u64 {
        self.0.key()
    }
}

#[test]
fn a_kernel_is_read_again_when_its_file_is_saved() {
    let device = Device::open().unwrap();
    let path = std::env::temp_dir().join(format!("kiln-kernel-{}.wgsl", std::process::id()));
    let x = Tensor::new(&device, [0.5, -1.5]);
    let run = || {
        let text = KernelText::load(path.to_str().unwrap(), TEXT);
        Tensor::custom(Arc::new(FromFile(text)), &[&x]).to_vec::<f32>()
    };
    let built_in = run().unwrap();
    assert!((built_in[0] - 0.5 * 1f32.sin()).abs() < 1e-4, "no file: the text that was built in");
    std::fs::write(&path, TEXT.replace("x[id.x] * sin(sizes.frequency * x[id.x])", "sizes.frequency * x[id.x]"))
        .unwrap();
    let saved = run().unwrap();
    std::fs::write(&path, "a kernel half written").unwrap();
    let broken = run();
    std::fs::write(&path, TEXT).unwrap();
    let again = run().unwrap();
    std::fs::remove_file(&path).unwrap();
    if cfg!(debug_assertions) {
        assert_eq!(saved, [1.0, -3.0]);
        assert!(broken.is_err(), "{broken:?}");
    } else {
        assert_eq!(saved, built_in, "a release build does not look");
    }
    assert_eq!(again, built_in);
}
