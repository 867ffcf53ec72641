//! Divides the customers of a bank into segments and tells what is typical of each.
//!
//!     KILN_DATA=/path/to/data cargo run --release --example customer_segmentation
//!
//! Reads `tabular/german_credit.csv` of the directory that KILN_DATA names (the German Credit data of Hofmann,
//! from <https://archive.ics.uci.edu/dataset/144>, with a header line). The segments come from columns of
//! numbers; how many there are is chosen by the silhouette, or with `--segments`. Prints the medians of each
//! segment and the categories that are more frequent in it than elsewhere, and writes the segments along their
//! principal axes to `runs/customer_segmentation`.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use kiln::classical::metrics::silhouette_score;
use kiln::classical::prelude::*;
use kiln::classical::table::{Table, Values};
use ndarray::Array2;
use plotters::prelude::*;
use std::path::{Path, PathBuf};

/// Divide the customers of a bank into segments and tell what is typical of each.
#[derive(Parser)]
struct Options {
    /// A CSV file with a line for each customer [default: tabular/german_credit.csv of $KILN_DATA]
    #[arg(long)]
    data: Option<PathBuf>,
    /// The columns of numbers that customers are compared by
    #[arg(long, value_delimiter = ',', default_values_t =
        ["age", "credit_amount", "duration_months", "installment_rate"].map(String::from))]
    columns: Vec<String>,
    /// How many segments; without it as many, from 3 to 8, as are told apart best
    #[arg(long)]
    segments: Option<usize>,
    /// Seed of the clustering
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the plot
    #[arg(long, default_value = "runs/customer_segmentation")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let path = match (&options.data, std::env::var_os("KILN_DATA")) {
        (Some(path), _) => path.clone(),
        (None, Some(root)) => Path::new(&root).join("tabular/german_credit.csv"),
        (None, None) => anyhow::bail!("name a file with --data, or set KILN_DATA"),
    };
    let table = Table::read_csv(&path)?;
    ensure!(!options.columns.is_empty(), "name the columns that customers are compared by");
    let numbers: Vec<Vec<f64>> =
        options.columns.iter().map(|name| table.targets(name)).collect::<kiln::Result<_>>()?;
    let x = Array2::from_shape_fn((table.rows(), numbers.len()), |(row, column)| numbers[column][row]);
    // Amounts and durations have long tails, in which a few customers would make the segments.
    let even = PowerTransformer::params().fit_transform(&x)?;

    let kmeans = |segments: usize| {
        let model = KMeans::params().n_clusters(segments).n_init(10).seed(options.seed).fit(&even)?;
        let silhouette = silhouette_score(&even, &model.labels())?;
        println!("{segments} segments: inertia {:.1}, silhouette {silhouette:.4}", model.inertia());
        kiln::Result::Ok((silhouette, model))
    };
    let counts = options.segments.map_or(3..=8, |segments| segments..=segments);
    let tried: Vec<(f64, KMeans)> = counts.map(kmeans).collect::<kiln::Result<_>>()?;
    let best = tried.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
    let (_, model) = best.context("there is a number of segments")?;
    let labels = model.labels();

    for segment in 0..model.cluster_centers().nrows() {
        let rows: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] == segment as i64).collect();
        let share = 100.0 * rows.len() as f64 / labels.len() as f64;
        println!("\nsegment {segment}: {} customers, {share:.1} %", rows.len());
        for (name, values) in options.columns.iter().zip(&numbers) {
            let mut own: Vec<f64> = rows.iter().map(|&row| values[row]).collect();
            own.sort_by(f64::total_cmp);
            println!("{name:>22}: median {}", own[own.len() / 2]);
        }
        for (lift, column, category) in typical(&table, &rows).into_iter().take(4) {
            println!("{column:>22}: {category} is {lift:.1} times as frequent as among all");
        }
    }

    let axes = Pca::params().n_components(2.min(numbers.len())).fit_transform(&even)?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
    let plot = options.out.join("segments.svg");
    draw(&plot, &axes, labels)?;
    println!("\nplot: {}", plot.display());
    Ok(())
}

/// Categories that at least a tenth of these rows have, by how much more frequent they are than in all rows.
fn typical<'a>(table: &'a Table, rows: &[usize]) -> Vec<(f64, &'a str, &'a str)> {
    let mut found = Vec::new();
    for column in table.columns() {
        let Values::Categories { names, codes } = &column.values else { continue };
        for (code, name) in names.iter().enumerate() {
            let has = |row: &usize| codes[*row] == Some(code as u32);
            let all = (0..codes.len()).filter(has).count() as f64 / codes.len() as f64;
            let own = rows.iter().filter(|row| has(row)).count() as f64 / rows.len() as f64;
            if own >= 0.1 {
                found.push((own / all, column.name.as_str(), name.as_str()));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found
}

fn draw(path: &Path, axes: &Array2<f64>, labels: &[i64]) -> Result<()> {
    let second = |row: usize| axes.row(row).get(1).copied().unwrap_or(0.0);
    let bound = axes.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let root = SVGBackend::new(path, (720, 560)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Customers along the two axes on which they differ most", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(-bound..bound, -bound..bound)?;
    chart.configure_mesh().x_desc("first principal axis").y_desc("second").draw()?;
    for segment in 0..=labels.iter().copied().max().unwrap_or(0) {
        let color = Palette99::pick(segment as usize).mix(0.7);
        let rows = (0..labels.len()).filter(|&row| labels[row] == segment);
        let points = rows.map(|row| Circle::new((axes[[row, 0]], second(row)), 3, color.filled()));
        let key = move |place| Circle::new(place, 4, color.filled());
        chart.draw_series(points)?.label(format!("segment {segment}")).legend(key);
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}
