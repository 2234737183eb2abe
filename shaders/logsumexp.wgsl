// logsumexp: out[r] = max_r + log Σ_c exp(x[r, c] - max_r)                         x [rows, cols], out [rows]
//
// As softmax.wgsl, with the maximum in a pass of its own, so that an infinite one can be the answer: a row of -inf
// gives -inf, a row with +inf gives +inf, NaN gives NaN.
//
// dispatch: ceil(rows / ROWS) workgroups, folded past 65535
// cost:     2 reads of x (1 where it is held), 1 exponential an element; memory bound
// twin:     crates/device/tests/softmax.rs (f64)

alias F = f32;                    // f32 | vec4<f32>; I, U and L have its width
alias I = i32;
alias U = u32;
alias L = bool;
const WIDTH: u32 = 1u;
const LANES: u32 = 64u;           // a power of two
const ROWS: u32 = 1u;
const HELD: u32 = 0u;             // loads that a lane keeps in registers, so that the row is read once; 0 for none
const ROOM: u32 = max(HELD, 1u);

struct Sizes { rows: u32, cols: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<F>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

var<workgroup> lanes: array<F, LANES * ROWS>;

// slot: WIDTH elements of x from [row, col].
fn load(row: u32, col: u32) -> F {
    return x[(row * sizes.cols + col) / WIDTH];
}

// slot: the finished value of a row.
fn store(v: f32, row: u32) {
    out[row] = v;
}

// slot: the first component.
fn one(v: F) -> f32 {
    return v;
}

// slot: the components of v joined, in every component.
fn fold_max(v: F) -> F {
    return v;
}

// slot: likewise.
fn fold_sum(v: F) -> F {
    return v;
}

// slot: the greatest over the lanes of a row, in every lane; NaN is the greatest.
fn max_lanes(v: F, local: u32) -> F {
    lanes[local] = v;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local % LANES < half { lanes[local] = max_(lanes[local], lanes[local + half]); }
    }
    workgroupBarrier();
    return fold_max(lanes[local - local % LANES]);
}

// slot: the sum over the lanes of a row, in every lane.
fn sum_lanes(v: F, local: u32) -> F {
    workgroupBarrier();
    lanes[local] = v;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local % LANES < half { lanes[local] = lanes[local] + lanes[local + half]; }
    }
    workgroupBarrier();
    return fold_sum(lanes[local - local % LANES]);
}

@compute @workgroup_size(LANES * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let want = (first_group_() + group.y * 65535u + group.x) * ROWS + local / LANES;
    let row = min(want, sizes.rows - 1u);
    let cols = select(0u, sizes.cols, want < sizes.rows);      // spare lanes have no work, but barriers need them
    let first = (local % LANES) * WIDTH;
    let last = sizes.cols - WIDTH;

    var own: array<F, ROOM>;
    var m = -inf_();
    for (var i = 0u; i < HELD; i++) { own[i] = load(row, min(first + i * LANES * WIDTH, last)); }     // no branch: all at once
    for (var i = 0u; i < HELD; i++) {
        if first + i * LANES * WIDTH < cols { m = max_(m, own[i]); }
    }
    for (var c = first; HELD == 0u && c < cols; c += LANES * WIDTH) { m = max_(m, load(row, c)); }
    let top = max_lanes(m, local);
    var s = F(0.0);
    for (var i = 0u; i < HELD; i++) {
        if first + i * LANES * WIDTH < cols { s += exp_(own[i] - top); }
    }
    for (var c = first; HELD == 0u && c < cols; c += LANES * WIDTH) { s += exp_(load(row, c) - top); }
    let sum = sum_lanes(s, local);

    if want < sizes.rows && local % LANES == 0u {
        store(one(select(top + log_(sum), top, isinf_(top))), row);
    }
}
