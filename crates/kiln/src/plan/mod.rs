//! Plans: what one evaluation runs, found by structure, with its pipelines, bind groups and buffers. A plan that is
//! found again costs a walk over the graph, a look-up and the encoding.

mod account;
mod again;
mod build;
mod capture;
mod fault;
mod hold;
mod place;
mod recipe;
mod replay;
mod results;
mod search;

pub use account::{PlanMemory, PlanTensor, TensorUse};
pub(crate) use again::{Again, formula_key, record_step, step_again};
pub(crate) use capture::{Capture, capture_step};
pub(crate) use fault::{Fault, Record};
pub(crate) use recipe::Recipe;

use crate::cell::{Cell, Pending, State};
use crate::emit::Word;
use crate::error::{Error, Result};
use crate::graph::{Graph, Write};
use crate::memory::Workspace;
use crate::node::{Op, Stored, Value};
use crate::{Device, Tensor};
use fault::Sites;
use hold::{count_edges, held};
use kiln_device::{Buffer, Copy, Program, Slice};
use results::Pages;
use search::{Blueprint, Runs};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

/// The plans of a device and the memory they work in.
pub(crate) struct Executor {
    gpu: kiln_device::Device,
    plans: HashMap<[u64; 2], Plan>,
    workspace: Workspace,
    fusion: bool,
    /// Cells that may have a replacement waiting.
    waiting: Vec<Weak<Cell>>,
    pages: Pages,
    sites: Sites,
    clock: u64,
    /// The last steps, for the search for what was not finite.
    runs: Runs,
}

/// One structure's program.
struct Plan {
    program: Program,
    label: String,
    /// The graph's leaves in the order of the walk, and what the program has bound for them.
    leaves: Vec<Leaf>,
    /// Step, byte offset, and what goes there.
    words: Vec<(usize, usize, Word)>,
    /// For each root: where the program leaves its parts, if it is computed.
    outputs: Vec<Vec<Output>>,
    /// Where the program expects the fault record; its own one if it replaces no cells.
    record: Option<Buffer>,
    own_record: bool,
    /// What its guards are made of, if it has some.
    blueprint: Option<Blueprint>,
    memory: PlanMemory,
    nodes: usize,
    runs: u64,
    used: u64,
    /// The recipe whose words the program holds; 0 for those of a graph.
    words_of: u64,
}

struct Leaf {
    node: u32,
    bound: Buffer,
    /// The plan's own buffer: what is read is copied there first.
    own: bool,
    /// The content of a cell.
    cell: bool,
}

/// A root, or a part of one, and the second result of its kernel.
struct Output {
    first: Slice,
    second: Option<Slice>,
}

/// A cached plan, for people.
#[derive(Debug, Clone)]
pub struct PlanInfo {
    /// The operations, shortened.
    pub label: String,
    /// How often it ran.
    pub runs: u64,
    /// Operations of the graph that it was made for.
    pub nodes: usize,
    /// Kernels a run.
    pub dispatches: usize,
    /// Memory that it works in, shared with the other plans.
    pub bytes: u64,
    /// What all its memory is for.
    pub memory: PlanMemory,
}

/// Most plans that are kept.
const MOST_PLANS: usize = 256;

/// A contiguous copy of `slice` in a buffer of its own, or nothing of nothing.
pub(crate) fn own_copy(device: &Device, slice: Option<Slice>) -> Result<Option<Buffer>> {
    let Some(slice) = slice else { return Ok(None) };
    let gpu = device.gpu();
    let to = gpu.alloc(slice.bytes, "cell")?;
    Program::new(gpu, Vec::new())?.run(&[copy_of(&slice, &to)], &[], &[])?;
    Ok(Some(to))
}

pub(super) fn copy_of(from: &Slice, to: &Buffer) -> Copy {
    let bytes = from.bytes.next_multiple_of(4);
    Copy { from: from.buffer.clone(), from_offset: from.offset, to: to.clone(), to_offset: 0, bytes }
}

/// Evaluates tensors, and carries out the replacements that belong to their expressions.
pub(crate) fn evaluate(tensors: &[&Tensor]) -> Result<()> {
    for tensor in tensors {
        tensor.shape()?;
    }
    let Some(first) = tensors.first() else { return Ok(()) };
    let device = first.0.device.clone();
    let mut executor = device.executor();
    // read handles under the lock: no other thread replaces their cells meanwhile
    executor.settle_plain(tensors)?;
    let roots: Vec<Tensor> = tensors.iter().map(|t| t.current()).filter(|t| t.stored().is_none()).collect();
    if roots.is_empty() {
        return Ok(());
    }
    executor.run(&roots, Vec::new(), &[]).map(|_| ())
}

