//! Recommends films from the ratings of MovieLens.
//!
//!     KILN_DATA=/path/to/data cargo run --release --example recommender
//!
//! Reads `ratings/ml-latest-small` of the directory that KILN_DATA names (ratings.csv and movies.csv, from
//! <https://grouplens.org/datasets/movielens/>), fits four models to 80 % of the ratings, measures them on
//! the rest, and recommends films to one user. Writes the models' errors and rankings as a plot to
//! `runs/recommender`.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use kiln::classical::recommend::{
    Als, Basis, BiasedFactorization, Neighborhood, RankingScores, Ratings, Recommender, Triple,
    ranking_scores, rmse,
};
use plotters::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Recommend films from the ratings of MovieLens.
#[derive(Parser)]
struct Options {
    /// Folder with ratings.csv and movies.csv [default: ratings/ml-latest-small of $KILN_DATA]
    #[arg(long)]
    data: Option<PathBuf>,
    /// The user to recommend films to
    #[arg(long, default_value_t = 42)]
    user: i64,
    /// How many films to recommend, and how long the measured lists are
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Seed of the split and of the models
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the plot
    #[arg(long, default_value = "runs/recommender")]
    out: PathBuf,
}

/// A rating that counts as "liked" where lists are measured.
const LIKED: f64 = 4.0;

/// What one model came to.
struct Record {
    name: &'static str,
    error: f64,
    ranking: RankingScores,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let folder = match (&options.data, std::env::var_os("KILN_DATA")) {
        (Some(folder), _) => folder.clone(),
        (None, Some(root)) => Path::new(&root).join("ratings/ml-latest-small"),
        (None, None) => anyhow::bail!("name a folder with --data, or set KILN_DATA"),
    };
    let ratings = Ratings::new(&read_ratings(&folder.join("ratings.csv"))?)?;
    let titles = read_titles(&folder.join("movies.csv"))?;
    let (train, test) = ratings.split(0.2, options.seed)?;
    let (users, items) = (ratings.catalogue().users().len(), ratings.catalogue().items().len());
    println!("{} ratings of {items} films by {users} users; {} held out", ratings.len(), test.len());

    let trial = Trial { train: &train, test: &test, titles: &titles, options: &options };
    let records = vec![
        trial.run("SGD with biases", |train| {
            BiasedFactorization::params()
                .n_factors(50)
                .n_epochs(30)
                .regularization(0.05)
                .seed(options.seed)
                .fit(train)
        })?,
        trial.run("ALS", |train| Als::params().regularization(0.15).seed(options.seed).fit(train))?,
        trial.run("similar films", |train| Neighborhood::params().fit(train))?,
        trial.run("similar users", |train| Neighborhood::params().basis(Basis::Users).fit(train))?,
    ];
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
    let plot = options.out.join("models.svg");
    draw(&plot, &records, options.top)?;
    println!("plot: {}", plot.display());
    Ok(())
}

/// What all models are fitted to and measured by.
struct Trial<'a> {
    train: &'a Ratings,
    test: &'a [Triple],
    titles: &'a HashMap<i64, String>,
    options: &'a Options,
}

impl Trial<'_> {
    /// Fits a model, measures it, and prints its best films for the user.
    fn run<R: Recommender>(
        &self,
        name: &'static str,
        fit: impl Fn(&Ratings) -> kiln::Result<R>,
    ) -> Result<Record> {
        let started = Instant::now();
        let model = fit(self.train)?;
        let seconds = started.elapsed().as_secs_f64();
        let top = usize::from(self.options.top);
        let error = rmse(&model, self.test)?;
        let ranking = ranking_scores(&model, self.test, top, LIKED)?;
        println!(
            "\n{name}: fitted in {seconds:.2} s, RMSE {error:.4}, precision@{top} {:.4}, recall@{top} {:.4}, \
             NDCG@{top} {:.4}, MAP@{top} {:.4}",
            ranking.precision, ranking.recall, ranking.ndcg, ranking.map
        );
        for recommendation in model.recommend(self.options.user, top)? {
            let title = self.titles.get(&recommendation.item).map_or("(no title)", String::as_str);
            println!("  {:.2}  {title}", recommendation.score);
        }
        Ok(Record { name, error, ranking })
    }
}

fn read_ratings(path: &Path) -> Result<Vec<Triple>> {
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    let rows = reader.deserialize::<(i64, i64, f64, i64)>();
    let ratings = rows
        .map(|row| row.map(|(user, item, rating, _)| (user, item, rating)))
        .collect::<Result<Vec<_>, _>>();
    let ratings =
        ratings.with_context(|| format!("{} needs userId,movieId,rating,timestamp", path.display()))?;
    ensure!(!ratings.is_empty(), "{} holds no ratings", path.display());
    Ok(ratings)
}

fn read_titles(path: &Path) -> Result<HashMap<i64, String>> {
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    let rows = reader.deserialize::<(i64, String, String)>();
    let titles = rows.map(|row| row.map(|(item, title, _)| (item, title))).collect::<Result<_, _>>();
    titles.with_context(|| format!("{} needs movieId,title,genres", path.display()))
}

/// Errors on the left, the quality of the lists on the right.
fn draw(path: &Path, records: &[Record], top: u16) -> Result<()> {
    let root = SVGBackend::new(path, (900, 400)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(450);
    let errors: Vec<(&str, f64)> = records.iter().map(|record| (record.name, record.error)).collect();
    let gains: Vec<(&str, f64)> = records.iter().map(|record| (record.name, record.ranking.ndcg)).collect();
    bars(&left, "RMSE of held-out ratings (lower is better)", &errors, &BLUE)?;
    bars(&right, &format!("NDCG@{top} of films not yet rated"), &gains, &RED)?;
    root.present()?;
    Ok(())
}

fn bars(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    caption: &str,
    values: &[(&str, f64)],
    color: &RGBColor,
) -> Result<()> {
    let most = values.iter().map(|value| value.1).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.5..values.len() as f64 - 0.5, 0.0..1.1 * most)?;
    let name = |place: &f64| {
        let whole = place.round();
        if (place - whole).abs() > 1e-9 {
            return String::new();
        }
        values.get(whole as usize).map_or(String::new(), |value| value.0.to_owned())
    };
    chart.configure_mesh().disable_x_mesh().x_labels(2 * values.len()).x_label_formatter(&name).draw()?;
    chart.draw_series(values.iter().enumerate().map(|(place, value)| {
        let place = place as f64;
        Rectangle::new([(place - 0.3, 0.0), (place + 0.3, value.1)], color.filled())
    }))?;
    Ok(())
}
