//! Transformers in a row, with or without a model at the end.

use super::{by_step, none_left, replace_step};
use crate::Result;
use crate::classical::data::{Accepts, Classes, Features, Matrix, Training};
use crate::classical::dummy::{DummyClassifierParams, DummyRegressorParams};
use crate::classical::estimator::{
    Classifier, FitClassifier, FitRegressor, FitTransformer, Regressor, Target, Transformer,
};
use crate::classical::params::{model, params};
use crate::classical::persist::Boxed;
use crate::classical::registry::{AnyClassifier, AnyRegressor, AnyTransformer};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Fitted steps with their names.
type Fitted = Vec<(String, Boxed<dyn Transformer>)>;

/// What no step at all takes.
const ANYTHING: Accepts = Accepts { missing: true, ..Accepts::PLAIN };

/// What the steps made, or the rows themselves if there is no step.
fn rows<'a>(made: &'a Option<Matrix<'static>>, x: &'a Matrix<'_>) -> &'a dyn Features {
    match made {
        Some(made) => made,
        None => x,
    }
}

/// Fits each step to what the one before it made; gives the rows after the last.
fn fit(
    steps: &[(String, AnyTransformer)],
    x: &Matrix<'_>,
    y: impl Fn() -> Target,
) -> Result<(Fitted, Option<Matrix<'static>>)> {
    let (mut fitted, mut made) = (Fitted::new(), None);
    for (name, step) in steps {
        let (model, next) = step.0.fit_transform_boxed(rows(&made, x), y())?;
        fitted.push((name.clone(), Boxed(model)));
        made = Some(next);
    }
    Ok((fitted, made))
}

/// The rows after the last step, if there is one.
fn apply(steps: &Fitted, x: &Matrix<'_>) -> Result<Option<Matrix<'static>>> {
    let mut made = None;
    for (_, step) in steps {
        made = Some(step.transform_rows(&step.input(rows(&made, x))?)?);
    }
    Ok(made)
}

fn owned(made: Option<Matrix<'static>>, x: &Matrix<'_>) -> Matrix<'static> {
    made.unwrap_or_else(|| Matrix::Dense(x.dense().into_owned().into()))
}

/// What the first step takes, or `last` if there is none.
fn first_accepts(steps: &[(String, AnyTransformer)], last: Accepts) -> Accepts {
    steps.first().map_or(last, |(_, step)| Accepts { classes: last.classes, ..step.0.accepts() })
}

fn fitted_accepts(steps: &Fitted, last: Accepts) -> Accepts {
    steps.first().map_or(last, |(_, step)| step.accepts())
}

macro_rules! with_step {
    ($params:ident) => {
        impl $params {
            /// Appends a transformer under a name.
            #[must_use]
            pub fn step(mut self, name: &str, transformer: impl Into<AnyTransformer>) -> Self {
                self.steps.push((name.to_owned(), transformer.into()));
                self
            }
        }
    };
}

