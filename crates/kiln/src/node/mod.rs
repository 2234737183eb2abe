//! The graph. A [`Tensor`] is a handle on a [`Node`]: an operation, its inputs, and what is known at once
//! (shape, type, the caller's line). Nothing runs when a node is made.

mod origin;
mod wrong;

pub(crate) use crate::op::{Op, Random, Reduction};
pub(crate) use origin::{ascribed, called, composed};
pub use origin::{checkpoint, in_module};

use crate::cell::Cell;
use crate::error::{At, Error, List};
use crate::plan::Fault;
use crate::{DType, Device, Shape, remade, trace};
use kiln_device::Slice;
use origin::Made;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// An n-dimensional array on a device, or the expression that will make it.
///
/// Operations record what is to be done and return at once; [`Tensor::eval`], [`Tensor::item`] and
/// [`Tensor::to_vec`] run it. A wrong shape or type makes a tensor that carries the error, and every later
/// operation on it carries the same one, so model code is mathematics without `?` after each line.
///
/// ```
/// # use kiln::prelude::*;
/// let device = Device::open()?;
/// let x = Tensor::new(&device, [[1.0, 2.0], [3.0, 4.0]]);
/// assert_eq!((&x * 2.0).sum().item()?, 20.0);
/// assert!(x.matmul(&Tensor::ones(&device, &[3])).eval().is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor(pub(crate) Arc<Node>);

/// One operation of the graph.
pub(crate) struct Node {
    pub(crate) device: Device,
    pub(crate) op: Op,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    pub(crate) at: At,
    /// The path of the module that made it, where one is known.
    pub(crate) scope: Option<Arc<str>>,
    /// The operation that the user called.
    pub(crate) name: &'static str,
    /// Whether something trainable is among its ancestors.
    pub(crate) grad: bool,
    /// Handles that do not ask for the value to be kept: those of [`crate::Gradients`].
    pub(crate) quiet: AtomicUsize,
    /// The part of the graph that is computed again for its gradients; 0 for what is kept.
    pub(crate) again: u32,
    /// What it stands for since a rewrite of the graph: another expression of the same value, shape and type.
    pub(crate) rewritten: OnceLock<Tensor>,
    /// Its place in the graph of the evaluation that looked at it last: the graph's number and the node's.
    pub(crate) place: AtomicU64,
    links: Mutex<Links>,
}

/// The inputs of a node: few, and kept in it.
pub(crate) type Inputs = SmallVec<[Tensor; 3]>;

/// What changes in a node: its inputs go when its value is all that is wanted of it.
pub(crate) struct Links {
    pub(crate) inputs: Inputs,
    pub(crate) value: Value,
}

/// What is known of a node's elements.
#[derive(Clone)]
pub(crate) enum Value {
    /// Nothing yet.
    Pending,
    /// They are in memory.
    Ready(Stored),
    /// They were in a cell that has been replaced since.
    Stale,
}

/// Elements in device memory. Tensors of no elements have no memory.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) slice: Option<Slice>,
    /// The second result of the kernel that made it.
    pub(crate) second: Option<Slice>,
    /// The record of the run that made it, to be looked at when it is read.
    pub(crate) fault: Option<Arc<Fault>>,
}

impl Node {
    pub(crate) fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build(device: &Device, op: Op, shape: Shape, dtype: DType, made: Made, grad: bool, links: Links) -> Tensor {
        let Made { at, scope, name, again } = made;
        Tensor(Arc::new(Node {
            device: device.clone(),
            op,
            shape,
            dtype,
            at,
            scope,
            name,
            grad,
            quiet: AtomicUsize::new(0),
            again,
            rewritten: OnceLock::new(),
            place: AtomicU64::new(0),
            links: Mutex::new(links),
        }))
    }

    /// A node without inputs.
    pub(crate) fn leaf(device: &Device, op: Op, shape: Shape, dtype: DType, at: At, value: Value) -> Tensor {
        if let Op::Scalar(bits) = op
            && let Some(known) = trace::known_number(bits, dtype, device)
        {
            return known;
        }
        let number = matches!(op, Op::Scalar(_));
        if let Some(known) = remade::known(&op, &[], shape, dtype) {
            if number {
                trace::note_number(&known);
            }
            return known;
        }
        let grad = matches!(&op, Op::Content(cell) if cell.trainable());
        let made = Made { at, again: 0, ..Made::here(at, op.name()) };
        let leaf = Self::build(device, op, shape, dtype, made, grad, Links { inputs: Inputs::new(), value });
        if number {
            trace::note_number(&leaf);
        }
        remade::note(&leaf);
        leaf
    }
}

