//! Gradients as a transform of the graph: each operation says how the gradient of its result becomes that of its
//! inputs, in tensor operations, so gradients fuse like anything else and have gradients themselves.

use crate::cell::Param;
use crate::error::{At, Error, Result};
use crate::layout::ViewOp;
use crate::node::{Inputs, Node, Op, Quiet, Stored, Value, ascribed};
use crate::ops::attention::{self, Gradient};
use crate::ops::{Lit, conv, index, join, matmul, norm, pool, recurrence, reduce, scan, view};
use crate::{DType, Shape, Tensor};
use smallvec::{SmallVec, smallvec};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// The gradients of a loss with respect to every trainable parameter it depends on.
///
/// A step with them replaces what they were made from: read or clone a gradient before the step to keep it.
#[derive(Clone)]
pub struct Gradients {
    loss: Tensor,
    /// What must be finite for a step to change anything: the loss first.
    guards: Vec<Tensor>,
    /// A number: where it is not 0, a step changes nothing.
    skip: Option<Quiet>,
    /// By cell, in the order in which the backward pass meets them.
    of_cells: Vec<(u64, Quiet)>,
}

impl Tensor {
    /// The gradients of this loss (one element) with respect to the trainable parameters it depends on. They are
    /// expressions: nothing runs until a step or a read needs them.
    ///
    /// # Errors
    /// The error that the loss carries; [`Error::Gradient`] if it is not one float.
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// let x = Tensor::new(&device, [1.0, 2.0, 3.0]);
    /// let dx = (&x * &x).sum().backward()?.get(&x).map(|g| g.to_vec::<f32>());
    /// assert_eq!(dx, Some(Ok(vec![2.0, 4.0, 6.0])));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn backward(&self) -> Result<Gradients> {
        self.backward_with(&self.ones_like())
    }

    /// As [`Tensor::backward`], with `gradient` (one float) as the gradient of the loss itself: all gradients are
    /// that many times as large. A scale in front of f16 gradients keeps small ones from vanishing.
    ///
    /// # Errors
    /// As [`Tensor::backward`], or the error that `gradient` carries.
    #[track_caller]
    pub fn backward_with(&self, gradient: &Tensor) -> Result<Gradients> {
        gradient.shape()?;
        let loss = self.differentiable("backward", At::here())?;
        let found = Backward::run(&loss, gradient.to_shape(loss.shape_or_scalar()), |t| t.0.grad)?;
        let mut of_cells = Vec::new();
        for (leaf, gradient) in found.leaves {
            if let Op::Content(cell) = &leaf.0.op {
                of_cells.push((cell.id, Quiet::new(gradient)));
            }
        }
        Ok(Gradients { guards: vec![loss.clone()], skip: None, loss, of_cells })
    }

    /// The gradients of this loss (one element) with respect to any tensors it was made from, as tensors which can be
    /// differentiated again. A tensor that the loss does not depend on gets zeros.
    ///
    /// # Errors
    /// As [`Tensor::backward`], or the error that one of the tensors carries.
    #[track_caller]
    pub fn grad<T: AsRef<Tensor>>(&self, with_respect_to: &[T]) -> Result<Vec<Tensor>> {
        let loss = self.differentiable("grad", At::here())?;
        let wanted: Vec<Tensor> = with_respect_to.iter().map(|t| t.as_ref().current()).collect();
        for t in &wanted {
            t.shape()?;
        }
        let found = gradients_of(&loss, &loss.ones_like(), &wanted, false)?;
        Ok(found.into_iter().zip(&wanted).map(|(g, t)| g.unwrap_or_else(|| t.zeros_like())).collect())
    }

    fn differentiable(&self, op: &'static str, at: At) -> Result<Tensor> {
        let loss = self.current();
        loss.shape()?;
        if loss.numel() != 1 || !loss.dtype().is_float() {
            return Err(Error::Gradient { op, why: "a loss is one float: sum or average it first", at });
        }
        Ok(loss)
    }
}

/// The gradients of `loss`, whose own is `seed`, with respect to `wanted`; `None` where it does not depend on one. With
/// `partial`, what one of them was itself made from does not count.
fn gradients_of(loss: &Tensor, seed: &Tensor, wanted: &[Tensor], partial: bool) -> Result<Parts> {
    let targets: Ids = wanted.iter().map(Tensor::id).collect();
    let mut found = Backward::towards(loss, seed, &targets, partial)?;
    Ok(wanted.iter().map(|t| found.remove(&t.id())).collect())
}

