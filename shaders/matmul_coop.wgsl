// matmul_coop: out[p, i, j] = Σ_k a[p, i, k] · b[p, k, j]      a [batches, m, k], b [batches, k, n], out [batches, m, n]
//
// For GPUs with matrix units: f16 operands (f32 ones are rounded), f32 sums. A workgroup of SM x SN subgroups owns a tile; a
// subgroup owns FM x FN fragments of SIZE x SIZE. Each step brings TILE_K columns of a and rows of b into workgroup memory in the
// order in which they are stored, with zeros past the end of k, so that any size will do, while the values of the next step are
// already on their way to registers; fragments are loaded from there, row- or column-major. Lines are 8 elements longer than
// needed: they keep 16-byte alignment, and neighbouring lines lie in other banks. Finished fragments go through a corner of workgroup
// memory to the output slot.
//
// dispatch: ceil(m / TILE_M) · ceil(n / TILE_N) · batches · slices groups, folded past 65535
// cost:     2·m·n·k operations; a is read n / TILE_N times, b m / TILE_M times
// source:   Markidis et al. 2018, "NVIDIA Tensor Core Programmability, Performance & Precision", and CUTLASS's warp tiles
// twin:     crates/device/tests/matmul.rs (f64)

enable f16;
enable wgpu_cooperative_matrix;

alias EA = f16;                    // one load of a: f32 | f16 | vec4 of them
alias EA4 = vec4<f16>;             // four elements of a
alias EB = f16;
alias EB4 = vec4<f16>;
alias F = f32;                    // what store takes: f32 | vec4<f32>
alias FragA = coop_mat8x8<f16, A>;
alias FragB = coop_mat8x8<f16, B>;
alias FragC = coop_mat8x8<f32, C>;
const A_WIDTH: u32 = 1u;          // elements in a load; 4 needs strides and offset in multiples of 4
const B_WIDTH: u32 = 1u;
const A_DOWN: bool = false;       // a's fours lie along m (a transposed operand), not along k
const B_DOWN: bool = true;        // b's fours lie along k, not along n
const WIDTH: u32 = 1u;            // elements of F
const SIZE: u32 = 8u;             // of a fragment: 8 | 16
const SM: u32 = 2u;               // subgroups along m
const SN: u32 = 2u;
const FM: u32 = 2u;               // fragments of a subgroup along m: 1 | 2 | 4
const FN: u32 = 2u;
const TILE_K: u32 = 32u;
const WG: u32 = 32u;              // SM · SN subgroups
const BAND: u32 = 8u;
const TILE_M: u32 = SM * FM * SIZE;
const TILE_N: u32 = SN * FN * SIZE;
const A_LINE: u32 = select(TILE_K, TILE_M, A_DOWN) + 8u;
const B_LINE: u32 = select(TILE_N, TILE_K, B_DOWN) + 8u;
const A_LINES: u32 = select(TILE_M, TILE_K, A_DOWN);
const B_LINES: u32 = select(TILE_K, TILE_N, B_DOWN);
const A_FOURS: u32 = (A_LINE - 8u) / 4u;
const B_FOURS: u32 = (B_LINE - 8u) / 4u;
const A_LOADS: u32 = (A_LINES * A_FOURS + WG - 1u) / WG;         // fours that one invocation brings in a step
const B_LOADS: u32 = (B_LINES * B_FOURS + WG - 1u) / WG;

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

var<workgroup> ta: array<f16, A_LINE * A_LINES>;
var<workgroup> tb: array<f16, B_LINE * B_LINES>;
var<workgroup> corner: array<f32, SM * SN * SIZE * SIZE>;

fn a_one(i: u32) -> f16 { return vec4<f16>(EA4(a[i / A_WIDTH]))[i % A_WIDTH]; }
fn b_one(i: u32) -> f16 { return vec4<f16>(EB4(b[i / B_WIDTH]))[i % B_WIDTH]; }

// Four elements from [row, k] on, along k or down along m; past the edge and past `end`, from its last.
fn a_four(start: u32, row: u32, k: u32, end: u32) -> vec4<f16> {
    let four = vec4(0u, 1u, 2u, 3u);
    let ks = select(vec4(k) + four, vec4(k), vec4(A_DOWN));
    let rows = select(vec4(row), vec4(row) + four, vec4(A_DOWN));
    let i = vec4(start) + min(rows, vec4(sizes.m - 1u)) * sizes.a_row + min(ks, vec4(end - 1u)) * sizes.a_col;
    var v: vec4<f16>;
    if A_WIDTH == 4u { v = vec4<f16>(EA4(a[i.x / A_WIDTH])); }
    else { v = vec4(a_one(i.x), a_one(i.y), a_one(i.z), a_one(i.w)); }
    return v;
}
fn b_four(start: u32, k: u32, col: u32, end: u32) -> vec4<f16> {
    let four = vec4(0u, 1u, 2u, 3u);
    let ks = select(vec4(k), vec4(k) + four, vec4(B_DOWN));
    let cols = select(vec4(col) + four, vec4(col), vec4(B_DOWN));
    let i = vec4(start) + min(ks, vec4(end - 1u)) * sizes.b_row + min(cols, vec4(sizes.n - 1u)) * sizes.b_col;
    var v: vec4<f16>;
    if B_WIDTH == 4u { v = vec4<f16>(EB4(b[i.x / B_WIDTH])); }
    else { v = vec4(b_one(i.x), b_one(i.y), b_one(i.z), b_one(i.w)); }
    return v;
}

