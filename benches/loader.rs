//! Whether the data loader keeps a step fed: a CNN on 28×28 images that are cropped, turned and made noisy on threads.
//!
//!     cargo bench -p kiln --bench loader
//!
//! One epoch each, in turn, with 0, 1 and 2 threads; what is printed is the share of a step's time between asking for a
//! batch and having it, in how many steps that was not at once, and how long a thread needs for a batch: a device whose
//! step takes longer than that over the number of threads is kept fed, and then the share must be below 2 %. It counts
//! whatever takes the processor from the training thread meanwhile, a thread of the loader that it woke among it: on a
//! machine that does other work it says nothing.

#![allow(missing_docs)]

use kiln::data::augment::{Draw, Image, gaussian_noise, random_crop, random_hflip, random_rotation, stack};
use kiln::data::{Last, Source};
use kiln::prelude::*;
use kiln::train::{Callback, Step};
use std::ops::ControlFlow;
use std::time::Instant;

const IMAGES: usize = 4096;
const BATCH: usize = 64;

/// Time and waiting after the first steps, in which kernels are compiled.
#[derive(Default)]
struct Waiting {
    began: Option<f64>,
    seconds: f64,
    waited: Vec<f64>,
}

impl Callback for Waiting {
    fn on_step(&mut self, step: &Step) -> Result<ControlFlow<()>> {
        match self.began {
            None if step.step >= 8 => self.began = Some(step.seconds),
            None => {}
            Some(began) => {
                self.seconds = step.seconds - began;
                self.waited.push(step.waited);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn main() -> Result<()> {
    let device = Device::open()?;
    println!("{} ({})", device.caps().name, device.caps().driver);
    let pixels: Vec<u8> = (0..(IMAGES * 784) as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let on = device.clone();
    let changed = move |row: usize, draw: &mut Draw| {
        let image = Image::from_bytes(1, 28, 28, &pixels[row * 784..(row + 1) * 784])?;
        let image = random_hflip(random_crop(&image, 28, 28, 2, draw)?, 0.5, draw);
        Ok((gaussian_noise(random_rotation(&image, 10.0, draw), 0.05, draw), row as i32 % 10))
    };
    let collate = move |examples: Vec<(Image, i32)>| {
        let (images, labels): (Vec<_>, Vec<_>) = examples.into_iter().unzip();
        Ok((stack(&on, &images)?, Tensor::new(&on, labels)))
    };
    let loader = DataLoader::from_examples(IMAGES, changed, collate).batch_size(BATCH).shuffle(true).last(Last::Drop);

    let started = Instant::now();
    let made = loader.epoch(0).filter(Result::is_ok).count();
    let batch = 1e3 * started.elapsed().as_secs_f64() / made as f64;
    println!("a batch of {BATCH} images takes a thread {batch:.2} ms");

    let memory: Vec<f32> = (0..IMAGES * 784).map(|i| (i % 251) as f32 / 250.0).collect();
    let labels: Vec<i32> = (0..IMAGES as i32).map(|i| i % 10).collect();
    let in_memory = TensorDataset::new(&device, (memory, [1, 28, 28]), (labels, []))?;
    for _ in 0..3 {
        let (step, _) = measure(&device, "in memory, unchanged", &in_memory)?;
        for workers in [0, 1, 2] {
            let (_, share) = measure(&device, &format!("{workers} threads"), &loader.clone().workers(workers))?;
            match step * workers as f64 > batch {
                true => assert!(share < 0.02, "the device was not kept fed"),
                false => println!("    {workers} threads make fewer batches than the device takes"),
            }
        }
    }
    Ok(())
}

/// Milliseconds of a step, and the share of them in which data was waited for.
fn measure(device: &Device, name: &str, source: &impl Source<Batch = (Tensor, Tensor)>) -> Result<(f64, f64)> {
    let mut init = Init::new(device, 1);
    let model = Sequential::new()
        .push(Conv2d::new(1, 16, 3, &mut init).padding(1))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Conv2d::new(16, 32, 3, &mut init).padding(1))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Flatten::default())
        .push(Linear::new(32 * 49, 10, &mut init));
    let mut adam = Adam::new(&model, 1e-3);
    let mut waiting = Waiting::default();
    let trainer = Trainer::new(1).progress(false).callback(&mut waiting);
    trainer.fit(&model, &mut adam, source, None, |(x, y)| Outcome::classification(&model.forward(x), y))?;
    let share = waiting.waited.iter().sum::<f64>() / waiting.seconds;
    let step = 1e3 * waiting.seconds / waiting.waited.len() as f64;
    waiting.waited.sort_by(f64::total_cmp);
    let late = waiting.waited.iter().filter(|&&waited| waited > 1e-4).count();
    let longest = 1e3 * waiting.waited.last().copied().unwrap_or(0.0);
    println!(
        "{name}: {step:.1} ms a step, {:.2} % of it waiting for data; {late} of {} steps waited more than 0.1 ms, {longest:.1} ms at \
         most",
        100.0 * share,
        waiting.waited.len()
    );
    Ok((step, share))
}
