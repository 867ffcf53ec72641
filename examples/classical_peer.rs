//! Kiln's row in a comparison of machine-learning libraries: one algorithm on one data set, fit and predict
//! timed inside the process, the medians left to the harness.
//!
//! `classical_peer ALGORITHM DATA` reads `DATA_Xtr.npy`, `_Xte`, `_ytr`, `_yte` (`_Str`, `_Ste`: the same
//! features standardised) from `$CLS_DATA`, writes the predictions to `$CLS_OUT/kiln/ALGORITHM__DATA.npy` and
//! prints one line of JSON. `$CLS_REPS` is how often (5), `$CLS_BUDGET_S` the seconds after which it stops
//! repeating (60), `$CLS_THREADS` the number of threads (2).

use anyhow::{Context, Result, bail};
use kiln::classical::prelude::*;
use kiln::classical::registry::{self, Entry};
use ndarray::Array2;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs};

/// What a task is to a library: the kind of estimator, its name, its parameters, and whether it reads the
/// standardised features.
fn task(algorithm: &str) -> Option<(Kind, &'static str, Value, bool)> {
    use Kind::*;
    let task = match algorithm {
        "logreg" => (Classes, "LogisticRegression", json!({"c": 1.0, "max_iter": 1000}), true),
        "svc_linear" => (Classes, "SVC", json!({"kernel": "linear", "c": 1.0}), true),
        "linsvc" => (Classes, "LinearSVC", json!({"c": 1.0, "max_iter": 5000}), true),
        "svc_rbf" => (Classes, "SVC", json!({"kernel": "rbf", "c": 1.0}), true),
        "svr_rbf" => (Numbers, "SVR", json!({"kernel": "rbf", "c": 100.0, "epsilon": 0.1}), true),
        "knn" => (Classes, "KNeighborsClassifier", json!({"n_neighbors": 5}), true),
        "knn_brute" => {
            (Classes, "KNeighborsClassifier", json!({"n_neighbors": 5, "algorithm": "brute"}), true)
        }
        "knn_balltree" => {
            (Classes, "KNeighborsClassifier", json!({"n_neighbors": 5, "algorithm": "ball_tree"}), true)
        }
        "gnb" => (Classes, "GaussianNB", json!({}), false),
        "mnb" => (Classes, "MultinomialNB", json!({}), false),
        "dt" => (Classes, "DecisionTreeClassifier", json!({}), false),
        "dt_reg" => (Numbers, "DecisionTreeRegressor", json!({}), false),
        "rf" => (Classes, "RandomForestClassifier", json!({"n_estimators": 100}), false),
        "rf_reg" => (Numbers, "RandomForestRegressor", json!({"n_estimators": 100}), false),
        "et_reg" => (Numbers, "ExtraTreesRegressor", json!({"n_estimators": 100}), false),
        "adaboost" => (Classes, "AdaBoostClassifier", json!({"n_estimators": 50}), false),
        "hgb" => (
            Classes,
            "HistGradientBoostingClassifier",
            json!({"max_iter": 100, "early_stopping": "off"}),
            false,
        ),
        "hgb_reg" => (
            Numbers,
            "HistGradientBoostingRegressor",
            json!({"max_iter": 100, "early_stopping": "off"}),
            false,
        ),
        "ols" => (Numbers, "LinearRegression", json!({}), true),
        "ridge" => (Numbers, "Ridge", json!({"alpha": 1.0}), true),
        "lasso" => (Numbers, "Lasso", json!({"alpha": 0.1}), true),
        "enet" => (Numbers, "ElasticNet", json!({"alpha": 0.1, "l1_ratio": 0.5}), true),
        "kmeans" => (Clusters, "KMeans", json!({"n_clusters": 10, "n_init": 1, "max_iter": 300}), false),
        "gmm" => (Clusters, "GaussianMixture", json!({"n_components": 10}), false),
        "dbscan" => (TrainingClusters, "DBSCAN", json!({"eps": 4.0, "min_samples": 5}), false),
        "dbscan_brute" => {
            (TrainingClusters, "DBSCAN", json!({"eps": 4.0, "min_samples": 5, "algorithm": "brute"}), false)
        }
        "pca" => (Transform, "PCA", json!({"n_components": 10}), false),
        _ => return None,
    };
    Some(task)
}

/// What is predicted.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Classes,
    Numbers,
    Clusters,
    /// The clusters of the rows fitted.
    TrainingClusters,
    Transform,
}

/// Seconds of the fit and the prediction, and what was predicted.
type Run = (f64, f64, Array2<f64>);

fn column(values: impl IntoIterator<Item = f64>) -> Array2<f64> {
    ndarray::Array1::from_iter(values).insert_axis(ndarray::Axis(1))
}

/// The parameters of a registered estimator; `None` if this build lacks it.
fn params<P: ?Sized, M: ?Sized>(
    entries: Vec<&'static Entry<P, M>>,
    name: &str,
    values: &Value,
) -> Result<Option<Box<P>>> {
    match entries.iter().find(|entry| entry.name == name) {
        None => Ok(None),
        Some(entry) => Ok(Some((entry.params)(values.clone())?)),
    }
}

