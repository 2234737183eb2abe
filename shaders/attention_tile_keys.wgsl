// attention_tile_keys: attention_rows_keys.wgsl for GPUs: dk = scale Σ_h Σ_i ds q, dv = Σ_h Σ_i p dy
//
// A workgroup owns TILE keys and walks the queries of all heads that share them, TILE at a time; scores and dp are products
// through workgroup memory, four columns of RB fours of rows a thread, and p and ds, laid down there, multiply dy and q.
// Causal blocks begin at the diagonal.
//
// dispatch: ceil(keys / TILE) · batch · kv groups of T · TY, folded past 65535
// cost:     4 (E + EV) operations a score; q and dy are read keys / TILE times
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
const CE: u32 = (E4 + T - 1u) / T; // fours of a key that a thread owns
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
@group(0) @binding(3) var<storage, read> dy: array<EA>;
@group(0) @binding(4) var<storage, read> norms: array<vec2<f32>>;   // lse, delta
@group(0) @binding(5) var<storage, read_write> out: array<S>;
@group(0) @binding(6) var<storage, read_write> dv: array<S>;

var<workgroup> held: array<vec4<f32>, TILE * T>;          // staged operands, then a block of scores

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

// What is staged: keys and queries, or values and dy.
fn own_fours(values: bool, at: vec4<u32>, i: u32) -> mat4x4<f32> {
    if values { return v_fours_(at, i); }
    return k_fours_(at, i);
}
fn other_fours(values: bool, at: vec4<u32>, i: u32) -> mat4x4<f32> {
    if values { return g_fours_(at, i); }
    return q_fours_(at, i);
}

// A key's scores with four queries.
fn scored(s: vec4<f32>, mask_at: u32, row: vec4<u32>, key: u32) -> vec4<f32> {
    let at = vec4(mask_at + min(key, sizes.keys - 1u) * sizes.m_col) + min(row, vec4(sizes.length - 1u)) * sizes.m_row;
    return s * sizes.scale + vec4(bias(at.x), bias(at.y), bias(at.z), bias(at.w));
}

// Which of four queries do not see a key.
fn unseen(row: vec4<u32>, key: u32) -> vec4<bool> {
    if CAUSAL { return (row >= vec4(sizes.length)) | (vec4(key) > row); }
    return row >= vec4(sizes.length);
}

