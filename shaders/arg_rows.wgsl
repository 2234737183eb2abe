// arg_rows: out[r] = the first c where x[r, c] is greatest (or least)              x [rows, cols], out [rows] of i32
//
// Elements are compared by their ordered key (lib/order.wgsl), so that one kernel serves all dtypes: NaN has the
// greatest key and the first NaN wins, as in PyTorch. Lanes keep their best (key, index); the tree takes the greater
// key, and of equal keys the lower index.
// CPU adapters: LANES is the subgroup's size, joined without barriers. Short rows: LANES = 1, ROWS to a workgroup.
//
// dispatch: ceil(rows / ROWS) workgroups, folded past 65535
// cost:     one read of x; memory bound
// twin:     crates/device/tests/reduce.rs

alias F = f32;                    // I, U, L have its width
alias I = i32;
alias U = u32;
alias L = bool;
alias Acc = f32;                  // f32 | i32 | u32
const LANES: u32 = 64u;           // a power of two
const ROWS: u32 = 1u;

struct Sizes { rows: u32, cols: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<Acc>;
@group(0) @binding(1) var<storage, read_write> out: array<i32>;

var<workgroup> lanes: array<vec2<u32>, LANES * ROWS>;    // (key, index)

// slot: the element [row, col].
fn load(row: u32, col: u32) -> Acc {
    return x[row * sizes.cols + col];
}

// slot: the finished index of a row.
fn store(index: i32, row: u32) {
    out[row] = index;
}

// slot: the greater key wins.
fn key(v: Acc) -> u32 {
    return order_f32_(v);
}

fn better(p: vec2<u32>, q: vec2<u32>) -> vec2<u32> {
    return select(p, q, q.x > p.x || (q.x == p.x && q.y < p.y));
}

// slot: the best over the lanes of a row.
fn best_lane(v: vec2<u32>, local: u32) -> vec2<u32> {
    lanes[local] = v;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local % LANES < half { lanes[local] = better(lanes[local], lanes[local + half]); }
    }
    return lanes[local];          // of use in lane 0 only
}

@compute @workgroup_size(LANES * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let want = (first_group_() + group.y * 65535u + group.x) * ROWS + local / LANES;
    let row = min(want, sizes.rows - 1u);
    let cols = select(0u, sizes.cols, want < sizes.rows);      // spare lanes have no work, but barriers need them

    var best = vec2(0u, 0xffffffffu);
    for (var c = local % LANES; c < cols; c += LANES) {
        best = better(best, vec2(key(load(row, c)), c));
    }
    let v = best_lane(best, local);
    if want < sizes.rows && local % LANES == 0u { store(i32(v.y), row); }
}
