//! Convolutions in 1 to 3 dimensions and their gradients, with stride, padding, dilation and groups.
//!
//! Operands are contiguous: x [n, c_in, depth, height, width], w [c_out, c_in / groups, kernel], dy and y like x with
//! c_out channels. Fewer dimensions are leading ones. Positions of a plane (`p`) and weights of an output channel
//! (`q`, over [c_in / groups, kernel]) are counted linearly.
//!
//! | direction | bindings | slot |
//! | --- | --- | --- |
//! | [`Direction::Forward`] | `x`, `w`, `out` | `store(v: F, n: u32, c: u32, p: u32)` |
//! | [`Direction::Input`] | `dy`, `w`, `out` | `store(v: F, n: u32, c: u32, p: u32)`, over x's shape |
//! | [`Direction::Weight`] | `x`, `dy`, `out` | `store(v: F, split: u32, co: u32, q: u32)` |
//!
//! F is f32, or `vec4<f32>` when [`Launch::width`] is 4; then p or q is a multiple of 4. A class of pipelines is fixed by
//! the variant, the window (kernel, stride, padding, dilation), the element types, and whether fours can be loaded and
//! stored; batch, channels and spatial sizes are run-time parameters.
//!
//! [`variants`] lists what a device can run, [`choose`] is the heuristics' choice, [`pick`] the one that also follows
//! tuning and self-tests, [`launch_with`] launches any of them.

mod choose;
mod source;
mod tuned;
mod variant;

pub use choose::choose;
pub(crate) use tuned::FAMILY;
pub use tuned::pick;
pub use variant::{Algorithm, Coop, Tile, Variant};

use super::Stages;
use crate::{Caps, Error, Launch, Result};

/// What is computed from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// y from x and w.
    Forward,
    /// dx from dy and w.
    Input,
    /// dw from x and dy.
    Weight,
}

/// How operands are stored. Products are accumulated in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
}

/// A convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// What is computed.
    pub direction: Direction,
    /// How both operands are stored.
    pub elem: Elem,
    /// Images.
    pub n: u32,
    /// Channels of x.
    pub c_in: u32,
    /// Channels of y.
    pub c_out: u32,
    /// Groups of channels, which do not see each other.
    pub groups: u32,
    /// Depth, height and width of x.
    pub input: [u32; 3],
    /// Depth, height and width of y.
    pub output: [u32; 3],
    /// Sizes of the window.
    pub kernel: [u32; 3],
    /// Steps of the window.
    pub stride: [u32; 3],
    /// Zeros before each axis of x; those behind it follow from `output`.
    pub padding: [u32; 3],
    /// Distances of the window's elements.
    pub dilation: [u32; 3],
}

/// Rounds of a loop that one invocation may take: past 65,535 lavapipe 22.3 stops silently.
const LONGEST: u32 = 60_000;

impl Problem {
    fn taps(&self) -> u32 {
        self.kernel.iter().product()
    }

    /// Channels of a group, of y and of x.
    fn channels(&self) -> [u32; 2] {
        [self.c_out / self.groups, self.c_in / self.groups]
    }

    /// Channels of a group in the result.
    fn rows(&self) -> u32 {
        self.channels()[usize::from(self.direction == Direction::Input)]
    }

    /// Products that an element of y or dx sums; for dw, the weights of an output channel.
    fn chain(&self) -> u32 {
        self.channels()[usize::from(self.direction != Direction::Input)] * self.taps()
    }

    /// Lines of dy, over all images.
    fn lines(&self) -> u32 {
        self.n * self.output[0] * self.output[1]
    }

    /// Elements of the result.
    fn results(&self) -> u64 {
        let [rows, columns] = [u64::from(self.rows()) * u64::from(self.groups), self.columns()];
        rows * columns
    }

    /// Columns of the result, seen as a matrix for each group: positions over all images, or weights of a channel.
    fn columns(&self) -> u64 {
        let area = |v: [u32; 3]| v.iter().map(|&n| u64::from(n)).product::<u64>() * u64::from(self.n);
        match self.direction {
            Direction::Forward => area(self.output),
            Direction::Input => area(self.input),
            Direction::Weight => self.chain().into(),
        }
    }

    /// Workgroups of one slice.
    fn groups_of_a_slice(&self, algorithm: Algorithm) -> u64 {
        let channels = u64::from(self.rows()) * u64::from(self.groups);
        match (algorithm, algorithm.block()) {
            (_, Some([rows, columns])) => {
                u64::from(self.rows().div_ceil(rows)) * self.columns().div_ceil(columns.into()) * u64::from(self.groups)
            }
            (Algorithm::Depthwise, None) if self.direction == Direction::Weight => channels,
            (Algorithm::Depthwise, None) => {
                let [d, h, w] = if self.direction == Direction::Input { self.input } else { self.output };
                let lines = u64::from(self.n) * channels * u64::from(d) * u64::from(h);
                (lines * u64::from(w.div_ceil(4))).div_ceil(64)
            }
            (_, None) if self.direction == Direction::Weight => (channels * self.columns()).div_ceil(64),
            (_, None) => (channels * self.columns().div_ceil(4)).div_ceil(64),
        }
    }

