//! A model of a table's rows: it knows its columns by name, and its classes.

use super::{Kind, Schema, Table};
use crate::Result;
use crate::classical::data::Accepts;
use crate::classical::estimator::{Classifier, Regressor};
use crate::classical::params::model;
use crate::classical::persist::Boxed;
use crate::classical::pipeline::{
    ClassifierPipeline, ColumnTransformer, ColumnTransformerParams, RegressorPipeline, TransformerPipeline,
};
use crate::classical::preprocessing::{
    ImputeStrategy, LabelEncoder, OneHotEncoder, SimpleImputer, StandardScaler, TargetEncoder,
    UnknownCategory,
};
use crate::classical::registry::{AnyClassifier, AnyRegressor, AnyTransformer};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// A column of more categories than this is encoded by the target's means, not one by one.
const MOST_ONE_HOT: usize = 30;

/// Parameters that learn classes or numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Estimator {
    /// Of a classifier.
    Classifier(AnyClassifier),
    /// Of a regressor.
    Regressor(AnyRegressor),
}

/// What the rows of a table are predicted to be.
#[derive(Debug, Clone, PartialEq)]
pub enum TablePredictions {
    /// The names of classes, and the probability of each class if the model gives any.
    Classes(Vec<String>, Option<Array2<f64>>),
    /// Numbers.
    Numbers(Vec<f64>),
}

#[derive(Debug, Serialize, Deserialize)]
enum Fitted {
    Classifier(LabelEncoder, Boxed<dyn Classifier>),
    Regressor(Boxed<dyn Regressor>),
}

/// A model fitted on a table, ready for tables with the same columns.
#[derive(Debug, Serialize, Deserialize)]
pub struct TableModel {
    n_features: usize,
    schema: Schema,
    target: String,
    fitted: Fitted,
}

/// What mixed columns need before a model that takes numbers: numbers are completed by the median and
/// scaled (left as they are if the model takes missing values), categories get a column each, or, where
/// there are more than 30, the mean of the target. Columns without any value are left out.
pub fn preprocessing(schema: &Schema, missing: bool) -> ColumnTransformerParams {
    let categories = |at: &usize| match &schema.columns()[*at].1 {
        Kind::Number => 0,
        Kind::Category(names) => names.len(),
    };
    let (few, many): (Vec<usize>, Vec<usize>) =
        schema.categories().into_iter().partition(|at| categories(at) <= MOST_ONE_HOT);
    let numbers: AnyTransformer = if missing {
        TransformerPipeline::params().into()
    } else {
        let imputer = SimpleImputer::params().strategy(ImputeStrategy::Median);
        TransformerPipeline::params().step("impute", imputer).step("scale", StandardScaler::params()).into()
    };
    let one_hot = OneHotEncoder::params().handle_unknown(UnknownCategory::Ignore);
    let means = TransformerPipeline::params()
        .step("encode", TargetEncoder::params())
        .step("scale", StandardScaler::params());
    ColumnTransformer::params()
        .transformer("numbers", numbers, &schema.numbers())
        .transformer("categories", one_hot, &few)
        .transformer("many_categories", means, &many)
}

impl TableModel {
    /// Learns the column `target` from all others, with [`preprocessing`] before the estimator.
    ///
    /// # Errors
    /// A target that is not there or missing in a row, and what the estimator refuses.
    pub fn fit(table: &Table, target: &str, estimator: &Estimator) -> Result<TableModel> {
        let features = table.drop(&[target])?;
        let schema = Schema::of(&features);
        let x = schema.matrix(&features)?;
        let fitted = match estimator.with_preprocessing(&schema) {
            Estimator::Classifier(classifier) => {
                let (labels, names) = table.labels(target)?;
                Fitted::Classifier(names, Boxed(classifier.0.fit_boxed(&x, &labels, None)?))
            }
            Estimator::Regressor(regressor) => {
                Fitted::Regressor(Boxed(regressor.0.fit_boxed(&x, &table.targets(target)?, None)?))
            }
        };
        Ok(TableModel { n_features: x.ncols(), schema, target: target.to_owned(), fitted })
    }

