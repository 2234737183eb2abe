//! Convolutions and their gradients, on square images with windows that keep the size (stride 1, padding kernel / 2).

use kiln::gpu::Caps;
use kiln::gpu::kernels::conv::{self, Direction, Elem, Problem};
use kiln::prelude::*;

use crate::bench::data::Data;
use crate::bench::op::{Case, Op, Work, any_size, dims, no_variants, wide};
use crate::bench::ops::matmul::tolerance;
use crate::bench::subject::Subject;
use crate::bench::twin::Twin;
use crate::failure::{Failure, Result};

const AXES: &[&str] = &["images", "c_in", "c_out", "side", "kernel"];
const LADDER: &[&[usize]] =
    &[&[8, 16, 32, 32, 3], &[16, 64, 64, 28, 3], &[64, 64, 128, 56, 3], &[128, 128, 256, 56, 3]];

pub(crate) const OPS: &[Op] = &[
    row("conv2d", "y = x * w", |caps, case| names(caps, case, Way::Forward), |d, c| make(d, c, Way::Forward)),
    row("conv2d_dx", "dx, from dy and w", |caps, case| names(caps, case, Way::Input), |d, c| make(d, c, Way::Input)),
    row("conv2d_dw", "dw, from x and dy", |caps, case| names(caps, case, Way::Weight), |d, c| make(d, c, Way::Weight)),
    Op {
        name: "conv2d_1x1",
        about: "y = x * w with a window of one element",
        ladder: &[&[8, 64, 64, 16, 1], &[16, 128, 128, 28, 1], &[64, 256, 256, 56, 1]],
        ..row("", "", |caps, case| names(caps, case, Way::Forward), |d, c| make(d, c, Way::Forward))
    },
    Op {
        name: "conv2d_depthwise",
        family: "conv",
        about: "y = x * w, a window for each channel",
        axes: &["images", "channels", "side", "kernel"],
        ladder: &[&[8, 32, 32, 3], &[16, 128, 28, 3], &[64, 256, 56, 3]],
        half: false,
        work: |size| {
            let [n, c, side, kernel] = wide(size);
            let image = n * c * side * side;
            let held = 2.0 * image + c * kernel * kernel;
            Work { flops: 2.0 * image * kernel * kernel, moved: held, moved_f32: 0.0, held, largest: image }
        },
        valid: odd_window,
        variants: no_variants,
        make: depthwise,
    },
];

/// What is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Forward,
    Input,
    Weight,
}

const fn row(
    name: &'static str,
    about: &'static str,
    variants: fn(&Caps, &Case) -> Vec<String>,
    make: fn(&Device, &Case) -> Result<Subject>,
) -> Op {
    Op { name, family: "conv", about, axes: AXES, ladder: LADDER, half: true, work, valid: odd_window, variants, make }
}

/// The window is the last axis, the side of the images the one before.
fn odd_window(size: &[usize]) -> Option<&'static str> {
    match size.last() {
        Some(kernel) if kernel % 2 == 0 => Some("the window has a middle, so its kernel is odd"),
        Some(kernel) if size.len() > 1 && *kernel > 2 * size[size.len() - 2] => {
            Some("the window is larger than its image")
        }
        _ => any_size(size),
    }
}

fn work(size: &[usize]) -> Work {
    let [n, c_in, c_out, side, kernel] = wide(size);
    let (x, y, w) = (n * c_in * side * side, n * c_out * side * side, c_in * c_out * kernel * kernel);
    let held = x + y + w;
    Work { flops: 2.0 * y * c_in * kernel * kernel, moved: held, moved_f32: 0.0, held, largest: x.max(y).max(w) }
}

/// A convolution of that size, and its operands.
#[derive(Clone, Copy)]
struct Sizes {
    n: usize,
    c_in: usize,
    c_out: usize,
    side: usize,
    kernel: usize,
}

impl Sizes {
    fn of(case: &Case) -> Result<Self> {
        let [n, c_in, c_out, side, kernel] = case.dims()?;
        Ok(Self { n, c_in, c_out, side, kernel })
    }

    fn x(&self) -> [usize; 4] {
        [self.n, self.c_in, self.side, self.side]
    }

    fn y(&self) -> [usize; 4] {
        [self.n, self.c_out, self.side, self.side]
    }

