//! The commands, a file each.

pub mod bench;
#[cfg(feature = "classical")]
pub mod cluster;
pub mod doctor;
#[cfg(feature = "classical")]
pub mod fit;
#[cfg(feature = "classical")]
pub mod predict_table;
