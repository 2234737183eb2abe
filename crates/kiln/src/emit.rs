//! Generated code: the elementwise part of a group of nodes, written into the slots of a hand-written kernel.
//!
//! A slot is a function of a few index variables. Each covers some axes of the space that the kernel walks. The
//! expression is first turned into a list of instructions, whose loads say where their elements lie as layouts over
//! that space; then axes that every layout walks alike are merged; then text is written.

use crate::fuse::Choice;
use crate::graph::{Graph, Role};
use crate::layout::{Layout, ViewOp};
use crate::node::{Op, Random};
use crate::ops::binary::Kind;
use crate::{DType, Shape};
use std::collections::HashMap;
use std::fmt::Write as _;

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
    /// The cells written in place, by what reads them.
    pub(crate) in_place: HashMap<u32, usize>,
    pub(crate) ops: Vec<&'static str>,
    faults: bool,
}

/// One slot being written.
pub(crate) struct Slot<'k, 'a> {
    kernel: &'k mut Kernel<'a>,
    axes: Vec<Axis>,
    space: Shape,
    primary: Option<(u32, &'static str)>,
    insts: Vec<(Inst, DType)>,
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
            in_place: HashMap::new(),
            ops: Vec::new(),
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
        Ok(Slot { kernel: self, axes, space, primary, insts: Vec::new(), memo: HashMap::new() })
    }

    pub(crate) fn param(&mut self, ty: &'static str, word: Word) -> String {
        let name = format!("p{}", self.params.len());
        self.params.push((name.clone(), ty, word));
        format!("sizes.{name}")
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
        let function = "fn out_of_range(site: u32, row: u32) {\n    \
             atomicMax(&fault[0], 0xffffffffu - ((site << 20u) | min(row, 0xfffffu)));\n}\n";
        if !self.declarations.contains("fn out_of_range") {
            self.declarations.push_str(function);
        }
    }
}

/// The WGSL type of an element in memory.
fn memory_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::I32 => "i32",
        DType::U32 | DType::Bool => "u32",
    }
}

impl Slot<'_, '_> {
    /// The instruction that gives `node` seen through `chain`, which leads to the space.
    pub(crate) fn value(&mut self, node: u32, chain: &[ViewOp]) -> Result<usize, Refusal> {
        let shape = self.kernel.graph.shape(node);
        let straight = || Layout::contiguous(&shape).after(chain).is_some_and(|l| l.is_linear());
        let chain = if !chain.is_empty() && shape.numel() == self.space.numel() && straight() { &[] } else { chain };
        let key = (node, chain.to_vec());
        if let Some(&at) = self.memo.get(&key) {
            return Ok(at);
        }
        let at = self.build(node, chain)?;
        self.memo.insert(key, at);
        Ok(at)
    }

    fn push(&mut self, inst: Inst, dtype: DType) -> usize {
        self.insts.push((inst, dtype));
        self.insts.len() - 1
    }

