// matmul_thin: out[p, i, j] = Σ_k a[p, i, k] · b[p, k, j]      a [batches, m, k] with m <= ROWS, b [batches, k, n], out [batches, m, n]
//
// For GPUs and few rows (inference), where reading b is all the work. A workgroup owns all rows and 4·NT columns; its KT x NT
// invocations share out k, four at a time, each keeping ROWS x 4 sums, which are joined through workgroup memory at the end.
// KT is large where b is contiguous along k and NT where it is contiguous along n, so that neighbours read neighbouring vectors.
//
// dispatch: ceil(n / (4·NT)) · batches · slices groups, folded past 65535
// cost:     b is read once; memory bound
// source:   the dot product split over a workgroup, with a tree at the end
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
const ROWS: u32 = 4u;             // 1 | 4 | 8 | 12 | 16
const KT: u32 = 8u;               // invocations along k; a power of two
const NT: u32 = 8u;               // invocations along n
const WG: u32 = KT * NT;

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

var<workgroup> lanes: array<vec4<f32>, WG>;

// Four k of one row of a; past `end` zeros.
fn a_four(start: u32, row: u32, k: u32, end: u32) -> vec4<f32> {
    let ks = min(vec4(k) + vec4(0u, 1u, 2u, 3u), vec4(end - 1u)) * sizes.a_col;
    let i = start + min(row, sizes.m - 1u) * sizes.a_row;
    var v = vec4(a_one_(i + ks.x), a_one_(i + ks.y), a_one_(i + ks.z), a_one_(i + ks.w));
    if A_WIDTH == 4u && !A_DOWN { v = vec4<f32>(EA4(a[(i + ks.x) / A_WIDTH])); }
    return select(vec4(0.0), v, vec4(k) + vec4(0u, 1u, 2u, 3u) < vec4(end));
}

// A 4x4 block, [i]: k + i. Past the edge of n it brings what is never stored, past `end` zeros.
fn b_block(start: u32, k: u32, col: u32, end: u32) -> mat4x4<f32> {
    let ks = min(vec4(k) + vec4(0u, 1u, 2u, 3u), vec4(end - 1u)) * sizes.b_row;
    let cols = min(vec4(col) + vec4(0u, 1u, 2u, 3u), vec4(sizes.n - 1u)) * sizes.b_col + vec4(start);
    var v: mat4x4<f32>;
    for (var i = 0u; i < 4u; i++) {
        if B_WIDTH == 1u { v[i] = vec4(b_one_(cols.x + ks[i]), b_one_(cols.y + ks[i]), b_one_(cols.z + ks[i]), b_one_(cols.w + ks[i])); }
        else if B_DOWN { v[i] = vec4<f32>(EB4(b[(cols[i] + ks.x) / B_WIDTH])); }
        else { v[i] = vec4<f32>(EB4(b[(cols.x + ks[i]) / B_WIDTH])); }
    }
    if B_DOWN && B_WIDTH == 4u { v = transpose(v); }
    for (var i = 1u; i < 4u; i++) { v[i] = select(vec4(0.0), v[i], k + i < end); }
    return v;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.n + 4u * NT - 1u) / (4u * NT);
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / across;                  // slice of k, then batch
    if part >= sizes.slices * sizes.batches { return; }         // the whole workgroup
    // The axis that b is contiguous along runs fastest.
    let kt = select(lane / NT, lane % KT, B_DOWN);
    let nt = select(lane % NT, lane / KT, B_DOWN);
    let col = (group % across * NT + nt) * 4u;
    let slice = part / sizes.batches;
    let batch = part % sizes.batches;
    let outer = batch / sizes.batch_inner;
    let inner = batch % sizes.batch_inner;
    let a_start = sizes.a_offset + outer * sizes.a_outer + inner * sizes.a_inner;
    let b_start = sizes.b_offset + outer * sizes.b_outer + inner * sizes.b_inner;
    let length = ((sizes.k + sizes.slices - 1u) / sizes.slices + 3u) / 4u * 4u;
    let end = min(sizes.k, (slice + 1u) * length);

    var acc: array<vec4<f32>, ROWS>;
    for (var k = slice * length + 4u * kt; k < end; k += 4u * KT) {
        let y = b_block(b_start, k, col, end);
        for (var r = 0u; r < ROWS; r++) { acc[r] += y * a_four(a_start, r, k, end); }
    }

    for (var r = 0u; r < ROWS; r++) {
        workgroupBarrier();
        lanes[nt * KT + kt] = acc[0];              // not acc[r]: arrays with a variable index are not in registers
        for (var j = 1u; j < ROWS; j++) { acc[j - 1u] = acc[j]; }
        for (var half = KT / 2u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if kt < half { lanes[nt * KT + kt] += lanes[nt * KT + kt + half]; }
        }
        if kt == 0u && r < sizes.m { emit(lanes[nt * KT], part, r, col); }
    }
}
