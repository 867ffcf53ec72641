//! Linear models, naive Bayes and discriminant analysis against scikit-learn, case by case; the cases are
//! made by `tests/fixtures/classical_linear.py`.

use kiln::classical::prelude::*;
use kiln::classical::registry;
use kiln::classical::{Features, Matrix};
use ndarray::{Array2, s};
use serde::Deserialize;
use serde_json::Value;
use sprs::CsMat;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Fixture {
    data: BTreeMap<String, Data>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Data {
    x: Vec<Vec<f64>>,
    y: Vec<f64>,
}

#[derive(Deserialize)]
struct Case {
    estimator: String,
    params: Value,
    data: String,
    tolerance: f64,
    sparse: bool,
    weights: Option<Vec<f64>>,
    predict: Vec<f64>,
    scores: Option<Vec<Vec<f64>>>,
    probabilities: Option<Vec<Vec<f64>>>,
    transform: Option<Vec<Vec<f64>>>,
    alpha: Option<f64>,
}

fn array(rows: &[Vec<f64>]) -> Array2<f64> {
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(row, column)| rows[row][column])
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../assets/fixtures/classical/linear.json"))
        .expect("the fixture is JSON")
}

impl Case {
    /// What differs most, if it is more than the tolerance as a share of the numbers' size.
    fn compare(&self, what: &str, ours: &Array2<f64>, theirs: &Array2<f64>) -> Option<String> {
        assert_eq!(ours.dim(), theirs.dim(), "{} {}: {what}", self.estimator, self.params);
        let size = theirs.iter().fold(1.0_f64, |size, value| size.max(value.abs()));
        let worst =
            (ours - theirs).iter().fold(0.0_f64, |worst, difference| worst.max(difference.abs())) / size;
        let close = worst <= self.tolerance;
        (!close).then(|| {
            format!("{} {} on {}: {what} differ by {worst:e}", self.estimator, self.params, self.data)
        })
    }

    fn faults(&self, data: &Data) -> kiln::Result<Vec<String>> {
        let dense = array(&data.x);
        let sparse = CsMat::csr_from_dense(dense.view(), 0.0);
        let x = if self.sparse { Matrix::Sparse(sparse.view()) } else { Matrix::Dense(dense.view().into()) };
        let head_dense = dense.slice(s![..25.min(dense.nrows()), ..]).to_owned();
        let head_sparse = CsMat::csr_from_dense(head_dense.view(), 0.0);
        let head: &dyn Features = if self.sparse { &head_sparse } else { &head_dense };
        let weights = self.weights.as_deref();
        let column = |values: &[f64]| Array2::from_shape_fn((values.len(), 1), |(row, _)| values[row]);
        let mut faults = Vec::new();
        if let Ok(entry) = registry::find(registry::regressors(), &self.estimator) {
            let model = (entry.params)(self.params.clone())?.fit_boxed(&x, &data.y, weights)?;
            let ours = model.predict(head)?.to_vec();
            faults.push(self.compare("predictions", &column(&ours), &column(&self.predict)));
        } else {
            let entry = registry::find(registry::classifiers(), &self.estimator)?;
            let labels: Vec<i64> = data.y.iter().map(|&label| label as i64).collect();
            let model = (entry.params)(self.params.clone())?.fit_boxed(&x, &labels, weights)?;
            let ours: Vec<f64> = model.predict(head)?.iter().map(|&label| label as f64).collect();
            faults.push(self.compare("labels", &column(&ours), &column(&self.predict)));
            if let Some(scores) = &self.scores {
                faults.push(self.compare("scores", &model.decision_function(head)?, &array(scores)));
            }
            if let Some(probabilities) = &self.probabilities {
                faults.push(self.compare(
                    "probabilities",
                    &model.predict_proba(head)?,
                    &array(probabilities),
                ));
            }
            if let Some(transform) = &self.transform {
                faults.push(self.compare_projection(&dense, &labels, &head_dense, &array(transform))?);
            }
        }
        Ok(faults.into_iter().flatten().collect())
    }

