//! Connectionist temporal classification: the loss of a sequence of labels whose places are not known.

use super::Reduction;
use crate::{DType, Lit, PadMode, Tensor, composed};

/// −ln of the probability that a sequence of class probabilities spells the labels, summed over all alignments:
/// each label is held for one or more steps, and blanks may stand between labels and must between equal ones.
///
/// Shapes: log-probabilities `logp [steps, batch, classes]` (from `log_softmax`), labels `[batch, length]`
/// of integers, padded at the end, input and target lengths `[batch]` of integers → `[]`, or `[batch]`
/// without reduction. Labels may also be laid end to end, `[sum of the target lengths]`. One sequence:
/// `[steps, classes]`, `[length]`, `[]` and `[]`.
///
/// The mean divides each loss by its target length (at least 1) before it averages over the batch, as
/// in PyTorch. The gradient is PyTorch's too: it is that of logits seen through `log_softmax`, and so
/// right for `logp` whose probabilities add up to 1. It is not differentiable again. A sequence that
/// is too short for its labels costs +∞ and has no gradient.
///
/// Source: Graves, Fernández, Gomez & Schmidhuber 2006, "Connectionist temporal classification", §4.1.
///
/// ```
/// # use kiln::prelude::*; use kiln::loss::Ctc; let device = Device::open()?;
/// let logp = Tensor::zeros(&device, [2, 1, 2]).log_softmax(-1);       // two steps, blank or class 1
/// let (labels, steps, length) = ([[1i32]], [2i32], [1i32]);
/// let of = |n: [i32; 1]| Tensor::new(&device, n);
/// let loss = Ctc::default().loss(&logp, &Tensor::new(&device, labels), &of(steps), &of(length));
/// assert!((loss.item()? + 0.75f32.ln()).abs() < 1e-6);               // 1-, -1 and 11 of four spell it
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Ctc {
    /// The class that stands for no label; 0.
    pub blank: usize,
    /// Whether sequences that cannot spell their labels count as 0 instead of +∞; false.
    pub zero_infinity: bool,
    /// How the sequences' losses become one.
    pub reduction: Reduction,
}

/// [`Ctc`] with PyTorch's defaults.
#[track_caller]
pub fn ctc_loss(logp: &Tensor, labels: &Tensor, input_lengths: &Tensor, target_lengths: &Tensor) -> Tensor {
    Ctc::default().loss(logp, labels, input_lengths, target_lengths)
}

impl Ctc {
    /// The loss of `logp` against `labels`.
    ///
    /// # Errors
    /// The result carries [`Error::Shape`](crate::Error::Shape) or [`Error::DType`](crate::Error::DType) if the
    /// operands do not fit, [`Error::Argument`](crate::Error::Argument) if the blank is no class. A label
    /// that is no class, or a length beyond the tensor, is an [`Error::Index`](crate::Error::Index).
    #[track_caller]
    pub fn loss(&self, logp: &Tensor, labels: &Tensor, input_lengths: &Tensor, target_lengths: &Tensor) -> Tensor {
        composed("ctc_loss", || {
            let all = [logp, labels, input_lengths, target_lengths];
            if let Some(bad) = all.iter().find(|t| t.shape().is_err()) {
                return (*bad).clone();
            }
            if [labels, input_lengths, target_lengths].iter().any(|t| !t.dtype().is_int()) {
                return Tensor::bad_dtype("ctc_loss", &all, "labels and lengths are integers");
            }
            if logp.rank() == 2 && labels.rank() == 1 && input_lengths.numel() == 1 && target_lengths.numel() == 1 {
                let one = |t: &Tensor| t.reshape([1]);
                let losses =
                    self.of_batch(&logp.unsqueeze(1), &labels.unsqueeze(0), &one(input_lengths), &one(target_lengths));
                return if self.reduction == Reduction::None { losses.squeeze(0) } else { losses };
            }
            if let (1, Ok([time, batch, _])) = (labels.rank(), logp.dims::<3>())
                && target_lengths.shape().is_ok_and(|shape| shape[..] == [batch])
            {
                let (labels, lengths) = padded(labels, target_lengths, time);
                return self.of_batch(logp, &labels, input_lengths, &lengths);
            }
            self.of_batch(logp, labels, input_lengths, target_lengths)
        })
    }

