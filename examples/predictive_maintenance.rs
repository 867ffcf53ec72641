//! Watches sensors for faults, having seen none: learns how healthy sensors behave and tells what differs.
//!
//!     KILN_DATA=/path/to/data cargo run --release --example predictive_maintenance
//!
//! Reads `tabular/sensor_anomaly_multihop.csv` of the directory that KILN_DATA names (readings of humidity and
//! temperature by four wireless motes, of which hot steam was blown at two for a while: Suthaharan and others,
//! 2010). Three detectors learn from the motes that were left in peace and watch the others; the labels only
//! judge them. Writes the readings with the alarms to `runs/predictive_maintenance`.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use kiln::classical::metrics::average_precision_score;
use kiln::classical::table::Table;
use kiln::classical::{AnyOutlierDetector, prelude::*};
use ndarray::{Array2, Axis, concatenate};
use plotters::prelude::*;
use std::path::{Path, PathBuf};

/// Watch sensors for faults, having seen none.
#[derive(Parser)]
struct Options {
    /// A CSV file with mote_id, humidity, temperature, label
    /// [default: tabular/sensor_anomaly_multihop.csv of $KILN_DATA]
    #[arg(long)]
    data: Option<PathBuf>,
    /// The motes that are known to be healthy
    #[arg(long, value_delimiter = ',', default_values_t = [2, 4])]
    healthy: Vec<i64>,
    /// How many readings back a reading is compared with
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(2..))]
    window: u16,
    /// The share of healthy readings that may raise an alarm
    #[arg(long, default_value_t = 0.001)]
    false_alarms: f64,
    /// Folder for the plot
    #[arg(long, default_value = "runs/predictive_maintenance")]
    out: PathBuf,
}

/// The readings of one mote, and what they are judged by.
struct Mote {
    id: i64,
    humidity: Vec<f64>,
    /// For each reading after the first window: how it differs from what is usual.
    features: Array2<f64>,
    labels: Vec<i64>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let path = match (&options.data, std::env::var_os("KILN_DATA")) {
        (Some(path), _) => path.clone(),
        (None, Some(root)) => Path::new(&root).join("tabular/sensor_anomaly_multihop.csv"),
        (None, None) => anyhow::bail!("name a file with --data, or set KILN_DATA"),
    };
    let motes = read(&Table::read_csv(&path)?, usize::from(options.window))?;
    let (healthy, watched): (Vec<&Mote>, Vec<&Mote>) =
        motes.iter().partition(|mote| options.healthy.contains(&mote.id));
    ensure!(!healthy.is_empty() && !watched.is_empty(), "name some of the motes, not all, with --healthy");
    let views: Vec<_> = healthy.iter().map(|mote| mote.features.view()).collect();
    let train = concatenate(Axis(0), &views)?;
    println!("{} readings of healthy motes to learn from", train.nrows());

    let detectors: [(&str, AnyOutlierDetector); 3] = [
        ("isolation forest", IsolationForest::params().n_estimators(200).into()),
        ("local outlier factor", LocalOutlierFactor::params().n_neighbors(50).into()),
        ("one-class SVM", OneClassSvm::params().nu(0.01).into()),
    ];
    let mut best: Option<(f64, &str, Vec<Vec<bool>>)> = None;
    for (name, params) in detectors {
        let model = params.0.fit_boxed(&train, None)?;
        let mut scores = model.decision_function(&train)?.to_vec();
        scores.sort_by(f64::total_cmp);
        let threshold = scores[(options.false_alarms.clamp(0.0, 1.0) * (scores.len() - 1) as f64) as usize];
        let (mut danger, mut truth, mut alarms) = (Vec::new(), Vec::<i64>::new(), Vec::new());
        for mote in &watched {
            let scores = model.decision_function(&mote.features)?;
            alarms.push(scores.iter().map(|score| *score < threshold).collect::<Vec<bool>>());
            danger.extend(scores.iter().map(|score| -score));
            truth.extend(&mote.labels);
        }
        let precision = average_precision_score(&truth, &danger, 1)?;
        println!("{name}: average precision {precision:.4}");
        for (mote, alarms) in watched.iter().zip(&alarms) {
            let pairs = || alarms.iter().zip(&mote.labels).map(|(alarm, label)| (*alarm, *label == 1));
            let count = |kind: (bool, bool)| pairs().filter(|pair| *pair == kind).count();
            let start = pairs().position(|(_, faulty)| faulty);
            let delay = start.and_then(|start| pairs().skip(start).position(|(alarm, _)| alarm));
            println!(
                "  mote {}: {} of {} faulty readings found, the first alarm after {}, {} false alarms",
                mote.id,
                count((true, true)),
                count((true, true)) + count((false, true)),
                delay.map_or("none".to_owned(), |delay| format!("{delay} readings")),
                count((true, false))
            );
        }
        if best.as_ref().is_none_or(|(most, ..)| precision > *most) {
            best = Some((precision, name, alarms));
        }
    }
    let (_, name, alarms) = best.context("there are three detectors")?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
    let plot = options.out.join("alarms.svg");
    draw(&plot, name, &watched, &alarms)?;
    println!("plot: {}", plot.display());
    Ok(())
}

