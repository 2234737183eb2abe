// Keys whose order as u32 is the order of the elements. Of floats, -0 and 0 are equal, and NaN is the greatest.

fn order_f32_(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let size = bits & 0x7fffffffu;
    let key = select(bits | 0x80000000u, 0x80000000u - size, bits > 0x80000000u);
    return select(key, 0xffffffffu, size > 0x7f800000u);
}

// From the least key: the complement, but NaN stays the greatest. For argmin.
fn order_f32_down_(v: f32) -> u32 {
    let key = order_f32_(v);
    return select(~key, key, key == 0xffffffffu);
}

fn order_i32_(v: i32) -> u32 {
    return bitcast<u32>(v) ^ 0x80000000u;
}

fn order_u32_(v: u32) -> u32 {
    return v;
}
