//! Kernels that share workgroup memory or wait for each other give the same bits whoever does whose work, and whatever
//! was in workgroup memory before: no barrier is missing that only a software adapter could do without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;

use kiln_device::kernels::attention::{self, Place};
use kiln_device::kernels::lanes::{self, Walk, Way};
use kiln_device::kernels::matmul::{self, Algorithm, Strides};
use kiln_device::kernels::recurrence::{self, Cell};
use kiln_device::kernels::{FAMILIES, Kind, Scalar, Stage, Stages, linalg, norm, reduce, softmax, sort};
use kiln_device::{AdapterKind, Buffer, Candidate, Caps, Device, Fill, Launch, Params, Result, Source, Trial};
use support::order::{Memory, Order, disordered, edited};
use support::{bytes, device, half, normal, words as read};

/// Launches, what they are given and how many words of results they make.
struct Case {
    name: String,
    stages: Stages,
    given: Vec<(&'static str, Vec<u8>)>,
    made: Vec<(&'static str, usize)>,
}

/// What is tried beside the kernel as it is.
const OTHERS: [(Order, Memory); 3] =
    [(Order::Reversed, Memory::AsItIs), (Order::Apart, Memory::Nan), (Order::ApartReversed, Memory::Huge)];

fn floats(n: usize) -> Vec<u8> {
    bytes(&normal(n, n as u64))
}

/// Launches that bind by name alone.
fn stages(launches: impl IntoIterator<Item = Launch>) -> Stages {
    let stage = |launch| Stage { launch, scratch: Vec::new(), loads: false, stores: false };
    Stages { stages: launches.into_iter().map(stage).collect(), scratch: Vec::new() }
}

impl Case {
    fn new<'a>(
        name: impl Into<String>,
        launches: impl IntoIterator<Item = Launch>,
        given: impl IntoIterator<Item = (&'static str, &'a [u8])>,
        made: &[(&'static str, usize)],
    ) -> Case {
        let given = given.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
        Case { name: name.into(), stages: stages(launches), given, made: made.to_vec() }
    }

    /// Every candidate of a trial.
    fn of_trial(family: &str, trial: &Trial) -> Vec<Case> {
        let given: Vec<_> = (0..)
            .zip(&trial.inputs)
            .map(|(seed, input)| {
                let mut values = normal(input.elements as usize, seed);
                (input.name, if input.fill == Fill::F16 { half(&mut values) } else { bytes(&values) })
            })
            .collect();
        let made: Vec<_> =
            [("out", trial.out)].into_iter().chain(trial.second).map(|(name, n)| (name, n as usize)).collect();
        let case = |candidate: &Candidate| Case {
            name: format!("{family} {} {}", trial.class, candidate.name),
            stages: candidate.stages.clone(),
            given: given.clone(),
            made: made.clone(),
        };
        trial.candidates.iter().map(case).collect()
    }

    /// The same with other launches.
    fn map(&self, change: impl Fn(&Launch) -> Launch) -> Case {
        let mut stages = self.stages.clone();
        stages.stages.iter_mut().for_each(|stage| stage.launch = change(&stage.launch));
        Case { name: self.name.clone(), stages, given: self.given.clone(), made: self.made.clone() }
    }

    fn disordered(&self, order: Order, memory: Memory) -> Case {
        self.map(|launch| disordered(launch, order, memory))
    }

    fn sources(&self) -> Vec<Source> {
        self.stages.stages.iter().map(|stage| stage.launch.source.clone()).collect()
    }

    /// The bits of all results.
    fn run(&self, device: &Device) -> Vec<Vec<u32>> {
        let given: Vec<(&'static str, Buffer)> =
            self.given.iter().map(|(name, bytes)| (*name, device.upload(bytes, "operand").unwrap())).collect();
        let made: Vec<_> = self.made.iter().map(|&(name, n)| (name, support::empty(device, n))).collect();
        let bound: Vec<_> = given.iter().chain(&made).map(|(name, buffer)| (*name, buffer)).collect();
        device.run(self.stages.steps(device, &bound).unwrap()).unwrap();
        made.iter().map(|(_, buffer)| read(device, buffer)).collect()
    }

    /// Whether that changes its bits.
    fn differs(&self, device: &Device, order: Order, memory: Memory) -> bool {
        self.disordered(order, memory).run(device) != self.run(device)
    }
}

/// Products and convolutions by the smallest variant of each class, attention by matrix units, whose operands lie in workgroup
/// memory or do not, and products by tiles in two buffers, which have one barrier a step.
fn products(caps: &Caps) -> Vec<Case> {
    let directions = ["forward", "input", "weight"];
    let conv = directions.iter().flat_map(|d| ["tile", "depthwise", "coop"].map(|class| format!("{d} {class}")));
    let mut classes: Vec<(&str, String)> =
        ["forward", "query", "keys"].iter().map(|part| ("attention", format!("{part} coop"))).collect();
    classes.extend(["tile", "thin", "narrow", "coop staged", "coop direct"].map(|class| ("matmul", class.to_string())));
    classes.extend(conv.map(|class| ("conv", class)));
    let mut all = Vec::new();
    let as_cpu = Caps { kind: AdapterKind::Cpu, ..caps.clone() };
    for (name, class) in classes {
        let family = FAMILIES.iter().find(|family| family.name == name).unwrap();
        let trial = (family.test)(caps, &class);
        // a CPU adapter's own is the one straight from storage
        let direct = if name == "attention" { (family.test)(&as_cpu, &class) } else { None };
        all.extend(trial.iter().chain(&direct).flat_map(|trial| Case::of_trial(name, trial)));
    }

    let [m, n, k] = [37u32, 66, 44];
    let turned = |rows: u32| Strides { offset: 0, batch: [0, 0], row: 1, col: rows };
    let (a, b) = (Strides::contiguous(1, m, k), Strides::contiguous(1, k, n));
    for (name, m, n, a, b) in [
        ("double", m, n, a, b),
        ("thin", 5, n, Strides::contiguous(1, 5, k), b),
        ("narrow", m, 6, turned(m), turned(k)),
    ] {
        let p = matmul::Problem::new([1, 1], m, n, k, a, b);
        let wanted = |v: &matmul::Variant| match v.algorithm {
            Algorithm::Tile(tile) => name == "double" && tile.buffers == 2 && tile.m == 64,
            Algorithm::Thin => name == "thin",
            Algorithm::Narrow => name == "narrow",
            _ => false,
        };
        for variant in matmul::variants(caps, &p).into_iter().filter(|v| wanted(v) && v.split == 1) {
            let launch = matmul::launch_with(caps, &p, &variant).unwrap();
            let (a, b) = (floats((m * k) as usize), floats((k * n) as usize));
            all.push(Case::new(
                variant.to_string(),
                [launch],
                [("a", &a[..]), ("b", &b)],
                &[("out", (m * n) as usize)],
            ));
        }
    }
    all
}

/// What [`rows`] makes: a case for every variant whose lanes meet in shared memory.
fn of_rows(
    caps: &Caps,
    walk: &Walk,
    launch: impl Fn(&lanes::Variant) -> Result<Launch>,
    given: &[(&'static str, usize)],
    made: &[(&'static str, usize)],
) -> Vec<Case> {
    let given: Vec<_> = given.iter().map(|&(name, n)| (name, floats(n))).collect();
    let shared = lanes::variants(caps, walk).into_iter().filter(|v| matches!(v.way, Way::Tree | Way::Joined));
    let case = |v: lanes::Variant| {
        let given = given.iter().map(|(name, bytes)| (*name, &bytes[..]));
        Case::new(format!("{} {v}", walk.kernel), [launch(&v).unwrap()], given, made)
    };
    shared.map(case).collect()
}

fn rows(caps: &Caps) -> Vec<Case> {
    // a part of a workgroup's rows, and of its lanes' last round
    let (rows, cols, width, center, eps) = (6, 300, 1, true, 1e-5);
    let [r, n] = [rows as usize, (rows * cols) as usize];
    let mut all = Vec::new();
    let p = softmax::Rows { log: false, rows, cols, width };
    all.extend(of_rows(caps, &p.walk(), |v| softmax::rows_with(caps, &p, v), &[("x", n)], &[("out", n)]));
    let p = softmax::LogSumExp { rows, cols, width };
    all.extend(of_rows(caps, &p.walk(), |v| softmax::logsumexp_with(caps, &p, v), &[("x", n)], &[("out", r)]));
    let p = norm::Rows { center, rows, cols, width, eps };
    all.extend(of_rows(caps, &p.walk(), |v| norm::rows_with(caps, &p, v), &[("x", n)], &[("out", n), ("rstd", r)]));
    let p = norm::Grad { center, rows, cols, width };
    let given = [("xhat", n), ("rstd", r), ("g", n)];
    all.extend(of_rows(caps, &p.walk(), |v| norm::grad_with(caps, &p, v), &given, &[("out", n)]));
    for (kind, ty) in [(Kind::Sum, Scalar::F32), (Kind::Max, Scalar::I32)] {
        let p = reduce::Rows { kind, ty, rows, cols, width: 4, chunks: 1 };
        all.extend(of_rows(caps, &p.walk(), |v| reduce::rows_with(caps, &p, v), &[("x", n)], &[("out", r)]));
    }
    for (kind, inner, width) in [(Kind::Sum, 40, 1), (Kind::Prod, 5, 1), (Kind::Max, 40, 4)] {
        let p = reduce::Cols { kind, ty: Scalar::F32, outer: 2, rows: 100, inner, width, chunks: 1 };
        let name = format!("reduce_cols {kind:?} of {inner}");
        let (x, out) = (floats(2 * 100 * inner as usize), 2 * inner as usize);
        all.push(Case::new(name, [reduce::cols(caps, &p).unwrap()], [("x", &x[..])], &[("out", out)]));
    }
    let p = reduce::Arg { max: true, ty: Scalar::F32, rows, cols };
    all.extend(of_rows(caps, &p.walk(), |v| reduce::arg_rows_with(caps, &p, v), &[("x", n)], &[("out", r)]));
    all
}

/// Attention by tiles with its gradients, causal, with heads that share their keys and more fours than a row of threads has.
fn attentions(caps: &Caps) -> Vec<Case> {
    let (heads, kv_heads, length, keys, e, ev) = (2, 1, 35, 40, 20, 36);
    let place = |size: u32, rows: u32| Place { offset: 0, batch: 0, head: rows * size, row: size };
    let p = attention::Problem {
        batch: 1,
        heads,
        kv_heads,
        length,
        keys,
        e,
        ev,
        causal: true,
        scale: 0.3,
        elem: matmul::Elem::F32,
        q: place(e, length),
        k: place(e, keys),
        v: place(ev, keys),
        mask: None,
        dropout: false,
    };
    let [q, k, v] = [heads * length * e, kv_heads * keys * e, kv_heads * keys * ev].map(|n| n as usize);
    let [y, rows] = [heads * length * ev, heads * length].map(|n| n as usize);
    let given = [("q", q), ("k", k), ("v", v), ("y", y), ("dy", y), ("lse", rows), ("norms", 2 * rows)];
    let made = [
        vec![("out", y), ("lse", rows)],
        vec![("out", q), ("norms", 2 * rows)],
        // the causal diagonal leaves no key unseen: those past the queries get zeros
        vec![("out", k), ("dv", v)],
    ];
    let tiles = [attention::Variant::Tile(32, 1), attention::Variant::Tile(64, 2)];
    let mut all = Vec::new();
    for (part, made) in attention::Part::ALL.into_iter().zip(&made) {
        let able = attention::variants(caps, &p, part);
        for variant in tiles.into_iter().filter(|tile| able.contains(tile)) {
            let launch = attention::launch_with(caps, &p, part, variant).unwrap();
            let given: Vec<_> = given
                .iter()
                .filter(|(name, _)| !made.iter().any(|(own, _)| own == name))
                .map(|&(name, n)| (name, floats(n)))
                .collect();
            let given = given.iter().map(|(name, bytes)| (*name, &bytes[..]));
            all.push(Case::new(format!("{variant} {}", launch.source.name()), [launch], given, made));
        }
    }
    all
}

/// Recurrences whose units are shared, a step that begins and one that goes on, and their gradients.
fn recurrences(caps: &Caps) -> Vec<Case> {
    let (steps, batch, hidden) = (2, 9, 20);
    let mut all = Vec::new();
    for cell in [Cell::Lstm, Cell::Gru] {
        let p = recurrence::Problem { cell, steps, batch, hidden, reverse: false, batch_first: false, masked: false };
        let [t, b, h, g, s] = [steps, batch, hidden, cell.gates(), cell.states()].map(|n| n as usize);
        let sizes = [
            ("gx", t * b * g * h),
            ("w", g * h * h),
            ("bias", g * h),
            ("h0", b * h),
            ("c0", b * h),
            ("y", t * b * s * h),
            ("gates", t * b * 4 * h),
            ("start", b * h),
            ("dy", t * b * s * h),
            ("out", t * b * 4 * h),
            ("carry", s * b * h),
        ];
        for variant in recurrence::variants(caps).into_iter().filter(|v| *v == recurrence::Variant::Shared) {
            for (launches, results) in [
                (recurrence::forward_with(&p, variant), ["y", "gates"]),
                (recurrence::grad_with(&p, variant), ["out", "carry"]),
            ] {
                let (made, given): (Vec<_>, Vec<_>) = sizes.into_iter().partition(|(name, _)| results.contains(name));
                let given: Vec<_> = given.into_iter().map(|(name, n)| (name, floats(n))).collect();
                let given = given.iter().map(|(name, bytes)| (*name, &bytes[..]));
                all.push(Case::new(format!("{cell:?} {}", results[0]), launches.unwrap(), given, &made));
            }
        }
    }
    all
}

/// Factors of matrices whose rows are those of several subgroups.
fn factors() -> Vec<Case> {
    let (matrices, n) = (2, 21);
    let of = linalg::Square { matrices: matrices as u32, n: n as u32 };
    let mut x = normal(matrices * n * n, 1);
    let lu = bytes(&x);
    // large on the diagonal
    x.iter_mut().enumerate().filter(|(i, _)| i % (n * n) % (n + 1) == 0).for_each(|(_, v)| *v = v.abs() + n as f32);
    vec![
        Case::new("lu", [linalg::lu(&of)], [("x", &lu[..])], &[("out", matrices * (n + 2) * n)]),
        Case::new("cholesky", [linalg::cholesky(&of)], [("x", &bytes(&x)[..])], &[("out", matrices * n * n)]),
    ]
}

/// Counters of a radix sort.
fn sorts(caps: &Caps) -> Vec<Case> {
    let n = 5000u32;
    let p = sort::Rows { ty: Scalar::U32, rows: 1, cols: n, descending: false, bits: 8 };
    let x: Vec<u8> = (0..n).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()).collect();
    let made = vec![("out", n as usize), ("indices", n as usize)];
    vec![Case { name: "sort".into(), stages: sort::rows(caps, &p).unwrap(), given: vec![("x", x)], made }]
}

/// Compiles what cases are made of, by all processors.
fn compile(device: &Device, cases: &[Case]) {
    let variants = OTHERS.iter().flat_map(|&(order, memory)| cases.iter().map(move |c| c.disordered(order, memory)));
    let sources: Vec<Source> =
        variants.flat_map(|case| case.sources()).chain(cases.iter().flat_map(Case::sources)).collect();
    device.kernels(&sources).unwrap();
}

#[test]
fn no_kernel_depends_on_the_order_of_its_invocations() {
    let device = device();
    // what launchers give a GPU: a CPU adapter's workgroups are often one subgroup
    let caps = &Caps { kind: AdapterKind::Discrete, ..device.caps().clone() };
    let all = [products(caps), rows(caps), attentions(caps), recurrences(caps), factors(), sorts(caps)];
    let all: Vec<Case> = all.into_iter().flatten().collect();

    compile(&device, &all);

    // a workgroup of one subgroup shows nothing
    let several =
        |source: &Source| device.kernel(source).unwrap().workgroup()[0] > caps.subgroup.map_or(8, |(_, most)| most);
    let tried = all.iter().flat_map(Case::sources).filter(several).map(|source| source.name().to_string());
    let tried: BTreeSet<String> = tried.collect();
    let shares = |text: &str| text.contains("var<workgroup>") || text.contains("Barrier()");
    for (name, text) in kiln_shaders::ALL.iter().filter(|(_, text)| shares(text)) {
        let able = !text.contains("coop_mat") || caps.f16 && !caps.coop.is_empty();
        assert!(
            tried.contains(*name) || !able,
            "{name} has workgroup memory or barriers and is not tried by several subgroups"
        );
    }

    let mut wrong = Vec::new();
    for case in &all {
        let plain = case.run(&device);
        assert!(plain.iter().flatten().all(|&word| word != 0xdead_beef), "{} leaves results unwritten", case.name);
        for (order, memory) in OTHERS {
            if case.disordered(order, memory).run(&device) != plain {
                wrong.push(format!("{}: {order:?}, {memory:?}", case.name));
            }
        }
    }
    println!("{} cases", all.len());
    assert!(wrong.is_empty(), "other bits:\n{}", wrong.join("\n"));
}

/// The case of that name.
fn variant(all: Vec<Case>, name: &str) -> Option<Case> {
    all.into_iter().find(|case| case.name == name)
}

fn softmaxes(caps: &Caps) -> Vec<Case> {
    let p = softmax::Rows { log: false, rows: 3, cols: 300, width: 1 };
    of_rows(caps, &p.walk(), |v| softmax::rows_with(caps, &p, v), &[("x", 900)], &[("out", 900)])
}

/// A kernel of one workgroup with this body.
fn small(body: &str) -> Case {
    let text = format!(
        "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
var<workgroup> lanes: array<u32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32) {{
    lanes[local] = 1u;
    workgroupBarrier();
{body}
    out[local] = lanes[0];
}}
"
    );
    Case::new("small", [Launch::new(Source::new("small", text), Params::new(), [1; 3])], [], &[("out", 64)])
}

/// The mistakes that this is about, made on purpose: each is seen by what it takes to see it.
#[test]
fn missing_barriers_and_unwritten_memory_are_seen() {
    let device = device();
    let good = variant(softmaxes(device.caps()), "softmax tree256x1").unwrap();
    let right = good.run(&device);
    let broken = |from: &str, to: &str| good.map(|launch| edited(launch, from, to));

    // the first lane writes and all others read: in ascending order, nobody misses the barrier
    let late = small("    if local == 0u { lanes[0] = 7u; }");
    assert_eq!(late.run(&device), [vec![7; 64]], "the adapter alone does not see it");
    assert!(late.differs(&device, Order::Reversed, Memory::AsItIs));
    assert!(!late.differs(&device, Order::Given, Memory::Nan));
    let waits = small("    if local == 0u { lanes[0] = 7u; }\n    workgroupBarrier();");
    assert!(!waits.differs(&device, Order::Reversed, Memory::AsItIs));

    // whether loops that have ended and branches not taken have barriers nevertheless
    let halves = "    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half { lanes[local] += lanes[local + half]; }
    }";
    if small(halves).differs(&device, Order::Reversed, Memory::AsItIs) {
        let late = broken("workgroupBarrier();\n    return fold_sum(", "return fold_sum(");
        assert_eq!(late.run(&device), right, "the adapter alone does not see it");
        assert!(late.differs(&device, Order::Reversed, Memory::AsItIs));

        // a tree whose last steps rely on lanes in step
        let step = "workgroupBarrier();\n        if local % LANES < half { lanes[local] = lanes[local] + ";
        let in_step = broken(step, &step.replace("workgroupBarrier();", "if half > 4u { workgroupBarrier(); }"));
        assert_eq!(in_step.run(&device), right, "the adapter alone does not see it");
        assert!(in_step.differs(&device, Order::Apart, Memory::AsItIs));
    }

    // all read what the first lane then overwrites: in descending order, nobody misses it
    let begin = "fn sum_lanes(v: F, local: u32) -> F {\n";
    let early = broken(&format!("{begin}    workgroupBarrier();"), begin);
    assert_eq!(early.disordered(Order::Reversed, Memory::AsItIs).run(&device), right);
    assert!(early.differs(&device, Order::Reversed, Memory::AsItIs));

    // lanes without work leave their place as it was
    let caps = device.caps();
    let p = reduce::Rows { kind: Kind::Sum, ty: Scalar::F32, rows: 3, cols: 40, width: 1, chunks: 1 };
    let all = of_rows(caps, &p.walk(), |v| reduce::rows_with(caps, &p, v), &[("x", 120)], &[("out", 3)]);
    let sum = variant(all, "reduce_rows tree256x1").unwrap();
    let filled = |case: &Case| [Memory::Nan, Memory::Huge].map(|with| case.disordered(Order::Given, with).run(&device));
    assert_eq!(filled(&sum), [sum.run(&device), sum.run(&device)]);
    let written = "lanes[local] = v;";
    let unwritten = sum.map(|launch| edited(launch, written, &format!("if local < sizes.cols {{ {written} }}")));
    let [nan, huge] = filled(&unwritten);
    assert_ne!(nan, huge);

    // a column is read before all of it is written, in storage
    let [_, root] = factors().try_into().ok().unwrap();
    let unordered = root.map(|launch| edited(launch, "        }\n        storageBarrier();", "        }"));
    assert!(unordered.differs(&device, Order::Reversed, Memory::AsItIs));

    // subgroups, which join by themselves, and then with each other
    if let Some(joined) = variant(softmaxes(caps), "softmax joined256x1") {
        assert!(!joined.differs(&device, Order::Reversed, Memory::AsItIs));
        let begin = "    workgroupBarrier();\n    var all = lanes[0];";
        let sums = "let s = subgroupAdd";
        let apart = joined.map(|launch| {
            let text = launch.source.finish().unwrap();
            let tail = &text[text.find(sums).unwrap()..];
            let tail = &tail[..tail.find(begin).unwrap() + begin.len()];
            edited(launch, tail, &tail.replace(begin, "    var all = lanes[0];"))
        });
        assert!(apart.differs(&device, Order::Reversed, Memory::AsItIs));
    }

    // what is multiplied by matrix units is written over too early
    let matmul = FAMILIES.iter().find(|family| family.name == "matmul").unwrap();
    if let Some(trial) = (matmul.test)(caps, "coop staged") {
        let [good] = Case::of_trial("matmul", &trial).try_into().ok().unwrap();
        let step = "for (var k = slice * length; k < end; k += TILE_K) {\n";
        let early = good.map(|launch| edited(launch, &format!("{step}        workgroupBarrier();"), step));
        assert!(early.differs(&device, Order::Reversed, Memory::AsItIs));
    }
}
