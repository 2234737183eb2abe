//! Gradients are slopes: for a few models, f(x + h·d) − f(x − h·d) over 2h against ∇f · d, in directions d.
//! Every single operation is held to PyTorch's gradients by `tests/reference.rs`, which is far sharper; this
//! catches a mistake that the rows of both sides might share.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::loss::cross_entropy;
use kiln::prelude::*;

/// Numbers in -1..1 that follow from `seed` alone.
fn noise(device: &Device, seed: u32, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let numbers: Vec<f32> = (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / u32::MAX as f32 * 2.0 - 1.0
        })
        .collect();
    Tensor::from_vec(device, numbers, shape)
}

type Model = fn(&[Tensor]) -> Tensor;

/// Name, shapes of the inputs, and a smooth function of them with values near 1.
const MODELS: [(&str, &[&[usize]], Model); 5] = [
    ("mlp", &[&[7, 9], &[16, 9], &[16], &[5, 16]], |x| {
        (x[0].matmul(&x[1].t()) + &x[2]).tanh().matmul(&x[3].t()).square().mean()
    }),
    ("attention", &[&[2, 9, 8], &[2, 9, 8], &[2, 9, 8]], |x| {
        x[0].matmul(&x[1].transpose(1, 2)).softmax(-1).matmul(&x[2]).square().mean()
    }),
    ("norms", &[&[5, 17], &[17], &[17]], |x| {
        x[0].layer_norm(1, Some(&x[1]), Some(&x[2]), 1e-5).sigmoid().square().mean()
    }),
    ("classifier", &[&[7, 9], &[5, 9]], |x| {
        let labels = Tensor::new(x[0].device(), [0i32, 4, 1, 1, 3, 2, 0]);
        cross_entropy(&x[0].matmul(&x[1].t()), &labels)
    }),
    ("gradient_penalty", &[&[7, 9], &[9, 5]], |x| {
        let y = x[0].matmul(&x[1]).tanh().sum();
        y.grad(&[&x[0]]).unwrap()[0].square().mean()
    }),
];

#[test]
fn gradients_are_slopes() {
    let device = &Device::open().unwrap();
    // Of f near 1 in f32, a difference over 2h = 0.04 is right to 3e-6; the cubic term is of the same size.
    let h = 0.02f32;
    for (name, shapes, model) in MODELS {
        let x: Vec<Tensor> = shapes.iter().enumerate().map(|(k, shape)| noise(device, k as u32 + 1, shape)).collect();
        let grads = model(&x).grad(&x.iter().collect::<Vec<_>>()).unwrap();
        for seed in 0..4 {
            let d: Vec<Tensor> =
                shapes.iter().enumerate().map(|(k, s)| noise(device, 100 * (seed + 1) + k as u32, s)).collect();
            let length: f32 = d.iter().map(|d| d.square().sum().item().unwrap()).sum::<f32>().sqrt();
            let moved = |by: f32| {
                model(&x.iter().zip(&d).map(|(x, d)| x + d * (by / length)).collect::<Vec<_>>()).item().unwrap()
            };
            let slope = (moved(h) - moved(-h)) / (2.0 * h);
            let products = grads.iter().zip(&d).map(|(g, d)| (g * d).sum().item().unwrap());
            let want = products.sum::<f32>() / length;
            assert!(
                (slope - want).abs() < 2e-3 * (1.0 + want.abs()),
                "{name}, direction {seed}: slope {slope}, gradient {want}"
            );
        }
    }
}
