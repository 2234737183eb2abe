// attention_tile: attention_rows.wgsl for GPUs: out[b, i, h, :] = Σ_j softmax_j(scale q · k + bias) v, and lse
//
// A workgroup owns TILE queries and walks the keys TILE at a time. A block of scores is a product through workgroup
// memory, four columns of RB fours of rows a thread; its row maxima are joined through workgroup memory, what was summed so
// far is scaled to the new maximum (online softmax), and the block, laid down in workgroup memory, multiplies the values: a
// thread keeps the sums of its rows and every T-th four of their columns. Causal blocks stop at the diagonal.
//
// dispatch: ceil(length / TILE) · batch · heads groups of T · TY, folded past 65535
// cost:     2 (E + EV) operations a score; k and v are read length / TILE times
// source:   Dao 2023, "FlashAttention-2", alg. 1
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
const TILE: u32 = 32u;            // rows and columns of a block of scores: 32 | 64
const RB: u32 = 1u;               // fours of rows that an invocation owns: 1 | 2
const T: u32 = TILE / 4u;         // fours of rows, and of columns
const TY: u32 = T / RB;           // invocations along the rows; T along the columns
const CHUNK: u32 = 16u;           // elements of a head staged at once
const STEPS: u32 = 4u;            // steps of a product that are written out
const CV: u32 = (V4 + T - 1u) / T; // fours of a value that a thread owns
const LOWEST: f32 = -3.4028234e38;

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
@group(0) @binding(3) var<storage, read_write> out: array<S>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

var<workgroup> held: array<vec4<f32>, TILE * T>;          // staged operands, then a block of scores
var<workgroup> partial: array<vec4<f32>, T * T>;

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

// What is staged: queries and keys.
fn own_fours(values: bool, at: vec4<u32>, i: u32) -> mat4x4<f32> { return q_fours_(at, i); }
fn other_fours(values: bool, at: vec4<u32>, i: u32) -> mat4x4<f32> { return k_fours_(at, i); }

// The score of a row's four keys.
fn scored(s: vec4<f32>, mask_at: u32, row: u32, key: vec4<u32>) -> vec4<f32> {
    let at = vec4(mask_at + min(row, sizes.length - 1u) * sizes.m_row) + min(key, vec4(sizes.keys - 1u)) * sizes.m_col;
    return s * sizes.scale + vec4(bias(at.x), bias(at.y), bias(at.z), bias(at.w));
}

@compute @workgroup_size(T * TY)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let blocks = (sizes.length + TILE - 1u) / TILE;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / blocks;
    if part >= sizes.parts { return; }
    let first = (group - part * blocks) * TILE;
    let ty = local / T;
    let tx = local % T;
    let batch = part / sizes.heads;
    let head = part - batch * sizes.heads;
    let kv = head / sizes.share;
    let q_at = sizes.q_offset + batch * sizes.q_batch + head * sizes.q_head;
    let k_at = sizes.k_offset + batch * sizes.k_batch + kv * sizes.k_head;
    let v_at = sizes.v_offset + batch * sizes.v_batch + kv * sizes.v_head;
    let mask_at = sizes.m_offset + batch * sizes.m_batch + head * sizes.m_head;
    let last = sizes.keys - 1u;
    var end = sizes.keys;
    if CAUSAL { end = min(end, first + TILE); }

    var acc: array<vec4<f32>, 4u * RB * CV>;
    var top: array<vec4<f32>, RB>;                           // of the rows
    var sum: array<vec4<f32>, RB>;                           // of the thread's own columns
    for (var r = 0u; r < RB; r++) { top[r] = vec4(LOWEST); }
    for (var j = 0u; j < end; j += TILE) {
        var s: array<mat4x4<f32>, RB>;
        let rows = staged_(vec4(q_at, first, sizes.length - 1u, sizes.q_row), vec4(k_at, j, last, sizes.k_row), local);
        for (var c = 0u; c < E; c += CHUNK) {
            workgroupBarrier();
            stage_(false, rows, c, local);
            workgroupBarrier();
            multiply_(&s, ty, tx);
        }
        let key = vec4(j + 4u * tx) + vec4(0u, 1u, 2u, 3u);
        let whole = j + TILE <= sizes.keys && (!CAUSAL || j + TILE <= first + 1u);
        for (var r = 0u; r < RB; r++) {
            let row = first + 4u * (ty + r * TY);
            for (var i = 0u; i < 4u; i++) { s[r][i] = scored(s[r][i], mask_at, row + i, key); }
            if !whole {
                for (var i = 0u; i < 4u; i++) { s[r][i] = select(s[r][i], -inf_(), hidden_(row + i, key)); }
            }
            let t = transpose(s[r]);
            partial[tx * T + ty + r * TY] = max(max(t[0], t[1]), max(t[2], t[3]));
        }
        workgroupBarrier();
        for (var r = 0u; r < RB; r++) {
            var new_top = top[r];
            for (var c = 0u; c < T; c++) { new_top = max(new_top, partial[c * T + ty + r * TY]); }
            let fade = exp(top[r] - new_top);
            top[r] = new_top;
            for (var i = 0u; i < 4u; i++) { s[r][i] = exp(s[r][i] - new_top[i]); }
            sum[r] = sum[r] * fade + across_(s[r]);
            var weight_at = vec4((part * sizes.length + first + 4u * (ty + r * TY)) * sizes.keys) + key;
            for (var i = 0u; i < 4u; i++) {
                s[r][i] *= kept(weight_at);
                weight_at += sizes.keys;
                for (var c = 0u; c < CV; c++) { acc[(r * CV + c) * 4u + i] *= fade[i]; }
            }
            lay_(s[r], ty + r * TY, tx);
        }
        workgroupBarrier();
        for (var n = 0u; n < min(TILE, sizes.keys - j); n += STEPS) {   // weights past the last key are 0
            for (var i = 0u; i < STEPS; i++) {
                let at = v_at + min(j + n + i, last) * sizes.v_row;
                for (var c = 0u; c < CV; c++) {
                    let x = v_load_(at, min(4u * (tx + c * T), 4u * V4 - 4u));
                    for (var r = 0u; r < RB; r++) {
                        let weight = held[(n + i) * T + ty + r * TY];
                        for (var m = 0u; m < 4u; m++) {
                            acc[(r * CV + c) * 4u + m] = fma(vec4(weight[m]), x, acc[(r * CV + c) * 4u + m]);
                        }
                    }
                }
            }
        }
    }

    workgroupBarrier();
    for (var r = 0u; r < RB; r++) { partial[tx * T + ty + r * TY] = sum[r]; }
    workgroupBarrier();
    for (var r = 0u; r < RB; r++) {
        var total = vec4(0.0);
        for (var c = 0u; c < T; c++) { total += partial[c * T + ty + r * TY]; }
        let empty = total == vec4(0.0);                      // a row that sees nothing is zero
        let share = select(1.0 / total, vec4(0.0), empty);
        let norm = select(top[r] + log_(total), vec4(0.0), empty);
        for (var i = 0u; i < 4u; i++) {
            let row = first + 4u * (ty + r * TY) + i;
            if row < sizes.length {
                if tx == 0u { lse[part * sizes.length + row] = norm[i]; }
                for (var c = 0u; c < CV; c++) {
                    let col = 4u * (tx + c * T);
                    if col < EV { emit(acc[(r * CV + c) * 4u + i] * share[i], batch, row, head, col); }
                }
            }
        }
    }
}