    fn build(&mut self, node: u32, chain: &[ViewOp]) -> Result<usize, Refusal> {
        let graph = self.kernel.graph;
        let (dtype, shape) = (graph.dtype(node), graph.shape(node));
        if self.primary.is_some_and(|(primary, _)| primary == node) {
            let layout = self.layout(&shape, chain)?;
            return if layout.is_linear() { Ok(self.push(Inst::Primary, dtype)) } else { Err(Refusal::Slot) };
        }
        if graph.role(node) == Role::Empty {
            return Ok(self.push(Inst::Const(0), dtype)); // only what a pad puts around it is ever seen
        }
        if let (Op::Second, Role::Compute) = (graph.op(node), graph.role(node)) {
            let layout = self.layout(&shape, chain)?;
            let from = Operand::Second(graph.inputs(node)[0]);
            return Ok(self.push(Inst::Load { from, dtype, layout }, dtype));
        }
        let here = self.kernel.members.contains(&node);
        if graph.role(node) == Role::Leaf || (self.kernel.choice.stored(node) && !here) {
            let layout = self.layout(&shape, chain)?;
            return Ok(self.push(Inst::Load { from: Operand::Node(node), dtype, layout }, dtype));
        }
        if graph.role(node) == Role::Scalar {
            let value = self.push(Inst::Scalar(node), dtype);
            return self.mask(node, value, chain);
        }
        match graph.op(node) {
            Op::View(view) => {
                let mut longer = vec![view.clone()];
                longer.extend_from_slice(chain);
                let input = graph.inputs(node)[0];
                self.value(input, &longer).map_err(|refusal| match refusal {
                    Refusal::Fold(back) if back == longer.len() => Refusal::Store(input),
                    other => other,
                })
            }
            Op::Const(bits) => {
                let value = self.push(Inst::Const(*bits), dtype);
                self.mask(node, value, chain)
            }
            Op::Iota => {
                let layout = self.layout(&shape, chain)?;
                let value = self.push(Inst::Iota(layout), dtype);
                self.mask(node, value, chain)
            }
            // an expression under a pad is not zero where its operands are
            _ if chain.iter().any(|v| matches!(v, ViewOp::Pad(_))) => Err(Refusal::Store(node)),
            Op::Random(kind) => {
                let layout = self.layout(&shape, chain)?;
                let mut key = [0; 3];
                for (slot, &input) in key.iter_mut().zip(graph.inputs(node)) {
                    *slot = self.value(input, &self.whole(input))?;
                }
                Ok(self.push(Inst::Random { kind: *kind, layout, key }, dtype))
            }
            Op::Gather(axis) => self.gather(node, *axis, chain),
            Op::Concat(axis) => self.concat(node, *axis, chain),
            Op::Detach => self.value(graph.inputs(node)[0], chain),
            _ => {
                let mut args = Vec::new();
                for &input in graph.inputs(node) {
                    args.push(self.value(input, &self.spread(input, &shape, chain))?);
                }
                self.kernel.ops.push(graph.op(node).name());
                Ok(self.push(Inst::Apply { node, args }, dtype))
            }
        }
    }

    /// The chain of an input that broadcasts to `shape`, seen through `chain`.
    fn spread(&self, input: u32, shape: &Shape, chain: &[ViewOp]) -> Vec<ViewOp> {
        let mut longer = Vec::new();
        if self.kernel.graph.shape(input) != *shape {
            longer.push(ViewOp::Broadcast(*shape));
        }
        longer.extend_from_slice(chain);
        longer
    }

    /// The chain of a single number that every element of the space sees.
    fn whole(&self, input: u32) -> Vec<ViewOp> {
        if self.kernel.graph.shape(input) == self.space { vec![] } else { vec![ViewOp::Broadcast(self.space)] }
    }

    /// Where the elements of `node` lie, over the space.
    fn layout(&self, shape: &Shape, chain: &[ViewOp]) -> Result<Layout, Refusal> {
        self.follow(Layout::contiguous(shape), chain)
    }

    fn follow(&self, mut layout: Layout, chain: &[ViewOp]) -> Result<Layout, Refusal> {
        for (i, view) in chain.iter().enumerate() {
            layout = layout.apply(view).ok_or(Refusal::Fold(chain.len() - i))?;
        }
        if layout.dims[..] != self.space[..] {
            layout = layout.apply(&ViewOp::Reshape(self.space)).ok_or(Refusal::Slot)?;
        }
        Ok(layout)
    }

    /// A value without memory is zero where a pad says so.
    fn mask(&mut self, node: u32, value: usize, chain: &[ViewOp]) -> Result<usize, Refusal> {
        if !chain.iter().any(|v| matches!(v, ViewOp::Pad(_))) {
            return Ok(value);
        }
        let shape = self.kernel.graph.shape(node);
        let layout = self.layout(&shape, chain)?;
        let dtype = self.insts[value].1;
        Ok(if layout.masked() { self.push(Inst::Masked { value, layout }, dtype) } else { value })
    }

    fn gather(&mut self, node: u32, axis: usize, chain: &[ViewOp]) -> Result<usize, Refusal> {
        let graph = self.kernel.graph;
        let (x, index) = (graph.inputs(node)[0], graph.inputs(node)[1]);
        let (dtype, shape) = (graph.dtype(node), graph.shape(node));
        let (base, views) = self.kernel.choice.resolve(graph, x);
        let counting =
            matches!(graph.op(base), Op::Iota) && graph.role(base) == Role::Compute && !self.kernel.choice.stored(base);
        if counting && views.is_empty() {
            let extent = graph.shape(base)[axis];
            let index = self.value(index, &self.spread(index, &shape, chain))?;
            return Ok(self.push(Inst::Check { node, extent, index }, dtype));
        }
        let memory = graph.role(base) == Role::Leaf || self.kernel.choice.stored(base);
        if !memory || self.kernel.members.contains(&base) || self.primary.is_some_and(|(p, _)| p == base) {
            return Err(if memory { Refusal::Slot } else { Refusal::Store(x) });
        }
        let table =
            Layout::contiguous(&graph.shape(base)).after(&views).filter(|l| !l.masked()).ok_or(Refusal::Store(x))?;
        let (stride, extent) = (table.strides[axis], table.dims[axis]);
        let mut over = table;
        over.strides[axis] = 0;
        over.dims[axis] = shape[axis];
        over.valid[axis] = (0, shape[axis]);
        let layout = self.follow(over, chain)?;
        let index = self.value(index, &self.spread(index, &shape, chain))?;
        let from = if graph.role(base) == Role::Compute && matches!(graph.op(base), Op::Second) {
            Operand::Second(graph.inputs(base)[0])
        } else {
            Operand::Node(base)
        };
        self.kernel.ops.push("gather");
        Ok(self.push(Inst::Gather { node, from, dtype, layout, stride, extent, index }, dtype))
    }

