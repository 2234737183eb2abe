//! Mixed precision as a rewrite of the graph: a loss goes in, and a loss comes out whose products read and give f16.
//! It is differentiated after the rewrite, so the gradients' products are in f16 as well. Parameters stay f32.
//!
//! Each operation has a class, after the lists of `torch.autocast`:
//!
//! | class | operations | what they take and give |
//! | --- | --- | --- |
//! | half | matrix products, convolutions, attention | f16 in, sums in f32, f16 out |
//! | same | views, joins, `where`, gather; `neg abs sign relu gelu tanh sigmoid sin cos atan` and roundings; sums, differences, extremes; a tensor times a number or a parameter | f16 if everything of full size that they read is f16 |
//! | single | everything else: exponentials, logarithms, roots, powers, quotients, products of two tensors; softmax, norms and their statistics, reductions, scans, losses, pooling; `Custom` operations | f32 |
//!
//! Numbers of the host and parameters (a bias) are read as they are and do not decide. Products of integers stay
//! in f32. A cast that the program has written stays what it is.

use crate::cell::{Cell, Pending};
use crate::error::{At, Error, Result};
use crate::layout::ViewOp;
use crate::node::{Inputs, Node, Op, ascribed};
use crate::{DType, Tensor};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Functions of one argument whose f16 results are as safe as their arguments.
const SAME: [&str; 13] =
    ["neg", "abs", "sign", "relu", "gelu", "tanh", "sigmoid", "sin", "cos", "atan", "floor", "ceil", "round"];

impl Tensor {
    /// This expression with its matrix products, convolutions and attention in half precision, accumulated in f32, and the f32
    /// around them that losses, norms and exponentials need; the value is of the same type as before. What the program
    /// holds of the old expression (logits, a figure made of them) stands for its part of the new one from now on, and
    /// so do replacements of states that wait for it (running statistics). What is in memory already, and depends on no
    /// parameter that learns, stays what it is.
    ///
    /// [`crate::optim::MixedPrecision`] does this in every step, with the scaling of the loss that f16 gradients need.
    ///
    /// # Errors
    /// The error that the tensor carries; [`kiln_device::Error::Feature`] on a device without f16.
    ///
    /// Source: Micikevicius et al. 2018, "Mixed precision training", §3.
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// # if !device.caps().f16 { return Ok(()) }
    /// let x = Tensor::new(&device, [[0.1]]);      // 0.09997559 in f16
    /// let y = x.matmul(&x.t()).sqrt().mixed_precision()?.item()?;
    /// assert!((y - 0.1).abs() < 1e-4 && (y - 0.1).abs() > 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn mixed_precision(&self) -> Result<Tensor> {
        self.shape()?;
        if !self.device().caps().f16 {
            return Err(Error::Device(kiln_device::Error::Feature {
                kernel: "mixed precision".into(),
                feature: "f16",
            }));
        }
        let root = self.current();
        let mut rewrite = Rewrite::default();
        rewrite.collect(&root);
        let waiting = rewrite.collect_waiting(&root);
        let held = rewrite.held();
        for at in 0..rewrite.old.len() {
            let node = rewrite.old[at].clone();
            let new = ascribed(node.origin(), || rewrite.rebuild(&node));
            rewrite.new.push(new);
        }
        for (cell, pending) in waiting {
            rewrite.redirect(&cell, pending);
        }
        let out = rewrite.result(&root);
        for node in held.iter().chain([&root]) {
            rewrite.replace(node);
        }
        Ok(out)
    }
}

impl Tensor {
    /// A tensor that carries the error of gradients that were made without the rewrite.
    #[track_caller]
    pub(crate) fn not_mixed(&self) -> Tensor {
        let why = "these gradients were not made in mixed precision: make them by the optimizer's `backward`";
        Tensor::invalid(self.device(), Error::Gradient { op: "step", why, at: At::here() })
    }
}

/// A graph and what has become of it.
#[derive(Default)]
struct Rewrite {
    /// The nodes that have inputs, inputs first.
    old: Vec<Tensor>,
    /// Where each of them stands in the list, by identity.
    place: HashMap<usize, usize>,
    /// What became of each.
    new: Vec<Tensor>,
    /// The f16 form of new nodes and leaves, by identity.
    halves: HashMap<usize, Tensor>,
}