impl Tensor {
    /// A node that is said of the same line and module as this one, for a graph that keeps its own list of inputs.
    pub(crate) fn twin(&self, device: &Device, op: Op, shape: Shape, dtype: DType, value: Value) -> Tensor {
        let Node { at, ref scope, name, grad, .. } = *self.0;
        let made = Made { at, scope: scope.clone(), name, again: 0 };
        Node::build(device, op, shape, dtype, made, grad, Links { inputs: Inputs::new(), value })
    }
}

/// A handle on a tensor that a step need not keep: once its inputs have been replaced it can no longer be computed.
pub(crate) struct Quiet(Tensor);

impl Quiet {
    pub(crate) fn new(tensor: Tensor) -> Self {
        tensor.0.quiet.fetch_add(1, Ordering::Relaxed);
        Self(tensor)
    }

    pub(crate) fn tensor(&self) -> &Tensor {
        &self.0
    }
}

impl Clone for Quiet {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.0.0.quiet.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Dropping the last handle on a long expression must not recurse through it.
impl Drop for Node {
    fn drop(&mut self) {
        let links = self.links.get_mut().unwrap_or_else(PoisonError::into_inner);
        if links.inputs.is_empty() {
            return;
        }
        let mut waiting: SmallVec<[Tensor; 16]> = links.inputs.drain(..).collect();
        while let Some(mut tensor) = waiting.pop() {
            if let Some(node) = Arc::get_mut(&mut tensor.0) {
                let links = node.links.get_mut().unwrap_or_else(PoisonError::into_inner);
                waiting.extend(links.inputs.drain(..));
            } else if let Some(mut node) = Arc::into_inner(tensor.0) {
                // the last handle, but somebody may still ask for it
                let links = node.links.get_mut().unwrap_or_else(PoisonError::into_inner);
                waiting.extend(links.inputs.drain(..));
            }
        }
    }
}

impl Tensor {
    /// A new node of the graph. Inputs are replaced by what they currently stand for; the first input that
    /// carries an error is the result.
    #[track_caller]
    pub(crate) fn make(op: Op, inputs: &[&Tensor], shape: Shape, dtype: DType) -> Tensor {
        let made = Made::here(At::here(), op.name());
        let inputs: Inputs = inputs.iter().map(|t| t.current()).collect();
        if let Some(bad) = inputs.iter().find(|t| t.error().is_some()) {
            return bad.clone();
        }
        if let Some(known) = remade::known(&op, &inputs, shape, dtype) {
            return known;
        }
        let device = inputs[0].0.device.clone();
        if inputs.iter().any(|t| !t.0.device.same(&device)) {
            return Self::invalid(&device, Error::Devices { op: made.name, at: made.at });
        }
        if shape.numel() > i32::MAX as usize {
            let needs = shape.numel() as u64;
            let shapes = List(inputs.iter().map(|t| t.0.shape).chain([shape]).collect());
            let error =
                Error::Limit { op: made.name, shapes, what: "elements", needs, has: i32::MAX as u64, at: made.at };
            return Self::invalid(&device, error);
        }
        let grad = dtype.is_float() && !matches!(op, Op::Detach) && inputs.iter().any(|t| t.0.grad);
        let node = Node::build(&device, op, shape, dtype, made, grad, Links { inputs, value: Value::Pending });
        remade::note(&node);
        node
    }

    /// What this stands for now: a cell's current content, what a rewrite made of it, or the tensor itself.
    pub(crate) fn current(&self) -> Tensor {
        match (&self.0.op, self.0.rewritten.get()) {
            (Op::Handle(cell), _) => cell.current(),
            (_, Some(twin)) => twin.current(),
            _ => self.clone(),
        }
    }

    /// Lets it stand for another expression of the same value, and go of what it was made from.
    pub(crate) fn stand_for(&self, other: Tensor) {
        if self.0.rewritten.set(other).is_ok() {
            self.0.links().inputs.clear();
        }
    }

    /// The error it carries.
    pub(crate) fn error(&self) -> Option<&Arc<Error>> {
        match &self.0.op {
            Op::Invalid(error) => Some(error),
            _ => None,
        }
    }

    /// The cell it is a handle on.
    pub(crate) fn cell(&self) -> Option<&Arc<Cell>> {
        match &self.0.op {
            Op::Handle(cell) => Some(cell),
            _ => None,
        }
    }

    /// The bits of the number of the host that it is.
    pub(crate) fn number(&self) -> Option<u32> {
        match self.0.op {
            Op::Scalar(bits) => Some(bits),
            _ => None,
        }
    }

    /// Its inputs; none once its graph was released.
    pub(crate) fn inputs(&self) -> Inputs {
        self.0.links().inputs.iter().map(Tensor::current).collect()
    }

    /// Its elements, if they are in memory.
    pub(crate) fn stored(&self) -> Option<Stored> {
        match &self.0.links().value {
            Value::Ready(stored) => Some(stored.clone()),
            _ => None,
        }
    }

    /// The node's identity while some handle on it lives.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}
