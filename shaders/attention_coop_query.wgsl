// attention_coop_query: attention_rows_query.wgsl for GPUs with matrix units: dq = scale Σ_j ds k, ds = p (dp - delta); keeps lse and delta
//
// f16 operands, f32 sums. A workgroup owns ROWS queries and walks the keys KEYS at a time. A subgroup multiplies its fragments of
// queries with its part of the keys, and those of dy with the values; its own are staged in workgroup memory where that suffices, the
// others come straight from storage. Both products go through workgroup
// memory, where four neighbours at a time become p, relative to the sum that forward has kept, and ds, which is rounded to f16; and a
// subgroup multiplies that with its part of the keys' columns into sums that stay in its fragments. A last fragment of rows or keys begins
// early enough to be whole; what it repeats is hidden, or not stored. Causal blocks stop at the diagonal.
//
// dispatch: ceil(length / ROWS) · batch · heads groups of WG, folded past 65535
// cost:     2 (2 E + EV) operations a score; k and v are read length / ROWS times
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
const SM: u32 = 2u;               // subgroups along the rows
const SN: u32 = 2u;               // and along keys and columns
const OWN: u32 = 2u;              // fragments of rows of a subgroup: 1 | 2
const AT_ONCE: u32 = 2u;          // fragments of keys of a subgroup: 1 | 2
const FE: u32 = 2u;               // fragments of columns of a subgroup: 1 .. 4
const WG: u32 = 32u;              // SM · SN subgroups, a multiple of ROWS
const E: u32 = 32u;               // multiples of SIZE
const EV: u32 = 32u;
const CAUSAL: bool = false;       // row i sees keys 0 ..= i
const ROWS: u32 = SM * OWN * SIZE;
const KEYS: u32 = SN * AT_ONCE * SIZE;
const PER: u32 = WG / ROWS;
const S_LINE: u32 = KEYS + 4u;    // neighbouring lines lie in other banks
const W_LINE: u32 = KEYS + 8u;
const STAGED: bool = true;        // the workgroup's queries and dy lie in workgroup memory
const E_LINE: u32 = E + 8u;
const V_LINE: u32 = EV + 8u;
const STAGE: u32 = select(1u, ROWS, STAGED);               // lines of each

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
@group(0) @binding(3) var<storage, read> y: array<f16>;
@group(0) @binding(4) var<storage, read> dy: array<f16>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<S>;
@group(0) @binding(7) var<storage, read_write> norms: array<vec2<f32>>;   // lse, delta

var<workgroup> scores: array<f32, ROWS * S_LINE>;
var<workgroup> above: array<f32, ROWS * S_LINE>;          // dp; at first, parts of delta
var<workgroup> slopes: array<f16, ROWS * W_LINE>;         // ds
var<workgroup> held: array<vec2<f32>, ROWS>;              // lse, delta
var<workgroup> tq: array<f16, STAGE * E_LINE>;
var<workgroup> tg: array<f16, STAGE * V_LINE>;

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

fn put_q(a: FragA, at: u32) { let line = E_LINE; coopStoreT(a, &tq[at], line); }
fn put_g(a: FragA, at: u32) { let line = V_LINE; coopStoreT(a, &tg[at], line); }

