//! Every variant of the convolution and its gradients against the definition in f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln_device::kernels::conv::{self, Problem, Variant};
use kiln_device::{Buffer, Device, Launch, Slice, Step};

/// Numbers in -1..1 from a linear congruential generator.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// A value and the sum of its terms' magnitudes.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    terms: f64,
}

impl Sum {
    fn add(&mut self, a: f32, b: f32) {
        let term = f64::from(a) * f64::from(b);
        self.value += term;
        self.terms += term.abs();
    }
}

struct Case {
    p: Problem,
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    y: Vec<Sum>,
    dx: Vec<Sum>,
    dw: Vec<Sum>,
}

fn volume(v: [u32; 3]) -> usize {
    v.iter().product::<u32>() as usize
}

impl Case {
    /// The definition: every product of an element of x, a weight and an element of dy, in the plainest loops.
    fn new(p: Problem) -> Case {
        let (cig, cog) = (p.c_in / p.groups, p.c_out / p.groups);
        let x = numbers(p.n as usize * p.c_in as usize * volume(p.input), 1);
        let w = numbers((p.c_out * cig) as usize * volume(p.kernel), 2);
        let dy = numbers(p.n as usize * p.c_out as usize * volume(p.output), 3);
        let (mut y, mut dx, mut dw) =
            (vec![Sum::default(); dy.len()], vec![Sum::default(); x.len()], vec![Sum::default(); w.len()]);
        let place = |i: u32, v: [u32; 3]| [i / v[2] / v[1], i / v[2] % v[1], i % v[2]];
        for n in 0..p.n {
            for (co, ci) in (0..p.c_out).flat_map(|co| (0..cig).map(move |ci| (co, ci))) {
                for (o, t) in
                    (0..volume(p.output) as u32).flat_map(|o| (0..volume(p.kernel) as u32).map(move |t| (o, t)))
                {
                    let (at, tap) = (place(o, p.output), place(t, p.kernel));
                    let from = [0, 1, 2]
                        .map(|a| i64::from(at[a] * p.stride[a] + tap[a] * p.dilation[a]) - i64::from(p.padding[a]));
                    if (0..3).any(|a| from[a] < 0 || from[a] >= i64::from(p.input[a])) {
                        continue;
                    }
                    let plane = (n * p.c_in + co / cog * cig + ci) as usize * volume(p.input);
                    let xi =
                        plane + ((from[0] as u32 * p.input[1] + from[1] as u32) * p.input[2] + from[2] as u32) as usize;
                    let yi = (n * p.c_out + co) as usize * volume(p.output) + o as usize;
                    let wi = (co * cig + ci) as usize * volume(p.kernel) + t as usize;
                    y[yi].add(x[xi], w[wi]);
                    dx[xi].add(dy[yi], w[wi]);
                    dw[wi].add(x[xi], dy[yi]);
                }
            }
        }
        Case { p, x, w, dy, y, dx, dw }
    }

