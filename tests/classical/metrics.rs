//! Every metric against scikit-learn's.

use crate::fixtures::{assert_close, labels, matrix, numbers, parse};
use kiln::Result;
use kiln::classical::metrics::{self, *};
use kiln::classical::{Labels, Targets, weighted};
use serde_json::Value;
use std::collections::BTreeMap;

type Scores = BTreeMap<String, Vec<f64>>;

/// What is counted from labels: every case that scikit-learn has twice, without and with weights.
fn of_labels(tag: &str, truth: &dyn Labels, predicted: &Vec<i64>, scores: &mut Scores) -> Result<()> {
    let (prefix, suffix) = tag.split_once('|').expect("a prefix and a suffix");
    let mut put = |name: &str, score: Result<f64>| {
        score.map(|score| scores.insert(format!("{prefix}.{name}{suffix}"), vec![score]))
    };
    put("accuracy", accuracy_score(truth, predicted))?;
    put("balanced", balanced_accuracy_score(truth, predicted))?;
    put("mcc", matthews_corrcoef(truth, predicted))?;
    put("hamming", hamming_loss(truth, predicted))?;
    let matrix = confusion_matrix(truth, predicted)?;
    put("kappa0", cohen_kappa_score(truth, predicted))?;
    put("kappa1", Ok(matrix.cohen_kappa(1)))?;
    put("kappa2", Ok(matrix.cohen_kappa(2)))?;
    let mut averages =
        vec![("micro", Average::Micro), ("macro", Average::Macro), ("weighted", Average::Weighted)];
    averages.extend((prefix == "b").then_some(("binary", Average::Binary(1))));
    for (name, average) in averages {
        put(&format!("precision_{name}"), precision_score(truth, predicted, average))?;
        put(&format!("recall_{name}"), recall_score(truth, predicted, average))?;
        put(&format!("f1_{name}"), f1_score(truth, predicted, average))?;
        put(&format!("f2_{name}"), fbeta_score(truth, predicted, 2.0, average))?;
        put(&format!("jaccard_{name}"), jaccard_score(truth, predicted, average))?;
        put(&format!("recall_nan_{name}"), Ok(matrix.average(average, 1.0, f64::NAN)?.recall))?;
    }
    scores.insert(format!("{prefix}.confusion{suffix}"), matrix.counts.into_iter().collect());
    Ok(())
}

