//! Attention and recurrent layers.

use super::{Args, Outputs};

pub fn run(_: &str, _: &Args) -> Outputs {
    Ok(None)
}
