//! Every variant of the convolution and its gradients against the definition in f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::conv::{self, Algorithm, Coop, Direction, Elem, Problem, Variant};
use kiln_device::{Buffer, Caps, Device};
use support::fragments::Machine;
use support::{bytes, floats};

/// Numbers in -1..1 from a linear congruential generator: of 24 bits, or of 9, which half precision holds exactly.
fn numbers(count: usize, seed: u64, elem: Elem) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bits = if elem == Elem::F16 { 9 } else { 24 };
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> (64 - bits)) as f32 / (1u64 << (bits - 1)) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Operands as they are stored, with room behind for loads of four.
fn stored(machine: &Machine, values: &[f32], elem: Elem) -> Vec<u8> {
    let mut all: Vec<u8> = match elem {
        Elem::F32 => bytes(values),
        Elem::F16 => machine.half(&mut values.to_vec()),
    };
    all.resize(all.len().next_multiple_of(16), 0);
    all
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
        let x = numbers(p.n as usize * p.c_in as usize * volume(p.input), 1, p.elem);
        let w = numbers((p.c_out * cig) as usize * volume(p.kernel), 2, p.elem);
        let dy = numbers(p.n as usize * p.c_out as usize * volume(p.output), 3, p.elem);
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

    /// One direction by one variant.
    fn check(&self, machine: &Machine, direction: Direction, variant: Variant) {
        let p = Problem { direction, ..self.p };
        let device = &machine.device;
        let [x, w, dy] =
            [&self.x, &self.w, &self.dy].map(|v| device.upload(&stored(machine, v, p.elem), "operand").unwrap());
        let (want, slices) = (self.want(direction), variant.split as usize);
        let out = device.upload(&bytes(&vec![f32::NAN; want.len() * slices]), "out").unwrap();
        let bindings: [(&'static str, &Buffer); 4] = [("x", &x), ("w", &w), ("dy", &dy), ("out", &out)];
        machine.run(&conv::launch_with(&machine.caps, &p, &variant).unwrap(), &bindings);
        let got = floats(device, &out);
        for (i, want) in want.iter().enumerate() {
            let got: f64 = (0..slices).map(|s| f64::from(got[s * self.want(direction).len() + i])).sum();
            let error = (got - want.value).abs();
            assert!(error <= 1e-5 * want.terms, "{variant} of {p:?} at {i}: {got}, not {}", want.value);
        }
    }

    fn want(&self, direction: Direction) -> &[Sum] {
        match direction {
            Direction::Forward => &self.y,
            Direction::Input => &self.dx,
            Direction::Weight => &self.dw,
        }
    }

    /// Every direction by every variant that `of` lets through, the sums of dw cut into `split` at least.
    fn check_all(&self, machine: &Machine, split: u32, of: impl Fn(&Algorithm) -> bool) -> usize {
        let mut checked = 0;
        for direction in [Direction::Forward, Direction::Input, Direction::Weight] {
            let p = Problem { direction, ..self.p };
            let mut variants = conv::variants(&machine.caps, &p);
            variants.retain(|v| of(&v.algorithm));
            variants.dedup_by_key(|v| v.algorithm);
            for variant in variants {
                let cut = direction == Direction::Weight
                    || matches!(variant.algorithm, Algorithm::Tile(_) | Algorithm::Coop(_));
                self.check(machine, direction, Variant { split: if cut { split } else { 1 }, ..variant });
                checked += 1;
            }
        }
        checked
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
        direction: Direction::Forward,
        elem: Elem::F32,
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

/// Sizes around those of tiles, for the variants that there are many of: nearly all with one window, since each window
/// is a kernel to compile, and some with one of everything, along three axes.
fn tiled_problems() -> Vec<Problem> {
    let plain: [Window; 3] = [NONE, [3, 1, 1, 1], [3, 1, 1, 1]];
    let uneven: [Window; 3] = [[3, 2, 1, 1], [2, 1, 1, 2], [2, 3, 0, 1]];
    let channels: [[u32; 3]; 7] = [[1, 1, 1], [3, 5, 1], [4, 8, 1], [6, 9, 3], [16, 33, 1], [4, 65, 1], [34, 12, 2]];
    let mut all = Vec::new();
    for (j, &channels) in channels.iter().enumerate() {
        for (k, [height, width]) in [[3, 5], [6, 8], [5, 11], [9, 7], [4, 16]].into_iter().enumerate() {
            all.push(problem(1 + (j + k) as u32 % 3, channels, [1, height, width], plain));
        }
        all.push(problem(1 + j as u32 % 3, channels, [3 + j as u32 % 2 * 2, 3, 5], uneven));
    }
    all
}

/// One channel of x to a group, and one to three of y.
fn depthwise_problems() -> Vec<Problem> {
    let windows: [[Window; 3]; 6] = [
        [NONE, NONE, [5, 1, 2, 1]],
        [NONE, [3, 1, 1, 1], [3, 1, 1, 1]],
        [NONE, [3, 2, 1, 1], [3, 2, 1, 1]],
        [NONE, [2, 1, 0, 2], [4, 1, 3, 2]],
        [NONE, [1, 1, 0, 1], [1, 3, 0, 1]],
        [[3, 1, 1, 1], [2, 2, 1, 2], [3, 3, 1, 1]],
    ];
    let mut all = Vec::new();
    for (i, &window) in windows.iter().enumerate() {
        for (j, width) in [5, 7, 8, 12, 17, 33, 64].into_iter().enumerate() {
            let (channels, multiple) = ([1, 3, 8, 17][(i + j) % 4], [1, 2, 3][(i + j) % 3]);
            let input = [if i == 5 { 4 } else { 1 }, if i == 0 { 1 } else { 3 + j as u32 }, width];
            all.push(problem(1 + j as u32 % 3, [channels, channels * multiple, channels], input, window));
        }
    }
    all
}

/// Every variant of a class over every problem, in every direction.
fn check(problems: &[Problem], of: impl Fn(&Algorithm) -> bool) {
    assert!(problems.len() >= 40);
    let machine = Machine::own();
    let mut checked = 0;
    for (i, &p) in problems.iter().enumerate() {
        checked += Case::new(p).check_all(&machine, 1 + i as u32 % 3, &of);
    }
    println!("{checked} launches");
    assert!(checked >= 3 * problems.len() || !runs(&machine.caps, &of));
}

/// Whether the device has any such variant.
fn runs(caps: &Caps, of: impl Fn(&Algorithm) -> bool) -> bool {
    problems().iter().any(|p| conv::variants(caps, p).iter().any(|v| of(&v.algorithm)))
}

fn tile(rows: &[u32]) -> impl Fn(&Algorithm) -> bool {
    move |a| matches!(a, Algorithm::Tile(tile) if rows.contains(&tile.rows))
}

#[test]
fn direct_variant_is_right() {
    check(&problems(), |a| *a == Algorithm::Direct);
}

#[test]
fn subgroup_variants_are_right() {
    check(&tiled_problems(), |a| matches!(a, Algorithm::Subgroup { .. }));
}

#[test]
fn small_tiles_are_right() {
    check(&tiled_problems(), tile(&[32]));
}

#[test]
fn middle_tiles_are_right() {
    check(&tiled_problems(), tile(&[64]));
}

#[test]
fn large_tiles_are_right() {
    check(&tiled_problems(), tile(&[128]));
}

#[test]
fn depthwise_variant_is_right() {
    check(&depthwise_problems(), |a| *a == Algorithm::Depthwise);
}

/// Half-precision operands: the same sums, since they are taken in f32, of numbers that both hold exactly.
#[test]
fn half_precision_operands_are_right() {
    let machine = Machine::own();
    if !machine.caps.f16 {
        return;
    }
    // loads are all that the type changes, and they are the same for every window: few of those, each a kernel to compile
    for (i, &p) in problems().iter().skip(1).step_by(17).chain(depthwise_problems().iter().step_by(28)).enumerate() {
        let case = Case::new(Problem { elem: Elem::F16, ..p });
        let some = |a: &Algorithm| match a {
            Algorithm::Tile(tile) => tile.rows == 32 && tile.columns == 64,
            Algorithm::Subgroup { rows } => *rows == 16,
            Algorithm::Coop(_) => false,
            Algorithm::Direct | Algorithm::Depthwise => true,
        };
        assert!(case.check_all(&machine, 1 + i as u32 % 3, some) >= 3);
    }
}

/// A problem in every direction by the matrix units that `of` lets through, f16 operands and f32 sums. Says how many launches there
/// were.
fn check_matrix_units(machine: &Machine, i: usize, of: impl Fn(&Coop) -> bool) -> usize {
    let case = Case::new(Problem { elem: Elem::F16, ..tiled_problems()[i] });
    case.check_all(machine, 1 + i as u32 % 3, |a| matches!(a, Algorithm::Coop(coop) if of(coop)))
}

#[test]
fn matrix_units_are_right() {
    let machine = Machine::own();
    // the largest workgroups are emulated slowly where this runs: the smallest over all, all over some
    let one = |i| check_matrix_units(&machine, i, |coop| coop.fragments == [2, 2] || i % 9 == 4);
    let checked: usize = (0..tiled_problems().len()).map(one).sum();
    let able = machine.caps.f16 && !machine.caps.coop.is_empty();
    assert!(checked >= 3 * 40 || !able, "{checked} launches");
}

/// Fragments that no software adapter has, in subgroups of 16 to 64 lanes, and where the driver makes smaller ones than it
/// said. Played kernels take long to compile: the smallest over some problems, all over one with partial tiles on all sides.
#[test]
#[ignore = "compiles for half a minute: scripts/test --all"]
fn matrix_units_of_gpus_are_right() {
    let machine = Machine::played(16, (32, 32), 32);
    let one = |i| check_matrix_units(&machine, i, |coop| coop.fragments == [2, 2] || i == 28);
    let some = [3, 19, 28, 41];
    let checked: usize = some.into_iter().map(one).sum();
    assert!(checked >= 3 * some.len() + 9, "{checked} launches");
    // the next one has 64 lanes; products try all
    for machine in Machine::others().into_iter().take(1) {
        assert_eq!(check_matrix_units(&machine, 28, |coop| coop.fragments == [2, 2]), 3);
    }
}

#[test]
fn chosen_variants_are_right() {
    let machine = Machine::own();
    for p in [
        problem(2, [16, 40, 1], [1, 20, 20], [NONE, [3, 1, 1, 1], [3, 1, 1, 1]]),
        problem(3, [12, 24, 12], [1, 9, 16], [NONE, [3, 2, 1, 1], [3, 2, 1, 1]]),
    ] {
        let case = Case::new(p);
        for direction in [Direction::Forward, Direction::Input, Direction::Weight] {
            let variant = conv::choose(&machine.caps, &Problem { direction, ..p });
            assert!(conv::variants(&machine.caps, &Problem { direction, ..p }).contains(&variant), "{variant}");
            case.check(&machine, direction, variant);
        }
    }
}

#[test]
fn wrong_problems_are_errors() {
    let device = Device::open().unwrap();
    let caps = device.caps();
    let good = problem(1, [4, 6, 2], [1, 5, 5], [NONE, [3, 1, 0, 1], [3, 1, 0, 1]]);
    assert!(conv::launch(caps, &good).is_ok());
    assert!(conv::launch(caps, &Problem { groups: 4, ..good }).is_err(), "6 channels in 4 groups");
    assert!(conv::launch(caps, &Problem { n: 0, ..good }).is_err());
    assert!(conv::launch(caps, &Problem { input: [1 << 20, 1 << 10, 2], ..good }).is_err(), "over 2^31 elements");
    let direct = Variant { algorithm: Algorithm::Direct, split: 1 };
    assert!(
        conv::launch_with(caps, &Problem { direction: Direction::Weight, ..good }, &Variant { split: 0, ..direct })
            .is_err()
    );
    assert!(conv::launch_with(caps, &good, &Variant { split: 2, ..direct }).is_err(), "sums that are not cut");
    let depthwise = Variant { algorithm: Algorithm::Depthwise, split: 1 };
    assert!(conv::launch_with(caps, &good, &depthwise).is_err(), "two channels in a group");
    let long = problem(1, [1, 1, 1], [1, 1, 100_000], [NONE, NONE, [70_000, 1, 0, 1]]);
    assert!(conv::launch_with(caps, &long, &direct).is_err(), "a window too long for one invocation");
}
