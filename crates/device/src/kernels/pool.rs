//! Max and average pooling in 1 to 3 dimensions and their gradients, all in gather form: no atomics, a fixed order.
//!
//! x is contiguous [planes, depth, height, width], y likewise; fewer dimensions are leading ones, and planes are images
//! times channels. Positions of a plane (`p`) are counted linearly.
//!
//! | launcher | bindings | slot |
//! | --- | --- | --- |
//! | [`max`] | `x`, `index`, `out` | `store(v: F, nc: u32, p: u32)`; writes `index` too |
//! | [`max_grad`] | `dy`, `index`, `out` | the same, over x's shape |
//! | [`avg`] | `x`, `out` | `store(v: F, nc: u32, p: u32)` |
//! | [`avg_grad`] | `dy`, `out` | the same, over x's shape |
//!
//! `index` is `array<i32>`: the position in the plane of x that was taken. F is f32, or `vec4<f32>` when
//! [`Launch::width`] is 4. The window is part of the kernel's text; planes and spatial sizes are run-time parameters.

use crate::{Caps, Error, Launch, Params, Result, Source, fold_groups};

/// A pooling. `ceil_mode` shows in `output` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// Images times channels.
    pub planes: u32,
    /// Depth, height and width of x.
    pub input: [u32; 3],
    /// Depth, height and width of y.
    pub output: [u32; 3],
    /// Sizes of the window.
    pub kernel: [u32; 3],
    /// Steps of the window.
    pub stride: [u32; 3],
    /// Elements before and behind each axis of x: never the maximum, zeros for the average.
    pub padding: [u32; 3],
    /// Distances of the window's elements; 1 for averages.
    pub dilation: [u32; 3],
    /// Window `o` is ⌊o · input / output⌋ .. ⌈(o + 1) · input / output⌉ along each axis, and the other fields of a window
    /// are not read.
    pub adaptive: bool,
}

/// What a window's sum is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Divisor {
    /// The elements of the window, padding included.
    WithPadding,
    /// The elements of x in the window.
    WithoutPadding,
    /// A given number, at least 1.
    Fixed(u32),
}

/// Rounds of a loop that one invocation may take: past 65,535 lavapipe 22.3 stops silently.
const LONGEST: u64 = 60_000;

impl Problem {
    fn check(&self) -> Result<()> {
        let axes = [self.input, self.output, self.kernel, self.stride, self.dilation];
        if self.planes == 0 || axes.iter().flatten().any(|&n| n == 0) {
            return Err(Error::Validation(format!("pooling of no elements: {self:?}")));
        }
        let elements = |v: [u32; 3]| v.iter().fold(u64::from(self.planes), |n, &size| n.saturating_mul(size.into()));
        limit("elements", elements(self.input).max(elements(self.output)), i32::MAX as u64)?;
        let product = |a: usize| (u64::from(self.input[a]) + 1) * (u64::from(self.output[a]) + 1);
        let most = if self.adaptive { (0..3).map(product).max().unwrap_or(0) } else { 0 };
        limit("elements of an axis times windows along it", most, u32::MAX.into())
    }

    /// Checks that four positions, each with a window of `taps`, are not too much for one invocation.
    fn check_rounds(&self, taps: [u32; 3]) -> Result<()> {
        limit("elements in a window", taps.iter().fold(4, |n: u64, &tap| n.saturating_mul(tap.into())), LONGEST)
    }

    /// Elements of a window per axis, at most.
    fn window(&self) -> [u32; 3] {
        if !self.adaptive {
            return self.kernel;
        }
        [0, 1, 2].map(|a| self.input[a].div_ceil(self.output[a]) + 1)
    }

    /// Outputs per axis that may reach one position.
    fn reached(&self) -> [u32; 3] {
        if self.adaptive {
            return [0, 1, 2].map(|a| self.output[a].div_ceil(self.input[a]) + 1);
        }
        let reach = |i: usize| (self.kernel[i] - 1).saturating_mul(self.dilation[i]) / self.stride[i] + 1;
        [0, 1, 2].map(|i| if reach(i) <= 4 { reach(i) } else { reach(i).min(self.output[i]) })
    }