    fn w(&self) -> [usize; 4] {
        [self.c_out, self.c_in, self.kernel, self.kernel]
    }

    fn problem(&self, way: Way, dtype: DType) -> Problem {
        let [n, c_in, c_out, side, kernel] = [self.n, self.c_in, self.c_out, self.side, self.kernel].map(|n| n as u32);
        let flat = |n: u32| [1, n, n];
        let padding = [0, kernel / 2, kernel / 2];
        let (input, kernel) = (flat(side), flat(kernel));
        let direction = match way {
            Way::Forward => Direction::Forward,
            Way::Input => Direction::Input,
            Way::Weight => Direction::Weight,
        };
        Problem {
            direction,
            elem: if dtype == DType::F16 { Elem::F16 } else { Elem::F32 },
            n,
            c_in,
            c_out,
            groups: 1,
            input,
            output: input,
            kernel,
            stride: [1; 3],
            padding,
            dilation: [1; 3],
        }
    }

    /// How many products a result has.
    fn chain(&self, way: Way) -> usize {
        match way {
            Way::Forward => self.c_in * self.kernel * self.kernel,
            Way::Input => self.c_out * self.kernel * self.kernel,
            Way::Weight => self.n * self.side * self.side,
        }
    }

    /// The definition.
    fn twin(self, way: Way, [x, w, dy]: [Data; 3]) -> Twin {
        let Self { n, c_in, c_out, side, kernel } = self;
        let pad = (kernel / 2) as isize;
        // an element of an image, zero outside of it
        let pixel = move |data: Data, channels: usize, at: [usize; 2], row: isize, col: isize| {
            let inside = |v: isize| v >= 0 && (v as usize) < side;
            let index = || ((at[0] * channels + at[1]) * side + row as usize) * side + col as usize;
            if inside(row) && inside(col) { data.wide(index()) } else { 0.0 }
        };
        let weight =
            move |co: usize, ci: usize, r: usize, s: usize| w.wide(((co * c_in + ci) * kernel + r) * kernel + s);
        let taps = move || (0..kernel).flat_map(move |r| (0..kernel).map(move |s| (r, s)));
        let cost = self.chain(way);
        match way {
            Way::Forward => Twin::each(n * c_out * side * side, cost, move |i| {
                let (image, co, row, col) =
                    (i / side / side / c_out, i / side / side % c_out, i / side % side, i % side);
                let sum = |ci: usize| {
                    let at =
                        |(r, s): (usize, usize)| (row as isize + r as isize - pad, col as isize + s as isize - pad);
                    taps()
                        .map(|t| pixel(x, c_in, [image, ci], at(t).0, at(t).1) * weight(co, ci, t.0, t.1))
                        .sum::<f64>()
                };
                (0..c_in).map(sum).sum()
            }),
            Way::Input => Twin::each(n * c_in * side * side, cost, move |i| {
                let (image, ci, row, col) = (i / side / side / c_in, i / side / side % c_in, i / side % side, i % side);
                let sum = |co: usize| {
                    let at =
                        |(r, s): (usize, usize)| (row as isize - r as isize + pad, col as isize - s as isize + pad);
                    taps()
                        .map(|t| pixel(dy, c_out, [image, co], at(t).0, at(t).1) * weight(co, ci, t.0, t.1))
                        .sum::<f64>()
                };
                (0..c_out).map(sum).sum()
            }),
            Way::Weight => Twin::each(c_out * c_in * kernel * kernel, cost, move |i| {
                let (co, ci) = (i / kernel / kernel / c_in, i / kernel / kernel % c_in);
                let (r, s) = (i / kernel % kernel, i % kernel);
                let products = (0..n * side * side).map(|p| {
                    let (image, row, col) = (p / side / side, (p / side % side) as isize, (p % side) as isize);
                    let dy = pixel(dy, c_out, [image, co], row, col);
                    dy * pixel(x, c_in, [image, ci], row + r as isize - pad, col + s as isize - pad)
                });
                products.sum()
            }),
        }
    }
}

/// The variants that this device can run, by name.
fn names(caps: &Caps, case: &Case, way: Way) -> Vec<String> {
    let variants =
        Sizes::of(case).map(|sizes| conv::variants(caps, &sizes.problem(way, case.dtype))).unwrap_or_default();
    variants.iter().map(ToString::to_string).collect()
}

