//! A user's own operation: a WGSL kernel and its gradient.

use crate::node::Op;
use crate::{DType, Shape, Tensor};
use kiln_device::Source;
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// What one call of a custom kernel needs: its source, the values of `struct Sizes` and the workgroups.
#[derive(Debug, Clone)]
pub struct CustomLaunch {
    /// The kernel. Inputs are bound by the names of [`Custom::inputs`], the result as `out`.
    pub source: Source,
    /// The fields of `struct Sizes` in order, four bytes each.
    pub params: kiln_device::Params,
    /// Workgroups along each axis.
    pub groups: [u32; 3],
}

/// An operation that Kiln does not have: how large its result is, the kernel that computes it, and its gradient.
pub trait Custom: Send + Sync {
    /// A word for messages. Two operations of one name must be the same operation.
    fn name(&self) -> &'static str;

    /// The names of the inputs' bindings in the kernel, in the order of the operands.
    fn inputs(&self) -> &[&'static str];

    /// Shape and type of the result, or what is wrong with the operands.
    fn output(&self, shapes: &[Shape], dtypes: &[DType]) -> Result<(Shape, DType), &'static str>;

    /// The kernel for operands of these shapes. It is compiled with all checks.
    fn launch(&self, shapes: &[Shape]) -> CustomLaunch;

    /// The gradient of each input from that of the result, in tensor operations; `None` where there is none.
    fn vjp(&self, dy: &Tensor, inputs: &[Tensor], y: &Tensor) -> Vec<Option<Tensor>>;

    /// Numbers that change the kernel, for the key under which plans are found.
    fn key(&self) -> u64 {
        0
    }
}

/// The text of a custom operation's kernel, which in development follows the file that it is in.
///
/// A program carries the text as it was built. Built with debug assertions (`cargo run`, `cargo test`), it reads the
/// file instead, where there is one: make the operation where it is applied, give [`KernelText::key`] as its
/// [`Custom::key`], and the next step after a save runs the new kernel. A text that does not compile is the error of
/// that step, and the step after the next save goes on. Captured steps keep the kernel that they were made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelText(Cow<'static, str>);

impl KernelText {
    /// The text in the file `path` as it is now, in a development build; else `built_in`, which is
    /// `include_str!` of the same file.
    pub fn load(path: &str, built_in: &'static str) -> Self {
        if cfg!(debug_assertions) {
            match std::fs::read_to_string(path) {
                Ok(text) => return Self(text.into()),
                Err(why) => log::warn!("{path}: {why}; the kernel is the one that was built in"),
            }
        }
        Self(built_in.into())
    }

    /// The kernel, for [`CustomLaunch::source`].
    pub fn source(&self, name: &'static str) -> Source {
        Source::user(name, self.0.clone())
    }

    /// A number that stands for the text, for [`Custom::key`].
    pub fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }
}

impl Tensor {
    /// Applies a custom operation. Operands reach the kernel contiguous.
    ///
    /// # Errors
    /// On evaluation, [`crate::Error::Shape`] with what [`Custom::output`] says, or what is wrong with the kernel.
    #[track_caller]
    pub fn custom(op: Arc<dyn Custom>, operands: &[&Tensor]) -> Tensor {
        let name = op.name();
        let Some(first) = operands.first() else {
            let at = crate::error::At::here();
            return Tensor::orphan(crate::Error::Argument {
                op: name,
                name: "operands",
                value: "[]".into(),
                why: "at least one",
                at,
            });
        };
        if let Some(bad) = operands.iter().find(|t| t.error().is_some()) {
            return bad.current();
        }
        if op.inputs().len() != operands.len() {
            return first.bad_argument(name, "operands", operands.len(), "as many as the operation names");
        }
        let shapes: Vec<Shape> = operands.iter().map(|t| t.shape_or_scalar()).collect();
        let dtypes: Vec<DType> = operands.iter().map(|t| t.dtype()).collect();
        match op.output(&shapes, &dtypes) {
            Ok((shape, dtype)) => Tensor::make(Op::Custom(op), operands, shape, dtype),
            Err(why) => Tensor::bad_shape(name, operands, why),
        }
    }
}
