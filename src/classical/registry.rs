//! Every estimator by name: what the command line, pipelines, grid search, saved models and the tests
//! of bad input choose from. An estimator is a row of its family's list; nothing else names them all.

use super::data::{Accepts, Features, Labels, Matrix, Targets};
use super::estimator::{
    Classifier, Clusterer, FitClassifier, FitClusterer, FitOutlierDetector, FitRegressor, FitTransformer,
    OutlierDetector, Parameters, Regressor, Target, Transformer,
};
use super::fields;
use super::persist::Saved;
use crate::{Error, Result};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::fmt::Debug;

/// An estimator of one kind: how its parameters and its models are made. `P` is the `Dyn` trait of its
/// parameters and `M` the trait of its models.
pub struct Entry<P: ?Sized, M: ?Sized> {
    /// The estimator's name, as in scikit-learn.
    pub name: &'static str,
    /// Its parameters from a JSON object; what the object leaves out is the default.
    pub params: fn(Value) -> Result<Box<P>>,
    /// Its model from the bytes of a saved one.
    pub load: fn(&[u8]) -> Result<Box<M>>,
}

/// The entry of an estimator, by its name or the name in kebab case (`random-forest-classifier`).
///
/// # Errors
/// Names the estimators there are.
pub fn find<P: ?Sized, M: ?Sized>(
    entries: Vec<&'static Entry<P, M>>,
    name: &str,
) -> Result<&'static Entry<P, M>> {
    let names = entries.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    let found = entries.into_iter().find(|entry| entry.name == name || kebab(entry.name) == name);
    found.ok_or_else(|| Error::op("registry", format!("no estimator is called {name:?}; there are {names}")))
}

