// What kernels share whose lanes own rows or columns, eight lanes to a workgroup. Those that keep PER rows of each lane have PER
// and ROWS = 8 PER.

// acc + a · b, b[i] being row i.
fn step_(acc: vec4<f32>, a: vec4<f32>, b: mat4x4<f32>) -> vec4<f32> {
    return fma(vec4(a.w), b[3], fma(vec4(a.z), b[2], fma(vec4(a.y), b[1], fma(vec4(a.x), b[0], acc))));
}

// Row i of every lane, x being this one's, times y.
fn spread_(acc: ptr<function, array<vec4<f32>, ROWS>>, i: u32, x: vec4<f32>, y: mat4x4<f32>) {
    (*acc)[i] = step_((*acc)[i], subgroupBroadcast(x, 0u), y);
    (*acc)[PER + i] = step_((*acc)[PER + i], subgroupBroadcast(x, 1u), y);
    (*acc)[2u * PER + i] = step_((*acc)[2u * PER + i], subgroupBroadcast(x, 2u), y);
    (*acc)[3u * PER + i] = step_((*acc)[3u * PER + i], subgroupBroadcast(x, 3u), y);
    (*acc)[4u * PER + i] = step_((*acc)[4u * PER + i], subgroupBroadcast(x, 4u), y);
    (*acc)[5u * PER + i] = step_((*acc)[5u * PER + i], subgroupBroadcast(x, 5u), y);
    (*acc)[6u * PER + i] = step_((*acc)[6u * PER + i], subgroupBroadcast(x, 6u), y);
    (*acc)[7u * PER + i] = step_((*acc)[7u * PER + i], subgroupBroadcast(x, 7u), y);
}

// Finished rows leave from the front, eight and then one of them, and the others move up: arrays are only ever indexed by constants,
// and stay in registers.
fn take_eight_(acc: ptr<function, array<vec4<f32>, ROWS>>) -> array<vec4<f32>, 8> {
    var eight: array<vec4<f32>, 8>;
    for (var i = 0u; i < 8u; i++) { eight[i] = (*acc)[i]; }
    for (var i = 0u; i < ROWS - 8u; i++) { (*acc)[i] = (*acc)[i + 8u]; }
    return eight;
}
fn take_one_(eight: ptr<function, array<vec4<f32>, 8>>) -> vec4<f32> {
    let one = (*eight)[0];
    for (var i = 0u; i < 7u; i++) { (*eight)[i] = (*eight)[i + 1u]; }
    return one;
}
