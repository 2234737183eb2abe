//! Whose line and module a node belongs to, and what is computed again for its gradients: what is said of all nodes
//! that a piece of code makes.

use crate::Tensor;
use crate::error::At;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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

/// What a node tells of its making.
pub(super) struct Made {
    pub(super) at: At,
    pub(super) scope: Option<Arc<str>>,
    pub(super) name: &'static str,
    pub(super) again: u32,
}

impl Made {
    /// What a node of the operation `op` tells that is made now, by the line `here` if nothing else is said.
    pub(super) fn here(here: At, op: &'static str) -> Self {
        ORIGIN.with(|o| {
            let Origin { at, scope, op: composed, again } = &*o.borrow();
            Self { at: at.unwrap_or(here), scope: scope.clone(), name: composed.unwrap_or(op), again: *again }
        })
    }
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

/// The module that nodes made now belong to.
pub(super) fn scope() -> Option<Arc<str>> {
    ORIGIN.with(|o| o.borrow().scope.clone())
}

impl Tensor {
    /// The line that nodes made now belong to.
    pub(crate) fn origin_at(here: At) -> At {
        ORIGIN.with(|o| o.borrow().at).unwrap_or(here)
    }

    /// Where and in which module it was made, for nodes that derive from it.
    pub(crate) fn origin(&self) -> Origin {
        Origin { at: Some(self.0.at), scope: self.0.scope.clone(), op: Some(self.0.name), again: self.0.again }
    }
}
