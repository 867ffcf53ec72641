//! The commands, a file each.

pub mod bench;
pub mod cluster;
pub mod doctor;
pub mod evaluate;
pub mod explain;
pub mod fit;
pub mod info;
pub mod predict;
mod predict_table;
mod progress;
pub mod train;

/// The engine of `--device`, or of the environment.
fn engine(device: Option<&str>) -> kiln::Result<kiln::Engine> {
    device.map_or_else(kiln::Engine::from_env, kiln::Engine::new)
}

/// A table of a network's layers, a line at a time.
fn layers(rows: &[kiln::models::Row], mut say: impl FnMut(&str)) {
    let width = rows.iter().map(|row| row.path.len()).max().unwrap_or(0).max(5);
    say(&format!("{:width$}  {:>16}  {:>10}  {:>13}", "layer", "output", "parameters", "FLOPs"));
    for row in rows {
        let shape = row.output.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        say(&format!("{:width$}  {shape:>16}  {:10}  {:13}", row.path, row.parameters, row.flops));
    }
    let (parameters, flops): (usize, u64) = rows
        .iter()
        .map(|row| (row.parameters, row.flops))
        .fold((0, 0), |(parameters, flops), row| (parameters + row.0, flops + row.1));
    say(&format!("{:width$}  {:>16}  {parameters:10}  {flops:13}", "all", ""));
}
