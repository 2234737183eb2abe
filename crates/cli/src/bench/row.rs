//! A row of results, as text for people and as lines for programs.

use std::collections::BTreeMap;

use kiln::prelude::*;

use super::clock::{Spread, Times};
use super::json::{Object, Value, read};

/// The machine that a row was measured on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Machine {
    pub(crate) adapter: String,
    pub(crate) driver: String,
    pub(crate) backend: String,
    pub(crate) software: bool,
    pub(crate) version: String,
}

impl Machine {
    pub(crate) fn of(device: &Device) -> Self {
        let caps = device.caps();
        Self {
            adapter: caps.name.clone(),
            driver: caps.driver.clone(),
            backend: caps.backend.to_string(),
            software: caps.is_cpu(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    pub(crate) fn write(&self, out: &mut Object) {
        out.text("adapter", &self.adapter).text("driver", &self.driver).text("backend", &self.backend);
        out.truth("software", self.software).text("version", &self.version);
    }
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) family: String,
    pub(crate) op: String,
    pub(crate) shape: String,
    pub(crate) dtype: String,
    pub(crate) variant: String,
    /// What was measured; `None` if the answer was wrong or could not be had.
    pub(crate) measured: Option<Measured>,
    /// Greatest error against the float64 twin.
    pub(crate) error: Option<f64>,
    /// Why there is no time.
    pub(crate) failure: Option<String>,
    pub(crate) machine: Machine,
}

/// Times, and what follows from them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) times: Times,
    pub(crate) flops: f64,
    pub(crate) bytes: f64,
    /// Percent of what the measured peaks allow, and which of them bounds the row.
    pub(crate) percent: f64,
    pub(crate) bound: String,
}

impl Measured {
    pub(crate) fn gflops(&self) -> Option<f64> {
        (self.flops > 0.0).then(|| self.flops / self.times.shown().0.median / 1e6)
    }

    pub(crate) fn gbs(&self) -> f64 {
        self.bytes / self.times.shown().0.median / 1e6
    }
}

impl Row {
    /// What tells rows of one run apart.
    pub(crate) fn key(&self) -> String {
        // Which kernel `auto` chose may differ between versions; it is the same row all the same.
        let variant = if self.variant.starts_with("auto") { "auto" } else { &self.variant };
        format!("{} {} {} {variant}", self.op, self.shape, self.dtype)
    }

    pub(crate) fn json(&self) -> String {
        let mut out = Object::default();
        out.text("kind", "row").text("family", &self.family).text("op", &self.op).text("shape", &self.shape);
        out.text("dtype", &self.dtype).text("variant", &self.variant);
        out.text("status", if self.failure.is_some() { "failed" } else { "ok" });
        if let Some(m) = &self.measured {
            out.text("clock", m.times.shown().1);
            let gpu = |f: fn(Spread) -> f64| m.times.gpu.map(f);
            out.maybe("gpu_ms", gpu(|s| s.median)).maybe("gpu_p20", gpu(|s| s.p20)).maybe("gpu_p80", gpu(|s| s.p80));
            let wall = m.times.wall;
            out.number("wall_ms", wall.median).number("wall_p20", wall.p20).number("wall_p80", wall.p80);
            out.maybe("gflops", m.gflops()).number("gbs", m.gbs());
            out.number("percent_of_peak", m.percent).text("bound", &m.bound);
            out.number("flops", m.flops).number("bytes", m.bytes);
            let longest = |i: usize| m.times.longest.map(|ms| ms[i]);
            out.maybe("longest_dispatch_ms", longest(0)).maybe("longest_submission_ms", longest(1));
            out.number("dispatches", m.times.dispatches as f64).number("repetitions", m.times.repetitions as f64);
        }
        out.maybe("error", self.error);
        if let Some(why) = &self.failure {
            out.text("message", why);
        }
        self.machine.write(&mut out);
        out.line()
    }

    /// A row of a line that [`json`](Self::json) wrote; `None` for a line of another kind or a damaged one.
    pub(crate) fn read(line: &str) -> Option<Row> {
        let members = read(line)?;
        let text = |name: &str| match members.get(name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        if text("kind")? != "row" {
            return None;
        }
        let machine = Machine {
            adapter: text("adapter")?,
            driver: text("driver")?,
            backend: text("backend")?,
            software: members.get("software") == Some(&Value::Bool(true)),
            version: text("version")?,
        };
        let measured = Measured::read(&members, text("bound"));
        let failure = text("message");
        if measured.is_none() == failure.is_none() {
            return None;
        }
        Some(Row {
            family: text("family")?,
            op: text("op")?,
            shape: text("shape")?,
            dtype: text("dtype")?,
            variant: text("variant")?,
            measured,
            error: number(&members, "error"),
            failure,
            machine,
        })
    }
}

fn number(members: &BTreeMap<String, Value>, name: &str) -> Option<f64> {
    match members.get(name) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    }
}

impl Measured {
    fn read(members: &BTreeMap<String, Value>, bound: Option<String>) -> Option<Self> {
        let spread = |clock: &str| {
            let part = |name: &str| number(members, &format!("{clock}_{name}")).filter(|ms| *ms > 0.0);
            Some(Spread { median: part("ms")?, p20: part("p20")?, p80: part("p80")? })
        };
        let count = |name: &str| number(members, name).map(|n| n as u64);
        let times = Times {
            wall: spread("wall")?,
            gpu: spread("gpu"),
            longest: number(members, "longest_dispatch_ms")
                .zip(number(members, "longest_submission_ms"))
                .map(<[f64; 2]>::from),
            dispatches: count("dispatches")?,
            repetitions: count("repetitions")? as usize,
        };
        let (flops, bytes) = (number(members, "flops")?, number(members, "bytes")?);
        Some(Self { times, flops, bytes, percent: number(members, "percent_of_peak")?, bound: bound? })
    }
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    Table(Widths),
    Markdown,
    Csv,
    JsonLines,
}

/// How wide a table for a terminal is: for the longest op and the longest shape.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(crate) struct Widths {
    pub(crate) op: usize,
    pub(crate) shape: usize,
    /// Whether the variants are shown.
    pub(crate) variants: bool,
}