    /// An error unless sizes are positive, channels divide into groups and counts fit.
    fn check(&self) -> Result<()> {
        let axes = [self.input, self.output, self.kernel, self.stride, self.dilation];
        let empty = axes.iter().flatten().chain([&self.n, &self.c_in, &self.c_out, &self.groups]).any(|&n| n == 0);
        if empty || !self.c_in.is_multiple_of(self.groups) || !self.c_out.is_multiple_of(self.groups) {
            let text = format!(
                "convolution of no elements, or of channels that {} groups do not divide: {self:?}",
                self.groups
            );
            return Err(Error::Validation(text));
        }
        let count =
            |parts: &[u32]| parts.iter().map(|&n| u64::from(n)).try_fold(1u64, u64::checked_mul).unwrap_or(u64::MAX);
        let [i, o, k] = [self.input, self.output, self.kernel];
        let x = count(&[self.n, self.c_in, i[0], i[1], i[2]]);
        let y = count(&[self.n, self.c_out, o[0], o[1], o[2]]);
        let w = count(&[self.c_out, self.c_in / self.groups, k[0], k[1], k[2]]);
        limit("elements", x.max(y).max(w), i32::MAX as u64)
    }

    /// The same problem with as few axes as possible: a window of one element sees planes as lines.
    fn plain(&self) -> Problem {
        let mut p = *self;
        if p.kernel == [1; 3] && p.stride == [1; 3] && p.padding == [0; 3] && p.input == p.output {
            let area = p.input.iter().product();
            (p.input, p.output, p.dilation) = ([1, 1, area], [1, 1, area], [1; 3]);
        }
        if p.flat() {
            (p.stride[0], p.dilation[0]) = (1, 1);
        }
        p
    }

    /// No depth axis.
    fn flat(&self) -> bool {
        self.kernel[0] == 1 && self.padding[0] == 0 && self.input[0] == 1 && self.output[0] == 1
    }
}

fn limit(what: &'static str, needs: u64, has: u64) -> Result<()> {
    if needs <= has {
        return Ok(());
    }
    Err(Error::Limit { kernel: "conv".into(), what, needs, has })
}

/// Every variant that this device can run for this problem, the plain one first. Those of many slices are listed where
/// the heuristics would cut the sums for that algorithm.
pub fn variants(caps: &Caps, p: &Problem) -> Vec<Variant> {
    if p.check().is_err() {
        return Vec::new();
    }
    let p = &p.plain();
    let both = |algorithm| {
        let least = match p.direction {
            Direction::Weight => p.lines().div_ceil(choose::longest_share(p, algorithm)),
            Direction::Forward | Direction::Input => 1,
        };
        let split = choose::split(caps, p, algorithm);
        [least, split].into_iter().skip(usize::from(split <= least)).map(move |split| Variant { algorithm, split })
    };
    variant::algorithms(caps, p).into_iter().flat_map(both).collect()
}

/// The convolution by the variant that [`choose`] gives.
///
/// # Errors
/// As [`launch_with`].
pub fn launch(caps: &Caps, p: &Problem) -> Result<Launch> {
    p.check()?;
    launch_with(caps, p, &choose(caps, p))
}

/// The convolution by a given variant.
///
/// # Errors
/// [`Error::Validation`] for an axis of no elements, channels that the groups do not divide, or a variant that is not
/// for this problem or device; [`Error::Limit`] for more than 2³¹ elements, or more than 60,000 rounds of a loop in one
/// invocation: cut the sum into more slices.
pub fn launch_with(caps: &Caps, p: &Problem, variant: &Variant) -> Result<Launch> {
    p.check()?;
    let p = &p.plain();
    let algorithm = variant.algorithm;
    let cut = variant.split == 1 || p.direction == Direction::Weight || algorithm.splits();
    if variant.split == 0 || !cut || !algorithm.fits(caps, p) {
        return Err(Error::Validation(format!("convolution: {variant} is not for {p:?} on {}", caps.name)));
    }
    let rounds = match (p.direction, algorithm) {
        (Direction::Weight, _) => {
            let share = choose::longest_share(p, algorithm);
            limit("lines in a slice", p.lines().div_ceil(variant.split).into(), share.into())?;
            0
        }
        (_, Algorithm::Subgroup { .. }) => p.chain() / 4,
        (_, Algorithm::Tile(_) | Algorithm::Coop(_)) => p.chain() / variant.split,
        (_, Algorithm::Direct) => p.chain(),
        // taps, and the elements that they see, for every channel of y that belongs to one of x
        (_, Algorithm::Depthwise) => {
            let span = (p.kernel[2] - 1) * p.dilation[2] + 3 * p.stride[2] + p.kernel[2];
            p.channels()[0].saturating_mul(p.kernel[0] * p.kernel[1]).saturating_mul(span)
        }
    };
    limit("rounds of an invocation", rounds.into(), LONGEST.into())?;
    let groups = p.groups_of_a_slice(algorithm).saturating_mul(variant.split.into());
    limit("workgroups", groups, u64::from(u32::MAX).min(u64::from(caps.max_groups) * 65_535))?;
    Ok(source::launch(caps, p, variant, groups))
}

/// The convolution by a given variant with everything that belongs to it: where sums are cut, a second launch adds the
/// slices up. For tuning and benches; bindings as for [`launch_with`].
///
/// # Errors
/// As [`launch_with`].
pub fn stages(caps: &Caps, p: &Problem, variant: &Variant) -> Result<Stages> {
    let launch = launch_with(caps, p, variant)?;
    let results = u32::try_from(p.results()).unwrap_or(u32::MAX);
    let width = if results.is_multiple_of(4) { 4 } else { 1 };
    Stages::sliced(caps, launch, variant.split, results, width)
}
