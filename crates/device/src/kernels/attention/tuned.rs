//! Attention as a family that is tested before it is trusted, and tuned: its trials, its size classes, and the choice
//! of the forward kernel on a device, which follows both.

use super::variant::choose_among;
use super::{Place, Problem, Variant, choose, forward_with, variants};
use crate::kernels::Stages;
use crate::kernels::matmul::Elem;
use crate::trial::{Candidate, Family, Fill, Input, Trial, Want};
use crate::{Caps, Device};

/// Attention among [`FAMILIES`](crate::kernels::FAMILIES).
pub(crate) const FAMILY: Family = Family {
    name: "attention",
    texts: &[kiln_shaders::ATTENTION_COOP, kiln_shaders::ATTENTION_ROWS, kiln_shaders::ATTENTION_TILE],
    test,
    tune,
};

/// The variant that forward takes on a device: the one that was fastest when the problem's size class was tuned, else the
/// choice of the heuristics; of the classes of variants that their self-tests did not put aside. A class that was never
/// tested on this adapter and driver is tested now.
pub fn pick(device: &Device, p: &Problem) -> Variant {
    let caps = device.caps();
    let trusted = |v: &Variant| v.class().is_none_or(|class| device.trusts(FAMILY.name, class));
    match winner(device, p) {
        Some(variant) if trusted(&variant) => variant,
        _ => choose_among(caps, p, trusted),
    }
}

/// The winner of the problem's class, or of the nearest one: tuning measures every other power of two or so.
fn winner(device: &Device, p: &Problem) -> Option<Variant> {
    if !device.is_tuned(FAMILY.name) {
        return None;
    }
    let mut near: Vec<[i32; 3]> = (0..75).map(|i| [i % 5 - 2, i / 5 % 5 - 2, i / 25 - 1]).collect();
    near.sort_by_key(|step| step.map(i32::abs).iter().sum::<i32>());
    let name = near.into_iter().find_map(|step| device.winner(FAMILY.name, &class(p, step)))?;
    variants(device.caps(), p).into_iter().find(|variant| variant.to_string() == name)
}

/// The name of a size class: heads of all the batch, the longer of queries and keys, and the larger head as powers of two
/// (`step` away), the type, whether it is causal.
fn class(p: &Problem, step: [i32; 3]) -> String {
    let sizes = [p.batch.saturating_mul(p.heads), p.length.max(p.keys), p.e.max(p.ev)];
    let power = |at: usize| f64::from(((f64::from(sizes[at])).log2().round() as i32 + step[at]).max(0)).exp2();
    let elem = if p.elem == Elem::F16 { "f16" } else { "f32" };
    let causal = if p.causal { "_causal" } else { "" };
    format!("{}x{}x{}_{elem}{causal}", power(0), power(1), power(2))
}

/// `heads` heads that follow each other in memory, one head of keys for `share` of the queries.
fn problem([heads, share]: [u32; 2], [length, keys]: [u32; 2], e: u32, elem: Elem, causal: bool) -> Problem {
    let place = |rows: u32| Place { offset: 0, batch: 0, head: rows * e, row: e };
    Problem {
        batch: 1,
        heads,
        kv_heads: heads / share,
        length,
        keys,
        e,
        ev: e,
        causal,
        scale: 1.0,
        elem,
        q: place(length),
        k: place(keys),
        v: place(keys),
        mask: None,
        dropout: false,
    }
}

/// A trial of some variants; `None` if a launcher refuses.
fn trial(caps: &Caps, p: &Problem, class: String, list: &[Variant]) -> Option<Trial> {
    let stages = |variant: &Variant| {
        let mut stages = Stages::default();
        stages.push(forward_with(caps, p, *variant).ok()?, Vec::new(), false, true);
        Some(stages)
    };
    let (fill, tolerance) = match p.elem {
        Elem::F32 => (Fill::F32, 1e-5),
        // weights that are rounded to f16
        Elem::F16 => (Fill::F16, 2e-3),
    };
    let input = |name, rows: u32, heads: u32| {
        let elements = u64::from(p.batch) * u64::from(heads) * u64::from(rows) * u64::from(p.e);
        Input { name, elements, fill }
    };
    let rows = u64::from(p.batch) * u64::from(p.heads) * u64::from(p.length);
    let candidate = |v: &Variant| Some(Candidate { name: v.to_string(), stages: stages(v)? });
    Some(Trial {
        class,
        inputs: vec![input("q", p.length, p.heads), input("k", p.keys, p.kv_heads), input("v", p.keys, p.kv_heads)],
        out: rows * u64::from(p.ev),
        second: Some(("lse", rows)),
        want: Want::Plain(stages(&Variant::Plain)?),
        candidates: list.iter().filter_map(candidate).collect(),
        heuristic: choose(caps, p).to_string(),
        tolerance,
    })
}

