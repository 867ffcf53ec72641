//! Image classification data: what lies on the disk, how it becomes a network's input, and how it
//! is varied on the way.

mod augment;
mod check;
mod color;
mod dataset;
mod folder;
mod listing;
mod preprocessing;
mod records;
mod resize;
mod set;
mod table;
mod warp;

pub use augment::{Augment, Augmentation, Operation, RandAugment, RandomCrop, RandomErasing};
pub use dataset::Images;
pub use preprocessing::Preprocessing;
pub use set::{ImageSet, Opened, Skipped, Typical};
