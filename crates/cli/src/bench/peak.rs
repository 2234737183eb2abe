//! What this adapter gives at most, measured by kernels that do nothing else: multiply-adds, copies, reads and writes
//! over several sizes, and what a dispatch costs.

use std::time::Instant;

use kiln::gpu::{Buffer, Caps, CoopShape, Launch, Params, Program, Source, Step, fold_groups};
use kiln::prelude::*;

use super::clock::measure;
use super::data::Data;
use super::json::Object;
use super::subject::Subject;
use crate::failure::Result;

/// Bytes a second at one size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bandwidth {
    /// Bytes of each buffer.
    pub(crate) bytes: u64,
    /// GB/s, reads and writes both counted.
    pub(crate) copy: f64,
    pub(crate) read: Option<f64>,
    pub(crate) write: Option<f64>,
}

/// The measured peaks of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Peaks {
    /// GFLOP/s in f32.
    pub(crate) f32: f64,
    /// GFLOP/s in f16, where kernels may use it.
    pub(crate) f16: Option<f64>,
    /// GFLOP/s of matrix units, f16 operands and f32 sums, where there are any.
    pub(crate) matrix: Option<f64>,
    /// From small to large.
    pub(crate) bandwidth: Vec<Bandwidth>,
    /// µs that one more dispatch in a pass takes.
    pub(crate) dispatch: f64,
    /// µs from submitting one dispatch until its end is known.
    pub(crate) round_trip: f64,
}

impl Peaks {
    /// Measures them; reads and writes apart from copies only if `all`.
    pub(crate) fn measure(device: &Device, seconds: f64, all: bool) -> Result<Self> {
        let caps = device.caps();
        let (f32, f16) = (fma(device, seconds, false)?, caps.f16.then(|| fma(device, seconds, true)).transpose()?);
        let matrix = matrix_units(device, seconds)?;
        let largest = caps.max_binding.min(if caps.is_cpu() { 64 << 20 } else { 1 << 30 });
        let sizes = [64 << 10, 1 << 20, 8 << 20, 64 << 20, 256 << 20, 1 << 30];
        let mut bandwidth = Vec::new();
        for bytes in sizes.into_iter().filter(|&bytes| bytes <= largest) {
            let copy = 2.0 * stream(device, seconds, COPY, bytes)?;
            let read = all.then(|| stream(device, seconds, READ, bytes)).transpose()?;
            let write = all.then(|| stream(device, seconds, WRITE, bytes)).transpose()?;
            bandwidth.push(Bandwidth { bytes, copy, read, write });
        }
        let (dispatch, round_trip) = launches(device, seconds)?;
        Ok(Self { f32, f16, matrix, bandwidth, dispatch, round_trip })
    }

    /// GFLOP/s for elements of `dtype`, by whatever unit is fastest.
    pub(crate) fn rate(&self, dtype: DType) -> f64 {
        let half = self.f16.into_iter().chain(self.matrix).filter(|_| dtype == DType::F16);
        half.fold(self.f32, f64::max)
    }

    /// GB/s of copies whose two buffers have `bytes` together, so that what fits into a cache is held against the cache.
    pub(crate) fn copy(&self, bytes: f64) -> f64 {
        let fits = self.bandwidth.iter().find(|size| 2.0 * size.bytes as f64 >= bytes);
        fits.or(self.bandwidth.last()).map_or(f64::INFINITY, |size| size.copy)
    }

    /// Milliseconds that so much work takes at least, and what bounds it.
    pub(crate) fn least(&self, flops: f64, bytes: f64, dtype: DType, dispatches: u64) -> (f64, &'static str) {
        let bounds = [
            (flops / self.rate(dtype) / 1e6, "compute"),
            (bytes / self.copy(bytes) / 1e6, "memory"),
            (self.dispatch * dispatches as f64 / 1e3, "launches"),
        ];
        bounds.into_iter().fold((0.0, "memory"), |most, bound| if bound.0 > most.0 { bound } else { most })
    }

    /// As the members of a JSON object.
    pub(crate) fn write(&self, out: &mut Object) {
        out.text("kind", "peaks").number("f32_gflops", self.f32);
        out.maybe("f16_gflops", self.f16).maybe("matrix_gflops", self.matrix).number("dispatch_us", self.dispatch);
        out.number("round_trip_us", self.round_trip);
        for size in &self.bandwidth {
            let name = size_name(size.bytes);
            out.number(&format!("copy_gbs_{name}"), size.copy);
            out.maybe(&format!("read_gbs_{name}"), size.read).maybe(&format!("write_gbs_{name}"), size.write);
        }
    }
}