    fn check(&self, device: &Device, variant: Variant, split: u32) {
        let caps = device.caps();
        let [x, w, dy] = [&self.x, &self.w, &self.dy].map(|v| device.upload(&bytes(v), "operand").unwrap());
        let run = |launch: Launch, want: &[Sum], slices: usize, what: &str| {
            let out = device.upload(&bytes(&vec![f32::NAN; want.len() * slices]), "out").unwrap();
            let bindings: [(&'static str, &Buffer); 4] = [("x", &x), ("w", &w), ("dy", &dy), ("out", &out)];
            device.run(vec![Step::new(device, &launch, &bindings).unwrap()]).unwrap();
            let got = floats(&device.read(&[Slice::from(&out)]).unwrap()[0]);
            for (i, want) in want.iter().enumerate() {
                let got: f64 = (0..slices).map(|s| f64::from(got[s * self.len(what) + i])).sum();
                let error = (got - want.value).abs();
                assert!(
                    error <= 1e-5 * want.terms,
                    "{what} {variant:?} {:?} at {i}: {got}, not {}",
                    self.p,
                    want.value
                );
            }
        };
        run(conv::forward_as(caps, &self.p, variant).unwrap(), &self.y, 1, "y");
        run(conv::input_grad_as(caps, &self.p, variant).unwrap(), &self.dx, 1, "dx");
        run(conv::weight_grad_as(caps, &self.p, split, variant).unwrap(), &self.dw, split as usize, "dw");
    }

    fn len(&self, what: &str) -> usize {
        match what {
            "y" => self.y.len(),
            "dx" => self.dx.len(),
            _ => self.dw.len(),
        }
    }
}

/// A window along one axis: kernel, stride, padding, dilation.
type Window = [u32; 4];

fn problem(n: u32, channels: [u32; 3], input: [u32; 3], windows: [Window; 3]) -> Problem {
    let [c_in, c_out, groups] = channels;
    let part = |i: usize| windows.map(|w| w[i]);
    let output = [0, 1, 2].map(|i| {
        let [kernel, stride, padding, dilation] = windows[i];
        (input[i] + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1
    });
    Problem {
        n,
        c_in,
        c_out,
        groups,
        input,
        output,
        kernel: part(0),
        stride: part(1),
        padding: part(2),
        dilation: part(3),
    }
}

const NONE: Window = [1, 1, 0, 1];

/// One to three dimensions, windows plain, padded, strided and dilated, groups from one to depthwise. Few windows and many
/// sizes: a window is part of a kernel's text.
fn problems() -> Vec<Problem> {
    let windows: [[Window; 3]; 9] = [
        [NONE, NONE, [3, 1, 1, 1]],
        [NONE, NONE, [4, 2, 3, 3]],
        [NONE, [3, 1, 1, 1], [3, 1, 1, 1]],
        [NONE, [3, 2, 1, 1], [3, 2, 1, 1]],
        [NONE, NONE, NONE],
        [NONE, [1, 2, 0, 1], [1, 3, 0, 1]],
        [NONE, [3, 1, 2, 2], [2, 1, 0, 3]],
        [[2, 1, 0, 1], [3, 1, 1, 1], [3, 1, 1, 1]],
        [[3, 2, 1, 1], [2, 1, 1, 2], [2, 3, 0, 1]],
    ];
    let inputs = [[3, 5, 7], [4, 8, 8], [5, 7, 12], [3, 9, 9], [4, 5, 17], [6, 4, 4]];
    let channels: [[u32; 3]; 8] =
        [[1, 1, 1], [3, 5, 1], [4, 8, 1], [4, 4, 4], [6, 9, 3], [16, 33, 1], [8, 16, 8], [34, 12, 2]];
    let mut all = Vec::new();
    for (i, &window) in windows.iter().enumerate() {
        for (j, &size) in inputs.iter().enumerate() {
            // As many axes as the window has; the window of one element sees planes.
            let lines = i < 2;
            let input = [if i < 7 { 1 } else { size[0] }, if lines { 1 } else { size[1] }, size[2]];
            all.push(problem(1 + (i + j) as u32 % 3, channels[(3 * i + j) % 8], input, window));
        }
    }
    all
}

/// Checks every problem by one of the variants, in turn.
fn check(variants: &[Variant]) {
    let device = Device::open().unwrap();
    let problems = problems();
    assert!(problems.len() >= 40);
    for (i, (&p, &variant)) in problems.iter().zip(variants.iter().cycle()).enumerate() {
        Case::new(p).check(&device, variant, 1 + i as u32 % 4);
    }
}

#[test]
fn subgroup_variant_is_right() {
    let device = Device::open().unwrap();
    if device.caps().subgroup.is_some_and(|(least, _)| least >= 8) {
        check(&[Variant::Subgroup]);
    }
}

#[test]
fn direct_variant_is_right() {
    check(&[Variant::Direct]);
}

#[test]
fn tile_variants_are_right() {
    check(&[Variant::Tile(32), Variant::Tile(64)]);
}

#[test]
fn chosen_variants_are_right() {
    let device = Device::open().unwrap();
    let caps = device.caps();
    let p = problem(2, [16, 40, 1], [1, 20, 20], [NONE, [3, 1, 1, 1], [3, 1, 1, 1]]);
    let case = Case::new(p);
    case.check(&device, conv::weight_grad_variant(caps, &p), conv::weight_grad_splits(caps, &p));
}

#[test]
fn wrong_problems_are_errors() {
    let device = Device::open().unwrap();
    let caps = device.caps();
    let good = problem(1, [4, 6, 2], [1, 5, 5], [NONE, [3, 1, 0, 1], [3, 1, 0, 1]]);
    assert!(conv::forward(caps, &good).is_ok());
    assert!(conv::forward(caps, &Problem { groups: 4, ..good }).is_err(), "6 channels in 4 groups");
    assert!(conv::forward(caps, &Problem { n: 0, ..good }).is_err());
    assert!(conv::forward(caps, &Problem { input: [1 << 20, 1 << 10, 2], ..good }).is_err(), "over 2^31 elements");
    assert!(conv::weight_grad(caps, &good, 0).is_err());
    assert!(conv::forward_as(caps, &good, Variant::Tile(48)).is_err());
    let long = problem(1, [1, 1, 1], [1, 1, 100_000], [NONE, NONE, [70_000, 1, 0, 1]]);
    assert!(conv::forward_as(caps, &long, Variant::Direct).is_err(), "a window too long for one invocation");
}
