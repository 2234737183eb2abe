//! Curves over steps or epochs as SVG: in a page, or as a picture of their own. Light or dark as the reader's screen is;
//! the two hues are told apart by every kind of colour blindness, and the second line has dots besides.

use std::fmt::Write as _;

/// One pair of axes.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) x_label: &'a str,
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line<'a>>,
}

/// A curve. A value that is not finite leaves a gap.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// How it is drawn: `a`, `b`, or `faint` behind them.
    pub(super) class: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

/// How values are laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    Plain,
    /// By their logarithm, for values that fall over powers of ten.
    Log,
    /// As they are; shares of one, written as percent.
    Percent,
}

/// Names of colours with what they are on paper and on a dark screen.
const COLOURS: [(&str, &str, &str); 7] = [
    ("paper", "#fff", "#12161b"),
    ("ink", "#1f2328", "#e8edf2"),
    ("soft", "#57606a", "#9aa4ae"),
    ("grid", "#e4e8ec", "#2a313a"),
    ("a", "#1f6fd6", "#6ea8ff"),
    ("b", "#c4560b", "#ff9d57"),
    ("bad", "#b3261e", "#ff7b72"),
];

/// What charts look like, in colours by name.
const LOOKS: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}\
.paper{fill:var(--paper)}.head{font-size:15px;font-weight:600;fill:var(--ink)}.title{font-size:19px;font-weight:600;fill:var(--ink)}\
.grid{stroke:var(--grid)}.axis{stroke:var(--soft)}.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\
.line.a{stroke:var(--a)}.line.b{stroke:var(--b)}.line.faint{stroke:var(--soft);stroke-width:1;opacity:.45}\
.dot.a{fill:var(--a)}.dot.b{fill:var(--b)}.dot.faint{fill:var(--soft);opacity:.45}\
.value{font-weight:600}.value.a{fill:var(--a)}.value.b{fill:var(--b)}.value.faint{fill:none}";

/// What charts look like in a page, which has the colours by name as well.
pub(super) fn style() -> String {
    let light: String = COLOURS.iter().map(|(name, on_paper, _)| format!("--{name}:{on_paper};")).collect();
    let dark: String = COLOURS.iter().map(|(name, _, on_screen)| format!("--{name}:{on_screen};")).collect();
    format!(":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{LOOKS}")
}

/// What they look like in a picture of their own: viewers of pictures know no colours by name, and paint all of it black.
fn plain_style() -> String {
    let (mut light, mut dark) = (LOOKS.to_owned(), LOOKS.to_owned());
    for (name, on_paper, on_screen) in COLOURS {
        let name = format!("var(--{name})");
        (light, dark) = (light.replace(&name, on_paper), dark.replace(&name, on_screen));
    }
    format!(":root{{color-scheme:light dark}}{light}@media (prefers-color-scheme:dark){{{dark}}}")
}

