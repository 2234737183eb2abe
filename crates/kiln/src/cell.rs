//! Cells: tensors whose content a step replaces. Parameters, running statistics, moments, counters and caches.

use crate::error::{At, Result};
use crate::node::{Node, Op, Stored, Value};
use crate::plan::Record;
use crate::{DType, Device, Shape, Tensor};
use kiln_device::{Buffer, Slice};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

thread_local! {
    /// What cells stand for on this thread, by their numbers, other than what they hold.
    static OTHERS: RefCell<Option<Arc<HashMap<u64, Tensor>>>> = const { RefCell::new(None) };
}

/// Runs `body`, in which each cell whose number is in `values` stands for the tensor beside it, of the same shape and type,
/// and is not replaced.
pub(crate) fn standing_for<T>(mut values: HashMap<u64, Tensor>, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<Arc<HashMap<u64, Tensor>>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OTHERS.with(|o| o.replace(self.0.take()));
        }
    }
    let outer = OTHERS.with(|o| o.borrow().clone());
    for (id, value) in outer.iter().flat_map(|known| known.iter()) {
        values.entry(*id).or_insert_with(|| value.clone());
    }
    let _restore = Restore(OTHERS.with(|o| o.replace(Some(Arc::new(values)))));
    body()
}

/// What the cell of this number stands for in a [`standing_for`].
fn stands_for(id: u64) -> Option<Tensor> {
    OTHERS.with(|o| o.borrow().as_ref().and_then(|others| others.get(&id).cloned()))
}

/// The number of the next cell.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What stays the same about a cell.
pub(crate) struct CellInfo {
    pub(crate) id: u64,
    /// The state-dict path, once a module or an optimizer has given it.
    name: OnceLock<Arc<str>>,
    trainable: AtomicBool,
    /// The faults of the steps that replace it.
    pub(crate) record: Arc<Record>,
    /// The buffer of the cell.
    memory: u64,
}

impl CellInfo {
    pub(crate) fn trainable(&self) -> bool {
        self.trainable.load(Ordering::Relaxed)
    }

    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.name.get().cloned()
    }

    /// Whether `stored` is what the cell holds now, and not a copy of what it held before.
    pub(crate) fn holds(&self, stored: &Stored) -> bool {
        stored.slice.as_ref().is_some_and(|s| self.lies_in(&s.buffer))
    }

    /// Whether `buffer` is the cell's own.
    pub(crate) fn lies_in(&self, buffer: &Buffer) -> bool {
        buffer.id() == self.memory
    }
}

/// A place in device memory whose content is replaced by expressions.
pub(crate) struct Cell {
    pub(crate) info: Arc<CellInfo>,
    pub(crate) device: Device,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    pub(crate) buffer: Option<Buffer>,
    state: Mutex<Content>,
}

/// What a cell holds now and what it is to hold.
pub(crate) struct Content {
    /// The node whose value lies in the cell's buffer.
    pub(crate) leaf: Tensor,
    /// The expression that will replace it.
    pub(crate) pending: Option<Pending>,
}

/// A replacement that no plan has carried out yet.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) value: Tensor,
    /// Nodes that it was made with: an evaluation that needs one of them carries the replacement out too.
    pub(crate) anchors: Vec<Weak<Node>>,
}

impl Cell {
    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the cell stands for in new expressions: what [`standing_for`] says, the pending one, or its content.
    pub(crate) fn current(&self) -> Tensor {
        if let Some(other) = stands_for(self.info.id) {
            return other;
        }
        let content = self.content();
        content.pending.as_ref().map_or_else(|| content.leaf.clone(), |p| p.value.clone())
    }

    /// A new node for what now lies in the buffer.
    pub(crate) fn new_leaf(&self, at: At) -> Tensor {
        let slice = self.buffer.clone().map(|buffer| Slice { bytes: self.bytes(), buffer, offset: 0 });
        let value = Value::Ready(Stored { slice, second: None, fault: None });
        Node::leaf(&self.device, Op::Content(self.info.clone()), self.shape, self.dtype, at, value)
    }

    /// A run has replaced what lies in the buffer: `old`, which is elsewhere now if somebody still wanted it.
    pub(crate) fn replaced(&self, old: &Tensor, copy: Option<Slice>) {
        old.0.links().value = match copy {
            Some(slice) => Value::Ready(Stored { slice: Some(slice), second: None, fault: None }),
            None => Value::Stale,
        };
        let leaf = self.new_leaf(old.0.at);
        let mut content = self.content();
        content.leaf = leaf;
        content.pending = None;
    }

