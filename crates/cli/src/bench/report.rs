//! `kiln bench report`: a saved run as one HTML page, with nothing to load, light or dark as the reader's screen is.

mod roofline;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::json::{Value, read};
use super::row::{Measured, Row, round};
use super::{longest, rows};
use crate::draw::escape;
use crate::draw::say;
use crate::failure::{Failure, Result};

/// Arguments of `kiln bench report`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file of `kiln bench run --format jsonl`.
    file: PathBuf,
    /// The page.
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

/// Reads and writes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (rows, others) = rows(&args.file)?;
    let peaks = others.iter().find_map(|line| Some(Roofs::of(&read(line)?)));
    let page = page(&rows, peaks.as_ref());
    std::fs::write(&args.out, page).map_err(|why| Failure::Write { path: args.out.clone(), why })?;
    say(format_args!("Wrote {}, rows: {}", args.out.display(), rows.len()));
    Ok(())
}

/// The peaks of a saved run.
#[derive(Debug, Default, PartialEq)]
struct Roofs {
    f32: Option<f64>,
    f16: Option<f64>,
    matrix: Option<f64>,
    dispatch: Option<f64>,
    /// Size by name and GB/s, from small to large.
    copy: Vec<(String, f64)>,
}

impl Roofs {
    fn of(members: &BTreeMap<String, Value>) -> Self {
        let number = |name: &str| match members.get(name) {
            Some(Value::Number(v)) if *v > 0.0 => Some(*v),
            _ => None,
        };
        let bytes = |size: &str| {
            let digits: f64 = size.trim_end_matches(char::is_alphabetic).parse().unwrap_or(0.0);
            let units = ["KiB", "MiB", "GiB"].iter().position(|unit| size.ends_with(unit)).unwrap_or(0);
            digits * 1024f64.powi(units as i32)
        };
        let sizes = members.keys().filter_map(|name| name.strip_prefix("copy_gbs_"));
        let mut copy: Vec<(String, f64)> =
            sizes.filter_map(|size| Some((size.to_owned(), number(&format!("copy_gbs_{size}"))?))).collect();
        copy.sort_by(|a, b| bytes(&a.0).total_cmp(&bytes(&b.0)));
        Self {
            f32: number("f32_gflops"),
            f16: number("f16_gflops"),
            matrix: number("matrix_gflops"),
            dispatch: number("dispatch_us"),
            copy,
        }
    }
}

const STYLE: &str = "\
:root{--paper:#fff;--ink:#1f2328;--soft:#57606a;--line:#e4e8ec;--axis:#8c959f;--bar:#d7e3f8;\
--c0:#2f6fde;--c1:#d9661f;--c2:#1a8a5a;--c3:#a13fc4;--c4:#b8860b;--c5:#0f8fa8;--c6:#c4305d;--c7:#6b7280;--c8:#5b52d6;--c9:#7a4a1d;--bad:#c4262e}\
@media(prefers-color-scheme:dark){:root{--paper:#12161b;--ink:#e8edf2;--soft:#9aa4ae;--line:#262c34;--axis:#59636e;--bar:#22324d;\
--c0:#6ea2ff;--c1:#ff9d57;--c2:#4fc08d;--c3:#cf8bea;--c4:#e0b84c;--c5:#4fc3d9;--c6:#f2789b;--c7:#9aa4ae;--c8:#9d97ff;--c9:#d3a67c;--bad:#ff7b80}}\
body{margin:2rem auto;max-width:1240px;padding:0 1rem;background:var(--paper);color:var(--ink);\
font:14px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\
h1{font-size:22px;margin:0}h2{font-size:16px;margin:2rem 0 .5rem}p{color:var(--soft);margin:.3rem 0}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}\
th,td{padding:3px 8px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th{color:var(--soft);font-weight:500}td:nth-child(-n+4),th:nth-child(-n+4){text-align:left}\
.scroll{overflow-x:auto}.bad{color:var(--bad);white-space:normal;text-align:left}\
svg{display:block;width:100%;height:auto}svg text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:var(--soft)}\
svg .strong{fill:var(--ink)}.grid{stroke:var(--line)}.axis{stroke:var(--axis)}.roof{stroke:var(--ink);stroke-width:1.75;fill:none}\
.thin{stroke:var(--axis);stroke-dasharray:4 3;fill:none}.back{fill:var(--bar)}";

