//! What a training run shows while it runs.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use kiln::train::{EpochRecord, Run, Watch};
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A bar of the whole run on a terminal, and plain lines elsewhere. Ctrl-C stops the run at the next update.
pub struct Progress {
    bar: ProgressBar,
    images: u64,
    quiet: bool,
    stopped: Arc<AtomicBool>,
    engine: kiln::Engine,
    epochs: u32,
}

impl Progress {
    /// Of a run over this many images an epoch; `quiet` keeps the standard output free.
    pub fn new(images: usize, run: &Run, quiet: bool) -> Result<Progress> {
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = stopped.clone();
        ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("cannot watch for Ctrl-C")?;
        let style = ProgressStyle::with_template("{bar:32} {percent}%, {rate}, {eta} left, {msg}")?.with_key(
            "rate",
            |state: &ProgressState, text: &mut dyn Write| {
                // The only error is that of the bar's own line, which has nowhere else to go.
                let _ = write!(text, "{:.0} images/s", state.per_sec());
            },
        );
        let (images, epochs) = (images as u64, run.options().epochs);
        let bar = ProgressBar::new(images * u64::from(epochs)).with_style(style);
        if !(quiet || io::stdout().is_terminal()) {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let engine = run.classifier().params().engine().clone();
        Ok(Progress { bar, images, quiet, stopped, engine, epochs })
    }

    /// A line above the bar.
    pub fn say(&self, line: &str) {
        match (self.bar.is_hidden(), self.quiet) {
            (false, _) => self.bar.println(line),
            (true, true) => eprintln!("{line}"),
            (true, false) => println!("{line}"),
        }
    }

    /// Takes the bar away; whether the run was stopped by Ctrl-C.
    pub fn finish(&self) -> bool {
        self.bar.finish_and_clear();
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Watch for Progress {
    fn images(&mut self, epoch: u32, images: usize, loss: f64) {
        let megabytes = self.engine.memory().live / 1_000_000;
        self.bar.set_position(u64::from(epoch - 1) * self.images + images as u64);
        self.bar.set_message(format!(
            "epoch {epoch}/{}, {images}/{} images, loss {loss:.4}, {megabytes} MB",
            self.epochs, self.images
        ));
    }

    fn epoch(&mut self, record: &EpochRecord, best: bool) -> kiln::Result<()> {
        let EpochRecord { epoch, train_loss, train_accuracy, val_loss, val_accuracy, .. } = record;
        let line = format!(
            "epoch {epoch}/{}: training loss {train_loss:.4}, accuracy {:.2} %; validation loss {val_loss:.4}, \
             accuracy {:.2} %{}; {:.0} images/s",
            self.epochs,
            100.0 * train_accuracy,
            100.0 * val_accuracy,
            if best { ", the best so far" } else { "" },
            record.images_per_second,
        );
        self.say(&line);
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.say(text);
    }

    fn stopped(&mut self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
