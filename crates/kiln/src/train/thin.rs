//! The steps of a training, few enough to be drawn.

use super::Step;

/// This many are kept at most.
const MOST: usize = 2000;

/// Steps of a training, one in so many: the longer it takes, the fewer.
#[derive(Debug, Clone)]
pub(super) struct ThinSteps {
    kept: Vec<Step>,
    stride: usize,
}

impl Default for ThinSteps {
    fn default() -> Self {
        Self { kept: Vec::new(), stride: 1 }
    }
}

impl ThinSteps {
    pub(super) fn push(&mut self, step: Step) {
        if step.step.is_multiple_of(self.stride) {
            self.kept.push(step);
        }
        if self.kept.len() > MOST {
            self.stride *= 2;
            self.kept.retain(|step| step.step.is_multiple_of(self.stride));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Step> {
        self.kept.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_training_keeps_few_steps_evenly() {
        let mut thin = ThinSteps::default();
        for step in 1..=50_000 {
            let (loss, lr) = (step as f64, 0.1);
            thin.push(Step { step, epoch: 1, loss, metric: None, lr, examples: 8, seconds: 0.0, waited: 0.0 });
        }
        let kept: Vec<usize> = thin.iter().map(|step| step.step).collect();
        assert!((MOST / 2..=MOST).contains(&kept.len()), "{}", kept.len());
        assert!(kept.windows(2).all(|pair| pair[1] - pair[0] == 32) && kept[0] == 32);
    }
}
