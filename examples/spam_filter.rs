//! Learns to tell spam from other text messages.
//!
//!     KILN_DATA=/path/to/data cargo run --release --example spam_filter -- "Free entry! Text WIN to 80082"
//!
//! Reads `text/sms_spam.tsv` of the directory that KILN_DATA names (the SMS Spam Collection of Almeida, Gómez
//! Hidalgo and Yamakami, 2011, from <https://archive.ics.uci.edu/dataset/228>: a label, a tabulator, the text).
//! Compares four classifiers on a fifth of the messages, prints the words that speak most for spam, and
//! classifies the messages given. Writes precision against recall, and the confusion matrix of the best, to
//! `runs/spam_filter`.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use kiln::classical::metrics::{Average, PrecisionRecallCurve};
use kiln::classical::metrics::{average_precision_score, confusion_matrix, f1_score, precision_recall_curve};
use kiln::classical::model_selection::train_test_indices;
use kiln::classical::text::{CountVectorizer, Frequency, TfidfTransformer, TfidfVectorizer};
use kiln::classical::{AnyClassifier, prelude::*};
use plotters::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Learn to tell spam from other text messages.
#[derive(Parser)]
struct Options {
    /// Messages to classify
    messages: Vec<String>,
    /// A file of label, tabulator, text [default: text/sms_spam.tsv of $KILN_DATA]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Seed of the split
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the plots
    #[arg(long, default_value = "runs/spam_filter")]
    out: PathBuf,
}

const SPAM: i64 = 1;

fn main() -> Result<()> {
    let options = Options::parse();
    let path = match (&options.data, std::env::var_os("KILN_DATA")) {
        (Some(path), _) => path.clone(),
        (None, Some(root)) => Path::new(&root).join("text/sms_spam.tsv"),
        (None, None) => anyhow::bail!("name a file with --data, or set KILN_DATA"),
    };
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (labels, texts): (Vec<i64>, Vec<&str>) = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(label, text)| (i64::from(label == "spam"), text))
        .unzip();
    ensure!(labels.contains(&SPAM), "{} has no lines of \"spam\", a tabulator, a text", path.display());

    let fold = train_test_indices(texts.len(), 0.2, Some(options.seed), Some(&labels))?;
    let texts_of = |rows: &[usize]| rows.iter().map(|&row| texts[row]).collect::<Vec<_>>();
    let labels_of = |rows: &[usize]| rows.iter().map(|&row| labels[row]).collect::<Vec<_>>();
    let (truth, test_truth) = (labels_of(&fold.train), labels_of(&fold.test));
    let counts = CountVectorizer::params().ngram_range((1, 2)).min_df(Frequency::Count(2));
    let tfidf = TfidfTransformer::params().sublinear_tf(true);
    let (vectorizer, x) =
        TfidfVectorizer::params().counts(counts).tfidf(tfidf).fit_transform(&texts_of(&fold.train))?;
    let test = vectorizer.transform(&texts_of(&fold.test))?;
    println!("{} messages to learn from, {} words and pairs of words", truth.len(), x.cols());

    let logistic = LogisticRegression::params().c(30.0).max_iter(1000_usize);
    let candidates: [(&str, AnyClassifier); 4] = [
        ("multinomial naive Bayes", MultinomialNB::params().alpha(0.1).into()),
        ("complement naive Bayes", ComplementNB::params().alpha(0.1).into()),
        ("logistic regression", logistic.clone().into()),
        ("linear support vectors", LinearSVC::params().into()),
    ];
    let mut curves = Vec::new();
    let mut best: Option<(f64, &str, Box<dyn Classifier>)> = None;
    for (name, params) in candidates {
        let start = Instant::now();
        let model = params.0.fit_boxed(&x, &truth, None)?;
        let seconds = start.elapsed().as_secs_f64();
        let input = model.input(&test)?;
        let scores = match model.scores(&input)? {
            Some(scores) => scores.column(0).to_vec(),
            None => model.predict_proba(&test)?.column(1).to_vec(),
        };
        let f1 = f1_score(&test_truth, &model.predict(&test)?, Average::Binary(SPAM))?;
        let precision = average_precision_score(&test_truth, &scores, SPAM)?;
        println!("{name:>24}: F1 {f1:.4}, average precision {precision:.4}, fitted in {seconds:.3} s");
        curves.push((name, precision_recall_curve(&test_truth, &scores, SPAM)?));
        if best.as_ref().is_none_or(|(most, ..)| f1 > *most) {
            best = Some((f1, name, model));
        }
    }
    let (_, name, model) = best.context("there are four candidates")?;

    let weights = logistic.fit(&x, &truth)?.coef().row(0).to_vec();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
    let words = |places: &[usize]| {
        places.iter().map(|&at| vectorizer.vocabulary()[at].as_str()).collect::<Vec<_>>().join(", ")
    };
    println!("spam says: {}", words(&order[..order.len().min(12)]));
    println!("others say: {}", words(&order[order.len().saturating_sub(12)..]));
    let confusion = confusion_matrix(&test_truth, &model.predict(&test)?)?;
    let names = ["other".to_owned(), "spam".to_owned()];
    println!("\n{name}:\n{}", confusion.report(&names));
    if !options.messages.is_empty() {
        let found = model.predict(&vectorizer.transform(&options.messages)?)?;
        for (message, &label) in options.messages.iter().zip(&found) {
            println!("{}: {message}", if label == SPAM { "spam" } else { "no spam" });
        }
    }

    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
    let (curve, matrix) = (options.out.join("precision_recall.svg"), options.out.join("confusion.svg"));
    draw(&curve, &curves)?;
    std::fs::write(&matrix, confusion.to_svg(&names))?;
    println!("plots: {} and {}", curve.display(), matrix.display());
    Ok(())
}

fn draw(path: &Path, curves: &[(&str, PrecisionRecallCurve)]) -> Result<()> {
    let root = SVGBackend::new(path, (720, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Spam found, and how much of what is found is spam", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.7..1.0, 0.7..1.005)?;
    chart.configure_mesh().x_desc("recall").y_desc("precision").draw()?;
    for (place, (name, curve)) in curves.iter().enumerate() {
        let color = Palette99::pick(place).to_rgba();
        let points = curve.recall.iter().zip(&curve.precision).filter(|(recall, _)| **recall >= 0.7);
        let line = LineSeries::new(points.map(|(&recall, &precision)| (recall, precision)), color);
        let key = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color);
        chart.draw_series(line)?.label(*name).legend(key);
    }
    chart.configure_series_labels().position(SeriesLabelPosition::LowerLeft).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}
