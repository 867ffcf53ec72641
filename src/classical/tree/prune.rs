//! Minimal cost-complexity pruning (Breiman, Friedman, Olshen and Stone, 1984).

use super::structure::{Rule, Tree};

/// The finished tree: subtrees whose gain for each leaf they add is at most `alpha` (in the criterion's
/// units, not divided by the weight of all samples) become leaves, the weakest first. `values` holds what
/// each node would predict as a leaf.
pub(super) fn finish(tree: Tree, values: &[f64], alpha: f64) -> Tree {
    let mut split: Vec<bool> = (0..tree.n_nodes()).map(|node| tree.children(node).is_some()).collect();
    if alpha > 0.0 {
        while let Some((node, strength)) = weakest(&tree, &split) {
            if strength > alpha {
                break;
            }
            split[node] = false;
        }
    }
    rebuilt(&tree, values, &split)
}

/// The split whose subtree gains least for each leaf, and that gain.
fn weakest(tree: &Tree, split: &[bool]) -> Option<(usize, f64)> {
    let mut gains = vec![0.0; split.len()];
    let mut leaves = vec![1_usize; split.len()];
    // Children come after their parents.
    for node in (0..split.len()).rev() {
        if let Some((left, right)) = tree.children(node).filter(|_| split[node]) {
            gains[node] = tree.gain(node) + gains[left] + gains[right];
            leaves[node] = leaves[left] + leaves[right];
        }
    }
    let mut pending = vec![0];
    let mut weakest: Option<(usize, f64)> = None;
    while let Some(node) = pending.pop() {
        if let Some((left, right)) = tree.children(node).filter(|_| split[node]) {
            let strength = gains[node] / (leaves[node] - 1) as f64;
            if weakest.is_none_or(|(_, least)| strength < least) {
                weakest = Some((node, strength));
            }
            pending.extend([right, left]);
        }
    }
    weakest
}

/// The tree of the splits that are kept, with the values of its leaves.
fn rebuilt(tree: &Tree, values: &[f64], split: &[bool]) -> Tree {
    let outputs = tree.n_outputs();
    let mut new = Tree::new(outputs);
    new.push_node(tree.weight(0), tree.samples(0));
    let mut pending = vec![(0, 0)];
    while let Some((from, to)) = pending.pop() {
        let kept = tree.children(from).filter(|_| split[from]);
        let (Some((left, right)), Some(feature)) = (kept, tree.feature(from)) else {
            new.set_leaf(to, &values[from * outputs..(from + 1) * outputs]);
            continue;
        };
        let first = new.push_node(tree.weight(left), tree.samples(left));
        new.push_node(tree.weight(right), tree.samples(right));
        let rule = Rule::Threshold(tree.threshold(from).unwrap_or(f64::INFINITY));
        new.set_split(to, first, feature, rule, tree.missing_left(from), tree.gain(from));
        pending.extend([(right, first + 1), (left, first)]);
    }
    new
}
