// cholesky: x = L Lᵀ with L lower triangular                                        x, out [matrices, n, n]
//
// One workgroup to a matrix, column by column; only x's lower triangle is read, and above the diagonal there are zeros. The
// lanes share the rows below the diagonal; its own element each of them computes itself. A matrix that is not positive
// definite becomes NaN from the column on in which that shows.
//
// dispatch: a workgroup for each matrix, folded past 65535
// cost:     1/3 n³ operations in one workgroup
// source:   Golub & Van Loan 2013, "Matrix computations", alg. 4.2.1
// twin:     crates/device/tests/linalg.rs (f64)

alias F = f32;
const WG: u32 = 128u;

struct Sizes { matrices: u32, n: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = first_group_() + group.y * 65535u + group.x;
    if at >= sizes.matrices { return; }            // same for the whole workgroup
    let n = sizes.n;
    let start = at * n * n;
    for (var i = lane; i < n * n; i += WG) { out[start + i] = 0.0; }
    storageBarrier();

    for (var k = 0u; k < n; k++) {
        let top = start + k * n;
        var square = x[top + k];
        for (var j = 0u; j < k; j++) { square -= out[top + j] * out[top + j]; }
        var root = nan_();
        if square > 0.0 { root = sqrt(square); }
        if lane == 0u { out[top + k] = root; }
        for (var row = k + 1u + lane; row < n; row += WG) {
            let own = start + row * n;
            var rest = x[own + k];
            for (var j = 0u; j < k; j++) { rest -= out[own + j] * out[top + j]; }
            out[own + k] = rest / root;
        }
        storageBarrier();
    }
}
