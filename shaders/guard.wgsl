// guard: records a fault if one of x[0 .. n] is NaN or infinite, and what x[0] was. x [words], fault [4]
//
// The key of a fault puts the lowest node first, then the lowest row, so that the greatest key is the fault to tell of;
// 0 is a clean record. Finiteness is a test of bits: comparisons with NaN are unreliable in WGSL.
//
// dispatch: (1, 1, 1); n up to 65535 * WG
// cost:     one read of x
// twin:     crates/device/tests/reduce.rs

const WG: u32 = 64u;
const HALF: bool = false;               // two f16 in a word

// node: number of the node that made x, below 4096; place: the word of the record that takes x[0], or 0 for none
struct Sizes { n: u32, node: u32, place: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> fault: array<atomic<u32>, 4>;

// The bits of element i, as an f32; of an f16 below 2^-14 maybe those of 0.
fn bits(i: u32) -> u32 {
    if !HALF { return x[i]; }
    let half = x[i >> 1u] >> (16u * (i & 1u));
    let rest = (half & 0x7fffu) << 13u;                             // 2^-112 of it
    let number = bitcast<u32>(bitcast<f32>(rest) * 5192296858534827628530496329220096.0);
    let size = select(number, rest | 0x7f800000u, rest >= 0x0f800000u);
    return size | ((half & 0x8000u) << 16u);
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) local: u32) {
    if local == 0u && sizes.place > 0u {
        atomicStore(&fault[sizes.place], bits(0u));
    }
    for (var i = local; i < sizes.n; i += WG) {
        if (bits(i) & 0x7f800000u) == 0x7f800000u {
            atomicMax(&fault[0], 0xffffffffu - ((sizes.node << 20u) | min(i, 0xfffffu)));
            break;
        }
    }
}
