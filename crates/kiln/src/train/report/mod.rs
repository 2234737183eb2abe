//! A training as one page.

mod chart;

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use super::thin::ThinSteps;
use super::{Callback, Epoch, History, Step};
use crate::metrics::ConfusionMatrix;
use crate::{Result, store};
use chart::{Chart, Line, Scale, escape, label};

/// A page about a training: curves of loss, metric and learning rate, the figures of each epoch, and, where they are
/// given, the confusion matrix and examples of what the model says. One HTML file with nothing to load, light or dark
/// as the reader's screen is.
///
/// ```
/// # use kiln::prelude::*; use kiln::train::Report;
/// # let device = Device::open()?;
/// # let (train, test) = data::digits::split(&device)?;
/// # let (train, test) = (train.subset(&(0..64).collect::<Vec<_>>()), test.subset(&(0..32).collect::<Vec<_>>()));
/// # let path = std::env::temp_dir().join(format!("kiln-doc-report-{}.html", std::process::id()));
/// let model = Linear::new(64, 10, &mut Init::new(&device, 42));
/// let mut adam = Adam::new(&model, 1e-3);
/// let mut report = Report::new("Digits");
/// let trainer = Trainer::new(2).callback(&mut report);
/// trainer.fit(&model, &mut adam, &train, Some(&test), |(x, y)| Outcome::classification(&model.forward(x), y))?;
/// report.write(&path)?;
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Report {
    title: String,
    notes: Vec<(String, String)>,
    steps: ThinSteps,
    metric: Option<&'static str>,
    history: History,
    confusion: Option<(Vec<Vec<u64>>, Vec<String>)>,
    samples: Vec<Sample>,
}

/// An example and what the model said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its rows of grey values from 0, the paper, to 1.
    pub picture: Vec<Vec<f32>>,
    /// What is right.
    pub truth: String,
    /// What the model said.
    pub prediction: String,
    /// How probable the model thought that, from 0 to 1.
    pub probability: f64,
}

impl Report {
    /// An empty page of this title; as a [`Callback`] of the trainer it fills.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a line of what the training was made of: `("optimizer", "Adam")`.
    pub fn note(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.notes.push((name.into(), text.into()));
    }

    /// Shows which class was taken for which. Classes without a name are shown by their number.
    pub fn confusion(&mut self, matrix: &ConfusionMatrix, names: &[&str]) {
        let counts = matrix.counts().iter().map(|row| row.to_vec()).collect();
        self.confusion = Some((counts, names.iter().map(|name| name.to_string()).collect()));
    }

    /// Shows an example.
    pub fn sample(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Writes the page.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if that is not possible; an older page stays then.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        store::write_atomically(path, &[self.html().as_bytes()])
    }

