// What the attention kernels share: elements of a row, zero past its end, dropout; for those whose lanes own rows, the others that
// they meet; for those by tiles, a block of products in workgroup memory. The files that borrow it have `sizes`, the operands, LOAD, EA4,
// E and EV, the slot `bias`, CAUSAL, and the tiles T, CHUNK and `held`.

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

// The same, where i may be past the end.
fn q_four_(at: u32, i: u32) -> vec4<f32> { if i >= E { return vec4(0.0); } return q_load_(at, i); }
fn k_four_(at: u32, i: u32) -> vec4<f32> { if i >= E { return vec4(0.0); } return k_load_(at, i); }
fn v_four_(at: u32, i: u32) -> vec4<f32> { if i >= EV { return vec4(0.0); } return v_load_(at, i); }
fn g_four_(at: u32, i: u32) -> vec4<f32> { if i >= EV { return vec4(0.0); } return g_load_(at, i); }
fn y_four_(at: u32, i: u32) -> vec4<f32> { if i >= EV { return vec4(0.0); } return y_load_(at, i); }

// Elements i .. i + 3 of four rows.
fn q_fours_(at: vec4<u32>, i: u32) -> mat4x4<f32> {
    return mat4x4(q_four_(at.x, i), q_four_(at.y, i), q_four_(at.z, i), q_four_(at.w, i));
}
fn k_fours_(at: vec4<u32>, i: u32) -> mat4x4<f32> {
    return mat4x4(k_four_(at.x, i), k_four_(at.y, i), k_four_(at.z, i), k_four_(at.w, i));
}
fn v_fours_(at: vec4<u32>, i: u32) -> mat4x4<f32> {
    return mat4x4(v_four_(at.x, i), v_four_(at.y, i), v_four_(at.z, i), v_four_(at.w, i));
}
fn g_fours_(at: vec4<u32>, i: u32) -> mat4x4<f32> {
    return mat4x4(g_four_(at.x, i), g_four_(at.y, i), g_four_(at.z, i), g_four_(at.w, i));
}

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
    var hidden = key >= vec4(sizes.keys);
    if CAUSAL { hidden = hidden | (key > vec4(row)); }
    return select(score, -inf_(), hidden);
}

// s[i] += a[i] · b over what is staged.
fn multiply_(s: mat4x4<f32>, ty: u32, tx: u32) -> mat4x4<f32> {
    var sum = s;
    for (var i = 0u; i < CHUNK; i++) {
        let a = held[i * T + ty];
        let b = held[(CHUNK + i) * T + tx];
        sum = mat4x4(fma(vec4(a.x), b, sum[0]), fma(vec4(a.y), b, sum[1]), fma(vec4(a.z), b, sum[2]), fma(vec4(a.w), b, sum[3]));
    }
    return sum;
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

// Stages CHUNK elements, from `start` on, of TILE rows of its own and TILE others, four rows to a vector: of queries and keys, or of
// values and their gradients, as `own_fours` and `other_fours` of the file say. a_at, b_at: start, row, last row, stride.
fn stage_(values: bool, a_at: vec4<u32>, b_at: vec4<u32>, start: u32, local: u32) {
    for (var block = local; block < 2u * T * (CHUNK / 4u); block += T * T) {
        let second = block >= T * (CHUNK / 4u);
        let part = block % (T * (CHUNK / 4u));
        let i = start + part / T * 4u;
        let n = vec4(part % T * 4u) + vec4(0u, 1u, 2u, 3u);
        var x: mat4x4<f32>;
        if second {
            x = other_fours(values, vec4(b_at.x) + min(vec4(b_at.y) + n, vec4(b_at.z)) * b_at.w, i);
        } else {
            x = own_fours(values, vec4(a_at.x) + min(vec4(a_at.y) + n, vec4(a_at.z)) * a_at.w, i);
        }
        let turned = transpose(x);
        let to = (select(0u, CHUNK, second) + part / T * 4u) * T + n.x / 4u;
        held[to] = turned[0];
        held[to + T] = turned[1];
        held[to + 2u * T] = turned[2];
        held[to + 3u * T] = turned[3];
    }
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
