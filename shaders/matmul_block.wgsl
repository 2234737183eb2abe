// matmul_block: out[p, i, j] = Σ_k a[p, i, k] · b[p, k, j]      a [batches, m, k], b [batches, k, n], out [batches, m, n]
//
// For CPU adapters without subgroups, and the plain variant that others are judged by. An invocation owns a block of 8x8 in registers
// and reads a and b as 4x4 blocks straight from storage: no shared memory, no barrier, no exchange between invocations. Neighbours
// share their rows of a.
//
// dispatch: ceil(m / 8) · ceil(n / 64) · batches · slices groups of 8 invocations, folded past 65535
// cost:     2·m·n·k operations; a is read n / 8 times, b m / 8 times
// source:   register blocking as in Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"
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

fn add(acc: mat4x4<f32>, x: mat4x4<f32>, y: mat4x4<f32>) -> mat4x4<f32> {
    var sum = acc;                              // [r]: row r, four columns
    for (var i = 0u; i < 4u; i++) {
        sum[0] = fma(vec4(x[i].x), y[i], sum[0]);
        sum[1] = fma(vec4(x[i].y), y[i], sum[1]);
        sum[2] = fma(vec4(x[i].z), y[i], sum[2]);
        sum[3] = fma(vec4(x[i].w), y[i], sum[3]);
    }
    return sum;
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.n + 63u) / 64u;
    let down = (sizes.m + 7u) / 8u;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / across / down;           // slice of k, then batch
    let row = group / across % down * 8u;
    let col = group % across * 64u + lane * 8u;
    if part >= sizes.slices * sizes.batches || col >= sizes.n { return; }
    let slice = part / sizes.batches;
    let batch = part % sizes.batches;
    let outer = batch / sizes.batch_inner;
    let inner = batch % sizes.batch_inner;
    let a_start = sizes.a_offset + outer * sizes.a_outer + inner * sizes.a_inner;
    let b_start = sizes.b_offset + outer * sizes.b_outer + inner * sizes.b_inner;
    let length = ((sizes.k + sizes.slices - 1u) / sizes.slices + 3u) / 4u * 4u;
    let end = min(sizes.k, (slice + 1u) * length);

    var s00 = mat4x4<f32>();
    var s01 = mat4x4<f32>();
    var s10 = mat4x4<f32>();
    var s11 = mat4x4<f32>();
    for (var k = slice * length; k < end; k += 4u) {
        var x0 = a_block_(a_start, row, k, end);
        var x1 = a_block_(a_start, row + 4u, k, end);
        var y0 = b_block_(b_start, k, col, end);
        var y1 = b_block_(b_start, k, col + 4u, end);
        for (var i = 1u; i < 4u; i++) {         // the last step may be short
            let real = k + i < end;
            x0[i] = select(vec4(0.0), x0[i], real);
            x1[i] = select(vec4(0.0), x1[i], real);
            y0[i] = select(vec4(0.0), y0[i], real);
            y1[i] = select(vec4(0.0), y1[i], real);
        }
        s00 = add(s00, x0, y0);
        s01 = add(s01, x0, y1);
        s10 = add(s10, x1, y0);
        s11 = add(s11, x1, y1);
    }

    // Four columns at a time, by way of a small array whose first row is handed out and whose others move up: an index that is not
    // known would cost a driver a choice between all rows.
    let rows = min(8u, sizes.m - row);
    for (var done = 0u; done < min(8u, sizes.n - col); done += 4u) {
        var eight = array(s00[0], s00[1], s00[2], s00[3], s10[0], s10[1], s10[2], s10[3]);
        s00 = s01;
        s10 = s11;
        for (var i = 0u; i < rows; i++) { emit(take_one_(&eight), part, row + i, col + done); }
    }
}
