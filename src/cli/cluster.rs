//! `kiln cluster`: groups of alike rows of a CSV file.

use super::fit::parameters;
use anyhow::{Result, anyhow};
use kiln::classical::linalg::{eigh, gram};
use kiln::classical::metrics::silhouette_score;
use kiln::classical::prelude::*;
use kiln::classical::registry;
use kiln::classical::table::{Schema, Table, preprocessing};
use ndarray::{Array2, Axis, s};
use plotters::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What `kiln cluster` is asked.
#[derive(clap::Args)]
pub struct Cluster {
    /// A CSV file with a header line; columns may be numbers or categories, with missing values
    data: PathBuf,
    /// How many clusters
    #[arg(long, default_value_t = 3)]
    k: usize,
    /// k-means or any other clustering by name (k is for those with n_clusters)
    #[arg(long, default_value = "KMeans")]
    model: String,
    /// Columns to leave out
    #[arg(long, value_delimiter = ',')]
    drop: Vec<String>,
    /// Seed of the clustering
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A parameter of the clustering, key=value; may be repeated
    #[arg(long)]
    param: Vec<String>,
    /// An SVG picture of the clusters along the two principal axes
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Where to write the cluster of each row
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The silhouette takes all distances; more rows than this are judged by so many of them.
const MOST_JUDGED: usize = 5_000;

/// Runs the command.
pub fn run(cluster: &Cluster) -> Result<()> {
    let dropped: Vec<&str> = cluster.drop.iter().map(String::as_str).collect();
    let table = Table::read_csv(&cluster.data)?.drop(&dropped)?;
    let schema = Schema::of(&table);
    let mut columns = preprocessing(&schema, false);
    // There is no target to take means of: a column of many categories says too little of likeness.
    columns.transformers.retain(|(name, ..)| name != "many_categories");
    let x = columns.fit_transform(&schema.matrix(&table)?)?;

    let name = if cluster.model == "k-means" { "KMeans" } else { &cluster.model };
    let entry = registry::find(registry::clusterers(), name)?;
    let defaults = (entry.params)(json!({}))?.to_json();
    let mut params = parameters(&cluster.param)?;
    // Mixtures count components instead.
    let count = if defaults.get("n_clusters").is_some() { "n_clusters" } else { "n_components" };
    for (key, value) in [(count, json!(cluster.k)), ("seed", json!(cluster.seed))] {
        if defaults.get(key).is_some() && !params.contains_key(key) {
            params.insert(key.to_owned(), value);
        }
    }
    let start = Instant::now();
    let model = (entry.params)(Value::Object(params))?.fit_boxed(&x, None)?;
    let fit_seconds = start.elapsed().as_secs_f64();

    let labels = model.labels();
    let mut sizes: BTreeMap<i64, usize> = BTreeMap::new();
    labels.iter().for_each(|&label| *sizes.entry(label).or_default() += 1);
    let judged: Vec<usize> = (0..labels.len()).step_by(labels.len().div_ceil(MOST_JUDGED)).collect();
    let some: Vec<i64> = judged.iter().map(|&row| labels[row]).collect();
    let silhouette = silhouette_score(&x.select(Axis(0), &judged), &some).ok();
    if let Some(path) = &cluster.plot {
        plot(&x, labels, path)?;
    }
    if let Some(path) = &cluster.out {
        let mut csv = csv::Writer::from_path(path)?;
        csv.write_record(["cluster"])?;
        labels.iter().try_for_each(|label| csv.write_record([label.to_string()]))?;
        csv.flush()?;
    }
    if cluster.json {
        let metrics = json!({"clusters": sizes.len(), "silhouette": silhouette});
        println!(
            "{}",
            json!({"model": entry.name, "task": "clustering", "fit_seconds": fit_seconds, "metrics": metrics})
        );
        return Ok(());
    }
    println!("{} rows by {} in {fit_seconds:.3} s", labels.len(), entry.name);
    for (label, size) in &sizes {
        println!("{:>10} {size:>8} rows", if *label < 0 { "noise".to_owned() } else { label.to_string() });
    }
    silhouette.iter().for_each(|score| println!("silhouette {score:.4}"));
    Ok(())
}

/// The rows along the two axes of largest variance.
fn principal_axes(x: &Array2<f64>) -> Result<Array2<f64>> {
    let mean = x.mean_axis(Axis(0)).ok_or_else(|| anyhow!("there are no rows to draw"))?;
    let centred = x - &mean;
    let (_, axes) = eigh(gram(centred.view()).view())?;
    let first = axes.ncols().saturating_sub(2);
    Ok(centred.dot(&axes.slice(s![.., first..;-1])))
}

fn plot(x: &Array2<f64>, labels: &[i64], path: &Path) -> Result<()> {
    let places = principal_axes(x)?;
    let place = |row: usize| (places[[row, 0]], if places.ncols() > 1 { places[[row, 1]] } else { 0.0 });
    let range = |values: Vec<f64>| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let margin = 0.05 * (high - low).max(1e-9);
        low - margin..high + margin
    };
    let area = SVGBackend::new(path, (800, 600)).into_drawing_area();
    let failed = |error: String| anyhow!("{}: {error}", path.display());
    area.fill(&WHITE).map_err(|error| failed(error.to_string()))?;
    let (across, along) =
        ((0..labels.len()).map(|row| place(row).0), (0..labels.len()).map(|row| place(row).1));
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(40)
        .build_cartesian_2d(range(across.collect()), range(along.collect()))
        .map_err(|error| failed(error.to_string()))?;
    let mesh = chart.configure_mesh().x_desc("first principal axis").y_desc("second principal axis").draw();
    mesh.map_err(|error| failed(error.to_string()))?;
    let colour = |label: i64| {
        // Noise is grey, clusters the golden angle apart on the colour circle.
        if label < 0 {
            RGBColor(160, 160, 160).to_rgba()
        } else {
            HSLColor((label as f64 * 0.381_966) % 1.0, 0.7, 0.45).to_rgba()
        }
    };
    let points = (0..labels.len()).map(|row| Circle::new(place(row), 3, colour(labels[row]).filled()));
    chart.draw_series(points).map_err(|error| failed(error.to_string()))?;
    area.present().map_err(|error| failed(error.to_string()))
}
