//! Logs of a training: tables and JSON lines. Those of a resumed training go on where its checkpoint is. What an earlier training
//! has left is never written over: a new one puts it aside as `steps.1.csv`, `log.1.jsonl`, and so on, by the first free number.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::checkpoints::failed;
use super::{Callback, Epoch, Figures, Start, Step, Validation};
use crate::{Result, store};

/// Writes `steps.csv`, `validations.csv` and `epochs.csv` into a folder, a line at a time.
///
/// A number that there is not is an empty field. Tables of an earlier training become `steps.1.csv`, `validations.1.csv`,
/// `epochs.1.csv` (or 2, 3, …) when a new one starts; a resumed one goes on in its own.
pub struct CsvLog {
    folder: PathBuf,
    steps: Lines,
    validations: Lines,
    epochs: Lines,
}

const STEPS: &str = "step,epoch,loss,metric,lr,examples,seconds\n";
const VALIDATIONS: &str = "step,epoch,loss,metric\n";
const EPOCHS: &str = "epoch,step,loss,metric,validation_loss,validation_metric,lr,seconds\n";

impl CsvLog {
    /// Into this folder, which is made when the training starts.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let lines = |name| Lines { path: folder.join(name), file: None };
        let (steps, validations, epochs) = (lines("steps.csv"), lines("validations.csv"), lines("epochs.csv"));
        Self { folder, steps, validations, epochs }
    }
}

impl Callback for CsvLog {
    fn on_start(&mut self, start: &Start) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|why| failed(&self.folder, why))?;
        if start.step == 0 {
            put_aside(&[
                (&self.steps.path, STEPS),
                (&self.validations.path, VALIDATIONS),
                (&self.epochs.path, EPOCHS),
            ])?;
        }
        self.steps.begin(STEPS, start.step)?;
        self.validations.begin(VALIDATIONS, start.validations)?;
        self.epochs.begin(EPOCHS, start.epochs_done)
    }

    fn on_step(&mut self, s: &Step) -> Result<ControlFlow<()>> {
        let metric = field(s.metric.map(|(_, value)| value));
        let Step { step, epoch, loss, lr, examples, seconds, .. } = s;
        self.steps.add(format_args!("{step},{epoch},{loss},{metric},{lr},{examples},{seconds:.3}"))?;
        Ok(ControlFlow::Continue(()))
    }

    fn on_validation(&mut self, v: &Validation) -> Result<()> {
        let metric = field(v.figures.metric);
        self.validations.add(format_args!("{},{},{},{metric}", v.step, v.epoch, v.figures.loss))
    }

    fn on_epoch(&mut self, e: &Epoch) -> Result<ControlFlow<()>> {
        let both = |f: Option<Figures>| format!("{},{}", field(f.map(|f| f.loss)), field(f.and_then(|f| f.metric)));
        let (train, validation) = (both(Some(e.train)), both(e.validation));
        self.epochs.add(format_args!("{},{},{train},{validation},{},{:.3}", e.epoch, e.step, e.lr, e.seconds))?;
        Ok(ControlFlow::Continue(()))
    }
}

fn field(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// Writes a JSON object a line into one file: `{"event":"step",…}`, `{"event":"validation",…}`, `{"event":"epoch",…}`.
///
/// A number that there is not, or that JSON cannot write, is null. The file of an earlier training becomes `NAME.1.jsonl` (or 2,
/// 3, …) when a new one starts; a resumed one goes on in its own.
pub struct JsonLines(Lines);

impl JsonLines {
    /// Into this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(Lines { path: path.into(), file: None })
    }
}

impl Callback for JsonLines {
    fn on_start(&mut self, start: &Start) -> Result<()> {
        if start.step == 0 {
            put_aside(&[(&self.0.path, "")])?;
        }
        let mut left = [("step", start.step), ("validation", start.validations), ("epoch", start.epochs_done)];
        self.0.keep("", |line| {
            let event = |name: &str| line.starts_with(&format!("{{\"event\":\"{name}\","));
            match left.iter_mut().find(|(name, _)| event(name)) {
                Some((_, left)) if *left > 0 => {
                    *left -= 1;
                    true
                }
                _ => false,
            }
        })
    }

