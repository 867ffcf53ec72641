//! Vectors of texts, and the choice of columns, against scikit-learn's.

use crate::fixtures::{assert_close, labels, matrix, numbers, parse};
use kiln::Result;
use kiln::classical::feature_selection::*;
use kiln::classical::prelude::*;
use kiln::classical::text::*;
use kiln::classical::{Classes, Saved};
use serde_json::{Map, Value, from_value, json};
use sprs::CsMat;

fn fixture() -> Value {
    parse(include_str!("../../assets/fixtures/classical/text.json"))
}

fn strings(value: &Value) -> Vec<String> {
    from_value(value.clone()).expect("a list of texts")
}

fn same(name: &str, got: &CsMat<f64>, expected: &Value) {
    let expected = matrix(expected);
    assert_eq!(got.shape(), expected.dim(), "{name}");
    assert_close(
        name,
        &got.to_dense().into_iter().collect::<Vec<_>>(),
        &expected.into_iter().collect::<Vec<_>>(),
        1e-12,
    );
}

#[test]
fn vectors_are_those_of_scikit_learn() -> Result<()> {
    let fixture = fixture();
    let (texts, new) = (strings(&fixture["texts"]), strings(&fixture["new"]));
    for case in fixture["cases"].as_array().expect("a list of cases") {
        let (kind, params) =
            (case["kind"].as_str().expect("a kind"), case["params"].as_object().expect("parameters"));
        let name = format!("{kind} {}", case["params"]);
        let (fitted, out, vocabulary) = match kind {
            "count" => {
                let (model, fitted) = CountVectorizer::params().replaced(params)?.fit_transform(&texts)?;
                (fitted, model.transform(&new), Some(model.vocabulary().to_vec()))
            }
            "tfidf" => {
                let tfidf = TfidfTransformer::params().replaced(params)?;
                let (model, fitted) = TfidfVectorizer::params().tfidf(tfidf).fit_transform(&texts)?;
                let read = TfidfVectorizer::from_bytes(&model.to_bytes()?)?;
                (fitted, read.transform(&new)?, Some(model.vocabulary().to_vec()))
            }
            _ => {
                let alternate_sign = params.get("alternate_sign").is_none();
                let hasher = FeatureHasher { n_features: 16, alternate_sign };
                let model = HashingVectorizer { hasher, ..HashingVectorizer::default() };
                (model.transform(&texts)?, model.transform(&new)?, None)
            }
        };
        if let Some(vocabulary) = vocabulary {
            assert_eq!(vocabulary, strings(&case["vocabulary"]), "{name}");
        }
        same(&name, &fitted, &case["fitted"]);
        same(&name, &out, &case["expected"]);
    }
    let pairs: Vec<Vec<(String, f64)>> = from_value(fixture["pairs"].clone()).expect("named numbers");
    let hasher = FeatureHasher { n_features: 8, alternate_sign: true };
    same("FeatureHasher", &hasher.transform(&pairs)?, &fixture["hashed"]);
    Ok(())
}

#[test]
fn texts_that_say_nothing_are_refused() {
    assert!(CountVectorizer::params().fit(&["", "a b c"]).is_err(), "no word of two letters");
    assert!(CountVectorizer::params().fit(&Vec::<String>::new()).is_err());
    assert!(CountVectorizer::params().ngram_range((2, 1)).fit(&["two words"]).is_err());
    let hasher = FeatureHasher { n_features: 0, alternate_sign: true };
    assert!(hasher.transform(&[vec![("a", 1.0)]]).is_err());
    let wrong: Map<String, Value> = json!({"min_dff": 2}).as_object().cloned().unwrap_or_default();
    assert!(
        CountVectorizer::params().replaced(&wrong).expect_err("a wrong name").to_string().contains("min_dff")
    );
}

