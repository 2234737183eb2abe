// What convolutions share that walk windows: columns of the implicit product, and what their windows see. The files that
// borrow it have `sizes`, KERNEL, STRIDE, PADDING, DILATION, FLAT, BACKWARD, STRIDED, and the slot `load`.

// A column: where its window begins in `from`, and the first element of its image's group.
struct Column_ { at: vec3<i32>, start: u32 }

fn column_(col: u32, group: u32) -> Column_ {
    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    let c = min(col, sizes.images * area - 1u);
    let image = quotient_(c, area);
    let line = quotient_(c, sizes.to_w);
    let slab = select(quotient_(line, sizes.to_h), image, FLAT);
    let at = vec3<i32>(vec3(slab - image * sizes.to_d, line - slab * sizes.to_h, c - line * sizes.to_w));
    let start = (image * sizes.groups + group) * sizes.chans * sizes.from_d * sizes.from_h * sizes.from_w;
    return Column_(select(at * STRIDE - PADDING, at + PADDING, BACKWARD), start);
}

// The place of a tap in the window, dilated.
fn reach_(tap: u32) -> vec3<i32> {
    let w = tap % KERNEL.z;
    let h = select(tap / KERNEL.z % KERNEL.y, 0u, KERNEL.y == 1u);
    let d = select(tap / KERNEL.z / KERNEL.y, 0u, KERNEL.x == 1u);
    return vec3<i32>(vec3(d, h, w)) * DILATION;
}

// What the window of a column sees at a tap of channel c; zero in the padding.
fn see_(column: Column_, tap: vec3<i32>, c: u32) -> f32 {
    var at = select(column.at + tap, column.at - tap, BACKWARD);
    var real = true;
    if STRIDED {
        real = all(at >= vec3(0)) && all(at % STRIDE == vec3(0));
        at /= STRIDE;
    }
    let u = vec3<u32>(at);
    real = real && (FLAT || u.x < sizes.from_d) && u.y < sizes.from_h && u.z < sizes.from_w;
    let depth = select(c * sizes.from_d + u.x, c, FLAT);
    let i = column.start + (depth * sizes.from_h + u.y) * sizes.from_w + u.z;
    return select(0.0, load(select(0u, i, real)), real);
}

// For tiles: the way to the window of a column, and from there to a link of the chain, a tap of a channel; nowhere from `end` on.
// Where strides divide (BACKWARD), places count before the division.
fn position_(col: u32, group: u32) -> vec4<i32> {
    let column = column_(col, group);
    return vec4(i32(column.start) + along_(select(column.at, column.at / STRIDE, BACKWARD)), column.at);
}
fn link_(k: u32, end: u32) -> vec4<i32> {
    let c = k / TAPS;
    let tap = reach_(k - c * TAPS);
    let start = i32(c * sizes.from_d * sizes.from_h * sizes.from_w);
    let at = select(tap, -tap, BACKWARD);
    return vec4(start + select(along_(tap), -along_(tap / STRIDE), BACKWARD), at.xy, select(NOWHERE_, at.z, k < end));
}
// Whether there is an element at the end of the way.
fn found_(way: vec4<i32>) -> bool {
    let scale = vec3<u32>(select(vec3(1), STRIDE, STRIDED));
    return inside_(way.yzw, scale) & all(vec3<u32>(way.yzw) % scale == vec3(0u));
}
