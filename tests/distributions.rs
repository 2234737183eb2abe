//! Distributions against torch.distributions, with gradients; draws by their moments. The numbers are made by
//! scripts/reference_distributions.py.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use kiln::distributions::{Bernoulli, Categorical, Normal};
use kiln::nn::StateDict;
use kiln::prelude::*;

/// What a distribution answers, by name.
type Answers<'a> = Vec<(&'static str, Box<dyn Fn(&[Tensor]) -> Tensor + 'a>)>;

struct Case {
    all: StateDict,
    name: &'static str,
}

impl Case {
    fn open(device: &Device, name: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/distributions.safetensors");
        Self { all: store::load_tensors(device, path).unwrap().0, name }
    }

    fn tensor(&self, key: &str) -> Tensor {
        self.all[&format!("{}.{key}", self.name)].clone()
    }

    fn list(&self, key: &str) -> Vec<Tensor> {
        (0..).map_while(|i| self.all.get(&format!("{}.{key}.{i}", self.name)).cloned()).collect()
    }

    fn check(&self, answers: Answers<'_>) {
        let params = self.list("param");
        for (call, answer) in answers {
            let got = answer(&params);
            self.close(call, &got, &self.tensor(call), 1e-5);
            let loss = (got * self.tensor(&format!("{call}.up"))).sum();
            for (got, want) in loss.grad(&params).unwrap().iter().zip(self.list(&format!("{call}.grad"))) {
                self.close(call, got, &want, 1e-4);
            }
        }
    }

    fn close(&self, call: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
        assert_eq!(got.shape().unwrap(), want.shape().unwrap(), "{} {call}", self.name);
        let (got, want) = (got.to_vec::<f64>().unwrap(), want.to_vec::<f64>().unwrap());
        for (g, w) in got.iter().zip(&want) {
            assert!((g - w).abs() <= tolerance * (1.0 + w.abs()), "{} {call}: {got:?} is not {want:?}", self.name);
        }
    }
}

#[test]
fn normals_are_pytorchs() {
    let device = Device::open().unwrap();
    for name in ["normal", "normal_number"] {
        let case = Case::open(&device, name);
        let (value, other) = (case.tensor("value"), case.list("other"));
        let of = |p: &[Tensor]| Normal::new(&p[0], &p[1]);
        case.check(vec![
            ("log_prob", Box::new(|p| of(p).log_prob(&value))),
            ("entropy", Box::new(|p| of(p).entropy())),
            ("kl_divergence", Box::new(|p| of(p).kl_divergence(&of(&other)))),
            ("cdf", Box::new(|p| of(p).cdf(&value))),
        ]);
        // PyTorch has no other way to find the inverse than the one that is tested here: there and back
        let p = of(&case.list("param"));
        case.close("icdf", &p.cdf(&p.icdf(&value.sigmoid())), &value.sigmoid(), 1e-5);
    }
}

#[test]
fn categoricals_are_pytorchs() {
    let device = Device::open().unwrap();
    let shapes =
        ["categorical_logits", "categorical_draws", "categorical_one", "categorical_large", "categorical_probs"];
    for name in shapes {
        let case = Case::open(&device, name);
        let (value, other) = (case.tensor("value"), case.list("other"));
        let of = |p: &[Tensor]| {
            if name.ends_with("probs") { Categorical::of_probs(&p[0]) } else { Categorical::of_logits(&p[0]) }
        };
        case.check(vec![
            ("log_prob", Box::new(|p| of(p).log_prob(&value))),
            ("entropy", Box::new(|p| of(p).entropy())),
            ("kl_divergence", Box::new(|p| of(p).kl_divergence(&of(&other)))),
        ]);
    }
}

#[test]
fn bernoullis_are_pytorchs() {
    let device = Device::open().unwrap();
    for name in ["bernoulli_logits", "bernoulli_wide", "bernoulli_probs"] {
        let case = Case::open(&device, name);
        let (value, other) = (case.tensor("value"), case.list("other"));
        let of = |p: &[Tensor]| {
            if name.ends_with("probs") { Bernoulli::of_probs(&p[0]) } else { Bernoulli::of_logits(&p[0]) }
        };
        case.check(vec![
            ("log_prob", Box::new(|p| of(p).log_prob(&value))),
            ("entropy", Box::new(|p| of(p).entropy())),
            ("kl_divergence", Box::new(|p| of(p).kl_divergence(&of(&other)))),
        ]);
    }
}

