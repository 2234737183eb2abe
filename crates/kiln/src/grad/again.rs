//! What a [`crate::checkpoint`] has not kept, computed again for the way back.

use super::walk::Address;
use crate::Tensor;
use crate::layout::ViewOp;
use crate::node::{Node, Op, ascribed};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// Values inside of a [`crate::checkpoint`], computed again for the way back.
#[derive(Default)]
pub(super) struct Again {
    made: HashMap<(u32, usize), Tensor, BuildHasherDefault<Address>>,
}

impl Again {
    /// The value of `root` made anew from what its checkpoint was given, not before `dy` is there.
    pub(super) fn of(&mut self, root: &Tensor, dy: &Tensor) -> Tensor {
        if Self::in_memory(root) {
            return root.clone();
        }
        let part = root.0.again;
        let mut stack = vec![(root.clone(), false)];
        while let Some((tensor, expanded)) = stack.pop() {
            let key = (part, tensor.id());
            if self.made.contains_key(&key) {
                continue;
            }
            let inputs = tensor.inputs();
            let made = if inputs.is_empty() || Self::in_memory(&tensor) || tensor.0.again != part {
                Self::after(&tensor, dy)
            } else if expanded {
                let inputs: SmallVec<[&Tensor; 3]> = inputs.iter().map(|i| &self.made[&(part, i.id())]).collect();
                let Node { ref op, shape, dtype, .. } = *tensor.0;
                ascribed(tensor.origin(), || Tensor::make(op.clone(), &inputs, shape, dtype))
            } else {
                stack.push((tensor, true));
                stack.extend(inputs.into_iter().map(|input| (input, false)));
                continue;
            };
            self.made.insert(key, made);
        }
        self.made[&(part, root.id())].clone()
    }

    /// Whether somebody has read it, or the result beside it: a second result is that of a kernel, never of a view.
    fn in_memory(tensor: &Tensor) -> bool {
        let of_stored = || tensor.inputs().first().is_some_and(|first| first.stored().is_some());
        tensor.stored().is_some() || (matches!(tensor.0.op, Op::Second) && of_stored())
    }

    /// `tensor` as it is, but read only after `dy` has been computed: without this, a plan could compute everything
    /// again at once, ahead of the way back, and hold it all.
    fn after(tensor: &Tensor, dy: &Tensor) -> Tensor {
        match tensor.0.op {
            Op::Const(_) | Op::Scalar(_) | Op::Iota => tensor.clone(),
            _ => Tensor::make(Op::View(ViewOp::Reshape(tensor.0.shape)), &[tensor, dy], tensor.0.shape, tensor.0.dtype),
        }
    }
}
