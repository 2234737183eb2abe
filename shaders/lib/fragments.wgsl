// What products by matrix units share. The files that borrow it have FragA, FragB, FragC, SIZE, SM, SN, WG, a `corner` of workgroup
// memory for a fragment of each subgroup, and `finished`, which is given four neighbours of a row. Those that bring operands
// into workgroup memory have `ta` and `tb`, of A_LINES lines, A_LINE elements apart, of A_FOURS fours each: along k, or along
// m where A_DOWN (b: along n, or along k where B_DOWN); an invocation brings A_LOADS fours of a in a step.

// Who an invocation is in its workgroup, and which part of the result (batch, image or slice) and group that works on.
struct Own_ { subgroup: u32, lane: u32, lanes: u32, part: u32, group: u32 }

// Where fragments cannot be made from nothing, zeros are loaded. The whole workgroup comes here.
fn zero_(index: u32) -> FragC {
    let line = SIZE;
    for (var i = index; i < SIZE * SIZE; i += WG) { corner[i] = 0.0; }
    workgroupBarrier();
    return coopLoadT<FragC>(&corner[0], line);
}

// Lays down what an invocation has brought.
fn lay_a_(next: ptr<function, array<vec4<f16>, A_LOADS>>, index: u32) {
    for (var l = 0u; l < A_LOADS; l++) {
        let i = index + l * WG;
        let to = i / A_FOURS * A_LINE + i % A_FOURS * 4u;
        if i < A_LINES * A_FOURS { for (var j = 0u; j < 4u; j++) { ta[to + j] = (*next)[l][j]; } }
    }
}
fn lay_b_(next: ptr<function, array<vec4<f16>, B_LOADS>>, index: u32) {
    for (var l = 0u; l < B_LOADS; l++) {
        let i = index + l * WG;
        let to = i / B_FOURS * B_LINE + i % B_FOURS * 4u;
        if i < B_LINES * B_FOURS { for (var j = 0u; j < 4u; j++) { tb[to + j] = (*next)[l][j]; } }
    }
}

fn frag_a_(row: u32, k: u32) -> FragA {
    let line = A_LINE;
    if A_DOWN { let i = k * A_LINE + row; return coopLoad<FragA>(&ta[i], line); }
    let i = row * A_LINE + k;
    return coopLoadT<FragA>(&ta[i], line);
}
fn frag_b_(k: u32, col: u32) -> FragB {
    let line = B_LINE;
    if B_DOWN { let i = col * B_LINE + k; return coopLoad<FragB>(&tb[i], line); }
    let i = k * B_LINE + col;
    return coopLoadT<FragB>(&tb[i], line);
}

// Zeros over what was laid of a step from its k = left on, which is past the end.
fn blank_a_(left: u32, index: u32) {
    for (var i = index; i < TILE_M * (TILE_K - left); i += WG) {
        let row = i % TILE_M;
        let k = left + i / TILE_M;
        ta[select(row * A_LINE + k, k * A_LINE + row, A_DOWN)] = 0.0h;
    }
}
fn blank_b_(left: u32, index: u32) {
    for (var i = index; i < TILE_N * (TILE_K - left); i += WG) {
        let col = i % TILE_N;
        let k = left + i / TILE_N;
        tb[select(k * B_LINE + col, col * B_LINE + k, B_DOWN)] = 0.0h;
    }
}

// Finished fragments, cij from row i and column j, go through the subgroup's corner of workgroup memory one after the other: their
// elements cannot be reached otherwise. A loop, so that the output slot is compiled once. The whole workgroup comes here;
// subgroups that are too many store nothing.
fn finish_(
    c00: FragC, c01: FragC, c02: FragC, c03: FragC, c10: FragC, c11: FragC, c12: FragC, c13: FragC,
    c20: FragC, c21: FragC, c22: FragC, c23: FragC, c30: FragC, c31: FragC, c32: FragC, c33: FragC,
    own: Own_, row: u32, col: u32,
) {
    let at = own.subgroup % (SM * SN) * SIZE * SIZE;
    let line = SIZE;
    for (var f = 0u; f < FM * FN; f++) {
        workgroupBarrier();
        switch f / FN * 4u + f % FN {
            case 0u: { coopStoreT(c00, &corner[at], line); }
            case 1u: { if FN > 1u { coopStoreT(c01, &corner[at], line); } }
            case 2u: { if FN > 2u { coopStoreT(c02, &corner[at], line); } }
            case 3u: { if FN > 2u { coopStoreT(c03, &corner[at], line); } }
            case 4u: { if FM > 1u { coopStoreT(c10, &corner[at], line); } }
            case 5u: { if FM > 1u && FN > 1u { coopStoreT(c11, &corner[at], line); } }
            case 6u: { if FM > 1u && FN > 2u { coopStoreT(c12, &corner[at], line); } }
            case 7u: { if FM > 1u && FN > 2u { coopStoreT(c13, &corner[at], line); } }
            case 8u: { if FM > 2u { coopStoreT(c20, &corner[at], line); } }
            case 9u: { if FM > 2u && FN > 1u { coopStoreT(c21, &corner[at], line); } }
            case 10u: { if FM > 2u && FN > 2u { coopStoreT(c22, &corner[at], line); } }
            case 11u: { if FM > 2u && FN > 2u { coopStoreT(c23, &corner[at], line); } }
            case 12u: { if FM > 2u { coopStoreT(c30, &corner[at], line); } }
            case 13u: { if FM > 2u && FN > 1u { coopStoreT(c31, &corner[at], line); } }
            case 14u: { if FM > 2u && FN > 2u { coopStoreT(c32, &corner[at], line); } }
            default: { if FM > 2u && FN > 2u { coopStoreT(c33, &corner[at], line); } }
        }
        workgroupBarrier();
        if own.subgroup < SM * SN {
            for (var i = own.lane; i < SIZE * SIZE / 4u; i += own.lanes) {
                let r = i / (SIZE / 4u);
                let j = i % (SIZE / 4u) * 4u;
                let src = at + r * SIZE + j;
                let v = vec4(corner[src], corner[src + 1u], corner[src + 2u], corner[src + 3u]);
                finished(v, own, row + f / FN * SIZE + r, col + f % FN * SIZE + j);
            }
        }
    }
}
