// attention_coop: attention_rows.wgsl for GPUs with matrix units: out[b, i, h, :] = Σ_j softmax_j(scale q · k + bias) v, and lse
//
// f16 operands, f32 sums. A workgroup owns ROWS queries and walks the keys KEYS at a time. A subgroup multiplies its fragments
// of queries with its part of the keys, both straight from storage; the scores go through workgroup memory, since the elements of a
// fragment cannot be reached; PER invocations make weights of a row, which are rounded to f16; and a subgroup
// multiplies them with its part of the values into sums that stay in its fragments. Weights are relative to a maximum that is only
// raised when it has grown by more than LIMIT (they reach e^LIMIT, which f16 holds): then, seldom after the first keys, the sums take
// the way through workgroup memory to be scaled. A last fragment of rows or keys begins early enough to be whole; what it repeats
// is hidden, or not stored. Causal blocks stop at the diagonal.
//
// dispatch: ceil(length / ROWS) · batch · heads groups of WG, folded past 65535
// cost:     2 (E + EV) operations a score; k and v are read length / ROWS times
// source:   Dao 2023, "FlashAttention-2", alg. 1
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
const AT_ONCE: u32 = 2u;          // fragments of keys of a subgroup: 1 | 2 | 4
const FV: u32 = 2u;               // fragments of columns of a subgroup: 1 .. 4
const WG: u32 = 32u;              // SM · SN subgroups, a multiple of ROWS
const E: u32 = 32u;               // multiples of SIZE
const EV: u32 = 32u;
const CAUSAL: bool = false;       // row i sees keys 0 ..= i
const ROWS: u32 = SM * OWN * SIZE;
const KEYS: u32 = SN * AT_ONCE * SIZE;
const PER: u32 = WG / ROWS;
const S_LINE: u32 = KEYS + 4u;    // neighbouring lines lie in other banks
const W_LINE: u32 = KEYS + 8u;
const LIMIT: f32 = 5.0;
const LOWEST: f32 = -3.4028234e38;

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
@group(0) @binding(3) var<storage, read_write> out: array<S>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

var<workgroup> scores: array<f32, ROWS * S_LINE>;         // f32 on its way from or to fragments
var<workgroup> weights: array<f16, ROWS * W_LINE>;
var<workgroup> partial: array<f32, WG>;
var<workgroup> raised: atomic<u32>;                       // the number of the last block that raised a maximum, from 1

// slot: what becomes of WIDTH finished elements.
fn store(v: S, batch: u32, row: u32, head: u32, col: u32) {
    out[(((batch * sizes.length + row) * sizes.heads + head) * EV + col) / WIDTH] = v;
}

// slot: four columns; for S = vec4<f32>: store(v, batch, row, head, col);
fn emit(v: vec4<f32>, batch: u32, row: u32, head: u32, col: u32) {
    for (var j = 0u; j < 4u && col + j < EV; j++) { store(v[j], batch, row, head, col + j); }
}

// slot: what is added to the score at `at` in the mask, 0 or -inf for a mask of bools.
fn bias(at: u32) -> f32 { return 0.0; }