/// Carries out the replacement that waits for a cell.
pub(crate) fn settle(cell: &Arc<Cell>) -> Result<()> {
    cell.device.executor().run(&[], vec![cell.clone()], &[]).map(|_| ())
}

/// One training step: replaces cells by expressions if all `guards` (single floats, the loss first) are finite,
/// evaluates `also` in the same plan, and lets go of the graphs of both.
///
/// # Errors
/// The first error that an expression carries, or what the device says. Then nothing was replaced.
pub fn step(guards: &[&Tensor], replace: Vec<(State, Tensor)>, also: &[&Tensor]) -> Result<()> {
    step_then(guards, replace, also, |_, _, _| {})
}

/// [`step`], with a look at the graph and its plan before they are let go.
fn step_then(
    guards: &[&Tensor],
    replace: Vec<(State, Tensor)>,
    also: &[&Tensor],
    look: impl FnOnce(&Executor, &Graph, [u64; 2]),
) -> Result<()> {
    for tensor in replace
        .iter()
        .flat_map(|(state, value)| [&**state, value])
        .chain(guards.iter().copied())
        .chain(also.iter().copied())
    {
        tensor.shape()?;
    }
    let first = guards.first().or(also.first()).copied().or(replace.first().map(|(s, _)| &**s));
    let Some(device) = first.map(|t| t.0.device.clone()) else { return Ok(()) };
    let cells: Vec<Arc<Cell>> = replace.iter().filter_map(|(s, _)| s.cell().cloned()).collect();
    // a call that fails leaves what waited before still waiting, and nothing else
    let waited: Vec<Option<Pending>> = cells.iter().map(|cell| cell.content().pending.clone()).collect();
    let undo = || cells.iter().zip(&waited).for_each(|(cell, pending)| cell.content().pending.clone_from(pending));
    if let Err(error) = replace.iter().try_for_each(|(state, value)| state.replace(value, &[], false)) {
        undo();
        return Err(error);
    }
    drop(replace);
    let mut executor = device.executor();
    let guards: Vec<Tensor> = guards.iter().map(|t| t.current()).collect();
    let roots: Vec<Tensor> =
        guards.iter().cloned().chain(also.iter().map(|t| t.current())).filter(|t| t.numel() > 0).collect();
    match executor.run(&roots, cells.clone(), &guards) {
        Ok((graph, key)) => look(&executor, &graph, key),
        Err(error) => {
            undo();
            return Err(error);
        }
    }
    for root in &roots {
        root.0.links().inputs.clear();
    }
    Ok(())
}

impl Executor {
    pub(crate) fn new(gpu: &kiln_device::Device) -> Self {
        Self {
            gpu: gpu.clone(),
            plans: HashMap::new(),
            workspace: Workspace::default(),
            fusion: kiln_device::switch("KILN_FUSE", true),
            waiting: Vec::new(),
            pages: Pages::default(),
            sites: Sites::default(),
            clock: 0,
            runs: Runs::default(),
        }
    }

    pub(crate) fn set_fusion(&mut self, on: bool) {
        self.fusion = on;
    }

    pub(crate) fn clear(&mut self) {
        self.plans.clear();
        self.workspace.clear();
        self.runs.clear();
    }

    pub(crate) fn list(&self) -> Vec<PlanInfo> {
        let info = |p: &Plan| PlanInfo {
            label: p.label.clone(),
            runs: p.runs,
            nodes: p.nodes,
            dispatches: p.program.len(),
            bytes: p.memory.workspace,
            memory: p.memory.clone(),
        };
        self.plans.values().map(info).collect()
    }

    /// Remembers that a cell has a replacement waiting.
    pub(crate) fn watch(&mut self, cell: &Arc<Cell>) {
        let cell = Arc::downgrade(cell);
        if !self.waiting.iter().any(|w| Weak::ptr_eq(w, &cell)) {
            self.waiting.push(cell);
        }
    }

    /// Cells that may have a replacement waiting.
    pub(crate) fn waiting_cells(&self) -> Vec<Arc<Cell>> {
        self.waiting.iter().filter_map(Weak::upgrade).collect()
    }

