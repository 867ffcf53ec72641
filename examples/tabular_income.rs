//! Learns from a census who earns more than 50,000 dollars a year.
//!
//!     KILN_DATA=/path/to/data cargo run --release --example tabular_income
//!
//! Reads `tabular/adult_train.csv` of the directory that KILN_DATA names (the Adult data set of Kohavi, 1996,
//! from <https://archive.ics.uci.edu/dataset/2>, with a header line and the target in the column `income`):
//! numbers and categories with missing values. Compares three models on a quarter of the rows, prints which
//! columns the best one needs, and writes their ROC curves and that ranking to `runs/tabular_income`.

use anyhow::{Context, Result};
use clap::Parser;
use kiln::classical::explain::permutation_importance;
use kiln::classical::metrics::{RocCurve, accuracy_score, log_loss, roc_auc_score, roc_curve};
use kiln::classical::model_selection::train_test_indices;
use kiln::classical::prelude::*;
use kiln::classical::table::{Estimator, Table, TableModel};
use plotters::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Learn from a census who earns more than 50,000 dollars a year.
#[derive(Parser)]
struct Options {
    /// A CSV file with a column of two classes [default: tabular/adult_train.csv of $KILN_DATA]
    #[arg(long)]
    data: Option<PathBuf>,
    /// That column
    #[arg(long, default_value = "income")]
    target: String,
    /// Seed of the split and of the models
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the plots
    #[arg(long, default_value = "runs/tabular_income")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let path = match (&options.data, std::env::var_os("KILN_DATA")) {
        (Some(path), _) => path.clone(),
        (None, Some(root)) => Path::new(&root).join("tabular/adult_train.csv"),
        (None, None) => anyhow::bail!("name a file with --data, or set KILN_DATA"),
    };
    let table = Table::read_csv(&path)?;
    let (labels, _) = table.labels(&options.target)?;
    let fold = train_test_indices(table.rows(), 0.25, Some(options.seed), Some(&labels))?;
    let (train, test) = (table.take(&fold.train)?, table.take(&fold.test)?);
    let truth: Vec<i64> = fold.test.iter().map(|&row| labels[row]).collect();
    println!("{} rows to learn from, {} to judge", train.rows(), test.rows());

    let forest = RandomForestClassifier::params().min_samples_leaf(2).seed(options.seed);
    let boosting = HistGradientBoostingClassifier::params().max_iter(150).seed(options.seed);
    let candidates = [
        ("logistic regression", Estimator::Classifier(LogisticRegression::params().max_iter(500).into())),
        ("random forest", Estimator::Classifier(forest.into())),
        ("gradient boosting", Estimator::Classifier(boosting.into())),
    ];
    let mut curves = Vec::new();
    let mut best: Option<(f64, &str, TableModel)> = None;
    for (name, estimator) in &candidates {
        let start = Instant::now();
        // Imputes, scales and encodes the columns as the estimator needs it.
        let model = TableModel::fit(&train, &options.target, estimator)?;
        let seconds = start.elapsed().as_secs_f64();
        let classifier = model.classifier().context("the target is classes")?;
        let x = model.schema().matrix(&test)?;
        let probabilities = classifier.predict_proba(&x)?;
        let accuracy = accuracy_score(&truth, &classifier.predict(&x)?)?;
        let area = roc_auc_score(&truth, &probabilities.column(1), 1)?;
        let loss = log_loss(&truth, probabilities.view(), classifier.classes())?;
        println!("{name:>20}: accuracy {accuracy:.4}, ROC AUC {area:.4}, log-loss {loss:.4}, {seconds:.2} s");
        curves.push((*name, roc_curve(&truth, &probabilities.column(1), 1)?));
        if best.as_ref().is_none_or(|(most, ..)| area > *most) {
            best = Some((area, *name, model));
        }
    }

    let (area, name, model) = best.context("there are three candidates")?;
    let classifier = model.classifier().context("the target is classes")?;
    let x = model.schema().matrix(&test)?;
    let found = permutation_importance(&x, 3, options.seed, |x| {
        roc_auc_score(&truth, &classifier.predict_proba(x)?.column(1), 1)
    })?;
    let mut columns: Vec<(String, f64)> = model.schema().names().into_iter().zip(found.means()).collect();
    columns.sort_by(|a, b| b.1.total_cmp(&a.1));
    println!("what shuffling a column costs the {name}'s AUC of {area:.4}:");
    columns.iter().for_each(|(column, cost)| println!("{column:>20} {cost:.4}"));

    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
    let plot = options.out.join("income.svg");
    draw(&plot, &curves, &columns)?;
    println!("plot: {}", plot.display());
    Ok(())
}

/// ROC curves on the left, the columns' importances on the right.
fn draw(path: &Path, curves: &[(&str, RocCurve)], columns: &[(String, f64)]) -> Result<()> {
    let root = SVGBackend::new(path, (1000, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(500);
    let mut chart = ChartBuilder::on(&left)
        .caption("ROC curves", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart.configure_mesh().x_desc("false positive rate").y_desc("true positive rate").draw()?;
    for (place, (name, curve)) in curves.iter().enumerate() {
        let color = Palette99::pick(place).to_rgba();
        let points = curve.fpr.iter().zip(&curve.tpr).map(|(&x, &y)| (x, y));
        let key = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color);
        chart.draw_series(LineSeries::new(points, color))?.label(*name).legend(key);
    }
    chart.configure_series_labels().position(SeriesLabelPosition::LowerRight).border_style(BLACK).draw()?;

    let most = columns.first().map_or(1.0, |column| column.1).max(1e-9);
    let names: Vec<&str> = columns.iter().map(|(column, _)| column.as_str()).collect();
    let mut chart = ChartBuilder::on(&right)
        .caption("AUC lost when a column is shuffled", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(110)
        .build_cartesian_2d(0.0..1.05 * most, (0..names.len()).into_segmented())?;
    let label = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(at) => names.get(*at).map_or(String::new(), |name| (*name).to_owned()),
        _ => String::new(),
    };
    chart.configure_mesh().disable_y_mesh().y_labels(names.len()).y_label_formatter(&label).draw()?;
    chart.draw_series(columns.iter().enumerate().map(|(at, (_, cost))| {
        let ends = [(0.0, SegmentValue::Exact(at)), (cost.max(0.0), SegmentValue::Exact(at + 1))];
        Rectangle::new(ends, BLUE.mix(0.6).filled())
    }))?;
    root.present()?;
    Ok(())
}
