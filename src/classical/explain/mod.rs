//! Why a model predicts what it does: which features matter, how, and for which row.

mod dependence;
mod permutation;
mod shap;

pub use dependence::{PartialDependence, partial_dependence};
pub use permutation::{PermutationImportance, permutation_importance};
pub use shap::{Shap, TreeEnsemble, TreeTerms, shap_values};
