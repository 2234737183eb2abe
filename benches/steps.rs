//! Training steps of three small models, timed; the numbers of the README come from here.
//!
//!     cargo bench --bench steps            # all of them
//!     cargo bench --bench steps -- gpt     # one of them
//!
//! Data and initial weights are integer hashes of the index, so other frameworks can run the same steps and must get
//! the same losses. The first step includes planning and compiling; the rest is wall time per step, without reads.

#![allow(missing_docs)]

use kiln::prelude::*;
use models::GptSize;
use std::time::Instant;

#[path = "../crates/cli/src/bench/models.rs"]
mod models;

/// Times steps; where PyTorch's loss after so many steps of the same model is known, asks for the same.
fn time(
    device: &Device,
    name: &str,
    known: Option<(usize, f32)>,
    mut step: impl FnMut() -> Result<Tensor>,
) -> Result<()> {
    let (steps, want) = known.unwrap_or_default();
    let (count, kept) = (std::cell::Cell::new(0), std::cell::RefCell::new(None));
    let mut step = || {
        let loss = step()?;
        count.set(count.get() + 1);
        if count.get() == steps {
            kept.replace(Some(loss.clone()));
        }
        Ok::<Tensor, Error>(loss)
    };
    let start = Instant::now();
    let first_loss = step()?.item()?;
    let first = start.elapsed().as_secs_f64();
    for _ in 0..4 {
        step()?.item()?;
    }
    let before = device.counters();
    let mut times = Vec::new();
    let mut last = 0.0;
    for _ in 0..7 {
        let start = Instant::now();
        let mut loss = step()?;
        for _ in 0..3 {
            loss = step()?;
        }
        last = loss.item()?;
        times.push(start.elapsed().as_secs_f64() * 1e3 / 4.0);
    }
    let after = device.counters();
    // what a step costs the host: everything up to the submission, nothing of the adapter's work
    let mut host = Vec::new();
    for _ in 0..9 {
        device.wait()?;
        let start = Instant::now();
        step()?;
        host.push(start.elapsed().as_secs_f64() * 1e6);
    }
    device.wait()?;
    host.sort_by(f64::total_cmp);
    times.sort_by(f64::total_cmp);
    println!(
        "{name}: {:.1} ms a step (least {:.1}), first {first:.2} s, {} dispatches ({:.0} µs on the host), loss {first_loss:.5} -> {last:.5}, new since warm-up: {} pipelines, {} bind groups, {} buffers; {:.1} MB",
        times[3],
        times[0],
        (after.dispatches - before.dispatches) / 28,
        host[4],
        after.pipelines - before.pipelines,
        after.bind_groups - before.bind_groups,
        after.buffers - before.buffers,
        after.live_bytes as f64 / 1e6,
    );
    if std::env::args().any(|a| a == "--table") {
        device.profile(true);
        step()?.item()?;
        println!("{}", device.take_profile().table());
        device.profile(false);
    }
    while count.get() < steps {
        step()?;
    }
    if let Some(loss) = kept.take() {
        let loss = loss.item()?;
        println!("{name}: loss {loss:.5} after {steps} steps, PyTorch's {want:.5}");
        assert!((loss - want).abs() < 1e-3 * want, "{name} does not learn what PyTorch does");
    }
    Ok(())
}

fn main() -> Result<()> {
    let device = Device::open()?;
    println!("{} ({})", device.caps().name, device.caps().driver);
    let wanted = |name: &str| !std::env::args().skip(1).any(|a| !a.starts_with('-') && a != name);
    if wanted("mlp") {
        time(&device, "mlp", Some((85, 0.32577)), models::mlp(&device, 128, DType::F32))?;
    }
    if wanted("cnn") {
        time(&device, "cnn", Some((37, 0.50356)), models::cnn(&device, 64, DType::F32))?;
    }
    for (name, layers, known) in
        [("gpt", 2, Some((21, 2.95176))), ("gpt4", 4, None)].into_iter().filter(|(name, ..)| wanted(name))
    {
        let size = GptSize { layers, width: 128, heads: 4, length: 64, vocabulary: 256, batch: 8 };
        time(&device, name, known, models::gpt(&device, size, DType::F32))?;
    }
    Ok(())
}
