//! Layers one after another.

use super::{Forward, Module};
use crate::{Tensor, in_module};

/// Layers applied in turn; their paths are `0`, `1`, …, as in PyTorch.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let mut init = Init::new(&device, 42);
/// let model = Sequential::new()
///     .push(Linear::new(4, 8, &mut init))
///     .push(Relu)
///     .push(Linear::new(8, 2, &mut init));
/// let y = model.forward(&Tensor::zeros(&device, &[3, 4]));
/// assert_eq!(y.dims::<2>()?, [3, 2]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Default)]
pub struct Sequential {
    #[module(flatten)]
    layers: Vec<Box<dyn Forward>>,
}

impl Sequential {
    /// No layers: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer at the end.
    #[must_use]
    pub fn push(mut self, layer: impl Forward + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// Adds a function of a tensor, such as `|x| x.square()`. It takes an index like a layer.
    #[must_use]
    pub fn then(self, function: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static) -> Self {
        self.push(Lambda(Box::new(function)))
    }

    /// The layers.
    pub fn layers(&self) -> &[Box<dyn Forward>] {
        &self.layers
    }
}

impl Forward for Sequential {
    fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            x = in_module(&index.to_string(), || layer.forward(&x));
        }
        x
    }
}

/// A function as a layer.
#[derive(Module)]
struct Lambda(#[module(skip)] Box<dyn Fn(&Tensor) -> Tensor + Send + Sync>);

impl Forward for Lambda {
    fn forward(&self, x: &Tensor) -> Tensor {
        (self.0)(x)
    }
}
