// attention_coop_keys: attention_rows_keys.wgsl for GPUs with matrix units: dk = scale Σ_h Σ_i ds q, dv = Σ_h Σ_i p dy
//
// f16 operands, f32 sums. A workgroup owns KEYS keys and walks the queries of all heads that share them, QUERIES at a time. A subgroup
// multiplies its part of the queries with its fragments of keys, and dy with the values; its own are staged in workgroup memory where
// that suffices, the others come straight from storage. Both products go
// through workgroup memory, where four neighbours at a time become p, relative to the sum that forward has kept, and ds, which are
// rounded to f16; and a subgroup multiplies their columns with its part of the columns of dy and of the queries into sums that stay in
// its fragments. A last fragment of queries or keys begins early enough to be whole; what it repeats is hidden, or not stored. Causal
// blocks begin at the diagonal.
//
// dispatch: ceil(keys / KEYS) · batch · kv groups of WG, folded past 65535
// cost:     4 (E + EV) operations a score; q and dy are read keys / KEYS times
// source:   Dao 2023, "FlashAttention-2", §3.1, alg. 2
// twin:     crates/device/tests/attention.rs (f64)

enable f16;
enable wgpu_cooperative_matrix;

alias F = vec4<f32>;              // the library's width
alias I = vec4<i32>;
alias U = vec4<u32>;
alias L = vec4<bool>;
alias S = f32;                    // what store takes: f32 | vec4<f32>
alias FragA = coop_mat8x8<f16, A>;
alias FragB = coop_mat8x8<f16, B>;
alias FragC = coop_mat8x8<f32, C>;
const WIDTH: u32 = 1u;            // elements of S
const SIZE: u32 = 8u;             // of a fragment: 8 | 16
const SM: u32 = 2u;               // subgroups along the keys
const SN: u32 = 2u;               // and along queries and columns
const OWN: u32 = 2u;              // fragments of keys of a subgroup: 1 | 2
const AT_ONCE: u32 = 2u;          // fragments of queries of a subgroup: 1 | 2
const FE: u32 = 2u;               // fragments of columns of a key of a subgroup: 1 .. 4
const FV: u32 = 2u;               // of a value: 1 .. 4
const WG: u32 = 32u;              // SM · SN subgroups
const E: u32 = 32u;               // multiples of SIZE
const EV: u32 = 32u;
const CAUSAL: bool = false;       // row i sees keys 0 ..= i
const KEYS: u32 = SM * OWN * SIZE;
const QUERIES: u32 = SN * AT_ONCE * SIZE;
const S_LINE: u32 = KEYS + 4u;    // neighbouring lines lie in other banks
const W_LINE: u32 = KEYS + 8u;
const STAGED: bool = true;        // the workgroup's keys and values lie in workgroup memory
const E_LINE: u32 = E + 8u;
const V_LINE: u32 = EV + 8u;
const STAGE: u32 = select(1u, KEYS, STAGED);               // lines of each

