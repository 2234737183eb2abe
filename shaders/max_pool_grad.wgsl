// max_pool_grad: out[nc, p] = Σ_o dy[nc, o] where index[nc, o] = p      out [planes, depth, height, width] like x; dy, index like y
//
// The gradient of max_pool with respect to its input, gathered: an invocation owns WIDTH positions of x and looks at the outputs whose
// windows may reach them, so nothing is added twice at once and the order of the sum is fixed.
//
// dispatch: ceil(planes · positions / WIDTH / 64) groups, folded past 65535
// cost:     each output is read once for every position of its window; memory bound
// source:   the definition
// twin:     crates/device/tests/pool.rs (f64)

alias F = f32;                    // what store takes: f32 | vec4<f32>
const WIDTH: u32 = 1u;            // elements of F, and positions of an invocation
const KERNEL: vec3<u32> = vec3(1u, 2u, 2u);      // depth, height, width
const STRIDE: vec3<u32> = vec3(1u, 2u, 2u);
const PADDING: vec3<u32> = vec3(0u, 0u, 0u);
const DILATION: vec3<u32> = vec3(1u, 1u, 1u);

struct Sizes { planes: u32, in_d: u32, in_h: u32, in_w: u32, out_d: u32, out_h: u32, out_w: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> index: array<i32>;
@group(0) @binding(2) var<storage, read_write> out: array<F>;

// slot: what becomes of one element, or of four in a row (p is then a multiple of 4)
fn store(v: F, nc: u32, p: u32) {
    out[(nc * sizes.in_d * sizes.in_h * sizes.in_w + p) / WIDTH] = v;
}

// slot: the finished positions; F = vec4<f32>: store(v, nc, p);
fn emit(v: vec4<f32>, nc: u32, p: u32) { store(v.x, nc, p); }

// Per axis the first output and the one behind the last whose windows may reach `at`.
struct Range { first: vec3<u32>, end: vec3<u32> }

fn reached(at: vec3<u32>) -> Range {
    let span = (KERNEL - vec3(1u)) * DILATION;
    let p = at + PADDING;
    let first = select((p - span + STRIDE - vec3(1u)) / STRIDE, vec3(0u), p < span);
    return Range(first, min(p / STRIDE + vec3(1u), vec3(sizes.out_d, sizes.out_h, sizes.out_w)));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let area = sizes.in_d * sizes.in_h * sizes.in_w;
    let i = ((wid.y * 65535u + wid.x) * 64u + lane) * WIDTH;
    let nc = i / area;
    if nc >= sizes.planes { return; }
    let first = i % area;
    var sums: vec4<f32>;
    for (var j = 0u; j < WIDTH; j++) {
        let p = first + j;
        let at = vec3(p / sizes.in_w / sizes.in_h, p / sizes.in_w % sizes.in_h, p % sizes.in_w);
        let range = reached(at);
        let start = nc * sizes.out_d * sizes.out_h * sizes.out_w;
        var sum = 0.0;
        for (var d = range.first.x; d < range.end.x; d++) {
            for (var h = range.first.y; h < range.end.y; h++) {
                for (var w = range.first.z; w < range.end.z; w++) {
                    let o = start + (d * sizes.out_h + h) * sizes.out_w + w;
                    sum += select(0.0, dy[o], index[o] == i32(p));
                }
            }
        }
        sums[j] = sum;
    }
    emit(sums, nc, first);
}
