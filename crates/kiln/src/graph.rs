//! What one evaluation needs, read off the nodes: a list in which inputs come first, and the structural key under
//! which its plan is found.

use crate::cell::{Cell, CellInfo};
use crate::error::{Error, Result};
use crate::node::{Op, Stored, Value};
use crate::{DType, Shape, Tensor};
use smallvec::SmallVec;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A node of one evaluation. Indices are into [`Graph::nodes`].
pub(crate) struct GraphNode {
    pub(crate) tensor: Tensor,
    pub(crate) inputs: SmallVec<[u32; 4]>,
    pub(crate) role: Role,
}

/// What a node is to the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Elements in memory.
    Leaf,
    /// No elements at all.
    Empty,
    /// A number that is known when the plan runs.
    Scalar,
    /// To be computed.
    Compute,
}

/// A cell and the node that replaces it.
#[derive(Clone)]
pub(crate) struct Write {
    pub(crate) cell: Arc<Cell>,
    pub(crate) value: u32,
}

/// One evaluation. It is made, looked at and dropped under the lock of the device's plans, so a node belongs to one
/// graph at a time.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<GraphNode>,
    /// No other graph's number: nodes remember their place by it.
    number: u32,
    /// The nodes so far, as a number.
    key: Mix,
    /// What was met of which a rewrite has put another node in its place.
    pub(crate) rewritten: Vec<Tensor>,
    /// Nodes whose elements are wanted.
    pub(crate) roots: Vec<u32>,
    pub(crate) writes: Vec<Write>,
    /// What must be finite before anything is replaced: the loss first.
    pub(crate) guards: Vec<u32>,
    /// Expressions that must be in memory whatever it costs.
    pub(crate) kept: HashSet<u32>,
}