    /// Tensors of no elements, and numbers of the host, need no kernel.
    fn settle_plain(&mut self, tensors: &[&Tensor]) -> Result<()> {
        for tensor in tensors.iter().map(|t| t.current()).filter(|t| t.stored().is_none()) {
            let slice = match tensor.0.op {
                _ if tensor.numel() == 0 => None,
                Op::Scalar(bits) => {
                    let slot = self.pages.slot(&self.gpu, 4)?;
                    self.gpu.write(&slot.buffer, slot.offset, &bits.to_le_bytes())?;
                    Some(slot)
                }
                _ => continue,
            };
            tensor.0.links().value = Value::Ready(Stored { slice, second: None, fault: None });
        }
        Ok(())
    }

    /// The graph of an evaluation: the roots, the cells to be replaced, and the waiting ones that belong to them.
    fn collect(&mut self, roots: &[Tensor], cells: Vec<Arc<Cell>>, guards: &[Tensor]) -> Result<(Graph, Vec<Pending>)> {
        let mut graph = Graph::new();
        for root in roots {
            let node = graph.add(root)?;
            if !graph.roots.contains(&node) {
                graph.roots.push(node);
            }
        }
        for number in guards {
            let node = graph.add(number)?;
            graph.guards.push(node);
        }
        let mut pendings = Vec::new();
        let mut open: Vec<Arc<Cell>> = Vec::new();
        self.waiting
            .retain(|w| w.upgrade().inspect(|c| open.push(c.clone())).is_some_and(|c| c.content().pending.is_some()));
        if !open.is_empty() {
            let named: HashSet<u64> = cells.iter().map(|c| c.info.id).collect();
            open.retain(|c| !named.contains(&c.info.id));
        }
        let mut due = cells;
        loop {
            for cell in due.drain(..) {
                let Some(pending) = cell.content().pending.clone() else { continue };
                let value = graph.add(&pending.value)?;
                graph.writes.push(Write { cell, value });
                pendings.push(pending);
            }
            let (ready, rest) = open.into_iter().partition(|cell: &Arc<Cell>| {
                cell.content().pending.as_ref().is_some_and(|p| {
                    p.anchors.iter().filter_map(Weak::upgrade).any(|a| graph.find(&Tensor(a)).is_some())
                })
            });
            (due, open) = (ready, rest);
            if due.is_empty() {
                break;
            }
        }
        Ok((graph, pendings))
    }

    /// Carries out the replacements that wait for cells which `concerns` names.
    fn settle_waiting(&mut self, concerns: impl Fn(&Cell) -> bool) -> Result<()> {
        let waiting: Vec<Arc<Cell>> = self.waiting.iter().filter_map(Weak::upgrade).collect();
        let due = waiting.into_iter().filter(|cell| cell.content().pending.is_some() && concerns(cell));
        let due: Vec<Arc<Cell>> = due.collect();
        if due.is_empty() { Ok(()) } else { self.run(&[], due, &[]).map(|_| ()) }
    }

    /// What is part of every plan's key: settings under which the same graph is planned differently.
    fn options(&self) -> u64 {
        let fast = self.gpu.matmul_precision() == crate::MatmulPrecision::Fast;
        u64::from(self.fusion) | u64::from(fast) << 1
    }

    fn run(&mut self, roots: &[Tensor], cells: Vec<Arc<Cell>>, guards: &[Tensor]) -> Result<(Graph, [u64; 2])> {
        let span = self.gpu.span("walk and key");
        let (mut graph, pendings) = self.collect(roots, cells, guards)?;
        let edges = count_edges(&graph, roots, &pendings, guards);
        if !graph.writes.is_empty() {
            for held in held(&graph, &edges) {
                if !graph.roots.contains(&held) {
                    graph.roots.push(held);
                }
            }
        }
        let key = graph.key(self.options());
        drop(span);
        if !self.plans.contains_key(&key) {
            let plan = match self.build(&graph) {
                Err(Error::Device(kiln_device::Error::Budget { .. } | kiln_device::Error::OutOfMemory { .. })) => {
                    // plans and their memory can be made again
                    self.clear();
                    self.gpu.trim();
                    self.build(&graph)?
                }
                built => built?,
            };
            self.evict();
            self.plans.insert(key, plan);
        }
        self.replay(key, &graph, &edges)?;
        Ok((graph, key))
    }

    /// Makes room for one more plan.
    fn evict(&mut self) {
        if self.plans.len() >= MOST_PLANS
            && let Some(oldest) = self.plans.iter().min_by_key(|(_, p)| p.used).map(|(k, _)| *k)
        {
            self.plans.remove(&oldest);
        }
    }
}
