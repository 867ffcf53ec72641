//! Permutation importance (Breiman: Random Forests, 2001; Fisher, Rudin and Dominici, 2019): how much worse
//! a model scores when a feature's values are shuffled.

use crate::classical::data::{Accepts, Features, checked_features};
use crate::classical::random;
use crate::parallel;
use crate::{Error, Result};
use ndarray::{Array1, Array2, Axis};

/// What [`permutation_importance`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct PermutationImportance {
    /// The score of the features as they are.
    pub baseline: f64,
    /// By how much the score fell in each repeat, `[features, repeats]`.
    pub importances: Array2<f64>,
}

impl PermutationImportance {
    /// The mean over the repeats, for each feature.
    pub fn means(&self) -> Array1<f64> {
        let repeats = self.importances.ncols() as f64;
        self.importances.sum_axis(Axis(1)) / repeats
    }

    /// The standard deviation over the repeats, for each feature.
    pub fn deviations(&self) -> Array1<f64> {
        self.importances.std_axis(Axis(1), 0.0)
    }
}

/// Shuffles each feature of `x` by itself, `repeats` times, and scores the result. `score` is of any model
/// and metric, the higher the better; the result depends on the seed alone, not on the number of threads.
///
/// ```
/// use kiln::classical::explain::permutation_importance;
/// use kiln::classical::prelude::*;
/// use ndarray::Array2;
///
/// let digit = |(row, column): (usize, usize)| (row / 10_usize.pow(column as u32) % 10) as f64;
/// let x = Array2::from_shape_fn((1000, 3), digit);
/// let y = x.column(1).to_owned();
/// let model = DecisionTreeRegressor::params().fit(&x, &y)?;
/// let found = permutation_importance(&x, 5, 0, |x| model.score(x, &y))?;
/// assert!(found.means()[1] > 0.5 && found.means()[2].abs() < 1e-12);
/// # Ok::<(), kiln::Error>(())
/// ```
///
/// # Errors
/// No rows or columns, infinite values, `repeats` of 0, and what `score` returns.
pub fn permutation_importance(
    x: &dyn Features,
    repeats: usize,
    seed: u64,
    score: impl Fn(&Array2<f64>) -> Result<f64> + Sync,
) -> Result<PermutationImportance> {
    const NAME: &str = "permutation_importance";
    if repeats == 0 {
        return Err(Error::op(NAME, "repeats is 0; it must be 1 or more"));
    }
    let x = checked_features(NAME, Accepts { missing: true, ..Accepts::PLAIN }, x)?;
    let x = x.dense().into_owned();
    let baseline = score(&x)?;
    let fall = |feature: usize| -> Result<Vec<f64>> {
        let mut shuffled = x.clone();
        let mut rng = random::stream(seed, feature);
        let falls = (0..repeats).map(|_| {
            let order = random::permutation(&mut rng, x.nrows());
            for (row, &from) in order.iter().enumerate() {
                shuffled[[row, feature]] = x[[from, feature]];
            }
            Ok(baseline - score(&shuffled)?)
        });
        falls.collect()
    };
    let falls: Vec<Vec<f64>> = parallel::try_map(0..x.ncols(), fall)?;
    let importances = Array2::from_shape_fn((x.ncols(), repeats), |(feature, repeat)| falls[feature][repeat]);
    Ok(PermutationImportance { baseline, importances })
}
