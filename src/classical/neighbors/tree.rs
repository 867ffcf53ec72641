//! k-d trees (Bentley, 1975) and ball trees (Omohundro, 1989): rows halved at the median of their widest
//! column until few are left, each part with a box or a ball around it. Parts that are farther away than
//! what has been found need not be looked at.

use super::index::Visit;
use super::metric::Distance;
use ndarray::{Array2, ArrayView1, Axis};

/// What is put around the rows of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Box,
    Ball,
}

/// Bounds are compared with distances after this share is taken off, so that rounding hides no neighbour.
const SLACK: f64 = 1.0 - 1e-13;

/// Positions `start..end` of the tree's order; its children, if it has any, are parts `child` and
/// `child + 1`.
#[derive(Debug, Clone)]
struct Part {
    start: usize,
    end: usize,
    child: Option<usize>,
}

/// The structure over rows that are kept in the order of the tree.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    shape: Shape,
    parts: Vec<Part>,
    /// Per part the lower and upper ends of its box, or the centre of its ball.
    bounds: Vec<f64>,
    /// Per part the radius of its ball.
    radii: Vec<f64>,
    /// The row that stands at each position.
    pub(super) order: Vec<usize>,
}

/// The smallest and the largest value of each column among some rows.
fn extent(points: &Array2<f64>, rows: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let first = points.row(rows[0]).to_vec();
    rows.iter().fold((first.clone(), first), |(mut low, mut high), &row| {
        for ((low, high), &value) in low.iter_mut().zip(&mut high).zip(slice(points.row(row))) {
            *low = if value < *low { value } else { *low };
            *high = if value > *high { value } else { *high };
        }
        (low, high)
    })
}

/// The mean of some rows.
fn centre(points: &Array2<f64>, rows: &[usize]) -> Vec<f64> {
    let (mut centre, share) = (vec![0.0; points.ncols()], 1.0 / rows.len() as f64);
    for &row in rows {
        // Shares are added, not the values, whose sum may overflow.
        centre.iter_mut().zip(slice(points.row(row))).for_each(|(centre, value)| *centre += value * share);
    }
    centre
}

fn slice<'a>(row: ArrayView1<'a, f64>) -> &'a [f64] {
    // Rows of a contiguous array are contiguous.
    row.to_slice().unwrap_or_default()
}

impl Tree {
    /// A tree of at least one row, and the rows in its order.
    pub(super) fn new(
        distance: Distance,
        shape: Shape,
        leaf_size: usize,
        points: Array2<f64>,
    ) -> (Tree, Array2<f64>) {
        let mut order: Vec<usize> = (0..points.nrows()).collect();
        let mut parts = vec![Part { start: 0, end: order.len(), child: None }];
        let (mut bounds, mut radii) = (Vec::new(), Vec::new());
        let mut next = 0;
        while next < parts.len() {
            let Part { start, end, .. } = parts[next];
            let rows = &mut order[start..end];
            let (low, high) = extent(&points, rows);
            if rows.len() > leaf_size.max(1) {
                let width = |&column: &usize| high[column] - low[column];
                let widest = (0..low.len()).max_by(|a, b| width(a).total_cmp(&width(b))).unwrap_or_default();
                let middle = rows.len() / 2;
                rows.select_nth_unstable_by(middle, |&a, &b| {
                    points[[a, widest]].total_cmp(&points[[b, widest]]).then(a.cmp(&b))
                });
                parts[next].child = Some(parts.len());
                parts.push(Part { start, end: start + middle, child: None });
                parts.push(Part { start: start + middle, end, child: None });
            }
            match shape {
                Shape::Box => bounds.extend(low.into_iter().chain(high)),
                Shape::Ball => {
                    let centre = centre(&points, &order[start..end]);
                    let reach = |&row: &usize| distance.reduced(&centre, slice(points.row(row)));
                    let farthest = order[start..end].iter().map(reach).fold(0.0, f64::max);
                    radii.push(distance.radius(farthest));
                    bounds.extend(centre);
                }
            }
            next += 1;
        }
        let ordered = points.select(Axis(0), &order);
        (Tree { shape, parts, bounds, radii, order }, ordered)
    }

    /// Offers every row that may be near enough.
    pub(super) fn search(&self, distance: Distance, points: &[f64], query: &[f64], visit: &mut impl Visit) {
        self.descend(distance, points, query, 0, &mut Vec::new(), visit);
    }

    fn descend(
        &self,
        distance: Distance,
        points: &[f64],
        query: &[f64],
        part: usize,
        scratch: &mut Vec<f64>,
        visit: &mut impl Visit,
    ) {
        let columns = query.len();
        let Part { start, end, child } = self.parts[part];
        let Some(child) = child else {
            scratch.resize(end - start, 0.0);
            distance.reduced_to_rows(query, &points[start * columns..end * columns], scratch);
            for (&reduced, &row) in scratch.iter().zip(&self.order[start..end]) {
                if reduced <= visit.limit() {
                    visit.offer(reduced, row);
                }
            }
            return;
        };
        let mut children = [
            (self.bound(distance, query, child), child),
            (self.bound(distance, query, child + 1), child + 1),
        ];
        if children[1].0 < children[0].0 {
            children.swap(0, 1);
        }
        for (bound, child) in children {
            if bound * SLACK <= visit.limit() {
                self.descend(distance, points, query, child, scratch, visit);
            }
        }
    }

    /// The least reduced distance that a row of the part may have.
    fn bound(&self, distance: Distance, query: &[f64], part: usize) -> f64 {
        let columns = query.len();
        match self.shape {
            Shape::Box => {
                let (low, high) = self.bounds[part * 2 * columns..][..2 * columns].split_at(columns);
                distance.reduced_to_box(query, low, high)
            }
            Shape::Ball => {
                let centre = &self.bounds[part * columns..][..columns];
                distance.reduced_to_ball(distance.reduced(query, centre), self.radii[part])
            }
        }
    }
}