/// One odd problem by the smallest variant of the class: a block of rows and part of another, part of a fragment of keys, two
/// heads that share their keys; scores of tens, so that maxima grow from block to block, and so that in every block there are
/// keys that are most of some row: sums that go wrong late in a long loop over keys are seen. There are [`BLOCKS`] of them.
///
/// Where matrix units are emulated, the driver's compiler is what it costs, and a subgroup takes one fragment of keys at once
/// instead of two.
fn test(caps: &Caps, class: &str) -> Option<Trial> {
    let sized =
        |length: u32, keys: u32| Problem { scale: 3.0, ..problem([2, 2], [length, keys], 32, Elem::F16, false) };
    let coops = variants(caps, &sized(64, 64)).into_iter().filter_map(|variant| match variant {
        Variant::Coop(coop) if variant.class() == Some(class) => Some(coop),
        _ => None,
    });
    let coop = coops.min_by_key(|coop| [coop.rows(), coop.keys])?;
    let at_once = if caps.is_cpu() { 1 } else { coop.keys };
    let p = sized(coop.rows() + 5, BLOCKS * coop.subgroups[1] * at_once * coop.size + coop.size + 6);
    let mut trial = trial(caps, &p, class.into(), &[Variant::Coop(coop)])?;
    trial.with_const("FK", &format!("{at_once}u"));
    Some(trial.defined(|operands| attend(&p, operands)))
}

/// Whole blocks of keys in a self-test.
const BLOCKS: u32 = 32;

/// The definition, for operands that lie as [`problem`] says: the result, then the logarithm of each row's sum.
fn attend(p: &Problem, operands: &[Vec<f64>]) -> Vec<f64> {
    let [heads, length, keys, e] = [p.heads, p.length, p.keys, p.e].map(|n| n as usize);
    let share = (p.heads / p.kv_heads) as usize;
    let (mut out, mut lse) = (vec![0.0; heads * length * e], Vec::new());
    for (head, row) in (0..heads * length).map(|i| (i / length, i % length)) {
        let of = |operand: usize, row: usize| &operands[operand][row * e..(row + 1) * e];
        let query = of(0, head * length + row);
        let key = |j: usize| head / share * keys + j;
        let dot = |x: &[f64]| query.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        let scores: Vec<f64> = (0..keys).map(|j| f64::from(p.scale) * dot(of(1, key(j)))).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
        let y = &mut out[(row * heads + head) * e..][..e];
        for (j, score) in scores.iter().enumerate() {
            let weight = (score - top).exp() / sum;
            y.iter_mut().zip(of(2, key(j))).for_each(|(y, v)| *y += weight * v);
        }
        lse.push(top + sum.ln());
    }
    out.extend(lse);
    out
}

/// Sequences that attend to themselves, causal and not, of f32 and, where there are matrix units, of half floats.
fn tune(caps: &Caps) -> Vec<Trial> {
    let mut elems = vec![Elem::F32];
    if caps.f16 && !caps.coop.is_empty() {
        elems.push(Elem::F16);
    }
    let mut sizes = vec![[32, 64, 32], [8, 256, 64]];
    if !caps.is_cpu() {
        sizes.extend([[96, 1024, 64], [16, 2048, 64], [96, 2048, 64], [32, 1024, 128], [32, 4096, 128]]);
    }
    let mut all = Vec::new();
    for [heads, length, e] in sizes {
        for (elem, causal) in elems.iter().flat_map(|&elem| [true, false].map(|causal| (elem, causal))) {
            let p = Problem { scale: 0.125, ..problem([heads, 1], [length, length], e, elem, causal) };
            all.extend(trial(caps, &p, class(&p, [0; 3]), &variants(caps, &p)));
        }
    }
    all
}
