//! Splitting data, cross-validation, and the search for good parameters.

mod curves;
mod learner;
mod search;
mod split;
mod validate;

pub use curves::{CurvePoint, learning_curve, validation_curve};
pub use learner::Learner;
pub use search::{Candidate, GridSearch, HalvingGridSearch, RandomizedSearch, SearchResult, grid};
pub use split::{
    Fold, GroupKFold, KFold, LeaveOneOut, RepeatedKFold, ShuffleSplit, Splitter, StratifiedGroupKFold,
    StratifiedKFold, TimeSeriesSplit, TrainTest, train_test_indices, train_test_split,
};
pub use validate::{CrossValidation, cross_val_predict, cross_val_score, cross_validate};
