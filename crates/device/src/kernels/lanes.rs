//! Kernels of rows: how many invocations share a row, how they join what they found, and what they keep of it in
//! registers. The ways are data: [`variants`] lists what a device can run, [`choose`] is the heuristics' choice,
//! [`pick`] the one that also follows tuning and self-tests.

use std::fmt;

use super::common::MAX_ITERATIONS;
use super::stages::Stages;
use crate::caps::Caps;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::program::Launch;
use crate::source::Source;
use crate::trial::{Candidate, Input, Trial, Want};

/// How a row's invocations join what they found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// One invocation has the whole row.
    Alone,
    /// A row has one subgroup, with subgroup operations: no barrier, no shared memory.
    Subgroup,
    /// A row has a workgroup: subgroups join by themselves, and then with each other in shared memory.
    Joined,
    /// A tree in shared memory: runs everywhere, and is the plain one that others are judged by.
    Tree,
}

/// A way to walk rows. Its [`Display`](fmt::Display) is its name, under which measurements are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    /// How the invocations of a row join.
    pub way: Way,
    /// Invocations that share a row, a power of two.
    pub lanes: u32,
    /// Rows in a workgroup.
    pub rows: u32,
    /// Loads that each invocation keeps in registers, so that the row is read once: 4, 8 or 16; 0 for none.
    pub held: u32,
}

/// What a kernel does with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// The kernel.
    pub kernel: &'static str,
    /// Number of rows.
    pub rows: u32,
    /// Loads that a row takes.
    pub steps: u32,
    /// Elements of a load.
    pub width: u32,
    /// How often the row is walked; once is never held in registers.
    pub passes: u32,
}

impl Walk {
    fn held(&self, lanes: u32) -> Option<u32> {
        [4, 8, 16].into_iter().find(|&held| self.passes > 1 && (1..=held * lanes).contains(&self.steps))
    }

    /// Each of the given variants, and before it the same that holds the row, where it fits.
    fn both(&self, all: impl IntoIterator<Item = Variant>) -> Vec<Variant> {
        let holding = |v: &Variant| self.held(v.lanes).map(|held| Variant { held, ..*v });
        all.into_iter().flat_map(|v| holding(&v).into_iter().chain([v])).collect()
    }

    /// The name of a size class: rows and loads as powers of two, elements of a load.
    pub(crate) fn class(&self, step: [i32; 2]) -> String {
        let power = |n: u32, step: i32| 2f64.powi((f64::from(n.max(1)).log2().round() as i32 + step).max(0));
        format!("{}x{}_w{}", power(self.rows, step[0]), power(self.steps, step[1]), self.width)
    }
}

impl Variant {
    const fn new(way: Way, lanes: u32, rows: u32) -> Variant {
        Variant { way, lanes, rows, held: 0 }
    }

