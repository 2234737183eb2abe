//! What the kernel tests share: devices and the variants they can be made to take, data, and how results are judged.
#![allow(dead_code, missing_docs)]

pub(crate) mod fragments;
pub(crate) mod order;

use kiln_device::{AdapterKind, Buffer, Caps, Device, Launch, Result, Slice, Step};

/// The device under test.
pub(crate) fn device() -> Device {
    Device::open().unwrap()
}

/// Every kind of machine that a launcher tells apart, as far as this device can play it: its own, a GPU, a CPU adapter
/// with and without subgroup operations.
pub(crate) fn variants(device: &Device) -> Vec<(&'static str, Caps)> {
    let own = device.caps().clone();
    let cpu = Caps { kind: AdapterKind::Cpu, ..own.clone() };
    vec![
        ("gpu", Caps { kind: AdapterKind::Discrete, ..own.clone() }),
        ("plain", Caps { subgroup: None, ..cpu.clone() }),
        ("cpu", cpu),
    ]
}

pub(crate) fn bytes<T: Copy + Into<Word>>(values: &[T]) -> Vec<u8> {
    values.iter().flat_map(|&v| v.into().0.to_le_bytes()).collect()
}

/// 32 bits of any type.
pub(crate) struct Word(pub(crate) u32);

impl From<f32> for Word {
    fn from(v: f32) -> Word {
        Word(v.to_bits())
    }
}

impl From<u32> for Word {
    fn from(v: u32) -> Word {
        Word(v)
    }
}

impl From<i32> for Word {
    fn from(v: i32) -> Word {
        Word(v as u32)
    }
}

pub(crate) fn upload<T: Copy + Into<Word>>(device: &Device, values: &[T]) -> Buffer {
    device.upload(&bytes(values), "test").unwrap()
}

/// The bits of the multiples of 1/256 that are nearest, of numbers under 8: half precision holds them exactly.
pub(crate) fn half(values: &mut [f32]) -> Vec<u8> {
    let bits = |v: f32| {
        let exponent = v.abs().log2().floor() as i32;
        let fraction = (v.abs() / (exponent as f32).exp2() - 1.0) * 1024.0;
        (u16::from(v < 0.0) << 15) | (((exponent + 15) as u16) << 10) | fraction as u16
    };
    values.iter_mut().for_each(|v| *v = (*v * 256.0).round() / 256.0);
    values.iter().flat_map(|&v| if v == 0.0 { [0, 0] } else { bits(v).to_le_bytes() }).collect()
}

/// A buffer of `n` words that hold no answer yet.
pub(crate) fn empty(device: &Device, n: usize) -> Buffer {
    upload(device, &vec![0xdead_beefu32; n])
}

pub(crate) fn words(device: &Device, buffer: &Buffer) -> Vec<u32> {
    let bytes = device.read(&[Slice::from(buffer)]).unwrap().remove(0);
    bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

pub(crate) fn floats(device: &Device, buffer: &Buffer) -> Vec<f32> {
    words(device, buffer).into_iter().map(f32::from_bits).collect()
}

pub(crate) fn ints(device: &Device, buffer: &Buffer) -> Vec<i32> {
    words(device, buffer).into_iter().map(|w| w as i32).collect()
}

/// Runs one launch.
pub(crate) fn run(device: &Device, launch: &Launch, bindings: &[(&'static str, &Buffer)]) -> Result<()> {
    device.run(vec![Step::new(device, launch, bindings)?])
}

/// Numbers of a fixed sequence (Steele, Lea & Flood 2014, SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

pub(crate) fn normal(n: usize, seed: u64) -> Vec<f32> {
    let mut numbers = Numbers(seed);
    (0..n)
        .map(|_| {
            let radius = (-2.0 * (1.0 - numbers.unit()).ln()).sqrt();
            (radius * (std::f64::consts::TAU * numbers.unit()).cos()) as f32
        })
        .collect()
}

/// |got - want| / (1 + |want|); 0 where both are NaN or the same infinity, infinite where only one is.
pub(crate) fn error(got: f32, want: f64) -> f64 {
    let as_f32 = want as f32;
    if got.is_nan() && want.is_nan() || (got == as_f32) {
        return 0.0;
    }
    let error = (f64::from(got) - want).abs() / (1.0 + want.abs());
    if error.is_nan() { f64::INFINITY } else { error }
}

/// The greatest error, and where.
pub(crate) fn worst(got: &[f32], want: &[f64]) -> (f64, usize) {
    assert_eq!(got.len(), want.len());
    let errors = got.iter().zip(want).map(|(&got, &want)| error(got, want)).enumerate();
    errors.fold((0.0, 0), |best, (at, e)| if e > best.0 { (e, at) } else { best })
}

/// Fails where the greatest error exceeds `tolerance`.
pub(crate) fn close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    let (e, at) = worst(got, want);
    assert!(e <= tolerance, "{what}: {e:e} at {at}: {} is not {}", got[at], want[at]);
}

/// The classes of fast variants that self-tests judge, family by family as in `FAMILIES`, whether this device has them or not.
pub(crate) fn classes() -> [(&'static str, Vec<String>); 6] {
    let plain = |classes: &[&str]| classes.iter().map(|class| class.to_string()).collect();
    let conv = ["forward", "input", "weight"]
        .iter()
        .flat_map(|direction| ["subgroup", "tile", "depthwise", "coop"].map(|class| format!("{direction} {class}")));
    [
        ("matmul", plain(&["subgroup", "tile", "thin", "narrow", "coop staged", "coop direct"])),
        ("conv", conv.collect()),
        ("attention", plain(&["forward coop", "query coop", "keys coop"])),
        ("softmax", plain(&["subgroup", "joined"])),
        ("norm", plain(&["subgroup", "joined"])),
        ("reduce", plain(&["subgroup", "joined"])),
    ]
}
