//! Points in a tree of cells, and sums over all of them in which far cells count as one point (Barnes and
//! Hut, 1986).

/// Points of a cell that are not divided further.
const LEAF: usize = 4;
/// Halvings after which points count as one.
const MAX_DEPTH: usize = 60;

/// A cube and the points in it.
struct Cell<const D: usize> {
    mean: [f64; D],
    /// The points' range in the tree's order.
    from: usize,
    to: usize,
    /// The square of the width.
    square: f64,
    /// The cells within; none in a leaf.
    children: Vec<usize>,
}

/// Points sorted into cells.
pub(super) struct Tree<const D: usize> {
    cells: Vec<Cell<D>>,
    /// The points in the order of the cells.
    points: Vec<[f64; D]>,
    /// Their places before.
    order: Vec<usize>,
}

pub(super) fn squared<const D: usize>(a: &[f64; D], b: &[f64; D]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

impl<const D: usize> Tree<D> {
    pub fn new(points: &[[f64; D]]) -> Tree<D> {
        let mut low = [f64::INFINITY; D];
        let mut width = 0.0_f64;
        for d in 0..D {
            let values = points.iter().map(|point| point[d]);
            let (least, most) =
                values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
            low[d] = least;
            width = width.max(most - least);
        }
        let mut tree = Tree { cells: Vec::new(), points: Vec::new(), order: (0..points.len()).collect() };
        let mut order = std::mem::take(&mut tree.order);
        tree.divide(points, &mut order, 0, low, width, 0);
        tree.points = order.iter().map(|&index| points[index]).collect();
        tree.order = order;
        tree
    }

    /// Makes the cell of the points in `order`, which begin at `from` in the whole; returns its number.
    fn divide(
        &mut self,
        points: &[[f64; D]],
        order: &mut [usize],
        from: usize,
        low: [f64; D],
        width: f64,
        depth: usize,
    ) -> usize {
        let mut mean = [0.0; D];
        for &index in order.iter() {
            mean.iter_mut().zip(&points[index]).for_each(|(mean, value)| *mean += value / order.len() as f64);
        }
        let number = self.cells.len();
        let to = from + order.len();
        self.cells.push(Cell { mean, from, to, square: width * width, children: Vec::new() });
        if order.len() <= LEAF || depth == MAX_DEPTH {
            return number;
        }
        let half = width / 2.0;
        let octant = |index: usize| {
            (0..D).fold(0_usize, |bits, d| bits | usize::from(points[index][d] >= low[d] + half) << d)
        };
        order.sort_unstable_by_key(|&index| (octant(index), index));
        let mut start = 0;
        while start < order.len() {
            let bits = octant(order[start]);
            let count = order[start..].iter().take_while(|&&index| octant(index) == bits).count();
            let mut corner = low;
            (0..D).filter(|d| bits >> d & 1 == 1).for_each(|d| corner[d] += half);
            let child =
                self.divide(points, &mut order[start..start + count], from + start, corner, half, depth + 1);
            self.cells[number].children.push(child);
            start += count;
        }
        number
    }

    /// The points' places before, in the order of the cells: neighbours follow each other.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// For the point at `place` in the tree's order, the sums over all others of `q = 1 / (1 + distance^2)`
    /// and of `q^2 * difference`. A cell counts as one point where its width is below `angle` times its
    /// distance.
    pub fn repulsion(&self, place: usize, angle: f64, stack: &mut Vec<usize>) -> (f64, [f64; D]) {
        let point = &self.points[place];
        let (mut sum, mut force) = (0.0, [0.0; D]);
        let mut add = |other: &[f64; D], distance: f64, count: f64| {
            let q = 1.0 / (1.0 + distance);
            sum += count * q;
            for d in 0..D {
                force[d] += count * q * q * (point[d] - other[d]);
            }
        };
        stack.clear();
        stack.push(0);
        while let Some(number) = stack.pop() {
            let cell = &self.cells[number];
            let distance = squared(point, &cell.mean);
            let holds_it = (cell.from..cell.to).contains(&place);
            if !holds_it && cell.square < angle * angle * distance {
                add(&cell.mean, distance, (cell.to - cell.from) as f64);
            } else if cell.children.is_empty() {
                for other in (cell.from..cell.to).filter(|&other| other != place) {
                    add(&self.points[other], squared(point, &self.points[other]), 1.0);
                }
            } else {
                stack.extend(&cell.children);
            }
        }
        (sum, force)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_agree_with_all_pairs() {
        let mut points: Vec<[f64; 2]> =
            (0..500).map(|i| [(i as f64 * 0.7).sin() * i as f64 / 50.0, (i as f64 * 1.3).cos()]).collect();
        points[7] = points[8];
        points[9] = points[8];
        let tree = Tree::new(&points);
        for (angle, tolerance) in [(0.0, 1e-12), (0.5, 0.02)] {
            for (place, &index) in tree.order().iter().enumerate() {
                let (sum, force) = tree.repulsion(place, angle, &mut Vec::new());
                // Forces cancel each other; errors are measured by the sizes of all of them.
                let (mut all, mut exact, mut sizes) = (0.0, [0.0; 2], 0.0);
                for (_, point) in points.iter().enumerate().filter(|(other, _)| *other != index) {
                    let q = 1.0 / (1.0 + squared(&points[index], point));
                    all += q;
                    (0..2).for_each(|d| exact[d] += q * q * (points[index][d] - point[d]));
                    sizes += q * q * squared(&points[index], point).sqrt();
                }
                assert!((sum - all).abs() <= tolerance * all);
                assert!(squared(&force, &exact).sqrt() <= tolerance * sizes);
            }
        }
    }

    #[test]
    fn equal_points_end_the_division() {
        let tree = Tree::new(&[[1.0, 2.0]; 50]);
        assert_eq!(tree.repulsion(3, 0.5, &mut Vec::new()), (49.0, [0.0, 0.0]));
    }
}
