// segment_heads: heads[s, c] = Σ over j in slice s, sorted[j] = sorted[first of s], of src[perm[j], c]   heads [slices, cols]
//
// First part of segment_sum for long inputs: what a slice of the sorted range adds to the segment that it begins with.
//
// dispatch: ceil(slices * cols / WIDTH / WG) workgroups, folded past 65535
// cost:     at most one read of src
// twin:     crates/device/tests/segment.rs (f64)

alias F = f32;                    // f32 | vec4<f32>; I, U and L have its width
alias I = i32;
alias U = u32;
alias L = bool;
alias V = f32;                    // f32 | i32 | u32, or four of them: what is summed
alias Key = i32;                  // i32 | u32
const WIDTH: u32 = 1u;
const WG: u32 = 64u;

struct Sizes { n: u32, rows: u32, cols: u32, slice: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> src: array<V>;
@group(0) @binding(1) var<storage, read> sorted: array<Key>;
@group(0) @binding(2) var<storage, read> perm: array<i32>;
@group(0) @binding(3) var<storage, read_write> heads: array<V>;

// slot: WIDTH elements of src from [row, col].
fn load(row: u32, col: u32) -> V {
    return src[(row * sizes.cols + col) / WIDTH];
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (first_group_() + group.y * 65535u + group.x) * WG + local;
    let across = sizes.cols / WIDTH;
    let slice = i / across;
    let start = slice * sizes.slice;
    if start >= sizes.n { return; }
    let col = (i - slice * across) * WIDTH;
    let key = sorted[start];

    var acc = V();
    for (var j = start; j < min(start + sizes.slice, sizes.n); j++) {
        if sorted[j] != key { break; }
        acc += load(u32(perm[j]), col);
    }
    heads[i] = acc;
}
