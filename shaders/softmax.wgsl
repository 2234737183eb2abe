// softmax: out[r, c] = exp(x[r, c] - max_r) / Σ_c exp(x[r, c] - max_r)             x, out [rows, cols]
// log:     out[r, c] = x[r, c] - max_r - log Σ_c exp(x[r, c] - max_r)
//
// Maximum and sum in a single pass: each lane keeps m and s = Σ exp(x - m) over what it has seen, per component; one
// exponential serves both cases, since one of the old and the new maximum is the result. Lanes then join. A second
// pass writes the row. NaN and +inf in a row make it NaN, and so does a row of -inf, as in PyTorch.
// LANES invocations share a row and join in a tree, or by subgroup operations; short rows go ROWS to a workgroup.
//
// dispatch: ceil(rows / ROWS) workgroups, folded past 65535
// cost:     2 reads and 1 write of x (1 read where it is held), 2 exponentials an element (1 where it is held); memory bound
// source:   Milakov & Gimelshein 2018, "Online normalizer calculation for softmax", alg. 3
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
@group(0) @binding(1) var<storage, read_write> out: array<F>;

var<workgroup> lanes: array<F, LANES * ROWS>;

// slot: WIDTH elements of x from [row, col].
fn load(row: u32, col: u32) -> F {
    return x[(row * sizes.cols + col) / WIDTH];
}

// slot: WIDTH finished elements from [row, col].
fn store(v: F, row: u32, col: u32) {
    out[(row * sizes.cols + col) / WIDTH] = v;
}

// slot: what is kept of an element v = x - max until the row's sum is known.
fn keep(v: F) -> F {
    return exp_(v);
}

// slot: what is written of what was kept.
fn finish(v: F, sum: F) -> F {
    return v / sum;
}

// slot: the components of v joined, in every component.
fn fold_max(v: F) -> F {
    return v;
}

// slot: likewise.
fn fold_sum(v: F) -> F {
    return v;
}

// slot: the greatest over the lanes of a row, in every lane.
fn max_lanes(v: F, local: u32) -> F {
    lanes[local] = v;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local % LANES < half { lanes[local] = max(lanes[local], lanes[local + half]); }
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
    var m = F(-3.4028234e38);
    var s = F(0.0);
    for (var c = first; HELD == 0u && c < cols; c += LANES * WIDTH) {
        let v = load(row, c);
        let d = v - m;
        let e = exp_(-abs(d));
        s = select(s + e, s * e + 1.0, d > F(0.0));
        m = max(m, v);
    }
    for (var i = 0u; i < HELD; i++) { own[i] = load(row, min(first + i * LANES * WIDTH, last)); }     // no branch: all at once
    for (var i = 0u; i < HELD; i++) {
        if first + i * LANES * WIDTH < cols { m = max(m, own[i]); }
    }
    let top = max_lanes(m, local);
    let infinite = bitcast<U>(top) == U(0x7f800000u);
    for (var i = 0u; i < HELD; i++) {
        if first + i * LANES * WIDTH < cols {
            s += exp_(own[i] - top);
            own[i] = keep(own[i] - top);
        }
    }
    if HELD == 0u { s *= exp_(m - top); }
    let sum = select(sum_lanes(s, local), nan_(), infinite);

    for (var i = 0u; i < HELD; i++) {
        let c = first + i * LANES * WIDTH;
        if c < cols { store(finish(own[0], sum), row, c); }
        for (var j = 1u; j < HELD; j++) { own[j - 1u] = own[j]; }      // from the front: no index depends on i
    }
    for (var c = first; HELD == 0u && c < cols; c += LANES * WIDTH) {
        store(finish(keep(load(row, c) - top), sum), row, c);
    }
}
