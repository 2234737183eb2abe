// solve_triangular: a · out = b with a triangular                  a [matrices, n, n], b, out [matrices, n, columns]
//
// One invocation to a column, from the row that has one unknown to the row that has all. Of `a` only its triangle is read.
//
// dispatch: ceil(matrices * columns / WG) workgroups, folded past 65535
// cost:     n² operations a column; a is read once for each
// source:   Golub & Van Loan 2013, "Matrix computations", §3.1
// twin:     crates/device/tests/linalg.rs (f64)

const WG: u32 = 64u;
const UPPER: bool = false;        // the triangle above the diagonal
const UNIT: bool = false;         // the diagonal is 1, and not read

struct Sizes { matrices: u32, n: u32, columns: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = (first_group_() + group.y * 65535u + group.x) * WG + local;
    if at >= sizes.matrices * sizes.columns { return; }
    let n = sizes.n;
    let matrix = at / sizes.columns;
    let first = matrix * n * sizes.columns + (at - matrix * sizes.columns);
    for (var step = 0u; step < n; step++) {
        let row = select(step, n - 1u - step, UPPER);
        var v = b[first + row * sizes.columns];
        for (var done = 0u; done < step; done++) {
            let col = select(done, n - 1u - done, UPPER);
            v -= a[(matrix * n + row) * n + col] * out[first + col * sizes.columns];
        }
        if !UNIT { v /= a[(matrix * n + row) * n + row]; }
        out[first + row * sizes.columns] = v;
    }
}
