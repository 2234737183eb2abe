// attention_coop: attention_rows.wgsl for GPUs with matrix units: out[b, i, h, :] = Σ_j softmax_j(scale q · k + bias) v, and lse
//
// f16 operands, f32 sums. A workgroup owns ROWS queries and walks the keys KEYS at a time. A subgroup multiplies its fragments
// of queries, straight from storage, with its part of the keys; the scores go through workgroup memory, since the elements of a
// fragment cannot be reached; PER invocations make weights of a row, which are rounded to f16; and a subgroup
// multiplies them with its part of the values into sums that stay in its fragments. The values of a block and the keys of the next are
// staged in workgroup memory, where it suffices, while weights are made. Weights are relative to a maximum that is only
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
alias EK = vec4<f16>;             // one load of keys and values: f16 where they are not staged
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
const STAGED: bool = true;        // blocks of keys and values lie in workgroup memory
const E_LINE: u32 = E + 8u;
const V_LINE: u32 = EV + 8u;
const STAGE: u32 = select(1u, KEYS, STAGED);              // lines of each
const E_LOADS: u32 = (KEYS * E / 4u + WG - 1u) / WG;      // fours that an invocation stages
const V_LOADS: u32 = (KEYS * EV / 4u + WG - 1u) / WG;
const OWN_FOURS: u32 = (KEYS / 4u + PER - 1u) / PER;      // fours of a row of scores
const EVEN: bool = KEYS / 4u % PER == 0u;                  // every invocation has as many
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
@group(0) @binding(1) var<storage, read> k: array<EK>;
@group(0) @binding(2) var<storage, read> v: array<EK>;
@group(0) @binding(3) var<storage, read_write> out: array<S>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

var<workgroup> scores: array<f32, ROWS * S_LINE>;         // f32 on its way from or to fragments
var<workgroup> weights: array<f16, ROWS * W_LINE>;
var<workgroup> tk: array<f16, STAGE * E_LINE>;             // a block of keys
var<workgroup> tv: array<f16, STAGE * V_LINE>;             // and its values
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

// The key that stands at `at` of the blocks, counted from the first block on: a last fragment begins early enough to be whole.
fn key_of(at: u32) -> u32 { return min(at / SIZE * SIZE, sizes.keys - SIZE) + at % SIZE; }
fn keys_of(at: u32) -> vec4<u32> { return vec4(key_of(at)) + vec4(0u, 1u, 2u, 3u); }

// slot: four elements of a key, or of a value, to be staged; where nothing is: return vec4<f16>();
fn k_four(at: u32) -> vec4<f16> { return k[at / 4u]; }
fn v_four(at: u32) -> vec4<f16> { return v[at / 4u]; }

// slot: a fragment of the keys that begin at `j`; where nothing is staged: return k_cols_(start + key_of(j + line) * sizes.k_row + col);
fn k_frag(line: u32, col: u32, start: u32, j: u32) -> FragB {
    let stride = E_LINE;
    return coopLoad<FragB>(&tk[line * E_LINE + col], stride);
}
// slot: of the values; return v_lines_(start + key_of(j + line) * sizes.v_row + col);
fn v_frag(line: u32, col: u32, start: u32, j: u32) -> FragB {
    let stride = V_LINE;
    return coopLoadT<FragB>(&tv[line * V_LINE + col], stride);
}