/// The motes' readings in their order: each against the median of the window before it, and the spread
/// within the last tenth of the window.
fn read(table: &Table, window: usize) -> Result<Vec<Mote>> {
    let (humidity, temperature) = (table.targets("humidity")?, table.targets("temperature")?);
    let (ids, labels) = (table.targets("mote_id")?, table.targets("label")?);
    let mut names: Vec<i64> = ids.iter().map(|&id| id as i64).collect();
    names.sort_unstable();
    names.dedup();
    let mote = |id: i64| {
        let rows: Vec<usize> = (0..ids.len()).filter(|&row| ids[row] as i64 == id).collect();
        ensure!(rows.len() > window, "mote {id} has {} readings, not more than the window", rows.len());
        let of = |values: &[f64]| rows.iter().map(|&row| values[row]).collect::<Vec<f64>>();
        let series = [of(&humidity), of(&temperature)];
        let features = Array2::from_shape_fn((rows.len() - window, 4), |(row, column)| {
            let values = &series[column % 2][row..=row + window];
            let (now, mut before) = (values[window], values[..window].to_vec());
            if column < 2 {
                before.sort_by(f64::total_cmp);
                return now - before[window / 2];
            }
            let recent = &values[window - window / 10..];
            let (low, high) = recent.iter().fold((now, now), |(low, high), &v| (v.min(low), v.max(high)));
            high - low
        });
        let labels = rows[window..].iter().map(|&row| labels[row] as i64).collect();
        Ok(Mote { id, humidity: series[0][window..].to_vec(), features, labels })
    };
    names.into_iter().map(mote).collect()
}

fn draw(path: &Path, name: &str, motes: &[&Mote], alarms: &[Vec<bool>]) -> Result<()> {
    let root = SVGBackend::new(path, (900, 300 * motes.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for ((area, mote), alarms) in root.split_evenly((motes.len(), 1)).iter().zip(motes).zip(alarms) {
        let range = |ends: (f64, f64), value: &f64| (ends.0.min(*value), ends.1.max(*value));
        let (low, high) = mote.humidity.iter().fold((f64::INFINITY, f64::NEG_INFINITY), range);
        let mut chart = ChartBuilder::on(area)
            .caption(format!("mote {}: alarms of the {name} in red", mote.id), ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(0..mote.humidity.len(), low..high)?;
        chart.configure_mesh().x_desc("reading").y_desc("humidity, %").draw()?;
        let faulty = (0..mote.labels.len()).filter(|&at| mote.labels[at] == 1);
        let band = |at| Rectangle::new([(at, low), (at + 1, high)], YELLOW.mix(0.4).filled());
        chart.draw_series(faulty.map(band))?;
        chart.draw_series(LineSeries::new(mote.humidity.iter().copied().enumerate(), BLUE))?;
        let raised = (0..alarms.len()).filter(|&at| alarms[at]);
        chart.draw_series(raised.map(|at| Circle::new((at, mote.humidity[at]), 2, RED.filled())))?;
    }
    root.present()?;
    Ok(())
}
