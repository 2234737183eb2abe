//! Curves over steps as an inline SVG, coloured by the page's style.

use std::fmt::Write as _;

/// One pair of axes.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) x_label: &'a str,
    /// Whether values are laid out by their logarithm.
    pub(super) log: bool,
    pub(super) lines: Vec<Line<'a>>,
}

/// A curve. A value that is not finite leaves a gap.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// Its colour in the style.
    pub(super) class: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 42.0;

/// Values below this are drawn as this on a logarithmic axis: zero has no logarithm.
const LEAST: f64 = 1e-9;

impl Chart<'_> {
    pub(super) fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points).filter(|(_, y)| y.is_finite());
        let (x0, x1) = span(all().map(|p| p.0));
        let place = |value: f64| if self.log { value.max(LEAST).log10() } else { value };
        let ticks = self.ticks(span(all().map(|p| p.1)));
        let (low, high) = (place(ticks[0]), place(ticks[ticks.len() - 1]));
        let (right, foot) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let x = |v: f64| LEFT + (right - LEFT) * (v - x0) / (x1 - x0);
        let y = |v: f64| foot - (foot - TOP) * (place(v) - low) / (high - low);

        let mut out =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", escape(self.title));
        text(&mut out, "head", "start", LEFT, 18.0, self.title);
        for tick in shown(&ticks, 7) {
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{LEFT} {:.1}H{right}\"/>", y(tick));
            text(&mut out, "tick", "end", LEFT - 7.0, y(tick) + 4.0, &label(tick));
        }
        let _ = writeln!(out, "<path class=\"axis\" d=\"M{LEFT} {foot}H{right}\"/>");
        for tick in steps(x0, x1, 6).into_iter().filter(|v| (x0..=x1).contains(v)) {
            let _ = writeln!(out, "<path class=\"axis\" d=\"M{:.1} {foot}v5\"/>", x(tick));
            text(&mut out, "tick", "middle", x(tick), foot + 18.0, &label(tick));
        }
        text(&mut out, "tick", "end", right, foot + 35.0, self.x_label);
        for line in &self.lines {
            let mut pen = 'M';
            let mut path = String::new();
            for &(at, value) in &line.points {
                if value.is_finite() {
                    let _ = write!(path, "{pen}{:.1} {:.1}", x(at), y(value));
                    pen = 'L';
                } else {
                    pen = 'M';
                }
            }
            let _ = writeln!(out, "<path class=\"line {}\" d=\"{path}\"/>", line.class);
            for &(at, value) in line.points.iter().filter(|(_, value)| value.is_finite() && line.points.len() <= 40) {
                let _ = writeln!(
                    out,
                    "<circle class=\"dot {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"/>",
                    line.class,
                    x(at),
                    y(value)
                );
            }
        }
        let mut at = LEFT;
        for line in self.lines.iter().filter(|_| self.lines.len() > 1) {
            let _ = writeln!(out, "<path class=\"line {}\" d=\"M{at:.1} 33h20\"/>", line.class);
            text(&mut out, "tick", "start", at + 26.0, 37.0, line.name);
            at += 50.0 + 6.6 * line.name.chars().count() as f64;
        }
        out.push_str("</svg>\n");
        out
    }

    /// Round values that enclose the data, two at least.
    fn ticks(&self, (low, high): (f64, f64)) -> Vec<f64> {
        if !self.log {
            return steps(low, high, 5);
        }
        let (low, high) = (low.max(LEAST), high.max(LEAST * 10.0));
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let all: Vec<f64> =
            (first..=last.max(first + 1)).flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(power))).collect();
        let from = all.iter().rposition(|v| *v <= low * 1.000_001).unwrap_or(0);
        let to = all.iter().position(|v| *v >= high * 0.999_999).unwrap_or(all.len() - 1).max(from + 1);
        all[from..=to].to_vec()
    }
}

/// The least and the greatest, apart from each other.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    match low < high {
        true => (low, high),
        false if low.is_finite() => (low - low.abs().max(1e-6) / 2.0, low + low.abs().max(1e-6) / 2.0),
        false => (0.0, 1.0),
    }
}

/// About `count` multiples of 1, 2 or 5 times a power of ten that enclose `low..=high`.
fn steps(low: f64, high: f64, count: u32) -> Vec<f64> {
    let rough = (high - low) / f64::from(count);
    let power = 10f64.powf(rough.log10().floor());
    let fits = [1.0, 2.0, 5.0].map(|m| m * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = fits.unwrap_or(power * 10.0);
    let (first, last) = ((low / step + 1e-9).floor() as i64, (high / step - 1e-9).ceil() as i64);
    (first..=last.max(first + 1)).map(|i| i as f64 * step).collect()
}

/// At most `most` of them, evenly, or the powers of ten.
fn shown(ticks: &[f64], most: usize) -> Vec<f64> {
    let power = |tick: f64| (tick.log10() - tick.log10().round()).abs() < 1e-9;
    let powers: Vec<f64> = ticks.iter().copied().filter(|&tick| tick > 0.0 && power(tick)).collect();
    match ticks.len() > most {
        true if powers.len() > 1 => powers.iter().step_by(powers.len().div_ceil(most)).copied().collect(),
        true => ticks.iter().step_by(ticks.len().div_ceil(most)).copied().collect(),
        false => ticks.to_vec(),
    }
}

/// A number in a few digits.
pub(super) fn label(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_string()
    } else if !(1e-4..1e6).contains(&size) {
        format!("{value:.0e}")
    } else {
        let text = format!("{value:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    }
}

fn text(out: &mut String, class: &str, anchor: &str, x: f64, y: f64, text: &str) {
    let text = escape(text);
    let _ = writeln!(out, "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

/// A text between tags or quotes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_values_make_a_picture_without_nan() {
        for values in [
            vec![],
            vec![1.0],
            vec![f64::NAN, 0.5],
            vec![0.0, 0.0],
            vec![f64::INFINITY; 3],
            vec![1e-30, 1e30],
            vec![-2.0, 3.0],
        ] {
            for log in [false, true] {
                let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, v)| (i as f64, *v)).collect();
                let line = Line { name: "a<b", class: "a", points };
                let svg = Chart { title: "\"&", x_label: "step", log, lines: vec![line] }.svg();
                assert!(
                    svg.contains("&quot;&amp;") && !svg.contains("NaN") && !svg.contains("inf"),
                    "{values:?}: {svg}"
                );
            }
        }
    }

    #[test]
    fn axes_have_round_ends_that_enclose_the_data() {
        let chart = |log| Chart { title: "", x_label: "", log, lines: Vec::new() };
        assert_eq!(
            chart(false).ticks((0.613, 0.98)).iter().map(|v| label(*v)).collect::<Vec<_>>(),
            ["0.6", "0.7", "0.8", "0.9", "1"]
        );
        assert_eq!(
            chart(true).ticks((0.21, 1.9)).iter().map(|v| label(*v)).collect::<Vec<_>>(),
            ["0.2", "0.5", "1", "2"]
        );
        assert_eq!([label(1e-7), label(0.005), label(-20.0), label(0.0)], ["1e-7", "0.005", "-20", "0"]);
    }
}