    /// The class that a self-test judges as one; `None` for what needs no more than shared memory.
    pub fn class(&self) -> Option<&'static str> {
        match self.way {
            Way::Subgroup => Some("subgroup"),
            Way::Joined => Some("joined"),
            Way::Alone | Way::Tree => None,
        }
    }

    /// Whether this device can run it for these rows.
    pub(crate) fn fits(&self, caps: &Caps, walk: &Walk) -> bool {
        let loads = u64::from(walk.steps.div_ceil(self.lanes)) * u64::from(walk.passes);
        let held = self.held == 0 || walk.held(self.lanes) == Some(self.held);
        let subgroup = uniform(caps);
        let able = match self.way {
            Way::Alone => self.lanes == 1,
            Way::Subgroup => subgroup == Some(self.lanes),
            Way::Joined => subgroup.is_some_and(|s| self.rows == 1 && self.lanes > s && self.lanes.is_multiple_of(s)),
            Way::Tree => self.lanes.is_power_of_two() && self.lanes > 1,
        };
        able && held && loads <= u64::from(MAX_ITERATIONS) && self.lanes * self.rows <= caps.max_invocations
    }

    /// Sets the consts `LANES`, `ROWS` and, where the kernel walks a row more than once, `HELD`.
    pub(crate) fn fill(&self, source: Source) -> Source {
        let source = source.constant("LANES", format!("{}u", self.lanes)).constant("ROWS", format!("{}u", self.rows));
        if self.held > 0 { source.constant("HELD", format!("{}u", self.held)) } else { source }
    }

    /// The body of a slot that joins over the lanes of a row: `one` joins over the subgroup into `s`, a value of a
    /// single component, `wrap` makes of `s` what `lanes` holds, `join` joins two of those, and `give` is the result.
    /// `None` for the tree, which the file has; for a row of one invocation `fold` is the whole of it.
    pub(crate) fn body(
        &self,
        caps: &Caps,
        fold: &str,
        one: &str,
        join: impl Fn(&str, &str) -> String,
        [wrap, give]: [&str; 2],
    ) -> Option<String> {
        match self.way {
            Way::Tree => None,
            Way::Alone => Some(format!("    return {fold};")),
            Way::Subgroup => Some(format!("{one}\n    let all = {wrap}(s);\n    return {give};")),
            Way::Joined => {
                let size = uniform(caps).unwrap_or(self.lanes);
                let (count, some) = (self.lanes / size, (self.lanes / size).min(4));
                // by fours, and then those: chains of additions stay short, and sums accurate
                let (few, next) = (join("some", "lanes[i + j]"), join("all", "some"));
                Some(format!(
                    "{one}
    workgroupBarrier();
    if local % {size}u == 0u {{ lanes[local / {size}u] = {wrap}(s); }}
    workgroupBarrier();
    var all = lanes[0];
    for (var i = 0u; i < {count}u; i += {some}u) {{
        var some = lanes[i];
        for (var j = 1u; j < {some}u; j++) {{ some = {few}; }}
        if i == 0u {{ all = some; }} else {{ all = {next}; }}
    }}
    return {give};"
                ))
            }
        }
    }

    /// Fills `sum_lanes(v: F, local: u32) -> F` and `fold_sum`, the sum in every lane and component.
    pub(crate) fn fill_sum(&self, caps: &Caps, width: u32, source: Source) -> Source {
        let op = |a: &str, b: &str| format!("{a} + {b}");
        self.fill_every(caps, "sum", op, |x| format!("    let s = subgroupAdd({x});"), width, source)
    }

    /// Fills `max_lanes` and `fold_max`; NaN is the greatest.
    pub(crate) fn fill_max(&self, caps: &Caps, width: u32, source: Source) -> Source {
        let op = |a: &str, b: &str| format!("max_({a}, {b})");
        self.fill_every(caps, "max", op, |x| extreme("subgroupMax", x), width, source)
    }

    fn fill_every(
        &self,
        caps: &Caps,
        name: &str,
        op: impl Fn(&str, &str) -> String + Copy,
        subgroup: impl Fn(&str) -> String,
        width: u32,
        source: Source,
    ) -> Source {
        let fold = format!("fold_{name}");
        let source = match width {
            4 => source.slot(&fold, format!("    let a = {};\n    return {};", op("v", "v.zwxy"), op("a", "a.yxwz"))),
            _ => source,
        };
        let folded = format!("{fold}(v)");
        let one = subgroup(&if width == 4 { format!("{folded}.x") } else { folded.clone() });
        match self.body(caps, &folded, &one, op, ["F", "all"]) {
            Some(body) => source.slot(&format!("{name}_lanes"), body),
            None => source,
        }
    }
}

/// The greatest or least over a subgroup, which is NaN where one is: what the built-in function does not promise.
pub(crate) fn extreme(op: &str, x: &str) -> String {
    format!(
        "    let own = {x};
    let nan = subgroupAny((bitcast<u32>(own) & 0x7fffffffu) > 0x7f800000u);
    let s = select({op}(own), bitcast<f32>(bitcast<u32>(own) | 0x7fc00000u), nan);"
    )
}

