// fma: x = x · m + c, four chains of four numbers in each invocation, `rounds` times
//
// Nothing is loaded or stored within the loop, so the rate is what the arithmetic units give. The factor comes from
// memory: the compiler cannot foresee the result.
//
// dispatch: any number of workgroups
// cost:     2 · 4 · 4 · rounds operations an invocation

struct Sizes { rounds: u32 }
var<immediate> sizes: Sizes;

alias T = f32;                    // f32 | f16
alias V = vec4<f32>;
const WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = V(T(x[0]));
    let c = V(T(x[1]));
    var a0 = V(T(x[2]));
    var a1 = a0 + c;
    var a2 = a1 + c;
    var a3 = a2 + c;
    for (var i = 0u; i < sizes.rounds; i += 4u) {
        a0 = fma(a0, m, c); a1 = fma(a1, m, c); a2 = fma(a2, m, c); a3 = fma(a3, m, c);
        a0 = fma(a0, m, c); a1 = fma(a1, m, c); a2 = fma(a2, m, c); a3 = fma(a3, m, c);
        a0 = fma(a0, m, c); a1 = fma(a1, m, c); a2 = fma(a2, m, c); a3 = fma(a3, m, c);
        a0 = fma(a0, m, c); a1 = fma(a1, m, c); a2 = fma(a2, m, c); a3 = fma(a3, m, c);
    }
    let s = a0 + a1 + a2 + a3;
    out[id.x] = f32(s.x) + f32(s.y) + f32(s.z) + f32(s.w);
}
