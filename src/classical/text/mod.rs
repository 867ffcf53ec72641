//! Texts as sparse matrices of counts, weights or hashes.

mod hashing;
mod tfidf;
mod tokens;
mod vocabulary;

pub use hashing::{FeatureHasher, HashingVectorizer};
pub use tfidf::{TfidfTransformer, TfidfTransformerParams, TfidfVectorizer, TfidfVectorizerParams};
pub use tokens::Analyzer;
pub use vocabulary::{CountVectorizer, CountVectorizerParams, Frequency};

use crate::classical::preprocessing::Norm;
use sprs::CsMat;

/// Rows of columns, ascending, and values as a matrix.
fn sparse(rows: Vec<Vec<(usize, f64)>>, columns: usize) -> CsMat<f64> {
    let mut ends = vec![0];
    ends.extend(rows.iter().scan(0, |sum, row| {
        *sum += row.len();
        Some(*sum)
    }));
    let shape = (rows.len(), columns);
    let (indices, values) = rows.into_iter().flatten().unzip();
    CsMat::new(shape, ends, indices, values)
}

/// Divides each row by its length.
fn normalize(row: &mut [(usize, f64)], norm: Option<Norm>) {
    let length = norm.map_or(1.0, |norm| norm.of(row.iter().map(|(_, value)| *value)));
    if length > 0.0 {
        row.iter_mut().for_each(|(_, value)| *value /= length);
    }
}
