//! The picture.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, BorderType, Chart, Dataset, Gauge, GraphType, Paragraph};

use super::view::View;

// Blue and yellow: told apart by every kind of colour blindness, and on light and dark terminals.
const A: Color = Color::Blue;
const B: Color = Color::Yellow;
const FAINT: Color = Color::DarkGray;

type Points = Vec<(f64, f64)>;

/// Draws all of it, as far as there is room.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    let rows = [Constraint::Length(1), Constraint::Length(1), Constraint::Length(2), Constraint::Min(0)];
    let [head, bar, figures, charts] = area.layout(&Layout::vertical(rows).spacing(0));
    heading(frame, head, view);
    progress(frame, bar, view);
    numbers(frame, figures, view);

    let metric = view.last.and_then(|step| step.metric).map_or("metric", |(name, _)| name);
    let percent = metric == "accuracy";
    let steps = |of: &dyn Fn(&crate::train::Step) -> f64| -> Points {
        view.steps.iter().map(|step| (step.step as f64, of(step))).collect()
    };
    let losses = steps(&|step| step.loss);
    let metrics = steps(&|step| step.metric.map_or(f64::NAN, |(_, value)| value));
    let validations = |of: &dyn Fn(&crate::train::Figures) -> f64| -> Points {
        view.validations.iter().map(|v| (v.step as f64, of(&v.figures))).collect()
    };
    let held = (validations(&|f| f.loss), validations(&|f| f.metric.unwrap_or(f64::NAN)));
    let rates = steps(&|step| step.lr);
    let curves = |faint, smooth: &Points, held| Curves { faint, smooth: smooth.clone(), held };
    let panels = [
        ("loss", curves(losses, &view.loss.course, held.0), Unit::Plain),
        (metric, curves(metrics, &view.metric.course, held.1), if percent { Unit::Percent } else { Unit::Plain }),
        ("learning rate", curves(Vec::new(), &rates, Vec::new()), Unit::Plain),
        ("examples a second", curves(Vec::new(), &view.rates, Vec::new()), Unit::Plain),
    ];
    let panels: Vec<_> = panels.into_iter().filter(|(_, curves, _)| curves.all().next().is_some()).collect();
    let span = (view.start.step as f64, view.done().max(view.start.step + 1) as f64);
    for (area, (title, curves, unit)) in grid(charts, panels.len()).into_iter().zip(&panels) {
        curves.draw(frame, area, title, *unit, span);
    }
}

/// Places for `count` panels, two beside each other where there is room.
fn grid(area: Rect, count: usize) -> Vec<Rect> {
    let across = if area.width >= 72 { 2 } else { 1 };
    // what is not at least a few lines high says nothing
    let down = count.div_ceil(across).min(usize::from(area.height / 7)).max(1);
    let rows = Layout::vertical(vec![Constraint::Fill(1); down]).split(area);
    let columns = |row: &Rect| Layout::horizontal(vec![Constraint::Fill(1); across]).split(*row).to_vec();
    rows.iter().flat_map(columns).take(count).collect()
}

fn heading(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let keys = match view.stopping {
        true => "stopping after this step; Ctrl-C again ends the program ",
        false => "q ends the training ",
    };
    let title = Span::styled(format!(" {}", view.title), Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Paragraph::new(Line::from(title)), area);
    if usize::from(area.width) > view.title.chars().count() + keys.len() + 4 {
        let style = if view.stopping { Style::new().fg(B) } else { Style::new().fg(FAINT) };
        frame.render_widget(Paragraph::new(Span::styled(keys, style)).right_aligned(), area);
    }
}

fn progress(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let (done, all) = (view.done(), view.start.steps.max(1));
    let gone = view.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
    let left = view.left().map_or(String::new(), |left| format!(", {} left", time(left)));
    let epoch = (view.epochs_done + 1).min(view.start.epochs.max(1));
    let label = format!("epoch {epoch}/{}  step {done}/{all}  {}{left}", view.start.epochs, time(gone));
    let share = (done as f64 / all as f64).clamp(0.0, 1.0);
    let gauge = Gauge::default().ratio(share).label(label).gauge_style(Style::new().fg(A).bg(FAINT));
    frame.render_widget(gauge, area);
}

