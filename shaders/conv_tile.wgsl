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
alias EW = f32;                   // elements of w: f32 | f16
alias F = f32;                    // what store takes: f32 | vec4<f32>
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
const LINE: u32 = (TILE_M + TILE_N) / 4u + 1u;     // vectors of one k in the tile: a's, b's, and one that keeps lines in other banks
const W_LINKS: u32 = TILE_M * TILE_K / 4u / WG;    // links of a step of which an invocation brings weights, of four rows: 1, 2 or 4
const X_LINKS: u32 = TILE_N * TILE_K / 4u / WG;    // and windows, of four positions
const W_STEP: u32 = TILE_K / W_LINKS;              // from one of them to the next
const X_STEP: u32 = TILE_K / X_LINKS;

const TAPS: u32 = KERNEL.x * KERNEL.y * KERNEL.z;

// from: x, or dy if BACKWARD; to: y, or dx. `rows` and `chans` are channels of a group of `to` and of `from`.
struct Sizes {
    groups: u32, rows: u32, chans: u32, images: u32,
    to_d: u32, to_h: u32, to_w: u32, from_d: u32, from_h: u32, from_w: u32,
    slices: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<EX>;
@group(0) @binding(1) var<storage, read> w: array<EW>;
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
var<workgroup> links: array<vec4<i32>, 2u * TILE_K>;       // their ways: of a step, and of the next one

// What an invocation has brought. It is only touched when it is laid down: until then it may still be on its way.
struct Next { w: array<vec4<f32>, W_LINKS>, x: array<vec4<f32>, X_LINKS> }

// Past the end of the chain come weights that meet zeros, and where there is no element some other.
fn fetch(rows: vec4<u32>, w_link: u32, k: u32, chain: u32, positions: vec4<i32>, x_link: u32) -> Next {
    var next: Next;
    for (var i = 0u; i < W_LINKS; i++) {
        let link = min(k + w_link + i * W_STEP, chain - 1u);
        let at = rows + select(link, link + link / TAPS * (sizes.rows - 1u) * TAPS, BACKWARD);
        next.w[i] = vec4(f32(w[at.x]), f32(w[at.y]), f32(w[at.z]), f32(w[at.w]));
    }
    for (var i = 0u; i < X_LINKS; i++) {
        let at = min(vec4<u32>(positions + links[x_link + i * X_STEP].x), vec4(last_()));
        next.x[i] = vec4(load(at.x), load(at.y), load(at.z), load(at.w));
    }
    return next;
}

// Four columns: how many of them are there, the image of the first, counted from `part` on, and its position.
fn four_at(col: u32, part: u32) -> vec3<u32> {
    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    let image = quotient_(col, area);
    return vec3(max(sizes.images * area, col) - col, part + image, col - image * area);
}
fn leave(v: vec4<f32>, four: vec3<u32>, group: u32, row: u32) {
    if row < sizes.rows { emit(v, four.x, four.y, group * sizes.rows + row, four.z); }
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
    let share = (chain + sizes.slices - 1u) / sizes.slices;
    let begin = min(slice * share, chain);
    let end = min(begin + share, chain);
    let tx = lane % TX;
    let ty = lane / TX;

    // What this invocation brings: links of a step, four rows, four positions.
    let w_link = lane % W_STEP;
    let x_link = lane / (TILE_N / 4u);
    let w_four = lane / W_STEP;
    let x_four = lane % (TILE_N / 4u);
    let w_rows = min(vec4(row + 4u * w_four) + vec4(0u, 1u, 2u, 3u), vec4(sizes.rows - 1u));
    let w_starts = group * sizes.rows * chain + w_rows * select(chain, TAPS, BACKWARD);
    var positions: array<vec4<i32>, 4>;
    for (var j = 0u; j < 4u; j++) { positions[j] = position_(col + 4u * x_four + j, group); }
    let starts = vec4(positions[0].x, positions[1].x, positions[2].x, positions[3].x);

    var acc: array<vec4<f32>, 4u * RB * CB>;
    var next: Next;
    var next_link = link_(begin + lane, end);
    var now = 0u;                               // where this step's links are
    // The first round only fetches, the last only computes.
    for (var k = begin; k < end + TILE_K; k += TILE_K) {
        workgroupBarrier();
        if k > begin {
            for (var i = 0u; i < W_LINKS; i++) { tile[(w_link + i * W_STEP) * LINE + w_four] = next.w[i]; }
            for (var i = 0u; i < X_LINKS; i++) {
                let own = x_link + i * X_STEP;
                let link = links[TILE_K - now + own];
                let found = vec4(found_(positions[0] + link), found_(positions[1] + link), found_(positions[2] + link), found_(positions[3] + link));
                tile[own * LINE + TILE_M / 4u + x_four] = select(vec4(0.0), next.x[i], found);
            }
        }
        if lane < TILE_K { links[now + lane] = next_link; }
        workgroupBarrier();
        next = fetch(w_starts, w_link, k, chain, starts, now + x_link);
        if lane < TILE_K { next_link = link_(k + TILE_K + lane, end); }
        now = TILE_K - now;
        if k > begin {
            for (var kk = 0u; kk < TILE_K; kk += 4u) {        // written out: no compiler unrolls as much
                add_products_(&acc, kk * LINE, tx, ty);
                add_products_(&acc, kk * LINE + LINE, tx, ty);
                add_products_(&acc, kk * LINE + 2u * LINE, tx, ty);
                add_products_(&acc, kk * LINE + 3u * LINE, tx, ty);
            }
        }
    }

    // A long output slot keeps this loop from being unrolled. No index depends on it, so acc is in registers all the same.
    let part = slice * sizes.images;
    let here = four_at(col + 4u * tx, part);
    let there = four_at(col + 4u * (tx + TX), part);
    for (var i = 0u; i < 4u; i++) {
        let r = row + 4u * ty + i;
        leave(acc[0], here, group, r);
        if RB > 1u { leave(acc[4u * (RB - 1u)], here, group, r + 4u * TY); }
        if CB > 1u { leave(acc[4u * RB * (CB - 1u)], there, group, r); }
        if RB * CB > 2u { leave(acc[4u * RB * CB - 4u], there, group, r + 4u * TY); }
        for (var j = 1u; j < 4u * RB * CB; j++) { acc[j - 1u] = acc[j]; }
    }
}
