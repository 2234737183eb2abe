// segment_sum: out[r, c] = Σ over j with sorted[j] = r of src[perm[j], c]     src [n, cols], sorted, perm [n], out [rows, cols]
//
// Scatter-add without atomics: keys and their permutation come from a stable sort, so the order of the sum is fixed.
// One invocation finds the start of its segment by bisection and walks to the end of that slice of the sorted range;
// from there on it adds what segment_heads.wgsl found for whole slices, so that no segment is too long for one loop.
//
// dispatch: ceil(rows * cols / WIDTH / WG) workgroups, folded past 65535
// cost:     one read of src, one write of out, log2(n) reads of sorted an invocation
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
@group(0) @binding(3) var<storage, read> heads: array<V>;
@group(0) @binding(4) var<storage, read_write> out: array<V>;

// slot: WIDTH elements of src from [row, col].
fn load(row: u32, col: u32) -> V {
    return src[(row * sizes.cols + col) / WIDTH];
}

// slot: WIDTH finished elements from [row, col].
fn store(v: V, row: u32, col: u32) {
    out[(row * sizes.cols + col) / WIDTH] = v;
}

// slot: what a slice adds to its first segment.
fn head(slice: u32, col: u32) -> V {
    return heads[(slice * sizes.cols + col) / WIDTH];
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (first_group_() + group.y * 65535u + group.x) * WG + local;
    let across = sizes.cols / WIDTH;
    let row = i / across;
    if row >= sizes.rows { return; }
    let col = (i - row * across) * WIDTH;
    let key = Key(row);

    var first = 0u;                            // bisection: the first j with sorted[j] >= key
    var end = sizes.n;
    while first < end {
        let middle = (first + end) / 2u;
        if sorted[middle] < key { first = middle + 1u; } else { end = middle; }
    }
    var slice = first / sizes.slice + 1u;      // the next slice
    var acc = V();
    for (var j = first; j < min(slice * sizes.slice, sizes.n); j++) {
        if sorted[j] != key { break; }
        acc += load(u32(perm[j]), col);
    }
    for (; slice * sizes.slice < sizes.n; slice++) {
        if sorted[slice * sizes.slice] != key { break; }
        acc += head(slice, col);
    }
    store(acc, row, col);
}
