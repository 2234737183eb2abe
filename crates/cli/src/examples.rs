//! `kiln train NAME` for the programs of the folder examples: each with its data, its own words and its bar.

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
example!(grammar, "../../../examples/grammar.rs");
example!(karate, "../../../examples/karate.rs");
example!(markov, "../../../examples/markov.rs");
example!(residual, "../../../examples/residual.rs");
example!(vae, "../../../examples/vae.rs");

/// Arguments of the examples that bring their data.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What first weights, data and their order are drawn from.
    #[arg(long, default_value_t = 42, value_parser = clap::value_parser!(u64).range(..1 << 31))]
    seed: u64,
    /// A few steps only, to see it run.
    #[arg(long)]
    quick: bool,
}

/// The examples that bring their data.
#[derive(clap::Subcommand)]
pub(crate) enum Example {
    /// Learn the digits with a small residual network.
    Residual(Args),
    /// Learn the embedded Reber grammar with an LSTM.
    Grammar(Args),
    /// Learn a random source of letters up to its entropy with a GPT.
    Markov(Args),
    /// Learn to write like Shakespeare's Coriolanus, letter by letter, with a GPT.
    Chars(Args),
    /// Learn from two members of a karate club where the others went, with a graph network.
    Karate(Args),
    /// Learn to tell malignant from benign tumours, in five-fold cross-validation.
    Cancer(Args),
    /// Learn to draw digits with a variational autoencoder.
    Vae(Args),
}

/// Trains and holds the figure against the example's bar; a quick one is only shown.
pub(crate) fn run(example: &Example) -> Result<()> {
    let device = Device::open()?;
    say(format_args!("On {}", device.caps().name));
    macro_rules! held {
        ($name:ident, $args:expr) => {{
            let figure = $name::run(&device, $args.seed, $args.quick)?;
            (figure, $name::BAR, $args.quick)
        }};
    }
    let (figure, bar, quick) = match example {
        Example::Residual(args) => held!(residual, args),
        Example::Grammar(args) => held!(grammar, args),
        Example::Markov(args) => held!(markov, args),
        Example::Chars(args) => held!(chars, args),
        Example::Karate(args) => held!(karate, args),
        Example::Cancer(args) => held!(cancer, args),
        Example::Vae(args) => held!(vae, args),
    };
    if quick {
        say(format_args!("{figure:.4}; trained to the end it is to reach {bar}"));
        return Ok(());
    }
    if figure >= bar {
        say(format_args!("{figure:.4}: the bar is {bar}"));
        return Ok(());
    }
    Err(Failure::Bar { figure, bar })
}
