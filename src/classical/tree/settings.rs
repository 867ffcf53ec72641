//! The parameters that all trees share.

use super::grow::Growth;
use crate::classical::Setting;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How many features a split looks at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxFeatures {
    /// All of them.
    All,
    /// The square root of their number.
    Sqrt,
    /// The binary logarithm of their number.
    Log2,
    /// This many, at least 1.
    Count(usize),
    /// This share of them, above 0 and at most 1.
    Fraction(f64),
}

impl Setting<MaxFeatures> for usize {
    fn setting(self) -> MaxFeatures {
        MaxFeatures::Count(self)
    }
}

impl Setting<MaxFeatures> for f64 {
    fn setting(self) -> MaxFeatures {
        MaxFeatures::Fraction(self)
    }
}

impl MaxFeatures {
    /// The count for this many features; at least 1, at most all.
    pub(crate) fn of(self, features: usize) -> usize {
        let count = match self {
            MaxFeatures::All => features,
            MaxFeatures::Sqrt => features.isqrt(),
            MaxFeatures::Log2 => features.ilog2() as usize,
            MaxFeatures::Count(count) => count,
            MaxFeatures::Fraction(fraction) => (fraction * features as f64) as usize,
        };
        count.clamp(1, features)
    }
}

/// How a split of classes is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassificationCriterion {
    /// Gini impurity.
    Gini,
    /// Entropy in bits.
    Entropy,
    /// The same as [`ClassificationCriterion::Entropy`].
    LogLoss,
}

/// How a split of targets is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegressionCriterion {
    /// The squared distance from the mean.
    SquaredError,
    /// Friedman's improvement score (Friedman, 2001), which ranks splits as the squared error does.
    FriedmanMse,
    /// The absolute distance from the median.
    AbsoluteError,
    /// Half the Poisson deviance; targets must not be negative, and not all 0.
    Poisson,
}

/// Checks the shared parameters.
pub(crate) fn check(name: &'static str, growth: &Growth, max_features: MaxFeatures) -> Result<()> {
    let refuse = |parameter: &str, value: &dyn std::fmt::Debug, wanted: &str| {
        Err(Error::op(name, format!("{parameter} is {value:?}; it must be {wanted}")))
    };
    if growth.max_depth == Some(0) {
        return refuse("max_depth", &growth.max_depth, "1 or more, or none");
    }
    if growth.min_samples_split < 2 {
        return refuse("min_samples_split", &growth.min_samples_split, "2 or more");
    }
    if growth.min_samples_leaf < 1 {
        return refuse("min_samples_leaf", &growth.min_samples_leaf, "1 or more");
    }
    if growth.max_leaf_nodes.is_some_and(|leaves| leaves < 2) {
        return refuse("max_leaf_nodes", &growth.max_leaf_nodes, "2 or more, or none");
    }
    if !(0.0..=0.5).contains(&growth.min_weight_fraction_leaf) {
        return refuse("min_weight_fraction_leaf", &growth.min_weight_fraction_leaf, "between 0 and 0.5");
    }
    for (parameter, value) in
        [("min_impurity_decrease", growth.min_impurity_decrease), ("ccp_alpha", growth.ccp_alpha)]
    {
        if !value.is_finite() || value < 0.0 {
            return refuse(parameter, &value, "0 or more");
        }
    }
    match max_features {
        MaxFeatures::Count(0) => refuse("max_features", &max_features, "at least 1"),
        MaxFeatures::Fraction(share) if !(share > 0.0 && share <= 1.0) => {
            refuse("max_features", &max_features, "a share above 0 and at most 1")
        }
        _ => Ok(()),
    }
}

/// [`params`](crate::classical::params) with the fields that all trees share, and `growth`.
macro_rules! tree_params {
    (
        $(#[$doc:meta])*
        $params:ident for $model:ident = $name:literal, max_features $max_features:ident,
        random_thresholds $random:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)*
        }
        check($self:ident) $check:block
    ) => {
        $crate::classical::params::params! {
            $(#[$doc])*
            $params for $model = $name {
                $($(#[$field_doc])* $field: $type = $default,)*
                /// The longest way to a leaf, in splits; `None` for no limit.
                max_depth: Option<usize> = None,
                /// The fewest samples that are split, at least 2.
                min_samples_split: usize = 2,
                /// The fewest samples of a leaf, at least 1.
                min_samples_leaf: usize = 1,
                /// The least share of the weight of all samples in a leaf, at most 0.5.
                min_weight_fraction_leaf: f64 = 0.0,
                /// How many features a split looks at.
                max_features: $crate::classical::tree::MaxFeatures =
                    $crate::classical::tree::MaxFeatures::$max_features,
                /// The most leaves, grown best first; `None` for no limit.
                max_leaf_nodes: Option<usize> = None,
                /// The least decrease of impurity, times the share of samples, that a split must bring.
                min_impurity_decrease: f64 = 0.0,
                /// Subtrees whose gain for each leaf is at most this are pruned.
                ccp_alpha: f64 = 0.0,
                /// Seed of the order in which features are tried, and of everything else that is drawn.
                seed: u64 = 0,
            }

            fn accepts(&self) -> $crate::classical::Accepts {
                $crate::classical::Accepts { missing: true, classes: 1, ..$crate::classical::Accepts::PLAIN }
            }

            fn check(&$self) -> $crate::Result<()> {
                $crate::classical::tree::settings::check($name, &$self.growth(1), $self.max_features)?;
                $check
            }
        }

        impl $params {
            fn growth(&self, features: usize) -> $crate::classical::tree::grow::Growth {
                $crate::classical::tree::grow::Growth {
                    max_depth: self.max_depth,
                    min_samples_split: self.min_samples_split,
                    min_samples_leaf: self.min_samples_leaf,
                    min_weight_fraction_leaf: self.min_weight_fraction_leaf,
                    max_features: self.max_features.of(features),
                    max_leaf_nodes: self.max_leaf_nodes,
                    min_impurity_decrease: self.min_impurity_decrease,
                    ccp_alpha: self.ccp_alpha,
                    random_thresholds: $random,
                }
            }
        }
    };
}

/// Makes a tree-based struct a model that takes missing values.
macro_rules! tree_model {
    ($model:ident = $name:literal $(, $methods:item)*) => {
        $crate::classical::params::model!(
            $model = $name,
            fn accepts(&self) -> $crate::classical::Accepts {
                $crate::classical::Accepts { missing: true, ..$crate::classical::Accepts::PLAIN }
            }
            $(, $methods)*
        );
    };
}

pub(crate) use {tree_model, tree_params};
