// matmul_tile: out[p, i, j] = Σ_k a[p, i, k] · b[p, k, j]      a [batches, m, k], b [batches, k, n], out [batches, m, n]
//
// For GPUs. A workgroup owns a tile of TILE_M x TILE_N; each step brings TILE_K columns of a and rows of b into workgroup memory,
// both with k outermost, while the values of the next step are already on their way to registers. With two BUFFERS a step is written
// to one while others still read the other, which needs one barrier instead of two. An invocation owns RB x CB blocks of 4x4, spread
// over the tile so that neighbours read neighbouring vectors. Operands are loaded as 4x4 blocks along whichever axis is contiguous
// and turned in registers, so a transposed operand costs the same. Tiles go down in bands of BAND before they go across: what runs
// at the same time then shares more of a and b in the cache.
//
// dispatch: ceil(m / TILE_M) · ceil(n / TILE_N) · batches · slices groups, folded past 65535
// cost:     2·m·n·k operations; a is read n / TILE_N times, b m / TILE_M times
// source:   Volkov & Demmel 2008, "Benchmarking GPUs to tune dense linear algebra"
// twin:     crates/device/tests/matmul.rs (f64)

alias EA = f32;                    // one load of a: f32 | f16 | vec4 of them
alias EA4 = vec4<f32>;             // four elements of a
alias EB = f32;
alias EB4 = vec4<f32>;
alias F = f32;                    // what store takes: f32 | vec4<f32>
const A_WIDTH: u32 = 1u;          // elements in a load; 4 needs strides and offset in multiples of 4
const B_WIDTH: u32 = 1u;
const A_DOWN: bool = false;       // a's fours lie along m (a transposed operand), not along k
const B_DOWN: bool = true;        // b's fours lie along k, not along n
const WIDTH: u32 = 1u;            // elements of F
const TILE_M: u32 = 32u;
const TILE_N: u32 = 32u;
const TILE_K: u32 = 16u;
const RB: u32 = 1u;               // blocks of four rows that an invocation owns
const CB: u32 = 1u;               // blocks of four columns
const BUFFERS: u32 = 1u;          // 1 | 2
const BAND: u32 = 8u;
const TX: u32 = TILE_N / (4u * CB);
const TY: u32 = TILE_M / (4u * RB);
const WG: u32 = TX * TY;
const LINE: u32 = (TILE_M + TILE_N) / 4u;                  // vectors of one k in the tile: a's, then b's
const A_BLOCKS: u32 = TILE_M * TILE_K / 16u;
const BLOCKS: u32 = (TILE_M + TILE_N) * TILE_K / 16u;      // 4x4 blocks that come in a step
const LOADS: u32 = (BLOCKS + WG - 1u) / WG;                // those that one invocation brings

