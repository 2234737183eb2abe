//! Convolutions as a family that is tested before it is trusted, and tuned: its trials, its size classes, and the
//! choice on a device, which follows both.

use super::choose::choose_among;
use super::variant::algorithms;
use super::{Algorithm, Coop, Direction, Elem, Problem, Variant, choose, stages, variants};
use crate::trial::{Candidate, Family, Fill, Input, Trial, Want};
use crate::{Caps, Device};

/// Convolutions among [`FAMILIES`](crate::kernels::FAMILIES).
pub(crate) const FAMILY: Family = Family {
    name: "conv",
    texts: &[
        kiln_shaders::CONV_COOP,
        kiln_shaders::CONV_DEPTHWISE,
        kiln_shaders::CONV_DIRECT,
        kiln_shaders::CONV_SUBGROUP,
        kiln_shaders::CONV_TILE,
        kiln_shaders::CONV_WEIGHT_COOP,
        kiln_shaders::CONV_WEIGHT_DEPTHWISE,
        kiln_shaders::CONV_WEIGHT_DIRECT,
        kiln_shaders::CONV_WEIGHT_SUBGROUP,
        kiln_shaders::CONV_WEIGHT_TILE,
    ],
    test,
    tune,
};

impl Direction {
    const ALL: [Direction; 3] = [Direction::Forward, Direction::Input, Direction::Weight];

    /// The first word of classes of variants and of size classes.
    fn name(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Input => "input",
            Direction::Weight => "weight",
        }
    }
}

/// The variant for a problem on a device: the one that was fastest when its size class was tuned, else the choice of
/// the heuristics; of the classes of variants that their self-tests did not put aside. A class that was never tested on
/// this adapter and driver, in this direction, is tested now.
///
/// # Errors
/// As [`launch`](super::launch) for a problem that is none.
pub fn pick(device: &Device, p: &Problem) -> crate::Result<Variant> {
    p.check()?;
    let (caps, p) = (device.caps(), &p.plain());
    let trusted = |a: &Algorithm| test_class(p.direction, *a).is_none_or(|class| device.trusts(FAMILY.name, &class));
    Ok(match winner(device, p) {
        Some(variant) if trusted(&variant.algorithm) => variant,
        _ => choose_among(caps, p, trusted),
    })
}

/// What a self-test judges as one: a class of variants in one direction.
pub(super) fn test_class(direction: Direction, algorithm: Algorithm) -> Option<String> {
    algorithm.class().map(|class| format!("{} {class}", direction.name()))
}

/// The winner of the problem's class, or of the nearest one: tuning measures every fourth power of two or so. How often
/// sums are cut follows from the problem; whether they are, from the winner.
fn winner(device: &Device, p: &Problem) -> Option<Variant> {
    if !device.is_tuned(FAMILY.name) {
        return None;
    }
    let mut near: Vec<[i32; 3]> = (0..27).map(|i| [i % 3 - 1, i / 3 % 3 - 1, i / 9 - 1]).collect();
    near.sort_by_key(|step| step.map(i32::abs).iter().sum::<i32>());
    let name = near.into_iter().find_map(|step| device.winner(FAMILY.name, &class(p, step)))?;
    let (name, cut) = name.split_once("_split").map_or((name.as_str(), false), |(name, _)| (name, true));
    let same = |v: &Variant| Variant { split: 1, ..*v }.to_string() == name;
    let list: Vec<Variant> = variants(device.caps(), p).into_iter().filter(same).collect();
    list.iter().find(|v| (v.split > 1) == cut).or(list.first()).copied()
}

/// The name of a size class: the direction, the window and its step, channels of a group in x and y and positions of y
/// over all images as powers of two (`step` away), whether there are groups, the type.
fn class(p: &Problem, step: [i32; 3]) -> String {
    let size = |n: u32, step: i32| f64::from((f64::from(n.max(1)).log2().round() as i32 + step).max(0)).exp2();
    let [outputs, inputs] = p.channels();
    let positions = p.lines().saturating_mul(p.output[2]);
    let (c, o, positions) = (size(inputs, step[0]), size(outputs, step[1]), size(positions, step[2]));
    let [d, h, w] = p.kernel;
    let stride = p.stride.iter().max().unwrap_or(&1);
    let groups = match p.groups {
        1 => "",
        n if n == p.c_in => "_depthwise",
        _ => "_groups",
    };
    let elem = if p.elem == Elem::F16 { "f16" } else { "f32" };
    format!("{}_{d}x{h}x{w}_s{stride}_{c}to{o}{groups}_{positions}_{elem}", p.direction.name())
}