impl Rewrite {
    /// Adds `root` and everything it is made from.
    fn collect(&mut self, root: &Tensor) {
        let mut stack = vec![(root.clone(), false)];
        while let Some((tensor, expanded)) = stack.pop() {
            if self.place.contains_key(&tensor.id()) {
                continue;
            }
            // what is in memory and has nothing to learn is not computed again
            let known = !tensor.0.grad && tensor.stored().is_some();
            let inputs = if known { Inputs::new() } else { tensor.inputs() };
            if expanded {
                self.place.insert(tensor.id(), self.old.len());
                self.old.push(tensor);
            } else if !inputs.is_empty() {
                stack.push((tensor, true));
                stack.extend(inputs.into_iter().map(|t| (t, false)));
            }
        }
    }

    /// Adds the replacements of cells that wait for one of the nodes, and what they are made from.
    fn collect_waiting(&mut self, root: &Tensor) -> Vec<(Arc<Cell>, Pending)> {
        let mut open = root.0.device.executor().waiting_cells();
        let mut found = Vec::new();
        loop {
            let before = found.len();
            open.retain(|cell| {
                let Some(pending) = cell.content().pending.clone() else { return false };
                let ours = pending.anchors.iter().any(|anchor| self.place.contains_key(&address(anchor)));
                if ours {
                    self.collect(&pending.value);
                    found.push((cell.clone(), pending));
                }
                !ours
            });
            if found.len() == before {
                return found;
            }
        }
    }

    /// Nodes that somebody outside of the graph holds.
    fn held(&self) -> Vec<Tensor> {
        let mut edges = vec![1; self.old.len()];
        for input in self.old.iter().flat_map(Tensor::inputs) {
            if let Some(&at) = self.place.get(&input.id()) {
                edges[at] += 1;
            }
        }
        let outside = |(node, edges): &(&Tensor, usize)| {
            Arc::strong_count(&node.0) > edges + node.0.quiet.load(Ordering::Relaxed)
        };
        self.old.iter().zip(edges).filter(outside).map(|(node, _)| node.clone()).collect()
    }

    /// What an input has become; leaves stay.
    fn of(&self, tensor: &Tensor) -> Tensor {
        self.place.get(&tensor.id()).map_or_else(|| tensor.clone(), |&at| self.new[at].clone())
    }

    /// What a node of the old graph has become, in the type it had.
    fn result(&self, tensor: &Tensor) -> Tensor {
        ascribed(tensor.origin(), || self.of(tensor).cast(tensor.dtype()))
    }

    fn rebuild(&mut self, node: &Tensor) -> Tensor {
        let old = node.inputs();
        let mut inputs: Vec<Tensor> = old.iter().map(|t| self.of(t)).collect();
        let mut dtype = node.dtype();
        match class(node, &inputs) {
            Class::Half if matches!(node.0.op, Op::Attention(_)) => {
                for (at, (input, old)) in inputs.iter_mut().zip(&old).enumerate() {
                    // queries, keys and values; scale and mask meet the scores, which are f32
                    *input = if at < 3 { self.half(input) } else { input.cast(old.dtype()) };
                }
                dtype = DType::F16;
            }
            Class::Half => {
                inputs = inputs.iter().map(|t| self.half(t)).collect();
                dtype = DType::F16;
            }
            Class::Same if dtype.is_float() => dtype = DType::F16,
            Class::Same => {}
            // the second result of the kernel itself, not of a cast of the first
            Class::Single if matches!(node.0.op, Op::Second) => {}
            Class::Single => {
                for (input, old) in inputs.iter_mut().zip(&old) {
                    *input = input.cast(old.dtype());
                }
            }
        }
        let same = dtype == node.dtype() && inputs.iter().zip(&old).all(|(a, b)| a.id() == b.id());
        if same { node.clone() } else { make(node, &inputs, dtype) }
    }

