//! Images read at any places: the sampling of spatial transformers.

use crate::{DType, Lit, Tensor, composed};

/// How [`grid_sample`] finds values between elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GridMode {
    /// A straight line between neighbours along each axis.
    #[default]
    Linear,
    /// The nearest element, of two as near the even one.
    Nearest,
    /// A cubic through four neighbours along each axis (Keys 1981, a = −¾).
    Bicubic,
}

/// What [`grid_sample`] reads outside of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GridPadding {
    /// Zeros.
    #[default]
    Zeros,
    /// The nearest element of the edge.
    Border,
    /// The image mirrored at its edge.
    Reflection,
}

/// Settings of [`grid_sample`], PyTorch's by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GridOptions {
    /// How values between elements are found; linear.
    pub mode: GridMode,
    /// What is read outside of the image; zeros.
    pub padding: GridPadding,
    /// Whether −1 and 1 are the centres of the first and last elements, not the ends of the image; false.
    pub align_corners: bool,
}

/// The places that affine maps `theta` take each element of an image of `extents` to, for [`grid_sample`].
///
/// Shapes: `theta [batch, 2, 3]` and `extents [h, w]` → `[batch, h, w, 2]`; `[batch, 3, 4]` and `[d, h, w]` →
/// `[batch, d, h, w, 3]`. Coordinates go from −1 to 1, that of the last axis first.
///
/// # Errors
/// The result carries [`Error::Shape`](crate::Error::Shape) if they do not fit.
///
/// Source: Jaderberg, Simonyan, Zisserman & Kavukcuoglu 2015, "Spatial transformer networks", eq. 1.
#[track_caller]
pub fn affine_grid(theta: &Tensor, extents: &[usize], align_corners: bool) -> Tensor {
    composed("affine_grid", || {
        let Ok(shape) = theta.shape() else { return theta.clone() };
        let axes = extents.len();
        if !(2..=3).contains(&axes) || shape.rank() != 3 || shape[1..] != [axes, axes + 1] {
            let why = "theta [batch, 2, 3] for images, [batch, 3, 4] for volumes";
            return Tensor::bad_shape("affine_grid", &[theta], why);
        }
        let places = extents.iter().try_fold(1usize, |places, &extent| places.checked_mul(extent));
        let Some(places) = places.filter(|&places| places <= i32::MAX as usize) else {
            return theta.bad_argument("affine_grid", "extents", format!("{extents:?}"), "fewer than 2³¹ places");
        };
        let mut base = Vec::with_capacity(places * (axes + 1));
        for place in 0..places {
            let mut left = place;
            for &extent in extents.iter().rev() {
                base.push(centre(left % extent, extent, align_corners) as f32);
                left /= extent;
            }
            base.push(1.0);
        }
        let base = Tensor::from_vec(theta.device(), base, &[places, axes + 1]);
        base.matmul(&theta.transpose(1, 2)).reshape([&[shape[0]], extents, &[axes]].concat())
    })
}

/// The coordinate of element `i` of `extent`.
fn centre(i: usize, extent: usize, align_corners: bool) -> f64 {
    match (align_corners, extent) {
        (true, 0 | 1) => 0.0,
        (true, _) => 2.0 * i as f64 / (extent - 1) as f64 - 1.0,
        (false, _) => (2.0 * i as f64 + 1.0) / extent as f64 - 1.0,
    }
}

/// The values of images `x` at the places that `grid` names: PyTorch's `grid_sample`.
///
/// Shapes: `x [batch, channels, h, w]`, `grid [batch, h', w', 2]` → `[batch, channels, h', w']`; volumes alike, with
/// `grid [batch, d', h', w', 3]`. A place is its coordinates, that of the last axis first; −1 and 1 are the ends of
/// the image. Gradients reach `x` and, but for the nearest element, `grid`.
///
/// # Errors
/// The result carries [`Error::Shape`](crate::Error::Shape) if they do not fit.
///
/// Source: Jaderberg, Simonyan, Zisserman & Kavukcuoglu 2015, "Spatial transformer networks", eq. 3.
#[track_caller]
pub fn grid_sample(x: &Tensor, grid: &Tensor, options: GridOptions) -> Tensor {
    const OP: &str = "grid_sample";
    composed(OP, || {
        let (Ok(own), Ok(given)) = (x.shape(), grid.shape()) else {
            return if x.shape().is_err() { x.clone() } else { grid.clone() };
        };
        let axes = own.rank().saturating_sub(2);
        let fits = (2..=3).contains(&axes)
            && given.rank() == own.rank()
            && given[0] == own[0]
            && given[axes + 1] == axes
            && !own[2..].contains(&0);
        if !fits {
            let why = "x [batch, channels, h, w], grid [batch, h, w, 2], or volumes; x is not empty";
            return Tensor::bad_shape(OP, &[x, grid], why);
        }
        let places: usize = given[1..=axes].iter().product();
        let flat = grid.reshape([given[0], places, axes]);
        let taps: Vec<Vec<Tap>> =
            (0..axes).map(|axis| options.taps(&flat.select(-1, (axes - 1 - axis) as i64), own[axis + 2])).collect();
        let elements: usize = own[2..].iter().product();
        let image = x.reshape([own[0], own[1], elements]);
        let mut sum: Option<Tensor> = None;
        // every choice of a tap along each axis
        for choice in 0..taps.iter().map(Vec::len).product() {
            let first = &taps[0][choice % taps[0].len()];
            let (mut left, mut at, mut weight) = (choice / taps[0].len(), first.at.clone(), first.weight.clone());
            for (axis, taps) in taps.iter().enumerate().skip(1) {
                let tap = &taps[left % taps.len()];
                left /= taps.len();
                (at, weight) = (at * own[axis + 2] as i32 + &tap.at, weight * &tap.weight);
            }
            let value = image.take_along(2, &at.unsqueeze(1)) * weight.unsqueeze(1);
            sum = Some(match sum {
                Some(sum) => sum + value,
                None => value,
            });
        }
        let shape = [&own[..2], &given[1..=axes]].concat();
        sum.map_or_else(|| x.clone(), |sum| sum.reshape(shape))
    })
}

