//! A training on the terminal while it runs.

mod draw;
mod terminal;
mod view;

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Callback, Epoch, History, Start, Step, Validation};
use crate::{Device, Error, Result};
use terminal::Screen;
use view::View;

/// A training on the whole terminal while it runs: curves of loss, metric, learning rate and throughput, progress, the time
/// that is left, memory, and how long data was waited for. `q` or Ctrl-C ends the training after the present step, a
/// second Ctrl-C ends the program.
///
/// It takes the terminal when the training starts and gives it back when that ends, in an error or a panic too. What is
/// printed meanwhile is lost or gets in its way: switch the [progress bar](super::Trainer::progress) off, and print later.
/// A thread of its own draws, so a step waits for nothing.
///
/// ```no_run
/// # use kiln::prelude::*; use kiln::train::Dashboard;
/// # let device = Device::open()?;
/// # let (train, test) = data::digits::split(&device)?;
/// let model = Linear::new(64, 10, &mut Init::new(&device, 42));
/// let mut adam = Adam::new(&model, 1e-3);
/// let dashboard = Dashboard::new("Digits")?.memory_of(&device);
/// let trainer = Trainer::new(20).progress(false).callback(dashboard);
/// trainer.fit(&model, &mut adam, &train, Some(&test), |(x, y)| Outcome::classification(&model.forward(x), y))?;
/// # Ok::<(), Error>(())
/// ```
pub struct Dashboard {
    view: Arc<Mutex<View>>,
    device: Option<Device>,
    asked: Arc<AtomicBool>,
    /// The trainer looks at the flag itself.
    shared: bool,
    screen: Option<Screen>,
}

impl Dashboard {
    /// A dashboard of this title.
    ///
    /// # Errors
    /// [`Error::Terminal`] if standard output or input is no terminal.
    pub fn new(title: impl Into<String>) -> Result<Self> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Error::Terminal("standard input or output is no terminal".into()));
        }
        let view = Arc::new(Mutex::new(View::new(title.into())));
        Ok(Self { view, device: None, asked: Arc::default(), shared: false, screen: None })
    }

    /// Shows how much memory this device's tensors take.
    #[must_use]
    pub fn memory_of(mut self, device: &Device) -> Self {
        self.device = Some(device.clone());
        self
    }

    /// Sets this when `q` or Ctrl-C is pressed: the trainer's own [`stop_flag`](super::Trainer::stop_flag). Without it the
    /// dashboard breaks the training off as any callback may.
    #[must_use]
    pub fn stop_flag(mut self, flag: Arc<AtomicBool>) -> Self {
        (self.asked, self.shared) = (flag, true);
        self
    }

    /// Gives the terminal back at once, if a dashboard has it: for a signal handler that ends the program.
    pub fn give_back() {
        terminal::give_back();
    }

    fn view(&self) -> MutexGuard<'_, View> {
        // the drawing thread does not panic while it holds the lock; what it shows would be right even then
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flow(&self) -> ControlFlow<()> {
        match !self.shared && self.asked.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

impl Callback for Dashboard {
    fn on_start(&mut self, start: &Start) -> Result<()> {
        self.view().start(start);
        let screen = Screen::open(self.view.clone(), self.asked.clone());
        self.screen = Some(screen.map_err(|why| Error::Terminal(why.to_string()))?);
        Ok(())
    }

    fn on_step(&mut self, step: &Step) -> Result<ControlFlow<()>> {
        let memory = self.device.as_ref().map(|device| device.counters().live_bytes);
        self.view().step(*step, memory);
        Ok(self.flow())
    }

    fn on_validation(&mut self, validation: &Validation) -> Result<()> {
        self.view().validations.push(*validation);
        Ok(())
    }

    fn on_epoch(&mut self, epoch: &Epoch) -> Result<ControlFlow<()>> {
        self.view().epochs_done = epoch.epoch;
        Ok(self.flow())
    }

    fn on_end(&mut self, _history: &History) -> Result<()> {
        match self.screen.take() {
            Some(screen) => screen.close().map_err(|why| Error::Terminal(why.to_string())),
            None => Ok(()),
        }
    }
}
