//! All distances between queries and rows, block by block.

use super::index::Visit;
use super::metric::Distance;
use crate::classical::linalg;
use crate::vectors::vectorised;
use ndarray::{ArrayView2, ArrayViewMut2};

/// Rows of a block: with the queries beside it, its distances stay in the second-level cache.
const BLOCK: usize = 256;
/// Distances compared with the limit at a time.
const LANES: usize = 16;

/// What Euclidean distances as `|x|^2 + |y|^2 - 2 x.y` take besides the rows. They only tell which rows
/// are worth a look: what is near enough, rounding errors allowed for, is measured again by differences.
#[derive(Debug, Clone)]
pub(super) struct Products {
    /// Subtracted from rows and queries, because the error of a product grows with the values' size.
    centre: Vec<f64>,
    /// The squared norm of each centred row.
    norms: Vec<f64>,
    largest: f64,
}

fn centred(rows: &[f64], centre: &[f64], out: &mut Vec<f64>) {
    out.clear();
    for row in rows.chunks_exact(centre.len()) {
        out.extend(row.iter().zip(centre).map(|(value, centre)| value - centre));
    }
}

impl Products {
    pub(super) fn new(points: &[f64], columns: usize) -> Products {
        let mut centre = vec![0.0; columns];
        let share = columns as f64 / points.len() as f64;
        for row in points.chunks_exact(columns) {
            centre.iter_mut().zip(row).for_each(|(centre, value)| *centre += value * share);
        }
        let norms = points.chunks_exact(columns).map(|row| Distance::Euclidean.reduced(row, &centre));
        let norms: Vec<f64> = norms.collect();
        let largest = norms.iter().copied().fold(0.0, f64::max);
        Products { centre, norms, largest }
    }

    /// Offers to each query's visitor the rows that may be near enough.
    pub(super) fn search<V: Visit>(&self, points: &[f64], queries: &[f64], visits: &mut [V]) {
        let columns = self.centre.len();
        let (mut left, mut right) = (Vec::new(), Vec::new());
        centred(queries, &self.centre, &mut left);
        // The bound of the error of a dot product, of either order of summation, and of the rest.
        let unit = 2.0 * f64::EPSILON * (columns as f64 + 4.0);
        let offsets: Vec<f64> = queries
            .chunks_exact(columns)
            .map(|query| Distance::Euclidean.reduced(query, &self.centre))
            .map(|norm| norm - unit * (norm + self.largest))
            .collect();
        let mut products = vec![0.0; visits.len() * BLOCK];
        for (block, rows) in points.chunks(BLOCK * columns).enumerate() {
            let count = rows.len() / columns;
            let norms = &self.norms[block * BLOCK..][..count];
            centred(rows, &self.centre, &mut right);
            let products = &mut products[..visits.len() * count];
            multiply(&left, &right, columns, products);
            for (place, visit) in visits.iter_mut().enumerate() {
                let query = &queries[place * columns..][..columns];
                let products = &products[place * count..][..count];
                scan(products, norms, offsets[place], visit, |visit, within| {
                    let reduced = Distance::Euclidean.reduced(query, &rows[within * columns..][..columns]);
                    if reduced <= visit.limit() {
                        visit.offer(reduced, block * BLOCK + within);
                    }
                });
            }
        }
    }
}

/// `-2 left @ right.t()` of rows that lie one after the other.
fn multiply(left: &[f64], right: &[f64], columns: usize, out: &mut [f64]) {
    let shape = (left.len() / columns, right.len() / columns);
    let views = (
        ArrayView2::from_shape((shape.0, columns), left),
        ArrayView2::from_shape((shape.1, columns), right),
        ArrayViewMut2::from_shape(shape, out),
    );
    if let (Ok(left), Ok(right), Ok(out)) = views {
        linalg::matmul_into(-2.0, left, right.t(), out);
    }
}

/// Calls `near` for each product with which `offset + norm + product` is within the limit.
fn scan<V: Visit>(products: &[f64], norms: &[f64], offset: f64, visit: &mut V, near: impl Fn(&mut V, usize)) {
    vectorised(
        #[inline(always)]
        || {
            for (chunk, (products, norms)) in products.chunks(LANES).zip(norms.chunks(LANES)).enumerate() {
                let limit = visit.limit() - offset;
                let close = |(product, norm): (&f64, &f64)| product + norm <= limit;
                if products.iter().zip(norms).fold(false, |any, pair| any | close(pair)) {
                    for (lane, pair) in products.iter().zip(norms).enumerate() {
                        if close(pair) {
                            near(visit, chunk * LANES + lane);
                        }
                    }
                }
            }
        },
    );
}

/// As [`Products::search`], for every metric.
pub(super) fn search<V: Visit>(
    distance: Distance,
    points: &[f64],
    columns: usize,
    queries: &[f64],
    visits: &mut [V],
) {
    let mut reduced = vec![0.0; BLOCK];
    for (block, rows) in points.chunks(BLOCK * columns).enumerate() {
        let reduced = &mut reduced[..rows.len() / columns];
        for (query, visit) in queries.chunks_exact(columns).zip(visits.iter_mut()) {
            distance.reduced_to_rows(query, rows, reduced);
            for (within, &reduced) in reduced.iter().enumerate() {
                if reduced <= visit.limit() {
                    visit.offer(reduced, block * BLOCK + within);
                }
            }
        }
    }
}