impl Widths {
    /// One line, of 80 letters where names are not longer than those of the ops and their default sizes.
    fn line(self, [op, shape, dtype, ms, spread, rate, percent, bound, variant]: [&str; 9]) -> String {
        let Self { op: a, shape: b, variants } = self;
        let line = format!("{op:<a$} {shape:<b$} {dtype} {ms:>7} {spread:>4} {rate:>14} {percent:>4} {bound:<8}");
        let variant = if variants { variant } else { "" };
        format!("{line} {variant}").trim_end().to_owned()
    }

    fn row(self, row: &Row) -> String {
        let Some(m) = &row.measured else {
            let why = row.failure.as_deref().and_then(|why| why.lines().next()).unwrap_or("no time");
            let Self { op: a, shape: b, .. } = self;
            return format!("{:<a$} {:<b$} {} {why}", row.op, row.shape, row.dtype);
        };
        let (spread, clock) = m.times.shown();
        let ms = format!("{}{}", if clock == "wall" { "~" } else { "" }, round(spread.median));
        let half = 50.0 * (spread.p80 - spread.p20) / spread.median;
        let rate = match m.gflops().filter(|_| m.bound == "compute") {
            Some(rate) => format!("{} GFLOP/s", round(rate)),
            None => format!("{} GB/s   ", round(m.gbs())),
        };
        let percent = format!("{:.0} %", m.percent);
        self.line([
            &row.op,
            &row.shape,
            &row.dtype,
            &ms,
            &format!("{half:.0} %"),
            &rate,
            &percent,
            &m.bound,
            &row.variant,
        ])
    }
}

const HEAD: [&str; 18] = [
    "op",
    "shape",
    "dtype",
    "variant",
    "gpu ms",
    "p20",
    "p80",
    "wall ms",
    "p20",
    "p80",
    "GFLOP/s",
    "GB/s",
    "% of peak",
    "bound by",
    "error",
    "adapter",
    "driver",
    "version",
];
/// In a table for people adapter, driver and version stand above it.
const COLUMNS: usize = 15;

impl Format {
    /// The line above the first row, if there is one.
    pub(crate) fn head(self) -> Option<String> {
        match self {
            Format::Table(widths) => {
                Some(widths.line(["op", "shape", "   ", "ms", "±", "rate", "peak", "bound by", "variant"]))
            }
            Format::Markdown => {
                let rule: Vec<&str> = (0..COLUMNS).map(|i| if (4..13).contains(&i) { "---:" } else { "---" }).collect();
                Some(format!("| {} |\n| {} |", HEAD[..COLUMNS].join(" | "), rule.join(" | ")))
            }
            Format::Csv => Some("op,shape,dtype,variant,gpu_ms,gpu_p20,gpu_p80,wall_ms,wall_p20,wall_p80,gflops,gbs,percent_of_peak,bound,error,adapter,driver,version,message".into()),
            Format::JsonLines => None,
        }
    }

    pub(crate) fn row(self, row: &Row) -> String {
        let cells = cells(row, self == Format::Csv);
        match self {
            Format::Table(widths) => widths.row(row),
            Format::Markdown => match &row.failure {
                Some(why) => {
                    let why = why.lines().next().unwrap_or_default().replace('|', "\\|");
                    format!("| {} | **{why}** |{}", cells[..4].join(" | "), " |".repeat(COLUMNS - 5))
                }
                None => format!("| {} |", cells[..COLUMNS].join(" | ")),
            },
            Format::Csv => {
                let quoted = |cell: &String| match cell.contains([',', '"', '\n']) {
                    true => format!("\"{}\"", cell.replace('"', "\"\"")),
                    false => cell.clone(),
                };
                let message = row.failure.clone().unwrap_or_default();
                cells.iter().chain([&message]).map(quoted).collect::<Vec<_>>().join(",")
            }
            Format::JsonLines => row.json(),
        }
    }
}

