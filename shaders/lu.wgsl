// lu: x = Pᵀ L U, with P a permutation of rows                      x [matrices, n, n], out [matrices, n + 2, n]
//
// One workgroup to a matrix, in place in `out`: below the diagonal stands L, whose own diagonal is 1, on and above it U.
// Row n says which row of x stands where, row n + 1 begins with the sign of that permutation. In each column the largest
// element is the pivot; every lane looks for it itself, so that nothing need be shared. A column of zeros divides nothing.
//
// dispatch: a workgroup for each matrix, folded past 65535
// cost:     2/3 n³ operations in one workgroup
// source:   Golub & Van Loan 2013, "Matrix computations", alg. 3.4.1
// twin:     crates/device/tests/linalg.rs (f64)

alias F = f32;                    // I, U, L have its width
alias I = i32;
alias U = u32;
alias L = bool;
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
    let start = at * (n + 2u) * n;
    let rows = start + n * n;                      // where the permutation stands
    for (var i = lane; i < n * n; i += WG) { out[start + i] = x[at * n * n + i]; }
    for (var i = lane; i < n; i += WG) {
        out[rows + i] = f32(i);
        out[rows + n + i] = 1.0;
    }
    storageBarrier();

    for (var k = 0u; k < n; k++) {
        var pivot = k;
        var most = -1.0;
        for (var row = k; row < n; row++) {
            let v = abs(out[start + row * n + k]);
            if isnan_(v) || v > most {
                pivot = row;
                most = v;
            }
        }
        storageBarrier();
        if pivot != k {
            for (var col = lane; col < n; col += WG) {
                let upper = out[start + k * n + col];
                out[start + k * n + col] = out[start + pivot * n + col];
                out[start + pivot * n + col] = upper;
            }
            if lane == 0u {
                let row = out[rows + k];
                out[rows + k] = out[rows + pivot];
                out[rows + pivot] = row;
                out[rows + n] = -out[rows + n];
            }
        }
        storageBarrier();
        let top = out[start + k * n + k];
        for (var row = k + 1u + lane; row < n; row += WG) {
            let own = start + row * n;
            var share = 0.0;
            if !(top == 0.0) { share = out[own + k] / top; }     // NaN too: `!=` is false of it on some drivers
            for (var col = k + 1u; col < n; col++) { out[own + col] -= share * out[start + k * n + col]; }
            out[own + k] = share;
        }
        storageBarrier();
    }
}
