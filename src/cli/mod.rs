//! The commands, a file each.

pub mod bench;
pub mod cluster;
pub mod doctor;
pub mod evaluate;
pub mod fit;
pub mod predict;
mod predict_table;
mod progress;
pub mod train;

/// The engine of `--device`, or of the environment.
fn engine(device: Option<&str>) -> kiln::Result<kiln::Engine> {
    device.map_or_else(kiln::Engine::from_env, kiln::Engine::new)
}