// An invocation's share of the step at k: neighbours follow the contiguous axis.
fn fetch_a(next: ptr<function, array<vec4<f16>, A_LOADS>>, index: u32, start: u32, top: u32, k: u32, end: u32) {
    for (var l = 0u; l < A_LOADS; l++) {
        let i = index + l * WG;
        let at = select(vec2(i / A_FOURS, i % A_FOURS * 4u), vec2(i % A_FOURS * 4u, i / A_FOURS), vec2(A_DOWN));
        (*next)[l] = a_four(start, top + at.x, k + at.y, end);
    }
}
fn fetch_b(next: ptr<function, array<vec4<f16>, B_LOADS>>, index: u32, start: u32, k: u32, left: u32, end: u32) {
    for (var l = 0u; l < B_LOADS; l++) {
        let i = index + l * WG;
        let at = select(vec2(i / B_FOURS, i % B_FOURS * 4u), vec2(i % B_FOURS * 4u, i / B_FOURS), vec2(B_DOWN));
        (*next)[l] = b_four(start, k + at.x, left + at.y, end);
    }
}

// Four finished elements.
fn finished(v: vec4<f32>, own: Own_, row: u32, col: u32) {
    if row < sizes.m { emit(v, own.part, row, col); }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let across = (sizes.n + TILE_N - 1u) / TILE_N;
    let down = (sizes.m + TILE_M - 1u) / TILE_M;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / across / down;           // slice of k, then batch
    if part >= sizes.slices * sizes.batches { return; }         // the whole workgroup
    let tile = group % (across * down);
    let first = tile / (BAND * across) * BAND;
    let band = min(BAND, down - first);
    let top = (first + tile % (BAND * across) % band) * TILE_M;
    let left = tile % (BAND * across) / band * TILE_N;
    let slice = part / sizes.batches;
    let batch = part % sizes.batches;
    let outer = batch / sizes.batch_inner;
    let inner = batch % sizes.batch_inner;
    let a_start = sizes.a_offset + outer * sizes.a_outer + inner * sizes.a_inner;
    let b_start = sizes.b_offset + outer * sizes.b_outer + inner * sizes.b_inner;
    let length = ((sizes.k + sizes.slices - 1u) / sizes.slices + SIZE - 1u) / SIZE * SIZE;
    let end = min(sizes.k, (slice + 1u) * length);
    let own = Own_(subgroup, lane, lanes, part, 0u);
    // This subgroup's part of the tile. Where subgroups are smaller than expected, those that are too many do what another one
    // does, and do not store: cooperative operations must be reached by all.
    let own_row = subgroup / SN % SM * FM * SIZE;
    let own_col = subgroup % SN * FN * SIZE;
    let row = top + own_row;
    let col = left + own_col;

    let zero = zero_(index);
    var c00 = zero; var c01 = zero; var c02 = zero; var c03 = zero;
    var c10 = zero; var c11 = zero; var c12 = zero; var c13 = zero;
    var c20 = zero; var c21 = zero; var c22 = zero; var c23 = zero;
    var c30 = zero; var c31 = zero; var c32 = zero; var c33 = zero;

    var next_a: array<vec4<f16>, A_LOADS>;
    var next_b: array<vec4<f16>, B_LOADS>;
    fetch_a(&next_a, index, a_start, top, slice * length, end);
    fetch_b(&next_b, index, b_start, slice * length, left, end);
    for (var k = slice * length; k < end; k += TILE_K) {
        workgroupBarrier();
        lay_a_(&next_a, index);
        lay_b_(&next_b, index);
        workgroupBarrier();
        if k + TILE_K > end {
            blank_a_(end - k, index);
            blank_b_(end - k, index);
            workgroupBarrier();
        }
        if k + TILE_K < end {
            fetch_a(&next_a, index, a_start, top, k + TILE_K, end);
            fetch_b(&next_b, index, b_start, k + TILE_K, left, end);
        }
        for (var kk = 0u; kk < TILE_K; kk += SIZE) {
            let b0 = frag_b_(kk, own_col);
            let b1 = frag_b_(kk, own_col + min(1u, FN - 1u) * SIZE);
            let b2 = frag_b_(kk, own_col + min(2u, FN - 1u) * SIZE);
            let b3 = frag_b_(kk, own_col + (FN - 1u) * SIZE);
            let a0 = frag_a_(own_row, kk);
            c00 = coopMultiplyAdd(a0, b0, c00);
            if FN > 1u { c01 = coopMultiplyAdd(a0, b1, c01); }
            if FN > 2u { c02 = coopMultiplyAdd(a0, b2, c02); c03 = coopMultiplyAdd(a0, b3, c03); }
            if FM > 1u {
                let a1 = frag_a_(own_row + SIZE, kk);
                c10 = coopMultiplyAdd(a1, b0, c10);
                if FN > 1u { c11 = coopMultiplyAdd(a1, b1, c11); }
                if FN > 2u { c12 = coopMultiplyAdd(a1, b2, c12); c13 = coopMultiplyAdd(a1, b3, c13); }
            }
            if FM > 2u {
                let a2 = frag_a_(own_row + 2u * SIZE, kk);
                c20 = coopMultiplyAdd(a2, b0, c20); c21 = coopMultiplyAdd(a2, b1, c21);
                if FN > 2u { c22 = coopMultiplyAdd(a2, b2, c22); c23 = coopMultiplyAdd(a2, b3, c23); }
                let a3 = frag_a_(own_row + 3u * SIZE, kk);
                c30 = coopMultiplyAdd(a3, b0, c30); c31 = coopMultiplyAdd(a3, b1, c31);
                if FN > 2u { c32 = coopMultiplyAdd(a3, b2, c32); c33 = coopMultiplyAdd(a3, b3, c33); }
            }
        }
    }

    finish_(c00, c01, c02, c03, c10, c11, c12, c13, c20, c21, c22, c23, c30, c31, c32, c33, own, row, col);
}
