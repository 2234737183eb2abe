// matmul_narrow: out[p, i, j] = Σ_k a[p, i, k] · b[p, k, j]      a [batches, m, k], b [batches, k, n] with n <= 4·COLS, out [batches, m, n]
//
// For GPUs and few columns (a matrix times a vector, the last layer), where reading a is all the work. matmul_thin the other way
// round: a workgroup owns all columns and 4·MT rows; its KT x MT invocations share out k, four at a time, each keeping 4 x 4·COLS
// sums, which are joined through workgroup memory at the end. KT is large where a is contiguous along k and MT where it is
// contiguous along m, so that neighbours read neighbouring vectors.
//
// dispatch: ceil(m / (4·MT)) · batches · slices groups, folded past 65535
// cost:     a is read once; memory bound
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
const COLS: u32 = 1u;             // fours of columns: 1 to 4
const KT: u32 = 8u;               // invocations along k; a power of two
const MT: u32 = 8u;               // invocations along m
const WG: u32 = KT * MT;

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

// A 4x4 block, [i]: k + i, four rows. Past the edge of m it brings what is never stored, past `end` zeros.
fn a_block(start: u32, row: u32, k: u32, end: u32) -> mat4x4<f32> {
    let ks = min(vec4(k) + vec4(0u, 1u, 2u, 3u), vec4(end - 1u)) * sizes.a_col;
    let rows = min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(sizes.m - 1u)) * sizes.a_row + vec4(start);
    var v: mat4x4<f32>;
    for (var i = 0u; i < 4u; i++) {
        if A_WIDTH == 1u { v[i] = vec4(a_one_(rows.x + ks[i]), a_one_(rows.y + ks[i]), a_one_(rows.z + ks[i]), a_one_(rows.w + ks[i])); }
        else if A_DOWN { v[i] = vec4<f32>(EA4(a[(rows.x + ks[i]) / A_WIDTH])); }
        else { v[i] = vec4<f32>(EA4(a[(rows[i] + ks.x) / A_WIDTH])); }
    }
    if !A_DOWN && A_WIDTH == 4u { v = transpose(v); }
    for (var i = 1u; i < 4u; i++) { v[i] = select(vec4(0.0), v[i], k + i < end); }
    return v;
}

// Four columns of one k; past `end` zeros.
fn b_four(start: u32, k: u32, col: u32, end: u32) -> vec4<f32> {
    let cols = min(vec4(col) + vec4(0u, 1u, 2u, 3u), vec4(sizes.n - 1u)) * sizes.b_col;
    let i = start + min(k, end - 1u) * sizes.b_row;
    var v = vec4(b_one_(i + cols.x), b_one_(i + cols.y), b_one_(i + cols.z), b_one_(i + cols.w));
    if B_WIDTH == 4u && !B_DOWN { v = vec4<f32>(EB4(b[(i + cols.x) / B_WIDTH])); }
    return select(vec4(0.0), v, k < end);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let down = (sizes.m + 4u * MT - 1u) / (4u * MT);
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / down;                    // slice of k, then batch
    if part >= sizes.slices * sizes.batches { return; }         // the whole workgroup
    // The axis that a is contiguous along runs fastest.
    let kt = select(lane % KT, lane / MT, A_DOWN);
    let mt = select(lane / KT, lane % MT, A_DOWN);
    let row = (group % down * MT + mt) * 4u;
    let slice = part / sizes.batches;
    let batch = part % sizes.batches;
    let outer = batch / sizes.batch_inner;
    let inner = batch % sizes.batch_inner;
    let a_start = sizes.a_offset + outer * sizes.a_outer + inner * sizes.a_inner;
    let b_start = sizes.b_offset + outer * sizes.b_outer + inner * sizes.b_inner;
    let length = ((sizes.k + sizes.slices - 1u) / sizes.slices + 3u) / 4u * 4u;
    let end = min(sizes.k, (slice + 1u) * length);

    var acc: array<vec4<f32>, 4u * COLS>;       // row by row
    for (var k = slice * length + 4u * kt; k < end; k += 4u * KT) {
        let x = a_block(a_start, row, k, end);
        for (var c = 0u; c < COLS; c++) {
            for (var i = 0u; i < 4u; i++) {
                let y = b_four(b_start, k + i, 4u * c, end);
                acc[c] += x[i].x * y;
                acc[COLS + c] += x[i].y * y;
                acc[2u * COLS + c] += x[i].z * y;
                acc[3u * COLS + c] += x[i].w * y;
            }
        }
    }

    for (var i = 0u; i < 4u * COLS; i++) {
        workgroupBarrier();
        lanes[mt * KT + kt] = acc[0];              // not acc[i]: arrays with a variable index are not in registers
        for (var j = 1u; j < 4u * COLS; j++) { acc[j - 1u] = acc[j]; }
        for (var half = KT / 2u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if kt < half { lanes[mt * KT + kt] += lanes[mt * KT + kt + half]; }
        }
        if kt == 0u && row + i / COLS < sizes.m { emit(lanes[mt * KT], part, row + i / COLS, 4u * (i % COLS)); }
    }
}