// What an invocation stages of a block of keys or values.
fn bring_k(start: u32, j: u32, index: u32) -> array<vec4<f16>, E_LOADS> {
    var fours: array<vec4<f16>, E_LOADS>;
    for (var l = 0u; l < E_LOADS; l++) {
        let i = index + l * WG;
        fours[l] = k_four(start + key_of(j + i / (E / 4u)) * sizes.k_row + i % (E / 4u) * 4u);
    }
    return fours;
}
fn bring_v(start: u32, j: u32, index: u32) -> array<vec4<f16>, V_LOADS> {
    var fours: array<vec4<f16>, V_LOADS>;
    for (var l = 0u; l < V_LOADS; l++) {
        let i = index + l * WG;
        fours[l] = v_four(start + key_of(j + i / (EV / 4u)) * sizes.v_row + i % (EV / 4u) * 4u);
    }
    return fours;
}
fn lay_k(fours: ptr<function, array<vec4<f16>, E_LOADS>>, index: u32) {
    for (var l = 0u; l < E_LOADS; l++) {
        let i = index + l * WG;
        let to = i / (E / 4u) * E_LINE + i % (E / 4u) * 4u;
        if STAGED && (KEYS * E / 4u % WG == 0u || i < KEYS * E / 4u) {
            for (var n = 0u; n < 4u; n++) { tk[to + n] = (*fours)[l][n]; }
        }
    }
}
fn lay_v(fours: ptr<function, array<vec4<f16>, V_LOADS>>, index: u32) {
    for (var l = 0u; l < V_LOADS; l++) {
        let i = index + l * WG;
        let to = i / (EV / 4u) * V_LINE + i % (EV / 4u) * 4u;
        if STAGED && (KEYS * EV / 4u % WG == 0u || i < KEYS * EV / 4u) {
            for (var n = 0u; n < 4u; n++) { tv[to + n] = (*fours)[l][n]; }
        }
    }
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
    let own_keys = own_part * AT_ONCE * SIZE;
    let own_col = own_part * FV * SIZE;
    let col0 = min(own_col, EV - SIZE);                      // fragments past the last column are never stored
    let col1 = min(own_col + SIZE, EV - SIZE);
    let col2 = min(own_col + 2u * SIZE, EV - SIZE);
    let col3 = min(own_col + 3u * SIZE, EV - SIZE);

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
    var next_k = bring_k(k_at, 0u, index);
    lay_k(&next_k, index);
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
        for (var i = 0u; i < E; i += SIZE) {
            let a0 = q_rows_(q0 + i);
            var a1 = a0;
            if OWN > 1u { a1 = q_rows_(q1 + i); }
            let b0 = k_frag(own_keys, i, k_at, j);
            s00 = coopMultiplyAdd(a0, b0, s00);
            if OWN > 1u { s10 = coopMultiplyAdd(a1, b0, s10); }
            if AT_ONCE > 1u {
                let b1 = k_frag(own_keys + SIZE, i, k_at, j);
                s01 = coopMultiplyAdd(a0, b1, s01);
                if OWN > 1u { s11 = coopMultiplyAdd(a1, b1, s11); }
            }
            if AT_ONCE > 2u {
                let b2 = k_frag(own_keys + 2u * SIZE, i, k_at, j);
                let b3 = k_frag(own_keys + 3u * SIZE, i, k_at, j);
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

        var next_v = bring_v(v_at, j, index);
        next_k = bring_k(k_at, j + KEYS, index);
        let whole = j + KEYS <= sizes.keys && (!CAUSAL || j + KEYS <= first + 1u);
        var s: array<vec4<f32>, OWN_FOURS>;
        for (var n = 0u; n < OWN_FOURS; n++) {
            let c = own + n * 4u * PER;
            s[n] = -inf_();
            if EVEN || c < KEYS { s[n] = scored_(four_scores_(line * S_LINE + c), vec4(mask_at) + keys_of(j + c) * sizes.m_col); }
        }
        if !whole {
            for (var n = 0u; n < OWN_FOURS; n++) {
                let at = j + own + n * 4u * PER;
                s[n] = select(s[n], -inf_(), unseen_(row, keys_of(at), at / SIZE * SIZE));
            }
        }
        var high = vec4(LOWEST);
        for (var n = 0u; n < OWN_FOURS; n++) { high = max(high, s[n]); }
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
        for (var n = 0u; n < OWN_FOURS; n++) {
            let c = own + n * 4u * PER;
            let p = exp(s[n] - top);
            sum += p;
            if EVEN || c < KEYS { lay_weights_(line * W_LINE + c, p * kept(weight_at + keys_of(j + c))); }
        }
        lay_v(&next_v, index);
        lay_k(&next_k, index);
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
        for (var i = 0u; i < KEYS; i += SIZE) {                // weights past the last key are 0
            let a0 = w_rows_(own_line * W_LINE + i);
            var a1 = a0;
            if OWN > 1u { a1 = w_rows_((own_line + SIZE) * W_LINE + i); }
            let b0 = v_frag(i, col0, v_at, j);
            o00 = coopMultiplyAdd(a0, b0, o00);
            if OWN > 1u { o10 = coopMultiplyAdd(a1, b0, o10); }
            if FV > 1u {
                let b1 = v_frag(i, col1, v_at, j);
                o01 = coopMultiplyAdd(a0, b1, o01);
                if OWN > 1u { o11 = coopMultiplyAdd(a1, b1, o11); }
            }
            if FV > 2u {
                let b2 = v_frag(i, col2, v_at, j);
                o02 = coopMultiplyAdd(a0, b2, o02);
                if OWN > 1u { o12 = coopMultiplyAdd(a1, b2, o12); }
            }
            if FV > 3u {
                let b3 = v_frag(i, col3, v_at, j);
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
