//! Running a plan that was found: its inputs are brought to where it reads them, and its results handed out.

use super::fault::{Fault, Record, Sites};
use super::hold::{replace, save_old};
use super::results::Pages;
use super::search::{Blueprint, Run};
use super::{Executor, Output, Plan, copy_of};
use crate::Device;
use crate::emit::Word;
use crate::error::Result;
use crate::graph::Graph;
use crate::node::{Op, Stored, Value};
use kiln_device::{Buffer, Copy, Slice};
use std::sync::Arc;

impl Executor {
    /// A word of a plan's parameters, as the graph has it.
    pub(super) fn bits(&self, word: Word, graph: &Graph) -> u32 {
        match word {
            Word::Fixed(bits) => bits,
            Word::Scalar(node) => match graph.op(node) {
                Op::Scalar(bits) => *bits,
                other => unreachable!("{} is no number of the host", other.name()),
            },
            Word::Site(node) => self.sites.number(&graph.nodes[node as usize].tensor, None),
            Word::Guard(number) => {
                let node = graph.guards[number];
                self.sites.number(&graph.nodes[node as usize].tensor, Some(number))
            }
        }
    }

    /// Runs a plan on the leaves, numbers and cells of `graph`, and hands out the results.
    pub(super) fn replay(&mut self, key: [u64; 2], graph: &Graph, edges: &[usize]) -> Result<()> {
        let _span = self.gpu.span("encode");
        self.clock += 1;
        let Some(plan) = self.plans.get_mut(&key) else { unreachable!("the plan was found or made") };
        (plan.used, plan.runs) = (self.clock, plan.runs + 1);
        let mut before = Vec::new();
        let mut inputs_fault = None;
        let (mut inputs, mut numbers) = (Vec::new(), Vec::new());
        for at in 0..plan.leaves.len() {
            let stored = graph.nodes[plan.leaves[at].node as usize].tensor.stored();
            let Some(Stored { slice: Some(slice), fault, .. }) = stored else { continue };
            inputs_fault = inputs_fault.or(fault);
            plan.bind(&self.gpu, at, &slice, &mut before, &mut inputs)?;
        }
        let words: Vec<u32> = self.plans[&key].words.iter().map(|&(.., word)| self.bits(word, graph)).collect();
        let Some(plan) = self.plans.get_mut(&key) else { unreachable!("the plan was found or made") };
        plan.words_of = 0;
        for (&(step, offset, word), bits) in plan.words.iter().zip(words) {
            if let Word::Scalar(node) = word {
                numbers.push((node, bits));
            }
            plan.program.set_param(step, offset, bits.to_le_bytes());
        }
        // before the cells are replaced, which the blueprint reads
        if let Some(blueprint) = plan.blueprint.as_mut().filter(|b| !b.is_of(graph)) {
            *blueprint = Blueprint::new(&self.gpu, graph);
        }
        let saved = save_old(&self.gpu, graph, edges, &mut before)?;
        let mut after = Vec::new();
        let record = graph.writes.first().map(|w| w.cell.info.record.clone());
        let device = &graph.nodes[0].tensor.0.device;
        let fault = plan.fault(device, &mut self.pages, &self.sites, record, &mut after)?.or(inputs_fault);
        let mut results = Vec::new();
        for (&root, output) in graph.roots.iter().zip(&plan.outputs) {
            if output.is_empty() {
                continue;
            }
            let (slice, second) = plan.result(output, fault.as_deref(), &self.gpu, &mut self.pages, &mut after)?;
            results.push((root, slice, second));
        }
        let clears: Vec<Buffer> = plan.record.iter().filter(|_| plan.own_record).cloned().collect();
        plan.program.run(&before, &clears, &after)?;
        for (root, slice, second) in results {
            let value = Value::Ready(Stored { slice: Some(slice), second, fault: fault.clone() });
            graph.nodes[root as usize].tensor.0.links().value = value;
        }
        replace(graph, saved);
        if let (Some(_), Some(write)) = (&plan.blueprint, graph.writes.first()) {
            self.runs.add(Run { plan: key, record: write.cell.info.record.clone(), inputs, numbers: numbers.into() });
        }
        Ok(())
    }
}

impl Plan {
    /// Brings a leaf's elements to where the program reads them: they are bound where they are until they change,
    /// and copied to a buffer of the plan's own from then on.
    pub(super) fn bind(
        &mut self,
        gpu: &kiln_device::Device,
        leaf: usize,
        slice: &Slice,
        before: &mut Vec<Copy>,
        inputs: &mut Vec<(u32, Slice)>,
    ) -> Result<()> {
        let leaf = &mut self.leaves[leaf];
        if !leaf.cell && self.blueprint.is_some() {
            inputs.push((leaf.node, slice.clone()));
        }
        if !leaf.own && leaf.bound != slice.buffer {
            let own = gpu.alloc(slice.bytes, "input")?;
            self.program.rebind(&leaf.bound, &own)?;
            (leaf.bound, leaf.own) = (own, true);
        }
        if leaf.own {
            before.push(copy_of(slice, &leaf.bound));
        }
        Ok(())
    }

    /// Where this run's fault record will be, if it keeps one.
    pub(super) fn fault(
        &self,
        device: &Device,
        pages: &mut Pages,
        sites: &Sites,
        record: Option<Arc<Record>>,
        after: &mut Vec<Copy>,
    ) -> Result<Option<Arc<Fault>>> {
        let Some(buffer) = &self.record else { return Ok(None) };
        let slot = pages.slot(device.gpu(), 16)?;
        let (to, to_offset) = (slot.buffer.clone(), slot.offset);
        after.push(Copy { from: buffer.clone(), from_offset: 0, to, to_offset, bytes: 16 });
        Ok(Some(Arc::new(Fault { slot, record, sites: sites.clone(), device: device.downgrade() })))
    }

    /// Memory for one of its outputs, and for the second result of that kernel; what lies in the fault record is copied
    /// with it.
    pub(super) fn result(
        &self,
        output: &[Output],
        fault: Option<&Fault>,
        gpu: &kiln_device::Device,
        pages: &mut Pages,
        after: &mut Vec<Copy>,
    ) -> Result<(Slice, Option<Slice>)> {
        match (output, fault) {
            ([Output { first, .. }], Some(Fault { slot, .. })) if Some(&first.buffer) == self.record.as_ref() => {
                let (buffer, offset) = (slot.buffer.clone(), slot.offset + first.offset);
                Ok((Slice { buffer, offset, bytes: first.bytes }, None))
            }
            _ => pages.hand_out_all(gpu, output, after),
        }
    }
}
