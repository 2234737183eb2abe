//! Products as a family that is tested before it is trusted, and tuned: its trials, its size classes, and the choice
//! on a device, which follows both.

use super::choose::choose_among;
use super::variant::algorithms;
use super::{Algorithm, Coop, Elem, Precision, Problem, Strides, Variant, choose, stages, variants};
use crate::trial::{Candidate, Family, Fill, Input, Trial, Want};
use crate::{Caps, Device};

/// Matrix products among [`FAMILIES`](crate::kernels::FAMILIES).
pub(crate) const FAMILY: Family = Family {
    name: "matmul",
    texts: &[
        kiln_shaders::MATMUL_BLOCK,
        kiln_shaders::MATMUL_COOP,
        kiln_shaders::MATMUL_COOP_DIRECT,
        kiln_shaders::MATMUL_NARROW,
        kiln_shaders::MATMUL_SUBGROUP,
        kiln_shaders::MATMUL_THIN,
        kiln_shaders::MATMUL_TILE,
    ],
    test,
    tune,
};

/// The variant for a problem on a device: the one that was fastest when its size class was tuned, else the choice of
/// the heuristics; of the classes of variants that their self-tests did not put aside. A class that was never tested on
/// this adapter and driver is tested now.
pub fn pick(device: &Device, p: &Problem) -> Variant {
    let caps = device.caps();
    let trusted = |algorithm: &Algorithm| algorithm.class().is_none_or(|class| device.trusts(FAMILY.name, class));
    let tuned = || {
        let name = winner(device, p)?;
        variants(caps, p).into_iter().find(|variant| variant.to_string() == name)
    };
    match tuned() {
        Some(variant) if trusted(&variant.algorithm) => variant,
        _ => choose_among(caps, p, trusted),
    }
}

/// The winner of the problem's class, or of the nearest one: tuning measures every other power of two or so.
fn winner(device: &Device, p: &Problem) -> Option<String> {
    if !device.is_tuned(FAMILY.name) {
        return None;
    }
    let [m, n, k] = [p.m, p.n, p.k].map(bucket);
    let mut near: Vec<[i32; 3]> = (0..27).map(|i| [i % 3 - 1, i / 3 % 3 - 1, i / 9 - 1]).collect();
    near.sort_by_key(|step| step.map(i32::abs).iter().sum::<i32>());
    near.into_iter().find_map(|[dm, dn, dk]| device.winner(FAMILY.name, &class(p, [m + dm, n + dn, k + dk])))
}

/// The power of two that is nearest to a size.
fn bucket(size: u32) -> i32 {
    f64::from(size.max(1)).log2().round() as i32
}

/// The name of a size class: powers of two for m, n, k and batches, how each operand is stored (n: rows, t: columns
/// contiguous), types, precision.
fn class(p: &Problem, [m, n, k]: [i32; 3]) -> String {
    let order = |s: &Strides| if s.row == 1 && s.col != 1 { "t" } else { "n" };
    let elem = |elem: Elem| if elem == Elem::F16 { "f16" } else { "f32" };
    let size = |power: i32| (power.max(0) as f64).exp2();
    let batch = size(bucket(p.batch[0].saturating_mul(p.batch[1])));
    let fast = if p.precision == Precision::Fast { "_fast" } else { "" };
    let (m, n, k, a, b) = (size(m), size(n), size(k), elem(p.a_elem), elem(p.b_elem));
    format!("{m}x{n}x{k}_b{batch}_{}{}_{a}{b}{fast}", order(&p.a), order(&p.b))
}

/// An operand's strides: contiguous rows, or columns where `turned`, with `pad` elements more to a line.
fn strides(inner: u32, rows: u32, cols: u32, turned: bool, pad: u32) -> Strides {
    let (row, col, size) =
        if turned { (1, rows + pad, cols * (rows + pad)) } else { (cols + pad, 1, rows * (cols + pad)) };
    Strides { offset: 0, batch: [inner * size, size], row, col }
}

/// A contiguous product; `turned` says which operands are stored column by column.
fn problem(batch: u32, [m, n, k]: [u32; 3], turned: [bool; 2], elem: Elem) -> Problem {
    let (a, b) = (strides(batch, m, k, turned[0], 0), strides(batch, k, n, turned[1], 0));
    Problem { a_elem: elem, b_elem: elem, ..Problem::new([1, batch], m, n, k, a, b) }
}

/// A trial of some variants; `None` if a launcher refuses.
fn trial(caps: &Caps, p: &Problem, class: String, list: Vec<Variant>, heuristic: &Variant) -> Option<Trial> {
    let fill = |elem: Elem| if elem == Elem::F16 { Fill::F16 } else { Fill::F32 };
    let reach = |s: &Strides, rows: u32, cols: u32| {
        let at = |n: u32, stride: u32| u64::from(n - 1) * u64::from(stride);
        (at(p.batch[0], s.batch[0]) + at(p.batch[1], s.batch[1]) + at(rows, s.row) + at(cols, s.col) + 1)
            .next_multiple_of(4)
    };
    let plain = variants(caps, p).into_iter().find(|v| v.algorithm == Algorithm::Block)?;
    let candidate = |v: &Variant| Some(Candidate { name: v.to_string(), stages: stages(caps, p, v).ok()? });
    Some(Trial {
        class,
        inputs: vec![
            Input { name: "a", elements: reach(&p.a, p.m, p.k), fill: fill(p.a_elem) },
            Input { name: "b", elements: reach(&p.b, p.k, p.n), fill: fill(p.b_elem) },
        ],
        out: p.batches() * u64::from(p.m) * u64::from(p.n),
        second: None,
        want: Want::Plain(stages(caps, p, &plain).ok()?),
        candidates: list.iter().filter_map(candidate).collect(),
        heuristic: heuristic.to_string(),
        // the operands are eighths: every sum is exact
        tolerance: 1e-6,
    })
}

