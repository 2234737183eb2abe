//! Text, token by token.

use crate::error::At;
use crate::init::Draws;
use crate::{Error, Result, Tensor};

/// How the next token is chosen from the logits. The same seed chooses the same tokens.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the largest (the first of equals). 1 by default.
    pub temperature: f32,
    /// Only so many of the largest logits take part; 0, the default: all.
    pub top_k: usize,
    /// Only the largest take part whose probabilities together reach it; 1, the default: all.
    ///
    /// Source: Holtzman et al. 2020, "The curious case of neural text degeneration", §3.1.
    pub top_p: f32,
    /// Of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Always the largest logit.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Starts the stream of choices.
    ///
    /// # Errors
    /// [`Error::Argument`] if the temperature is negative or not finite, or `top_p` is not in 0..=1.
    #[track_caller]
    pub fn sampler(self) -> Result<Sampler> {
        let refuse = |name, value: f32, why| {
            Err(Error::Argument { op: "sampling", name, value: value.to_string(), why, at: At::here() })
        };
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return refuse("temperature", self.temperature, "finite and at least 0");
        }
        if !(0.0..=1.0).contains(&self.top_p) {
            return refuse("top_p", self.top_p, "in 0..=1");
        }
        Ok(Sampler { draws: Draws::new(self.seed, 0), settings: self })
    }
}

/// A stream of choices; see [`Sampling::sampler`].
pub struct Sampler {
    settings: Sampling,
    draws: Draws,
}

impl Sampler {
    /// The place of the chosen one among `logits`.
    ///
    /// # Errors
    /// [`Error::Argument`] if a logit is NaN or +∞, all are −∞, or there is none.
    #[track_caller]
    pub fn pick(&mut self, logits: &[f32]) -> Result<usize> {
        let at = At::here();
        if logits.is_empty() {
            let (value, why) = ("[]".to_string(), "at least one");
            return Err(Error::Argument { op: "sampling", name: "logits", value, why, at });
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        // stable: of equals the first comes first
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let top = logits[order[0]];
        if logits.iter().any(|l| l.is_nan()) || !top.is_finite() {
            let (value, why) = (top.to_string(), "numbers, the largest of them finite");
            return Err(Error::Argument { op: "sampling", name: "logits", value, why, at });
        }
        if self.settings.temperature == 0.0 {
            return Ok(order[0]);
        }
        if self.settings.top_k > 0 {
            order.truncate(self.settings.top_k);
        }
        let weight = |&i: &usize| (f64::from(logits[i] - top) / f64::from(self.settings.temperature)).exp();
        let mut weights: Vec<f64> = order.iter().map(weight).collect();
        if self.settings.top_p < 1.0 {
            let all: f64 = weights.iter().sum();
            let mut reached = 0.0;
            let short = weights.iter().take_while(|w| {
                reached += *w;
                reached < f64::from(self.settings.top_p) * all
            });
            let kept = short.count() + 1; // the one that reaches it takes part
            weights.truncate(kept);
        }
        let mut left = self.draws.unit() * weights.iter().sum::<f64>();
        let chosen = weights.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        Ok(order[chosen.unwrap_or(weights.len() - 1)])
    }
}

/// `count` tokens that follow `prompt`, fewer if `stop` comes first (it is the last then).
///
/// `next` gives the logits, `[.., vocabulary]`, whose last row is used, for tokens at a position: at first for the
/// whole prompt at 0, then for each new token at its place. With a model that has caches that is
/// `|tokens, position| model.forward_cached(tokens, &caches, position)`. The last token chosen is not fed back.
///
/// # Errors
/// What evaluating the logits says; [`Error::Argument`] for an empty prompt, or as [`Sampler::pick`].
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let sizes = nn::Gpt2Options { vocabulary: 11, context: 16, width: 8, layers: 1, heads: 2, dropout: 0.0 };
/// let gpt = nn::Gpt2::new(sizes, &mut Init::new(&device, 0));
/// gpt.eval();
/// let caches = gpt.caches(1);
/// let mut sampler = nn::Sampling { temperature: 0.8, top_k: 5, ..Default::default() }.sampler()?;
/// let text = nn::generate(&device, &[1, 2, 3], 4, None, &mut sampler, |tokens, position| {
///     gpt.forward_cached(tokens, &caches, position)
/// })?;
/// assert_eq!(text.len(), 4);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn generate(
    device: &crate::Device,
    prompt: &[i32],
    count: usize,
    stop: Option<i32>,
    sampler: &mut Sampler,
    mut next: impl FnMut(&Tensor, usize) -> Tensor,
) -> Result<Vec<i32>> {
    let at = At::here();
    if prompt.is_empty() {
        let (value, why) = ("[]".to_string(), "at least one token");
        return Err(Error::Argument { op: "generate", name: "prompt", value, why, at });
    }
    let mut text: Vec<i32> = Vec::new(); // `count` may be more than will ever come
    let (mut tokens, mut position) = (prompt.to_vec(), 0);
    while text.len() < count {
        let logits = next(&Tensor::from_slice(device, &tokens, &[1, tokens.len()]), position);
        let vocabulary = logits.shape()?.last().copied().unwrap_or(1);
        let rows = logits.numel() / vocabulary.max(1);
        let last = logits.reshape([rows, vocabulary]).slice(0, -1, i64::MAX, 1);
        let token = sampler.pick(&last.to_vec::<f32>()?)? as i32;
        text.push(token);
        if Some(token) == stop {
            break;
        }
        position += tokens.len();
        tokens = vec![token];
    }
    Ok(text)
}
