//! The graph. A [`Tensor`] is a handle on a [`Node`]: an operation, its inputs, and what is known at once
//! (shape, type, the caller's line). Nothing runs when a node is made.

pub(crate) use crate::op::{Op, Random, Reduction};

use crate::cell::Cell;
use crate::error::{At, Error, List};
use crate::plan::Fault;
use crate::{DType, Device, Shape, remade, trace};
use kiln_device::Slice;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
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

/// Whose line and which module new nodes belong to, where that is not simply the caller's.
#[derive(Default, Clone)]
pub(crate) struct Origin {
    pub(crate) at: Option<At>,
    pub(crate) scope: Option<Arc<str>>,
    /// The operation that the user called, where it is made of others.
    pub(crate) op: Option<&'static str>,
    /// The part of the graph that is computed again for its gradients; 0 for what is kept.
    pub(crate) again: u32,
}

thread_local! {
    static ORIGIN: RefCell<Origin> = RefCell::default();
}

/// Runs `body` with new nodes ascribed to `origin`; the derivative of a line belongs to that line.
pub(crate) fn ascribed<T>(origin: Origin, body: impl FnOnce() -> T) -> T {
    struct Restore(Origin);
    impl Drop for Restore {
        fn drop(&mut self) {
            ORIGIN.with(|o| o.replace(std::mem::take(&mut self.0)));
        }
    }
    let _restore = Restore(ORIGIN.with(|o| o.replace(origin)));
    body()
}

/// Runs `body` inside the module named `name`: nodes made there carry its path, and so do their errors.
pub fn in_module<T>(name: &str, body: impl FnOnce() -> T) -> T {
    let outer = ORIGIN.with(|o| o.borrow().clone());
    let path = match &outer.scope {
        Some(path) => Arc::from(format!("{path}.{name}")),
        None => Arc::from(name),
    };
    ascribed(Origin { scope: Some(path), ..outer }, body)
}

/// Runs `body` and remembers that what it computes need not be kept for its gradients: they compute it again from what
/// it was made from. That costs another forward pass of `body` and saves the memory of everything inside it, as
/// `torch.utils.checkpoint` does. Random masks come out the same. One checkpoint inside another has no effect of its own.
///
/// Source: Chen et al. 2016, "Training deep nets with sublinear memory cost", §3.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let block = Linear::new(4, 4, &mut Init::new(&device, 0));
/// let x = Tensor::ones(&device, [2, 4]);
/// let y = kiln::checkpoint(|| block.forward(&x).gelu());
/// assert_eq!(y.square().mean().backward()?.len(), 2);
/// # Ok::<(), Error>(())
/// ```
pub fn checkpoint<T>(body: impl FnOnce() -> T) -> T {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let outer = ORIGIN.with(|o| o.borrow().clone());
    if outer.again != 0 {
        return body();
    }
    ascribed(Origin { again: NEXT.fetch_add(1, Ordering::Relaxed).max(1), ..outer }, body)
}

/// Runs `body`, which makes the operation `op` out of others: errors and nodes in it name `op` and the caller's line.
#[track_caller]
pub(crate) fn composed<T>(op: &'static str, body: impl FnOnce() -> T) -> T {
    let at = Tensor::origin_at(At::here());
    let outer = ORIGIN.with(|o| o.borrow().clone());
    ascribed(Origin { at: Some(at), op: outer.op.or(Some(op)), ..outer }, body)
}

