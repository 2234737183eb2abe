//! Every variant of attention and its gradients against the definition in f64 and plain loops: lengths and head sizes
//! around the blocks, strides, grouped heads, masks, dropout.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::attention::{self, Mask, MaskKind, Part, Place, Problem, Variant};
use kiln_device::kernels::matmul::Elem;
use kiln_device::philox::Stream;
use kiln_device::{AdapterKind, Buffer, Caps, Device, Error, Launch, Step};
use support::fragments::Machine;
use support::{close, device, empty, floats, normal, upload};

/// How the operands lie in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// [batch, heads, rows, columns].
    Heads,
    /// [batch, rows, heads, columns], after a few elements that belong to nobody.
    Rows,
}

fn place(order: Order, heads: u32, rows: u32, cols: u32) -> Place {
    match order {
        Order::Heads => Place { offset: 0, batch: heads * rows * cols, head: rows * cols, row: cols },
        Order::Rows => Place { offset: 8, batch: heads * rows * cols, head: cols, row: heads * cols },
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    /// batch, heads, kv_heads, length, keys, e, ev
    sizes: [u32; 7],
    causal: bool,
    order: Order,
    mask: Option<MaskKind>,
    dropout: bool,
    wide: f32,
}

/// The key and the call of the dropout, and the least of a word's upper 24 bits that keeps: three of ten are dropped.
const DRAW: [u32; 4] = [7, 0x9000_0001, 3, 5_033_165];

/// 1 for each of the weights, counted over [batch, heads, length, keys], that is kept, else 0.
fn kept(weights: usize) -> Vec<f64> {
    let stream = Stream { key: [DRAW[0], DRAW[1]], id: [DRAW[2], 0] };
    stream.word_iter(weights).map(|word| if word >> 8 >= DRAW[3] { 1.0 } else { 0.0 }).collect()
}

fn case(sizes: [u32; 7]) -> Case {
    Case { sizes, causal: false, order: Order::Heads, mask: None, dropout: false, wide: 1.0 }
}

fn problem(c: &Case) -> Problem {
    let [batch, heads, kv_heads, length, keys, e, ev] = c.sizes;
    // one mask for all heads
    let mask =
        c.mask.map(|kind| Mask { kind, place: Place { offset: 0, batch: length * keys, head: 0, row: keys }, col: 1 });
    Problem {
        batch,
        heads,
        kv_heads,
        length,
        keys,
        e,
        ev,
        causal: c.causal,
        scale: 1.0 / (e as f32).sqrt(),
        elem: Elem::F32,
        q: place(c.order, heads, length, e),
        k: place(c.order, kv_heads, keys, e),
        v: place(c.order, kv_heads, keys, ev),
        mask,
        dropout: c.dropout,
    }
}

/// What the definition gives, in the order of the kernels' results: out, lse, dq, [lse, delta], dk, dv.
#[derive(Default)]
struct Twin {
    out: Vec<f64>,
    lse: Vec<f64>,
    dq: Vec<f64>,
    norms: Vec<f64>,
    dk: Vec<f64>,
    dv: Vec<f64>,
}

/// With `y` the gradients are those of kernels that are given it as the result.
fn twin(p: &Problem, [q, k, v, dy]: [&[f32]; 4], mask: Option<&[f32]>, given: Option<&[f32]>) -> Twin {
    let [b, h, g] = [p.batch, p.heads, p.kv_heads].map(|n| n as usize);
    let [l, s, e, ev] = [p.length, p.keys, p.e, p.ev].map(|n| n as usize);
    let at = |x: &[f32], w: &Place, batch: usize, head: usize, row: usize, i: usize| {
        let [o, sb, sh, sr] = [w.offset, w.batch, w.head, w.row].map(|n| n as usize);
        f64::from(x[o + batch * sb + head * sh + row * sr + i])
    };
    let mut t = Twin {
        out: vec![0.0; b * l * h * ev],
        lse: vec![0.0; b * h * l],
        dq: vec![0.0; b * l * h * e],
        norms: vec![0.0; 2 * b * h * l],
        dk: vec![0.0; b * s * g * e],
        dv: vec![0.0; b * s * g * ev],
    };
    let scale = f64::from(p.scale);
    let kept = if p.dropout { kept(b * h * l * s) } else { vec![1.0; b * h * l * s] };
    for (batch, head, row) in (0..b * h * l).map(|i| (i / h / l, i / l % h, i % l)) {
        let kv = head / (h / g);
        let n = (batch * h + head) * l + row;
        let score = |j: usize| {
            let dot: f64 = (0..e).map(|i| at(q, &p.q, batch, head, row, i) * at(k, &p.k, batch, kv, j, i)).sum();
            let added = mask.map_or(0.0, |m| f64::from(m[(batch * l + row) * s + j]));
            if p.causal && j > row { f64::NEG_INFINITY } else { dot * scale + added }
        };
        let scores: Vec<f64> = (0..s).map(score).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let seen = top > f64::NEG_INFINITY;
        let exps: Vec<f64> = scores.iter().map(|x| if seen { (x - top).exp() } else { 0.0 }).collect();
        let total: f64 = exps.iter().sum();
        let weights: Vec<f64> = exps.iter().map(|x| if seen { x / total } else { 0.0 }).collect();
        t.lse[n] = if seen { top + total.ln() } else { 0.0 };
        let y = (batch * l + row) * h + head;
        for i in 0..ev {
            t.out[y * ev + i] = (0..s).map(|j| weights[j] * kept[n * s + j] * at(v, &p.v, batch, kv, j, i)).sum();
        }
        let above = |i: usize| f64::from(dy[y * ev + i]);
        let result = |i: usize| given.map_or(t.out[y * ev + i], |given| f64::from(given[y * ev + i]));
        let delta: f64 = (0..ev).map(|i| above(i) * result(i)).sum();
        (t.norms[2 * n], t.norms[2 * n + 1]) = (t.lse[n], delta);
        for (j, weight) in weights.iter().enumerate() {
            let dp: f64 = (0..ev).map(|i| above(i) * at(v, &p.v, batch, kv, j, i)).sum();
            let ds = weight * (dp * kept[n * s + j] - delta) * scale;
            let to = (batch * s + j) * g + kv;
            for i in 0..e {
                t.dq[y * e + i] += ds * at(k, &p.k, batch, kv, j, i);
                t.dk[to * e + i] += ds * at(q, &p.q, batch, head, row, i);
            }
            for i in 0..ev {
                t.dv[to * ev + i] += weight * kept[n * s + j] * above(i);
            }
        }
    }
    t
}

fn run(device: &Device, launch: &Launch, bindings: &[(&'static str, &Buffer)]) {
    device.run(vec![Step::new(device, launch, bindings).unwrap()]).unwrap();
}

/// A mask for a case, and what it adds: some keys are hidden, and the first query sees none.
fn masked(device: &Device, c: &Case) -> (Buffer, Vec<f32>) {
    let [b, _, _, l, s, _, _] = c.sizes.map(|n| n as usize);
    let hidden: Vec<bool> = (0..b * l * s).map(|i| i < s || (i * 7) % 5 == 0).collect();
    let added: Vec<f32> = hidden.iter().map(|&x| if x { f32::NEG_INFINITY } else { 0.0 }).collect();
    let added: Vec<f32> = match c.mask {
        Some(MaskKind::Add(_)) => added.iter().zip(normal(b * l * s, 5)).map(|(a, n)| a + n).collect(),
        _ => added,
    };
    let words: Vec<u32> = hidden.iter().map(|&x| u32::from(!x)).collect();
    let mask = if c.mask == Some(MaskKind::Bool) { upload(device, &words) } else { upload(device, &added) };
    (mask, added)
}

fn check(device: &Device, caps: &Caps, variants: &[Variant], c: &Case) {
    let p = problem(c);
    let [b, h, g, l, s, e, ev] = c.sizes.map(|n| n as usize);
    let q: Vec<f32> = normal(b * h * l * e + 8, 1).iter().map(|x| x * c.wide).collect();
    let (k, v) = (normal(b * g * s * e + 8, 2), normal(b * g * s * ev + 8, 3));
    let dy = normal(b * h * l * ev, 4);
    let (mask, added) = masked(device, c);
    let want = twin(&p, [&q, &k, &v, &dy], c.mask.is_some().then_some(&added[..]), None);
    let [q, k, v, dy] = [q, k, v, dy].map(|x| upload(device, &x));
    let draw = upload(device, &DRAW);
    for &variant in variants {
        let name = format!("{variant:?} {c:?}");
        let launches = Part::ALL.map(|part| attention::launch_with(caps, &p, part, variant).unwrap());
        let (out, lse) = (empty(device, b * l * h * ev), empty(device, b * h * l));
        let (dq, norms) = (empty(device, b * l * h * e), empty(device, 2 * b * h * l));
        let (dk, dv) = (empty(device, b * s * g * e), empty(device, b * s * g * ev));
        let given = [("q", &q), ("k", &k), ("v", &v), ("mask", &mask), ("draw", &draw)];
        run(device, &launches[0], &[&given[..], &[("out", &out), ("lse", &lse)]].concat());
        let more = [("y", &out), ("dy", &dy), ("lse", &lse), ("out", &dq), ("norms", &norms)];
        run(device, &launches[1], &[&given[..], &more].concat());
        let more = [("dy", &dy), ("norms", &norms), ("out", &dk), ("dv", &dv)];
        run(device, &launches[2], &[&given[..], &more].concat());
        // scores of tens are rounded by 1e-6 of themselves before the exponential
        let (forward, gradient) = (2e-6 * f64::from(c.wide), 1e-5 * f64::from(c.wide));
        close(&format!("out of {name}"), &floats(device, &out), &want.out, forward);
        close(&format!("lse of {name}"), &floats(device, &lse), &want.lse, forward);
        close(&format!("dq of {name}"), &floats(device, &dq), &want.dq, gradient);
        close(&format!("norms of {name}"), &floats(device, &norms), &want.norms, gradient);
        close(&format!("dk of {name}"), &floats(device, &dk), &want.dk, gradient);
        close(&format!("dv of {name}"), &floats(device, &dv), &want.dv, gradient);
    }
}

/// A pipeline is fixed by head sizes, causality, mask and alignment, and takes seconds to compile on a CPU adapter: one
/// without anything for many sizes, and few others. Every variant is tried with the first.
fn cases() -> Vec<(&'static [Variant], Case)> {
    const ALL: &[Variant] =
        &[Variant::Plain, Variant::Broadcast, Variant::Tile(32, 1), Variant::Tile(64, 1), Variant::Tile(64, 2)];
    // tiles differ in constants
    const ONE_TILE: &[Variant] = &[Variant::Plain, Variant::Broadcast, Variant::Tile(64, 2)];
    const NO_TILE: &[Variant] = &[Variant::Plain, Variant::Broadcast];
    let mut all = Vec::new();
    // lengths around the blocks of 8, 32 and 64
    let lengths = [[1, 1], [1, 9], [7, 8], [8, 7], [9, 17], [31, 33], [33, 31], [64, 65], [65, 63], [129, 3], [3, 129]];
    for [l, s] in lengths {
        let (one, grouped) = (case([1, 2, 2, l, s, 8, 8]), case([2, 6, 2, l, s, 8, 8]));
        all.extend([one, grouped].map(|c| (ALL, c)));
        all.push((ALL, Case { order: Order::Rows, ..grouped }));
        all.push((ALL, Case { wide: 30.0, order: Order::Rows, ..one }));
    }
    // more fours than a row of threads has, loops over heads that are not unrolled, rows that stop at the diagonal
    for [l, s] in [[1, 9], [9, 17], [35, 35], [65, 63], [3, 129]] {
        all.push((ONE_TILE, Case { causal: true, order: Order::Rows, ..case([1, 2, 1, l, s, 36, 68]) }));
    }
    // single elements, and masks
    for [l, s] in [[10, 12], [12, 10], [67, 70]] {
        let (bools, adds) = (Some(MaskKind::Bool), Some(MaskKind::Add(Elem::F32)));
        all.push((ONE_TILE, Case { mask: bools, order: Order::Rows, ..case([1, 3, 3, l, s, 5, 7]) }));
        all.push((ONE_TILE, Case { mask: adds, causal: true, ..case([2, 2, 1, l, s, 8, 8]) }));
    }
    // dropout: weights drawn by fours, from any place in a word's four, for a mask and for heads that share a key
    for [l, s] in [[1, 1], [9, 12], [12, 10], [35, 67], [65, 64]] {
        all.push((ONE_TILE, Case { dropout: true, ..case([2, 6, 2, l, s, 8, 8]) }));
    }
    all.push((ONE_TILE, Case { dropout: true, mask: Some(MaskKind::Bool), ..case([1, 3, 3, 35, 67, 5, 7]) }));
    all.push((NO_TILE, case([2, 4, 2, 35, 35, 1, 1])));
    all
}

#[test]
fn every_variant_matches_f64() {
    let device = device();
    let caps = device.caps().clone();
    assert!(cases().iter().filter(|(wanted, _)| wanted.len() == 5).count() >= 40);
    for (wanted, c) in cases() {
        let mut variants = attention::variants(&caps, &problem(&c), Part::Forward);
        assert_eq!(variants[0], Variant::Plain);
        variants.retain(|v| wanted.contains(v));
        check(&device, &caps, &variants, &c);
    }
}

#[test]
fn a_query_of_nan_is_its_own_row_alone() {
    let device = device();
    let p = problem(&case([1, 1, 1, 9, 70, 8, 8]));
    let [mut q, k, v] = [(72, 1), (560, 2), (560, 3)].map(|(n, seed)| normal(n + 8, seed));
    q[3 * 8] = f32::NAN;
    let [q, k, v] = [q, k, v].map(|x| upload(&device, &x));
    for variant in attention::variants(device.caps(), &p, Part::Forward) {
        let launch = attention::launch_with(device.caps(), &p, Part::Forward, variant).unwrap();
        let (out, lse) = (empty(&device, 72), empty(&device, 9));
        run(&device, &launch, &[("q", &q), ("k", &k), ("v", &v), ("out", &out), ("lse", &lse)]);
        let nan =
            |x: Vec<f32>, cols: usize| x.chunks(cols).map(|row| row.iter().all(|x| x.is_nan())).collect::<Vec<_>>();
        let any = floats(&device, &out).iter().filter(|x| x.is_nan()).count();
        let want: Vec<bool> = (0..9).map(|row| row == 3).collect();
        assert_eq!(
            (nan(floats(&device, &out), 8), nan(floats(&device, &lse), 1), any),
            (want.clone(), want, 8),
            "{variant}"
        );
    }
}

/// All parts by matrix units, where there are any: all of their variants, or the first of each part, for this case. Says how
/// many.
fn check_coop(machine: &Machine, every: bool, c: &Case) -> usize {
    let (device, caps) = (&machine.device, &machine.caps);
    let p = Problem { elem: Elem::F16, ..problem(c) };
    let [b, h, g, l, s, e, ev] = c.sizes.map(|n| n as usize);
    let mut q: Vec<f32> = normal(b * h * l * e + 8, 1).iter().map(|x| (x * c.wide).clamp(-7.9, 7.9)).collect();
    let (mut k, mut v) = (normal(b * g * s * e + 8, 2), normal(b * g * s * ev + 8, 3));
    let mut dy = normal(b * h * l * ev, 4);
    let halves = |x: &mut Vec<f32>| device.upload(&machine.half(x), "operand").unwrap();
    let buffers = [&mut q, &mut k, &mut v, &mut dy].map(halves);
    let (mask, added) = masked(device, c);
    let added = c.mask.is_some().then_some(&added[..]);
    let operands = [&q[..], &k, &v, &dy];
    let whole = twin(&p, operands, added, None);
    // gradients are given the result in half precision, and that of what it is rounded to is the twin's
    let mut y: Vec<f32> = whole.out.iter().map(|&x| x as f32).collect();
    let y_buffer = halves(&mut y);
    let want = twin(&p, operands, added, Some(&y));
    let kept_sums = upload(device, &want.lse.iter().map(|&x| x as f32).collect::<Vec<_>>());
    let kept_norms = upload(device, &want.norms.iter().map(|&x| x as f32).collect::<Vec<_>>());
    let draw = upload(device, &DRAW);
    let [q, k, v, dy] = &buffers;
    let given = [("q", q), ("k", k), ("v", v), ("mask", &mask), ("draw", &draw)];
    let mut runs = 0;
    for part in Part::ALL {
        let coop = |v: &Variant| matches!(v, Variant::Coop(_));
        let variants: Vec<Variant> = attention::variants(caps, &p, part).into_iter().filter(coop).collect();
        let variants = if every { &variants[..] } else { &variants[..variants.len().min(1)] };
        for &variant in variants {
            let (out, second) = match part {
                Part::Forward => (empty(device, b * l * h * ev), empty(device, b * h * l)),
                Part::Query => (empty(device, b * l * h * e), empty(device, 2 * b * h * l)),
                Part::Keys => (empty(device, b * s * g * e), empty(device, b * s * g * ev)),
            };
            let more = match part {
                Part::Forward => vec![("lse", &second)],
                Part::Query => vec![("y", &y_buffer), ("dy", dy), ("lse", &kept_sums), ("norms", &second)],
                Part::Keys => vec![("dy", dy), ("norms", &kept_norms), ("dv", &second)],
            };
            let launch = attention::launch_with(caps, &p, part, variant).unwrap();
            machine.run(&launch, &[&given[..], &[("out", &out)], &more].concat());
            // Weights and gradients of scores are rounded to f16, 2⁻¹¹ of themselves or 2⁻¹⁰, and of the latter, which are not weights of
            // a mean, a sum has up to hundreds; scores are sums in f32, and lose 1e-6 of themselves before the exponential.
            let (weights, sums, wide) = (1e-3, 2e-3, 1e-5 * f64::from(c.wide));
            let results = match part {
                Part::Forward => [("out", &want.out, weights), ("lse", &want.lse, wide)],
                Part::Query => [("dq", &want.dq, sums), ("norms", &want.norms, 1e-5)],
                Part::Keys => [("dk", &want.dk, 2.0 * sums), ("dv", &want.dv, sums)],
            };
            for (buffer, (name, want, tolerance)) in [out, second].iter().zip(results) {
                close(&format!("{name} of {variant} {c:?}"), &floats(device, buffer), want, tolerance);
            }
        }
        runs += variants.len();
    }
    runs
}

/// Around fragments of 8 and 16, and blocks of 32 and 64: the case, and whether all variants are tried with it.
fn coop_cases() -> Vec<(bool, Case)> {
    let lengths =
        [[16, 16], [16, 17], [17, 16], [23, 33], [31, 31], [33, 64], [64, 65], [65, 63], [129, 16], [70, 150]];
    let mut all = vec![(true, case([1, 1, 1, 8, 8, 32, 32])), (true, case([1, 1, 1, 9, 100, 32, 32]))];
    for [l, s] in lengths {
        let (one, grouped) = (case([1, 2, 2, l, s, 32, 32]), case([2, 6, 2, l, s, 32, 32]));
        let wide = Case { wide: 8.0, ..one };
        all.extend([one, Case { order: Order::Rows, ..grouped }, wide].map(|c| (true, c)));
    }
    // causal also with keys that no query sees
    for [l, s] in [[16, 16], [20, 90], [65, 63], [100, 100], [130, 40]] {
        let causal = Case { causal: true, wide: 4.0, ..case([1, 2, 1, l, s, 64, 64]) };
        let hidden = Case { mask: Some(MaskKind::Bool), order: Order::Rows, ..case([2, 3, 3, l, s, 16, 96]) };
        let added = Case { mask: Some(MaskKind::Add(Elem::F32)), ..case([2, 2, 1, l, s, 128, 128]) };
        all.extend([causal, hidden, added].map(|c| (false, c)));
    }
    for [l, s] in [[20, 44], [35, 67]] {
        let dropping = Case { dropout: true, causal: true, ..case([2, 6, 2, l, s, 32, 32]) };
        let hidden = Case { dropout: true, mask: Some(MaskKind::Bool), ..case([1, 3, 3, l, s, 16, 16]) };
        all.extend([dropping, hidden].map(|c| (false, c)));
    }
    all
}

#[test]
fn cooperative_kernels_match_f64() {
    let machine = Machine::own();
    if machine.caps.coop.is_empty() {
        return;
    }
    let all = coop_cases();
    let runs: usize = all.iter().map(|(every, c)| check_coop(&machine, *every, c)).sum();
    assert!(all.len() >= 40 && runs >= 3 * all.len(), "{runs} runs of {} shapes", all.len());
}

/// Fragments that no software adapter has, in subgroups of 16 to 64 lanes, and where the driver makes smaller ones than it
/// said. Played kernels take long to compile: no heads of 128, and one kernel of each part for the other machines.
#[test]
#[ignore = "compiles for two minutes: scripts/test --all"]
fn cooperative_kernels_of_gpus_match_f64() {
    let machine = Machine::played(16, (32, 32), 32);
    let small = coop_cases().into_iter().filter(|(_, c)| c.sizes[5] < 128);
    let runs: usize = small.map(|(every, c)| check_coop(&machine, every, &c)).sum();
    assert!(runs >= 200, "{runs} runs");
    for machine in Machine::others() {
        let plain = coop_cases().into_iter().filter(|(every, _)| *every);
        assert!(plain.map(|(_, c)| check_coop(&machine, false, &c)).sum::<usize>() >= 3 * 30);
    }
}

/// lavapipe 22.3 stops after 65,535 iterations and says nothing: more is an error, and what is allowed is right.
#[test]
fn more_keys_than_an_invocation_can_walk_are_an_error() {
    let device = device();
    let cpu = Caps { kind: AdapterKind::Cpu, ..device.caps().clone() };
    let gpu = Caps { kind: AdapterKind::Discrete, ..cpu.clone() };
    // head size, and the most keys there are
    for (e, most) in [(64, 8 * 59_999), (128, 8 * 920), (256, 8 * 462)] {
        let p = |keys| problem(&case([1, 1, 1, 1, keys, e, e]));
        let plain = |caps, keys| attention::launch_with(caps, &p(keys), Part::Forward, Variant::Plain);
        let chosen = |keys| attention::launch(&cpu, &p(keys), Part::Forward);
        assert!(chosen(most).is_ok(), "{e}");
        for refused in [chosen(most + 1), plain(&cpu, most + 1)] {
            assert!(matches!(refused, Err(Error::Limit { kernel, .. }) if kernel == "attention"), "{e}");
        }
        assert!(plain(&gpu, most + 1).is_ok(), "nothing stops a GPU");
    }
    // heads that share a key are walked by one invocation of its gradient
    let shared = problem(&case([1, 64, 1, 65_536, 8, 8, 8]));
    assert!(attention::launch(&cpu, &shared, Part::Query).is_ok());
    assert!(matches!(attention::launch(&cpu, &shared, Part::Keys), Err(Error::Limit { .. })));
}

/// As many keys as are allowed, at a head size whose loops are not unrolled: the last one counts.
#[test]
fn the_longest_walk_is_whole() {
    let device = device();
    let (e, keys) = (128, 8 * 920);
    let p = problem(&case([1, 1, 1, 1, keys, e, e]));
    let mut v = vec![0.0f32; (keys * e) as usize];
    v[((keys - 1) * e) as usize..].fill(keys as f32);
    let ones = vec![1.0f32; (keys * e) as usize];
    let [q, k, v] = [&ones[..e as usize], &ones, &v].map(|x| upload(&device, x));
    let (out, lse) = (empty(&device, e as usize), empty(&device, 1));
    let launch = attention::launch(device.caps(), &p, Part::Forward).unwrap();
    run(&device, &launch, &[("q", &q), ("k", &k), ("v", &v), ("out", &out), ("lse", &lse)]);
    close("out", &floats(&device, &out), &vec![1.0; e as usize], 1e-4);
}

#[test]
fn what_has_no_kernel_is_an_error() {
    let device = device();
    let caps = device.caps();
    let good = problem(&case([1, 4, 2, 8, 8, 8, 8]));
    for part in Part::ALL {
        assert!(attention::launch(caps, &good, part).is_ok());
        assert!(attention::launch_with(caps, &good, part, Variant::Tile(16, 1)).is_err());
    }
    for bad in [
        Problem { keys: 0, ..good },
        Problem { kv_heads: 3, ..good },
        Problem { e: attention::MAX_HEAD + 1, ..good },
        Problem { ev: 0, ..good },
    ] {
        for part in Part::ALL {
            assert!(attention::launch(caps, &bad, part).is_err(), "{bad:?}");
        }
    }
}
