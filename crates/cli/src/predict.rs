//! `kiln predict`: what a saved model says to held-out images.

use std::path::PathBuf;

use kiln::prelude::*;

use crate::digits::Kind;
use crate::draw::{Ink, Tile, gallery, say};
use crate::failure::{Failure, Result};

/// Arguments of `kiln predict`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A model that `kiln train digits` has saved.
    model: PathBuf,
    /// How many images to show.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    count: u16,
}

/// Draws images from the held-out part with prediction, probability and truth.
pub(crate) fn run(args: &Args) -> Result<()> {
    let ink = Ink::stdout();
    let device = Device::open()?;
    let model = load(&device, &args.model)?;
    let (_, test) = data::digits::split(&device)?;
    let answers = Answers::of(model.as_ref(), &test)?;

    let all = answers.truth.len();
    let shown = usize::from(args.count).min(all);
    let tiles: Vec<Tile> = (0..shown).map(|i| answers.tile(ink, i * all / shown)).collect();
    say(gallery(&tiles, 2 * SIDE, 4).trim_end_matches('\n'));
    let right = (0..all).filter(|&i| answers.digit(i).0 == answers.truth[i]).count();
    say(format_args!("\n{right} of {all} held-out images read right: {:.1} %", 100.0 * right as f64 / all as f64));
    Ok(())
}

/// The model of the file, in evaluation mode. Which one it is, its layers tell.
pub(crate) fn load(device: &Device, path: &PathBuf) -> Result<Box<dyn Forward>> {
    let (dict, _) = store::load_tensors(device, path)?;
    let none = || Failure::NotAModel { path: path.clone(), why: "no layer of it has a name that is known here".into() };
    let model = Kind::of(&dict).ok_or_else(none)?.build(&mut Init::new(device, 0));
    model.load_state_dict(&dict).map_err(|e| Failure::NotAModel { path: path.clone(), why: e.to_string() })?;
    model.eval();
    Ok(model)
}

const SIDE: usize = 8;
const CLASSES: usize = 10;

/// What a model says to every image of a set.
pub(crate) struct Answers {
    pixels: Vec<f32>,
    probabilities: Vec<f32>,
    pub(crate) truth: Vec<i32>,
}

impl Answers {
    pub(crate) fn of(model: &dyn Forward, set: &TensorDataset) -> Result<Self> {
        let x = set.inputs();
        let probabilities = model.forward(&x).softmax(-1);
        Ok(Self { pixels: x.to_vec()?, probabilities: probabilities.to_vec()?, truth: set.labels() })
    }

    /// The most probable digit of image `i`, and its probability.
    pub(crate) fn digit(&self, i: usize) -> (i32, f32) {
        let row = &self.probabilities[i * CLASSES..(i + 1) * CLASSES];
        let best = (0..CLASSES).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0);
        (best as i32, row[best])
    }

    /// The rows of image `i`.
    pub(crate) fn picture(&self, i: usize) -> Vec<Vec<f32>> {
        self.pixels[i * SIDE * SIDE..(i + 1) * SIDE * SIDE].chunks(SIDE).map(<[f32]>::to_vec).collect()
    }

    fn tile(&self, ink: Ink, i: usize) -> Tile {
        let ((digit, probability), truth) = (self.digit(i), self.truth[i]);
        let answer = format!("{digit}  {:.1} %", 100.0 * probability);
        let verdict = if digit == truth { "right".to_owned() } else { format!("wrong, is a {truth}") };
        let coloured = if digit == truth { ink.right(&verdict) } else { ink.wrong(&verdict) };
        Tile {
            image: ink.image(&self.pixels[i * SIDE * SIDE..(i + 1) * SIDE * SIDE], SIDE),
            caption: vec![(ink.strong(&answer), answer.len()), (coloured, verdict.len())],
        }
    }
}