#[test]
fn scores_of_columns_are_those_of_scikit_learn() -> Result<()> {
    let fixture = fixture();
    let (x, counts, target) =
        (matrix(&fixture["x"]), matrix(&fixture["counts"]), numbers(&fixture["target"]));
    let classes = Classes::new(&labels(&fixture["labels"]));
    let scores = [
        ("f_classif", f_classif(x.view(), &classes), 1e-10),
        ("f_regression", f_regression(x.view(), &target), 1e-10),
        ("chi2", chi2(counts.view(), &classes)?, 1e-10),
        // scikit-learn adds noise of 1e-10 to the columns.
        ("mutual_info_classif", mutual_info_classif(x.view(), &classes, 3), 1e-6),
        ("mutual_info_regression", mutual_info_regression(x.view(), &target, 3), 1e-6),
    ];
    for (name, got, tolerance) in scores {
        assert_close(name, &got, &numbers(&fixture["scores"][name]), tolerance);
    }
    let support =
        |name: &str| labels(&fixture["support"][name]).into_iter().map(|at| at as usize).collect::<Vec<_>>();
    let best = SelectKBest::params().k(2).fit_with(&x, Target::Classes(classes.clone()))?;
    assert_eq!(best.support(), support("k_best"));
    let half = SelectPercentile::params().percentile(50.0).fit_with(&x, Target::Values(target))?;
    assert_eq!(half.support(), support("percentile"));
    assert_eq!(VarianceThreshold::params().threshold(1.2).fit(&x)?.support(), support("variance"));
    assert!(SelectKBest::params().fit(&x).is_err(), "without a target");
    assert!(
        SelectKBest::params().score_func(ScoreFunction::Chi2).fit_with(&x, Target::Classes(classes)).is_err()
    );
    Ok(())
}

#[test]
fn eliminations_keep_the_columns_that_scikit_learns_keep() -> Result<()> {
    let fixture = fixture();
    let x = matrix(&fixture["x"]);
    let targets = [
        ("classes", Target::classes(&labels(&fixture["labels"]))),
        ("numbers", Target::Values(numbers(&fixture["target"]))),
    ];
    let ranks = |ranking: &[usize]| ranking.iter().map(|&rank| rank as i64).collect::<Vec<_>>();
    for case in fixture["eliminations"].as_array().expect("a list") {
        let exact = LogisticRegression::params().tol(1e-9).max_iter(1000_usize);
        let params: RfeParams = serde_json::from_value(case["params"].clone()).expect("scikit-learn's names");
        for (name, target) in &targets {
            let model = params.clone().classifier(exact.clone()).fit_with(&x, target.clone())?;
            assert_eq!(ranks(model.ranking()), labels(&case[*name]), "{} {name}", case["params"]);
        }
    }
    for case in fixture["searches"].as_array().expect("a list") {
        let exact = LogisticRegression::params().tol(1e-9).max_iter(1000_usize);
        let params: RfecvParams =
            serde_json::from_value(case["params"].clone()).expect("scikit-learn's names");
        for (name, target) in &targets {
            let what = format!("{} {name}", case["params"]);
            let scoring = (*name == "classes").then(|| "neg_log_loss".to_owned());
            let params = params.clone().classifier(exact.clone()).scoring(scoring);
            let model = params.fit_with(&x, target.clone())?;
            assert_eq!(ranks(model.ranking()), labels(&case[*name]["ranking"]), "{what}");
            // scikit-learn lists the numbers of columns upwards.
            let (columns, scores): (Vec<f64>, Vec<f64>) =
                model.scores().iter().rev().map(|&(columns, score)| (columns as f64, score)).unzip();
            assert_eq!(columns, numbers(&case[*name]["columns"]), "{what}");
            assert_close(&what, &scores, &numbers(&case[*name]["scores"]), 1e-6);
        }
    }
    Ok(())
}

#[test]
fn an_elimination_by_a_model_without_importances_is_refused() {
    let (x, y) = (ndarray::array![[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [1.0, 3.0]], [0, 1, 0, 1]);
    let params = Rfe::params().classifier(KNeighborsClassifier::params().n_neighbors(1_usize));
    let error = params.fit_with(&x, Target::classes(&y)).unwrap_err().to_string();
    assert!(error.contains("KNeighborsClassifier"), "{error}");
    let error = Rfe::params().n_features_to_select(3_usize).fit_with(&x, Target::classes(&y)).unwrap_err();
    assert!(error.to_string().contains("3 columns"), "{error}");
}