    /// Directions have no sign of their own.
    fn compare_projection(
        &self,
        x: &Array2<f64>,
        labels: &Vec<i64>,
        head: &Array2<f64>,
        theirs: &Array2<f64>,
    ) -> kiln::Result<Option<String>> {
        let params: LinearDiscriminantAnalysisParams =
            serde_json::from_value(self.params.clone()).expect("parameters of the discriminant analysis");
        let mut ours = params.fit(x, labels)?.transform(head)?;
        for (mut column, theirs) in ours.columns_mut().into_iter().zip(theirs.columns()) {
            let sign = column.dot(&theirs).signum();
            column *= sign;
        }
        Ok(self.compare("projections", &ours, theirs))
    }
}

#[test]
fn answers_are_those_of_scikit_learn() {
    let fixture = fixture();
    let mut faults = Vec::new();
    for case in &fixture.cases {
        match case.faults(&fixture.data[&case.data]) {
            Ok(found) => faults.extend(found),
            Err(error) => {
                faults.push(format!("{} {} on {}: {error}", case.estimator, case.params, case.data))
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn cross_validation_chooses_the_penalty_of_scikit_learn() {
    let fixture = fixture();
    let mut seen = 0;
    for case in fixture.cases.iter().filter(|case| case.estimator.ends_with("CV")) {
        let (x, y) = (array(&fixture.data[&case.data].x), &fixture.data[&case.data].y);
        let parse = "parameters of the estimator";
        let weights = case.weights.clone().unwrap_or_else(|| vec![1.0; y.len()]);
        let alpha = match case.estimator.as_str() {
            "RidgeCV" => *serde_json::from_value::<RidgeCVParams>(case.params.clone())
                .expect(parse)
                .fit_weighted(&x, y, &weights)
                .expect("a fit")
                .alpha(),
            "LassoCV" => *serde_json::from_value::<LassoCVParams>(case.params.clone())
                .expect(parse)
                .fit(&x, y)
                .expect("a fit")
                .alpha(),
            "ElasticNetCV" => *serde_json::from_value::<ElasticNetCVParams>(case.params.clone())
                .expect(parse)
                .fit(&x, y)
                .expect("a fit")
                .alpha(),
            other => panic!("no estimator {other}"),
        };
        let theirs = case.alpha.expect("a penalty");
        assert!((alpha / theirs - 1.0).abs() < 1e-6, "{}: {alpha} against {theirs}", case.estimator);
        seen += 1;
    }
    assert_eq!(seen, 6);
}

/// Blobs of several sizes, more rows than one block or part of the sums holds.
fn many_rows() -> (Array2<f64>, Vec<i64>, Vec<f64>) {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let mut x = Array2::from_shape_fn((3000, 7), |_| next() + next());
    let labels: Vec<i64> = (0..3000).map(|row| row % 3).collect();
    for (mut row, &label) in x.rows_mut().into_iter().zip(&labels) {
        row[label as usize] += 0.7;
    }
    let targets =
        x.rows().into_iter().map(|row| 2.0 * row[0] - row[3] + 1.0 + 0.1 * row[5] * row[6]).collect();
    (x, labels, targets)
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (x, labels, targets) = many_rows();
    let answers = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        pool.install(|| {
            let mut all: Vec<f64> = Vec::new();
            all.extend(LogisticRegression::params().fit(&x, &labels).expect("a fit").coef());
            all.extend(LinearSVC::params().fit(&x, &labels).expect("a fit").coef());
            all.extend(SGDClassifier::params().fit(&x, &labels).expect("a fit").coef());
            all.extend(LinearRegression::params().fit(&x, &targets).expect("a fit").coef());
            all.extend(Lasso::params().alpha(0.01).fit(&x, &targets).expect("a fit").coef());
            all.extend(
                GaussianNB::params()
                    .fit(&x, &labels)
                    .expect("a fit")
                    .predict_proba(&x)
                    .expect("probabilities"),
            );
            all
        })
    };
    assert_eq!(answers(1), answers(3));
}

#[test]
fn held_back_samples_stop_the_descent() {
    let (x, labels, targets) = many_rows();
    let classifier =
        SGDClassifier::params().early_stopping(true).seed(3_u64).fit(&x, &labels).expect("a fit");
    let smooth = LogisticRegression::params().fit(&x, &labels).expect("a fit");
    let (stopped, best) =
        (classifier.score(&x, &labels).expect("a score"), smooth.score(&x, &labels).expect("a score"));
    assert!(
        classifier.n_iter() < 100 && stopped > best - 0.05,
        "{stopped} against {best}, {} passes",
        classifier.n_iter()
    );
    let regressor = SGDRegressor::params().early_stopping(true).alpha(1e-6).fit(&x, &targets).expect("a fit");
    assert!(regressor.n_iter() < 100 && regressor.score(&x, &targets).expect("a score") > 0.98);
}

#[test]
fn wrong_parameters_and_data_are_named() {
    let (x, labels, targets) = many_rows();
    let message = |error: kiln::Error| error.to_string();
    for (error, named) in [
        (Lasso::params().alpha(-1.0).fit(&x, &targets).map_err(message).err(), "alpha is -1"),
        (Lasso::params().max_iter(0_usize).fit(&x, &targets).map_err(message).err(), "max_iter is 0"),
        (ElasticNet::params().l1_ratio(1.5).fit(&x, &targets).map_err(message).err(), "l1_ratio is 1.5"),
        (QuantileRegressor::params().quantile(1.0).fit(&x, &targets).map_err(message).err(), "quantile is 1"),
        (PoissonRegressor::params().fit(&x, &vec![-1.0; 3000]).map_err(message).err(), "-1 at row 0"),
        (GammaRegressor::params().fit(&x, &vec![0.0; 3000]).map_err(message).err(), "above 0"),
        (HuberRegressor::params().epsilon(0.5).fit(&x, &targets).map_err(message).err(), "epsilon is 0.5"),
        (
            LinearSVR::params().intercept_scaling(0.0).fit(&x, &targets).map_err(message).err(),
            "intercept_scaling",
        ),
        (LogisticRegression::params().c(0.0).fit(&x, &labels).map_err(message).err(), "c is 0"),
        (SGDClassifier::params().alpha(0.0).fit(&x, &labels).map_err(message).err(), "alpha is 0"),
        (MultinomialNB::params().fit(&x, &labels).map_err(message).err(), "row 0, column"),
        (CategoricalNB::params().fit(&x, &labels).map_err(message).err(), "whole numbers"),
        (
            GaussianNB::params().priors(vec![0.5, 0.5]).fit(&x, &labels).map_err(message).err(),
            "2 class probabilities",
        ),
        (
            GaussianNB::params().priors(vec![0.5, 0.5, 0.5]).fit(&x, &labels).map_err(message).err(),
            "sum to 1.5",
        ),
        (
            LinearDiscriminantAnalysis::params()
                .shrinkage(Shrinkage::Auto)
                .fit(&x, &labels)
                .map_err(message)
                .err(),
            "svd solver has no shrinkage",
        ),
        (
            LinearDiscriminantAnalysis::params().n_components(3).fit(&x, &labels).map_err(message).err(),
            "between 1 and 2",
        ),
        (
            QuadraticDiscriminantAnalysis::params().reg_param(2.0).fit(&x, &labels).map_err(message).err(),
            "reg_param is 2",
        ),
    ] {
        assert!(
            error.as_ref().is_some_and(|error| error.contains(named)),
            "{error:?} does not say {named:?}"
        );
    }
}
