//! Kiln trains neural networks on any GPU through compute shaders.
//!
//! A [`Tensor`] is an expression: operations record what is to be done, and nothing runs until a value is asked for
//! or a step is taken. Then the whole expression becomes one plan of hand-written WGSL kernels, with elementwise
//! work fused into them, which is found again the next time.
//!
//! ```
//! use kiln::prelude::*;
//!
//! let device = Device::open()?;
//! let x = Tensor::new(&device, [[1.0, 2.0], [3.0, 4.0]]);
//! let y = x.matmul(&x).relu().sum();
//! assert_eq!(y.item()?, 54.0);
//! # Ok::<(), Error>(())
//! ```

pub mod cell;
mod device;
mod dtype;
mod emit;
pub mod error;
mod fuse;
mod grad;
mod graph;
mod layout;
mod lower;
mod memory;
mod node;
pub mod ops;
mod plan;
mod shape;
mod tensor;

pub use cell::{CellGroup, Param, State};
pub use device::Device;
pub use dtype::{DType, Element, TensorData};
pub use error::{Error, Result, StateReport};
pub use grad::Gradients;
pub use kiln_device as gpu;
pub use node::{Tensor, in_module};
pub use ops::conv::Conv;
pub use ops::custom::{Custom, CustomLaunch};
pub use ops::pool::Pool;
pub use ops::random::{Rng, dropout_mask};
pub use ops::view::{Extents, PadMode};
pub use ops::{Lit, Number, Operand};
pub use plan::{PlanInfo, step};
pub use shape::{MAX_RANK, Shape};
pub use tensor::Reading;

/// What most programs need.
pub mod prelude {
    pub use crate::{Conv, DType, Device, Error, Gradients, PadMode, Param, Pool, Result, Rng, Shape, State, Tensor};
}
