//! Recipes: what a plan needs of the graph that it was run for, so that it can be run again without one.

use super::hold::copy_old;
use super::search::Run;
use super::{Executor, Word};
use crate::cell::{Cell, CellInfo};
use crate::error::Result;
use crate::graph::{Graph, Role};
use crate::node::{Op, Stored};
use crate::{DType, Device, Tensor};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A step to be run again: the plan, where its inputs come from, and the numbers that travel with it.
pub(crate) struct Recipe {
    pub(super) device: Device,
    pub(super) key: [u64; 2],
    /// No other recipe's number: a plan knows whose words it holds.
    id: u64,
    options: u64,
    /// What the plan reads beside the cells that it has bound: which leaf, and where its elements come from.
    leaves: Vec<(usize, Source)>,
    words: Vec<u32>,
    /// Words that the plan may not have yet, though it has the others.
    changed: Vec<usize>,
    /// Words that are numbers of the optimizer: which word, which number.
    numbers: Vec<(usize, usize)>,
    /// Words that are numbers of what is given: which word, which tensor.
    given: Vec<(usize, usize)>,
    /// The numbers by their nodes, for the search for what is not finite.
    scalars: Arc<[(u32, u32)]>,
    /// Which of `scalars` a word is.
    scalar_of: Vec<Option<usize>>,
    pub(super) writes: Vec<Arc<Cell>>,
    /// The cells that it reads, and whether they were trainable.
    pub(super) reads: Vec<(Arc<CellInfo>, bool)>,
    /// What is asked for of the plan.
    results: Vec<Asked>,
}

/// A result, and which output of the plan it is.
struct Asked {
    output: usize,
    /// The plan's type, where the result is that output in another one.
    cast_from: Option<DType>,
}

/// What a run left for a result.
pub(super) struct Left {
    pub(super) stored: Stored,
    /// The type of the elements, where the result is to be a cast of them.
    pub(super) cast_from: Option<DType>,
}

/// Where a leaf's elements come from.
enum Source {
    /// A tensor that comes anew with each step.
    Given(usize),
    /// A tensor that the step's function brought along.
    Held(Tensor),
}

impl Recipe {
    /// Takes the optimizer's numbers anew: as many as there were.
    pub(crate) fn renumber(&mut self, numbers: &[Tensor]) {
        for at in 0..self.numbers.len() {
            let (word, number) = self.numbers[at];
            if let Op::Scalar(bits) = numbers[number].0.op
                && bits != self.words[word]
            {
                self.set_word(word, bits);
            }
        }
    }

    fn set_word(&mut self, word: usize, bits: u32) {
        self.words[word] = bits;
        self.changed.push(word);
        if let Some(at) = self.scalar_of[word] {
            Arc::make_mut(&mut self.scalars)[at].1 = bits;
        }
    }

    /// Whether it has to do with the cell of this number.
    pub(super) fn concerns(&self, cell: u64) -> bool {
        self.writes.iter().any(|c| c.info.id == cell) || self.reads.iter().any(|(c, _)| c.id == cell)
    }

    /// Whether everything that it reads is given, or lies in cells.
    pub(super) fn holds_nothing(&self) -> bool {
        self.leaves.iter().all(|(_, source)| matches!(source, Source::Given(_)))
    }
}