/// A pipeline that ends in a model.
macro_rules! pipeline {
    (
        $(#[$doc:meta])*
        $params:ident for $model:ident = $name:literal,
        $(#[$field_doc:meta])* $last:ident: $any:ident = $default:expr
    ) => {
        params! {
            $(#[$doc])*
            $params for $model = $name {
                /// The transformers, first to last, with their names.
                steps: Vec<(String, AnyTransformer)> = Vec::new(),
                $(#[$field_doc])*
                $last: $any = $default.into(),
            }

            fn accepts(&self) -> Accepts {
                first_accepts(&self.steps, self.$last.0.accepts())
            }

            fn replaced(&self, values: &Map<String, Value>) -> Result<Self> {
                let mut values = by_step($name, values)?;
                let step = |(name, step): &(String, AnyTransformer)| {
                    Ok((name.clone(), replace_step(step, values.remove(name))?))
                };
                let steps = self.steps.iter().map(step).collect::<Result<_>>()?;
                let $last = match values.remove(stringify!($last)) {
                    None => self.$last.clone(),
                    Some(values) => $any(self.$last.0.with(&values)?),
                };
                let names = self.steps.iter().map(|(name, _)| name.as_str());
                none_left($name, &values, names.chain([stringify!($last)]))?;
                Ok($params { steps, $last })
            }
        }

        with_step!($params);

        model!(
            $model = $name,
            fn accepts(&self) -> Accepts {
                fitted_accepts(&self.steps, self.$last.accepts())
            }
        );
    };
}

/// Fitted transformers and the classifier of what they make.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClassifierPipeline {
    n_features: usize,
    steps: Fitted,
    classifier: Boxed<dyn Classifier>,
}

pipeline!(
    /// Parameters of [`ClassifierPipeline`]: transformers in a row, then a classifier. In searches the
    /// parameters are called `step__parameter` and `classifier__parameter`.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[1.0, f64::NAN], [2.0, 5.0], [3.0, 4.0]];
    /// let model = ClassifierPipeline::params()
    ///     .step("impute", SimpleImputer::params())
    ///     .step("scale", StandardScaler::params())
    ///     .classifier(DummyClassifier::params())
    ///     .fit(&x, &[0, 1, 1])?;
    /// assert_eq!(model.predict(&x)?.to_vec(), [1, 1, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    ClassifierPipelineParams for ClassifierPipeline = "ClassifierPipeline",
    /// The classifier at the end.
    classifier: AnyClassifier = DummyClassifierParams::default()
);

impl FitClassifier for ClassifierPipelineParams {
    type Model = ClassifierPipeline;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<ClassifierPipeline> {
        let (steps, made) = fit(&self.steps, &data.x, || Target::Classes(data.y.clone()))?;
        let labels: Vec<i64> = data.y.codes.iter().map(|&code| data.y.values[code]).collect();
        let classifier =
            Boxed(self.classifier.0.fit_boxed(rows(&made, &data.x), &labels, data.weights.as_deref())?);
        Ok(ClassifierPipeline { n_features: data.x.columns(), steps, classifier })
    }
}

impl ClassifierPipeline {
    /// The fitted classifier.
    pub fn classifier(&self) -> &dyn Classifier {
        &*self.classifier
    }
}

impl Classifier for ClassifierPipeline {
    fn classes(&self) -> &[i64] {
        self.classifier.classes()
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        self.classifier.predict_codes(&self.classifier.input(rows(&apply(&self.steps, x)?, x))?)
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        self.classifier.probabilities(&self.classifier.input(rows(&apply(&self.steps, x)?, x))?)
    }

    fn scores(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        self.classifier.scores(&self.classifier.input(rows(&apply(&self.steps, x)?, x))?)
    }
}

/// Fitted transformers and the regressor of what they make.
#[derive(Debug, Serialize, Deserialize)]
pub struct RegressorPipeline {
    n_features: usize,
    steps: Fitted,
    regressor: Boxed<dyn Regressor>,
}

pipeline!(
    /// Parameters of [`RegressorPipeline`]: transformers in a row, then a regressor. In searches the
    /// parameters are called `step__parameter` and `regressor__parameter`.
    RegressorPipelineParams for RegressorPipeline = "RegressorPipeline",
    /// The regressor at the end.
    regressor: AnyRegressor = DummyRegressorParams::default()
);

impl FitRegressor for RegressorPipelineParams {
    type Model = RegressorPipeline;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<RegressorPipeline> {
        let (steps, made) = fit(&self.steps, &data.x, || Target::Values(data.y.clone()))?;
        let regressor =
            Boxed(self.regressor.0.fit_boxed(rows(&made, &data.x), &data.y, data.weights.as_deref())?);
        Ok(RegressorPipeline { n_features: data.x.columns(), steps, regressor })
    }
}

impl RegressorPipeline {
    /// The fitted regressor.
    pub fn regressor(&self) -> &dyn Regressor {
        &*self.regressor
    }
}

impl Regressor for RegressorPipeline {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        self.regressor.predict_rows(&self.regressor.input(rows(&apply(&self.steps, x)?, x))?)
    }
}

/// Fitted transformers in a row.
#[derive(Debug, Serialize, Deserialize)]
pub struct TransformerPipeline {
    n_features: usize,
    steps: Fitted,
}

params! {
    /// Parameters of [`TransformerPipeline`]: transformers in a row, as one. In searches the parameters
    /// are called `step__parameter`.
    TransformerPipelineParams for TransformerPipeline = "TransformerPipeline" {
        /// The transformers, first to last, with their names.
        steps: Vec<(String, AnyTransformer)> = Vec::new(),
    }

    fn accepts(&self) -> Accepts {
        first_accepts(&self.steps, ANYTHING)
    }

    fn replaced(&self, values: &Map<String, Value>) -> Result<Self> {
        let mut values = by_step(Self::NAME, values)?;
        let step = |(name, step): &(String, AnyTransformer)| {
            Ok((name.clone(), replace_step(step, values.remove(name))?))
        };
        let steps = self.steps.iter().map(step).collect::<Result<_>>()?;
        none_left(Self::NAME, &values, self.steps.iter().map(|(name, _)| name.as_str()))?;
        Ok(TransformerPipelineParams { steps })
    }
}

with_step!(TransformerPipelineParams);

impl FitTransformer for TransformerPipelineParams {
    type Model = TransformerPipeline;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<TransformerPipeline> {
        Ok(self.fit_transform_checked(data)?.0)
    }

    fn fit_transform_checked(
        &self,
        data: &Training<'_, Target>,
    ) -> Result<(TransformerPipeline, Matrix<'static>)> {
        let (steps, made) = fit(&self.steps, &data.x, || data.y.clone())?;
        Ok((TransformerPipeline { n_features: data.x.columns(), steps }, owned(made, &data.x)))
    }
}

impl Transformer for TransformerPipeline {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        Ok(owned(apply(&self.steps, x)?, x))
    }

    fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let mut rows = x.dense().into_owned();
        for (_, step) in self.steps.iter().rev() {
            match step.inverse_rows(&rows.matrix())? {
                Some(back) => rows = back,
                None => return Ok(None),
            }
        }
        Ok(Some(rows))
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        self.steps.iter().fold(input.to_vec(), |names, (_, step)| step.feature_names_out(&names))
    }
}

model!(
    TransformerPipeline = "TransformerPipeline",
    fn accepts(&self) -> Accepts {
        fitted_accepts(&self.steps, ANYTHING)
    }
);