// Rows of queries or dy of this workgroup from storage or, where they are staged, from there.
fn q_own(at: u32, staged: u32) -> FragA {
    if !STAGED { return q_rows_(at); }
    let line = E_LINE;
    return coopLoadT<FragA>(&tq[staged], line);
}
fn g_own(at: u32, staged: u32) -> FragA {
    if !STAGED { return g_rows_(at); }
    let line = V_LINE;
    return coopLoadT<FragA>(&tg[staged], line);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let blocks = (sizes.length + ROWS - 1u) / ROWS;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / blocks;
    if part >= sizes.parts { return; }                       // the whole workgroup
    let first = (group - part * blocks) * ROWS;
    let batch = part / sizes.heads;
    let head = part - batch * sizes.heads;
    let kv = head / sizes.share;
    let q_at = sizes.q_offset + batch * sizes.q_batch + head * sizes.q_head;
    let k_at = sizes.k_offset + batch * sizes.k_batch + kv * sizes.k_head;
    let v_at = sizes.v_offset + batch * sizes.v_batch + kv * sizes.v_head;
    let mask_at = sizes.m_offset + batch * sizes.m_batch + head * sizes.m_head;
    let n_at = part * sizes.length;
    let g_at = (batch * sizes.length * sizes.heads + head) * EV;
    let g_row = sizes.heads * EV;
    let last_row = sizes.length - SIZE;                      // where the last whole fragments begin
    let last_key = sizes.keys - SIZE;
    var end = sizes.keys;
    if CAUSAL { end = min(end, first + ROWS); }

    // This subgroup's rows, keys and columns. Where subgroups are smaller than expected, those that are too many do what another
    // one does: cooperative operations must be reached by all.
    let own_line = subgroup / SN % SM * OWN * SIZE;
    let own_part = subgroup % SN;
    let q0 = q_at + min(first + own_line, last_row) * sizes.q_row;
    let q1 = q_at + min(first + own_line + SIZE, last_row) * sizes.q_row;
    let g0 = g_at + min(first + own_line, last_row) * g_row;
    let g1 = g_at + min(first + own_line + SIZE, last_row) * g_row;
    let put0 = own_line * S_LINE + own_part * SIZE;
    let put1 = put0 + SIZE * S_LINE;
    let s0 = put0 + own_part * (AT_ONCE - 1u) * SIZE;
    let s1 = s0 + SIZE * S_LINE;
    let own_col = own_part * FE * SIZE;
    let col0 = k_at + min(own_col, E - SIZE);                // fragments past the last column are never stored
    let col1 = k_at + min(own_col + SIZE, E - SIZE);
    let col2 = k_at + min(own_col + 2u * SIZE, E - SIZE);
    let col3 = k_at + min(own_col + 3u * SIZE, E - SIZE);

    // delta = Σ dy y of each row, by PER invocations. Where fragments cannot be made from nothing, zeros are loaded.
    let line = index / PER;
    let from_row = first + line / SIZE * SIZE;
    let row = min(from_row, last_row) + line % SIZE;
    var dots = 0.0;
    for (var c = index % PER; c < EV; c += PER) {
        let at = g_at + row * g_row + c;
        dots = fma(f32(dy[at]), f32(y[at]), dots);
    }
    above[index] = dots;
    if STAGED {
        for (var n = 0u; n < E; n += SN * SIZE) {
            let i = min(n + own_part * SIZE, E - SIZE);
            put_q(q_rows_(q0 + i), own_line * E_LINE + i);
            if OWN > 1u { put_q(q_rows_(q1 + i), (own_line + SIZE) * E_LINE + i); }
        }
        for (var n = 0u; n < EV; n += SN * SIZE) {
            let i = min(n + own_part * SIZE, EV - SIZE);
            put_g(g_rows_(g0 + i), own_line * V_LINE + i);
            if OWN > 1u { put_g(g_rows_(g1 + i), (own_line + SIZE) * V_LINE + i); }
        }
    }
    for (var i = index; i < SIZE * S_LINE; i += WG) { scores[i] = 0.0; }
    workgroupBarrier();
    let zero = take_score_(0u);
    if index % PER == 0u {
        var delta = 0.0;
        for (var i = 0u; i < PER; i++) { delta += above[index + i]; }
        held[line] = vec2(lse[n_at + row], delta);
        if row >= from_row { norms[n_at + row] = held[line]; }
    }
    workgroupBarrier();

    var o00 = zero; var o01 = zero; var o02 = zero; var o03 = zero;
    var o10 = zero; var o11 = zero; var o12 = zero; var o13 = zero;
    for (var j = 0u; j < end; j += KEYS) {
        let key = j + own_part * AT_ONCE * SIZE;
        let key0 = min(key, last_key);
        let key1 = min(key + SIZE, last_key);
        var s00 = zero; var s01 = zero; var s10 = zero; var s11 = zero;
        for (var i = 0u; i < E; i += SIZE) {
            let a0 = q_own(q0 + i, own_line * E_LINE + i);
            var a1 = a0;
            if OWN > 1u { a1 = q_own(q1 + i, (own_line + SIZE) * E_LINE + i); }
            let b0 = k_cols_(k_at + key0 * sizes.k_row + i);
            s00 = coopMultiplyAdd(a0, b0, s00);
            if OWN > 1u { s10 = coopMultiplyAdd(a1, b0, s10); }
            if AT_ONCE > 1u {
                let b1 = k_cols_(k_at + key1 * sizes.k_row + i);
                s01 = coopMultiplyAdd(a0, b1, s01);
                if OWN > 1u { s11 = coopMultiplyAdd(a1, b1, s11); }
            }
        }
        put_score_(s00, s0);
        if OWN > 1u { put_score_(s10, s1); }
        if AT_ONCE > 1u { put_score_(s01, s0 + SIZE); }
        if OWN > 1u && AT_ONCE > 1u { put_score_(s11, s1 + SIZE); }
        var d00 = zero; var d01 = zero; var d10 = zero; var d11 = zero;
        for (var i = 0u; i < EV; i += SIZE) {
            let a0 = g_own(g0 + i, own_line * V_LINE + i);
            var a1 = a0;
            if OWN > 1u { a1 = g_own(g1 + i, (own_line + SIZE) * V_LINE + i); }
            let b0 = v_cols_(v_at + key0 * sizes.v_row + i);
            d00 = coopMultiplyAdd(a0, b0, d00);
            if OWN > 1u { d10 = coopMultiplyAdd(a1, b0, d10); }
            if AT_ONCE > 1u {
                let b1 = v_cols_(v_at + key1 * sizes.v_row + i);
                d01 = coopMultiplyAdd(a0, b1, d01);
                if OWN > 1u { d11 = coopMultiplyAdd(a1, b1, d11); }
            }
        }
        put_above_(d00, s0);
        if OWN > 1u { put_above_(d10, s1); }
        if AT_ONCE > 1u { put_above_(d01, s0 + SIZE); }
        if OWN > 1u && AT_ONCE > 1u { put_above_(d11, s1 + SIZE); }
        workgroupBarrier();

        // Keys that are all seen, of rows that are all there.
        let whole = first + ROWS <= sizes.length && j + KEYS <= sizes.keys && (!CAUSAL || j + KEYS <= first + 1u);
        for (var n = 0u; n < (ROWS * KEYS / 4u + WG - 1u) / WG; n++) {
            let m = (index + n * WG) / (KEYS / 4u);
            let c = (index + n * WG) % (KEYS / 4u) * 4u;
            if ROWS * KEYS / 4u % WG == 0u || m < ROWS {
                lay_slopes_(m * W_LINE + c, weigh_(m, c, first, j, mask_at, n_at * sizes.keys, whole).ds);
            }
        }
        workgroupBarrier();

        for (var i = 0u; i < KEYS; i += SIZE) {                // ds past the last key is 0
            let a0 = d_rows_(own_line * W_LINE + i);
            var a1 = a0;
            if OWN > 1u { a1 = d_rows_((own_line + SIZE) * W_LINE + i); }
            let at = min(j + i, last_key) * sizes.k_row;
            let b0 = k_lines_(col0 + at);
            o00 = coopMultiplyAdd(a0, b0, o00);
            if OWN > 1u { o10 = coopMultiplyAdd(a1, b0, o10); }
            if FE > 1u {
                let b1 = k_lines_(col1 + at);
                o01 = coopMultiplyAdd(a0, b1, o01);
                if OWN > 1u { o11 = coopMultiplyAdd(a1, b1, o11); }
            }
            if FE > 2u {
                let b2 = k_lines_(col2 + at);
                o02 = coopMultiplyAdd(a0, b2, o02);
                if OWN > 1u { o12 = coopMultiplyAdd(a1, b2, o12); }
            }
            if FE > 3u {
                let b3 = k_lines_(col3 + at);
                o03 = coopMultiplyAdd(a0, b3, o03);
                if OWN > 1u { o13 = coopMultiplyAdd(a1, b3, o13); }
            }
        }
    }

    for (var n = 0u; n < FE; n++) {
        if n == 0u { put_score_(o00, put0); if OWN > 1u { put_score_(o10, put1); } }
        if FE > 1u && n == 1u { put_score_(o01, put0); if OWN > 1u { put_score_(o11, put1); } }
        if FE > 2u && n == 2u { put_score_(o02, put0); if OWN > 1u { put_score_(o12, put1); } }
        if FE > 3u && n == 3u { put_score_(o03, put0); if OWN > 1u { put_score_(o13, put1); } }
        workgroupBarrier();
        for (var i = index; i < ROWS * SN * SIZE / 4u; i += WG) {
            let m = i / (SN * SIZE / 4u);
            let c = i % (SN * SIZE / 4u) * 4u;
            let least = first + m / SIZE * SIZE;
            let to = min(least, last_row) + m % SIZE;
            let col = (c / SIZE * FE + n) * SIZE + c % SIZE;
            if to >= least && col < E { emit(four_scores_(m * S_LINE + c) * sizes.scale, batch, to, head, col); }
        }
        workgroupBarrier();
    }
}
