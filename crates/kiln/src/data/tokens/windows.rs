//! The windows of a long list of tokens.

use std::sync::Arc;

use crate::data::Dataset;
use crate::error::At;
use crate::{Device, Error, Result, Tensor};

/// Every window of `length` tokens as an example, with the tokens that follow each of them as targets: inputs and targets
/// `[batch, length]` of `I32`.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let windows = data::tokens::Windows::new(&device, vec![5, 6, 7, 8, 9], 3)?;
/// let (x, y) = windows.batch(&[1]);
/// assert_eq!((x.to_vec::<i32>()?, y.to_vec::<i32>()?), (vec![6, 7, 8], vec![7, 8, 9]));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Windows {
    device: Device,
    tokens: Arc<[i32]>,
    length: usize,
    stride: usize,
}

impl Windows {
    /// Windows that begin at every token.
    ///
    /// # Errors
    /// [`Error::Argument`] for a length of 0, or one that the tokens do not fill with one more to follow.
    #[track_caller]
    pub fn new(device: &Device, tokens: Vec<i32>, length: usize) -> Result<Self> {
        if length == 0 || tokens.len() <= length {
            return Err(Error::Argument {
                op: "Windows",
                name: "length",
                value: format!("{length} of {} tokens", tokens.len()),
                why: "at least 1 and less than there are tokens",
                at: At::here(),
            });
        }
        Ok(Self { device: device.clone(), tokens: tokens.into(), length, stride: 1 })
    }

    /// Windows that begin at every `stride`-th token: with the window's length, no two overlap.
    #[must_use]
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride.max(1);
        self
    }

    /// All tokens.
    pub fn tokens(&self) -> &[i32] {
        &self.tokens
    }
}

impl Dataset for Windows {
    type Batch = (Tensor, Tensor);

    fn len(&self) -> usize {
        (self.tokens.len() - self.length).div_ceil(self.stride)
    }

    fn batch(&self, rows: &[usize]) -> (Tensor, Tensor) {
        let starts: Vec<usize> = rows.iter().filter(|&&row| row < self.len()).map(|row| row * self.stride).collect();
        let part = |shift: usize| {
            let window = |&start: &usize| self.tokens[start + shift..start + shift + self.length].iter().copied();
            let numbers: Vec<i32> = starts.iter().flat_map(window).collect();
            Tensor::from_vec(&self.device, numbers, &[starts.len(), self.length])
        };
        (part(0), part(1))
    }
}
