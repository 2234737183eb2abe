//! `kiln bench wgsl`: a WGSL file of the user's own. What it binds is read from the text.

use std::fmt::Write as _;
use std::path::PathBuf;

use half::f16;
use kiln::gpu::{Dispatch, Entry, Resource, ResourceKind, Slice, Wgsl};
use kiln::prelude::*;

use super::clock::{Times, measure};
use super::json::Object;
use super::models::hash;
use super::row::{Machine, round};
use super::subject::Subject;
use super::{note, op, seconds};
use crate::draw::{Ink, say};
use crate::failure::{Failure, Result};

/// Arguments of `kiln bench wgsl`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file.
    file: PathBuf,
    /// The entry point [default: the only one].
    #[arg(long)]
    entry: Option<String>,
    /// A buffer for each binding, by group and binding: its type (f32, f16,
    /// i32, u32), its count, and what is in it: random (the default: floats
    /// in [-1, 1), whole numbers below the count), zero, index, a number.
    #[arg(long, value_name = "TYPE:COUNT[:random|zero|index|NUMBER]", verbatim_doc_comment)]
    bind: Vec<String>,
    /// A word of `var<immediate>`; give as many as it has.
    #[arg(long, value_name = "TYPE:NUMBER")]
    immediate: Vec<String>,
    /// Workgroups; `auto` has an invocation for each element of the first
    /// buffer that is written.
    #[arg(long, verbatim_doc_comment, default_value = "auto", value_name = "x,y,z|auto")]
    groups: String,
    /// Seconds.
    #[arg(long, default_value_t = 0.5, value_parser = seconds, allow_negative_numbers = true)]
    time: f64,
    /// One JSON line instead of a table.
    #[arg(long)]
    json: bool,
}

/// What goes into a buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fill {
    Random,
    Index,
    Value(f64),
}

/// A `--bind`.
#[derive(Clone, Debug, PartialEq)]
struct Bind {
    scalar: &'static str,
    count: usize,
    fill: Fill,
}

fn usage(text: String) -> Failure {
    Failure::Usage(text)
}

fn scalar(name: &str) -> Option<&'static str> {
    ["f32", "f16", "i32", "u32"].into_iter().find(|known| *known == name)
}

impl Bind {
    fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| usage(format!("--bind {text}: {why}; it is TYPE:COUNT, such as f32:1000000"));
        let parts: Vec<&str> = text.split(':').collect();
        let (name, count, fill) = match parts[..] {
            [name, count] => (name, count, "random"),
            [name, count, fill] => (name, count, fill),
            _ => return Err(wrong("not two or three parts")),
        };
        let scalar = scalar(name).ok_or_else(|| wrong("the type is none of f32, f16, i32 and u32"))?;
        let count: usize = count.parse().map_err(|_| wrong("the count is no whole number"))?;
        let fill = match fill {
            "random" => Fill::Random,
            "index" => Fill::Index,
            "zero" => Fill::Value(0.0),
            number => {
                Fill::Value(number.parse().map_err(|_| wrong("it is filled with random, zero, index or a number"))?)
            }
        };
        match count {
            0 => Err(wrong("a buffer of nothing cannot be bound")),
            n if n > i32::MAX as usize => Err(wrong("more elements than a kernel can count")),
            _ => Ok(Self { scalar, count, fill }),
        }
    }

    fn size(&self) -> usize {
        if self.scalar == "f16" { 2 } else { 4 }
    }

    /// The bytes of buffer number `seed`.
    fn bytes(&self, seed: u32) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let length = (self.count * self.size()).next_multiple_of(4);
        out.try_reserve_exact(length).map_err(|_| usage(format!("the host has no {length} bytes for a buffer")))?;
        for i in 0..self.count {
            let whole = match self.fill {
                Fill::Random => f64::from(hash(i as u32, seed) % self.count as u32),
                Fill::Index => i as f64,
                Fill::Value(v) => v,
            };
            let real = if self.fill == Fill::Random {
                f64::from((hash(i as u32, seed) >> 21) as f32 / 1024.0 - 1.0)
            } else {
                whole
            };
            match self.scalar {
                "f32" => out.extend((real as f32).to_le_bytes()),
                "f16" => out.extend(f16::from_f64(real).to_le_bytes()),
                "i32" => out.extend((whole as i32).to_le_bytes()),
                _ => out.extend((whole as u32).to_le_bytes()),
            }
        }
        out.resize(length, 0);
        Ok(out)
    }
}

