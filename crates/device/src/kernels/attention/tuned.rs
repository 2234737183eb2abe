//! Attention as a family that is tested before it is trusted, and tuned: its trials, its size classes, and the choice
//! of the kernels on a device, which follows both.

use super::define::define;
use super::variant::choose_among;
use super::{Coop, Part, Place, Problem, Variant, choose, launch_with, variants};
use crate::kernels::Stages;
use crate::kernels::matmul::Elem;
use crate::trial::{Candidate, Family, Fill, Input, Trial, Want};
use crate::{Caps, Device};

/// Attention among [`FAMILIES`](crate::kernels::FAMILIES).
pub(crate) const FAMILY: Family = Family {
    name: "attention",
    texts: &[
        kiln_shaders::ATTENTION_COOP,
        kiln_shaders::ATTENTION_COOP_KEYS,
        kiln_shaders::ATTENTION_COOP_QUERY,
        kiln_shaders::ATTENTION_ROWS,
        kiln_shaders::ATTENTION_ROWS_KEYS,
        kiln_shaders::ATTENTION_ROWS_QUERY,
        kiln_shaders::ATTENTION_TILE,
        kiln_shaders::ATTENTION_TILE_KEYS,
        kiln_shaders::ATTENTION_TILE_QUERY,
    ],
    test,
    tune,
};

/// The variant that a part takes on a device: the one that was fastest when the problem's size class was tuned, else the
/// choice of the heuristics; of the classes of variants that their self-tests did not put aside. A class that was never
/// tested on this adapter and driver, for this part, is tested now.
pub fn pick(device: &Device, p: &Problem, part: Part) -> Variant {
    let caps = device.caps();
    let trusted = |v: &Variant| test_class(part, v).is_none_or(|class| device.trusts(FAMILY.name, &class));
    match winner(device, p, part) {
        Some(variant) if trusted(&variant) => variant,
        _ => choose_among(caps, p, part, trusted),
    }
}

/// What a self-test judges as one: a class of variants for one part.
fn test_class(part: Part, variant: &Variant) -> Option<String> {
    variant.class().map(|class| format!("{} {class}", part.name()))
}

/// The winner of the problem's class, or of the nearest one: tuning measures every other power of two or so.
fn winner(device: &Device, p: &Problem, part: Part) -> Option<Variant> {
    if !device.is_tuned(FAMILY.name) {
        return None;
    }
    let mut near: Vec<[i32; 3]> = (0..75).map(|i| [i % 5 - 2, i / 5 % 5 - 2, i / 25 - 1]).collect();
    near.sort_by_key(|step| step.map(i32::abs).iter().sum::<i32>());
    let name = near.into_iter().find_map(|step| device.winner(FAMILY.name, &class(p, part, step)))?;
    variants(device.caps(), p, part).into_iter().find(|variant| variant.to_string() == name)
}