    /// The page.
    pub fn html(&self) -> String {
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{0}</title>\n<style>{1}{STYLE}</style></head>\n<body>\n<h1>{0}</h1>\n",
            escape(&self.title),
            chart::style(),
        );
        self.summary(&mut out);
        out.push_str("<div class=\"charts\">\n");
        for chart in self.charts() {
            let _ = writeln!(out, "<figure>{}</figure>", chart.svg());
        }
        out.push_str("</div>\n");
        self.confusion_table(&mut out);
        self.sample_list(&mut out);
        self.epoch_table(&mut out);
        out.push_str("</body></html>\n");
        out
    }

    fn metric_name(&self) -> &'static str {
        self.metric.unwrap_or("metric")
    }

    fn summary(&self, out: &mut String) {
        out.push_str("<dl>\n");
        let mut row = |name: &str, text: &str| {
            let _ = writeln!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(text));
        };
        let epochs = &self.history.epochs;
        if let Some(best) = self.history.best_epoch().and_then(|best| epochs.iter().find(|e| e.epoch == best)) {
            let figures = best.validation.unwrap_or(best.train);
            row("best epoch", &format!("{} of {}", best.epoch, epochs.len()));
            row("its loss", &figure(figures.loss));
            if let Some(metric) = figures.metric {
                row(&format!("its {}", self.metric_name()), &self.metric_text(metric));
            }
        }
        if let Some(last) = epochs.last() {
            row("steps", &last.step.to_string());
            row("time", &format!("{:.1} s", epochs.iter().map(|e| e.seconds).sum::<f64>()));
        }
        for (name, text) in &self.notes {
            row(name, text);
        }
        out.push_str("</dl>\n");
    }

    fn charts(&self) -> Vec<Chart<'_>> {
        let steps = |value: fn(&Step) -> f64| self.steps.iter().map(|s| (s.step as f64, value(s))).collect();
        let epochs = &self.history.epochs;
        let validations = &self.history.validations;
        let line = |name, class, points: Vec<(f64, f64)>| Line { name, class, points };
        let loss = vec![
            line("steps", "faint", steps(|s| s.loss)),
            line("training", "a", epochs.iter().map(|e| (e.step as f64, e.train.loss)).collect()),
            line("validation", "b", validations.iter().map(|v| (v.step as f64, v.figures.loss)).collect()),
        ];
        let metric = vec![
            line("steps", "faint", steps(|s| s.metric.map_or(f64::NAN, |(_, value)| value))),
            line("training", "a", epochs.iter().filter_map(|e| Some((e.step as f64, e.train.metric?))).collect()),
            line(
                "validation",
                "b",
                validations.iter().filter_map(|v| Some((v.step as f64, v.figures.metric?))).collect(),
            ),
        ];
        let lr = vec![line("learning rate", "a", steps(|s| s.lr))];
        drawn([("Loss", self.loss_scale(), loss), (self.metric_name(), self.metric_scale(), metric)], "step")
            .chain(drawn([("Learning rate", Scale::Plain, lr)], "step"))
            .collect()
    }

    /// Loss and metric after each epoch as one picture in a file of its own, with this text under the title: SVG that any
    /// browser shows, with nothing to load, light or dark as the reader's screen is.
    pub fn picture(&self, subtitle: &str) -> String {
        let epochs = &self.history.epochs;
        let line = |name, class, of: &dyn Fn(&Epoch) -> Option<f64>| {
            let points = epochs.iter().filter_map(|e| Some((e.epoch as f64, of(e)?))).collect();
            Line { name, class, points }
        };
        let loss = vec![
            line("training", "a", &|e| Some(e.train.loss)),
            line("validation", "b", &|e| e.validation.map(|v| v.loss)),
        ];
        let metric = vec![
            line("training", "a", &|e| e.train.metric),
            line("validation", "b", &|e| e.validation.and_then(|v| v.metric)),
        ];
        let charts = [("Loss", self.loss_scale(), loss), (self.metric_name(), self.metric_scale(), metric)];
        chart::picture(&self.title, subtitle, &drawn(charts, "epoch").collect::<Vec<_>>())
    }

    /// By powers of ten, if no loss is zero or below.
    fn loss_scale(&self) -> Scale {
        let steps = self.steps.iter().map(|s| s.loss);
        let epochs = self.history.epochs.iter().map(|e| e.train.loss);
        let validations = self.history.validations.iter().map(|v| v.figures.loss);
        let positive = steps.chain(epochs).chain(validations).all(|loss| loss.is_nan() || loss > 0.0);
        if positive { Scale::Log } else { Scale::Plain }
    }

    fn metric_scale(&self) -> Scale {
        if self.metric == Some("accuracy") { Scale::Percent } else { Scale::Plain }
    }

    fn confusion_table(&self, out: &mut String) {
        let Some((counts, names)) = &self.confusion else { return };
        let name = |class: usize| names.get(class).map_or_else(|| class.to_string(), |name| escape(name));
        out.push_str("<h2>Confusion matrix</h2>\n<p>Rows are what is right, columns what the model said.</p>\n");
        out.push_str("<div class=\"wide\"><table class=\"matrix\"><tr><th></th>");
        for class in 0..counts.len() {
            let _ = write!(out, "<th scope=\"col\">{}</th>", name(class));
        }
        out.push_str("<th scope=\"col\">right</th></tr>\n");
        for (truth, row) in counts.iter().enumerate() {
            let total: u64 = row.iter().sum();
            let _ = write!(out, "<tr><th scope=\"row\">{}</th>", name(truth));
            for (said, &count) in row.iter().enumerate() {
                let share = if total == 0 { 0.0 } else { count as f64 / total as f64 };
                let kind = if said == truth { "hit" } else { "miss" };
                let shown = if count == 0 { "·".to_string() } else { count.to_string() };
                // an error of a few percent is to be seen too
                let strength = if count == 0 { 0.0 } else { 12.0 + 54.0 * share.sqrt() };
                let _ = write!(out, "<td class=\"{kind}\" style=\"--s:{strength:.0}%\">{shown}</td>");
            }
            let right = if total == 0 { f64::NAN } else { row[truth] as f64 / total as f64 };
            let right = if right.is_nan() { "–".to_string() } else { format!("{:.1} %", 100.0 * right) };
            let _ = writeln!(out, "<td class=\"sum\">{right}</td></tr>");
        }
        out.push_str("</table></div>\n");
    }

    fn sample_list(&self, out: &mut String) {
        if self.samples.is_empty() {
            return;
        }
        out.push_str("<h2>Examples</h2>\n<div class=\"samples\">\n");
        for Sample { picture, truth, prediction, probability } in &self.samples {
            let (height, width) = (picture.len(), picture.iter().map(Vec::len).max().unwrap_or(0));
            let kind = if truth == prediction { "right" } else { "wrong" };
            let _ = write!(out, "<figure class=\"sample {kind}\"><svg viewBox=\"0 0 {width} {height}\" role=\"img\">");
            for (y, row) in picture.iter().enumerate() {
                for (x, ink) in row.iter().enumerate().filter(|(_, ink)| **ink > 0.0) {
                    let _ = write!(
                        out,
                        "<rect x=\"{x}\" y=\"{y}\" width=\"1.02\" height=\"1.02\" fill-opacity=\"{:.2}\"/>",
                        ink.min(1.0)
                    );
                }
            }
            let said = format!("{} {:.0} %", escape(prediction), 100.0 * probability);
            let _ = writeln!(
                out,
                "</svg><figcaption>{said}{}</figcaption></figure>",
                if truth == prediction { String::new() } else { format!("<br>is {}", escape(truth)) }
            );
        }
        out.push_str("</div>\n");
    }

    fn epoch_table(&self, out: &mut String) {
        let metric = escape(self.metric_name());
        let _ = write!(
            out,
            "<h2>Epochs</h2>\n<div class=\"wide\"><table><tr><th>epoch</th><th>steps</th><th>loss</th><th>{metric}</th>\
             <th>validation loss</th><th>validation {metric}</th><th>learning rate</th><th>time</th></tr>\n"
        );
        for e in &self.history.epochs {
            let metric = |m: Option<f64>| m.map_or("–".to_string(), |m| self.metric_text(m));
            let cells = [
                e.epoch.to_string(),
                e.step.to_string(),
                figure(e.train.loss),
                metric(e.train.metric),
                e.validation.map_or("–".to_string(), |v| figure(v.loss)),
                metric(e.validation.and_then(|v| v.metric)),
                label(e.lr),
                format!("{:.2} s", e.seconds),
            ];
            let best = if self.history.best_epoch() == Some(e.epoch) { " class=\"best\"" } else { "" };
            let _ = writeln!(out, "<tr{best}><td>{}</td></tr>", cells.join("</td><td>"));
        }
        out.push_str("</table></div>\n");
    }

    fn metric_text(&self, value: f64) -> String {
        match self.metric {
            Some("accuracy") => format!("{:.2} %", 100.0 * value),
            _ => figure(value),
        }
    }
}