/// 64KiB, 8MiB, 1GiB.
pub(crate) fn size_name(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{}GiB", b >> 30),
        b if b >= 1 << 20 => format!("{}MiB", b >> 20),
        b => format!("{}KiB", b >> 10),
    }
}

const COOP: &str = include_str!("wgsl/coop.wgsl");
const FMA: &str = include_str!("wgsl/fma.wgsl");
const COPY: (&str, &str, u64) = ("copy", include_str!("wgsl/copy.wgsl"), 1);
const READ: (&str, &str, u64) = ("read", include_str!("wgsl/read.wgsl"), 8);
const WRITE: (&str, &str, u64) = ("write", include_str!("wgsl/write.wgsl"), 1);

/// Every kernel of this file with every specialisation, so that tests can translate them.
#[cfg(test)]
pub(crate) fn sources() -> Vec<Source> {
    let half = |source: Source| source.alias("T", "f16").alias("V", "vec4<f16>");
    let fma = Source::new("fma", FMA);
    let streams = [COPY, READ, WRITE].map(|(name, text, _)| Source::new(name, text));
    [fma.clone(), half(fma)].into_iter().chain(streams).collect()
}

fn workgroup(device: &Device) -> u32 {
    if device.caps().is_cpu() { 64 } else { 256.min(device.caps().max_invocations) }
}

/// The time in ms of a program, close to its best: a peak is what the adapter can do, not what it did meanwhile.
fn time(device: &Device, mut program: Program, seconds: f64) -> Result<f64> {
    let run = Box::new(move || Ok(program.run(&[], &[], &[])?));
    let verify = Box::new(|| Ok(0.0));
    let mut subject = Subject { run, verify, tolerance: 0.0, variant: String::new() };
    let mut best = f64::INFINITY;
    let start = Instant::now();
    for _ in 0..3 {
        best = best.min(measure(device, &mut subject, seconds / 3.0)?.shown().0.p20);
        if start.elapsed().as_secs_f64() > 10.0 * seconds {
            break; // a run takes longer than what was asked for
        }
    }
    Ok(best.max(1e-6))
}

/// GFLOP/s of multiply-adds.
fn fma(device: &Device, seconds: f64, half: bool) -> Result<f64> {
    let wg = workgroup(device);
    let groups = if device.caps().is_cpu() { 256 } else { 4096 };
    let x = device.upload(&[0.5f32, 0.25, 0.75, 0.0].map(f32::to_le_bytes).concat(), "peak")?;
    let out = device.alloc(u64::from(4 * wg * groups), "peak")?;
    let source = Source::new("fma", FMA).constant("WG", format!("{wg}u"));
    let source = if half { source.alias("T", "f16").alias("V", "vec4<f16>") } else { source };
    rate(device, seconds, &source, groups, [&x, &out], 32.0 * f64::from(wg * groups))
}

/// GFLOP/s of a kernel that does `flops` a round, the best over numbers of rounds: from those that the slowest adapter
/// does at once to those that let the fastest forget the launch.
fn rate(
    device: &Device,
    seconds: f64,
    source: &Source,
    groups: u32,
    [x, out]: [&Buffer; 2],
    flops: f64,
) -> Result<f64> {
    let mut best = 0.0f64;
    for rounds in [64, 512, 4096, 16_384] {
        let launch = Launch::new(source.clone(), Params::new().u32(rounds), [groups, 1, 1]);
        let step = Step::new(device, &launch, &[("x", x), ("out", out)])?;
        let ms = time(device, Program::new(device, vec![step])?, seconds / 4.0)?;
        best = best.max(flops * f64::from(rounds) / ms / 1e6);
        if ms > 10.0_f64.min(250.0 * seconds) {
            break;
        }
    }
    Ok(best)
}

/// The fragment sizes that matrix units have for f16 operands and f32 sums; a subgroup must have one size.
fn fragments(caps: &Caps) -> Option<(Vec<u32>, u32)> {
    let sizes: Vec<u32> = [8, 16]
        .into_iter()
        .filter(|&size| caps.has_coop(CoopShape { size, f16_operands: true, f16_accumulator: false }))
        .collect();
    let (least, most) = caps.subgroup?;
    (caps.f16 && least == most && !sizes.is_empty()).then_some((sizes, most))
}

fn coop(size: u32, lanes: u32) -> Source {
    let source = Source::new(format!("coop{size}"), COOP).constant("WG", format!("{lanes}u"));
    let fragment = |elem: &str, role: &str| format!("coop_mat{size}x{size}<{elem}, {role}>");
    let source = source.constant("SIZE", format!("{size}u")).alias("FragA", &fragment("f16", "A"));
    source.alias("FragB", &fragment("f16", "B")).alias("FragC", &fragment("f32", "C"))
}

