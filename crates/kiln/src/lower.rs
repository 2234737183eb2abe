//! From groups of nodes to launches: which kernel, over which sizes, with which code in its slots.

use crate::emit::{Axis, Kernel, Operand, Refusal, Target, Word};
use crate::error::{Error, Result};
use crate::fuse::{Choice, Group, Lessons};
use crate::graph::{Graph, Role, content};
use crate::layout::{Layout, ViewOp};
use crate::node::{Op, Reduction};
use crate::ops::conv::ConvSpec;
use crate::ops::pool::Window;
use crate::{DType, Shape};
use kiln_device::kernels::{
    Kind, Scalar, Stages, conv, guard, map, matmul, norm, pool, reduce, scan, segment, softmax, sort,
};
use kiln_device::{Caps, Launch, Source};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

/// A launch with everything in its slots, and what is to be bound.
pub(crate) struct Lowered {
    pub(crate) source: Source,
    pub(crate) label: String,
    pub(crate) groups: [u32; 3],
    pub(crate) params: Vec<u8>,
    /// Words of the parameters that change from run to run.
    pub(crate) words: Vec<(usize, Word)>,
    pub(crate) bindings: Vec<(String, Operand)>,
}

/// Everything a plan runs, in order.
pub(crate) struct Lowering {
    pub(crate) steps: Vec<Lowered>,
    /// Bytes of each scratch buffer, by the group that uses it.
    pub(crate) scratch: Vec<(Operand, u64)>,
}

/// Why a group could not be lowered.
enum Stop {
    Refused(Refusal),
    Failed(Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<kiln_device::Error> for Stop {
    fn from(error: kiln_device::Error) -> Self {
        Stop::Failed(Error::Device(error))
    }
}

/// Lowers a graph. Choices that turn out not to work are learned from, and made again.
pub(crate) fn lower(graph: &Graph, caps: &Caps, fusion: bool) -> Result<Lowering> {
    let mut lessons = Lessons::default();
    let bindings = caps.max_storage_buffers.min(16) as usize;
    // each failed attempt adds a node to one of four lists, so this ends
    for _ in 0..8 * graph.nodes.len() + 8 {
        let choice = crate::fuse::choose(graph, &lessons, fusion, bindings);
        match attempt(graph, caps, &choice, bindings) {
            Ok(lowering) => return Ok(lowering),
            Err((_, Stop::Failed(error), _)) => return Err(error),
            Err((group, Stop::Refused(refusal), writes)) => {
                learn(graph, &choice, &choice.groups[group], refusal, &writes, &mut lessons)
            }
        }
    }
    unreachable!("every graph can be lowered with every node in a kernel of its own")
}

/// What to do otherwise next time.
fn learn(graph: &Graph, choice: &Choice, group: &Group, refusal: Refusal, writes: &[usize], lessons: &mut Lessons) {
    if let Refusal::Store(node) = refusal
        && !choice.stored(node)
        && lessons.store.insert(node)
    {
        return;
    }
    if let Some(&last) = group
        .members
        .iter()
        .rev()
        .find(|m| !lessons.apart.contains(m))
        .filter(|_| group.members.len() > 1 || group.heavy.is_some())
    {
        lessons.apart.insert(last);
        return;
    }
    let fresh =
        writes.iter().map(|&w| graph.writes[w].value).filter(|v| !lessons.copied.contains(v)).collect::<Vec<_>>();
    if !fresh.is_empty() {
        lessons.copied.extend(fresh);
        return;
    }
    if group.writes.iter().flatten().count() > 1 {
        lessons.alone.extend(group.writes.iter().flatten());
        return;
    }
    let operands = group.heavy.iter().chain(group.members.last()).flat_map(|&n| graph.inputs(n)).copied();
    for input in operands {
        let apart = graph.role(input) == Role::Compute
            && !choice.stored(input)
            && !matches!(graph.op(input), Op::Const(_) | Op::Iota | Op::Second);
        if apart && lessons.store.insert(input) {
            return;
        }
    }
    let names: Vec<&str> = group.heavy.iter().chain(&group.members).map(|&n| graph.op(n).name()).collect();
    unreachable!("{names:?} cannot be lowered: {refusal:?}")
}

fn attempt(
    graph: &Graph,
    caps: &Caps,
    choice: &Choice,
    bindings: usize,
) -> std::result::Result<Lowering, (usize, Stop, Vec<usize>)> {
    let mut lowerer = Lowerer {
        graph,
        caps,
        choice,
        needed: needed(graph, choice),
        steps: Vec::new(),
        scratch: Vec::new(),
        replaced: HashSet::new(),
        failed: Vec::new(),
    };
    for at in crate::fuse::order(&choice.groups) {
        let first = lowerer.steps.len();
        if let Err(stop) = lowerer.group(&choice.groups[at]) {
            return Err((at, stop, lowerer.failed));
        }
        let most = lowerer.steps[first..].iter().map(|s| s.bindings.len()).max().unwrap_or(0);
        let shrinks = choice.groups[at].members.len() + choice.groups[at].writes.iter().flatten().count() > 1
            || (choice.groups[at].heavy.is_some() && !choice.groups[at].members.is_empty());
        if most > bindings && shrinks {
            return Err((at, Stop::Refused(Refusal::Slot), Vec::new()));
        }
    }
    Ok(Lowering { steps: lowerer.steps, scratch: lowerer.scratch })
}

/// Nodes whose elements somebody outside of their kernel reads.
fn needed(graph: &Graph, choice: &Choice) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes.len()];
    for &root in graph.roots.iter().chain(&graph.guards) {
        needed[root as usize] = true;
    }
    for group in &choice.groups {
        let own: HashSet<u32> = group.heavy.iter().chain(&group.members).copied().collect();
        let starts = group.heavy.iter().chain(&group.members).copied();
        let mut stack: Vec<u32> = starts.flat_map(|n| graph.inputs(n)).copied().collect();
        stack.extend(group.writes.iter().flatten().map(|&w| graph.writes[w].value));
        let mut seen = HashSet::new();
        while let Some(node) = stack.pop() {
            if !seen.insert(node) || graph.role(node) != Role::Compute {
                continue;
            }
            if matches!(graph.op(node), Op::Second) {
                needed[node as usize] = true;
            } else if choice.stored(node) {
                needed[node as usize] |= !own.contains(&node);
            } else {
                stack.extend(graph.inputs(node));
            }
        }
    }
    needed
}