fn numbers(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let mut lines = [Line::from(" "), Line::from(" ")];
    let mut part = |line: usize, name: &str, value: Option<String>| {
        let Some(value) = value else { return };
        if !name.is_empty() {
            lines[line].push_span(Span::styled(format!(" {name} "), Style::new().fg(FAINT)));
        }
        lines[line].push_span(Span::styled(format!("{value} "), Style::new().add_modifier(Modifier::BOLD)));
    };
    let metric = view.last.and_then(|step| step.metric).map(|(name, _)| name);
    let unit = if metric == Some("accuracy") { Unit::Percent } else { Unit::Plain };
    part(0, "loss", view.loss.last().map(|value| Unit::Plain.text(value)));
    if let Some(name) = metric {
        part(0, name, view.metric.last().map(|value| unit.text(value)));
    }
    if let Some(last) = view.validations.last() {
        part(0, "validation", Some(Unit::Plain.text(last.figures.loss)));
        part(0, "", last.figures.metric.map(|value| unit.text(value)));
    }
    part(1, "lr", view.last.map(|step| Unit::Plain.text(step.lr)));
    part(1, "examples/s", view.rate().map(|rate| Unit::Plain.text(rate)));
    part(1, "waiting for data", view.waiting().map(|share| format!("{:.1} %", 100.0 * share)));
    part(1, "memory", view.memory.map(bytes));
    if view.last.is_none() {
        lines[0].push_span(" the first step: kernels are compiled");
    }
    frame.render_widget(Paragraph::new(lines.to_vec()), area);
}

/// How numbers are written.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Plain,
    Percent,
}

impl Unit {
    fn text(self, value: f64) -> String {
        let size = value.abs();
        match self {
            Unit::Percent => format!("{:.1} %", 100.0 * value),
            Unit::Plain if value == 0.0 => "0".into(),
            Unit::Plain if !(1e-4..1e6).contains(&size) => format!("{value:.1e}"),
            Unit::Plain if size >= 100.0 => format!("{value:.0}"),
            Unit::Plain if size >= 0.1 => format!("{value:.3}"),
            Unit::Plain => format!("{value:.5}"),
        }
    }
}

/// The lines of a panel.
struct Curves {
    /// Each step, in the background.
    faint: Points,
    smooth: Points,
    /// Of the validations.
    held: Points,
}

impl Curves {
    /// All that can be drawn.
    fn all(&self) -> impl Iterator<Item = f64> {
        self.faint.iter().chain(&self.smooth).chain(&self.held).map(|point| point.1).filter(|y| y.is_finite())
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect, title: &str, unit: Unit, span: (f64, f64)) {
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)))
        };
        let (low, high) = ends(&mut self.all());
        let log = title == "loss" && low > 0.0 && high > 20.0 * low;
        let place = |y: f64| if log { y.log10() } else { y };
        let room = ((place(high) - place(low)) * 0.05).max(place(high).abs() * 1e-3).max(1e-9);
        let bounds = [place(low) - room, place(high) + room];
        let placed = |points: &Points| -> Points {
            points.iter().filter(|point| point.1.is_finite()).map(|&(x, y)| (x, place(y))).collect()
        };
        let (faint, smooth, held) = (placed(&self.faint), placed(&self.smooth), placed(&self.held));
        let line = |points, colour| {
            let set = Dataset::default().marker(Marker::Braille).style(Style::new().fg(colour)).data(points);
            set.graph_type(GraphType::Line)
        };
        let mut sets = Vec::new();
        if !faint.is_empty() {
            sets.push(line(&faint, FAINT).graph_type(GraphType::Scatter));
        }
        sets.push(line(&smooth, A));
        if !held.is_empty() {
            sets.push(line(&held, B));
        }
        let back = |y: f64| if log { 10f64.powf(y) } else { y };
        let labels = [bounds[0] + room, (bounds[0] + bounds[1]) / 2.0, bounds[1] - room];
        let mut labels = labels.map(|y| unit.text(back(y)));
        if labels[0] == labels[2] {
            (labels[0], labels[2]) = (String::new(), String::new()); // one number is enough for a flat line
        }
        let labels = labels.map(|label| Span::styled(label, Style::new().fg(FAINT)));
        let xs = [span.0, span.1].map(|x| Span::styled(format!("{x}"), Style::new().fg(FAINT)));
        let mut name = Line::from(if log { format!(" {title}, logarithmic ") } else { format!(" {title} ") });
        if !held.is_empty() {
            let entry = |text, colour| Span::styled(text, Style::new().fg(colour));
            name.extend([entry("━ training ", A), entry("━ validation ", B)]);
        }
        let block = Block::bordered().border_type(BorderType::Rounded).border_style(Style::new().fg(FAINT)).title(name);
        let axis = || Axis::default().style(Style::new().fg(FAINT));
        let chart = Chart::new(sets)
            .block(block)
            .legend_position(None)
            .x_axis(axis().bounds([span.0, span.1]).labels(xs))
            .y_axis(axis().bounds(bounds).labels(labels));
        frame.render_widget(chart, area);
    }
}