/// GFLOP/s of matrix units.
fn matrix_units(device: &Device, seconds: f64) -> Result<Option<f64>> {
    let Some((sizes, lanes)) = fragments(device.caps()) else { return Ok(None) };
    let groups = if device.caps().is_cpu() { 16 } else { 4096 };
    let x = device.upload(&Data::new(1, DType::F16).bytes(512)?, "peak")?;
    let out = device.alloc(u64::from(4 * 4 * 256 * groups), "peak")?;
    let mut best = 0.0f64;
    for size in sizes {
        let flops = 8.0 * f64::from(size).powi(3) * f64::from(groups);
        best = best.max(rate(device, seconds, &coop(size, lanes), groups, [&x, &out], flops)?);
    }
    Ok(Some(best))
}

/// GB/s of one stream through `bytes`.
fn stream(device: &Device, seconds: f64, kernel: (&str, &'static str, u64), bytes: u64) -> Result<f64> {
    let (name, text, each) = kernel;
    let wg = workgroup(device);
    let vectors = bytes / 16;
    let x = filled(device, bytes)?;
    let out = device.zeroed(bytes, "peak")?;
    let source = Source::new(name.to_owned(), text).constant("WG", format!("{wg}u"));
    let groups = fold_groups(vectors.div_ceil(each * u64::from(wg)));
    let launch = Launch::new(source, Params::new().u32(vectors as u32), groups);
    // Several in one submission, or a small size would measure the round trip.
    let repeats = ((32 << 20) / bytes).clamp(1, 64);
    let step = Step::new(device, &launch, &[("x", &x), ("out", &out)])?;
    let steps = (0..repeats).map(|_| step.clone()).collect();
    let ms = time(device, Program::new(device, steps)?, seconds)?;
    Ok((bytes * repeats) as f64 / ms / 1e6)
}

/// A buffer of random numbers, the same megabyte again and again.
fn filled(device: &Device, bytes: u64) -> Result<Buffer> {
    let chunk = Data::new(1, DType::F32).bytes(bytes.min(1 << 20) as usize / 4)?;
    let buffer = device.alloc(bytes, "peak")?;
    for at in (0..bytes).step_by(chunk.len()) {
        device.write(&buffer, at, &chunk)?;
    }
    Ok(buffer)
}

/// µs of one more dispatch, and of a dispatch that is waited for.
fn launches(device: &Device, seconds: f64) -> Result<(f64, f64)> {
    let x = filled(device, 64 << 10)?;
    let out = device.zeroed(64 << 10, "peak")?;
    let launch = Launch::new(Source::new("copy", COPY.1), Params::new().u32(1), [1, 1, 1]);
    let step = Step::new(device, &launch, &[("x", &x), ("out", &out)])?;
    let start = |count: usize| Program::new(device, vec![step.clone(); count]);
    let wall = |mut program: Program| -> Result<f64> {
        let mut best = f64::INFINITY;
        let begun = Instant::now();
        let mut rounds = 0;
        while rounds < 5 || begun.elapsed().as_secs_f64() < seconds / 2.0 {
            let start = Instant::now();
            program.run(&[], &[], &[])?;
            device.wait()?;
            best = best.min(start.elapsed().as_secs_f64() * 1e6);
            rounds += 1;
        }
        Ok(best)
    };
    let (one, many) = (wall(start(1)?)?, wall(start(257)?)?);
    Ok(((many - one).max(0.0) / 256.0, one))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_peak_kernel_compiles_where_its_types_are_there() {
        let device = Device::open().unwrap();
        for (i, source) in sources().into_iter().enumerate() {
            assert!(device.kernel(&source).is_ok() || (i == 1 && !device.caps().f16), "{}", source.name());
        }
        assert_eq!(matrix_units(&device, 0.001).unwrap().is_some(), fragments(device.caps()).is_some());
    }

    #[test]
    fn the_nearest_larger_size_bounds_a_working_set() {
        let size = |bytes, copy| Bandwidth { bytes, copy, read: None, write: None };
        let bandwidth = vec![size(1 << 20, 100.0), size(64 << 20, 10.0)];
        let peaks = Peaks { f32: 50.0, f16: None, matrix: None, bandwidth, dispatch: 2.0, round_trip: 50.0 };
        assert_eq!([1e6, 4e6, 1e9].map(|bytes| peaks.copy(bytes)), [100.0, 10.0, 10.0]);
        assert_eq!(peaks.least(1e9, 1e6, DType::F32, 1), (20.0, "compute"));
        assert_eq!(peaks.least(1e6, 1e9, DType::F32, 1), (100.0, "memory"));
        assert_eq!(peaks.least(1.0, 1.0, DType::F32, 1000), (2.0, "launches"));
    }
}
