//! An operation that Kiln does not have: a WGSL kernel and its gradient, held against finite differences, then trained.
//!
//!     cargo run --example custom_op
//!
//! Without `--release`, saving examples/snake.wgsl while this runs changes the kernel of the next step.

use std::sync::Arc;

use kiln::gpu::Params;
use kiln::prelude::*;
use kiln::{Custom, CustomLaunch, KernelText};

/// x + sin²(a x) / a, an activation that learns what is periodic.
/// Source: Ziyin, Hartwig & Ueda 2020, "Neural networks fail to learn periodic functions", eq. 3.
struct Snake(f32, KernelText);

impl Custom for Snake {
    fn name(&self) -> &'static str {
        "snake"
    }

    fn inputs(&self) -> &[&'static str] {
        &["x"]
    }

    fn output(&self, shapes: &[Shape], dtypes: &[DType]) -> Result<(Shape, DType), &'static str> {
        if dtypes[0] == DType::F32 { Ok((shapes[0], DType::F32)) } else { Err("x is f32") }
    }

    fn launch(&self, shapes: &[Shape]) -> CustomLaunch {
        let n = shapes[0].numel() as u32;
        let groups = [n.div_ceil(64).min(65535), 1, 1];
        CustomLaunch { source: self.1.source("snake"), params: Params::new().u32(n).f32(self.0), groups }
    }

    fn vjp(&self, dy: &Tensor, inputs: &[Tensor], _y: &Tensor) -> Vec<Option<Tensor>> {
        vec![Some(dy * ((&inputs[0] * (2.0 * self.0)).sin() + 1.0))]
    }

    fn key(&self) -> u64 {
        self.1.key() ^ u64::from(self.0.to_bits())
    }
}

/// `x` of any shape → the same.
pub(crate) fn snake(x: &Tensor, a: f32) -> Tensor {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/snake.wgsl");
    Tensor::custom(Arc::new(Snake(a, KernelText::load(path, include_str!("snake.wgsl")))), &[x])
}

/// Checks the gradient, fits y = sin 3x on [-3, 3], and gives the gradient's error and the loss.
pub(crate) fn run(device: &Device, seed: u64, quick: bool) -> Result<(f64, f64)> {
    let x = Rng::new(device, seed).normal([3, 5]);
    let check = kiln::check_gradients(&[&x], |inputs| snake(&inputs[0], 1.5))?;
    println!("the gradient is {:.1e} from the slope", check.error);

    let init = &mut Init::new(device, seed);
    let (hidden, out) = (Linear::new(1, 32, init), Linear::new(32, 1, init));
    let x = Tensor::linspace(device, -3.0, 3.0, 128).reshape([128, 1]);
    let y = (&x * 3.0).sin();
    let mut adam = Adam::new(&(&hidden, &out), 2e-2);
    let mut last = f64::NAN;
    for step in 0..if quick { 5 } else { 300 } {
        let loss = mse_loss(&out.forward(&snake(&hidden.forward(&x), 1.5)), &y);
        adam.step(&loss)?;
        last = f64::from(loss.item()?);
        if step % 50 == 0 {
            println!("step {step:3}: {last:.5}");
        }
    }
    println!("mean squared error {last:.6} after the last step");
    Ok((check.error, last))
}

fn main() -> Result<()> {
    let (error, loss) = run(&Device::open()?, 42, false)?;
    assert!(error < 1e-3 && loss < 1e-2, "{error}, {loss}");
    Ok(())
}
