// sort_count: counts[r, d, b] = #{j in block b of row r : digit(key[r, j]) = d}      counts [rows, 16, blocks]
//
// First part of a pass of a stable radix sort over 4-bit digits, least first: count, scan the counts, scatter. One
// invocation walks a block of neighbouring elements with counters of its own: no atomics, no barriers.
//
// dispatch: ceil(rows * blocks / WG) workgroups, folded past 65535
// cost:     one read of the keys
// source:   Satish, Harris & Garland 2009, "Designing efficient sorting algorithms for manycore GPUs", section 4
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
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;

// slot: the element [row, col].
fn load(row: u32, col: u32) -> Acc {
    return x[row * sizes.cols + col];
}

// slot: ascending order; the complement for descending.
fn key(v: Acc) -> u32 {
    return order_f32_(v);
}

// slot: the key at [row, col]; in the first pass key(load(row, col)).
fn item(row: u32, col: u32) -> u32 {
    return items[row * sizes.cols + col].x;
}

// Counters of each invocation: in private memory an array with a variable index would be far away on GPUs.
var<workgroup> own: array<u32, 16u * WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = (first_group_() + group.y * 65535u + group.x) * WG + local;
    let row = at / sizes.blocks;
    if row >= sizes.rows { return; }
    let block = at - row * sizes.blocks;
    let start = block * sizes.block;

    for (var d = 0u; d < 16u; d++) { own[d * WG + local] = 0u; }
    for (var c = start; c < min(start + sizes.block, sizes.cols); c++) {
        own[((item(row, c) >> sizes.shift) & 15u) * WG + local] += 1u;
    }
    for (var d = 0u; d < 16u; d++) {
        counts[(row * 16u + d) * sizes.blocks + block] = own[d * WG + local];
    }
}