/// A trial of some variants; `None` if a launcher refuses.
fn trial(caps: &Caps, p: &Problem, class: String, list: &[Variant], heuristic: &Variant) -> Option<Trial> {
    let fill = if p.elem == Elem::F16 { Fill::F16 } else { Fill::F32 };
    let area = |v: [u32; 3]| v.iter().map(|&n| u64::from(n)).product::<u64>();
    let input = |name, elements: u64| Input { name, elements: elements.next_multiple_of(8), fill };
    let x = input("x", u64::from(p.n) * u64::from(p.c_in) * area(p.input));
    let w = input("w", u64::from(p.c_out) * u64::from(p.c_in / p.groups) * area(p.kernel));
    let dy = input("dy", u64::from(p.n) * u64::from(p.c_out) * area(p.output));
    let plain = variants(caps, p).into_iter().find(|v| v.algorithm == Algorithm::Direct)?;
    let candidate = |v: &Variant| Some(Candidate { name: v.to_string(), stages: stages(caps, p, v).ok()? });
    Some(Trial {
        class,
        inputs: match p.direction {
            Direction::Forward => vec![x, w],
            Direction::Input => vec![dy, w],
            Direction::Weight => vec![x, dy],
        },
        out: p.results(),
        second: None,
        want: Want::Plain(stages(caps, p, &plain).ok()?),
        candidates: list.iter().filter_map(candidate).collect(),
        heuristic: heuristic.to_string(),
        // the operands are eighths: every sum is exact
        tolerance: 1e-6,
    })
}

/// One small convolution for a class of variants in a direction, by the smallest of them: partial blocks on all sides, two
/// groups, a window that hangs over and steps by two lines; planes and sums that are loaded and stored by fours, which
/// is what most are. What it costs is the driver's compiler: a small window, for each of its elements is compiled, and
/// half a step of the sum in workgroup memory or less, and one fragment to a subgroup where they are emulated.
fn test(caps: &Caps, class: &str) -> Option<Trial> {
    let odd = |direction, channels, elem| Problem {
        direction,
        elem,
        ..problem(2, channels, [9, 8], Window { kernel: [2, 3], stride: [2, 1], padding: [1, 1] })
    };
    let mut all = Direction::ALL.into_iter().flat_map(|direction| {
        [([8, 10, 2], Elem::F32), ([6, 12, 6], Elem::F32), ([8, 10, 2], Elem::F16)]
            .map(|(channels, elem)| odd(direction, channels, elem))
    });
    let (p, mut algorithm) = all.find_map(|p| {
        let of = |a: &Algorithm| test_class(p.direction, *a).as_deref() == Some(class);
        let smallest = |a: &Algorithm| a.block().map(|block| block.iter().product::<u32>());
        Some((p, algorithms(caps, &p).into_iter().filter(of).min_by_key(smallest)?))
    })?;
    if let (Algorithm::Coop(coop), true) = (&mut algorithm, caps.is_cpu()) {
        coop.fragments = [1, 1];
    }
    let variant = Variant { algorithm, split: 1 };
    let mut trial = trial(caps, &p, class.to_string(), &[variant], &variant)?;
    match algorithm {
        Algorithm::Coop(Coop { size, .. }) => trial.with_const("TILE_K", &format!("{size}u")),
        Algorithm::Tile(_) => trial.with_const("TILE_K", "8u"),
        _ => {}
    }
    Some(trial.defined(|operands| convolution(&p, &operands[0], &operands[1])))
}

