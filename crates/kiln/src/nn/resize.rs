//! Images made larger or smaller.

use super::{Forward, Module};
use crate::{Extents, Tensor, composed};

/// How [`interpolate`] finds values between elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interpolation {
    /// The element at ⌊i·scale⌋.
    #[default]
    Nearest,
    /// The element whose centre is nearest: at ⌊(i + ½)·scale⌋.
    NearestExact,
    /// A straight line between neighbours along each axis: PyTorch's linear, bilinear and trilinear.
    Linear,
    /// A cubic through four neighbours along both axes of an image (Keys 1981, a = −¾).
    Bicubic,
    /// The mean of the elements that each covers: adaptive average pooling.
    Area,
}

impl Module for Interpolation {
    fn visit(&self, _visitor: &mut super::Visitor<'_>) {}
}

/// What [`interpolate`] makes of an image: an extent for each axis, or a factor.
#[derive(Debug, Clone, PartialEq)]
pub enum Size {
    /// The extents of the result: one for all spatial axes or one for each.
    To(Vec<usize>),
    /// Factors of the extents, rounded down: one for all spatial axes or one for each. As in PyTorch the
    /// places that are read follow the factor, and not the rounded extents.
    By(Vec<f64>),
    /// Factors that give the extents, rounded down, which the places then follow: PyTorch's
    /// `recompute_scale_factor=True`.
    Rounded(Vec<f64>),
}

impl Module for Size {
    fn visit(&self, _visitor: &mut super::Visitor<'_>) {}
}

/// [`interpolate`] as a layer.
///
/// ```
/// # use kiln::prelude::*; let device = Device::open()?;
/// let twice = Upsample::by(2.0);
/// assert_eq!(twice.forward(&Tensor::zeros(&device, [1, 3, 4, 5])).shape()?, [1, 3, 8, 10]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Debug, Clone)]
pub struct Upsample {
    /// The size of the result.
    pub size: Size,
    /// How values between elements are found; the nearest.
    pub mode: Interpolation,
    /// Whether the first and last elements stay where they are; false. For linear and bicubic alone.
    pub align_corners: bool,
    /// Whether an axis that becomes shorter is smoothed as much; false. For images, linear and bicubic, alone. The
    /// cubic is then that of Keys' a = −½, as in PyTorch and Pillow.
    pub antialias: bool,
}

impl Upsample {
    /// Enlarges all axes by `factor`, to the nearest element.
    pub fn by(factor: f64) -> Self {
        Self::with(Size::By(vec![factor]))
    }

    /// Resizes to extents, to the nearest element.
    pub fn to(extents: impl Extents) -> Self {
        Self::with(Size::To(super::sizes(&extents)))
    }

    /// Resizes as `size` says, to the nearest element.
    pub fn with(size: Size) -> Self {
        Self { size, mode: Interpolation::Nearest, align_corners: false, antialias: false }
    }

    /// Sets how values between elements are found.
    #[must_use]
    pub fn mode(mut self, mode: Interpolation) -> Self {
        self.mode = mode;
        self
    }

    /// Leaves the first and last elements where they are.
    #[must_use]
    pub fn align_corners(mut self) -> Self {
        self.align_corners = true;
        self
    }

    /// Smooths axes that become shorter.
    #[must_use]
    pub fn antialias(mut self) -> Self {
        self.antialias = true;
        self
    }
}

impl Forward for Upsample {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        composed(OP, || self.resize(x))
    }
}

const OP: &str = "interpolate";

/// Images `x [batch, channels, ..]` resized along their one to three spatial axes: PyTorch's `interpolate`;
/// with `antialias` it is that of [`Upsample`]. Axes are resized one after another, each as a product with a matrix
/// of weights or a look-up.
///
/// # Errors
/// The result carries [`Error::Shape`](crate::Error::Shape) for another number of axes,
/// [`Error::Argument`](crate::Error::Argument) for sizes that do not fit, or for `align_corners` or bicubic
/// where PyTorch refuses them.
#[track_caller]
pub fn interpolate(x: &Tensor, size: &Size, mode: Interpolation, align_corners: bool) -> Tensor {
    Upsample { align_corners, ..Upsample::with(size.clone()).mode(mode) }.forward(x)
}

impl Upsample {
    #[track_caller]
    fn resize(&self, x: &Tensor) -> Tensor {
        let Ok(shape) = x.shape() else { return x.clone() };
        if !(3..=5).contains(&shape.rank()) {
            return Tensor::bad_shape(OP, &[x], "[batch, channels, ..] with one to three spatial axes");
        }
        let axes = shape.rank() - 2;
        if self.mode == Interpolation::Bicubic && axes != 2 {
            return Tensor::bad_shape(OP, &[x], "bicubic is for [batch, channels, h, w]");
        }
        let smooth = matches!(self.mode, Interpolation::Linear | Interpolation::Bicubic);
        if self.align_corners && !smooth {
            return x.bad_argument(OP, "align_corners", true, "false but for linear and bicubic");
        }
        if self.antialias && !(smooth && axes == 2) {
            return x.bad_argument(OP, "antialias", true, "false but for images, linear and bicubic");
        }
        let resized = (0..axes).map(|axis| resized(&self.size, axes, axis, shape[axis + 2]));
        let Some(resized) = resized.collect::<Option<Vec<_>>>() else {
            let why = "positive, one for all axes or one for each";
            return x.bad_argument(OP, "size", format!("{:?}", self.size), why);
        };
        if shape[2..].contains(&0) {
            return Tensor::bad_shape(OP, &[x], "no element to take values from");
        }
        if self.mode == Interpolation::Area {
            let extents: Vec<usize> = resized.iter().map(|&(extent, _)| extent).collect();
            return match axes {
                1 => x.adaptive_avg_pool1d(extents),
                2 => x.adaptive_avg_pool2d(extents),
                _ => x.adaptive_avg_pool3d(extents),
            };
        }
        resized
            .into_iter()
            .enumerate()
            .fold(x.clone(), |x, (axis, (outputs, scale))| self.along(&x, axis + 2, shape[axis + 2], outputs, scale))
    }

