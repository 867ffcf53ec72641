use crate::assert_refused;
use kiln::train::Evaluation;
use serde_json::{Value, json};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

/// Four images of two classes: sure and right, unsure and right, sure and wrong, unsure and wrong.
fn four() -> Evaluation {
    let probabilities = [0.95, 0.05, 0.4, 0.6, 0.9, 0.1, 0.45, 0.55];
    Evaluation::new(&["cat".to_string(), "dog".to_string()], &probabilities, &[0, 1, 1, 0]).unwrap()
}

#[track_caller]
fn assert_close(ours: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!((ours - expected).abs() < 1e-6, "{ours} is not {expected}");
}

/// Against scikit-learn and, for calibration, the paper's formula (`tests/fixtures/evaluation.py`).
#[test]
fn agrees_with_scikit_learn() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/fixtures/evaluation.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let numbers = |key: &str| fixture[key].as_array().unwrap().iter();
    let probabilities: Vec<f32> =
        numbers("probabilities").map(|value| value.as_f64().unwrap() as f32).collect();
    let labels: Vec<i32> = numbers("labels").map(|value| value.as_i64().unwrap() as i32).collect();
    let evaluation = Evaluation::new(&names(7), &probabilities, &labels).unwrap();

    assert_eq!((evaluation.images, evaluation.top_k.k), (120, 5));
    assert_close(evaluation.accuracy, &fixture["accuracy"]);
    assert_close(evaluation.top_k.accuracy, &fixture["top_5"]);
    assert_close(evaluation.loss, &fixture["loss"]);
    assert_close(evaluation.macro_f1, &fixture["macro_f1"]);
    assert_close(evaluation.calibration.expected_error, &fixture["expected_error"]);
    for (at, class) in evaluation.classes.iter().enumerate() {
        assert_close(class.precision, &fixture["precision"][at]);
        assert_close(class.recall, &fixture["recall"][at]);
        assert_close(class.f1, &fixture["f1"][at]);
        assert_close(class.support as f64, &fixture["support"][at]);
    }
    assert_eq!((evaluation.classes[6].support, evaluation.classes[2].predicted), (0, 0));
    assert_eq!(serde_json::to_value(&evaluation).unwrap()["confusion"], fixture["confusion"]);
}

#[test]
fn mistakes_and_pairs_are_ranked() {
    let evaluation = four();
    let mistakes: Vec<(usize, usize, usize)> =
        evaluation.mistakes.iter().map(|mistake| (mistake.index, mistake.label, mistake.predicted)).collect();
    assert_eq!(mistakes, [(2, 1, 0), (3, 0, 1)]);

    // Of class 2, 3 of 4 go to class 0; of class 1, 1 of 2 goes to class 2; of class 0, 1 of 4 to class 1.
    let (labels, guesses) = ([0, 0, 0, 0, 1, 1, 2, 2, 2, 2], [0, 0, 0, 1, 1, 2, 0, 0, 0, 2]);
    let row = |guess: usize| (0..3).map(move |class| if class == guess { 0.8 } else { 0.1 });
    let probabilities: Vec<f32> = guesses.into_iter().flat_map(row).collect();
    let evaluation = Evaluation::new(&names(3), &probabilities, &labels).unwrap();
    let pairs: Vec<(usize, usize, usize, f64)> = evaluation
        .confused
        .iter()
        .map(|pair| (pair.label, pair.predicted, pair.images, pair.share))
        .collect();
    assert_eq!(pairs, [(2, 0, 3, 0.75), (1, 2, 1, 0.5), (0, 1, 1, 0.25)]);
}

#[test]
fn bins_of_confidence() {
    let calibration = four().calibration;
    // 0.55 and 0.6 lie in (8/15, 9/15], 0.9 in (13/15, 14/15], 0.95 in (14/15, 1]. As an f32, 0.6 is
    // above 9/15.
    let images: Vec<usize> = calibration.bins.iter().map(|bin| bin.images).collect();
    assert_eq!(images, [1, 1, 1, 1]);
    let expected = (0.55 + 0.4 + 0.9 + 0.05) / 4.0;
    assert!((calibration.expected_error - expected).abs() < 1e-6);
}

/// The layout that `docs/json.md` promises.
#[test]
fn json() {
    let mut value = serde_json::to_value(four()).unwrap();
    let loss = -(f64::from(0.95f32).ln()
        + f64::from(0.6f32).ln()
        + f64::from(0.1f32).ln()
        + f64::from(0.45f32).ln())
        / 4.0;
    assert_close(loss, &value["loss"]);
    let calibration = value.as_object_mut().unwrap().remove("calibration").unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&calibration), ["bins", "expected_error"]);
    assert_eq!(keys(&calibration["bins"][0]), ["accuracy", "confidence", "high", "images", "low"]);
    value["loss"] = json!(0);
    for mistake in value["mistakes"].as_array_mut().unwrap() {
        assert_close(
            mistake["probability"].as_f64().unwrap() + mistake["label_probability"].as_f64().unwrap(),
            &json!(1),
        );
        (mistake["probability"], mistake["label_probability"]) = (json!(0), json!(0));
    }
    let class = |name: &str| json!({"name": name, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2, "predicted": 2});
    let pair = |label: usize, predicted: usize| json!({"label": label, "predicted": predicted, "images": 1, "share": 0.5});
    let mistake = |index: usize, label: usize, predicted: usize| json!({"index": index, "label": label, "predicted": predicted, "probability": 0, "label_probability": 0});
    let expected = json!({
        "images": 4,
        "accuracy": 0.5,
        "top_k": {"k": 2, "accuracy": 1.0},
        "loss": 0,
        "macro_f1": 0.5,
        "classes": [class("cat"), class("dog")],
        "confusion": [[1, 1], [1, 1]],
        "confused": [pair(0, 1), pair(1, 0)],
        "mistakes": [mistake(2, 1, 0), mistake(3, 0, 1)],
    });
    assert_eq!(value, expected);
}

#[test]
fn table() {
    let text = four().to_string();
    for line in [
        "accuracy           50.00 %",
        "         cat       0.50      0.50      0.50         2",
        "  1 of cat taken for dog (50.00 % of cat)",
    ] {
        assert!(text.contains(line), "{text} lacks {line:?}");
    }
    assert!(!text.contains("top-"), "the top 2 of 2 classes say nothing");
}

#[test]
fn bad_input() {
    let two = names(2);
    assert_refused(Evaluation::new(&two, &[], &[]), "0 probabilities for 0 images of 2 classes");
    assert_refused(Evaluation::new(&[], &[], &[0]), "for 1 images of 0 classes");
    assert_refused(Evaluation::new(&two, &[0.5; 3], &[0]), "3 probabilities for 1 images of 2 classes");
    assert_refused(Evaluation::new(&two, &[0.5; 4], &[0, 2]), "image 1 has the label 2; there are 2 classes");
    assert_refused(Evaluation::new(&two, &[0.5; 4], &[0, -1]), "image 1 has the label -1");
    assert_refused(Evaluation::new(&two, &[0.5, f32::NAN], &[0]), "NaN at row 0, column 1");
    assert_refused(Evaluation::new(&two, &[2.0, -1.0], &[0]), "row 0");
    assert_refused(Evaluation::new(&two, &[0.5, 0.4], &[0]), "no probabilities");
}
