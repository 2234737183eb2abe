// scan: out[r, c] = join over j <= c of x[r, j]                                    x, out [rows, cols]
//
// One invocation walks a block of neighbouring elements, starting from what came before the block: the scanned totals
// of the blocks (reduce_rows.wgsl, then this kernel on its result). WGSL promises no progress between workgroups, so
// the phases are launches of their own.
//
// dispatch: ceil(rows * blocks / WG) workgroups, folded past 65535
// cost:     one read and one write, and one read more for the totals; memory bound
// twin:     crates/device/tests/scan.rs (f64)

alias F = f32;                    // I, U, L have its width
alias I = i32;
alias U = u32;
alias L = bool;
alias Acc = f32;                  // f32 | i32 | u32
alias V = f32;                    // Acc
const WG: u32 = 64u;

struct Sizes { rows: u32, cols: u32, blocks: u32, block: u32 }    // blocks to a row, elements to a block
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<Acc>;
@group(0) @binding(1) var<storage, read_write> out: array<Acc>;
@group(0) @binding(2) var<storage, read> totals: array<Acc>;

// slot: the element [row, col].
fn load(row: u32, col: u32) -> Acc {
    return x[row * sizes.cols + col];
}

// slot: the finished element [row, col].
fn store(v: Acc, row: u32, col: u32) {
    out[row * sizes.cols + col] = v;
}

// slot: join(identity(), v) = v.
fn identity() -> V {
    return V(0.0);
}

// slot: the operation: a + b, a * b, max or min.
fn join(a: V, b: V) -> V {
    return a + b;
}

// slot: all that precedes block `at` > 0 of a row; `at` counts all blocks.
fn before(at: u32) -> Acc {
    return totals[at - 1u];
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = (first_group_() + group.y * 65535u + group.x) * WG + local;
    let row = at / sizes.blocks;
    if row >= sizes.rows { return; }
    let block = at - row * sizes.blocks;
    let start = block * sizes.block;

    var acc = identity();
    if block > 0u { acc = before(at); }
    for (var c = start; c < min(start + sizes.block, sizes.cols); c++) {
        acc = join(acc, load(row, c));
        store(acc, row, c);
    }
}