/// An element that takes part along one axis, for each place: `[batch, places]`.
struct Tap {
    /// Which one, inside of the image.
    at: Tensor,
    /// Its weight, 0 where it lies outside.
    weight: Tensor,
}

impl GridOptions {
    /// The elements along an axis of `extent` that take part at the coordinates `place`.
    fn taps(&self, place: &Tensor, extent: usize) -> Vec<Tap> {
        let (n, half) = (extent as f64, Lit(0.5));
        let at = if self.align_corners {
            (place + Lit(1.0)) * half * (n - 1.0)
        } else {
            ((place + Lit(1.0)) * n - Lit(1.0)) * half
        };
        match self.mode {
            GridMode::Nearest => vec![self.tap(self.inside(&at, n).detach().round(), None, n)],
            GridMode::Linear => {
                let at = self.inside(&at, n);
                let first = at.detach().floor();
                let t = at - &first;
                let second = &first + Lit(1.0);
                vec![self.tap(first, Some(Lit(1.0) - &t), n), self.tap(second, Some(t), n)]
            }
            GridMode::Bicubic => {
                let first = at.detach().floor();
                let t = at - &first;
                let tap = |offset: i32| {
                    let place = self.inside(&(&first + f64::from(offset)), n);
                    self.tap(place, Some(keys(&t, offset)), n)
                };
                [-1, 0, 1, 2].map(tap).into()
            }
        }
    }

    /// A place as it is after padding, which may still lie outside where that is zeros.
    fn inside(&self, at: &Tensor, extent: f64) -> Tensor {
        let at = match self.padding {
            GridPadding::Zeros => return at.clone(),
            GridPadding::Border => at.clone(),
            GridPadding::Reflection => {
                let (low, span) = if self.align_corners { (0.0, extent - 1.0) } else { (-0.5, extent) };
                if span == 0.0 {
                    return at * 0.0;
                }
                let d = (at - low).abs();
                let flips = (d.detach() / span).floor();
                let extra = d - &flips * span;
                let odd = (&flips - (&flips * Lit(0.5)).floor() * Lit(2.0)).gt(Lit(0.5));
                Tensor::where_(&odd, Lit(span as f32) - &extra, &extra) + low
            }
        };
        at.clamp(0.0, extent - 1.0)
    }

    /// The tap at the whole number `at`, clamped into the image, without weight where it lay outside.
    fn tap(&self, at: Tensor, weight: Option<Tensor>, extent: f64) -> Tap {
        let (at, last) = (at.detach(), extent - 1.0);
        let clamped = at.clamp(0.0, last);
        let inside = at.eq(&clamped);
        let weight = match weight {
            Some(weight) => Tensor::where_(&inside, weight, Lit(0.0)),
            None => inside.cast(DType::F32),
        };
        Tap { at: clamped.cast(DType::I32), weight }
    }
}

/// Keys' cubic at the distance of `t`, in 0..1, from `offset`.
fn keys(t: &Tensor, offset: i32) -> Tensor {
    const A: f32 = -0.75;
    let d = if offset <= 0 { t + Lit(-offset as f32) } else { Lit(offset as f32) - t };
    if offset == 0 || offset == 1 {
        (&d * Lit(A + 2.0) - Lit(A + 3.0)) * &d * &d + Lit(1.0)
    } else {
        ((&d * Lit(A) - Lit(5.0 * A)) * &d + Lit(8.0 * A)) * &d - Lit(4.0 * A)
    }
}
