// coop: c = a · b + c with fragments of SIZE × SIZE, four chains in each subgroup, `rounds` times
//
// The same two fragments of f16 again and again, f32 sums: what matrix units give when nothing has to be fetched.
//
// dispatch: any number of workgroups of one subgroup
// cost:     4 · 2 · SIZE³ · rounds operations a subgroup

enable f16;
enable wgpu_cooperative_matrix;

struct Sizes { rounds: u32 }
var<immediate> sizes: Sizes;

alias FragA = coop_mat8x8<f16, A>;
alias FragB = coop_mat8x8<f16, B>;
alias FragC = coop_mat8x8<f32, C>;
const SIZE: u32 = 8u;             // 8 | 16
const WG: u32 = 32u;              // invocations of a subgroup

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

var<workgroup> nothing: array<f32, SIZE * SIZE>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let line = SIZE;
    // Fragments cannot be made from nothing; zeros are loaded.
    for (var i = lane; i < SIZE * SIZE; i += WG) { nothing[i] = 0.0; }
    workgroupBarrier();
    let zero = coopLoadT<FragC>(&nothing[0], line);
    let a = coopLoadT<FragA>(&x[0], line);
    let b = coopLoadT<FragB>(&x[SIZE * SIZE], line);
    var c0 = zero;
    var c1 = zero;
    var c2 = zero;
    var c3 = zero;
    for (var i = 0u; i < sizes.rounds; i++) {
        c0 = coopMultiplyAdd(a, b, c0);
        c1 = coopMultiplyAdd(a, b, c1);
        c2 = coopMultiplyAdd(a, b, c2);
        c3 = coopMultiplyAdd(a, b, c3);
    }
    let at = group.x * 4u * SIZE * SIZE;
    let at1 = at + SIZE * SIZE;
    let at2 = at1 + SIZE * SIZE;
    let at3 = at2 + SIZE * SIZE;
    coopStoreT(c0, &out[at], line);
    coopStoreT(c1, &out[at1], line);
    coopStoreT(c2, &out[at2], line);
    coopStoreT(c3, &out[at3], line);
}
