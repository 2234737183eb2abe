//! Convolutions in 1 to 3 dimensions and their gradients, with stride, padding, dilation and groups.
//!
//! Operands are contiguous: x [n, c_in, depth, height, width], w [c_out, c_in / groups, kernel], dy and y like x with
//! c_out channels. Fewer dimensions are leading ones. Positions of a plane (`p`) and weights of an output channel
//! (`q`, over [c_in / groups, kernel]) are counted linearly.
//!
//! | launcher | bindings | slot |
//! | --- | --- | --- |
//! | [`forward`] | `x`, `w`, `out` | `store(v: F, n: u32, c: u32, p: u32)` |
//! | [`input_grad`] | `dy`, `w`, `out` | `store(v: F, n: u32, c: u32, p: u32)`, over x's shape |
//! | [`weight_grad`] | `x`, `dy`, `out` | `store(v: F, split: u32, co: u32, q: u32)` |
//!
//! F is f32, or `vec4<f32>` when [`Launch::width`] is 4; then p or q is a multiple of 4. A class of pipelines is fixed by
//! the variant, the window (kernel, stride, padding, dilation), and whether fours can be loaded and stored; batch,
//! channels and spatial sizes are run-time parameters.

use crate::{Caps, Error, Launch, Params, Result, Source, fold_groups};

/// A convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
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

/// The algorithms, each a shader file for x and dx and one for dw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// CPU adapters whose subgroups have 8 lanes or more: an implicit matrix product in registers.
    Subgroup,
    /// GPUs: an implicit matrix product by tiles of 32 or 64 in workgroup memory.
    Tile(u32),
    /// An invocation an element: few channels a group (depthwise), and the plain variant that others are judged by.
    Direct,
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

    /// Weights of one output channel.
    fn chain(&self) -> u32 {
        self.channels()[1] * self.taps()
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

/// The variant for `rows` channels of a group in the result, and `cells` results in all.
fn variant(caps: &Caps, rows: u32, cells: u64) -> Variant {
    match caps.subgroup {
        _ if rows <= 2 => Variant::Direct,
        Some((least, _)) if caps.is_cpu() && least >= 8 => Variant::Subgroup,
        _ if caps.is_cpu() => Variant::Direct,
        _ if rows > 32 && cells >= 64 * 64 * 64 => Variant::Tile(64),
        _ => Variant::Tile(32),
    }
}

fn cells(p: &Problem, channels: u32, axes: [u32; 3]) -> u64 {
    axes.iter().map(|&n| u64::from(n)).product::<u64>() * u64::from(p.n) * u64::from(channels)
}

/// y = x * w.
///
/// # Errors
/// [`Error::Validation`] for an axis of no elements or channels that the groups do not divide; [`Error::Limit`] for
/// more elements than 2³¹, or more than 60,000 weights for one element where an invocation would loop over them.
pub fn forward(caps: &Caps, p: &Problem) -> Result<Launch> {
    let variant = variant(caps, p.c_out / p.groups.max(1), cells(p, p.c_out, p.output));
    forward_as(caps, p, variant)
}

/// [`forward`] by a given variant.
///
/// # Errors
/// As [`forward`].
pub fn forward_as(caps: &Caps, p: &Problem, variant: Variant) -> Result<Launch> {
    p.check()?;
    Pass { p: &p.plain(), caps, variant, backward: false }.launch()
}

/// dx, from dy and w.
///
/// # Errors
/// As [`forward`].
pub fn input_grad(caps: &Caps, p: &Problem) -> Result<Launch> {
    let variant = variant(caps, p.c_in / p.groups.max(1), cells(p, p.c_in, p.input));
    input_grad_as(caps, p, variant)
}

/// [`input_grad`] by a given variant.
///
/// # Errors
/// As [`forward`].
pub fn input_grad_as(caps: &Caps, p: &Problem, variant: Variant) -> Result<Launch> {
    p.check()?;
    Pass { p: &p.plain(), caps, variant, backward: true }.launch()
}

/// y from x, or dx from dy: the two are one kernel, whose result has `rows` channels a group and sums over `chans`.
struct Pass<'a> {
    p: &'a Problem,
    caps: &'a Caps,
    variant: Variant,
    backward: bool,
}

