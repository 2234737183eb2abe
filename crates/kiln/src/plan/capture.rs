//! Steps that are recorded once and run again without their graph: what a plan needs of it, and nothing else.

use super::hold::copy_old;
use super::search::Run;
use super::{Executor, Word};
use crate::cell::{Cell, CellInfo};
use crate::error::{At, Result};
use crate::graph::{Graph, Role};
use crate::node::{Node, Op, Stored, Value};
use crate::trace::Notes;
use crate::{DType, Device, Shape, State, Tensor};
use std::sync::Arc;

/// A step to be run again: the plan, where its inputs come from, and the numbers that travel with it.
pub(crate) struct Recipe {
    device: Device,
    key: [u64; 2],
    /// No other recipe's number: a plan knows whose words it holds.
    id: u64,
    options: u64,
    batch: Vec<Kind>,
    leaves: Vec<Source>,
    words: Vec<u32>,
    /// Words that are numbers of the optimizer: which word, which number.
    numbers: Vec<(usize, usize)>,
    /// Words that are numbers of the batch: which word, which tensor.
    given: Vec<(usize, usize)>,
    /// The numbers by their nodes, for the search for what is not finite.
    scalars: Arc<[(u32, u32)]>,
    /// Which of `scalars` a word is.
    scalar_of: Vec<Option<usize>>,
    writes: Vec<Arc<Cell>>,
    /// The cells that it reads, and whether they were trainable.
    reads: Vec<(Arc<CellInfo>, bool)>,
    notes: Notes,
    results: Vec<Wanted>,
}

/// What a tensor of the batch is to the plan.
#[derive(PartialEq)]
struct Kind {
    shape: Shape,
    dtype: DType,
    /// A number of the host, not an array.
    number: bool,
}

/// Where a leaf's elements come from.
enum Source {
    Batch(usize),
    /// A tensor that the step's function brought along.
    Held(Tensor),
    /// A cell, which is bound where it is.
    Cell,
}

/// A result that the caller gets.
struct Wanted {
    /// Which output of the plan.
    output: usize,
    shape: Shape,
    dtype: DType,
    at: At,
}

fn kind(tensor: &Tensor) -> Kind {
    let number = matches!(tensor.0.op, Op::Scalar(_));
    Kind { shape: tensor.0.shape, dtype: tensor.0.dtype, number }
}

/// [`super::step`], recorded: the recipe to run it again with another batch. There is none where a result is not
/// computed by the step, or where the step computed what later ones will find in memory.
///
/// `notes` are what was noted while the step was made; the last `numbers` of its numbers are the optimizer's.
pub(crate) fn capture_step(
    guards: &[&Tensor],
    replace: Vec<(State, Tensor)>,
    also: &[&Tensor],
    batch: &[Tensor],
    notes: Notes,
    optimizer: &[Tensor],
) -> Result<Option<Recipe>> {
    let wanted: Vec<Tensor> = guards.iter().take(1).chain(also).map(|t| t.current()).collect();
    let mut recipe = None;
    super::step_then(guards, replace, also, |executor, graph, key| {
        recipe = executor.recipe(graph, key, &wanted, batch, notes, optimizer);
    })?;
    Ok(recipe)
}

impl Recipe {
    /// Whether the step would be made in the same way for `batch`.
    pub(crate) fn fits(&self, batch: &[Tensor]) -> bool {
        self.batch.len() == batch.len()
            && self.batch.iter().zip(batch).all(|(known, tensor)| *known == kind(tensor))
            && self.notes.hold()
            && self.reads.iter().all(|(cell, was)| cell.trainable() == *was)
    }

    /// Takes the optimizer's numbers anew; false if there is not the same count of them.
    pub(crate) fn renumber(&mut self, numbers: &[Tensor], count: usize) -> bool {
        if numbers.len() != count {
            return false;
        }
        for at in 0..self.numbers.len() {
            let (word, number) = self.numbers[at];
            if let Op::Scalar(bits) = numbers[number].0.op {
                self.set_word(word, bits);
            }
        }
        self.id = next_id();
        true
    }

    fn set_word(&mut self, word: usize, bits: u32) {
        self.words[word] = bits;
        if let Some(at) = self.scalar_of[word] {
            Arc::make_mut(&mut self.scalars)[at].1 = bits;
        }
    }

    /// Runs the step with another batch, whose tensors are in memory. `None` if its plan is gone: record it again.
    pub(crate) fn run(&mut self, batch: &[Tensor]) -> Result<Option<Vec<Tensor>>> {
        let device = self.device.clone();
        let mut executor = device.executor();
        let known = |cell: &Cell| {
            self.writes.iter().any(|c| c.info.id == cell.info.id)
                || self.reads.iter().any(|(c, _)| c.id == cell.info.id)
        };
        executor.settle_waiting(known)?;
        executor.rerun(self, batch)
    }
}

