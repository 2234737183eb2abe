//! Attention with an online softmax: `out = softmax(scale q kᵀ + bias) v`, and its gradients, which make the
//! probabilities again. The scores are never in memory.
//!
//! Three launches, the parts: [`Part::Forward`] binds `q, k, v, out, lse`; [`Part::Query`] binds
//! `q, k, v, y, dy, lse, out, norms`, where `norms` holds log-sum and Σ dy y of each row side by side; [`Part::Keys`] binds
//! `q, k, v, dy, norms, out, dv`. With a mask all bind `mask`, with dropout `draw`. Each has a slot
//! `store(v: S, batch, row, head, col)` over [batch, rows, heads, columns], where S has [`Launch::width`] elements. Head
//! sizes, types and whether four elements can be loaded at once are structure; lengths, heads and strides are run-time
//! parameters.
//!
//! [`variants`] lists what a device can run, [`choose`] is the heuristics' choice, [`pick`] the one that also follows
//! tuning and self-tests, [`launch_with`] launches any of them.

mod coop;
mod define;
mod tuned;
mod variant;

pub use coop::Coop;
pub(crate) use tuned::FAMILY;
pub use tuned::pick;
pub use variant::{Variant, choose, variants};

use super::common::MAX_ITERATIONS;
use super::matmul::Elem;
use crate::{Caps, Error, Launch, Params, Result, Source, fold_groups};

/// Where an operand's rows lie, in elements; the elements of a row are neighbours. A stride of 0 broadcasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The first element.
    pub offset: u32,
    /// Stride of the batch.
    pub batch: u32,
    /// Stride of the head.
    pub head: u32,
    /// Stride of the query or key.
    pub row: u32,
}

/// What is added to the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    /// What it holds.
    pub kind: MaskKind,
    /// Where its rows lie: one for each query.
    pub place: Place,
    /// Stride of the key.
    pub col: u32,
}

/// What a mask holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaskKind {
    /// Words: whether the query sees the key.
    Bool,
    /// Numbers that are added.
    Add(Elem),
}

/// Attention of `q` [batch, heads, length, e] to `k` [batch, kv_heads, keys, e] and `v` [batch, kv_heads, keys, ev].
/// Results are contiguous, with the heads inside: out [batch, length, heads, ev].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Problem {
    /// Independent problems.
    pub batch: u32,
    /// Heads of the queries, a multiple of `kv_heads`.
    pub heads: u32,
    /// Heads of keys and values.
    pub kv_heads: u32,
    /// Queries.
    pub length: u32,
    /// Keys.
    pub keys: u32,
    /// Elements of a query and of a key.
    pub e: u32,
    /// Elements of a value.
    pub ev: u32,
    /// Query i sees keys 0 ..= i.
    pub causal: bool,
    /// What the scores are multiplied by.
    pub scale: f32,
    /// How q, k, v, and with them y and dy, are stored.
    pub elem: Elem,
    /// The queries.
    pub q: Place,
    /// The keys.
    pub k: Place,
    /// The values.
    pub v: Place,
    /// What is added to the scores.
    pub mask: Option<Mask>,
    /// Weights are kept or 0, as `draw` says: the two words of a Philox key, the call, and the least of a word's upper 24
    /// bits that keeps. Weight i, counted over [batch, heads, length, keys], has word i. Those kept stay what they are:
    /// that the rest is missing is made up for elsewhere.
    pub dropout: bool,
}

/// Which of the three launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The result, and the logarithm of each row's sum.
    Forward,
    /// The gradient of the queries, and what that of the keys needs of each row.
    Query,
    /// The gradients of keys and values.
    Keys,
}

impl Part {
    /// All of them, in the order in which they run.
    pub const ALL: [Part; 3] = [Part::Forward, Part::Query, Part::Keys];