#[test]
fn draws_have_the_moments() {
    let (device, n) = (Device::open().unwrap(), 20_000usize);
    let rng = Rng::new(&device, 5);
    // five standard errors of the mean of n draws
    let near = |got: &Tensor, want: &[f64], deviation: f64| {
        let bound = 5.0 * deviation / (n as f64).sqrt();
        let got = got.cast(DType::F32).mean_axes(0, false).to_vec::<f64>().unwrap();
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < bound), "{got:?} is not {want:?}");
    };
    let normal = Normal::new(&Tensor::new(&device, [1.0, -2.0]), 0.5);
    let draws = normal.sample(n, &rng);
    assert_eq!(draws.shape().unwrap(), [n, 2]);
    near(&draws, &[1.0, -2.0], 0.5);
    near(&(draws - &normal.loc).square(), &[0.25, 0.25], 0.25 * 2f64.sqrt());

    let choice = Categorical::of_probs(&Tensor::new(&device, [[1.0, 3.0, 0.0], [0.0, 0.0, 2.0]]));
    let draws = choice.sample([n], &rng);
    assert_eq!((draws.shape().unwrap(), draws.dtype()), (Shape::new(&[n, 2]).unwrap(), DType::I32));
    near(&draws.one_hot(3).flatten(1, 2), &[0.25, 0.75, 0.0, 0.0, 0.0, 1.0], 0.5);
    let single = Categorical::of_logits(&Tensor::zeros(&device, [4]));
    assert_eq!(single.sample([0usize; 0], &rng).shape().unwrap().rank(), 0);
    assert_eq!(single.sample([2, 3], &rng).shape().unwrap(), [2, 3]);
    assert_eq!(single.sample([0, 3], &rng).shape().unwrap(), [0, 3]);
    assert!(single.sample([-1], &rng).eval().is_err());

    let coin = Bernoulli::of_probs(&Tensor::new(&device, [0.0, 0.2, 1.0]));
    near(&coin.sample(n, &rng), &[0.0, 0.2, 1.0], 0.5);
}

#[test]
fn gradients_flow_through_rsample_alone() {
    let device = Device::open().unwrap();
    let (loc, scale) = (Tensor::new(&device, [1.0, 2.0]), Tensor::new(&device, [0.5, 3.0]));
    let draw = |reparametrised: bool| {
        let (normal, rng) = (Normal::new(&loc, &scale), Rng::new(&device, 2));
        let x = if reparametrised { normal.rsample([0usize; 0], &rng) } else { normal.sample([0usize; 0], &rng) };
        let values = x.to_vec::<f32>().unwrap();
        let slopes = x.sum().grad(&[&loc, &scale]).unwrap();
        (values, slopes.iter().map(|g| g.to_vec::<f32>().unwrap()).collect::<Vec<_>>())
    };
    let (values, slopes) = draw(true);
    assert_eq!(slopes[0], [1.0, 1.0]);
    let noise = [(values[0] - 1.0) / 0.5, (values[1] - 2.0) / 3.0];
    assert!(slopes[1].iter().zip(noise).all(|(got, want)| (got - want).abs() < 1e-5));
    assert_eq!(draw(false), (values, vec![vec![0.0; 2]; 2]));
}

#[test]
fn certainties() {
    let device = Device::open().unwrap();
    let numbers = |t: Tensor| t.to_vec::<f32>().unwrap();
    // a class that cannot be: nothing is added to the entropy
    let never = Categorical::of_logits(&Tensor::new(&device, [0.0, f32::NEG_INFINITY]));
    assert_eq!(numbers(never.entropy()), [0.0]);
    assert_eq!(numbers(never.log_prob(&Tensor::new(&device, 1i32))), [f32::NEG_INFINITY]);
    let even = Categorical::of_probs(&Tensor::new(&device, [0.5, 0.5]));
    assert_eq!(numbers(even.kl_divergence(&never)), [f32::INFINITY]);
    assert!((numbers(never.kl_divergence(&even))[0] - 2f32.ln()).abs() < 1e-6);
    let sure = Bernoulli::of_probs(&Tensor::new(&device, [0.0, 1.0]));
    let likely = Bernoulli::of_probs(&Tensor::new(&device, [0.5, 0.5]));
    assert!(numbers(likely.kl_divergence(&sure)).iter().all(|v| *v == f32::INFINITY));
    assert!(numbers(sure.kl_divergence(&likely)).iter().all(|v| (v - 2f32.ln()).abs() < 1e-5));
    assert!(even.log_prob(&Tensor::new(&device, [0i32, 2])).to_vec::<f32>().is_err());
    assert!(even.log_prob(&Tensor::ones(&device, [2, 3]).sum_axes(5, false)).eval().is_err());
}