/// The file's text and the entry point to run.
fn open(args: &Args, device: &Device) -> Result<(Wgsl, Entry)> {
    let name = args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file).map_err(|why| usage(format!("cannot read {name}: {why}")))?;
    let wgsl = Wgsl::parse(name.as_str(), &text, device.caps()).map_err(|why| usage(why.to_string()))?;
    let names: Vec<&str> = wgsl.entries().iter().map(|entry| entry.name.as_str()).collect();
    let entry = match (&args.entry, wgsl.entries()) {
        (None, [only]) => only.clone(),
        (None, _) => {
            return Err(usage(format!("{name} has several entry points; name one with --entry: {}", names.join(", "))));
        }
        (Some(wanted), entries) => {
            let found = entries.iter().find(|entry| entry.name == *wanted);
            found
                .cloned()
                .ok_or_else(|| usage(format!("{name} has no entry point `{wanted}`; it has {}", names.join(", "))))?
        }
    };
    Ok((wgsl, entry))
}

/// What an entry point binds, a line each, with the `--bind` that would do.
fn wants(entry: &Entry) -> String {
    let mut out = format!("`{}` binds, in this order:", entry.name);
    for resource in &entry.resources {
        let kind = match resource.kind {
            ResourceKind::Read => "storage, read",
            ResourceKind::ReadWrite => "storage, read_write",
            ResourceKind::Uniform => "uniform",
        };
        let scalar = resource.scalar.unwrap_or("u32");
        let size = if scalar == "f16" { 2 } else { 4 };
        let count = if resource.stride.is_some() { 1_000_000 } else { resource.least / size };
        let Resource { name, group, binding, ty, .. } = resource;
        let _ =
            write!(out, "\n  @group({group}) @binding({binding}) var<{kind}> {name}: {ty}   --bind {scalar}:{count}");
    }
    if entry.immediates > 0 {
        let _ = write!(out, "\n  and {} words of var<immediate>: --immediate u32:1, ...", entry.immediates / 4);
    }
    out
}

/// The buffers' contents, each checked against what is declared.
fn contents(entry: &Entry, binds: &[Bind], device: &Device) -> Result<Vec<Vec<u8>>> {
    if binds.len() != entry.resources.len() {
        return Err(usage(format!(
            "{} of --bind for {} bindings. {}",
            binds.len(),
            entry.resources.len(),
            wants(entry)
        )));
    }
    let bytes: f64 = binds.iter().map(|bind| (bind.count * bind.size()) as f64).sum();
    let budget = device.budget() as f64 / 2.0;
    if bytes > budget {
        return Err(usage(format!("the buffers need {}, there are {}", op::size(bytes), op::size(budget))));
    }
    let pairs = entry.resources.iter().zip(binds).enumerate();
    let content = |(i, (resource, bind)): (usize, (&Resource, &Bind))| {
        let Resource { name, ty, least, .. } = resource;
        if let Some(scalar) = resource.scalar.filter(|scalar| *scalar != bind.scalar) {
            return Err(usage(format!("`{name}` is {ty}: --bind {scalar}:…, not {}:{}", bind.scalar, bind.count)));
        }
        let has = (bind.count * bind.size()) as u64;
        if has < *least {
            return Err(usage(format!(
                "`{name}` is {ty}, which takes {least} bytes or more; {}:{} has {has}",
                bind.scalar, bind.count
            )));
        }
        if let Some(stride) = resource.stride.filter(|stride| *least <= *stride && !has.is_multiple_of(*stride)) {
            return Err(usage(format!(
                "`{name}` is {ty}: its elements have {stride} bytes, and {has} bytes are no whole number of them"
            )));
        }
        bind.bytes(i as u32 + 1)
    };
    pairs.map(content).collect()
}