fn next_id() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Executor {
    /// What it takes to run again what was just run.
    fn recipe(
        &self,
        graph: &Graph,
        key: [u64; 2],
        wanted: &[Tensor],
        batch: &[Tensor],
        notes: Notes,
        optimizer: &[Tensor],
    ) -> Option<Recipe> {
        let plan = self.plans.get(&key)?;
        let node_of = |tensor: &Tensor| graph.find(tensor);
        let place = |i: u32| batch.iter().position(|t| node_of(t) == Some(i));
        let results: Option<Vec<Wanted>> = wanted
            .iter()
            .map(|tensor| {
                let node = node_of(tensor)?;
                let output = graph.roots.iter().position(|&r| r == node)?;
                plan.outputs[output].first()?;
                Some(Wanted { output, shape: tensor.0.shape, dtype: tensor.0.dtype, at: tensor.0.at })
            })
            .collect();
        // results that nobody asked for were held by the program: the next step will find them in memory
        let mut asked: Vec<Option<u32>> = wanted.iter().map(node_of).collect();
        asked.extend(graph.guards.iter().map(|&g| Some(g)));
        if graph.roots.iter().any(|&r| graph.role(r) == Role::Compute && !asked.contains(&Some(r))) {
            return None;
        }
        let leaves = plan.leaves.iter().map(|leaf| {
            let tensor = &graph.nodes[leaf.node as usize].tensor;
            match (place(leaf.node), &tensor.0.op) {
                (Some(at), _) => Source::Batch(at),
                (None, Op::Content(cell)) if cell.lies_in(&leaf.bound) => Source::Cell,
                _ => Source::Held(tensor.clone()),
            }
        });
        let leaves = leaves.collect();
        let (mut words, mut numbers, mut given) = (Vec::new(), Vec::new(), Vec::new());
        let (mut scalars, mut scalar_of) = (Vec::new(), Vec::new());
        for (at, &(.., word)) in plan.words.iter().enumerate() {
            let bits = self.bits(word, graph);
            words.push(bits);
            scalar_of.push(matches!(word, Word::Scalar(_)).then_some(scalars.len()));
            let Word::Scalar(node) = word else { continue };
            scalars.push((node, bits));
            let tensor = &graph.nodes[node as usize].tensor;
            if let Some(number) = optimizer.iter().position(|t| t.id() == tensor.id()) {
                numbers.push((at, number));
            } else if let Some(which) = place(node) {
                given.push((at, which));
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
            batch: batch.iter().map(kind).collect(),
            leaves,
            words,
            scalars: scalars.into(),
            scalar_of,
            numbers,
            given,
            writes: graph.writes.iter().map(|w| w.cell.clone()).collect(),
            reads: reads.collect(),
            notes: Notes { modes: notes.modes, numbers: Vec::new() },
            results: results?,
        })
    }

    fn rerun(&mut self, recipe: &mut Recipe, batch: &[Tensor]) -> Result<Option<Vec<Tensor>>> {
        let options = self.options();
        self.clock += 1;
        let Some(plan) = self.plans.get_mut(&recipe.key).filter(|_| options == recipe.options) else { return Ok(None) };
        (plan.used, plan.runs) = (self.clock, plan.runs + 1);
        let (mut before, mut inputs) = (Vec::new(), Vec::new());
        for (at, source) in recipe.leaves.iter().enumerate() {
            let tensor = match source {
                Source::Batch(which) => &batch[*which],
                Source::Held(tensor) => tensor,
                Source::Cell => continue,
            };
            if let Some(Stored { slice: Some(slice), .. }) = tensor.stored() {
                plan.bind(&self.gpu, at, &slice, &mut before, &mut inputs)?;
            }
        }
        if plan.words_of != recipe.id {
            plan.words_of = recipe.id;
            for (&(step, offset, _), bits) in plan.words.iter().zip(&recipe.words) {
                plan.program.set_param(step, offset, bits.to_le_bytes());
            }
        }
        for at in 0..recipe.given.len() {
            let (word, which) = recipe.given[at];
            if let Op::Scalar(bits) = batch[which].0.op {
                let (step, offset, _) = plan.words[word];
                plan.program.set_param(step, offset, bits.to_le_bytes());
                recipe.set_word(word, bits);
            }
        }
        // contents that somebody holds are copied first, as in any step
        let mut kept = Vec::new();
        for cell in &recipe.writes {
            let content = cell.content();
            if Arc::strong_count(&content.leaf.0) > 1 {
                let leaf = content.leaf.clone();
                drop(content);
                kept.push((cell, copy_old(&self.gpu, cell, &mut before)?, leaf));
            }
        }
        let mut after = Vec::new();
        let record = recipe.writes.first().map(|cell| cell.info.record.clone());
        let fault = plan.fault(&recipe.device, &mut self.pages, &self.sites, record, &mut after)?;
        let mut results = Vec::new();
        for wanted in &recipe.results {
            let output = plan.outputs[wanted.output].iter().map(|o| &o.first);
            let slice = self.pages.hand_out(&self.gpu, output, &mut after)?;
            let value = Value::Ready(Stored { slice: Some(slice), second: None, fault: fault.clone() });
            results.push(Node::leaf(&recipe.device, Op::Value, wanted.shape, wanted.dtype, wanted.at, value));
        }
        plan.program.run(&before, &[], &after)?;
        for (cell, slice, old) in kept {
            old.0.links().value = match slice {
                Some(slice) => Value::Ready(Stored { slice: Some(slice), second: None, fault: None }),
                None => Value::Stale,
            };
            let leaf = cell.new_leaf(old.0.at);
            cell.content().leaf = leaf;
        }
        if let (Some(_), Some(cell)) = (&plan.blueprint, recipe.writes.first()) {
            let (record, numbers) = (cell.info.record.clone(), recipe.scalars.clone());
            self.runs.add(Run { plan: recipe.key, record, inputs, numbers });
        }
        Ok(Some(results))
    }
}
