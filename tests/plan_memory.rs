//! A plan's memory, known before it runs, is little more than what training needs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::prelude::*;
use kiln::{PlanInfo, TensorUse};
use models::GptSize;

#[allow(dead_code, unreachable_pub)]
#[path = "../crates/cli/src/bench/models.rs"]
mod models;

/// The plan of a GPT's training step.
fn plan(device: &Device, size: GptSize) -> PlanInfo {
    let mut step = models::gpt(device, size, DType::F32);
    device.clear_plans();
    step().unwrap().item().unwrap();
    let plan = device.plans().into_iter().max_by_key(|p| p.dispatches).unwrap();
    let (m, mb) = (&plan.memory, |bytes: u64| bytes as f64 / 1e6);
    println!(
        "{} layers: parameters {:.2}, state {:.2}, gradients {:.2}, activations {:.2}, peak {:.2}, workspace {:.2}, inputs {:.3} MB: {:.3} of what is needed",
        size.layers,
        mb(m.parameters),
        mb(m.state),
        mb(m.gradients),
        mb(m.activations),
        mb(m.peak),
        mb(m.workspace),
        mb(m.inputs),
        m.total() as f64 / m.needed() as f64,
    );
    plan
}

#[test]
fn a_gpt_takes_little_more_than_it_needs() {
    let device = Device::open().unwrap();
    // unfused, the numbers of the update are in memory one after the other
    device.set_fusion(true);
    let size = |layers| GptSize { layers, width: 64, heads: 4, length: 32, vocabulary: 128, batch: 4 };
    for layers in [1, 2, 4] {
        let plan = plan(&device, size(layers));
        let m = &plan.memory;
        // weights and biases of the blocks, norms, embeddings and head
        let (d, n) = (64_u64, layers as u64);
        let parameters = 4 * (n * (12 * d * d + 13 * d) + 2 * d + (128 + 32 + 128) * d);
        assert_eq!(m.parameters, parameters);
        assert!((2 * parameters..2 * parameters + 256).contains(&m.state), "two moments and the counts: {}", m.state);
        // those of the table and the positions may be sums that the update makes itself
        assert!(m.gradients > parameters * 8 / 10 && m.gradients < parameters * 11 / 10, "{}", m.gradients);
        // of each block at least what goes into the activation function, 4 d numbers a token
        assert!(m.activations >= n * 4 * 4 * d * 4 * 32, "{}", m.activations);
        assert_eq!(plan.bytes, m.workspace);
        assert!(m.peak <= m.workspace && m.workspace <= m.peak * 11 / 10, "{} of {}", m.workspace, m.peak);
        assert!(m.total() * 10 <= m.needed() * 13, "{} bytes where {} are needed", m.total(), m.needed());
    }
}

#[test]
fn the_largest_tensors_have_a_line() {
    let device = Device::open().unwrap();
    let x = Tensor::from_vec(&device, vec![0.5; 64 * 32], &[64, 32]);
    let model = Linear::new(32, 512, &mut Init::new(&device, 0));
    let mut adam = Adam::new(&model, 1e-3);
    adam.step(&model.forward(&x).square().mean()).unwrap();
    let line = line!() - 1;
    let plan = device.plans().into_iter().max_by_key(|p| p.memory.parameters).unwrap();
    let largest = &plan.memory.largest[0];
    assert!(largest.bytes == 4 * 64 * 512 && largest.shape.to_vec() == [64, 512], "{largest:?}");
    // layers look like their caller's line or, where they do not pass it on, like a line of their own
    let own = |t: &&kiln::PlanTensor| t.at.file().ends_with("plan_memory.rs");
    assert!(plan.memory.largest.iter().filter(own).all(|t| t.at.line() == line), "{:?}", plan.memory.largest);
    assert!(plan.memory.largest.iter().any(|t| t.for_what == TensorUse::Gradient && t.shape.numel() == 32 * 512));
    // a plan without a loss has no gradients
    device.clear_plans();
    (x.exp() + 1.0).sum().item().unwrap();
    let plan = device.plans().pop().unwrap();
    assert_eq!([plan.memory.gradients, plan.memory.activations, plan.memory.state], [0; 3]);
}
