//! Steps that are found again by the graph of their loss. Its gradients and what an optimizer makes of them follow from
//! that graph, and are most of a step's nodes. So a step that was made once is run again for a loss of the same structure,
//! made on the same lines, without them: what the plan needs of them is in its [`Recipe`].

use super::hold::{count_edges, held};
use super::recipe::{Left, Recipe};
use super::{Executor, step_then};
use crate::error::Result;
use crate::graph::{Graph, GraphNode, Role, Write, content};
use crate::node::{Node, Op, Value, ascribed};
use crate::{State, Tensor, remade};
use std::sync::{Arc, Weak};

/// What came of the attempt to take a step by a recipe.
pub(crate) enum Again {
    /// It was taken.
    Taken,
    /// There is no recipe for it: make the step, and [`record_step`] it.
    New(Seen),
    /// Make the step: its graph does not say all that it depends on, or something else is to be done in it.
    Unknown,
}

/// The graph of a loss without a recipe.
pub(crate) struct Seen {
    pub(crate) key: [u64; 2],
    /// Leaves that are not cells, and numbers.
    given: Vec<Tensor>,
    results: Vec<Tensor>,
    /// The cells with replacements that belong to the graph.
    writes: Vec<u64>,
}

/// Takes a step on `loss` by the recipe that `find` has for the key of its graph; `also` are other results.
///
/// # Errors
/// What the device says. Then nothing was replaced.
pub(crate) fn step_again<'r>(
    loss: &Tensor,
    also: &[&Tensor],
    find: impl FnOnce(&[u64; 2]) -> Option<&'r mut Recipe>,
) -> Result<Again> {
    let guard = loss.current();
    let also = also.iter().map(|t| t.current()).filter(|t| t.numel() > 0);
    let roots: Vec<Tensor> = std::iter::once(guard.clone()).chain(also).collect();
    let mut executor = guard.0.device.executor();
    let again = executor.again(&roots, guard.clone(), find)?;
    if let Again::Taken = again {
        for root in &roots {
            root.0.links().inputs.clear();
        }
    }
    Ok(again)
}

/// [`super::step`], with a recipe to take it again for what was [`Seen`]: once it is worth while, and if there can be one.
/// `optimizer` are the numbers of the update.
pub(crate) fn record_step(
    seen: &Seen,
    guards: &[&Tensor],
    replace: Vec<(State, Tensor)>,
    also: &[&Tensor],
    optimizer: &[Tensor],
) -> Result<Option<Recipe>> {
    let mut named: Vec<u64> = replace.iter().map(|(state, _)| state.id()).collect();
    named.extend(&seen.writes);
    let mut recipe = None;
    step_then(guards, replace, also, |executor, graph, key| {
        // a structure that comes once needs none
        let worth = executor.plans.get(&key).is_some_and(|plan| plan.runs > 1 && plan.record.is_some());
        if worth && !graph.writes.is_empty() && graph.writes.iter().all(|w| named.contains(&w.cell.info.id)) {
            // a rewrite may have put other nodes in their place since
            let results: Vec<Tensor> = seen.results.iter().map(Tensor::current).collect();
            recipe = executor.recipe(graph, key, &results, &seen.given, optimizer);
        }
    })?;
    Ok(recipe.filter(Recipe::holds_nothing))
}

/// A key of what an optimizer makes: of which cells it replaces by which formulas. Numbers of the host are not in it.
///
/// # Errors
/// The first error that an expression carries.
pub(crate) fn formula_key(updates: &[(State, Tensor)]) -> Result<[u64; 2]> {
    let of: Vec<(u64, Tensor)> = updates.iter().map(|(state, value)| (state.id(), value.current())).collect();
    remade::key(&of, || {
        // nodes belong to one graph at a time, under the lock
        let device = updates.first().map(|(state, _)| state.device().clone());
        let _executor = device.as_ref().map(|device| device.executor());
        let mut graph = Graph::new();
        for (state, value) in updates {
            let value = graph.add(value)?;
            if let Some(cell) = state.cell() {
                graph.writes.push(Write { cell: cell.clone(), value });
            }
        }
        Ok(graph.key(0))
    })
}

/// Gives a tensor what a run left for it, as the step made in full would have done.
fn leave(tensor: &Tensor, Left { stored, cast_from }: Left) {
    let value = Value::Ready(stored);
    match cast_from {
        None => tensor.0.links().value = value,
        Some(dtype) => {
            let leaf = Node::leaf(&tensor.0.device, Op::Value, tensor.0.shape, dtype, tensor.0.at, value);
            tensor.stand_for(ascribed(tensor.origin(), || leaf.cast(tensor.0.dtype)));
        }
    }
}

impl Executor {
    fn again<'r>(
        &mut self,
        roots: &[Tensor],
        loss: Tensor,
        find: impl FnOnce(&[u64; 2]) -> Option<&'r mut Recipe>,
    ) -> Result<Again> {
        let span = self.gpu.span("walk and key");
        let guards = [loss];
        // whatever is wrong, the step itself says it
        let Ok((mut graph, pendings)) = self.collect(roots, Vec::new(), &guards) else { return Ok(Again::Unknown) };
        let edges = count_edges(&graph, roots, &pendings, &guards);
        for held in held(&graph, &edges) {
            if !graph.roots.contains(&held) {
                graph.roots.push(held);
            }
        }
        let computed = graph.roots.iter().all(|&root| graph.role(root) == Role::Compute);
        let Some(key) = graph.key_with_origin(self.options()).filter(|_| computed) else { return Ok(Again::Unknown) };
        drop(span);
        let comes_anew = |node: &&GraphNode| match node.role {
            Role::Leaf => content(&node.tensor).is_none(),
            Role::Scalar => true,
            _ => false,
        };
        let given: Vec<Tensor> = graph.nodes.iter().filter(comes_anew).map(|node| node.tensor.clone()).collect();
        let taken = match find(&key) {
            Some(recipe) if !self.stands(recipe, &graph) => return Ok(Again::Unknown),
            Some(recipe) => self.rerun(recipe, &given, Some((&graph, &edges)))?,
            None => None,
        };
        let Some(results) = taken else {
            let results = graph.roots.iter().map(|&root| graph.nodes[root as usize].tensor.clone()).collect();
            let writes = graph.writes.iter().map(|write| write.cell.info.id).collect();
            return Ok(Again::New(Seen { key, given, results, writes }));
        };
        for (&root, left) in graph.roots.iter().zip(results) {
            leave(&graph.nodes[root as usize].tensor, left);
        }
        Ok(Again::Taken)
    }

    /// Whether a step by the recipe would do all that the step does on this graph: no other replacement waits for it, and
    /// the plan knows the lines of its guards.
    fn stands(&self, recipe: &Recipe, graph: &Graph) -> bool {
        let device = &graph.nodes[0].tensor.0.device;
        let known =
            self.plans.get(&recipe.key).is_none_or(|plan| plan.blueprint.as_ref().is_none_or(|b| b.is_of(graph)));
        let waits = self.waiting.iter().filter_map(Weak::upgrade).any(|cell| {
            let content = cell.content();
            let Some(pending) = &content.pending else { return false };
            let concerns = |node: Arc<Node>| matches!(&node.op, Op::Content(cell) if recipe.concerns(cell.id));
            !graph.writes.iter().any(|write| Arc::ptr_eq(&write.cell, &cell))
                && (recipe.concerns(cell.info.id) || pending.anchors.iter().filter_map(Weak::upgrade).any(concerns))
        });
        known && !waits && recipe.device.same(device)
    }
}
