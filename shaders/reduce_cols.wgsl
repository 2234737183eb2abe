// reduce_cols: out[o, k, c] = join over r in chunk k of x[o, r, c]     x [outer, rows, inner], out [outer, chunks, inner]
//
// An invocation has WIDTH neighbouring columns, and walks down every DOWN-th row of its chunk, so loads of neighbours
// are neighbours in memory. The DOWN invocations of a column join in a tree. Sums of 32 rows are summed in turn, for
// accuracy. Partial results of chunks are reduced by a second launch.
//
// dispatch: ceil(outer * chunks * inner / WIDTH / COLS) workgroups, folded past 65535
// cost:     one read of x; memory bound
// twin:     crates/device/tests/reduce.rs (f64)

alias F = f32;                    // f32 | vec4<f32>; I, U and L have its width
alias I = i32;
alias U = u32;
alias L = bool;
alias Acc = f32;                  // f32 | i32 | u32
alias V = f32;                    // Acc at WIDTH
const WIDTH: u32 = 1u;
const COLS: u32 = 64u;            // a workgroup's columns, in loads
const DOWN: u32 = 1u;             // invocations that share a column, a power of two
const BATCH: u32 = 1u;            // loads of an invocation that are under way together, a divisor of 32

struct Sizes { outer: u32, rows: u32, inner: u32, chunks: u32, chunk: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<V>;
@group(0) @binding(1) var<storage, read_write> out: array<V>;

var<workgroup> lanes: array<V, COLS * DOWN>;

// slot: WIDTH elements of x from [outer, row, inner].
fn load(outer: u32, row: u32, inner: u32) -> V {
    return x[((outer * sizes.rows + row) * sizes.inner + inner) / WIDTH];
}

// slot: the finished values; `outer` counts chunks too: outer * chunks + chunk.
fn store(v: V, outer: u32, inner: u32) {
    out[(outer * sizes.inner + inner) / WIDTH] = v;
}

// slot: join(identity(), v) = v.
fn identity() -> V {
    return V(0.0);
}

// slot: the operation: a + b, a * b, max or min.
fn join(a: V, b: V) -> V {
    return a + b;
}

// slot: v joined over the DOWN invocations of a column.
fn total(v: V, local: u32) -> V {
    lanes[local] = v;
    for (var half = COLS * DOWN / 2u; half >= COLS; half /= 2u) {
        workgroupBarrier();
        if local < half { lanes[local] = join(lanes[local], lanes[local + half]); }
    }
    return lanes[local];          // of use in the first COLS only
}

@compute @workgroup_size(COLS * DOWN)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (first_group_() + group.y * 65535u + group.x) * COLS + local % COLS;
    let across = sizes.inner / WIDTH;
    let part = i / across;
    let inner = (i - part * across) * WIDTH;
    let outer = part / sizes.chunks;
    let start = (part - outer * sizes.chunks) * sizes.chunk;
    var end = min(start + sizes.chunk, sizes.rows);
    if part >= sizes.outer * sizes.chunks { end = 0u; }        // spare ones have no work, but barriers need them

    var acc = identity();
    for (var r = start + local / COLS; r < end;) {
        var some = identity();
        for (let stop = min(r + 32u * DOWN, end); r < stop; r += BATCH * DOWN) {
            var next: array<V, BATCH>;
            for (var i = 0u; i < BATCH; i++) { next[i] = load(outer, min(r + i * DOWN, end - 1u), inner); }
            for (var i = 0u; i < BATCH; i++) {
                if r + i * DOWN < stop { some = join(some, next[i]); }
            }
        }
        acc = join(acc, some);
    }
    let v = total(acc, local);
    if local < COLS && part < sizes.outer * sizes.chunks { store(v, part, inner); }
}
