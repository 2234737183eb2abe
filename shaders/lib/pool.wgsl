// What pooling shares: the windows along an axis. The files that borrow it have `sizes`, KERNEL, STRIDE, PADDING, ADAPTIVE.

// The last output per axis whose window may reach a position, and how many before it may too.
struct Range_ { last: vec3<u32>, count: vec3<u32> }

fn reached_(at: vec3<u32>) -> Range_ {
    let outs = vec3(sizes.out_d, sizes.out_h, sizes.out_w);
    if ADAPTIVE {
        let size = vec3(sizes.in_d, sizes.in_h, sizes.in_w);
        let end = ((at + 1u) * outs + size - 1u) / size;
        return Range_(end - 1u, end - at * outs / size);
    }
    let last = (at + PADDING) / STRIDE;
    // few candidates are looked at all, so that the loops have no bounds to know; many are cut at the edges
    if all(REACH <= vec3(4u)) { return Range_(last, REACH); }
    let end = min(last + 1u, outs);
    let first = select(last + 1u - REACH, vec3(0u), last + 1u < REACH);
    return Range_(end - 1u, select(end - first, vec3(0u), end < first));
}

// The elements of x that a window holds, from `begin` up to `end`.
struct Window_ { begin: vec3<u32>, end: vec3<u32> }

fn window_(o: vec3<u32>) -> Window_ {
    let size = vec3(sizes.in_d, sizes.in_h, sizes.in_w);
    if ADAPTIVE {
        let outs = vec3(sizes.out_d, sizes.out_h, sizes.out_w);
        return Window_(o * size / outs, ((o + 1u) * size + outs - 1u) / outs);
    }
    let begin = max(o * STRIDE, PADDING) - PADDING;
    return Window_(begin, max(min(max(o * STRIDE + KERNEL, PADDING) - PADDING, size), begin));
}

// What the window of an output is divided by: a given number, or its elements, with or without those in the padding. A window may
// reach past the padding (ceil mode); what lies there never counts.
fn divisor_(o: vec3<u32>) -> f32 {
    if sizes.divisor > 0u { return f32(sizes.divisor); }
    let own = window_(o);
    var n = own.end - own.begin;
    if COUNT_PADDING { n = min(o * STRIDE + KERNEL, vec3(sizes.in_d, sizes.in_h, sizes.in_w) + 2u * PADDING) - o * STRIDE; }
    return f32(n.x * n.y * n.z);
}