struct Sizes {
    scale: f32, parts: u32, heads: u32, share: u32, length: u32, keys: u32,
    q_offset: u32, q_batch: u32, q_head: u32, q_row: u32,
    k_offset: u32, k_batch: u32, k_head: u32, k_row: u32,
    v_offset: u32, v_batch: u32, v_head: u32, v_row: u32,
    m_offset: u32, m_batch: u32, m_head: u32, m_row: u32, m_col: u32, e4: u32, v4: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> q: array<f16>;
@group(0) @binding(1) var<storage, read> k: array<f16>;
@group(0) @binding(2) var<storage, read> v: array<f16>;
@group(0) @binding(3) var<storage, read> dy: array<f16>;
@group(0) @binding(4) var<storage, read> norms: array<vec2<f32>>;   // lse, delta
@group(0) @binding(5) var<storage, read_write> out: array<S>;
@group(0) @binding(6) var<storage, read_write> dv: array<S>;

var<workgroup> scores: array<f32, QUERIES * S_LINE>;      // at last, sums
var<workgroup> above: array<f32, QUERIES * S_LINE>;       // dp
var<workgroup> weights: array<f16, QUERIES * W_LINE>;     // p
var<workgroup> slopes: array<f16, QUERIES * W_LINE>;      // ds
var<workgroup> held: array<vec2<f32>, QUERIES>;           // lse, delta
var<workgroup> tk: array<f16, STAGE * E_LINE>;
var<workgroup> tv: array<f16, STAGE * V_LINE>;

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

// A fragment of the results, of which each subgroup along the columns has one at a time.
fn put_sum(c: FragC, at: u32) { let line = SN * SIZE; coopStoreT(c, &scores[at], line); }

fn put_k(b: FragB, at: u32) { let line = E_LINE; coopStore(b, &tk[at], line); }
fn put_v(b: FragB, at: u32) { let line = V_LINE; coopStore(b, &tv[at], line); }

// Keys or values of this workgroup from storage or, where they are staged, from there.
fn k_own(at: u32, staged: u32) -> FragB {
    if !STAGED { return k_cols_(at); }
    let line = E_LINE;
    return coopLoad<FragB>(&tk[staged], line);
}
fn v_own(at: u32, staged: u32) -> FragB {
    if !STAGED { return v_cols_(at); }
    let line = V_LINE;
    return coopLoad<FragB>(&tv[staged], line);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let blocks = (sizes.keys + KEYS - 1u) / KEYS;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / blocks;
    let kvs = sizes.heads / sizes.share;
    if part * sizes.share >= sizes.parts { return; }         // the whole workgroup
    let first = (group - part * blocks) * KEYS;
    let batch = part / kvs;
    let kv = part - batch * kvs;
    let k_at = sizes.k_offset + batch * sizes.k_batch + kv * sizes.k_head;
    let v_at = sizes.v_offset + batch * sizes.v_batch + kv * sizes.v_head;
    let g_row = sizes.heads * EV;
    let last_row = sizes.length - SIZE;                      // where the last whole fragments begin
    let last_key = sizes.keys - SIZE;
    // A loop that is never entered loads fragments from anywhere on lavapipe 26, which masks no cooperative operation: keys past all
    // queries meet the last of them, which do not see them.
    let begin = select(0u, min(first, last_row), CAUSAL);

    // This subgroup's keys, queries and columns. Where subgroups are smaller than expected, those that are too many do what another
    // one does: cooperative operations must be reached by all.
    let own_line = subgroup / SN % SM * OWN * SIZE;
    let own_part = subgroup % SN;
    let k0 = k_at + min(first + own_line, last_key) * sizes.k_row;
    let k1 = k_at + min(first + own_line + SIZE, last_key) * sizes.k_row;
    let w0 = v_at + min(first + own_line, last_key) * sizes.v_row;
    let w1 = v_at + min(first + own_line + SIZE, last_key) * sizes.v_row;
    let s0 = own_part * AT_ONCE * SIZE * S_LINE + own_line;
    let s1 = s0 + SIZE * S_LINE;
    let own_e = own_part * FE * SIZE;
    let e0 = min(own_e, E - SIZE);                           // fragments past the last column are never stored
    let e1 = min(own_e + SIZE, E - SIZE);
    let e2 = min(own_e + 2u * SIZE, E - SIZE);
    let e3 = min(own_e + 3u * SIZE, E - SIZE);
    let own_v = own_part * FV * SIZE;
    let v0 = min(own_v, EV - SIZE);
    let v1 = min(own_v + SIZE, EV - SIZE);
    let v2 = min(own_v + 2u * SIZE, EV - SIZE);
    let v3 = min(own_v + 3u * SIZE, EV - SIZE);

    if STAGED {
        for (var n = 0u; n < E; n += SN * SIZE) {
            let i = min(n + own_part * SIZE, E - SIZE);
            put_k(k_cols_(k0 + i), own_line * E_LINE + i);
            if OWN > 1u { put_k(k_cols_(k1 + i), (own_line + SIZE) * E_LINE + i); }
        }
        for (var n = 0u; n < EV; n += SN * SIZE) {
            let i = min(n + own_part * SIZE, EV - SIZE);
            put_v(v_cols_(w0 + i), own_line * V_LINE + i);
            if OWN > 1u { put_v(v_cols_(w1 + i), (own_line + SIZE) * V_LINE + i); }
        }
    }
    // Where fragments cannot be made from nothing, zeros are loaded.
    for (var i = index; i < SIZE * S_LINE; i += WG) { scores[i] = 0.0; }
    workgroupBarrier();
    let zero = take_score_(0u);
    workgroupBarrier();
    var k00 = zero; var k01 = zero; var k02 = zero; var k03 = zero;
    var k10 = zero; var k11 = zero; var k12 = zero; var k13 = zero;
    var v00 = zero; var v01 = zero; var v02 = zero; var v03 = zero;
    var v10 = zero; var v11 = zero; var v12 = zero; var v13 = zero;
    for (var head = kv * sizes.share; head < (kv + 1u) * sizes.share; head++) {
        let q_at = sizes.q_offset + batch * sizes.q_batch + head * sizes.q_head;
        let g_at = (batch * sizes.length * sizes.heads + head) * EV;
        let n_at = (batch * sizes.heads + head) * sizes.length;
        let mask_at = sizes.m_offset + batch * sizes.m_batch + head * sizes.m_head;
        for (var j = begin; j < sizes.length; j += QUERIES) {
            for (var i = index; i < QUERIES; i += WG) { held[i] = norms[n_at + min(j + i / SIZE * SIZE, last_row) + i % SIZE]; }
            let row = j + own_part * AT_ONCE * SIZE;
            let row0 = min(row, last_row);
            let row1 = min(row + SIZE, last_row);
            var s00 = zero; var s01 = zero; var s10 = zero; var s11 = zero;
            for (var i = 0u; i < E; i += SIZE) {
                let a0 = q_rows_(q_at + row0 * sizes.q_row + i);
                let b0 = k_own(k0 + i, own_line * E_LINE + i);
                var b1 = b0;
                if OWN > 1u { b1 = k_own(k1 + i, (own_line + SIZE) * E_LINE + i); }
                s00 = coopMultiplyAdd(a0, b0, s00);
                if OWN > 1u { s01 = coopMultiplyAdd(a0, b1, s01); }
                if AT_ONCE > 1u {
                    let a1 = q_rows_(q_at + row1 * sizes.q_row + i);
                    s10 = coopMultiplyAdd(a1, b0, s10);
                    if OWN > 1u { s11 = coopMultiplyAdd(a1, b1, s11); }
                }
            }
            put_score_(s00, s0);
            if OWN > 1u { put_score_(s01, s0 + SIZE); }
            if AT_ONCE > 1u { put_score_(s10, s1); }
            if OWN > 1u && AT_ONCE > 1u { put_score_(s11, s1 + SIZE); }
            var d00 = zero; var d01 = zero; var d10 = zero; var d11 = zero;
            for (var i = 0u; i < EV; i += SIZE) {
                let a0 = g_rows_(g_at + row0 * g_row + i);
                let b0 = v_own(w0 + i, own_line * V_LINE + i);
                var b1 = b0;
                if OWN > 1u { b1 = v_own(w1 + i, (own_line + SIZE) * V_LINE + i); }
                d00 = coopMultiplyAdd(a0, b0, d00);
                if OWN > 1u { d01 = coopMultiplyAdd(a0, b1, d01); }
                if AT_ONCE > 1u {
                    let a1 = g_rows_(g_at + row1 * g_row + i);
                    d10 = coopMultiplyAdd(a1, b0, d10);
                    if OWN > 1u { d11 = coopMultiplyAdd(a1, b1, d11); }
                }
            }
            put_above_(d00, s0);
            if OWN > 1u { put_above_(d01, s0 + SIZE); }
            if AT_ONCE > 1u { put_above_(d10, s1); }
            if OWN > 1u && AT_ONCE > 1u { put_above_(d11, s1 + SIZE); }
            workgroupBarrier();

            // Queries that are all there and see all of the keys.
            let whole = j + QUERIES <= sizes.length && first + KEYS <= sizes.keys && (!CAUSAL || first + KEYS <= j + 1u);
            for (var n = 0u; n < (QUERIES * KEYS / 4u + WG - 1u) / WG; n++) {
                let m = (index + n * WG) / (KEYS / 4u);
                let c = (index + n * WG) % (KEYS / 4u) * 4u;
                if QUERIES * KEYS / 4u % WG == 0u || m < QUERIES {
                    let weighed = weigh_(m, c, j, first, mask_at, n_at * sizes.keys, whole);
                    lay_weights_(m * W_LINE + c, weighed.p);
                    lay_slopes_(m * W_LINE + c, weighed.ds);
                }
            }
            workgroupBarrier();

            for (var i = 0u; i < QUERIES; i += SIZE) {         // p and ds past the last query are 0
                let at_row = min(j + i, last_row);
                let at = i * W_LINE + own_line;
                let g = g_at + at_row * g_row;
                let p0 = w_cols_(at);
                var p1 = p0;
                if OWN > 1u { p1 = w_cols_(at + SIZE); }
                let g0 = g_lines_(g + v0);
                v00 = coopMultiplyAdd(p0, g0, v00);
                if OWN > 1u { v10 = coopMultiplyAdd(p1, g0, v10); }
                if FV > 1u {
                    let g1 = g_lines_(g + v1);
                    v01 = coopMultiplyAdd(p0, g1, v01);
                    if OWN > 1u { v11 = coopMultiplyAdd(p1, g1, v11); }
                }
                if FV > 2u {
                    let g2 = g_lines_(g + v2);
                    v02 = coopMultiplyAdd(p0, g2, v02);
                    if OWN > 1u { v12 = coopMultiplyAdd(p1, g2, v12); }
                }
                if FV > 3u {
                    let g3 = g_lines_(g + v3);
                    v03 = coopMultiplyAdd(p0, g3, v03);
                    if OWN > 1u { v13 = coopMultiplyAdd(p1, g3, v13); }
                }
                let x = q_at + at_row * sizes.q_row;
                let d0 = d_cols_(at);
                var d1 = d0;
                if OWN > 1u { d1 = d_cols_(at + SIZE); }
                let q0 = q_lines_(x + e0);
                k00 = coopMultiplyAdd(d0, q0, k00);
                if OWN > 1u { k10 = coopMultiplyAdd(d1, q0, k10); }
                if FE > 1u {
                    let q1 = q_lines_(x + e1);
                    k01 = coopMultiplyAdd(d0, q1, k01);
                    if OWN > 1u { k11 = coopMultiplyAdd(d1, q1, k11); }
                }
                if FE > 2u {
                    let q2 = q_lines_(x + e2);
                    k02 = coopMultiplyAdd(d0, q2, k02);
                    if OWN > 1u { k12 = coopMultiplyAdd(d1, q2, k12); }
                }
                if FE > 3u {
                    let q3 = q_lines_(x + e3);
                    k03 = coopMultiplyAdd(d0, q3, k03);
                    if OWN > 1u { k13 = coopMultiplyAdd(d1, q3, k13); }
                }
            }
        }
    }

    // The sums, a fragment of each subgroup at a time: dv, then dk.
    let put0 = own_line * SN * SIZE + own_part * SIZE;
    let put1 = put0 + SIZE * SN * SIZE;
    for (var n = 0u; n < FV + FE; n++) {
        if n == 0u { put_sum(v00, put0); if OWN > 1u { put_sum(v10, put1); } }
        if FV > 1u && n == 1u { put_sum(v01, put0); if OWN > 1u { put_sum(v11, put1); } }
        if FV > 2u && n == 2u { put_sum(v02, put0); if OWN > 1u { put_sum(v12, put1); } }
        if FV > 3u && n == 3u { put_sum(v03, put0); if OWN > 1u { put_sum(v13, put1); } }
        if n == FV { put_sum(k00, put0); if OWN > 1u { put_sum(k10, put1); } }
        if FE > 1u && n == FV + 1u { put_sum(k01, put0); if OWN > 1u { put_sum(k11, put1); } }
        if FE > 2u && n == FV + 2u { put_sum(k02, put0); if OWN > 1u { put_sum(k12, put1); } }
        if FE > 3u && n == FV + 3u { put_sum(k03, put0); if OWN > 1u { put_sum(k13, put1); } }
        workgroupBarrier();
        for (var i = index; i < KEYS * SN * SIZE / 4u; i += WG) {
            let m = i / (SN * SIZE / 4u);
            let c = i % (SN * SIZE / 4u) * 4u;
            let least = first + m / SIZE * SIZE;
            let to = min(least, last_key) + m % SIZE;
            let four = four_scores_(m * SN * SIZE + c);
            if n < FV {
                let col = (c / SIZE * FV + n) * SIZE + c % SIZE;
                if to >= least && col < EV { emit_v(four, ((batch * sizes.keys + to) * kvs + kv) * EV, col); }
            } else {
                let col = (c / SIZE * FE + n - FV) * SIZE + c % SIZE;
                if to >= least && col < E { emit(four * sizes.scale, batch, to, kv, col); }
            }
        }
        workgroupBarrier();
    }
}
