//! What a training looked like.

/// Means over an epoch, or over a validation set.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// The mean loss.
    pub loss: f64,
    /// The mean of the metric, where there is one.
    pub metric: Option<f64>,
}

/// The figures of one epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: usize,
    /// Of the training batches, taken while the model was changing.
    pub train: Figures,
    /// Of the validation set, after the epoch.
    pub validation: Option<Figures>,
    /// The learning rate of the last step.
    pub lr: f64,
    /// How long it took, with validation.
    pub seconds: f64,
}

impl Epoch {
    /// The loss that decides: of validation where there is one.
    fn deciding(&self) -> f64 {
        self.validation.unwrap_or(self.train).loss
    }
}

/// Why a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// All epochs are done.
    #[default]
    Complete,
    /// The loss did not fall any more, or the callback broke off.
    Early,
    /// The stop flag was set.
    Interrupted,
}

/// The epochs of a training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// In order.
    pub epochs: Vec<Epoch>,
    /// Why it ended.
    pub ending: Ending,
}

impl History {
    /// The number of the epoch with the lowest deciding loss, the first of equal ones.
    pub fn best_epoch(&self) -> Option<usize> {
        let best = self.epochs.iter().min_by(|a, b| a.deciding().total_cmp(&b.deciding()));
        best.map(|epoch| epoch.epoch)
    }
}
