// sort_small: values[r, rank] = x[r, c], indices[r, rank] = c, rank = #{j : x[r, j] before x[r, c]}     [rows, cols]
//
// One invocation per element counts those that go before it: smaller keys, and equal ones further left (stable). Quadratic,
// in one launch: for short rows. NaN goes last ascending and first descending, as in PyTorch.
//
// dispatch: ceil(rows * cols / WG) workgroups, folded past 65535
// cost:     cols reads an element, from cache
// twin:     crates/device/tests/sort.rs

alias F = f32;                    // I, U, L have its width
alias I = i32;
alias U = u32;
alias L = bool;
alias Acc = f32;                  // f32 | i32 | u32
const WG: u32 = 64u;

struct Sizes { rows: u32, cols: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<Acc>;
@group(0) @binding(1) var<storage, read_write> out: array<Acc>;
@group(0) @binding(2) var<storage, read_write> indices: array<i32>;

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

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (first_group_() + group.y * 65535u + group.x) * WG + local;
    let row = i / sizes.cols;
    if row >= sizes.rows { return; }
    let col = i - row * sizes.cols;
    let v = load(row, col);
    let mine = key(v);
    var rank = 0u;
    for (var j = 0u; j < sizes.cols; j++) {
        let other = key(load(row, j));
        rank += select(0u, 1u, other < mine || (other == mine && j < col));
    }
    store(v, i32(col), row, rank);
}