    /// The launch of a kernel whose invocations own positions of planes of size `to`.
    fn launch(&self, source: Source, to: [u32; 3], emit: &str, divisor: Option<Divisor>) -> Launch {
        let vector = |v: [u32; 3]| format!("vec3({}u, {}u, {}u)", v[0], v[1], v[2]);
        let area: u32 = to.iter().product();
        let width = if area.is_multiple_of(4) { 4 } else { 1 };
        // one text for all adaptive windows
        let [kernel, stride, padding] =
            if self.adaptive { [[1; 3], [1; 3], [0; 3]] } else { [self.kernel, self.stride, self.padding] };
        let mut source = source
            .constant("KERNEL", vector(kernel))
            .constant("STRIDE", vector(stride))
            .constant("PADDING", vector(padding))
            .constant("ADAPTIVE", self.adaptive)
            .constant("FLAT", self.input[0] == 1 && self.output[0] == 1);
        let mut params = Params::new().u32(self.planes);
        params = self.input.iter().chain(&self.output).fold(params, |params, &n| params.u32(n));
        match divisor {
            Some(divisor) => {
                source = source.constant("COUNT_PADDING", divisor == Divisor::WithPadding && !self.adaptive);
                params = params.u32(if let Divisor::Fixed(n) = divisor { n } else { 0 });
            }
            None => {
                source = source.constant("DILATION", if self.adaptive { vector([1; 3]) } else { vector(self.dilation) })
            }
        }
        if width == 4 {
            source = source.alias("F", "vec4<f32>").constant("WIDTH", "4u").slot("emit", emit);
        }
        let invocations = u64::from(self.planes) * u64::from(area) / u64::from(width);
        let [d, h, w] = self.window();
        let launch = Launch::new(source, params, fold_groups(invocations.div_ceil(64))).wide(width);
        launch.costing([self.planes, area, d, h, w])
    }
}

fn limit(what: &'static str, needs: u64, has: u64) -> Result<()> {
    if needs <= has {
        return Ok(());
    }
    Err(Error::Limit { kernel: "pool".into(), what, needs, has })
}

/// The greatest element of each window and where it is. As in PyTorch the first of equals is taken, NaN is greater
/// than all, and of several NaN the last is taken.
///
/// # Errors
/// [`Error::Validation`] for an axis of no elements, [`Error::Limit`] for more than 2³¹ elements or a window of more
/// than 15,000.
pub fn max(_caps: &Caps, p: &Problem) -> Result<Launch> {
    p.check()?;
    p.check_rounds(p.window())?;
    let mut source = Source::new("max_pool", kiln_shaders::MAX_POOL);
    if p.output.iter().product::<u32>().is_multiple_of(4) {
        source = source.alias("I", "vec4<i32>");
    }
    Ok(p.launch(source, p.output, "    index[i / 4u] = at;\n    store(v, nc, p);", None))
}

/// The gradient of [`max`]: each element of `dy` goes where `index` says.
///
/// # Errors
/// As [`max`].
pub fn max_grad(_caps: &Caps, p: &Problem) -> Result<Launch> {
    p.check()?;
    p.check_rounds(p.reached())?;
    let source = Source::new("max_pool_grad", kiln_shaders::MAX_POOL_GRAD);
    Ok(p.launch(source, p.input, "    store(v, nc, p);", None))
}

/// The mean of each window.
///
/// # Errors
/// As [`max`], and [`Error::Validation`] for a dilation other than 1 or a divisor of 0.
pub fn avg(_caps: &Caps, p: &Problem, divisor: Divisor) -> Result<Launch> {
    check_avg(p, divisor)?;
    p.check_rounds(p.window())?;
    let source = Source::new("avg_pool", kiln_shaders::AVG_POOL);
    Ok(p.launch(source, p.output, "    store(v, nc, p);", Some(divisor)))
}

/// The gradient of [`avg`].
///
/// # Errors
/// As [`avg`].
pub fn avg_grad(_caps: &Caps, p: &Problem, divisor: Divisor) -> Result<Launch> {
    check_avg(p, divisor)?;
    p.check_rounds(p.reached())?;
    let source = Source::new("avg_pool_grad", kiln_shaders::AVG_POOL_GRAD);
    Ok(p.launch(source, p.input, "    store(v, nc, p);", Some(divisor)))
}

fn check_avg(p: &Problem, divisor: Divisor) -> Result<()> {
    if p.dilation != [1; 3] || divisor == Divisor::Fixed(0) {
        return Err(Error::Validation(format!(
            "average pooling with a dilation or divided by zero: {p:?}, {divisor:?}"
        )));
    }
    p.check()
}