@compute @workgroup_size(T * TY)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let blocks = (sizes.keys + TILE - 1u) / TILE;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / blocks;
    let kvs = sizes.heads / sizes.share;
    if part * sizes.share >= sizes.parts { return; }
    let first = (group - part * blocks) * TILE;
    let ty = local / T;
    let tx = local % T;
    let batch = part / kvs;
    let kv = part - batch * kvs;
    let k_at = sizes.k_offset + batch * sizes.k_batch + kv * sizes.k_head;
    let v_at = sizes.v_offset + batch * sizes.v_batch + kv * sizes.v_head;
    let begin = select(0u, first, CAUSAL);

    let last = sizes.keys - 1u;
    let last_row = sizes.length - 1u;
    let g_row = sizes.heads * EV;

    var acc_k: array<vec4<f32>, 4u * RB * CE>;
    var acc_v: array<vec4<f32>, 4u * RB * CV>;
    for (var head = kv * sizes.share; head < (kv + 1u) * sizes.share; head++) {
        let q_at = sizes.q_offset + batch * sizes.q_batch + head * sizes.q_head;
        let g_at = (batch * sizes.length * sizes.heads + head) * EV;
        let n_at = (batch * sizes.heads + head) * sizes.length;
        let mask_at = sizes.m_offset + batch * sizes.m_batch + head * sizes.m_head;
        for (var i0 = begin; i0 < sizes.length; i0 += TILE) {
            var p: array<mat4x4<f32>, RB>;
            let rows = staged_(vec4(k_at, first, last, sizes.k_row), vec4(q_at, i0, last_row, sizes.q_row), local);
            for (var c = 0u; c < E; c += CHUNK) {
                workgroupBarrier();
                stage_(false, rows, c, local);
                workgroupBarrier();
                multiply_(&p, ty, tx);
            }
            let query = vec4(i0 + 4u * tx) + vec4(0u, 1u, 2u, 3u);
            let row = vec4(n_at) + min(query, vec4(last_row));
            let n = transpose(mat4x4(vec4(norms[row.x], 0.0, 0.0), vec4(norms[row.y], 0.0, 0.0),
                                     vec4(norms[row.z], 0.0, 0.0), vec4(norms[row.w], 0.0, 0.0)));
            let whole = i0 + TILE <= sizes.length && (!CAUSAL || first + TILE <= i0 + 1u);
            for (var r = 0u; r < RB; r++) {
                let key = first + 4u * (ty + r * TY);
                for (var i = 0u; i < 4u; i++) { p[r][i] = exp(scored(p[r][i], mask_at, query, key + i) - n[0]); }
                if !whole {
                    for (var i = 0u; i < 4u; i++) { p[r][i] = select(p[r][i], vec4(0.0), unseen(query, key + i)); }
                }
            }
            workgroupBarrier();
            var keep: array<mat4x4<f32>, RB>;                // drawn along the keys, used along the queries
            for (var r = 0u; r < RB; r++) {
                let key = first + 4u * (ty + r * TY);
                for (var i = 0u; i < 4u; i++) {
                    keep[r][i] = kept(vec4((n_at + query[i]) * sizes.keys + key) + vec4(0u, 1u, 2u, 3u));
                }
                keep[r] = transpose(keep[r]);
                lay_(mat4x4(p[r][0] * keep[r][0], p[r][1] * keep[r][1], p[r][2] * keep[r][2], p[r][3] * keep[r][3]), ty + r * TY, tx);
            }
            workgroupBarrier();
            for (var m = 0u; m < min(TILE, sizes.length - i0); m += STEPS) {  // p and ds past the last query are 0
                for (var i = 0u; i < STEPS; i++) {
                    let at = g_at + min(i0 + m + i, last_row) * g_row;
                    for (var c = 0u; c < CV; c++) {
                        let x = g_load_(at, min(4u * (tx + c * T), 4u * V4 - 4u));
                        for (var r = 0u; r < RB; r++) {
                            let weight = held[(m + i) * T + ty + r * TY];
                            for (var l = 0u; l < 4u; l++) {
                                acc_v[(r * CV + c) * 4u + l] = fma(vec4(weight[l]), x, acc_v[(r * CV + c) * 4u + l]);
                            }
                        }
                    }
                }
            }
            var d: array<mat4x4<f32>, RB>;
            let above = staged_(vec4(v_at, first, last, sizes.v_row), vec4(g_at, i0, last_row, g_row), local);
            for (var c = 0u; c < EV; c += CHUNK) {
                workgroupBarrier();
                stage_(true, above, c, local);
                workgroupBarrier();
                multiply_(&d, ty, tx);
            }
            workgroupBarrier();
            for (var r = 0u; r < RB; r++) {
                for (var i = 0u; i < 4u; i++) { d[r][i] = p[r][i] * (d[r][i] * keep[r][i] - n[1]); }
                lay_(d[r], ty + r * TY, tx);
            }
            workgroupBarrier();
            for (var m = 0u; m < min(TILE, sizes.length - i0); m += STEPS) {
                for (var i = 0u; i < STEPS; i++) {
                    let at = q_at + min(i0 + m + i, last_row) * sizes.q_row;
                    for (var c = 0u; c < CE; c++) {
                        let x = q_load_(at, min(4u * (tx + c * T), 4u * E4 - 4u));
                        for (var r = 0u; r < RB; r++) {
                            let slope = held[(m + i) * T + ty + r * TY];
                            for (var l = 0u; l < 4u; l++) {
                                acc_k[(r * CE + c) * 4u + l] = fma(vec4(slope[l]), x, acc_k[(r * CE + c) * 4u + l]);
                            }
                        }
                    }
                }
            }
        }
    }

    for (var r = 0u; r < RB; r++) {
        for (var i = 0u; i < 4u; i++) {
            let key = first + 4u * (ty + r * TY) + i;
            if key < sizes.keys {
                for (var c = 0u; c < CV; c++) {
                    let col = 4u * (tx + c * T);
                    if col < EV { emit_v(acc_v[(r * CV + c) * 4u + i], ((batch * sizes.keys + key) * kvs + kv) * EV, col); }
                }
                for (var c = 0u; c < CE; c++) {
                    let col = 4u * (tx + c * T);
                    if col < E { emit(acc_k[(r * CE + c) * 4u + i] * sizes.scale, batch, key, kv, col); }
                }
            }
        }
    }
}