struct Lowerer<'a> {
    graph: &'a Graph,
    caps: &'a Caps,
    choice: &'a Choice,
    needed: Vec<bool>,
    steps: Vec<Lowered>,
    scratch: Vec<(Operand, u64)>,
    /// Cells that the steps so far replace.
    replaced: HashSet<u64>,
    /// The replacements that could not be lowered.
    failed: Vec<usize>,
}

fn scalar(dtype: DType) -> Scalar {
    match dtype {
        DType::F32 | DType::F16 => Scalar::F32,
        DType::I32 => Scalar::I32,
        DType::U32 | DType::Bool => Scalar::U32,
    }
}

fn product(dims: &[usize]) -> u32 {
    dims.iter().product::<usize>() as u32
}

impl<'a> Lowerer<'a> {
    fn group(&mut self, group: &Group) -> std::result::Result<(), Stop> {
        if let Some(number) = group.guard {
            return self.guard(number);
        }
        if !group.writes.is_empty() {
            return self.write_cells(group);
        }
        match group.heavy {
            Some(node) => self.heavy(node, group),
            None => self.map(group),
        }
    }

    fn guard(&mut self, loss: u32) -> std::result::Result<(), Stop> {
        let launch = guard::launch(self.caps, 1, 0)?;
        let bindings = vec![("x".to_string(), self.operand(loss)), ("fault".to_string(), Operand::Fault)];
        self.steps.push(Lowered {
            source: launch.source,
            label: "guard".into(),
            groups: launch.groups,
            params: launch.params.0,
            words: vec![(4, Word::Site(loss))],
            bindings,
        });
        Ok(())
    }

    /// What holds the elements of an operand that a kernel reads as memory.
    fn operand(&self, node: u32) -> Operand {
        let (base, _) = self.choice.resolve(self.graph, node);
        if self.graph.role(base) == Role::Compute && matches!(self.graph.op(base), Op::Second) {
            Operand::Second(self.graph.inputs(base)[0])
        } else {
            Operand::Node(base)
        }
    }

