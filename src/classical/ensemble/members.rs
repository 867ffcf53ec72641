//! What ensembles of any estimators share.

use crate::classical::data::{Accepts, Matrix};
use crate::classical::estimator::Classifier;
use crate::classical::order;
use crate::classical::tree::largest;
use crate::classical::{Setting, random};
use crate::{Error, Result};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// What an ensemble takes whose members take this; its matrices are dense.
pub(super) fn dense_accepts(members: impl IntoIterator<Item = Accepts>) -> Accepts {
    let both = |a: Accepts, b: Accepts| Accepts {
        missing: a.missing && b.missing,
        sparse: false,
        rows: a.rows.max(b.rows),
        classes: a.classes.max(b.classes),
    };
    let all = members.into_iter().reduce(both).unwrap_or(Accepts::PLAIN);
    // With less there is nothing to combine.
    Accepts { sparse: false, classes: all.classes.max(2), ..all }
}

/// Whether a member was fitted on as many columns, and on codes below `classes` as labels.
pub(super) fn knows(member: &dyn Classifier, columns: usize, classes: usize) -> bool {
    let known = |&label: &i64| usize::try_from(label).is_ok_and(|code| code < classes);
    member.n_features() == columns && !member.classes().is_empty() && member.classes().iter().all(known)
}

/// The predicted class codes of a member that was fitted on codes as labels; it may have seen only some.
pub(super) fn member_codes(member: &dyn Classifier, x: &Matrix<'_>) -> Result<Vec<usize>> {
    let codes = member.predict_codes(x)?;
    Ok(codes.into_iter().map(|code| member.classes()[code] as usize).collect())
}

/// The class probabilities of a member that was fitted on codes as labels, for all classes; a member
/// that gives none is sure of what it predicts.
pub(super) fn member_probabilities(
    member: &dyn Classifier,
    x: &Matrix<'_>,
    classes: usize,
) -> Result<Array2<f64>> {
    let mut all = Array2::zeros((x.rows(), classes));
    if let Some(probabilities) = member.probabilities(x)? {
        for (from, &code) in probabilities.columns().into_iter().zip(member.classes()) {
            all.column_mut(code as usize).assign(&from);
        }
    } else {
        for (row, code) in member_codes(member, x)?.into_iter().enumerate() {
            all[[row, code]] = 1.0;
        }
    }
    Ok(all)
}

/// The class of the largest share in each row.
pub(super) fn largest_codes(shares: &Array2<f64>) -> Vec<usize> {
    shares.rows().into_iter().map(|row| largest(&row.to_vec())).collect()
}

/// The columns of these indices.
pub(super) fn columns(x: &Matrix<'_>, features: &[usize]) -> Matrix<'static> {
    Matrix::Dense(x.dense().select(ndarray::Axis(1), features).into())
}

/// The fold, below `folds`, of each row, at random; of each class about as many in each fold. Without
/// classes all rows are of code 0.
pub(super) fn folds(codes: &[usize], folds: usize, seed: u64) -> Vec<usize> {
    let mut order = random::permutation(&mut random::stream(seed, 0), codes.len());
    order::grouped(&mut order, codes);
    let mut of_row = vec![0; codes.len()];
    for (place, row) in order.into_iter().enumerate() {
        of_row[row] = place % folds;
    }
    of_row
}

/// Members by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Named<T>(pub Vec<(String, T)>);

impl<N: Into<String>, P, T: From<P>> Setting<Named<T>> for Vec<(N, P)> {
    fn setting(self) -> Named<T> {
        Named(self.into_iter().map(|(name, member)| (name.into(), member.into())).collect())
    }
}

impl<T> Named<T> {
    /// Checks that there are members, and that their names differ.
    pub(super) fn check(&self, ensemble: &'static str) -> Result<()> {
        if self.0.is_empty() {
            return Err(Error::op(ensemble, "there are no estimators to combine"));
        }
        for (index, (name, _)) in self.0.iter().enumerate() {
            if self.0[..index].iter().any(|(other, _)| other == name) {
                return Err(Error::op(ensemble, format!("two estimators are called {name:?}")));
            }
        }
        Ok(())
    }
}
