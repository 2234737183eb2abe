//! The formulas by themselves: plain functions of the step (or epoch) `t`, from 0. They agree with PyTorch's
//! schedulers of the same name in closed form.

use std::f64::consts::PI;

/// `lr · gamma^⌊t/every⌋`.
pub fn step(lr: f64, t: usize, every: usize, gamma: f64) -> f64 {
    lr * gamma.powi((t / every.max(1)) as i32)
}

/// `lr · gamma^(how many milestones are reached)`.
pub fn multi_step(lr: f64, t: usize, milestones: &[usize], gamma: f64) -> f64 {
    lr * gamma.powi(milestones.iter().filter(|&&m| m <= t).count() as i32)
}

/// `lr · gammaᵗ`.
pub fn exponential(lr: f64, t: usize, gamma: f64) -> f64 {
    lr * gamma.powf(t as f64)
}

/// Half a cosine from `lr` at 0 to `min` at `total`, and `min` after it.
///
/// Source: Loshchilov & Hutter 2017, "SGDR", eq. 5.
pub fn cosine(lr: f64, t: usize, total: usize, min: f64) -> f64 {
    min + (lr - min) * (1.0 + (PI * progress(t, total)).cos()) / 2.0
}

/// A factor that climbs in `steps` equal steps to 1: `(t + 1) / steps`, at most 1.
pub fn warmup(t: usize, steps: usize) -> f64 {
    ((t + 1) as f64 / steps.max(1) as f64).min(1.0)
}

/// From `start · lr` in a straight line to `end · lr` at step `total`, where it stays.
pub fn linear(lr: f64, t: usize, start: f64, end: f64, total: usize) -> f64 {
    lr * (start + (end - start) * progress(t, total))
}

/// `lr · (1 − t/total)^power`.
pub fn polynomial(lr: f64, t: usize, total: usize, power: f64) -> f64 {
    lr * (1.0 - progress(t, total)).powf(power)
}

/// Up by half a cosine from `max/25` to `max` over the first 30 % of `total` steps, then down by
/// half a cosine to `max/25/10⁴` at the last.
///
/// Source: Smith & Topin 2018, "Super-convergence", in PyTorch's two-phase form.
pub fn one_cycle(max: f64, t: usize, total: usize) -> f64 {
    let (first, last) = (max / 25.0, max / 25.0 / 1e4);
    let end = total as f64 - 1.0;
    let peak = (0.3 * total as f64 - 1.0).max(0.0);
    let t = t as f64;
    let (from, to, way) =
        if t < peak { (first, max, t / peak) } else { (max, last, (t - peak) / (end - peak).max(1.0)) };
    let way = way.min(1.0);
    to + (from - to) / 2.0 * (1.0 + (PI * way).cos())
}

/// How far `t` is on the way to `total`, in 0..=1.
fn progress(t: usize, total: usize) -> f64 {
    (t as f64 / total.max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    /// PyTorch 2's schedulers of the same names, lr 0.1, at steps 0, 3, 9, 10 and 19.
    #[test]
    fn agree_with_pytorch() {
        type Rule = fn(usize) -> f64;
        let rules: [(&str, Rule, [f64; 5]); 7] = [
            ("step", |t| super::step(0.1, t, 3, 0.5), [0.1, 0.05, 0.0125, 0.0125, 0.0015625]),
            ("multi_step", |t| super::multi_step(0.1, t, &[3, 10], 0.1), [0.1, 0.01, 0.01, 0.001, 0.001]),
            (
                "exponential",
                |t| super::exponential(0.1, t, 0.9),
                [0.1, 0.0729, 0.0387420489, 0.03486784401, 0.0135085171767],
            ),
            (
                "cosine",
                |t| super::cosine(0.1, t, 20, 0.01),
                [0.1, 0.0950952935885, 0.0620395509268, 0.055, 0.0105540246732],
            ),
            ("linear", |t| super::linear(0.1, t, 1.0 / 3.0, 1.0, 5), [0.0333333333333, 0.0733333333333, 0.1, 0.1, 0.1]),
            ("polynomial", |t| super::polynomial(0.1, t, 20, 2.0), [0.1, 0.07225, 0.03025, 0.025, 0.00025]),
            (
                "one_cycle",
                |t| super::one_cycle(0.1, t, 20),
                [0.004, 0.06683281573, 0.081174565395, 0.0716943001791, 4e-07],
            ),
        ];
        for (name, rule, want) in rules {
            for (t, want) in [0, 3, 9, 10, 19].into_iter().zip(want) {
                assert!((rule(t) - want).abs() < 1e-12, "{name} at {t}: {} is not {want}", rule(t));
            }
        }
    }

    /// Empty schedules are no division by zero.
    #[test]
    fn edges() {
        assert_eq!(super::warmup(0, 0), 1.0);
        assert!(super::one_cycle(0.1, 0, 0).is_finite() && super::one_cycle(0.1, 5, 1).is_finite());
        assert!(super::cosine(0.1, 3, 0, 0.0).is_finite());
    }
}