    fn kernel(&self, group: &Group) -> Kernel<'a> {
        let mut kernel = Kernel::new(self.graph, self.choice);
        kernel.members = group.members.clone();
        kernel
    }

    /// What a group stores: members that others read, and the kernel's own result if others read that.
    fn targets(&self, group: &Group) -> Vec<Target> {
        let all = group.heavy.iter().chain(&group.members);
        all.filter(|&&n| self.needed[n as usize]).map(|&node| Target { node, to: Operand::Node(node) }).collect()
    }

    /// A kernel's launch with the slots' code and the words that they use.
    fn push(
        &mut self,
        kernel: Kernel<'_>,
        launch: Launch,
        slots: &[(&str, String)],
        label: String,
        fixed: Vec<(String, Operand)>,
        mut words: Vec<(usize, Word)>,
    ) {
        let (mut source, mut params) = (launch.source, launch.params.0);
        for (name, body) in slots {
            source = source.slot(name, body.clone());
        }
        for (name, ty, word) in &kernel.params {
            source = source.param(name, ty);
            let bits = match word {
                Word::Fixed(bits) => *bits,
                Word::Scalar(_) | Word::Site(_) => {
                    words.push((params.len(), *word));
                    0
                }
            };
            params.extend(bits.to_le_bytes());
        }
        let mut declarations = kernel.declarations;
        for (alias, elem) in [("F", "f32"), ("I", "i32"), ("U", "u32"), ("B", "bool")] {
            if !source.has_alias(alias) {
                let ty = if launch.width == 4 { format!("vec4<{elem}>") } else { elem.to_string() };
                declarations.push_str(&format!("alias {alias} = {ty};\n"));
            }
        }
        let mut bindings = fixed;
        bindings.extend(kernel.bindings);
        let name = label.clone();
        self.steps.push(Lowered {
            source: source.named(name).declare(declarations),
            label,
            groups: launch.groups,
            params,
            words,
            bindings,
        });
    }

    fn label(&self, group: &Group, kernel: &Kernel<'_>) -> String {
        let mut names: Vec<&str> = group.heavy.iter().map(|&h| self.graph.op(h).name()).collect();
        for name in &kernel.ops {
            if names.last() != Some(name) && names.len() < 6 {
                names.push(name);
            }
        }
        if names.is_empty() { "copy".into() } else { names.join(" ") }
    }

    /// A `map` kernel over the elements of its members.
    fn map(&mut self, group: &Group) -> std::result::Result<(), Stop> {
        let targets = self.targets(group);
        let Some(&model) = group.members.first() else { return Ok(()) };
        let shape = self.graph.shape(model);
        let width = if self.widens(group, &HashMap::new(), &shape, &targets)? { 4 } else { 1 };
        let mut kernel = self.kernel(group);
        let head = format!("    let e = i{};\n", if width == 4 { " * 4u" } else { "" });
        let axes = vec![Axis::new("e", &shape)];
        let body = kernel.slot(axes, None)?.store(&targets, width, width, true, &head)?;
        let launch = map::launch(self.caps, shape.numel().div_ceil(width as usize) as u32, width)?;
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("body", body)], label, Vec::new(), Vec::new());
        Ok(())
    }

    /// Whether a map over `shape` handles four elements at once.
    fn widens(
        &self,
        group: &Group,
        in_place: &HashMap<u32, usize>,
        shape: &Shape,
        targets: &[Target],
    ) -> std::result::Result<bool, Stop> {
        let mut trial = self.kernel(group);
        trial.in_place = in_place.clone();
        let mut slot = trial.slot(vec![Axis::new("e", shape)], None)?;
        for target in targets {
            slot.value(target.node, &[])?;
        }
        Ok(slot.widens(true))
    }

    /// Replacements of cells, in place, unless the run has met a fault: one `map` kernel, each set of cells after the other.
    fn write_cells(&mut self, group: &Group) -> std::result::Result<(), Stop> {
        let in_place = self.in_place(group)?;
        let mut sets = Vec::new();
        for set in &group.writes {
            self.failed = set.clone();
            let targets: Vec<Target> =
                set.iter().map(|&w| Target { node: self.graph.writes[w].value, to: Operand::Cell(w) }).collect();
            let shape = self.graph.shape(targets[0].node);
            let lanes = if self.widens(group, &in_place, &shape, &targets)? { 4 } else { 1 };
            sets.push((shape, targets, lanes));
        }
        let width = sets.iter().map(|(_, _, lanes)| *lanes).max().unwrap_or(1);
        let mut kernel = self.kernel(group);
        kernel.in_place = in_place;
        let mut body = kernel.stop_on_fault();
        let mut work = 0;
        body.push_str("    var j = i;\n");
        for ((shape, targets, lanes), set) in sets.iter().zip(&group.writes) {
            self.failed = set.clone();
            let count = shape.numel().div_ceil(*lanes as usize) as u32;
            work += count;
            let size = kernel.param("u32", Word::Fixed(count));
            let head = format!("    let e = j{};\n", if *lanes == 4 { " * 4u" } else { "" });
            let store = kernel.slot(vec![Axis::new("e", shape)], None)?.store(targets, width, *lanes, true, &head)?;
            let _ = write!(body, "    if j < {size} {{\n{store}    return;\n    }}\n    j -= {size};\n");
        }
        let launch = map::launch(self.caps, work, width)?;
        self.replaced.extend(group.writes.iter().flatten().map(|&w| self.graph.writes[w].cell.info.id));
        let label = format!("update {}", self.label(group, &kernel));
        self.push(kernel, launch, &[("body", body)], label, Vec::new(), Vec::new());
        Ok(())
    }

    /// The present contents that a group of writes replaces where it reads them.
    fn in_place(&mut self, group: &Group) -> std::result::Result<HashMap<u32, usize>, Stop> {
        let graph = self.graph;
        let id = |w: usize| graph.writes[w].cell.info.id;
        let set_of: HashMap<u64, usize> =
            group.writes.iter().enumerate().flat_map(|(s, set)| set.iter().map(move |&w| (id(w), s))).collect();
        let written: HashMap<u64, usize> = (0..graph.writes.len()).map(|w| (id(w), w)).collect();
        let mut in_place = HashMap::new();
        for (number, set) in group.writes.iter().enumerate() {
            self.failed = set.clone();
            let (mut stack, mut seen): (Vec<u32>, _) =
                (set.iter().map(|&w| graph.writes[w].value).collect(), HashSet::new());
            while let Some(node) = stack.pop() {
                if !seen.insert(node) {
                    continue;
                }
                if let Some(cell) = content(&graph.nodes[node as usize].tensor)
                    && let Some(&write) = written.get(&cell.id)
                {
                    match set_of.get(&cell.id) {
                        Some(own) if *own == number => {
                            in_place.insert(node, write);
                        }
                        // somebody else has replaced it already, or may have
                        Some(_) => return Err(Refusal::Slot.into()),
                        None if self.replaced.contains(&cell.id) => return Err(Refusal::Slot.into()),
                        None => {}
                    }
                }
                if graph.role(node) == Role::Compute && !self.choice.stored(node) {
                    if matches!(graph.op(node), Op::Gather(_)) {
                        return Err(Refusal::Slot.into()); // an index out of range must be known before
                    }
                    stack.extend(graph.inputs(node));
                }
            }
        }
        Ok(in_place)
    }

    fn heavy(&mut self, node: u32, group: &Group) -> std::result::Result<(), Stop> {
        let graph = self.graph;
        match graph.op(node) {
            Op::Reduce(kind, mask) => self.reduce(node, group, *kind, *mask),
            Op::Matmul => self.matmul(node, group),
            Op::Softmax { .. } | Op::Norm { .. } | Op::NormGrad { .. } => self.rows(node, group),
            Op::Conv(spec) | Op::ConvInput(spec) | Op::ConvWeight(spec) => self.conv(node, group, spec),
            Op::MaxPool(w) | Op::MaxPoolGrad(w) | Op::AvgPool(w) | Op::AvgPoolGrad(w) => self.pool(node, group, w),
            Op::Scan { .. } | Op::Sort { .. } | Op::SegmentSum => self.stages(node, group),
            Op::Custom(_) => self.custom(node),
            other => unreachable!("{} has no kernel", other.name()),
        }
    }

    /// The output slot over `axes`, for a kernel whose types have `width` components.
    fn store_slot(
        &self,
        kernel: &mut Kernel<'a>,
        group: &Group,
        axes: Vec<Axis>,
        width: u32,
        lanes: u32,
    ) -> std::result::Result<String, Stop> {
        let primary = group.heavy.map(|h| (h, "v"));
        let targets = self.targets(group);
        Ok(kernel.slot(axes, primary)?.store(&targets, width, lanes, false, "")?)
    }

    fn reduce(&mut self, node: u32, group: &Group, kind: Reduction, mask: u8) -> std::result::Result<(), Stop> {
        let graph = self.graph;
        let x = graph.inputs(node)[0];
        let own = graph.shape(x);
        let reduced = |a: &usize| mask & (1 << a) != 0;
        if own.numel() == 0 {
            return self.fill(node, group, crate::ops::reduce::identity(kind));
        }
        let gone: Vec<usize> = (0..own.rank()).filter(reduced).collect();
        let kept: Vec<usize> = (0..own.rank()).filter(|a| !reduced(a)).collect();
        let last_reduced = gone.iter().copied().filter(|&a| own[a] > 1).max();
        let inner: Vec<usize> = kept.iter().copied().filter(|&a| last_reduced.is_some_and(|l| a > l)).collect();
        let by_columns = product(&inner.iter().map(|&a| own[a]).collect::<Vec<_>>()) > 1;
        let simple = matches!(kind, Reduction::Sum | Reduction::Prod | Reduction::Max | Reduction::Min);
        if by_columns && simple {
            let outer: Vec<usize> = kept.iter().copied().filter(|a| !inner.contains(a)).collect();
            return self.reduce_columns(node, group, [outer, gone, inner]);
        }
        self.reduce_rows(node, group, kept, gone, kind)
    }

    /// A node that is a constant after all.
    fn fill(&mut self, node: u32, group: &Group, value: f32) -> std::result::Result<(), Stop> {
        let shape = self.graph.shape(node);
        let dtype = self.graph.dtype(node);
        let launch = map::launch(self.caps, shape.numel() as u32, 1)?;
        let mut kernel = self.kernel(group);
        let ty = dtype.wgsl();
        let number = if value.is_finite() {
            format!("{ty}({value:?})")
        } else {
            format!("{ty}({}inf_())", if value < 0.0 { "-" } else { "" })
        };
        let number = if dtype.is_float() { number } else { format!("{ty}({})", value as i32) };
        let body = self.store_slot(&mut kernel, group, vec![Axis::new("e", &shape)], 1, 1)?;
        let body = format!("    let e = i;\n    let v = {number};\n{body}");
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("body", body)], label, Vec::new(), Vec::new());
        Ok(())
    }

    fn order(own: &Shape, order: &[usize]) -> (Vec<ViewOp>, Vec<usize>) {
        let straight = order.iter().enumerate().all(|(i, &a)| i == a);
        let chain = if straight { vec![] } else { vec![ViewOp::Permute(order.iter().map(|&a| a as u8).collect())] };
        (chain, order.iter().map(|&a| own[a]).collect())
    }

    fn reduce_columns(
        &mut self,
        node: u32,
        group: &Group,
        [outer, gone, inner]: [Vec<usize>; 3],
    ) -> std::result::Result<(), Stop> {
        let graph = self.graph;
        let Op::Reduce(kind, _) = graph.op(node) else { return Ok(()) };
        let x = graph.inputs(node)[0];
        let own = graph.shape(x);
        let order: Vec<usize> = outer.iter().chain(&gone).chain(&inner).copied().collect();
        let (chain, dims) = Self::order(&own, &order);
        let (a, b) = (outer.len(), outer.len() + gone.len());
        let [d0, d1, d2] = [&dims[..a], &dims[a..b], &dims[b..]];
        let ty = scalar(graph.dtype(node));
        let mut kernel = self.kernel(group);
        let axes = vec![Axis::new("outer", d0), Axis::new("row", d1), Axis::new("inner", d2)];
        let (load, width) = kernel.slot(axes, None)?.load_wide(x, &chain)?;
        let chunks = reduce::col_chunks(self.caps, product(d0), product(d1), product(d2), width);
        let p = reduce::Cols {
            kind: kind_of(*kind),
            ty,
            outer: product(d0),
            rows: product(d1),
            inner: product(d2),
            width,
            chunks,
        };
        let launch = reduce::cols(self.caps, &p)?;
        let label = self.label(group, &kernel);
        let out = [d0, d2].map(|d| d.to_vec());
        if chunks == 1 {
            let store = self.store_slot(
                &mut kernel,
                group,
                vec![Axis::new("outer", d0), Axis::new("inner", d2)],
                width,
                width,
            )?;
            let label = self.label(group, &kernel);
            self.push(kernel, launch, &[("load", load), ("store", store)], label, Vec::new(), Vec::new());
            return Ok(());
        }
        let part = self.scratch(node, 0, u64::from(p.outer) * u64::from(chunks) * u64::from(p.inner) * 4);
        self.push(kernel, launch, &[("load", load)], label, vec![("out".into(), part)], Vec::new());
        self.finish_columns(node, group, part, reduce::Cols { rows: chunks, chunks: 1, ..p }, out)
    }

    /// The second half of a sum in parts: [outer, parts, inner] → [outer, inner], with the output slot.
    fn finish_columns(
        &mut self,
        _node: u32,
        group: &Group,
        part: Operand,
        p: reduce::Cols,
        [d0, d2]: [Vec<usize>; 2],
    ) -> std::result::Result<(), Stop> {
        let axes = || vec![Axis::new("outer", &d0), Axis::new("inner", &d2)];
        let widths: &[u32] = if p.inner % 4 == 0 { &[4, 1] } else { &[1] };
        let mut refused = Stop::Refused(Refusal::Slot);
        for &width in widths {
            let mut kernel = self.kernel(group);
            match self.store_slot(&mut kernel, group, axes(), width, width) {
                Ok(store) => {
                    let launch = reduce::cols(self.caps, &reduce::Cols { width, ..p })?;
                    let label = self.label(group, &kernel);
                    self.push(kernel, launch, &[("store", store)], label, vec![("x".into(), part)], Vec::new());
                    return Ok(());
                }
                Err(stop) => refused = stop,
            }
        }
        Err(refused)
    }

    fn scratch(&mut self, node: u32, number: usize, bytes: u64) -> Operand {
        let operand = Operand::Scratch(node, number);
        self.scratch.push((operand, bytes));
        operand
    }

    fn reduce_rows(
        &mut self,
        node: u32,
        group: &Group,
        kept: Vec<usize>,
        gone: Vec<usize>,
        kind: Reduction,
    ) -> std::result::Result<(), Stop> {
        let graph = self.graph;
        let x = graph.inputs(node)[0];
        let own = graph.shape(x);
        let order: Vec<usize> = kept.iter().chain(&gone).copied().collect();
        let (chain, dims) = Self::order(&own, &order);
        let (outer, inner) = dims.split_at(kept.len());
        let (rows, cols) = (product(outer), product(inner));
        let ty = scalar(graph.dtype(x));
        let mut kernel = self.kernel(group);
        let axes = vec![Axis::new("row", outer), Axis::new("col", inner)];
        let arg = matches!(kind, Reduction::ArgMax | Reduction::ArgMin);
        let slot = kernel.slot(axes, None)?;
        let (load, width) = if arg { (slot.load(x, &chain, 1)?, 1) } else { slot.load_wide(x, &chain)? };
        let launch = match kind {
            Reduction::ArgMax | Reduction::ArgMin => {
                reduce::arg_rows(self.caps, &reduce::Arg { max: kind == Reduction::ArgMax, ty, rows, cols })?
            }
            Reduction::LogSumExp => softmax::logsumexp(self.caps, &softmax::LogSumExp { rows, cols, width })?,
            _ => {
                let chunks = reduce::row_chunks(self.caps, rows, cols);
                let p = reduce::Rows { kind: kind_of(kind), ty, rows, cols, width, chunks };
                if chunks > 1 {
                    return self.reduce_in_parts(node, group, kernel, load, p, outer);
                }
                reduce::rows(self.caps, &p)?
            }
        };
        let store = self.store_slot(&mut kernel, group, vec![Axis::new("row", outer)], width, 1)?;
        let store = if arg { store.replace("I(v)", "I(index)").replace("= v;", "= index;") } else { store };
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("load", load), ("store", store)], label, Vec::new(), Vec::new());
        Ok(())
    }

    fn reduce_in_parts(
        &mut self,
        node: u32,
        group: &Group,
        kernel: Kernel<'a>,
        load: String,
        p: reduce::Rows,
        outer: &[usize],
    ) -> std::result::Result<(), Stop> {
        let part = self.scratch(node, 0, u64::from(p.rows) * u64::from(p.chunks) * 4);
        let label = self.label(group, &kernel);
        self.push(
            kernel,
            reduce::rows(self.caps, &p)?,
            &[("load", load)],
            label,
            vec![("out".into(), part)],
            Vec::new(),
        );
        let mut kernel = self.kernel(group);
        let launch = reduce::rows(self.caps, &reduce::Rows { cols: p.chunks, width: 1, chunks: 1, ..p })?;
        let store = self.store_slot(&mut kernel, group, vec![Axis::new("row", outer)], 1, 1)?;
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("store", store)], label, vec![("x".into(), part)], Vec::new());
        Ok(())
    }

    /// Softmax, norms and their gradient: rows of the last axis, read and written through slots.
    fn rows(&mut self, node: u32, group: &Group) -> std::result::Result<(), Stop> {
        let graph = self.graph;
        let own = graph.shape(node);
        let (outer, inner) = own.split_at(own.rank() - 1);
        let (rows, cols) = (product(outer), product(inner));
        let inputs = graph.inputs(node).to_vec();
        let through = if matches!(graph.op(node), Op::NormGrad { .. }) { inputs[2] } else { inputs[0] };
        let axes = || vec![Axis::new("row", outer), Axis::new("col", inner)];
        let mut refused = Stop::Refused(Refusal::Slot);
        for width in [4, 1] {
            if width == 4 && cols % 4 != 0 {
                continue;
            }
            let mut kernel = self.kernel(group);
            let load = kernel.slot(axes(), None)?.load(through, &[], width);
            let stored = load
                .map_err(Stop::from)
                .and_then(|load| Ok((load, self.store_slot(&mut kernel, group, axes(), width, width)?)));
            let (load, store) = match stored {
                Ok(pair) => pair,
                Err(stop) => {
                    refused = stop;
                    continue;
                }
            };
            let (mut fixed, mut words) = (Vec::new(), Vec::new());
            let launch = match graph.op(node) {
                Op::Softmax { log } => softmax::rows(self.caps, &softmax::Rows { log: *log, rows, cols, width })?,
                Op::Norm { center } => {
                    let launch = norm::rows(self.caps, &norm::Rows { center: *center, rows, cols, width, eps: 0.0 })?;
                    words.push((launch.params.0.len() - 4, Word::Scalar(inputs[1])));
                    fixed.push(("rstd".into(), Operand::Second(node)));
                    launch
                }
                Op::NormGrad { center } => {
                    fixed.push(("xhat".into(), self.operand(inputs[0])));
                    fixed.push(("rstd".into(), self.operand(inputs[1])));
                    norm::grad(self.caps, &norm::Grad { center: *center, rows, cols, width })?
                }
                other => unreachable!("{} has no rows", other.name()),
            };
            let label = self.label(group, &kernel);
            self.push(kernel, launch, &[("load", load), ("store", store)], label, fixed, words);
            return Ok(());
        }
        Err(refused)
    }

    fn matmul(&mut self, node: u32, group: &Group) -> std::result::Result<(), Stop> {
        let graph = self.graph;
        let own = graph.shape(node);
        let (a, b) = (graph.inputs(node)[0], graph.inputs(node)[1]);
        let batch: Vec<usize> = own[..own.rank() - 2].to_vec();
        let (m, n, k) = (own.from_end(2), own.from_end(1), graph.shape(a).from_end(1));
        if k == 0 {
            return self.fill(node, group, 0.0);
        }
        let layout = |x: u32| {
            let (base, chain) = self.choice.resolve(graph, x);
            Layout::contiguous(&graph.shape(base)).after(&chain).filter(Layout::is_strided).ok_or(Refusal::Store(x))
        };
        let (la, lb) = (layout(a)?, layout(b)?);
        let Some(merged) = merge_batches(&batch, &la, &lb) else {
            // one of the operands is copied; the one with more axes that do not merge
            return Err(Refusal::Store(if la.is_linear() { b } else { a }).into());
        };
        let rank = own.rank();
        let strides = |l: &Layout, batch: [usize; 2]| matmul::Strides {
            offset: l.offset as u32,
            batch: batch.map(|s| s as u32),
            row: l.strides[rank - 2] as u32,
            col: l.strides[rank - 1] as u32,
        };
        let elem = |x: u32| if graph.dtype(x) == DType::F16 { matmul::Elem::F16 } else { matmul::Elem::F32 };
        let mut p = matmul::Problem::new(
            merged.dims.map(|d| d as u32),
            m as u32,
            n as u32,
            k as u32,
            strides(&la, merged.a),
            strides(&lb, merged.b),
        );
        (p.a_elem, p.b_elem) = (elem(a), elem(b));
        p.split = matmul::splits(self.caps, &p);
        let launch = matmul::launch(self.caps, &p)?;
        let fixed = vec![("a".to_string(), self.operand(a)), ("b".to_string(), self.operand(b))];
        let mut kernel = self.kernel(group);
        if p.split == 1 {
            let axes = vec![Axis::new("batch", &batch), Axis::new("row", &[m]), Axis::new("col", &[n])];
            let store = self.store_slot(&mut kernel, group, axes, launch.width, launch.width)?;
            let label = self.label(group, &kernel);
            self.push(kernel, launch, &[("store", store)], label, fixed, Vec::new());
            return Ok(());
        }
        let size = own.numel() as u32;
        let part = self.scratch(node, 0, u64::from(p.split) * u64::from(size) * 4);
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[], label, [fixed, vec![("out".into(), part)]].concat(), Vec::new());
        let p = reduce::Cols {
            kind: Kind::Sum,
            ty: Scalar::F32,
            outer: 1,
            rows: p.split,
            inner: size,
            width: 1,
            chunks: 1,
        };
        self.finish_columns(node, group, part, p, [vec![], own.to_vec()])
    }

    fn conv(&mut self, node: u32, group: &Group, spec: &ConvSpec) -> std::result::Result<(), Stop> {
        let graph = self.graph;
        let three = |d: [usize; 3]| d.map(|v| v as u32);
        let p = conv::Problem {
            n: spec.batch as u32,
            c_in: spec.inputs as u32,
            c_out: spec.outputs as u32,
            groups: spec.groups as u32,
            input: three(spec.input),
            output: three(spec.output),
            kernel: three(spec.kernel),
            stride: three(spec.stride),
            padding: three(spec.padding),
            dilation: three(spec.dilation),
        };
        let own = graph.shape(node);
        let operands: Vec<Operand> = graph.inputs(node).iter().map(|&i| self.operand(i)).collect();
        if graph.inputs(node).iter().any(|&i| graph.role(i) == Role::Empty) {
            return self.fill(node, group, 0.0);
        }
        let mut kernel = self.kernel(group);
        let (launch, names) = match graph.op(node) {
            Op::Conv(_) => (conv::forward(self.caps, &p)?, ["x", "w"]),
            Op::ConvInput(_) => (conv::input_grad(self.caps, &p)?, ["dy", "w"]),
            _ => {
                let split = conv::weight_grad_splits(self.caps, &p);
                let launch = conv::weight_grad(self.caps, &p, split)?;
                let fixed = vec![("x".to_string(), operands[0]), ("dy".to_string(), operands[1])];
                if split > 1 {
                    let size = own.numel() as u32;
                    let part = self.scratch(node, 0, u64::from(split) * u64::from(size) * 4);
                    let label = self.label(group, &kernel);
                    self.push(kernel, launch, &[], label, [fixed, vec![("out".into(), part)]].concat(), Vec::new());
                    let p = reduce::Cols {
                        kind: Kind::Sum,
                        ty: Scalar::F32,
                        outer: 1,
                        rows: split,
                        inner: size,
                        width: 1,
                        chunks: 1,
                    };
                    return self.finish_columns(node, group, part, p, [vec![], own.to_vec()]);
                }
                let axes = vec![Axis::new("s", &[1]), Axis::new("c", &own[..1]), Axis::new("q", &own[1..])];
                let store = self.store_slot(&mut kernel, group, axes, launch.width, launch.width)?;
                let label = self.label(group, &kernel);
                self.push(kernel, launch, &[("store", store)], label, fixed, Vec::new());
                return Ok(());
            }
        };
        let axes = vec![Axis::new("n", &own[..1]), Axis::new("c", &own[1..2]), Axis::new("p", &own[2..])];
        let store = self.store_slot(&mut kernel, group, axes, launch.width, launch.width)?;
        let fixed = names.iter().zip(&operands).map(|(name, o)| (name.to_string(), *o)).collect();
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("store", store)], label, fixed, Vec::new());
        Ok(())
    }

    fn pool(&mut self, node: u32, group: &Group, window: &Window) -> std::result::Result<(), Stop> {
        let graph = self.graph;
        let three = |d: [usize; 3]| d.map(|v| v as u32);
        let p = pool::Problem {
            planes: window.planes as u32,
            input: three(window.input),
            output: three(window.output),
            kernel: three(window.kernel),
            stride: three(window.stride),
            padding: three(window.padding),
            dilation: three(window.dilation),
        };
        let divisor = if window.count_padding { pool::Divisor::WithPadding } else { pool::Divisor::WithoutPadding };
        let operand = |i: usize| self.operand(graph.inputs(node)[i]);
        let (launch, fixed) = match graph.op(node) {
            Op::MaxPool(_) => (pool::max(self.caps, &p)?, vec![("x", operand(0)), ("index", Operand::Second(node))]),
            Op::MaxPoolGrad(_) => (pool::max_grad(self.caps, &p)?, vec![("index", operand(0)), ("dy", operand(1))]),
            Op::AvgPool(_) => (pool::avg(self.caps, &p, divisor)?, vec![("x", operand(0))]),
            _ => (pool::avg_grad(self.caps, &p, divisor)?, vec![("dy", operand(0))]),
        };
        let own = graph.shape(node);
        // planes are the leading axes, however many there are
        let area: usize = if matches!(graph.op(node), Op::MaxPool(_) | Op::AvgPool(_)) {
            window.output.iter().product()
        } else {
            window.input.iter().product()
        };
        let mut split = own.rank();
        while split > 0 && own[split..].iter().product::<usize>() < area {
            split -= 1;
        }
        while own[split..].iter().product::<usize>() > area {
            split += 1;
        }
        let mut kernel = self.kernel(group);
        let axes = vec![Axis::new("nc", &own[..split]), Axis::new("p", &own[split..])];
        let store = self.store_slot(&mut kernel, group, axes, launch.width, launch.width)?;
        let label = self.label(group, &kernel);
        let fixed = fixed.into_iter().map(|(name, o)| (name.to_string(), o)).collect();
        self.push(kernel, launch, &[("store", store)], label, fixed, Vec::new());
        Ok(())
    }

    /// Kernels of several launches: scans, sorts, segmented sums.
    fn stages(&mut self, node: u32, group: &Group) -> std::result::Result<(), Stop> {
        let graph = self.graph;
        let inputs = graph.inputs(node).to_vec();
        let own = graph.shape(node);
        let sorting = matches!(graph.op(node), Op::Sort { .. });
        let (through, (outer, inner)) = match graph.op(node) {
            Op::SegmentSum => (inputs[2], own.split_at(1)),
            _ => (inputs[0], own.split_at(own.rank() - 1)),
        };
        let (rows, cols) = (product(outer), product(inner));
        let ty = scalar(graph.dtype(node));
        let source_dims = graph.shape(through);
        let (mut fixed, mut width) = (Vec::new(), 1);
        let stages: Stages = match graph.op(node) {
            Op::Scan { product } => {
                let kind = if *product { Kind::Prod } else { Kind::Sum };
                scan::rows(self.caps, &scan::Rows { kind, ty, rows, cols })?
            }
            Op::Sort { descending } => {
                fixed.push(("out".to_string(), Operand::Node(node)));
                fixed.push(("indices".to_string(), Operand::Second(node)));
                sort::rows(self.caps, &sort::Rows { ty, rows, cols, descending: *descending, bits: 32 })?
            }
            _ => {
                fixed.push(("sorted".to_string(), self.operand(inputs[0])));
                fixed.push(("perm".to_string(), self.operand(inputs[1])));
                let n = source_dims[0] as u32;
                width = if cols % 4 == 0 { 4 } else { 1 };
                segment::sum(self.caps, &segment::Sum { n, rows, cols, width, key: Scalar::I32 })?
            }
        };
        if source_dims.numel() == 0 {
            return self.fill(node, group, 0.0);
        }
        let scratch: Vec<Operand> =
            stages.scratch.iter().enumerate().map(|(i, &bytes)| self.scratch(node, i, bytes)).collect();
        let load_axes = || match graph.op(node) {
            Op::SegmentSum => vec![Axis::new("row", &source_dims[..1]), Axis::new("col", &source_dims[1..])],
            _ => vec![Axis::new("row", outer), Axis::new("col", inner)],
        };
        for stage in stages.stages {
            let mut kernel = self.kernel(group);
            let mut slots = Vec::new();
            if stage.loads {
                slots.push(("load", kernel.slot(load_axes(), None)?.load(through, &[], width)?));
            }
            let mut bound = fixed.clone();
            if stage.stores && !sorting {
                let axes = vec![Axis::new("row", outer), Axis::new("col", inner)];
                slots.push(("store", self.store_slot(&mut kernel, group, axes, width, width)?));
            }
            bound.retain(|(name, _)| !stage.scratch.iter().any(|(own, _)| own == name));
            bound.extend(stage.scratch.iter().map(|&(name, i)| (name.to_string(), scratch[i])));
            let label = self.label(group, &kernel);
            self.push(kernel, stage.launch, &slots, label, bound, Vec::new());
        }
        Ok(())
    }

    fn custom(&mut self, node: u32) -> std::result::Result<(), Stop> {
        let graph = self.graph;
        let Op::Custom(op) = graph.op(node) else { return Ok(()) };
        let shapes: Vec<Shape> = graph.inputs(node).iter().map(|&i| graph.shape(i)).collect();
        let launch = op.launch(&shapes);
        let mut bindings: Vec<(String, Operand)> =
            op.inputs().iter().zip(graph.inputs(node)).map(|(name, &i)| (name.to_string(), self.operand(i))).collect();
        bindings.push(("out".into(), Operand::Node(node)));
        self.steps.push(Lowered {
            source: launch.source,
            label: op.name().into(),
            groups: launch.groups,
            params: launch.params.0,
            words: Vec::new(),
            bindings,
        });
        Ok(())
    }
}

