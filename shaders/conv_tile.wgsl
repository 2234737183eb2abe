// conv_tile: out[n, c, p] = Σ_{i, t} w[c, i, t] · x[n, i, p · stride + t · dilation - padding]
// and, BACKWARD: out[n, i, p] = Σ_{c, t} w[c, i, t] · x[n, c, (p + padding - t · dilation) / stride] where that is whole
//                x [n, channels, depth, height, width], w [c, i of the group, kernel], out like x; groups apart
//
// For GPUs: a matrix product of the weights with the windows, which are gathered as they are needed (implicit GEMM), by matmul_tile's
// method: a workgroup owns TILE_M channels and TILE_N positions, counted over all images, and brings both operands into workgroup
// memory TILE_K links of the chain (channels and taps) at a time, the next ones while it computes. Where windows lie is worked out
// once. A long chain may be cut into slices, which come as so many more images and are to be summed afterwards.
//
// dispatch: ceil(rows / TILE_M) · ceil(images · area / TILE_N) · groups · slices groups, folded past 65535
// cost:     2 operations for each product; each window is read rows / TILE_M times
// source:   Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning", section 3
// twin:     crates/device/tests/conv.rs (f64)

alias EX = f32;                   // elements of x or dy: f32 | f16
alias W = f32;                    // one load of w: f32 | f16 | vec4 of them
alias W4 = vec4<f32>;             // four weights
alias F = f32;                    // what store takes: f32 | vec4<f32>
const W_WIDTH: u32 = 1u;          // elements in a load; 4 needs the chain of an output to be contiguous and a multiple of 4 long
const WIDTH: u32 = 1u;            // elements of F
const BACKWARD: bool = false;     // the gradient with respect to the input
const STRIDED: bool = false;      // BACKWARD, with a stride over 1
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

// from: x, or dy if BACKWARD; to: y, or dx. `rows` and `chans` are channels of a group of `to` and of `from`.
struct Sizes {
    groups: u32, rows: u32, chans: u32, images: u32,
    to_d: u32, to_h: u32, to_w: u32, from_d: u32, from_h: u32, from_w: u32,
    slices: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<EX>;
@group(0) @binding(1) var<storage, read> w: array<W>;
@group(0) @binding(2) var<storage, read_write> out: array<F>;
@group(0) @binding(3) var<storage, read> dy: array<EX>;        // in place of x if BACKWARD

// slot: an element of x; BACKWARD: f32(dy[i])
fn load(i: u32) -> f32 { return f32(x[i]); }

// slot: what becomes of one element, or of four in a row (p is then a multiple of 4); p counts positions of a plane, n images, and on
// through those of the slices
fn store(v: F, n: u32, c: u32, p: u32) {
    out[((n * sizes.groups * sizes.rows + c) * sizes.to_d * sizes.to_h * sizes.to_w + p) / WIDTH] = v;
}

// slot: four columns, of which the first `count` are there and the first is position p of image n; F = vec4<f32>: if count > 0u { store(v, n, c, p); }
fn emit(v: vec4<f32>, count: u32, n: u32, c: u32, p: u32) {
    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    for (var j = 0u; j < 4u; j++) {         // as often in every lane: Mesa 26.1 mistakes rows where it is not
        let over = quotient_(p + j, area);
        if j < count { store(v[j], n + over, c, p + j - over * area); }
    }
}

var<workgroup> tile: array<vec4<f32>, LINE * TILE_K>;

// A 4x4 block of weights, [i]: link k + i of the chain, four rows. Past the last row it brings what is never stored.
fn w_block(group: u32, row: u32, k: u32, chain: u32) -> mat4x4<f32> {
    let ks = min(vec4(k) + vec4(0u, 1u, 2u, 3u), vec4(chain - 1u));
    let cs = ks / TAPS;
    let w_row = select(chain, TAPS, BACKWARD);
    let at = cs * select(TAPS, sizes.rows * TAPS, BACKWARD) + ks - cs * TAPS + group * sizes.rows * chain;
    var v: mat4x4<f32>;                         // [i]: row + i, four links
    for (var i = 0u; i < 4u; i++) {
        let r = at + min(row + i, sizes.rows - 1u) * w_row;
        if W_WIDTH == 4u { v[i] = vec4<f32>(W4(w[r.x / 4u])); }
        else { v[i] = vec4(vec4<f32>(W4(w[r.x])).x, vec4<f32>(W4(w[r.y])).x, vec4<f32>(W4(w[r.z])).x, vec4<f32>(W4(w[r.w])).x); }
    }
    return transpose(v);
}

// A 4x4 block of windows, [i]: link k + i of the chain, four positions.
fn x_block(c0: Column_, c1: Column_, c2: Column_, c3: Column_, k: u32, chain: u32) -> mat4x4<f32> {
    var v: mat4x4<f32>;
    for (var i = 0u; i < 4u; i++) {
        let link = min(k + i, chain - 1u);
        let c = link / TAPS;
        let tap = reach_(link - c * TAPS);
        v[i] = vec4(see_(c0, tap, c), see_(c1, tap, c), see_(c2, tap, c), see_(c3, tap, c));
    }
    return v;
}

// Where block `i` of a step lies: four links from `.x` on, vector `.y` of the line.
fn place(i: u32) -> vec2<u32> {
    if i < A_BLOCKS { return vec2(i % (TILE_K / 4u) * 4u, i / (TILE_K / 4u)); }
    let j = i - A_BLOCKS;
    return vec2(j / (TILE_N / 4u) * 4u, TILE_M / 4u + j % (TILE_N / 4u));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.images * sizes.to_d * sizes.to_h * sizes.to_w + TILE_N - 1u) / TILE_N;
    let down = (sizes.rows + TILE_M - 1u) / TILE_M;
    let id = first_group_() + wid.y * 65535u + wid.x;
    let group = id / across / down % sizes.groups;
    let slice = id / across / down / sizes.groups;
    if slice >= sizes.slices { return; }        // the whole workgroup
    let row = id / across % down * TILE_M;
    let col = id % across * TILE_N;
    let chain = sizes.chans * TAPS;
    let share = ((chain + sizes.slices - 1u) / sizes.slices + 3u) / 4u * 4u;       // so that fours of w stay aligned
    let begin = min(slice * share, chain);
    let end = min(begin + share, chain);
    let tx = lane % TX;
    let ty = lane / TX;

    var acc: array<vec4<f32>, 4u * RB * CB>;
    var next: array<mat4x4<f32>, LOADS>;
    var columns: array<Column_, 4u * LOADS>;
    for (var l = 0u; l < LOADS; l++) {
        let first = col + 4u * place(lane + l * WG).y - TILE_M;          // of no block of windows, and not used, if that wraps
        for (var j = 0u; j < 4u; j++) { columns[4u * l + j] = column_(first + j, group); }
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
                if lane + l * WG < A_BLOCKS { next[l] = w_block(group, row + 4u * at.y, ka, chain); }
                else { next[l] = x_block(columns[4u * l], columns[4u * l + 1u], columns[4u * l + 2u], columns[4u * l + 3u], ka, chain); }
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

    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    for (var j = 0u; j < CB; j++) {
        let own = col + (tx + j * TX) * 4u;
        let count = max(sizes.images * area, own) - own;
        let image = quotient_(own, area);
        for (var i = 0u; i < 4u * RB; i++) {
            let r = row + (ty + i / 4u * TY) * 4u + i % 4u;
            if r < sizes.rows {
                emit(acc[(j * RB + i / 4u) * 4u + i % 4u], count, slice * sizes.images + image, group * sizes.rows + r, own - image * area);
            }
        }
    }
}
