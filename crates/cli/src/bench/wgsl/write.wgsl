// write: out[i] = x[0]
//
// dispatch: (min(groups, 65535), ceil(groups / 65535), 1) of WG invocations, a vector each
// cost:     one write of every element

struct Sizes { n: u32 }
var<immediate> sizes: Sizes;

const WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * 65535u + group.x) * WG + lane;
    if i < sizes.n { out[i] = x[0]; }
}
