// attention_tile_query: attention_rows_query.wgsl for GPUs: dq = scale Σ_j ds k, ds = p (dp - delta); keeps lse and delta
//
// A workgroup owns TILE queries and walks the keys TILE at a time; scores and dp are products through workgroup memory,
// four columns of RB fours of rows a thread, and ds, laid down there, multiplies the keys. Causal blocks stop at the diagonal.
//
// dispatch: ceil(length / TILE) · batch · heads groups of T · TY, folded past 65535
// cost:     2 (2 E + EV) operations a score; k and v are read length / TILE times
// source:   Dao 2023, "FlashAttention-2", alg. 2
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
const CE: u32 = (E4 + T - 1u) / T; // fours of a query that a thread owns
const CV: u32 = (V4 + T - 1u) / T; // fours of a value

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

var<workgroup> held: array<vec4<f32>, TILE * T>;          // staged operands, then a block of scores
var<workgroup> partial: array<vec4<f32>, T * T>;

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

// What is staged: queries and keys, or dy and values.
fn own_fours(values: bool, at: vec4<u32>, i: u32) -> mat4x4<f32> {
    if values { return g_fours_(at, i); }
    return q_fours_(at, i);
}
fn other_fours(values: bool, at: vec4<u32>, i: u32) -> mat4x4<f32> {
    if values { return v_fours_(at, i); }
    return k_fours_(at, i);
}

// The scores of a row's four keys.
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
    let last_row = sizes.length - 1u;
    let last = sizes.keys - 1u;
    var end = sizes.keys;
    if CAUSAL { end = min(end, first + TILE); }
    let g_at = (batch * sizes.length * sizes.heads + head) * EV;
    let g_row = sizes.heads * EV;

    var norm: array<vec4<f32>, RB>;                          // of the rows: lse,
    var along: array<vec4<f32>, RB>;                         // and delta
    for (var r = 0u; r < RB; r++) {
        let own = min(vec4(first + 4u * (ty + r * TY)) + vec4(0u, 1u, 2u, 3u), vec4(last_row));
        let at = vec4(part * sizes.length) + own;
        norm[r] = vec4(lse[at.x], lse[at.y], lse[at.z], lse[at.w]);
        var dots = vec4(0.0);
        for (var c = 4u * tx; c < EV; c += 4u * T) {
            for (var i = 0u; i < 4u; i++) { dots[i] += dot(g_load_(g_at + own[i] * g_row, c), y_load_(g_at + own[i] * g_row, c)); }
        }
        partial[tx * T + ty + r * TY] = dots;
    }
    workgroupBarrier();
    for (var r = 0u; r < RB; r++) {
        for (var c = 0u; c < T; c++) { along[r] += partial[c * T + ty + r * TY]; }
    }

    var acc: array<vec4<f32>, 4u * RB * CE>;
    for (var j = 0u; j < end; j += TILE) {
        var s: array<mat4x4<f32>, RB>;
        let rows = staged_(vec4(q_at, first, last_row, sizes.q_row), vec4(k_at, j, last, sizes.k_row), local);
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
            for (var i = 0u; i < 4u; i++) { s[r][i] = exp(scored(s[r][i], mask_at, row + i, key) - norm[r][i]); }
            if !whole {
                for (var i = 0u; i < 4u; i++) { s[r][i] = select(s[r][i], vec4(0.0), hidden_(row + i, key)); }
            }
        }
        var d: array<mat4x4<f32>, RB>;
        let above = staged_(vec4(g_at, first, last_row, g_row), vec4(v_at, j, last, sizes.v_row), local);
        for (var c = 0u; c < EV; c += CHUNK) {
            workgroupBarrier();
            stage_(true, above, c, local);
            workgroupBarrier();
            multiply_(&d, ty, tx);
        }
        workgroupBarrier();
        for (var r = 0u; r < RB; r++) {
            var weight_at = vec4((part * sizes.length + first + 4u * (ty + r * TY)) * sizes.keys) + key;
            for (var i = 0u; i < 4u; i++) {
                d[r][i] = s[r][i] * (d[r][i] * kept(weight_at) - along[r][i]);
                weight_at += sizes.keys;
            }
            lay_(d[r], ty + r * TY, tx);
        }
        workgroupBarrier();
        for (var n = 0u; n < min(TILE, sizes.keys - j); n += STEPS) {   // ds past the last key is 0
            for (var i = 0u; i < STEPS; i++) {
                let at = k_at + min(j + n + i, last) * sizes.k_row;
                for (var c = 0u; c < CE; c++) {
                    let x = k_load_(at, min(4u * (tx + c * T), 4u * E4 - 4u));
                    for (var r = 0u; r < RB; r++) {
                        let slope = held[(n + i) * T + ty + r * TY];
                        for (var m = 0u; m < 4u; m++) {
                            acc[(r * CE + c) * 4u + m] = fma(vec4(slope[m]), x, acc[(r * CE + c) * 4u + m]);
                        }
                    }
                }
            }
        }
    }

    for (var r = 0u; r < RB; r++) {
        for (var i = 0u; i < 4u; i++) {
            let row = first + 4u * (ty + r * TY) + i;
            if row < sizes.length {
                if tx == 0u { norms[part * sizes.length + row] = vec2(norm[r][i], along[r][i]); }
                for (var c = 0u; c < CE; c++) {
                    let col = 4u * (tx + c * T);
                    if col < E { emit(acc[(r * CE + c) * 4u + i] * sizes.scale, batch, row, head, col); }
                }
            }
        }
    }
}