fn all(inputs: &Value) -> Result<Scores> {
    let mut scores = Scores::new();
    let (list, rows) = (|name: &str| numbers(&inputs[name]), |name: &str| matrix(&inputs[name]));
    let (binary, multi) = (labels(&inputs["binary"]), labels(&inputs["multi"]));
    let weights = list("w");
    of_labels("b|", &binary, &labels(&inputs["binary_pred"]), &mut scores)?;
    of_labels("m|", &multi, &labels(&inputs["multi_pred"]), &mut scores)?;
    of_labels("b|_w", &weighted(&binary, &weights), &labels(&inputs["binary_pred"]), &mut scores)?;
    of_labels("m|_w", &weighted(&multi, &weights), &labels(&inputs["multi_pred"]), &mut scores)?;

    let (score, proba, probas, raw) = (list("score"), list("proba"), rows("probas"), rows("raw"));
    let [value, value_pred, positive, positive_pred, counts] =
        ["value", "value_pred", "positive", "positive_pred", "counts"].map(list);
    let (four, two) = ([0, 1, 2, 3], [0, 1]);
    for suffix in ["", "_w"] {
        let mut put = |name: &str, values: Vec<f64>| scores.insert(format!("{name}{suffix}"), values);
        let weight = |y: &Vec<i64>| -> Box<dyn Labels> {
            if suffix.is_empty() { Box::new(y.clone()) } else { Box::new(weighted(leak(y), leak(&weights))) }
        };
        let (b, m) = (weight(&binary), weight(&multi));
        let (b, m): (&dyn Labels, &dyn Labels) = (&*b, &*m);
        put("log_loss", vec![log_loss(m, probas.view(), &four)?]);
        put("brier", vec![brier_score_loss(b, &proba, 1)?]);
        put("top2", vec![top_k_accuracy_score(m, probas.view(), &four, 2)?]);
        let column = ndarray::Array2::from_shape_fn((score.len(), 1), |(row, _)| score[row]);
        put("hinge", vec![hinge_loss(b, column.view(), &two)?]);
        put("hinge_multi", vec![hinge_loss(m, raw.view(), &four)?]);
        let roc = roc_curve(b, &score, 1)?;
        put("roc", [roc.fpr, roc.tpr, roc.thresholds[1..].to_vec()].concat());
        put("roc_auc", vec![roc_auc_score(b, &score, 1)?]);
        let pr = precision_recall_curve(b, &score, 1)?;
        put("pr", [pr.precision, pr.recall, pr.thresholds].concat());
        put("ap", vec![average_precision_score(b, &score, 1)?]);
        let area = |kind| roc_auc_score_multiclass(m, probas.view(), &four, kind);
        put("ovr", vec![area(MultiClass::Ovr)?]);
        put("ovr_weighted", vec![area(MultiClass::OvrWeighted)?]);
        if suffix.is_empty() {
            put("ovo", vec![area(MultiClass::Ovo)?]);
            put("ovo_weighted", vec![area(MultiClass::OvoWeighted)?]);
        }
        let weight = |y: &Vec<f64>| -> Box<dyn Targets> {
            if suffix.is_empty() { Box::new(y.clone()) } else { Box::new(weighted(leak(y), leak(&weights))) }
        };
        let (v, p, c) = (weight(&value), weight(&positive), weight(&counts));
        let (v, p, c): (&dyn Targets, &dyn Targets, &dyn Targets) = (&*v, &*p, &*c);
        put("r2", vec![r2_score(v, &value_pred)?]);
        put("ev", vec![explained_variance_score(v, &value_pred)?]);
        put("mse", vec![mean_squared_error(v, &value_pred)?]);
        put("rmse", vec![root_mean_squared_error(v, &value_pred)?]);
        put("mae", vec![mean_absolute_error(v, &value_pred)?]);
        put("mape", vec![mean_absolute_percentage_error(v, &value_pred)?]);
        put("msle", vec![mean_squared_log_error(p, &positive_pred)?]);
        put("median", vec![median_absolute_error(v, &value_pred)?]);
        put("pinball", vec![mean_pinball_loss(v, &value_pred, 0.3)?]);
        put("d2_absolute", vec![d2_absolute_error_score(v, &value_pred)?]);
        put("d2_pinball", vec![d2_pinball_score(v, &value_pred, 0.3)?]);
        for power in [-1.0, 0.0, 1.0, 1.5, 2.0, 3.0] {
            let truth = if (1.0..2.0).contains(&power) { c } else { p };
            put(&format!("tweedie{power}"), vec![mean_tweedie_deviance(truth, &positive_pred, power)?]);
            put(&format!("d2_tweedie{power}"), vec![d2_tweedie_score(truth, &positive_pred, power)?]);
        }
    }
    let mut put = |name: &str, values: Vec<f64>| scores.insert(name.to_owned(), values);
    put("max_error", vec![max_error(&value, &value_pred)?]);
    for (name, bins) in [("uniform", Bins::Uniform), ("quantile", Bins::Quantile)] {
        let (truth, predicted) = calibration_curve(&binary, &proba, 1, 5, bins)?;
        put(&format!("calibration_{name}"), [truth, predicted].concat());
    }
    let clusters = labels(&inputs["clusters"]);
    type Comparison = fn(&dyn Labels, &dyn Labels) -> Result<f64>;
    let comparisons: [(&str, Comparison); 9] = [
        ("rand_score", rand_score),
        ("adjusted_rand_score", adjusted_rand_score),
        ("fowlkes_mallows_score", fowlkes_mallows_score),
        ("mutual_info_score", mutual_info_score),
        ("normalized_mutual_info_score", normalized_mutual_info_score),
        ("adjusted_mutual_info_score", adjusted_mutual_info_score),
        ("homogeneity_score", homogeneity_score),
        ("completeness_score", completeness_score),
        ("v_measure_score", v_measure_score),
    ];
    for (name, compare) in comparisons {
        put(name, vec![compare(&multi, &clusters)?]);
    }
    let x = rows("x");
    put("silhouette_samples", silhouette_samples(&x, &clusters)?);
    put("silhouette_score", vec![silhouette_score(&x, &clusters)?]);
    put("calinski_harabasz_score", vec![calinski_harabasz_score(&x, &clusters)?]);
    put("davies_bouldin_score", vec![davies_bouldin_score(&x, &clusters)?]);
    let (relevance, ranked, member) = (rows("relevance"), rows("ranked"), rows("member"));
    let (relevance, ranked, member) = (relevance.view(), ranked.view(), member.view());
    put("dcg", vec![dcg_score(relevance, ranked, None)?]);
    put("dcg3", vec![dcg_score(relevance, ranked, Some(3))?]);
    put("ndcg", vec![ndcg_score(relevance, ranked, None)?]);
    put("ndcg3", vec![ndcg_score(relevance, ranked, Some(3))?]);
    put("coverage", vec![coverage_error(member, ranked)?]);
    put("lrap", vec![label_ranking_average_precision_score(member, ranked)?]);
    put("ranking_loss", vec![label_ranking_loss(member, ranked)?]);
    Ok(scores)
}