/// Hours, minutes and seconds.
fn time(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole / 3600 {
        0 => format!("{}:{:02}", whole / 60, whole % 60),
        hours => format!("{hours}:{:02}:{:02}", whole / 60 % 60, whole % 60),
    }
}

fn bytes(count: u64) -> String {
    let count = count as f64;
    let (size, unit) =
        [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")].into_iter().find(|(size, _)| count >= *size).unwrap_or((1.0, "B"));
    format!("{:.1} {unit}", count / size)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::train::{Figures, Start, Step, Validation};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    /// The screen after `steps` of 400 steps, as lines.
    fn screen(width: u16, height: u16, steps: usize, change: impl Fn(&mut Step)) -> Vec<String> {
        let mut view = View::new("Digits, cnn".into());
        view.start(&Start { step: 0, epochs_done: 0, validations: 0, steps: 400, epochs: 4 });
        for step in 1..=steps {
            let (loss, share) = (2.3 * (-(step as f64) / 40.0).exp(), 1.0 - 0.9 * (-(step as f64) / 50.0).exp());
            let (lr, seconds) = (5e-3 * (1.0 - step as f64 / 400.0), 0.05 * step as f64);
            let metric = Some(("accuracy", share));
            let mut step = Step { step, epoch: 1 + step / 100, loss, metric, lr, examples: 64, seconds, waited: 5e-4 };
            change(&mut step);
            view.step(step, Some(12_345_678));
            if step.step.is_multiple_of(100) {
                let figures = Figures { loss: step.loss * 1.5, metric: Some(0.9) };
                view.validations.push(Validation { step: step.step, epoch: step.step / 100, figures });
                view.epochs_done = step.step / 100;
            }
        }
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &view)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(line).collect()
    }

    #[test]
    fn it_shows_curves_progress_rates_and_what_is_left() {
        let lines = screen(100, 30, 200, |_| {});
        let all = lines.join("\n");
        for part in [
            "Digits, cnn",
            "q ends the training",
            "epoch 3/4  step 200/400",
            ", 0:10 left",
            "lr 0.00250",
            "examples/s 1280",
            "waiting for data 1.0 %",
            "memory 12.3 MB",
            "loss, logarithmic",
            "accuracy",
            "learning rate",
            "examples a second",
            "━ validation",
        ] {
            assert!(all.contains(part), "no `{part}` in\n{all}");
        }
        let dots =
            |lines: &[String]| lines.iter().flat_map(|line| line.chars()).filter(|c| ('⠁'..='⣿').contains(c)).count();
        assert!(dots(&lines[4..17]) > 40 && dots(&lines[17..]) > 40, "no curves in\n{all}");
        assert!(lines[15].ends_with("200││      0                                      200│"), "{all}");
    }

    #[test]
    fn any_size_and_any_numbers_are_drawn() {
        for (width, height) in [(1, 1), (20, 4), (40, 12), (71, 24), (80, 24), (250, 90)] {
            for steps in [0, 1, 2, 400] {
                assert_eq!(screen(width, height, steps, |_| {}).len(), usize::from(height));
            }
        }
        for value in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300, 1e-300] {
            let all = screen(80, 24, 9, |step| {
                (step.loss, step.lr, step.seconds) = (value, value, value);
                step.metric = Some(("error", value));
            });
            assert!(all[0].contains("Digits"));
        }
        assert!(screen(80, 24, 0, |_| {}).join("").contains("kernels are compiled"));
        assert_eq!([time(3.4), time(61.0), time(3723.0)], ["0:03", "1:01", "1:02:03"]);
        assert_eq!([bytes(12), bytes(2_500_000_000)], ["12.0 B", "2.5 GB"]);
    }
}
