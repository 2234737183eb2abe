//! `kiln train NAME` for the programs of the folder examples: each with its data, its own words and its bar.

use std::path::PathBuf;

use kiln::prelude::*;

use crate::draw::say;
use crate::failure::{Failure, Result};

/// A file of the folder examples; its `main` is not used here.
macro_rules! example {
    ($name:ident, $path:literal) => {
        #[allow(dead_code)]
        #[path = $path]
        mod $name;
    };
}

example!(cancer, "../../../examples/cancer.rs");
example!(chars, "../../../examples/chars.rs");
example!(cifar10, "../../../examples/cifar10.rs");
example!(grammar, "../../../examples/grammar.rs");
example!(karate, "../../../examples/karate.rs");
example!(markov, "../../../examples/markov.rs");
example!(mnist, "../../../examples/mnist.rs");
example!(residual, "../../../examples/residual.rs");
example!(vae, "../../../examples/vae.rs");

/// Arguments of the examples.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What weights, data and their order are drawn from.
    #[arg(long, default_value_t = 42, value_parser = clap::value_parser!(u64).range(..1 << 31), allow_negative_numbers = true)]
    seed: u64,
    /// A few steps only, to see it run.
    #[arg(long)]
    quick: bool,
    /// Only show the model: what each layer makes, holds and costs.
    #[arg(long)]
    summary: bool,
}

/// Arguments of the examples whose data you bring.
#[derive(clap::Args)]
pub(crate) struct FolderArgs {
    /// The folder with the files.
    #[arg(value_name = "DIR", required_unless_present = "summary")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    args: Args,
}

/// The examples.
#[derive(clap::Subcommand)]
pub(crate) enum Example {
    /// Learn the digits with a small residual network.
    Residual(Args),
    /// Learn the embedded Reber grammar with an LSTM.
    Grammar(Args),
    /// Learn a random source of letters up to its entropy with a GPT.
    Markov(Args),
    /// Learn to write like Shakespeare's Coriolanus, by letters, with a GPT.
    Chars(Args),
    /// Learn who went where when a karate club split, from two members.
    Karate(Args),
    /// Learn to tell malignant from benign tumours, over five folds.
    Cancer(Args),
    /// Learn to draw digits with a variational autoencoder.
    Vae(Args),
    /// Learn to read MNIST's handwritten digits, from its files.
    Mnist(FolderArgs),
    /// Learn to tell Fashion-MNIST's ten kinds of clothes, from its files.
    Fashion(FolderArgs),
    /// Learn to tell CIFAR-10's ten kinds of things, from its binary files.
    Cifar10(FolderArgs),
}

impl Example {
    fn args(&self) -> &Args {
        match self {
            Example::Residual(args)
            | Example::Grammar(args)
            | Example::Markov(args)
            | Example::Chars(args)
            | Example::Karate(args)
            | Example::Cancer(args)
            | Example::Vae(args) => args,
            Example::Mnist(files) | Example::Fashion(files) | Example::Cifar10(files) => &files.args,
        }
    }

    /// Trains, and gives the figure that was reached and the bar.
    fn train(&self, device: &Device) -> kiln::Result<(f64, f64)> {
        let Args { seed, quick, .. } = *self.args();
        let folder = |files: &FolderArgs| files.folder.clone().unwrap_or_default();
        Ok(match self {
            Example::Residual(_) => (residual::run(device, seed, quick)?, residual::BAR),
            Example::Grammar(_) => (grammar::run(device, seed, quick)?, grammar::BAR),
            Example::Markov(_) => (markov::run(device, seed, quick)?, markov::BAR),
            Example::Chars(_) => (chars::run(device, seed, quick)?, chars::BAR),
            Example::Karate(_) => (karate::run(device, seed, quick)?, karate::BAR),
            Example::Cancer(_) => (cancer::run(device, seed, quick)?, cancer::BAR),
            Example::Vae(_) => (vae::run(device, seed, quick)?, vae::BAR),
            Example::Mnist(files) => (mnist::run(device, seed, quick, &folder(files))?, mnist::BAR),
            Example::Fashion(files) => (mnist::run(device, seed, quick, &folder(files))?, mnist::FASHION_BAR),
            Example::Cifar10(files) => (cifar10::run(device, seed, quick, &folder(files))?, cifar10::BAR),
        })
    }

    /// The model, over one example.
    fn summary(&self, device: &Device) -> kiln::Result<nn::Summary> {
        let init = &mut Init::new(device, self.args().seed);
        let zeros = |shape: &[usize]| Tensor::zeros(device, shape);
        let letters = |count: usize| Tensor::zeros(device, [1, count]).cast(DType::I32);
        fn of(model: &impl Forward, x: &Tensor) -> kiln::Result<nn::Summary> {
            model.eval();
            nn::summary(model, &model.forward(x))
        }
        match self {
            Example::Residual(_) => {
                let model = residual::ResNet::new(init);
                model.eval();
                nn::summary(&model, &model.forward(&zeros(&[1, 64])))
            }
            Example::Grammar(_) => {
                let model = grammar::model(init);
                nn::summary(&model, &grammar::logits(&model, &letters(grammar::LENGTH)))
            }
            Example::Markov(_) => of(&markov::gpt(init), &letters(markov::LENGTH)),
            Example::Chars(_) => {
                let count = data::tokens::Chars::new(chars::TEXT).vocab_size();
                of(&chars::gpt(count, init), &letters(chars::LENGTH))
            }
            Example::Karate(_) => {
                let model = karate::Gcn::new(init);
                let edges = karate::edges(device);
                nn::summary(&model, &model.forward(&Tensor::eye(device, karate::MEMBERS), &edges))
            }
            Example::Cancer(_) => of(&cancer::mlp(init), &zeros(&[1, cancer::FEATURES])),
            Example::Vae(_) => {
                let model = vae::Vae::new(init);
                nn::summary(&model, &model.elbo(&zeros(&[1, 64]), &zeros(&[1, vae::LATENT])))
            }
            Example::Mnist(_) | Example::Fashion(_) => of(&mnist::Cnn::new(init), &zeros(&[1, 1, 28, 28])),
            Example::Cifar10(_) => of(&cifar10::resnet9(32, init), &zeros(&[1, 3, 32, 32])),
        }
    }
}

/// Trains and holds the figure against the example's bar; a quick one is only shown.
pub(crate) fn run(example: &Example) -> Result<()> {
    let device = Device::open()?;
    if example.args().summary {
        say(example.summary(&device)?.to_string().trim_end());
        return Ok(());
    }
    say(format_args!("On {}", device.caps().name));
    let (figure, bar) = example.train(&device)?;
    if example.args().quick {
        say(format_args!("{figure:.4}; trained to the end it is to reach {bar}"));
        return Ok(());
    }
    if figure >= bar {
        say(format_args!("{figure:.4}: the bar is {bar}"));
        return Ok(());
    }
    Err(Failure::Bar { figure, bar })
}