    /// The first word of classes of variants and of size classes.
    fn name(self) -> &'static str {
        match self {
            Part::Forward => "forward",
            Part::Query => "query",
            Part::Keys => "keys",
        }
    }

    /// Rows of its result, and heads.
    fn rows(self, p: &Problem) -> (u32, u32) {
        if self == Part::Keys { (p.keys, p.kv_heads) } else { (p.length, p.heads) }
    }
}

/// Head sizes up to this have kernels.
pub const MAX_HEAD: u32 = 256;

/// A part by the variant that [`choose`] gives.
///
/// # Errors
/// As [`launch_with`].
pub fn launch(caps: &Caps, p: &Problem, part: Part) -> Result<Launch> {
    launch_with(caps, p, part, choose(caps, p, part))
}

/// The same by a given variant.
///
/// # Errors
/// [`Error::Validation`] for an axis of no elements, heads that are no multiple, a head size past [`MAX_HEAD`], or a
/// variant that is not for this problem or device;
/// [`Error::Limit`] for a grid that no device takes, or, on a CPU adapter, more queries or keys than one invocation can
/// walk: lavapipe 22.3 silently stops after 65,535 iterations.
pub fn launch_with(caps: &Caps, p: &Problem, part: Part, variant: Variant) -> Result<Launch> {
    check(p)?;
    if !variants(caps, p, part).contains(&variant) {
        return Err(Error::Validation(format!("attention: {variant} is not for {part:?} of {p:?} on {}", caps.name)));
    }
    let (rows, heads) = part.rows(p);
    let (file, block) = file(variant, part);
    let groups = u64::from(rows.div_ceil(block)) * u64::from(heads) * u64::from(p.batch);
    let has = u64::from(u32::MAX).min(u64::from(caps.max_groups) * 65_535);
    if groups > has {
        return Err(Error::Limit { kernel: "attention".into(), what: "workgroups", needs: groups, has });
    }
    let needs = iterations(p, variant, part);
    if caps.is_cpu() && needs > u64::from(MAX_ITERATIONS) {
        let has = u64::from(MAX_ITERATIONS);
        return Err(Error::Limit { kernel: "attention".into(), what: "iterations of one invocation", needs, has });
    }
    let mut source = file.constant("E", format!("{}u", p.e)).constant("EV", format!("{}u", p.ev));
    if !matches!(variant, Variant::Coop(_)) {
        source = elements(source, p, aligned(p));
    }
    source = source.constant("CAUSAL", p.causal);
    source = match variant {
        Variant::Broadcast => broadcasts(source.constant("KNOWN", known(variant, p)), part),
        Variant::Plain => source.constant("KNOWN", known(variant, p)),
        Variant::Tile(size, fours) => source.constant("TILE", format!("{size}u")).constant("RB", format!("{fours}u")),
        Variant::Coop(coop) => fragments(source, caps, p, part, coop),
    };
    let wide = if part == Part::Forward { p.ev } else { p.e }.is_multiple_of(4);
    let wide = wide && (part != Part::Keys || p.ev.is_multiple_of(4));
    source = output(source, wide, part);
    if let Some(mask) = p.mask {
        source = biased(source, mask.kind);
    }
    if p.dropout {
        source = dropping(source, variant, part, p.keys);
    }
    // for each pair of a query and a key: its products, and some for the exponential and the draw
    let more = if p.dropout { 64 } else { 16 };
    let pair = match part {
        Part::Forward => p.e + p.ev + more,
        Part::Query => 2 * p.e + p.ev + more,
        Part::Keys => 2 * (p.e + p.ev) + more,
    };
    let launch = Launch::new(source, params(p), fold_groups(groups)).wide(if wide { 4 } else { 1 });
    Ok(launch.costing([if p.causal { 1 } else { 2 }, p.batch, p.heads, p.length, p.keys, pair]))
}

fn check(p: &Problem) -> Result<()> {
    let sizes = [p.batch, p.heads, p.kv_heads, p.length, p.keys, p.e, p.ev];
    let whole = !sizes.contains(&0) && p.heads.is_multiple_of(p.kv_heads);
    if whole && p.e.max(p.ev) <= MAX_HEAD {
        return Ok(());
    }
    Err(Error::Validation(format!("attention has no kernel for {p:?}")))
}