    fn on_step(&mut self, s: &Step) -> Result<ControlFlow<()>> {
        let metric = match s.metric {
            Some((name, value)) => format!(",\"{name}\":{}", json(value)),
            None => String::new(),
        };
        let (step, epoch, loss, lr) = (s.step, s.epoch, json(s.loss), json(s.lr));
        let (examples, seconds) = (s.examples, s.seconds);
        self.0.add(format_args!(
            "{{\"event\":\"step\",\"step\":{step},\"epoch\":{epoch},\"loss\":{loss}{metric},\"lr\":{lr},\
             \"examples\":{examples},\"seconds\":{seconds:.3}}}"
        ))?;
        Ok(ControlFlow::Continue(()))
    }

    fn on_validation(&mut self, v: &Validation) -> Result<()> {
        let figures = json_figures(Some(v.figures));
        self.0.add(format_args!(
            "{{\"event\":\"validation\",\"step\":{},\"epoch\":{},\"figures\":{figures}}}",
            v.step, v.epoch
        ))
    }

    fn on_epoch(&mut self, e: &Epoch) -> Result<ControlFlow<()>> {
        let (train, validation, lr) = (json_figures(Some(e.train)), json_figures(e.validation), json(e.lr));
        self.0.add(format_args!(
            "{{\"event\":\"epoch\",\"epoch\":{},\"step\":{},\"train\":{train},\"validation\":{validation},\
             \"lr\":{lr},\"seconds\":{:.3}}}",
            e.epoch, e.step, e.seconds
        ))?;
        Ok(ControlFlow::Continue(()))
    }
}

fn json(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { "null".to_string() }
}

fn json_figures(figures: Option<Figures>) -> String {
    match figures {
        Some(f) => format!("{{\"loss\":{},\"metric\":{}}}", json(f.loss), f.metric.map_or("null".into(), json)),
        None => "null".to_string(),
    }
}

/// Gives files of an earlier training names of their own, with one number for all of them, if one of them has more than its head.
fn put_aside(files: &[(&Path, &str)]) -> Result<()> {
    let bytes = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    if files.iter().all(|(path, head)| bytes(path) <= head.len() as u64) {
        return Ok(());
    }
    let numbered = |path: &Path, n: u64| {
        let mut name = path.file_stem().unwrap_or_default().to_os_string();
        name.push(format!(".{n}"));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        path.with_file_name(name)
    };
    let mut n = 1;
    while files.iter().any(|(path, _)| numbered(path, n).exists()) {
        n += 1;
    }
    for (path, _) in files.iter().filter(|(path, _)| path.exists()) {
        fs::rename(path, numbered(path, n)).map_err(|why| failed(path, why))?;
    }
    Ok(())
}

/// A file of lines that grows.
struct Lines {
    path: PathBuf,
    file: Option<File>,
}

impl Lines {
    /// Opens a table and keeps the first `rows` lines after its head.
    fn begin(&mut self, head: &str, rows: usize) -> Result<()> {
        let mut left = rows;
        self.keep(head, |line| {
            let keeps = left > 0 && !head.starts_with(line);
            left -= usize::from(keeps);
            keeps
        })
    }

    /// Opens the file with `head` and what it had of whole lines to keep.
    fn keep(&mut self, head: &str, mut keeps: impl FnMut(&str) -> bool) -> Result<()> {
        let old = match fs::read_to_string(&self.path) {
            Ok(old) => old,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(why) => return Err(failed(&self.path, why)),
        };
        let whole = old.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let kept: String = std::iter::once(head).chain(whole.filter(|line| keeps(line))).collect();
        if kept != old || !self.path.exists() {
            store::write_atomically(&self.path, &[kept.as_bytes()])?;
        }
        self.file = Some(append(&self.path)?);
        Ok(())
    }

    /// Adds a line.
    fn add(&mut self, line: impl Display) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(format!("{line}\n").as_bytes()).map_err(|why| failed(&self.path, why))
    }
}

fn append(path: &Path) -> Result<File> {
    File::options().append(true).open(path).map_err(|why| failed(path, why))
}