    /// The columns it was fitted on.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The column it predicts.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The names of the classes, if it predicts classes.
    pub fn classes(&self) -> Option<&LabelEncoder> {
        match &self.fitted {
            Fitted::Classifier(names, _) => Some(names),
            Fitted::Regressor(_) => None,
        }
    }

    /// The fitted classifier of [`Schema::matrix`], if it predicts classes.
    pub fn classifier(&self) -> Option<&(dyn Classifier + 'static)> {
        match &self.fitted {
            Fitted::Classifier(_, model) => Some(&**model),
            Fitted::Regressor(_) => None,
        }
    }

    /// The fitted regressor of [`Schema::matrix`], if it predicts numbers.
    pub fn regressor(&self) -> Option<&(dyn Regressor + 'static)> {
        match &self.fitted {
            Fitted::Regressor(model) => Some(&**model),
            Fitted::Classifier(..) => None,
        }
    }

    /// What each row is predicted to be.
    ///
    /// # Errors
    /// A column that the table lacks, and what the model refuses.
    pub fn predict(&self, table: &Table) -> Result<TablePredictions> {
        let x = self.schema.matrix(table)?;
        match &self.fitted {
            Fitted::Regressor(model) => Ok(TablePredictions::Numbers(model.predict(&x)?.to_vec())),
            Fitted::Classifier(names, model) => {
                let input = model.input(&x)?;
                let name = |code: usize| {
                    let label = model.classes().get(code).copied().unwrap_or(-1);
                    Ok(names.inverse_transform(&[label])?.concat())
                };
                let codes = model.predict_codes(&input)?;
                let labels = codes.into_iter().map(name).collect::<Result<_>>()?;
                Ok(TablePredictions::Classes(labels, model.probabilities(&input)?))
            }
        }
    }
}

impl Estimator {
    /// The estimator of this name for a task, by the name in the registry, the same in kebab case, or that
    /// without its ending (`random-forest`, `logistic-regression`, `ridge`).
    ///
    /// # Errors
    /// A name that no estimator has.
    pub fn by_name(name: &str, classification: bool, params: serde_json::Value) -> Result<Estimator> {
        use crate::classical::registry::{classifiers, find, kebab, regressors};
        let base =
            |full: &str| full.trim_end_matches("-classifier").trim_end_matches("-regressor").to_owned();
        let wanted = name.to_lowercase();
        let fits = |known: &str| known == name || kebab(known) == wanted || base(&kebab(known)) == wanted;
        if classification {
            let entries = classifiers();
            let found = entries.iter().find(|entry| fits(entry.name)).map_or(name, |entry| entry.name);
            return Ok(Estimator::Classifier(AnyClassifier((find(entries, found)?.params)(params)?)));
        }
        let entries = regressors();
        let found = entries.iter().find(|entry| fits(entry.name)).map_or(name, |entry| entry.name);
        Ok(Estimator::Regressor(AnyRegressor((find(entries, found)?.params)(params)?)))
    }

    /// The estimator's name.
    pub fn name(&self) -> &'static str {
        match self {
            Estimator::Classifier(classifier) => classifier.0.name(),
            Estimator::Regressor(regressor) => regressor.0.name(),
        }
    }

    /// The estimator behind the [`preprocessing`] that these columns need.
    #[must_use]
    pub fn with_preprocessing(&self, schema: &Schema) -> Estimator {
        match self {
            Estimator::Classifier(classifier) => {
                let columns = preprocessing(schema, classifier.0.accepts().missing);
                let pipeline =
                    ClassifierPipeline::params().step("columns", columns).classifier(classifier.clone());
                Estimator::Classifier(pipeline.into())
            }
            Estimator::Regressor(regressor) => {
                let columns = preprocessing(schema, regressor.0.accepts().missing);
                let pipeline =
                    RegressorPipeline::params().step("columns", columns).regressor(regressor.clone());
                Estimator::Regressor(pipeline.into())
            }
        }
    }
}

model!(
    TableModel = "TableModel",
    fn accepts(&self) -> Accepts {
        Accepts { missing: true, ..Accepts::PLAIN }
    }
);