    fn concat(&mut self, node: u32, axis: usize, chain: &[ViewOp]) -> Result<usize, Refusal> {
        let graph = self.kernel.graph;
        let shape = graph.shape(node);
        let (mut from, mut parts) = (0, Vec::new());
        for &input in graph.inputs(node) {
            let len = graph.shape(input)[axis];
            if len > 0 {
                let mut sides = vec![(0, 0); shape.rank()];
                sides[axis] = (from, shape[axis] - from - len);
                let mut longer = vec![ViewOp::Pad(sides)];
                longer.extend_from_slice(chain);
                parts.push(self.value(input, &longer)?);
            }
            from += len;
        }
        self.kernel.ops.push("cat");
        Ok(self.push(Inst::Concat(parts), graph.dtype(node)))
    }
}

/// The space after axes have been merged, and how elements are counted in it.
struct Grid {
    /// For each merged axis: its extent, and the name of its coordinate.
    dims: Vec<(usize, String)>,
    /// Runs of the space's axes that became one.
    runs: Vec<std::ops::Range<usize>>,
    /// Components of the types.
    width: usize,
    /// Elements handled at once: as many, or one that fills all components.
    lanes: usize,
    linear: String,
}

impl Slot<'_, '_> {
    fn layouts(&self) -> Vec<&Layout> {
        let of = |inst: &'_ Inst| match inst {
            Inst::Load { .. } | Inst::Iota(_) | Inst::Random { .. } | Inst::Gather { .. } | Inst::Masked { .. } => true,
            Inst::Primary
            | Inst::Const(_)
            | Inst::Scalar(_)
            | Inst::Apply { .. }
            | Inst::Check { .. }
            | Inst::Concat(_) => false,
        };
        self.insts.iter().filter(|(i, _)| of(i)).filter_map(|(i, _)| layout_of(i)).collect()
    }

    /// Runs of axes, within each index variable, that every layout walks as one.
    fn runs(&self) -> Vec<(usize, Vec<std::ops::Range<usize>>)> {
        let layouts = self.layouts();
        let mut first = 0;
        let mut all = Vec::new();
        for (number, axis) in self.axes.iter().enumerate() {
            let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
            for d in first..first + axis.dims.len() {
                if self.space[d] == 1 && !layouts.iter().any(|l| l.masks(d)) {
                    continue;
                }
                let joins = runs.last().is_some_and(|run| {
                    run.end <= d
                        && layouts.iter().all(|l| {
                            let before = run.end - 1;
                            !l.masks(d)
                                && !run.clone().any(|r| l.masks(r))
                                && l.strides[before] == l.strides[d] * self.space[d] as isize
                        })
                });
                match runs.last_mut() {
                    Some(run) if joins => run.end = d + 1,
                    _ => runs.push(d..d + 1),
                }
            }
            first += axis.dims.len();
            all.push((number, runs));
        }
        all
    }

    /// Whether four neighbours can be handled at once, and whether that pays.
    pub(crate) fn widens(&self, tail: bool) -> bool {
        let runs = self.runs();
        let Some((_, last)) = runs.last() else { return false };
        let extent = |run: &std::ops::Range<usize>| run.clone().map(|d| self.space[d]).product::<usize>();
        let Some(inner) = last.last() else { return false };
        if extent(inner) % 4 == 0 {
            return true;
        }
        // a single straight run may read and write past its end, into the padding of the buffers
        let one = runs.iter().map(|(_, r)| r.len()).sum::<usize>() == 1;
        let d = inner.end - 1;
        let straight = |l: &&Layout| !l.masked() && (l.strides[d] == 0 || (l.strides[d] == 1 && l.offset % 4 == 0));
        let gathers = self.insts.iter().any(|(i, _)| matches!(i, Inst::Gather { .. } | Inst::Check { .. }));
        tail && one && !gathers && extent(inner) > 4 && self.layouts().iter().all(straight)
    }

    fn grid(&mut self, width: usize, lanes: usize, tail: bool) -> Result<(Grid, String), Refusal> {
        let runs = self.runs();
        let mut text = String::new();
        let (mut dims, mut flat) = (Vec::new(), Vec::new());
        for (number, runs) in &runs {
            let name = self.axes[*number].name;
            let extents: Vec<usize> = runs.iter().map(|r| r.clone().map(|d| self.space[d]).product()).collect();
            let mut rest = name.to_string();
            let mut names = vec![String::new(); runs.len()];
            for k in (1..runs.len()).rev() {
                let size = self.kernel.param("u32", Word::Fixed(extents[k] as u32));
                let _ = writeln!(text, "    let {name}_q{k} = {rest} / {size};");
                let _ = writeln!(text, "    let {name}_{k} = {rest} - {name}_q{k} * {size};");
                names[k] = format!("{name}_{k}");
                rest = format!("{name}_q{k}");
            }
            if let Some(first) = names.first_mut() {
                *first = rest;
            }
            for ((run, extent), name) in runs.iter().zip(&extents).zip(&names) {
                flat.push(run.clone());
                dims.push((*extent, name.clone()));
            }
        }
        let inner = dims.last().map_or(1, |d| d.0);
        let last_axis_moves = runs.last().is_some_and(|(_, r)| !r.is_empty());
        if lanes == 4 && !(tail || (last_axis_moves && inner % 4 == 0)) {
            return Err(Refusal::Slot);
        }
        let linear = self.linear(&mut text);
        Ok((Grid { dims, runs: flat, width, lanes, linear }, text))
    }

    /// The number of the element in row-major order of the space.
    fn linear(&mut self, text: &mut String) -> String {
        let mut number = self.axes[0].name.to_string();
        for axis in 1..self.axes.len() {
            let extent: usize = self.axes[axis].dims.iter().product();
            let name = self.axes[axis].name;
            let size = self.kernel.param("u32", Word::Fixed(extent as u32));
            number =
                if axis == 1 { format!("{number} * {size} + {name}") } else { format!("({number}) * {size} + {name}") };
        }
        if self.axes.len() == 1 {
            return number;
        }
        let _ = writeln!(text, "    let at = {number};");
        "at".into()
    }

    /// The body of a slot that gives `node` back, and how many elements at once: four where that pays.
    pub(crate) fn load_wide(mut self, node: u32, chain: &[ViewOp]) -> Result<(String, u32), Refusal> {
        self.value(node, chain)?;
        let width = if self.widens(false) { 4 } else { 1 };
        Ok((self.load(node, chain, width)?, width))
    }

    /// The body of a slot that gives `node` back.
    pub(crate) fn load(mut self, node: u32, chain: &[ViewOp], width: u32) -> Result<String, Refusal> {
        let value = self.value(node, chain)?;
        let (grid, mut text) = self.grid(width as usize, width as usize, false)?;
        self.write_all(&grid, &mut text)?;
        let _ = writeln!(text, "    return v{value};");
        Ok(text)
    }

    /// The body of a slot that stores. The kernel's types have `width` components; `lanes` elements are handled at once.
    pub(crate) fn store(
        mut self,
        targets: &[Target],
        width: u32,
        lanes: u32,
        tail: bool,
        prelude: &str,
    ) -> Result<String, Refusal> {
        let mut values = Vec::new();
        for target in targets {
            values.push(self.value(target.node, &[])?);
        }
        let (grid, head) = self.grid(width as usize, lanes as usize, tail)?;
        let mut text = prelude.to_string();
        text.push_str(&head);
        self.write_all(&grid, &mut text)?;
        for (target, value) in targets.iter().zip(values) {
            let dtype = self.insts[value].1;
            let array = self.kernel.output(target.to, dtype, lanes == 4)?;
            let place = if lanes == 4 { format!("({}) / 4u", grid.linear) } else { grid.linear.clone() };
            let one = if width > lanes { format!("v{value}.x") } else { format!("v{value}") };
            let stored = match dtype {
                DType::Bool if lanes == 4 => format!("select(U(0u), U(1u), {one})"),
                DType::Bool => format!("select(0u, 1u, {one})"),
                DType::F16 if lanes == 4 => format!("vec4<f16>({one})"),
                DType::F16 => format!("f16({one})"),
                _ => one,
            };
            let _ = writeln!(text, "    {array}[{place}] = {stored};");
        }
        Ok(text)
    }

    fn write_all(&mut self, grid: &Grid, text: &mut String) -> Result<(), Refusal> {
        for at in 0..self.insts.len() {
            let (inst, dtype) = self.insts[at].clone();
            let value = self.write(at, &inst, dtype, grid, text)?;
            let note = match &inst {
                Inst::Apply { node, .. } | Inst::Gather { node, .. } => {
                    let tensor = &self.kernel.graph.nodes[*node as usize].tensor;
                    format!("       // {}", tensor.0.op.name())
                }
                _ => String::new(),
            };
            let _ = writeln!(text, "    let v{at}: {} = {value};{note}", dtype.wgsl());
        }
        Ok(())
    }

    fn write(
        &mut self,
        at: usize,
        inst: &Inst,
        dtype: DType,
        grid: &Grid,
        text: &mut String,
    ) -> Result<String, Refusal> {
        Ok(match inst {
            Inst::Primary => {
                let name = self.primary.map_or("v", |p| p.1);
                if grid.width > grid.lanes { format!("{}({name})", dtype.wgsl()) } else { name.to_string() }
            }
            Inst::Const(bits) => constant(dtype, *bits),
            Inst::Scalar(node) => {
                let ty = match dtype {
                    DType::F32 | DType::F16 => "f32",
                    DType::I32 => "i32",
                    DType::U32 | DType::Bool => "u32",
                };
                let name = match self.kernel.scalars.get(node) {
                    Some(name) => name.clone(),
                    None => {
                        let name = self.kernel.param(ty, Word::Scalar(*node));
                        self.kernel.scalars.insert(*node, name.clone());
                        name
                    }
                };
                if dtype == DType::Bool { format!("B({name} != 0u)") } else { format!("{}({name})", dtype.wgsl()) }
            }
            Inst::Load { from, dtype, layout } => self.write_load(at, *from, *dtype, layout, grid, text)?,
            Inst::Iota(layout) => {
                let address = self.address(layout, grid, &format!("a{at}"), text);
                let stride = inner_stride(layout, grid);
                match (grid.lanes, stride) {
                    (1, _) | (_, 0) => format!("I(i32({address}))"),
                    (_, 1) => format!("I(i32({address})) + I(0, 1, 2, 3)"),
                    (_, s) => {
                        let s = self.kernel.param("i32", Word::Fixed(s as u32));
                        format!("I(i32({address})) + I(0, 1, 2, 3) * {s}")
                    }
                }
            }
            Inst::Random { kind, layout, key } => self.write_random(at, *kind, layout, key, grid, text),
            Inst::Apply { node, args } => self.apply(*node, args),
            Inst::Gather { .. } => self.write_gather(at, inst, grid, text)?,
            Inst::Check { node, extent, index } => {
                self.check_index(at, *node, *extent, *index, grid, text);
                format!("I(g{at})")
            }
            Inst::Concat(parts) => self.write_concat(parts, dtype),
            Inst::Masked { value, layout } => {
                let inside = self.inside(layout, grid);
                format!("select({}, v{value}, {inside})", zero(dtype))
            }
        })
    }

    /// The address of the first element of a layout at the current place, as a variable.
    fn address(&mut self, layout: &Layout, grid: &Grid, name: &str, text: &mut String) -> String {
        if layout.is_linear() {
            return grid.linear.clone();
        }
        let mut terms = Vec::new();
        for ((_, coordinate), run) in grid.dims.iter().zip(&grid.runs) {
            match layout.strides[run.end - 1] {
                0 => {}
                1 => terms.push(coordinate.clone()),
                stride => {
                    let stride = self.kernel.param("u32", Word::Fixed(stride as i32 as u32));
                    terms.push(format!("{coordinate} * {stride}"));
                }
            }
        }
        if layout.offset != 0 {
            terms.push(self.kernel.param("u32", Word::Fixed(layout.offset as i32 as u32)));
        }
        if terms.is_empty() {
            return "0u".into();
        }
        let _ = writeln!(text, "    let {name} = {};", terms.join(" + "));
        name.to_string()
    }

    /// The condition under which a masked layout holds an element.
    fn inside(&mut self, layout: &Layout, grid: &Grid) -> String {
        let last = grid.runs.len().wrapping_sub(1);
        let mut terms = Vec::new();
        for (k, run) in grid.runs.iter().enumerate() {
            let d = run.end - 1;
            if !layout.masks(d) {
                continue;
            }
            let low = self.kernel.param("u32", Word::Fixed(layout.valid[d].0 as u32));
            let high = self.kernel.param("u32", Word::Fixed(layout.valid[d].1 as u32));
            let coordinate = if grid.dims[k].1.is_empty() { "0u".to_string() } else { grid.dims[k].1.clone() };
            if k == last && grid.lanes == 4 {
                let lanes = format!("(U({coordinate}) + U(0u, 1u, 2u, 3u))");
                terms.push(format!("({lanes} >= U({low})) & ({lanes} < U({high}))"));
            } else {
                terms.push(format!("B({coordinate} >= {low} && {coordinate} < {high})"));
            }
        }
        if terms.is_empty() { "B(true)".into() } else { terms.join(" & ") }
    }

    fn write_load(
        &mut self,
        at: usize,
        from: Operand,
        dtype: DType,
        layout: &Layout,
        grid: &Grid,
        text: &mut String,
    ) -> Result<String, Refusal> {
        let address = self.address(layout, grid, &format!("a{at}"), text);
        if let Operand::Node(node) = from
            && self.kernel.in_place.contains_key(&node)
            && !layout.is_linear()
        {
            return Err(Refusal::Slot);
        }
        let stride = inner_stride(layout, grid);
        if layout.masked() {
            let inside = self.inside(layout, grid);
            let _ = writeln!(text, "    let m{at} = {inside};");
            let array = self.kernel.array(from, dtype, false)?;
            let lanes =
                self.lanes(grid, stride, |k, step| format!("{array}[select(0u, {address} + {step}, m{at}{k})]"));
            return Ok(format!("select({}, {}, m{at})", zero(dtype), from_memory(dtype, &lanes)));
        }
        if grid.lanes == 4 && aligned(layout, grid) {
            let array = self.kernel.array(from, dtype, true)?;
            let raw = format!("{array}[({address}) / 4u]");
            return Ok(match dtype {
                DType::Bool => format!("{raw} != U(0u)"),
                DType::F16 => format!("F({raw})"),
                _ => raw,
            });
        }
        let array = self.kernel.array(from, dtype, false)?;
        if grid.lanes == 1 || stride == 0 {
            return Ok(from_memory(dtype, &[format!("{array}[{address}]")]));
        }
        let lanes = self.lanes(grid, stride, |k, step| {
            if k == ".x" { format!("{array}[{address}]") } else { format!("{array}[{address} + {step}]") }
        });
        Ok(from_memory(dtype, &lanes))
    }

    /// An expression per lane; `each` gets the lane's component and its distance from the first one.
    fn lanes(&mut self, grid: &Grid, stride: isize, each: impl Fn(&str, &str) -> String) -> Vec<String> {
        if grid.lanes == 1 {
            return vec![each(if grid.width == 4 { ".x" } else { "" }, "0u")];
        }
        let step = if stride.unsigned_abs() <= 1 {
            format!("{}u", stride.max(0))
        } else {
            self.kernel.param("u32", Word::Fixed(stride as i32 as u32))
        };
        let step = if stride == -1 { "0xffffffffu".to_string() } else { step };
        [".x", ".y", ".z", ".w"].iter().enumerate().map(|(k, c)| each(c, &format!("{k}u * {step}"))).collect()
    }

    fn write_random(
        &mut self,
        at: usize,
        kind: Random,
        layout: &Layout,
        key: &[usize; 3],
        grid: &Grid,
        text: &mut String,
    ) -> String {
        let name = match kind {
            Random::Word => "word",
            Random::Uniform => "uniform",
            Random::Normal => "normal",
        };
        let pick = if grid.width == 4 { ".x" } else { "" };
        let [k0, k1, call] = key.map(|k| format!("v{k}{pick}"));
        let address = self.address(layout, grid, &format!("a{at}"), text);
        if grid.lanes == 4 && aligned(layout, grid) {
            return format!("philox_{name}s_(({address}) / 4u, {k0}, {k1}, {call}, 0u)");
        }
        let stride = inner_stride(layout, grid);
        let one = |place: String| format!("philox_{name}1_({place}, {k0}, {k1}, {call}, 0u)");
        let ty = if kind == Random::Word { "U" } else { "F" };
        if grid.lanes == 1 || stride == 0 {
            return format!("{ty}({})", one(address));
        }
        let lanes = self.lanes(grid, stride, |_, step| one(format!("{address} + {step}")));
        format!("{ty}({})", lanes.join(", "))
    }

    /// The index as `g{at}`, brought into range; one that was not is reported.
    fn check_index(&mut self, at: usize, node: u32, extent: usize, index: usize, grid: &Grid, text: &mut String) {
        let extent = self.kernel.param("u32", Word::Fixed(extent as u32));
        let site = self.kernel.param("u32", Word::Site(node));
        self.kernel.report();
        let row = self.row_of(index, grid);
        let _ = writeln!(text, "    let k{at} = U(v{index});");
        if grid.lanes == 4 && !self.uniform(index, grid) {
            let _ = writeln!(text, "    let b{at} = k{at} >= U({extent});");
            let first = format!("select(select(select(3u, 2u, b{at}.z), 1u, b{at}.y), 0u, b{at}.x)");
            let _ = writeln!(text, "    if any(b{at}) {{ out_of_range({site}, {row} + {first}); }}");
        } else {
            let _ = writeln!(text, "    if any(k{at} >= U({extent})) {{ out_of_range({site}, {row}); }}");
        }
        let _ = writeln!(text, "    let g{at} = min(k{at}, U({extent} - 1u));");
    }

    fn write_gather(&mut self, at: usize, inst: &Inst, grid: &Grid, text: &mut String) -> Result<String, Refusal> {
        let Inst::Gather { node, from, dtype, layout, stride, extent, index } = inst else { return Err(Refusal::Slot) };
        self.check_index(at, *node, *extent, *index, grid, text);
        let address = self.address(layout, grid, &format!("a{at}"), text);
        let along = if *stride == 1 {
            String::new()
        } else {
            format!(" * {}", self.kernel.param("u32", Word::Fixed(*stride as i32 as u32)))
        };
        let same = self.uniform(*index, grid);
        if grid.lanes == 4 && same && aligned(layout, grid) && stride % 4 == 0 {
            let array = self.kernel.array(*from, *dtype, true)?;
            let raw = format!("{array}[({address} + g{at}.x{along}) / 4u]");
            return Ok(match dtype {
                DType::Bool => format!("{raw} != U(0u)"),
                DType::F16 => format!("F({raw})"),
                _ => raw,
            });
        }
        let array = self.kernel.array(*from, *dtype, false)?;
        let lanes = self.lanes(grid, inner_stride(layout, grid), |k, step| {
            format!("{array}[{address} + {step} + g{at}{k}{along}]")
        });
        Ok(from_memory(*dtype, &lanes))
    }

    /// The place of an index in its own tensor, for the fault record.
    fn row_of(&mut self, mut index: usize, grid: &Grid) -> String {
        loop {
            index = match &self.insts[index].0 {
                Inst::Apply { node, args } if matches!(self.kernel.graph.op(*node), Op::Cast) => args[0],
                Inst::Check { index, .. } => *index,
                _ => break,
            };
        }
        match &self.insts[index].0 {
            Inst::Load { layout, .. }
                if !layout.is_linear() && layout.strides.iter().any(|&s| s != 0) && !layout.masked() =>
            {
                format!("a{index}")
            }
            _ => grid.linear.clone(),
        }
    }

    /// Whether the four lanes of an instruction are the same.
    fn uniform(&self, at: usize, grid: &Grid) -> bool {
        match &self.insts[at].0 {
            Inst::Const(_) | Inst::Scalar(_) => true,
            Inst::Primary | Inst::Concat(_) | Inst::Masked { .. } => false,
            Inst::Load { layout, .. } => inner_stride(layout, grid) == 0 && !layout.masked(),
            Inst::Iota(layout) | Inst::Random { layout, .. } => inner_stride(layout, grid) == 0,
            Inst::Gather { layout, index, .. } => inner_stride(layout, grid) == 0 && self.uniform(*index, grid),
            Inst::Apply { args, .. } => args.iter().all(|&a| self.uniform(a, grid)),
            Inst::Check { index, .. } => self.uniform(*index, grid),
        }
    }

    /// The parts of a concatenation are zero outside of their place; the masks choose.
    fn write_concat(&mut self, parts: &[usize], dtype: DType) -> String {
        let mut text = zero(dtype);
        for &part in parts {
            // a part that fills the whole axis has no mask
            match &self.insts[part].0 {
                Inst::Load { layout, .. } if layout.masked() => text = format!("select({text}, v{part}, m{part})"),
                Inst::Load { .. } => text = format!("v{part}"),
                _ if dtype == DType::Bool => text = format!("({text} | v{part})"),
                _ => text = format!("({text} + v{part})"),
            }
        }
        text
    }

    fn apply(&self, node: u32, args: &[usize]) -> String {
        let graph = self.kernel.graph;
        let dtype = graph.dtype(node);
        let arg = |k: usize| format!("v{}", args[k]);
        let from = self.insts[args[0]].1;
        match graph.op(node) {
            Op::Unary(row) => {
                let text = match row.int {
                    Some(int) if !from.is_float() => int,
                    _ => row.float,
                };
                substitute(text, from, &arg(0), "")
            }
            Op::Binary(row) => {
                let text =
                    if row.kind == Kind::Logic || from.is_float() || from == DType::Bool { row.float } else { row.int };
                substitute(text, from, &arg(0), &arg(1))
            }
            Op::Where => format!("select({}, {}, {})", arg(2), arg(1), arg(0)),
            Op::Cast => cast(from, dtype, &arg(0)),
            _ => arg(0),
        }
    }
}

