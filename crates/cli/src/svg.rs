//! Learning curves as an SVG picture: one file that any browser shows, with nothing to load and light or dark as
//! the reader's screen is.

use std::fmt::{self, Write as _};

/// Panels side by side under one title and one legend.
pub(crate) struct Picture<'a> {
    pub(crate) title: &'a str,
    pub(crate) subtitle: &'a str,
    pub(crate) x_label: &'a str,
    pub(crate) panels: Vec<Panel<'a>>,
}

/// One pair of axes. Every panel has the same lines in the same order: the legend shows the first panel's.
pub(crate) struct Panel<'a> {
    pub(crate) title: &'a str,
    pub(crate) scale: Scale,
    pub(crate) lines: Vec<Line<'a>>,
}

/// A curve: its value after epoch 1, 2, … A value that is not finite leaves a gap.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) values: Vec<f64>,
}

/// How a panel's values are laid out.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// By their logarithm, for values that fall over powers of ten.
    Log,
    /// As they are, shares of one written as percent.
    Percent,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 430.0;
const TOP: f64 = 104.0;
const BOTTOM: f64 = 56.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 72.0; // room for the last value of each line

const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#57606a}\
.paper{fill:#fff}.title,.panel{fill:#1f2328}.title{font-size:19px;font-weight:600}.panel{font-size:14px;font-weight:600}\
.grid{stroke:#e4e8ec}.axis{stroke:#8c959f}.value{font-weight:600}\
.line{fill:none;stroke-width:2.25;stroke-linejoin:round;stroke-linecap:round}\
.s0{stroke:#2f6fde}.s1{stroke:#d9661f}.f0{fill:#2f6fde}.f1{fill:#d9661f}\
@media (prefers-color-scheme:dark){text{fill:#9aa4ae}.paper{fill:#12161b}.title,.panel{fill:#e8edf2}\
.grid{stroke:#262c34}.axis{stroke:#59636e}\
.s0{stroke:#6ea2ff}.s1{stroke:#ff9d57}.f0{fill:#6ea2ff}.f1{fill:#ff9d57}}";

impl Picture<'_> {
    /// The whole file.
    pub(crate) fn svg(&self) -> String {
        let size = format!("width=\"{WIDTH}\" height=\"{HEIGHT}\"");
        let mut out = Svg(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" {size} role=\"img\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n<rect class=\"paper\" {size} rx=\"8\"/>\n",
            escape(self.title),
        ));
        out.text("title", Anchor::Start, 24.0, 36.0, self.title);
        out.text("note", Anchor::Start, 24.0, 57.0, self.subtitle);
        let share = WIDTH / self.panels.len().max(1) as f64;
        for (i, panel) in self.panels.iter().enumerate() {
            let (x, width) = (i as f64 * share + LEFT, share - LEFT - RIGHT);
            panel.draw(&Frame { x, width, y: TOP, height: HEIGHT - TOP - BOTTOM }, self.x_label, &mut out);
        }
        if let Some(panel) = self.panels.first() {
            legend(&panel.lines, &mut out);
        }
        out.0.push_str("</svg>\n");
        out.0
    }
}

/// Where a panel's axes lie, in pixels.
struct Frame {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Panel<'_> {
    fn draw(&self, frame: &Frame, x_label: &str, out: &mut Svg) {
        let epochs = self.lines.iter().map(|line| line.values.len()).max().unwrap_or(0).max(2) as f64;
        let (ends, ticks) = self.scale.axis(self.lines.iter().flat_map(|line| &line.values).copied());
        let (low, high) = (self.scale.place(ends.0), self.scale.place(ends.1));
        let x = |epoch: f64| frame.x + frame.width * (epoch - 1.0) / (epochs - 1.0);
        let y = |value: f64| frame.y + frame.height * (1.0 - (self.scale.place(value) - low) / (high - low));
        let (right, foot) = (frame.x + frame.width, frame.y + frame.height);

        out.text("panel", Anchor::Start, frame.x, frame.y - 16.0, self.title);
        for &tick in &ticks {
            out.path("grid", format_args!("M{:.1} {:.1}H{right:.1}", frame.x, y(tick)));
            out.text("tick", Anchor::End, frame.x - 8.0, y(tick) + 4.0, &self.scale.label(tick, &ticks));
        }
        out.path("axis", format_args!("M{:.1} {foot:.1}H{right:.1}", frame.x));
        let whole = steps(1.0, epochs, 6).into_iter().filter(|v| v.fract() == 0.0 && (2.0..=epochs).contains(v));
        for tick in std::iter::once(1.0).chain(whole) {
            out.path("axis", format_args!("M{:.1} {foot:.1}v5", x(tick)));
            out.text("tick", Anchor::Middle, x(tick), foot + 19.0, &tick.to_string());
        }
        out.text("note", Anchor::Middle, frame.x + frame.width / 2.0, foot + 40.0, x_label);
        for (i, line) in self.lines.iter().enumerate() {
            line.draw(i, x, y, out);
        }
        self.last_values(right, y, out);
    }

    /// The last value of every line, at its end, kept apart where lines end together.
    fn last_values(&self, right: f64, y: impl Fn(f64) -> f64, out: &mut Svg) {
        let mut ends: Vec<(usize, f64, f64)> = (self.lines.iter().enumerate())
            .filter_map(|(i, line)| line.values.last().filter(|v| v.is_finite()).map(|&v| (i, v, y(v))))
            .collect();
        ends.sort_by(|a, b| a.2.total_cmp(&b.2));
        for i in 1..ends.len() {
            let missing = 15.0 - (ends[i].2 - ends[i - 1].2);
            if missing > 0.0 {
                ends[i - 1].2 -= missing / 2.0;
                ends[i].2 += missing / 2.0;
            }
        }
        for (i, value, at) in ends {
            out.text(&format!("value f{i}"), Anchor::Start, right + 8.0, at + 4.0, &self.scale.value(value));
        }
    }
}

impl Line<'_> {
    fn draw(&self, index: usize, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64, out: &mut Svg) {
        let mut path = String::new();
        let mut pen = 'M';
        for (i, &value) in self.values.iter().enumerate() {
            if value.is_finite() {
                let _ = write!(path, "{pen}{:.1} {:.1}", x(i as f64 + 1.0), y(value));
                pen = 'L';
            } else {
                pen = 'M';
            }
        }
        out.path(&format!("line s{index}"), format_args!("{path}"));
        if let Some(last) = self.values.last().filter(|value| value.is_finite()) {
            out.dot(&format!("f{index}"), x(self.values.len() as f64), y(*last));
        }
    }
}

fn legend(lines: &[Line<'_>], out: &mut Svg) {
    let mut x = WIDTH - 24.0;
    for (i, line) in lines.iter().enumerate().rev() {
        x -= 7.0 * line.name.chars().count() as f64;
        out.path(&format!("line s{i}"), format_args!("M{:.1} 31h22", x - 30.0));
        out.text("note", Anchor::Start, x, 35.0, line.name);
        x -= 54.0;
    }
}

/// The file as it grows.
struct Svg(String);

/// Which end of a text stands at its place.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    fn text(&mut self, class: &str, anchor: Anchor, x: f64, y: f64, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let _ = writeln!(self.0, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\"{anchor}>{}</text>", escape(text));
    }

    fn path(&mut self, class: &str, d: fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "<path class=\"{class}\" d=\"{d}\"/>");
    }

    fn dot(&mut self, class: &str, x: f64, y: f64) {
        let _ = writeln!(self.0, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>");
    }
}

impl Scale {
    /// Where a value lies on the axis, in the axis' own unit.
    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Log => value.max(LEAST).log10(),
            Scale::Percent => value.clamp(0.0, 1.0),
        }
    }

    /// The ends of an axis that holds all of `values`, and its ticks: round values, two at least.
    fn axis(self, values: impl Iterator<Item = f64>) -> ((f64, f64), Vec<f64>) {
        let finite = values.filter(|v| v.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let mut ticks = match self {
            Scale::Log => log_steps(low.max(LEAST), high.max(LEAST)),
            Scale::Percent => {
                let low = low.clamp(0.0, 0.99);
                steps(low, high.clamp(low + 0.01, 1.0), 5)
            }
        };
        let ends = (ticks[0], ticks[ticks.len() - 1]);
        if self == Scale::Log && ticks.len() > 7 {
            ticks.retain(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-9);
        }
        (ends, ticks)
    }

    fn label(self, tick: f64, ticks: &[f64]) -> String {
        match self {
            Scale::Log => format!("{tick}"),
            Scale::Percent => {
                let whole = ticks.iter().all(|t| (100.0 * t - (100.0 * t).round()).abs() < 1e-9);
                format!("{:.*} %", usize::from(!whole), 100.0 * tick)
            }
        }
    }

    fn value(self, value: f64) -> String {
        match self {
            Scale::Log if value < 1e-4 => format!("{value:.1e}"),
            Scale::Log if value < 1e-2 => format!("{value:.5}"),
            Scale::Log => format!("{value:.3}"),
            Scale::Percent => format!("{:.1} %", 100.0 * value),
        }
    }
}

/// Losses below this are drawn as this: zero has no logarithm.
const LEAST: f64 = 1e-6;

/// About `count` multiples of 1, 2 or 5 times a power of ten that enclose `low..=high`.
fn steps(low: f64, high: f64, count: u32) -> Vec<f64> {
    let span = (high - low).max(1e-9);
    let rough = span / f64::from(count);
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough * 0.999).unwrap_or(power * 10.0);
    let (first, last) = ((low / step + 1e-9).floor() as i64, (high / step - 1e-9).ceil() as i64);
    (first..=last.max(first + 1)).map(|i| (i as f64 * step * 1e9).round() / 1e9).collect()
}

/// 1, 2 and 5 times powers of ten that enclose `low..=high`.
fn log_steps(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let times = |power: i32, m: f64| if power < 0 { m / 10f64.powi(-power) } else { m * 10f64.powi(power) };
    let all: Vec<f64> = (first..=last.max(first + 1)).flat_map(|p| [1.0, 2.0, 5.0].map(|m| times(p, m))).collect();
    let from = all.iter().rposition(|v| *v <= low).unwrap_or(0);
    let to = all.iter().position(|v| *v >= high).unwrap_or(all.len() - 1).max(from + 1);
    all[from..=to].to_vec()
}

/// A text between tags or quotes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_values_that_enclose_the_data() {
        let (ends, ticks) = Scale::Percent.axis([0.613, 0.98].into_iter());
        assert_eq!(ends, (0.6, 1.0));
        assert_eq!(
            ticks.iter().map(|t| Scale::Percent.label(*t, &ticks)).collect::<Vec<_>>(),
            ["60 %", "70 %", "80 %", "90 %", "100 %"]
        );
        let (ends, ticks) = Scale::Log.axis([0.0042, 2.1].into_iter());
        assert_eq!((ends, ticks), ((0.002, 5.0), vec![0.01, 0.1, 1.0]));
        let (ends, ticks) = Scale::Log.axis([0.21, 1.9].into_iter());
        assert_eq!((ends, ticks), ((0.2, 2.0), vec![0.2, 0.5, 1.0, 2.0]));
    }

    #[test]
    fn any_values_make_a_picture_without_nan() {
        for values in
            [vec![], vec![1.0], vec![f64::NAN, 0.5], vec![0.0, 0.0], vec![f64::INFINITY; 3], vec![1e-30, 1e30]]
        {
            let line = || Line { name: "a<b", values: values.clone() };
            let panels =
                [Scale::Log, Scale::Percent].map(|scale| Panel { title: "t", scale, lines: vec![line(), line()] });
            let svg = Picture { title: "\"&", subtitle: "", x_label: "epoch", panels: panels.into() }.svg();
            assert!(svg.contains("a&lt;b") && svg.contains("&quot;&amp;"));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{values:?}: {svg}");
        }
    }
}
