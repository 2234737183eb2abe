//! A variational autoencoder learns to draw digits, and draws a page of new ones: digits.svg.
//!
//!     cargo run --release --example vae
//!
//! Source: Kingma & Welling 2014, "Auto-encoding variational Bayes", §3 and appendices B and C.

use std::fmt::Write as _;

use kiln::loss::Reduction;
use kiln::prelude::*;

/// The evidence lower bound of the held-out digits, in nats a digit. The best that can be said of each pixel alone is
/// -27.1; as pixels are grey, a model that knew them all would still be at -13.7.
pub(crate) const BAR: f64 = -24.5;

pub(crate) const LATENT: usize = 8;

#[derive(Module)]
pub(crate) struct Vae {
    encoder: Sequential,
    decoder: Sequential,
}

impl Vae {
    pub(crate) fn new(init: &mut Init) -> Self {
        let mut mlp = |inputs: usize, outputs: usize| {
            let first = Sequential::new().push(Linear::new(inputs, 128, init)).push(Gelu);
            first.push(Linear::new(128, 128, init)).push(Gelu).push(Linear::new(128, outputs, init))
        };
        Self { encoder: mlp(64, 2 * LATENT), decoder: mlp(LATENT, 64) }
    }

    /// ln p(x|z) − KL(q(z|x) ‖ N(0, 1)), the mean over `x` [batch, 64], with z = mean + deviation · `noise`.
    pub(crate) fn elbo(&self, x: &Tensor, noise: &Tensor) -> Tensor {
        let q = self.encoder.forward(x);
        let (mean, log_var) = (q.narrow(1, 0, LATENT), q.narrow(1, LATENT as i64, LATENT));
        let z = &mean + (&log_var * 0.5).exp() * noise;
        let wrong = BinaryCrossEntropy { reduction: Reduction::None, ..Default::default() };
        let fit = -wrong.loss(&self.decoder.forward(&z), x).sum_axes([1], false);
        let kl = (mean.square() + log_var.exp() - 1.0 - &log_var).sum_axes([1], false) * 0.5;
        (fit - kl).mean()
    }
}

/// A page of digits [count, 64], eight in a row, as SVG.
fn page(digits: &[f32]) -> String {
    let rows = digits.len() / 64 / 8;
    let mut svg =
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 80 {}\" width=\"640\">\n", 10 * rows);
    svg += "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n";
    for (i, ink) in digits.iter().enumerate().filter(|(_, ink)| **ink > 0.02) {
        let (digit, pixel) = (i / 64, i % 64);
        let (x, y) = (digit % 8 * 10 + pixel % 8 + 1, digit / 8 * 10 + pixel / 8 + 1);
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"1\" height=\"1\" fill-opacity=\"{ink:.2}\"/>");
    }
    svg + "</svg>\n"
}

/// Trains from `seed` and gives the bound on the held-out digits; the page of drawn ones is `picture`.
pub(crate) fn draw(device: &Device, seed: u64, quick: bool) -> Result<(f64, String)> {
    let (train, test) = data::digits::split(device)?;
    let model = Vae::new(&mut Init::new(device, seed));
    let (mut adam, rng) = (Adam::new(&model, 2e-3), Rng::new(device, seed));
    let epochs = if quick { 2 } else { 100 };
    let mut learn = adam.capture(|(x, noise): &(Tensor, Tensor)| -model.elbo(x, noise));
    for epoch in 0..epochs {
        learn.set_lr(schedule::cosine(2e-3, epoch, epochs, 0.0));
        for (x, _) in train.batches(64, seed << 32 | epoch as u64).drop_last() {
            learn.step(&(x, rng.normal([64, LATENT])))?;
        }
    }
    // eight draws of each digit's z
    let x = test.inputs();
    let x = Tensor::cat(&[&x; 8], 0);
    let bound = f64::from(model.elbo(&x, &rng.normal([8 * test.len(), LATENT])).item()?);
    let digits = model.decoder.forward(&rng.normal([64, LATENT])).sigmoid().to_vec::<f32>()?;
    println!("at least {bound:.2} nats a held-out digit");
    Ok((bound, page(&digits)))
}

/// Trains, writes digits.svg unless in a hurry, and gives the bound.
pub(crate) fn run(device: &Device, seed: u64, quick: bool) -> Result<f64> {
    let (bound, picture) = draw(device, seed, quick)?;
    if !quick {
        match std::fs::write("digits.svg", picture) {
            Ok(()) => println!("drew digits.svg"),
            Err(why) => println!("cannot write digits.svg: {why}"),
        }
    }
    Ok(bound)
}

fn main() -> Result<()> {
    let bound = run(&Device::open()?, 42, false)?;
    assert!(bound >= BAR, "{bound} is less than {BAR}");
    Ok(())
}
