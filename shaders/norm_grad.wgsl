// norm_grad: dx[r, c] = rstd_r (g[r, c] - mean_c g - xhat[r, c] mean_c (g xhat))   g, xhat, dx [rows, cols]; rstd [rows]
// RMS:       dx[r, c] = rstd_r (g[r, c] - xhat[r, c] mean_c (g xhat))
//
// xhat and rstd are what norm.wgsl wrote; g is the gradient with respect to xhat. Both means in one pass.
// LANES invocations share a row and join in a tree, or by subgroup operations; short rows go ROWS to a workgroup.
//
// dispatch: ceil(rows / ROWS) workgroups, folded past 65535
// cost:     2 reads of g and xhat (1 where they are held), 1 write; memory bound
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
const CENTER: bool = true;        // the mean was subtracted

struct Sizes { rows: u32, cols: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> xhat: array<F>;
@group(0) @binding(1) var<storage, read> rstd: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<F>;
@group(0) @binding(3) var<storage, read_write> out: array<F>;

var<workgroup> lanes: array<F, LANES * ROWS>;

// slot: WIDTH elements of g from [row, col].
fn load(row: u32, col: u32) -> F {
    return g[(row * sizes.cols + col) / WIDTH];
}

// slot: WIDTH finished elements of dx from [row, col].
fn store(v: F, row: u32, col: u32) {
    out[(row * sizes.cols + col) / WIDTH] = v;
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
    var own_h: array<F, ROOM>;
    var s = F(0.0);
    var p = F(0.0);
    for (var i = 0u; i < HELD; i++) {              // no branch: all loads at once
        let c = min(first + i * LANES * WIDTH, last);
        own[i] = load(row, c);
        own_h[i] = xhat[(row * sizes.cols + c) / WIDTH];
    }
    for (var i = 0u; i < HELD; i++) {
        if first + i * LANES * WIDTH < cols {
            s += own[i];
            p += own[i] * own_h[i];
        }
    }
    for (var c = first; HELD == 0u && c < cols; c += LANES * WIDTH) {
        let v = load(row, c);
        s += v;
        p += v * xhat[(row * sizes.cols + c) / WIDTH];
    }
    var mean = F(0.0);
    if CENTER { mean = sum_lanes(s, local) * share; }
    let along = sum_lanes(p, local) * share;

    for (var i = 0u; i < HELD; i++) {
        let c = first + i * LANES * WIDTH;
        if c < cols { store(rstd[row] * (own[0] - mean - own_h[0] * along), row, c); }
        for (var j = 1u; j < HELD; j++) {          // from the front: no index depends on i
            own[j - 1u] = own[j];
            own_h[j - 1u] = own_h[j];
        }
    }
    for (var c = first; HELD == 0u && c < cols; c += LANES * WIDTH) {
        let h = xhat[(row * sizes.cols + c) / WIDTH];
        store(rstd[row] * (load(row, c) - mean - h * along), row, c);
    }
}
