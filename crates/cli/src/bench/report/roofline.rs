//! The roofline picture (Williams, Waterman & Patterson 2009): rates over operations per byte, under the measured peaks.

use std::fmt::Write as _;

use super::Roofs;
use crate::bench::row::{Row, round};
use crate::draw::escape;

const WIDTH: f64 = 1040.0;
const HEIGHT: f64 = 470.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 900.0;
const TOP: f64 = 14.0;
const FOOT: f64 = 418.0;

/// A logarithmic axis, in powers of ten.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Encloses all of `values`.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let powers = values.filter(|v| v.is_finite() && *v > 0.0).map(f64::log10);
        let (low, high) = powers.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (l.min(p), h.max(p)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low.floor(), high.ceil()) };
        Self { low, high: high.max(low + 1.0) }
    }

    /// From 0 at the low end to 1 at the high end.
    fn share(&self, value: f64) -> f64 {
        (value.max(1e-300).log10() - self.low) / (self.high - self.low)
    }

    fn powers(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

/// The picture, a colour a family.
pub(super) fn svg(rows: &[Row], roofs: &Roofs, families: &[String]) -> String {
    let points: Vec<(&Row, f64, f64)> = rows
        .iter()
        .filter_map(|row| {
            let m = row.measured.as_ref()?;
            Some((row, m.flops / m.bytes, m.gflops()?)).filter(|(_, x, y)| x.is_finite() && *x > 0.0 && y.is_finite())
        })
        .collect();
    let copy = roofs.copy.iter().map(|(_, rate)| *rate);
    let rates: Vec<f64> = [roofs.f32, roofs.f16, roofs.matrix].into_iter().flatten().collect();
    let ridges = rates.iter().flat_map(|rate| copy.clone().map(move |copy| rate / copy));
    let x_axis = Axis::of(points.iter().map(|p| p.1).chain(ridges).chain([0.1]));
    let y_axis = Axis::of(points.iter().map(|p| p.2).chain(rates.iter().copied()));
    let x = |v: f64| LEFT + (RIGHT - LEFT) * x_axis.share(v).clamp(0.0, 1.0);
    let y = |v: f64| FOOT - (FOOT - TOP) * y_axis.share(v).clamp(0.0, 1.0);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>roofline</title>\n");
    for tick in x_axis.powers() {
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{0:.1} {TOP}V{FOOT}\"/><text x=\"{0:.1}\" y=\"{1:.0}\" text-anchor=\"middle\">{2}</text>",
            x(tick),
            FOOT + 18.0,
            label(tick)
        );
    }
    for tick in y_axis.powers() {
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {0:.1}H{RIGHT}\"/><text x=\"{1:.0}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
            y(tick),
            LEFT - 8.0,
            y(tick) + 4.0,
            label(tick)
        );
    }
    let _ = writeln!(
        out,
        "<path class=\"axis\" d=\"M{LEFT} {FOOT}H{RIGHT}\"/><text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">operations per byte</text><text x=\"{:.0}\" y=\"{:.0}\">GFLOP/s</text>",
        (LEFT + RIGHT) / 2.0,
        FOOT + 40.0,
        LEFT + 8.0,
        TOP + 14.0,
    );
    let top = rates.iter().copied().fold(0.0, f64::max);
    // The largest size is memory; a faster smaller one is a cache.
    let memory = roofs.copy.last().map(|(_, rate)| *rate);
    let cache = roofs
        .copy
        .iter()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|(_, rate)| memory.is_some_and(|m| *rate > 1.1 * m));
    let slope = |rate: f64, class: &str, name: &str, out: &mut String| {
        // Where the slope enters the picture, and where it meets the roof.
        let from = 10f64.powf(x_axis.low).max(10f64.powf(y_axis.low) / rate);
        let to = (top.max(10f64.powf(y_axis.low)) / rate).max(from);
        let (ax, ay, bx, by) = (x(from), y(from * rate), x(to), y(to * rate));
        let middle = (from * to).sqrt();
        let angle = -((ay - by).atan2(bx - ax)).to_degrees();
        // the roof's name below it, where that of the smaller copies' line, just above it, is not
        let (tx, ty) = (x(middle), y(middle * rate) + if class == "roof" { 16.0 } else { -7.0 });
        let _ = writeln!(
            out,
            "<path class=\"{class}\" d=\"M{ax:.1} {ay:.1}L{bx:.1} {by:.1}\"/><text x=\"{tx:.1}\" y=\"{ty:.1}\" text-anchor=\"middle\" transform=\"rotate({angle:.1} {tx:.1} {ty:.1})\">{name} {} GB/s</text>",
            round(rate)
        );
    };
    if let Some(rate) = memory.filter(|_| top > 0.0) {
        slope(rate, "roof", "copying", &mut out);
    }
    if let Some((size, rate)) = cache.filter(|_| top > 0.0) {
        slope(*rate, "thin", &format!("copying {}", escape(size)), &mut out);
    }
    for (name, rate) in [("f32", roofs.f32), ("f16", roofs.f16), ("matrix units", roofs.matrix)] {
        let Some(rate) = rate else { continue };
        let start = memory.map_or(LEFT, |memory| x(rate / memory));
        let class = if rate == top { "roof" } else { "thin" };
        let _ = writeln!(
            out,
            "<path class=\"{class}\" d=\"M{start:.1} {0:.1}H{RIGHT}\"/><text x=\"{RIGHT}\" y=\"{1:.1}\" text-anchor=\"end\">{name} {2} GFLOP/s</text>",
            y(rate),
            y(rate) - 6.0,
            round(rate)
        );
    }
    for (row, intensity, rate) in points {
        let colour = families.iter().position(|family| *family == row.family).unwrap_or(0) % 10;
        let name = escape(&format!("{} {} {} {}: {} GFLOP/s", row.op, row.shape, row.dtype, row.variant, round(rate)));
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\" fill=\"var(--c{colour})\" fill-opacity=\".85\"><title>{name}</title></circle>",
            x(intensity),
            y(rate)
        );
    }
    for (i, family) in families.iter().enumerate() {
        let at = TOP + 20.0 + 20.0 * i as f64;
        let _ = writeln!(
            out,
            "<circle cx=\"{0}\" cy=\"{1:.0}\" r=\"4.5\" fill=\"var(--c{2})\"/><text x=\"{3}\" y=\"{4:.0}\">{5}</text>",
            RIGHT + 28.0,
            at - 4.0,
            i % 10,
            RIGHT + 40.0,
            at,
            escape(family)
        );
    }
    out + "</svg>\n"
}

/// 0.01, 1, 1000, 1e5.
fn label(v: f64) -> String {
    if (0.001..=10_000.0).contains(&v) { format!("{v}") } else { format!("{v:e}") }
}
