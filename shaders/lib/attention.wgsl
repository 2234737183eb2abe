// What the attention kernels share: elements of a row, zero past its end, dropout; for those whose lanes own rows, the others that
// they meet; for those by tiles, a block of products in workgroup memory. The files that borrow it have `sizes`, the operands, LOAD, EA4,
// E and EV, the slot `bias`, CAUSAL, and for tiles `held`, T, TY, RB, CHUNK and STEPS.

// Element i of the row that begins at `at`.
fn q_one_(at: u32, i: u32) -> f32 { return select(0.0, vec4<f32>(EA4(q[at + min(i, E - 1u)]))[0], i < E); }
fn k_one_(at: u32, i: u32) -> f32 { return select(0.0, vec4<f32>(EA4(k[at + min(i, E - 1u)]))[0], i < E); }
fn v_one_(at: u32, i: u32) -> f32 { return select(0.0, vec4<f32>(EA4(v[at + min(i, EV - 1u)]))[0], i < EV); }
fn g_one_(at: u32, i: u32) -> f32 { return select(0.0, vec4<f32>(EA4(dy[at + min(i, EV - 1u)]))[0], i < EV); }
fn y_one_(at: u32, i: u32) -> f32 { return select(0.0, vec4<f32>(EA4(y[at + min(i, EV - 1u)]))[0], i < EV); }

// Elements i .. i + 3 of the row that begins at `at`, of which i is one; zero past its end.
fn q_load_(at: u32, i: u32) -> vec4<f32> {
    if LOAD == 4u { return vec4<f32>(EA4(q[(at + i) / 4u])); }
    return vec4(q_one_(at, i), q_one_(at, i + 1u), q_one_(at, i + 2u), q_one_(at, i + 3u));
}
fn k_load_(at: u32, i: u32) -> vec4<f32> {
    if LOAD == 4u { return vec4<f32>(EA4(k[(at + i) / 4u])); }
    return vec4(k_one_(at, i), k_one_(at, i + 1u), k_one_(at, i + 2u), k_one_(at, i + 3u));
}
fn v_load_(at: u32, i: u32) -> vec4<f32> {
    if LOAD == 4u { return vec4<f32>(EA4(v[(at + i) / 4u])); }
    return vec4(v_one_(at, i), v_one_(at, i + 1u), v_one_(at, i + 2u), v_one_(at, i + 3u));
}
fn g_load_(at: u32, i: u32) -> vec4<f32> {
    if LOAD == 4u { return vec4<f32>(EA4(dy[(at + i) / 4u])); }
    return vec4(g_one_(at, i), g_one_(at, i + 1u), g_one_(at, i + 2u), g_one_(at, i + 3u));
}
fn y_load_(at: u32, i: u32) -> vec4<f32> {
    if LOAD == 4u { return vec4<f32>(EA4(y[(at + i) / 4u])); }
    return vec4(y_one_(at, i), y_one_(at, i + 1u), y_one_(at, i + 2u), y_one_(at, i + 3u));
}

// Elements i .. i + 3 of four rows.
fn q_fours_(at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(q_load_(at.x, i), q_load_(at.y, i), q_load_(at.z, i), q_load_(at.w, i)); }
fn k_fours_(at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(k_load_(at.x, i), k_load_(at.y, i), k_load_(at.z, i), k_load_(at.w, i)); }
fn v_fours_(at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(v_load_(at.x, i), v_load_(at.y, i), v_load_(at.z, i), v_load_(at.w, i)); }
fn g_fours_(at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(g_load_(at.x, i), g_load_(at.y, i), g_load_(at.z, i), g_load_(at.w, i)); }

// Rows for kernels in which a lane owns one and meets eight others at a time. slot: x of lanes 0 .. 3, or the same loaded from where
// four rows begin; of lanes 4 .. 7; likewise below.
fn q_low_(x: vec4<f32>, at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(q_load_(at.x, i), q_load_(at.y, i), q_load_(at.z, i), q_load_(at.w, i)); }
fn q_high_(x: vec4<f32>, at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(q_load_(at.x, i), q_load_(at.y, i), q_load_(at.z, i), q_load_(at.w, i)); }
fn k_low_(x: vec4<f32>, at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(k_load_(at.x, i), k_load_(at.y, i), k_load_(at.z, i), k_load_(at.w, i)); }
fn k_high_(x: vec4<f32>, at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(k_load_(at.x, i), k_load_(at.y, i), k_load_(at.z, i), k_load_(at.w, i)); }
fn v_low_(x: vec4<f32>, at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(v_load_(at.x, i), v_load_(at.y, i), v_load_(at.z, i), v_load_(at.w, i)); }
fn v_high_(x: vec4<f32>, at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(v_load_(at.x, i), v_load_(at.y, i), v_load_(at.z, i), v_load_(at.w, i)); }
fn g_low_(x: vec4<f32>, at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(g_load_(at.x, i), g_load_(at.y, i), g_load_(at.z, i), g_load_(at.w, i)); }
fn g_high_(x: vec4<f32>, at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(g_load_(at.x, i), g_load_(at.y, i), g_load_(at.z, i), g_load_(at.w, i)); }
fn n_low_(x: vec4<f32>, at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(n_load_(at.x), n_load_(at.y), n_load_(at.z), n_load_(at.w)); }
fn n_high_(x: vec4<f32>, at: vec4<u32>, i: u32) -> mat4x4<f32> { return mat4x4(n_load_(at.x), n_load_(at.y), n_load_(at.z), n_load_(at.w)); }

