//! Support vector machines.

mod cache;
mod expansion;
mod kernel;
mod nu_svr;
mod one_class;
mod one_vs_one;
mod platt;
mod solver;
mod svc;
mod svr;

pub use kernel::{Gamma, Kernel};
pub use nu_svr::{NuSvr, NuSvrParams};
pub use one_class::{OneClassSvm, OneClassSvmParams};
pub use svc::{NuSvc, NuSvcParams, Svc, SvcParams};
pub use svr::{Svr, SvrParams};

use super::estimator::{Classifier, OutlierDetector, Regressor};
use super::registry::{
    DynClassifier, DynOutlierDetector, DynRegressor, Entry, classifier, outlier_detector, regressor,
};
use crate::{Error, Result};
use solver::Effort;

pub(super) const CLASSIFIERS: &[Entry<dyn DynClassifier, dyn Classifier>] =
    &[classifier::<SvcParams>(), classifier::<NuSvcParams>()];
pub(super) const REGRESSORS: &[Entry<dyn DynRegressor, dyn Regressor>] =
    &[regressor::<SvrParams>(), regressor::<NuSvrParams>()];
pub(super) const OUTLIER_DETECTORS: &[Entry<dyn DynOutlierDetector, dyn OutlierDetector>] =
    &[outlier_detector::<OneClassSvmParams>()];

/// Megabytes to bytes.
const MEGABYTE: f64 = 1_048_576.0;

/// A number that must be above 0.
fn positive(name: &'static str, parameter: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::op(name, format!("{parameter} is {value}; it must be above 0")))
}

/// A number that must be above 0 and at most 1.
fn share(name: &'static str, parameter: &str, value: f64) -> Result<()> {
    if value > 0.0 && value <= 1.0 {
        return Ok(());
    }
    Err(Error::op(name, format!("{parameter} is {value}; it must be above 0 and at most 1")))
}

/// A sum given to the first variables to begin with, to each as much as it may take.
fn hand_out(mut sum: f64, limits: impl Iterator<Item = f64>) -> Vec<f64> {
    let give = |limit: f64| {
        let given = sum.min(limit);
        sum -= given;
        given
    };
    limits.map(give).collect()
}

/// Parameters of a support vector machine: those of the kernel and the solver, which all have, after
/// those of its own. The fields, the check of the common ones, and `effort()`.
macro_rules! svm_params {
    (
        $(#[$doc:meta])*
        $params:ident for $model:ident = $name:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)*
        }
        check($self:ident) $check:block
        $($methods:item)*
    ) => {
        $crate::classical::params::params! {
            $(#[$doc])*
            $params for $model = $name {
                $($(#[$field_doc])* $field: $type = $default,)*
                /// Which function measures how alike two rows are.
                kernel: $crate::classical::svm::Kernel = $crate::classical::svm::Kernel::Rbf,
                /// The power of the polynomial kernel.
                degree: u32 = 3,
                /// The kernel's coefficient.
                gamma: $crate::classical::svm::Gamma = $crate::classical::svm::Gamma::Scale,
                /// What the polynomial and the sigmoid kernel add to the product.
                coef0: f64 = 0.0,
                /// The optimality conditions may be violated by this much.
                tol: f64 = 1e-3,
                /// Megabytes for kernel rows.
                cache_size: f64 = 200.0,
                /// Whether variables that seem to stay at their limits are set aside for a while.
                shrinking: bool = true,
                /// Steps after which to stop short of the optimum; `None` goes on, and fails after very many.
                max_iter: Option<usize> = None,
            }

            fn check(&self) -> $crate::Result<()> {
                let $self = self;
                $crate::classical::svm::positive($name, "tol", self.tol)?;
                $crate::classical::svm::positive($name, "cache_size", self.cache_size)?;
                if !self.coef0.is_finite() {
                    return Err(Self::error(format!("coef0 is {}; it must be finite", self.coef0)));
                }
                $check
            }

            $($methods)*
        }

        impl $params {
            fn effort(&self) -> $crate::classical::svm::solver::Effort {
                $crate::classical::svm::Effort::new(self.tol, self.max_iter, self.cache_size, self.shrinking)
            }

            fn kernel_function(&self, x: ndarray::ArrayView2<'_, f64>) -> $crate::Result<$crate::classical::svm::kernel::KernelFunction> {
                $crate::classical::svm::kernel::KernelFunction::new($name, self.kernel, self.gamma, self.coef0, self.degree, x)
            }
        }
    };
}

use svm_params;

impl Effort {
    fn new(tolerance: f64, max_iter: Option<usize>, megabytes: f64, shrinking: bool) -> Effort {
        Effort { tolerance, max_iter, cache: (megabytes * MEGABYTE) as usize, shrinking }
    }
}