    #[track_caller]
    fn of_batch(&self, logp: &Tensor, labels: &Tensor, steps: &Tensor, lengths: &Tensor) -> Tensor {
        let (Ok([time, batch, classes]), Ok([rows, length])) = (logp.dims::<3>(), labels.dims::<2>()) else {
            return Tensor::bad_shape("ctc_loss", &[logp, labels], "[steps, batch, classes] and [batch, length]");
        };
        let fits = |t: &Tensor| t.shape().is_ok_and(|shape| shape[..] == [batch]);
        if rows != batch || !fits(steps) || !fits(lengths) {
            let why = "labels [batch, length], lengths [batch]";
            return Tensor::bad_shape("ctc_loss", &[logp, labels, steps, lengths], why);
        }
        if time == 0 {
            return Tensor::bad_shape("ctc_loss", &[logp, labels], "at least one step");
        }
        if self.blank >= classes {
            return logp.bad_argument("ctc_loss", "blank", self.blank, "a class");
        }
        let (steps, lengths) = (within(steps, time), within(lengths, length));
        let trellis = Trellis::new(logp, labels, &steps, &lengths, self.blank);
        let (losses, posterior) = trellis.solve(time);
        let empty = Tensor::where_(&lengths.eq(0), Lit(0.0), f32::INFINITY);
        let losses = Tensor::where_(&steps.eq(0), empty, losses);

        let possible = losses.lt(f32::INFINITY).logical_or(losses.isnan());
        let running = Tensor::arange(logp.device(), 0, time as i32, 1).unsqueeze(-1).lt(&steps); // [time, batch]
        let counts = running.logical_and(&possible).unsqueeze(-1);
        let slope = Tensor::where_(&counts, logp.exp() - posterior, Lit(0.0)).detach();
        // adds nothing, and has the gradient; a class of probability 0 has none
        let terms = Tensor::where_(&slope.eq(Lit(0.0)), Lit(0.0), logp * slope).sum_axes([0, 2], false);
        let otherwise = if self.zero_infinity { 0.0 } else { f32::INFINITY };
        let losses = Tensor::where_(&possible, losses, otherwise).detach() + (&terms - terms.detach());
        match self.reduction {
            Reduction::Mean => (losses / lengths.maximum(1).cast(DType::F32)).mean(),
            other => other.of(&losses),
        }
    }
}

/// Labels that lie end to end as rows `[batch, width]`, and their lengths. More labels than there are steps cannot be
/// spelled, however many they are, so rows are no wider than that and one.
#[track_caller]
fn padded(labels: &Tensor, lengths: &Tensor, time: usize) -> (Tensor, Tensor) {
    let (n, width) = (labels.numel(), labels.numel().min(time + 1));
    let ends = within(&lengths.cumsum(0), n);
    if n == 0 {
        return (labels.reshape([lengths.numel(), 0]), lengths.clone());
    }
    let place = (ends - lengths).unsqueeze(-1) + Tensor::arange(labels.device(), 0, width as i32, 1);
    let rows = labels.index_select(0, &place.clamp(0, n as i32 - 1).reshape(-1)).reshape([lengths.numel(), width]);
    (rows, lengths.clamp(0, width as i32))
}

/// The lengths, where one outside of `0..=most` is an index out of range.
#[track_caller]
fn within(lengths: &Tensor, most: usize) -> Tensor {
    Tensor::arange(lengths.device(), 0, most as i32 + 1, 1).index_select(0, lengths)
}

/// The states that an alignment goes through: blank, label, blank, label, …, blank.
struct Trellis {
    /// ln of the probability of each state's class at each step, `[time, batch, states]`; −∞ for states
    /// past the end.
    emit: Tensor,
    /// Whether a state may be entered from the one before the last, `[batch, states]`.
    skip: Tensor,
    /// Whether a state may be the last one.
    last: Tensor,
    /// The number of steps, `[batch, 1]`.
    steps: Tensor,
    /// One where the state's class is this one, `[batch, states, classes]`.
    class: Tensor,
}

/// After how many steps the logarithms are brought back to about 0. They would lose their last digits, which
/// the gradient needs.
const RESCALE: usize = 16;

impl Trellis {
    #[track_caller]
    fn new(logp: &Tensor, labels: &Tensor, steps: &Tensor, lengths: &Tensor, blank: usize) -> Self {
        let device = logp.device();
        let classes = logp.shape().ok().and_then(|s| s.last().copied()).unwrap_or(0);
        let [batch, length] = labels.dims::<2>().unwrap_or([0, 0]);
        let count = |n: usize| Tensor::arange(device, 0, n as i32, 1);
        let blank = blank as i32;
        let given = count(length).lt(lengths.unsqueeze(-1));
        let labels = Tensor::where_(&given, labels.cast(DType::I32), blank);
        // a blank after each label, and one before all
        let pairs = Tensor::stack(&[&labels, &labels.full_like(blank)], -1).reshape([batch, 2 * length]);
        let first = Tensor::full(device, [batch, 1], blank);
        let states = Tensor::cat(&[&first, &pairs], 1);
        let place = count(2 * length + 1);
        let end = (lengths * 2).unsqueeze(-1); // the last blank
        let exists = place.le(&end);
        let emit = logp.take_along(2, &states.unsqueeze(0));
        let emit = Tensor::where_(&exists, emit, f32::NEG_INFINITY);
        let before_last = Tensor::cat(&[&first, &first, &states], 1).narrow(1, 0, 2 * length + 1);
        let skip = states.ne(blank).logical_and(states.ne(before_last)).logical_and(place.ge(2));
        let last = place.eq(&end).logical_or((place + 1).eq(&end));
        Self { emit, skip, last, steps: steps.unsqueeze(-1), class: states.one_hot(classes).cast(DType::F32) }
    }