/// Values that live as long as the boxes that borrow them.
fn leak<T: Clone + 'static>(values: &[T]) -> &'static Vec<T> {
    Box::leak(Box::new(values.to_vec()))
}

#[test]
fn scores_are_those_of_scikit_learn() -> Result<()> {
    let fixture = parse(include_str!("../../assets/fixtures/classical/metrics.json"));
    let ours = all(&fixture["inputs"])?;
    let theirs = fixture["cases"].as_object().expect("cases by name");
    for (name, expected) in theirs {
        let got = ours.get(name).unwrap_or_else(|| panic!("{name} is not tested"));
        assert_close(name, got, &numbers(expected), 1e-10);
    }
    assert_eq!(ours.len(), theirs.len(), "cases without an expected value");
    let report = classification_report(
        &labels(&fixture["inputs"]["multi"]),
        &labels(&fixture["inputs"]["multi_pred"]),
    )?;
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&report), words(fixture["report"].as_str().expect("text")));
    Ok(())
}

#[test]
fn wrong_input_is_refused() {
    let labels = [0, 1, 1];
    for error in [
        accuracy_score(&labels, &[0, 1]).expect_err("lengths differ"),
        accuracy_score(&Vec::<i64>::new(), &Vec::<i64>::new()).expect_err("nothing to score"),
        accuracy_score(&weighted(&labels, &[1.0]), &labels).expect_err("too few weights"),
        accuracy_score(&weighted(&labels, &[1.0, -1.0, 1.0]), &labels).expect_err("a negative weight"),
        precision_score(&labels, &labels, Average::Binary(7)).expect_err("no such label"),
        precision_score(&[0, 1, 2], &[0, 1, 2], Average::Binary(1)).expect_err("three classes"),
        r2_score(&[1.0, f64::NAN], &[1.0, 2.0]).expect_err("NaN in the truth"),
        r2_score(&[1.0, 2.0], &[1.0, f64::INFINITY]).expect_err("an infinite prediction"),
        roc_auc_score(&[1, 1, 1], &[0.1, 0.2, 0.3], 1).expect_err("one class"),
        log_loss(&labels, ndarray::array![[0.5, 0.6], [0.5, 0.5], [0.5, 0.5]].view(), &[0, 1])
            .expect_err("rows do not sum to 1"),
        log_loss(&labels, ndarray::Array2::from_elem((3, 2), 0.5).view(), &[0, 2])
            .expect_err("an unknown label"),
        mean_poisson_deviance(&[1.0, -1.0], &[1.0, 1.0]).expect_err("a negative count"),
        silhouette_score(&ndarray::array![[0.0], [1.0], [2.0]], &[0, 0, 0]).expect_err("one cluster"),
        metrics::auc(&[0.0, 1.0, 0.5], &[0.0, 1.0, 1.0]).expect_err("x turns"),
    ] {
        assert!(error.to_string().len() > 20, "{error}");
    }
}

#[test]
fn the_confusion_matrix_is_drawn_and_printed() -> Result<()> {
    let matrix = confusion_matrix(&[0, 0, 1, 2], &[0, 1, 1, 2])?;
    assert_eq!(matrix.to_string(), "    0 1 2\n 0  1 1 0\n 1  0 1 0\n 2  0 0 1");
    let svg = matrix.to_svg(&["a<b".to_owned(), "c & d".to_owned()]);
    assert_eq!(svg.matches("<rect").count(), 1 + 9);
    assert!(svg.contains("a&lt;b") && svg.contains("c &amp; d") && !svg.contains("a<b"));
    Ok(())
}
