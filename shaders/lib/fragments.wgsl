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

// A fragment goes through the subgroup's corner of workgroup memory: its elements cannot be reached otherwise. The whole workgroup
// comes here; subgroups that are too many store nothing.
fn finish_(c: FragC, own: Own_, row: u32, col: u32) {
    let at = own.subgroup % (SM * SN) * SIZE * SIZE;
    let line = SIZE;
    workgroupBarrier();
    coopStoreT(c, &corner[at], line);
    workgroupBarrier();
    if own.subgroup >= SM * SN { return; }
    for (var i = own.lane; i < SIZE * SIZE / 4u; i += own.lanes) {
        let r = i / (SIZE / 4u);
        let j = i % (SIZE / 4u) * 4u;
        let src = at + r * SIZE + j;
        finished(vec4(corner[src], corner[src + 1u], corner[src + 2u], corner[src + 3u]), own, row + r, col + j);
    }
}
