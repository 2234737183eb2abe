// How tiles of convolutions find elements of `from`. The way to one is the sum of two: one that belongs to its row or column of the
// matrix product, and one to its link of the chain. Each is worked out once and then only added: steps from element to element (.x),
// and along depth, height and width. The files that borrow it have `sizes` and FLAT.

// A step along width that leads out of everything.
const NOWHERE_: i32 = -0x7fffffff - 1;

// Elements passed by steps along depth, height and width.
fn along_(at: vec3<i32>) -> i32 {
    return (at.x * i32(sizes.from_h) + at.y) * i32(sizes.from_w) + at.z;
}

// Whether a place is in an image `scale` times as large as `from`. One comparison for both sides, and no branch.
fn inside_(at: vec3<i32>, scale: vec3<u32>) -> bool {
    let u = vec3<u32>(at);
    return (FLAT | (u.x < sizes.from_d * scale.x)) & (u.y < sizes.from_h * scale.y) & (u.z < sizes.from_w * scale.z);
}

// The last element of all images.
fn last_() -> u32 { return sizes.images * sizes.groups * sizes.chans * sizes.from_d * sizes.from_h * sizes.from_w - 1u; }
