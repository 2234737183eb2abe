//! Formulas that are made again to see which numbers the host has put in them. As long as a function makes node for node
//! what it made before, it is given the nodes of then, so that nothing is allocated, hashed or walked; what differs in a
//! number only has other numbers, and anything else is another formula.

use crate::node::{Op, Stored, Value};
use crate::{DType, Shape, Tensor};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};

/// What a function makes.
#[derive(Default)]
pub(crate) struct Formula {
    made: Vec<Made>,
    keys: Vec<Key>,
    outside: Vec<Tensor>,
    /// It can be followed.
    whole: bool,
}

/// A node, and what it was made from.
struct Made {
    /// It stands for the node: the same operation, without inputs, so that it holds nothing.
    node: Tensor,
    inputs: SmallVec<[Place; 3]>,
}

/// A key that was asked for: of what in the place of which cells.
struct Key {
    of: Vec<(u64, Place)>,
    key: [u64; 2],
}

/// What an operand is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// A node of the formula.
    Made(usize),
    /// The content of a cell, whatever it is now.
    Cell(u64),
    /// A tensor of no memory from outside, by its address; the formula keeps it.
    Outside(usize),
}

/// A formula that is being made.
struct Making {
    formula: Formula,
    /// How many nodes and keys have come so far, where it is made again.
    again: Option<[usize; 2]>,
    /// It is not what it was.
    other: bool,
}

thread_local! {
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
    static MAKING: RefCell<Option<Making>> = const { RefCell::new(None) };
}

impl Formula {
    /// Runs `body`, which makes the formula.
    pub(crate) fn make<T>(&mut self, body: impl Fn() -> T) -> T {
        if self.whole {
            let (result, making) =
                run(Making { formula: std::mem::take(self), again: Some([0, 0]), other: false }, &body);
            let ends = [making.formula.made.len(), making.formula.keys.len()];
            if !making.other && making.again == Some(ends) {
                *self = making.formula;
                return result;
            }
        }
        let (result, making) = run(Making { formula: Formula::default(), again: None, other: false }, &body);
        if !making.other {
            *self = making.formula;
            self.let_go();
        }
        result
    }
}

fn run<T>(making: Making, body: impl Fn() -> T) -> (T, Making) {
    struct Restore(Option<Making>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACTIVE.set(self.0.is_some());
            MAKING.with(|m| m.replace(self.0.take()));
        }
    }
    let _restore = Restore(MAKING.with(|m| m.replace(Some(making))));
    ACTIVE.set(true);
    let result = body();
    let making = MAKING.with(|m| m.borrow_mut().take());
    (result, making.unwrap_or_else(|| unreachable!("it was put there")))
}

/// Does something with the formula that is being made.
fn with<T>(does: impl FnOnce(&mut Making) -> Option<T>) -> Option<T> {
    if !ACTIVE.get() {
        return None;
    }
    MAKING.with(|m| m.borrow_mut().as_mut().and_then(does))
}

/// The node that the formula has here, if it is this one again.
pub(crate) fn known(op: &Op, inputs: &[Tensor], shape: Shape, dtype: DType) -> Option<Tensor> {
    with(|making| {
        let [at, _] = making.again.filter(|_| !making.other)?;
        let made = making.formula.made.get(at);
        let same = made.is_some_and(|made| {
            let node = &made.node.0;
            (node.shape, node.dtype) == (shape, dtype)
                && node.op.same(op)
                && made.inputs.len() == inputs.len()
                && made.inputs.iter().zip(inputs).all(|(from, input)| making.formula.is(*from, input))
        });
        if !same {
            // a number of the host may be another one: then its leaf follows
            making.other = !made.is_some_and(|made| made.is_number(op, dtype));
            return None;
        }
        making.again = making.again.map(|[at, keys]| [at + 1, keys]);
        made.map(|made| made.node.clone())
    })
}

/// A node was made.
pub(crate) fn note(node: &Tensor) {
    with(|making| {
        let (Op::Invalid(_) | Op::Value | Op::Handle(_) | Op::Content(_)) = &node.0.op else {
            return making.note(node);
        };
        making.other |= !matches!(node.0.op, Op::Content(_)); // contents are found by their cells
        None
    });
}

/// The key that was asked for here, if it is the same again; else that which `find` makes of it.
pub(crate) fn key<E>(of: &[(u64, Tensor)], find: impl FnOnce() -> Result<[u64; 2], E>) -> Result<[u64; 2], E> {
    let from: Option<Vec<(u64, Place)>> = with(|making| {
        let place = |(cell, value): &(u64, Tensor)| Some((*cell, making.formula.place(value)?));
        let from = of.iter().map(place).collect();
        making.other |= Option::is_none(&from);
        from
    });
    let known = with(|making| {
        let [made, at] = making.again.filter(|_| !making.other)?;
        let known = making.formula.keys.get(at).filter(|key| Some(&key.of) == from.as_ref()).map(|key| key.key);
        making.other = known.is_none();
        making.again = Some([made, at + 1]);
        known
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let key = find()?;
    with(|making| {
        let of = from.filter(|_| making.again.is_none())?;
        making.formula.keys.push(Key { of, key });
        Some(())
    });
    Ok(key)
}

impl Formula {
    fn is(&self, from: Place, tensor: &Tensor) -> bool {
        match from {
            Place::Made(at) => self.made[at].node.id() == tensor.id(),
            Place::Cell(id) => matches!(&tensor.0.op, Op::Content(cell) if cell.id == id),
            Place::Outside(id) => id == tensor.id(),
        }
    }

    /// What a tensor is to the formula; `None` for one that it cannot keep.
    fn place(&self, tensor: &Tensor) -> Option<Place> {
        if let Op::Content(cell) = &tensor.0.op {
            return Some(Place::Cell(cell.id));
        }
        if let Some(at) = self.made.iter().rposition(|made| made.node.id() == tensor.id()) {
            return Some(Place::Made(at));
        }
        let nothing = matches!(tensor.0.links().value, Value::Ready(Stored { slice: None, .. }));
        nothing.then_some(Place::Outside(tensor.id()))
    }

    /// Nodes that stand for its own take their place, so that it holds no contents.
    fn let_go(&mut self) {
        for Made { node, inputs } in self.made.iter_mut().filter(|made| !made.inputs.is_empty()) {
            self.outside.extend(
                node.inputs()
                    .into_iter()
                    .zip(inputs)
                    .filter_map(|(input, from)| matches!(from, Place::Outside(_)).then_some(input)),
            );
            let crate::node::Node { device, op, shape, dtype, .. } = &*node.0;
            *node = node.twin(device, op.clone(), *shape, *dtype, Value::Pending);
        }
        self.whole = true;
    }
}

impl Made {
    fn is_number(&self, op: &Op, dtype: DType) -> bool {
        matches!((&self.node.0.op, op), (Op::Scalar(_), Op::Scalar(_))) && self.node.0.dtype == dtype
    }
}

impl Making {
    fn note(&mut self, node: &Tensor) -> Option<()> {
        match &mut self.again {
            None => {
                let inputs: Option<_> = node.inputs().iter().map(|input| self.formula.place(input)).collect();
                self.other |= inputs.is_none();
                self.formula.made.push(Made { node: node.clone(), inputs: inputs.unwrap_or_default() });
            }
            Some([at, _]) => {
                let made = self.formula.made.get_mut(*at).filter(|made| made.is_number(&node.0.op, node.0.dtype));
                self.other |= made.is_none();
                made?.node = node.clone();
                *at += 1;
            }
        }
        Some(())
    }
}