/// `random-forest-classifier` for `RandomForestClassifier`, `linear-svc` for `LinearSVC`.
pub fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, &letter) in letters.iter().enumerate() {
        let starts = letter.is_uppercase() && at > 0;
        let after_lower = starts && !letters[at - 1].is_uppercase();
        let before_lower = starts && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if after_lower || before_lower {
            out.push('-');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// The object-safe side of an estimator's parameters.
pub trait DynParameters: Debug + Send + Sync {
    /// The estimator's name.
    fn name(&self) -> &'static str;
    /// What kind of input it takes.
    fn accepts(&self) -> Accepts;
    /// The parameters as a JSON object.
    fn to_json(&self) -> Value;
}

impl<P: Parameters> DynParameters for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn accepts(&self) -> Accepts {
        Parameters::accepts(self)
    }

    fn to_json(&self) -> Value {
        // Parameters are plain structs with string keys, which JSON can always hold.
        serde_json::to_value(self).unwrap_or_default()
    }
}

macro_rules! dynamic {
    (
        $(#[$doc:meta])* $dyn:ident of $fit:ident gives $model:ident, list $entries:ident $entry:ident,
        boxed $any:ident, fit($($argument:ident: $type:ty),*) $(, $($more:tt)*)?
    ) => {
        $(#[$doc])*
        pub trait $dyn: DynParameters {
            /// Learns from data; a `sample_weight` is refused as the estimator's own `fit_weighted` would.
            ///
            /// # Errors
            /// As the estimator's own `fit`.
            fn fit_boxed(&self, x: &dyn Features, $($argument: $type,)* weights: Option<&[f64]>) -> Result<Box<dyn $model>>;

            /// The same parameters with some replaced.
            ///
            /// # Errors
            /// Names a parameter that does not exist, or whose value is of another type.
            fn with(&self, values: &serde_json::Map<String, Value>) -> Result<Box<dyn $dyn>>;

            /// The same parameters once more.
            fn boxed(&self) -> Box<dyn $dyn>;

            $($($more)*)?
        }

        #[doc = concat!("Any [`", stringify!($dyn), "`] as a value: cloned, compared and saved by name and parameters.")]
        #[derive(Debug)]
        pub struct $any(pub Box<dyn $dyn>);

        impl<P: $fit> From<P> for $any {
            fn from(params: P) -> $any {
                $any(Box::new(params))
            }
        }

        impl Clone for $any {
            fn clone(&self) -> $any {
                $any(self.0.boxed())
            }
        }

        impl PartialEq for $any {
            fn eq(&self, other: &$any) -> bool {
                self.0.name() == other.0.name() && self.0.to_json() == other.0.to_json()
            }
        }

        impl Serialize for $any {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                // Through text, because formats other than JSON have no values of any type.
                (self.0.name(), self.0.to_json().to_string()).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $any {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (name, json) = <(String, String)>::deserialize(deserializer)?;
                let value = serde_json::from_str(&json).map_err(D::Error::custom)?;
                let entry = find($entries(), &name).map_err(D::Error::custom)?;
                (entry.params)(value).map($any).map_err(D::Error::custom)
            }
        }

        /// The row of an estimator.
        pub(super) const fn $entry<P: $fit + $dyn>() -> Entry<dyn $dyn, dyn $model> {
            Entry {
                name: P::NAME,
                params: |value| Ok(Box::new(fields::parameters::<P>(value)?)),
                load: |bytes| Ok(Box::new(<P as $fit>::Model::from_bytes(bytes)?)),
            }
        }
    };
}

dynamic!(
    /// Parameters of some classifier.
    DynClassifier of FitClassifier gives Classifier, list classifiers classifier,
    boxed AnyClassifier, fit(y: &dyn Labels)
);
dynamic!(
    /// Parameters of some regressor.
    DynRegressor of FitRegressor gives Regressor, list regressors regressor,
    boxed AnyRegressor, fit(y: &dyn Targets)
);
dynamic!(
    /// Parameters of some clustering algorithm.
    DynClusterer of FitClusterer gives Clusterer, list clusterers clusterer,
    boxed AnyClusterer, fit()
);
dynamic!(
    /// Parameters of some outlier detector.
    DynOutlierDetector of FitOutlierDetector gives OutlierDetector, list outlier_detectors outlier_detector,
    boxed AnyOutlierDetector, fit()
);
dynamic!(
    /// Parameters of some transformer; it takes no weights.
    DynTransformer of FitTransformer gives Transformer, list transformers transformer,
    boxed AnyTransformer, fit(y: Target),
    /// Learns from data and transforms it.
    ///
    /// # Errors
    /// As the estimator's own `fit_transform_with`.
    fn fit_transform_boxed(
        &self,
        x: &dyn Features,
        y: Target,
    ) -> Result<(Box<dyn Transformer>, Matrix<'static>)>;
);

macro_rules! fit_boxed {
    ($($dyn:ident, $fit:ident, $model:ident, ($($argument:ident: $type:ty),*);)*) => {
        $(impl<P: $fit> $dyn for P {
            fn fit_boxed(&self, x: &dyn Features, $($argument: $type,)* weights: Option<&[f64]>) -> Result<Box<dyn $model>> {
                Ok(match weights {
                    None => Box::new(self.fit(x $(, $argument)*)?),
                    Some(weights) => Box::new(self.fit_weighted(x $(, $argument)*, weights)?),
                })
            }

            fn with(&self, values: &serde_json::Map<String, Value>) -> Result<Box<dyn $dyn>> {
                Ok(Box::new(self.replaced(values)?))
            }

            fn boxed(&self) -> Box<dyn $dyn> {
                Box::new(self.clone())
            }
        })*
    };
}

fit_boxed! {
    DynClassifier, FitClassifier, Classifier, (y: &dyn Labels);
    DynRegressor, FitRegressor, Regressor, (y: &dyn Targets);
    DynClusterer, FitClusterer, Clusterer, ();
    DynOutlierDetector, FitOutlierDetector, OutlierDetector, ();
}

impl<P: FitTransformer> DynTransformer for P {
    fn fit_boxed(
        &self,
        x: &dyn Features,
        y: Target,
        weights: Option<&[f64]>,
    ) -> Result<Box<dyn Transformer>> {
        match weights {
            None => Ok(Box::new(self.fit_with(x, y)?)),
            Some(_) => Err(P::error("a transformer takes no sample_weight")),
        }
    }

    fn fit_transform_boxed(
        &self,
        x: &dyn Features,
        y: Target,
    ) -> Result<(Box<dyn Transformer>, Matrix<'static>)> {
        let (model, rows) = self.fit_transform_with(x, y)?;
        Ok((Box::new(model), rows))
    }

    fn with(&self, values: &serde_json::Map<String, Value>) -> Result<Box<dyn DynTransformer>> {
        Ok(Box::new(self.replaced(values)?))
    }

    fn boxed(&self) -> Box<dyn DynTransformer> {
        Box::new(self.clone())
    }
}

macro_rules! lists {
    ($($(#[$doc:meta])* $list:ident: $dyn:ident, $model:ident = $constant:ident in [$($family:ident),*];)*) => {
        $($(#[$doc])*
        pub fn $list() -> Vec<&'static Entry<dyn $dyn, dyn $model>> {
            let families: Vec<&'static [Entry<dyn $dyn, dyn $model>]> = vec![$(super::$family::$constant),*];
            families.into_iter().flatten().collect()
        })*
    };
}

lists! {
    /// All classifiers.
    classifiers: DynClassifier, Classifier = CLASSIFIERS in
        [bayes, calibration, discriminant, dummy, ensemble, linear, neighbors, pipeline, svm, tree];
    /// All regressors.
    regressors: DynRegressor, Regressor = REGRESSORS in
        [dummy, ensemble, linear, neighbors, pipeline, svm, tree];
    /// All clustering algorithms.
    clusterers: DynClusterer, Clusterer = CLUSTERERS in [cluster, mixture];
    /// All outlier detectors.
    outlier_detectors: DynOutlierDetector, OutlierDetector = OUTLIER_DETECTORS in [ensemble, neighbors, svm];
    /// All transformers.
    transformers: DynTransformer, Transformer = TRANSFORMERS in
        [decomposition, discriminant, feature_selection, manifold, pipeline, preprocessing];
}
