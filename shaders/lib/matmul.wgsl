// What matrix products share: elements and blocks of the operands.

// An element, counted from the first.
fn a_one_(i: u32) -> f32 { return vec4<f32>(EA4(a[i / A_WIDTH]))[i % A_WIDTH]; }
fn b_one_(i: u32) -> f32 { return vec4<f32>(EB4(b[i / B_WIDTH]))[i % B_WIDTH]; }

// A 4x4 block, [i]: k + i. Past the edge of m or n it brings what is never stored, past `end` zeros.
fn a_block_(start: u32, row: u32, k: u32, end: u32) -> mat4x4<f32> {
    let ks = min(vec4(k) + vec4(0u, 1u, 2u, 3u), vec4(end - 1u)) * sizes.a_col;
    let rows = min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(sizes.m - 1u)) * sizes.a_row + vec4(start);
    var v: mat4x4<f32>;
    for (var i = 0u; i < 4u; i++) {
        if A_WIDTH == 1u { v[i] = vec4(a_one_(rows.x + ks[i]), a_one_(rows.y + ks[i]), a_one_(rows.z + ks[i]), a_one_(rows.w + ks[i])); }
        else if A_DOWN { v[i] = vec4<f32>(EA4(a[(rows.x + ks[i]) / A_WIDTH])); }
        else { v[i] = vec4<f32>(EA4(a[(rows[i] + ks.x) / A_WIDTH])); }
    }
    if !A_DOWN && A_WIDTH == 4u { v = transpose(v); }
    return v;
}

fn b_block_(start: u32, k: u32, col: u32, end: u32) -> mat4x4<f32> {
    let ks = min(vec4(k) + vec4(0u, 1u, 2u, 3u), vec4(end - 1u)) * sizes.b_row;
    let cols = min(vec4(col) + vec4(0u, 1u, 2u, 3u), vec4(sizes.n - 1u)) * sizes.b_col + vec4(start);
    var v: mat4x4<f32>;
    for (var i = 0u; i < 4u; i++) {
        if B_WIDTH == 1u { v[i] = vec4(b_one_(cols.x + ks[i]), b_one_(cols.y + ks[i]), b_one_(cols.z + ks[i]), b_one_(cols.w + ks[i])); }
        else if B_DOWN { v[i] = vec4<f32>(EB4(b[(cols[i] + ks.x) / B_WIDTH])); }
        else { v[i] = vec4<f32>(EB4(b[(cols.x + ks[i]) / B_WIDTH])); }
    }
    if B_DOWN && B_WIDTH == 4u { v = transpose(v); }
    return v;
}