fn layout_of(inst: &Inst) -> Option<&Layout> {
    match inst {
        Inst::Load { layout, .. }
        | Inst::Iota(layout)
        | Inst::Random { layout, .. }
        | Inst::Gather { layout, .. }
        | Inst::Masked { layout, .. } => Some(layout),
        _ => None,
    }
}

fn inner_stride(layout: &Layout, grid: &Grid) -> isize {
    grid.runs.last().map_or(0, |run| layout.strides[run.end - 1])
}

/// Whether four neighbours lie in one aligned vector.
fn aligned(layout: &Layout, grid: &Grid) -> bool {
    let Some((inner, outer)) = grid.runs.split_last() else { return false };
    layout.strides[inner.end - 1] == 1
        && layout.offset % 4 == 0
        && outer.iter().all(|r| layout.strides[r.end - 1] % 4 == 0)
}

/// Elements of memory as a value.
fn from_memory(dtype: DType, lanes: &[String]) -> String {
    let list = lanes.join(", ");
    match dtype {
        DType::Bool => format!("U({list}) != U(0u)"),
        DType::F16 if lanes.len() == 4 => format!("F(vec4<f16>({list}))"),
        _ => format!("{}({list})", dtype.wgsl()),
    }
}

fn zero(dtype: DType) -> String {
    constant(dtype, 0)
}

