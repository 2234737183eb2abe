// Where a dispatch begins.

// The number of a dispatch's first workgroup. A long dispatch is cut into several, which begin elsewhere: in a kernel that
// asks, the host makes this a field of Sizes. A workgroup's number is first_group_() + id.y * 65535u + id.x, since
// grids are folded past 65535 (fold_groups in crates/device/src/program.rs).
fn first_group_() -> u32 {
    return 0u;
}
