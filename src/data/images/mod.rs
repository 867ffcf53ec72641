//! Image classification data: what lies on the disk, how it becomes a network's input, and how it
//! is varied on the way.

mod check;
mod dataset;
mod folder;
mod listing;
mod preprocessing;
mod set;

pub use dataset::Images;
pub use preprocessing::Preprocessing;
pub use set::{ImageSet, Opened, Skipped, Typical};
