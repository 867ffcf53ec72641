//! The command line.

mod cli;

use anyhow::Result;
use clap::{Parser, Subcommand};
use kiln::Engine;
use std::process::ExitCode;

/// A deep-learning engine for any GPU, and for none.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the devices, and say which one is chosen and why
    Devices {
        /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
        #[arg(long)]
        device: Option<String>,
    },
    /// Say what this machine has, and check every operation on it against float64
    Doctor(cli::doctor::Arguments),
    /// Measure this machine on the workloads that other engines are compared on
    Bench(cli::bench::Bench),
    /// Learn a column of a CSV file from the others
    Fit(cli::fit::Fit),
    /// Learn to tell classes of images apart
    Train(Box<cli::train::Train>),
    /// Predict with a saved model, of images or of a table
    Predict(cli::predict::Predict),
    /// Say how good a classifier of images is
    Evaluate(cli::evaluate::Evaluate),
    /// Show where in an image a classifier looks
    Explain(cli::explain::Explain),
    /// Say what is in a model file, or which networks there are
    Info(cli::info::Info),
    /// Store a classifier of images in fewer bits
    Export(cli::evaluate::Export),
    /// Find groups of alike rows in a CSV file
    Cluster(cli::cluster::Cluster),
}

fn main() -> ExitCode {
    end_with_the_reader();
    run(Cli::parse().command).unwrap_or_else(|error| {
        // The library's messages tell their cause already.
        let message = error.chain().map(ToString::to_string).reduce(|message, cause| {
            if message.contains(&cause) { message } else { format!("{message}: {cause}") }
        });
        eprintln!("error: {}", message.unwrap_or_default());
        ExitCode::FAILURE
    })
}

/// `kiln ... | head` ends the program without a word, where `println!` would panic.
fn end_with_the_reader() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if message.starts_with("failed printing to stdout") && message.contains("Broken pipe") {
            std::process::exit(0);
        }
        default(panic);
    }));
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Devices { device } => devices(device.as_deref())?,
        Command::Doctor(arguments) => return cli::doctor::run(&arguments),
        Command::Bench(bench) => bench.run()?,
        Command::Fit(fit) => cli::fit::run(&fit)?,
        Command::Train(train) => return cli::train::run(&train),
        Command::Predict(predict) => return cli::predict::run(&predict),
        Command::Evaluate(evaluate) => cli::evaluate::run(&evaluate)?,
        Command::Explain(explain) => cli::explain::run(&explain)?,
        Command::Info(info) => cli::info::run(&info)?,
        Command::Export(export) => cli::evaluate::export(&export)?,
        Command::Cluster(cluster) => cli::cluster::run(&cluster)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn devices(name: Option<&str>) -> Result<()> {
    println!("cpu: {}", Engine::cpu().name());
    #[cfg(feature = "gpu")]
    for adapter in kiln::device::gpu::adapters() {
        println!("{}: {}, {:?}, driver {}", adapter.index, adapter.name, adapter.kind, adapter.driver);
    }
    let engine = name.map_or_else(Engine::from_env, Engine::new)?;
    println!("chosen: {} ({})", engine.name(), engine.reason());
    Ok(())
}