fn make(device: &Device, case: &Case, way: Way) -> Result<Subject> {
    let sizes = Sizes::of(case)?;
    let data = [1, 2, 3].map(|seed| Data::new(seed, case.dtype));
    let judged = (sizes.twin(way, data), tolerance(sizes.chain(way), case.dtype));
    if let Some(wanted) = &case.variant {
        return kernel(device, wanted, sizes, (way, case.dtype), (data, judged));
    }
    let [x, w, dy] = [(data[0], sizes.x()), (data[1], sizes.w()), (data[2], sizes.y())];
    let (x, w, dy) = (x.0.tensor(device, &x.1)?, w.0.tensor(device, &w.1)?, dy.0.tensor(device, &dy.1)?);
    let conv = Conv { padding: vec![sizes.kernel / 2], ..Conv::default() };
    let expression = move || {
        let y = x.conv2d(&w, None, &conv);
        match way {
            Way::Forward => y,
            Way::Input => gradient(&(y * &dy), &x),
            Way::Weight => gradient(&(y * &dy), &w),
        }
    };
    Ok(Subject::tensor(expression, judged.0, judged.1))
}

/// d Σ y / d x. A wrong one is found by the twin: the tensor itself has another shape or other numbers.
pub(crate) fn gradient(y: &Tensor, x: &Tensor) -> Tensor {
    y.sum().grad(&[x]).ok().and_then(|mut list| list.pop()).unwrap_or_else(|| y.clone())
}

fn kernel(
    device: &Device,
    wanted: &str,
    sizes: Sizes,
    (way, dtype): (Way, DType),
    (data, judged): ([Data; 3], (Twin, f64)),
) -> Result<Subject> {
    let (caps, p) = (device.caps(), sizes.problem(way, dtype));
    let found = conv::variants(caps, &p).into_iter().find(|variant| variant.to_string() == wanted);
    let variant = found.ok_or_else(|| Failure::Usage(format!("conv2d has no variant `{wanted}` here")))?;
    let shape = match way {
        Way::Forward => sizes.y(),
        Way::Input => sizes.x(),
        Way::Weight => sizes.w(),
    };
    let elements: usize = shape.iter().product();
    let upload = |data: Data, shape: [usize; 4]| -> Result<_> {
        Ok(device.upload(&data.bytes(shape.iter().product())?, "operand")?)
    };
    let (x, w, dy) = (upload(data[0], sizes.x())?, upload(data[1], sizes.w())?, upload(data[2], sizes.y())?);
    let out = device.zeroed(4 * elements as u64, "out")?;
    let bindings = [("x", &x), ("w", &w), ("dy", &dy), ("out", &out)];
    let steps = conv::stages(caps, &p, &variant)?.steps(device, &bindings)?;
    Ok(Subject::kernels(device, steps, &out, |result| result, judged)?.named(variant.to_string()))
}

fn depthwise(device: &Device, case: &Case) -> Result<Subject> {
    let [n, channels, side, kernel] = dims(&case.size).unwrap_or_default();
    let (x, w) = (Data::new(1, case.dtype), Data::new(2, case.dtype));
    let pad = (kernel / 2) as isize;
    let twin = Twin::each(n * channels * side * side, kernel * kernel, move |i| {
        let (plane, row, col) = (i / side / side, (i / side % side) as isize, (i % side) as isize);
        let mut sum = 0.0;
        for (r, s) in (0..kernel).flat_map(|r| (0..kernel).map(move |s| (r, s))) {
            let (row, col) = (row + r as isize - pad, col + s as isize - pad);
            if [row, col].iter().all(|&v| v >= 0 && (v as usize) < side) {
                let pixel = x.wide((plane * side + row as usize) * side + col as usize);
                sum += pixel * w.wide((plane % channels * kernel + r) * kernel + s);
            }
        }
        sum
    });
    let (x, w) = (x.tensor(device, &[n, channels, side, side])?, w.tensor(device, &[channels, 1, kernel, kernel])?);
    let conv = Conv { padding: vec![kernel / 2], groups: channels, ..Conv::default() };
    Ok(Subject::tensor(move || x.conv2d(&w, None, &conv), twin, 1e-5))
}
