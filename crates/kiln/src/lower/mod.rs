//! From groups of nodes to launches: which kernel, over which sizes, with which code in its slots.

mod attempt;
mod attention;
mod cells;
mod recurrence;
mod reduce;
mod rows;
mod window;

use crate::emit::{Axis, Kernel, Operand, Refusal, Slot, Target, Word};
use crate::error::Error;
use crate::fuse::{Choice, Group};
use crate::graph::{Graph, Role};
use crate::node::Op;
use crate::{DType, Shape};
pub(crate) use attempt::lower;
use kiln_device::kernels::{Scalar, map};
use kiln_device::{Caps, Launch, Source};
use std::collections::{HashMap, HashSet};

/// What lowering a group gives.
type Lowers<T = ()> = std::result::Result<T, Stop>;

/// A launch with everything in its slots, and what is to be bound.
pub(crate) struct Lowered {
    pub(crate) source: Source,
    pub(crate) label: String,
    pub(crate) groups: [u32; 3],
    pub(crate) ops: u64,
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

struct Lowerer<'a> {
    graph: &'a Graph,
    /// For choices that rest on more than capabilities: self-tests, tuning, precision.
    gpu: &'a kiln_device::Device,
    caps: &'a Caps,
    choice: &'a Choice,
    fusion: bool,
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
    fn group(&mut self, group: &Group) -> Lowers {
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
        kernel.watches = self.fusion;
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
                Word::Scalar(_) | Word::Site(_) | Word::Guard(_) => {
                    words.push((params.len(), *word));
                    0
                }
            };
            params.extend(bits.to_le_bytes());
        }
        let mut declarations = kernel.declarations;
        for (alias, elem) in [("F", "f32"), ("I", "i32"), ("U", "u32"), ("L", "bool")] {
            if !source.has_alias(alias) {
                let ty = if launch.width == 4 { format!("vec4<{elem}>") } else { elem.to_string() };
                declarations.push_str(&format!("alias {alias} = {ty};\n"));
            }
        }
        let mut bindings = fixed;
        bindings.extend(kernel.bindings);
        // an optimizer's numbers change with each step, those of a model hardly ever
        let updates = bindings.iter().any(|(_, operand)| matches!(operand, Operand::Cell(_)));
        if updates && words.iter().any(|(_, word)| matches!(word, Word::Scalar(_))) {
            source = source.changing();
        }
        let name = label.clone();
        self.steps.push(Lowered {
            source: source.named(name).declare(declarations),
            label,
            groups: launch.groups,
            ops: launch.ops,
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
    fn map(&mut self, group: &Group) -> Lowers {
        let targets = self.targets(group);
        let Some(&model) = group.members.first() else { return Ok(()) };
        let shape = self.graph.shape(model);
        let look = |slot: &Slot<'_, '_>| (slot.widens(true), slot.turned());
        let (widens, turned) = self.tried(group, &HashMap::new(), &shape, &targets, look)?;
        let width = if widens { 4 } else { 1 };
        let mut kernel = self.kernel(group);
        let head = format!("    let e = i{};\n", if width == 4 { " * 4u" } else { "" });
        let axes = vec![Axis::new("e", &shape)];
        let body = kernel.slot(axes, None)?.store(&targets, width, width, true, &head)?;
        let count = shape.numel().div_ceil(width as usize) as u32;
        let launch = match turned {
            Some(across) => map::turned(self.caps, count, across as u32 / width, width)?,
            None => map::launch(self.caps, count, width)?,
        };
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("body", body)], label, Vec::new(), Vec::new());
        Ok(())
    }

    /// What is to be seen of a map over `shape` before its width is known.
    fn tried<T>(
        &self,
        group: &Group,
        in_place: &HashMap<u32, usize>,
        shape: &Shape,
        targets: &[Target],
        look: impl Fn(&Slot<'_, '_>) -> T,
    ) -> Lowers<T> {
        let mut trial = self.kernel(group);
        trial.in_place = in_place.clone();
        let mut slot = trial.slot(vec![Axis::new("e", shape)], None)?;
        for target in targets {
            slot.value(target.node, &[])?;
        }
        Ok(look(&slot))
    }

    fn heavy(&mut self, node: u32, group: &Group) -> Lowers {
        let graph = self.graph;
        match graph.op(node) {
            Op::Reduce(kind, mask) => self.reduce(node, group, *kind, *mask),
            Op::Matmul => self.matmul(node, group),
            Op::Softmax { .. } | Op::Norm { .. } | Op::NormGrad { .. } => self.rows(node, group),
            Op::Attention(how) | Op::AttentionQuery(how) | Op::AttentionKeys(how) => self.attention(node, group, *how),
            Op::Recurrence(what) | Op::RecurrenceGrad(what) => self.recurrence(node, *what),
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
    ) -> Lowers<String> {
        let primary = group.heavy.map(|h| (h, "v"));
        let targets = self.targets(group);
        Ok(kernel.slot(axes, primary)?.store(&targets, width, lanes, false, "")?)
    }

    /// A node that is a constant after all.
    fn fill(&mut self, node: u32, group: &Group, value: f32) -> Lowers {
        let shape = self.graph.shape(node);
        let dtype = self.graph.dtype(node);
        let launch = map::launch(self.caps, shape.numel() as u32, 1)?;
        let mut kernel = self.kernel(group);
        // it travels at run time: of a constant 0 or ∞ a driver may make anything where it becomes NaN
        let (ty, bits) = match dtype {
            DType::F32 | DType::F16 => ("f32", value.to_bits()),
            DType::I32 => ("i32", value as i32 as u32),
            DType::U32 | DType::Bool => ("u32", value as u32),
        };
        let number = format!("{}({})", dtype.wgsl(), kernel.param(ty, Word::Fixed(bits)));
        let body = self.store_slot(&mut kernel, group, vec![Axis::new("e", &shape)], 1, 1)?;
        let body = format!("    let e = i;\n    let v = {number};\n{body}");
        let label = self.label(group, &kernel);
        self.push(kernel, launch, &[("body", body)], label, Vec::new(), Vec::new());
        Ok(())
    }

    fn scratch(&mut self, node: u32, number: usize, bytes: u64) -> Operand {
        let operand = Operand::Scratch(node, number);
        self.scratch.push((operand, bytes));
        operand
    }

    fn custom(&mut self, node: u32) -> Lowers {
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
            ops: 0,
            params: launch.params.0,
            words: Vec::new(),
            bindings,
        });
        Ok(())
    }
}
