//! Orders by numbers that are kept elsewhere: a sort is compiled anew for each closure it is given.

/// Sorts indices by their keys, the least first; equal ones stay in their order.
pub(super) fn ascending(order: &mut [usize], keys: &[f64]) {
    order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
}

/// Sorts indices by their keys, the greatest first; equal ones stay in their order.
pub(super) fn descending(order: &mut [usize], keys: &[f64]) {
    order.sort_by(|&a, &b| keys[b].total_cmp(&keys[a]));
}

/// Sorts indices by codes or counts, the least first; equal ones stay in their order.
pub(super) fn grouped(order: &mut [usize], codes: &[usize]) {
    order.sort_by_key(|&index| codes[index]);
}
