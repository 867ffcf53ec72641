//! Scalers, encoders, imputers: features made fit for the algorithms.
//!
//! NaN stands for a missing value. Scalers and encoders leave it where it is, imputers fill it.

mod bins;
mod columns;
mod impute;
mod iterative_imputer;
mod knn_imputer;
mod labels;
mod one_hot;
mod ordinal;
mod polynomial;
mod power;
mod quantile;
mod rows;
mod scalers;
mod target;

pub use bins::{BinEncoding, BinStrategy, KBinsDiscretizer, KBinsDiscretizerParams};
pub use impute::{ImputeStrategy, SimpleImputer, SimpleImputerParams};
pub use iterative_imputer::{IterativeImputer, IterativeImputerParams};
pub use knn_imputer::{ImputeWeights, KNNImputer, KNNImputerParams};
pub use labels::LabelEncoder;
pub use one_hot::{DropCategory, OneHotEncoder, OneHotEncoderParams, UnknownCategory};
pub use ordinal::{OrdinalEncoder, OrdinalEncoderParams};
pub use polynomial::{PolynomialFeatures, PolynomialFeaturesParams};
pub use power::{PowerMethod, PowerTransformer, PowerTransformerParams};
pub use quantile::{OutputDistribution, QuantileTransformer, QuantileTransformerParams};
pub use rows::{Binarizer, BinarizerParams, Norm, Normalizer, NormalizerParams};
pub use scalers::{
    MaxAbsScaler, MaxAbsScalerParams, MinMaxScaler, MinMaxScalerParams, RobustScaler, RobustScalerParams,
    StandardScaler, StandardScalerParams,
};
pub use target::{TargetEncoder, TargetEncoderParams};

pub(super) use columns::{quantile_sorted, sorted};

use super::estimator::Transformer;
use super::registry::{DynTransformer, Entry, transformer};

pub(super) const TRANSFORMERS: &[Entry<dyn DynTransformer, dyn Transformer>] = &[
    transformer::<StandardScalerParams>(),
    transformer::<MinMaxScalerParams>(),
    transformer::<MaxAbsScalerParams>(),
    transformer::<RobustScalerParams>(),
    transformer::<QuantileTransformerParams>(),
    transformer::<PowerTransformerParams>(),
    transformer::<NormalizerParams>(),
    transformer::<BinarizerParams>(),
    transformer::<PolynomialFeaturesParams>(),
    transformer::<KBinsDiscretizerParams>(),
    transformer::<OneHotEncoderParams>(),
    transformer::<OrdinalEncoderParams>(),
    transformer::<TargetEncoderParams>(),
    transformer::<SimpleImputerParams>(),
    transformer::<KNNImputerParams>(),
    transformer::<IterativeImputerParams>(),
];