impl Gradients {
    /// No gradients yet, of a loss that is a value already; [`Gradients::set`] adds some.
    pub fn none(loss: &Tensor) -> Self {
        Self { loss: loss.current(), guards: Vec::new(), skip: None, of_cells: Vec::new() }
    }

    /// The loss they are the gradients of.
    pub fn loss(&self) -> &Tensor {
        &self.loss
    }

    /// Also asks of a step that `number` (one float, such as a gradient norm) is finite, unless it is skipped.
    pub fn guard(&mut self, number: &Tensor) {
        self.guards.push(match &self.skip {
            Some(skip) => Tensor::where_(&skip.tensor().ne(Lit(0.0)), Lit(0.0), number),
            None => number.current(),
        });
    }

    /// Asks of a step to leave parameters and the optimizer's memory as they are where `number` (one float) is not 0.
    /// Unlike a guard that fails, that is no error and lasts for this step only.
    pub fn skip_where(&mut self, number: &Tensor) {
        let all = match &self.skip {
            Some(skip) => skip.tensor() + number,
            None => number.current(),
        };
        self.skip = Some(Quiet::new(all));
    }

    /// The number that makes a step be skipped where it is not 0.
    pub fn skip(&self) -> Option<&Tensor> {
        self.skip.as_ref().map(Quiet::tensor)
    }

    /// What must be finite for a step to change anything: the loss first.
    pub fn guards(&self) -> &[Tensor] {
        &self.guards
    }

    /// The gradient with respect to a parameter, or to any tensor the loss was made from; `None` if it does not depend on it.
    pub fn get(&self, of: &Tensor) -> Option<Tensor> {
        if let Some(cell) = of.cell() {
            let known = self.of_cells.iter().find(|(id, _)| *id == cell.info.id);
            if let Some((_, gradient)) = known {
                return Some(gradient.tensor().clone());
            }
        }
        gradients_of(&self.loss, &self.loss.ones_like(), &[of.current()], false).ok()?.remove(0)
    }

    /// Puts another gradient in the place of the one of `param`: clipped, scaled, accumulated.
    pub fn set(&mut self, param: &Param, gradient: Tensor) {
        let id = param.id();
        match self.of_cells.iter_mut().find(|(cell, _)| *cell == id) {
            Some((_, slot)) => *slot = Quiet::new(gradient),
            None => self.of_cells.push((id, Quiet::new(gradient))),
        }
    }

    /// Every gradient replaced by what `change` makes of it.
    #[must_use]
    pub fn map(&self, mut change: impl FnMut(&Tensor) -> Tensor) -> Gradients {
        let of_cells = self.of_cells.iter().map(|(id, g)| (*id, Quiet::new(change(g.tensor())))).collect();
        Gradients { loss: self.loss.clone(), guards: self.guards.clone(), skip: self.skip.clone(), of_cells }
    }

    /// The same with empty tensors of the same shapes, which hold nothing and are never read.
    pub(crate) fn stand_ins(&self) -> Gradients {
        let empty = |t: &Tensor| {
            let nothing = Value::Ready(Stored { slice: None, second: None, fault: None });
            Node::leaf(&t.0.device, Op::Value, t.0.shape, t.0.dtype, t.0.at, nothing)
        };
        let of_cells = self.of_cells.iter().map(|(id, g)| (*id, Quiet::new(empty(g.tensor())))).collect();
        let skip = self.skip.as_ref().map(|s| Quiet::new(empty(s.tensor())));
        Gradients { loss: empty(&self.loss), guards: Vec::new(), skip, of_cells }
    }

    /// The parameters' numbers and gradients.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Tensor)> {
        self.of_cells.iter().map(|(id, g)| (*id, g.tensor()))
    }

    /// How many parameters have a gradient.
    pub fn len(&self) -> usize {
        self.of_cells.len()
    }

    /// Whether the loss depends on no parameter.
    pub fn is_empty(&self) -> bool {
        self.of_cells.is_empty()
    }
}

/// Nodes by their addresses, while handles on them live.
type ById<T> = HashMap<usize, T, BuildHasherDefault<Address>>;
type Ids = HashSet<usize, BuildHasherDefault<Address>>;

/// Hashes addresses.
#[derive(Default)]
struct Address(u64);

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

/// The gradients of a node's inputs.
type Parts = SmallVec<[Option<Tensor>; 3]>;

/// The walk from a loss back to its inputs.
#[derive(Default)]
struct Backward {
    /// The gradient collected for each node so far.
    of: ById<Tensor>,
    /// Gradients of slices of a node, which are put together when all are known: a sequence that is cut into its
    /// steps would otherwise be a sum of as many tensors of the size of the whole.
    pieces: ById<Vec<Piece>>,
    leaves: Vec<(Tensor, Tensor)>,
    again: Again,
}

