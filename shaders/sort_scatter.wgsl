// sort_scatter: the item of [r, j] goes to the place that the scanned counts give its digit and block    [rows, cols]
//
// Last part of a pass of the radix sort (sort_count.wgsl). Each invocation walks its block in order, so equal digits
// keep theirs. The last pass writes values and indices.
//
// dispatch: ceil(rows * blocks / WG) workgroups, folded past 65535
// cost:     one read and one scattered write of the items
// source:   as sort_count.wgsl
// twin:     crates/device/tests/sort.rs

alias F = f32;                    // I, U, L have its width
alias I = i32;
alias U = u32;
alias L = bool;
alias Acc = f32;                  // f32 | i32 | u32
const WG: u32 = 64u;

struct Sizes { rows: u32, cols: u32, blocks: u32, block: u32, shift: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<Acc>;
@group(0) @binding(1) var<storage, read> items: array<vec2<u32>>;          // (key, index) from the pass before
@group(0) @binding(2) var<storage, read> ends: array<u32>;                 // counts, scanned along a row
@group(0) @binding(3) var<storage, read_write> moved: array<vec2<u32>>;    // items for the pass after
@group(0) @binding(4) var<storage, read_write> out: array<Acc>;
@group(0) @binding(5) var<storage, read_write> indices: array<i32>;

// slot: the element [row, col].
fn load(row: u32, col: u32) -> Acc {
    return x[row * sizes.cols + col];
}

// slot: the sorted element [row, col], and where in the row it was.
fn store(v: Acc, index: i32, row: u32, col: u32) {
    out[row * sizes.cols + col] = v;
    indices[row * sizes.cols + col] = index;
}

// slot: ascending order; the complement for descending.
fn key(v: Acc) -> u32 {
    return order_f32_(v);
}

// slot: key and index at [row, col]; in the first pass (key(load(row, col)), col).
fn item(row: u32, col: u32) -> vec2<u32> {
    return items[row * sizes.cols + col];
}

// slot: where an item goes; in the last pass to `store`.
fn place(v: vec2<u32>, row: u32, col: u32) {
    moved[row * sizes.cols + col] = v;
}

// Places of each invocation: in private memory an array with a variable index would be far away on GPUs.
var<workgroup> next: array<u32, 16u * WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = (first_group_() + group.y * 65535u + group.x) * WG + local;
    let row = at / sizes.blocks;
    if row >= sizes.rows { return; }
    let block = at - row * sizes.blocks;
    let start = block * sizes.block;

    for (var d = 0u; d < 16u; d++) {
        let i = d * sizes.blocks + block;
        next[d * WG + local] = 0u;
        if i > 0u { next[d * WG + local] = ends[row * 16u * sizes.blocks + i - 1u]; }
    }
    for (var c = start; c < min(start + sizes.block, sizes.cols); c++) {
        let v = item(row, c);
        let d = ((v.x >> sizes.shift) & 15u) * WG + local;
        place(v, row, next[d]);
        next[d] += 1u;
    }
}
