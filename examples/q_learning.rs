//! Learns to cross a frozen lake and to balance a pole, with tables.
//!
//!     cargo run --release --example q_learning
//!
//! Prints the best policy for the lake (from its known transitions) beside the learned one, and how long the
//! pole stays up. Writes the learning curves to `runs/q_learning`.

use anyhow::{Context, Result};
use clap::Parser;
use kiln::classical::reinforcement::{
    Bins, CartPole, Discretized, FiniteMdp, QTable, Update, value_iteration,
};
use plotters::prelude::*;
use std::path::{Path, PathBuf};

/// Learn to cross a frozen lake and to balance a pole.
#[derive(Parser)]
struct Options {
    /// Episodes on the lake
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    lake_episodes: u32,
    /// Episodes with the pole
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..))]
    pole_episodes: u32,
    /// Learn with SARSA instead of Q-learning
    #[arg(long)]
    sarsa: bool,
    /// Seed of the worlds and of the exploration
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the plots
    #[arg(long, default_value = "runs/q_learning")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
    let update = if options.sarsa { Update::Sarsa } else { Update::QLearning };

    let mut lake = FiniteMdp::frozen_lake_4x4(true)?;
    let plan = value_iteration(&lake, 0.99, 1e-12)?;
    let table = QTable::params()
        .update(update)
        .episodes(options.lake_episodes as usize)
        .learning_rate(0.2)
        .learning_rate_decay(0.9998)
        .epsilon_decay(0.9995)
        .epsilon_min(0.01)
        .seed(options.seed)
        .fit(&mut lake)?;
    println!("frozen lake: the best policy, and the learned one");
    for (best, learned) in plan.policy.chunks(4).zip(table.policy().chunks(4)) {
        println!("  {}   {}", arrows(best), arrows(learned));
    }
    let reached = table.evaluate(&mut lake, 10_000, 100, options.seed)?;
    println!("  the learned policy reaches the goal in {:.1} % of 10,000 episodes", 100.0 * reached);
    let curve = options.out.join("frozen_lake.svg");
    draw(&curve, "FrozenLake: share of episodes that reach the goal", table.episode_rewards())?;

    let mut pole = Discretized { environment: CartPole::default(), bins: Bins::cart_pole()? };
    let table = QTable::params()
        .update(update)
        .episodes(options.pole_episodes as usize)
        .learning_rate(0.3)
        .learning_rate_decay(0.999)
        .epsilon_decay(0.995)
        .epsilon_min(0.01)
        .seed(options.seed)
        .fit(&mut pole)?;
    let steps = table.evaluate(&mut pole, 100, 500, options.seed)?;
    println!("cart pole: up for {steps:.0} of 500 steps, the mean of 100 episodes");
    let other = options.out.join("cart_pole.svg");
    draw(&other, "CartPole: steps until the pole falls", table.episode_rewards())?;
    println!("learning curves: {} and {}", curve.display(), other.display());
    Ok(())
}

/// The lake's actions, in Gymnasium's order.
fn arrows(actions: &[usize]) -> String {
    actions.iter().map(|&action| ["←", "↓", "→", "↑"].get(action).copied().unwrap_or("?")).collect()
}

/// The mean reward of each hundredth of the episodes.
fn draw(path: &Path, caption: &str, rewards: &[f64]) -> Result<()> {
    let width = rewards.len().div_ceil(100);
    let means: Vec<(f64, f64)> = rewards
        .chunks(width)
        .enumerate()
        .map(|(chunk, part)| {
            let middle = (chunk * width) as f64 + part.len() as f64 / 2.0;
            (middle, part.iter().sum::<f64>() / part.len() as f64)
        })
        .collect();
    let most = means.iter().map(|mean| mean.1).fold(0.01, f64::max);
    let root = SVGBackend::new(path, (720, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(caption, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..rewards.len() as f64, 0.0..1.1 * most)?;
    chart.configure_mesh().x_desc("episode").y_desc("mean reward").draw()?;
    chart.draw_series(LineSeries::new(means, BLUE.stroke_width(2)))?;
    root.present()?;
    Ok(())
}