/// Iterations of an invocation that has the most: rounds of eight partners, in each of them the loops over a head that
/// are not unrolled. Those of tiles and fragments are not counted: they are for GPUs, where nothing stops them.
fn iterations(p: &Problem, variant: Variant, part: Part) -> u64 {
    if matches!(variant, Variant::Tile(..) | Variant::Coop(_)) {
        return 0;
    }
    let [e4, v4] = [p.e, p.ev].map(|n| u64::from(n.div_ceil(4)));
    let (partners, heads) = if part == Part::Keys { (p.length, p.heads / p.kv_heads) } else { (p.keys, 1) };
    let loops = match part {
        _ if known(variant, p) => 0,
        Part::Forward => e4 + v4,
        Part::Query | Part::Keys => 2 * e4 + v4,
    };
    let around = if known(variant, p) { 0 } else { 2 * (e4 + v4) + e4.max(v4) };
    u64::from(heads) * (u64::from(partners.div_ceil(8)) * (1 + loops) + 1) + around
}

/// The shader, and the rows of a workgroup.
fn file(variant: Variant, part: Part) -> (Source, u32) {
    use kiln_shaders as s;
    let (name, text, block) = match (variant, part) {
        (Variant::Broadcast | Variant::Plain, Part::Forward) => ("attention_rows", s::ATTENTION_ROWS, 8),
        (Variant::Broadcast | Variant::Plain, Part::Query) => ("attention_rows_query", s::ATTENTION_ROWS_QUERY, 8),
        (Variant::Broadcast | Variant::Plain, Part::Keys) => ("attention_rows_keys", s::ATTENTION_ROWS_KEYS, 8),
        (Variant::Tile(size, _), Part::Forward) => ("attention_tile", s::ATTENTION_TILE, size),
        (Variant::Tile(size, _), Part::Query) => ("attention_tile_query", s::ATTENTION_TILE_QUERY, size),
        (Variant::Tile(size, _), Part::Keys) => ("attention_tile_keys", s::ATTENTION_TILE_KEYS, size),
        (Variant::Coop(coop), Part::Forward) => ("attention_coop", s::ATTENTION_COOP, coop.rows()),
        (Variant::Coop(coop), Part::Query) => ("attention_coop_query", s::ATTENTION_COOP_QUERY, coop.rows()),
        (Variant::Coop(coop), Part::Keys) => ("attention_coop_keys", s::ATTENTION_COOP_KEYS, coop.rows()),
    };
    (Source::new(name, text), block)
}

/// Whether every row of every operand can be loaded four elements at a time.
fn aligned(p: &Problem) -> bool {
    let places = [p.q, p.k, p.v].into_iter().flat_map(|s| [s.offset, s.batch, s.head, s.row]);
    places.chain([p.e, p.ev]).all(|n| n.is_multiple_of(4))
}

/// Whether loops over a head are unrolled: twice as fast, but long ones compile for a minute.
fn known(variant: Variant, p: &Problem) -> bool {
    p.e.max(p.ev) <= if aligned(p) || variant == Variant::Broadcast { 64 } else { 16 }
}

