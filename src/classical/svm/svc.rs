//! Support vector classification.

use super::one_vs_one::{OneVsOne, Settings, Softness, one_vs_one};
use super::{positive, share, svm_params};
use crate::Result;
use crate::classical::class_weight::ClassWeight;
use crate::classical::data::{Classes, Training};
use crate::classical::estimator::{FitClassifier, Parameters};

one_vs_one!(
    /// A fitted support vector classifier: a decision for each pair of classes.
    Svc = "SVC"
);
one_vs_one!(
    /// A fitted nu-support vector classifier: a decision for each pair of classes.
    NuSvc = "NuSVC"
);

svm_params! {
    /// Parameters of [`Svc`]: for each pair of classes the boundary with the widest margin in the
    /// kernel's space (Cortes and Vapnik, 1995), found by sequential minimal optimisation with
    /// second-order working sets (Fan, Chen and Lin, 2005). A row gets the class that wins most pairs.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[-1.0, -1.0], [-2.0, -1.0], [1.0, 1.0], [2.0, 1.0]];
    /// let model = Svc::params().c(10.0).fit(&x, &[1, 1, 2, 2])?;
    /// assert_eq!(model.predict(&array![[-0.8, -1.0]])?, array![1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    SvcParams for Svc = "SVC" {
        /// What a row on the wrong side costs, against a wide margin; above 0.
        c: f64 = 1.0,
        /// How much the rows of each class cost.
        class_weight: ClassWeight = ClassWeight::None,
        /// Whether to learn probabilities (Platt, 1999), by five more fits on parts of the data.
        probability: bool = false,
        /// Whether, of classes that win equally many pairs, the highest score decides instead of the
        /// first.
        break_ties: bool = false,
        /// Divides the rows for the probabilities.
        seed: u64 = 0_u64,
    }
    check(params) {
        positive(Self::NAME, "c", params.c)
    }
}

svm_params! {
    /// Parameters of [`NuSvc`]: as [`SvcParams`], but the share of rows within the margin is given instead of
    /// what they cost (Schölkopf, Smola, Williamson and Bartlett, 2000).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[-1.0, -1.0], [-2.0, -1.0], [1.0, 1.0], [2.0, 1.0]];
    /// let model = NuSvc::params().nu(0.5).fit(&x, &[1, 1, 2, 2])?;
    /// assert_eq!(model.predict(&array![[-0.8, -1.0]])?, array![1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    NuSvcParams for NuSvc = "NuSVC" {
        /// A bound above the share of rows within the margin and below that of support vectors; above 0,
        /// at most 1, and no more than the smaller of two classes' numbers of rows allows.
        nu: f64 = 0.5,
        /// How much the rows of each class cost.
        class_weight: ClassWeight = ClassWeight::None,
        /// Whether to learn probabilities (Platt, 1999), by five more fits on parts of the data.
        probability: bool = false,
        /// Whether, of classes that win equally many pairs, the highest score decides instead of the
        /// first.
        break_ties: bool = false,
        /// Divides the rows for the probabilities.
        seed: u64 = 0_u64,
    }
    check(params) {
        share(Self::NAME, "nu", params.nu)
    }
}

macro_rules! fit {
    ($params:ident, $model:ident, $softness:expr) => {
        impl FitClassifier for $params {
            type Model = $model;

            fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<$model> {
                let softness: fn(&Self) -> Softness = $softness;
                let x = data.x.dense();
                let settings = Settings {
                    name: Self::NAME,
                    softness: softness(self),
                    kernel: self.kernel_function(x.view())?,
                    effort: self.effort(),
                    class_weight: &self.class_weight,
                    probability: self.probability,
                    break_ties: self.break_ties,
                    seed: self.seed,
                };
                Ok($model { n_features: x.ncols(), machines: OneVsOne::fit(settings, data)? })
            }
        }
    };
}

fit!(SvcParams, Svc, |params| Softness::Cost(params.c));
fit!(NuSvcParams, NuSvc, |params| Softness::Share(params.nu));