    /// A cell in a part of this one's buffer, for plans that replace it part by part.
    pub(crate) fn part(&self, shape: Shape) -> Arc<Cell> {
        let CellInfo { name, trainable, record, memory, .. } = &*self.info;
        let info = Arc::new(CellInfo {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.clone(),
            trainable: AtomicBool::new(trainable.load(Ordering::Relaxed)),
            record: record.clone(),
            memory: *memory,
        });
        let content = Content { leaf: self.content().leaf.clone(), pending: None };
        let (device, dtype, buffer) = (self.device.clone(), self.dtype, self.buffer.clone());
        Arc::new(Cell { info, device, shape, dtype, buffer, state: Mutex::new(content) })
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.shape.numel() * self.dtype.bytes()) as u64
    }
}

/// A group of cells whose steps fail together: those of one model. Made by [`crate::nn::Init`].
#[derive(Clone)]
pub struct CellGroup {
    device: Device,
    record: Arc<Record>,
}

impl CellGroup {
    /// A group on `device`.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), record: Arc::default() }
    }

    /// The device its cells live on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A cell that starts with `numbers`.
    #[track_caller]
    fn cell(&self, numbers: &Tensor, trainable: bool) -> Tensor {
        let at = Tensor::origin_at(At::here());
        if numbers.error().is_some() {
            return numbers.clone();
        }
        let stored = match numbers.eval().map(|()| numbers.stored()) {
            Ok(stored) => stored,
            Err(error) => return Tensor::invalid(&self.device, error),
        };
        let (shape, dtype) = (numbers.shape_or_scalar(), numbers.dtype());
        let buffer = match crate::plan::own_copy(&self.device, stored.and_then(|s| s.slice)) {
            Ok(buffer) => buffer,
            Err(error) => return Tensor::invalid(&self.device, error),
        };
        let info = Arc::new(CellInfo {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: OnceLock::new(),
            trainable: AtomicBool::new(trainable),
            record: self.record.clone(),
            memory: buffer.as_ref().map_or(0, Buffer::id),
        });
        let placeholder = Tensor::zero_of(&self.device, dtype);
        let state = Mutex::new(Content { leaf: placeholder, pending: None });
        let cell = Arc::new(Cell { info, device: self.device.clone(), shape, dtype, buffer, state });
        let leaf = cell.new_leaf(at);
        cell.content().leaf = leaf;
        Node::leaf(&self.device, Op::Handle(cell), shape, dtype, at, Value::Pending)
    }

    /// A trainable parameter that starts with `numbers`.
    #[track_caller]
    pub fn param(&self, numbers: &Tensor) -> Param {
        Param(State(self.cell(numbers, true)))
    }

    /// A state that is not trained and starts with `numbers`.
    #[track_caller]
    pub fn state(&self, numbers: &Tensor) -> State {
        State(self.cell(numbers, false))
    }
}

/// A tensor that steps replace but optimizers leave alone: running statistics, counters, moments.
///
/// It can be used wherever a tensor can, and stands for its newest content.
#[derive(Clone)]
pub struct State(Tensor);

/// A tensor that optimizers train. It can be used wherever a tensor can, and stands for its newest content.
#[derive(Clone)]
pub struct Param(State);

impl State {
    /// The content as an ordinary tensor, which keeps this value whatever replaces it later.
    pub fn value(&self) -> Tensor {
        self.0.current()
    }

    /// Replaces the content by `value` (of the same shape and type) with the next evaluation that has to do with
    /// `value`'s expression, or when the state is read or saved; that of a trainable parameter at once.
    ///
    /// # Errors
    /// The error that `value` carries, or [`crate::Error::Shape`] or [`crate::Error::DType`] if it does not fit.
    #[track_caller]
    pub fn set(&self, value: &Tensor) -> Result<()> {
        self.set_with(value, &[])
    }

    /// [`State::set`], also carried out by an evaluation of any of `with`.
    ///
    /// # Errors
    /// As [`State::set`].
    #[track_caller]
    pub fn set_with(&self, value: &Tensor, with: &[&Tensor]) -> Result<()> {
        self.replace(value, with, true)?;
        // expressions made from now on must find a parameter to differentiate by
        match self.0.cell() {
            Some(cell) if cell.info.trainable() => crate::plan::settle(cell),
            _ => Ok(()),
        }
    }

