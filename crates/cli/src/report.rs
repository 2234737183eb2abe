//! What `kiln train digits` writes besides model and curves: logs, and a report as one page.

use std::fs::File;
use std::path::{Path, PathBuf};

use kiln::prelude::*;
use kiln::train::{Callback, CsvLog, JsonLines, Report, Sample, TensorBoard};

use crate::failure::{Failure, Result};
use crate::predict::Answers;
use crate::train::Settings;

/// The logs of a training in one folder: tables, JSON lines, an event file of TensorBoard.
pub(crate) fn logs(folder: &Path) -> Vec<Box<dyn Callback>> {
    vec![
        Box::new(CsvLog::new(folder)),
        Box::new(JsonLines::new(folder.join("log.jsonl"))),
        Box::new(TensorBoard::new(folder)),
    ]
}

/// Finds out before a training whether a file can be written after it.
pub(crate) fn can_be_written(path: &Path) -> Result<()> {
    let is_new = !path.exists();
    let opened = File::options().append(true).create(true).open(path);
    opened.map_err(|why| Failure::Write { path: path.to_owned(), why })?;
    if is_new {
        let _ = std::fs::remove_file(path); // it would only be an empty page
    }
    Ok(())
}

/// An empty report that knows what the training is made of.
pub(crate) fn begin(settings: &Settings, device: &Device, weights: usize) -> Report {
    let Settings { model, epochs, batch, lr, seed } = settings;
    let mut report = Report::new(format!("Digits, {}", model.name()));
    report.note("weights", weights.to_string());
    report.note("optimizer", format!("Adam, learning rate {lr} down a cosine"));
    report.note("epochs asked for", epochs.to_string());
    report.note("batch", batch.to_string());
    report.note("seed", seed.to_string());
    report.note("adapter", device.caps().name.clone());
    report
}

/// How many images the report shows.
const SHOWN: usize = 24;

/// Adds what the model makes of the held-out images, those that it reads wrong first, and writes the report.
pub(crate) fn end(
    report: &mut Report,
    matrix: &ConfusionMatrix,
    model: &dyn Forward,
    test: &TensorDataset,
    path: &PathBuf,
) -> Result<()> {
    model.eval();
    report.note("held-out images read right", format!("{:.2} %", 100.0 * matrix.accuracy()));
    report.confusion(matrix, &[]);
    let answers = Answers::of(model, test)?;
    let mut order: Vec<usize> = (0..answers.truth.len()).collect();
    order.sort_by_key(|&i| answers.digit(i).0 == answers.truth[i]); // stable: the wrong ones in front
    for &i in order.iter().take(SHOWN) {
        let (digit, probability) = answers.digit(i);
        let (truth, prediction) = (answers.truth[i].to_string(), digit.to_string());
        report.sample(Sample { picture: answers.picture(i), truth, prediction, probability: probability.into() });
    }
    Ok(report.write(path)?)
}