fn run(kind: Kind, name: &str, values: &Value, data: &[Array2<f64>; 3]) -> Result<Option<Run>> {
    let [train, test, y] = data;
    let targets: Vec<f64> = y.iter().copied().collect();
    let labels: Vec<i64> = targets.iter().map(|&label| label as i64).collect();
    let start = Instant::now();
    let seconds = || start.elapsed().as_secs_f64();
    let (fitted, out) = match kind {
        Kind::Classes => {
            let Some(params) = params(registry::classifiers(), name, values)? else { return Ok(None) };
            let model = params.fit_boxed(train, &labels, None)?;
            (seconds(), column(model.predict(test)?.into_iter().map(|label| label as f64)))
        }
        Kind::Numbers => {
            let Some(params) = params(registry::regressors(), name, values)? else { return Ok(None) };
            let model = params.fit_boxed(train, &targets, None)?;
            (seconds(), column(model.predict(test)?))
        }
        Kind::Clusters | Kind::TrainingClusters => {
            let Some(params) = params(registry::clusterers(), name, values)? else { return Ok(None) };
            let model = params.fit_boxed(train, None)?;
            let fitted = seconds();
            let labels =
                if kind == Kind::Clusters { model.predict(test)?.to_vec() } else { model.labels().to_vec() };
            (fitted, column(labels.into_iter().map(|label| label as f64)))
        }
        Kind::Transform => {
            let Some(params) = params(registry::transformers(), name, values)? else { return Ok(None) };
            let model = params.fit_boxed(train, Target::None, None)?;
            (seconds(), model.transform(test)?)
        }
    };
    Ok(Some((fitted, seconds() - fitted, out)))
}

/// A little-endian `f64` array in row-major order.
fn read_npy(path: PathBuf) -> Result<Array2<f64>> {
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    let wrong = || format!("{}: not a .npy file of f64 in row-major order", path.display());
    let length =
        bytes.get(8..10).context(wrong())?.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
    let header = std::str::from_utf8(bytes.get(10..10 + length).context(wrong())?)?;
    if !bytes.starts_with(b"\x93NUMPY\x01")
        || !header.contains("'<f8'")
        || !header.contains("'fortran_order': False")
    {
        bail!(wrong());
    }
    let shape = header.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next()).context(wrong())?;
    let sizes: Vec<usize> = shape.split(',').filter_map(|size| size.trim().parse().ok()).collect();
    let (words, _) = bytes[10 + length..].as_chunks::<8>();
    let values: Vec<f64> = words.iter().map(|word| f64::from_le_bytes(*word)).collect();
    let rows = *sizes.first().context(wrong())?;
    Ok(Array2::from_shape_vec((rows, sizes.get(1).copied().unwrap_or(1)), values)?)
}

fn npy(values: &Array2<f64>) -> Vec<u8> {
    let shape = if values.ncols() == 1 {
        format!("{},", values.nrows())
    } else {
        format!("{}, {}", values.nrows(), values.ncols())
    };
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}");
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// A field of `/proc/self/status` in MB, where there is one.
fn peak_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// CPU seconds of this process and of the whole machine.
fn cpu() -> (f64, f64) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let ticks = |words: Vec<&str>, places: &[usize]| -> f64 {
        places.iter().filter_map(|&place| words.get(place)?.parse::<f64>().ok()).sum::<f64>() / 100.0
    };
    let (own, all) = (read("/proc/self/stat"), read("/proc/stat"));
    let after_name = own.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let first = all.lines().next().unwrap_or_default().split_whitespace().skip(1).collect();
    (ticks(after_name, &[11, 12]), ticks(first, &[0, 1, 2, 5, 6, 7]))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [algorithm, data] = arguments.as_slice() else { bail!("usage: classical_peer ALGORITHM DATA") };
    let peer = env::var("CLS_LABEL").unwrap_or_else(|_| "kiln".to_owned());
    let number =
        |name: &str, default: f64| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let unsupported = json!({"peer": peer, "algo": algorithm, "data": data, "unsupported": true});
    let Some((kind, name, values, scaled)) = task(algorithm) else {
        println!("{unsupported}");
        return Ok(());
    };
    let folder = |variable: &str, part: &str| -> Result<PathBuf> {
        match env::var_os(variable) {
            Some(folder) => Ok(folder.into()),
            None => Ok(env::home_dir().context("no home folder")?.join(".cache/classical").join(part)),
        }
    };
    let threads = number("CLS_THREADS", 2.0);
    rayon::ThreadPoolBuilder::new().num_threads(threads as usize).build_global()?;
    let from = folder("CLS_DATA", "data")?;
    let read = |part: &str| read_npy(from.join(format!("{data}_{part}.npy")));
    let data_set = if scaled {
        [read("Str")?, read("Ste")?, read("ytr")?]
    } else {
        [read("Xtr")?, read("Xte")?, read("ytr")?]
    };

    let base = peak_mb();
    let (start, (own, all)) = (Instant::now(), cpu());
    let (mut fits, mut predictions, mut out) = (Vec::new(), Vec::new(), Array2::zeros((0, 0)));
    for _ in 0..number("CLS_REPS", 5.0) as usize {
        let Some((fit, predict, values)) = run(kind, name, &values, &data_set)? else {
            println!("{unsupported}");
            return Ok(());
        };
        fits.push(fit);
        predictions.extend((kind != Kind::TrainingClusters).then_some(predict));
        out = values;
        if start.elapsed().as_secs_f64() > number("CLS_BUDGET_S", 60.0) {
            break;
        }
    }
    let (wall, (own_after, all_after)) = (start.elapsed().as_secs_f64(), cpu());
    let (own, all) = (own_after - own, all_after - all);
    let to = folder("CLS_OUT", "out")?.join(&peer);
    fs::create_dir_all(&to)?;
    fs::write(to.join(format!("{algorithm}__{data}.npy")), npy(&out))?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let report = json!({
        "peer": peer, "algo": algorithm, "data": data, "fit_s": fits, "predict_s": predictions, "threads": threads,
        "cpu_per_wall": own / wall, "other_cpu": (all - own) / wall.max(0.3),
        "rss_base_mb": base, "rss_peak_mb": peak_mb(),
        "load1": load.split_whitespace().next().and_then(|load| load.parse::<f64>().ok()),
    });
    println!("{report}");
    Ok(())
}
