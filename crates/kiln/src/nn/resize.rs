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
    /// A cubic through four neighbours along both axes of an image (Keys 1981, a = −0.75).
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
}

impl Upsample {
    /// Enlarges all axes by `factor`, to the nearest element.
    pub fn by(factor: f64) -> Self {
        Self { size: Size::By(vec![factor]), mode: Interpolation::Nearest, align_corners: false }
    }

    /// Resizes to extents, to the nearest element.
    pub fn to(extents: impl Extents) -> Self {
        Self { size: Size::To(super::sizes(&extents)), mode: Interpolation::Nearest, align_corners: false }
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
}

impl Forward for Upsample {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        interpolate(x, &self.size, self.mode, self.align_corners)
    }
}

/// Images `x [batch, channels, ..]` resized along their one to three spatial axes: PyTorch's `interpolate`,
/// without `antialias`. Axes are resized one after another, each as a product with a matrix of weights or a
/// look-up.
///
/// # Errors
/// The result carries [`Error::Shape`](crate::Error::Shape) for another number of axes,
/// [`Error::Argument`](crate::Error::Argument) for sizes that do not fit, or for `align_corners` or bicubic
/// where PyTorch refuses them.
#[track_caller]
pub fn interpolate(x: &Tensor, size: &Size, mode: Interpolation, align_corners: bool) -> Tensor {
    const OP: &str = "interpolate";
    composed(OP, || {
        let Ok(shape) = x.shape() else { return x.clone() };
        if !(3..=5).contains(&shape.rank()) {
            return Tensor::bad_shape(OP, &[x], "[batch, channels, ..] with one to three spatial axes");
        }
        let axes = shape.rank() - 2;
        if mode == Interpolation::Bicubic && axes != 2 {
            return Tensor::bad_shape(OP, &[x], "bicubic is for [batch, channels, h, w]");
        }
        let smooth = matches!(mode, Interpolation::Linear | Interpolation::Bicubic);
        if align_corners && !smooth {
            return x.bad_argument(OP, "align_corners", true, "false but for linear and bicubic");
        }
        let Some(resized) =
            (0..axes).map(|axis| resized(size, axes, axis, shape[axis + 2])).collect::<Option<Vec<_>>>()
        else {
            return x.bad_argument(OP, "size", format!("{size:?}"), "positive, one for all axes or one for each");
        };
        if shape[2..].contains(&0) {
            return Tensor::bad_shape(OP, &[x], "no element to take values from");
        }
        if mode == Interpolation::Area {
            let extents: Vec<usize> = resized.iter().map(|&(extent, _)| extent).collect();
            return match axes {
                1 => x.adaptive_avg_pool1d(extents),
                2 => x.adaptive_avg_pool2d(extents),
                _ => x.adaptive_avg_pool3d(extents),
            };
        }
        resized.into_iter().enumerate().fold(x.clone(), |x, (axis, (outputs, scale))| {
            along(&x, axis + 2, shape[axis + 2], outputs, scale, mode, align_corners)
        })
    })
}

/// The extent of the result along one axis, and how far apart its elements lie in the input.
fn resized(size: &Size, axes: usize, axis: usize, extent: usize) -> Option<(usize, f64)> {
    match size {
        Size::To(list) if list.len() == 1 || list.len() == axes => {
            let outputs = list.get(axis).or(list.first()).copied().filter(|&n| n > 0)?;
            Some((outputs, extent as f64 / outputs as f64))
        }
        Size::By(list) if list.len() == 1 || list.len() == axes => {
            let factor = list.get(axis).or(list.first()).copied().filter(|f| f.is_finite() && *f > 0.0)?;
            let outputs = (extent as f64 * factor).floor();
            (1.0..=f64::from(i32::MAX)).contains(&outputs).then_some((outputs as usize, 1.0 / factor))
        }
        _ => None,
    }
}

/// One axis resized.
#[track_caller]
fn along(
    x: &Tensor,
    axis: usize,
    inputs: usize,
    outputs: usize,
    scale: f64,
    mode: Interpolation,
    align_corners: bool,
) -> Tensor {
    if inputs == outputs && scale == 1.0 {
        return x.clone();
    }
    let nearest = |half: f32| -> Tensor {
        // in single precision, as in PyTorch
        let at = |i: usize| (((i as f32 + half) * scale as f32).floor() as usize).min(inputs - 1) as i32;
        x.index_select(axis as i64, &Tensor::from_vec(x.device(), (0..outputs).map(at).collect(), &[outputs]))
    };
    match mode {
        Interpolation::Nearest => nearest(0.0),
        Interpolation::NearestExact => nearest(0.5),
        Interpolation::Linear | Interpolation::Bicubic | Interpolation::Area => {
            let cubic = mode == Interpolation::Bicubic;
            let mut weights = vec![0.0f32; outputs * inputs];
            for (o, row) in weights.chunks_mut(inputs).enumerate() {
                let place = match (align_corners, outputs) {
                    (true, 1) => 0.0,
                    (true, _) => o as f64 * (inputs - 1) as f64 / (outputs - 1) as f64,
                    (false, _) if cubic => (o as f64 + 0.5) * scale - 0.5,
                    (false, _) => ((o as f64 + 0.5) * scale - 0.5).max(0.0),
                };
                spread(row, place, cubic);
            }
            let weights = Tensor::from_vec(x.device(), weights, &[outputs, inputs]);
            let axis = axis as i64;
            x.transpose(axis, -1).matmul(&weights.t()).transpose(axis, -1)
        }
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
    const A: f64 = -0.75;
    let near = |d: f64| ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0;
    let far = |d: f64| ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A;
    for (offset, weight) in [(-1, far(t + 1.0)), (0, near(t)), (1, near(1.0 - t)), (2, far(2.0 - t))] {
        add(offset, weight);
    }
}
