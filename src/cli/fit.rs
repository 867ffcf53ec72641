//! `kiln fit`: a model of a column of a CSV file.

use anyhow::{Context, Result, bail, ensure};
use kiln::classical::explain::permutation_importance;
use kiln::classical::metrics::{classifier_scorer, confusion_matrix, regressor_scorer};
use kiln::classical::model_selection::{KFold, StratifiedKFold, cross_val_score, train_test_indices};
use kiln::classical::prelude::*;
use kiln::classical::table::{Estimator, Schema, Table, TableModel};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// What `kiln fit` is asked.
#[derive(clap::Args)]
pub struct Fit {
    /// A CSV file with a header line; columns may be numbers or categories, with missing values
    data: PathBuf,
    /// The column to predict
    #[arg(long)]
    target: String,
    /// random-forest, hist-gradient-boosting, logistic, linear, svm, knn, naive-bayes, any other estimator
    /// by name, or auto: the best of several by cross-validation
    #[arg(long, default_value = "auto")]
    model: String,
    /// classification or regression [default: by the target's values]
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Columns to leave out
    #[arg(long, value_delimiter = ',')]
    drop: Vec<String>,
    /// The share of rows that the model is judged by
    #[arg(long, default_value_t = 0.25)]
    test: f64,
    /// Seed of the division and the model
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A parameter of the model, key=value; may be repeated
    #[arg(long)]
    param: Vec<String>,
    /// Where to save the model
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Task {
    Classification,
    Regression,
}

/// Short names, and what they stand for in classification and regression.
const ALIASES: [(&str, &str, &str); 5] = [
    ("logistic", "LogisticRegression", "LogisticRegression"),
    ("linear", "LogisticRegression", "LinearRegression"),
    ("svm", "SVC", "SVR"),
    ("knn", "KNeighborsClassifier", "KNeighborsRegressor"),
    ("naive-bayes", "GaussianNB", "GaussianNB"),
];

/// What `auto` compares, of what there is; the baseline first.
const CLASSIFIERS: [&str; 7] = [
    "DummyClassifier",
    "LogisticRegression",
    "GaussianNB",
    "KNeighborsClassifier",
    "SVC",
    "RandomForestClassifier",
    "HistGradientBoostingClassifier",
];
const REGRESSORS: [&str; 6] = [
    "DummyRegressor",
    "Ridge",
    "KNeighborsRegressor",
    "SVR",
    "RandomForestRegressor",
    "HistGradientBoostingRegressor",
];

/// `auto` leaves out models whose time grows with the square of the rows above so many.
const MOST_ROWS_SQUARED: usize = 5_000;

/// How many columns are listed as the most important.
const LISTED: usize = 10;

/// Runs the command.
pub fn run(fit: &Fit) -> Result<()> {
    let dropped: Vec<&str> = fit.drop.iter().map(String::as_str).collect();
    let table = Table::read_csv(&fit.data)?.drop(&dropped)?;
    let target = table.target(&fit.target)?;
    let task = fit.task.unwrap_or(match target {
        Target::Classes(_) => Task::Classification,
        Target::Values(_) | Target::None => Task::Regression,
    });
    let labels = match task {
        Task::Classification => Some(table.labels(&fit.target)?.0),
        Task::Regression => None,
    };
    let fold = train_test_indices(table.rows(), fit.test, Some(fit.seed), labels.as_deref())?;
    let (train, test) = (table.take(&fold.train)?, table.take(&fold.test)?);

    let params = parameters(&fit.param)?;
    let estimator = if fit.model == "auto" {
        ensure!(params.is_empty(), "--param needs a --model: auto chooses among several");
        choose(&train, fit, task)?
    } else {
        let params = seeded(&fit.model, task, params, fit.seed)?;
        estimator(&fit.model, task, params)?
    };
    let start = Instant::now();
    let model = TableModel::fit(&train, &fit.target, &estimator)?;
    let fit_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    model.predict(&test)?;
    let predict_seconds = start.elapsed().as_secs_f64();

    let metrics = metrics(&model, &test)?;
    if let Some(out) = &fit.out {
        model.save(out)?;
    }
    let task_name = if task == Task::Classification { "classification" } else { "regression" };
    if fit.json {
        let report = json!({
            "model": estimator.name(),
            "task": task_name,
            "fit_seconds": fit_seconds,
            "predict_seconds": predict_seconds,
            "metrics": metrics,
        });
        println!("{report}");
        return Ok(());
    }
    println!("{} of {:?} by {}", task_name, fit.target, estimator.name());
    println!(
        "{} rows to learn from, {} to judge by, {} columns",
        train.rows(),
        test.rows(),
        model.n_features()
    );
    println!("fit {fit_seconds:.3} s, predict {predict_seconds:.3} s");
    for (name, value) in &metrics {
        println!("{name:>20} {:.4}", value.as_f64().unwrap_or(f64::NAN));
    }
    report(&model, &test, fit.seed)?;
    if let Some(out) = &fit.out {
        println!("saved to {}", out.display());
    }
    Ok(())
}

/// `key=value` as parameters; a value that is no JSON is text.
pub fn parameters(given: &[String]) -> Result<Map<String, Value>> {
    let parameter = |text: &String| {
        let (key, value) = text.split_once('=').with_context(|| format!("--param {text}: not key=value"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Ok((key.trim().to_owned(), value))
    };
    given.iter().map(parameter).collect()
}

fn estimator(name: &str, task: Task, params: Map<String, Value>) -> Result<Estimator> {
    let classification = task == Task::Classification;
    let alias = ALIASES.iter().find(|(alias, ..)| *alias == name.to_lowercase());
    let full =
        alias.map_or(name, |(_, classifier, regressor)| if classification { classifier } else { regressor });
    Ok(Estimator::by_name(full, classification, Value::Object(params))?)
}

/// The parameters with the seed, if the estimator takes one and none was given.
fn seeded(name: &str, task: Task, mut params: Map<String, Value>, seed: u64) -> Result<Map<String, Value>> {
    let defaults = match estimator(name, task, Map::new())? {
        Estimator::Classifier(classifier) => classifier.0.to_json(),
        Estimator::Regressor(regressor) => regressor.0.to_json(),
    };
    if defaults.get("seed").is_some() && !params.contains_key("seed") {
        params.insert("seed".to_owned(), seed.into());
    }
    Ok(params)
}

/// The best of several estimators by cross-validation on the rows to learn from.
fn choose(train: &Table, fit: &Fit, task: Task) -> Result<Estimator> {
    let features = train.drop(&[&fit.target])?;
    let schema = Schema::of(&features);
    let x = schema.matrix(&features)?;
    let names: &[&str] = if task == Task::Classification { &CLASSIFIERS } else { &REGRESSORS };
    let slow = ["SVC", "SVR", "KNeighborsClassifier", "KNeighborsRegressor"];
    let mut best: Option<(f64, Estimator)> = None;
    for name in names.iter().filter(|name| train.rows() <= MOST_ROWS_SQUARED || !slow.contains(name)) {
        let Ok(params) = seeded(name, task, Map::new(), fit.seed) else {
            continue; // Not in this build.
        };
        let candidate = estimator(name, task, params)?;
        let scores = match candidate.with_preprocessing(&schema) {
            Estimator::Classifier(classifier) => {
                let (labels, _) = train.labels(&fit.target)?;
                cross_val_score(&classifier, &x, &labels, &StratifiedKFold::new(3).shuffle(fit.seed), None)
            }
            Estimator::Regressor(regressor) => {
                let targets = train.targets(&fit.target)?;
                cross_val_score(&regressor, &x, &targets, &KFold::new(3).shuffle(fit.seed), None)
            }
        };
        let score = match scores {
            Ok(scores) => scores.iter().sum::<f64>() / scores.len() as f64,
            Err(error) => {
                eprintln!("{name:>32} left out: {error}");
                continue;
            }
        };
        eprintln!("{name:>32} {score:.4}");
        if best.as_ref().is_none_or(|(before, _)| score > *before) {
            best = Some((score, candidate));
        }
    }
    match best {
        Some((_, estimator)) => Ok(estimator),
        None => bail!("no model can learn this table"),
    }
}

/// The scores on the rows left out.
fn metrics(model: &TableModel, test: &Table) -> Result<Map<String, Value>> {
    let x = model.schema().matrix(test)?;
    let mut metrics = Map::new();
    let mut put = |name: &str, score: kiln::Result<f64>| match score {
        Ok(score) => drop(metrics.insert(name.to_owned(), score.into())),
        Err(error) => eprintln!("{error}"),
    };
    if let (Some(classifier), Some(names)) = (model.classifier(), model.classes()) {
        let labels = labels(test, model, names)?;
        let input = classifier.input(&x)?;
        let mut scoring = vec!["accuracy", "balanced_accuracy", "f1_macro"];
        if classifier.probabilities(&input)?.is_some() {
            scoring.push("neg_log_loss");
        }
        if classifier.classes().len() == 2 {
            scoring.push("roc_auc");
        }
        for name in scoring {
            let score = classifier_scorer(name)?(classifier, &input, &labels);
            put(
                name.trim_start_matches("neg_"),
                if name.starts_with("neg_") { score.map(|score| -score) } else { score },
            );
        }
    }
    if let Some(regressor) = model.regressor() {
        let (targets, input) = (test.targets(model.target())?, regressor.input(&x)?);
        for name in ["r2", "neg_root_mean_squared_error", "neg_mean_absolute_error"] {
            let score = regressor_scorer(name)?(regressor, &input, &targets);
            put(
                name.trim_start_matches("neg_"),
                if name.starts_with("neg_") { score.map(|score| -score) } else { score },
            );
        }
    }
    Ok(metrics)
}

fn labels(test: &Table, model: &TableModel, names: &LabelEncoder) -> Result<Vec<i64>> {
    let (codes, own) = test.labels(model.target())?;
    Ok(names.transform(own.inverse_transform(&codes)?)?)
}

/// The confusion matrix, and the columns whose shuffling costs most.
fn report(model: &TableModel, test: &Table, seed: u64) -> Result<()> {
    let rows: Vec<usize> = (0..test.rows().min(1000)).collect();
    let some = test.take(&rows)?;
    let x = model.schema().matrix(&some)?;
    let mut importances = None;
    if let (Some(classifier), Some(names)) = (model.classifier(), model.classes()) {
        let all = labels(test, model, names)?;
        let matrix = confusion_matrix(&all, &classifier.predict(&model.schema().matrix(test)?)?)?;
        let known: Vec<String> =
            matrix.labels.iter().map(|&label| names.classes()[label as usize].clone()).collect();
        println!("\n{}", matrix.report(&known));
        let labels = labels(&some, model, names)?;
        importances = Some(permutation_importance(&x, 3, seed, |x| classifier.score(x, &labels))?);
    }
    if let Some(regressor) = model.regressor() {
        let targets = some.targets(model.target())?;
        importances = Some(permutation_importance(&x, 3, seed, |x| regressor.score(x, &targets))?);
    }
    let means = importances.map(|found| found.means()).unwrap_or_default();
    let mut named: Vec<(String, f64)> = model.schema().names().into_iter().zip(means).collect();
    named.sort_by(|a, b| b.1.total_cmp(&a.1));
    println!("the most important columns, by what shuffling one costs:");
    for (name, importance) in named.iter().take(LISTED) {
        println!("{name:>20} {importance:.4}");
    }
    Ok(())
}
