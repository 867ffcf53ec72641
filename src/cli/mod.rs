//! The commands, a file each.

pub mod bench;
pub mod cluster;
pub mod doctor;
pub mod fit;
pub mod predict_table;