impl Pass<'_> {
    fn launch(&self) -> Result<Launch> {
        let p = self.p;
        let [c_out, c_in] = p.channels();
        let (rows, chans) = if self.backward { (c_in, c_out) } else { (c_out, c_in) };
        let (to, from) = if self.backward { (p.input, p.output) } else { (p.output, p.input) };
        let (area, chain) = (to.iter().product::<u32>(), chans * p.taps());
        let width = if area.is_multiple_of(4) { 4 } else { 1 };
        let columns = u64::from(p.n) * u64::from(area);
        let (source, groups, rounds) = match self.variant {
            Variant::Subgroup => {
                let block = 8 * rows_per_lane(rows);
                let source = Source::new("conv_subgroup", kiln_shaders::CONV_SUBGROUP);
                let source = source.constant("PER", format!("{}u", rows_per_lane(rows)));
                (source, u64::from(rows.div_ceil(block)) * columns.div_ceil(32), chain / 4)
            }
            Variant::Tile(size) => {
                let source = tiles(Source::new(format!("conv_tile{size}"), kiln_shaders::CONV_TILE), size)?;
                (source, u64::from(rows.div_ceil(size)) * columns.div_ceil(size.into()), 0)
            }
            Variant::Direct => {
                let invocations = u64::from(rows * p.groups) * columns.div_ceil(4);
                (Source::new("conv_direct", kiln_shaders::CONV_DIRECT), invocations.div_ceil(64), chain)
            }
        };
        let groups = if self.variant == Variant::Direct { groups } else { groups * u64::from(p.groups) };
        limit("weights for an element", rounds.into(), LONGEST.into())?;
        limit("workgroups", groups, u64::from(self.caps.max_groups) * 65_535)?;
        let mut source = window(source, p).constant("BACKWARD", self.backward);
        if self.backward {
            let strided = p.stride != [1; 3];
            source = source.slot("load", " return dy[i]; ").constant("STRIDED", strided);
        }
        if self.variant != Variant::Direct && !self.backward && chain.is_multiple_of(4) {
            source = source.alias("W", "vec4<f32>").constant("W_WIDTH", "4u");
        }
        if width == 4 {
            let emit = "    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    if col < sizes.images * area { store(v, col / area, c, col % area); }";
            source = source.alias("F", "vec4<f32>").constant("WIDTH", "4u").slot("emit", emit);
        }
        let params = axes(Params::new().u32(p.groups).u32(rows).u32(chans).u32(p.n), [to, from]);
        Ok(Launch::new(source, params, fold_groups(groups)).wide(width))
    }
}

/// The variant that [`weight_grad`] takes.
pub fn weight_grad_variant(caps: &Caps, p: &Problem) -> Variant {
    let p = p.plain();
    variant(caps, p.channels()[0], u64::from(p.c_out) * u64::from(p.chain()))
}

/// Into how many slices the sum over images and positions should be cut: so that the device is busy and no invocation
/// loops too long.
pub fn weight_grad_splits(caps: &Caps, p: &Problem) -> u32 {
    if p.check().is_err() {
        return 1;
    }
    let variant = weight_grad_variant(caps, p);
    let p = p.plain();
    let lines = p.n * p.output[0] * p.output[1];
    let (wanted, shortest) = if caps.is_cpu() { (8, 1024) } else { (256, 512) };
    // A slice of at least `shortest` positions.
    let most = (lines / (shortest / p.output[2]).max(1)).max(1);
    let busy = (wanted / weight_groups(&p, variant).max(1)).clamp(1, u64::from(most.min(256))) as u32;
    busy.max(lines.div_ceil(longest_share(&p, variant)))
}

/// Workgroups of one slice.
fn weight_groups(p: &Problem, variant: Variant) -> u64 {
    let rows = p.channels()[0];
    let blocks = |down: u32, across: u32| {
        u64::from(rows.div_ceil(down)) * u64::from(p.chain().div_ceil(across)) * u64::from(p.groups)
    };
    match variant {
        Variant::Subgroup => blocks(8 * rows_per_lane(rows), 32),
        Variant::Tile(size) => blocks(size, size),
        Variant::Direct => (u64::from(p.c_out) * u64::from(p.chain())).div_ceil(64),
    }
}