/// Where a chart lies, in pixels, with its title and the writing around its axes.
struct Frame {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

const LEFT: f64 = 62.0;
const RIGHT: f64 = 64.0; // the last value of each line
const TOP: f64 = 44.0;
const BOTTOM: f64 = 48.0;

/// Values below this are drawn as this on a logarithmic axis: zero has no logarithm.
const LEAST: f64 = 1e-9;

/// A picture of its own: charts side by side under a title and a line of text.
pub(super) fn picture(title: &str, subtitle: &str, charts: &[Chart<'_>]) -> String {
    let (width, height) = (960.0, 400.0);
    let size = format!("width=\"{width}\" height=\"{height}\"");
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" {size} role=\"img\">\n\
         <title>{}</title>\n<style>{}</style>\n<rect class=\"paper\" {size} rx=\"8\"/>\n",
        escape(title),
        plain_style(),
    );
    text(&mut out, "title", "start", 24.0, 36.0, title);
    text(&mut out, "tick", "start", 24.0, 57.0, subtitle);
    let share = width / charts.len().max(1) as f64;
    for (i, chart) in charts.iter().enumerate() {
        chart.draw(&Frame { x: i as f64 * share, y: 68.0, width: share, height: height - 68.0 }, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

impl Chart<'_> {
    /// For a page that has the [`style`].
    pub(super) fn svg(&self) -> String {
        let (width, height) = (640.0, 320.0);
        let name = escape(self.title);
        let mut out = format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{name}\">\n");
        self.draw(&Frame { x: 0.0, y: 0.0, width, height }, &mut out);
        out.push_str("</svg>\n");
        out
    }

    fn draw(&self, frame: &Frame, out: &mut String) {
        let all = || self.lines.iter().flat_map(|line| &line.points).filter(|(_, y)| y.is_finite());
        let (x0, x1) = span(all().map(|p| p.0));
        let ticks = self.scale.ticks(span(all().map(|p| p.1)));
        let place = |value: f64| self.scale.place(value);
        let (low, high) = (place(ticks[0]), place(ticks[ticks.len() - 1]));
        let (left, right) = (frame.x + LEFT, frame.x + frame.width - RIGHT);
        let (top, foot) = (frame.y + TOP, frame.y + frame.height - BOTTOM);
        let x = |v: f64| left + (right - left) * (v - x0) / (x1 - x0);
        let y = |v: f64| foot - (foot - top) * (place(v) - low) / (high - low);

        let mut title = self.title.chars();
        let title: String = title.next().into_iter().flat_map(char::to_uppercase).chain(title).collect();
        text(out, "head", "start", left, frame.y + 20.0, &title);
        for tick in shown(&ticks, 7) {
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{left:.1} {:.1}H{right:.1}\"/>", y(tick));
            text(out, "tick", "end", left - 8.0, y(tick) + 4.0, &self.scale.label(tick, &ticks));
        }
        let _ = writeln!(out, "<path class=\"axis\" d=\"M{left:.1} {foot:.1}H{right:.1}\"/>");
        // steps and epochs are whole
        for tick in steps(x0, x1, 6).into_iter().filter(|v| (x0..=x1).contains(v) && v.fract().abs() < 1e-9) {
            let _ = writeln!(out, "<path class=\"axis\" d=\"M{:.1} {foot:.1}v5\"/>", x(tick));
            text(out, "tick", "middle", x(tick), foot + 19.0, &label(tick));
        }
        text(out, "tick", "middle", (left + right) / 2.0, foot + 38.0, self.x_label);
        for line in &self.lines {
            line.draw(&x, &y, out);
        }
        self.last_values(right, y, out);
        self.legend(right, frame.y + 20.0, out);
    }

    /// The last value of every line, at its end, kept apart where lines end together.
    fn last_values(&self, right: f64, y: impl Fn(f64) -> f64, out: &mut String) {
        let named = self.lines.iter().filter(|line| line.class != "faint");
        let last = |line: &Line<'_>| line.points.last().map(|p| p.1).filter(|v| v.is_finite());
        let mut ends: Vec<(&str, f64, f64)> =
            named.filter_map(|line| last(line).map(|value| (line.class, value, y(value)))).collect();
        ends.sort_by(|a, b| a.2.total_cmp(&b.2));
        for i in 1..ends.len() {
            let missing = 15.0 - (ends[i].2 - ends[i - 1].2);
            if missing > 0.0 {
                ends[i - 1].2 -= missing / 2.0;
                ends[i].2 += missing / 2.0;
            }
        }
        for (class, value, at) in ends {
            text(out, &format!("value {class}"), "start", right + 9.0, at + 4.0, &self.scale.value(value));
        }
    }

    /// Names of the lines, from the right.
    fn legend(&self, right: f64, y: f64, out: &mut String) {
        let mut at = right + RIGHT - 14.0;
        for line in self.lines.iter().rev().filter(|_| self.lines.len() > 1) {
            at -= 6.6 * line.name.chars().count() as f64;
            text(out, "tick", "start", at, y, line.name);
            let _ = writeln!(out, "<path class=\"line {}\" d=\"M{:.1} {:.1}h20\"/>", line.class, at - 26.0, y - 4.0);
            if line.class == "b" {
                dot(out, line.class, at - 16.0, y - 4.0, 3.0);
            }
            at -= 44.0;
        }
    }
}

impl Line<'_> {
    fn draw(&self, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64, out: &mut String) {
        let mut pen = 'M';
        let mut path = String::new();
        for &(at, value) in &self.points {
            if value.is_finite() {
                let _ = write!(path, "{pen}{:.1} {:.1}", x(at), y(value));
                pen = 'L';
            } else {
                pen = 'M';
            }
        }
        let _ = writeln!(out, "<path class=\"line {}\" d=\"{path}\"/>", self.class);
        let finite = || self.points.iter().filter(|p| p.1.is_finite());
        // the second line has all its dots, if they do not run together; others one, if they would not be seen
        let dotted = match finite().count() {
            1 => true,
            count => self.class == "b" && count <= 40,
        };
        for &(at, value) in finite().filter(|_| dotted) {
            dot(out, self.class, x(at), y(value), 3.0);
        }
        if let Some(&(at, value)) = self.points.last().filter(|p| p.1.is_finite() && self.class != "faint") {
            dot(out, self.class, x(at), y(value), 4.0);
        }
    }
}