/// The cells of a row; `exact` numbers for programs, round ones for people.
fn cells(row: &Row, exact: bool) -> Vec<String> {
    let show = |value: Option<f64>| match value {
        Some(v) if exact => v.to_string(),
        Some(v) => round(v),
        None if exact => String::new(),
        None => "–".into(),
    };
    let m = row.measured.as_ref();
    let spread = |s: Option<Spread>| [s.map(|s| s.median), s.map(|s| s.p20), s.map(|s| s.p80)].map(show);
    let mut out = vec![row.op.clone(), row.shape.clone(), row.dtype.clone(), row.variant.clone()];
    out.extend(spread(m.and_then(|m| m.times.gpu)));
    out.extend(spread(m.map(|m| m.times.wall)));
    out.push(show(m.and_then(Measured::gflops)));
    out.push(show(m.map(Measured::gbs)));
    out.push(match m {
        Some(m) if !exact => format!("{:.0}", m.percent),
        m => show(m.map(|m| m.percent)),
    });
    out.push(m.map(|m| m.bound.clone()).unwrap_or_default());
    out.push(match row.error {
        Some(e) if exact => e.to_string(),
        Some(e) => format!("{e:.0e}"),
        None => String::new(),
    });
    out.extend([row.machine.adapter.clone(), row.machine.driver.clone(), row.machine.version.clone()]);
    out
}

/// Three digits; NaN and infinities as they are.
pub(crate) fn round(v: f64) -> String {
    match v.abs() {
        a if a >= 100.0 => format!("{v:.0}"),
        a if a >= 10.0 => format!("{v:.1}"),
        a if a >= 1.0 => format!("{v:.2}"),
        a if a >= 0.1 => format!("{v:.3}"),
        a if a >= 0.01 => format!("{v:.4}"),
        a if a > 0.0 => format!("{v:.1e}"),
        a if a.is_nan() => "NaN".into(),
        _ => "0".into(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row with these times.
    pub(crate) fn row(op: &str, ms: [f64; 3]) -> Row {
        let wall = Spread { median: ms[1], p20: ms[0], p80: ms[2] };
        let times = Times { wall, gpu: None, longest: None, dispatches: 1, repetitions: 9 };
        let measured = Measured { times, flops: 2e9, bytes: 1e6, percent: 50.0, bound: "compute".into() };
        let text = |s: &str| s.to_owned();
        Row {
            family: text("matmul"),
            op: text(op),
            shape: text("8x8x8"),
            dtype: text("f32"),
            variant: text("auto (tile64)"),
            measured: Some(measured),
            error: Some(1e-6),
            failure: None,
            machine: Machine {
                adapter: text("a, \"b\""),
                driver: text("d"),
                backend: text("Vulkan"),
                software: true,
                version: text("0"),
            },
        }
    }

    #[test]
    fn rows_come_back_from_their_lines() {
        let mut fine = row("matmul", [1.0, 2.0, 3.0]);
        assert_eq!(Row::read(&fine.json()).as_ref(), Some(&fine));
        if let Some(m) = &mut fine.measured {
            m.times.gpu = Some(Spread { median: 1.5, p20: 1.25, p80: 1.75 });
            m.times.longest = Some([1.5, 7.25]);
        }
        assert_eq!(Row::read(&fine.json()).as_ref(), Some(&fine));
        let failed = Row { measured: None, failure: Some("wrong\nby 2".into()), ..fine };
        assert_eq!(Row::read(&failed.json()).as_ref(), Some(&failed));
        for line in ["", "{}", "{\"kind\": \"peaks\"}", "{\"kind\": \"row\", \"op\": \"x\"}"] {
            assert_eq!(Row::read(line), None);
        }
    }

    #[test]
    fn a_table_for_a_terminal_is_80_letters_wide() {
        let widths = Widths { op: "bias_relu_residual".len(), shape: "4096x4096x4096".len(), variants: false };
        let slow = row("bias_relu_residual", [1234.0, 2345.0, 3456.0]);
        let head = Format::Table(widths).head().unwrap_or_default();
        let line = Format::Table(widths).row(&slow);
        assert!(head.chars().count() <= 80 && line.chars().count() <= 80, "{head}\n{line}");
        assert!(line.ends_with("0.853 GFLOP/s 50 % compute") && line.contains(" ~2345 47 % "), "{line}");
        let wide = Format::Table(Widths { variants: true, ..widths }).row(&slow);
        assert!(wide.ends_with(" auto (tile64)"), "{wide}");
        let failed = Row { measured: None, failure: Some("off by 3\nmore".into()), ..slow };
        assert!(Format::Table(widths).row(&failed).ends_with(" f32 off by 3"));
    }

    #[test]
    fn tables_have_as_many_cells_as_heads() {
        let fine = row("matmul", [1.0, 2.0, 3.0]);
        let failed = Row { measured: None, failure: Some("a | b\nc".into()), ..fine.clone() };
        for row in [&fine, &failed] {
            let text = Format::Markdown.row(row).replace("\\|", "");
            assert_eq!(text.matches('|').count(), COLUMNS + 1, "{text}");
        }
        assert_eq!(Format::Csv.row(&fine).matches(',').count(), 18 + 1, "one comma is in a name");
        assert!(Format::Csv.row(&fine).contains("\"a, \"\"b\"\"\""));
    }
}