fn constant(dtype: DType, bits: u32) -> String {
    match dtype {
        DType::F32 | DType::F16 => format!("F({:?})", f32::from_bits(bits)),
        DType::I32 => format!("I({})", bits as i32),
        DType::U32 => format!("U({bits}u)"),
        DType::Bool => format!("B({})", bits != 0),
    }
}

/// The text of a row with its arguments put in for `x` and `y`.
fn substitute(text: &str, dtype: DType, x: &str, y: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        match word.as_str() {
            "x" => out.push_str(x),
            "y" => out.push_str(y),
            "I" => out.push_str(dtype.wgsl()),
            "irem_" | "ifmod_" if dtype == DType::U32 => out.push_str("urem_"),
            "idiv_floor_" if dtype == DType::U32 => out.push_str("udiv_"),
            other => out.push_str(other),
        }
        word.clear();
    };
    for c in text.chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out
}

fn cast(from: DType, to: DType, x: &str) -> String {
    match (from, to) {
        (DType::Bool, DType::Bool) => x.into(),
        (DType::Bool, to) => format!("select({}, {}, {x})", constant(to, 0), one(to)),
        // not `!=`, which is false of NaN on some drivers
        (from, DType::Bool) if from.is_float() => format!("!({x} == {})", zero(from)),
        (from, DType::Bool) => format!("{x} != {}", zero(from)),
        (_, DType::F16) => format!("quantizeToF16({x})"),
        (from, to) if from.wgsl() == to.wgsl() => x.into(),
        (_, to) => format!("{}({x})", to.wgsl()),
    }
}

fn one(dtype: DType) -> String {
    constant(dtype, if dtype.is_float() { 1f32.to_bits() } else { 1 })
}
