//! Models as people write them in PyTorch, written in Kiln, with PyTorch's first weights: five steps of their training give
//! PyTorch's losses and PyTorch's weights. The Python is in scripts/ports, the numbers are made by scripts/reference_ports.py.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod convnext;
mod generative;
mod graphs;
mod language;
mod learning;
mod swin;
mod translation;
mod wavenet;

use std::path::Path;
use std::sync::OnceLock;

use kiln::nn::StateDict;
use kiln::prelude::*;

/// A model of scripts/ports: what it was given, its state dicts and its losses.
struct Port {
    device: Device,
    all: StateDict,
}

impl Port {
    fn open(name: &str) -> Self {
        static ALL: OnceLock<(Device, StateDict)> = OnceLock::new();
        let (device, all) = ALL.get_or_init(|| {
            let device = Device::open().unwrap();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/ports.safetensors");
            let all = store::load_tensors(&device, path).unwrap().0;
            (device, all)
        });
        Self { device: device.clone(), all: below(all, &format!("{name}.")) }
    }

    fn given<const N: usize>(&self, names: [&str; N]) -> [Tensor; N] {
        names.map(|name| self.all[&format!("given.{name}")].clone())
    }

    /// What `make` makes, with PyTorch's first weights.
    fn model<M: Module>(&self, make: impl FnOnce(&mut Init) -> M) -> M {
        let model = make(&mut Init::new(&self.device, 0));
        model.load_state_dict(&below(&self.all, "before.")).unwrap();
        model
    }

    /// Takes five steps, which give their losses, and compares losses, and then parameters and buffers, with PyTorch's.
    fn train<const N: usize>(&self, model: &dyn Module, mut step: impl FnMut(usize) -> Result<[Tensor; N]>) {
        let losses: Vec<Tensor> = (0..5).flat_map(|t| step(t).unwrap()).collect();
        let losses = Tensor::stack(&losses, 0).reshape([5, N]);
        close("losses", &losses, &self.all["losses"], 1e-5);
        for (path, value) in model.state_dict() {
            let want = self.all.get(&format!("after.{path}")).unwrap_or_else(|| &self.all[&format!("before.{path}")]);
            close(&path, &value, want, 1e-4);
        }
    }
}

fn below(all: &StateDict, prefix: &str) -> StateDict {
    let strip = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_string(), tensor.clone()));
    all.iter().filter_map(strip).collect()
}

/// |got − want| / (1 + |want|) is at most `tolerance`.
fn close(name: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.shape().unwrap(), want.shape().unwrap(), "{name}");
    let (got, want) = (got.to_vec::<f64>().unwrap(), want.to_vec::<f64>().unwrap());
    let error = |(g, w): (&f64, &f64)| (g - w).abs() / (1.0 + w.abs());
    let worst =
        got.iter().zip(&want).map(error).fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
    assert!(worst <= tolerance, "{name}: an error of {worst:.1e}: {got:?} is not {want:?}");
}