/// The name of a size class: the part, heads of all the batch, the longer of queries and keys, and the larger head as
/// powers of two (`step` away), the type, whether it is causal.
fn class(p: &Problem, part: Part, step: [i32; 3]) -> String {
    let sizes = [p.batch.saturating_mul(p.heads), p.length.max(p.keys), p.e.max(p.ev)];
    let power = |at: usize| f64::from(((f64::from(sizes[at])).log2().round() as i32 + step[at]).max(0)).exp2();
    let elem = if p.elem == Elem::F16 { "f16" } else { "f32" };
    let causal = if p.causal { "_causal" } else { "" };
    format!("{}_{}x{}x{}_{elem}{causal}", part.name(), power(0), power(1), power(2))
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

/// A trial of some variants; `None` if a launcher refuses. What forward keeps of each row, the logarithm of its sum, is
/// anything near `sum`.
fn trial(caps: &Caps, p: &Problem, part: Part, class: String, list: &[Variant], sum: i32) -> Option<Trial> {
    let stages = |variant: &Variant| {
        let mut stages = Stages::default();
        stages.push(launch_with(caps, p, part, *variant).ok()?, Vec::new(), false, true);
        Some(stages)
    };
    let (fill, tolerance) = match p.elem {
        Elem::F32 => (Fill::F32, 1e-5),
        // weights that are rounded to f16; gradients are sums of those of scores, rounded likewise, instead of means
        Elem::F16 => (Fill::F16, if part == Part::Forward { 2e-3 } else { 4e-3 }),
    };
    let of = |heads: u32, rows: u32, cols: u32| [p.batch, heads, rows, cols].map(u64::from).iter().product::<u64>();
    let [q, k, v] = [of(p.heads, p.length, p.e), of(p.kv_heads, p.keys, p.e), of(p.kv_heads, p.keys, p.ev)];
    let (y, rows) = (of(p.heads, p.length, p.ev), of(p.heads, p.length, 1));
    let input = |name, elements| Input { name, elements, fill };
    let near = |name, elements| Input { name, elements, fill: Fill::Near(sum) };
    let mut inputs = vec![input("q", q), input("k", k), input("v", v)];
    let (out, second) = match part {
        Part::Forward => (y, ("lse", rows)),
        Part::Query => {
            inputs.extend([input("y", y), input("dy", y), near("lse", rows)]);
            (q, ("norms", 2 * rows))
        }
        Part::Keys => {
            inputs.extend([input("dy", y), near("norms", 2 * rows)]);
            (k, ("dv", v))
        }
    };
    let candidate = |v: &Variant| Some(Candidate { name: v.to_string(), stages: stages(v)? });
    Some(Trial {
        class,
        inputs,
        out,
        second: Some(second),
        want: Want::Plain(stages(&Variant::Plain)?),
        candidates: list.iter().filter_map(candidate).collect(),
        heuristic: choose(caps, p, part).to_string(),
        tolerance,
    })
}

/// One odd problem by the smallest variant of the class: a block of rows and part of another, part of a fragment of those
/// that it walks, two heads that share their keys; so that in every block there are some that are most of some sum: sums that go
/// wrong late in a long loop are seen. There are [`BLOCKS`] of them. Forward, scores are tens, so that maxima grow from block to block.
///
/// Where matrix units are emulated, the driver's compiler is what it costs, and a subgroup takes one fragment of rows and
/// one of the others at once instead of two, straight from storage.
fn test(caps: &Caps, class: &str) -> Option<Trial> {
    let sized = |part, [length, keys]: [u32; 2]| Problem {
        scale: if part == Part::Forward { 3.0 } else { 0.25 },
        ..problem([2, 2], [length, keys], 32, Elem::F16, false)
    };
    let all = Part::ALL.into_iter().flat_map(|part| {
        let of = variants(caps, &sized(part, [64, 64]), part).into_iter();
        of.filter(move |v| test_class(part, v).as_deref() == Some(class)).map(move |v| (part, v))
    });
    let coops =
        all.filter_map(|(part, variant)| if let Variant::Coop(coop) = variant { Some((part, coop)) } else { None });
    let usual = |(_, coop): &(Part, Coop)| caps.is_cpu() || coop.own == 2;
    let unlike = |coop: &Coop| u32::from(caps.is_cpu() == coop.staged);
    let (part, coop) = coops.filter(usual).min_by_key(|(_, coop)| [coop.rows(), coop.block(), unlike(coop)])?;
    let (own, walked) = (coop.rows() + 5, BLOCKS * coop.block() + coop.size + 6);
    let p = sized(part, if part == Part::Keys { [walked, own] } else { [own, walked] });
    let trial = trial(caps, &p, part, class.into(), &[Variant::Coop(coop)], 3)?;
    Some(trial.defined(|operands| define(&p, part, operands)))
}

/// Whole blocks that a self-test walks.
const BLOCKS: u32 = 32;

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
            for part in Part::ALL {
                let class = class(&p, part, [0; 3]);
                // as if all keys were alike
                let sum = f64::from(length).ln().round() as i32;
                all.extend(trial(caps, &p, part, class, &variants(caps, &p, part), sum));
            }
        }
    }
    all
}
