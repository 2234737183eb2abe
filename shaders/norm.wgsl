// norm: out[r, c] = (x[r, c] - mean_r) rstd_r,  rstd_r = 1 / sqrt(Σ_c (x[r, c] - mean_r)² / cols + eps)
// RMS:  out[r, c] = x[r, c] rstd_r,             rstd_r = 1 / sqrt(Σ_c x[r, c]² / cols + eps)
// x, out [rows, cols]; rstd [rows]
//
// Mean and variance in two passes over the row, which stays exact where E[x²] - E[x]² cancels; a third pass writes.
// LANES invocations share a row and join in a tree, or by subgroup operations; short rows go ROWS to a workgroup.
//
// dispatch: ceil(rows / ROWS) workgroups, folded past 65535
// cost:     3 reads and 1 write of x (1 read where it is held); memory bound
// source:   Ba, Kiros & Hinton 2016, "Layer normalization"; Zhang & Sennrich 2019, "Root mean square layer norm"
// twin:     crates/device/tests/norm.rs (f64)

alias F = f32;                    // f32 | vec4<f32>; I, U and L have its width
alias I = i32;
alias U = u32;
alias L = bool;
const WIDTH: u32 = 1u;
const LANES: u32 = 64u;           // a power of two
const ROWS: u32 = 1u;
const HELD: u32 = 0u;             // loads that a lane keeps in registers, so that the row is read once; 0 for none
const ROOM: u32 = max(HELD, 1u);
const CENTER: bool = true;        // subtract the mean

struct Sizes { rows: u32, cols: u32, eps: f32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<F>;
@group(0) @binding(1) var<storage, read_write> out: array<F>;
@group(0) @binding(2) var<storage, read_write> rstd: array<f32>;

var<workgroup> lanes: array<F, LANES * ROWS>;

// slot: WIDTH elements of x from [row, col].
fn load(row: u32, col: u32) -> F {
    return x[(row * sizes.cols + col) / WIDTH];
}

// slot: WIDTH finished elements from [row, col].
fn store(v: F, row: u32, col: u32) {
    out[(row * sizes.cols + col) / WIDTH] = v;
}

// slot: the first component.
fn one(v: F) -> f32 {
    return v;
}

// slot: the components of v summed, in every component.
fn fold_sum(v: F) -> F {
    return v;
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
    let share = 1.0 / f32(sizes.cols);

    var own: array<F, ROOM>;
    for (var i = 0u; i < HELD; i++) { own[i] = load(row, min(first + i * LANES * WIDTH, last)); }     // no branch: all at once
    var mean = F(0.0);
    if CENTER {
        var s = F(0.0);
        for (var i = 0u; i < HELD; i++) {
            if first + i * LANES * WIDTH < cols { s += own[i]; }
        }
        for (var c = first; HELD == 0u && c < cols; c += LANES * WIDTH) { s += load(row, c); }
        mean = sum_lanes(s, local) * share;
    }
    var q = F(0.0);
    for (var i = 0u; i < HELD; i++) {
        let d = own[i] - mean;
        if first + i * LANES * WIDTH < cols { q += d * d; }
    }
    for (var c = first; HELD == 0u && c < cols; c += LANES * WIDTH) {
        let d = load(row, c) - mean;
        q += d * d;
    }
    let scale = 1.0 / sqrt(sum_lanes(q, local) * share + sizes.eps);

    for (var i = 0u; i < HELD; i++) {
        let c = first + i * LANES * WIDTH;
        if c < cols { store((own[0] - mean) * scale, row, c); }
        for (var j = 1u; j < HELD; j++) { own[j - 1u] = own[j]; }      // from the front: no index depends on i
    }
    for (var c = first; HELD == 0u && c < cols; c += LANES * WIDTH) { store((load(row, c) - mean) * scale, row, c); }
    if local % LANES == 0u && want < sizes.rows { rstd[row] = one(scale); }
}
