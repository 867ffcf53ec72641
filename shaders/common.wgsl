// What every kernel may import with `// import: common`.

// The number of a workgroup in a dispatch that was folded over two dimensions. It may be past the
// end of the work: the last row of the fold is not always full.
fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}
