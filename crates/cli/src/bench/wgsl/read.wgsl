// read: eight vectors of x in each invocation, which are added up and (as good as) never stored
//
// dispatch: (min(groups, 65535), ceil(groups / 65535), 1) of WG invocations, eight vectors each
// cost:     one read of every element

struct Sizes { n: u32 }
var<immediate> sizes: Sizes;

const WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = (group.y * 65535u + group.x) * WG * 8u + lane;
    if start + 7u * WG >= sizes.n { return; }
    var sum = x[start];
    for (var k = 1u; k < 8u; k++) { sum += x[start + k * WG]; }
    // x holds numbers in [-1, 1): the sum is never this, which the compiler does not know
    if sum.x == 12345.0 { out[0] = sum; }
}
