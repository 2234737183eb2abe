// attention_rows_query: dq[b, i, h, :] = scale Σ_j ds[i, j] k[b, g, j, :],  ds = p (dp - delta),  p = exp(score - lse),  g = h / group
// dp[i, j] = dy[b, i, h] · v[b, g, j],  delta[b, h, i] = dy[b, i, h] · y[b, i, h], which is Σ_j p dp     [batch, heads, length]
// with dropout dp is 0 where the weight was not kept; q, k, v, mask and lse as in attention_rows.wgsl; y, dy [batch, length, heads, EV]; dq [batch, length, heads, E]
//
// For CPU adapters: a lane owns a query row and makes its probabilities again from lse, eight keys at a time, as in the
// forward kernel. lse and delta are kept side by side for attention_rows_keys.wgsl.
//
// dispatch: ceil(length / 8) · batch · heads groups of 8, folded past 65535
// cost:     2 (2 E + EV) operations a score; k and v are read length / 8 times
// source:   Dao, Fu, Ermon, Rudra & Ré 2022, "FlashAttention", alg. 4
// twin:     crates/device/tests/attention.rs (f64)

alias EA = f32;                   // one load: f32 | f16 | vec4 of them
alias EA4 = vec4<f32>;            // four elements
alias F = vec4<f32>;              // the library's width
alias I = vec4<i32>;
alias U = vec4<u32>;
alias L = vec4<bool>;
alias S = f32;                    // what store takes: f32 | vec4<f32>
const LOAD: u32 = 1u;             // elements of EA
const WIDTH: u32 = 1u;            // elements of S
const E: u32 = 64u;
const EV: u32 = 64u;
const CAUSAL: bool = false;       // row i sees keys 0 ..= i
const E4: u32 = (E + 3u) / 4u;
const V4: u32 = (EV + 3u) / 4u;
const KNOWN: bool = true;         // loops over heads have lengths that are known, and are unrolled: not where they are long

struct Sizes {
    scale: f32, parts: u32, heads: u32, share: u32, length: u32, keys: u32,
    q_offset: u32, q_batch: u32, q_head: u32, q_row: u32,
    k_offset: u32, k_batch: u32, k_head: u32, k_row: u32,
    v_offset: u32, v_batch: u32, v_head: u32, v_row: u32,
    m_offset: u32, m_batch: u32, m_head: u32, m_row: u32, m_col: u32, e4: u32, v4: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> q: array<EA>;
@group(0) @binding(1) var<storage, read> k: array<EA>;
@group(0) @binding(2) var<storage, read> v: array<EA>;
@group(0) @binding(3) var<storage, read> y: array<EA>;
@group(0) @binding(4) var<storage, read> dy: array<EA>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<S>;
@group(0) @binding(7) var<storage, read_write> norms: array<vec2<f32>>;   // lse, delta

// slot: what becomes of WIDTH finished elements.
fn store(v: S, batch: u32, row: u32, head: u32, col: u32) {
    out[(((batch * sizes.length + row) * sizes.heads + head) * E + col) / WIDTH] = v;
}

// slot: four columns; for S = vec4<f32>: store(v, batch, row, head, col);
fn emit(v: vec4<f32>, batch: u32, row: u32, head: u32, col: u32) {
    for (var j = 0u; j < 4u && col + j < E; j++) { store(v[j], batch, row, head, col + j); }
}

// slot: what is added to the score at `at` in the mask, 0 or -inf for a mask of bools.
fn bias(at: u32) -> f32 { return 0.0; }

// slot: dropout: 1 for each of the weights `at` that is kept, else 0; they are counted over [batch, heads, length, keys].
fn kept(at: vec4<u32>) -> vec4<f32> { return vec4(1.0); }

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let blocks = (sizes.length + 7u) / 8u;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / blocks;
    if part >= sizes.parts { return; }
    let first = (group - part * blocks) * 8u;
    let row = min(first + lane, sizes.length - 1u);         // lanes past the end repeat the last row
    let batch = part / sizes.heads;
    let head = part - batch * sizes.heads;
    let kv = head / sizes.share;
    let q_at = sizes.q_offset + batch * sizes.q_batch + head * sizes.q_head + row * sizes.q_row;
    let k_at = sizes.k_offset + batch * sizes.k_batch + kv * sizes.k_head;
    let v_at = sizes.v_offset + batch * sizes.v_batch + kv * sizes.v_head;
    let mask_at = sizes.m_offset + batch * sizes.m_batch + head * sizes.m_head + row * sizes.m_row;
    let weight_at = vec4((part * sizes.length + row) * sizes.keys);
    var end = sizes.keys;
    if CAUSAL { end = min(end, first + 8u); }

    let y_at = ((batch * sizes.length + row) * sizes.heads + head) * EV;
    let norm = lse[part * sizes.length + row];
    let e4 = select(sizes.e4, E4, KNOWN);
    let v4 = select(sizes.v4, V4, KNOWN);

    var query: array<vec4<f32>, E4>;
    var above: array<vec4<f32>, V4>;
    var acc: array<vec4<f32>, E4>;
    var both = vec4(0.0);
    for (var c = 0u; c < e4; c++) { query[c] = q_load_(q_at, 4u * c) * sizes.scale; }
    for (var c = 0u; c < v4; c++) {
        above[c] = g_load_(y_at, 4u * c);
        both = fma(above[c], y_load_(y_at, 4u * c), both);
    }
    for (var c = 0u; c < e4; c++) { acc[c] = vec4(0.0); }
    let along = both.x + both.y + both.z + both.w;
    for (var j = 0u; j < end; j += 8u) {
        let low = vec4(j) + vec4(0u, 1u, 2u, 3u);
        let high = low + vec4(4u);
        let own = min(j + lane, sizes.keys - 1u);
        let low_at = min(low, vec4(sizes.keys - 1u));
        let high_at = min(high, vec4(sizes.keys - 1u));
        var s0 = vec4(0.0);
        var s1 = vec4(0.0);
        for (var c = 0u; c < e4; c++) {
            let x = k_load_(k_at + own * sizes.k_row, 4u * c);
            s0 = step_(s0, query[c], transpose(k_low_(x, k_at + low_at * sizes.k_row, 4u * c)));
            s1 = step_(s1, query[c], transpose(k_high_(x, k_at + high_at * sizes.k_row, 4u * c)));
        }
        var d0 = vec4(0.0);
        var d1 = vec4(0.0);
        for (var c = 0u; c < v4; c++) {
            let x = v_load_(v_at + own * sizes.v_row, 4u * c);
            d0 = step_(d0, above[c], transpose(v_low_(x, v_at + low_at * sizes.v_row, 4u * c)));
            d1 = step_(d1, above[c], transpose(v_high_(x, v_at + high_at * sizes.v_row, 4u * c)));
        }
        d0 = exp_(seen_(s0, mask_at, row, low) - norm) * (d0 * kept(weight_at + low) - along);
        d1 = exp_(seen_(s1, mask_at, row, high) - norm) * (d1 * kept(weight_at + high) - along);
        for (var c = 0u; c < e4; c++) {
            let x = k_load_(k_at + own * sizes.k_row, 4u * c);
            let held = step_(acc[c], d0, k_low_(x, k_at + low_at * sizes.k_row, 4u * c));
            acc[c] = step_(held, d1, k_high_(x, k_at + high_at * sizes.k_row, 4u * c));
        }
    }

    if first + lane >= sizes.length { return; }
    norms[part * sizes.length + row] = vec2(norm, along);
    for (var c = 0u; c < e4; c++) { emit(acc[c] * sizes.scale, batch, row, head, 4u * c); }
}
