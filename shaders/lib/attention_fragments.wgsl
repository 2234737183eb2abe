// What attention by matrix units shares: fragments of the operands, straight from storage; sums on their way through workgroup memory;
// what becomes of a block of scores. The files that borrow it have FragA, FragB, FragC, SIZE, EV, CAUSAL, `sizes`, the operands, `scores`
// in lines of S_LINE, `weights` in lines of W_LINE and the slots `bias` and `kept`; those of gradients also dp, `above`, laid down like
// the scores, ds, `slopes`, laid down like the weights, and `held`.

// A fragment of an operand whose first element is at `at`: its rows as rows of the first factor,
fn q_rows_(at: u32) -> FragA { let line = sizes.q_row; return coopLoadT<FragA>(&q[at], line); }
fn g_rows_(at: u32) -> FragA { let line = sizes.heads * EV; return coopLoadT<FragA>(&dy[at], line); }
// as columns of the second,
fn k_cols_(at: u32) -> FragB { let line = sizes.k_row; return coopLoad<FragB>(&k[at], line); }
fn v_cols_(at: u32) -> FragB { let line = sizes.v_row; return coopLoad<FragB>(&v[at], line); }
// or as rows of the second.
fn q_lines_(at: u32) -> FragB { let line = sizes.q_row; return coopLoadT<FragB>(&q[at], line); }
fn k_lines_(at: u32) -> FragB { let line = sizes.k_row; return coopLoadT<FragB>(&k[at], line); }
fn v_lines_(at: u32) -> FragB { let line = sizes.v_row; return coopLoadT<FragB>(&v[at], line); }
fn g_lines_(at: u32) -> FragB { let line = sizes.heads * EV; return coopLoadT<FragB>(&dy[at], line); }

// Rows of the weights or of ds that have been laid down, or their columns, as rows of the first factor.
fn w_rows_(at: u32) -> FragA { let line = W_LINE; return coopLoadT<FragA>(&weights[at], line); }
fn w_cols_(at: u32) -> FragA { let line = W_LINE; return coopLoad<FragA>(&weights[at], line); }
fn d_rows_(at: u32) -> FragA { let line = W_LINE; return coopLoadT<FragA>(&slopes[at], line); }
fn d_cols_(at: u32) -> FragA { let line = W_LINE; return coopLoad<FragA>(&slopes[at], line); }

fn put_score_(c: FragC, at: u32) { let line = S_LINE; coopStoreT(c, &scores[at], line); }
fn take_score_(at: u32) -> FragC { let line = S_LINE; return coopLoadT<FragC>(&scores[at], line); }
fn put_above_(c: FragC, at: u32) { let line = S_LINE; coopStoreT(c, &above[at], line); }

fn four_scores_(at: u32) -> vec4<f32> { return vec4(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]); }
fn four_above_(at: u32) -> vec4<f32> { return vec4(above[at], above[at + 1u], above[at + 2u], above[at + 3u]); }
fn lay_scores_(at: u32, x: vec4<f32>) {
    scores[at] = x.x; scores[at + 1u] = x.y; scores[at + 2u] = x.z; scores[at + 3u] = x.w;
}
fn lay_weights_(at: u32, x: vec4<f32>) {
    let w = vec4<f16>(x);
    weights[at] = w.x; weights[at + 1u] = w.y; weights[at + 2u] = w.z; weights[at + 3u] = w.w;
}
fn lay_slopes_(at: u32, x: vec4<f32>) {
    let d = vec4<f16>(x);
    slopes[at] = d.x; slopes[at + 1u] = d.y; slopes[at + 2u] = d.z; slopes[at + 3u] = d.w;
}

// The scores of four pairs of a query and a key.
fn scored_(s: vec4<f32>, mask_at: vec4<u32>) -> vec4<f32> {
    return s * sizes.scale + vec4(bias(mask_at.x), bias(mask_at.y), bias(mask_at.z), bias(mask_at.w));
}

// Which of four keys a row does not see; those before `least` stand in an earlier fragment.
fn unseen_(row: u32, key: vec4<u32>, least: u32) -> vec4<bool> {
    if CAUSAL { return (key < vec4(least)) | (key > vec4(row)); }
    return key < vec4(least);
}

// Four neighbours of a block: the weights of four keys, 0 where one is dropped, and the gradients of their scores but for the scale.
struct Weighed_ { p: vec4<f32>, ds: vec4<f32> }

// The four of the block's row `line` from `col` on. The block begins at a query and a key, and the head's mask at `mask_at`; its weights
// are drawn from `draw_at` on. Unless it is whole, what is not seen is 0, and what a last fragment repeats, which begins early.
fn weigh_(line: u32, col: u32, query: u32, key: u32, mask_at: u32, draw_at: u32, whole: bool) -> Weighed_ {
    let from_row = query + line / SIZE * SIZE;
    let from_key = key + col / SIZE * SIZE;
    let row = min(from_row, sizes.length - SIZE) + line % SIZE;
    let keys = vec4(min(from_key, sizes.keys - SIZE) + col % SIZE) + vec4(0u, 1u, 2u, 3u);
    let norm = held[line];                                   // lse, delta
    var p = exp(scored_(four_scores_(line * S_LINE + col), vec4(mask_at + row * sizes.m_row) + keys * sizes.m_col) - norm.x);
    if !whole { p = select(p, vec4(0.0), unseen_(row, keys, from_key) | vec4(row < from_row)); }
    let keep = kept(vec4(draw_at + row * sizes.keys) + keys);
    return Weighed_(p * keep, p * (four_above_(line * S_LINE + col) * keep - norm.y));
}