struct Sizes {
    m: u32, n: u32, k: u32, slices: u32, batches: u32, batch_inner: u32,
    a_offset: u32, a_outer: u32, a_inner: u32, a_row: u32, a_col: u32,
    b_offset: u32, b_outer: u32, b_inner: u32, b_row: u32, b_col: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> a: array<EA>;
@group(0) @binding(1) var<storage, read> b: array<EB>;
@group(0) @binding(2) var<storage, read_write> out: array<F>;

// slot: what becomes of one element, or of four in a row (col is then a multiple of 4)
fn store(v: F, batch: u32, row: u32, col: u32) {
    out[((batch * sizes.m + row) * sizes.n + col) / WIDTH] = v;
}

// slot: four columns; for F = vec4<f32>: if col < sizes.n { store(v, batch, row, col); }
fn emit(v: vec4<f32>, batch: u32, row: u32, col: u32) {
    for (var j = 0u; j < 4u && col + j < sizes.n; j++) { store(v[j], batch, row, col + j); }
}

var<workgroup> tile: array<vec4<f32>, LINE * TILE_K * BUFFERS>;

// Where block `i` of a step lies: four k from `.x` on, vector `.y` of the line. Neighbours follow the contiguous axis.
fn place(i: u32) -> vec2<u32> {
    if i < A_BLOCKS {
        if A_DOWN { return vec2(i / (TILE_M / 4u) * 4u, i % (TILE_M / 4u)); }
        return vec2(i % (TILE_K / 4u) * 4u, i / (TILE_K / 4u));
    }
    let j = i - A_BLOCKS;
    if B_DOWN { return vec2(j % (TILE_K / 4u) * 4u, TILE_M / 4u + j / (TILE_K / 4u)); }
    return vec2(j / (TILE_N / 4u) * 4u, TILE_M / 4u + j % (TILE_N / 4u));
}

fn leave(v: vec4<f32>, batch: u32, row: u32, col: u32) {
    if row < sizes.m { emit(v, batch, row, col); }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.n + TILE_N - 1u) / TILE_N;
    let down = (sizes.m + TILE_M - 1u) / TILE_M;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / across / down;           // slice of k, then batch
    if part >= sizes.slices * sizes.batches { return; }         // the whole workgroup
    let at = group % (across * down);
    let top = at / (BAND * across) * BAND;
    let band = min(BAND, down - top);
    let row = (top + at % (BAND * across) % band) * TILE_M;
    let col = at % (BAND * across) / band * TILE_N;
    let slice = part / sizes.batches;
    let batch = part % sizes.batches;
    let outer = batch / sizes.batch_inner;
    let inner = batch % sizes.batch_inner;
    let a_start = sizes.a_offset + outer * sizes.a_outer + inner * sizes.a_inner;
    let b_start = sizes.b_offset + outer * sizes.b_outer + inner * sizes.b_inner;
    let length = ((sizes.k + sizes.slices - 1u) / sizes.slices + 3u) / 4u * 4u;
    let end = min(sizes.k, (slice + 1u) * length);
    let tx = lane % TX;
    let ty = lane / TX;

    var acc: array<vec4<f32>, 4u * RB * CB>;
    var next: array<mat4x4<f32>, LOADS>;
    var buffer = 0u;                            // where the step being computed lies
    for (var k = slice * length; k < end + TILE_K; k += TILE_K) {
        // The first round only fetches, the last only computes.
        if k > slice * length {
            if BUFFERS == 1u { workgroupBarrier(); }
            else { buffer = LINE * TILE_K - buffer; }
            for (var l = 0u; l < LOADS; l++) {
                let at = place(lane + l * WG);
                if BLOCKS % WG == 0u || lane + l * WG < BLOCKS {
                    for (var i = 0u; i < 4u; i++) { tile[buffer + (at.x + i) * LINE + at.y] = next[l][i]; }
                }
            }
            workgroupBarrier();
        }
        if k < end {
            for (var l = 0u; l < LOADS; l++) {
                let at = place(lane + l * WG);
                let ka = k + at.x;
                if lane + l * WG < A_BLOCKS { next[l] = a_block_(a_start, row + 4u * at.y, ka, end); }
                else { next[l] = b_block_(b_start, ka, col + 4u * at.y - TILE_M, end); }
                if k + TILE_K > end {
                    for (var i = 0u; i < 4u; i++) { next[l][i] = select(vec4(0.0), next[l][i], ka + i < end); }
                }
            }
        }
        if k > slice * length {
            for (var kk = 0u; kk < TILE_K; kk += 4u) {        // written out: no compiler unrolls as much
                let at = buffer + kk * LINE;
                add_products_(&acc, at, tx, ty);
                add_products_(&acc, at + LINE, tx, ty);
                add_products_(&acc, at + 2u * LINE, tx, ty);
                add_products_(&acc, at + 3u * LINE, tx, ty);
            }
        }
    }

    // A long output slot keeps this loop from being unrolled. No index depends on it, so acc is in registers all the same.
    for (var i = 0u; i < 4u; i++) {
        let r = row + 4u * ty + i;
        let c = col + 4u * tx;
        leave(acc[0], part, r, c);
        if RB > 1u { leave(acc[4u * (RB - 1u)], part, r + 4u * TY, c); }
        if CB > 1u { leave(acc[4u * RB * (CB - 1u)], part, r, c + 4u * TX); }
        if RB * CB > 2u { leave(acc[4u * RB * CB - 4u], part, r + 4u * TY, c + 4u * TX); }
        for (var j = 1u; j < 4u * RB * CB; j++) { acc[j - 1u] = acc[j]; }
    }
}