impl Scale {
    /// Where a value lies on the axis, in the axis' own unit.
    fn place(self, value: f64) -> f64 {
        if self == Scale::Log { value.max(LEAST).log10() } else { value }
    }

    /// Round values that enclose the data, two at least.
    fn ticks(self, (low, high): (f64, f64)) -> Vec<f64> {
        match self {
            Scale::Plain => return steps(low, high, 5),
            Scale::Percent => {
                let low = low.clamp(0.0, 0.99);
                return steps(low, high.clamp(low + 0.01, 1.0), 5);
            }
            Scale::Log => {}
        }
        let (low, high) = (low.max(LEAST), high.max(LEAST * 10.0));
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let times = |power: i32, m: f64| if power < 0 { m / 10f64.powi(-power) } else { m * 10f64.powi(power) };
        let all: Vec<f64> =
            (first..=last.max(first + 1)).flat_map(|power| [1.0, 2.0, 5.0].map(|m| times(power, m))).collect();
        let from = all.iter().rposition(|v| *v <= low * 1.000_001).unwrap_or(0);
        let to = all.iter().position(|v| *v >= high * 0.999_999).unwrap_or(all.len() - 1).max(from + 1);
        all[from..=to].to_vec()
    }

    fn label(self, tick: f64, ticks: &[f64]) -> String {
        if self != Scale::Percent {
            return label(tick);
        }
        let whole = ticks.iter().all(|t| (100.0 * t - (100.0 * t).round()).abs() < 1e-9);
        format!("{:.*} %", usize::from(!whole), 100.0 * tick)
    }

    /// At the end of a line.
    fn value(self, value: f64) -> String {
        match self {
            Scale::Percent => format!("{:.1} %", 100.0 * value),
            _ if value != 0.0 && !(1e-3..1e5).contains(&value.abs()) => format!("{value:.1e}"),
            _ if value.abs() < 0.1 => format!("{value:.4}"),
            _ => format!("{value:.3}"),
        }
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

fn dot(out: &mut String, class: &str, x: f64, y: f64, radius: f64) {
    let _ = writeln!(out, "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>");
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
            for scale in [Scale::Plain, Scale::Log, Scale::Percent] {
                let line = |class| {
                    let points = values.iter().enumerate().map(|(i, v)| (i as f64, *v)).collect();
                    Line { name: "a<b", class, points }
                };
                let chart = Chart { title: "\"&", x_label: "step", scale, lines: vec![line("a"), line("b")] };
                for svg in [chart.svg(), picture("\"&", "", &[chart])] {
                    assert!(svg.contains("&quot;&amp;") && svg.contains("a&lt;b"));
                    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{values:?}: {svg}");
                    assert!(!svg.contains("var("), "{svg}");
                }
            }
        }
    }

    #[test]
    fn axes_have_round_ends_that_enclose_the_data() {
        let labels = |scale: Scale, ends| {
            let ticks = scale.ticks(ends);
            ticks.iter().map(|tick| scale.label(*tick, &ticks)).collect::<Vec<_>>()
        };
        assert_eq!(labels(Scale::Plain, (0.613, 0.98)), ["0.6", "0.7", "0.8", "0.9", "1"]);
        assert_eq!(labels(Scale::Percent, (0.613, 0.98)), ["60 %", "70 %", "80 %", "90 %", "100 %"]);
        assert_eq!(labels(Scale::Percent, (0.991, 0.995))[..2], ["99.0 %", "99.2 %"]);
        assert_eq!(labels(Scale::Log, (0.21, 1.9)), ["0.2", "0.5", "1", "2"]);
        let wide = Scale::Log.ticks((0.0042, 2.1));
        assert_eq!((wide[0], wide[wide.len() - 1], shown(&wide, 7)), (0.002, 5.0, vec![0.01, 0.1, 1.0]));
        assert_eq!([label(1e-7), label(0.005), label(-20.0), label(0.0)], ["1e-7", "0.005", "-20", "0"]);
    }
}
