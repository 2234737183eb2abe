//! The progress bar. It is drawn on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

use super::readings::Readings;

pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(super) fn new(on: bool, total: usize, done: usize) -> Self {
        let bar = on.then(|| {
            let bar = ProgressBar::new(total as u64).with_position(done as u64);
            let style = ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}  {eta} left");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self(bar)
    }

    pub(super) fn step(&self, epoch: usize, epochs: usize, readings: &Readings) {
        let Some(bar) = &self.0 else { return };
        if !bar.is_hidden() {
            bar.set_message(format!("epoch {epoch}/{epochs}  {readings}"));
        }
        bar.inc(1);
    }

    /// Runs `body` with the bar out of the way, so that it may print.
    pub(super) fn aside<T>(&self, body: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(body),
            None => body(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
