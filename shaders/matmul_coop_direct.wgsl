// matmul_coop_direct: out[p, i, j] = Σ_k a[p, i, k] · b[p, k, j]      a [batches, m, k], b [batches, k, n], out [batches, m, n]
//
// For GPUs with matrix units: f16 operands, f32 sums. As matmul_coop, but fragments are loaded straight from storage: m, n and k are
// multiples of SIZE, offsets and strides of 8 elements, and each operand is contiguous along one of its axes. Nothing is staged and
// no barrier stands in the loop; the caches do what workgroup memory does there. Fragments past the edge of m or n are loaded from
// the last one and never stored.
//
// dispatch: ceil(m / TILE_M) · ceil(n / TILE_N) · batches · slices groups, folded past 65535
// cost:     2·m·n·k operations; a is read n / (FN · SIZE) times, b m / (FM · SIZE) times, mostly from caches
// source:   Markidis et al. 2018, "NVIDIA Tensor Core Programmability, Performance & Precision"
// twin:     crates/device/tests/matmul.rs (f64)

enable f16;
enable wgpu_cooperative_matrix;

alias EA = f16;
alias EB = f16;
alias F = f32;                    // what store takes: f32 | vec4<f32>
alias FragA = coop_mat8x8<f16, A>;
alias FragB = coop_mat8x8<f16, B>;
alias FragC = coop_mat8x8<f32, C>;
const A_DOWN: bool = false;       // a is contiguous along m (a transposed operand), not along k
const B_DOWN: bool = true;        // b is contiguous along k, not along n
const WIDTH: u32 = 1u;            // elements of F
const SIZE: u32 = 8u;             // of a fragment: 8 | 16
const SM: u32 = 2u;               // subgroups along m
const SN: u32 = 2u;
const FM: u32 = 2u;               // fragments of a subgroup along m: 1 | 2 | 4
const FN: u32 = 2u;
const WG: u32 = 32u;              // SM · SN subgroups
const BAND: u32 = 8u;
const TILE_M: u32 = SM * FM * SIZE;
const TILE_N: u32 = SN * FN * SIZE;

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

var<workgroup> corner: array<f32, SM * SN * SIZE * SIZE>;

fn frag_a(start: u32, row: u32, k: u32) -> FragA {
    let i = start + min(row, sizes.m - SIZE) * sizes.a_row + k * sizes.a_col;
    if A_DOWN { let line = sizes.a_col; return coopLoad<FragA>(&a[i], line); }
    let line = sizes.a_row;
    return coopLoadT<FragA>(&a[i], line);
}
fn frag_b(start: u32, k: u32, col: u32) -> FragB {
    let i = start + k * sizes.b_row + min(col, sizes.n - SIZE) * sizes.b_col;
    if B_DOWN { let line = sizes.b_col; return coopLoad<FragB>(&b[i], line); }
    let line = sizes.b_row;
    return coopLoadT<FragB>(&b[i], line);
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

    for (var k = slice * length; k < end; k += SIZE) {
        let b0 = frag_b(b_start, k, col);
        let b1 = frag_b(b_start, k, col + min(1u, FN - 1u) * SIZE);
        let b2 = frag_b(b_start, k, col + min(2u, FN - 1u) * SIZE);
        let b3 = frag_b(b_start, k, col + (FN - 1u) * SIZE);
        let a0 = frag_a(a_start, row, k);
        c00 = coopMultiplyAdd(a0, b0, c00);
        if FN > 1u { c01 = coopMultiplyAdd(a0, b1, c01); }
        if FN > 2u { c02 = coopMultiplyAdd(a0, b2, c02); c03 = coopMultiplyAdd(a0, b3, c03); }
        if FM > 1u {
            let a1 = frag_a(a_start, row + SIZE, k);
            c10 = coopMultiplyAdd(a1, b0, c10);
            if FN > 1u { c11 = coopMultiplyAdd(a1, b1, c11); }
            if FN > 2u { c12 = coopMultiplyAdd(a1, b2, c12); c13 = coopMultiplyAdd(a1, b3, c13); }
        }
        if FM > 2u {
            let a2 = frag_a(a_start, row + 2u * SIZE, k);
            c20 = coopMultiplyAdd(a2, b0, c20); c21 = coopMultiplyAdd(a2, b1, c21);
            if FN > 2u { c22 = coopMultiplyAdd(a2, b2, c22); c23 = coopMultiplyAdd(a2, b3, c23); }
            let a3 = frag_a(a_start, row + 3u * SIZE, k);
            c30 = coopMultiplyAdd(a3, b0, c30); c31 = coopMultiplyAdd(a3, b1, c31);
            if FN > 2u { c32 = coopMultiplyAdd(a3, b2, c32); c33 = coopMultiplyAdd(a3, b3, c33); }
        }
    }

    finish_(c00, c01, c02, c03, c10, c11, c12, c13, c20, c21, c22, c23, c30, c31, c32, c33, own, row, col);
}