/// The size of subgroups, where all have one.
fn uniform(caps: &Caps) -> Option<u32> {
    caps.subgroup.filter(|(least, most)| least == most && *most > 1).map(|(size, _)| size)
}

fn tree(caps: &Caps, lanes: u32, rows: u32) -> Variant {
    let widest = 1 << caps.max_invocations.clamp(1, 256).ilog2();
    Variant::new(Way::Tree, lanes.min(widest), rows)
}

fn alone(caps: &Caps) -> Variant {
    Variant::new(Way::Alone, 1, caps.max_invocations.clamp(1, 64))
}

/// Every variant that this device can run for these rows, the plain one first.
pub fn variants(caps: &Caps, walk: &Walk) -> Vec<Variant> {
    let plain = tree(caps, 256, 1);
    let mut others = vec![plain, tree(caps, 32, 4), tree(caps, 8, 1), alone(caps)];
    if let Some(size) = uniform(caps) {
        others.extend([1, 4, 8].map(|rows| Variant::new(Way::Subgroup, size, rows)));
        others.push(Variant::new(Way::Joined, 256, 1));
    }
    let mut all: Vec<Variant> = [plain].into_iter().chain(walk.both(others)).filter(|v| v.fits(caps, walk)).collect();
    all.dedup();
    let mut seen = std::collections::HashSet::new();
    all.retain(|v| seen.insert(*v));
    all
}

/// The variant that should be fastest on this device, and is never known to be: `kiln tune` measures.
pub fn choose(caps: &Caps, walk: &Walk) -> Variant {
    choose_among(caps, walk, |_| true)
}

/// The same among those that are `trusted`. It is asked about the best first; trees always are.
pub(crate) fn choose_among(caps: &Caps, walk: &Walk, trusted: impl Fn(&Variant) -> bool) -> Variant {
    let plain = tree(caps, 256, 1);
    let subgroup = |rows: u32| uniform(caps).map(|size| Variant::new(Way::Subgroup, size, rows));
    if caps.is_cpu() {
        // measured: one invocation is 2-20 times faster than a subgroup a row; registers are memory there
        let best = [(walk.steps <= 64).then_some(alone(caps)), subgroup(1)];
        let small = uniform(caps).is_none().then_some(tree(caps, 8, 1));
        let all = best.into_iter().flatten().chain(small);
        return all.into_iter().find(|v| v.fits(caps, walk) && trusted(v)).unwrap_or(plain);
    }
    let joined = uniform(caps).map(|_| Variant::new(Way::Joined, 256, 1));
    let mut all = Vec::new();
    all.extend((walk.steps <= 4).then_some(alone(caps)));
    // a subgroup that reads eight times in turn hides its latencies; longer rows want more invocations
    all.extend(subgroup(4).filter(|v| walk.steps <= 8 * v.lanes));
    all.extend(joined);
    all.extend((walk.steps <= 128).then_some(tree(caps, 32, 4)));
    all.push(plain);
    walk.both(all).into_iter().find(|v| v.fits(caps, walk) && trusted(v)).unwrap_or(plain)
}

/// The variant for rows on a device: the one that was fastest when the size class of its family was tuned, else the
/// choice of the heuristics; of the classes of variants that their self-tests did not put aside.
pub fn pick(device: &Device, family: &'static str, walk: &Walk) -> Variant {
    let caps = device.caps();
    let trusted = |v: &Variant| v.class().is_none_or(|class| device.trusts(family, class));
    let tuned = || {
        let near = [0, -1, 1].into_iter().flat_map(|steps| [0, -1, 1, -2, 2].map(|rows| [rows, steps]));
        let name = near.into_iter().find_map(|step| device.winner(family, &walk.class(step)))?;
        variants(caps, walk).into_iter().find(|variant| variant.to_string() == name)
    };
    match device.is_tuned(family).then(tuned).flatten() {
        Some(variant) if trusted(&variant) => variant,
        _ => choose_among(caps, walk, trusted),
    }
}