/// The gradient of the elements of `axis` from `start` on.
struct Piece {
    axis: usize,
    start: usize,
    gradient: Tensor,
}

impl Piece {
    fn end(&self) -> usize {
        self.start + self.gradient.shape_or_scalar()[self.axis]
    }

    /// The gradient of the whole, of shape `own`, with zeros elsewhere.
    fn padded(&self, own: Shape) -> Tensor {
        let mut sides = vec![(0, 0); own.rank()];
        sides[self.axis] = (self.start, own[self.axis] - self.end());
        if sides[self.axis] == (0, 0) { self.gradient.clone() } else { self.gradient.pad_op(sides) }
    }
}

/// The gradient of `whole` from those of its pieces: side by side where they do not overlap, else a sum.
fn assemble(whole: &Tensor, mut pieces: Vec<Piece>) -> Option<Tensor> {
    let own = whole.shape_or_scalar();
    let axis = pieces.first()?.axis;
    pieces.sort_by_key(|piece| piece.start);
    let apart = pieces.iter().all(|piece| piece.axis == axis) && pieces.windows(2).all(|p| p[0].end() <= p[1].start);
    if pieces.len() < 2 || !apart {
        return pieces.iter().map(|piece| piece.padded(own)).reduce(|a, b| a + b);
    }
    let mut parts: Vec<Tensor> = Vec::new();
    let first = pieces.first()?.start;
    let mut end = first;
    for piece in &pieces {
        if piece.start > end {
            let gap = own.with(axis, piece.start - end);
            parts.push(Tensor::full_of(&whole.0.device, gap, whole.dtype(), Lit(0.0)));
        }
        parts.push(piece.gradient.clone());
        end = piece.end();
    }
    let gradient = Tensor::cat(&parts, axis as i64);
    Some(Piece { axis, start: first, gradient }.padded(own))
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

    fn run(loss: &Tensor, gradient: Tensor, follow: impl Fn(&Tensor) -> bool) -> Result<Self> {
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
            let (first, from) = (&values[0], inputs[0].inputs());
            match (&first.0.op, from.first()) {
                // 1/deviation of a norm: a function of the norm's input
                (Op::Norm { .. }, Some(x)) => self.add(x, norm::deviation_vjp(dy, first, node), follow),
                (Op::AttentionKeys(how), Some(_)) => {
                    let found =
                        through_formula(&first.inputs(), dy, |i| attention::formula(*how, i, Gradient::Values))?;
                    for (input, gradient) in from.iter().zip(found) {
                        if let Some(gradient) = gradient {
                            self.add(input, gradient, follow);
                        }
                    }
                }
                (Op::RecurrenceGrad(what), Some(_)) => {
                    let [_, start] = recurrence::formula(*what, &from, partial_gradients)?;
                    for (input, gradient) in from.iter().zip(gradients_of(&start, dy, &from, true)?) {
                        if let Some(gradient) = gradient {
                            self.add(input, gradient, follow);
                        }
                    }
                }
                _ => {}
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
        for (input, gradient) in inputs.iter().zip(vjp(node, values, dy)?) {
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

/// Values inside of a [`crate::checkpoint`], computed again for the way back.
#[derive(Default)]
struct Again {
    made: HashMap<(u32, usize), Tensor, BuildHasherDefault<Address>>,
}

impl Again {
    /// The value of `root` made anew from what its checkpoint was given, not before `dy` is there.
    fn of(&mut self, root: &Tensor, dy: &Tensor) -> Tensor {
        let part = root.0.again;
        let mut stack = vec![(root.clone(), false)];
        while let Some((tensor, expanded)) = stack.pop() {
            let key = (part, tensor.id());
            if self.made.contains_key(&key) {
                continue;
            }
            let inputs = tensor.inputs();
            let made = if inputs.is_empty() || tensor.stored().is_some() || tensor.0.again != part {
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

    /// `tensor` as it is, but read only after `dy` has been computed: without this, a plan could compute everything
    /// again at once, ahead of the way back, and hold it all.
    fn after(tensor: &Tensor, dy: &Tensor) -> Tensor {
        match tensor.0.op {
            Op::Const(_) | Op::Scalar(_) | Op::Iota => tensor.clone(),
            _ => Tensor::make(Op::View(ViewOp::Reshape(tensor.0.shape)), &[tensor, dy], tensor.0.shape, tensor.0.dtype),
        }
    }
}

/// The gradient of each input from that of the result.
fn vjp(y: &Tensor, inputs: &[Tensor], dy: &Tensor) -> Result<Parts> {
    let both = |(a, b): (Tensor, Tensor)| smallvec![Some(a), Some(b)];
    let x = &inputs[0];
    Ok(match &y.0.op {
        Op::Unary(row) => smallvec![Some((row.vjp)(dy, x, y))],
        Op::Binary(row) => match row.vjp {
            Some(vjp) => both(vjp(dy, x, &inputs[1], y)),
            None => smallvec![None, None],
        },
        Op::Where => smallvec![None, Some(Tensor::where_(x, dy, Lit(0.0))), Some(Tensor::where_(x, Lit(0.0), dy))],
        Op::Cast => smallvec![x.dtype().is_float().then(|| dy.clone())],
        Op::Concat(axis) => join::cat_vjp(*axis, dy, inputs).into(),
        Op::Gather(axis) => smallvec![Some(index::gather_vjp(*axis, dy, x, &inputs[1])), None],
        Op::View(op) => smallvec![Some(view::vjp(op, dy, x))],
        Op::Reduce(kind, mask) => smallvec![reduce::vjp(*kind, *mask, dy, x, y)],
        Op::Matmul => both(matmul::vjp(dy, x, &inputs[1])),
        Op::Softmax { log } => smallvec![Some(norm::softmax_vjp(*log, dy, y))],
        Op::Norm { center } => smallvec![Some(norm::norm_vjp(*center, dy, y)), None],
        Op::NormGrad { center } => {
            through_formula(inputs, dy, |i| norm::norm_grad_formula(*center, &i[0], &i[1], &i[2]))?
        }
        Op::Attention(how) => attention::vjp(*how, dy, inputs, y).into(),
        Op::AttentionQuery(how) => through_formula(inputs, dy, |i| attention::formula(*how, i, Gradient::Query))?,
        Op::AttentionKeys(how) => through_formula(inputs, dy, |i| attention::formula(*how, i, Gradient::Key))?,
        Op::Conv(spec) => both(conv::conv_vjp(spec, dy, x, &inputs[1])),
        Op::ConvInput(spec) => both(conv::input_vjp(spec, dy, x, &inputs[1])),
        Op::ConvWeight(spec) => both(conv::weight_vjp(spec, dy, x, &inputs[1])),
        Op::MaxPool(window) => smallvec![Some(pool::max_vjp(window, dy, x, y))],
        Op::MaxPoolGrad(window) => smallvec![None, Some(pool::max_grad_vjp(window, dy, x))],
        Op::AvgPool(window) => smallvec![Some(pool::avg_vjp(window, dy, x))],
        Op::AvgPoolGrad(window) => smallvec![Some(pool::avg_grad_vjp(window, dy, x))],
        Op::Recurrence(what) => recurrence::vjp(*what, dy, inputs, y).into(),
        Op::RecurrenceGrad(what) => {
            gradients_of(&recurrence::formula(*what, inputs, partial_gradients)?[0], dy, inputs, true)?
        }
        Op::Scan { product } => smallvec![Some(scan::scan_vjp(*product, dy, x)?)],
        Op::Sort { .. } => smallvec![Some(scan::sort_vjp(dy, y))],
        Op::SegmentSum => smallvec![None, None, Some(index::segment_vjp(dy, x, &inputs[1]))],
        Op::Custom(custom) => custom.vjp(dy, inputs, y).into(),
        _ => smallvec![None; inputs.len()],
    })
}

/// The gradients of `y` with respect to `wanted`, those of which count as given.
fn partial_gradients(y: &Tensor, dy: &Tensor, wanted: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
    Ok(gradients_of(y, dy, wanted, true)?.into_vec())
}

/// The gradient of a function of one tensor by way of its formula in plain operations.
pub(crate) fn of_formula(x: &Tensor, dy: &Tensor, formula: impl Fn(&Tensor) -> Tensor) -> Result<Tensor> {
    let found = through_formula(std::slice::from_ref(x), dy, |inputs| formula(&inputs[0]))?;
    Ok(found.into_iter().next().flatten().unwrap_or_else(|| x.zeros_like()))
}

/// The gradient of a kernel by way of its formula in plain operations.
fn through_formula(inputs: &[Tensor], dy: &Tensor, formula: impl Fn(&[Tensor]) -> Tensor) -> Result<Parts> {
    gradients_of(&formula(inputs), dy, inputs, true)
}