// slot: dropout: 1 for each of the weights `at` that is kept, else 0; they are counted over [batch, heads, length, keys].
fn kept(at: vec4<u32>) -> vec4<f32> { return vec4(1.0); }

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
    let last_key = sizes.keys - SIZE;                        // where the last whole fragment begins
    var end = sizes.keys;
    if CAUSAL { end = min(end, first + ROWS); }

    // This subgroup's rows, keys and columns. Where subgroups are smaller than expected, those that are too many do what another
    // one does: cooperative operations must be reached by all.
    let own_line = subgroup / SN % SM * OWN * SIZE;
    let own_part = subgroup % SN;
    let q0 = q_at + min(first + own_line, sizes.length - SIZE) * sizes.q_row;
    let q1 = q_at + min(first + own_line + SIZE, sizes.length - SIZE) * sizes.q_row;
    let put0 = own_line * S_LINE + own_part * SIZE;
    let put1 = put0 + SIZE * S_LINE;
    let s0 = put0 + own_part * (AT_ONCE - 1u) * SIZE;
    let s1 = s0 + SIZE * S_LINE;
    let own_col = own_part * FV * SIZE;
    let col0 = v_at + min(own_col, EV - SIZE);               // fragments past the last column are never stored
    let col1 = v_at + min(own_col + SIZE, EV - SIZE);
    let col2 = v_at + min(own_col + 2u * SIZE, EV - SIZE);
    let col3 = v_at + min(own_col + 3u * SIZE, EV - SIZE);

    // This invocation's row.
    let line = index / PER;
    let from_row = first + line / SIZE * SIZE;
    let row = min(from_row, sizes.length - SIZE) + line % SIZE;
    let own = index % PER * 4u;                              // its first column
    let mask_at = sizes.m_offset + batch * sizes.m_batch + head * sizes.m_head + row * sizes.m_row;
    let weight_at = vec4((part * sizes.length + row) * sizes.keys);

    // Where fragments cannot be made from nothing, zeros are loaded.
    if index == 0u { atomicStore(&raised, 0u); }
    for (var i = index; i < SIZE * S_LINE; i += WG) { scores[i] = 0.0; }
    workgroupBarrier();
    let zero = take_score_(0u);
    workgroupBarrier();
    var o00 = zero; var o01 = zero; var o02 = zero; var o03 = zero;
    var o10 = zero; var o11 = zero; var o12 = zero; var o13 = zero;
    var top = LOWEST;
    var sum = vec4(0.0);
    for (var j = 0u; j < end; j += KEYS) {
        var s00 = zero; var s01 = zero; var s02 = zero; var s03 = zero;
        var s10 = zero; var s11 = zero; var s12 = zero; var s13 = zero;
        let key = j + own_part * AT_ONCE * SIZE;
        let k0 = k_at + min(key, last_key) * sizes.k_row;
        let k1 = k_at + min(key + SIZE, last_key) * sizes.k_row;
        let k2 = k_at + min(key + 2u * SIZE, last_key) * sizes.k_row;
        let k3 = k_at + min(key + 3u * SIZE, last_key) * sizes.k_row;
        for (var i = 0u; i < E; i += SIZE) {
            let a0 = q_rows_(q0 + i);
            var a1 = a0;
            if OWN > 1u { a1 = q_rows_(q1 + i); }
            let b0 = k_cols_(k0 + i);
            s00 = coopMultiplyAdd(a0, b0, s00);
            if OWN > 1u { s10 = coopMultiplyAdd(a1, b0, s10); }
            if AT_ONCE > 1u {
                let b1 = k_cols_(k1 + i);
                s01 = coopMultiplyAdd(a0, b1, s01);
                if OWN > 1u { s11 = coopMultiplyAdd(a1, b1, s11); }
            }
            if AT_ONCE > 2u {
                let b2 = k_cols_(k2 + i);
                let b3 = k_cols_(k3 + i);
                s02 = coopMultiplyAdd(a0, b2, s02);
                s03 = coopMultiplyAdd(a0, b3, s03);
                if OWN > 1u { s12 = coopMultiplyAdd(a1, b2, s12); s13 = coopMultiplyAdd(a1, b3, s13); }
            }
        }
        put_score_(s00, s0);
        if AT_ONCE > 1u { put_score_(s01, s0 + SIZE); }
        if AT_ONCE > 2u { put_score_(s02, s0 + 2u * SIZE); put_score_(s03, s0 + 3u * SIZE); }
        if OWN > 1u {
            put_score_(s10, s1);
            if AT_ONCE > 1u { put_score_(s11, s1 + SIZE); }
            if AT_ONCE > 2u { put_score_(s12, s1 + 2u * SIZE); put_score_(s13, s1 + 3u * SIZE); }
        }
        workgroupBarrier();

        var high = vec4(LOWEST);
        for (var c = own; c < KEYS; c += 4u * PER) {
            let from_key = j + c / SIZE * SIZE;
            let keys = vec4(min(from_key, last_key) + c % SIZE) + vec4(0u, 1u, 2u, 3u);
            let s = scored_(four_scores_(line * S_LINE + c), mask_at, row, keys, from_key);
            lay_scores_(line * S_LINE + c, s);
            high = max(high, s);
        }
        var most = max(max(high.x, high.y), max(high.z, high.w));
        if PER > 1u {
            partial[index] = most;
            workgroupBarrier();
            for (var i = 0u; i < PER; i++) { most = max(most, partial[line * PER + i]); }
        }
        var fade = 1.0;
        if most > top + LIMIT {
            fade = exp(max(top - most, -110.0));
            top = most;
            atomicStore(&raised, j / KEYS + 1u);
        }
        sum *= fade;
        for (var c = own; c < KEYS; c += 4u * PER) {
            let from_key = j + c / SIZE * SIZE;
            let keys = vec4(min(from_key, last_key) + c % SIZE) + vec4(0u, 1u, 2u, 3u);
            let p = exp_half_(four_scores_(line * S_LINE + c) - top);
            sum += p;
            lay_weights_(line * W_LINE + c, p * kept(weight_at + keys));
        }
        workgroupBarrier();

        if j > 0u && atomicLoad(&raised) == j / KEYS + 1u {     // the same for the whole workgroup
            for (var n = 0u; n < FV; n++) {
                if n == 0u { put_score_(o00, put0); if OWN > 1u { put_score_(o10, put1); } }
                if FV > 1u && n == 1u { put_score_(o01, put0); if OWN > 1u { put_score_(o11, put1); } }
                if FV > 2u && n == 2u { put_score_(o02, put0); if OWN > 1u { put_score_(o12, put1); } }
                if FV > 3u && n == 3u { put_score_(o03, put0); if OWN > 1u { put_score_(o13, put1); } }
                workgroupBarrier();
                for (var c = own; c < SN * SIZE; c += 4u * PER) {
                    lay_scores_(line * S_LINE + c, four_scores_(line * S_LINE + c) * fade);
                }
                workgroupBarrier();
                if n == 0u { o00 = take_score_(put0); if OWN > 1u { o10 = take_score_(put1); } }
                if FV > 1u && n == 1u { o01 = take_score_(put0); if OWN > 1u { o11 = take_score_(put1); } }
                if FV > 2u && n == 2u { o02 = take_score_(put0); if OWN > 1u { o12 = take_score_(put1); } }
                if FV > 3u && n == 3u { o03 = take_score_(put0); if OWN > 1u { o13 = take_score_(put1); } }
                workgroupBarrier();
            }
        }
        for (var i = 0u; i < min(KEYS, end - j); i += SIZE) {
            let a0 = w_rows_(own_line * W_LINE + i);
            var a1 = a0;
            if OWN > 1u { a1 = w_rows_((own_line + SIZE) * W_LINE + i); }
            let at = min(j + i, last_key) * sizes.v_row;
            let b0 = v_lines_(col0 + at);
            o00 = coopMultiplyAdd(a0, b0, o00);
            if OWN > 1u { o10 = coopMultiplyAdd(a1, b0, o10); }
            if FV > 1u {
                let b1 = v_lines_(col1 + at);
                o01 = coopMultiplyAdd(a0, b1, o01);
                if OWN > 1u { o11 = coopMultiplyAdd(a1, b1, o11); }
            }
            if FV > 2u {
                let b2 = v_lines_(col2 + at);
                o02 = coopMultiplyAdd(a0, b2, o02);
                if OWN > 1u { o12 = coopMultiplyAdd(a1, b2, o12); }
            }
            if FV > 3u {
                let b3 = v_lines_(col3 + at);
                o03 = coopMultiplyAdd(a0, b3, o03);
                if OWN > 1u { o13 = coopMultiplyAdd(a1, b3, o13); }
            }
        }
    }

    partial[index] = sum.x + sum.y + sum.z + sum.w;
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < PER; i++) { total += partial[line * PER + i]; }
    let empty = total == 0.0;                                // a row that sees nothing is zero
    let share = select(1.0 / total, 0.0, empty);
    if own == 0u && row >= from_row {
        lse[part * sizes.length + row] = select(top + log_(vec4(total)).x, 0.0, empty);
    }
    for (var n = 0u; n < FV; n++) {
        if n == 0u { put_score_(o00, put0); if OWN > 1u { put_score_(o10, put1); } }
        if FV > 1u && n == 1u { put_score_(o01, put0); if OWN > 1u { put_score_(o11, put1); } }
        if FV > 2u && n == 2u { put_score_(o02, put0); if OWN > 1u { put_score_(o12, put1); } }
        if FV > 3u && n == 3u { put_score_(o03, put0); if OWN > 1u { put_score_(o13, put1); } }
        workgroupBarrier();
        for (var c = own; c < SN * SIZE; c += 4u * PER) {
            let col = (c / SIZE * FV + n) * SIZE + c % SIZE;
            if row >= from_row && col < EV { emit(four_scores_(line * S_LINE + c) * share, batch, row, head, col); }
        }
        workgroupBarrier();
    }
}