/// Fails where no invocation may walk that far.
pub(crate) fn check(caps: &Caps, walk: &Walk, variant: &Variant) -> Result<()> {
    if variant.fits(caps, walk) {
        return Ok(());
    }
    let (needs, most) = (u64::from(walk.steps) * u64::from(walk.passes), u64::from(MAX_ITERATIONS));
    let has = most * u64::from(variant.lanes);
    if needs > has {
        return Err(Error::Limit { kernel: walk.kernel.into(), what: "loads for one row", needs, has });
    }
    Err(Error::Validation(format!("{}: {variant} is not for {walk:?} on {}", walk.kernel, caps.name)))
}

/// Elements of a row of a self-test: several loads for each of 256 invocations, and a part of a round.
pub(crate) const TEST_COLS: u32 = 2 * 4 * 256 + 68;

/// The trial of a class of variants, by one of them, on the given rows: held against the definition, which makes of a row
/// of x a row of the result.
pub(crate) fn test(
    caps: &Caps,
    class: &str,
    walk: &Walk,
    trial: impl Fn(&Walk, Option<Vec<Variant>>) -> Option<Trial>,
    definition: impl Fn(&[f64]) -> Vec<f64>,
) -> Option<Trial> {
    // what is tested is how lanes join: whether they hold the row is for one of them, and the rest only arithmetic, of
    // which rows that are not held have the least to compile
    let of = |v: &Variant| v.class() == Some(class) && v.held == 0 && (v.lanes >= 256 || v.rows > 1);
    let variant = variants(caps, walk).into_iter().find(of)?;
    let trial = trial(walk, Some(vec![variant])).filter(|trial| !trial.candidates.is_empty())?;
    let rows = |operands: &[Vec<f64>]| operands[0].chunks(TEST_COLS as usize).flat_map(&definition).collect();
    Some(Trial { class: class.into(), ..trial }.defined(rows))
}

/// Rows and columns to tune: few and many rows, from short to long.
pub(crate) fn tuned_sizes(caps: &Caps) -> Vec<[u32; 2]> {
    let (rows, cols): (&[u32], &[u32]) =
        if caps.is_cpu() { (&[512], &[64, 256, 1024, 4096]) } else { (&[512, 8192], &[64, 256, 1024, 4096, 16_384]) };
    rows.iter().flat_map(|&rows| cols.iter().map(move |&cols| [rows, cols])).collect()
}

/// A trial of some variants, or of all, with its inputs, the elements of the result and the tolerance.
pub(crate) fn trial(
    caps: &Caps,
    walk: &Walk,
    list: Option<Vec<Variant>>,
    (inputs, out, tolerance): (Vec<Input>, u64, f64),
    launch: impl Fn(&Variant) -> Result<Launch>,
) -> Option<Trial> {
    let stages = |variant: &Variant| {
        let mut stages = Stages::default();
        stages.push(launch(variant).ok()?, Vec::new(), true, true);
        Some(stages)
    };
    let candidate = |v: &Variant| Some(Candidate { name: v.to_string(), stages: stages(v)? });
    let all = variants(caps, walk);
    let want = Want::Plain(stages(all.first()?)?);
    let candidates = list.as_ref().unwrap_or(&all).iter().filter_map(candidate).collect();
    let heuristic = choose(caps, walk).to_string();
    Some(Trial { class: walk.class([0, 0]), inputs, out, second: None, want, candidates, heuristic, tolerance })
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Alone => "alone",
            Way::Subgroup => "subgroup",
            Way::Joined => "joined",
            Way::Tree => "tree",
        };
        write!(f, "{way}{}x{}", self.lanes, self.rows)?;
        if self.held > 0 { write!(f, "_held{}", self.held) } else { Ok(()) }
    }
}
