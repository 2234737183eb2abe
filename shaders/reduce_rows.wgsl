// reduce_rows: out[r, k] = join over c in chunk k of x[r, c]       x [rows, cols], out [rows, chunks]
//
// LANES invocations share a row; each joins every LANES-th element, then the lanes join in a tree. A long row is cut
// into chunks, whose results a second launch reduces. Each lane sums 32 elements at a time, and then those sums: chains of
// additions stay short, and sums accurate.
// Where the lanes of a row have subgroups, they join by subgroup operations. Short rows go ROWS to a workgroup.
//
// dispatch: ceil(rows * chunks / ROWS) workgroups, folded past 65535
// cost:     one read of x; memory bound
// twin:     crates/device/tests/reduce.rs (f64)

alias F = f32;                    // f32 | vec4<f32>; I, U and L have its width
alias I = i32;
alias U = u32;
alias L = bool;
alias Acc = f32;                  // f32 | i32 | u32
alias V = f32;                    // Acc at WIDTH
const WIDTH: u32 = 1u;
const LANES: u32 = 64u;           // a power of two
const ROWS: u32 = 1u;
const BATCH: u32 = 1u;            // loads of a lane that are under way together, a divisor of 32

struct Sizes { rows: u32, cols: u32, chunks: u32, chunk: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<V>;
@group(0) @binding(1) var<storage, read_write> out: array<Acc>;

var<workgroup> lanes: array<V, LANES * ROWS>;

// slot: WIDTH elements of x from [row, col].
fn load(row: u32, col: u32) -> V {
    return x[(row * sizes.cols + col) / WIDTH];
}

// slot: the finished value of a row, or of chunk row % chunks of row row / chunks.
fn store(v: Acc, row: u32) {
    out[row] = v;
}

// slot: join(identity(), v) = v.
fn identity() -> V {
    return V(0.0);
}

// slot: the operation: a + b, a * b, max or min.
fn join(a: V, b: V) -> V {
    return a + b;
}

// slot: the components of v joined.
fn fold(v: V) -> Acc {
    return v;
}

// slot: v joined over the LANES invocations of a row.
fn total(v: V, local: u32) -> Acc {
    lanes[local] = v;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local % LANES < half { lanes[local] = join(lanes[local], lanes[local + half]); }
    }
    return fold(lanes[local]);    // of use in lane 0 only
}

@compute @workgroup_size(LANES * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let part = (first_group_() + group.y * 65535u + group.x) * ROWS + local / LANES;
    let parts = sizes.rows * sizes.chunks;
    let safe = min(part, parts - 1u);
    let row = safe / sizes.chunks;
    let start = (safe - row * sizes.chunks) * sizes.chunk;
    var end = min(start + sizes.chunk, sizes.cols);
    if part >= parts { end = 0u; }             // spare lanes have no work, but barriers need them

    var acc = identity();
    for (var c = start + (local % LANES) * WIDTH; c < end;) {
        var some = identity();
        for (let stop = min(c + 32u * LANES * WIDTH, end); c < stop; c += BATCH * LANES * WIDTH) {
            var next: array<V, BATCH>;
            for (var i = 0u; i < BATCH; i++) { next[i] = load(row, min(c + i * LANES * WIDTH, end - WIDTH)); }
            for (var i = 0u; i < BATCH; i++) {
                if c + i * LANES * WIDTH < stop { some = join(some, next[i]); }
            }
        }
        acc = join(acc, some);
    }
    let v = total(acc, local);
    if local % LANES == 0u && part < parts { store(v, part); }
}
