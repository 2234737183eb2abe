//! Generated code: the elementwise part of a group of nodes, written into the slots of a hand-written kernel.
//!
//! A slot is a function of a few index variables. Each covers some axes of the space that the kernel walks. The
//! expression is first turned into a list of instructions, whose loads say where their elements lie as layouts over
//! that space; then axes that every layout walks alike are merged; then text is written.

mod address;
mod body;
mod build;
mod grid;
mod text;
mod write;

use crate::fuse::Choice;
use crate::graph::Graph;
use crate::layout::{Layout, ViewOp};
use crate::node::Random;
use crate::{DType, Shape};
use std::collections::HashMap;
use std::fmt::Write as _;
use text::memory_type;

/// What is bound to a name of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operand {
    /// The stored elements of a node.
    Node(u32),
    /// The second result of a node's kernel.
    Second(u32),
    /// The cell of a write.
    Cell(usize),
    /// The fault record.
    Fault,
    /// A scratch buffer of the kernel's node.
    Scratch(u32, usize),
}

/// Where a run-time parameter comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Fixed(u32),
    /// The bits of a number of the host.
    Scalar(u32),
    /// The number under which a node's faults are reported.
    Site(u32),
    /// That under which a guard's are, the one with this number.
    Guard(usize),
}

/// Why an expression cannot be written where it was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It can if this node is stored.
    Store(u32),
    /// Not in this slot.
    Slot,
    /// A view, so many before the end of the chain, needs straight memory before it.
    Fold(usize),
}

/// An index variable of a slot and the axes of the space that it covers.
pub(crate) struct Axis {
    pub(crate) name: &'static str,
    pub(crate) dims: Vec<usize>,
}

impl Axis {
    pub(crate) fn new(name: &'static str, dims: &[usize]) -> Self {
        Self { name, dims: dims.to_vec() }
    }
}

/// What a slot stores of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) node: u32,
    pub(crate) to: Operand,
}

#[derive(Debug, Clone)]
enum Inst {
    Primary,
    Load {
        from: Operand,
        dtype: DType,
        layout: Layout,
    },
    Const(u32),
    Scalar(u32),
    Iota(Layout),
    Random {
        kind: Random,
        layout: Layout,
        key: [usize; 3],
    },
    Apply {
        node: u32,
        args: Vec<usize>,
    },
    Gather {
        node: u32,
        from: Operand,
        dtype: DType,
        layout: Layout,
        stride: isize,
        extent: usize,
        index: usize,
    },
    /// An index, noticed if it is out of range: what a gather from 0, 1, … gives.
    Check {
        node: u32,
        extent: usize,
        index: usize,
    },
    Concat(Vec<usize>),
    /// The value where the layout is inside of its masks, else zero.
    Masked {
        value: usize,
        layout: Layout,
    },
}

impl Inst {
    /// The instructions that this one reads.
    fn args(&self) -> &[usize] {
        match self {
            Inst::Apply { args, .. } | Inst::Concat(args) => args,
            Inst::Random { key, .. } => key,
            Inst::Gather { index, .. } | Inst::Check { index, .. } => std::slice::from_ref(index),
            Inst::Masked { value, .. } => std::slice::from_ref(value),
            Inst::Primary | Inst::Load { .. } | Inst::Const(_) | Inst::Scalar(_) | Inst::Iota(_) => &[],
        }
    }
}

/// The code and the bindings that the slots of one kernel share.
pub(crate) struct Kernel<'a> {
    graph: &'a Graph,
    choice: &'a Choice,
    /// Nodes computed in this kernel, which must not be loaded.
    pub(crate) members: Vec<u32>,
    pub(crate) declarations: String,
    pub(crate) bindings: Vec<(String, Operand)>,
    pub(crate) params: Vec<(String, &'static str, Word)>,
    arrays: HashMap<(Operand, bool), String>,
    scalars: HashMap<u32, String>,
    /// The field of `Sizes` that is 0.
    zero: Option<String>,
    /// The cells written in place, by what reads them.
    pub(crate) in_place: HashMap<u32, usize>,
    pub(crate) ops: Vec<&'static str>,
    /// Whether it checks the guards that it stores.
    pub(crate) watches: bool,
    faults: bool,
}

/// One slot being written.
pub(crate) struct Slot<'k, 'a> {
    kernel: &'k mut Kernel<'a>,
    axes: Vec<Axis>,
    space: Shape,
    primary: Option<(u32, &'static str)>,
    insts: Vec<(Inst, DType)>,
    /// What this slot stores.
    stores: Vec<u32>,
    /// Instructions that give half precision to others as memory would: casts, and what this slot stores as well.
    halves: Vec<usize>,
    memo: HashMap<(u32, Vec<ViewOp>), usize>,
}

impl<'a> Kernel<'a> {
    pub(crate) fn new(graph: &'a Graph, choice: &'a Choice) -> Self {
        Self {
            graph,
            choice,
            members: Vec::new(),
            declarations: String::new(),
            bindings: Vec::new(),
            params: Vec::new(),
            arrays: HashMap::new(),
            scalars: HashMap::new(),
            zero: None,
            in_place: HashMap::new(),
            ops: Vec::new(),
            watches: false,
            faults: false,
        }
    }