/// The node that a tensor is made from in a graph: its own one, or that which it casts. A rewrite puts a cast in the place
/// of what the program holds; nobody has asked for it yet, so the graph ends before it.
fn asked_of(graph: &Graph, tensor: &Tensor) -> Option<(u32, Option<DType>)> {
    match graph.find(tensor) {
        None if matches!(tensor.0.op, Op::Cast) => {
            let from = tensor.inputs().into_iter().next()?;
            Some((graph.find(&from)?, Some(from.dtype())))
        }
        found => Some((found?, None)),
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Executor {
    /// What it takes to run again what was just run: for the results `wanted`, with other tensors in the place of
    /// `given`. There is no recipe where a result is not computed by the step, or where the step computed what later
    /// ones will find in memory.
    pub(super) fn recipe(
        &self,
        graph: &Graph,
        key: [u64; 2],
        wanted: &[Tensor],
        given: &[Tensor],
        optimizer: &[Tensor],
    ) -> Option<Recipe> {
        let plan = self.plans.get(&key)?;
        let places = |tensors: &[Tensor]| -> HashMap<u32, usize> {
            tensors.iter().enumerate().rev().filter_map(|(at, t)| Some((graph.find(t)?, at))).collect()
        };
        let (given, optimizer) = (places(given), places(optimizer));
        let found: Option<Vec<(u32, Option<DType>)>> = wanted.iter().map(|tensor| asked_of(graph, tensor)).collect();
        let found = found?;
        let result = |&(node, cast_from): &(u32, Option<DType>)| {
            let output = graph.roots.iter().position(|&r| r == node)?;
            plan.outputs[output].first().map(|_| Asked { output, cast_from })
        };
        let results: Option<Vec<Asked>> = found.iter().map(result).collect();
        // results that nobody asked for were held by the program: the next step will find them in memory
        let asked: Vec<u32> = found.iter().map(|(node, _)| *node).chain(graph.guards.iter().copied()).collect();
        if graph.roots.iter().any(|&r| graph.role(r) == Role::Compute && !asked.contains(&r)) {
            return None;
        }
        let leaves = plan.leaves.iter().enumerate().filter_map(|(at, leaf)| {
            let tensor = &graph.nodes[leaf.node as usize].tensor;
            match (given.get(&leaf.node), &tensor.0.op) {
                (Some(&which), _) => Some((at, Source::Given(which))),
                (None, Op::Content(cell)) if cell.lies_in(&leaf.bound) => None,
                _ => Some((at, Source::Held(tensor.clone()))),
            }
        });
        let leaves = leaves.collect();
        let (mut words, mut numbers, mut changing) = (Vec::new(), Vec::new(), Vec::new());
        let (mut scalars, mut scalar_of) = (Vec::new(), Vec::new());
        for (at, &(.., word)) in plan.words.iter().enumerate() {
            let bits = self.bits(word, graph);
            words.push(bits);
            scalar_of.push(matches!(word, Word::Scalar(_)).then_some(scalars.len()));
            let Word::Scalar(node) = word else { continue };
            scalars.push((node, bits));
            if let Some(&number) = optimizer.get(&node) {
                numbers.push((at, number));
            } else if let Some(&which) = given.get(&node) {
                changing.push((at, which));
            }
        }
        let reads = graph.nodes.iter().filter_map(|n| match &n.tensor.0.op {
            Op::Content(cell) => Some((cell.clone(), cell.trainable())),
            _ => None,
        });
        Some(Recipe {
            device: graph.nodes.first()?.tensor.0.device.clone(),
            key,
            id: next_id(),
            options: self.options(),
            leaves,
            words,
            changed: Vec::new(),
            numbers,
            given: changing,
            scalars: scalars.into(),
            scalar_of,
            writes: graph.writes.iter().map(|w| w.cell.clone()).collect(),
            reads: reads.collect(),
            results: results?,
        })
    }

    /// Runs a recipe with other tensors, which are in memory, and gives its results. `walked` is the part of the step's
    /// graph that was made anew, and how often each of its nodes is known to be held. `None` if the plan is gone.
    pub(super) fn rerun(
        &mut self,
        recipe: &mut Recipe,
        given: &[Tensor],
        walked: Option<(&Graph, &[usize])>,
    ) -> Result<Option<Vec<Left>>> {
        let _span = self.gpu.span("encode");
        let options = self.options();
        self.clock += 1;
        let Some(plan) = self.plans.get_mut(&recipe.key).filter(|_| options == recipe.options) else { return Ok(None) };
        (plan.used, plan.runs) = (self.clock, plan.runs + 1);
        let (mut before, mut inputs) = (Vec::new(), Vec::new());
        for (at, source) in &recipe.leaves {
            let tensor = match source {
                Source::Given(which) => &given[*which],
                Source::Held(tensor) => tensor,
            };
            if let Some(Stored { slice: Some(slice), .. }) = tensor.stored() {
                plan.bind(&self.gpu, *at, &slice, &mut before, &mut inputs)?;
            }
        }
        for at in 0..recipe.given.len() {
            let (word, which) = recipe.given[at];
            if let Op::Scalar(bits) = given[which].0.op
                && bits != recipe.words[word]
            {
                recipe.set_word(word, bits);
            }
        }
        let changed = std::mem::take(&mut recipe.changed);
        let all = plan.words_of != recipe.id;
        plan.words_of = recipe.id;
        for at in if all { (0..recipe.words.len()).collect() } else { changed } {
            let (step, offset, _) = plan.words[at];
            plan.program.set_param(step, offset, recipe.words[at].to_le_bytes());
        }
        // contents that somebody holds are copied first, as in any step
        let mut replaced = Vec::new();
        for cell in &recipe.writes {
            let content = cell.content();
            let met = walked.and_then(|(graph, edges)| Some(edges[graph.find(&content.leaf)? as usize]));
            let wanted = Arc::strong_count(&content.leaf.0) > 1 + met.unwrap_or(0);
            if wanted || met.is_some() || content.pending.is_some() {
                let leaf = content.leaf.clone();
                drop(content);
                let copy = if wanted { copy_old(&self.gpu, cell, &mut before)? } else { None };
                replaced.push((cell, leaf, copy));
            }
        }
        let mut after = Vec::new();
        let record = recipe.writes.first().map(|cell| cell.info.record.clone());
        let fault = plan.fault(&recipe.device, &mut self.pages, &self.sites, record, &mut after)?;
        let mut results = Vec::new();
        for &Asked { output, cast_from } in &recipe.results {
            let output = &plan.outputs[output];
            let (slice, second) = plan.result(output, fault.as_deref(), &self.gpu, &mut self.pages, &mut after)?;
            results.push(Left { stored: Stored { slice: Some(slice), second, fault: fault.clone() }, cast_from });
        }
        plan.program.run(&before, &[], &after)?;
        for (cell, old, copy) in replaced {
            cell.replaced(&old, copy);
        }
        if let (Some(_), Some(cell)) = (&plan.blueprint, recipe.writes.first()) {
            let (record, numbers) = (cell.info.record.clone(), recipe.scalars.clone());
            self.runs.add(Run { plan: recipe.key, record, inputs, numbers });
        }
        Ok(Some(results))
    }
}