/// One small odd product for a class of variants, by the smallest of them: partial blocks on all sides, one operand stored
/// by columns and loaded by fours, the other not, two batches; stored by fours, as most are. Fragments straight from
/// storage need whole ones.
///
/// What it costs is the driver's compiler, and so what it is made of is what compiles fastest: the last of the smallest
/// tiles, whose longer loop is not unrolled; fragments with one step of k in workgroup memory instead of four, and one of them
/// to a subgroup instead of four where they are emulated, since each product of two is compiled by itself there.
fn test(caps: &Caps, class: &str) -> Option<Trial> {
    let of = |p: &Problem| {
        let all = algorithms(caps, p).into_iter().rev().filter(|a| a.class() == Some(class));
        all.min_by_key(|a| a.block(p).iter().product::<u32>())
    };
    let odd = |shape: [u32; 3], elem| {
        let [m, _, k] = shape;
        Problem { a: strides(2, m, k, false, 1), ..problem(2, shape, [false, true], elem) }
    };
    let problems = [
        odd([37, 36, 44], Elem::F32),
        odd([3, 36, 44], Elem::F32),
        problem(2, [37, 3, 44], [false, false], Elem::F32),
        odd([37, 36, 44], Elem::F16),
        problem(2, [48, 32, 80], [false, true], Elem::F16),
    ];
    let (p, mut algorithm) = problems.iter().find_map(|p| Some((p, of(p)?)))?;
    if let (Algorithm::Coop(coop), true) = (&mut algorithm, caps.is_cpu()) {
        coop.fragments = [1, 1];
    }
    let variant = Variant { algorithm, split: 1 };
    let mut trial = trial(caps, p, class.to_string(), vec![variant], &variant)?;
    if let Algorithm::Coop(Coop { staged: true, size, .. }) = algorithm {
        trial.with_const("TILE_K", &format!("{size}u"));
    }
    Some(trial.defined(|operands| product(p, &operands[0], &operands[1])))
}

/// The definition.
fn product(p: &Problem, a: &[f64], b: &[f64]) -> Vec<f64> {
    let at = |s: &Strides, batch: [u32; 2], row: u32, col: u32| {
        (s.offset + batch[0] * s.batch[0] + batch[1] * s.batch[1] + row * s.row + col * s.col) as usize
    };
    let mut out = Vec::new();
    for batch in (0..p.batch[0]).flat_map(|outer| (0..p.batch[1]).map(move |inner| [outer, inner])) {
        for (row, col) in (0..p.m).flat_map(|row| (0..p.n).map(move |col| (row, col))) {
            out.push((0..p.k).map(|k| a[at(&p.a, batch, row, k)] * b[at(&p.b, batch, k, col)]).sum());
        }
    }
    out
}

/// What training asks for: products as forward (x · Wᵀ), as input gradient (dy · W) and as weight gradient (dyᵀ · x),
/// of sizes every four times; a vector times a matrix; batched small ones, as in attention. Where there are matrix units,
/// also of half floats, and of f32 that may be rounded.
fn tune(caps: &Caps) -> Vec<Trial> {
    let mut kinds = vec![(Elem::F32, Precision::Exact)];
    if caps.f16 && !caps.coop.is_empty() {
        kinds.extend([(Elem::F16, Precision::Exact), (Elem::F32, Precision::Fast)]);
    }
    let mut shapes: Vec<(u32, [u32; 3])> = vec![
        (1, [512, 512, 512]),
        (1, [128, 512, 512]),
        (1, [128, 128, 128]),
        (1, [1, 512, 512]),
        (1, [512, 8, 512]),
        (1, [64, 64, 4096]),
        (32, [64, 64, 32]),
    ];
    if !caps.is_cpu() {
        shapes.extend([
            (1, [2048, 2048, 2048]),
            (1, [2048, 512, 512]),
            (1, [512, 2048, 512]),
            (1, [512, 512, 2048]),
            (1, [4096, 4096, 4096]),
            (1, [1, 4096, 4096]),
            (1, [8192, 768, 768]),
            (1, [768, 768, 8192]),
            (96, [1024, 1024, 64]),
            (96, [1024, 64, 1024]),
        ]);
    }
    let mut all = Vec::new();
    for (batch, shape) in shapes {
        for &(elem, precision) in &kinds {
            for turned in [[false, true], [false, false], [true, false]] {
                let p = Problem { precision, ..problem(batch, shape, turned, elem) };
                let name = class(&p, shape.map(bucket));
                // the plain variant is what others are judged by, and never the fastest but without subgroups
                let list = variants(caps, &p);
                all.extend(trial(caps, &p, name, list, &choose(caps, &p)));
            }
        }
    }
    // a single row is stored in both orders at once
    all.dedup_by(|a, b| a.class == b.class);
    all
}
