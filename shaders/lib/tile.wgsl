// What matrix products by tiles share, each invocation owning RB x CB blocks of 4x4. The files that borrow it have RB, CB, TX, TY,
// TILE_M and a `tile` of workgroup memory, whose lines are vectors of one k: those of a's rows, then those of b's columns.

// acc += a · b for one k, whose line of the tile begins at `at`.
fn add_products_(acc: ptr<function, array<vec4<f32>, 4u * RB * CB>>, at: u32, tx: u32, ty: u32) {
    var x: array<vec4<f32>, RB>;
    for (var i = 0u; i < RB; i++) { x[i] = tile[at + ty + i * TY]; }
    for (var j = 0u; j < CB; j++) {
        let y = tile[at + TILE_M / 4u + tx + j * TX];
        for (var i = 0u; i < RB; i++) {
            let c = (j * RB + i) * 4u;
            (*acc)[c] = fma(vec4(x[i].x), y, (*acc)[c]);
            (*acc)[c + 1u] = fma(vec4(x[i].y), y, (*acc)[c + 1u]);
            (*acc)[c + 2u] = fma(vec4(x[i].z), y, (*acc)[c + 2u]);
            (*acc)[c + 3u] = fma(vec4(x[i].w), y, (*acc)[c + 3u]);
        }
    }
}
