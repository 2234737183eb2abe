//! The walk from a loss back to what it was made from.

use super::again::Again;
use super::rules;
use super::slices::{Piece, assemble};
use crate::error::Result;
use crate::layout::ViewOp;
use crate::node::{Inputs, Op, ascribed};
use crate::ops::attention;
use crate::{DType, Tensor};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// The gradients of a node's inputs.
pub(super) type Parts = SmallVec<[Option<Tensor>; 3]>;

/// The gradients of `loss`, whose own is `seed`, with respect to `wanted`; `None` where it does not depend on one. With
/// `partial`, what one of them was itself made from does not count.
pub(super) fn gradients_of(loss: &Tensor, seed: &Tensor, wanted: &[Tensor], partial: bool) -> Result<Parts> {
    let targets: Ids = wanted.iter().map(Tensor::id).collect();
    let mut found = Backward::towards(loss, seed, &targets, partial)?;
    Ok(wanted.iter().map(|t| found.remove(&t.id())).collect())
}

/// The walk from a loss back to its inputs.
#[derive(Default)]
pub(super) struct Backward {
    /// The gradient collected for each node so far.
    of: ById<Tensor>,
    /// Gradients of slices of a node.
    pieces: ById<Vec<Piece>>,
    /// What the walk ends at, with its gradient, in the order in which it is met.
    pub(super) leaves: Vec<(Tensor, Tensor)>,
    again: Again,
}

impl Backward {
    /// Nodes from `loss` on that `follow` lets through, with their inputs, each before its inputs.
    fn order(loss: &Tensor, follow: impl Fn(&Tensor) -> bool) -> Vec<(Tensor, Inputs)> {
        let mut done = Ids::with_capacity_and_hasher(512, Default::default());
        let mut order = Vec::with_capacity(512);
        let mut stack = vec![(loss.clone(), None)];
        while let Some((tensor, inputs)) = stack.pop() {
            if let Some(inputs) = inputs {
                order.push((tensor, inputs));
            } else if follow(&tensor) && done.insert(tensor.id()) {
                let inputs = tensor.inputs();
                let next: Inputs = inputs.iter().filter(|t| follow(t)).cloned().collect();
                stack.push((tensor, Some(inputs)));
                stack.extend(next.into_iter().map(|t| (t, None)));
            }
        }
        order.reverse();
        order
    }

    /// From `loss`, whose gradient is `gradient`, to the leaves that `follow` leads to.
    pub(super) fn run(loss: &Tensor, gradient: Tensor, follow: impl Fn(&Tensor) -> bool) -> Result<Self> {
        let _span = loss.device().span("differentiate");
        let mut walk = Self::default();
        walk.of.insert(loss.id(), gradient);
        for (node, inputs) in Self::order(loss, &follow) {
            if inputs.is_empty() {
                if let Some(gradient) = walk.take(&node) {
                    walk.leaves.push((node, gradient));
                }
                continue;
            }
            let Some(dy) = walk.take(&node) else { continue };
            ascribed(node.origin(), || walk.step(&node, &inputs, &dy, &follow))?;
        }
        Ok(walk)
    }

    /// As [`Backward::run`] along the paths that lead to `targets`, whose gradients are kept.
    fn towards(loss: &Tensor, seed: &Tensor, targets: &Ids, partial: bool) -> Result<ById<Tensor>> {
        let _span = loss.device().span("differentiate");
        let all = Self::order(loss, |t| t.dtype().is_float());
        let mut leads = Ids::default();
        for (node, inputs) in all.iter().rev() {
            let through = !matches!(node.0.op, Op::Detach) && inputs.iter().any(|i| leads.contains(&i.id()));
            if targets.contains(&node.id()) || through {
                leads.insert(node.id());
            }
        }
        let mut walk = Self::default();
        let mut kept = ById::default();
        walk.of.insert(loss.id(), seed.clone());
        for (node, inputs) in all.into_iter().filter(|(n, _)| leads.contains(&n.id())) {
            let Some(dy) = walk.take(&node) else { continue };
            if targets.contains(&node.id()) {
                kept.insert(node.id(), dy.clone());
                if partial {
                    continue;
                }
            }
            if !inputs.is_empty() {
                ascribed(node.origin(), || walk.step(&node, &inputs, &dy, &|t: &Tensor| leads.contains(&t.id())))?;
            }
        }
        Ok(kept)
    }

