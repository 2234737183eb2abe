// reduce_cols: out[o, k, c] = join over r in chunk k of x[o, r, c]     x [outer, rows, inner], out [outer, chunks, inner]
//
// One invocation per WIDTH neighbouring columns walks down its chunk of rows, so loads of neighbours are neighbours in
// memory. Sums of 32 rows are summed in turn, for accuracy. Partial results of chunks are reduced by a second launch.
//
// dispatch: ceil(outer * chunks * inner / WIDTH / WG) workgroups, folded past 65535
// cost:     one read of x; memory bound
// twin:     crates/device/tests/reduce.rs (f64)

alias F = f32;                    // f32 | vec4<f32>; I, U and L have its width
alias I = i32;
alias U = u32;
alias L = bool;
alias Acc = f32;                  // f32 | i32 | u32
alias V = f32;                    // Acc at WIDTH
const WIDTH: u32 = 1u;
const WG: u32 = 64u;

struct Sizes { outer: u32, rows: u32, inner: u32, chunks: u32, chunk: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<V>;
@group(0) @binding(1) var<storage, read_write> out: array<V>;

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

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (first_group_() + group.y * 65535u + group.x) * WG + local;
    let across = sizes.inner / WIDTH;
    let part = i / across;
    if part >= sizes.outer * sizes.chunks { return; }
    let inner = (i - part * across) * WIDTH;
    let outer = part / sizes.chunks;
    let start = (part - outer * sizes.chunks) * sizes.chunk;
    let end = min(start + sizes.chunk, sizes.rows);

    var acc = identity();
    for (var first = start; first < end; first += 32u) {
        var part_acc = identity();
        for (var r = first; r < min(first + 32u, end); r++) {
            part_acc = join(part_acc, load(outer, r, inner));
        }
        acc = join(acc, part_acc);
    }
    store(acc, part, inner);
}
