// attention_rows_keys: dk[b, j, g, :] = scale Σ_h Σ_i ds[i, j] q[b, h, i, :],  dv[b, j, g, :] = Σ_h Σ_i p[i, j] dy[b, i, h, :]
// over the heads h of group g; p, ds, lse, delta as in attention_rows_query.wgsl; with dropout p dy only where the weight was kept
// dk [batch, keys, kv, E], dv [batch, keys, kv, EV]
//
// For CPU adapters: a lane owns a key, and queries come eight at a time by broadcast. Causal keys begin at the block of
// the first query that sees them.
//
// dispatch: ceil(keys / 8) · batch · kv groups of 8, folded past 65535
// cost:     4 (E + EV) operations a score; q and dy are read keys / 8 times
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
@group(0) @binding(3) var<storage, read> dy: array<EA>;
@group(0) @binding(4) var<storage, read> norms: array<vec2<f32>>;   // lse, delta
@group(0) @binding(5) var<storage, read_write> out: array<S>;
@group(0) @binding(6) var<storage, read_write> dv: array<S>;

// slot: what becomes of WIDTH finished elements.
fn store(v: S, batch: u32, row: u32, head: u32, col: u32) {
    out[(((batch * sizes.keys + row) * (sizes.heads / sizes.share) + head) * E + col) / WIDTH] = v;
}

// slot: four columns; for S = vec4<f32>: store(v, batch, row, head, col);
fn emit(v: vec4<f32>, batch: u32, row: u32, head: u32, col: u32) {
    for (var j = 0u; j < 4u && col + j < E; j++) { store(v[j], batch, row, head, col + j); }
}

// slot: four columns of dv; for S = vec4<f32>: dv[(at + col) / 4u] = v;
fn emit_v(v: vec4<f32>, at: u32, col: u32) {
    for (var j = 0u; j < 4u && col + j < EV; j++) { dv[at + col + j] = v[j]; }
}

// slot: what is added to the score at `at` in the mask, 0 or -inf for a mask of bools.
fn bias(at: u32) -> f32 { return 0.0; }

// slot: dropout: 1 for each of the weights `at` that is kept, else 0; they are counted over [batch, heads, length, keys].
fn kept(at: vec4<u32>) -> vec4<f32> { return vec4(1.0); }

// The scores of four queries, those that do not see the key at -inf.
fn seen(s: vec4<f32>, mask_at: u32, row: vec4<u32>, key: u32) -> vec4<f32> {
    let at = vec4(mask_at) + min(row, vec4(sizes.length - 1u)) * sizes.m_row;
    let score = s * sizes.scale + vec4(bias(at.x), bias(at.y), bias(at.z), bias(at.w));
    var hidden = row >= vec4(sizes.length);
    if CAUSAL { hidden = hidden | (vec4(key) > row); }
    return select(score, -inf_(), hidden);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let blocks = (sizes.keys + 7u) / 8u;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / blocks;
    let kvs = sizes.heads / sizes.share;
    if part * sizes.share >= sizes.parts { return; }
    let first = (group - part * blocks) * 8u;
    let key = min(first + lane, sizes.keys - 1u);           // lanes past the end repeat the last key
    let batch = part / kvs;
    let kv = part - batch * kvs;
    let k_at = sizes.k_offset + batch * sizes.k_batch + kv * sizes.k_head + key * sizes.k_row;
    let v_at = sizes.v_offset + batch * sizes.v_batch + kv * sizes.v_head + key * sizes.v_row;
    let begin = select(0u, first, CAUSAL);
    let e4 = select(sizes.e4, E4, KNOWN);
    let v4 = select(sizes.v4, V4, KNOWN);

    var own_k: array<vec4<f32>, E4>;
    var own_v: array<vec4<f32>, V4>;
    var acc_k: array<vec4<f32>, E4>;
    var acc_v: array<vec4<f32>, V4>;
    for (var c = 0u; c < e4; c++) { own_k[c] = k_load_(k_at, 4u * c); }
    for (var c = 0u; c < v4; c++) { own_v[c] = v_load_(v_at, 4u * c); }
    for (var c = 0u; c < e4; c++) { acc_k[c] = vec4(0.0); }
    for (var c = 0u; c < v4; c++) { acc_v[c] = vec4(0.0); }
    for (var head = kv * sizes.share; head < (kv + 1u) * sizes.share; head++) {
        let q_at = sizes.q_offset + batch * sizes.q_batch + head * sizes.q_head;
        let g_at = (batch * sizes.length * sizes.heads + head) * EV;
        let g_row = sizes.heads * EV;
        let n_at = (batch * sizes.heads + head) * sizes.length;
        let mask_at = sizes.m_offset + batch * sizes.m_batch + head * sizes.m_head + key * sizes.m_col;
        for (var i = begin; i < sizes.length; i += 8u) {
            let low = vec4(i) + vec4(0u, 1u, 2u, 3u);
            let high = low + vec4(4u);
            let own = min(i + lane, sizes.length - 1u);
            let low_at = min(low, vec4(sizes.length - 1u));
            let high_at = min(high, vec4(sizes.length - 1u));
            var s0 = vec4(0.0);
            var s1 = vec4(0.0);
            for (var c = 0u; c < e4; c++) {
                let x = q_load_(q_at + own * sizes.q_row, 4u * c);
                s0 = step_(s0, own_k[c], transpose(q_low_(x, q_at + low_at * sizes.q_row, 4u * c)));
                s1 = step_(s1, own_k[c], transpose(q_high_(x, q_at + high_at * sizes.q_row, 4u * c)));
            }
            let n = n_load_(n_at + own);
            let n0 = transpose(n_low_(n, n_at + low_at, 0u));
            let n1 = transpose(n_high_(n, n_at + high_at, 0u));
            let p0 = exp_(seen(s0, mask_at, low, key) - n0[0]);
            let p1 = exp_(seen(s1, mask_at, high, key) - n1[0]);
            let keep0 = kept((vec4(n_at) + low) * sizes.keys + vec4(key));
            let keep1 = kept((vec4(n_at) + high) * sizes.keys + vec4(key));
            let w0 = p0 * keep0;
            let w1 = p1 * keep1;
            var d0 = vec4(0.0);
            var d1 = vec4(0.0);
            for (var c = 0u; c < v4; c++) {
                let x = g_load_(g_at + own * g_row, 4u * c);
                let g0 = g_low_(x, g_at + low_at * g_row, 4u * c);
                let g1 = g_high_(x, g_at + high_at * g_row, 4u * c);
                d0 = step_(d0, own_v[c], transpose(g0));
                d1 = step_(d1, own_v[c], transpose(g1));
                acc_v[c] = step_(step_(acc_v[c], w0, g0), w1, g1);
            }
            d0 = p0 * (d0 * keep0 - n0[1]);
            d1 = p1 * (d1 * keep1 - n1[1]);
            for (var c = 0u; c < e4; c++) {
                let x = q_load_(q_at + own * sizes.q_row, 4u * c);
                let held = step_(acc_k[c], d0, q_low_(x, q_at + low_at * sizes.q_row, 4u * c));
                acc_k[c] = step_(held, d1, q_high_(x, q_at + high_at * sizes.q_row, 4u * c));
            }
        }
    }

    if first + lane >= sizes.keys { return; }
    let v_out = ((batch * sizes.keys + key) * kvs + kv) * EV;
    for (var c = 0u; c < v4; c++) { emit_v(acc_v[c], v_out, 4u * c); }
    for (var c = 0u; c < e4; c++) { emit(acc_k[c] * sizes.scale, batch, key, kv, 4u * c); }
}