/// The charts that have something to show, each of title, scale and lines.
fn drawn<'a, const N: usize>(
    charts: [(&'a str, Scale, Vec<Line<'a>>); N],
    x_label: &'a str,
) -> impl Iterator<Item = Chart<'a>> {
    charts.into_iter().filter_map(move |(title, scale, mut lines)| {
        lines.retain(|line| line.points.iter().any(|(_, y)| y.is_finite()));
        (!lines.is_empty()).then_some(Chart { title, x_label, scale, lines })
    })
}

/// A loss or a metric in four digits or so.
fn figure(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 { format!("{value:.2e}") } else { format!("{value:.4}") }
}

impl Callback for Report {
    fn on_step(&mut self, step: &Step) -> Result<ControlFlow<()>> {
        self.metric = step.metric.map(|(name, _)| name).or(self.metric);
        self.steps.push(*step);
        Ok(ControlFlow::Continue(()))
    }

    fn on_end(&mut self, history: &History) -> Result<()> {
        self.history = history.clone();
        Ok(())
    }
}

/// Besides that of the charts.
const STYLE: &str = "\
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;background:var(--paper);color:var(--ink);\
max-width:1320px;margin:32px auto;padding:0 24px}\
h1{font-size:26px;margin:0 0 12px}h2{font-size:19px;margin:32px 0 8px}p{color:var(--soft);margin:0 0 8px}\
dl{display:flex;flex-wrap:wrap;gap:10px 32px;margin:0 0 20px}dt{color:var(--soft);font-size:13px}dd{margin:0;font-weight:600}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:16px}\
figure{margin:0}.charts figure{border:1px solid var(--grid);border-radius:8px;padding:10px}svg{display:block;width:100%;height:auto}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}th{font-weight:600;color:var(--soft);font-size:13px}\
td,th{padding:4px 12px;text-align:right;border-bottom:1px solid var(--grid)}tr.best td{font-weight:600;color:var(--a)}\
.matrix td,.matrix th{padding:5px 11px;text-align:center;border:0}.matrix .sum{color:var(--soft)}\
.hit{background:color-mix(in srgb,var(--a) var(--s),transparent)}.miss{background:color-mix(in srgb,var(--b) var(--s),transparent)}\
.samples{display:flex;flex-wrap:wrap;gap:12px}.sample{width:84px;text-align:center;font-size:13px}\
.sample svg{border:2px solid var(--grid);border-radius:6px}.sample.wrong svg{border-color:var(--bad)}.sample.wrong figcaption{color:var(--bad)}\
.sample rect{fill:var(--ink)}";
