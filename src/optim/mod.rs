//! Optimisers, schedules, gradient clipping and loss scaling.
//!
//! ```
//! use kiln::nn::{Init, Params};
//! use kiln::optim::{Optimizer, Sgd, SgdOptions};
//!
//! let params = Params::new(&kiln::Engine::cpu(), 0);
//! let x = params.parameter("x", 2, Init::Ones)?;
//! let mut optimizer = Sgd::new(&params, SgdOptions { lr: 0.25, ..Default::default() })?;
//! for _ in 0..3 {
//!     let loss = x.get().square()?.sum(.., false)?;
//!     optimizer.step(loss.backward()?)?;
//! }
//! assert_eq!(x.get().to_vec::<f32>()?, [0.125, 0.125]);
//! # Ok::<(), kiln::Error>(())
//! ```

mod adam;
mod clip;
mod scaler;
mod schedule;
mod sgd;
mod state;

pub use adam::{Adam, AdamOptions, AdamW};
pub use clip::{clip_grad_norm, clip_grad_value};
pub use scaler::GradScaler;
pub use schedule::{CosineAnnealing, OneCycle, OneCycleOptions, Schedule, StepLr};
pub use sgd::{Sgd, SgdOptions};

use crate::io::StateDict;
use crate::{Error, Gradients, Result};
use std::path::Path;

/// What moves parameters down their gradients.
///
/// An optimiser trains what is below the path of the [`Params`](crate::nn::Params) it was made
/// with, layers that are registered later included.
pub trait Optimizer: Send + Sync {
    /// Updates every parameter that has a gradient; the others, and their state, stay as they are.
    ///
    /// The whole training step (forward pass, gradients, update, running statistics) is computed
    /// here, and parameters are updated in place where nobody else holds their old
    /// value. An error where the learning rate is negative or not finite, or no parameter has a
    /// gradient (they are of other parameters, or of older values of these), and the device's errors:
    /// no parameter has changed then, so that after [`OutOfMemory`](crate::Error::OutOfMemory) a smaller
    /// batch can be tried.
    fn step(&mut self, gradients: Gradients) -> Result<()>;

    /// The learning rate of the next step.
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate, as a [`Schedule`] says; [`step`](Optimizer::step) checks it.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// The state by parameter (`NAME.step`, and the names of torch.optim: `NAME.exp_avg`, ...), and in
    /// the metadata the optimiser's name and its learning rate. Waits for the device.
    fn state_dict(&self) -> Result<StateDict>;

    /// Goes on from a saved state; `path` is the file to name in an error. An error where it is
    /// another optimiser's, or names and shapes do not fit the parameters; nothing has changed then.
    fn load_state_dict(&mut self, state: &StateDict, path: &Path) -> Result<()>;
}

/// An error unless `value` is in range; `range` says which that is.
fn check(name: &str, value: f64, inside: bool, range: &str) -> Result<()> {
    if inside { Ok(()) } else { Err(Error::op("optimizer", format!("{name} {value} is not {range}"))) }
}

fn check_not_negative(name: &str, value: f64) -> Result<()> {
    check(name, value, value.is_finite() && value >= 0.0, "a number of 0 or more")
}

fn check_fraction(name: &str, value: f64) -> Result<()> {
    check(name, value, (0.0..1.0).contains(&value), "in 0..1")
}