    /// One axis resized.
    #[track_caller]
    fn along(&self, x: &Tensor, axis: usize, inputs: usize, outputs: usize, scale: f64) -> Tensor {
        if inputs == outputs && scale == 1.0 {
            return x.clone();
        }
        let nearest = |half: f32| -> Tensor {
            // in single precision, as in PyTorch
            let at = |i: usize| (((i as f32 + half) * scale as f32).floor() as usize).min(inputs - 1) as i32;
            x.index_select(axis as i64, &Tensor::from_vec(x.device(), (0..outputs).map(at).collect(), &[outputs]))
        };
        let cubic = match self.mode {
            Interpolation::Nearest => return nearest(0.0),
            Interpolation::NearestExact => return nearest(0.5),
            Interpolation::Linear | Interpolation::Area => false,
            Interpolation::Bicubic => true,
        };
        let scale = match (self.align_corners, outputs) {
            (true, 1) => 0.0,
            (true, _) => (inputs - 1) as f64 / (outputs - 1) as f64,
            (false, _) => scale,
        };
        let mut weights = vec![0.0f32; outputs * inputs];
        for (o, row) in weights.chunks_mut(inputs).enumerate() {
            let centre = (o as f64 + 0.5) * scale;
            match (self.antialias, self.align_corners) {
                (true, _) => smoothed(row, centre, scale, cubic),
                (false, true) => spread(row, o as f64 * scale, cubic),
                (false, false) if cubic => spread(row, centre - 0.5, cubic),
                (false, false) => spread(row, (centre - 0.5).max(0.0), cubic),
            }
        }
        let weights = Tensor::from_vec(x.device(), weights, &[outputs, inputs]);
        let axis = axis as i64;
        x.transpose(axis, -1).matmul(&weights.t()).transpose(axis, -1)
    }
}

/// The extent of the result along one axis, and how far apart its elements lie in the input.
fn resized(size: &Size, axes: usize, axis: usize, extent: usize) -> Option<(usize, f64)> {
    match size {
        Size::To(list) if list.len() == 1 || list.len() == axes => {
            let outputs = list.get(axis).or(list.first()).copied().filter(|n| (1..=i32::MAX as usize).contains(n))?;
            Some((outputs, extent as f64 / outputs as f64))
        }
        Size::By(list) | Size::Rounded(list) if list.len() == 1 || list.len() == axes => {
            let factor = list.get(axis).or(list.first()).copied().filter(|f| f.is_finite() && *f > 0.0)?;
            let outputs = (extent as f64 * factor).floor();
            let rounded = matches!(size, Size::Rounded(_));
            let scale = if rounded { extent as f64 / outputs } else { 1.0 / factor };
            (1.0..=f64::from(i32::MAX)).contains(&outputs).then_some((outputs as usize, scale))
        }
        _ => None,
    }
}

/// The weights of the elements of a row in the value at `place`; those past the ends count as the last ones.
fn spread(row: &mut [f32], place: f64, cubic: bool) {
    let last = row.len() as i64 - 1;
    let (first, t) = (place.floor(), place - place.floor());
    let mut add = |offset: i64, weight: f64| {
        let at = (first as i64 + offset).clamp(0, last);
        row[at as usize] += weight as f32;
    };
    if !cubic {
        add(0, 1.0 - t);
        add(1, t);
        return;
    }
    for offset in -1..=2 {
        add(offset, keys(t - offset as f64, -0.75));
    }
}

/// The weights of the elements of a row in the value around `centre` (the first element lies at ½), each by how far it
/// lies from there, in steps of the result where those are wider.
fn smoothed(row: &mut [f32], centre: f64, scale: f64, cubic: bool) {
    let wide = scale.max(1.0);
    let support = if cubic { 2.0 } else { 1.0 } * wide;
    let first = ((centre - support + 0.5) as i64).max(0);
    let end = ((centre + support + 0.5) as i64).min(row.len() as i64).max(first);
    let weight = |at: i64| {
        let d = (at as f64 - centre + 0.5) / wide;
        if cubic { keys(d, -0.5) } else { (1.0 - d.abs()).max(0.0) }
    };
    let sum: f64 = (first..end).map(weight).sum();
    for at in first..end {
        row[at as usize] = (weight(at) / sum) as f32;
    }
}

/// Keys' cubic at distance `d`.
fn keys(d: f64, a: f64) -> f64 {
    let d = d.abs();
    if d < 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}
