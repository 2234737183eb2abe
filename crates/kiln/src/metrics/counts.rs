//! How often one class was right, and what is read off that.

/// How the numbers of the classes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// Over all answers together.
    Micro,
    /// The mean over the classes.
    Macro,
    /// The mean over the classes, each as often as it occurs.
    Weighted,
}

/// One class, or label.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counts {
    /// How often it was answered and true.
    pub(super) right: f64,
    /// How often it was answered.
    pub(super) answered: f64,
    /// How often it was true.
    pub(super) support: f64,
}

impl Counts {
    pub(super) fn precision(&self, zero_division: f64) -> f64 {
        share(self.right, self.answered, zero_division)
    }

    pub(super) fn recall(&self, zero_division: f64) -> f64 {
        share(self.right, self.support, zero_division)
    }

    pub(super) fn f1(&self, zero_division: f64) -> f64 {
        share(2.0 * self.right, self.answered + self.support, zero_division)
    }

    pub(super) fn iou(&self, zero_division: f64) -> f64 {
        share(self.right, self.answered + self.support - self.right, zero_division)
    }
}

/// A share of nothing is `zero_division`.
fn share(part: f64, whole: f64, zero_division: f64) -> f64 {
    if whole == 0.0 { zero_division } else { part / whole }
}

/// `of` all classes as one number; a class of which it is NaN is left out, as scikit-learn does.
pub(super) fn mean(classes: &[Counts], average: Average, of: impl Fn(&Counts) -> f64) -> f64 {
    if average == Average::Micro {
        let sum = |part: fn(&Counts) -> f64| classes.iter().map(part).sum();
        return of(&Counts { right: sum(|c| c.right), answered: sum(|c| c.answered), support: sum(|c| c.support) });
    }
    let values = classes.iter().map(|c| (of(c), c.support)).filter(|(value, _)| !value.is_nan());
    weighted(values, average)
}

/// The mean of values, each with how often its class occurs; where none does, all count alike.
pub(super) fn weighted(values: impl Iterator<Item = (f64, f64)> + Clone, average: Average) -> f64 {
    let all: f64 = values.clone().map(|(_, support)| support).sum();
    let alike = average != Average::Weighted || all == 0.0;
    let counted = values.map(|(value, support)| (value, if alike { 1.0 } else { support }));
    // what weighs nothing may be NaN
    let (sum, weights) = counted
        .filter(|(_, weight)| *weight > 0.0)
        .fold((0.0, 0.0), |(s, w), (v, weight)| (s + v * weight, w + weight));
    sum / weights
}