impl Graph {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self {
            nodes: Vec::with_capacity(1024),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            key: Mix::default(),
            rewritten: Vec::new(),
            roots: Vec::new(),
            writes: Vec::new(),
            guards: Vec::new(),
            kept: HashSet::new(),
        }
    }

    pub(crate) fn shape(&self, i: u32) -> Shape {
        self.nodes[i as usize].tensor.0.shape
    }

    pub(crate) fn dtype(&self, i: u32) -> DType {
        self.nodes[i as usize].tensor.0.dtype
    }

    pub(crate) fn op(&self, i: u32) -> &Op {
        &self.nodes[i as usize].tensor.0.op
    }

    pub(crate) fn inputs(&self, i: u32) -> &[u32] {
        &self.nodes[i as usize].inputs
    }

    pub(crate) fn role(&self, i: u32) -> Role {
        self.nodes[i as usize].role
    }

    /// Adds a tensor and all it needs; the number of its node.
    pub(crate) fn add(&mut self, tensor: &Tensor) -> Result<u32> {
        let root = tensor.current();
        if let Some(known) = self.find(&root) {
            return Ok(known);
        }
        let top = root.clone();
        // each entry is a node and whether its inputs have been put on the stack above it
        let mut stack = vec![(root, false)];
        while let Some((tensor, opened)) = stack.pop() {
            if self.find(&tensor).is_some() {
                continue; // met by another way
            }
            if tensor.0.rewritten.get().is_some() {
                let twin = tensor.current();
                match self.find(&twin) {
                    Some(known) => {
                        self.mark(&tensor, known);
                        self.rewritten.push(tensor);
                    }
                    None => stack.extend([(tensor, false), (twin, false)]),
                }
                continue;
            }
            if !opened {
                let role = Self::role_of(&tensor)?;
                if role != Role::Compute {
                    self.push(tensor, SmallVec::new(), role);
                    continue;
                }
            }
            let links = tensor.0.links();
            if links.inputs.is_empty() && !matches!(tensor.0.op, Op::Const(_) | Op::Iota) {
                return Err(Error::Stale { op: tensor.0.name, at: tensor.0.at });
            }
            let inputs: SmallVec<[u32; 4]> = links.inputs.iter().filter_map(|t| self.find(t)).collect();
            if inputs.len() == links.inputs.len() {
                drop(links);
                self.push(tensor, inputs, Role::Compute);
                continue;
            }
            let missing = links.inputs.iter().filter(|t| self.find(t).is_none());
            let missing: SmallVec<[Tensor; 3]> = missing.cloned().collect();
            drop(links);
            stack.push((tensor, true));
            stack.extend(missing.into_iter().rev().map(|input| (input, false)));
        }
        match self.find(&top) {
            Some(node) => Ok(node),
            None => unreachable!("the walk ends with its first node"),
        }
    }

    /// The number of a tensor's node, if it is in the graph.
    pub(crate) fn find(&self, tensor: &Tensor) -> Option<u32> {
        let place = tensor.0.place.load(Ordering::Relaxed);
        ((place >> 32) as u32 == self.number).then_some(place as u32)
    }

    fn mark(&self, tensor: &Tensor, node: u32) {
        tensor.0.place.store(u64::from(self.number) << 32 | u64::from(node), Ordering::Relaxed);
    }

    fn role_of(tensor: &Tensor) -> Result<Role> {
        if let Some(error) = tensor.error() {
            return Err((**error).clone());
        }
        if tensor.numel() == 0 {
            return Ok(Role::Empty);
        }
        if matches!(tensor.0.op, Op::Scalar(_)) {
            return Ok(Role::Scalar);
        }
        if matches!(tensor.0.op, Op::Second) {
            // the first result may have been kept together with this one
            let kept = tensor.inputs().first().and_then(Tensor::stored);
            if let Some(Stored { second: Some(slice), fault, .. }) = kept {
                let mut links = tensor.0.links();
                if matches!(links.value, Value::Pending) {
                    links.value = Value::Ready(Stored { slice: Some(slice), second: None, fault });
                }
            }
        }
        match &tensor.0.links().value {
            Value::Ready(_) => Ok(Role::Leaf),
            Value::Pending => Ok(Role::Compute),
            Value::Stale => Err(Error::Stale { op: tensor.0.name, at: tensor.0.at }),
        }
    }

    fn push(&mut self, tensor: Tensor, inputs: SmallVec<[u32; 4]>, role: Role) {
        hash_node(&tensor, role, &mut self.key);
        self.key.word(inputs.len() as u64);
        inputs.iter().for_each(|&input| self.key.word(u64::from(input)));
        self.mark(&tensor, self.nodes.len() as u32);
        self.nodes.push(GraphNode { tensor, inputs, role });
    }

    /// The key of the plan: equal for evaluations that do the same to other numbers.
    pub(crate) fn key(&self, options: u64) -> [u64; 2] {
        let key = self.whole_key(options);
        [key.a, key.b]
    }

    fn whole_key(&self, options: u64) -> Mix {
        let mut key = self.key;
        key.word(options);
        key.word(self.nodes.len() as u64);
        self.roots.iter().for_each(|&r| key.word(u64::from(r)));
        key.word(u64::MAX - 1);
        for write in &self.writes {
            key.word(write.cell.info.id);
            key.word(u64::from(write.value));
        }
        key.word(u64::MAX - 2);
        self.guards.iter().for_each(|&g| key.word(u64::from(g)));
        key
    }

    /// The key of all that gradients are made from, and of what they tell of its origin: beside [`Graph::key`], which
    /// nodes are differentiated and how, their lines and modules. `None` where the nodes of the graph do not show it all:
    /// behind an expression that is in memory already, or in an operation that is not ours.
    pub(crate) fn key_with_origin(&self, options: u64) -> Option<[u64; 2]> {
        let mut key = self.whole_key(options);
        let mut parts: SmallVec<[u32; 8]> = SmallVec::new();
        for GraphNode { tensor, role, .. } in &self.nodes {
            let node = &tensor.0;
            match (role, &node.op) {
                (Role::Compute, Op::Custom(_)) => return None,
                (Role::Leaf, Op::Content(cell)) => key.word(cell.id << 1 | u64::from(cell.trainable())),
                (Role::Leaf | Role::Empty, op) if !node.grad => std::mem::discriminant(op).hash(&mut key),
                (Role::Leaf | Role::Empty, _) => return None,
                _ => {}
            }
            // checkpoints have numbers of their own each time: which nodes share one is what matters
            let part = match (node.again, parts.iter().position(|&part| part == node.again)) {
                (0, _) => 0,
                (_, Some(known)) => known + 1,
                (new, None) => {
                    parts.push(new);
                    parts.len()
                }
            };
            key.word((part as u64) << 1 | u64::from(node.grad));
            key.word(std::ptr::from_ref(node.at.0) as u64);
            key.word(node.name.as_ptr() as u64);
            node.scope.hash(&mut key);
        }
        self.rewritten.is_empty().then_some([key.a, key.b])
    }
}

