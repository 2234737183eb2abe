//! Sequences of different lengths in one batch.

use crate::{PadMode, Tensor, composed};

/// Where the padding of a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PaddingSide {
    /// Behind it.
    #[default]
    Right,
    /// Before it.
    Left,
}

/// Sequences padded with `value` to the length of the longest, as one batch: PyTorch's `pad_sequence`. What was padded is told
/// apart by the lengths, which recurrent layers and losses take, or by a mask.
///
/// Shapes: each `[length, ..]`, alike but for the first axis → `[batch, longest, ..]`, or without `batch_first`
/// `[longest, batch, ..]`.
///
/// # Errors
/// The result carries [`Error::Shape`](crate::Error::Shape) if the shapes differ besides their first axis or have none. Of no
/// sequences there is no tensor: `None`.
///
/// ```
/// # use kiln::prelude::*; use kiln::nn::{PaddingSide, pad_sequence, unpad_sequence};
/// # let device = Device::open()?;
/// let words = [Tensor::new(&device, [1i32, 2, 3]), Tensor::new(&device, [4i32])];
/// let batch = pad_sequence(&words, true, 0.0, PaddingSide::Right).unwrap_or_else(|| words[0].clone());
/// assert_eq!(batch.to_vec::<i32>()?, [1, 2, 3, 4, 0, 0]);
/// assert_eq!(unpad_sequence(&batch, &[3, 1], true)[1].to_vec::<i32>()?, [4]);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn pad_sequence(sequences: &[Tensor], batch_first: bool, value: f32, side: PaddingSide) -> Option<Tensor> {
    const OP: &str = "pad_sequence";
    let first = sequences.first()?;
    Some(composed(OP, || {
        let all: Vec<&Tensor> = sequences.iter().collect();
        let rest = |x: &Tensor| x.shape().ok().and_then(|shape| shape.get(1..).map(<[usize]>::to_vec));
        if rest(first).is_none() || all.iter().any(|x| rest(x) != rest(first)) {
            return Tensor::bad_shape(OP, &all, "[length, ..] alike but for the first axis");
        }
        let length = |x: &Tensor| x.shape().map_or(0, |shape| shape[0]);
        let longest = all.iter().map(|x| length(x)).max().unwrap_or(0);
        let padded = all.iter().map(|x| {
            let more = (longest - length(x)) as i64;
            let mut sides = vec![(0, 0); x.rank()];
            sides[0] = if side == PaddingSide::Right { (0, more) } else { (more, 0) };
            x.pad(&sides, PadMode::Constant(value))
        });
        let padded: Vec<Tensor> = padded.collect();
        Tensor::stack(&padded.iter().collect::<Vec<_>>(), if batch_first { 0 } else { 1 })
    }))
}

/// The sequences of a batch that was padded on the right, each without its padding: PyTorch's `unpad_sequence`.
///
/// Shapes: `x [batch, time, ..]`, or without `batch_first` `[time, batch, ..]`, and a length for each of the batch →
/// `[length, ..]` each. A length past the time, or of a sequence that is not there, is an error of that sequence.
#[track_caller]
pub fn unpad_sequence(x: &Tensor, lengths: &[usize], batch_first: bool) -> Vec<Tensor> {
    let axis = if batch_first { 0 } else { 1 };
    let one =
        |(at, &length): (usize, &usize)| composed("unpad_sequence", || x.select(axis, at as i64).narrow(0, 0, length));
    lengths.iter().enumerate().map(one).collect()
}
