// What the gradients of a convolution's weights share: where a weight's tap meets the lines of x. The files that borrow it
// have `sizes`, `x`, TAPS, KERNEL, STRIDE, PADDING, DILATION, FLAT.

// A weight of the group: where its tap lies in a window at the origin, and the first element of its channel in image 0.
struct Weight_ { at: vec3<i32>, start: u32 }

fn weight_(q: u32, group: u32) -> Weight_ {
    let k = min(q, sizes.chans * TAPS - 1u);
    let tap = k % TAPS;
    let w = tap % KERNEL.z;
    let h = select(tap / KERNEL.z % KERNEL.y, 0u, KERNEL.y == 1u);
    let d = select(tap / KERNEL.z / KERNEL.y, 0u, KERNEL.x == 1u);
    let start = (group * sizes.chans + k / TAPS) * sizes.from_d * sizes.from_h * sizes.from_w;
    return Weight_(vec3<i32>(vec3(d, h, w)) * DILATION - PADDING, start);
}

// A weight's line of x that meets a line (image, depth, height) of dy: its first element, and whether it is there.
struct Line_ { start: u32, real: bool }

fn line_(weight: Weight_, image: u32, depth: u32, height: u32) -> Line_ {
    let h = u32(weight.at.y + i32(height) * STRIDE.y);
    let d = select(u32(weight.at.x + i32(depth) * STRIDE.x), 0u, FLAT);
    let plane = image * sizes.groups * sizes.chans * sizes.from_d + d;
    return Line_(weight.start + (plane * sizes.from_h + h) * sizes.from_w, h < sizes.from_h && d < sizes.from_d);
}

// What the weight meets at a place of the line; zero in the padding.
fn meet_(weight: Weight_, line: Line_, place: u32) -> f32 {
    let w = u32(weight.at.z + i32(place) * STRIDE.z);
    let real = line.real && w < sizes.from_w;
    return select(0.0, f32(x[select(0u, line.start + w, real)]), real);
}

// Four_ places of dy from one line on: places of a line count up to the next multiple of four.
struct Four_ { image: u32, depth: u32, height: u32, place: u32 }

fn four_(k: u32) -> Four_ {
    let padded = (sizes.to_w + 3u) / 4u * 4u;
    let l = quotient_(k, padded);
    let slab = quotient_(l, sizes.to_h);
    let image = select(quotient_(slab, sizes.to_d), slab, FLAT);
    return Four_(image, slab - image * sizes.to_d, l - slab * sizes.to_h, k - l * padded);
}

// For tiles: the way from a place of dy to what it meets for weight q: along its tap, to its channel.
fn weight_way_(q: u32, group: u32) -> vec4<i32> {
    let own = weight_(q, group);
    return vec4(i32(own.start) + along_(own.at), own.at);
}

// Place k of dy, counted over all images, as image, depth, height and width; and the place that many further on, without a division.
fn place_(k: u32) -> vec4<u32> {
    let line = quotient_(k, sizes.to_w);
    let slab = quotient_(line, sizes.to_h);
    let image = select(quotient_(slab, sizes.to_d), slab, FLAT);
    return vec4(image, slab - image * sizes.to_d, line - slab * sizes.to_h, k - line * sizes.to_w);
}
fn further_(place: vec4<u32>, by: vec4<u32>) -> vec4<u32> {
    var to = place + by;
    let w = to.w >= sizes.to_w;
    to = select(to, to + vec4(0u, 0u, 1u, 0u - sizes.to_w), w);
    let h = to.z >= sizes.to_h;
    to = select(to, to + vec4(0u, 1u, 0u - sizes.to_h, 0u), h);
    let d = to.y >= sizes.to_d;
    return select(to, to + vec4(1u, 0u - sizes.to_d, 0u, 0u), d);
}

// The way to where the window of a place begins, in channel 0 of x; to nowhere if the place is not `real`.
fn place_way_(place: vec4<u32>, real: bool) -> vec4<i32> {
    let at = vec3<i32>(place.yzw) * STRIDE;
    let start = i32(place.x * sizes.groups * sizes.chans * sizes.from_d * sizes.from_h * sizes.from_w);
    return vec4(start + along_(at), at.xy, select(NOWHERE_, at.z, real));
}
// Whether there is an element at the end of the way.
fn met_(way: vec4<i32>) -> bool { return inside_(way.yzw, vec3(1u)); }
