// conv_weight_tile: out[s, c, q] = Σ_{n, p} dy[n, c, p] · x[n, i, p · stride + t · dilation - padding]      q = (i, t), a weight of channel c
//       dy [n, groups · rows, depth, height, width], x [n, groups · chans, ..], out [slices, groups · rows, chans · kernel]
//       slice s sums its share of the lines (n, depth, height) of dy; the slices are to be summed afterwards
//
// For GPUs: a matrix product of dy with the windows of x, gathered as they are needed, by matmul_tile's method: a workgroup owns
// TILE_M channels and TILE_N weights of each. The sum runs over the lines of dy, each padded to a multiple of four places, TILE_K
// places at a time, the next ones brought while it computes.
//
// dispatch: ceil(rows / TILE_M) · ceil(chans · taps / TILE_N) · groups · slices groups, folded past 65535
// cost:     2 operations for each product; dy is read chans · taps / TILE_N times, each window rows / TILE_M times
// source:   Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning", section 3
// twin:     crates/device/tests/conv.rs (f64)

alias EX = f32;                   // elements of x: f32 | f16
alias D = f32;                    // one load of dy: f32 | f16 | vec4 of them
alias D4 = vec4<f32>;             // four elements of dy
alias F = f32;                    // what store takes: f32 | vec4<f32>
const D_WIDTH: u32 = 1u;          // elements in a load; 4 needs lines of dy of a multiple of 4
const WIDTH: u32 = 1u;            // elements of F
const KERNEL: vec3<u32> = vec3(1u, 3u, 3u);      // depth, height, width
const STRIDE: vec3<i32> = vec3(1, 1, 1);
const PADDING: vec3<i32> = vec3(0, 1, 1);
const DILATION: vec3<i32> = vec3(1, 1, 1);
const FLAT: bool = true;          // no depth axis: one plane, no window, no padding along it
const TILE_M: u32 = 32u;
const TILE_N: u32 = 32u;
const TILE_K: u32 = 16u;
const RB: u32 = 1u;               // blocks of four rows that an invocation owns
const CB: u32 = 1u;               // blocks of four columns
const TX: u32 = TILE_N / (4u * CB);
const TY: u32 = TILE_M / (4u * RB);
const WG: u32 = TX * TY;
const LINE: u32 = (TILE_M + TILE_N) / 4u;                  // vectors of one k in the tile: a's, then b's
const A_BLOCKS: u32 = TILE_M * TILE_K / 16u;
const BLOCKS: u32 = (TILE_M + TILE_N) * TILE_K / 16u;      // 4x4 blocks that come in a step
const LOADS: u32 = (BLOCKS + WG - 1u) / WG;                // those that one invocation brings

const TAPS: u32 = KERNEL.x * KERNEL.y * KERNEL.z;