fn immediates(args: &Args, entry: &Entry) -> Result<Vec<u8>> {
    let word = |text: &String| {
        let wrong = || usage(format!("--immediate {text}: it is TYPE:NUMBER, such as u32:1024"));
        let (name, number) = text.split_once(':').ok_or_else(wrong)?;
        match scalar(name) {
            Some("f32") => Ok(number.parse::<f32>().map_err(|_| wrong())?.to_le_bytes()),
            Some("i32") => Ok(number.parse::<i32>().map_err(|_| wrong())?.to_le_bytes()),
            Some("u32") => Ok(number.parse::<u32>().map_err(|_| wrong())?.to_le_bytes()),
            _ => Err(wrong()),
        }
    };
    let words: Vec<[u8; 4]> = args.immediate.iter().map(word).collect::<Result<_>>()?;
    if words.len() * 4 != entry.immediates as usize {
        return Err(usage(format!(
            "{} words of --immediate, {} are declared. {}",
            words.len(),
            entry.immediates / 4,
            wants(entry)
        )));
    }
    Ok(words.concat())
}

fn groups(args: &Args, entry: &Entry, contents: &[Vec<u8>], device: &Device) -> Result<[u32; 3]> {
    if args.groups != "auto" {
        let wrong = || usage(format!("--groups {}: it is x, x,y or x,y,z, each from 1", args.groups));
        let given: Vec<u32> =
            args.groups.split(',').map(|n| n.trim().parse().map_err(|_| wrong())).collect::<Result<_>>()?;
        if given.len() > 3 || given.contains(&0) {
            return Err(wrong());
        }
        return Ok(std::array::from_fn(|i| given.get(i).copied().unwrap_or(1)));
    }
    let written = entry.resources.iter().zip(contents).find(|(r, _)| r.kind == ResourceKind::ReadWrite);
    let Some((resource, bytes)) = written else {
        return Err(usage(format!("`{}` writes no buffer, so --groups auto has nothing to count", entry.name)));
    };
    let elements = bytes.len() as u64 / resource.stride.unwrap_or(4).max(1);
    let invocations: u64 = entry.workgroup.iter().map(|&n| u64::from(n)).product();
    let (x, most) = (elements.div_ceil(invocations.max(1)).max(1), u64::from(device.caps().max_groups));
    if x > most {
        return Err(usage(format!(
            "--groups auto would be {x} workgroups, the adapter takes {most} in a dimension; give --groups x,y,z"
        )));
    }
    Ok([x as u32, 1, 1])
}

/// Measures and shows.
pub(crate) fn run(args: &Args) -> Result<()> {
    let binds: Vec<Bind> = args.bind.iter().map(|text| Bind::parse(text)).collect::<Result<_>>()?;
    let device = Device::open()?;
    let (wgsl, entry) = open(args, &device)?;
    let contents = contents(&entry, &binds, &device)?;
    let (words, groups) = (immediates(args, &entry)?, groups(args, &entry, &contents, &device)?);
    // What is wrong by now is the file's or the arguments' fault.
    let unfit = |why: kiln::gpu::Error| match why {
        lost @ kiln::gpu::Error::Lost(_) => Failure::from(lost),
        why => usage(why.to_string()),
    };
    let dispatch = device.dispatch(&wgsl, &entry.name, &contents, &words, groups).map_err(unfit)?;
    let bytes: u64 = contents.iter().map(|bytes| bytes.len() as u64).sum();
    drop(contents);
    dispatch.run().map_err(unfit)?;
    device.wait()?;
    // Before the timed runs: a kernel that updates in place goes on from what it wrote.
    let first = written(&device, &entry, &dispatch, &binds)?;
    let run = Box::new(move || Ok(dispatch.run()?));
    let mut subject = Subject { run, verify: Box::new(|| Ok(0.0)), tolerance: 0.0, variant: String::new() };
    let times = measure(&device, &mut subject, args.time)?;
    show(args, &device, &entry, groups, bytes, &times, &first);
    Ok(())
}