/// The definition, of images: every product of an element of x, a weight and an element of y or dy goes where the
/// direction says. The operands are those of the direction, in the order of its bindings.
fn convolution(p: &Problem, first: &[f64], second: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; p.results() as usize];
    let [outputs, inputs] = p.channels();
    let indices = |sizes: [u32; 3]| (0..sizes[0] * sizes[1] * sizes[2]).map(move |i| split_index(i, sizes));
    for [n, co, ci] in indices([p.n, p.c_out, inputs]) {
        for ([_, oh, ow], [_, kh, kw]) in indices(p.output).flat_map(|o| indices(p.kernel).map(move |k| (o, k))) {
            let along = |axis: usize, o: u32, k: u32| {
                (o * p.stride[axis] + k * p.dilation[axis]).checked_sub(p.padding[axis]).filter(|&i| i < p.input[axis])
            };
            let (Some(ih), Some(iw)) = (along(1, oh, kh), along(2, ow, kw)) else { continue };
            let channel = co / outputs * inputs + ci;
            let x = (((n * p.c_in + channel) * p.input[1] + ih) * p.input[2] + iw) as usize;
            let w = (((co * inputs + ci) * p.kernel[1] + kh) * p.kernel[2] + kw) as usize;
            let y = (((n * p.c_out + co) * p.output[1] + oh) * p.output[2] + ow) as usize;
            let (to, from, by) = match p.direction {
                Direction::Forward => (y, x, w),
                Direction::Input => (x, y, w),
                Direction::Weight => (w, x, y),
            };
            out[to] += first[from] * second[by];
        }
    }
    out
}

/// The index of element `i` of an array of three axes.
fn split_index(i: u32, sizes: [u32; 3]) -> [u32; 3] {
    [i / (sizes[1] * sizes[2]), i / sizes[2] % sizes[1], i % sizes[2]]
}

/// A window over images.
struct Window {
    kernel: [u32; 2],
    stride: [u32; 2],
    padding: [u32; 2],
}

impl Window {
    /// A square window that keeps the size, or divides it by `stride`.
    fn square(kernel: u32, stride: u32) -> Window {
        Window { kernel: [kernel; 2], stride: [stride; 2], padding: [kernel / 2; 2] }
    }
}

/// y of images; channels are those of x, those of y, groups.
fn problem(n: u32, [c_in, c_out, groups]: [u32; 3], image: [u32; 2], window: Window) -> Problem {
    let Window { kernel, stride, padding } = window;
    let output = [0, 1].map(|a| (image[a] + 2 * padding[a] - kernel[a]) / stride[a] + 1);
    let three = |first: u32, [h, w]: [u32; 2]| [first, h, w];
    Problem {
        direction: Direction::Forward,
        elem: Elem::F32,
        n,
        c_in,
        c_out,
        groups,
        input: three(1, image),
        output: three(1, output),
        kernel: three(1, kernel),
        stride: three(1, stride),
        padding: three(0, padding),
        dilation: [1; 3],
    }
}

/// What image networks ask for: windows of 3 at several depths, with and without a step, the first layer, a shortcut's
/// window of one element, depthwise; in every direction.
fn tune(caps: &Caps) -> Vec<Trial> {
    let elems = if caps.f16 && !caps.coop.is_empty() { vec![Elem::F32, Elem::F16] } else { vec![Elem::F32] };
    let mut list = vec![
        problem(8, [16, 32, 1], [32, 32], Window::square(3, 1)),
        problem(8, [32, 64, 1], [16, 16], Window::square(3, 1)),
        problem(8, [32, 64, 1], [16, 16], Window::square(3, 2)),
        problem(64, [1, 16, 1], [28, 28], Window::square(3, 1)),
        problem(64, [16, 32, 1], [14, 14], Window::square(3, 1)),
        problem(8, [32, 64, 1], [16, 16], Window::square(1, 2)),
        problem(8, [64, 64, 64], [16, 16], Window::square(3, 1)),
    ];
    if !caps.is_cpu() {
        list.extend([
            problem(32, [64, 64, 1], [56, 56], Window::square(3, 1)),
            problem(32, [128, 128, 1], [28, 28], Window::square(3, 1)),
            problem(32, [256, 256, 1], [14, 14], Window::square(3, 1)),
            problem(32, [512, 512, 1], [7, 7], Window::square(3, 1)),
            problem(32, [128, 256, 1], [28, 28], Window::square(3, 2)),
            problem(32, [3, 64, 1], [224, 224], Window::square(7, 2)),
            problem(32, [128, 256, 1], [28, 28], Window::square(1, 2)),
            problem(32, [128, 128, 128], [28, 28], Window::square(3, 1)),
        ]);
    }
    let mut all = Vec::new();
    for p in list {
        for (&elem, direction) in elems.iter().flat_map(|elem| Direction::ALL.map(|direction| (elem, direction))) {
            let p = Problem { elem, direction, ..p }.plain();
            all.extend(trial(caps, &p, class(&p, [0; 3]), &variants(caps, &p), &choose(caps, &p)));
        }
    }
    all
}
