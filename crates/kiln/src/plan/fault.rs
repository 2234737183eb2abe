//! The fault record: what a run met, and the line and layer where it met it.

use crate::Tensor;
use crate::device::WeakDevice;
use crate::error::{At, Error, Module, Result};
use crate::graph::Graph;
use crate::node::Op;
use kiln_device::{Buffer, Slice};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The faults of one group of cells. Steps change nothing while it holds one.
#[derive(Default)]
pub(crate) struct Record(Mutex<Option<Buffer>>);

impl Record {
    pub(super) fn buffer(&self, gpu: &kiln_device::Device) -> Result<Buffer> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*buffer {
            Some(buffer) => Ok(buffer.clone()),
            None => Ok(buffer.insert(gpu.zeroed(16, "fault record")?).clone()),
        }
    }

    /// The host has seen the fault: steps work again.
    fn clear(&self) {
        let buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = &*buffer {
            // a lost device is noticed by the next call that needs it
            let _ = buffer.device().write(buffer, 0, &[0; 16]);
        }
    }
}

/// The record of one run, as it was when the run ended.
pub(crate) struct Fault {
    pub(crate) slot: Slice,
    pub(super) record: Option<Arc<Record>>,
    pub(super) sites: Sites,
    /// Whose plans can be run again to find where it arose.
    pub(super) device: WeakDevice,
}

impl Fault {
    /// An error if the run met a fault.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<()> {
        let word = bytes.first_chunk::<4>().map_or(0, |w| u32::from_le_bytes(*w));
        let Some((site, row)) = kiln_device::kernels::guard::fault(word) else { return Ok(()) };
        let error = self.sites.error(site, row);
        let Some(record) = &self.record else { return Err(error) };
        // under the lock, so that no step comes between the fault and the search for it
        let device = self.device.upgrade();
        let mut executor = device.as_ref().map(|d| d.executor());
        let first = match (&mut executor, &error) {
            (Some(executor), Error::NotFinite { .. }) => executor.search(record),
            (Some(executor), _) => {
                // what these runs computed is no cause of later faults
                executor.runs.forget(record);
                None
            }
            _ => None,
        };
        record.clear();
        Err(first.unwrap_or(error))
    }
}

/// Where faults can arise: operation, line and module, numbered for the device.
#[derive(Clone, Default)]
pub(super) struct Sites(Arc<Mutex<SiteList>>);

/// File, line, operation and module.
type Site = (usize, u32, &'static str, Option<Arc<str>>);

#[derive(Default)]
struct SiteList {
    all: Vec<(&'static str, At, Option<Arc<str>>, bool)>,
    index: HashMap<Site, u32>,
}

impl Sites {
    /// The number of a node's site. Past 4094 different ones they share the last.
    pub(super) fn number(&self, tensor: &Tensor, guard: Option<usize>) -> u32 {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let node = &tensor.0;
        let op = guard.map_or(node.name, guarded);
        let key = (std::ptr::from_ref(node.at.0) as usize, node.at.line(), op, node.scope.clone());
        if let Some(&number) = list.index.get(&key) {
            return number;
        }
        let number = list.all.len().min(4093) as u32;
        if list.all.len() < 4094 {
            list.all.push((op, node.at, module_of(tensor), guard.is_some()));
            list.index.insert(key, number);
        }
        number
    }

    fn error(&self, site: u32, row: u32) -> Error {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match list.all.get(site as usize) {
            Some((op, at, module, true)) => {
                Error::NotFinite { what: op, op, backward: false, module: Module(module.clone()), at: *at }
            }
            Some((op, at, module, false)) => Error::Index { op, row, module: Module(module.clone()), at: *at },
            None => unreachable!("site {site} was never numbered"),
        }
    }
}

/// What the guard of that number looks at.
pub(super) fn guarded(number: usize) -> &'static str {
    if number == 0 { "loss" } else { "gradient norm" }
}

/// The module a node was made in: its scope, or the layer of the nearest parameter it reads.
fn module_of(tensor: &Tensor) -> Option<Arc<str>> {
    if tensor.0.scope.is_some() {
        return tensor.0.scope.clone();
    }
    tensor.inputs().iter().flat_map(|i| std::iter::once(i.clone()).chain(i.inputs())).find_map(|i| parameter(&i))
}

/// The same of a node of a graph.
pub(super) fn module_of_node(graph: &Graph, node: u32) -> Option<Arc<str>> {
    let tensor = |i: u32| &graph.nodes[i as usize].tensor;
    if tensor(node).0.scope.is_some() {
        return tensor(node).0.scope.clone();
    }
    let near = graph.inputs(node).iter().flat_map(|&i| std::iter::once(i).chain(graph.inputs(i).iter().copied()));
    near.into_iter().find_map(|i| parameter(tensor(i)))
}

/// The path of the parameter that a tensor is the content of.
fn parameter(tensor: &Tensor) -> Option<Arc<str>> {
    match &tensor.0.op {
        Op::Content(cell) => cell.name(),
        _ => None,
    }
}
