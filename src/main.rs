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
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Devices { device } => devices(device.as_deref()).map(|()| ExitCode::SUCCESS),
        Command::Doctor(arguments) => cli::doctor::run(&arguments),
    }
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