    /// A slot over `axes`.
    pub(crate) fn slot(
        &mut self,
        axes: Vec<Axis>,
        primary: Option<(u32, &'static str)>,
    ) -> Result<Slot<'_, 'a>, Refusal> {
        let dims: Vec<usize> = axes.iter().flat_map(|a| a.dims.iter().copied()).collect();
        let space = Shape::new(&dims).ok_or(Refusal::Slot)?;
        Ok(Slot {
            kernel: self,
            axes,
            space,
            primary,
            insts: Vec::new(),
            stores: Vec::new(),
            halves: Vec::new(),
            memo: HashMap::new(),
        })
    }

    pub(crate) fn param(&mut self, ty: &'static str, word: Word) -> String {
        let name = format!("p{}", self.params.len());
        self.params.push((name.clone(), ty, word));
        format!("sizes.{name}")
    }

    /// A float 0 of which the driver does not know that it is one. Of a product with a 0 that it knows, or with a truth value made
    /// a number, Mesa makes 0 whatever the other factor is: NaN and infinity would be lost.
    fn unknown_zero(&mut self) -> String {
        if let Some(name) = &self.zero {
            return name.clone();
        }
        let name = self.param("f32", Word::Fixed(0));
        self.zero = Some(name.clone());
        name
    }

    /// `value`, a float of so many components, rounded to half precision. Mesa takes F(f16(x)) for x itself, unless it cannot know
    /// that the one is made of the other.
    fn half(&mut self, value: &str, width: usize) -> String {
        let zero = self.unknown_zero();
        let half = if width == 4 { "vec4<f16>" } else { "f16" };
        format!("select({half}({value}), {half}(0.0h), {zero} != 0.0)")
    }

    /// The name of the array that holds `operand`, declared on first use; as vectors of four or as scalars.
    fn array(&mut self, operand: Operand, dtype: DType, vector: bool) -> Result<String, Refusal> {
        if let Operand::Node(node) = operand
            && let Some(&write) = self.in_place.get(&node)
        {
            return self.array(Operand::Cell(write), dtype, vector);
        }
        if let Some(name) = self.arrays.get(&(operand, vector)) {
            return Ok(name.clone());
        }
        if matches!(operand, Operand::Cell(_)) && self.arrays.contains_key(&(operand, !vector)) {
            return Err(Refusal::Slot); // one buffer cannot be bound twice for writing
        }
        let writes = matches!(operand, Operand::Cell(_));
        let name = format!("{}{}", if writes { "cell" } else { "in" }, self.bindings.len());
        self.declare(&name, operand, dtype, vector, writes);
        self.arrays.insert((operand, vector), name.clone());
        Ok(name)
    }

    fn declare(&mut self, name: &str, operand: Operand, dtype: DType, vector: bool, writes: bool) {
        let number = 10 + self.bindings.len();
        let access = if writes { "read_write" } else { "read" };
        let elem = memory_type(dtype);
        let elem = if vector { format!("vec4<{elem}>") } else { elem.to_string() };
        let _ =
            writeln!(self.declarations, "@group(0) @binding({number}) var<storage, {access}> {name}: array<{elem}>;");
        self.bindings.push((name.to_string(), operand));
    }

    /// The array that a result goes to.
    fn output(&mut self, operand: Operand, dtype: DType, vector: bool) -> Result<String, Refusal> {
        if matches!(operand, Operand::Cell(_)) {
            return self.array(operand, dtype, vector);
        }
        let name = format!("out{}", self.bindings.len());
        self.declare(&name, operand, dtype, vector, true);
        Ok(name)
    }

    /// Code that leaves the slot if the run has met a fault.
    pub(crate) fn stop_on_fault(&mut self) -> String {
        self.record();
        "    if atomicLoad(&fault[0]) != 0u { return; }\n".into()
    }

    fn record(&mut self) {
        if !self.faults {
            self.faults = true;
            let number = 10 + self.bindings.len();
            let _ = writeln!(
                self.declarations,
                "@group(0) @binding({number}) var<storage, read_write> fault: array<atomic<u32>, 4>;"
            );
            self.bindings.push(("fault".into(), Operand::Fault));
        }
    }

    fn report(&mut self) {
        self.record();
        let function = "fn report_fault(site: u32, row: u32) {\n    \
             atomicMax(&fault[0], 0xffffffffu - ((site << 20u) | min(row, 0xfffffu)));\n}\n";
        if !self.declarations.contains("fn report_fault") {
            self.declarations.push_str(function);
        }
    }
}
