// map: body(i) for every i < n.                                                          x, out [n]
//
// One invocation per element, or per vector of four. The body loads, computes and stores: generated code fills it.
//
// dispatch: ceil(n / WG) workgroups, folded past 65535
// cost:     that of the body; memory bound
// twin:     crates/device/tests/math.rs (f64)

alias F = f32;                    // f32 | vec4<f32>; I, U and L have its width
alias I = i32;
alias U = u32;
alias L = bool;
const WIDTH: u32 = 1u;
const WG: u32 = 64u;

struct Sizes { n: u32 }           // n: invocations that have work
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<F>;
@group(0) @binding(1) var<storage, read_write> out: array<F>;

// slot: the work of element i, or of the elements 4 i .. 4 i + 3.
fn body(i: u32) {
    out[i] = x[i];
}

// slot: which i the invocation `at` has; sizes.n or more for none.
fn place(at: u32) -> u32 {
    return at;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = place((first_group_() + group.y * 65535u + group.x) * WG + local);
    if i < sizes.n { body(i); }
}
