//! What is inside of a checkpoint is computed again for its gradients: the same bits, in less memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::checkpoint;
use kiln::nn::Init;
use kiln::prelude::*;

#[derive(Module)]
struct Block {
    norm: LayerNorm,
    up: Linear,
    dropout: Dropout,
    down: Linear,
}

impl Block {
    fn new(width: usize, init: &mut Init) -> Self {
        Self {
            norm: LayerNorm::new([width], init),
            up: Linear::new(width, 4 * width, init),
            dropout: Dropout::new(0.2, init),
            down: Linear::new(4 * width, width, init),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.up.forward(&self.norm.forward(x)).gelu();
        x + self.down.forward(&self.dropout.forward(&h))
    }
}

#[derive(Module)]
struct Net {
    blocks: Vec<Block>,
    last: Linear,
}

impl Net {
    fn new(blocks: usize, width: usize, device: &Device) -> Self {
        let init = &mut Init::new(device, 5);
        Self { blocks: (0..blocks).map(|_| Block::new(width, init)).collect(), last: Linear::new(width, 1, init) }
    }

    fn loss(&self, x: &Tensor, again: bool) -> Tensor {
        let mut h = x.clone();
        for block in &self.blocks {
            h = if again { checkpoint(|| block.forward(&h)) } else { block.forward(&h) };
        }
        self.last.forward(&h).square().mean()
    }
}

fn input(device: &Device, rows: usize, width: usize) -> Tensor {
    let values = (0..rows * width).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
    let x = Tensor::from_vec(device, values, &[rows, width]);
    x.eval().unwrap();
    x
}

#[test]
fn training_gives_the_same_bits() {
    let device = Device::open().unwrap();
    let train = |again: bool| {
        let net = Net::new(3, 8, &device);
        let mut adam = Adam::new(&net, 1e-2);
        let x = input(&device, 16, 8);
        for _ in 0..5 {
            adam.step(&net.loss(&x, again)).unwrap();
        }
        net.state_dict().into_iter().map(|(name, t)| (name, t.to_vec::<f32>().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(train(true), train(false));
}

#[test]
fn it_takes_less_memory() {
    let peak = |again: bool| {
        let device = Device::open().unwrap();
        let net = Net::new(8, 32, &device);
        let mut sgd = Sgd::new(&net, 1e-3);
        let x = input(&device, 512, 32);
        sgd.step(&net.loss(&x, again)).unwrap();
        device.plans().iter().map(|p| p.bytes).max().unwrap()
    };
    let (kept, again) = (peak(false), peak(true));
    println!("{again} bytes with checkpoints, {kept} without");
    assert!(again * 2 < kept, "{again} bytes with checkpoints, {kept} without");
}

#[test]
fn gradients_of_gradients_and_inputs() {
    let device = Device::open().unwrap();
    let x = input(&device, 4, 4);
    let run = |again: bool| {
        let f = || (x.tanh().matmul(&x.sin())).exp().log_softmax(-1);
        let y = if again { checkpoint(f) } else { f() };
        let dx = y.square().sum().grad(&[&x]).unwrap().remove(0);
        let ddx = dx.square().sum().grad(&[&x]).unwrap().remove(0);
        [dx.to_vec::<f32>().unwrap(), ddx.to_vec::<f32>().unwrap()]
    };
    let (a, b) = (run(true), run(false));
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} is not {b}");
    }
    // one inside another, and one around nothing that can be differentiated
    let y = checkpoint(|| checkpoint(|| x.exp()) * 2.0);
    assert_eq!(y.sum().grad(&[&x]).unwrap()[0].to_vec::<f32>().unwrap(), (x.exp() * 2.0).to_vec::<f32>().unwrap());
    assert_eq!(checkpoint(|| 3), 3);
}

#[test]
fn a_value_that_was_read_on_the_way_is_not_computed_again() {
    let device = Device::open().unwrap();
    let x = input(&device, 4, 8);
    let run = |again: bool, read: bool| {
        println!("checkpoint {again}, read {read}");
        let mut seen = None;
        let mut f = || {
            let h = x.layer_norm(1, None, None, 1e-5);
            let pooled = (&h * 3.0).reshape([1, 1, 4, 8]).max_pool2d(&Pool::new(2));
            seen = Some([h.clone(), pooled.clone()]);
            pooled.exp().sum() + h.tanh().square().sum()
        };
        let loss = if again { checkpoint(&mut f) } else { f() };
        if read {
            seen.unwrap().iter().for_each(|t| t.eval().unwrap());
        }
        let dx = loss.grad(&[&x]).unwrap().remove(0);
        let ddx = dx.square().sum().grad(&[&x]).unwrap().remove(0);
        [dx.to_vec::<f32>().unwrap(), ddx.to_vec::<f32>().unwrap()]
    };
    let want = run(false, false);
    for (again, read) in [(false, true), (true, false), (true, true)] {
        for (a, b) in run(again, read).iter().flatten().zip(want.iter().flatten()) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} is not {b}: checkpoint {again}, read {read}");
        }
    }
}