fn page(rows: &[Row], roofs: Option<&Roofs>) -> String {
    let families = families(rows);
    let machine = rows.first().map(|row| row.machine.clone()).unwrap_or_default();
    let adapter = escape(&machine.adapter);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\"><title>kiln bench: {adapter}</title>\n<style>{STYLE}</style></head><body>\n\
         <h1>{adapter}</h1>\n<p>{}, {}; kiln {}</p>\n",
        escape(&machine.backend),
        escape(&machine.driver),
        escape(&machine.version),
    );
    if machine.software {
        out.push_str("<p>A software adapter: these numbers are for it only and say nothing of a GPU.</p>\n");
    }
    out.push_str("<p>Every answer was compared with a float64 twin before it was timed. Medians; gpu time from timestamps where it is given, else wall time.</p>\n");
    if let Some(text) = longest::sentence(rows) {
        let _ = writeln!(out, "<p>{}</p>", escape(&text));
    }
    if let Some(roofs) = roofs {
        out.push_str(&peaks(roofs));
        out.push_str("<h2>Roofline</h2>\n<p>Each point is a row: how much it computes for every byte that it has to move, and how fast it does so. The lines are this adapter's own measured peaks.</p>\n");
        out.push_str(&roofline::svg(rows, roofs, &families));
    }
    for (i, family) in families.iter().enumerate() {
        let of: Vec<&Row> = rows.iter().filter(|row| row.family == *family).collect();
        let _ = write!(out, "<h2>{}</h2>\n{}{}", escape(family), bars(&of, i), table(&of));
    }
    out.push_str("</body></html>\n");
    out
}

/// Families in the order in which they appear.
fn families(rows: &[Row]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for row in rows {
        if !out.contains(&row.family) {
            out.push(row.family.clone());
        }
    }
    out
}

fn peaks(roofs: &Roofs) -> String {
    let mut cells = Vec::new();
    let mut add = |name: &str, value: Option<f64>, unit: &str| {
        cells.extend(value.map(|v| format!("<strong>{} {unit}</strong> {name}", round(v))));
    };
    add("multiply-add f32", roofs.f32, "GFLOP/s");
    add("multiply-add f16", roofs.f16, "GFLOP/s");
    add("matrix units", roofs.matrix, "GFLOP/s");
    for (size, rate) in &roofs.copy {
        add(&format!("copying {}", escape(size)), Some(*rate), "GB/s");
    }
    add("a dispatch", roofs.dispatch, "µs");
    format!("<h2>Measured peaks</h2>\n<p>{}</p>\n", cells.join(" · "))
}