/// The operation with its arguments, shape and type. Numbers of the host are not in it.
fn hash_node(tensor: &Tensor, role: Role, h: &mut Mix) {
    let node = &tensor.0;
    h.word(role as u64 | (node.dtype as u64) << 8 | (node.shape.rank() as u64) << 16);
    node.shape.iter().for_each(|&d| h.word(d as u64));
    if role == Role::Leaf {
        if let Some(cell) = content(tensor) {
            h.word(cell.id);
        }
    } else if role == Role::Compute {
        hash_op(&node.op, h);
    }
}

/// The cell whose present content this leaf is.
pub(crate) fn content(tensor: &Tensor) -> Option<&CellInfo> {
    match &tensor.0.op {
        Op::Content(cell) => match &tensor.0.links().value {
            Value::Ready(stored) if cell.holds(stored) => Some(&**cell),
            _ => None,
        },
        _ => None,
    }
}

fn hash_op(op: &Op, h: &mut Mix) {
    std::mem::discriminant(op).hash(h);
    match op {
        Op::Const(bits) => h.word(u64::from(*bits)),
        Op::Random(kind) => kind.hash(h),
        Op::Unary(row) => h.word(std::ptr::from_ref(*row) as u64),
        Op::Binary(row) => h.word(std::ptr::from_ref(*row) as u64),
        Op::Concat(axis) | Op::Gather(axis) => h.word(*axis as u64),
        Op::View(view) => view.hash(h),
        Op::Reduce(kind, mask) => (kind, mask).hash(h),
        Op::Softmax { log: flag }
        | Op::Norm { center: flag }
        | Op::NormGrad { center: flag }
        | Op::Scan { product: flag }
        | Op::Sort { descending: flag } => h.word(u64::from(*flag)),
        Op::Attention(how) | Op::AttentionQuery(how) | Op::AttentionKeys(how) => how.hash(h),
        Op::Recurrence(what) | Op::RecurrenceGrad(what) => what.hash(h),
        Op::Conv(spec) | Op::ConvInput(spec) | Op::ConvWeight(spec) => spec.hash(h),
        Op::MaxPool(window) | Op::MaxPoolGrad(window) | Op::AvgPool(window) | Op::AvgPoolGrad(window) => window.hash(h),
        Op::Custom(custom) => (custom.name(), custom.key()).hash(h),
        _ => {}
    }
}

/// A fast hash of 128 bits, for structure that we make ourselves.
#[derive(Clone, Copy, Default)]
struct Mix {
    a: u64,
    b: u64,
}

impl Mix {
    fn word(&mut self, word: u64) {
        self.a = (self.a ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        self.b = (self.b.rotate_left(23) ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ (self.b >> 31);
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.a ^ self.b
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.word(word);
    }
    fn write_usize(&mut self, word: usize) {
        self.word(word as u64);
    }
}