    /// The f16 form of a tensor. What is a view of a parameter becomes the same view of its f16 form, so that every
    /// parameter is converted once and as it lies in memory.
    fn half(&mut self, tensor: &Tensor) -> Tensor {
        if tensor.dtype() == DType::F16 {
            return tensor.clone();
        }
        if let Some(known) = self.halves.get(&tensor.id()) {
            return known.clone();
        }
        let base = tensor.inputs().first().cloned();
        let half = match (&tensor.0.op, base) {
            (Op::Cast, Some(base)) if base.dtype() == DType::F16 => base,
            (Op::View(ViewOp::Permute(_) | ViewOp::Reshape(_) | ViewOp::Broadcast(_)), Some(base)) => {
                make(tensor, &[self.half(&base)], DType::F16)
            }
            _ => tensor.cast(DType::F16),
        };
        self.halves.insert(tensor.id(), half.clone());
        half
    }

    /// A replacement that waited for the old graph waits for the new one.
    fn redirect(&self, cell: &Cell, pending: Pending) {
        let value = self.result(&pending.value);
        let mut anchors = pending.anchors;
        let new = |a: &Weak<Node>| Some(Arc::downgrade(&self.new[*self.place.get(&address(a))?].0));
        anchors.extend(anchors.clone().iter().filter_map(new));
        anchors.push(Arc::downgrade(&value.0));
        cell.content().pending = Some(Pending { value, anchors });
    }

    /// Lets a node stand for what became of it, and go of what it was made from.
    fn replace(&self, node: &Tensor) {
        let new = self.result(node);
        if new.id() != node.id() {
            node.stand_for(new);
        }
    }
}

/// The same operation on other inputs, ascribed to the same line.
fn make(node: &Tensor, inputs: &[Tensor], dtype: DType) -> Tensor {
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    ascribed(node.origin(), || Tensor::make(node.0.op.clone(), &inputs, node.shape_or_scalar(), dtype))
}

enum Class {
    Half,
    Same,
    Single,
}

/// What an operation does with f16, given its new inputs.
fn class(node: &Tensor, inputs: &[Tensor]) -> Class {
    if node.dtype() == DType::F16 {
        return Class::Single; // the program has asked for it
    }
    let deciding: Vec<&Tensor> = inputs.iter().filter(|t| t.dtype().is_float() && !is_number(t)).collect();
    let all_half = |list: &[&Tensor]| !list.is_empty() && list.iter().all(|t| t.dtype() == DType::F16);
    let same = |list: &[&Tensor]| if all_half(list) { Class::Same } else { Class::Single };
    match &node.0.op {
        Op::Matmul if !inputs.iter().any(of_integers) => Class::Half,
        Op::Conv(_) | Op::ConvInput(_) | Op::ConvWeight(_) | Op::Attention(_) => Class::Half,
        Op::View(_) | Op::Detach | Op::Where | Op::Concat(_) => same(&deciding),
        Op::Gather(_) => same(&[&inputs[0]]),
        Op::Unary(row) if SAME.contains(&row.name) || row.truth => same(&deciding),
        Op::Binary(row) => {
            let small = |t: &&&Tensor| is_parameter(t) && t.numel() < node.numel();
            let full: Vec<&Tensor> = deciding.iter().filter(|t| !small(t)).copied().collect();
            match row.name {
                "add" | "sub" | "maximum" | "minimum" => same(&full),
                "mul" if full.len() == 1 => same(&full),
                _ => Class::Single,
            }
        }
        _ => Class::Single,
    }
}

/// What a chain of views shows.
fn base(tensor: &Tensor) -> Tensor {
    let mut base = tensor.clone();
    while let (Op::View(_), Some(input)) = (&base.0.op, base.inputs().first()) {
        let input = input.clone();
        base = input;
    }
    base
}

/// A number of the host or of the formula, repeated perhaps.
fn is_number(tensor: &Tensor) -> bool {
    matches!(base(tensor).0.op, Op::Scalar(_) | Op::Const(_))
}

fn is_parameter(tensor: &Tensor) -> bool {
    matches!(&base(tensor).0.op, Op::Content(cell) if cell.trainable())
}

/// Integers that were made floats, whose products are exact in f32 and would not be in f16.
fn of_integers(tensor: &Tensor) -> bool {
    let base = base(tensor);
    matches!(base.0.op, Op::Cast) && base.inputs().iter().any(|t| !t.dtype().is_float())
}

/// What [`Tensor::id`] is of the node.
fn address(node: &Weak<Node>) -> usize {
    node.as_ptr() as usize
}
