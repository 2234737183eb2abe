// matmul_subgroup: out[p, i, j] = Σ_k a[p, i, k] · b[p, k, j]      a [batches, m, k], b [batches, k, n], out [batches, m, n]
//
// For CPU adapters, where barriers and gathers are dear. A workgroup is one subgroup of 8 lanes and owns ROWS rows and 32 columns:
// each lane owns four columns. In each step of four k a lane loads one 4x4 block of b and, for its PER rows, four values of a each;
// a subgroup broadcast hands every lane all rows of a. No shared memory, no barrier. Finished rows leave
// from the front and the others move up, eight by eight and one by one: an index that is not known would keep them out of
// registers, or have the driver choose between all of them wherever a row is used, which takes it longer to compile than the rest.
//
// dispatch: ceil(m / ROWS) · ceil(n / 32) · batches · slices groups, folded past 65535
// cost:     2·m·n·k operations; a is read n / 32 times, b m / ROWS times
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
const PER: u32 = 4u;              // rows that a lane loads: 4; or 1 or 3, but not with A_DOWN
const ROWS: u32 = 8u * PER;

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

// Four elements from i on, k + ahead apart.
fn a_four(i: u32, s: vec3<u32>) -> vec4<f32> {
    if A_WIDTH == 4u { return vec4<f32>(EA4(a[i / 4u])); }
    return vec4(a_one_(i), a_one_(i + s.x), a_one_(i + s.y), a_one_(i + s.z));
}
fn b_four(i: u32, s: vec3<u32>) -> vec4<f32> {
    if B_WIDTH == 4u { return vec4<f32>(EB4(b[i / 4u])); }
    return vec4(b_one_(i), b_one_(i + s.x), b_one_(i + s.y), b_one_(i + s.z));
}

// Where four rows of a and four columns of b start. Past the edge they are clamped: what they bring is never stored.
fn a_starts(row: u32) -> vec4<u32> {
    if A_DOWN { return vec4(min(row, (sizes.m - 1u) / 4u * 4u)) * sizes.a_row; }
    return min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(sizes.m - 1u)) * sizes.a_row;
}
fn b_starts(col: u32) -> vec4<u32> {
    if B_DOWN { return min(vec4(col) + vec4(0u, 1u, 2u, 3u), vec4(sizes.n - 1u)) * sizes.b_col; }
    return vec4(min(col, (sizes.n - 1u) / 4u * 4u)) * sizes.b_col;
}

// [i]: row i, four k
fn a_block(at: vec4<u32>, s: vec3<u32>) -> mat4x4<f32> {
    if A_DOWN {
        return transpose(mat4x4(a_four(at.x, s), a_four(at.x + s.x, s), a_four(at.x + s.y, s), a_four(at.x + s.z, s)));
    }
    if PER == 1u { let v = a_four(at.x, s); return mat4x4(v, v, v, v); }
    return mat4x4(a_four(at.x, s), a_four(at.y, s), a_four(at.z, s), a_four(at.w, s));
}

// [i]: k + i, four columns
fn b_block(at: vec4<u32>, s: vec3<u32>) -> mat4x4<f32> {
    if B_DOWN { return transpose(mat4x4(b_four(at.x, s), b_four(at.y, s), b_four(at.z, s), b_four(at.w, s))); }
    return mat4x4(b_four(at.x, s), b_four(at.x + s.x, s), b_four(at.x + s.y, s), b_four(at.x + s.z, s));
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.n + 31u) / 32u;
    let down = (sizes.m + ROWS - 1u) / ROWS;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let part = group / across / down;           // slice of k, then batch
    if part >= sizes.slices * sizes.batches { return; }
    let row = group / across % down * ROWS;
    let col = group % across * 32u + lane * 4u;
    let slice = part / sizes.batches;
    let batch = part % sizes.batches;
    let outer = batch / sizes.batch_inner;
    let inner = batch % sizes.batch_inner;
    let a_at = a_starts(row + PER * lane) + vec4(sizes.a_offset + outer * sizes.a_outer + inner * sizes.a_inner);
    let b_at = b_starts(col) + vec4(sizes.b_offset + outer * sizes.b_outer + inner * sizes.b_inner);
    let length = ((sizes.k + sizes.slices - 1u) / sizes.slices + 3u) / 4u * 4u;
    let end = min(sizes.k, (slice + 1u) * length);

    var acc: array<vec4<f32>, ROWS>;
    for (var k = slice * length; k < end; k += 4u) {
        let ahead = min(vec3(1u, 2u, 3u), vec3(end - 1u - k));      // the last step may be short
        let real = vec4(0u, 1u, 2u, 3u) < vec4(end - k);
        var x = a_block(a_at + vec4(k * sizes.a_col), ahead * sizes.a_col);
        let z = b_block(b_at + vec4(k * sizes.b_row), ahead * sizes.b_row);
        let y = mat4x4(z[0], select(vec4(0.0), z[1], real.y), select(vec4(0.0), z[2], real.z), select(vec4(0.0), z[3], real.w));
        for (var i = 0u; i < 4u; i++) {
            if i < PER {
                let xi = select(vec4(0.0), x[i], real);
                spread_(&acc, i, xi, y);
            }
        }
    }

    let rows = min(ROWS, sizes.m - row);
    for (var done = 0u; done < rows; done += 8u) {
        var eight = take_eight_(&acc);
        for (var i = 0u; i < min(8u, rows - done); i++) { emit(take_one_(&eight), part, row + done + i, col); }
    }
}