/// The shape of fragments, and how many a subgroup has.
fn fragments(source: Source, caps: &Caps, p: &Problem, part: Part, coop: Coop) -> Source {
    let u = |n: u32| format!("{n}u");
    let fragment = |role: &str| format!("coop_mat{0}x{0}<{role}>", coop.size);
    let mut source = source
        .alias("FragA", &fragment("f16, A"))
        .alias("FragB", &fragment("f16, B"))
        .alias("FragC", &fragment("f32, C"))
        .constant("SIZE", u(coop.size))
        .constant("SM", u(coop.subgroups[0]))
        .constant("SN", u(coop.subgroups[1]))
        .constant("OWN", u(coop.own))
        .constant("AT_ONCE", u(coop.at_once))
        .constant("WG", u(coop.invocations(caps)))
        .constant("STAGED", coop.staged);
    if part == Part::Forward && !coop.staged {
        let frag = |load, row| format!("    return {load}(start + key_of(j + line) * sizes.{row} + col);");
        source = source
            .alias("EK", "f16")
            .slot("k_four", "    return vec4<f16>();")
            .slot("v_four", "    return vec4<f16>();")
            .slot("k_frag", frag("k_cols_", "k_row"))
            .slot("v_frag", frag("v_lines_", "v_row"));
    }
    if part != Part::Forward {
        source = source.constant("FE", u(coop.fragments(p.e)));
    }
    if part != Part::Query {
        source = source.constant("FV", u(coop.fragments(p.ev)));
    }
    source
}

fn elements(source: Source, p: &Problem, fours: bool) -> Source {
    let (one, four) = match p.elem {
        Elem::F32 => ("f32", "vec4<f32>"),
        Elem::F16 => ("f16", "vec4<f16>"),
    };
    let source = source.alias("EA", if fours { four } else { one }).alias("EA4", four);
    source.constant("LOAD", if fours { "4u" } else { "1u" })
}

/// What one lane loaded, handed to all: instead of loading it again.
fn broadcasts(mut source: Source, part: Part) -> Source {
    let arrays = if part == Part::Keys { &["q", "g", "n"][..] } else { &["k", "v"] };
    for array in arrays {
        for (half, first) in [("low", 0), ("high", 4)] {
            let lanes: Vec<String> = (first..first + 4).map(|lane| format!("subgroupBroadcast(x, {lane}u)")).collect();
            source = source.slot(&format!("{array}_{half}_"), format!("    return mat4x4({});", lanes.join(", ")));
        }
    }
    source
}

fn output(source: Source, wide: bool, part: Part) -> Source {
    if !wide {
        return source;
    }
    let source =
        source.alias("S", "vec4<f32>").constant("WIDTH", "4u").slot("emit", "    store(v, batch, row, head, col);");
    if part == Part::Keys { source.slot("emit_v", "    dv[(at + col) / 4u] = v;") } else { source }
}

fn biased(source: Source, kind: MaskKind) -> Source {
    let (elem, body) = match kind {
        MaskKind::Bool => ("u32", "    return select(-inf_().x, 0.0, mask[at] != 0u);"),
        MaskKind::Add(Elem::F32) => ("f32", "    return mask[at];"),
        MaskKind::Add(Elem::F16) => ("f16", "    return f32(mask[at]);"),
    };
    source.declare(format!("@group(0) @binding(9) var<storage, read> mask: array<{elem}>;")).slot("bias", body)
}

/// Draws for four weights at once where they lie in a row.
fn dropping(source: Source, variant: Variant, part: Part, keys: u32) -> Source {
    let in_a_row = part != Part::Keys || !matches!(variant, Variant::Broadcast | Variant::Plain);
    let body = match (in_a_row, keys.is_multiple_of(4)) {
        (true, true) => "    return kept_four_(at.x);",
        (true, false) => "    return kept_run_(at.x);",
        (false, _) => "    return kept_each_(at);",
    };
    source.declare("@group(0) @binding(8) var<storage, read> draw: array<vec4<u32>>;").slot("kept", body)
}

fn params(p: &Problem) -> Params {
    let place = |params: Params, s: &Place| params.u32(s.offset).u32(s.batch).u32(s.head).u32(s.row);
    let sizes = Params::new().f32(p.scale).u32(p.batch * p.heads).u32(p.heads).u32(p.heads / p.kv_heads);
    let params = [p.q, p.k, p.v].iter().fold(sizes.u32(p.length).u32(p.keys), place);
    let mask = p.mask.map_or((Place::default(), 0), |m| (m.place, m.col));
    place(params, &mask.0).u32(mask.1).u32(p.e.div_ceil(4)).u32(p.ev.div_ceil(4))
}