    /// All of the gradient of `node`, once all its consumers have handed on theirs.
    fn take(&mut self, node: &Tensor) -> Option<Tensor> {
        let whole = self.of.remove(&node.id());
        let Some(pieces) = self.pieces.remove(&node.id()) else { return whole };
        let joined = ascribed(node.origin(), || assemble(node, pieces));
        match (whole, joined) {
            (Some(whole), Some(joined)) => Some(whole + joined),
            (whole, joined) => whole.or(joined),
        }
    }

    /// Hands the gradient of `node` on to its inputs.
    fn step(&mut self, node: &Tensor, inputs: &[Tensor], dy: &Tensor, follow: &dyn Fn(&Tensor) -> bool) -> Result<()> {
        if node.0.again != 0 {
            let values: SmallVec<[Tensor; 3]> = inputs
                .iter()
                .map(|i| if i.0.again == node.0.again { self.again.of(i, dy) } else { i.clone() })
                .collect();
            let node = self.again.of(node, dy);
            return self.hand_on(&node, inputs, &values, dy, follow);
        }
        self.hand_on(node, inputs, inputs, dy, follow)
    }

    /// [`Backward::step`] for the inputs' values, which may be computed again.
    fn hand_on(
        &mut self,
        node: &Tensor,
        inputs: &[Tensor],
        values: &[Tensor],
        dy: &Tensor,
        follow: &dyn Fn(&Tensor) -> bool,
    ) -> Result<()> {
        if matches!(node.0.op, Op::Second) {
            // what else a kernel gives is a function of the kernel's own inputs
            let first = &inputs[0];
            for (input, gradient) in first.inputs().iter().zip(rules::second_vjp(node, first, &values[0], dy)?) {
                if let Some(gradient) = gradient {
                    self.add(input, gradient, follow);
                }
            }
            return Ok(());
        }
        if let (Op::View(ViewOp::Slice { axis, start, step: 1, len }), input) = (&node.0.op, &inputs[0])
            && *len > 0
        {
            if follow(input) && input.dtype().is_float() {
                let piece = Piece { axis: *axis, start: *start, gradient: dy.cast(input.dtype()) };
                self.pieces.entry(input.id()).or_default().push(piece);
            }
            return Ok(());
        }
        for (input, gradient) in inputs.iter().zip(rules::vjp(node, values, dy)?) {
            if let Some(gradient) = gradient {
                self.add(input, gradient, follow);
            }
        }
        // the scores in memory: only where somebody asks for it
        if let Op::Attention(how) = &node.0.op
            && let Some(mask) = how.mask(inputs, 4)
            && follow(mask)
            && mask.dtype().is_float()
        {
            self.add(mask, attention::mask_vjp(*how, dy, values), follow);
        }
        Ok(())
    }

    /// Un-broadcasting and the return to the input's type happen here, once for all operations.
    fn add(&mut self, input: &Tensor, gradient: Tensor, follow: &dyn Fn(&Tensor) -> bool) {
        if !follow(input) || !input.dtype().is_float() {
            return;
        }
        let (own, shape) = (gradient.shape_or_scalar(), input.shape_or_scalar());
        // what comes together does so in f32
        let gradient = if own == shape { gradient } else { gradient.cast(DType::F32).sum_to(shape) };
        let gradient = gradient.cast(input.dtype());
        let sum = match self.of.remove(&input.id()) {
            Some(so_far) => so_far + gradient,
            None => gradient,
        };
        self.of.insert(input.id(), sum);
    }
}

/// Nodes by their addresses, while handles on them live.
type ById<T> = HashMap<usize, T, BuildHasherDefault<Address>>;
type Ids = HashSet<usize, BuildHasherDefault<Address>>;

/// Hashes addresses.
#[derive(Default)]
pub(super) struct Address(u64);

impl Hasher for Address {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only addresses are hashed")
    }
    fn write_u32(&mut self, part: u32) {
        self.0 = u64::from(part);
    }
    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
