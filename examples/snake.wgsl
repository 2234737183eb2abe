// snake: out = x + sin²(a x) / a, elementwise      x, out [n]

struct Sizes { n: u32, a: f32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < sizes.n; i += 64u * groups.x) {
        let wave = sin(sizes.a * x[i]);
        out[i] = x[i] + wave * wave / sizes.a;
    }
}