// to: dy; from: x. `rows` and `chans` are channels of a group of dy and of x.
struct Sizes {
    groups: u32, rows: u32, chans: u32, images: u32,
    to_d: u32, to_h: u32, to_w: u32, from_d: u32, from_h: u32, from_w: u32,
    slices: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> dy: array<D>;
@group(0) @binding(1) var<storage, read> x: array<EX>;
@group(0) @binding(2) var<storage, read_write> out: array<F>;

// slot: what becomes of one weight's sum, or of four in a row (q is then a multiple of 4)
fn store(v: F, s: u32, c: u32, q: u32) {
    out[((s * sizes.groups * sizes.rows + c) * sizes.chans * TAPS + q) / WIDTH] = v;
}

// slot: four weights; F = vec4<f32>: if q < sizes.chans * TAPS { store(v, s, c, q); }
fn emit(v: vec4<f32>, s: u32, c: u32, q: u32) {
    for (var j = 0u; j < 4u && q + j < sizes.chans * TAPS; j++) { store(v[j], s, c, q + j); }
}

var<workgroup> tile: array<vec4<f32>, LINE * TILE_K>;

// A 4x4 block of dy, [i]: place k + i, four channels. Past the last channel it brings what is never stored.
fn dy_block(group: u32, row: u32, k: u32) -> mat4x4<f32> {
    let f = four_(k);
    let ahead = min(vec4(f.place) + vec4(0u, 1u, 2u, 3u), vec4(sizes.to_w - 1u));
    var v: mat4x4<f32>;                         // [i]: row + i, four places
    for (var i = 0u; i < 4u; i++) {
        let c = group * sizes.rows + min(row + i, sizes.rows - 1u);
        let start = (((f.image * sizes.groups * sizes.rows + c) * sizes.to_d + f.depth) * sizes.to_h + f.height) * sizes.to_w;
        let at = ahead + start;
        if D_WIDTH == 4u { v[i] = vec4<f32>(D4(dy[at.x / 4u])); }
        else { v[i] = vec4(vec4<f32>(D4(dy[at.x])).x, vec4<f32>(D4(dy[at.y])).x, vec4<f32>(D4(dy[at.z])).x, vec4<f32>(D4(dy[at.w])).x); }
        v[i] = select(vec4(0.0), v[i], vec4(f.place) + vec4(0u, 1u, 2u, 3u) < vec4(sizes.to_w));
    }
    return transpose(v);
}

// A 4x4 block of windows, [i]: place k + i, four weights.
fn x_block(weights: array<Weight_, 4>, k: u32) -> mat4x4<f32> {
    let f = four_(k);
    var own4 = weights;
    var v: mat4x4<f32>;
    for (var j = 0u; j < 4u; j++) {
        let own = own4[j];
        let at = line_(own, f.image, f.depth, f.height);
        v[j] = vec4(meet_(own, at, f.place), meet_(own, at, f.place + 1u), meet_(own, at, f.place + 2u), meet_(own, at, f.place + 3u));
        v[j] = select(vec4(0.0), v[j], vec4(f.place) + vec4(0u, 1u, 2u, 3u) < vec4(sizes.to_w));
    }
    return transpose(v);
}

// Where block `i` of a step lies: four places from `.x` on, vector `.y` of the line.
fn place(i: u32) -> vec2<u32> {
    let j = select(i - A_BLOCKS, i, i < A_BLOCKS);
    return vec2(j % (TILE_K / 4u) * 4u, select(TILE_M / 4u, 0u, i < A_BLOCKS) + j / (TILE_K / 4u));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.chans * TAPS + TILE_N - 1u) / TILE_N;
    let down = (sizes.rows + TILE_M - 1u) / TILE_M;
    let id = first_group_() + wid.y * 65535u + wid.x;
    let group = id / across / down % sizes.groups;
    let slice = id / across / down / sizes.groups;
    if slice >= sizes.slices { return; }        // the whole workgroup
    let row = id / across % down * TILE_M;
    let col = id % across * TILE_N;
    let padded = (sizes.to_w + 3u) / 4u * 4u;
    let lines = sizes.images * sizes.to_d * sizes.to_h;
    let share = (lines + sizes.slices - 1u) / sizes.slices;
    let begin = slice * share * padded;
    let end = min(lines, (slice + 1u) * share) * padded;
    let tx = lane % TX;
    let ty = lane / TX;

    var acc: array<vec4<f32>, 4u * RB * CB>;
    var next: array<mat4x4<f32>, LOADS>;
    var weights: array<array<Weight_, 4>, LOADS>;
    for (var l = 0u; l < LOADS; l++) {
        let first = col + 4u * place(lane + l * WG).y - TILE_M;          // of no block of windows, and not used, if that wraps
        for (var j = 0u; j < 4u; j++) { weights[l][j] = weight_(first + j, group); }
    }
    for (var k = begin; k < end + TILE_K; k += TILE_K) {
        // The first round only fetches, the last only computes.
        if k > begin {
            workgroupBarrier();
            for (var l = 0u; l < LOADS; l++) {
                let at = place(lane + l * WG);
                if lane + l * WG < BLOCKS {
                    for (var i = 0u; i < 4u; i++) { tile[(at.x + i) * LINE + at.y] = next[l][i]; }
                }
            }
            workgroupBarrier();
        }
        if k < end {
            for (var l = 0u; l < LOADS; l++) {
                let at = place(lane + l * WG);
                let ka = k + at.x;
                if lane + l * WG < A_BLOCKS { next[l] = dy_block(group, row + 4u * at.y, min(ka, end - 4u)); }
                else { next[l] = x_block(weights[l], min(ka, end - 4u)); }
                for (var i = 0u; i < 4u; i++) { next[l][i] = select(vec4(0.0), next[l][i], ka + i < end); }
            }
        }
        if k > begin {
            for (var kk = 0u; kk < TILE_K; kk++) {
                var x: array<vec4<f32>, RB>;
                for (var i = 0u; i < RB; i++) { x[i] = tile[kk * LINE + ty + i * TY]; }
                for (var j = 0u; j < CB; j++) {
                    let y = tile[kk * LINE + TILE_M / 4u + tx + j * TX];
                    for (var i = 0u; i < RB; i++) {
                        let at = (j * RB + i) * 4u;
                        acc[at] = fma(vec4(x[i].x), y, acc[at]);
                        acc[at + 1u] = fma(vec4(x[i].y), y, acc[at + 1u]);
                        acc[at + 2u] = fma(vec4(x[i].z), y, acc[at + 2u]);
                        acc[at + 3u] = fma(vec4(x[i].w), y, acc[at + 3u]);
                    }
                }
            }
        }
    }

    for (var i = 0u; i < 4u * RB; i++) {
        let r = row + (ty + i / 4u * TY) * 4u + i % 4u;
        for (var j = 0u; j < CB; j++) {
            if r < sizes.rows { emit(acc[(j * RB + i / 4u) * 4u + i % 4u], slice, group * sizes.rows + r, col + (tx + j * TX) * 4u); }
        }
    }
}
