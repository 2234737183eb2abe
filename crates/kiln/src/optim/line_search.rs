//! A line search for the strong Wolfe conditions: sufficient decrease and a slope that has become flat.
//!
//! Source: Nocedal & Wright 2006, *Numerical Optimization*, alg. 3.5 and 3.6, with cubic interpolation, in the form of
//! PyTorch's `torch.optim.lbfgs`.

use crate::{Result, Tensor};

/// A point on the line.
#[derive(Clone)]
pub(super) struct Point {
    /// How far along.
    pub(super) t: f64,
    /// The value there.
    pub(super) f: f64,
    /// The gradient there.
    pub(super) g: Tensor,
    /// The slope along the line.
    pub(super) slope: f64,
}

/// The share of the first slope by which the value must fall, and to which the slope must flatten.
const C1: f64 = 1e-4;
const C2: f64 = 0.9;

/// The minimum of the cubic through two points with their slopes, within `bounds`.
fn interpolate(a: &Point, b: &Point, bounds: Option<(f64, f64)>) -> f64 {
    let (low, high) = bounds.unwrap_or(if a.t <= b.t { (a.t, b.t) } else { (b.t, a.t) });
    let d1 = a.slope + b.slope - 3.0 * (a.f - b.f) / (a.t - b.t);
    let square = d1 * d1 - a.slope * b.slope;
    if square < 0.0 || square.is_nan() {
        return (low + high) / 2.0;
    }
    let d2 = square.sqrt();
    let at = if a.t <= b.t {
        b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2))
    } else {
        a.t - (a.t - b.t) * ((a.slope + d2 - d1) / (a.slope - b.slope + 2.0 * d2))
    };
    at.max(low).min(high)
}

/// Searches from `start` (t = 0), first at `t`; gives the point and how often `evaluate` was called. `length` is the
/// greatest element of the direction.
pub(super) fn strong_wolfe(
    mut evaluate: impl FnMut(f64) -> Result<Point>,
    start: &Point,
    t: f64,
    length: f64,
    tolerance: f64,
    most: usize,
) -> Result<(Point, usize)> {
    let decreases = |p: &Point| p.f <= start.f + C1 * p.t * start.slope;
    let flat = |p: &Point| p.slope.abs() <= -C2 * start.slope;
    let (mut before, mut new) = (start.clone(), evaluate(t)?);
    let (mut calls, mut rounds) = (1, 0);
    let mut bracket = None;
    while rounds < most {
        if !decreases(&new) || (rounds > 1 && new.f >= before.f) {
            bracket = Some([before.clone(), new.clone()]);
            break;
        }
        if flat(&new) {
            return Ok((new, calls));
        }
        if new.slope >= 0.0 {
            bracket = Some([before.clone(), new.clone()]);
            break;
        }
        let bounds = (new.t + 0.01 * (new.t - before.t), new.t * 10.0);
        let t = interpolate(&before, &new, Some(bounds));
        before = std::mem::replace(&mut new, evaluate(t)?);
        (calls, rounds) = (calls + 1, rounds + 1);
    }
    let mut bracket = bracket.unwrap_or_else(|| [start.clone(), new]);
    let lower = |bracket: &[Point; 2]| if bracket[0].f <= bracket[1].f { (0, 1) } else { (1, 0) };
    let (mut low, mut high) = lower(&bracket);
    let mut stuck = false;
    while rounds < most && (bracket[1].t - bracket[0].t).abs() * length >= tolerance {
        let (least, greatest) = (bracket[0].t.min(bracket[1].t), bracket[0].t.max(bracket[1].t));
        let mut t = interpolate(&bracket[0], &bracket[1], None);
        // a point that is nearly an end of the bracket makes little progress: once is allowed
        let margin = 0.1 * (greatest - least);
        if (greatest - t).min(t - least) < margin {
            if stuck || t >= greatest || t <= least {
                t = if (t - greatest).abs() < (t - least).abs() { greatest - margin } else { least + margin };
                stuck = false;
            } else {
                stuck = true;
            }
        } else {
            stuck = false;
        }
        let new = evaluate(t)?;
        (calls, rounds) = (calls + 1, rounds + 1);
        if !decreases(&new) || new.f >= bracket[low].f {
            bracket[high] = new;
            (low, high) = lower(&bracket);
            continue;
        }
        let done = flat(&new);
        if !done && new.slope * (bracket[high].t - bracket[low].t) >= 0.0 {
            bracket[high] = bracket[low].clone();
        }
        bracket[low] = new;
        if done {
            break;
        }
    }
    let [a, b] = bracket;
    Ok((if low == 0 { a } else { b }, calls))
}