/// The first numbers of every buffer that the kernel may have written.
fn written(device: &Device, entry: &Entry, dispatch: &Dispatch, binds: &[Bind]) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    for ((resource, buffer), bind) in entry.resources.iter().zip(dispatch.buffers()).zip(binds) {
        let (ResourceKind::ReadWrite, Some(buffer)) = (resource.kind, buffer) else { continue };
        let bytes =
            device.read(&[Slice { buffer: buffer.clone(), offset: 0, bytes: buffer.bytes().min(16) }])?.swap_remove(0);
        let number = |b: &[u8]| match bind.scalar {
            "f32" => round(f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
            "i32" => i32::from_le_bytes([b[0], b[1], b[2], b[3]]).to_string(),
            "u32" => u32::from_le_bytes([b[0], b[1], b[2], b[3]]).to_string(),
            _ => round(f16::from_le_bytes([b[0], b[1]]).to_f64()),
        };
        let numbers: Vec<String> = bytes.chunks_exact(bind.size()).take(4.min(bind.count)).map(number).collect();
        out.push((resource.name.clone(), numbers.join(" ")));
    }
    Ok(out)
}

fn show(
    args: &Args,
    device: &Device,
    entry: &Entry,
    groups: [u32; 3],
    bytes: u64,
    times: &Times,
    first: &[(String, String)],
) {
    let (spread, clock) = times.shown();
    let rate = bytes as f64 / spread.median / 1e6;
    if args.json {
        let mut line = Object::default();
        line.text("kind", "wgsl").text("file", &args.file.display().to_string()).text("entry", &entry.name);
        line.text("groups", &groups.map(|n| n.to_string()).join(",")).text("clock", clock);
        line.maybe("gpu_ms", times.gpu.map(|s| s.median)).maybe("gpu_p20", times.gpu.map(|s| s.p20));
        line.maybe("gpu_p80", times.gpu.map(|s| s.p80)).number("wall_ms", times.wall.median);
        line.number("wall_p20", times.wall.p20).number("wall_p80", times.wall.p80);
        line.number("bytes", bytes as f64).number("gbs", rate);
        Machine::of(device).write(&mut line);
        return say(line.line());
    }
    let ink = Ink::stdout();
    let dims = |n: [u32; 3]| n.map(|n| n.to_string()).join("×");
    say(format_args!("{} on {}", ink.strong(&format!("{}: {}", args.file.display(), entry.name)), device.caps().name));
    note(device).into_iter().for_each(say);
    say(format_args!("  {} workgroups of {} invocations", dims(groups), dims(entry.workgroup)));
    let line = |name: &str, s: &super::clock::Spread| {
        say(format_args!("  {name:<5} {:>9} ms   p20 {:>8}   p80 {:>8}", round(s.median), round(s.p20), round(s.p80)));
    };
    match &times.gpu {
        Some(gpu) => line("gpu", gpu),
        None => say("  gpu   no timestamps that can be believed"),
    }
    line("wall", &times.wall);
    say(format_args!(
        "  {} in {}, each counted once: {} GB/s ({clock} time)",
        op::size(bytes as f64),
        if entry.resources.len() == 1 { "1 buffer".into() } else { format!("{} buffers", entry.resources.len()) },
        round(rate)
    ));
    for (name, numbers) in first {
        say(format_args!("  {name} begins with {numbers}"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn buffers_are_described_or_refused() {
        assert_eq!(Bind::parse("f32:8").unwrap(), Bind { scalar: "f32", count: 8, fill: Fill::Random });
        assert_eq!(Bind::parse("u32:3:index").unwrap().bytes(0).unwrap(), [0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(Bind::parse("f16:3:1").unwrap().bytes(0).unwrap(), [0, 0x3c, 0, 0x3c, 0, 0x3c, 0, 0], "whole words");
        for text in ["f32", "f64:8", "f32:x", "f32:0", "f32:-1", "f32:8:red", "f32:99999999999", ":::"] {
            assert!(Bind::parse(text).unwrap_err().to_string().contains(text), "{text}");
        }
    }
}