    /// Notes the replacement: for the next evaluation that it belongs to if `watched`, else for the step that is under
    /// way.
    #[track_caller]
    pub(crate) fn replace(&self, value: &Tensor, with: &[&Tensor], watched: bool) -> Result<()> {
        let value = value.current();
        if let Some(error) = value.error().or(self.0.error()) {
            return Err((**error).clone());
        }
        let Some(cell) = self.0.cell() else { return Ok(()) };
        if stands_for(cell.info.id).is_some() {
            return Ok(());
        }
        // what another cell holds is a node of its own, so that a step which replaces both can copy it before
        let value = match &value.0.op {
            Op::Content(info) if info.id != cell.info.id => value.detach(),
            _ => value,
        };
        if value.shape_or_scalar() != cell.shape {
            return Err(mismatch(Tensor::bad_shape("set", &[&self.0, &value], "a state keeps its shape")));
        }
        if value.dtype() != cell.dtype {
            return Err(mismatch(Tensor::bad_dtype("set", &[&self.0, &value], "a state keeps its type")));
        }
        if !watched {
            cell.content().pending = Some(Pending { value, anchors: Vec::new() });
            return Ok(());
        }
        let mut anchors: Vec<Weak<Node>> = with.iter().map(|t| Arc::downgrade(&t.current().0)).collect();
        anchors.push(Arc::downgrade(&value.0));
        let inputs = value.inputs();
        let unknown = inputs.iter().filter(|t| t.stored().is_none() || matches!(t.0.op, Op::Content(_)));
        anchors.extend(unknown.map(|t| Arc::downgrade(&t.0)));
        // what it was before counts too: whoever needs that needs this
        anchors.push(Arc::downgrade(&cell.current().0));
        let mut content = cell.content();
        if let Some(earlier) = content.pending.take() {
            anchors.extend(earlier.anchors);
        }
        content.pending = Some(Pending { value, anchors });
        drop(content);
        cell.device.executor().watch(cell);
        Ok(())
    }

    /// Its path in the model, once a module or an optimizer has named it.
    pub fn path(&self) -> Option<Arc<str>> {
        self.0.cell().and_then(|cell| cell.info.name())
    }

    /// Names it, for messages and files. The first name stays.
    pub fn name(&self, path: &str) {
        if let Some(cell) = self.0.cell() {
            cell.info.name.get_or_init(|| Arc::from(path));
        }
    }

    /// The group it belongs to, for states that accompany it.
    pub fn group(&self) -> CellGroup {
        let device = self.0.0.device.clone();
        match self.0.cell() {
            Some(cell) => CellGroup { device, record: cell.info.record.clone() },
            None => CellGroup::new(&device),
        }
    }

    /// A number that no other cell of the process has.
    pub fn id(&self) -> u64 {
        self.0.cell().map_or(0, |cell| cell.info.id)
    }
}

fn mismatch(invalid: Tensor) -> crate::Error {
    match invalid.error() {
        Some(error) => (**error).clone(),
        None => unreachable!("a mismatch always carries its error"),
    }
}

impl Param {
    /// Whether optimizers train it. A frozen parameter takes no gradient.
    pub fn trainable(&self) -> bool {
        self.0.0.cell().is_some_and(|cell| cell.info.trainable())
    }

    /// Replaces the content by `value`, made of it, as what it is from now on: with its rows cut to a length, say. Unlike
    /// after [`State::set`], gradients with respect to the parameter are those at the new content, and the replacement
    /// is part of the next evaluation or step that uses it.
    ///
    /// # Errors
    /// As [`State::set`].
    #[track_caller]
    pub fn project(&self, value: &Tensor) -> Result<()> {
        let old = self.value();
        self.replace(&(&old + (value - &old).detach()), &[], true)
    }

    /// Freezes it, or lets it be trained again; expressions made from now on see the change.
    pub fn set_trainable(&self, on: bool) {
        let Some(cell) = self.0.0.cell() else { return };
        cell.info.trainable.store(on, Ordering::Relaxed);
        let mut content = cell.content();
        if content.pending.is_none() {
            let at = content.leaf.0.at;
            content.leaf = cell.new_leaf(at);
        }
    }
}

impl Deref for State {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.0
    }
}

impl Deref for Param {
    type Target = State;
    fn deref(&self) -> &State {
        &self.0
    }
}

impl crate::ops::Operand for State {
    fn tensor(&self, _other: &Tensor) -> Tensor {
        self.0.clone()
    }
}

impl crate::ops::Operand for Param {
    fn tensor(&self, _other: &Tensor) -> Tensor {
        self.0.0.clone()
    }
}

impl AsRef<Tensor> for Param {
    fn as_ref(&self) -> &Tensor {
        self
    }
}

impl AsRef<Tensor> for State {
    fn as_ref(&self) -> &Tensor {
        self
    }
}