/// Percent of the measured peaks as bars.
fn bars(rows: &[&Row], colour: usize) -> String {
    let measured: Vec<(&Row, &Measured)> = rows.iter().filter_map(|row| Some((*row, row.measured.as_ref()?))).collect();
    if measured.is_empty() {
        return String::new();
    }
    const STEP: usize = 22;
    const LEFT: f64 = 330.0;
    const WIDTH: f64 = 480.0;
    let height = measured.len() * STEP + 8;
    let mut out = format!("<svg viewBox=\"0 0 1040 {height}\" role=\"img\"><title>percent of measured peak</title>\n");
    for (i, (row, m)) in measured.iter().enumerate() {
        let y = (i * STEP + 4) as f64;
        let (length, text) = (WIDTH * (m.percent / 100.0).clamp(0.0, 1.0), y + 14.0);
        let name = format!(
            "{} {} {}{}",
            row.op,
            row.shape,
            row.dtype,
            if row.variant.starts_with("auto") { String::new() } else { format!(" {}", row.variant) }
        );
        let rate = match m.gflops().filter(|_| m.bound == "compute") {
            Some(rate) => format!("{} GFLOP/s", round(rate)),
            None => format!("{} GB/s", round(m.gbs())),
        };
        let _ = writeln!(
            out,
            "<text class=\"strong\" x=\"{:.0}\" y=\"{text:.0}\" text-anchor=\"end\">{}</text>\
             <rect class=\"back\" x=\"{LEFT}\" y=\"{y:.0}\" width=\"{WIDTH}\" height=\"16\" rx=\"2\"/>\
             <rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"16\" rx=\"2\" fill=\"var(--c{})\"/>\
             <text x=\"{:.0}\" y=\"{text:.0}\">{:.0} %, {rate}, {} ms</text>",
            LEFT - 8.0,
            escape(&name),
            colour % 10,
            LEFT + WIDTH + 8.0,
            m.percent,
            round(m.times.shown().0.median),
        );
    }
    out + "</svg>\n"
}

fn table(rows: &[&Row]) -> String {
    let heads = [
        "op",
        "shape",
        "dtype",
        "variant",
        "gpu ms",
        "wall ms",
        "p20",
        "p80",
        "GFLOP/s",
        "GB/s",
        "% of peak",
        "bound by",
        "dispatches",
        "error",
    ];
    let mut out = String::from("<div class=\"scroll\"><table><thead><tr>");
    for head in heads {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        let mut cell = |text: &str| {
            let _ = write!(out, "<td>{}</td>", escape(text));
        };
        [&row.op, &row.shape, &row.dtype, &row.variant].into_iter().for_each(|text| cell(text));
        match (&row.measured, &row.failure) {
            (Some(m), _) => {
                let (shown, _) = m.times.shown();
                let number = |v: Option<f64>| v.map_or("–".into(), round);
                cell(&number(m.times.gpu.map(|s| s.median)));
                [m.times.wall.median, shown.p20, shown.p80].into_iter().for_each(|v| cell(&round(v)));
                cell(&number(m.gflops()));
                cell(&round(m.gbs()));
                cell(&format!("{:.0}", m.percent));
                cell(&m.bound);
                cell(&m.times.dispatches.to_string());
                cell(&row.error.map_or(String::new(), |e| format!("{e:.0e}")));
            }
            (None, why) => {
                let why = escape(why.as_deref().unwrap_or("no time"));
                let _ = write!(out, "<td class=\"bad\" colspan=\"10\">{why}</td>");
            }
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::tests::row;

    #[test]
    fn a_page_is_whole_and_escapes_what_it_is_given() {
        let mut rows = vec![row("matmul", [1.0, 2.0, 3.0]), row("a<b", [1e-5, 1e-4, 1e-3])];
        rows.push(Row { measured: None, failure: Some("wrong <answer>".into()), ..row("x", [1.0, 1.0, 1.0]) });
        let members = read("{\"kind\": \"peaks\", \"f32_gflops\": 50, \"copy_gbs_1MiB\": 8, \"copy_gbs_64KiB\": 9}");
        let roofs = Roofs::of(&members.unwrap_or_default());
        assert_eq!(roofs.copy, [("64KiB".to_owned(), 9.0), ("1MiB".to_owned(), 8.0)]);
        for roofs in [Some(&roofs), Some(&Roofs::default()), None] {
            let page = page(&rows, roofs);
            assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
            assert!(page.contains("a&lt;b") && page.contains("wrong &lt;answer&gt;") && !page.contains("<answer>"));
            assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
            for tag in ["svg", "table", "tr", "td", "div"] {
                assert_eq!(
                    page.matches(&format!("<{tag}")).count(),
                    page.matches(&format!("</{tag}>")).count(),
                    "{tag}"
                );
            }
        }
    }
}
