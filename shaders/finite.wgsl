// finite: marks flags[node] with 1 if some x is infinite, and with 2 if some x is NaN.      x [words], flags [nodes]
//
// One invocation per word of four bytes, which holds one f32 or two f16. Tests bits: comparisons with NaN are
// unreliable in WGSL, and reading f16 as words needs no f16. Run only when a step has failed, to find where.
//
// dispatch: ceil(words / WG) workgroups, folded past 65535
// cost:     one read of x
// twin:     crates/device/tests/reduce.rs

const WG: u32 = 64u;
const HALF: bool = false;               // two f16 in a word

struct Sizes { n: u32, node: u32 }      // n: values of x
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> flags: array<atomic<u32>>;

// 1 if the bits are an infinity, 2 if they are NaN, else 0; `top` is the infinity.
fn kind(bits: u32, top: u32) -> u32 {
    return select(select(0u, 1u, bits == top), 2u, bits > top);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (first_group_() + group.y * 65535u + group.x) * WG + local;
    var found = 0u;
    if HALF {
        if 2u * i < sizes.n { found = kind(x[i] & 0x7fffu, 0x7c00u); }
        if 2u * i + 1u < sizes.n { found |= kind((x[i] >> 16u) & 0x7fffu, 0x7c00u); }
    } else {
        if i < sizes.n { found = kind(x[i] & 0x7fffffffu, 0x7f800000u); }
    }
    if found != 0u { atomicOr(&flags[sizes.node], found); }
}