/// The operation that the user called: the composed one, or `op` itself.
pub(crate) fn called(op: &'static str) -> &'static str {
    ORIGIN.with(|o| o.borrow().op).unwrap_or(op)
}

impl Node {
    pub(crate) fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
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
        let links = Mutex::new(Links { inputs: Inputs::new(), value });
        let grad = matches!(&op, Op::Content(cell) if cell.trainable());
        let scope = ORIGIN.with(|o| o.borrow().scope.clone());
        let name = called(op.name());
        let device = device.clone();
        let (quiet, place) = (AtomicUsize::new(0), AtomicU64::new(0));
        let (rewritten, again) = (OnceLock::new(), 0);
        let leaf = Tensor(Arc::new(Node {
            device,
            op,
            shape,
            dtype,
            at,
            scope,
            name,
            grad,
            quiet,
            again,
            rewritten,
            place,
            links,
        }));
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
        let links = Mutex::new(Links { inputs: Inputs::new(), value });
        let (device, scope) = (device.clone(), scope.clone());
        let (quiet, place) = (AtomicUsize::new(0), AtomicU64::new(0));
        let (rewritten, again) = (OnceLock::new(), 0);
        Tensor(Arc::new(Node {
            device,
            op,
            shape,
            dtype,
            at,
            scope,
            name,
            grad,
            quiet,
            again,
            rewritten,
            place,
            links,
        }))
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
        let here = At::here();
        let (at, scope, name, again) = ORIGIN.with(|o| {
            let Origin { at, scope, op: composed, again } = &*o.borrow();
            (at.unwrap_or(here), scope.clone(), composed.unwrap_or(op.name()), *again)
        });
        let inputs: Inputs = inputs.iter().map(|t| t.current()).collect();
        if let Some(bad) = inputs.iter().find(|t| t.error().is_some()) {
            return bad.clone();
        }
        if let Some(known) = remade::known(&op, &inputs, shape, dtype) {
            return known;
        }
        let device = inputs[0].0.device.clone();
        if inputs.iter().any(|t| !t.0.device.same(&device)) {
            return Self::invalid(&device, Error::Devices { op: name, at });
        }
        if shape.numel() > i32::MAX as usize {
            let needs = shape.numel() as u64;
            let shapes = List(inputs.iter().map(|t| t.0.shape).chain([shape]).collect());
            let error = Error::Limit { op: name, shapes, what: "elements", needs, has: i32::MAX as u64, at };
            return Self::invalid(&device, error);
        }
        let grad = dtype.is_float() && !matches!(op, Op::Detach) && inputs.iter().any(|t| t.0.grad);
        let links = Mutex::new(Links { inputs, value: Value::Pending });
        let (quiet, place) = (AtomicUsize::new(0), AtomicU64::new(0));
        let rewritten = OnceLock::new();
        let made = Tensor(Arc::new(Node {
            device,
            op,
            shape,
            dtype,
            at,
            scope,
            name,
            grad,
            quiet,
            again,
            rewritten,
            place,
            links,
        }));
        remade::note(&made);
        made
    }

    /// The line that nodes made now belong to.
    pub(crate) fn origin_at(here: At) -> At {
        ORIGIN.with(|o| o.borrow().at).unwrap_or(here)
    }

    /// A tensor that carries `error`, with the module it arose in.
    pub(crate) fn invalid(device: &Device, error: Error) -> Tensor {
        let scope = ORIGIN.with(|o| o.borrow().scope.clone());
        let error = match scope {
            Some(module) => Error::In { module, source: Box::new(error) },
            None => error,
        };
        let at = Self::origin_at(At::here());
        Node::leaf(device, Op::Invalid(Arc::new(error)), Shape::SCALAR, DType::F32, at, Value::Pending)
    }

    /// A tensor that carries an error about the shapes of `operands`.
    #[track_caller]
    pub(crate) fn bad_shape(op: &'static str, operands: &[&Tensor], why: &'static str) -> Tensor {
        if let Some(bad) = operands.iter().find(|t| t.error().is_some()) {
            return bad.current();
        }
        let shapes = List(operands.iter().map(|t| t.0.shape).collect());
        let at = Self::origin_at(At::here());
        Self::invalid(&operands[0].0.device, Error::Shape { op: called(op), shapes, why, at })
    }

    /// A tensor that carries an error about the element types of `operands`.
    #[track_caller]
    pub(crate) fn bad_dtype(op: &'static str, operands: &[&Tensor], why: &'static str) -> Tensor {
        if let Some(bad) = operands.iter().find(|t| t.error().is_some()) {
            return bad.current();
        }
        let dtypes = List(operands.iter().map(|t| t.0.dtype).collect());
        let at = Self::origin_at(At::here());
        Self::invalid(&operands[0].0.device, Error::DType { op: called(op), dtypes, why, at })
    }

    /// A tensor that carries an error about an argument.
    #[track_caller]
    pub(crate) fn bad_argument(
        &self,
        op: &'static str,
        name: &'static str,
        value: impl ToString,
        why: &'static str,
    ) -> Tensor {
        if self.error().is_some() {
            return self.current();
        }
        let at = Self::origin_at(At::here());
        Self::invalid(&self.0.device, Error::Argument { op: called(op), name, value: value.to_string(), why, at })
    }

    /// The axis meant by `axis`, or a tensor that carries the error.
    #[track_caller]
    pub(crate) fn axis(&self, op: &'static str, axis: i64) -> std::result::Result<usize, Tensor> {
        if self.error().is_some() {
            return Err(self.current());
        }
        let at = Self::origin_at(At::here());
        let error = Error::Axis { op: called(op), axis, shape: self.0.shape, at };
        self.0.shape.axis(axis).ok_or_else(|| Self::invalid(&self.0.device, error))
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

    /// Where and in which module it was made, for nodes that derive from it.
    pub(crate) fn origin(&self) -> Origin {
        Origin { at: Some(self.0.at), scope: self.0.scope.clone(), op: Some(self.0.name), again: self.0.again }
    }

    /// The node's identity while some handle on it lives.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}