// lse and delta of a query.
fn n_load_(at: u32) -> vec4<f32> { return vec4(norms[at], 0.0, 0.0); }

// The scores of a row's four keys, those that are not seen at -inf.
fn seen_(s: vec4<f32>, mask_at: u32, row: u32, key: vec4<u32>) -> vec4<f32> {
    let at = vec4(mask_at) + min(key, vec4(sizes.keys - 1u)) * sizes.m_col;
    let score = s + vec4(bias(at.x), bias(at.y), bias(at.z), bias(at.w));
    return select(score, -inf_(), hidden_(row, key));
}

// Which of four keys a row does not see.
fn hidden_(row: u32, key: vec4<u32>) -> vec4<bool> {
    if CAUSAL { return (key >= vec4(sizes.keys)) | (key > vec4(row)); }
    return key >= vec4(sizes.keys);
}

// s += a · b over what is staged.
fn multiply_(s: ptr<function, array<mat4x4<f32>, RB>>, ty: u32, tx: u32) {
    for (var first = 0u; first < CHUNK; first += STEPS) {
        for (var i = 0u; i < STEPS; i++) {
            let b = held[(CHUNK + first + i) * T + tx];
            for (var r = 0u; r < RB; r++) {
                let a = held[(first + i) * T + ty + r * TY];
                for (var m = 0u; m < 4u; m++) { (*s)[r][m] = fma(vec4(a[m]), b, (*s)[r][m]); }
            }
        }
    }
}

// Lays down four rows of four so that a row of the block is read as fours of its column.
fn lay_(m: mat4x4<f32>, ty: u32, tx: u32) {
    let turned = transpose(m);
    held[4u * tx * T + ty] = turned[0];
    held[(4u * tx + 1u) * T + ty] = turned[1];
    held[(4u * tx + 2u) * T + ty] = turned[2];
    held[(4u * tx + 3u) * T + ty] = turned[3];
}

fn across_(m: mat4x4<f32>) -> vec4<f32> {
    let t = transpose(m);
    return t[0] + t[1] + t[2] + t[3];
}

// Where the four rows begin that an invocation stages, the first invocations those of its own block, the others those of the other. A block:
// start of the operand, first row, last row there is, stride.
fn staged_(own: vec4<u32>, other: vec4<u32>, local: u32) -> vec4<u32> {
    let block = select(own, other, local >= T * CHUNK / 4u);
    let row = vec4(block.y + local % T * 4u) + vec4(0u, 1u, 2u, 3u);
    return vec4(block.x) + min(row, vec4(block.z)) * block.w;
}

// Stages CHUNK elements, from `start` on, of the rows of both blocks that begin at `at`, four rows to a vector: of queries and keys, or
// of values and their gradients, as `own_fours` and `other_fours` of the file say; zero past the end.
fn stage_(values: bool, at: vec4<u32>, start: u32, local: u32) {
    if T * TY > T * CHUNK / 2u && local >= T * CHUNK / 2u { return; }
    let i = start + local / T % (CHUNK / 4u) * 4u;
    let end = select(E, EV, values);
    var x = mat4x4<f32>();
    if end % CHUNK == 0u || i < end {
        if local >= T * CHUNK / 4u { x = other_fours(values, at, i); } else { x = own_fours(values, at, i); }
    }
    let turned = transpose(x);
    for (var c = 0u; c < 4u; c++) { held[(local / T * 4u + c) * T + local % T] = turned[c]; }
}

// Dropout. The weights are counted over [batch, heads, length, keys], and whether one is kept is said by its word of a stream: 1 if
// it is, 0 if not. draw: two words of the key, the call, and the least upper 24 bits that keep.
fn keeps_(words: vec4<u32>) -> vec4<f32> {
    return select(vec4(0.0), vec4(1.0), (words >> vec4(8u)) >= vec4(draw[0].w));
}

// Of four weights anywhere.
fn kept_each_(at: vec4<u32>) -> vec4<f32> {
    let d = draw[0];
    return keeps_(vec4(philox_word1_(at.x, d.x, d.y, d.z, 0u), philox_word1_(at.y, d.x, d.y, d.z, 0u),
                       philox_word1_(at.z, d.x, d.y, d.z, 0u), philox_word1_(at.w, d.x, d.y, d.z, 0u)));
}

// Of four in a row, the first a multiple of 4.
fn kept_four_(at: u32) -> vec4<f32> {
    let d = draw[0];
    return keeps_(philox_words_(at / 4u, d.x, d.y, d.z, 0u));
}

// Of four in a row.
fn kept_run_(at: u32) -> vec4<f32> {
    let d = draw[0];
    let a = philox_words_(at / 4u, d.x, d.y, d.z, 0u);
    let b = philox_words_(at / 4u + 1u, d.x, d.y, d.z, 0u);
    let two = (at & 2u) != 0u;
    let w = select(a, vec4(a.zw, b.xy), two);
    return keeps_(select(w, vec4(w.yzw, select(b.x, b.z, two)), (at & 1u) != 0u));
}
