//! The two models that `kiln train digits` knows.

use clap::ValueEnum;
use kiln::nn::StateDict;
use kiln::prelude::*;

/// Which model.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// Two linear layers with a ReLU between: 98.3 % of held-out images.
    Mlp,
    /// Two convolutions with norm and pooling, a linear layer: 98.9 %.
    Cnn,
}

impl Kind {
    /// A model with weights drawn from `init`.
    pub(crate) fn build(self, init: &mut Init) -> Box<dyn Forward> {
        match self {
            Kind::Mlp => Box::new(Mlp::new(init)),
            Kind::Cnn => Box::new(Cnn::new(init)),
        }
    }

    /// How many epochs it wants.
    pub(crate) fn epochs(self) -> usize {
        match self {
            Kind::Mlp => 30,
            Kind::Cnn => 15,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Mlp => "mlp",
            Kind::Cnn => "cnn",
        }
    }

    /// The model of that name.
    pub(crate) fn named(name: &str) -> Option<Kind> {
        [Kind::Mlp, Kind::Cnn].into_iter().find(|kind| kind.name() == name)
    }

    /// The model whose layers `dict` names.
    pub(crate) fn of(dict: &StateDict) -> Option<Kind> {
        [(Kind::Mlp, "hidden.weight"), (Kind::Cnn, "conv1.weight")]
            .into_iter()
            .find(|(_, layer)| dict.contains_key(*layer))
            .map(|(kind, _)| kind)
    }
}

#[derive(Module)]
struct Mlp {
    hidden: Linear,
    out: Linear,
}

impl Mlp {
    fn new(init: &mut Init) -> Self {
        Self { hidden: Linear::new(64, 128, init), out: Linear::new(128, 10, init) }
    }
}

impl Forward for Mlp {
    /// `x` [batch, 64] → logits [batch, 10].
    fn forward(&self, x: &Tensor) -> Tensor {
        self.out.forward(&self.hidden.forward(x).relu())
    }
}

/// The convolutions have no bias: batch norm takes the mean out again.
#[derive(Module)]
struct Cnn {
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
    out: Linear,
    pool: MaxPool2d,
}

impl Cnn {
    fn new(init: &mut Init) -> Self {
        Self {
            conv1: Conv2d::new(1, 16, 3, init).padding(1).no_bias(),
            norm1: BatchNorm2d::new(16, init),
            conv2: Conv2d::new(16, 32, 3, init).padding(1).no_bias(),
            norm2: BatchNorm2d::new(32, init),
            out: Linear::new(32 * 2 * 2, 10, init),
            pool: MaxPool2d::new(2),
        }
    }
}

impl Forward for Cnn {
    /// `x` [batch, 64] → logits [batch, 10].
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = x.reshape([-1, 1, 8, 8]);
        let x = self.pool.forward(&self.norm1.forward(&self.conv1.forward(&x)).relu()); // [batch, 16, 4, 4]
        let x = self.pool.forward(&self.norm2.forward(&self.conv2.forward(&x)).relu()); // [batch, 32, 2, 2]
        self.out.forward(&x.flatten(1, -1))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::predict::{Answers, load};
    use crate::train::{Settings, Training};

    /// Trains with the program's own settings and five seeds, on the fixed split.
    fn accuracies(model: Kind) -> [f64; 5] {
        let device = Device::open().unwrap();
        let (train, test) = data::digits::split(&device).unwrap();
        [0, 1, 2, 3, 4].map(|seed| {
            let settings = Settings { model, epochs: model.epochs(), batch: 64, lr: 5e-3, seed };
            let mut training = Training::new(&device, settings);
            training.fit(training.settings.trainer(), &train, &test).unwrap();
            training.confusion(&test).unwrap().accuracy()
        })
    }

    /// The mean is at least `goal`, the worst at most 0.8 points lower.
    fn reaches(goal: f64, accuracies: &[f64; 5]) {
        let mean = accuracies.iter().sum::<f64>() / 5.0;
        let worst = accuracies.iter().copied().fold(1.0, f64::min);
        println!("mean {mean:.4}, worst {worst:.4} of {accuracies:.4?}");
        assert!(mean >= goal && worst >= mean - 0.008, "mean {mean:.4} of {accuracies:.4?}");
    }

    #[test]
    fn the_mlp_reads_97_percent() {
        reaches(0.970, &accuracies(Kind::Mlp));
    }

    #[test]
    fn the_cnn_reads_98_3_percent() {
        reaches(0.983, &accuracies(Kind::Cnn));
    }

    #[test]
    fn a_saved_model_says_the_same_after_loading() {
        let device = Device::open().unwrap();
        let (train, test) = data::digits::split(&device).unwrap();
        for kind in [Kind::Mlp, Kind::Cnn] {
            let settings = Settings { model: kind, epochs: 1, batch: 64, lr: 5e-3, seed: 9 };
            let mut training = Training::new(&device, settings);
            training.fit(training.settings.trainer(), &train, &test).unwrap();
            training.model.eval();
            let path =
                std::env::temp_dir().join(format!("kiln-cli-{}-{}.safetensors", kind.name(), std::process::id()));
            store::save(&training.model, &path).unwrap();
            let loaded = load(&device, &path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let (before, after) =
                (Answers::of(training.model.as_ref(), &test).unwrap(), Answers::of(loaded.as_ref(), &test).unwrap());
            assert!((0..before.truth.len()).all(|i| before.digit(i) == after.digit(i)), "{kind:?}");
        }
    }
}