/// Lines of dy that one invocation can walk.
fn longest_share(p: &Problem, variant: Variant) -> u32 {
    let rounds = match variant {
        Variant::Direct => p.output[2] + 1,
        Variant::Subgroup | Variant::Tile(_) => p.output[2].div_ceil(4) + 1,
    };
    (LONGEST / rounds).max(1)
}

/// dw, from x and dy, as partial sums over `split` slices; `store`'s first index is the slice.
///
/// # Errors
/// As [`forward`], and [`Error::Limit`] if an invocation would loop over more than 60,000 positions: use
/// [`weight_grad_splits`].
pub fn weight_grad(caps: &Caps, p: &Problem, split: u32) -> Result<Launch> {
    p.check()?;
    weight_grad_as(caps, p, split, weight_grad_variant(caps, p))
}

/// [`weight_grad`] by a given variant.
///
/// # Errors
/// As [`weight_grad`].
pub fn weight_grad_as(caps: &Caps, p: &Problem, split: u32, variant: Variant) -> Result<Launch> {
    p.check()?;
    let p = &p.plain();
    if split == 0 {
        return Err(Error::Validation("weight gradient in no slices".into()));
    }
    let [rows, chans] = p.channels();
    let lines = p.n * p.output[0] * p.output[1];
    limit("lines in a slice", lines.div_ceil(split).into(), longest_share(p, variant).into())?;
    let source = match variant {
        Variant::Subgroup => {
            let source = Source::new("conv_weight_subgroup", kiln_shaders::CONV_WEIGHT_SUBGROUP);
            source.constant("PER", format!("{}u", rows_per_lane(rows)))
        }
        Variant::Tile(size) => {
            tiles(Source::new(format!("conv_weight_tile{size}"), kiln_shaders::CONV_WEIGHT_TILE), size)?
        }
        Variant::Direct => Source::new("conv_weight_direct", kiln_shaders::CONV_WEIGHT_DIRECT),
    };
    let mut source = window(source, p);
    let mut width = 1;
    let mut groups = weight_groups(p, variant) * u64::from(split);
    if variant == Variant::Direct {
        groups = (u64::from(p.c_out) * u64::from(p.chain()) * u64::from(split)).div_ceil(64);
    } else {
        if p.output[2].is_multiple_of(4) {
            source = source.alias("D", "vec4<f32>").constant("D_WIDTH", "4u");
        }
        if p.chain().is_multiple_of(4) {
            width = 4;
            let emit = "    if q < sizes.chans * TAPS { store(v, s, c, q); }";
            source = source.alias("F", "vec4<f32>").constant("WIDTH", "4u").slot("emit", emit);
        }
    }
    limit("workgroups", groups, u64::from(caps.max_groups) * 65_535)?;
    let params = axes(Params::new().u32(p.groups).u32(rows).u32(chans).u32(p.n), [p.output, p.input]).u32(split);
    Ok(Launch::new(source, params, fold_groups(groups)).wide(width))
}

/// Subgroup variants: fewer channels a lane for thin groups.
fn rows_per_lane(rows: u32) -> u32 {
    match rows {
        0..=8 => 1,
        9..=16 => 2,
        _ => 4,
    }
}

fn tiles(source: Source, size: u32) -> Result<Source> {
    let blocks = match size {
        32 => "1u",
        64 => "2u",
        _ => return Err(Error::Validation(format!("convolution: tiles are 32 or 64 wide, not {size}"))),
    };
    let source = source.constant("TILE_M", format!("{size}u")).constant("TILE_N", format!("{size}u"));
    Ok(source.constant("RB", blocks).constant("CB", blocks))
}

/// The window, which is part of the kernel's text.
fn window(source: Source, p: &Problem) -> Source {
    let vector = |v: [u32; 3], ty: &str| format!("vec3({}{ty}, {}{ty}, {}{ty})", v[0], v[1], v[2]);
    source
        .constant("KERNEL", vector(p.kernel, "u"))
        .constant("STRIDE", vector(p.stride, ""))
        .constant("PADDING", vector(p.padding, ""))
        .constant("DILATION", vector(p.dilation, ""))
        .constant("FLAT", p.flat())
}

fn axes(params: Params, sizes: [[u32; 3]; 2]) -> Params {
    sizes.iter().flatten().fold(params, |params, &n| params.u32(n))
}
