//! The macros that define estimators' parameters and models.

use super::estimator::{FitClassifier, FitClusterer, FitOutlierDetector, FitRegressor, FitTransformer};
use super::registry::{AnyClassifier, AnyClusterer, AnyOutlierDetector, AnyRegressor, AnyTransformer};

/// What a parameter of type `T` can be set to. `Into` will not do: it leaves the type of a number open,
/// so that `n_neighbors(5)` would not compile.
pub trait Setting<T> {
    /// The parameter's value.
    fn setting(self) -> T;
}

impl<T> Setting<T> for T {
    fn setting(self) -> T {
        self
    }
}

impl<T> Setting<Option<T>> for T {
    fn setting(self) -> Option<T> {
        Some(self)
    }
}

impl Setting<String> for &str {
    fn setting(self) -> String {
        self.to_owned()
    }
}

impl<T, const N: usize> Setting<Vec<T>> for [T; N] {
    fn setting(self) -> Vec<T> {
        self.into()
    }
}

macro_rules! estimators {
    ($($fit:ident: $any:ident),*) => {
        $(impl<P: $fit> Setting<$any> for P {
            fn setting(self) -> $any {
                self.into()
            }
        })*
    };
}

estimators!(
    FitClassifier: AnyClassifier,
    FitRegressor: AnyRegressor,
    FitClusterer: AnyClusterer,
    FitOutlierDetector: AnyOutlierDetector,
    FitTransformer: AnyTransformer
);

/// Defines the parameters of an estimator: a struct of public fields with defaults, a method to set
/// each, serde (unknown names are refused), and `params()` on the model.
///
/// ```ignore
/// params! {
///     /// Parameters of [`Ridge`].
///     RidgeParams for Ridge = "Ridge" {
///         /// Strength of the penalty, 0 or more.
///         alpha: f64 = 1.0,
///     }
///     fn accepts(&self) -> Accepts { .. }   // methods of `Parameters`, if any
/// }
/// ```
macro_rules! params {
    (
        $(#[$doc:meta])*
        $params:ident for $model:ident = $name:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)*
        }
        $($methods:item)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $params {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $params {
            fn default() -> Self {
                $params { $($field: $default,)* }
            }
        }

        impl $params {
            $($(#[$field_doc])*
            #[must_use]
            pub fn $field(mut self, $field: impl $crate::classical::Setting<$type>) -> Self {
                self.$field = $field.setting();
                self
            })*
        }

        impl $crate::classical::Parameters for $params {
            const NAME: &'static str = $name;
            $($methods)*
        }

        impl $model {
            /// The default parameters, to be changed by methods and then fitted.
            pub fn params() -> $params {
                $params::default()
            }
        }
    };
}

/// Makes a struct with a field `n_features: usize` a saveable model of the estimator so named.
macro_rules! model {
    ($model:ident = $name:literal $(, $methods:item)*) => {
        impl $crate::classical::Model for $model {
            fn name(&self) -> &'static str {
                $name
            }

            fn n_features(&self) -> usize {
                self.n_features
            }

            fn to_bytes(&self) -> $crate::Result<Vec<u8>> {
                $crate::classical::persist::to_bytes($name, self)
            }

            $($methods)*
        }

        impl $crate::classical::Saved for $model {
            const NAME: &'static str = $name;
        }
    };
}

/// Serialises an enum whose values are told apart by their form alone, a number or a word. It derives
/// with `#[serde(remote = "Self", untagged)]`; a format that does not describe itself gets JSON text.
macro_rules! untagged {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    return $name::serialize(self, serializer);
                }
                let text = serde_json::to_string(self).map_err(serde::ser::Error::custom)?;
                serializer.serialize_str(&text)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> std::result::Result<$name, D::Error> {
                if deserializer.is_human_readable() {
                    return $name::deserialize(deserializer);
                }
                let text = String::deserialize(deserializer)?;
                serde_json::from_str(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(super) use {model, params, untagged};
