//! What a training looked like.

use super::Validation;

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
    /// Steps taken by its end, those of earlier epochs included.
    pub step: usize,
    /// Of the training batches, taken while the model was changing.
    pub train: Figures,
    /// Of the validation set, the last of the epoch; `None` if there was none in it.
    pub validation: Option<Figures>,
    /// The learning rate of the last step.
    pub lr: f64,
    /// How long it took, with validation.
    pub seconds: f64,
}

/// Why a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// All epochs are done.
    #[default]
    Complete,
    /// The loss did not fall any more, or a callback broke off.
    Early,
    /// The stop flag was set.
    Interrupted,
    /// The limit of steps or of time was reached.
    Limit,
}

/// The epochs of a training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// In order.
    pub epochs: Vec<Epoch>,
    /// Every validation, in order.
    pub validations: Vec<Validation>,
    /// Why it ended.
    pub ending: Ending,
}

impl History {
    /// The number of the epoch with the lowest loss, the first of equal ones: the loss of validation where there was
    /// one, else of training.
    pub fn best_epoch(&self) -> Option<usize> {
        let validated = self.epochs.iter().any(|epoch| epoch.validation.is_some());
        let loss = |epoch: &Epoch| if validated { epoch.validation.map(|f| f.loss) } else { Some(epoch.train.loss) };
        let known = self.epochs.iter().filter_map(|epoch| Some((epoch.epoch, loss(epoch)?)));
        known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(epoch, _)| epoch)
    }
}