fn kind_of(kind: Reduction) -> Kind {
    match kind {
        Reduction::Prod => Kind::Prod,
        Reduction::Max => Kind::Max,
        Reduction::Min => Kind::Min,
        _ => Kind::Sum,
    }
}

/// The batch axes of a product as two, with the strides of both operands.
struct Batches {
    dims: [usize; 2],
    a: [usize; 2],
    b: [usize; 2],
}

fn merge_batches(batch: &[usize], a: &Layout, b: &Layout) -> Option<Batches> {
    let mut runs: Vec<(usize, isize, isize)> = Vec::new();
    for (axis, &extent) in batch.iter().enumerate() {
        if extent == 1 {
            continue;
        }
        let (sa, sb) = (a.strides[axis], b.strides[axis]);
        match runs.last_mut() {
            Some(run) if run.1 == sa * extent as isize && run.2 == sb * extent as isize => {
                *run = (run.0 * extent, sa, sb)
            }
            _ => runs.push((extent, sa, sb)),
        }
    }
    if runs.len() > 2 {
        return None;
    }
    while runs.len() < 2 {
        runs.insert(0, (1, 0, 0));
    }
    let at = |i: usize| (runs[i].0, runs[i].1 as usize, runs[i].2 as usize);
    Some(Batches { dims: [at(0).0, at(1).0], a: [at(0).1, at(1).1], b: [at(0).2, at(1).2] })
}
