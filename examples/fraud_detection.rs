//! Finds rare bad cases where missing one costs more than a false alarm: credits that will not be paid back.
//!
//!     KILN_DATA=/path/to/data cargo run --release --example fraud_detection
//!
//! Reads `tabular/german_credit.csv` of the directory that KILN_DATA names (the German Credit data of Hofmann,
//! from <https://archive.ics.uci.edu/dataset/144>, with a header line), whose authors say that a bad credit
//! taken for good costs 5 and a good one taken for bad 1. Any CSV file with a rare class will do, such as card
//! payments with `--data creditcard.csv --target Class --positive 1`. Compares models by the cost of their
//! decisions on a quarter of the rows, at the usual threshold of 0.5 and at the one that is cheapest in
//! cross-validation, and writes the cost of every threshold to `runs/fraud_detection`.

use anyhow::{Context, Result};
use clap::Parser;
use kiln::classical::metrics::average_precision_score;
use kiln::classical::model_selection::{Splitter, StratifiedKFold, train_test_indices};
use kiln::classical::prelude::*;
use kiln::classical::table::{Estimator, Schema, Table};
use ndarray::{Array2, Axis};
use plotters::prelude::*;
use std::path::{Path, PathBuf};

/// Find rare bad cases where missing one costs more than a false alarm.
#[derive(Parser)]
struct Options {
    /// A CSV file [default: tabular/german_credit.csv of $KILN_DATA]
    #[arg(long)]
    data: Option<PathBuf>,
    /// The column of the classes
    #[arg(long, default_value = "class_1good_2bad")]
    target: String,
    /// The class of the bad cases
    #[arg(long, default_value = "2")]
    positive: String,
    /// What a missed bad case costs, in false alarms
    #[arg(long, default_value_t = 5.0)]
    missed: f64,
    /// Seed of the splits and of the models
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the plot
    #[arg(long, default_value = "runs/fraud_detection")]
    out: PathBuf,
}

/// Thresholds that are tried.
const STEPS: usize = 100;

fn main() -> Result<()> {
    let options = Options::parse();
    let path = match (&options.data, std::env::var_os("KILN_DATA")) {
        (Some(path), _) => path.clone(),
        (None, Some(root)) => Path::new(&root).join("tabular/german_credit.csv"),
        (None, None) => anyhow::bail!("name a file with --data, or set KILN_DATA"),
    };
    let table = Table::read_csv(&path)?;
    let (codes, names) = table.labels(&options.target)?;
    let bad = names.classes().iter().position(|name| *name == options.positive);
    let bad = bad.with_context(|| format!("{} has no class {:?}", options.target, options.positive))? as i64;
    let labels: Vec<i64> = codes.iter().map(|&code| i64::from(code == bad)).collect();
    let features = table.drop(&[&options.target])?;
    let schema = Schema::of(&features);
    let x = schema.matrix(&features)?;
    let fold = train_test_indices(x.nrows(), 0.25, Some(options.seed), Some(&labels))?;
    let of = |rows: &[usize]| -> (Array2<f64>, Vec<i64>) {
        (x.select(Axis(0), rows), rows.iter().map(|&row| labels[row]).collect())
    };
    let ((train, truth), (test, test_truth)) = (of(&fold.train), of(&fold.test));
    let bad_cases: i64 = test_truth.iter().sum();
    println!("{} rows to learn from, {} to judge, {bad_cases} of them bad", truth.len(), test_truth.len());
    let share = bad_cases as f64 / test_truth.len() as f64;
    println!("a decision without a model costs {:.3} a row", (options.missed * share).min(1.0 - share));

    let balanced = ClassWeight::Balanced;
    let logistic = LogisticRegression::params().c(0.1).max_iter(500_usize);
    let forest = RandomForestClassifier::params().n_estimators(300).min_samples_leaf(3).seed(options.seed);
    let boosting = HistGradientBoostingClassifier::params().learning_rate(0.03).max_leaf_nodes(8);
    let candidates: [(&str, Estimator); 4] = [
        ("logistic regression", Estimator::Classifier(logistic.clone().into())),
        ("the same, balanced", Estimator::Classifier(logistic.class_weight(balanced.clone()).into())),
        ("random forest, balanced", Estimator::Classifier(forest.class_weight(balanced).into())),
        ("gradient boosting", Estimator::Classifier(boosting.seed(options.seed).into())),
    ];
    let mut curves = Vec::new();
    for (name, estimator) in &candidates {
        let Estimator::Classifier(params) = estimator.with_preprocessing(&schema) else { continue };
        // The threshold is chosen on rows that the model asked has not learned from.
        let mut held_out = vec![0.0; truth.len()];
        for part in StratifiedKFold::new(5).shuffle(options.seed).split(truth.len(), Some(&truth))? {
            let known: Vec<i64> = part.train.iter().map(|&row| truth[row]).collect();
            let model = params.0.fit_boxed(&train.select(Axis(0), &part.train), &known, None)?;
            let found = model.predict_proba(&train.select(Axis(0), &part.test))?;
            part.test.iter().zip(found.column(1)).for_each(|(&row, &found)| held_out[row] = found);
        }
        let thresholds = || (0..=STEPS).map(|step| step as f64 / STEPS as f64);
        let chosen = thresholds()
            .min_by(|&a, &b| {
                let cost = |threshold| cost(&truth, &held_out, threshold, options.missed);
                cost(a).total_cmp(&cost(b))
            })
            .context("there are thresholds")?;

        let model = params.0.fit_boxed(&train, &truth, None)?;
        let found = model.predict_proba(&test)?.column(1).to_vec();
        let cost = |threshold| cost(&test_truth, &found, threshold, options.missed);
        println!(
            "{name:>24}: average precision {:.4}; a row costs {:.3} at 0.5, {:.3} at {chosen:.2}",
            average_precision_score(&test_truth, &found, 1)?,
            cost(0.5),
            cost(chosen)
        );
        curves.push((*name, thresholds().map(|threshold| (threshold, cost(threshold))).collect::<Vec<_>>()));
    }
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
    let plot = options.out.join("cost.svg");
    draw(&plot, &curves)?;
    println!("plot: {}", plot.display());
    Ok(())
}

/// The mean cost of a row where all from a probability on count as bad: 1 for a false alarm.
fn cost(truth: &[i64], probabilities: &[f64], threshold: f64, missed: f64) -> f64 {
    let of_row = |(&truth, &probability): (&i64, &f64)| match (truth == 1, probability >= threshold) {
        (true, false) => missed,
        (false, true) => 1.0,
        _ => 0.0,
    };
    truth.iter().zip(probabilities).map(of_row).sum::<f64>() / truth.len() as f64
}

fn draw(path: &Path, curves: &[(&str, Vec<(f64, f64)>)]) -> Result<()> {
    let most = curves.iter().flat_map(|(_, points)| points).map(|point| point.1).fold(0.0, f64::max);
    let root = SVGBackend::new(path, (720, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("What a row costs, by threshold", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..1.0, 0.0..1.05 * most)?;
    chart.configure_mesh().x_desc("probability from which a case counts as bad").y_desc("cost").draw()?;
    for (place, (name, points)) in curves.iter().enumerate() {
        let color = Palette99::pick(place).to_rgba();
        let key = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color);
        chart.draw_series(LineSeries::new(points.iter().copied(), color))?.label(*name).legend(key);
    }
    chart.configure_series_labels().position(SeriesLabelPosition::LowerRight).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}