    /// The loss of each sequence, and the probability of each class at each step given the labels.
    #[track_caller]
    fn solve(&self, time: usize) -> (Tensor, Tensor) {
        let (alpha, losses) = self.alpha(time);
        let beta = self.beta(time);
        let none = alpha.eq(f32::NEG_INFINITY).logical_or(beta.eq(f32::NEG_INFINITY));
        // each step's states add up to 1, so the scales of alpha and beta do not matter
        let state = Tensor::where_(&none, f32::NEG_INFINITY, alpha + beta - &self.emit).softmax(-1);
        (losses, state.transpose(0, 1).matmul(&self.class).transpose(0, 1))
    }

    /// α\[t, s\] ∝ ln of the probability of all paths that are in state s after step t, and −ln of the whole.
    ///
    /// Everything of a step is in the operand of one reduction, so a step is one kernel.
    #[track_caller]
    fn alpha(&self, time: usize) -> (Tensor, Tensor) {
        let place = Tensor::arange(self.emit.device(), 0, self.states(), 1);
        let (skip, stays) = (self.skip.cast(DType::I32), self.skip.full_like(1).cast(DType::I32));
        let from = Tensor::stack(&[&skip, &stays, &stays], -1); // may come from s - 2, s - 1, s
        let still = Tensor::new(self.emit.device(), [0i32, 0, 1]);
        let mut all = vec![masked(&self.emit.select(0, 0), &place.lt(2))];
        let (mut shift, mut scale) = (None, Tensor::zeros(self.emit.device(), [1, 1]));
        for t in 1..time {
            let now = &all[t - 1];
            let runs = self.steps.gt(t).unsqueeze(-1); // a sequence that has ended stays as it is
            let emit = Tensor::where_(&runs, self.emit.select(0, t as i64).unsqueeze(-1), Lit(0.0));
            let may = Tensor::where_(&runs, &from, &still).gt(0);
            let window = now.pad(&[(2, 0)], PadMode::Constant(f32::NEG_INFINITY)).unfold(-1, 3, 1);
            all.push(self.step(&window, &may, &emit, shift.as_ref()));
            shift = (t % RESCALE == 0).then(|| top(&all[t]));
            if let (Some(shift), true) = (&shift, t + 1 < time) {
                scale = scale + shift;
            }
        }
        let ends = masked(&all[time - 1], &self.last).logsumexp(-1, true);
        (stack(&all), -(ends + scale).squeeze(-1))
    }

    /// β\[t, s\] ∝ ln of the probability of all ways to go on from state s at step t to the end, this step included.
    #[track_caller]
    fn beta(&self, time: usize) -> Tensor {
        let skip =
            self.skip.cast(DType::I32).pad(&[(0, 2)], PadMode::Constant(0.0)).narrow(-1, 2, self.states() as usize);
        let stays = skip.full_like(1);
        let to = Tensor::stack(&[&stays, &stays, &skip], -1).gt(0); // may go on to s, s + 1, s + 2
        let one = Tensor::new(self.emit.device(), [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
        let last = masked(&one, &self.last.unsqueeze(-1));
        let end = (&self.steps - 1).unsqueeze(-1);
        let none = self.emit.select(0, 0).full_like(f32::NEG_INFINITY);
        let mut all: Vec<Tensor> = Vec::with_capacity(time);
        let mut shift = None;
        for t in (0..time).rev() {
            let now = all.last().unwrap_or(&none);
            let window = now.pad(&[(0, 2)], PadMode::Constant(f32::NEG_INFINITY)).unfold(-1, 3, 1);
            let ends = end.eq(t);
            let window = Tensor::where_(&ends, &last, window);
            let next =
                self.step(&window, &to.logical_or(&ends), &self.emit.select(0, t as i64).unsqueeze(-1), shift.as_ref());
            shift = (t % RESCALE == 0).then(|| top(&next));
            all.push(next);
        }
        all.reverse();
        stack(&all)
    }

    /// ln Σ over the window of exp(x + emit), of what may be; with `shift` taken off.
    #[track_caller]
    fn step(&self, window: &Tensor, may: &Tensor, emit: &Tensor, shift: Option<&Tensor>) -> Tensor {
        let sum = masked(window, may) + emit;
        match shift {
            Some(shift) => sum - shift.unsqueeze(-1),
            None => sum,
        }
        .logsumexp(-1, false)
    }

    fn states(&self) -> i32 {
        self.emit.shape().ok().and_then(|s| s.last().copied()).unwrap_or(0) as i32
    }
}

/// x where `may` is true, −∞ elsewhere.
#[track_caller]
fn masked(x: &Tensor, may: &Tensor) -> Tensor {
    Tensor::where_(may, x, f32::NEG_INFINITY)
}

/// The largest of each row, 0 where all are −∞.
#[track_caller]
fn top(x: &Tensor) -> Tensor {
    let most = x.amax(-1, true);
    Tensor::where_(&most.eq(f32::NEG_INFINITY), Lit(0.0), most)
}

#[track_caller]
fn stack(rows: &[Tensor]) -> Tensor {
    Tensor::stack(rows, 0)
}
